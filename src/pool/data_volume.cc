#include "pool/data_volume.h"

#include <algorithm>
#include <functional>
#include <string>

#include "base/crc32c.h"

namespace tidemark::pool {

namespace {

using format::kExtentBlocks;
using format::kExtentHeadBytes;
using format::kExtentSizeBytes;
using format::kSlotSizeBytes;

// Slots whose space is promised with one call when they are free neighbours: a compromise between calls
// to the file system and space held that nobody uses yet.
constexpr std::uint64_t kGrowSlotsMax = 8;

}  // namespace

format::LuTableRecord to_table_record(const LuRecord& record) {
  format::LuTableRecord entry;
  entry.number = record.number;
  entry.kind = static_cast<std::uint8_t>(record.kind);
  entry.group = record.group;
  entry.volume = record.volume;
  entry.size_bytes = record.size_bytes;
  if (record.forming) entry.state = format::LuState::kForming;
  return entry;
}

std::vector<DataVolumeImpl::Part> DataVolumeImpl::split(BlockRange blocks) {
  std::vector<Part> parts;
  for (std::uint64_t at = blocks.begin; at < blocks.end;) {
    const std::uint64_t index = at / kExtentBlocks;
    const std::uint64_t end = std::min(blocks.end, (index + 1) * kExtentBlocks);
    Part part;
    part.index = index;
    part.begin = static_cast<std::uint32_t>(at % kExtentBlocks);
    part.end = part.begin + static_cast<std::uint32_t>(end - at);
    part.data_offset = (at - blocks.begin) * kBlockSizeBytes;
    parts.push_back(part);
    at = end;
  }
  return parts;
}

BlockRange DataVolumeImpl::in_page(const Part& part, std::uint32_t half) {
  const std::uint32_t first = half * kBlocksPerPage;
  const std::uint32_t begin = std::max(part.begin, first);
  const std::uint32_t end = std::min(part.end, first + kBlocksPerPage);
  if (begin >= end) return {};
  return {begin - first, end - first};
}

Result<void> DataVolumeImpl::check_bounds(BlockRange blocks, const char* what) const {
  if (blocks.begin <= blocks.end && blocks.end <= record_.size_bytes / kBlockSizeBytes) return {};
  return fail(ErrorCode::kInvalid, std::string(what) + " of blocks [" + std::to_string(blocks.begin) + ", " +
                                       std::to_string(blocks.end) + ") goes beyond logical unit " +
                                       std::to_string(record_.number.value) + " of " +
                                       std::to_string(record_.size_bytes) + " bytes");
}

format::ExtentHeader DataVolumeImpl::header_of(std::uint64_t index, const Extent& extent) const {
  format::ExtentHeader header;
  header.disk = core_.label.disk;
  header.slot = extent.slot;
  header.owner = record_.number;
  header.extent_index = static_cast<std::uint32_t>(index);
  header.generation = extent.generation;
  header.group = record_.group;
  header.volume = record_.volume;
  return header;
}

DiskOffset DataVolumeImpl::block_offset(const Extent& extent, std::uint32_t block) const {
  return DiskOffset{core_.label.layout.slot_offset(extent.slot) + kExtentHeadBytes + block * kBlockSizeBytes};
}

std::string DataVolumeImpl::describe(std::uint64_t index, const Extent& extent, std::uint32_t block) const {
  return "block " + std::to_string(index * kExtentBlocks + block) + " of volume " +
         std::to_string(record_.volume.value) + " of group " + record_.group.to_string() + " (logical unit " +
         std::to_string(record_.number.value) + ", disk offset " +
         std::to_string(block_offset(extent, block).value) + ")";
}

// ---- Space ----

bool DataVolumeImpl::is_reserved(BlockRange blocks) const {
  if (blocks.empty()) return true;
  if (blocks.end > record_.size_bytes / kBlockSizeBytes) return false;
  for (std::uint64_t i = blocks.begin / kExtentBlocks; i <= (blocks.end - 1) / kExtentBlocks; ++i) {
    if (extents_.get(i).state == ExtentState::kNone) return false;
  }
  return true;
}

io::Task<Result<void>> DataVolumeImpl::reserve(BlockRange blocks) {
  TM_CO_TRY(check_bounds(blocks, "a reservation"));
  if (is_reserved(blocks)) co_return Result<void>{};
  const auto guard = co_await core_.space_mutex.lock();
  std::vector<std::uint64_t> missing;
  for (std::uint64_t i = blocks.begin / kExtentBlocks; i <= (blocks.end - 1) / kExtentBlocks; ++i) {
    if (extents_.get(i).state == ExtentState::kNone) missing.push_back(i);
  }
  SlotGrant grant(core_.slots);
  TM_CO_TRY(co_await take_slots(missing.size(), &grant));
  TM_CO_TRY(check_bounds(blocks, "a reservation"));
  for (std::size_t i = 0; i < missing.size(); ++i) {
    Extent extent;
    extent.slot = static_cast<std::uint32_t>(grant.taken()[i]);
    extent.state = ExtentState::kReserved;
    extents_.set(missing[i], extent);
  }
  grant.commit();
  co_return Result<void>{};
}

io::Task<Result<void>> DataVolumeImpl::take_slots(std::size_t count, SlotGrant* grant) {
  while (grant->taken().size() < count) {
    auto slot = core_.slots.first_free();
    if (!slot.has_value()) {
      co_return fail(ErrorCode::kNoSpace,
                     "the pool is full: all of its " +
                         std::to_string(core_.slots.slot_count() * kExtentSizeBytes) +
                         " bytes are in use; remove volumes, discard data or add a larger disk");
    }
    if (!core_.slots.is_backed(*slot)) {
      std::uint64_t run = core_.slots.unbacked_run(*slot, kGrowSlotsMax);
      const DiskOffset offset{core_.label.layout.slot_offset(*slot)};
      auto promised = co_await core_.disk.allocate(offset, run * kSlotSizeBytes);
      if (!promised.ok() && promised.error().code == ErrorCode::kNoSpace && run > 1) {
        run = 1;
        promised = co_await core_.disk.allocate(offset, kSlotSizeBytes);
      }
      if (promised.ok()) {
        for (std::uint64_t i = 0; i < run; ++i) core_.slots.set_backed(*slot + i, true);
      } else {
        // What was promised once and is free again needs nothing of whoever holds the disk.
        slot = promised.error().code == ErrorCode::kNoSpace ? core_.slots.first_free_backed() : std::nullopt;
        if (!slot.has_value()) co_return promised;
      }
    }
    grant->take(*slot);
  }
  co_return Result<void>{};
}

// ---- Reading ----

io::Task<Result<void>> DataVolumeImpl::read(BlockRange blocks, Buffer out) {
  TM_ASSERT(out.size() == blocks.count() * kBlockSizeBytes);
  TM_CO_TRY(check_bounds(blocks, "a read"));
  for (const Part& part : split(blocks)) {
    Buffer piece = out.slice(part.data_offset, part.count() * kBlockSizeBytes);
    TM_CO_TRY(co_await read_part(part, std::move(piece)));
  }
  co_return Result<void>{};
}

io::Task<Result<void>> DataVolumeImpl::read_part(Part part, Buffer out) {
  for (;;) {
    const Extent extent = extents_.get(part.index);
    if (extent.state < ExtentState::kNew) {
      std::ranges::fill(out.writable(), std::byte{0});
      co_return Result<void>{};
    }
    const format::ExtentHeader header = header_of(part.index, extent);
    std::vector<ChecksumPagePtr> pages(kPagesPerExtent);
    for (std::uint32_t half = 0; half < kPagesPerExtent; ++half) {
      if (in_page(part, half).empty()) continue;
      TM_CO_TRY_ASSIGN(pages[half], co_await core_.cache.get(header, half));
    }
    TM_CO_TRY_ASSIGN(const BlockRange stored, find_stored(part, extent, pages));
    if (!stored.empty()) {
      const auto first = static_cast<std::uint32_t>(stored.begin);
      Buffer piece = out.slice((first - part.begin) * kBlockSizeBytes, stored.count() * kBlockSizeBytes);
      const DiskOffset offset = block_offset(extent, first);
      TM_CO_TRY(co_await core_.disk.read(offset, std::move(piece)));
    }
    // Given up and perhaps somebody else's by now: what was read is not ours.
    const Extent now = extents_.get(part.index);
    if (now.slot != extent.slot || now.generation != extent.generation || now.state < ExtentState::kNew) {
      continue;
    }
    auto verified = verify(part, extent, pages, out.writable());
    if (verified.ok()) co_return verified;
    const auto repaired = co_await read_other_copies(part, extent, pages, out);
    // What is wrong may be so because it was given up while other copies were looked for.
    const Extent after = extents_.get(part.index);
    if (after.slot != extent.slot || after.generation != extent.generation) continue;
    if (!repaired.ok()) co_return verified;
    co_return Result<void>{};
  }
}

// For each block that does not match its checksum, what redundancy below the pool has instead.
io::Task<Result<void>> DataVolumeImpl::read_other_copies(Part part, Extent extent,
                                                         std::vector<ChecksumPagePtr> pages, Buffer out) {
  for (std::uint32_t block = part.begin; block < part.end; ++block) {
    const ChecksumPage& page = *pages[block / kBlocksPerPage];
    if (page.state(block % kBlocksPerPage) != BlockState::kWritten) continue;
    const std::uint32_t checksum = page.checksum(block % kBlocksPerPage);
    Buffer piece = out.slice((block - part.begin) * kBlockSizeBytes, kBlockSizeBytes);
    if (crc32c(piece) == checksum) continue;
    std::function<bool(Bytes)> is_right = [checksum](Bytes bytes) { return crc32c(bytes) == checksum; };
    TM_CO_TRY(co_await core_.disk.read_other_copies(block_offset(extent, block), std::move(piece),
                                                    std::move(is_right)));
  }
  co_return Result<void>{};
}

// From the first to the last of the part's blocks that lie on the disk: one read, whatever lies between.
Result<BlockRange> DataVolumeImpl::find_stored(const Part& part, const Extent& extent,
                                               const std::vector<ChecksumPagePtr>& pages) const {
  BlockRange stored{};
  for (std::uint32_t block = part.begin; block < part.end; ++block) {
    const BlockState state = pages[block / kBlocksPerPage]->state(block % kBlocksPerPage);
    if (state == BlockState::kUnwritten) continue;
    if (state == BlockState::kLost) {
      return fail(ErrorCode::kDamaged,
                  describe(part.index, extent, block) +
                      " has lost its checksum: the sector that describes it was damaged");
    }
    if (stored.empty()) stored.begin = block;
    stored.end = block + 1;
  }
  return stored;
}

Result<void> DataVolumeImpl::verify(const Part& part, const Extent& extent,
                                    const std::vector<ChecksumPagePtr>& pages, MutableBytes out) const {
  for (std::uint32_t block = part.begin; block < part.end; ++block) {
    const ChecksumPage& page = *pages[block / kBlocksPerPage];
    const MutableBytes bytes = out.subspan((block - part.begin) * kBlockSizeBytes, kBlockSizeBytes);
    if (page.state(block % kBlocksPerPage) != BlockState::kWritten) {
      std::ranges::fill(bytes, std::byte{0});
    } else if (crc32c(bytes) != page.checksum(block % kBlocksPerPage)) {
      return fail(ErrorCode::kDamaged, describe(part.index, extent, block) + " does not match its checksum");
    }
  }
  return {};
}

// ---- Changing ----

io::Task<Result<void>> DataVolumeImpl::write(BlockRange blocks, Buffer data,
                                             std::vector<std::uint32_t> checksums) {
  TM_ASSERT(data.size() == blocks.count() * kBlockSizeBytes);
  TM_ASSERT(checksums.size() == blocks.count());
  TM_CO_TRY(check_bounds(blocks, "a write"));
  for (const Part& part : split(blocks)) {
    TM_CO_TRY(co_await write_part(part, data, &checksums));
  }
  if (core_.cache.over_dirty_limit()) co_return co_await relieve_cache();
  co_return Result<void>{};
}

io::Task<Result<void>> DataVolumeImpl::write_part(Part part, Buffer data,
                                                  const std::vector<std::uint32_t>* checksums) {
  Extent extent = extents_.get(part.index);
  if (extent.state == ExtentState::kNone) {
    const std::uint64_t first = part.index * kExtentBlocks;
    TM_CO_TRY(co_await reserve(BlockRange{first + part.begin, first + part.end}));
    extent = extents_.get(part.index);
  }
  if (extent.state == ExtentState::kReserved) extent = begin_extent(part.index, extent);
  const format::ExtentHeader header = header_of(part.index, extent);
  std::vector<ChecksumPagePtr> pages(kPagesPerExtent);
  for (std::uint32_t half = 0; half < kPagesPerExtent; ++half) {
    const BlockRange range = in_page(part, half);
    if (range.empty() || range.count() == kBlocksPerPage) continue;
    TM_CO_TRY_ASSIGN(pages[half], co_await core_.cache.get(header, half));
  }
  const SlotWatch::Writing writing(core_.watch, extent.slot);
  std::vector<Buffer> pieces{data.slice(part.data_offset, part.count() * kBlockSizeBytes)};
  const DiskOffset offset = block_offset(extent, part.begin);
  ++changes_;
  auto written = co_await core_.disk.write(offset, std::move(pieces), io::Durability::kVolatile);
  ++changes_;
  if (!written.ok()) co_return written;
  if (extents_.get(part.index).generation != extent.generation) {
    co_return fail(ErrorCode::kIo, describe(part.index, extent, part.begin) +
                                       " was being written when a flush of its disk failed");
  }
  const std::size_t first_checksum = part.data_offset / kBlockSizeBytes;
  for (std::uint32_t half = 0; half < kPagesPerExtent; ++half) {
    const BlockRange range = in_page(part, half);
    if (range.empty()) continue;
    if (pages[half] == nullptr) pages[half] = core_.cache.get_or_create(header, half);
    core_.cache.mark_dirty(pages[half]);
    for (auto block = static_cast<std::uint32_t>(range.begin); block < range.end; ++block) {
      const std::size_t i = first_checksum + half * kBlocksPerPage + block - part.begin;
      pages[half]->set_written(block, (*checksums)[i]);
    }
  }
  co_return Result<void>{};
}

// From here on the extent has all its sectors, blank ones, in the cache and soon on the disk.
Extent DataVolumeImpl::begin_extent(std::uint64_t index, Extent extent) {
  extent.generation = core_.next_generation++;
  extent.state = ExtentState::kNew;
  core_.watch.changes(extent.slot);
  extents_.set(index, extent);
  new_extents_.insert(index);
  const format::ExtentHeader header = header_of(index, extent);
  for (std::uint32_t half = 0; half < kPagesPerExtent; ++half) core_.cache.create(header, half);
  return extent;
}

io::Task<Result<void>> DataVolumeImpl::discard(BlockRange blocks) {
  return clear(blocks, true);
}

io::Task<Result<void>> DataVolumeImpl::zero(BlockRange blocks) {
  return clear(blocks, false);
}

io::Task<Result<void>> DataVolumeImpl::clear(BlockRange blocks, bool gives_back) {
  TM_CO_TRY(check_bounds(blocks, "a discard"));
  std::uint64_t at = blocks.begin;
  while (at < blocks.end) {
    // Passes over what is thin, however large: a discard of a terabyte costs what is there.
    const auto index = extents_.next_mapped(at / kExtentBlocks);
    if (!index.has_value()) break;
    at = std::max(at, *index * kExtentBlocks);
    if (at >= blocks.end) break;
    const std::uint64_t end = std::min(blocks.end, (*index + 1) * kExtentBlocks);
    const Part part = split(BlockRange{at, end}).front();
    TM_CO_TRY(co_await clear_part(part, gives_back));
    at = end;
  }
  if (core_.cache.over_dirty_limit()) co_return co_await relieve_cache();
  co_return Result<void>{};
}

io::Task<Result<void>> DataVolumeImpl::clear_part(Part part, bool gives_back) {
  const Extent extent = extents_.get(part.index);
  // The last extent may end behind the volume: its blocks there are blank or will be before they are seen.
  const bool whole = part.begin == 0 && (part.whole() || part.index * kExtentBlocks + part.end ==
                                                             record_.size_bytes / kBlockSizeBytes);
  if (whole && gives_back) {
    release_extent(part.index);
    co_return Result<void>{};
  }
  if (extent.state < ExtentState::kNew) co_return Result<void>{};
  const format::ExtentHeader header = header_of(part.index, extent);
  bool blank = gives_back;
  for (std::uint32_t half = 0; half < kPagesPerExtent; ++half) {
    const BlockRange range = in_page(part, half);
    if (range.empty() && !blank) continue;  // only to learn whether anything is left
    ChecksumPagePtr page;
    if (range.count() == kBlocksPerPage) {
      page = core_.cache.get_or_create(header, half);
    } else {
      TM_CO_TRY_ASSIGN(page, co_await core_.cache.get(header, half));
    }
    // Also where it is blank already: that may be what a failed flush left, see ExtentTable::load().
    if (!range.empty()) {
      core_.watch.changes(extent.slot);
      // Also where only checksums change: the page may be written, and clean, before it is durable.
      ++changes_;
      core_.cache.mark_dirty(page);
      page->set_unwritten(static_cast<std::uint32_t>(range.begin), static_cast<std::uint32_t>(range.end));
    }
    blank = blank && page->blank();
  }
  if (blank && extents_.get(part.index).generation == extent.generation) release_extent(part.index);
  co_return Result<void>{};
}

void DataVolumeImpl::release_extent(std::uint64_t index) {
  const Extent extent = extents_.get(index);
  if (extent.state == ExtentState::kNone) return;
  core_.watch.changes(extent.slot);
  extents_.set(index, Extent{});
  if (extent.state == ExtentState::kReserved) {
    core_.slots.release(extent.slot, true);
    return;
  }
  core_.cache.drop(record_.number, extent.slot);
  new_extents_.erase(index);
  released_.push_back(extent.slot);
}

// Every page that is written here need not be kept; that it comes early does no harm.
io::Task<Result<void>> DataVolumeImpl::relieve_cache() {
  return core_.run_owned<void>([](PoolCore& core) -> io::Task<Result<void>> {
    const auto guard = co_await core.table_mutex.lock();
    if (!core.cache.over_dirty_limit()) co_return Result<void>{};
    co_return co_await core.cache.write_back(LuNumber{});
  }(core_));
}

io::Task<Result<void>> DataVolumeImpl::repair(std::uint64_t block, Buffer right) {
  const BlockRange range{block, block + 1};
  TM_CO_TRY(check_bounds(range, "a repair"));
  const Part part = split(range).front();
  const Extent extent = extents_.get(part.index);
  if (extent.state < ExtentState::kNew) co_return Result<void>{};  // it reads as zeroes
  const format::ExtentHeader header = header_of(part.index, extent);
  // What cannot be read is no failed write: nothing else is the worse for it.
  auto loaded = co_await core_.cache.get(header, part.begin / kBlocksPerPage);
  if (!loaded.ok()) {
    co_return fail(ErrorCode::kDamaged, describe(part.index, extent, part.begin) +
                                            " has a checksum that cannot be read: " + loaded.error().message);
  }
  const ChecksumPagePtr page = std::move(loaded).value();
  const std::uint32_t in_page = part.begin % kBlocksPerPage;
  const std::uint32_t checksum = crc32c(right);
  const BlockState state = page->state(in_page);
  if (state == BlockState::kUnwritten) co_return Result<void>{};
  if (state == BlockState::kWritten && page->checksum(in_page) != checksum) {
    co_return fail(ErrorCode::kDamaged, "what is offered for " + describe(part.index, extent, part.begin) +
                                            " is not what it held");
  }
  std::vector<std::uint32_t> checksums{checksum};
  TM_CO_TRY(co_await write(range, std::move(right), std::move(checksums)));
  co_return co_await flush();
}

// ---- Durability ----

io::Task<Result<void>> DataVolumeImpl::flush() {
  return core_.run_owned<void>(flush_owned(shared_from_this()));
}

io::Task<Result<void>> DataVolumeImpl::flush_owned(std::shared_ptr<DataVolumeImpl> self) {
  const auto guard = co_await self->core_.table_mutex.lock();
  if (self->removed_) co_return Result<void>{};
  co_return co_await self->flush_locked();
}

io::Task<Result<void>> DataVolumeImpl::flush_locked() {
  const std::uint64_t changes = changes_;
  if (changes == changes_flushed_ && new_extents_.empty() && released_.empty() &&
      !core_.cache.has_dirty(record_.number)) {
    flush_failures_seen_ = core_.shared_flush.failures();  // they took nothing of ours
    co_return Result<void>{};
  }
  std::vector<std::pair<std::uint64_t, Extent>> fresh;
  for (const std::uint64_t index : new_extents_) fresh.emplace_back(index, extents_.get(index));
  std::vector<std::uint64_t> released = std::exchange(released_, {});
  auto done = co_await core_.cache.write_back(record_.number);
  if (done.ok()) done = co_await core_.shared_flush.flush(&flush_failures_seen_);
  if (done.ok()) done = co_await record_extents(&fresh, &released);
  if (!done.ok()) {
    released_.insert(released_.end(), released.begin(), released.end());
    ++flushes_failed_;
    give_up_new_extents();
    co_return done;
  }
  changes_flushed_ = changes;
  for (const auto& [index, extent] : fresh) {
    Extent now = extents_.get(index);
    if (now.state != ExtentState::kNew || now.generation != extent.generation) continue;
    now.state = ExtentState::kRecorded;
    extents_.set(index, now);
    new_extents_.erase(index);
  }
  co_await core_.give_back(std::move(released));
  co_return Result<void>{};
}

// Their sectors may be lost although the cache holds them for written. Nobody may count on what they held,
// and the slots are not used again before their records are known to be cleared.
void DataVolumeImpl::give_up_new_extents() {
  const std::set<std::uint64_t> indexes = new_extents_;
  for (const std::uint64_t index : indexes) release_extent(index);
}

io::Task<Result<void>> DataVolumeImpl::record_extents(
    const std::vector<std::pair<std::uint64_t, Extent>>* fresh, const std::vector<std::uint64_t>* released) {
  if (fresh->empty() && released->empty()) co_return Result<void>{};
  std::vector<ExtentChange> changes;
  changes.reserve(fresh->size() + released->size());
  for (const auto& [index, extent] : *fresh) {
    format::ExtentRecord entry;
    entry.owner = record_.number;
    entry.extent_index = static_cast<std::uint32_t>(index);
    entry.generation = extent.generation;
    changes.push_back({extent.slot, entry});
  }
  for (const std::uint64_t slot : *released) changes.push_back({slot, std::nullopt});
  TM_CO_TRY(co_await core_.extents.update(std::move(changes)));
  co_return co_await core_.shared_flush.flush(&flush_failures_seen_);
}

// ---- Size and place ----

io::Task<Result<void>> DataVolumeImpl::resize(std::uint64_t size_bytes) {
  return core_.run_owned<void>(resize_owned(shared_from_this(), size_bytes));
}

io::Task<Result<void>> DataVolumeImpl::resize_owned(std::shared_ptr<DataVolumeImpl> self,
                                                    std::uint64_t size_bytes) {
  if (size_bytes % kBlockSizeBytes != 0 || size_bytes > kVolumeSizeBytesMax) {
    co_return fail(ErrorCode::kInvalid, "a volume of " + std::to_string(size_bytes) +
                                            " bytes cannot be: it takes a multiple of 4096, at most " +
                                            std::to_string(kVolumeSizeBytesMax));
  }
  const auto guard = co_await self->core_.table_mutex.lock();
  const std::uint64_t before = self->record_.size_bytes;
  if (self->removed_ || size_bytes == before) co_return Result<void>{};
  if (size_bytes < before) {
    TM_CO_TRY(co_await self->put_size(size_bytes));
    for (auto index = self->extents_.next_mapped(self->extent_count()); index.has_value();
         index = self->extents_.next_mapped(*index + 1)) {
      self->release_extent(*index);
    }
    co_return co_await self->flush_locked();
  }
  // An earlier shrinking may have left blocks in the last extent, behind the end.
  const std::uint64_t tail = before / kBlockSizeBytes;
  if (tail % kExtentBlocks != 0) {
    const std::uint64_t tail_end = (tail / kExtentBlocks + 1) * kExtentBlocks;
    const Part part = split(BlockRange{tail, tail_end}).front();
    TM_CO_TRY(co_await self->clear_part(part, false));
    TM_CO_TRY(co_await self->flush_locked());
  }
  co_return co_await self->put_size(size_bytes);
}

io::Task<Result<void>> DataVolumeImpl::put_size(std::uint64_t size_bytes) {
  LuRecord record = record_;
  record.size_bytes = size_bytes;
  TM_CO_TRY(co_await core_.units.put(to_table_record(record)));
  record_ = record;
  co_return Result<void>{};
}

std::optional<BlockRange> DataVolumeImpl::next_allocated(std::uint64_t from) const {
  const std::uint64_t blocks = record_.size_bytes / kBlockSizeBytes;
  if (from >= blocks) return std::nullopt;
  const auto first = extents_.next_written(from / kExtentBlocks);
  if (!first.has_value() || *first >= extent_count()) return std::nullopt;
  std::uint64_t end = *first + 1;
  while (end < extent_count() && extents_.get(end).state >= ExtentState::kNew) ++end;
  return BlockRange{std::max(from, *first * kExtentBlocks), std::min(blocks, end * kExtentBlocks)};
}

AddressTranslation DataVolumeImpl::translate(std::uint64_t offset_bytes) const {
  AddressTranslation translation;
  if (offset_bytes >= record_.size_bytes) return translation;
  const Extent extent = extents_.get(offset_bytes / kExtentSizeBytes);
  if (extent.state == ExtentState::kNone) return translation;
  translation.allocated = true;
  translation.disk_offset = DiskOffset{core_.label.layout.slot_offset(extent.slot) + kExtentHeadBytes +
                                       offset_bytes % kExtentSizeBytes};
  return translation;
}

std::vector<std::uint64_t> DataVolumeImpl::abandon() {
  removed_ = true;
  std::vector<std::uint64_t> slots = std::exchange(released_, {});
  for (auto index = extents_.next_mapped(0); index.has_value(); index = extents_.next_mapped(*index + 1)) {
    const Extent extent = extents_.get(*index);
    core_.watch.changes(extent.slot);
    core_.cache.drop(record_.number, extent.slot);
    slots.push_back(extent.slot);
    extents_.set(*index, Extent{});
  }
  new_extents_.clear();
  return slots;
}

}  // namespace tidemark::pool
