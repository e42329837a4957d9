// A first copy that is cut off goes on where it was, whoever stopped.

#include "pair_bench.h"

namespace tidemark::node {
namespace {

using control::PairState;

constexpr std::uint64_t kVolumeBytes = kVolumeBlocks * kBlockSizeBytes;

class PairCopy : public testing::Test {
 protected:
  // Four volumes, one sent every ten seconds; two of them have been.
  void begin(PairBench& bench) {
    bench.make_group(bench.a, {"v1", "v2", "v3", "v4"});
    for (const char* volume : {"v1", "v2", "v3", "v4"}) {
      for (std::uint32_t block = 0; block < kVolumeBlocks; ++block) {
        ASSERT_TRUE(bench.write(bench.a, volume, block, block + 1).ok());
      }
    }
    control::PairCreateRequest create;
    create.group = kGroup;
    create.peer_address = bench.b.address();
    create.copy_rate_bytes = kVolumeBytes / 10;
    ASSERT_TRUE(bench.run(bench.a.node->pair_create(create)).ok());
    bench.world.run_for(Duration::seconds(15));
    ASSERT_EQ(bench.state(bench.a), PairState::kCopy);
    ASSERT_EQ(bench.status(bench.a).copy_done_bytes, 2 * kVolumeBytes);
  }
  void expect_complete(PairBench& bench, Duration limit) {
    ASSERT_TRUE(bench.wait_for([&] { return bench.state(bench.a) == PairState::kPair; }, limit))
        << bench.status(bench.a).copy_done_bytes;
    ASSERT_TRUE(bench.wait_caught_up());
    bench.expect_same({"v1", "v2", "v3", "v4"});
  }
};

TEST_F(PairCopy, GoesOnAfterALinkThatBreaks) {
  PairBench bench(91);
  ASSERT_NO_FATAL_FAILURE(begin(bench));
  bench.world.network().cut();
  bench.world.run_for(Duration::seconds(20));
  // What is copied already changes meanwhile, and what is not.
  ASSERT_TRUE(bench.write(bench.a, "v1", 7, 777).ok());
  ASSERT_TRUE(bench.discard(bench.a, "v4", 5, 3).ok());
  bench.world.network().heal();
  ASSERT_TRUE(bench.wait_for([&] { return bench.status(bench.a).link_up; }));
  EXPECT_GE(bench.status(bench.a).copy_done_bytes, 2 * kVolumeBytes);
  ASSERT_NO_FATAL_FAILURE(expect_complete(bench, Duration::seconds(15)));
}

TEST_F(PairCopy, GoesOnAfterARestartOfThePrimary) {
  PairBench bench(92);
  ASSERT_NO_FATAL_FAILURE(begin(bench));
  bench.a.power_cut();
  bench.world.run_for(Duration::seconds(1));
  ASSERT_NO_FATAL_FAILURE(bench.a.start());
  ASSERT_TRUE(bench.write(bench.a, "v2", 7, 777).ok());
  ASSERT_TRUE(bench.wait_for([&] { return bench.status(bench.a).link_up; }));
  EXPECT_GE(bench.status(bench.a).copy_done_bytes, 2 * kVolumeBytes);
  ASSERT_NO_FATAL_FAILURE(expect_complete(bench, Duration::seconds(15)));
}

TEST_F(PairCopy, GoesOnAfterAnOrderlyRestartOfTheSecondary) {
  PairBench bench(93);
  ASSERT_NO_FATAL_FAILURE(begin(bench));
  bench.b.stop();
  ASSERT_NO_FATAL_FAILURE(bench.b.start());
  ASSERT_TRUE(bench.wait_for([&] { return bench.status(bench.a).link_up; }));
  EXPECT_GE(bench.status(bench.a).copy_done_bytes, 2 * kVolumeBytes);
  ASSERT_NO_FATAL_FAILURE(expect_complete(bench, Duration::seconds(15)));
}

// What was not made durable is copied again.
TEST_F(PairCopy, APowerCutOfTheSecondaryCostsWhatWasNotDurable) {
  PairBench bench(94);
  ASSERT_NO_FATAL_FAILURE(begin(bench));
  bench.b.power_cut();
  ASSERT_TRUE(bench.write(bench.a, "v1", 8, 888).ok());
  bench.world.run_for(Duration::seconds(1));
  ASSERT_NO_FATAL_FAILURE(bench.b.start());
  ASSERT_TRUE(bench.wait_for([&] { return bench.status(bench.a).link_up; }));
  ASSERT_NO_FATAL_FAILURE(expect_complete(bench, Duration::seconds(45)));
}

// Volumes come, go and grow while it is cut off.
TEST_F(PairCopy, GoesOnWithTheVolumesThatThereAre) {
  PairBench bench(95);
  ASSERT_NO_FATAL_FAILURE(begin(bench));
  bench.world.network().cut();
  bench.world.run_for(Duration::seconds(20));
  control::VolumeDeleteRequest gone;
  gone.group = kGroup;
  gone.volume = "v3";
  ASSERT_TRUE(bench.run(bench.a.node->volume_delete(gone)).ok());
  control::VolumeCreateRequest made;
  made.group = kGroup;
  made.volume = "v5";
  made.size_bytes = kVolumeBytes;
  ASSERT_TRUE(bench.run(bench.a.node->volume_create(made)).ok());
  ASSERT_TRUE(bench.write(bench.a, "v5", 1, 55).ok());
  bench.world.network().heal();
  ASSERT_TRUE(
      bench.wait_for([&] { return bench.state(bench.a) == PairState::kPair; }, Duration::seconds(60)));
  ASSERT_TRUE(bench.wait_caught_up());
  bench.expect_same({"v1", "v2", "v4", "v5"});
}

// A volume of zeroes that were written, so that a copy must read them.
void make_zeroes(PairBench* bench) {
  control::VolumeCreateRequest made;
  made.group = kGroup;
  made.volume = "zeroes";
  made.size_bytes = 24 << 20;
  ASSERT_TRUE(bench->run(bench->a.node->volume_create(made)).ok());
  auto target = bench->run(bench->a.node->open("app/zeroes", "host"));
  ASSERT_TRUE(target.ok());
  for (std::uint64_t at = 0; at < made.size_bytes; at += kZeroesBytesMax)
    ASSERT_TRUE(bench->run((*target)->write(at, zeroes(kZeroesBytesMax), false)).ok());
}

// Longer than a silent link is taken for lost.
TEST_F(PairCopy, ALongRunOfZeroesAtASlowPaceIsSilentAndNotLost) {
  PairBench bench(96);
  bench.make_group(bench.a, {"data"});
  ASSERT_NO_FATAL_FAILURE(make_zeroes(&bench));
  control::PairCreateRequest create;
  create.group = kGroup;
  create.peer_address = bench.b.address();
  create.copy_rate_bytes = 5 << 18;  // a MiB in less than a second
  ASSERT_TRUE(bench.run(bench.a.node->pair_create(create)).ok());
  const auto since = bench.status(bench.a).link_since;
  ASSERT_TRUE(
      bench.wait_for([&] { return bench.state(bench.a) == PairState::kPair; }, Duration::seconds(40)));
  EXPECT_EQ(bench.status(bench.a).link_since, since);
}

// As fast as the disk gives them, which takes longer than a silent link is taken for lost. The hosts' entries
// go over meanwhile.
TEST_F(PairCopy, ALongRunOfZeroesOnASlowDiskHoldsUpNothing) {
  PairBench bench(97);
  bench.make_group(bench.a, {"data"});
  ASSERT_NO_FATAL_FAILURE(make_zeroes(&bench));
  control::PairCreateRequest create;
  create.group = kGroup;
  create.peer_address = bench.b.address();
  ASSERT_TRUE(bench.run(bench.a.node->pair_create(create)).ok());
  const auto since = bench.status(bench.a).link_since;
  bench.a.disk.slow_down(Duration::milliseconds(900));
  ASSERT_TRUE(bench.write(bench.a, "data", 3, 33).ok());
  const LogId written = bench.a.group().head();
  ASSERT_TRUE(bench.wait_for([&] { return bench.b.group().head() >= written; }, Duration::seconds(6)));
  EXPECT_EQ(bench.state(bench.a), PairState::kCopy) << "it still reads zeroes";
  ASSERT_TRUE(
      bench.wait_for([&] { return bench.state(bench.a) == PairState::kPair; }, Duration::seconds(60)));
  EXPECT_EQ(bench.status(bench.a).link_since, since);
}

}  // namespace
}  // namespace tidemark::node
