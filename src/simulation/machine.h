#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "node/node.h"
#include "sim/disk.h"
#include "sim/network.h"
#include "sim/simulated_process.h"
#include "sim/world.h"
#include "simulation/part.h"

namespace tidemark::simulation {

inline constexpr const char* kGroup = "app";

struct MachineOptions {
  std::string name{};
  std::uint8_t identity_byte = 0;  // all bytes of the node's identity
  std::uint64_t disk_bytes = 0;
  std::uint64_t segment_bytes = 0;  // of its journals, as the next one in node::NodeConfiguration
  std::uint64_t recent_bytes = 0;
  sim::DiskOptions disk{};
  std::vector<PartLevel> parts{};  // what its pools lie on; a disk as it is comes first
  double clock_drift_ppm = 0;
};

// One machine of a simulated world: disks, RAID groups of them, and a node on all of it that can be stopped,
// killed, lose its power, lose its disks and be started again. Its version index is the twin in memory, which
// can be damaged, and it has no catalogue: both are derived, so a crash takes them whole.
//
// The world must outlive it.
class Machine {
 public:
  using LogLine = std::function<void(const std::string& line)>;

  Machine(sim::World& world, MachineOptions options, LogLine log_line);

  // Where its node answers its peers.
  std::string address() const { return "unix:/" + options_.name; }
  const std::string& name() const { return options_.name; }
  // The one that is to fail, or to hang: the first, or the one that aim() has chosen.
  sim::Disk& disk() { return parts_[aim_part_]->disk(aim_disk_); }
  void aim(std::size_t part, std::uint64_t disk) {
    aim_part_ = part;
    aim_disk_ = disk;
  }
  std::size_t part_count() const { return parts_.size(); }
  Part& part(std::size_t number) { return *parts_[number]; }
  const Part& part(std::size_t number) const { return *parts_[number]; }
  // New ones in the place of all disks. The node does not run.
  void replace_disks();
  // All disks of a part are gone for good. There is another part in its place, of which a RAID group is made
  // when the node is up; the node misses the old one until it is told to forget it. The node does not run.
  void lose_part(std::size_t number);
  // A part is not there, for now or for good.
  bool misses_part() const;
  // Some disk is not there that comes back with the next power_on().
  bool has_pulled_disks() const;
  // Of those that are gone for good and not forgotten.
  std::vector<std::string> lost_parts() const;
  // A blank disk in the place of one, and a rebuild of it. The node runs.
  io::Task<Result<void>> replace_member_task(std::size_t part, std::uint64_t number);
  // What its version indexes hold now cannot be read any more; those that are made from here on are whole.
  void damage_index() { ++*index_damages_; }

  // From here on start_task() may be spawned in tasks(), and be cut off by a crash at any step of it.
  // Disks that had been pulled are there again.
  void power_on();
  // The same, without some disks of a part.
  void power_on_without(std::size_t part, std::vector<std::size_t> disks);
  // The node's own error when it cannot start on what is on the disk.
  io::Task<Result<void>> start_task();
  // An orderly end; then kill() is still to come.
  io::Task<Result<void>> stop_task();
  // The process ends; operations that the disk was given are still done.
  void kill();
  // The disk loses its power with it.
  void power_cut();

  // The latest power_on().
  MonotonicTime started_at() const { return started_at_; }

  bool is_on() const { return process_ != nullptr; }
  bool is_running() const { return node_ != nullptr; }
  // Null while it does not run.
  node::Node* node() { return node_; }
  // The group, when the node runs and has it open.
  group::Group* group() { return node_ == nullptr ? nullptr : node_->find_group(kGroup); }
  // What is asked of the group itself, not of the node, holds it: a copy that begins anew takes it away.
  node::GroupHandle hold_group() { return node_ == nullptr ? nullptr : node_->hold_group(kGroup); }
  // Ends with the process, wherever it is then.
  io::TaskScope& tasks() { return process_->tasks(); }
  // Of those who keep exports open: they are ended before the node is.
  io::TaskScope& clients() { return *clients_; }
  void end_clients() { clients_->cancel_all(); }

  bool has_crashed = false;     // and nobody has looked yet at what that took
  bool disk_may_fail = false;   // an operation failed, or is about to
  bool gave_up_window = false;  // so what it alone had is gone, or soon will be
  std::uint64_t windows_given_up = 0;

 private:
  struct RaidGroups;
  Part::Options part_options(PartLevel level);
  io::Task<Result<void>> assemble(Part* part);
  io::Task<Result<node::NodeDisks>> open_disks();
  io::Task<Result<node::PoolDisk>> create_raid(node::NewRaidGroup what);
  io::Task<Result<void>> make_further_parts();
  io::Task<Result<void>> replace_by(Part* part, std::size_t index);
  io::Task<void> replace_failed(std::size_t part);
  void process_has_ended();

  sim::World& world_;
  MachineOptions options_;
  io::Environment environment_;
  std::vector<std::unique_ptr<Part>> parts_;
  std::vector<pool::MissingPool> lost_;  // and not forgotten
  std::uint32_t part_numbers_ = 0;       // that were given to parts
  std::uint32_t disk_numbers_ = 0;
  std::size_t aim_part_ = 0;
  std::uint64_t aim_disk_ = 0;
  RaidGroups* raid_groups_ = nullptr;  // while the process lasts
  std::shared_ptr<std::uint64_t> index_damages_ = std::make_shared<std::uint64_t>(0);
  LogLine log_line_;
  MonotonicTime started_at_{};
  std::unique_ptr<sim::SimulatedProcess> process_;
  std::unique_ptr<io::TaskScope> clients_;
  node::Node* node_ = nullptr;
};

}  // namespace tidemark::simulation
