// Log volumes of a pair that come and go on either node.

#include "pair_bench.h"

namespace tidemark::node {
namespace {

using control::PairState;

std::size_t log_volumes(Machine& machine) {
  return machine.group().log_volumes().size();
}

// The journal of `at` gets a log volume, is written to, and gives the log volume back while it is quiet.
void go_round(Machine PairBench::*at, std::uint64_t seed) {
  PairBench bench(seed);
  bench.make_group(bench.a, {"data"});
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  Machine& machine = bench.*at;
  control::JournalVolumeAddRequest add;
  add.group = kGroup;
  add.size_bytes = 8 << 20;
  const auto added = bench.run(machine.node->journal_volume_add(add));
  ASSERT_TRUE(added.ok()) << added.error().message;
  std::uint32_t value = 0;
  while (machine.group().log_volumes().back().status.segments_used == 0) {
    for (std::uint64_t number = 0; number < kVolumeBlocks; ++number) {
      ASSERT_TRUE(bench.write(bench.a, "data", number, ++value).ok());
    }
    ASSERT_LT(value, 20'000u);
  }
  ASSERT_TRUE(bench.wait_caught_up());
  const auto before = bench.read(bench.a, "data");
  const LogId head = bench.a.group().head();
  const WallTime quiet = bench.a.group().journal().durable_timer() + Duration::seconds(1);
  control::GroupSetRequest set;
  set.group = kGroup;
  set.retain = Duration{};
  ASSERT_TRUE(bench.run(machine.node->group_set(set)).ok());
  control::JournalVolumeRemoveRequest remove;
  remove.group = kGroup;
  remove.lu_number = added->log_volumes.back().lu_number;
  const auto removed = bench.run(machine.node->journal_volume_remove(remove));
  ASSERT_TRUE(removed.ok()) << removed.error().message;
  EXPECT_TRUE(bench.wait_for([&] { return log_volumes(machine) == 1; }, Duration::seconds(120)));
  // Nobody lost its place.
  bench.world.run_for(Duration::seconds(30));
  EXPECT_EQ(bench.state(bench.a), PairState::kPair);
  EXPECT_EQ(bench.state(bench.b), PairState::kPair);
  ASSERT_TRUE(bench.write(bench.a, "data", 3, 777'777).ok());
  ASSERT_TRUE(bench.wait_caught_up());
  bench.expect_same({"data"});
  // The moment before that write is readable, on either node.
  for (Machine* each : {&bench.a, &bench.b}) {
    const auto point = bench.run(each->group().points().resolve("time:" + format_time(quiet), false));
    ASSERT_TRUE(point.ok()) << point.error().message;
    EXPECT_EQ(point->at, head);
    bench.expect_image(*each, "data", "log:" + head.to_string(), *before);
  }
}

TEST(PairLogVolumes, TheSecondaryStaysInPairWhenThePrimaryGivesOneBack) {
  go_round(&PairBench::a, 1);
}

TEST(PairLogVolumes, ThePrimaryStaysInPairWhenTheSecondaryGivesOneBack) {
  go_round(&PairBench::b, 2);
}

}  // namespace
}  // namespace tidemark::node
