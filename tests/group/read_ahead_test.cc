// Hosts that read from one block to the next find in memory what they ask for.

#include "group/read_ahead.h"

#include "group_bench.h"
#include "rounds.h"

namespace tidemark::group {
namespace {

constexpr std::uint64_t kEnd = 100'000;
constexpr std::uint64_t kCache = 1 << 20;  // in blocks

class ReadAheadTest : public testing::Test {
 protected:
  BlockRange miss(std::uint64_t begin, std::uint64_t count = 4) {
    return ahead.note({begin, begin + count}, false, kEnd, kCache);
  }
  BlockRange hit(std::uint64_t begin, std::uint64_t count = 4) {
    return ahead.note({begin, begin + count}, true, kEnd, kCache);
  }

  sim::World world{1};
  ReadAhead ahead{world};
};

TEST_F(ReadAheadTest, BeginsWithTheSecondReadInOrderAndGrows) {
  EXPECT_TRUE(miss(100).empty());
  BlockRange next = miss(104);
  EXPECT_EQ(next, (BlockRange{108, 124}));
  EXPECT_TRUE(ahead.is_being_brought({123, 130}));
  EXPECT_FALSE(ahead.is_being_brought({124, 130}));
  ahead.ended(next, false);
  EXPECT_FALSE(ahead.is_being_brought({123, 130}));
  std::uint64_t brought = next.end;
  for (std::uint64_t at = 108; at < 5000; at += 4) {
    next = hit(at);
    if (next.empty()) continue;
    EXPECT_EQ(next.begin, brought) << "nothing is brought twice, nothing left out";
    EXPECT_LE(next.end, at + 4 + ReadAhead::kBlocksMax);
    EXPECT_GT(next.begin, at + 3);
    brought = next.end;
    ahead.ended(next, false);
  }
  EXPECT_GT(brought, 5000 + ReadAhead::kBlocksMax / 2);
}

TEST_F(ReadAheadTest, SaysNothingOfReadsHereAndThere) {
  for (std::uint64_t i = 0; i < 1000; ++i) EXPECT_TRUE(miss(i * 7919 % kEnd).empty());
}

TEST_F(ReadAheadTest, LeavesAloneWhatIsInMemory) {
  for (std::uint64_t at = 0; at < 1000; at += 4) EXPECT_TRUE(hit(at).empty());
  // One read that is not begins it, what was there all along ends it.
  const BlockRange next = miss(1000);
  ASSERT_FALSE(next.empty());
  ahead.ended(next, true);
  for (std::uint64_t at = 1004; at < 3000; at += 4) EXPECT_TRUE(hit(at).empty());
}

TEST_F(ReadAheadTest, FollowsSeveralHostsAtOnce) {
  std::uint64_t asked = 0;
  for (std::uint64_t at = 0; at < 100; at += 4) {
    for (const std::uint64_t host : {0, 10'000, 20'000, 30'000}) {
      const BlockRange next = miss(host + at);
      if (next.empty()) continue;
      EXPECT_GE(next.begin, host + at);
      EXPECT_LT(next.end, host + 10'000);
      asked += next.count();
      ahead.ended(next, false);
    }
  }
  EXPECT_GE(asked, 4 * 96u);
}

TEST_F(ReadAheadTest, StopsAtTheEndAndKeepsToAPartOfTheCache) {
  (void)miss(kEnd - 40);
  EXPECT_EQ(miss(kEnd - 36), (BlockRange{kEnd - 32, kEnd - 16}));
  (void)miss(0, 1000);
  const BlockRange next = ahead.note({1000, 2000}, false, kEnd, 128 * 20);
  EXPECT_EQ(next, (BlockRange{2000, 2020}));
  EXPECT_TRUE(ahead.note({2000, 3000}, false, kEnd, 0).empty());
}

// From the base, and from the journal on disk.
TEST(GroupReadAhead, AHostThatReadsInOrderMissesOnceInAWhile) {
  for (const bool from_base : {true, false}) {
    SCOPED_TRACE(from_base);
    BenchOptions options;
    options.settings.retain = from_base ? Duration{} : Duration::seconds(3600);
    options.recent_bytes = 0;
    options.cache_bytes = 32 << 20;
    options.journal_bytes = 16 << 20;
    GroupBench bench(5, options);
    constexpr std::uint64_t kBlocks = 2048;
    const VolumeShape shape = bench.make_volume("db", kBlocks);
    const VolumeId volume = shape.id;
    for (std::uint64_t at = 0; at < kBlocks; at += 16) {
      ASSERT_TRUE(bench.fill(volume, {at, at + 16}, static_cast<std::uint8_t>(at / 16)).ok());
    }
    ASSERT_TRUE(bench.flush().ok());
    if (from_base) {
      for (int i = 0; i < 20; ++i) ASSERT_TRUE(bench.run(bench.group->destage_now(true)).ok());
    }
    ASSERT_NO_FATAL_FAILURE(bench.restart());
    const auto read = [&](std::uint64_t block) {
      Buffer out = Buffer::allocate(kBlockSizeBytes);
      const auto done = bench.run(
          bench.group->data().read(volume, bench.group->live_path(), block * kBlockSizeBytes, out, true));
      EXPECT_TRUE(done.ok()) << done.error().message;
      EXPECT_EQ(static_cast<int>(out.data()[0]), static_cast<int>(block / 16 % 256)) << block;
      // What a host does between two reads.
      bench.world.run_for(Duration::microseconds(200));
    };
    for (std::uint64_t block = 0; block < kBlocks; ++block) read(block);
    const AccessCounters counters = bench.group->volume_status(shape).counters;
    EXPECT_EQ(counters.read_hits + counters.read_misses, kBlocks);
    EXPECT_LT(counters.read_misses, kBlocks / 20);
    bench.close();
  }
}

// In pieces of which each reaches into what is being brought for it.
io::Task<void> read_in_order(io::Scheduler* scheduler, View* view, std::uint64_t blocks, bool* ends) {
  constexpr std::uint64_t kAtOnce = 24;
  for (std::uint64_t block = 0;; block = (block + kAtOnce) % (blocks - kAtOnce)) {
    Buffer out = Buffer::allocate(kAtOnce * kBlockSizeBytes);
    const auto read = co_await view->read(block * kBlockSizeBytes, out);
    if (!read.ok()) break;
    co_await scheduler->sleep_for(Duration::microseconds(10));
  }
  *ends = true;
}

// What its host asks for next is read on the path to a point that is given up just then: it must not bring
// back into the cache what the base held before.
TEST(GroupReadAhead, AViewThatYieldsLeavesNothingOldInTheCache) {
  constexpr std::uint64_t kBlocks = 1024;
  constexpr std::uint64_t kOthers = 800;
  for (std::uint64_t seed = 1; seed <= rounds(30, 6); ++seed) {
    SCOPED_TRACE(seed);
    BenchOptions options;
    options.recent_bytes = 8 << 20;  // what is destaged need not be read first
    options.cache_bytes = 16 << 20;
    GroupBench bench(seed, options);
    const VolumeId volume = bench.make_volume("db", kBlocks).id;
    std::vector<int> expected(kBlocks, 0);
    std::uint8_t byte = 0;
    const auto write_next = [&](std::uint64_t begin, std::uint64_t count) {
      byte = static_cast<std::uint8_t>(byte % 250 + 1);
      const auto written = bench.fill(volume, {begin, begin + count}, byte);
      ASSERT_TRUE(written.ok()) << written.error().message;
      std::fill_n(expected.begin() + static_cast<std::ptrdiff_t>(begin), count, byte);
    };
    const auto destage = [&] {
      ASSERT_TRUE(bench.flush().ok());
      for (int i = 0; i < 8; ++i) ASSERT_TRUE(bench.run(bench.group->destage_now(true)).ok());
    };
    for (int cycle = 0; cycle < 4; ++cycle) {
      for (std::uint64_t at = 0; at < kBlocks; at += 64) ASSERT_NO_FATAL_FAILURE(write_next(at, 64));
      ASSERT_NO_FATAL_FAILURE(destage());
      auto view = bench.run(bench.group->open_view("db", "head"));
      ASSERT_TRUE(view.ok()) << view.error().message;
      // What is destaged first lies where the reader will be by then, and is not written again; the journal
      // is as good as full of other blocks.
      for (std::uint64_t at = 256; at < 512; at += 64) ASSERT_NO_FATAL_FAILURE(write_next(at, 64));
      std::uint64_t at = 0;
      while (bench.group->journal().status().segments_free > 5) {
        ASSERT_NO_FATAL_FAILURE(write_next(kOthers + at, 16));
        at = (at + 16) % 128;
      }
      {
        io::TaskScope reading(bench.world);
        bool ended = false;
        reading.spawn(read_in_order(&bench.world, view->get(), kBlocks, &ended));
        for (int i = 0; i < 2000 && !ended; ++i) {
          ASSERT_NO_FATAL_FAILURE(write_next(kOthers + at, 4));
          at = (at + 4) % 128;
        }
        EXPECT_TRUE(ended) << "the view does not yield";
      }
      bench.run((*view)->close());
      ASSERT_NO_FATAL_FAILURE(destage());
      ASSERT_EQ(bench.live(volume, kBlocks), expected) << "cycle " << cycle;
    }
  }
}

}  // namespace
}  // namespace tidemark::group
