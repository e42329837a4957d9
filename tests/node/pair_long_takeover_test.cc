// A secondary that took over and went on alone for longer than its journal reaches back: its hosts are
// served all the time, and the old primary, back, follows behind a gap.

#include "pair_bench.h"

namespace tidemark::node {
namespace {

using control::PairState;
using control::ResyncFrom;
using control::WaitFor;

constexpr std::uint32_t kLapBlocks = 32;

class PairLongTakeover : public testing::TestWithParam<std::uint64_t> {
 protected:
  // Kyoto has "kept", and a "tail" that osaka never got; osaka went on and let go of what came after "kept".
  void part(PairBench& bench) {
    bench.make_group(bench.a, {"data", "logs"});
    for (std::uint32_t block = 0; block < kVolumeBlocks; ++block) {
      ASSERT_TRUE(bench.write(bench.a, "data", block, 1000 + block).ok());
    }
    ASSERT_NO_FATAL_FAILURE(bench.pair_up());
    ASSERT_TRUE(bench.write(bench.a, "logs", 3, 33).ok());
    ASSERT_TRUE(bench.mark(bench.a, "kept", WaitFor::kPeer).ok());
    kept_ = *bench.read(bench.a, "data", "kept");
    bench.world.network().cut();
    ASSERT_TRUE(bench.write(bench.a, "data", 40, 4040).ok());
    ASSERT_TRUE(bench.mark(bench.a, "tail").ok());
    tail_ = *bench.read(bench.a, "data", "tail");
    ASSERT_TRUE(bench.wait_for([&] { return !bench.status(bench.b).link_up; }));
    const auto taken = bench.take_over(bench.b);
    ASSERT_TRUE(taken.ok()) << taken.error().message;
    bench.a.power_cut();
    bench.world.network().heal();
    ASSERT_TRUE(bench.write(bench.b, "data", 41, 4141).ok());
    ASSERT_TRUE(bench.write(bench.b, "logs", 5, 55).ok());
    ASSERT_TRUE(bench.mark(bench.b, "alone").ok());
    ASSERT_NO_FATAL_FAILURE(fill_journal(bench));
  }
  // More than it holds, over the first blocks of a volume.
  void fill_journal(PairBench& bench) { fill_journal(bench, bench.b); }
  void fill_journal(PairBench& bench, Machine& at) {
    auto target = bench.run(at.node->open("app/data", "host"));
    ASSERT_TRUE(target.ok());
    for (std::uint32_t lap = 0; lap < 200; ++lap) {
      Buffer data = Buffer::allocate(kLapBlocks * kBlockSizeBytes);
      std::memset(data.data(), static_cast<int>(lap), data.size());
      const auto written = bench.run((*target)->write(0, data, false));
      ASSERT_TRUE(written.ok()) << lap << ": " << written.error().message;
    }
  }
  void bring_back(PairBench& bench) {
    ASSERT_NO_FATAL_FAILURE(bench.a.start());
    ASSERT_TRUE(bench.wait_for([&] { return bench.state(bench.a) == PairState::kSsws; }));
  }
  bool has_swapped(PairBench& bench) {
    return bench.status(bench.a).role == control::GroupRole::kSecondary &&
           bench.status(bench.b).role == control::GroupRole::kPrimary;
  }
  void expect_swapped(PairBench& bench) {
    ASSERT_TRUE(bench.wait_for([&] { return has_swapped(bench); }));
    ASSERT_TRUE(bench.wait_caught_up(bench.b, bench.a)) << bench.status(bench.b).state_reason;
    ASSERT_NO_FATAL_FAILURE(bench.expect_same({"data", "logs"}));
    EXPECT_EQ((*bench.read(bench.a, "data"))[41], 4141u);
    EXPECT_EQ((*bench.read(bench.a, "logs"))[5], 55u);
    bench.expect_image(bench.a, "data", "kept", kept_);
    bench.expect_image(bench.a, "data", "tail", tail_);
    const auto alone = bench.read(bench.a, "data", "alone");
    ASSERT_FALSE(alone.ok());
    EXPECT_EQ(alone.error().code, ErrorCode::kInGap) << alone.error().message;
  }
  Image kept_;
  Image tail_;
};

TEST_F(PairLongTakeover, ItsHostsAreServedAndTheOldPrimaryFollowsBehindAGap) {
  for (const bool said_on_old : {true, false}) {
    SCOPED_TRACE(said_on_old);
    PairBench bench(91);
    ASSERT_NO_FATAL_FAILURE(part(bench));
    EXPECT_EQ(bench.state(bench.b), PairState::kSsws);
    const std::string reason = bench.status(bench.b).state_reason;
    EXPECT_NE(reason.find("behind a gap"), std::string::npos) << reason;
    // Not forgotten by a stop, and still no reason to refuse a write.
    bench.b.power_cut();
    ASSERT_NO_FATAL_FAILURE(bench.b.start());
    EXPECT_EQ(bench.state(bench.b), PairState::kSsws);
    EXPECT_EQ(bench.status(bench.b).state_reason, reason);
    ASSERT_NO_FATAL_FAILURE(fill_journal(bench));
    ASSERT_NO_FATAL_FAILURE(bring_back(bench));
    const auto swapped = bench.swap(said_on_old ? bench.a : bench.b);
    ASSERT_TRUE(swapped.ok()) << swapped.error().message;
    ASSERT_NO_FATAL_FAILURE(expect_swapped(bench));
    // What only the old primary wrote is a branch of its own, over a restart too.
    const auto is_tail = [](const control::BranchInfo& branch) { return branch.held; };
    const auto branches = bench.branches(bench.a);
    EXPECT_TRUE(std::any_of(branches.begin(), branches.end(), is_tail));
    bench.a.power_cut();
    ASSERT_NO_FATAL_FAILURE(bench.a.start());
    ASSERT_NO_FATAL_FAILURE(expect_swapped(bench));
    // And the roles can be swapped back, now without a gap.
    const auto back = bench.swap(bench.b);
    ASSERT_TRUE(back.ok()) << back.error().message;
    ASSERT_TRUE(bench.wait_caught_up()) << bench.status(bench.a).state_reason;
    ASSERT_TRUE(bench.write(bench.a, "data", 9, 99).ok());
    ASSERT_TRUE(bench.wait_caught_up());
    bench.expect_same({"data", "logs"});
  }
}

// Both went on, and the old primary for so long that it cannot go back to where they parted.
class PairLongSplit : public PairLongTakeover {
 protected:
  void split(PairBench& bench) {
    bench.make_group(bench.a, {"data", "logs"});
    ASSERT_TRUE(bench.write(bench.a, "data", 40, 4040).ok());
    ASSERT_NO_FATAL_FAILURE(bench.pair_up());
    ASSERT_TRUE(bench.write(bench.a, "logs", 3, 33).ok());
    ASSERT_TRUE(bench.mark(bench.a, "kept", WaitFor::kPeer).ok());
    kept_ = *bench.read(bench.a, "data", "kept");
    bench.world.network().cut();
    ASSERT_TRUE(bench.wait_for([&] { return !bench.status(bench.b).link_up; }));
    const auto taken = bench.take_over(bench.b);
    ASSERT_TRUE(taken.ok()) << taken.error().message;
    ASSERT_TRUE(bench.write(bench.b, "data", 41, 4141).ok());
    ASSERT_TRUE(bench.write(bench.b, "logs", 5, 55).ok());
    ASSERT_TRUE(bench.mark(bench.b, "alone").ok());
    ASSERT_NO_FATAL_FAILURE(fill_journal(bench, bench.a));
    bench.world.network().heal();
    ASSERT_TRUE(bench.wait_for([&] { return bench.state(bench.a) == PairState::kPsue; }));
  }
  Result<control::PairStatus> swap_giving_up(PairBench& bench, Machine& at) {
    return bench.resync(at, true, ResyncFrom::kSecondary);
  }
  void expect_copied_anew(PairBench& bench) {
    ASSERT_TRUE(bench.wait_for([&] { return has_swapped(bench); })) << bench.status(bench.b).state_reason;
    ASSERT_TRUE(bench.wait_caught_up(bench.b, bench.a)) << bench.status(bench.b).state_reason;
    ASSERT_NO_FATAL_FAILURE(bench.expect_same({"data", "logs"}));
    EXPECT_EQ((*bench.read(bench.a, "data"))[41], 4141u);
    EXPECT_EQ((*bench.read(bench.a, "logs"))[5], 55u);
    bench.expect_image(bench.b, "data", "kept", kept_);
    EXPECT_FALSE(bench.read(bench.a, "data", "kept").ok());
  }
};

TEST_F(PairLongSplit, ASwapSaysWhatItCostsAndDoesItWhenThatIsGivenUp) {
  for (const bool said_on_old : {true, false}) {
    SCOPED_TRACE(said_on_old);
    PairBench bench(95);
    ASSERT_NO_FATAL_FAILURE(split(bench));
    Machine& at = said_on_old ? bench.a : bench.b;
    const Image before = *bench.read(bench.a, "data");
    const MonotonicTime asked = bench.world.now();
    const auto refused = bench.swap(at);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code, ErrorCode::kRefused) << refused.error().message;
    EXPECT_NE(refused.error().message.find("--swap --give-up-window"), std::string::npos)
        << refused.error().message;
    EXPECT_LT((bench.world.now() - asked).to_seconds(), 5.0);
    // Nothing was given up.
    EXPECT_EQ(*bench.read(bench.a, "data"), before);
    EXPECT_EQ(bench.state(bench.b), PairState::kSsws);
    const auto elsewhere = swap_giving_up(bench, bench.a);
    ASSERT_FALSE(elsewhere.ok());
    EXPECT_NE(elsewhere.error().message.find("on osaka"), std::string::npos) << elsewhere.error().message;
    const auto swapped = swap_giving_up(bench, bench.b);
    ASSERT_TRUE(swapped.ok()) << swapped.error().message;
    ASSERT_NO_FATAL_FAILURE(expect_copied_anew(bench));
    // And back again, as after any swap.
    const auto back = bench.swap(bench.b);
    ASSERT_TRUE(back.ok()) << back.error().message;
    ASSERT_TRUE(bench.wait_caught_up());
    bench.expect_same({"data", "logs"});
  }
}

TEST_F(PairLongSplit, AHandOverGivesNothingUp) {
  PairBench bench(96);
  bench.make_group(bench.a, {"data", "logs"});
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  const auto refused = swap_giving_up(bench, bench.a);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kRefused) << refused.error().message;
  EXPECT_EQ(bench.state(bench.a), PairState::kPair);
}

