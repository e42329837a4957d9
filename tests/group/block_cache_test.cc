#include "group/block_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/place.h"

namespace tidemark::group {
namespace {

constexpr std::uint64_t kCacheBytes = 8 << 20;

std::vector<std::byte> block_of(std::uint64_t stamp) {
  std::vector<std::byte> block(kBlockSizeBytes);
  for (std::size_t i = 0; i < block.size(); i += 8) std::memcpy(block.data() + i, &stamp, 8);
  return block;
}

constexpr Place kBase{};

TEST(BlockCache, GivesBackWhatWasInsertedUnderTheSameKeyOnly) {
  BlockCache cache(kCacheBytes);
  std::vector<std::byte> out(kBlockSizeBytes);
  EXPECT_FALSE(cache.read({1, 7}, kBase, out));
  cache.insert({1, 7}, kBase, block_of(10));
  cache.insert({2, 7}, kBase, block_of(20));
  cache.insert({1, 7}, Place(3, 9), block_of(30));
  ASSERT_TRUE(cache.read({1, 7}, kBase, out));
  EXPECT_EQ(out, block_of(10));
  ASSERT_TRUE(cache.read({2, 7}, kBase, out));
  EXPECT_EQ(out, block_of(20));
  ASSERT_TRUE(cache.read({1, 7}, Place(3, 9), out));
  EXPECT_EQ(out, block_of(30));
  EXPECT_FALSE(cache.contains({1, 8}, kBase));
  EXPECT_FALSE(cache.contains({1, 7}, Place(3, 8)));
  EXPECT_FALSE(cache.contains({2, 7}, Place(3, 9)));
  EXPECT_EQ(cache.status().hits, 3u);
  EXPECT_EQ(cache.status().misses, 1u);
}

TEST(BlockCache, NoTwoVolumesHaveOneNumber) {
  BlockCache cache(kCacheBytes);
  const std::uint64_t first = cache.new_volume();
  cache.insert({first, 7}, Place(1, 1), block_of(1));
  const std::uint64_t second = cache.new_volume();
  EXPECT_NE(second, first);
  EXPECT_FALSE(cache.contains({second, 7}, Place(1, 1)));
}

TEST(BlockCache, AWriteReplacesTheNewestVersionThatIsThere) {
  BlockCache cache(kCacheBytes);
  std::vector<std::byte> out(kBlockSizeBytes);
  cache.insert({1, 7}, kBase, block_of(1));
  cache.insert({1, 8}, Place(2, 5), block_of(2));
  cache.insert({1, 8}, kBase, block_of(3));
  // Three blocks, the first of which is not cached.
  std::vector<std::byte> data;
  for (std::uint64_t stamp = 10; stamp < 13; ++stamp) {
    const auto block = block_of(stamp);
    data.insert(data.end(), block.begin(), block.end());
  }
  cache.note_write({1, 6}, Place(3, 100), data);
  EXPECT_FALSE(cache.contains({1, 6}, Place(3, 100)));
  ASSERT_TRUE(cache.read({1, 7}, Place(3, 101), out));
  EXPECT_EQ(out, block_of(11));
  EXPECT_FALSE(cache.contains({1, 7}, kBase));
  ASSERT_TRUE(cache.read({1, 8}, Place(3, 102), out));
  EXPECT_EQ(out, block_of(12));
  EXPECT_FALSE(cache.contains({1, 8}, Place(2, 5)));
  ASSERT_TRUE(cache.read({1, 8}, kBase, out));
  EXPECT_EQ(out, block_of(3));
}

TEST(BlockCache, WhatIsWrittenTwiceAndNotReadInBetweenGoes) {
  BlockCache cache(kCacheBytes);
  std::vector<std::byte> out(kBlockSizeBytes);
  for (const std::uint64_t block : {7, 8}) cache.insert({1, block}, kBase, block_of(1));
  cache.note_write({1, 7}, Place(1, 1), block_of(2));
  cache.note_write({1, 8}, Place(1, 2), block_of(2));
  ASSERT_TRUE(cache.read({1, 8}, Place(1, 2), out));
  cache.note_write({1, 7}, Place(1, 3), block_of(3));
  cache.note_write({1, 8}, Place(1, 4), block_of(3));
  EXPECT_FALSE(cache.contains({1, 7}, Place(1, 1)));
  EXPECT_FALSE(cache.contains({1, 7}, Place(1, 3)));
  ASSERT_TRUE(cache.read({1, 8}, Place(1, 4), out));
  EXPECT_EQ(out, block_of(3));
}

// Its blocks come back as ones that were read before: a scan does not push them out again.
TEST(BlockCache, ALargeWriteGivesBackTheMemoryOfWhatItReplaces) {
  BlockCache cache(kCacheBytes);
  const std::uint64_t capacity = kCacheBytes / kBlockSizeBytes;
  constexpr std::uint64_t kLarge = 64;
  for (std::uint64_t i = 0; i < kLarge; ++i) cache.insert({1, i}, kBase, block_of(i));
  cache.note_write({1, 0}, Place(1, 1), std::vector<std::byte>(kLarge * kBlockSizeBytes));
  for (std::uint64_t i = 0; i < kLarge; ++i) {
    EXPECT_FALSE(cache.contains({1, i}, kBase));
    EXPECT_FALSE(cache.contains({1, i}, Place(1, static_cast<std::uint32_t>(1 + i))));
  }
  for (std::uint64_t i = 0; i < kLarge; ++i) {
    cache.insert({1, i}, Place(1, static_cast<std::uint32_t>(1 + i)), block_of(i));
  }
  for (std::uint64_t i = 0; i < capacity * 3; ++i) cache.insert({2, i}, kBase, block_of(1));
  std::uint64_t kept = 0;
  for (std::uint64_t i = 0; i < kLarge; ++i) {
    kept += cache.contains({1, i}, Place(1, static_cast<std::uint32_t>(1 + i)));
  }
  EXPECT_EQ(kept, kLarge);
}

TEST(BlockCache, WhatIsDestagedIsFoundAsTheBasesToo) {
  BlockCache cache(kCacheBytes);
  std::vector<std::byte> out(kBlockSizeBytes);
  cache.insert({1, 7}, Place(2, 5), block_of(2));
  cache.note_destaged({1, 7}, Place(2, 4));
  EXPECT_FALSE(cache.contains({1, 7}, kBase));
  cache.note_destaged({1, 7}, Place(2, 5));
  ASSERT_TRUE(cache.read({1, 7}, kBase, out));
  EXPECT_EQ(out, block_of(2));
  EXPECT_TRUE(cache.contains({1, 7}, Place(2, 5)));
  // The base changes: what was written stays what it was.
  cache.erase_base(1, 0, 100);
  EXPECT_FALSE(cache.contains({1, 7}, kBase));
  EXPECT_TRUE(cache.contains({1, 7}, Place(2, 5)));
}

// Else a client that reads a block at each of a million points would have every look-up go past all of them.
TEST(BlockCache, OfABlockAFewVersionsAreKept) {
  BlockCache cache(kCacheBytes);
  for (std::uint32_t i = 1; i <= 1000; ++i) cache.insert({1, 7}, Place(1, i), block_of(i));
  std::uint64_t kept = 0;
  for (std::uint32_t i = 1; i <= 1000; ++i) kept += cache.contains({1, 7}, Place(1, i));
  EXPECT_EQ(kept, 8u);
  EXPECT_TRUE(cache.contains({1, 7}, Place(1, 1000)));
}

TEST(BlockCache, TakesMemoryAtFirstUseAndNeverMoreThanItsSize) {
  for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{4096}, std::uint64_t{5000},
                                   std::uint64_t{100'000}, kCacheBytes, kCacheBytes + 12'345}) {
    BlockCache cache(size);
    EXPECT_EQ(cache.status().used_bytes, 0u);
    const auto block = block_of(1);
    for (std::uint64_t i = 0; i < 3 * kCacheBytes / kBlockSizeBytes; ++i) {
      cache.insert({0, i % 5 == 0 ? i / 7 : i}, kBase, block);
      ASSERT_LE(cache.status().used_bytes, size);
    }
    EXPECT_EQ(cache.status().size_bytes, size);
    // Most of it is blocks, not book-keeping.
    if (size >= kCacheBytes) {
      std::uint64_t held = 0;
      for (std::uint64_t i = 0; i < 3 * kCacheBytes / kBlockSizeBytes; ++i)
        held += cache.contains({0, i}, kBase);
      EXPECT_GE(held * kBlockSizeBytes, size * 9 / 10);
    }
  }
}

TEST(BlockCache, AHotSetSurvivesAScan) {
  BlockCache cache(kCacheBytes);
  const std::uint64_t capacity = kCacheBytes / kBlockSizeBytes;
  const std::uint64_t hot = capacity / 2;
  std::vector<std::byte> out(kBlockSizeBytes);
  const auto block = block_of(1);
  for (int round = 0; round < 3; ++round) {
    for (std::uint64_t i = 0; i < hot; ++i) {
      if (!cache.read({0, i}, kBase, out)) cache.insert({0, i}, kBase, block);
    }
  }
  for (std::uint64_t i = 0; i < 20 * capacity; ++i) {
    if (!cache.read({1, i}, kBase, out)) cache.insert({1, i}, kBase, block);
  }
  std::uint64_t kept = 0;
  for (std::uint64_t i = 0; i < hot; ++i) kept += cache.contains({0, i}, kBase);
  EXPECT_EQ(kept, hot);
}

TEST(BlockCache, ABlockThatComesBackSoonIsKeptAgainstAScan) {
  BlockCache cache(kCacheBytes);
  const std::uint64_t capacity = kCacheBytes / kBlockSizeBytes;
  const auto block = block_of(1);
  // Fill, so that small overflows into ghost, then bring an early one back.
  for (std::uint64_t i = 0; i < capacity + 100; ++i) cache.insert({0, i}, kBase, block);
  ASSERT_FALSE(cache.contains({0, 5}, kBase));
  cache.insert({0, 5}, kBase, block);
  for (std::uint64_t i = 0; i < capacity * 3; ++i) cache.insert({1, i}, kBase, block);
  EXPECT_TRUE(cache.contains({0, 5}, kBase));
}

TEST(BlockCache, AWorkingSetThatMovesReplacesTheOldOne) {
  BlockCache cache(kCacheBytes);
  const std::uint64_t capacity = kCacheBytes / kBlockSizeBytes;
  const auto block = block_of(1);
  std::vector<std::byte> out(kBlockSizeBytes);
  for (std::uint64_t volume = 0; volume < 3; ++volume) {
    for (int round = 0; round < 12; ++round) {
      for (std::uint64_t i = 0; i < capacity * 3 / 4; ++i) {
        if (!cache.read({volume, i}, kBase, out)) cache.insert({volume, i}, kBase, block);
      }
    }
    std::uint64_t held = 0;
    for (std::uint64_t i = 0; i < capacity * 3 / 4; ++i) held += cache.contains({volume, i}, kBase);
    EXPECT_GE(held, capacity / 2) << volume;
  }
}

TEST(BlockCache, ErasedRangesAreForgottenAndNothingElse) {
  for (const std::uint64_t length :
       {std::uint64_t{1}, std::uint64_t{100}, std::uint64_t{1024}, std::uint64_t{1} << 40}) {
    BlockCache cache(kCacheBytes);
    for (std::uint64_t i = 0; i < 1500; ++i) cache.insert({i % 3, i}, kBase, block_of(i));
    cache.erase_base(1, 200, 200 + length);
    for (std::uint64_t i = 0; i < 1500; ++i) {
      const bool erased = i % 3 == 1 && i >= 200 && i < 200 + length;
      EXPECT_EQ(cache.contains({i % 3, i}, kBase), !erased) << i;
    }
    cache.erase_base(1, 10, 10);
    cache.erase_base(0, 3, 4);
    EXPECT_FALSE(cache.contains({0, 3}, kBase));
    EXPECT_TRUE(cache.contains({0, 6}, kBase));
  }
}

// A volume as the cache sees it: blocks that are written, destaged, and read at the head and before. Whatever
// is done, a hit is what that version holds.
TEST(BlockCache, AgreesWithAModel) {
  for (std::uint32_t seed = 1; seed <= 6; ++seed) {
    BlockCache cache(seed * 150'000);
    struct Block {
      std::uint64_t base = 0;                    // what the base holds
      std::map<Place, std::uint64_t> written{};  // what lies where in the journal
    };
    std::map<std::pair<std::uint64_t, std::uint64_t>, Block> model;
    std::mt19937_64 random(seed);
    std::vector<std::byte> out(kBlockSizeBytes);
    std::uint64_t hits = 0;
    for (std::uint32_t step = 1; step <= 60'000; ++step) {
      const std::uint64_t volume = random() % 2;
      const std::uint64_t number = (random() % 10 < 7) ? random() % 40 : random() % 2000;
      Block& block = model[{volume, number}];
      const auto pick = [&] {
        if (block.written.empty() || random() % 3 == 0) return kBase;
        const std::size_t back = std::min<std::size_t>(1 + random() % 4, block.written.size());
        return std::prev(block.written.end(), static_cast<std::ptrdiff_t>(back))->first;
      };
      switch (random() % 16) {
        case 0:
          if (!block.written.empty()) {
            const auto& [place, stamp] = *block.written.rbegin();
            cache.erase_base(volume, number, number + 1);
            block.base = stamp;
            cache.note_destaged({volume, number}, place);
          }
          break;
        case 1: {
          const std::uint64_t end = number + random() % 30;
          cache.erase_base(volume, number, end);
          for (std::uint64_t i = number; i < end; ++i) model[{volume, i}].base = step;
          break;
        }
        case 2:
        case 3: {
          const std::uint64_t count = random() % 8 == 0 ? 20 : 1 + random() % 3;
          std::vector<std::byte> data;
          for (std::uint32_t i = 0; i < count; ++i) {
            const std::uint64_t stamp = std::uint64_t{step} << 8 | i;
            const auto bytes = block_of(stamp);
            data.insert(data.end(), bytes.begin(), bytes.end());
            model[{volume, number + i}].written[Place(step, i)] = stamp;
          }
          cache.note_write({volume, number}, Place(step, 0), data);
          break;
        }
        default: {
          const Place version = pick();
          const std::uint64_t right = version.is_none() ? block.base : block.written.at(version);
          if (cache.read({volume, number}, version, out)) {
            ++hits;
            ASSERT_EQ(out, block_of(right)) << "seed " << seed << " step " << step;
          } else {
            cache.insert({volume, number}, version, block_of(right));
            ASSERT_TRUE(cache.contains({volume, number}, version));
          }
        }
      }
    }
    EXPECT_EQ(cache.status().hits, hits);
    EXPECT_GT(hits, 1000u);
    EXPECT_LE(cache.status().used_bytes, cache.status().size_bytes);
  }
}

}  // namespace
}  // namespace tidemark::group
