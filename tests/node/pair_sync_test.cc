// Synchronous pairs: what a FLUSH waits for, what happens when the peer is lost, and what a takeover may
// count on.

#include "pair_bench.h"

namespace tidemark::node {
namespace {

using control::OnPeerLoss;
using control::PairMode;
using control::PairState;

// A request that may wait for long.
struct Asked {
  bool ended = false;
  Result<void> result{};
  MonotonicTime ended_at{};
};

io::Task<void> ask(sim::World* world, Node* node, std::optional<std::uint64_t> fua_block, std::uint32_t value,
                   std::shared_ptr<Asked> asked) {
  auto target = co_await node->open(std::string(kGroup) + "/data", "test");
  if (!target.ok()) {
    asked->result = target.error();
  } else if (fua_block.has_value()) {
    Buffer data = block_of(value);
    asked->result = co_await (*target)->write(*fua_block * kBlockSizeBytes, std::move(data), true);
  } else {
    asked->result = co_await (*target)->flush();
  }
  asked->ended_at = world->now();
  asked->ended = true;
}

class PairSync : public testing::Test {
 protected:
  void begin(std::uint64_t seed, OnPeerLoss on_loss) {
    bench = std::make_unique<PairBench>(seed);
    bench->make_group(a(), {"data"});
    const auto created = bench->pair_create_sync(a(), b(), on_loss);
    ASSERT_TRUE(created.ok()) << created.error().message;
    ASSERT_TRUE(wait_in_sync());
    write(1, 11);
    ASSERT_TRUE(flush().ok());
  }
  Machine& a() { return bench->a; }
  Machine& b() { return bench->b; }
  void cut() { bench->world.network().cut(); }
  void heal() { bench->world.network().heal(); }
  bool in_sync(Machine& at) { return bench->status(at).in_sync.value_or(false); }
  bool wait_in_sync() {
    return bench->wait_for([&] { return in_sync(a()) && in_sync(b()); });
  }
  void write(std::uint64_t block, std::uint32_t value) {
    const auto written = bench->write(a(), "data", block, value);
    ASSERT_TRUE(written.ok()) << written.error().message;
  }
  std::shared_ptr<Asked> begin_flush() {
    auto asked = std::make_shared<Asked>();
    a().process->tasks().spawn(ask(&bench->world, a().node, std::nullopt, 0, asked));
    return asked;
  }
  std::shared_ptr<Asked> begin_fua(std::uint64_t block, std::uint32_t value) {
    auto asked = std::make_shared<Asked>();
    a().process->tasks().spawn(ask(&bench->world, a().node, block, value, asked));
    return asked;
  }
  bool ends(const Asked& asked, Duration limit) {
    return bench->wait_for([&] { return asked.ended; }, limit);
  }
  Result<void> flush() {
    const auto asked = begin_flush();
    if (!ends(*asked, Duration::seconds(60))) return fail(ErrorCode::kTimeout, "the flush does not end");
    return asked->result;
  }
  double seconds_of_flush() {
    const MonotonicTime before = bench->world.now();
    EXPECT_TRUE(flush().ok());
    return (bench->world.now() - before).to_seconds();
  }
  std::uint32_t block(Machine& at, std::uint64_t number) {
    const auto image = bench->read(at, "data");
    EXPECT_TRUE(image.ok()) << image.error().message;
    return image.ok() ? image->at(number) : UINT32_MAX;
  }
  bool has_problem(Machine& at, const std::string& words) {
    const auto status = bench->run(at.node->node_status(control::NodeStatusRequest()));
    for (const control::Problem& problem : status->problems) {
      if (problem.text.find(words) != std::string::npos) return true;
    }
    return false;
  }
  bool logged(const Machine& at, const std::string& words) {
    return std::any_of(at.log.begin(), at.log.end(),
                       [&](const std::string& line) { return line.find(words) != std::string::npos; });
  }

