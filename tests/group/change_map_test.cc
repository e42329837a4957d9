#include "group/change_map.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "group/snapshot.h"

namespace tidemark::group {
namespace {

constexpr VolumeId kVolume{3};
constexpr std::uint64_t kMibBlocks = (1 << 20) / kBlockSizeBytes;
constexpr BlockRange kAll{0, std::uint64_t{1} << 42};

ChangeMap begun() {
  ChangeMap map;
  map.begin(LogId(Epoch{1}, 7));
  return map;
}

TEST(ChangeMap, KeepsNothingUntilItIsBegun) {
  ChangeMap map;
  map.add(kVolume, {0, 100});
  EXPECT_FALSE(map.active());
  EXPECT_TRUE(map.changed(kVolume, kAll).empty());
}

TEST(ChangeMap, TellsRegionsCutToWhatIsAsked) {
  ChangeMap map = begun();
  map.add(kVolume, {2 * kMibBlocks + 5, 2 * kMibBlocks + 6});
  map.add(kVolume, {3 * kMibBlocks - 1, 3 * kMibBlocks + 1});
  map.add(kVolume, {9 * kMibBlocks, 9 * kMibBlocks});
  const std::vector<BlockRange> expected{{2 * kMibBlocks, 4 * kMibBlocks}};
  EXPECT_EQ(map.changed(kVolume, kAll), expected);
  const std::vector<BlockRange> cut{{3 * kMibBlocks + 8, 3 * kMibBlocks + 9}};
  EXPECT_EQ(map.changed(kVolume, {3 * kMibBlocks + 8, 3 * kMibBlocks + 9}), cut);
  EXPECT_TRUE(map.changed(kVolume, {4 * kMibBlocks, 90 * kMibBlocks}).empty());
  EXPECT_TRUE(map.changed(VolumeId{4}, kAll).empty());
  map.end();
  EXPECT_TRUE(map.changed(kVolume, kAll).empty());
}

// The largest volume there is, added to in any order.
TEST(ChangeMap, NeverLosesABlockHoweverLargeTheVolumeBecomes) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    std::mt19937_64 random(seed);
    ChangeMap map = begun();
    std::set<std::uint64_t> blocks;
    for (int i = 0; i < 40; ++i) {
      const std::uint64_t block = random() >> (22 + random() % 20);
      map.add(kVolume, {block, block + 1});
      blocks.insert(block);
    }
    auto decoded = ChangeMap::decode(map.encode());
    ASSERT_TRUE(decoded.ok()) << decoded.error().message;
    EXPECT_EQ(decoded->from(), map.from());
    EXPECT_LT(map.encode().size(), 9000u);
    const std::vector<BlockRange> told = decoded->changed(kVolume, kAll);
    EXPECT_EQ(told, map.changed(kVolume, kAll));
    for (const std::uint64_t block : blocks) {
      const bool found = std::any_of(told.begin(), told.end(), [&](const BlockRange& range) {
        return range.begin <= block && block < range.end;
      });
      EXPECT_TRUE(found) << "seed " << seed << " block " << block;
    }
  }
}

TEST(ChangeMap, BytesThatAreNoneAreRefused) {
  ChangeMap map = begun();
  map.add(kVolume, {0, 1});
  map.add(VolumeId{4}, {kMibBlocks * 700, kMibBlocks * 701});
  const std::vector<std::byte> whole = map.encode();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(ChangeMap::decode(Bytes(whole).first(size)).ok()) << size;
  }
  constexpr std::size_t kRegionSizeAt = 4 + 8 + 4 + 4;
  for (const unsigned value : {0u, 3u, 0x80u}) {
    std::vector<std::byte> bad = whole;
    bad[kRegionSizeAt] = std::byte{0};
    bad[kRegionSizeAt + 1] = static_cast<std::byte>(value);
    EXPECT_EQ(ChangeMap::decode(bad).ok(), value == 0x80u) << value;
  }
}

TEST(ChangeMap, IsPartOfASnapshotWhileItIsKept) {
  GroupState state;
  index::EpochInfo first;
  first.number = Epoch{1};
  first.last = LogId(Epoch{1}, 9);
  ASSERT_TRUE(state.epochs().add(first).ok());
  EXPECT_EQ(encode_snapshot(state, Epoch{1}, ChangeMap()), state.encode(Epoch{1}));
  ChangeMap map = begun();
  map.add(kVolume, {0, 1});
  const std::vector<std::byte> bytes = encode_snapshot(state, Epoch{1}, map);
  const auto decoded = decode_snapshot(bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_EQ(decoded->changes.changed(kVolume, kAll), map.changed(kVolume, kAll));
  EXPECT_EQ(decoded->live_epoch, Epoch{1});
  EXPECT_EQ(decoded->state.encode(Epoch{1}), state.encode(Epoch{1}));
  EXPECT_FALSE(decode_snapshot(state.encode(Epoch{1}))->changes.active());
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(decode_snapshot(Bytes(bytes).first(size)).ok()) << size;
  }
}

TEST(BlockRanges, AreJoinedAndIntersected) {
  const std::vector<BlockRange> a{{0, 4}, {10, 20}, {30, 31}};
  const std::vector<BlockRange> b{{2, 6}, {6, 9}, {12, 13}, {19, 40}};
  const std::vector<BlockRange> both{{0, 9}, {10, 40}};
  EXPECT_EQ(joined(a, b), both);
  const std::vector<BlockRange> shared{{2, 4}, {12, 13}, {19, 20}, {30, 31}};
  EXPECT_EQ(common(a, b), shared);
  EXPECT_EQ(common(b, a), shared);
  EXPECT_TRUE(common(a, {}).empty());
  EXPECT_EQ(joined({}, b).size(), 3u);
}

}  // namespace
}  // namespace tidemark::group
