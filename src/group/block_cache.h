#pragma once

#include <cstdint>
#include <memory>

#include "base/bytes.h"
#include "base/place.h"

namespace tidemark::group {

// Names a block of a volume: `volume` is a number that BlockCache::new_volume() gave, `block` its index.
struct CacheKey {
  std::uint64_t volume = 0;
  std::uint64_t block = 0;
  bool operator==(const CacheKey&) const = default;
};

struct BlockCacheStatus {
  std::uint64_t size_bytes = 0;
  std::uint64_t used_bytes = 0;
  std::uint64_t hits = 0;
  std::uint64_t misses = 0;
  std::uint64_t evictions = 0;
};

// Blocks of 4 KiB read from disk, shared by live volumes and views of all groups of a node. Memory is taken
// at first use in slabs and never exceeds the size. Scan-resistant (S3-FIFO: a block read once leaves through
// a small queue without pushing out what is read again). Reactor thread only.
//
// A block is kept in some of the versions that it has had, each named by its place in the journal, or by
// Place() as the one in the base. What is cached of the newest follows the volume: a write replaces it, and
// once destaged it is the base's as well. So a block that is read stays in memory however often it is
// written, and no memory is spent on what it was before.
class BlockCache {
 public:
  explicit BlockCache(std::uint64_t size_bytes);
  ~BlockCache();
  // For the keys of a volume that is opened; never given twice.
  std::uint64_t new_volume();

  // Copies the block to `out` (4096 bytes) on a hit.
  bool read(CacheKey key, Place version, MutableBytes out);
  bool contains(CacheKey key, Place version) const;
  // `block` is what was read of this version; nothing happens when it is there.
  void insert(CacheKey key, Place version, Bytes block);

  // Whole blocks from `first` on were written, at `version` and the places after it. The newest version of
  // each that is cached gives way to `data`. Where it was not read since the write before, and where the
  // write is a large one, it just goes: who writes only would pay for copies.
  void note_write(CacheKey first, Place version, Bytes data);
  // The base holds this version now; erase_base() was called before it was written.
  void note_destaged(CacheKey key, Place version);
  // Forgets what the base holds in [begin, end): it is about to change.
  void erase_base(std::uint64_t volume, std::uint64_t begin, std::uint64_t end);

  BlockCacheStatus status() const;
  std::uint64_t size_bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tidemark::group
