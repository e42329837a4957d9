// Takeover, its aftermath, and roles that are swapped.

#include "pair_bench.h"
#include "replication/pair_states.h"

namespace tidemark::node {
namespace {

using control::PairState;
using control::ResyncFrom;
using control::WaitFor;

class PairRoles : public testing::Test {
 protected:
  // Two nodes in PAIR, one block and one mark on both.
  void begin(std::uint64_t seed) {
    bench = std::make_unique<PairBench>(seed);
    bench->make_group(a(), {"data"});
    ASSERT_NO_FATAL_FAILURE(bench->pair_up());
    write(a(), 1, 11);
    ASSERT_TRUE(bench->mark(a(), "both", WaitFor::kPeer).ok());
  }
  Machine& a() { return bench->a; }
  Machine& b() { return bench->b; }
  void write(Machine& at, std::uint64_t block, std::uint32_t value) {
    const auto written = bench->write(at, "data", block, value, true);
    ASSERT_TRUE(written.ok()) << written.error().message;
  }
  std::uint32_t block(Machine& at, std::uint64_t number, const std::string& point = {}) {
    const auto image = bench->read(at, "data", point);
    EXPECT_TRUE(image.ok()) << image.error().message;
    return image.ok() ? image->at(number) : UINT32_MAX;
  }
  void cut() { bench->world.network().cut(); }
  void heal() { bench->world.network().heal(); }
  // The primary writes what the secondary never gets, and the secondary takes over and writes.
  void drift_apart() {
    cut();
    write(a(), 2, 22);
    ASSERT_TRUE(bench->mark(a(), "tail").ok());
    ASSERT_TRUE(bench->wait_for([&] { return !bench->status(b()).link_up; }));
    const auto taken = bench->take_over(b());
    ASSERT_TRUE(taken.ok()) << taken.error().message;
    write(b(), 3, 33);
  }

