// The primary restored from the secondary: to points that it cannot show itself.

#include "pair_bench.h"

namespace tidemark::node {
namespace {

using control::PairState;
using control::WaitFor;

Result<control::RestoreReply> restore(PairBench& bench, const std::string& point, bool dry_run = false,
                                      std::optional<bool> from_peer = std::nullopt) {
  control::RestoreRequest request;
  request.group = kGroup;
  request.point = point;
  request.dry_run = dry_run;
  request.from_peer = from_peer;
  return bench.run(bench.a.node->restore(request));
}

// The primary keeps no history; the secondary has the marks "one" and "two".
class PairRefill : public testing::Test {
 protected:
  void begin(std::uint64_t seed) {
    bench = std::make_unique<PairBench>(seed);
    bench->make_group(bench->a, {"data", "wal"});
    ASSERT_NO_FATAL_FAILURE(bench->pair_up());
    for (std::uint64_t i = 0; i < 20; ++i) write("data", i, 100 + static_cast<std::uint32_t>(i));
    write("wal", 3, 7);
    ASSERT_TRUE(bench->mark(bench->a, "one", WaitFor::kPeer).ok());
    one = {*bench->read(bench->a, "data"), *bench->read(bench->a, "wal")};
    for (std::uint64_t i = 5; i < 9; ++i) write("data", i, 200 + static_cast<std::uint32_t>(i));
    ASSERT_TRUE(bench->discard(bench->a, "wal", 3, 1).ok());
    write("wal", 30, 9);
    ASSERT_TRUE(bench->mark(bench->a, "two", WaitFor::kPeer).ok());
    for (std::uint64_t i = 0; i < 12; ++i) write("data", i, 300 + static_cast<std::uint32_t>(i));
    ASSERT_TRUE(bench->wait_caught_up());
    head = {*bench->read(bench->a, "data"), *bench->read(bench->a, "wal")};
    control::GroupSetRequest request;
    request.group = kGroup;
    request.retain = Duration{};
    ASSERT_TRUE(bench->run(bench->a.node->group_set(request)).ok());
    for (int i = 0; i < 4; ++i) (void)bench->run(bench->a.group().destage_now(true));
    ASSERT_EQ(bench->read(bench->a, "data", "one").error().code, ErrorCode::kExpired);
    ASSERT_TRUE(bench->read(bench->b, "data", "one").ok());
  }
  void write(const std::string& volume, std::uint64_t block, std::uint32_t value) {
    const auto written = bench->write(bench->a, volume, block, value);
    ASSERT_TRUE(written.ok()) << written.error().message;
  }
  void expect_both(const std::array<Image, 2>& images) {
    ASSERT_TRUE(bench->wait_caught_up());
    for (Machine* at : {&bench->a, &bench->b}) {
      bench->expect_image(*at, "data", {}, images[0]);
      bench->expect_image(*at, "wal", {}, images[1]);
    }
  }

