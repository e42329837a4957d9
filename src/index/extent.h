#pragma once

#include <algorithm>
#include <cstdint>

#include "base/ids.h"

namespace tidemark::index {

// Ranges are kept as aligned extents of 16ⁿ blocks. n is the extent's *size class*:
//   0: 4 KiB   1: 64 KiB   2: 1 MiB   3: 16 MiB   4: 256 MiB   5: 4 GiB   6: 64 GiB   7: 1 TiB
inline constexpr unsigned kExtentShift = 4;
inline constexpr unsigned kSizeClassCount = 8;
inline constexpr unsigned kSizeClassMax = kSizeClassCount - 1;
// Data carries a checksum a block: a value is never larger than that of 1 MiB, the largest write of one
// entry.
inline constexpr unsigned kDataSizeClassMax = 2;

constexpr std::uint64_t extent_blocks(unsigned size_class) {
  return 1ull << (kExtentShift * size_class);
}
static_assert(extent_blocks(kSizeClassMax) * kBlockSizeBytes == 1ull << 40);

constexpr std::uint64_t extent_of(std::uint64_t block, unsigned size_class) {
  return block >> (kExtentShift * size_class);
}
constexpr BlockRange blocks_of_extent(std::uint64_t extent, unsigned size_class) {
  const unsigned shift = kExtentShift * size_class;
  return {extent << shift, (extent + 1) << shift};
}

// Cuts `blocks` into the fewest aligned extents, in order: take(size_class, extent).
// [15, 40) becomes block 15, the 16 blocks [16, 32), and blocks 32 … 39: ten extents.
template <typename Take>
void for_each_extent(BlockRange blocks, unsigned size_class_max, Take take) {
  std::uint64_t block = blocks.begin;
  while (block < blocks.end) {
    unsigned size_class = 0;
    while (size_class < size_class_max && (block & (extent_blocks(size_class + 1) - 1)) == 0 &&
           blocks.end - block >= extent_blocks(size_class + 1)) {
      ++size_class;
    }
    take(size_class, extent_of(block, size_class));
    block += extent_blocks(size_class);
  }
}

}  // namespace tidemark::index
