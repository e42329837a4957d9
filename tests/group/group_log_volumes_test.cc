// Log volumes of a group that come and go while hosts write.

#include <algorithm>
#include <optional>

#include "group_bench.h"

namespace tidemark::group {
namespace {

constexpr std::uint64_t kBlocks = 64;
constexpr std::uint64_t kMiB = 1 << 20;

BenchOptions options_with(Duration retain, OnFull on_full) {
  BenchOptions options;
  options.settings.retain = retain;
  options.settings.on_full = on_full;
  return options;
}

std::size_t further_units(GroupBench& bench) {
  const std::vector<pool::LuRecord> units = bench.pools().units();
  return static_cast<std::size_t>(
      std::ranges::count_if(units, [](const pool::LuRecord& unit) { return unit.is_further_log(); }));
}

std::optional<GroupLogVolume> find(Group& group, LuNumber number) {
  for (const GroupLogVolume& volume : group.log_volumes()) {
    if (volume.number == number) return volume;
  }
  return std::nullopt;
}

// Writes until the journal takes no more, and says how often.
std::uint8_t fill_journal(GroupBench& bench, VolumeId volume, std::uint8_t from) {
  for (std::uint8_t byte = from; byte < 250; ++byte) {
    const auto written = bench.fill(volume, {0, kBlocks}, byte);
    if (written.ok()) continue;
    EXPECT_EQ(written.error().code, ErrorCode::kNoSpace) << written.error().message;
    return byte;
  }
  ADD_FAILURE() << "the journal is never full";
  return from;
}

TEST(GroupLogVolumes, AFullJournalTakesWritesAgainWhenOneIsAdded) {
  GroupBench bench(1, options_with(Duration::seconds(3600), OnFull::kStopWrites));
  const VolumeId volume = bench.make_volume("db", kBlocks).id;
  const std::uint8_t full_at = fill_journal(bench, volume, 1);
  // Of the write that was refused a part may be there.
  const std::vector<int> at_full = bench.live(volume, kBlocks);
  ASSERT_TRUE(bench.mark("full").ok());
  const auto added = bench.run(bench.group->add_log_volume(PoolNumber{0}, 3 * kMiB + 4096));
  ASSERT_TRUE(added.ok()) << added.error().message;
  const auto shown = find(*bench.group, *added);
  ASSERT_TRUE(shown.has_value());
  EXPECT_EQ(shown->size_bytes, 3 * kMiB + (128 << 10)) << "rounded up to whole segments";
  EXPECT_GT(fill_journal(bench, volume, full_at), full_at + 5);
  EXPECT_GT(find(*bench.group, *added)->status.segments_used, 10u);
  EXPECT_EQ(bench.at("db", "full"), at_full);
  const std::vector<int> newest = bench.live(volume, kBlocks);
  bench.power_cut();
  bench.start_again();
  EXPECT_EQ(bench.live(volume, kBlocks), newest);
  EXPECT_EQ(bench.at("db", "full"), at_full);
  EXPECT_EQ(further_units(bench), 1u);
}

TEST(GroupLogVolumes, OneThatIsRemovedGoesWhenItsEntriesHaveLeftTheWindow) {
  GroupBench bench(2, options_with(Duration::seconds(100), OnFull::kDropHistory));
  const VolumeId volume = bench.make_volume("db", kBlocks).id;
  for (std::uint8_t byte = 1; byte < 5; ++byte) ASSERT_TRUE(bench.fill(volume, {0, kBlocks}, byte).ok());
  const auto added = bench.run(bench.group->add_log_volume(PoolNumber{0}, 4 * kMiB));
  ASSERT_TRUE(added.ok()) << added.error().message;
  const std::uint64_t free_before = bench.pool().status().free_bytes;
  std::uint8_t byte = 5;
  while (find(*bench.group, *added)->status.segments_used < 4) {
    ASSERT_TRUE(bench.fill(volume, {0, kBlocks}, byte++).ok());
  }
  ASSERT_TRUE(bench.mark("there").ok());
  ASSERT_TRUE(bench.run(bench.group->remove_log_volume(*added)).ok());
  ASSERT_TRUE(bench.run(bench.group->remove_log_volume(*added)).ok()) << "again changes nothing";
  bench.world.run_for(Duration::seconds(20));
  ASSERT_TRUE(find(*bench.group, *added).has_value()) << "the window reaches there";
  EXPECT_EQ(bench.at("db", "there"), std::vector<int>(kBlocks, byte - 1));
  // Nobody writes; what lies there grows old.
  bench.world.run_for(Duration::seconds(400));
  EXPECT_FALSE(find(*bench.group, *added).has_value());
  EXPECT_EQ(further_units(bench), 0u);
  EXPECT_GE(bench.pool().status().free_bytes, free_before + 4 * kMiB);
  EXPECT_NE(bench.log.find("log-volume-removed"), std::string::npos) << bench.log;
  EXPECT_EQ(bench.live(volume, kBlocks), std::vector<int>(kBlocks, byte - 1));
  ASSERT_TRUE(bench.fill(volume, {0, 1}, 77).ok());
  bench.restart();
  EXPECT_EQ(bench.live(volume, 1), std::vector<int>(1, 77));
}

TEST(GroupLogVolumes, TheFirstOneAndStrangersAreRefused) {
  GroupBench bench(3, options_with(Duration::seconds(3600), OnFull::kStopWrites));
  const VolumeId volume = bench.make_volume("db", kBlocks).id;
  EXPECT_EQ(bench.run(bench.group->remove_log_volume(bench.log_volume)).error().code, ErrorCode::kRefused);
  EXPECT_EQ(bench.run(bench.group->remove_log_volume(LuNumber{77})).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(bench.run(bench.group->add_log_volume(PoolNumber{3}, kMiB)).error().code, ErrorCode::kIo);
  EXPECT_EQ(bench.run(bench.group->add_log_volume(PoolNumber{0}, 1ull << 40)).error().code,
            ErrorCode::kNoSpace);
  const auto added = bench.run(bench.group->add_log_volume(PoolNumber{0}, kMiB));
  ASSERT_TRUE(added.ok());
  (void)fill_journal(bench, volume, 1);
  EXPECT_EQ(bench.run(bench.group->remove_log_volume(*added)).error().code, ErrorCode::kNoSpace);
  EXPECT_EQ(bench.group->log_volumes_size_bytes(), bench.options.journal_bytes + kMiB);
}

io::Task<void> add(Group* group, std::optional<Result<LuNumber>>* outcome) {
  outcome->emplace(co_await group->add_log_volume(PoolNumber{0}, kMiB));
}

TEST(GroupLogVolumes, AnAdditionThatIsCutOffIsThereOrLeavesNothing) {
  bool was_there = false;
  bool was_not = false;
  for (std::uint64_t steps = 0;; ++steps) {
    SCOPED_TRACE("steps " + std::to_string(steps));
    GroupBench bench(steps + 1, options_with(Duration::seconds(3600), OnFull::kDropHistory));
    const VolumeId volume = bench.make_volume("db", kBlocks).id;
    ASSERT_TRUE(bench.fill(volume, {0, kBlocks}, 9).ok());
    ASSERT_TRUE(bench.flush().ok());
    std::optional<Result<LuNumber>> outcome;
    io::TaskScope scope(bench.world);
    scope.spawn(add(bench.group, &outcome));
    (void)bench.world.run_steps(steps);
    const bool acknowledged = outcome.has_value() && outcome->ok();
    scope.cancel_all();
    bench.power_cut();
    ASSERT_NO_FATAL_FAILURE(bench.start_again());
    const bool is_there = bench.group->log_volumes().size() == 2;
    EXPECT_TRUE(is_there || !acknowledged);
    EXPECT_EQ(further_units(bench), is_there ? 1u : 0u);
    EXPECT_EQ(bench.live(volume, kBlocks), std::vector<int>(kBlocks, 9));
    (is_there ? was_there : was_not) = true;
    if (acknowledged) break;
  }
  EXPECT_TRUE(was_there && was_not);
}

TEST(GroupLogVolumes, ARemovalThatIsCutOffGoesOnAfterwards) {
  for (std::uint64_t round = 0; round < 60; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    GroupBench bench(round + 1, options_with(Duration::seconds(1), OnFull::kDropHistory));
    const VolumeId volume = bench.make_volume("db", kBlocks).id;
    const auto added = bench.run(bench.group->add_log_volume(PoolNumber{0}, kMiB));
    ASSERT_TRUE(added.ok());
    std::uint8_t byte = 0;
    while (find(*bench.group, *added)->status.segments_used < 2) {
      ASSERT_TRUE(bench.fill(volume, {0, kBlocks}, ++byte).ok());
    }
    ASSERT_TRUE(bench.flush().ok());
    const auto removed = bench.run(bench.group->remove_log_volume(*added));
    ASSERT_TRUE(removed.ok()) << removed.error().message;
    // The retention is over after a minute or so; the steps of the removal come close together then.
    bench.world.run_for(Duration::seconds(55));
    (void)bench.world.run_steps(round * 40);
    bench.power_cut();
    ASSERT_NO_FATAL_FAILURE(bench.start_again());
    EXPECT_EQ(further_units(bench), bench.group->log_volumes().size() - 1);
    EXPECT_EQ(bench.live(volume, kBlocks), std::vector<int>(kBlocks, byte));
    bench.world.run_for(Duration::seconds(200));
    EXPECT_EQ(bench.group->log_volumes().size(), 1u);
    EXPECT_EQ(further_units(bench), 0u);
    EXPECT_EQ(bench.live(volume, kBlocks), std::vector<int>(kBlocks, byte));
  }
}

TEST(GroupLogVolumes, ADeletionThatIsCutOffIsFinished) {
  bool lacked_one = false;
  for (std::uint64_t steps = 0;; ++steps) {
    SCOPED_TRACE("steps " + std::to_string(steps));
    GroupBench bench(steps + 1);
    ASSERT_TRUE(bench.run(bench.group->add_log_volume(PoolNumber{0}, kMiB)).ok());
    const GroupIdentity identity = bench.group->identity();
    ASSERT_TRUE(bench.run(bench.group->mark_dropped()).ok());
    ASSERT_TRUE(bench.run(bench.group->close()).ok());
    io::TaskScope scope(bench.world);
    bool done = false;
    scope.spawn([](pool::Pools* pools, GroupIdentity group, bool* ended) -> io::Task<void> {
      const auto destroyed = co_await Group::destroy(*pools, group);
      EXPECT_TRUE(destroyed.ok());
      *ended = true;
    }(&bench.pools(), identity, &done));
    (void)bench.world.run_steps(steps);
    scope.cancel_all();
    bench.power_cut();
    ASSERT_NO_FATAL_FAILURE(bench.open_pool());
    if (bench.pools().log_volume(bench.log_volume) == nullptr) {
      EXPECT_TRUE(bench.pools().units().empty());
    } else {
      lacked_one = lacked_one || further_units(bench) == 0;
      const auto opened = bench.run(Group::open(bench.context(), bench.log_volume));
      ASSERT_TRUE(opened.ok()) << opened.error().message;
      EXPECT_EQ(*opened, nullptr) << "it is to be deleted";
    }
    if (done) break;
  }
  EXPECT_TRUE(lacked_one);
}

}  // namespace
}  // namespace tidemark::group