  std::unique_ptr<PairBench> bench;
  std::array<Image, 2> one, head;
};

TEST_F(PairRefill, AnExpiredPointComesFromTheSecondaryAndIsUndone) {
  begin(1);
  const auto plan = restore(*bench, "one", true);
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  EXPECT_TRUE(plan->from_peer);
  ASSERT_EQ(plan->volumes.size(), 2u);
  EXPECT_EQ(*plan->volumes[0].blocks_differing, 12u);
  EXPECT_EQ(*plan->volumes[1].blocks_differing, 2u);
  expect_both(head);
  const LogId left = bench->a.group().head();
  const auto done = restore(*bench, "one");
  ASSERT_TRUE(done.ok()) << done.error().message;
  EXPECT_TRUE(done->from_peer);
  expect_both(one);
  // It takes writes, the mark still means the same, and the restore is undone like any other.
  write("data", 40, 1);
  ASSERT_TRUE(bench->wait_caught_up());
  EXPECT_EQ(bench->read(bench->b, "data", "one")->at(40), 0u);
  const auto undone = restore(*bench, "log:" + left.to_string());
  ASSERT_TRUE(undone.ok()) << undone.error().message;
  EXPECT_FALSE(undone->from_peer);
  expect_both(head);
}

TEST_F(PairRefill, APointInsideIsNotReadable) {
  begin(2);
  const auto done = restore(*bench, "one");
  ASSERT_TRUE(done.ok()) << done.error().message;
  const std::string inside = "log:" + LogId(Epoch{*done->new_epoch}, 2).to_string();
  ASSERT_TRUE(bench->wait_caught_up());
  for (Machine* at : {&bench->a, &bench->b}) {
    EXPECT_EQ(bench->read(*at, "data", inside).error().code, ErrorCode::kInGap) << at->name;
  }
}

TEST_F(PairRefill, ByNameItComesFromThePeerThoughThisNodeHasIt) {
  begin(3);
  const auto done = restore(*bench, "two", false, true);
  ASSERT_TRUE(done.ok()) << done.error().message;
  EXPECT_TRUE(done->from_peer);
  ASSERT_TRUE(bench->wait_caught_up());
  bench->expect_same({"data", "wal"});
  EXPECT_EQ(bench->read(bench->a, "data")->at(5), 205u);
}

TEST_F(PairRefill, WithoutThePairOrThePointItIsRefusedByName) {
  begin(4);
  EXPECT_EQ(restore(*bench, "nonsense").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(restore(*bench, "one", false, false).error().code, ErrorCode::kExpired);
  bench->world.network().cut();
  const auto unreachable = restore(*bench, "one");
  ASSERT_FALSE(unreachable.ok());
  EXPECT_NE(unreachable.error().message.find("peer"), std::string::npos) << unreachable.error().message;
  bench->world.network().heal();
  ASSERT_TRUE(bench->wait_caught_up());
  ASSERT_TRUE(bench->suspend(bench->a).ok());
  EXPECT_EQ(restore(*bench, "one").error().code, ErrorCode::kExpired);
  EXPECT_EQ(restore(*bench, "one", false, true).error().code, ErrorCode::kRefused);
  bench->expect_image(bench->a, "data", {}, head[0]);
}

TEST_F(PairRefill, OtherVolumesThenAreRefused) {
  begin(5);
  control::VolumeResizeRequest resize;
  resize.group = kGroup;
  resize.volume = "wal";
  resize.size_bytes = 2 * kVolumeBlocks * kBlockSizeBytes;
  ASSERT_TRUE(bench->run(bench->a.node->volume_resize(resize)).ok());
  ASSERT_TRUE(bench->wait_caught_up());
  EXPECT_EQ(restore(*bench, "one").error().code, ErrorCode::kUnsupported);
}

// The power of either node is cut, or the link, at every step: what was there is there again, or the restore
// is whole.
TEST_F(PairRefill, CutOffAnywhereItIsWholeOrNothing) {
  enum class Fault { kPrimary, kSecondary, kLink };
  for (const Fault fault : {Fault::kPrimary, Fault::kSecondary, Fault::kLink}) {
    bool ended = false;
    int wholes = 0;
    int nothings = 0;
    for (int step = 0; step < 600 && !ended; step += 3) {
      SCOPED_TRACE("fault " + std::to_string(static_cast<int>(fault)) + " after " + std::to_string(step) +
                   " x 20 us");
      begin(100 + static_cast<std::uint64_t>(step));
      bool done = false;
      {
        io::TaskScope asked(bench->world);
        Node* node = bench->a.node;
        control::RestoreRequest request;
        request.group = kGroup;
        request.point = "one";
        std::function<io::Task<void>()> ask = [&, node]() -> io::Task<void> {
          (void)co_await node->restore(request);
          done = true;
        };
        asked.spawn(ask());
        for (int i = 0; i < step; ++i) bench->world.run_for(Duration::microseconds(20));
        ended = done;
        if (fault == Fault::kPrimary) {
          asked.cancel_all();
          bench->a.power_cut();
          bench->a.start();
        } else if (fault == Fault::kSecondary) {
          bench->b.power_cut();
          bench->b.start();
        } else {
          bench->world.network().cut();
          bench->world.run_for(Duration::milliseconds(50));
          bench->world.network().heal();
        }
        ASSERT_TRUE(fault == Fault::kPrimary ||
                    bench->wait_for([&] { return done; }, Duration::seconds(120)));
      }
      ASSERT_TRUE(bench->wait_caught_up());
      const auto data = bench->read(bench->a, "data");
      ASSERT_TRUE(data.ok()) << data.error().message;
      const bool whole = *data == one[0];
      ++(whole ? wholes : nothings);
      ASSERT_NO_FATAL_FAILURE(expect_both(whole ? one : head));
      bench->expect_same({"data", "wal"});
      write("data", 41, 5);
      ASSERT_TRUE(bench->wait_caught_up());
    }
    EXPECT_TRUE(ended) << "it takes longer than the steps of this test";
    // A link that comes back in time is waited for.
    EXPECT_EQ(nothings > 5, fault != Fault::kLink) << nothings;
    EXPECT_GT(wholes, 0);
  }
}

TEST_F(PairRefill, ATakeoverInTheMiddleGoesOnWithWhatWasThereBefore) {
  int in_the_middle = 0;
  for (int step = 0; step < 400; step += 7) {
    SCOPED_TRACE(step);
    begin(2000 + static_cast<std::uint64_t>(step));
    io::TaskScope asked(bench->world);
    Node* node = bench->a.node;
    control::RestoreRequest request;
    request.group = kGroup;
    request.point = "one";
    std::function<io::Task<void>()> ask = [&, node]() -> io::Task<void> {
      (void)co_await node->restore(request);
    };
    asked.spawn(ask());
    for (int i = 0; i < step; ++i) bench->world.run_for(Duration::microseconds(20));
    asked.cancel_all();
    bench->a.power_cut();
    ASSERT_TRUE(bench->wait_for([&] { return !bench->status(bench->b).link_up; }));
    if (bench->b.group().refill_is_unfinished()) ++in_the_middle;
    ASSERT_TRUE(bench->take_over(bench->b).ok());
    const auto data = bench->read(bench->b, "data");
    ASSERT_TRUE(data.ok()) << data.error().message;
    EXPECT_TRUE(*data == one[0] || *data == head[0]);
    ASSERT_TRUE(bench->write(bench->b, "data", 41, 5).ok());
    bench->a.start();
    ASSERT_TRUE(bench->wait_for([&] { return bench->state(bench->a) == PairState::kSsws; }));
    const auto swapped = bench->swap(bench->a);
    ASSERT_TRUE(swapped.ok()) << swapped.error().message;
    ASSERT_TRUE(bench->wait_caught_up(bench->b, bench->a));
    bench->expect_same({"data", "wal"});
  }
  EXPECT_GT(in_the_middle, 0);
}

}  // namespace
}  // namespace tidemark::node
