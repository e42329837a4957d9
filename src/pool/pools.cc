#include "pool/pools.h"

#include <algorithm>

namespace tidemark::pool {

void Pools::add(std::unique_ptr<Pool> pool) {
  const PoolNumber number = pool->number();
  const bool added = pools_.emplace(number, std::move(pool)).second;
  TM_ASSERT(added);
}

Pool* Pools::find(PoolNumber number) const {
  const auto at = pools_.find(number);
  return at == pools_.end() ? nullptr : at->second.get();
}

std::vector<Pool*> Pools::all() const {
  std::vector<Pool*> out;
  for (const auto& [number, pool] : pools_) out.push_back(pool.get());
  return out;
}

Result<void> Pools::check_whole() const {
  if (missing_.empty()) return {};
  const MissingPool& first = missing_.front();
  return fail(ErrorCode::kIo, "RAID group " + first.name + " is not here: " + first.reason);
}

Result<Pool*> Pools::require(PoolNumber number) const {
  if (Pool* pool = find(number); pool != nullptr) return pool;
  const auto missing = std::ranges::find(missing_, number, &MissingPool::number);
  if (missing != missing_.end()) {
    return fail(ErrorCode::kIo, "RAID group " + missing->name + " is not here: " + missing->reason);
  }
  return fail(ErrorCode::kIo, "pool " + std::to_string(number.value) + " is on none of this node's disks");
}

// Numbers grow with those of the pools.
std::vector<LuRecord> Pools::units() const {
  std::vector<LuRecord> out;
  for (const auto& [number, pool] : pools_) {
    const std::vector<LuRecord> units = pool->units();
    out.insert(out.end(), units.begin(), units.end());
  }
  return out;
}

io::Task<Result<LuNumber>> Pools::create_data_volume(PoolNumber number, GroupIdentity group, VolumeId volume,
                                                     std::uint64_t size_bytes) {
  TM_CO_TRY_ASSIGN(Pool * pool, require(number));
  co_return co_await pool->create_data_volume(group, volume, size_bytes);
}

io::Task<Result<LuNumber>> Pools::create_log_volume(PoolNumber number, GroupIdentity group,
                                                    std::uint64_t size_bytes) {
  TM_CO_TRY_ASSIGN(Pool * pool, require(number));
  co_return co_await pool->create_log_volume(group, size_bytes);
}

io::Task<Result<LuNumber>> Pools::create_further_log_volume(PoolNumber number, GroupIdentity group,
                                                            std::uint64_t size_bytes) {
  TM_CO_TRY_ASSIGN(Pool * pool, require(number));
  co_return co_await pool->create_further_log_volume(group, size_bytes);
}

io::Task<Result<void>> Pools::finish_log_volume(LuNumber unit) {
  TM_CO_TRY_ASSIGN(Pool * pool, require(pool_of(unit)));
  co_return co_await pool->finish_log_volume(unit);
}

io::Task<Result<void>> Pools::remove(LuNumber unit) {
  TM_CO_TRY_ASSIGN(Pool * pool, require(pool_of(unit)));
  co_return co_await pool->remove(unit);
}

DataVolume* Pools::data_volume(LuNumber unit) const {
  Pool* pool = find(pool_of(unit));
  return pool == nullptr ? nullptr : pool->data_volume(unit);
}

io::Disk* Pools::log_volume(LuNumber unit) const {
  Pool* pool = find(pool_of(unit));
  return pool == nullptr ? nullptr : pool->log_volume(unit);
}

Result<io::Disk*> Pools::find_log_volume(LuNumber unit) const {
  const std::string name = "log volume " + std::to_string(unit.value);
  const Result<Pool*> pool = require(pool_of(unit));
  if (!pool.ok()) return fail(ErrorCode::kIo, name + " is not here: " + pool.error().message);
  io::Disk* const found = pool.value()->log_volume(unit);
  if (found == nullptr) return fail(ErrorCode::kDamaged, name + " is not on the disks that it lay on");
  return found;
}

DiskOffset Pools::log_volume_offset(LuNumber unit) const {
  const Pool* pool = find(pool_of(unit));
  return pool == nullptr ? DiskOffset{} : pool->log_volume_offset(unit);
}

PoolStatus Pools::status() const {
  PoolStatus sum;
  for (const auto& [number, pool] : pools_) {
    const PoolStatus status = pool->status();
    sum.size_bytes += status.size_bytes;
    sum.allocated_bytes += status.allocated_bytes;
    sum.free_bytes += status.free_bytes;
  }
  return sum;
}

}  // namespace tidemark::pool
