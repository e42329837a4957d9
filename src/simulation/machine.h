#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "node/node.h"
#include "raid/raid_group.h"
#include "sim/disk.h"
#include "sim/network.h"
#include "sim/simulated_process.h"
#include "sim/world.h"

namespace tidemark::simulation {

inline constexpr const char* kGroup = "app";

struct MachineOptions {
  std::string name{};
  std::uint8_t identity_byte = 0;  // all bytes of the node's identity
  std::uint64_t disk_bytes = 0;
  std::uint64_t segment_bytes = 0;  // of its journals, as the next one in node::NodeConfiguration
  std::uint64_t recent_bytes = 0;
  sim::DiskOptions disk{};
  std::optional<format::RaidLevel> raid{};  // of several such disks, made into one; none: one disk
  double clock_drift_ppm = 0;
};

// One machine of a simulated world: a disk, or a RAID group of them, and a node on it that can be stopped,
// killed, lose its power, lose its disk and be started again. Its version index is the twin in memory, which
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
  // The one that is to fail, or to hang: of a RAID group the member that aim() has chosen.
  sim::Disk& disk() { return *disks_[aim_]; }
  void aim(std::uint64_t number) { aim_ = number % disks_.size(); }
  void end_hangs();
  // A new one in its place, or as many as there were. The node does not run.
  void replace_disk();
  // Whether so much as one member may fail: all are in sync.
  bool raid_is_whole() const;
  bool has_raid() const { return options_.raid.has_value(); }
  // How many members may be lost at once, those with numbers that follow one another.
  std::uint32_t losses_tolerated() const;
  // A blank disk in the place of a member. The node does not run; its next start finds that it is missing.
  void lose_member(std::uint64_t number);
  // The same while it runs.
  io::Task<Result<void>> replace_member_task(std::uint64_t number);
  // What its version indexes hold now cannot be read any more; those that are made from here on are whole.
  void damage_index() { ++*index_damages_; }

  // From here on start_task() may be spawned in tasks(), and be cut off by a crash at any step of it.
  void power_on();
  // The node's own error when it cannot start on what is on the disk.
  io::Task<Result<void>> start_task();
  // An orderly end; then kill() is still to come.
  io::Task<Result<void>> stop_task() { return node_->stop(); }
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
  std::unique_ptr<sim::Disk> make_disk() const;
  std::vector<raid::NamedDisk> named_disks() const;
  io::Task<Result<node::NodeDisks>> open_disks();
  io::Task<void> replace_failed();

  sim::World& world_;
  MachineOptions options_;
  io::Environment environment_;
  std::vector<std::unique_ptr<sim::Disk>> disks_;
  std::vector<std::unique_ptr<sim::Disk>> removed_;  // what they were given may still be under way
  std::uint64_t aim_ = 0;
  std::optional<RaidIdentity> raid_{};     // once it is there
  raid::RaidGroup* raid_group_ = nullptr;  // while the node runs
  std::shared_ptr<std::uint64_t> index_damages_ = std::make_shared<std::uint64_t>(0);
  LogLine log_line_;
  MonotonicTime started_at_{};
  std::unique_ptr<sim::SimulatedProcess> process_;
  std::unique_ptr<io::TaskScope> clients_;
  node::Node* node_ = nullptr;
};

}  // namespace tidemark::simulation
