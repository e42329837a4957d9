// What a step of destaging reads of the journal and writes to the base.

#include <functional>
#include <optional>

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

Result<void> discard(GroupBench& bench, VolumeId volume, BlockRange blocks) {
  return bench.run(bench.group->data().zero(volume, blocks.begin * kBlockSizeBytes,
                                            blocks.count() * kBlockSizeBytes, true, false));
}

Result<Mark> change_mark(GroupBench& bench, const std::string& id, format::MarkAction action) {
  return bench.run(bench.group->change_mark(id, action));
}

// As far as what is held allows.
void destage_to(GroupBench& bench, LogId point) {
  ASSERT_TRUE(bench.flush().ok());
  for (int i = 0; i < 20 && bench.group->local().destaged != point; ++i) {
    const auto step = bench.run(bench.group->destage_now(true));
    ASSERT_TRUE(step.ok()) << step.error().message;
  }
  ASSERT_EQ(bench.group->local().destaged, point);
}

// One extent, which the base has and the pool has no other of. It is discarded, then block 500 of it written,
// and of what follows the live state shows nothing of that.
void keep_space_of_what_is_hidden(GroupBench& bench, const std::function<void(VolumeId)>& hide) {
  const VolumeShape volume = bench.make_volume("data", 1024);
  ASSERT_NO_FATAL_FAILURE(fill_pool(bench, 1));
  ASSERT_TRUE(bench.fill(volume.id, {0, 4}, 7).ok());
  ASSERT_NO_FATAL_FAILURE(bench.destage_all());
  ASSERT_TRUE(discard(bench, volume.id, {0, 1024}).ok());
  const auto before = bench.mark("before");
  ASSERT_TRUE(before.ok());
  ASSERT_TRUE(change_mark(bench, "before", format::MarkAction::kHold).ok());
  ASSERT_TRUE(bench.fill(volume.id, {500, 501}, 9).ok());
  ASSERT_TRUE(bench.mark("written").ok());
  ASSERT_TRUE(change_mark(bench, "written", format::MarkAction::kHold).ok());
  ASSERT_NO_FATAL_FAILURE(hide(volume.id));
  EXPECT_EQ(bench.live(volume.id, 1024), std::vector<int>(1024));
  ASSERT_NO_FATAL_FAILURE(destage_to(bench, before->at));
  EXPECT_EQ(bench.pool().status().free_bytes, 0u) << "what was acknowledged has lost its space";
  ASSERT_NO_FATAL_FAILURE(fill_pool(bench, 0));
  const auto restored = bench.restore("written");
  ASSERT_TRUE(restored.ok()) << restored.error().message;
  ASSERT_TRUE(change_mark(bench, "before", format::MarkAction::kRelease).ok());
  ASSERT_TRUE(change_mark(bench, "written", format::MarkAction::kRelease).ok());
  ASSERT_NO_FATAL_FAILURE(bench.destage_all());
  std::vector<int> expected(1024);
  expected[500] = 9;
  EXPECT_EQ(bench.live(volume.id, 1024), expected);
}

TEST(BaseMover, ADiscardedExtentKeepsItsSpaceForWhatABranchHasWrittenToIt) {
  GroupBench bench(8, {.settings = {.retain = Duration{}}});
  keep_space_of_what_is_hidden(bench, [&](VolumeId) {
    const auto restored = bench.restore("before");
    ASSERT_TRUE(restored.ok()) << restored.error().message;
  });
}

TEST(BaseMover, ADiscardedExtentKeepsItsSpaceForWhatIsDiscardedOnceMoreLaterOn) {
  GroupBench bench(9, {.settings = {.retain = Duration{}}});
  keep_space_of_what_is_hidden(bench, [&](VolumeId volume) {
    ASSERT_TRUE(discard(bench, volume, {0, 1024}).ok());
  });
}

// As long as a point with data in it can be read, it is kept; so are those of which that is not known, since
// they were discarded so often.
TEST(BaseMover, ADiscardedExtentOfWhichNothingCanBeReadAnyMoreIsGivenBack) {
  GroupBench bench(10, {.settings = {.retain = Duration{}}});
  const VolumeShape volume = bench.make_volume("data", 8192);
  for (std::uint64_t block = 0; block < 8192; block += 1024)
    ASSERT_TRUE(bench.fill(volume.id, {block, block + 4}, 7).ok());
  ASSERT_NO_FATAL_FAILURE(bench.destage_all());
  const std::uint64_t free_bytes = bench.pool().status().free_bytes;
  ASSERT_TRUE(discard(bench, volume.id, {0, 8192}).ok());
  const auto before = bench.mark("before");
  ASSERT_TRUE(before.ok());
  ASSERT_TRUE(change_mark(bench, "before", format::MarkAction::kHold).ok());
  ASSERT_TRUE(bench.fill(volume.id, {2000, 2001}, 9).ok());
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t begin = i < 10 ? 0 : 4096;
    ASSERT_TRUE(discard(bench, volume.id, {begin, 8192}).ok());
  }
  ASSERT_NO_FATAL_FAILURE(destage_to(bench, before->at));
  EXPECT_EQ(bench.pool().status().free_bytes, free_bytes + (3ull << 22));
  ASSERT_TRUE(change_mark(bench, "before", format::MarkAction::kRelease).ok());
  ASSERT_NO_FATAL_FAILURE(bench.destage_all());
  EXPECT_EQ(bench.pool().status().free_bytes, free_bytes + (8ull << 22));
}

