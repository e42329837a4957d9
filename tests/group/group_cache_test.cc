// What is read of a volume stays in memory, whatever happens to it.

#include "group_bench.h"

namespace tidemark::group {
namespace {

class GroupCache : public testing::Test {
 protected:
  static BenchOptions options() {
    BenchOptions options;
    options.recent_bytes = 0;  // else what was just written is in memory anyway
    return options;
  }
  // Blocks [0, 64), which are this byte all over.
  void read(int byte, bool from_memory) {
    const AccessCounters before = bench.group->volume_status(shape).counters;
    EXPECT_EQ(bench.live(shape.id, kBlocks), all(kBlocks, byte));
    const AccessCounters after = bench.group->volume_status(shape).counters;
    EXPECT_EQ(after.read_hits - before.read_hits, from_memory ? 1u : 0u);
  }
  void write(std::uint8_t byte, std::uint64_t at_once) {
    for (std::uint64_t at = 0; at < kBlocks; at += at_once) {
      ASSERT_TRUE(bench.fill(shape.id, {at, at + at_once}, byte).ok());
    }
    ASSERT_TRUE(bench.flush().ok());
  }

  static constexpr std::uint64_t kBlocks = 64;
  GroupBench bench{5, options()};
  VolumeShape shape = bench.make_volume("db", kBlocks);
};

TEST_F(GroupCache, WhatIsReadStaysInMemoryWhenItIsWrittenAndDestaged) {
  write(1, 4);
  read(1, false);
  read(1, true);
  ASSERT_NO_FATAL_FAILURE(bench.destage_all());
  read(1, true);
  for (std::uint8_t byte = 2; byte < 5; ++byte) {
    write(byte, 4);
    read(byte, true);
    ASSERT_NO_FATAL_FAILURE(bench.destage_all());
    read(byte, true);
  }
  bench.close();
}

TEST_F(GroupCache, ALargeWriteIsReadFromTheDiskOnce) {
  write(1, 4);
  read(1, false);
  write(2, 64);
  read(2, false);
  read(2, true);
  bench.close();
}

// A block in several versions, all of them cached.
TEST_F(GroupCache, AViewKeepsItsVersionBesideThoseOfTheLiveVolume) {
  write(1, 1);
  ASSERT_TRUE(bench.mark("settled").ok());
  EXPECT_EQ(bench.at("db", "settled"), all(kBlocks, 1));
  write(2, 1);
  read(2, true);  // the write has replaced what the view had read
  EXPECT_EQ(bench.at("db", "settled"), all(kBlocks, 1));
  write(3, 1);
  read(3, true);
  EXPECT_EQ(bench.at("db", "settled"), all(kBlocks, 1));
  ASSERT_TRUE(bench.restore("settled").ok());
  read(1, true);
  write(4, 1);
  read(4, true);
  bench.close();
}

TEST_F(GroupCache, AGroupThatIsOpenedAgainFindsNothingOfWhatItWasBefore) {
  write(1, 4);
  read(1, false);
  ASSERT_TRUE(bench.run(bench.group->close()).ok());
  ASSERT_TRUE(bench.try_open_group().ok());
  read(1, false);
  read(1, true);
  bench.close();
}

}  // namespace
}  // namespace tidemark::group