  std::unique_ptr<PairBench> bench;
};

TEST_F(PairRoles, ASecondaryTakesOverWithWhatItHasReceivedAndSaysWhatThatIs) {
  begin(1);
  const LogId received = b().group().head();
  a().power_cut();
  ASSERT_TRUE(bench->wait_for([&] { return !bench->status(b()).link_up; }));
  const MonotonicTime before = bench->world.now();
  const auto taken = bench->take_over(b());
  ASSERT_TRUE(taken.ok()) << taken.error().message;
  EXPECT_LT((bench->world.now() - before).to_seconds(), 1.0);
  EXPECT_EQ(taken->point.log_id, received);
  EXPECT_EQ(taken->new_epoch, b().group().live_epoch().value);
  EXPECT_TRUE(taken->may_be_behind);
  EXPECT_TRUE(taken->behind_since.has_value());
  EXPECT_EQ(taken->pair.state, PairState::kSsws);
  write(b(), 3, 33);
  EXPECT_EQ(block(b(), 1), 11u);
  EXPECT_EQ(block(b(), 3), 33u);
  ASSERT_EQ(bench->branches(b()).size(), 2u);
  EXPECT_EQ(bench->branches(b()).back().origin, control::BranchOrigin::kTakeover);
  // Said again it is the same takeover.
  const auto again = bench->take_over(b());
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(again->new_epoch, taken->new_epoch);
  EXPECT_EQ(again->point.log_id, received);
}

TEST_F(PairRoles, ATakeoverWhileThePrimaryIsThereNeedsForceAndStopsItAtOnce) {
  begin(2);
  EXPECT_EQ(bench->take_over(a()).error().code, ErrorCode::kRefused);
  const auto refused = bench->take_over(b());
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("--swap"), std::string::npos) << refused.error().message;
  ASSERT_EQ(bench->state(b()), PairState::kPair);
  ASSERT_TRUE(bench->take_over(b(), true).ok());
  ASSERT_TRUE(bench->wait_for([&] { return bench->state(a()) == PairState::kSsws; }));
  EXPECT_EQ(bench->write(a(), "data", 5, 5).error().code, ErrorCode::kReadOnly);
  EXPECT_EQ(bench->mark(a(), "late").error().code, ErrorCode::kReadOnly);
  EXPECT_EQ(bench->restore(a(), "both").error().code, ErrorCode::kRefused);
  write(b(), 4, 44);
  // Not forgotten by a restart.
  a().stop();
  a().start();
  EXPECT_EQ(bench->state(a()), PairState::kSsws);
  EXPECT_EQ(bench->write(a(), "data", 5, 5).error().code, ErrorCode::kReadOnly);
}

TEST_F(PairRoles, AnOldPrimaryThatComesBackTakesNoWritesAndFollowsByASwap) {
  for (const bool said_on_old : {true, false}) {
    SCOPED_TRACE(said_on_old);
    begin(3);
    // What it has beyond the secondary is lost to nobody.
    cut();
    write(a(), 2, 22);
    ASSERT_TRUE(bench->mark(a(), "tail").ok());
    const LogId tail = a().group().head();
    a().power_cut();
    ASSERT_TRUE(bench->wait_for([&] { return !bench->status(b()).link_up; }));
    ASSERT_TRUE(bench->take_over(b()).ok());
    write(b(), 3, 33);
    heal();
    a().start();
    ASSERT_TRUE(bench->wait_for([&] { return bench->state(a()) == PairState::kSsws; }));
    EXPECT_EQ(bench->write(a(), "data", 2, 99).error().code, ErrorCode::kReadOnly);
    const auto swapped = bench->swap(said_on_old ? a() : b());
    ASSERT_TRUE(swapped.ok()) << swapped.error().message;
    ASSERT_TRUE(bench->wait_for([&] {
      return bench->status(a()).role == control::GroupRole::kSecondary &&
             bench->status(b()).role == control::GroupRole::kPrimary;
    }));
    ASSERT_TRUE(bench->wait_caught_up(b(), a()));
    EXPECT_EQ(block(a(), 1), 11u);
    EXPECT_EQ(block(a(), 2), 0u);
    EXPECT_EQ(block(a(), 3), 33u);
    // The tail can be listed, viewed and held on to.
    EXPECT_EQ(block(a(), 2, "tail"), 22u);
    EXPECT_EQ(block(a(), 2, "log:" + tail.to_string()), 22u);
    const auto branches = bench->branches(a());
    ASSERT_EQ(branches.size(), 2u);
    EXPECT_TRUE(branches.front().held);
    write(b(), 4, 44);
    ASSERT_TRUE(bench->wait_caught_up(b(), a()));
    bench->expect_same({"data"});
    // And back again, as planned.
    const auto back = bench->swap(b());
    ASSERT_TRUE(back.ok()) << back.error().message;
    ASSERT_TRUE(bench->wait_caught_up(a(), b()));
    write(a(), 5, 55);
    ASSERT_TRUE(bench->wait_caught_up(a(), b()));
    EXPECT_EQ(block(b(), 5), 55u);
    bench->expect_same({"data"});
    EXPECT_EQ(block(a(), 2, "tail"), 22u);
    // It goes when somebody says so, and not for want of space.
    control::GroupSetRequest retain;
    retain.group = kGroup;
    retain.retain = Duration{};
    ASSERT_TRUE(bench->run(a().node->group_set(retain)).ok());
    for (int i = 0; i < 5; ++i) (void)bench->run(a().group().destage_now(true));
    EXPECT_EQ(block(a(), 2, "tail"), 22u);
    control::BranchReleaseRequest release;
    release.group = kGroup;
    release.epoch = tail.epoch().value;
    ASSERT_TRUE(bench->run(a().node->branch_release(release)).ok());
    EXPECT_TRUE(bench->wait_for([&] {
      (void)bench->run(a().group().destage_now(true));
      return !bench->read(a(), "data", "tail").ok();
    }));
  }
}

// Found by the simulator: what went with that was what the old primary alone had.
TEST_F(PairRoles, ABranchReleasedOnTheNewPrimaryDoesNotReleaseWhatTheOldOneAloneHasOfIt) {
  begin(23);
  const LogId before = a().group().head();
  write(a(), 4, 44);
  ASSERT_TRUE(bench->mark(a(), "later", WaitFor::kPeer).ok());
  ASSERT_NO_FATAL_FAILURE(drift_apart());
  const LogId tail = a().group().head();
  // The branch that both have is one that the new primary has left, and lets go of.
  ASSERT_TRUE(bench->restore(b(), "log:" + before.to_string()).ok());
  control::BranchReleaseRequest release;
  release.group = kGroup;
  release.epoch = tail.epoch().value;
  ASSERT_TRUE(bench->run(b().node->branch_release(release)).ok());
  heal();
  ASSERT_TRUE(bench->wait_for([&] { return bench->state(a()) == PairState::kSsws; }));
  const auto swapped = bench->swap(b());
  ASSERT_TRUE(swapped.ok()) << swapped.error().message;
  ASSERT_TRUE(bench->wait_caught_up(b(), a()));
  for (const bool restarted : {false, true}) {
    SCOPED_TRACE(restarted);
    if (restarted) {
      a().power_cut();
      ASSERT_NO_FATAL_FAILURE(a().start());
    }
    EXPECT_EQ(block(a(), 2, "tail"), 22u);
    const auto branches = bench->branches(a());
    EXPECT_TRUE(std::any_of(branches.begin(), branches.end(), [&](const control::BranchInfo& branch) {
      return branch.epoch == tail.epoch().value && branch.held;
    }));
  }
  // On the node where it lies it is.
  ASSERT_TRUE(bench->run(a().node->branch_release(release)).ok());
  EXPECT_FALSE(bench->read(a(), "data", "tail").ok());
}

TEST_F(PairRoles, APlannedSwapLosesNoWrite) {
  begin(4);
  std::uint32_t value = 100;
  for (int round = 0; round < 6; ++round) {
    Machine& primary = round % 2 == 0 ? a() : b();
    Machine& secondary = round % 2 == 0 ? b() : a();
    for (std::uint64_t number = 0; number < 20; ++number) {
      ASSERT_TRUE(bench->write(primary, "data", number, value + static_cast<std::uint32_t>(number)).ok());
    }
    const auto swapped = bench->swap(primary);
    ASSERT_TRUE(swapped.ok()) << swapped.error().message;
    ASSERT_TRUE(
        bench->wait_for([&] { return bench->status(secondary).role == control::GroupRole::kPrimary; }));
    for (std::uint64_t number = 0; number < 20; ++number) {
      ASSERT_EQ(block(secondary, number), value + number) << round;
    }
    EXPECT_EQ(bench->write(primary, "data", 1, 1).error().code, ErrorCode::kReadOnly);
    value += 100;
  }
  ASSERT_TRUE(bench->wait_caught_up(a(), b()));
  bench->expect_same({"data"});
  // Nobody had anything that the other had not.
  for (const auto& branch : bench->branches(a())) EXPECT_FALSE(branch.held) << branch.epoch;
}

TEST_F(PairRoles, APlannedSwapWaitsForWhatIsStillOnItsWay) {
  begin(5);
  // What is sent now arrives late; what the swap sends afterwards does not.
  const Duration late = Duration::milliseconds(300);
  bench->world.network().set_options({.latency_min = late, .latency_max = late});
  for (std::uint64_t number = 0; number < 5; ++number) {
    ASSERT_TRUE(bench->write(a(), "data", number, 50 + static_cast<std::uint32_t>(number)).ok());
  }
  bench->world.run_for(Duration::milliseconds(5));
  bench->world.network().set_options({});
  const auto swapped = bench->swap(a());
  ASSERT_TRUE(swapped.ok()) << swapped.error().message;
  ASSERT_TRUE(bench->wait_for([&] { return bench->status(b()).role == control::GroupRole::kPrimary; }));
  for (std::uint64_t number = 0; number < 5; ++number) EXPECT_EQ(block(b(), number), 50 + number);
}

io::Task<void> dissolve(Node* node, std::optional<Result<control::Done>>* outcome) {
  control::PairDeleteRequest request;
  request.group = kGroup;
  outcome->emplace(co_await node->pair_delete(request));
}

// Its journal is full of what the peer lacks, up to the last entry that it keeps room for. The peer is let go
// of, and nobody is waited for who waits for the deletion.
TEST_F(PairRoles, APrimaryThatWasTakenOverWithAFullJournalCanDissolveThePair) {
  for (const group::OnFull on_full : {group::OnFull::kStopWrites, group::OnFull::kDropHistory}) {
    SCOPED_TRACE(on_full == group::OnFull::kStopWrites ? "stop-writes" : "drop-history");
    begin(31);
    ASSERT_NO_FATAL_FAILURE(drift_apart());
    group::GroupSettings settings = a().group().local().settings;
    settings.retain = Duration{};
    settings.on_full = group::OnFull::kStopWrites;
    ASSERT_TRUE(bench->run(a().group().set_settings(settings)).ok());
    std::uint32_t value = 1000;
    for (bool full = false; !full; ++value) {
      const auto written = bench->write(a(), "data", value % kVolumeBlocks, value);
      full = !written.ok() && written.error().code == ErrorCode::kNoSpace;
      ASSERT_TRUE(full || written.ok()) << written.error().message;
    }
    for (bool full = false; !full; ++value) {
      const auto marked = bench->mark(a(), "m" + std::to_string(value));
      full = !marked.ok() && marked.error().code == ErrorCode::kNoSpace;
      ASSERT_TRUE(full || marked.ok()) << marked.error().message;
    }
    const Image before = *bench->read(a(), "data");
    heal();
    ASSERT_TRUE(bench->wait_for([&] { return bench->state(a()) == PairState::kSsws; }));
    settings.on_full = on_full;
    ASSERT_TRUE(bench->run(a().group().set_settings(settings)).ok());
    std::optional<Result<control::Done>> outcome;
    a().process->tasks().spawn(dissolve(a().node, &outcome));
    ASSERT_TRUE(bench->wait_for([&] { return outcome.has_value(); }));
    ASSERT_TRUE(outcome->ok()) << outcome->error().message;
    EXPECT_EQ(bench->state(a()), PairState::kSmpl);
    EXPECT_EQ(*bench->read(a(), "data"), before);
    write(a(), 5, 55);
    a().power_cut();
    a().start();
    EXPECT_EQ(bench->state(a()), PairState::kSmpl);
    EXPECT_EQ(block(a(), 5), 55u);
  }
}

TEST_F(PairRoles, WhenBothHaveWrittenBothSayItAndAResyncAsksWhichBranchContinues) {
  begin(5);
  ASSERT_NO_FATAL_FAILURE(drift_apart());
  heal();
  ASSERT_TRUE(bench->wait_for([&] { return bench->state(a()) == PairState::kSsws; }));
  EXPECT_EQ(bench->state(b()), PairState::kSsws);
  const auto asked = bench->resync(a());
  ASSERT_FALSE(asked.ok());
  EXPECT_NE(asked.error().message.find("--swap"), std::string::npos) << asked.error().message;
  EXPECT_NE(asked.error().message.find("--from primary"), std::string::npos) << asked.error().message;
  const auto anew = bench->resync(a(), true);
  EXPECT_FALSE(anew.ok()) << "a copy anew would write over what the secondary wrote alone";
  EXPECT_EQ(block(a(), 2), 22u);
  EXPECT_EQ(block(b(), 3), 33u);
  const auto kept = bench->resync(a(), false, ResyncFrom::kPrimary);
  ASSERT_TRUE(kept.ok()) << kept.error().message;
  ASSERT_TRUE(bench->wait_caught_up());
  EXPECT_EQ(block(b(), 2), 22u);
  EXPECT_EQ(block(b(), 3), 0u);
  bench->expect_same({"data"});
  write(a(), 6, 66);
}

TEST_F(PairRoles, APrimaryThatStartsWaitsUntilItHasHeardItsPeer) {
  begin(6);
  cut();
  a().power_cut();
  a().start();
  control::GroupShowRequest show;
  show.group = kGroup;
  EXPECT_EQ(bench->run(a().node->group_show(show))->state, control::GroupState::kWaiting);
  const auto refused = bench->write(a(), "data", 2, 22);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kBusy);
  EXPECT_NE(refused.error().message.find("--alone"), std::string::npos) << refused.error().message;
  EXPECT_EQ(bench->mark(a(), "early").error().code, ErrorCode::kBusy);
  EXPECT_EQ(bench->serve(a(), false).error().code, ErrorCode::kBusy);
  EXPECT_EQ(bench->suspend(a()).error().code, ErrorCode::kBusy);
  heal();
  ASSERT_TRUE(bench->wait_for([&] { return bench->status(a()).link_up; }));
  write(a(), 2, 22);
  ASSERT_TRUE(bench->wait_caught_up());
}

