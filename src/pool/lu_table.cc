#include "pool/lu_table.h"

#include <algorithm>
#include <array>
#include <functional>
#include <string>
#include <utility>

#include "pool/read_copy.h"

namespace tidemark::pool {

namespace {

using format::kSectorSizeBytes;
using format::LuState;
using format::LuTableRecord;

// What is read of a copy of the table at a time.
constexpr std::uint32_t kLoadBlocks = 16;

Result<std::optional<LuTableRecord>> merge(Bytes first, Bytes second, const DiskIdentity& disk,
                                           std::uint32_t index, std::uint32_t* damaged) {
  const std::array<Result<LuTableRecord>, 2> copies = {format::decode_lu_record(first, disk, index),
                                                       format::decode_lu_record(second, disk, index)};
  std::optional<LuTableRecord> best;
  bool any_whole = false;
  for (const auto& copy : copies) {
    if (copy.ok()) {
      any_whole = true;
      if (!best.has_value() || copy->sequence > best->sequence) best = *copy;
    } else if (copy.error().code == ErrorCode::kNotFound) {
      any_whole = true;
    } else if (copy.error().code == ErrorCode::kUnsupported) {
      return copy.error();
    } else {
      ++*damaged;
    }
  }
  if (!any_whole) {
    return fail(ErrorCode::kDamaged, "both copies of record " + std::to_string(index) +
                                         " of the table of logical units are damaged; the disk cannot be "
                                         "used until it is restored or formatted anew");
  }
  return best;
}

}  // namespace

LuTable::LuTable(io::Disk& disk, const format::DiskLayout& layout, const DiskIdentity& identity,
                 PoolNumber pool)
    : disk_(disk),
      layout_(layout),
      identity_(identity),
      records_(layout.lu_records),
      number_last_((pool.value + std::uint64_t{1}) * format::kLuNumbersPerPool - 1),
      number_max_(std::uint64_t{pool.value} * format::kLuNumbersPerPool) {}

io::Task<Result<void>> LuTable::load() {
  const std::array<Buffer, 2> copies = {Buffer::allocate(kLoadBlocks * kBlockSizeBytes),
                                        Buffer::allocate(kLoadBlocks * kBlockSizeBytes)};
  const auto blocks = static_cast<std::uint32_t>(records_.size() / kBlockRecords);
  for (std::uint32_t block = 0; block < blocks; ++block) {
    const std::uint32_t in_piece = block % kLoadBlocks;
    if (in_piece == 0) {
      const std::size_t bytes = std::min(kLoadBlocks, blocks - block) * kBlockSizeBytes;
      for (std::uint32_t copy = 0; copy < 2; ++copy) {
        const DiskOffset offset = block_offset(copy, block);
        Buffer piece = copies[copy].slice(0, bytes);
        co_await read_copy(disk_, offset, std::move(piece));
      }
    }
    const Buffer first = copies[0].slice(in_piece * kBlockSizeBytes, kBlockSizeBytes);
    const Buffer second = copies[1].slice(in_piece * kBlockSizeBytes, kBlockSizeBytes);
    if (all_zero(first) && all_zero(second)) continue;
    for (std::uint32_t copy = 0; copy < 2; ++copy) {
      const Buffer read = copy == 0 ? first : second;
      std::function<bool(Bytes)> is_whole = [this, block](Bytes bytes) { return reads(block, bytes); };
      if (is_whole(read)) continue;
      (void)co_await disk_.read_other_copies(block_offset(copy, block), read, std::move(is_whole));
    }
    TM_CO_TRY(adopt_block(block, first, second));
    Buffer right = encode_block(block);
    for (std::uint32_t copy = 0; copy < 2; ++copy) {
      if (std::ranges::equal(Bytes(copy == 0 ? first : second), Bytes(right))) continue;
      const DiskOffset offset = block_offset(copy, block);
      std::vector<Buffer> pieces{right};
      TM_CO_TRY(co_await disk_.write(offset, std::move(pieces), io::Durability::kDurable));
    }
  }
  co_return Result<void>{};
}

bool LuTable::reads(std::uint32_t block, Bytes bytes) const {
  for (std::uint32_t i = 0; i < kBlockRecords; ++i) {
    const Bytes sector = bytes.subspan(i * kSectorSizeBytes, kSectorSizeBytes);
    const auto record = format::decode_lu_record(sector, identity_, block * kBlockRecords + i);
    if (!record.ok() && record.error().code == ErrorCode::kDamaged) return false;
  }
  return true;
}

Result<void> LuTable::adopt_block(std::uint32_t block, Bytes first, Bytes second) {
  for (std::uint32_t i = 0; i < kBlockRecords; ++i) {
    const std::uint32_t index = block * kBlockRecords + i;
    TM_TRY_ASSIGN(records_[index], merge(first.subspan(i * kSectorSizeBytes, kSectorSizeBytes),
                                         second.subspan(i * kSectorSizeBytes, kSectorSizeBytes), identity_,
                                         index, &damaged_copies_));
    if (!records_[index].has_value()) continue;
    sequence_ = std::max(sequence_, records_[index]->sequence);
    number_max_ = std::max<std::uint64_t>(number_max_, records_[index]->number.value);
  }
  return {};
}

const LuTableRecord* LuTable::find(LuNumber number) const {
  for (const auto& record : records_) {
    if (record.has_value() && record->number == number) return &*record;
  }
  return nullptr;
}

LuNumber LuTable::take_number() {
  if (number_max_ >= number_last_) return {};
  return LuNumber{static_cast<std::uint32_t>(++number_max_)};
}

// Free records first. The place of a removed unit may be taken: the newcomer's number is higher.
std::optional<std::uint32_t> LuTable::place_for(LuNumber number) const {
  std::optional<std::uint32_t> free;
  std::optional<std::uint32_t> removed;
  for (std::uint32_t i = 0; i < records_.size(); ++i) {
    if (!records_[i].has_value()) {
      if (!free.has_value()) free = i;
    } else if (records_[i]->number == number) {
      return i;
    } else if (records_[i]->state == LuState::kRemoved && !removed.has_value() &&
               !held_.contains(records_[i]->number.value)) {
      removed = i;
    }
  }
  return free.has_value() ? free : removed;
}

Buffer LuTable::encode_block(std::uint32_t block) const {
  Buffer buffer = Buffer::allocate(kBlockSizeBytes);
  std::ranges::fill(buffer.writable(), std::byte{0});
  for (std::uint32_t i = 0; i < kBlockRecords; ++i) {
    const std::uint32_t index = block * kBlockRecords + i;
    if (!records_[index].has_value()) continue;
    const MutableBytes sector = buffer.writable().subspan(i * kSectorSizeBytes, kSectorSizeBytes);
    format::encode_lu_record(*records_[index], identity_, index, sector);
  }
  return buffer;
}

io::Task<Result<void>> LuTable::put(LuTableRecord record, bool* maybe_written) {
  const auto place = place_for(record.number);
  if (!place.has_value()) {
    co_return fail(ErrorCode::kNoSpace, "the table of logical units is full (" +
                                            std::to_string(records_.size()) +
                                            " units); remove a group or a volume first");
  }
  const auto previous = records_[*place];
  record.sequence = ++sequence_;
  records_[*place] = record;
  if (record.state == LuState::kRemoved) held_.insert(record.number.value);
  if (maybe_written != nullptr) *maybe_written = true;
  auto written = co_await write_block(*place / kBlockRecords);
  if (written.ok()) co_return Result<void>{};
  // The disk may hold either. What the next write of this block puts there is the state that the caller
  // goes on with: as it was, or, for a new unit, none.
  records_[*place] = previous.has_value() && previous->number == record.number ? *previous : record;
  if (!previous.has_value() || previous->number != record.number) {
    records_[*place]->state = LuState::kRemoved;
  }
  records_[*place]->sequence = ++sequence_;
  co_return written;
}

io::Task<Result<void>> LuTable::write_block(std::uint32_t block) {
  const Buffer buffer = encode_block(block);
  for (std::uint32_t copy = 0; copy < 2; ++copy) {
    const DiskOffset offset = block_offset(copy, block);
    std::vector<Buffer> pieces{buffer};
    TM_CO_TRY(co_await disk_.write(offset, std::move(pieces), io::Durability::kDurable));
  }
  co_return Result<void>{};
}

}  // namespace tidemark::pool
