#include "index/extent.h"

#include <utility>
#include <vector>

#include "index/harness.h"
#include "index/memory_table.h"

namespace tidemark::index::test {
namespace {

using Extents = std::vector<std::pair<unsigned, std::uint64_t>>;

Extents cut(BlockRange blocks, unsigned size_class_max) {
  Extents out;
  for_each_extent(blocks, size_class_max,
                  [&](unsigned size_class, std::uint64_t extent) { out.emplace_back(size_class, extent); });
  return out;
}

TEST(ExtentTest, AnAlignedPowerOfSixteenIsOneExtent) {
  EXPECT_EQ(cut({7, 8}, kSizeClassMax), (Extents{{0, 7}}));
  EXPECT_EQ(cut({256, 512}, kSizeClassMax), (Extents{{2, 1}}));
  EXPECT_EQ(cut({1ull << 28, 2ull << 28}, kSizeClassMax), (Extents{{7, 1}}));
}

TEST(ExtentTest, AnUnalignedRangeIsCutAtTheLargestExtentsThatFit) {
  EXPECT_EQ(cut({15, 34}, kSizeClassMax), (Extents{{0, 15}, {1, 1}, {0, 32}, {0, 33}}));
}

TEST(ExtentTest, DataIsNotCutIntoMoreThanOneMebibyte) {
  EXPECT_EQ(cut({0, 512}, kDataSizeClassMax), (Extents{{2, 0}, {2, 1}}));
}

TEST(ExtentTest, EveryCutCoversItsRangeWithoutOverlap) {
  for (std::uint64_t begin = 0; begin < 300; begin += 7) {
    for (std::uint64_t end = begin + 1; end < begin + 5000; end += 97) {
      std::uint64_t position = begin;
      for (const auto& [size_class, extent] : cut({begin, end}, kSizeClassMax)) {
        const BlockRange blocks = blocks_of_extent(extent, size_class);
        ASSERT_EQ(blocks.begin, position);
        position = blocks.end;
      }
      ASSERT_EQ(position, end);
    }
  }
}

TEST(MemoryTableTest, DiscardingATebibyteIsAHandfulOfKeys) {
  MemoryTable aligned;
  aligned.insert_zero(VolumeId{1}, {0, 1ull << 28}, LogId(Epoch{1}, 1), Place(1, 0));
  EXPECT_EQ(aligned.keys(), 1u);
  MemoryTable unaligned;
  unaligned.insert_zero(VolumeId{1}, {1, (1ull << 28) + 1}, LogId(Epoch{1}, 1), Place(1, 0));
  EXPECT_LE(unaligned.keys(), 7u * 15u + 1u);
}

TEST(MemoryTableTest, AnAlignedMebibyteOfDataIsOneKey) {
  MemoryTable table;
  table.insert_data(VolumeId{1}, {256, 512}, LogId(Epoch{1}, 1), Place(1, 0),
                    std::vector<std::uint32_t>(256, 7));
  EXPECT_EQ(table.keys(), 1u);
}

TEST(MemoryTableTest, ASmallWriteCostsWellUnderAHundredBytes) {
  MemoryTable table;
  const std::vector<std::uint32_t> checksum{1};
  std::uint64_t block = 1;
  for (std::uint64_t i = 1; i <= 200'000; ++i) {
    block = block * 6364136223846793005ull + 1442695040888963407ull;
    const std::uint64_t at = block >> 40;
    table.insert_data(VolumeId{1}, {at, at + 1}, LogId(Epoch{1}, i), Place(1, 0), checksum);
  }
  EXPECT_EQ(table.keys(), 200'000u);
  EXPECT_LT(table.memory_bytes() / table.keys(), 64u);
}

TEST(MemoryTableTest, IteratesInOrderOfExtentThenNewestFirst) {
  MemoryTable table;
  const std::vector<std::uint32_t> checksum{1};
  std::uint64_t mixed = 99;
  for (std::uint64_t i = 1; i <= 20'000; ++i) {
    mixed = mixed * 6364136223846793005ull + 1442695040888963407ull;
    const std::uint64_t at = (mixed >> 33) % 3000;
    table.insert_data(VolumeId{5}, {at, at + 1}, LogId(Epoch{1}, i), Place(1, 0), checksum);
  }
  auto cursor = table.cursor(*table.find(VolumeId{5}), 0);
  cursor.seek(0, ~0ull);
  std::uint64_t count = 1;
  ExtentTree::Key last = cursor.key();
  for (cursor.next(); cursor.valid(); cursor.next()) {
    ASSERT_LT(last, cursor.key());
    last = cursor.key();
    ++count;
  }
  EXPECT_EQ(count, 20'000u);
}

}  // namespace
}  // namespace tidemark::index::test
