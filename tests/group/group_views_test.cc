// Views of a group's points, and the scratch of those that may be written.

#include "group_bench.h"

namespace tidemark::group {
namespace {

TEST(GroupViews, AViewHoldsTheFloorUntilItEnds) {
  GroupBench bench(17, {.settings = {.retain = Duration::seconds(0), .on_full = OnFull::kStopWrites}});
  const VolumeShape volume = bench.make_volume("data", 32);
  ASSERT_TRUE(bench.fill(volume.id, {0, 32}, 1).ok());
  ASSERT_TRUE(bench.flush().ok());
  const LogId point = bench.group->head();
  auto view = bench.run(bench.group->open_view("data", "log:" + point.to_string()));
  ASSERT_TRUE(view.ok());
  for (int lap = 0; lap < 10; ++lap) {
    for (std::uint8_t i = 0; i < 8; ++i) {
      if (!bench.fill(volume.id, {0, 30}, static_cast<std::uint8_t>(i + 10)).ok()) break;
    }
    ASSERT_TRUE(bench.run(bench.group->destage_now(true)).ok());
    EXPECT_EQ(bench.read_view(**view), all(32, 1));
    EXPECT_TRUE(bench.group->state().epochs().is_ancestor(bench.group->local().floor, point));
  }
  const auto pins = bench.group->pins();
  EXPECT_TRUE(
      std::any_of(pins.begin(), pins.end(), [](const auto& pin) { return std::string(pin.kind) == "view"; }));
  bench.run((*view)->close());
  view->reset();
  bench.world.run_for(Duration::seconds(5));
  EXPECT_GT(bench.group->local().floor, point) << "and then it moves on";
  EXPECT_EQ(bench.view_error("data", "log:" + point.to_string()), ErrorCode::kExpired);
}

TEST(GroupViews, AReadOnlyViewRefusesWrites) {
  GroupBench bench(18);
  bench.make_volume("data", 4);
  auto view = bench.run(bench.group->open_view("data", "head"));
  ASSERT_TRUE(view.ok());
  EXPECT_FALSE((*view)->writable());
  EXPECT_EQ(error_of(bench.run((*view)->write(0, Buffer::allocate(kBlockSizeBytes)))), ErrorCode::kReadOnly);
}

TEST(GroupViews, AWritableViewHasAScratchThatGoesWithIt) {
  GroupBench bench(19);
  const VolumeShape volume = bench.make_volume("data", 16);
  ASSERT_TRUE(bench.fill(volume.id, {0, 16}, 1).ok());
  ASSERT_TRUE(bench.mark("rehearsal").ok());
  const std::size_t units = bench.pool().units().size();
  auto view = bench.run(bench.group->open_view("data", "rehearsal"));
  ASSERT_TRUE(view.ok());
  ASSERT_TRUE(bench.run((*view)->make_writable()).ok());
  EXPECT_EQ(bench.pool().units().size(), units + 1);
  Buffer part = Buffer::allocate(100);
  std::memset(part.data(), 5, part.size());
  ASSERT_TRUE(bench.run((*view)->write(4 * kBlockSizeBytes + 50, part)).ok());
  ASSERT_TRUE(bench.run((*view)->zero(8 * kBlockSizeBytes, 2 * kBlockSizeBytes)).ok());
  ASSERT_TRUE(bench.run((*view)->flush()).ok());
  Buffer out = Buffer::allocate(16 * kBlockSizeBytes);
  ASSERT_TRUE(bench.run((*view)->read(0, out)).ok());
  for (std::size_t at = 0; at < out.size(); ++at) {
    const std::size_t in_write = at - (4 * kBlockSizeBytes + 50);
    const bool zeroed = at / kBlockSizeBytes == 8 || at / kBlockSizeBytes == 9;
    const int expected = in_write < 100 ? 5 : zeroed ? 0 : 1;
    ASSERT_EQ(static_cast<int>(out.data()[at]), expected) << "byte " << at;
  }
  EXPECT_EQ(bench.live(volume.id, 16), all(16, 1)) << "the volume does not see it";
  EXPECT_EQ(bench.at("data", "rehearsal"), all(16, 1)) << "nor does another view";
  bench.run((*view)->close());
  EXPECT_EQ(bench.pool().units().size(), units) << "the scratch is gone";
}

TEST(GroupViews, LiveReadsAndViewsOfTheSameBlocksGoTogether) {
  GroupBench bench(20);
  const VolumeShape volume = bench.make_volume("data", 4);
  std::vector<std::unique_ptr<View>> views;
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(bench.fill(volume.id, {0, 4}, static_cast<std::uint8_t>(i)).ok());
    auto view = bench.run(bench.group->open_view("data", "head"));
    ASSERT_TRUE(view.ok());
    views.push_back(std::move(*view));
  }
  for (int i = 0; i < 20; ++i) EXPECT_EQ(bench.read_view(*views[static_cast<std::size_t>(i)]), all(4, i));
}

TEST(GroupViews, ABlockIsReadWhileAPartOfItIsWritten) {
  GroupBench bench(22);
  const VolumeShape volume = bench.make_volume("data", 4);
  ASSERT_TRUE(bench.fill(volume.id, {0, 4}, 1).ok());
  auto view = bench.run(bench.group->open_view("data", "head"));
  ASSERT_TRUE(view.ok());
  ASSERT_TRUE(bench.run((*view)->make_writable()).ok());
  int failed = 0;
  const auto count_failed = [](io::Task<Result<void>> task, int* out) -> io::Task<void> {
    const Result<void> done = co_await task;
    if (!done.ok()) ++*out;
  };
  for (int round = 0; round < 50; ++round) {
    Buffer written = Buffer::allocate(512);
    std::memset(written.data(), round, written.size());
    Buffer head = Buffer::allocate(512);
    Buffer whole = Buffer::allocate(2 * kBlockSizeBytes);
    io::TaskScope scope(bench.world);
    scope.spawn(count_failed((*view)->read(kBlockSizeBytes, whole), &failed));
    scope.spawn(count_failed((*view)->write(kBlockSizeBytes + 512, written), &failed));
    scope.spawn(count_failed((*view)->read(kBlockSizeBytes, head), &failed));
    scope.spawn(count_failed((*view)->read(kBlockSizeBytes, whole), &failed));
    bench.run(scope.join());
    EXPECT_EQ(std::to_integer<int>(head.data()[0]), 1);
    EXPECT_EQ(std::to_integer<int>(whole.data()[512]), round);
  }
  EXPECT_EQ(failed, 0);
  bench.run((*view)->close());
}

}  // namespace
}  // namespace tidemark::group
