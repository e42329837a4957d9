#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "pool/extent_map.h"
#include "pool/pool.h"
#include "pool/pool_core.h"

namespace tidemark::pool {

// The one implementation of DataVolume.
//
// Invariants
//   1. A slot is in the extent map of one volume, or in `released_` of one volume, or in a log volume, or
//   free.
//   2. An extent gets its record only after a flush that followed the writing of all its sectors.
//   3. A slot leaves `released_` for the pool only when its cleared record is durable.
//   4. After a failed flush the volume is as after a crash: extents never recorded are gone (their slots
//   released), released
//      slots stay released, pages that could not be written stay dirty.
//
// After kIo from write(), discard() or flush() nothing is known about the blocks changed since the last
// successful flush; who repeats all those changes and flushes again has a sound volume.
class DataVolumeImpl final : public DataVolume, public std::enable_shared_from_this<DataVolumeImpl> {
 public:
  DataVolumeImpl(PoolCore& core, const LuRecord& record)
      : core_(core), record_(record), flush_failures_seen_(core.shared_flush.failures()) {}

  const LuRecord& record() const override { return record_; }
  io::Task<Result<void>> reserve(BlockRange blocks) override;
  bool is_reserved(BlockRange blocks) const override;
  io::Task<Result<void>> read(BlockRange blocks, Buffer out) override;
  io::Task<Result<void>> write(BlockRange blocks, Buffer data, std::vector<std::uint32_t> checksums) override;
  io::Task<Result<void>> discard(BlockRange blocks) override;
  io::Task<Result<void>> zero(BlockRange blocks) override;
  io::Task<Result<void>> flush() override;
  std::uint64_t flushes_failed() const override { return flushes_failed_; }
  io::Task<Result<void>> repair(std::uint64_t block, Buffer right) override;
  io::Task<Result<void>> resize(std::uint64_t size_bytes) override;
  std::optional<BlockRange> next_allocated(std::uint64_t from) const override;
  std::uint64_t allocated_bytes() const override {
    return extents_.mapped_count() * format::kExtentSizeBytes;
  }
  AddressTranslation translate(std::uint64_t offset_bytes) const override;

  // For the pool: what open() found, and what remove() takes away.
  const ExtentMap& extents() const { return extents_; }
  format::ExtentHeader header_of(std::uint64_t index, const Extent& extent) const;
  void adopt(std::uint64_t index, Extent extent) { extents_.set(index, extent); }
  // Every slot it has. The volume is empty afterwards and never flushes again.
  std::vector<std::uint64_t> abandon();

 private:
  // The part of a request that lies in one extent; blocks are counted from the extent's first.
  struct Part {
    std::uint64_t index = 0;
    std::uint32_t begin = 0;
    std::uint32_t end = 0;
    std::size_t data_offset = 0;  // in the request's buffer
    std::uint32_t count() const { return end - begin; }
    bool whole() const { return count() == format::kExtentBlocks; }
  };
  static std::vector<Part> split(BlockRange blocks);
  // The part's blocks in one page, counted from the page's first.
  static BlockRange in_page(const Part& part, std::uint32_t half);

  Result<void> check_bounds(BlockRange blocks, const char* what) const;
  DiskOffset block_offset(const Extent& extent, std::uint32_t block) const;
  std::string describe(std::uint64_t index, const Extent& extent, std::uint32_t block) const;

  io::Task<Result<void>> take_slots(std::size_t count, SlotGrant* grant);
  io::Task<Result<void>> read_part(Part part, Buffer out);
  Result<BlockRange> find_stored(const Part& part, const Extent& extent,
                                 const std::vector<ChecksumPagePtr>& pages) const;
  io::Task<Result<void>> read_other_copies(Part part, Extent extent, std::vector<ChecksumPagePtr> pages,
                                           Buffer out);
  Result<void> verify(const Part& part, const Extent& extent, const std::vector<ChecksumPagePtr>& pages,
                      MutableBytes out) const;
  io::Task<Result<void>> write_part(Part part, Buffer data, const std::vector<std::uint32_t>* checksums);
  Extent begin_extent(std::uint64_t index, Extent extent);
  io::Task<Result<void>> clear(BlockRange blocks, bool gives_back);
  io::Task<Result<void>> clear_part(Part part, bool gives_back);
  void release_extent(std::uint64_t index);
  io::Task<Result<void>> relieve_cache();
  static io::Task<Result<void>> flush_owned(std::shared_ptr<DataVolumeImpl> self);
  static io::Task<Result<void>> resize_owned(std::shared_ptr<DataVolumeImpl> self, std::uint64_t size_bytes);
  io::Task<Result<void>> flush_locked();
  void give_up_new_extents();
  io::Task<Result<void>> record_extents(const std::vector<std::pair<std::uint64_t, Extent>>* fresh,
                                        const std::vector<std::uint64_t>* released);
  io::Task<Result<void>> put_size(std::uint64_t size_bytes);
  std::uint64_t extent_count() const {
    return (record_.size_bytes + format::kExtentSizeBytes - 1) / format::kExtentSizeBytes;
  }

  PoolCore& core_;
  LuRecord record_;
  ExtentMap extents_;
  std::set<std::uint64_t> new_extents_;  // state kNew
  std::vector<std::uint64_t> released_;  // slots given up whose record may still be on the disk
  std::uint64_t changes_ = 0;            // data writes begun or ended, blocks cleared; so far
  std::uint64_t changes_flushed_ = 0;    // of these, before the last successful flush
  std::uint64_t flush_failures_seen_;    // see SharedFlush
  std::uint64_t flushes_failed_ = 0;
  bool removed_ = false;
};

// What the LU table keeps of a unit.
format::LuTableRecord to_table_record(const LuRecord& record);

}  // namespace tidemark::pool
