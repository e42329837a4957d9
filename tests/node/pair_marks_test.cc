// Marks asked for at the secondary, and the log that is started and stopped.

#include "pair_bench.h"

namespace tidemark::node {
namespace {

using control::PairState;
using control::ResyncFrom;
using control::WaitFor;

control::MarkInfo show(PairBench& bench, Machine& at, const std::string& id) {
  control::MarkShowRequest request;
  request.group = kGroup;
  request.id = id;
  auto shown = bench.run(at.node->mark_show(request));
  EXPECT_TRUE(shown.ok()) << shown.error().message;
  return shown.ok() ? *shown : control::MarkInfo();
}

void begin(PairBench& bench) {
  bench.make_group(bench.a, {"data", "wal"});
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  ASSERT_TRUE(bench.write(bench.a, "data", 1, 11).ok());
}

TEST(PairMarks, AMarkAskedForAtTheSecondaryIsThePrimarysNextAndDurableOnBoth) {
  PairBench bench(1);
  ASSERT_NO_FATAL_FAILURE(begin(bench));
  const auto made = bench.mark(bench.b, "from-there");
  ASSERT_TRUE(made.ok()) << made.error().message;
  EXPECT_FALSE(made->provisional);
  EXPECT_EQ(show(bench, bench.a, "from-there").log_id, made->log_id);
  EXPECT_GE(bench.b.group().journal().durable().raw(), made->log_id.raw());
  // It covers what the primary had acknowledged before it was asked for.
  EXPECT_EQ(bench.read(bench.b, "data", "from-there")->at(1), 11u);
  EXPECT_EQ(bench.mark(bench.b, "from-there").error().code, ErrorCode::kExists);
  ASSERT_TRUE(bench.mark(bench.a, "from-here").ok());
  EXPECT_EQ(bench.mark(bench.b, "from-here").error().code, ErrorCode::kExists);
}

TEST(PairMarks, WithTheLinkDownItNamesWhatIsHeldAndBecomesKnownLater) {
  for (const bool restarted : {false, true}) {
    SCOPED_TRACE(restarted);
    PairBench bench(2);
    ASSERT_NO_FATAL_FAILURE(begin(bench));
    ASSERT_TRUE(bench.wait_caught_up());
    const LogId held = bench.b.group().head();
    bench.world.network().cut();
    ASSERT_TRUE(
        bench.wait_for([&] { return !bench.status(bench.b).link_up && !bench.status(bench.a).link_up; }));
    ASSERT_TRUE(bench.write(bench.a, "data", 1, 12).ok());
    const auto taken = bench.mark(bench.b, "alone");
    ASSERT_TRUE(taken.ok()) << taken.error().message;
    EXPECT_TRUE(taken->provisional);
    EXPECT_EQ(taken->log_id, held);
    EXPECT_EQ(bench.mark(bench.b, "alone").error().code, ErrorCode::kExists);
    // Of two equal ids that of the primary keeps it; what was taken here is set aside.
    ASSERT_TRUE(bench.mark(bench.b, "twice").ok());
    ASSERT_TRUE(bench.mark(bench.a, "twice").ok());
    if (restarted) {
      bench.b.power_cut();
      bench.b.start();
    }
    EXPECT_TRUE(show(bench, bench.b, "alone").provisional);
    EXPECT_EQ(bench.read(bench.b, "data", "alone")->at(1), 11u);
    ASSERT_TRUE(bench.b.group().verify({}).ok());
    ASSERT_TRUE(bench.wait_for([&] { return !bench.b.group().verifying(); }));
    EXPECT_EQ(bench.b.group().verification().state, group::VerifyState::kGood) << "they are no entries";
    bench.world.network().heal();
    ASSERT_TRUE(bench.wait_for([&] {
      const auto& marks = bench.b.group().state().marks();
      return bench.a.group().state().marks().size() == 3 && marks.size() == 3 &&
             bench.b.group().provisional_marks().empty();
    }));
    ASSERT_TRUE(bench.wait_caught_up());
    EXPECT_FALSE(show(bench, bench.b, "alone").provisional);
    EXPECT_EQ(show(bench, bench.a, "alone").log_id, held);
    EXPECT_EQ(show(bench, bench.b, "alone").log_id, held);
    const std::string aside = "twice~" + std::to_string(held.epoch().value);
    EXPECT_EQ(show(bench, bench.a, aside).log_id, held);
    EXPECT_EQ(show(bench, bench.b, aside).log_id, held);
    EXPECT_EQ(show(bench, bench.a, "twice").log_id, show(bench, bench.b, "twice").log_id);
    EXPECT_EQ(bench.read(bench.a, "data", "alone")->at(1), 11u);
    bench.expect_same({"data", "wal"});
    // A restart of both finds the same.
    bench.b.power_cut();
    bench.b.start();
    EXPECT_EQ(show(bench, bench.b, "alone").log_id, held);
  }
}

TEST(PairMarks, AProvisionalMarkOutlivesATakeover) {
  PairBench bench(3);
  ASSERT_NO_FATAL_FAILURE(begin(bench));
  ASSERT_TRUE(bench.wait_caught_up());
  bench.a.power_cut();
  ASSERT_TRUE(bench.wait_for([&] { return !bench.status(bench.b).link_up; }));
  ASSERT_TRUE(bench.mark(bench.b, "alone").ok());
  ASSERT_TRUE(bench.take_over(bench.b).ok());
  EXPECT_FALSE(show(bench, bench.b, "alone").provisional);
  bench.a.start();
  ASSERT_TRUE(bench.wait_for([&] { return bench.state(bench.a) == PairState::kSsws; }));
  ASSERT_TRUE(bench.swap(bench.a).ok());
  ASSERT_TRUE(bench.wait_caught_up(bench.b, bench.a));
  EXPECT_EQ(show(bench, bench.a, "alone").log_id, show(bench, bench.b, "alone").log_id);
}

TEST(PairMarks, AMarkSaysWhichVolumesOfTheSecondaryAcquireALogThere) {
  PairBench bench(4);
  bench.make_group(bench.a, {"data", "wal"});
  ASSERT_TRUE(bench.mark(bench.a, "before-the-pair").ok());
  ASSERT_TRUE(bench.write(bench.a, "data", 1, 11).ok());
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  const auto made = bench.mark(bench.a, "in-pair", WaitFor::kPeer);
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(made->logged_on, "osaka");
  ASSERT_EQ(made->logged_volumes.size(), 2u);
  const auto there = show(bench, bench.b, "in-pair");
  EXPECT_EQ(there.logged_on, "osaka");
  ASSERT_EQ(there.logged_volumes.size(), 2u);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(there.logged_volumes[i].volume, made->logged_volumes[i].volume);
    EXPECT_EQ(there.logged_volumes[i].lu_number, made->logged_volumes[i].lu_number);
    EXPECT_TRUE(there.logged_volumes[i].lu_number.has_value());
  }
  for (Machine* at : {&bench.a, &bench.b}) {
    const auto old = show(bench, *at, "before-the-pair");
    EXPECT_TRUE(old.logged_volumes.empty()) << at->name;
    EXPECT_FALSE(old.not_logged_reason.empty()) << at->name;
  }
  bench.world.network().cut();
  EXPECT_NE(bench.mark(bench.a, "not-there")->not_logged_reason.find("not received"), std::string::npos);
}

// ---- The log

Result<control::JournalStatus> start_log(PairBench& bench, Machine& at) {
  control::JournalStartRequest request;
  request.group = kGroup;
  return bench.run(at.node->journal_start(request));
}
Result<control::JournalStatus> stop_log(PairBench& bench, Machine& at) {
  control::JournalStopRequest request;
  request.group = kGroup;
  return bench.run(at.node->journal_stop(request));
}
void retain_nothing(PairBench& bench, Machine& at) {
  control::GroupSetRequest request;
  request.group = kGroup;
  request.retain = Duration{};
  ASSERT_TRUE(bench.run(at.node->group_set(request)).ok());
}

TEST(Log, StartedOnThePrimaryTheSecondaryKeepsEverythingFromThereOn) {
  PairBench bench(10);
  ASSERT_NO_FATAL_FAILURE(begin(bench));
  retain_nothing(bench, bench.a);
  retain_nothing(bench, bench.b);
  const auto started = start_log(bench, bench.a);
  ASSERT_TRUE(started.ok()) << started.error().message;
  ASSERT_TRUE(started->log_started.has_value());
  EXPECT_FALSE(started->log_kept_here);
  const LogId from = *started->log_started;
  EXPECT_EQ(bench.status(bench.a).duplex_suspended_since, from);
  EXPECT_EQ(bench.status(bench.b).duplex_suspended_since, from);
  EXPECT_EQ(bench.state(bench.a), PairState::kPair);
  for (std::uint32_t i = 0; i < 30; ++i) ASSERT_TRUE(bench.write(bench.a, "data", 1, 100 + i).ok());
  ASSERT_TRUE(bench.wait_caught_up());
  bench.b.power_cut();
  bench.b.start();
  ASSERT_TRUE(bench.wait_caught_up());
  for (int i = 0; i < 3; ++i) (void)bench.run(bench.b.group().destage_now(true));
  for (int i = 0; i < 3; ++i) (void)bench.run(bench.a.group().destage_now(true));
  // The copy as it was at that moment, whatever the retention and the need for space.
  EXPECT_EQ(bench.read(bench.b, "data", "log:" + from.to_string())->at(1), 11u);
  EXPECT_TRUE(bench.b.group().state().epochs().is_ancestor(bench.b.group().local().destaged, from));
  // Said again, nothing changes.
  EXPECT_EQ(*start_log(bench, bench.a)->log_started, from);
  EXPECT_EQ(start_log(bench, bench.b).error().code, ErrorCode::kRefused);
  ASSERT_TRUE(stop_log(bench, bench.a).ok());
  EXPECT_FALSE(bench.status(bench.a).duplex_suspended_since.has_value());
  ASSERT_TRUE(bench.wait_caught_up());
  EXPECT_TRUE(bench.wait_for([&] {
    (void)bench.run(bench.b.group().destage_now(true));
    return !bench.b.group().state().epochs().is_ancestor(bench.b.group().local().floor, from);
  }));
}

TEST(Log, OnANodeAloneItIsKeptThereAndAFullJournalStopsWritesRatherThanIt) {
  PairBench bench(11);
  bench.make_group(bench.a, {"data"});
  retain_nothing(bench, bench.a);
  ASSERT_TRUE(bench.write(bench.a, "data", 1, 11, true).ok());
  const auto started = start_log(bench, bench.a);
  ASSERT_TRUE(started.ok()) << started.error().message;
  EXPECT_TRUE(started->log_kept_here);
  ErrorCode refused = ErrorCode::kInvalid;
  for (int i = 0; i < 3000 && refused == ErrorCode::kInvalid; ++i) {
    const auto written =
        bench.discard(bench.a, "data", 0, 1).ok() ? bench.write(bench.a, "data", 2, 7) : Result<void>{};
    if (!written.ok()) refused = written.error().code;
    auto target = bench.run(bench.a.node->open("app/data", "host"));
    ASSERT_TRUE(target.ok());
    Buffer data = Buffer::allocate(32 * kBlockSizeBytes);
    std::memset(data.data(), i, data.size());
    const auto large = bench.run((*target)->write(8 * kBlockSizeBytes, std::move(data), false));
    if (!large.ok()) refused = large.error().code;
  }
  EXPECT_EQ(refused, ErrorCode::kNoSpace);
  EXPECT_EQ(bench.read(bench.a, "data", "log:" + started->log_started->to_string())->at(1), 11u);
  // Stopped, the same journal takes writes again; it can always be said.
  ASSERT_TRUE(stop_log(bench, bench.a).ok());
  EXPECT_TRUE(bench.write(bench.a, "data", 2, 8).ok());
}

TEST(Log, WithoutACopyInDuplexItIsRefused) {
  PairBench bench(12);
  ASSERT_NO_FATAL_FAILURE(begin(bench));
  ASSERT_TRUE(bench.suspend(bench.a).ok());
  const auto refused = start_log(bench, bench.a);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kRefused);
  EXPECT_NE(refused.error().message.find("PSUS"), std::string::npos) << refused.error().message;
}

}  // namespace
}  // namespace tidemark::node
