// The floor rises: what the base takes in, and what must not stay behind or go with it.

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

}  // namespace
}  // namespace tidemark::group
