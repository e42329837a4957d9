#include "base/ids.h"

#include <gtest/gtest.h>

#include <string>
#include <type_traits>
#include <unordered_set>

#include "base/place.h"

namespace tidemark {
namespace {

static_assert(!std::is_convertible_v<VolumeId, LuNumber>);
static_assert(!std::is_convertible_v<BlockIndex, DiskOffset>);

TEST(LogId, PacksTheEpochAboveTheSequence) {
  const LogId id(Epoch{3}, 1044);
  EXPECT_EQ(id.epoch(), Epoch{3});
  EXPECT_EQ(id.sequence(), 1044u);
  EXPECT_EQ(id.raw(), (3ull << 40) + 1044);
  EXPECT_EQ(LogId::from_raw(id.raw()), id);
  EXPECT_EQ(id.to_string(), "3.1044");
}

TEST(LogId, HoldsTheGreatestEpochAndSequence) {
  const LogId last(Epoch{kEpochMax}, kSequenceMax);
  EXPECT_EQ(last.raw(), UINT64_MAX);
  EXPECT_EQ(last.epoch().value, kEpochMax);
  EXPECT_EQ(last.sequence(), kSequenceMax);
  EXPECT_EQ(last.to_string(), "16777215.1099511627775");
}

TEST(LogId, OrdersByEpochAndThenSequence) {
  EXPECT_LT(LogId(Epoch{1}, 9), LogId(Epoch{1}, 10));
  EXPECT_LT(LogId(Epoch{1}, kSequenceMax), LogId(Epoch{2}, 0));
  EXPECT_EQ(LogId(Epoch{1}, 9).next(), LogId(Epoch{1}, 10));
  EXPECT_EQ(LogId(Epoch{1}, 9).previous(), LogId(Epoch{1}, 8));
}

TEST(LogId, NoneIsNotTheEmptyGroup) {
  EXPECT_TRUE(LogId{}.is_none());
  EXPECT_FALSE(LogId(Epoch{1}, 0).is_none());
  EXPECT_EQ(LogId(Epoch{1}, 0).to_string(), "1.0");
}

TEST(Place, PacksTheSegmentAboveTheBlockAndGrowsWithBoth) {
  const Place place(7, 12);
  EXPECT_EQ(place.generation(), 7u);
  EXPECT_EQ(place.block(), 12u);
  EXPECT_EQ(Place::from_raw(place.raw()), place);
  EXPECT_EQ(place.plus(3), Place(7, 15));
  EXPECT_LT(Place(7, Place::kBlockMax), Place(8, 0));
  const Place last(Place::kGenerationMax, Place::kBlockMax);
  EXPECT_EQ(last.generation(), Place::kGenerationMax);
  EXPECT_EQ(last.block(), Place::kBlockMax);
  EXPECT_TRUE(Place{}.is_none());
}

TEST(BlockRange, IsHalfOpen) {
  const BlockRange range{10, 20};
  EXPECT_EQ(range.count(), 10u);
  EXPECT_TRUE(range.overlaps({19, 30}));
  EXPECT_FALSE(range.overlaps({20, 30}));
  EXPECT_FALSE(range.overlaps({0, 10}));
  EXPECT_TRUE((BlockRange{5, 5}).empty());
}

TEST(Identity, ShowsAsHexadecimalAndKnowsZero) {
  NodeIdentity id;
  EXPECT_TRUE(id.is_zero());
  EXPECT_EQ(id.to_string(), std::string(32, '0'));
  for (std::size_t i = 0; i < 16; ++i) id.bytes[i] = static_cast<std::uint8_t>(i * 17);
  EXPECT_FALSE(id.is_zero());
  EXPECT_EQ(id.to_string(), "00112233445566778899aabbccddeeff");
}

TEST(Ids, CanBeKeptInHashSets) {
  EXPECT_EQ((std::unordered_set<LogId>{LogId(Epoch{1}, 1), LogId(Epoch{1}, 1)}).size(), 1u);
  EXPECT_EQ((std::unordered_set<VolumeId>{VolumeId{1}, VolumeId{2}}).size(), 2u);
  EXPECT_EQ((std::unordered_set<GroupIdentity>{GroupIdentity{}, GroupIdentity{}}).size(), 1u);
}

}  // namespace
}  // namespace tidemark
