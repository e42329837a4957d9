#pragma once

#include <deque>

#include "replication/pairs.h"

namespace tidemark::replication {

// One pair of the node.
struct Pairs::Entry {
  Entry(io::Scheduler& scheduler, std::string group_name, group::Group* paired_group)
      : name(std::move(group_name)), group(paired_group), sender_task(scheduler), receiver_moved(scheduler) {}
  std::string name;
  group::Group* group;
  PairRecord record{};

  // Primary side.
  std::unique_ptr<Sender> sender;
  io::TaskScope sender_task;
  // Both sides: the peer's logical units, as it told last; a primary's are its sender's while it has one.
  std::vector<format::UnitOfVolume> peer_units;

  // Secondary side: the connection that counts, and what came over it and is not durable here yet.
  std::shared_ptr<Link> link;
  WallTime link_since{};
  struct Received {
    std::uint64_t ticket = 0;
    LogId last{};
  };
  std::deque<Received> received;
  LogId durable{};
  LogId primary_head{};
  bool receiving = false;
  bool complete = false;        // the first copy, durably
  std::uint64_t receivers = 0;  // the number of the latest connection
  io::WaitQueue receiver_moved;
};

}  // namespace tidemark::replication