// The power of either goes at some moment of it, and it is said again.
TEST_F(PairLongSplit, CutOffAnywhereItIsFinishedBySayingItAgain) {
  for (int who = 0; who < 2; ++who) {
    bool ended = false;
    for (int step = 0; step < 1000 && !ended; step += 1 + step / 10) {
      SCOPED_TRACE("power cut of " + std::string(who == 0 ? "the old primary" : "the new one") + " after " +
                   std::to_string(step) + " x 50 us");
      PairBench bench(2000 + static_cast<std::uint64_t>(step));
      ASSERT_NO_FATAL_FAILURE(split(bench));
      {
        io::TaskScope asked(bench.world);
        std::function<io::Task<void>(Node*)> ask = [&](Node* node) -> io::Task<void> {
          control::PairResyncRequest request;
          request.group = kGroup;
          request.from = ResyncFrom::kSecondary;
          request.give_up_window = true;
          (void)co_await node->pair_resync(request);
          ended = true;
        };
        asked.spawn(ask(bench.b.node));
        for (int i = 0; i < step; ++i) bench.world.run_for(Duration::microseconds(50));
        Machine& victim = who == 0 ? bench.a : bench.b;
        if (who == 1) asked.cancel_all();
        victim.power_cut();
        ASSERT_NO_FATAL_FAILURE(victim.start());
        bench.world.run_for(Duration::seconds(40));
      }
      if (!has_swapped(bench)) {
        const auto again = swap_giving_up(bench, bench.b);
        ASSERT_TRUE(again.ok()) << again.error().message;
      }
      ASSERT_NO_FATAL_FAILURE(expect_copied_anew(bench));
    }
    EXPECT_TRUE(ended) << "it takes longer than the steps of this test";
  }
}

