// What is overwritten while nobody is promised its history stays out of the base.

#include "group_bench.h"

namespace tidemark::group {
namespace {

constexpr std::uint64_t kHotBlocks = 96;  // of a journal of 1024
constexpr std::uint64_t kColdBlocks = 32;
constexpr std::uint64_t kBlocks = kColdBlocks + kHotBlocks;

class FloorAhead : public testing::Test {
 public:
  explicit FloorAhead(GroupSettings settings = {.retain = Duration{}})
      : bench(21, {.segment_bytes = 64 << 10, .settings = settings}) {
    volume = bench.make_volume("data", kBlocks).id;
    expected.resize(kBlocks);
    for (std::uint64_t block = 0; block < kColdBlocks; ++block) write(block);
  }
  void write(std::uint64_t block) {
    const auto byte = static_cast<std::uint8_t>(1 + ++writes % 250);
    ASSERT_TRUE(bench.fill(volume, {block, block + 1}, byte).ok());
    expected[block] = byte;
  }
  // Around the journal so many times; the marks are `m0`, `m1` and so on, 64 writes apart.
  void write_around(int times) {
    for (int i = 0; i < times * 1024; ++i) {
      ASSERT_NO_FATAL_FAILURE(write(kColdBlocks + static_cast<std::uint64_t>(i) % kHotBlocks));
      if (i % 64 != 0) continue;
      ASSERT_TRUE(bench.mark("m" + std::to_string(i / 64)).ok());
      shown.push_back(expected);
    }
  }
  std::uint64_t blocks_moved() {
    for (const VolumeShape& shape : bench.group->volumes())
      return bench.group->volume_status(shape).counters.destaged_bytes / kBlockSizeBytes;
    return 0;
  }

  // Also of those that nobody can see.
  std::size_t damaged_in_base() {
    std::size_t damaged = 0;
    for (const pool::LuRecord& unit : bench.pools().units()) {
      if (unit.kind != pool::LuKind::kData || unit.volume != volume) continue;
      pool::DataVolume* const base = bench.pools().data_volume(unit.number);
      Buffer out = Buffer::allocate(kBlockSizeBytes);
      for (std::uint64_t block = 0; block < kBlocks; ++block)
        damaged += bench.run(base->read({block, block + 1}, out)).ok() ? 0 : 1;
    }
    return damaged;
  }

