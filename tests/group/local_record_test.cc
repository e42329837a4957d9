#include "group/local_record.h"

#include <gtest/gtest.h>

namespace tidemark::group {
namespace {

LocalRecord sample() {
  LocalRecord record;
  record.name = "app";
  record.settings.retain = Duration::seconds(90);
  record.role = Role::kSecondary;
  record.floor = LogId(Epoch{2}, 7);
  record.window_start = LogId(Epoch{2}, 5);
  record.window_start_timer = WallTime{1234};
  record.pair.resize(9);
  record.verified_at = WallTime{99};
  record.verified_first = LogId(Epoch{2}, 8);
  record.verified_last = LogId(Epoch{4}, 9);
  record.verified_base = true;
  record.verified_damages = 3;
  record.compared_at = WallTime{77};
  record.compared_point = LogId(Epoch{4}, 8);
  record.compared_differing_bytes = 8192;
  record.compared_repaired_bytes = 4096;
  record.skipped_to = LogId(Epoch{7}, 1);
  record.skipped_to_checksum = 0x5aa5;
  record.skipped_before = LogId(Epoch{5}, 3);
  record.skipped_before_checksum = 0xa55a;
  record.copied_volume = VolumeId{3};
  record.copied_bytes = 40960;
  record.changes_from = LogId(Epoch{4}, 6);
  record.data_pool = PoolNumber{2};
  return record;
}

// As an older version wrote it: without what later ones added, the newest last.
std::vector<std::byte> of_version(int version, const LocalRecord& record) {
  constexpr std::size_t kAddedBytes[] = {16, 8 + 29, 32, 24, 8, 4, 12};  // in versions 2 to 8
  std::vector<std::byte> bytes = record.encode();
  bytes[0] = static_cast<std::byte>(version);
  for (int added = 8; added > version; --added) bytes.resize(bytes.size() - kAddedBytes[added - 2]);
  return bytes;
}

TEST(LocalRecord, KeepsWhereTheWindowOpened) {
  const auto decoded = LocalRecord::decode(sample().encode());
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_EQ(decoded->window_start, LogId(Epoch{2}, 5));
  EXPECT_EQ(decoded->window_start_timer.ns, 1234);
  EXPECT_EQ(decoded->encode(), sample().encode());
}

TEST(LocalRecord, WhereTheBaseEndsBelowTheFloorAnEarlierVersionsStepWasCutShort) {
  LocalRecord record = sample();
  EXPECT_TRUE(LocalRecord::decode(record.encode())->base_settled);
  record.base_settled = false;
  EXPECT_FALSE(LocalRecord::decode(record.encode())->base_settled);
  record.destaged = record.floor;
  EXPECT_TRUE(LocalRecord::decode(record.encode())->base_settled);
}

TEST(LocalRecord, KeepsTheLastVerification) {
  const auto decoded = LocalRecord::decode(sample().encode());
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_EQ(decoded->verified_at.ns, 99);
  EXPECT_EQ(decoded->verified_first, LogId(Epoch{2}, 8));
  EXPECT_EQ(decoded->verified_last, LogId(Epoch{4}, 9));
  EXPECT_TRUE(decoded->verified_base);
  EXPECT_EQ(decoded->verified_damages, 3u);
}

TEST(LocalRecord, KeepsTheLastComparison) {
  const auto decoded = LocalRecord::decode(sample().encode());
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_EQ(decoded->compared_at.ns, 77);
  EXPECT_EQ(decoded->compared_point, LogId(Epoch{4}, 8));
  EXPECT_EQ(decoded->compared_differing_bytes, 8192u);
  EXPECT_EQ(decoded->compared_repaired_bytes, 4096u);
}

TEST(LocalRecord, KeepsWhereItWentOnBehindAGap) {
  const auto decoded = LocalRecord::decode(sample().encode());
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_EQ(decoded->skipped_to, LogId(Epoch{7}, 1));
  EXPECT_EQ(decoded->skipped_to_checksum, 0x5aa5u);
  EXPECT_EQ(decoded->skipped_before, LogId(Epoch{5}, 3));
  EXPECT_EQ(decoded->skipped_before_checksum, 0xa55au);
  EXPECT_EQ(decoded->copied_volume, VolumeId{3});
  EXPECT_EQ(decoded->copied_bytes, 40960u);
  const auto before = LocalRecord::decode(of_version(4, sample()));
  ASSERT_TRUE(before.ok()) << before.error().message;
  EXPECT_TRUE(before->skipped_to.is_none());
  EXPECT_EQ(before->compared_repaired_bytes, 4096u);
}

TEST(LocalRecord, OfVersion5KnowsNoChanges) {
  EXPECT_EQ(LocalRecord::decode(sample().encode())->changes_from, LogId(Epoch{4}, 6));
  const auto decoded = LocalRecord::decode(of_version(5, sample()));
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_TRUE(decoded->changes_from.is_none());
  EXPECT_EQ(decoded->copied_bytes, 40960u);
}

TEST(LocalRecord, OfVersion6LiesInTheFirstPool) {
  EXPECT_EQ(LocalRecord::decode(sample().encode())->data_pool, PoolNumber{2});
  const auto decoded = LocalRecord::decode(of_version(6, sample()));
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_EQ(decoded->data_pool, PoolNumber{0});
  EXPECT_EQ(decoded->changes_from, LogId(Epoch{4}, 6));
}

TEST(LocalRecord, OfVersion3HasNoComparison) {
  const auto decoded = LocalRecord::decode(of_version(3, sample()));
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_EQ(decoded->compared_at.ns, 0);
  EXPECT_EQ(decoded->verified_damages, 3u);
}

TEST(LocalRecord, OfVersion2HasNoVerification) {
  const auto decoded = LocalRecord::decode(of_version(2, sample()));
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_EQ(decoded->verified_at.ns, 0);
  EXPECT_EQ(decoded->window_start, LogId(Epoch{2}, 5));
}

TEST(LocalRecord, OfVersion1HasNoStartOfItsWindow) {
  const auto decoded = LocalRecord::decode(of_version(1, sample()));
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_TRUE(decoded->window_start.is_none());
  EXPECT_EQ(decoded->floor, LogId(Epoch{2}, 7));
  EXPECT_EQ(decoded->pair.size(), 9u);
}

TEST(LocalRecord, OfVersion2KeepsNoLog) {
  LocalRecord record = sample();
  record.log_kept_from = LogId(Epoch{2}, 9);
  EXPECT_EQ(LocalRecord::decode(record.encode())->log_kept_from, LogId(Epoch{2}, 9));
  const auto decoded = LocalRecord::decode(of_version(2, record));
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_TRUE(decoded->log_kept_from.is_none());
  EXPECT_EQ(decoded->window_start, record.window_start);
}

TEST(LocalRecord, ANegativeRetentionIsRefused) {
  LocalRecord record = sample();
  record.settings.retain = Duration{-1};
  EXPECT_EQ(LocalRecord::decode(record.encode()).error().code, ErrorCode::kInvalid);
  record.settings.retain = Duration{0};
  EXPECT_TRUE(LocalRecord::decode(record.encode()).ok());
}

TEST(LocalRecord, EveryTruncationAndALaterVersionIsRefused) {
  std::vector<std::byte> bytes = sample().encode();
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(LocalRecord::decode(Bytes(bytes).first(size)).ok()) << size;
  }
  bytes[0] = std::byte{9};
  EXPECT_EQ(LocalRecord::decode(bytes).error().code, ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace tidemark::group
