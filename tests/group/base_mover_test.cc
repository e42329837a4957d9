// What a step of destaging reads of the journal and writes to the base.

#include "group_bench.h"

namespace tidemark::group {
namespace {

// After a start nothing of the journal is in memory.
TEST(BaseMover, WhatLiesNearEachOtherInTheJournalIsReadAtOnce) {
  GroupBench bench(3, {.settings = {.retain = Duration{}}});
  const VolumeShape volume = bench.make_volume("data", 4096);
  std::vector<int> expected(4096);
  for (std::uint64_t i = 0; i < 128; ++i) {
    const std::uint64_t block = i * 1637 % 4096;
    expected[block] = static_cast<int>(1 + i);
    ASSERT_TRUE(bench.fill(volume.id, {block, block + 1}, static_cast<std::uint8_t>(1 + i)).ok());
  }
  bench.restart();
  const std::uint64_t reads = bench.disk.reads();
  ASSERT_NO_FATAL_FAILURE(bench.destage_all());
  EXPECT_LT(bench.disk.reads() - reads, 32u) << "for 128 blocks of half a megabyte";
  EXPECT_EQ(bench.live(volume.id, 4096), expected);
  bench.restart();
  EXPECT_EQ(bench.live(volume.id, 4096), expected) << "from the base";
}

// Turns a bit of every block on the disk that is this byte all over.
void damage(GroupBench& bench, int byte) {
  int found = 0;
  for (const std::uint64_t at : bench.disk.stored_pages()) {
    std::vector<std::byte> page(kBlockSizeBytes);
    bench.disk.peek(at, page);
    if (GroupBench::bytes_of_blocks(page).front() != byte) continue;
    bench.disk.flip_bit(at, 5);
    ++found;
  }
  ASSERT_EQ(found, 1);
}

TEST(BaseMover, ADamagedBlockThatWasWrittenAgainHoldsNothingUp) {
  GroupBench bench(4, {.settings = {.retain = Duration{}}});
  const VolumeShape volume = bench.make_volume("data", 4);
  for (std::uint8_t i = 0; i < 3; ++i)
    ASSERT_TRUE(bench.fill(volume.id, {i, i + 1u}, static_cast<std::uint8_t>(11 + i)).ok());
  ASSERT_TRUE(bench.fill(volume.id, {1, 2}, 21).ok());
  bench.restart();
  ASSERT_NO_FATAL_FAILURE(damage(bench, 12));
  ASSERT_NO_FATAL_FAILURE(bench.destage_all());
  const std::vector<int> expected{11, 21, 13, 0};
  EXPECT_EQ(bench.live(volume.id, 4), expected);
}

TEST(BaseMover, ADamagedBlockIsNamedAndDoesNotGetIntoTheBase) {
  GroupBench bench(5, {.settings = {.retain = Duration{}}});
  const VolumeShape volume = bench.make_volume("data", 4);
  for (std::uint8_t i = 0; i < 3; ++i)
    ASSERT_TRUE(bench.fill(volume.id, {i, i + 1u}, static_cast<std::uint8_t>(11 + i)).ok());
  bench.restart();
  ASSERT_NO_FATAL_FAILURE(damage(bench, 12));
  const auto step = bench.run(bench.group->destage_now(true));
  ASSERT_FALSE(step.ok());
  EXPECT_EQ(step.error().code, ErrorCode::kDamaged);
  EXPECT_NE(step.error().message.find("does not match its checksum"), std::string::npos)
      << step.error().message;
  EXPECT_TRUE(bench.group->local().destaged != bench.group->head());
}

}  // namespace
}  // namespace tidemark::group