  GroupBench bench;
  VolumeId volume{};
  int writes = 0;
  std::vector<int> expected{};
  std::vector<std::vector<int>> shown{};  // at the marks
};

TEST_F(FloorAhead, WithoutRetentionWhatIsOverwrittenIsNotMoved) {
  ASSERT_NO_FATAL_FAILURE(write_around(6));
  EXPECT_GE(blocks_moved(), kColdBlocks);
  EXPECT_LE(blocks_moved(), kColdBlocks + kHotBlocks);
  const LocalRecord& local = bench.group->local();
  EXPECT_GT(local.floor, local.destaged);
  EXPECT_TRUE(bench.group->base_is_settled());
  EXPECT_EQ(bench.live(volume, kBlocks), expected);
  bench.restart();
  EXPECT_EQ(bench.live(volume, kBlocks), expected);
}

io::Task<void> one_step(Group* group, bool* done) {
  (void)co_await group->destage_now(true);
  *done = true;
}

// A step is cut short at each of its moments, and the next one moves less or more.
TEST_F(FloorAhead, AStepThatAPowerCutEndedIsMadeGoodByTheNext) {
  bool done = false;
  int unsettled = 0;
  std::size_t torn = 0;
  for (std::uint64_t steps = 0; !done && !HasFailure(); ++steps) {
    for (std::uint64_t block = steps % 3; block < kBlocks; block += 1 + steps % 2)
      ASSERT_NO_FATAL_FAILURE(write(block));
    ASSERT_TRUE(bench.flush().ok());
    bench.disk.slow_down(Duration::milliseconds(1));
    bench.process->tasks().spawn(one_step(bench.group, &done));
    (void)bench.world.run_steps(steps);
    unsettled += bench.group->base_is_settled() ? 0 : 1;
    bench.power_cut();
    bench.disk.slow_down(Duration{});
    ASSERT_NO_FATAL_FAILURE(bench.start_again());
    ASSERT_EQ(bench.live(volume, kBlocks), expected) << "cut after " << steps << " steps";
    torn += damaged_in_base();
    if (steps % 4 == 0) continue;
    // What was being moved is overwritten, and need not be moved any more.
    for (std::uint64_t block = 0; block < kBlocks; ++block) ASSERT_NO_FATAL_FAILURE(write(block));
    ASSERT_TRUE(bench.flush().ok());
    for (int i = 0; i == 0 || (i < 10 && !bench.group->base_is_settled()); ++i)
      ASSERT_TRUE(bench.run(bench.group->destage_now(true)).ok());
    ASSERT_TRUE(bench.group->base_is_settled());
    EXPECT_EQ(damaged_in_base(), 0u) << "cut after " << steps << " steps";
  }
  EXPECT_GT(unsettled, 2);
  EXPECT_GT(torn, 0u) << "none of the cuts was in the middle of what is written to the base";
  ASSERT_NO_FATAL_FAILURE(bench.destage_all());
  bench.restart();
  EXPECT_EQ(bench.live(volume, kBlocks), expected) << "from the base";
}

// The oldest view keeps the journal from being emptied until it is given up; the newer one does not.
TEST_F(FloorAhead, WhatGivesWayForSpaceDoesSoForThatAlone) {
  auto old = bench.run(bench.group->open_view("data", "head"));
  ASSERT_TRUE(old.ok()) << old.error().message;
  for (int i = 0; i < 300; ++i)
    ASSERT_NO_FATAL_FAILURE(write(kColdBlocks + static_cast<std::uint64_t>(i) % kHotBlocks));
  auto recent = bench.run(bench.group->open_view("data", "head"));
  ASSERT_TRUE(recent.ok()) << recent.error().message;
  const std::vector<int> seen = expected;
  Buffer out = Buffer::allocate(kBlockSizeBytes);
  for (int i = 0; i < 2000 && bench.run((*old)->read(0, out)).ok(); ++i)
    ASSERT_NO_FATAL_FAILURE(write(kColdBlocks + static_cast<std::uint64_t>(i) % kHotBlocks));
  EXPECT_EQ(error_of(bench.run((*old)->read(0, out))), ErrorCode::kExpired);
  EXPECT_EQ(bench.read_view(**recent), seen);
  EXPECT_FALSE(bench.group->shortened_window().has_value()) << "nothing was promised";
  bench.run((*old)->close());
  bench.run((*recent)->close());
}

class HistoryGivenUp : public FloorAhead {
 public:
  HistoryGivenUp() : FloorAhead({.retain = Duration::seconds(3600)}) {}
};

TEST_F(HistoryGivenUp, WhatIsOverwrittenInWhatIsGivenUpIsNotMoved) {
  ASSERT_NO_FATAL_FAILURE(write_around(6));
  EXPECT_GE(blocks_moved(), kColdBlocks);
  EXPECT_LE(blocks_moved(), kColdBlocks + kHotBlocks);
  EXPECT_GT(bench.group->local().floor, bench.group->local().destaged);
  for (int round = 0; round < 2; ++round) {
    // A step that has begun ends, so that the floor stays where it is.
    bench.world.run_for(Duration::milliseconds(500));
    std::size_t readable = 0;
    for (std::size_t i = 0; i < shown.size(); ++i) {
      const std::string id = "m" + std::to_string(i);
      const Mark* mark = bench.group->state().find_mark(id);
      if (mark == nullptr || mark->at < bench.group->local().floor) continue;
      EXPECT_EQ(bench.at("data", id), shown[i]) << id;
      ++readable;
    }
    EXPECT_GE(readable, 3u) << "half of the journal, and more";
    EXPECT_EQ(bench.live(volume, kBlocks), expected);
    bench.restart();
  }
}

}  // namespace
}  // namespace tidemark::group
