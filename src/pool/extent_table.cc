#include "pool/extent_table.h"

#include <algorithm>
#include <array>
#include <bit>
#include <string>

#include "pool/read_copy.h"

namespace tidemark::pool {

namespace {

using format::ExtentRecord;
using format::kExtentRecordSizeBytes;

MutableBytes record_in(const Buffer& chunk, std::uint64_t index) {
  return chunk.writable().subspan(index * kExtentRecordSizeBytes, kExtentRecordSizeBytes);
}

// What two differing copies of a record say together; see the table in docs/formats/disk.md. An empty
// optional is a free slot.
Result<std::optional<ExtentRecord>> merge(Bytes first, Bytes second, const DiskIdentity& disk,
                                          std::uint64_t slot) {
  const std::array<Result<ExtentRecord>, 2> copies = {format::decode_extent_record(first, disk, slot),
                                                      format::decode_extent_record(second, disk, slot)};
  std::optional<ExtentRecord> best;
  bool any_whole = false;
  for (const auto& copy : copies) {
    if (copy.ok()) {
      any_whole = true;
      if (!best.has_value() || copy->generation > best->generation) best = *copy;
    } else if (copy.error().code == ErrorCode::kNotFound) {
      any_whole = true;
    }
  }
  if (!any_whole) {
    return fail(ErrorCode::kDamaged, "both copies of the extent table are damaged for slot " +
                                         std::to_string(slot) +
                                         "; the disk cannot be used until it is restored or formatted anew");
  }
  return best;
}

// The first page of the table has records whenever there is any data. When one copy of it turned to zeroes
// and nothing of the other can be read, its slots are not free. Some bits that turned in an empty one are no
// more than that.
Result<void> check_first_page(const std::array<Buffer, 2>& copies, const DiskIdentity& disk) {
  constexpr int kTurnedBitsMax = 8;
  for (std::size_t copy = 0; copy < 2; ++copy) {
    const Bytes empty = Bytes(copies[copy]).first(kBlockSizeBytes);
    const Bytes other = Bytes(copies[1 - copy]).first(kBlockSizeBytes);
    if (!all_zero(empty) || all_zero(other)) continue;
    int bits = 0;
    for (const std::byte byte : other) bits += std::popcount(static_cast<unsigned char>(byte));
    bool any_reads = bits <= kTurnedBitsMax;
    for (std::uint64_t slot = 0; slot < kBlockSizeBytes / kExtentRecordSizeBytes && !any_reads; ++slot) {
      const Bytes record = other.subspan(slot * kExtentRecordSizeBytes, kExtentRecordSizeBytes);
      any_reads = format::decode_extent_record(record, disk, slot).ok();
    }
    if (!any_reads) {
      return fail(ErrorCode::kDamaged,
                  "both copies of the first page of the extent table are damaged; the disk cannot be "
                  "used until it is restored or formatted anew");
    }
  }
  return {};
}

}  // namespace

io::Task<Result<void>> ExtentTable::load(std::function<void(std::uint64_t, const ExtentRecord&)> found) {
  std::uint64_t free_from = 0;
  for (std::uint64_t slot = 0; slot < layout_.slot_count; slot += kChunkSlots) {
    TM_CO_TRY_ASSIGN(const bool used, co_await load_chunk(slot, found));
    // Slots are taken from the lowest on, so what was cleared lies below one that is in use, or little above
    // it.
    if (!used) continue;
    for (; free_from < slot; free_from += kChunkSlots) TM_CO_TRY(co_await write_again(free_from));
    free_from = slot + kChunkSlots;
  }
  if (free_from < layout_.slot_count) TM_CO_TRY(co_await write_again(free_from));
  co_return Result<void>{};
}

// What is read may be what a flush that failed left in a cache above the disk: shown until the power goes,
// and no later flush makes it durable. Written again it is.
io::Task<Result<void>> ExtentTable::write_again(std::uint64_t first_slot) {
  const std::uint64_t slots = std::min(kChunkSlots, layout_.slot_count - first_slot);
  const std::uint64_t bytes = (slots + kBlockSlots - 1) / kBlockSlots * kBlockSizeBytes;
  for (const std::uint64_t table : layout_.extent_table_offset) {
    const DiskOffset offset{table + first_slot * kExtentRecordSizeBytes};
    Buffer chunk = Buffer::allocate(bytes);
    TM_CO_TRY(co_await disk_.read(offset, chunk));
    std::vector<Buffer> pieces{std::move(chunk)};
    TM_CO_TRY(co_await disk_.write(offset, std::move(pieces), io::Durability::kVolatile));
  }
  co_return Result<void>{};
}

io::Task<Result<bool>> ExtentTable::load_chunk(
    std::uint64_t first_slot, const std::function<void(std::uint64_t, const ExtentRecord&)>& found) {
  const std::uint64_t slots = std::min(kChunkSlots, layout_.slot_count - first_slot);
  const std::uint64_t bytes = (slots + kBlockSlots - 1) / kBlockSlots * kBlockSizeBytes;
  const std::uint64_t begin_bytes = first_slot * kExtentRecordSizeBytes;
  std::array<Buffer, 2> copies = {Buffer::allocate(bytes), Buffer::allocate(bytes)};
  for (std::size_t copy = 0; copy < 2; ++copy) {
    const DiskOffset offset{layout_.extent_table_offset[copy] + begin_bytes};
    co_await read_copy(disk_, offset, copies[copy]);
    co_await mend_from_other_copies(offset, first_slot, copies[copy]);
  }
  if (first_slot == 0) TM_CO_TRY(check_first_page(copies, identity_));
  bool used = false;
  for (std::uint64_t i = 0; i < slots; ++i) {
    const std::uint64_t slot = first_slot + i;
    const MutableBytes first = record_in(copies[0], i);
    const MutableBytes second = record_in(copies[1], i);
    const bool equal = std::ranges::equal(first, second);
    if (equal && all_zero(first)) continue;
    used = true;
    TM_CO_TRY_ASSIGN(const auto record, merge(first, second, identity_, slot));
    std::array<std::byte, kExtentRecordSizeBytes> right{};
    if (record.has_value()) {
      format::encode_extent_record(*record, identity_, slot, right);
      found(slot, *record);
    }
    for (std::size_t copy = 0; copy < 2; ++copy) {
      const MutableBytes stored = record_in(copies[copy], i);
      if (std::ranges::equal(stored, right)) continue;
      std::ranges::copy(right, stored.begin());
    }
  }
  // In use, it is written again whole: see write_again().
  for (std::size_t copy = 0; copy < 2 && used; ++copy) {
    const DiskOffset offset{layout_.extent_table_offset[copy] + begin_bytes};
    std::vector<Buffer> pieces{copies[copy]};
    TM_CO_TRY(co_await disk_.write(offset, std::move(pieces), io::Durability::kVolatile));
  }
  co_return used;
}

// What a RAID group below has instead of blocks that hold damaged records. Where that is nothing, the other
// copy of the table may have them.
io::Task<void> ExtentTable::mend_from_other_copies(DiskOffset offset, std::uint64_t first_slot,
                                                   Buffer chunk) {
  for (std::uint64_t at = 0; at < chunk.size(); at += kBlockSizeBytes) {
    const std::uint64_t slot = first_slot + at / kExtentRecordSizeBytes;
    std::function<bool(Bytes)> is_whole = [this, slot](Bytes block) {
      for (std::uint64_t i = 0; i < kBlockSlots; ++i) {
        const Bytes record = block.subspan(i * kExtentRecordSizeBytes, kExtentRecordSizeBytes);
        const auto decoded = format::decode_extent_record(record, identity_, slot + i);
        if (!decoded.ok() && decoded.error().code == ErrorCode::kDamaged) return false;
      }
      return true;
    };
    Buffer block = chunk.slice(at, kBlockSizeBytes);
    if (all_zero(block) || is_whole(block)) continue;
    const DiskOffset place{offset.value + at};
    (void)co_await disk_.read_other_copies(place, std::move(block), std::move(is_whole));
  }
}

io::Task<Result<void>> ExtentTable::update(std::vector<ExtentChange> changes) {
  std::ranges::stable_sort(changes, {}, &ExtentChange::slot);
  for (std::size_t begin = 0; begin < changes.size();) {
    const std::uint64_t chunk = changes[begin].slot / kChunkSlots;
    std::size_t end = begin;
    while (end < changes.size() && changes[end].slot / kChunkSlots == chunk) ++end;
    for (std::uint32_t copy = 0; copy < 2; ++copy) {
      TM_CO_TRY(co_await update_chunk(copy, changes, begin, end));
    }
    begin = end;
  }
  co_return Result<void>{};
}

// Only the records of the changes are touched: the sectors around them are written as they were read.
io::Task<Result<void>> ExtentTable::update_chunk(std::uint32_t copy, const std::vector<ExtentChange>& changes,
                                                 std::size_t begin, std::size_t end) {
  const std::uint64_t first_block = changes[begin].slot / kBlockSlots;
  const std::uint64_t last_block = changes[end - 1].slot / kBlockSlots;
  const DiskOffset offset{layout_.extent_table_offset[copy] + first_block * kBlockSizeBytes};
  Buffer buffer = Buffer::allocate((last_block - first_block + 1) * kBlockSizeBytes);
  auto read = co_await disk_.read(offset, buffer);
  if (!read.ok()) {
    // The other copy has the same; and what cannot be read often can be written.
    const DiskOffset other{layout_.extent_table_offset[1 - copy] + first_block * kBlockSizeBytes};
    if (!(co_await disk_.read(other, buffer)).ok()) co_return read;
  }
  for (std::size_t i = begin; i < end; ++i) {
    const MutableBytes out = record_in(buffer, changes[i].slot - first_block * kBlockSlots);
    if (changes[i].record.has_value()) {
      format::encode_extent_record(*changes[i].record, identity_, changes[i].slot, out);
    } else {
      std::ranges::fill(out, std::byte{0});
    }
  }
  std::vector<Buffer> pieces{std::move(buffer)};
  TM_CO_TRY(co_await disk_.write(offset, std::move(pieces), io::Durability::kVolatile));
  co_return Result<void>{};
}

}  // namespace tidemark::pool