// Found by the simulator: it went on saying that it had not heard its peer.
TEST_F(PairRoles, APrimaryThatWaitsAndIsToldToFollowCanBeReadAndAsked) {
  begin(22);
  cut();
  a().power_cut();
  ASSERT_NO_FATAL_FAILURE(a().start());
  ASSERT_TRUE(bench->wait_for([&] { return !bench->status(b()).link_up; }));
  ASSERT_TRUE(bench->take_over(b()).ok());
  write(b(), 3, 33);
  EXPECT_FALSE(a().group().check_accepting().ok());
  heal();
  const auto swapped = bench->swap(b());
  ASSERT_TRUE(swapped.ok()) << swapped.error().message;
  ASSERT_TRUE(bench->wait_caught_up(b(), a()));
  EXPECT_EQ(a().group().check_accepting().error().code, ErrorCode::kReadOnly);
  EXPECT_EQ(block(a(), 3), 33u);
  const auto suspended = bench->suspend(a());
  ASSERT_TRUE(suspended.ok()) << suspended.error().message;
}

TEST_F(PairRoles, APrimaryThatWasAloneBeforeItStoppedGoesOnAlone) {
  begin(7);
  cut();
  ASSERT_TRUE(bench->wait_for([&] { return !bench->status(a()).link_up; }));
  write(a(), 2, 22);
  bench->world.run_for(Duration::seconds(1));
  a().power_cut();
  a().start();
  write(a(), 3, 33);
  heal();
  ASSERT_TRUE(bench->wait_caught_up());
  // With the peer heard, a stop must ask it again.
  cut();
  a().power_cut();
  a().start();
  EXPECT_EQ(bench->write(a(), "data", 4, 44).error().code, ErrorCode::kBusy);
  ASSERT_TRUE(bench->serve(a(), true).ok());
  write(a(), 4, 44);
  a().power_cut();
  a().start();
  write(a(), 5, 55);
  heal();
  ASSERT_TRUE(bench->wait_caught_up());
  bench->expect_same({"data"});
}

