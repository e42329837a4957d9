// One node alone.

#include "pair_bench.h"

namespace tidemark::node {
namespace {

std::vector<control::Problem> problems_of(PairBench& bench) {
  const auto status = bench.run(bench.a.node->node_status(control::NodeStatusRequest{}));
  EXPECT_TRUE(status.ok());
  return status.ok() ? status->problems : std::vector<control::Problem>();
}

TEST(Node, AWallClockThatJumpsIsToldAndExpiresNothing) {
  PairBench bench(41);
  bench.make_group(bench.a, {"data"});
  ASSERT_TRUE(bench.write(bench.a, "data", 1, 11).ok());
  ASSERT_TRUE(bench.mark(bench.a, "before").ok());
  bench.world.run_for(Duration::seconds(3));
  EXPECT_TRUE(problems_of(bench).empty());
  bench.world.jump_wall_clock(Duration::seconds(48 * 3600));
  bench.world.run_for(Duration::seconds(3));
  auto problems = problems_of(bench);
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_NE(problems[0].text.find("forward by 2d"), std::string::npos) << problems[0].text;
  // The retention of a day is measured on another clock, also when there is a reason to raise the floor.
  ASSERT_TRUE(bench.run(bench.a.group().destage_now(false)).ok());
  EXPECT_EQ(bench.read(bench.a, "data", "before")->at(1), 11u);
  bench.world.jump_wall_clock(Duration::seconds(-90));
  bench.world.run_for(Duration::seconds(3));
  problems = problems_of(bench);
  ASSERT_EQ(problems.size(), 1u) << "the latest alone";
  EXPECT_NE(problems[0].text.find("back by 90s"), std::string::npos) << problems[0].text;
  bench.world.run_for(Duration::seconds(25 * 3600));
  EXPECT_TRUE(problems_of(bench).empty()) << "no news any more";
}

TEST(Node, AClockThatIsSetRightByALittleIsNoNews) {
  PairBench bench(42);
  bench.make_group(bench.a, {"data"});
  bench.world.jump_wall_clock(Duration::seconds(30));
  bench.world.run_for(Duration::seconds(3));
  EXPECT_TRUE(problems_of(bench).empty());
}

}  // namespace
}  // namespace tidemark::node