// Discarded in parts before it was moved: all that the base has of it is the promise of its space.
TEST(BaseMover, TheSpaceOfWhatNeverReachedTheBaseIsGivenBack) {
  GroupBench bench(12, {.settings = {.retain = Duration{}}});
  const VolumeShape volume = bench.make_volume("data", 2048);
  const std::uint64_t free_bytes = bench.pool().status().free_bytes;
  ASSERT_TRUE(bench.fill(volume.id, {100, 104}, 7).ok());
  ASSERT_TRUE(bench.fill(volume.id, {1500, 1504}, 8).ok());
  ASSERT_TRUE(bench.fill(volume.id, {1800, 1801}, 9).ok());
  EXPECT_EQ(bench.pool().status().free_bytes, free_bytes - (2ull << 22));
  for (const BlockRange part : {BlockRange{100, 102}, BlockRange{102, 104}, BlockRange{1500, 1504}})
    ASSERT_TRUE(discard(bench, volume.id, part).ok());
  ASSERT_NO_FATAL_FAILURE(bench.destage_all());
  EXPECT_EQ(bench.pool().status().free_bytes, free_bytes - (1ull << 22)) << "the second is needed";
  std::vector<int> expected(2048);
  expected[1800] = 9;
  EXPECT_EQ(bench.live(volume.id, 2048), expected);
}

// Whenever somebody writes to an extent whose space is being given back, what is acknowledged has its space:
// nobody else gets it before it is in the base.
void write_while_space_is_given_back(Duration after, std::uint64_t length) {
  SCOPED_TRACE(std::to_string(after.ns) + " ns, " + std::to_string(length) + " bytes");
  GroupBench bench(11, {.settings = {.retain = Duration{}}});
  const VolumeShape volume = bench.make_volume("data", 1024);
  ASSERT_NO_FATAL_FAILURE(fill_pool(bench, 1));
  ASSERT_TRUE(bench.fill(volume.id, {0, 4}, 7).ok());
  ASSERT_NO_FATAL_FAILURE(bench.destage_all());
  ASSERT_TRUE(discard(bench, volume.id, {0, 4}).ok());
  ASSERT_TRUE(bench.flush().ok());
  bench.fate->answer_time = Duration::seconds(1);
  io::TaskScope scope(bench.world);
  std::optional<Result<bool>> step;
  const auto destage = [](Group* group, std::optional<Result<bool>>* out) -> io::Task<void> {
    out->emplace(co_await group->destage_now(true));
  };
  scope.spawn(destage(bench.group, &step));
  bench.world.run_for(after);
  Buffer data = Buffer::allocate(length);
  std::memset(data.data(), 9, data.size());
  const auto written = bench.write(volume.id, 500 * kBlockSizeBytes, data);
  bench.fate->answer_time = Duration{};
  bench.run(scope.join());
  ASSERT_TRUE(step.has_value());
  ASSERT_TRUE(step->ok()) << step->error().message;
  if (!written.ok()) {
    // What was given back can be used again when that is durable.
    EXPECT_EQ(written.error().code, ErrorCode::kNoSpace) << written.error().message;
    return;
  }
  ASSERT_NO_FATAL_FAILURE(fill_pool(bench, 0));
  ASSERT_NO_FATAL_FAILURE(bench.destage_all());
  Buffer out = Buffer::allocate(length);
  const auto read = bench.run(
      bench.group->data().read(volume.id, bench.group->live_path(), 500 * kBlockSizeBytes, out, true));
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(std::memcmp(out.data(), data.data(), length), 0);
}

TEST(BaseMover, WhatIsWrittenWhileSpaceIsGivenBackHasItsOwn) {
  for (const std::uint64_t length : {std::uint64_t{512}, kBlockSizeBytes}) {
    for (int i = 0; i < 20 && !testing::Test::HasFailure(); ++i)
      write_while_space_is_given_back(Duration::milliseconds(250 * i), length);
  }
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