TEST_F(PairRoles, AHandOverThatDoesNotReachThePeerLeavesAPrimaryThatGoesOn) {
  begin(8);
  cut();
  ASSERT_TRUE(bench->wait_for([&] { return !bench->status(a()).link_up; }));
  EXPECT_EQ(bench->swap(a()).error().code, ErrorCode::kRefused);
  write(a(), 2, 22);
  heal();
  ASSERT_TRUE(bench->wait_caught_up());
  ASSERT_EQ(bench->state(a()), PairState::kPair);
}

// Cuts the power of one node at every step of a swap, and says it again.
TEST_F(PairRoles, ASwapCutOffAnywhereIsFinishedBySayingItAgain) {
  bool ended[2] = {false, false};
  for (int who = 0; who < 2; ++who) {
    for (int step = 0; step < 400 && !ended[who]; ++step) {
      SCOPED_TRACE("power cut of " + std::string(who == 0 ? "the old primary" : "the old secondary") +
                   " after " + std::to_string(step) + " x 20 us");
      begin(1000 + static_cast<std::uint64_t>(step));
      write(a(), 2, 22);
      control::PairResyncRequest request;
      request.group = kGroup;
      request.from = ResyncFrom::kSecondary;
      {
        io::TaskScope asked(bench->world);
        Node* node = a().node;
        bool done = false;
        std::function<io::Task<void>()> ask = [&, node]() -> io::Task<void> {
          (void)co_await node->pair_resync(request);
          done = true;
        };
        asked.spawn(ask());
        for (int i = 0; i < step; ++i) bench->world.run_for(Duration::microseconds(20));
        ended[who] = done;
        Machine& victim = who == 0 ? a() : b();
        if (who == 0) asked.cancel_all();
        victim.power_cut();
        victim.start();
        ASSERT_TRUE(who == 0 || bench->wait_for([&] { return done; }, Duration::seconds(120)));
      }
      bench->world.run_for(Duration::seconds(15));
      // Whichever of the two says that it is the primary and took no epoch yet, or has taken over.
      const auto says = [&](Machine& at) { return bench->status(at); };
      if (says(a()).role == control::GroupRole::kPrimary) {
        if (!(says(a()).state == PairState::kPair && says(a()).link_up &&
              says(b()).state == PairState::kPair)) {
          if (says(b()).state == PairState::kSsws) {
            const auto again = bench->swap(a());
            ASSERT_TRUE(again.ok()) << again.error().message;
          } else if (says(a()).state != PairState::kPair) {
            const auto again = bench->resync(a());
            ASSERT_TRUE(again.ok()) << again.error().message;
          }
        }
      } else if (says(b()).role != control::GroupRole::kPrimary) {
        const auto again = bench->swap(b());
        ASSERT_TRUE(again.ok()) << again.error().message;
      }
      Machine& primary = says(a()).role == control::GroupRole::kPrimary ? a() : b();
      Machine& secondary = &primary == &a() ? b() : a();
      ASSERT_TRUE(bench->wait_caught_up(primary, secondary));
      ASSERT_EQ(block(primary, 2), 22u);
      ASSERT_EQ(block(secondary, 2), 22u);
      write(primary, 3, 33);
      ASSERT_TRUE(bench->wait_caught_up(primary, secondary));
      bench->expect_same({"data"});
    }
    EXPECT_TRUE(ended[who]) << "the swap takes longer than the steps of this test";
  }
}

