#pragma once

#include <cstdint>
#include <memory>

#include "base/bytes.h"

namespace tidemark::group {

// Names a cached block by where it lies: `space` is the number of the logical unit, which is never used
// twice; `block` is a Place or a block index in it. What a key names never changes while it is cached, except
// for a base block, which destaging erases before it writes it.
struct CacheKey {
  std::uint64_t space = 0;
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
class BlockCache {
 public:
  explicit BlockCache(std::uint64_t size_bytes);
  ~BlockCache();
  // Copies the block to `out` (4096 bytes) on a hit.
  bool read(CacheKey key, MutableBytes out);
  bool contains(CacheKey key) const;
  void insert(CacheKey key, Bytes block);
  void erase(CacheKey key);
  // Forgets every block of `space` in [begin, end).
  void erase_range(std::uint64_t space, std::uint64_t begin, std::uint64_t end);
  BlockCacheStatus status() const;
  std::uint64_t size_bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tidemark::group
