#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "node/node_storage.h"
#include "raid/raid_group.h"
#include "sim/disk.h"
#include "sim/simulated_process.h"
#include "sim/world.h"

namespace tidemark::simulation {

// Of a part whose disks are of no RAID group: the one disk as it is.
using PartLevel = std::optional<format::RaidLevel>;

// What one pool of a machine lies on: a disk as it is, or a RAID group of several. The disks stay across
// crashes of the node; the RAID group that is made of them lasts as long as the process.
//
// Owned by its machine; the world must outlive it.
class Part {
 public:
  struct Options {
    PoolNumber number{};
    std::string name{};
    PartLevel level{};
    NodeIdentity node{};
    std::uint64_t plain_bytes = 0;  // of a disk as it is
    sim::DiskOptions disk{};
    std::function<std::string()> next_disk_name{};
  };
  Part(sim::World& world, Options options);

  PoolNumber number() const { return options_.number; }
  const std::string& name() const { return options_.name; }
  const PartLevel& level() const { return options_.level; }
  bool is_raid() const { return options_.level.has_value(); }
  // Its RAID group is there, if it is to have one; of those that are made by command with a pool on it.
  bool is_made() const { return !is_raid() || is_made_; }
  void note_made() { is_made_ = true; }
  std::size_t disk_count() const { return disks_.size(); }
  sim::Disk& disk(std::size_t number) { return *disks_[number % disks_.size()].disk; }
  const std::string& disk_name(std::size_t number) const { return disks_[number % disks_.size()].name; }
  std::vector<std::string> disk_names() const;
  // Null when it has none of that name.
  sim::Disk* find_disk(const std::string& name);

  // Blank disks, and no RAID group yet. The node does not run.
  void make_blank();
  // A blank disk in the place of one. What it gives is for put_former_back().
  std::size_t put_blank_disk(std::size_t number);
  // The blank disk was not taken.
  void put_former_back(std::size_t number, std::size_t former);
  // These disks are not there from the next assemble() on, until put_back().
  void pull(std::vector<std::size_t> numbers) { pulled_ = std::move(numbers); }
  void put_back() { pulled_.clear(); }
  bool has_pulled() const { return !pulled_.empty(); }
  // How many members may be lost at once, those with numbers that follow one another.
  std::size_t losses_tolerated() const;
  // How many are too many, whichever they are; of a disk as it is, that one.
  std::size_t losses_too_many() const;

  // Labels blank disks as those of a RAID group.
  io::Task<Result<void>> create(io::Environment& environment);
  // The RAID group, of the disks that are there; null of a disk as it is. It has to go before the part.
  // kIo when there are too few.
  io::Task<Result<std::unique_ptr<raid::RaidGroup>>> assemble(io::Environment& environment);
  // While the process lasts.
  raid::RaidGroup* raid_group() const { return raid_group_; }
  void process_has_ended() { raid_group_ = nullptr; }
  // For the node: what assemble() gave, or the disk.
  node::PoolDisk pool_disk() const;
  // Whether so much as one member may fail: all are in sync.
  bool is_whole() const;
  // Whether the disk is the member of that number, in sync or being rebuilt.
  bool has_taken(std::size_t number) const;
  // What was failed out or came back blank, by its number; but not what is not there.
  std::vector<std::size_t> failed() const;

 private:
  struct Slot {
    std::string name{};
    std::unique_ptr<sim::Disk> disk{};
  };
  Slot blank_slot() const;
  bool is_pulled(std::size_t number) const;

  sim::World& world_;
  Options options_;
  std::vector<Slot> disks_;
  std::vector<Slot> removed_;  // what they were given may still be under way
  std::vector<std::size_t> pulled_;
  RaidIdentity raid_{};
  bool is_made_ = false;
  raid::RaidGroup* raid_group_ = nullptr;
};

}  // namespace tidemark::simulation
