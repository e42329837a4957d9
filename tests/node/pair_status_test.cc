// What `pair status`, `status` and the metrics say of a pair: how far the peer is behind, and what to do.

#include "pair_bench.h"

namespace tidemark::node {
namespace {

using control::PairState;
using control::WaitFor;

std::string action_of(PairBench& bench, Machine& machine) {
  auto status = bench.run(machine.node->node_status(control::NodeStatusRequest()));
  EXPECT_TRUE(status.ok());
  for (const control::Problem& problem : status->problems) {
    if (problem.group == kGroup) return problem.action;
  }
  return {};
}

// Three writes of a block, ten seconds apart; then `waited` passes.
void write_three(PairBench& bench, Duration waited) {
  for (std::uint32_t i = 1; i <= 3; ++i) {
    ASSERT_TRUE(bench.write(bench.a, "data", i, i, true).ok());
    bench.world.run_for(Duration::seconds(10));
  }
  bench.world.run_for(waited);
}

void expect_behind(PairBench& bench, std::uint64_t entries, double seconds, std::uint64_t bytes_max) {
  const control::PairStatus status = bench.status(bench.a);
  EXPECT_EQ(status.lag_entries, entries);
  EXPECT_GE(status.lag_bytes, entries * kBlockSizeBytes);
  EXPECT_LE(status.lag_bytes, bytes_max);
  EXPECT_NEAR(status.lag_seconds, seconds, 1.0);
}

constexpr std::uint64_t kFewBytes = 256 << 10;
constexpr std::uint64_t kSegmentBytes = 3 << 20;

TEST(PairStatus, ALinkThatIsDownTellsHowFarThePeerIsBehind) {
  PairBench bench(61);
  bench.make_group(bench.a, {"data"});
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  ASSERT_TRUE(bench.mark(bench.a, "before", WaitFor::kPeer).ok());
  bench.world.run_for(Duration::seconds(60));
  EXPECT_EQ(bench.status(bench.a).lag_seconds, 0);
  bench.world.network().cut();
  ASSERT_TRUE(bench.wait_for([&] { return !bench.status(bench.a).link_up; }));
  bench.world.run_for(Duration::seconds(60));
  EXPECT_EQ(bench.status(bench.a).lag_entries, 0u);
  EXPECT_EQ(bench.status(bench.a).lag_seconds, 0);
  ASSERT_NO_FATAL_FAILURE(write_three(bench, Duration::seconds(70)));
  expect_behind(bench, 3, 100, kFewBytes);
  // After a restart, when no link was up yet, it counts from what it had noted of the peer: no less than
  // that.
  bench.a.power_cut();
  ASSERT_NO_FATAL_FAILURE(bench.a.start());
  const control::PairStatus status = bench.status(bench.a);
  EXPECT_GE(status.lag_entries, 3u);
  EXPECT_LE(status.lag_entries, 5u);
  EXPECT_GE(status.lag_seconds, 99);
  EXPECT_LE(status.lag_bytes, kFewBytes);
  bench.world.network().heal();
  ASSERT_TRUE(bench.wait_caught_up());
  EXPECT_EQ(bench.status(bench.a).lag_seconds, 0);
  EXPECT_EQ(bench.status(bench.a).lag_bytes, 0u);
}

TEST(PairStatus, ASuspendedPairTellsWhatItOwes) {
  PairBench bench(62);
  bench.make_group(bench.a, {"data"});
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  const auto mark = bench.mark(bench.a, "before", WaitFor::kPeer);
  ASSERT_TRUE(mark.ok());
  ASSERT_TRUE(bench.suspend(bench.a).ok());
  ASSERT_NO_FATAL_FAILURE(write_three(bench, Duration::seconds(70)));
  expect_behind(bench, 3, 100, kFewBytes);
  EXPECT_EQ(bench.status(bench.a).received, mark->log_id);
  bench.a.power_cut();
  ASSERT_NO_FATAL_FAILURE(bench.a.start());
  expect_behind(bench, 3, 100, kFewBytes);
  EXPECT_EQ(action_of(bench, bench.a), "tidemark pair resync app");
  ASSERT_TRUE(bench.resync(bench.a).ok());
  ASSERT_TRUE(bench.wait_caught_up());
  EXPECT_EQ(bench.status(bench.a).lag_seconds, 0);
}

TEST(PairStatus, APairThatNeedsACopySaysSoAndWhatThePeerHad) {
  PairBench bench(63);
  bench.make_group(bench.a, {"data"});
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  const auto mark = bench.mark(bench.a, "kept", WaitFor::kPeer);
  ASSERT_TRUE(mark.ok());
  bench.b.kill();
  ASSERT_TRUE(bench.wait_for([&] { return !bench.status(bench.a).link_up; }));
  const LogId before = bench.a.group().head();
  auto target = bench.run(bench.a.node->open("app/data", "host"));
  ASSERT_TRUE(target.ok());
  for (int i = 0; i < 200; ++i) {
    Buffer data = Buffer::allocate(32 * kBlockSizeBytes);
    std::memset(data.data(), i, data.size());
    ASSERT_TRUE(bench.run((*target)->write(0, data, true)).ok()) << i;
  }
  target = fail(ErrorCode::kClosed, "");
  ASSERT_EQ(bench.state(bench.a), PairState::kPsue);
  bench.world.run_for(Duration::seconds(100));
  for (int round = 0; round < 2; ++round) {
    const control::PairStatus status = bench.status(bench.a);
    EXPECT_EQ(status.received, before);
    EXPECT_EQ(status.lag_entries, 200u);
    EXPECT_GT(status.lag_bytes, kSegmentBytes);
    EXPECT_NEAR(status.lag_seconds, 100, 10);
    EXPECT_EQ(action_of(bench, bench.a), "tidemark pair resync app");
    bench.a.power_cut();
    ASSERT_NO_FATAL_FAILURE(bench.a.start());
  }
  ASSERT_NO_FATAL_FAILURE(bench.b.start());
  ASSERT_TRUE(bench.resync(bench.a, true).ok());
  ASSERT_TRUE(bench.wait_caught_up());
  EXPECT_EQ(bench.status(bench.a).lag_entries, 0u);
  // What is left to tell is that the window is shorter than the retention; two restarts have not made that
  // go.
  EXPECT_EQ(action_of(bench, bench.a), "tidemark journal status app");
}

}  // namespace
}  // namespace tidemark::node
