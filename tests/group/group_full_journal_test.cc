// What a group still does whose journal is full.

#include "format/disk.h"
#include "group_bench.h"

namespace tidemark::group {
namespace {

constexpr std::uint64_t kBlocks = 64;

// With data, then with marks, until only what lets space be freed has room.
std::string fill_to_the_last(GroupBench& bench, VolumeId volume) {
  Result<void> written;
  for (int i = 0; written.ok() && i < 10'000; ++i)
    written = bench.fill(volume, {0, kBlocks}, static_cast<std::uint8_t>(1 + i % 200));
  EXPECT_EQ(written.error().code, ErrorCode::kNoSpace) << written.error().message;
  std::string last;
  for (int i = 0;; ++i) {
    const std::string id = "m" + std::to_string(i);
    const auto made = bench.mark(id);
    if (!made.ok()) {
      EXPECT_EQ(made.error().code, ErrorCode::kNoSpace) << made.error().message;
      return last;
    }
    last = id;
  }
}

Result<journal::Appended> take_over(GroupBench& bench, const std::string& point) {
  auto plan = bench.run(bench.group->plan_restore(point, false));
  if (!plan.ok()) return std::move(plan).error();
  return bench.run(bench.group->restore(std::move(plan).value(), format::EpochReason::kTakeover));
}

// Found by the simulator: a node whose peer was lost could neither take over nor end the pair.
TEST(GroupFullJournal, ATakeoverAndARestoreHaveRoom) {
  BenchOptions options;
  options.settings.retain = Duration::seconds(3600);
  options.settings.on_full = OnFull::kStopWrites;
  GroupBench bench(1, options);
  const VolumeId volume = bench.make_volume("db", kBlocks).id;
  const std::string last = fill_to_the_last(bench, volume);
  const std::vector<int> before = bench.live(volume, kBlocks);
  const auto taken = take_over(bench, last);
  ASSERT_TRUE(taken.ok()) << taken.error().message;
  EXPECT_EQ(bench.live(volume, kBlocks), before);
  // Nobody else may use up what it took.
  const auto written = bench.fill(volume, {0, 1}, 9);
  ASSERT_FALSE(written.ok());
  EXPECT_EQ(written.error().code, ErrorCode::kNoSpace) << written.error().message;
  for (int i = 0; i < 5; ++i) {
    const auto again = bench.restore("head");
    ASSERT_TRUE(again.ok()) << again.error().message;
  }
  // And it can be helped as before.
  GroupSettings settings = options.settings;
  settings.retain = Duration{};
  const auto changed = bench.run(bench.group->set_settings(settings));
  ASSERT_TRUE(changed.ok()) << changed.error().message;
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(bench.run(bench.group->destage_now(true)).ok());
  EXPECT_TRUE(bench.fill(volume, {0, 1}, 9).ok());
}

TEST(GroupFullJournal, AWriteThatIsRefusedLeavesNoPromiseOfSpace) {
  BenchOptions options;
  options.settings.retain = Duration::seconds(3600);
  options.settings.on_full = OnFull::kStopWrites;
  GroupBench bench(2, options);
  const VolumeId volume = bench.make_volume("db", kBlocks).id;
  const VolumeId thin = bench.make_volume("thin", 20 * format::kExtentBlocks).id;
  fill_to_the_last(bench, volume);
  const std::uint64_t free_bytes = bench.pool().status().free_bytes;
  for (std::uint64_t extent = 0; extent < 20; ++extent) {
    const std::uint64_t block = extent * format::kExtentBlocks;
    EXPECT_EQ(error_of(bench.fill(thin, {block, block + 1}, 1)), ErrorCode::kNoSpace);
  }
  EXPECT_EQ(bench.pool().status().free_bytes, free_bytes);
}

// Its snapshots must not be what fills the journal.
TEST(GroupFullJournal, AGroupWithALargeStateThatRestsWritesNothing) {
  GroupBench bench(3, {.settings = {.retain = Duration::seconds(100'000)}});
  const VolumeId volume = bench.make_volume("db", kBlocks).id;
  ASSERT_TRUE(bench.fill(volume, {0, kBlocks}, 1).ok());
  const std::string note(1000, 'n');
  for (int i = 0; i < 500; ++i) {
    format::MarkRecord mark;
    mark.id = "m" + std::to_string(i);
    mark.note = note;
    ASSERT_TRUE(bench.run(bench.group->create_mark(mark)).ok());
  }
  ASSERT_TRUE(bench.run(bench.group->snapshot()).ok());
  ASSERT_GT(bench.group->journal().snapshot_size_bytes(), bench.options.journal_bytes / 16);
  bench.world.run_for(Duration::seconds(10));
  const std::uint64_t written = bench.group->journal().status().written_bytes;
  bench.world.run_for(Duration::seconds(60));
  EXPECT_LE(bench.group->journal().status().written_bytes - written, std::uint64_t{64} << 10);
}

}  // namespace
}  // namespace tidemark::group
