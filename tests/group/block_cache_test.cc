#include "group/block_cache.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "base/ids.h"

namespace tidemark::group {
namespace {

constexpr std::uint64_t kCacheBytes = 8 << 20;

std::vector<std::byte> block_of(std::uint64_t stamp) {
  std::vector<std::byte> block(kBlockSizeBytes);
  for (std::size_t i = 0; i < block.size(); i += 8) std::memcpy(block.data() + i, &stamp, 8);
  return block;
}

TEST(BlockCache, GivesBackWhatWasInsertedUnderTheSameKeyOnly) {
  BlockCache cache(kCacheBytes);
  std::vector<std::byte> out(kBlockSizeBytes);
  EXPECT_FALSE(cache.read({1, 7}, out));
  cache.insert({1, 7}, block_of(10));
  cache.insert({2, 7}, block_of(20));
  ASSERT_TRUE(cache.read({1, 7}, out));
  EXPECT_EQ(out, block_of(10));
  ASSERT_TRUE(cache.read({2, 7}, out));
  EXPECT_EQ(out, block_of(20));
  EXPECT_FALSE(cache.contains({1, 8}));
  cache.insert({1, 7}, block_of(11));
  ASSERT_TRUE(cache.read({1, 7}, out));
  EXPECT_EQ(out, block_of(11));
  EXPECT_EQ(cache.status().hits, 3u);
  EXPECT_EQ(cache.status().misses, 1u);
}

TEST(BlockCache, TakesMemoryAtFirstUseAndNeverMoreThanItsSize) {
  for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{4096}, std::uint64_t{5000},
                                   std::uint64_t{100'000}, kCacheBytes, kCacheBytes + 12'345}) {
    BlockCache cache(size);
    EXPECT_EQ(cache.status().used_bytes, 0u);
    const auto block = block_of(1);
    for (std::uint64_t i = 0; i < 3 * kCacheBytes / kBlockSizeBytes; ++i) {
      cache.insert({0, i % 5 == 0 ? i / 7 : i}, block);
      ASSERT_LE(cache.status().used_bytes, size);
    }
    EXPECT_EQ(cache.status().size_bytes, size);
    // Most of it is blocks, not book-keeping.
    if (size >= kCacheBytes) {
      std::uint64_t held = 0;
      for (std::uint64_t i = 0; i < 3 * kCacheBytes / kBlockSizeBytes; ++i) held += cache.contains({0, i});
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
      if (!cache.read({0, i}, out)) cache.insert({0, i}, block);
    }
  }
  for (std::uint64_t i = 0; i < 20 * capacity; ++i) {
    if (!cache.read({1, i}, out)) cache.insert({1, i}, block);
  }
  std::uint64_t kept = 0;
  for (std::uint64_t i = 0; i < hot; ++i) kept += cache.contains({0, i});
  EXPECT_EQ(kept, hot);
}

TEST(BlockCache, ABlockThatComesBackSoonIsKeptAgainstAScan) {
  BlockCache cache(kCacheBytes);
  const std::uint64_t capacity = kCacheBytes / kBlockSizeBytes;
  const auto block = block_of(1);
  // Fill, so that small overflows into ghost, then bring an early one back.
  for (std::uint64_t i = 0; i < capacity + 100; ++i) cache.insert({0, i}, block);
  ASSERT_FALSE(cache.contains({0, 5}));
  cache.insert({0, 5}, block);
  for (std::uint64_t i = 0; i < capacity * 3; ++i) cache.insert({1, i}, block);
  EXPECT_TRUE(cache.contains({0, 5}));
}

TEST(BlockCache, AWorkingSetThatMovesReplacesTheOldOne) {
  BlockCache cache(kCacheBytes);
  const std::uint64_t capacity = kCacheBytes / kBlockSizeBytes;
  const auto block = block_of(1);
  std::vector<std::byte> out(kBlockSizeBytes);
  for (std::uint64_t space = 0; space < 3; ++space) {
    for (int round = 0; round < 12; ++round) {
      for (std::uint64_t i = 0; i < capacity * 3 / 4; ++i) {
        if (!cache.read({space, i}, out)) cache.insert({space, i}, block);
      }
    }
    std::uint64_t held = 0;
    for (std::uint64_t i = 0; i < capacity * 3 / 4; ++i) held += cache.contains({space, i});
    EXPECT_GE(held, capacity / 2) << space;
  }
}

TEST(BlockCache, ErasedRangesAreForgottenAndNothingElse) {
  for (const std::uint64_t length :
       {std::uint64_t{1}, std::uint64_t{100}, std::uint64_t{1024}, std::uint64_t{1} << 40}) {
    BlockCache cache(kCacheBytes);
    for (std::uint64_t i = 0; i < 1500; ++i) cache.insert({i % 3, i}, block_of(i));
    cache.erase_range(1, 200, 200 + length);
    for (std::uint64_t i = 0; i < 1500; ++i) {
      const bool erased = i % 3 == 1 && i >= 200 && i < 200 + length;
      EXPECT_EQ(cache.contains({i % 3, i}), !erased) << i;
    }
    cache.erase_range(1, 10, 10);
    cache.erase({0, 3});
    EXPECT_FALSE(cache.contains({0, 3}));
    EXPECT_TRUE(cache.contains({0, 6}));
  }
}

// Whatever is done, a hit is the newest content, and what was erased is never seen again.
TEST(BlockCache, AgreesWithAModel) {
  for (std::uint32_t seed = 1; seed <= 6; ++seed) {
    BlockCache cache(seed * 150'000);
    std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint64_t> model;
    std::mt19937_64 random(seed);
    std::vector<std::byte> out(kBlockSizeBytes);
    std::uint64_t hits = 0;
    for (std::uint64_t step = 1; step <= 60'000; ++step) {
      const std::uint64_t space = random() % 2;
      const std::uint64_t block = (random() % 10 < 7) ? random() % 40 : random() % 2000;
      const auto key = std::pair{space, block};
      switch (random() % 16) {
        case 0:
          cache.erase({space, block});
          model.erase(key);
          break;
        case 1: {
          const std::uint64_t end = block + random() % 30;
          cache.erase_range(space, block, end);
          model.erase(model.lower_bound(key), model.lower_bound({space, end}));
          break;
        }
        case 2:
        case 3:
        case 4:
        case 5:
        case 6:
          cache.insert({space, block}, block_of(step));
          model[key] = step;
          ASSERT_TRUE(cache.contains({space, block}));
          break;
        default:
          if (!cache.read({space, block}, out)) break;
          ++hits;
          ASSERT_TRUE(model.contains(key)) << "seed " << seed << " step " << step;
          ASSERT_EQ(out, block_of(model[key])) << "seed " << seed << " step " << step;
      }
    }
    EXPECT_EQ(cache.status().hits, hits);
    EXPECT_GT(hits, 1000u);
    EXPECT_LE(cache.status().used_bytes, cache.status().size_bytes);
  }
}

}  // namespace
}  // namespace tidemark::group