// Its branch was given up by name: that costs what it can show of the past, and is said so first.
TEST_F(PairLongTakeover, TheOldPrimarysBranchContinuesOnlyByCopyingAnew) {
  PairBench bench(92);
  ASSERT_NO_FATAL_FAILURE(part(bench));
  const Image alone = *bench.read(bench.b, "data");
  ASSERT_NO_FATAL_FAILURE(bring_back(bench));
  const auto refused = bench.resync(bench.a, false, ResyncFrom::kPrimary);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kRefused);
  EXPECT_NE(refused.error().message.find("--give-up-window"), std::string::npos) << refused.error().message;
  EXPECT_EQ(bench.state(bench.b), PairState::kSsws);
  bench.expect_image(bench.b, "data", "", alone);
  ASSERT_TRUE(bench.write(bench.b, "data", 2, 22).ok());
  const auto resynced = bench.resync(bench.a, true, ResyncFrom::kPrimary);
  ASSERT_TRUE(resynced.ok()) << resynced.error().message;
  ASSERT_TRUE(bench.wait_caught_up()) << bench.status(bench.a).state_reason;
  bench.expect_same({"data", "logs"});
  bench.expect_image(bench.a, "data", "", tail_);
}

// A mark of that branch and one of the same id that its new primary made.
TEST_F(PairLongTakeover, AMarkOfTheBranchLeftKeepsItsContentUnderAnotherId) {
  PairBench bench(93);
  ASSERT_NO_FATAL_FAILURE(part(bench));
  ASSERT_TRUE(bench.mark(bench.b, "tail").ok());
  const Image theirs = *bench.read(bench.b, "data", "tail");
  ASSERT_NO_FATAL_FAILURE(bring_back(bench));
  const LogId mine = bench.a.group().state().find_mark("tail")->entry;
  ASSERT_TRUE(bench.swap(bench.a).ok());
  ASSERT_TRUE(bench.wait_for([&] { return has_swapped(bench); }));
  ASSERT_TRUE(bench.wait_caught_up(bench.b, bench.a)) << bench.status(bench.b).state_reason;
  const std::string aside = "tail~" + std::to_string(mine.epoch().value);
  bench.expect_image(bench.a, "data", aside, tail_);
  bench.expect_image(bench.b, "data", "tail", theirs);
  EXPECT_EQ(bench.read(bench.a, "data", "tail").error().code, ErrorCode::kInGap);
}