// ---- The table: what each cell says is what happens.

using replication::PairCommand;
using replication::Side;
using replication::Verdict;

class PairTable : public PairRoles {
 protected:
  // Brings one node into the state on the side; false where that side never has it.
  bool bring(Side side, PairState state, std::uint64_t seed) {
    if (state == PairState::kSmpl) {
      bench = std::make_unique<PairBench>(seed);
      bench->make_group(a(), {"data"});
      bench->make_group(b(), {"data"});
      return true;
    }
    if (state == PairState::kCopy) {
      bench = std::make_unique<PairBench>(seed);
      bench->make_group(a(), {"data"});
      EXPECT_TRUE(bench->write(a(), "data", 1, 11, true).ok());
      EXPECT_TRUE(bench->pair_create(a(), b()).ok());
      cut();
      return bench->state(side == Side::kPrimary ? a() : b()) == PairState::kCopy;
    }
    if (state == PairState::kPsue) {
      // Restored while suspended, to where the secondary's window does not reach: it cannot follow.
      bench = std::make_unique<PairBench>(seed);
      bench->make_group(a(), {"data"});
      EXPECT_TRUE(bench->mark(a(), "older-than-the-copy").ok());
      write(a(), 1, 11);
      bench->pair_up();
      EXPECT_TRUE(bench->suspend(a()).ok());
      EXPECT_TRUE(bench->restore(a(), "older-than-the-copy").ok());
      EXPECT_TRUE(bench->resync(a()).ok());
      return bench->wait_for(
          [&] { return bench->state(a()) == PairState::kPsue && bench->state(b()) == PairState::kPsue; });
    }
    begin(seed);
    switch (state) {
      case PairState::kPsus:
        EXPECT_TRUE(bench->suspend(a()).ok());
        return bench->wait_for([&] { return bench->state(b()) == PairState::kPsus; });
      case PairState::kSsws:
        EXPECT_TRUE(bench->take_over(b(), true).ok());
        return bench->wait_for([&] { return bench->state(a()) == PairState::kSsws; });
      default:
        return true;
    }
  }
  Error ask(Machine& at, PairCommand command) {
    const auto error_of = [](const auto& result) {
      return result.ok() ? Error{ErrorCode::kInvalid, std::string()} : result.error();
    };
    switch (command) {
      case PairCommand::kCreate:
        return error_of(bench->pair_create(at, &at == &a() ? b() : a()));
      case PairCommand::kSet:
        return error_of(bench->pair_set(at, control::PairMode::kSync));
      case PairCommand::kSuspend:
        return error_of(bench->suspend(at));
      case PairCommand::kResync:
        return error_of(bench->resync(at));
      case PairCommand::kResyncFromPrimary:
        return error_of(bench->resync(at, false, ResyncFrom::kPrimary));
      case PairCommand::kResyncSwap:
        return error_of(bench->swap(at));
      case PairCommand::kTakeover:
        return error_of(bench->take_over(at));
      case PairCommand::kRestore:
        return error_of(bench->restore(at, "head"));
      case PairCommand::kVerify: {
        control::PairVerifyRequest request;
        request.group = kGroup;
        return error_of(bench->run(at.node->pair_verify(request)));
      }
      case PairCommand::kDelete:
        return error_of(bench->pair_delete(at));
    }
    return {ErrorCode::kInvalid, {}};
  }
};

