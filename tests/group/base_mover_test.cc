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

// Takes what is left of the pool, but for so many extents.
void fill_pool(GroupBench& bench, std::uint64_t extents_left) {
  GroupIdentity other;
  other.bytes.fill(0x77);
  const std::uint64_t extent = 4 << 20;
  while (bench.pool().status().free_bytes > extents_left * extent) {
    const std::uint64_t rest = bench.pool().status().free_bytes - extents_left * extent;
    const auto made =
        bench.run(bench.pool().create_further_log_volume(other, std::min<std::uint64_t>(rest, 64 << 20)));
    ASSERT_TRUE(made.ok()) << made.error().message;
  }
  ASSERT_EQ(bench.pool().status().free_bytes, extents_left * extent);
}

// The extent has nothing left in the base when the first half of it is discarded, and the pool nothing else.
TEST(BaseMover, AnExtentOfWhichAPartIsDiscardedKeepsItsSpaceForWhatWasWrittenToTheRest) {
  GroupBench bench(6, {.settings = {.retain = Duration{}}});
  const VolumeShape volume = bench.make_volume("data", 1024);
  ASSERT_NO_FATAL_FAILURE(fill_pool(bench, 1));
  ASSERT_TRUE(bench.fill(volume.id, {0, 4}, 7).ok());
  ASSERT_NO_FATAL_FAILURE(bench.destage_all());
  ASSERT_EQ(bench.pool().status().free_bytes, 0u);
  ASSERT_TRUE(bench.fill(volume.id, {500, 501}, 9).ok());
  ASSERT_TRUE(bench.run(bench.group->data().zero(volume.id, 0, 4 * kBlockSizeBytes, true, false)).ok());
  ASSERT_NO_FATAL_FAILURE(bench.destage_all());
  EXPECT_EQ(bench.pool().status().free_bytes, 0u);
  std::vector<int> expected(1024);
  expected[500] = 9;
  EXPECT_EQ(bench.live(volume.id, 1024), expected);
}

pool::DataVolume* base_of(GroupBench& bench, VolumeId volume) {
  for (const pool::LuRecord& unit : bench.pools().units()) {
    const bool is_it = unit.kind == pool::LuKind::kData && unit.volume == volume;
    if (is_it) return bench.pools().data_volume(unit.number);
  }
  return nullptr;
}

// It takes away what the step has written so far, and the one at the end of the step succeeds.
TEST(BaseMover, AStepDuringWhichAFlushOfItsVolumeFailedDoesNotCount) {
  GroupBench bench(7, {.settings = {.retain = Duration{}}});
  const VolumeShape volume = bench.make_volume("data", 4096);
  std::vector<int> expected(4096);
  for (std::uint64_t i = 0; i < 100; ++i) {
    expected[i * 25] = 8;
    ASSERT_TRUE(bench.fill(volume.id, {i * 25, i * 25 + 1}, 8).ok());
  }
  ASSERT_TRUE(bench.flush().ok());
  const LogId destaged = bench.group->local().destaged;
  bench.disk.slow_down(Duration::milliseconds(5));
  std::optional<Result<bool>> step;
  io::TaskScope scope(bench.world);
  const auto destage = [](Group* group, std::optional<Result<bool>>* out) -> io::Task<void> {
    out->emplace(co_await group->destage_now(true));
  };
  scope.spawn(destage(bench.group, &step));
  const auto is_allocated = [&](std::uint64_t block) {
    const std::optional<BlockRange> found = base_of(bench, volume.id)->next_allocated(block);
    return found.has_value();
  };
  const auto run_until_allocated = [&](std::uint64_t block) {
    for (int i = 0; i < 10'000 && !is_allocated(block); ++i) bench.world.run_for(Duration::microseconds(100));
    ASSERT_TRUE(is_allocated(block));
  };
  ASSERT_NO_FATAL_FAILURE(run_until_allocated(0));
  // Whoever comes now writes between what the step writes and its flush.
  const auto copy = [](Group* group, VolumeId id) -> io::Task<void> {
    Buffer block = Buffer::allocate(kBlockSizeBytes);
    std::memset(block.data(), 0, block.size());
    (void)co_await group->write_copy(id, {4000, 4001}, std::move(block));
  };
  scope.spawn(copy(bench.group, volume.id));
  ASSERT_NO_FATAL_FAILURE(run_until_allocated(3072));
  ASSERT_FALSE(step.has_value()) << "it was over too soon";
  bench.disk.fail_flush_after(1);
  EXPECT_FALSE(bench.run(base_of(bench, volume.id)->flush()).ok());
  bench.run(scope.join());
  ASSERT_TRUE(step.has_value());
  EXPECT_FALSE(step->ok());
  EXPECT_EQ(bench.group->local().destaged, destaged);
  bench.power_cut();
  bench.start_again();
  EXPECT_EQ(bench.live(volume.id, 4096), expected);
}

}  // namespace
}  // namespace tidemark::group
