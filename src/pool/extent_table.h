#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "format/disk.h"
#include "io/disk.h"

namespace tidemark::pool {

// What is to stand in the table for a slot: a record, or nothing (free).
struct ExtentChange {
  std::uint64_t slot = 0;
  std::optional<format::ExtentRecord> record;
};

// The two copies of the extent table. The table is not kept in memory: a change reads the blocks it is in.
//
// Owned by the pool; one call at a time. The disk must outlive it.
class ExtentTable {
 public:
  ExtentTable(io::Disk& disk, const format::DiskLayout& layout, const DiskIdentity& identity)
      : disk_(disk), layout_(layout), identity_(identity) {}

  // Reads both copies from end to end, `found` being called for each slot that is not free, in order. Copies
  // that differ are made equal, and what is in use is written again (volatile: the caller flushes). kDamaged
  // when both copies of a record are bad.
  io::Task<Result<void>> load(std::function<void(std::uint64_t, const format::ExtentRecord&)> found);

  // Writes the changes to both copies, volatile: they count after a flush() of the disk.
  io::Task<Result<void>> update(std::vector<ExtentChange> changes);

 private:
  // Blocks of the table that are read or written at once.
  static constexpr std::uint64_t kChunkBytes = 256 << 10;
  static constexpr std::uint64_t kChunkSlots = kChunkBytes / format::kExtentRecordSizeBytes;
  static constexpr std::uint64_t kBlockSlots = kBlockSizeBytes / format::kExtentRecordSizeBytes;

  io::Task<Result<void>> write_again(std::uint64_t first_slot);
  // True when a slot of the chunk was not free.
  io::Task<Result<bool>> load_chunk(
      std::uint64_t first_slot, const std::function<void(std::uint64_t, const format::ExtentRecord&)>& found);
  io::Task<void> mend_from_other_copies(DiskOffset offset, std::uint64_t first_slot, Buffer chunk);
  io::Task<Result<void>> update_chunk(std::uint32_t copy, const std::vector<ExtentChange>& changes,
                                      std::size_t begin, std::size_t end);

  io::Disk& disk_;
  const format::DiskLayout layout_;
  const DiskIdentity identity_;
};

}  // namespace tidemark::pool