  std::unique_ptr<PairBench> bench;
};

TEST_F(PairSync, AFlushWaitsForTheSecondaryAndAPlainWriteDoesNot) {
  begin(1, OnPeerLoss::kWait);
  EXPECT_EQ(b().group().journal().durable(), a().group().head());
  cut();
  write(2, 22);
  const auto flushed = begin_flush();
  const auto fua = begin_fua(3, 33);
  write(4, 44);
  bench->world.run_for(Duration::seconds(5));
  EXPECT_FALSE(flushed->ended);
  EXPECT_FALSE(fua->ended);
  EXPECT_EQ(bench->status(a()).flushes_waiting, 2u);
  heal();
  ASSERT_TRUE(ends(*flushed, Duration::seconds(30)));
  ASSERT_TRUE(ends(*fua, Duration::seconds(30)));
  EXPECT_TRUE(flushed->result.ok());
  EXPECT_TRUE(fua->result.ok());
  EXPECT_EQ(block(b(), 2), 22u);
  EXPECT_EQ(block(b(), 3), 33u);
  EXPECT_EQ(bench->status(a()).flushes_waiting, 0u);
}

TEST_F(PairSync, AFlushOfWhatTheSecondaryHasWaitsForNothing) {
  begin(2, OnPeerLoss::kWait);
  cut();
  bench->world.run_for(Duration::seconds(60));
  EXPECT_LT(seconds_of_flush(), 0.1);
}

TEST_F(PairSync, AfterTheStatedTimeItGoesOnAsAsynchronousAndIsInSyncAgainByItself) {
  begin(3, OnPeerLoss::kAsync);
  cut();
  write(2, 22);
  const double first = seconds_of_flush();
  EXPECT_GE(first, 9.0);
  EXPECT_LE(first, 25.0);  // a link falls silent before it counts as lost
  EXPECT_FALSE(in_sync(a()));
  // From here on nobody waits again.
  for (std::uint32_t i = 0; i < 20; ++i) {
    write(3, i);
    EXPECT_LT(seconds_of_flush(), 0.1);
  }
  EXPECT_TRUE(has_problem(a(), "goes on as asynchronous"));
  EXPECT_TRUE(logged(a(), "pair-not-in-sync"));
  EXPECT_TRUE(bench->status(a()).sync_since.has_value());
  EXPECT_FALSE(bench->status(a()).sync_reason.empty());
  heal();
  ASSERT_TRUE(wait_in_sync());
  EXPECT_TRUE(logged(a(), "pair-in-sync"));
  EXPECT_FALSE(has_problem(a(), "goes on as asynchronous"));
  EXPECT_EQ(block(b(), 2), 22u);
  cut();
  write(4, 44);
  const auto waits = begin_flush();
  bench->world.run_for(Duration::seconds(5));
  EXPECT_FALSE(waits->ended);
}

TEST_F(PairSync, ALinkThatIsDownWithNobodyWaitingCostsNobodyAWaitLater) {
  begin(4, OnPeerLoss::kAsync);
  cut();
  ASSERT_TRUE(bench->wait_for([&] { return !in_sync(a()); }));
  write(2, 22);
  EXPECT_LT(seconds_of_flush(), 0.1);
}

TEST_F(PairSync, ASecondaryThatIsThereAndMakesNoProgressIsLostToo) {
  begin(5, OnPeerLoss::kAsync);
  b().disk.hang_until(bench->world.now() + Duration::seconds(40));
  write(2, 22);
  const double first = seconds_of_flush();
  EXPECT_GE(first, 9.0);
  EXPECT_LE(first, 11.0);
  EXPECT_TRUE(bench->status(a()).link_up);
  EXPECT_FALSE(in_sync(a()));
  for (std::uint32_t i = 0; i < 5; ++i) {
    write(3, i);
    EXPECT_LT(seconds_of_flush(), 0.1);
  }
  ASSERT_TRUE(bench->wait_for([&] { return !in_sync(b()); }));
  ASSERT_TRUE(wait_in_sync());
}

TEST_F(PairSync, WithoutTheRecordThatItGoesOnAloneNobodyIsAnswered) {
  begin(14, OnPeerLoss::kAsync);
  cut();
  write(2, 22);
  const auto flushed = begin_flush();
  bench->world.run_for(Duration::seconds(5));
  ASSERT_FALSE(flushed->ended);
  // The next thing written is that the pair is not in sync; it cannot be.
  a().disk.fail_write_after(1);
  ASSERT_TRUE(ends(*flushed, Duration::seconds(60)));
  EXPECT_TRUE(logged(a(), "pair-not-in-sync"));
  EXPECT_FALSE(flushed->result.ok()) << "it was answered, and a start would not know it";
  bench->world.run_for(Duration::seconds(5));
  heal();
  bench->world.run_for(Duration::seconds(5));
  EXPECT_FALSE(flush().ok()) << "the group has stopped";
}

TEST_F(PairSync, AFlushDoesNotWaitForAGroupThatHasStopped) {
  begin(15, OnPeerLoss::kWait);
  cut();
  write(2, 22);
  const auto flushed = begin_flush();
  bench->world.run_for(Duration::seconds(1));
  a().disk.fail_write_after(1);
  write(3, 33);  // taken, and not waited for
  ASSERT_TRUE(bench->wait_for([&] { return a().group().failure().has_value(); }));
  ASSERT_TRUE(ends(*flushed, Duration::seconds(60)));
  EXPECT_FALSE(flushed->result.ok());
}

TEST_F(PairSync, WaitWaitsAsLongAsItTakes) {
  begin(6, OnPeerLoss::kWait);
  cut();
  write(2, 22);
  const auto flushed = begin_flush();
  bench->world.run_for(Duration::seconds(600));
  EXPECT_FALSE(flushed->ended);
  EXPECT_TRUE(has_problem(a(), "FLUSH and FUA wait"));
  EXPECT_TRUE(in_sync(a()));
  heal();
  ASSERT_TRUE(ends(*flushed, Duration::seconds(30)));
  EXPECT_TRUE(flushed->result.ok());
  EXPECT_FALSE(has_problem(a(), "FLUSH and FUA wait"));
}

TEST_F(PairSync, FailFailsAndTheDataIsDurableHere) {
  begin(7, OnPeerLoss::kFail);
  cut();
  write(2, 22);
  const auto first = begin_flush();
  ASSERT_TRUE(ends(*first, Duration::seconds(30)));
  EXPECT_EQ(first->result.error().code, ErrorCode::kIo);
  const auto second = begin_fua(3, 33);
  ASSERT_TRUE(ends(*second, Duration::milliseconds(100)));
  EXPECT_EQ(second->result.error().code, ErrorCode::kIo);
  EXPECT_TRUE(has_problem(a(), "FLUSH and FUA fail"));
  a().power_cut();
  ASSERT_NO_FATAL_FAILURE(a().start());
  heal();
  ASSERT_TRUE(wait_in_sync());
  EXPECT_TRUE(flush().ok());
  EXPECT_EQ(block(a(), 2), 22u);
  EXPECT_EQ(block(a(), 3), 33u);
  EXPECT_EQ(block(b(), 3), 33u);
}

TEST_F(PairSync, ManyThatWaitAreAllAnswered) {
  begin(8, OnPeerLoss::kWait);
  cut();
  std::vector<std::shared_ptr<Asked>> asked;
  for (std::uint32_t i = 0; i < 40; ++i) asked.push_back(begin_fua(i, 100 + i));
  bench->world.run_for(Duration::seconds(3));
  EXPECT_EQ(bench->status(a()).flushes_waiting, 40u);
  heal();
  for (const auto& one : asked) {
    ASSERT_TRUE(ends(*one, Duration::seconds(60)));
    EXPECT_TRUE(one->result.ok());
  }
  for (std::uint32_t i = 0; i < 40; ++i) EXPECT_EQ(block(b(), i), 100 + i);
}

// The power of the primary goes at each step of writes and flushes; the secondary takes over. What was
// flushed is there, and the takeover says so.
void takeover_rounds(std::uint64_t seed, OnPeerLoss on_loss) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  PairBench bench(seed);
  bench.make_group(bench.a, {"data"});
  ASSERT_TRUE(bench.pair_create_sync(bench.a, bench.b, on_loss).ok());
  ASSERT_TRUE(bench.wait_for([&] { return bench.status(bench.b).in_sync.value_or(false); }));
  std::map<std::uint64_t, std::uint32_t> flushed;
  std::vector<std::pair<std::uint64_t, std::shared_ptr<Asked>>> asked;
  const std::uint64_t steps = 1 + bench.world.random().below(400);
  std::uint64_t done = 0;
  for (std::uint32_t value = 1; done < steps; ++value) {
    const std::uint64_t block = value % kVolumeBlocks;
    auto one = std::make_shared<Asked>();
    bench.a.process->tasks().spawn(ask(&bench.world, bench.a.node, block, value, one));
    asked.emplace_back(block, one);
    const std::uint64_t some = 1 + bench.world.random().below(60);
    bench.world.run_steps(some);
    done += some;
  }
  for (std::uint32_t i = 0; i < asked.size(); ++i) {
    if (asked[i].second->ended && asked[i].second->result.ok()) flushed[asked[i].first] = i + 1;
  }
  bench.a.power_cut();
  ASSERT_TRUE(bench.wait_for([&] { return !bench.status(bench.b).link_up; }));
  const auto taken = bench.take_over(bench.b);
  ASSERT_TRUE(taken.ok()) << taken.error().message;
  EXPECT_FALSE(taken->may_be_behind);
  const auto image = bench.read(bench.b, "data");
  ASSERT_TRUE(image.ok());
  for (const auto& [block, value] : flushed) EXPECT_GE(image->at(block), value) << block;
  const auto again = bench.take_over(bench.b);
  ASSERT_TRUE(again.ok());
  EXPECT_FALSE(again->may_be_behind);
}

TEST_F(PairSync, WhatWasFlushedIsThereAfterATakeover) {
  for (std::uint64_t seed = 100; seed < 160; ++seed) {
    takeover_rounds(seed, seed % 2 == 0 ? OnPeerLoss::kWait : OnPeerLoss::kAsync);
  }
}

TEST_F(PairSync, ATakeoverLaterThanThePromiseSaysSinceWhenItMayBeBehind) {
  for (const OnPeerLoss on_loss : {OnPeerLoss::kAsync, OnPeerLoss::kWait, OnPeerLoss::kFail}) {
    SCOPED_TRACE(static_cast<int>(on_loss));
    begin(10, on_loss);
    write(2, 22);
    ASSERT_TRUE(flush().ok());
    a().power_cut();
    const WallTime lost = bench->world.wall_now();
    bench->world.run_for(Duration::seconds(60));
    EXPECT_EQ(in_sync(b()), on_loss != OnPeerLoss::kAsync);
    const auto taken = bench->take_over(b());
    ASSERT_TRUE(taken.ok()) << taken.error().message;
    EXPECT_EQ(taken->may_be_behind, on_loss == OnPeerLoss::kAsync);
    if (on_loss == OnPeerLoss::kAsync) {
      // It may have gone on alone ten seconds after it had heard the secondary last.
      ASSERT_TRUE(taken->behind_since.has_value());
      EXPECT_GE((*taken->behind_since - lost).to_seconds(), 7.0);
      EXPECT_LE((*taken->behind_since - lost).to_seconds(), 10.1);
      EXPECT_EQ(bench->take_over(b())->behind_since, taken->behind_since);
    }
    EXPECT_EQ(block(b(), 2), 22u);
  }
}

// A primary that lives behind a cut link answers no FLUSH alone before the moment that the takeover names.
TEST_F(PairSync, ThePromiseIsKept) {
  for (std::uint64_t seed = 200; seed < 230; ++seed) {
    SCOPED_TRACE(seed);
    begin(seed, OnPeerLoss::kAsync);
    sim::Network& network = bench->world.network();
    const std::uint64_t way = bench->world.random().below(3);
    write(2, 22);
    const auto in_time = begin_flush();
    bench->world.run_for(
        Duration::microseconds(static_cast<std::int64_t>(bench->world.random().below(2'000'000))));
    if (way == 0) network.cut();
    if (way == 1) network.cut_from_clients();
    if (way == 2) network.cut_from_servers();
    write(3, 33);
    const auto flushed = begin_flush();
    // Sooner or later; what it says of itself is asked at each moment.
    while (!flushed->ended) {
      bench->world.run_for(Duration::milliseconds(5));
      if (!flushed->ended) continue;
      EXPECT_FALSE(in_sync(b()) && block(b(), 3) != 33u) << "the secondary counts on what the primary broke";
    }
    EXPECT_TRUE(flushed->result.ok());
    EXPECT_TRUE(in_time->ended);
    const WallTime answered = bench->world.wall_now();
    ASSERT_TRUE(bench->wait_for([&] { return !bench->status(b()).link_up; }, Duration::seconds(60)));
    const auto taken = bench->take_over(b());
    ASSERT_TRUE(taken.ok()) << taken.error().message;
    if (block(b(), 3) == 33u) continue;
    EXPECT_TRUE(taken->may_be_behind);
    EXPECT_LE(taken->behind_since->ns, answered.ns);
  }
}

TEST_F(PairSync, ADegradedPairSaysSoAfterARestartAndATakeoverToo) {
  begin(11, OnPeerLoss::kAsync);
  cut();
  ASSERT_TRUE(bench->wait_for([&] { return !in_sync(a()); }));
  const auto since = bench->status(a()).sync_since;
  write(2, 22);
  ASSERT_TRUE(flush().ok());
  a().power_cut();
  ASSERT_NO_FATAL_FAILURE(a().start());
  EXPECT_FALSE(in_sync(a()));
  EXPECT_EQ(bench->status(a()).sync_since, since);
  EXPECT_EQ(bench->status(a()).mode, PairMode::kSync);
  EXPECT_EQ(bench->status(a()).on_peer_loss, OnPeerLoss::kAsync);
  // It knows that it went on alone, so it takes writes, and nobody waits.
  write(3, 33);
  EXPECT_LT(seconds_of_flush(), 0.1);
  const auto taken = bench->take_over(b(), true);
  ASSERT_TRUE(taken.ok()) << taken.error().message;
  EXPECT_TRUE(taken->may_be_behind);
}

TEST_F(PairSync, InSyncSurvivesARestartOfEither) {
  begin(12, OnPeerLoss::kWait);
  b().power_cut();
  ASSERT_NO_FATAL_FAILURE(b().start());
  EXPECT_TRUE(in_sync(b()));
  ASSERT_TRUE(wait_in_sync());
  write(2, 22);
  ASSERT_TRUE(flush().ok());
  cut();
  a().power_cut();
  ASSERT_NO_FATAL_FAILURE(a().start());
  EXPECT_TRUE(in_sync(a()));
  ASSERT_TRUE(bench->serve(a(), true).ok());
  write(3, 33);
  const auto flushed = begin_flush();
  bench->world.run_for(Duration::seconds(60));
  EXPECT_FALSE(flushed->ended);
  heal();
  ASSERT_TRUE(ends(*flushed, Duration::seconds(30)));
  EXPECT_EQ(block(b(), 3), 33u);
}

TEST_F(PairSync, TheModeBelongsToThePairAndGoesOverWithASwap) {
  begin(13, OnPeerLoss::kFail);
  ASSERT_TRUE(bench->swap(a()).ok());
  ASSERT_TRUE(bench->wait_for([&] { return in_sync(a()) && in_sync(b()); }));
  EXPECT_EQ(bench->status(b()).role, control::GroupRole::kPrimary);
  for (Machine* machine : {&a(), &b()}) {
    EXPECT_EQ(bench->status(*machine).mode, PairMode::kSync);
    EXPECT_EQ(bench->status(*machine).on_peer_loss, OnPeerLoss::kFail);
  }
  cut();
  ASSERT_TRUE(bench->write(b(), "data", 2, 22).ok());
  EXPECT_EQ(bench->write(b(), "data", 3, 33, true).error().code, ErrorCode::kIo);
}

TEST_F(PairSync, AFlushThatWaitsEndsWhenThePairIsSuspendedOrDeletedOrAsynchronous) {
  for (int how = 0; how < 3; ++how) {
    SCOPED_TRACE(how);
    begin(14, OnPeerLoss::kWait);
    cut();
    write(2, 22);
    const auto flushed = begin_flush();
    bench->world.run_for(Duration::seconds(30));
    ASSERT_FALSE(flushed->ended);
    if (how == 0) {
      ASSERT_TRUE(bench->suspend(a()).ok());
      EXPECT_FALSE(in_sync(a()));
    } else if (how == 1) {
      ASSERT_TRUE(bench->pair_delete(a()).ok());
    } else {
      ASSERT_TRUE(bench->pair_set(a(), PairMode::kAsync).ok());
    }
    ASSERT_TRUE(ends(*flushed, Duration::seconds(3)));
    EXPECT_TRUE(flushed->result.ok()) << flushed->result.error().message;
    write(3, 33);
    EXPECT_LT(seconds_of_flush(), 0.1);
  }
}

TEST_F(PairSync, AFlushThatWaitsEndsWithTheNodeAndWithTheRole) {
  begin(15, OnPeerLoss::kWait);
  cut();
  write(2, 22);
  const auto stopped = begin_flush();
  bench->world.run_for(Duration::seconds(5));
  ASSERT_FALSE(stopped->ended);
  const auto stopping = bench->run(a().node->stop());
  EXPECT_TRUE(stopping.ok());
  ASSERT_TRUE(ends(*stopped, Duration::seconds(1)));
  EXPECT_EQ(stopped->result.error().code, ErrorCode::kShutdown);
  a().kill();
  heal();
  ASSERT_NO_FATAL_FAILURE(a().start());
  ASSERT_TRUE(wait_in_sync());
  EXPECT_EQ(block(b(), 2), 22u);
  // The secondary takes over while one waits.
  b().disk.hang_until(bench->world.now() + Duration::seconds(5));
  write(3, 33);
  const auto taken = begin_flush();
  bench->world.run_for(Duration::seconds(1));
  ASSERT_FALSE(taken->ended);
  ASSERT_TRUE(bench->take_over(b(), true).ok());
  ASSERT_TRUE(bench->wait_for([&] { return bench->state(a()) == PairState::kSsws; }));
  ASSERT_TRUE(ends(*taken, Duration::seconds(3)));
}

TEST_F(PairSync, NobodyWaitsDuringTheCopy) {
  bench = std::make_unique<PairBench>(16);
  bench->make_group(a(), {"data"});
  write(1, 11);
  ASSERT_TRUE(bench->pair_create_sync(a(), b(), OnPeerLoss::kWait).ok());
  cut();
  ASSERT_EQ(bench->state(a()), PairState::kCopy);
  write(2, 22);
  EXPECT_LT(seconds_of_flush(), 0.1);
  EXPECT_FALSE(in_sync(a()));
  EXPECT_EQ(bench->pair_set(a(), PairMode::kAsync).error().code, ErrorCode::kRefused);
  heal();
  ASSERT_TRUE(wait_in_sync());
}

TEST_F(PairSync, ASuspensionByAnErrorIsALossOfThePeer) {
  for (const OnPeerLoss on_loss : {OnPeerLoss::kAsync, OnPeerLoss::kWait, OnPeerLoss::kFail}) {
    SCOPED_TRACE(static_cast<int>(on_loss));
    begin(17, on_loss);
    b().kill();
    ASSERT_TRUE(bench->wait_for([&] { return !bench->status(a()).link_up; }));
    // The journal fills up with what the secondary lacks.
    auto target = bench->run(a().node->open("app/data", "host"));
    ASSERT_TRUE(target.ok());
    for (int i = 0; i < 200; ++i) {
      Buffer data = Buffer::allocate(32 * kBlockSizeBytes);
      std::memset(data.data(), i, data.size());
      ASSERT_TRUE(bench->run((*target)->write(0, data, false)).ok()) << i;
    }
    target = fail(ErrorCode::kClosed, "");
    ASSERT_EQ(bench->state(a()), PairState::kPsue);
    for (int round = 0; round < 2; ++round) {
      const auto flushed = begin_flush();
      const bool ended = ends(*flushed, Duration::seconds(60));
      EXPECT_EQ(ended, on_loss != OnPeerLoss::kWait);
      if (ended) {
        EXPECT_EQ(flushed->result.ok(), on_loss == OnPeerLoss::kAsync);
      }
      EXPECT_EQ(has_problem(a(), "the secondary is lost"), on_loss != OnPeerLoss::kAsync);
      a().power_cut();
      ASSERT_NO_FATAL_FAILURE(a().start());
    }
    ASSERT_NO_FATAL_FAILURE(b().start());
    ASSERT_TRUE(bench->resync(a(), true).ok());
    ASSERT_TRUE(wait_in_sync());
    EXPECT_TRUE(flush().ok());
  }
}

TEST_F(PairSync, APairIsMadeSynchronousAndBackWhileHostsWrite) {
  bench = std::make_unique<PairBench>(18);
  bench->make_group(a(), {"data"});
  ASSERT_NO_FATAL_FAILURE(bench->pair_up());
  EXPECT_FALSE(bench->status(a()).in_sync.has_value());
  EXPECT_EQ(bench->pair_set(a(), std::nullopt, OnPeerLoss::kWait).error().code, ErrorCode::kInvalid);
  for (int round = 0; round < 3; ++round) {
    write(2, 22);
    ASSERT_TRUE(bench->pair_set(a(), PairMode::kSync, OnPeerLoss::kWait).ok());
    write(3, 33);
    ASSERT_TRUE(wait_in_sync());
    write(4, 44);
    ASSERT_TRUE(flush().ok());
    EXPECT_EQ(b().group().journal().durable(), a().group().head());
    // Other terms keep it in sync.
    ASSERT_TRUE(bench->pair_set(a(), std::nullopt, OnPeerLoss::kFail).ok());
    EXPECT_TRUE(in_sync(a()));
    ASSERT_TRUE(bench->wait_for([&] { return bench->status(b()).on_peer_loss == OnPeerLoss::kFail; }));
    ASSERT_TRUE(wait_in_sync());
    ASSERT_TRUE(bench->pair_set(a(), PairMode::kAsync).ok());
    ASSERT_TRUE(bench->wait_for([&] { return bench->status(b()).mode == PairMode::kAsync; }));
    EXPECT_EQ(bench->status(a()).mode, PairMode::kAsync);
  }
  ASSERT_TRUE(bench->wait_caught_up());
  bench->expect_same({"data"});
}

// Suspended at any moment of its becoming in sync, also when the last it was to wait for had been named: what
// was flushed without the secondary since counts.
TEST_F(PairSync, ASuspensionWhileItComesInSyncLeavesNothingOfThatBehind) {
  for (int steps = 0; steps < 40 && !HasFailure(); ++steps) {
    SCOPED_TRACE("suspended after " + std::to_string(steps) + " writes");
    bench = std::make_unique<PairBench>(90);
    bench->make_group(a(), {"data"});
    const auto created = bench->pair_create_sync(a(), b(), OnPeerLoss::kWait);
    ASSERT_TRUE(created.ok()) << created.error().message;
    const auto write_on = [&](int i) {
      write(static_cast<std::uint64_t>(i) % kVolumeBlocks, 10);
      bench->world.run_for(Duration::microseconds(50));
    };
    for (int i = 0; bench->state(a()) != PairState::kPair; ++i) write_on(i);
    for (int i = 0; i < steps; ++i) write_on(i);
    const auto suspended = bench->suspend(a());
    ASSERT_TRUE(suspended.ok()) << suspended.error().message;
    for (std::uint32_t value = 20; value < 40; ++value) {
      const auto written = bench->write(a(), "data", value % kVolumeBlocks, value, true);
      ASSERT_TRUE(written.ok()) << written.error().message;
    }
    const LogId head = a().group().head();
    const auto resumed = bench->resync(a());
    ASSERT_TRUE(resumed.ok()) << resumed.error().message;
    const auto is_whole = [&] { return b().group().journal().durable() >= head; };
    ASSERT_TRUE(bench->wait_for([&] {
      const bool said = in_sync(a()) || in_sync(b());
      EXPECT_TRUE(!said || is_whole()) << "in sync without " << head.to_string();
      return said;
    }));
  }
}

TEST_F(PairSync, AfterASuspensionItIsInSyncOnceItHasCaughtUp) {
  begin(19, OnPeerLoss::kWait);
  ASSERT_TRUE(bench->suspend(b()).ok());
  ASSERT_TRUE(bench->wait_for([&] { return bench->state(a()) == PairState::kPsus; }));
  EXPECT_FALSE(in_sync(a()));
  EXPECT_FALSE(in_sync(b()));
  write(2, 22);
  EXPECT_LT(seconds_of_flush(), 0.1);
  ASSERT_TRUE(bench->resync(a()).ok());
  ASSERT_TRUE(wait_in_sync());
  EXPECT_EQ(block(b(), 2), 22u);
}

}  // namespace
}  // namespace tidemark::node
