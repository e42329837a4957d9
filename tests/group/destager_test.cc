// The floor rises: what the base takes in, and what must not stay behind or go with it.

#include "group_bench.h"

namespace tidemark::group {
namespace {

void destage_all(GroupBench& bench) {
  ASSERT_TRUE(bench.flush().ok());
  for (int i = 0; i < 20 && bench.group->local().destaged != bench.group->head(); ++i) {
    const auto step = bench.run(bench.group->destage_now(true));
    ASSERT_TRUE(step.ok()) << step.error().message;
  }
  ASSERT_EQ(bench.group->local().destaged, bench.group->head());
}

TEST(Destager, WhatTheCacheHasOfTheBaseIsForgottenWhenSomethingElseTakesItsPlace) {
  GroupBench bench(1, {.settings = {.retain = Duration{}}});
  const VolumeShape volume = bench.make_volume("data", 8);
  ASSERT_TRUE(bench.fill(volume.id, {0, 4}, 7).ok());
  ASSERT_NO_FATAL_FAILURE(destage_all(bench));
  const std::vector<int> before{7, 7, 7, 7};
  EXPECT_EQ(bench.live(volume.id, 4), before);
  EXPECT_EQ(bench.live(volume.id, 4), before) << "from the cache";

  ASSERT_TRUE(bench.run(bench.group->data().zero(volume.id, 0, 2 * kBlockSizeBytes, false, false)).ok());
  ASSERT_TRUE(bench.fill(volume.id, {2, 3}, 9).ok());
  ASSERT_NO_FATAL_FAILURE(destage_all(bench));
  const std::vector<int> after{0, 0, 9, 7};
  EXPECT_EQ(bench.live(volume.id, 4), after);
  bench.restart();
  EXPECT_EQ(bench.live(volume.id, 4), after);
}

}  // namespace
}  // namespace tidemark::group
