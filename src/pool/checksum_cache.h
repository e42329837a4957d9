#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <unordered_map>
#include <vector>

#include "format/disk.h"
#include "io/disk.h"
#include "io/sync.h"

namespace tidemark::pool {

// One 4 KiB block of extent sectors: the state and the checksums of 512 blocks.
inline constexpr std::uint32_t kSectorsPerPage = kBlockSizeBytes / format::kSectorSizeBytes;
inline constexpr std::uint32_t kBlocksPerPage = kSectorsPerPage * format::kBlocksPerExtentSector;
inline constexpr std::uint32_t kPagesPerExtent = format::kExtentBlocks / kBlocksPerPage;
static_assert(kPagesPerExtent * kBlocksPerPage == format::kExtentBlocks);

enum class BlockState { kUnwritten, kWritten, kLost };

// Decoded page in memory. Blocks are counted from the page's first.
struct ChecksumPage {
  format::ExtentHeader header{};
  std::uint32_t half = 0;  // which of the extent's pages
  std::array<format::ExtentChecksums, kSectorsPerPage> sectors{};
  bool dirty = false;

  std::uint64_t key() const { return header.slot * kPagesPerExtent + half; }
  BlockState state(std::uint32_t block) const;
  std::uint32_t checksum(std::uint32_t block) const;
  void set_written(std::uint32_t block, std::uint32_t checksum);
  void set_unwritten(std::uint32_t begin, std::uint32_t end);
  bool blank() const;
};
using ChecksumPagePtr = std::shared_ptr<ChecksumPage>;

// The pages of all data volumes of a pool: a bounded LRU over the disk. Changed pages stay until they are
// written; when more than half of the cache is changed, writers write some early (write_back).
//
// A page that somebody holds (a ChecksumPagePtr across an await) is not evicted, so there is one copy of
// each page in memory; the bound may be exceeded by the pages that operations in flight hold.
//
// Owned by the pool, reactor thread only. The disk must outlive it.
class ChecksumCache {
 public:
  ChecksumCache(io::Scheduler& scheduler, io::Disk& disk, const format::DiskLayout& layout,
                std::uint64_t size_bytes_max);

  // The page from memory or the disk. A sector that is damaged, or belongs to something else, makes its
  // blocks lost; only a failing disk is an error.
  io::Task<Result<ChecksumPagePtr>> get(format::ExtentHeader header, std::uint32_t half) {
    return get(header, half, true);
  }
  // The same for whoever must leave the disk as it is: a damaged sector that redundancy below has whole is
  // not written again.
  io::Task<Result<ChecksumPagePtr>> peek(format::ExtentHeader header, std::uint32_t half) {
    return get(header, half, false);
  }
  // A blank page for an extent that is new on its slot: nothing of what lies there is looked at. Dirty.
  ChecksumPagePtr create(const format::ExtentHeader& header, std::uint32_t half);
  // The cached page, or a blank one without a look at the disk: for whoever sets the state of all its blocks.
  // Dirty.
  ChecksumPagePtr get_or_create(const format::ExtentHeader& header, std::uint32_t half);
  void mark_dirty(const ChecksumPagePtr& page);
  // Forgets the pages of a slot that was given up.
  void drop(LuNumber owner, std::uint64_t slot);

  bool over_dirty_limit() const { return dirty_.size() > dirty_pages_max_; }
  bool has_dirty(LuNumber owner) const;
  // Writes the dirty pages of `owner` (all of them when it is 0), volatile. One call at a time: two writes of
  // the same page must not overtake each other. On failure they are dirty again.
  io::Task<Result<void>> write_back(LuNumber owner);

  // A page as it lies on the disk.
  static Buffer encode(const ChecksumPage& page);

  std::size_t page_count() const { return pages_.size(); }
  std::size_t dirty_count() const { return dirty_.size(); }
  std::size_t pages_max() const { return pages_max_; }

 private:
  struct Slot {
    ChecksumPagePtr page;
    std::list<std::uint64_t>::iterator lru;  // end() while dirty
  };
  using DirtyKey = std::pair<std::uint32_t, std::uint64_t>;  // owner, key: disk order within an owner
  struct WriteBatch;

  ChecksumPagePtr find(const format::ExtentHeader& header, std::uint64_t key);
  io::Task<Result<ChecksumPagePtr>> get(format::ExtentHeader header, std::uint32_t half, bool repair);
  // The page as it lies there, or a whole one of another member of a RAID group.
  io::Task<Result<Buffer>> load(DiskOffset offset, std::function<bool(Bytes)> is_whole, bool repair);
  void insert(const ChecksumPagePtr& page);
  void erase(std::uint64_t key);
  void make_clean(std::uint64_t key);
  void trim();
  std::uint64_t disk_offset(const ChecksumPage& page) const;
  io::Task<void> write_pages(WriteBatch* batch);

  io::Scheduler& scheduler_;
  io::Disk& disk_;
  const format::DiskLayout layout_;
  const std::size_t pages_max_;
  const std::size_t dirty_pages_max_;
  std::unordered_map<std::uint64_t, Slot> pages_;
  std::list<std::uint64_t> lru_;  // clean pages, the most recently used first
  std::map<DirtyKey, ChecksumPagePtr> dirty_;
  std::set<std::uint64_t> loading_;
  io::WaitQueue loaded_;
};

}  // namespace tidemark::pool
