#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "format/disk.h"
#include "io/disk.h"
#include "pool/pool.h"
#include "pool/pool_core.h"

namespace tidemark::pool {

// What lies in front of a log volume: whose it is. It stays as it was made.
inline Buffer encode_log_volume_head(const DiskIdentity& disk, const format::LuTableRecord& entry) {
  format::LogVolumeHeader header;
  header.disk = disk;
  header.first_slot = entry.first_slot;
  header.slot_count = entry.slot_count;
  header.owner = entry.number;
  header.group = entry.group;
  header.size_bytes = entry.size_bytes;
  Buffer head = Buffer::allocate(format::kExtentHeadBytes);
  std::ranges::fill(head.writable(), std::byte{0});
  format::encode_log_volume_header(header, head.writable().first(format::kSectorSizeBytes));
  return head;
}

// The address space of a log volume as a disk of its own: the same disk, shifted. Its bounds are asserted.
// flush() is the whole disk's.
//
// Owned by the pool; the disk must outlive it.
class LogVolume final : public io::Disk {
 public:
  LogVolume(io::Disk& disk, SharedFlush& shared_flush, const LuRecord& record, std::uint64_t first_slot,
            std::uint64_t slot_count, DiskOffset offset)
      : disk_(disk),
        shared_flush_(shared_flush),
        failures_seen_(shared_flush.failures()),
        record_(record),
        first_slot_(first_slot),
        slot_count_(slot_count),
        offset_(offset) {}

  const LuRecord& record() const { return record_; }
  std::uint64_t first_slot() const { return first_slot_; }
  std::uint64_t slot_count() const { return slot_count_; }
  DiskOffset offset() const { return offset_; }
  void set_formed() { record_.forming = false; }

  std::uint64_t size_bytes() const override { return record_.size_bytes; }
  io::Task<Result<void>> read(DiskOffset offset, Buffer out) override {
    const DiskOffset shifted = shift(offset, out.size());
    return disk_.read(shifted, std::move(out));
  }
  io::Task<Result<void>> write(DiskOffset offset, std::vector<Buffer> pieces,
                               io::Durability durability) override {
    std::uint64_t length = 0;
    for (const Buffer& piece : pieces) length += piece.size();
    if (durability == io::Durability::kVolatile) ++changes_;
    return disk_.write(shift(offset, length), std::move(pieces), durability);
  }
  io::Task<Result<void>> flush() override {
    const std::uint64_t changes = changes_;
    // Without a write in doubt a failed flush of others took nothing of ours.
    if (changes == changes_flushed_) failures_seen_ = shared_flush_.failures();
    TM_CO_TRY(co_await shared_flush_.flush(&failures_seen_));
    changes_flushed_ = changes;
    co_return Result<void>{};
  }
  io::Task<Result<void>> allocate(DiskOffset offset, std::uint64_t length_bytes) override {
    return disk_.allocate(shift(offset, length_bytes), length_bytes);
  }
  io::Task<Result<void>> discard(DiskOffset offset, std::uint64_t length_bytes) override {
    return disk_.discard(shift(offset, length_bytes), length_bytes);
  }
  io::Task<Result<void>> read_other_copies(DiskOffset offset, Buffer out,
                                           std::function<bool(Bytes)> is_right) override {
    const DiskOffset shifted = shift(offset, out.size());
    return disk_.read_other_copies(shifted, std::move(out), std::move(is_right));
  }
  io::Task<Result<void>> peek(DiskOffset offset, Buffer out) override {
    const DiskOffset shifted = shift(offset, out.size());
    return disk_.peek(shifted, std::move(out));
  }
  io::Task<Result<void>> peek_other_copies(DiskOffset offset, Buffer out,
                                           std::function<bool(Bytes)> is_right) override {
    const DiskOffset shifted = shift(offset, out.size());
    return disk_.peek_other_copies(shifted, std::move(out), std::move(is_right));
  }

 private:
  DiskOffset shift(DiskOffset offset, std::uint64_t length) const {
    TM_ASSERT(offset.value <= record_.size_bytes);
    TM_ASSERT(length <= record_.size_bytes - offset.value);
    return DiskOffset{offset_.value + offset.value};
  }
  io::Disk& disk_;
  SharedFlush& shared_flush_;
  std::uint64_t failures_seen_;
  std::uint64_t changes_ = 0;          // volatile writes begun, so far
  std::uint64_t changes_flushed_ = 0;  // of these, before the last successful flush
  LuRecord record_;
  const std::uint64_t first_slot_;
  const std::uint64_t slot_count_;
  const DiskOffset offset_;
};

}  // namespace tidemark::pool
