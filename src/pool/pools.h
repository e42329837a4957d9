#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "pool/pool.h"

namespace tidemark::pool {

// A pool that the node has, and that is not here: its disks are missing or cannot be used.
struct MissingPool {
  PoolNumber number{};
  std::string name;    // of its RAID group
  std::string reason;  // why, for people
};

// The pools of a node, each on a disk of its own. The number of a logical unit tells in which of them it is.
//
// While one is missing, a unit that nobody finds may lie there: whoever would make one because there is none,
// or remove one because nothing refers to it, asks check_whole() first.
//
// Owned by the node; reactor thread only.
class Pools {
 public:
  void add(std::unique_ptr<Pool> pool);  // its number is not taken
  void add_missing(MissingPool pool) { missing_.push_back(std::move(pool)); }
  // It does not come back.
  void forget_missing(const std::string& name) {
    std::erase_if(missing_, [&name](const MissingPool& pool) { return pool.name == name; });
  }

  bool empty() const { return pools_.empty(); }
  // Null when it is not here.
  Pool* find(PoolNumber number) const;
  std::vector<Pool*> all() const;  // by number
  const std::vector<MissingPool>& missing() const { return missing_; }
  // kIo, naming what is missing.
  Result<void> check_whole() const;

  // Those of the pools that are here, by number.
  std::vector<LuRecord> units() const;
  // As those of Pool. kIo when the pool is not here.
  io::Task<Result<LuNumber>> create_data_volume(PoolNumber pool, GroupIdentity group, VolumeId volume,
                                                std::uint64_t size_bytes);
  io::Task<Result<LuNumber>> create_log_volume(PoolNumber pool, GroupIdentity group,
                                               std::uint64_t size_bytes);
  io::Task<Result<LuNumber>> create_further_log_volume(PoolNumber pool, GroupIdentity group,
                                                       std::uint64_t size_bytes);
  io::Task<Result<void>> finish_log_volume(LuNumber number);
  io::Task<Result<void>> remove(LuNumber number);
  DataVolume* data_volume(LuNumber number) const;
  io::Disk* log_volume(LuNumber number) const;
  // kIo when its pool is not here, kDamaged when it is and the log volume is not on it.
  Result<io::Disk*> find_log_volume(LuNumber number) const;
  DiskOffset log_volume_offset(LuNumber number) const;
  PoolStatus status() const;  // of those that are here, together

 private:
  Result<Pool*> require(PoolNumber number) const;

  std::map<PoolNumber, std::unique_ptr<Pool>> pools_;
  std::vector<MissingPool> missing_;
};

}  // namespace tidemark::pool