TEST_F(PairLongTakeover, WithoutRoomThatMayBeTakenItStopsWritesAsItsPolicySays) {
  PairBench bench(94);
  bench.make_group(bench.a, {"data"});
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  bench.a.power_cut();
  ASSERT_TRUE(bench.wait_for([&] { return !bench.status(bench.b).link_up; }));
  ASSERT_TRUE(bench.take_over(bench.b).ok());
  control::GroupSetRequest request;
  request.group = kGroup;
  request.on_full = control::OnFull::kStopWrites;
  ASSERT_TRUE(bench.run(bench.b.node->group_set(request)).ok());
  auto target = bench.run(bench.b.node->open("app/data", "host"));
  ASSERT_TRUE(target.ok());
  Result<void> written;
  for (std::uint32_t lap = 0; lap < 200 && written.ok(); ++lap) {
    Buffer data = Buffer::allocate(kLapBlocks * kBlockSizeBytes);
    std::memset(data.data(), static_cast<int>(lap), data.size());
    written = bench.run((*target)->write(0, data, false));
  }
  ASSERT_FALSE(written.ok());
  EXPECT_EQ(written.error().code, ErrorCode::kNoSpace);
  EXPECT_EQ(bench.status(bench.b).state_reason.find("gap"), std::string::npos);
}

// Either node loses its power anywhere in the swap; said again, it is finished.
TEST_P(PairLongTakeover, ASwapOverAGapCutOffAnywhereIsFinishedBySayingItAgain) {
  PairBench bench(GetParam());
  ASSERT_NO_FATAL_FAILURE(part(bench));
  ASSERT_NO_FATAL_FAILURE(bring_back(bench));
  bench.world.network().set_options(
      {.latency_min = Duration::milliseconds(1), .latency_max = Duration::milliseconds(3)});
  control::PairResyncRequest request;
  request.group = kGroup;
  request.from = ResyncFrom::kSecondary;
  const auto ask = [](io::Task<Result<control::PairStatus>> task) -> io::Task<void> {
    (void)co_await std::move(task);
  };
  Machine& asked = GetParam() % 4 < 2 ? bench.a : bench.b;
  Machine& victim = GetParam() % 2 == 0 ? bench.a : bench.b;
  asked.process->tasks().spawn(ask(asked.node->pair_resync(request)));
  bench.world.run_for(Duration::milliseconds(static_cast<std::int64_t>(GetParam() % 97)));
  victim.power_cut();
  bench.world.run_for(Duration::milliseconds(200));
  ASSERT_NO_FATAL_FAILURE(victim.start());
  bench.expect_image(bench.a, "data", "kept", kept_);
  bench.expect_image(bench.a, "data", "tail", tail_);
  for (int round = 0; round < 4; ++round) {
    const bool whole = bench.wait_for(
        [&] { return has_swapped(bench) && bench.state(bench.b) == PairState::kPair; }, Duration::seconds(5));
    if (whole) break;
    // As `pair status` says on the node that has something to be said to.
    const bool primary = bench.status(bench.b).role == control::GroupRole::kPrimary &&
                         bench.state(bench.b) != PairState::kSsws;
    const auto said = primary ? bench.resync(bench.b) : bench.swap(bench.b);
    if (!said.ok()) bench.world.run_for(Duration::seconds(1));
  }
  ASSERT_NO_FATAL_FAILURE(expect_swapped(bench));
}
INSTANTIATE_TEST_SUITE_P(Moments, PairLongTakeover, testing::Range<std::uint64_t>(9100, 9160));

}  // namespace
}  // namespace tidemark::node
