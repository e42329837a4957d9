// Blocks written again as they were at a point, but for what came after it.

#include "group_bench.h"

namespace tidemark::group {
namespace {

class WriteAgain : public testing::Test {
 protected:
  void SetUp() override {
    volume = bench.make_volume("data", 64);
    ASSERT_TRUE(bench.fill(volume.id, {0, 16}, 1).ok());
    ASSERT_TRUE(bench.flush().ok());
    since = bench.group->head();
  }
  Result<void> write_again(BlockRange blocks, std::optional<int> byte) {
    Buffer data;
    if (byte.has_value()) {
      data = Buffer::allocate(blocks.count() * kBlockSizeBytes);
      std::memset(data.data(), *byte, data.size());
    }
    return bench.run(bench.group->write_again(volume.id, blocks, std::move(data), since));
  }
  int at(std::uint64_t block) {
    Buffer out = Buffer::allocate(kBlockSizeBytes);
    const auto read = bench.run(
        bench.group->data().read(volume.id, bench.group->live_path(), block * kBlockSizeBytes, out, false));
    EXPECT_TRUE(read.ok()) << read.error().message;
    return static_cast<int>(out.data()[100]);
  }

  GroupBench bench{1};
  VolumeShape volume;
  LogId since{};
};

TEST_F(WriteAgain, OnlyWhatWasNotWrittenSince) {
  ASSERT_TRUE(bench.fill(volume.id, {4, 6}, 2).ok());
  ASSERT_TRUE(
      bench.run(bench.group->data().zero(volume.id, 8 * kBlockSizeBytes, kBlockSizeBytes, true, false)).ok());
  ASSERT_TRUE(write_again({0, 20}, 9).ok());
  for (std::uint64_t block = 0; block < 20; ++block) {
    EXPECT_EQ(at(block), block == 4 || block == 5 ? 2 : block == 8 ? 0 : 9) << block;
  }
  const LogId head = bench.group->head();
  ASSERT_TRUE(write_again({0, 20}, 7).ok());
  EXPECT_EQ(bench.group->head(), head) << "all of it is newer by now";
}

TEST_F(WriteAgain, WithoutBytesAsTheyAre) {
  ASSERT_TRUE(bench.fill(volume.id, {4, 6}, 2).ok());
  const LogId head = bench.group->head();
  ASSERT_TRUE(write_again({2, 20}, std::nullopt).ok());
  EXPECT_NE(bench.group->head(), head);
  for (std::uint64_t block = 0; block < 20; ++block) {
    EXPECT_EQ(at(block), block == 4 || block == 5 ? 2 : block < 16 ? 1 : 0) << block;
  }
}

TEST_F(WriteAgain, WhatTheBaseHasTakenInSinceIsNotTakenForOld) {
  ASSERT_TRUE(bench.fill(volume.id, {4, 6}, 2).ok());
  ASSERT_TRUE(bench.flush().ok());
  GroupSettings settings = bench.group->local().settings;
  settings.retain = Duration{};
  ASSERT_TRUE(bench.run(bench.group->set_settings(settings)).ok());
  for (int i = 0; i < 40 && bench.group->check_readable(since).ok(); ++i) {
    ASSERT_TRUE(bench.fill(volume.id, {32, 64}, 3).ok());
    ASSERT_TRUE(bench.flush().ok());
    (void)bench.run(bench.group->destage_now(true));
  }
  ASSERT_FALSE(bench.group->check_readable(since).ok());
  EXPECT_EQ(write_again({4, 6}, 9).error().code, ErrorCode::kExpired);
  EXPECT_EQ(at(4), 2);
}

TEST_F(WriteAgain, NotOnAnotherBranchNorInAVolumeThatIsGone) {
  ASSERT_TRUE(bench.mark("later").ok());
  const LogId before = LogId(since.epoch(), 1);
  ASSERT_TRUE(bench.fill(volume.id, {0, 1}, 5).ok());
  ASSERT_TRUE(bench.restore("log:" + before.to_string()).ok());
  EXPECT_EQ(write_again({4, 6}, 9).error().code, ErrorCode::kRefused);
  EXPECT_EQ(at(4), 0);
  ASSERT_TRUE(bench.restore("later").ok());
  ASSERT_TRUE(write_again({4, 6}, 9).ok());
  EXPECT_EQ(at(4), 9);
  ASSERT_TRUE(bench.run(bench.group->delete_volume("data")).ok());
  const LogId head = bench.group->head();
  EXPECT_EQ(write_again({6, 8}, 9).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(bench.group->head(), head);
}

TEST_F(WriteAgain, NotWhileTheGroupWorksOnItself) {
  bench.group->set_busy(fail(ErrorCode::kBusy, "it is being restored"));
  EXPECT_EQ(write_again({4, 6}, 9).error().code, ErrorCode::kBusy);
  bench.group->set_busy(std::nullopt);
  EXPECT_TRUE(write_again({4, 6}, 9).ok());
}

}  // namespace
}  // namespace tidemark::group