TEST_F(PairTable, EachCellIsWhatHappens) {
  std::uint64_t seed = 5000;
  for (const Side side : {Side::kPrimary, Side::kSecondary}) {
    for (const PairState state : {PairState::kSmpl, PairState::kCopy, PairState::kPair, PairState::kPsus,
                                  PairState::kPsue, PairState::kSsws}) {
      for (std::size_t number = 0; number < replication::kPairCommandCount; ++number) {
        const auto command = static_cast<PairCommand>(number);
        SCOPED_TRACE(
            std::string(replication::pair_command_name(command)) + " in " +
            replication::pair_state_name(static_cast<replication::PairState>(static_cast<int>(state))) +
            (side == Side::kPrimary ? " on the primary" : " on the secondary"));
        ASSERT_TRUE(bring(side, state, ++seed));
        Machine& at = side == Side::kPrimary ? a() : b();
        if (state == PairState::kSmpl && command == PairCommand::kCreate) continue;  // both have the group
        const auto& rule = replication::pair_rule(
            command, side, static_cast<replication::PairState>(static_cast<int>(state)));
        const LogId head = at.group().head();
        const Error answer = ask(at, command);
        switch (rule.verdict) {
          case Verdict::kDone:
            EXPECT_TRUE(answer.message.empty()) << answer.message;
            break;
          case Verdict::kNothingToDo:
            EXPECT_TRUE(answer.message.empty()) << answer.message;
            EXPECT_EQ(bench->state(at), state);
            EXPECT_EQ(at.group().head(), head);
            break;
          case Verdict::kRefused:
            EXPECT_EQ(answer.code, rule.code) << answer.message;
            EXPECT_FALSE(answer.message.empty());
            EXPECT_EQ(answer.message.find('{'), std::string::npos) << answer.message;
            EXPECT_EQ(bench->state(at), state);
            EXPECT_EQ(at.group().head(), head);
            break;
          case Verdict::kDepends:
            break;  // told by the tests above, each by its condition
        }
      }
    }
  }
}

}  // namespace
}  // namespace tidemark::node
