// The floor rises: what the base takes in, and what must not stay behind or go with it.

#include <optional>

#include "group_bench.h"

namespace tidemark::group {
namespace {

TEST(Destager, WhatTheCacheHasOfTheBaseIsForgottenWhenSomethingElseTakesItsPlace) {
  GroupBench bench(1, {.settings = {.retain = Duration{}}});
  const VolumeShape volume = bench.make_volume("data", 8);
  ASSERT_TRUE(bench.fill(volume.id, {0, 4}, 7).ok());
  ASSERT_NO_FATAL_FAILURE(bench.destage_all());
  const std::vector<int> before{7, 7, 7, 7};
  EXPECT_EQ(bench.live(volume.id, 4), before);
  EXPECT_EQ(bench.live(volume.id, 4), before) << "from the cache";

  ASSERT_TRUE(bench.run(bench.group->data().zero(volume.id, 0, 2 * kBlockSizeBytes, false, false)).ok());
  ASSERT_TRUE(bench.fill(volume.id, {2, 3}, 9).ok());
  ASSERT_NO_FATAL_FAILURE(bench.destage_all());
  const std::vector<int> after{0, 0, 9, 7};
  EXPECT_EQ(bench.live(volume.id, 4), after);
  bench.restart();
  EXPECT_EQ(bench.live(volume.id, 4), after);
}

// Who waited for space got some, and writes no more: what is short is still to be made good, and at once.
TEST(Destager, GoesOnWhenWhoWaitedForSpaceHasIt) {
  GroupBench bench(2, {.settings = {.retain = Duration{}}});
  const VolumeShape volume = bench.make_volume("data", 4096);
  std::uint64_t block = 0;
  const auto waited = [&] { return bench.group->journal().status().segments_free < 8; };
  const auto write_on = [&](auto done) {
    for (int i = 0; i < 4000 && !done(); ++i, block = (block + 7) % 4096)
      ASSERT_TRUE(bench.fill(volume.id, {block, block + 1}, 1).ok());
    ASSERT_TRUE(done());
  };
  ASSERT_NO_FATAL_FAILURE(write_on(waited));
  const std::uint32_t before = bench.group->journal().status().segments_free;
  ASSERT_NO_FATAL_FAILURE(write_on([&] { return bench.group->journal().status().segments_free > before; }));
  bench.world.run_for(Duration::milliseconds(300));
  const journal::JournalStatus status = bench.group->journal().status();
  EXPECT_GE(status.segments_free * 2, status.segments_total) << status.segments_free;
}

io::Task<void> read_block(Group* group, VolumeId volume, Buffer out, std::optional<Result<void>>* done) {
  done->emplace(co_await group->data().read(volume, group->live_path(), 0, out, true));
}

io::Task<void> write_to(Group* group, VolumeId volume, Buffer data, std::optional<Result<void>>* done) {
  done->emplace(co_await group->data().write(volume, 0, data, false));
}

io::Task<void> step_in(Duration wait, GroupBench* bench, std::optional<Result<bool>>* done) {
  Group* const group = bench->group;
  co_await bench->world.sleep_for(wait);
  done->emplace(co_await group->destage_now(true));
}

// At whatever moment it is opened.
TEST(Destager, AViewThatIsOpenedWhileAStepBeginsHoldsTheFloorOrIsRefused) {
  bool held = false;
  bool refused = false;
  for (std::uint64_t steps = 0; !refused && !HasFailure(); ++steps) {
    SCOPED_TRACE("steps " + std::to_string(steps));
    GroupBench bench(5, {.settings = {.retain = Duration{}}});
    const VolumeShape volume = bench.make_volume("data", 64);
    // Less than half of the journal: no step begins by itself.
    for (std::uint8_t lap = 1; lap < 6; ++lap) ASSERT_TRUE(bench.fill(volume.id, {0, 30}, lap).ok());
    ASSERT_TRUE(bench.mark("m").ok());
    const std::vector<int> seen = bench.live(volume.id, 64);
    for (std::uint8_t lap = 6; lap < 12; ++lap) ASSERT_TRUE(bench.fill(volume.id, {0, 30}, lap).ok());
    ASSERT_TRUE(bench.flush().ok());
    std::optional<Result<bool>> step;
    io::TaskScope scope(bench.world);
    bench.disk.slow_down(Duration::milliseconds(1));
    scope.spawn(step_in(Duration::milliseconds(5), &bench, &step));
    (void)bench.world.run_steps(steps);
    auto view = bench.run(bench.group->open_view("data", "m"));
    bench.run(scope.join());
    ASSERT_TRUE(step.has_value() && step->ok());
    if (view.ok()) {
      EXPECT_EQ(bench.read_view(**view), seen);
      bench.run((*view)->close());
      held = true;
    } else {
      EXPECT_EQ(view.error().code, ErrorCode::kExpired) << view.error().message;
      refused = true;
    }
  }
  EXPECT_TRUE(held);
}

bool has_unit(GroupBench& bench, VolumeId volume) {
  for (const pool::LuRecord& unit : bench.pools().units()) {
    if (unit.kind == pool::LuKind::kData && unit.volume == volume) return true;
  }
  return false;
}

// A volume that was deleted and is still in the base; the next step passes the deletion and frees segments.
VolumeId delete_a_volume(GroupBench& bench) {
  const VolumeShape other = bench.make_volume("other", 256);
  const VolumeShape volume = bench.make_volume("data", 256);
  EXPECT_TRUE(bench.fill(volume.id, {0, 200}, 5).ok());
  bench.destage_all();
  EXPECT_TRUE(bench.run(bench.group->delete_volume("data")).ok());
  EXPECT_TRUE(bench.fill(other.id, {0, 200}, 6).ok());
  EXPECT_TRUE(bench.flush().ok());
  return volume.id;
}

TEST(Destager, ADifferenceHoldsItUpForAPartAtATime) {
  GroupBench bench(3, {.journal_bytes = 64 << 20, .settings = {.retain = Duration{}}});
  const VolumeShape volume = bench.make_volume("data", 4096);
  const auto fill_all = [&] {
    for (std::uint64_t at = 0; at < 4096; at += 256)
      ASSERT_TRUE(bench.fill(volume.id, {at, at + 256}, 5).ok());
  };
  ASSERT_NO_FATAL_FAILURE(fill_all());
  ASSERT_NO_FATAL_FAILURE(bench.destage_all());
  ASSERT_TRUE(bench.fill(volume.id, {0, 8}, 5).ok());
  const auto from = bench.mark("from");
  ASSERT_NO_FATAL_FAILURE(fill_all());  // the same bytes: all of them are compared
  const auto to = bench.mark("to");
  ASSERT_TRUE(from.ok() && to.ok());
  const LogId before = bench.group->local().destaged;
  std::optional<Result<std::vector<ChangedRun>>> found;
  io::TaskScope scope(bench.world);
  scope.spawn([](Group* group, VolumeId id, LogId a, LogId b, auto* out) -> io::Task<void> {
    *out = co_await group->diff(id, a, b, {0, 4096}, 100);
  }(bench.group, volume.id, from->at, to->at, &found));
  const auto step = bench.run(bench.group->destage_now(true));
  ASSERT_TRUE(step.ok()) << step.error().message;
  EXPECT_NE(bench.group->local().destaged, before);
  EXPECT_FALSE(found.has_value()) << "the step did not wait for its end";
  bench.run(scope.join());
  ASSERT_TRUE(found.has_value() && found->ok());
  EXPECT_TRUE((*found)->empty());
}

// Whenever the read begins, it has its bytes, or is told that the volume is gone.
TEST(Destager, WhoReadsAVolumeThatWasDeletedIsWaitedFor) {
  bool was_waited_for = false;
  bool was_gone = false;
  for (int i = 0; i < 400 && !was_gone && !HasFailure(); ++i) {
    GroupBench bench(3, {.settings = {.retain = Duration{}}});
    const VolumeId volume = delete_a_volume(bench);
    const LogId before = bench.group->local().destaged;
    std::optional<Result<bool>> step;
    std::optional<Result<void>> read;
    Buffer out = Buffer::allocate(kBlockSizeBytes);
    io::TaskScope scope(bench.world);
    bench.disk.slow_down(Duration::milliseconds(1));
    scope.spawn(step_in(Duration{}, &bench, &step));
    bench.world.run_for(Duration::microseconds(250 * i));
    const bool begins_in_the_step = !step.has_value();
    const bool moved = bench.group->local().destaged != before;
    bench.fate->look_slowly = true;
    bench.fate->look_time = Duration::seconds(10);
    scope.spawn(read_block(bench.group, volume, out, &read));
    bench.world.run_for(Duration::seconds(1));
    bench.fate->look_slowly = false;
    if (!read.has_value()) {
      EXPECT_TRUE(has_unit(bench, volume)) << "it was removed under a read";
      was_waited_for = was_waited_for || (begins_in_the_step && moved && !step.has_value());
    }
    bench.run(scope.join());
    ASSERT_TRUE(step.has_value() && step->ok());
    EXPECT_FALSE(has_unit(bench, volume));
    ASSERT_TRUE(read.has_value());
    if (read->ok()) {
      EXPECT_EQ(GroupBench::bytes_of_blocks(out), std::vector<int>{5});
    } else {
      EXPECT_EQ(read->error().code, ErrorCode::kNotFound) << read->error().message;
      was_gone = true;
    }
  }
  EXPECT_TRUE(was_waited_for);
  EXPECT_TRUE(was_gone);
}

TEST(Destager, AVolumeThatWasDeletedTakesNoMoreWrites) {
  GroupBench bench(4, {.settings = {.retain = Duration{}}});
  const VolumeId volume = delete_a_volume(bench);
  Volume* const found = bench.group->find_volume(volume);
  ASSERT_NE(found, nullptr);
  const auto written = bench.fill(volume, {0, 1}, 7);
  ASSERT_FALSE(written.ok());
  EXPECT_EQ(written.error().code, ErrorCode::kNotFound);
  const auto zeroed = bench.run(bench.group->data().zero(volume, 0, kBlockSizeBytes, true, false));
  ASSERT_FALSE(zeroed.ok());
  EXPECT_EQ(zeroed.error().code, ErrorCode::kNotFound);
  Buffer block = Buffer::allocate(kBlockSizeBytes);
  std::memset(block.data(), 7, block.size());
  EXPECT_FALSE(bench.group->data().write_now(*found, 0, block));
}

TEST(Destager, AWriteThatWaitsWhileItsVolumeIsDeletedAndRemovedIsRefused) {
  for (const std::uint64_t length : {kBlockSizeBytes / 2, kBlockSizeBytes}) {
    SCOPED_TRACE(length);
    GroupBench bench(5, {.settings = {.retain = Duration{}}});
    const VolumeShape other = bench.make_volume("other", 256);
    const VolumeShape volume = bench.make_volume("data", 256);
    ASSERT_TRUE(bench.fill(volume.id, {0, 200}, 5).ok());
    ASSERT_NO_FATAL_FAILURE(bench.destage_all());
    std::optional<RangeLock::Guard> owner = bench.group->find_volume(volume.id)->lock.take(BlockRange{0, 1});
    std::optional<Result<void>> written;
    Buffer data = Buffer::allocate(length);
    std::memset(data.data(), 7, data.size());
    io::TaskScope scope(bench.world);
    scope.spawn(write_to(bench.group, volume.id, data, &written));
    ASSERT_TRUE(bench.run(bench.group->delete_volume("data")).ok());
    ASSERT_TRUE(bench.fill(other.id, {0, 200}, 6).ok());
    ASSERT_NO_FATAL_FAILURE(bench.destage_all());
    EXPECT_FALSE(has_unit(bench, volume.id));
    ASSERT_FALSE(written.has_value());
    owner.reset();
    bench.run(scope.join());
    ASSERT_TRUE(written.has_value());
    ASSERT_FALSE(written->ok());
    EXPECT_EQ(written->error().code, ErrorCode::kNotFound) << written->error().message;
  }
}

TEST(Destager, AVolumeTakesWritesAgainAfterARestoreToBeforeItsDeletion) {
  GroupBench bench(6);
  const VolumeShape volume = bench.make_volume("data", 8);
  ASSERT_TRUE(bench.mark("before").ok());
  ASSERT_TRUE(bench.run(bench.group->delete_volume("data")).ok());
  EXPECT_FALSE(bench.fill(volume.id, {0, 1}, 7).ok());
  ASSERT_TRUE(bench.restore("before").ok());
  EXPECT_TRUE(bench.fill(volume.id, {0, 1}, 7).ok());
  ASSERT_TRUE(bench.restore("before").ok());
  EXPECT_TRUE(bench.fill(volume.id, {0, 1}, 8).ok());
}

}  // namespace
}  // namespace tidemark::group
