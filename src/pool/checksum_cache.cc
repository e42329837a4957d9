#include "pool/checksum_cache.h"

#include <algorithm>
#include <functional>
#include <optional>

namespace tidemark::pool {

namespace {

// What a page costs: itself, its control block, hash node and list node.
constexpr std::size_t kPageCostBytes = sizeof(ChecksumPage) + 160;
constexpr std::size_t kPagesMin = 16;
constexpr std::uint32_t kPageWritesInFlightMax = 16;

constexpr std::uint64_t bit_of(std::uint32_t block) {
  return std::uint64_t{1} << (block % format::kBlocksPerExtentSector);
}

}  // namespace

BlockState ChecksumPage::state(std::uint32_t block) const {
  const auto& sector = sectors[block / format::kBlocksPerExtentSector];
  if ((sector.written & bit_of(block)) != 0) return BlockState::kWritten;
  return (sector.lost & bit_of(block)) != 0 ? BlockState::kLost : BlockState::kUnwritten;
}

std::uint32_t ChecksumPage::checksum(std::uint32_t block) const {
  return sectors[block / format::kBlocksPerExtentSector].checksum[block % format::kBlocksPerExtentSector];
}

void ChecksumPage::set_written(std::uint32_t block, std::uint32_t checksum) {
  auto& sector = sectors[block / format::kBlocksPerExtentSector];
  sector.written |= bit_of(block);
  sector.lost &= ~bit_of(block);
  sector.checksum[block % format::kBlocksPerExtentSector] = checksum;
}

void ChecksumPage::set_unwritten(std::uint32_t begin, std::uint32_t end) {
  for (std::uint32_t block = begin; block < end; ++block) {
    auto& sector = sectors[block / format::kBlocksPerExtentSector];
    sector.written &= ~bit_of(block);
    sector.lost &= ~bit_of(block);
  }
}

bool ChecksumPage::blank() const {
  return std::ranges::all_of(sectors, [](const auto& s) { return s.written == 0 && s.lost == 0; });
}

ChecksumCache::ChecksumCache(io::Scheduler& scheduler, io::Disk& disk, const format::DiskLayout& layout,
                             std::uint64_t size_bytes_max)
    : scheduler_(scheduler),
      disk_(disk),
      layout_(layout),
      pages_max_(std::max<std::size_t>(kPagesMin, size_bytes_max / kPageCostBytes)),
      dirty_pages_max_(pages_max_ / 2),
      loaded_(scheduler) {}

std::uint64_t ChecksumCache::disk_offset(const ChecksumPage& page) const {
  return layout_.slot_offset(page.header.slot) + page.half * kBlockSizeBytes;
}

// A page of an earlier owner of the slot, left by a reader that came late, does not count.
ChecksumPagePtr ChecksumCache::find(const format::ExtentHeader& header, std::uint64_t key) {
  const auto it = pages_.find(key);
  if (it == pages_.end()) return nullptr;
  if (it->second.page->header != header) {
    if (it->second.page->header.generation < header.generation) erase(key);
    return nullptr;
  }
  if (!it->second.page->dirty) lru_.splice(lru_.begin(), lru_, it->second.lru);
  return it->second.page;
}

io::Task<Result<Buffer>> ChecksumCache::load(DiskOffset offset, std::function<bool(Bytes)> is_whole,
                                             bool repair) {
  Buffer buffer = Buffer::allocate(kBlockSizeBytes);
  Result<void> read;
  if (repair) {
    read = co_await disk_.read(offset, buffer);
  } else {
    read = co_await disk_.peek(offset, buffer);
  }
  if (!read.ok()) co_return std::move(read).error();
  if (is_whole(buffer)) co_return buffer;
  // If no other one is whole, what is whole in this one counts.
  const Buffer other = Buffer::allocate(kBlockSizeBytes);
  Result<void> found;
  if (repair) {
    found = co_await disk_.read_other_copies(offset, other, std::move(is_whole));
  } else {
    found = co_await disk_.peek_other_copies(offset, other, std::move(is_whole));
  }
  co_return found.ok() ? other : buffer;
}

io::Task<Result<ChecksumPagePtr>> ChecksumCache::get(format::ExtentHeader header, std::uint32_t half,
                                                     bool repair) {
  const std::uint64_t key = header.slot * kPagesPerExtent + half;
  for (;;) {
    if (auto page = find(header, key); page != nullptr) co_return page;
    if (!loading_.contains(key)) break;
    co_await loaded_.wait();
  }
  // One reader fetches a page; were there two, the later one could bring back what the disk held before
  // a change was written. Ends also when this coroutine is destroyed.
  struct Loading {
    ChecksumCache& cache;
    std::uint64_t key;
    Loading(ChecksumCache& c, std::uint64_t k) : cache(c), key(k) { cache.loading_.insert(key); }
    ~Loading() {
      cache.loading_.erase(key);
      cache.loaded_.wake_all();
    }
  };
  const Loading loading(*this, key);
  auto page = std::make_shared<ChecksumPage>();
  page->header = header;
  page->half = half;
  const DiskOffset offset{disk_offset(*page)};
  std::function<bool(Bytes)> is_whole = [header, half](Bytes bytes) {
    for (std::uint32_t i = 0; i < kSectorsPerPage; ++i) {
      const Bytes sector = bytes.subspan(i * format::kSectorSizeBytes, format::kSectorSizeBytes);
      if (!format::decode_extent_sector(sector, header, half * kSectorsPerPage + i).ok()) return false;
    }
    return true;
  };
  TM_CO_TRY_ASSIGN(const Buffer buffer, co_await load(offset, std::move(is_whole), repair));
  for (std::uint32_t i = 0; i < kSectorsPerPage; ++i) {
    const Bytes sector = Bytes(buffer).subspan(i * format::kSectorSizeBytes, format::kSectorSizeBytes);
    auto decoded = format::decode_extent_sector(sector, header, half * kSectorsPerPage + i);
    if (decoded.ok()) {
      page->sectors[i] = *decoded;
    } else {
      page->sectors[i].lost = ~std::uint64_t{0};
    }
  }
  // Somebody may have given up the slot and created its pages anew meanwhile; theirs is the newer one.
  if (pages_.contains(key)) co_return page;
  insert(page);
  co_return page;
}

ChecksumPagePtr ChecksumCache::create(const format::ExtentHeader& header, std::uint32_t half) {
  auto page = std::make_shared<ChecksumPage>();
  page->header = header;
  page->half = half;
  erase(page->key());
  insert(page);
  mark_dirty(page);
  return page;
}

ChecksumPagePtr ChecksumCache::get_or_create(const format::ExtentHeader& header, std::uint32_t half) {
  auto page = find(header, header.slot * kPagesPerExtent + half);
  if (page == nullptr) return create(header, half);
  mark_dirty(page);
  return page;
}

void ChecksumCache::insert(const ChecksumPagePtr& page) {
  const std::uint64_t key = page->key();
  lru_.push_front(key);
  pages_.emplace(key, Slot{page, lru_.begin()});
  trim();
}

void ChecksumCache::mark_dirty(const ChecksumPagePtr& page) {
  if (page->dirty) return;
  page->dirty = true;
  const std::uint64_t key = page->key();
  const auto it = pages_.find(key);
  TM_ASSERT(it != pages_.end());
  TM_ASSERT(it->second.page == page);
  lru_.erase(it->second.lru);
  it->second.lru = lru_.end();
  dirty_.emplace(DirtyKey{page->header.owner.value, key}, page);
}

void ChecksumCache::make_clean(std::uint64_t key) {
  Slot& slot = pages_.at(key);
  slot.page->dirty = false;
  dirty_.erase(DirtyKey{slot.page->header.owner.value, key});
  lru_.push_front(key);
  slot.lru = lru_.begin();
}

void ChecksumCache::erase(std::uint64_t key) {
  const auto it = pages_.find(key);
  if (it == pages_.end()) return;
  if (it->second.page->dirty) {
    dirty_.erase(DirtyKey{it->second.page->header.owner.value, key});
    it->second.page->dirty = false;
  } else {
    lru_.erase(it->second.lru);
  }
  pages_.erase(it);
}

void ChecksumCache::drop(LuNumber owner, std::uint64_t slot) {
  for (std::uint32_t half = 0; half < kPagesPerExtent; ++half) {
    const auto it = pages_.find(slot * kPagesPerExtent + half);
    if (it != pages_.end() && it->second.page->header.owner == owner) erase(it->first);
  }
}

void ChecksumCache::trim() {
  // Each clean page is looked at once: those that somebody holds stay.
  std::size_t looks = lru_.size();
  while (pages_.size() > pages_max_ && looks-- > 0) {
    const std::uint64_t key = lru_.back();
    if (pages_.at(key).page.use_count() > 1) {
      lru_.splice(lru_.begin(), lru_, std::prev(lru_.end()));
      continue;
    }
    erase(key);
  }
}

bool ChecksumCache::has_dirty(LuNumber owner) const {
  const auto it = dirty_.lower_bound(DirtyKey{owner.value, 0});
  return it != dirty_.end() && it->first.first == owner.value;
}

Buffer ChecksumCache::encode(const ChecksumPage& page) {
  Buffer buffer = Buffer::allocate(kBlockSizeBytes);
  for (std::uint32_t i = 0; i < kSectorsPerPage; ++i) {
    const MutableBytes sector =
        buffer.writable().subspan(i * format::kSectorSizeBytes, format::kSectorSizeBytes);
    format::encode_extent_sector(page.header, page.half * kSectorsPerPage + i, page.sectors[i], sector);
  }
  return buffer;
}

struct ChecksumCache::WriteBatch {
  std::vector<ChecksumPagePtr> pages;
  std::size_t next = 0;
  std::optional<Error> error;
};

io::Task<void> ChecksumCache::write_pages(WriteBatch* batch) {
  while (batch->next < batch->pages.size() && !batch->error.has_value()) {
    const ChecksumPagePtr first = batch->pages[batch->next++];
    std::vector<ChecksumPagePtr> pages{first};
    // The two pages of an extent are neighbours on the disk: one write.
    if (batch->next < batch->pages.size() && first->half + 1 < kPagesPerExtent &&
        batch->pages[batch->next]->key() == first->key() + 1) {
      pages.push_back(batch->pages[batch->next++]);
    }
    std::vector<Buffer> pieces;
    for (const auto& page : pages) {
      // The pages of a slot that was given up meanwhile went together.
      TM_ASSERT(page->dirty == first->dirty || page == first);
      if (!page->dirty) break;
      pieces.push_back(encode(*page));
    }
    if (pieces.empty()) continue;
    for (const auto& page : pages) make_clean(page->key());
    const DiskOffset offset{disk_offset(*first)};
    auto written = co_await disk_.write(offset, std::move(pieces), io::Durability::kVolatile);
    if (written.ok()) continue;
    for (const auto& page : pages) {
      const auto it = pages_.find(page->key());
      if (it != pages_.end() && it->second.page == page) mark_dirty(page);
    }
    if (!batch->error.has_value()) batch->error = written.error();
  }
}

io::Task<Result<void>> ChecksumCache::write_back(LuNumber owner) {
  WriteBatch batch;
  for (auto it = dirty_.lower_bound(DirtyKey{owner.value, 0}); it != dirty_.end(); ++it) {
    if (owner.value != 0 && it->first.first != owner.value) break;
    batch.pages.push_back(it->second);
  }
  if (batch.pages.empty()) co_return Result<void>{};
  io::TaskScope scope(scheduler_);
  const std::size_t workers = std::min<std::size_t>(kPageWritesInFlightMax, batch.pages.size());
  for (std::size_t i = 0; i < workers; ++i) scope.spawn(write_pages(&batch));
  co_await scope.join();
  batch.pages.clear();
  trim();
  if (batch.error.has_value()) co_return std::move(*batch.error);
  co_return Result<void>{};
}

}  // namespace tidemark::pool
