#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <vector>

#include "format/disk.h"
#include "io/disk.h"

namespace tidemark::pool {

// The table of logical units: two copies, all of it in memory. A record is written durably to copy 0, then to
// copy 1. Numbers grow and are never given twice, because the highest number ever given stays in the table.
//
// Owned by the pool; one put() at a time. The disk must outlive it.
class LuTable {
 public:
  // The numbers given are those of `pool`.
  LuTable(io::Disk& disk, const format::DiskLayout& layout, const DiskIdentity& identity, PoolNumber pool);

  // Reads both copies; a copy that is bad or behind is written again. kDamaged when both copies of a
  // record are bad, kUnsupported when one is of a newer version.
  io::Task<Result<void>> load();
  // The record of the unit with this number, live or removed.
  const format::LuTableRecord* find(LuNumber number) const;
  const std::vector<std::optional<format::LuTableRecord>>& records() const { return records_; }
  // Records of which load() found one copy damaged.
  std::uint32_t damaged_copies() const { return damaged_copies_; }

  // The number after the highest ever given; each call gives another. Zero when the numbers are used up.
  LuNumber take_number();
  // Adds the record of a unit, or replaces the one of the same number. Durable on return. kNoSpace when the
  // table is full. After kIo it is not known whether the change is on the disk: the next open tells.
  // `maybe_written`, where it is asked for: whether the record may be on the disk, also after an error.
  io::Task<Result<void>> put(format::LuTableRecord record, bool* maybe_written = nullptr);
  // Nothing of this removed unit is left in the extent table: its record may be overwritten. Until then it is
  // kept, since an extent whose owner nobody knows is damage.
  void forget(LuNumber number) { held_.erase(number.value); }

 private:
  static constexpr std::uint32_t kBlockRecords = kBlockSizeBytes / format::kSectorSizeBytes;
  // Whether no record of the block is damaged.
  bool reads(std::uint32_t block, Bytes bytes) const;
  Result<void> adopt_block(std::uint32_t block, Bytes first, Bytes second);
  std::optional<std::uint32_t> place_for(LuNumber number) const;
  Buffer encode_block(std::uint32_t block) const;
  io::Task<Result<void>> write_block(std::uint32_t block);
  DiskOffset block_offset(std::uint32_t copy, std::uint32_t block) const {
    return DiskOffset{layout_.lu_table_offset[copy] + block * kBlockSizeBytes};
  }

  io::Disk& disk_;
  const format::DiskLayout layout_;
  const DiskIdentity identity_;
  std::vector<std::optional<format::LuTableRecord>> records_;
  std::set<std::uint32_t> held_;
  std::uint32_t damaged_copies_ = 0;
  std::uint64_t sequence_ = 0;
  const std::uint64_t number_last_;  // the highest that there can be
  std::uint64_t number_max_;         // the highest ever given
};

}  // namespace tidemark::pool
