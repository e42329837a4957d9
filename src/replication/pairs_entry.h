#pragma once

#include <deque>

#include "replication/pairs.h"

namespace tidemark::replication {

// One pair of the node.
struct Pairs::Entry {
  Entry(io::Scheduler& scheduler, std::string group_name, group::Group* paired_group)
      : name(std::move(group_name)),
        group(paired_group),
        sender_task(scheduler),
        gave_way(scheduler),
        receiver_moved(scheduler) {}
  // Who works on the group for the pair lets go of it.
  ~Entry() {
    for (const auto& running : {comparison, catching_up}) {
      if (running != nullptr) running->stop("the pair ended");
    }
    for (const std::weak_ptr<Link>& asker : askers) {
      if (const std::shared_ptr<Link> asking = asker.lock()) asking->close();
    }
  }
  void note_asker(const std::shared_ptr<Link>& asking) {
    std::erase_if(askers, [](const std::weak_ptr<Link>& asker) { return asker.expired(); });
    askers.push_back(asking);
  }
  std::string name;
  group::Group* group;
  PairRecord record{};

  // Of a synchronous pair; see sync.cc. Shared with what saves the record, which may outlive the pair.
  struct Sync {
    std::uint32_t saving = 0;  // records under way to the disk: the gate stays as it is until they are there
    // Primary side, in PAIR.
    std::optional<MonotonicTime> down_since;  // the link
    LogId acked{};
    MonotonicTime progress_at{};    // when the peer had more for the last time
    bool progressed = false;        // since the link was made, or since it was lost
    bool lost = false;              // neither link nor progress for as long as the terms say
    std::optional<LogId> joins_at;  // FLUSHes wait again; in sync when the peer has this
    // Secondary side: on this node's clock, until when the primary answers no FLUSH without it.
    std::optional<MonotonicTime> holds_until;
  };
  std::shared_ptr<Sync> sync = std::make_shared<Sync>();

  // The primary's: the newest entry that the peer is known to hold, also when it will be copied anew.
  LogId peer_has() const {
    if (sender != nullptr) return sender->acked();
    return group->local().peer_has.is_none() ? record.fork : group->local().peer_has;
  }

  // Secondary side: the newest entry of the primary's order that is held. A node that was turned and has
  // received nothing yet may have a tail of its own beyond it.
  LogId held() const {
    const bool turned = !record.fork.is_none() && group->live_epoch() == record.epoch_left;
    return turned ? record.fork : group->head();
  }

  // Shared with the links, which may outlive the pair.
  const std::shared_ptr<LinkTraffic> traffic = std::make_shared<LinkTraffic>();
  std::vector<std::weak_ptr<Link>> askers;  // connections with the peer's questions
  std::shared_ptr<Comparison> comparison;   // with the peer: the one that runs, or the last one
  std::shared_ptr<Comparison> catching_up;  // primary side, of a resync behind a gap: the latest

  // Primary side.
  bool waiting = false;    // since the start, to hear the peer
  bool refilling = false;  // it is being restored from the peer
  // Why it did not follow, when its peer last told it to; and that it cannot go back to where the two parted,
  // so that for a moment it may be told to be copied anew.
  struct CannotFollow {
    Error why;
    MonotonicTime at{};
    bool may_be_replaced = false;
  };
  std::optional<CannotFollow> cannot_follow;
  std::unique_ptr<Sender> sender;
  io::TaskScope sender_task;
  // Both sides: the peer's logical units, as it told last; a primary's are its sender's while it has one.
  std::vector<format::UnitOfVolume> peer_units;

  // Primary side: who looks whether a full journal needs the peer to give way (see watch_space()).
  bool restoring = false;  // under the lock
  bool gives_way = false;  // beside a restore, which stays until it has ended
  bool looked_at = false;  // or about to be, when the lock is free
  io::WaitQueue gave_way;

  // Primary side: what the peer lacks, as it was looked up last (see lag.cc).
  struct Owed {
    LogId after{};                  // the peer's newest entry then
    Place place{};                  // where what follows it begins in the journal
    std::optional<WallTime> since;  // timer value of the first entry there; none: not looked up
    std::optional<WallTime>
        received_until;  // when the peer was last seen to have all up to some moment, that
  };
  Owed owed;

  // Secondary side: the connection that counts, and what came over it and is not durable here yet.
  std::shared_ptr<Link> link;
  WallTime link_since{};
  struct Received {
    std::uint64_t ticket = 0;
    LogId last{};
  };
  std::deque<Received> received;
  LogId durable{};  // of the primary's order
  LogId primary_head{};
  std::string turned_away;  // why a connection in the peer's name was refused, until one is taken
  bool receiving = false;
  bool complete = false;        // the first copy, durably
  format::CopyCursor copied{};  // of it, written and not noted yet
  std::uint64_t copied_since_noted_bytes = 0;
  std::uint64_t receivers = 0;                              // the number of the latest connection
  std::map<std::uint64_t, format::MarkReply> mark_replies;  // by the number of their request
  io::WaitQueue receiver_moved;
};

}  // namespace tidemark::replication
