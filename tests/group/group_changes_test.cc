// What is known to have changed while a peer was let go of.

#include "group_bench.h"

namespace tidemark::group {
namespace {

constexpr std::uint64_t kMibBlocks = (1 << 20) / kBlockSizeBytes;

class GroupChanges : public testing::Test {
 protected:
  void SetUp() override {
    volume = bench.make_volume("data", 16 * kMibBlocks);
    ASSERT_TRUE(bench.fill(volume.id, {0, 16}, 1).ok());
    ASSERT_TRUE(bench.flush().ok());
    early = bench.group->head();
    push_floor();
  }
  // More than the journal holds, over the first blocks.
  void push_floor() {
    for (std::uint8_t lap = 0; lap < 80; ++lap) {
      ASSERT_TRUE(bench.fill(volume.id, {0, 32}, lap).ok());
    }
    ASSERT_TRUE(bench.flush().ok());
  }
  std::vector<BlockRange> changed(LogId since) {
    const auto found = bench.run(bench.group->changed_blocks(volume.id, since, bench.group->head(), all));
    EXPECT_TRUE(found.ok()) << found.error().message;
    return found.ok() ? *found : std::vector<BlockRange>();
  }

  GroupBench bench{1};
  VolumeShape volume;
  LogId early{};
  const BlockRange all{0, 16 * kMibBlocks};
};

TEST_F(GroupChanges, AreKnownFromWhenTheyAreKeptAndNotBefore) {
  ASSERT_NE(bench.group->local().floor, early);
  const LogId let_go = bench.group->head();
  EXPECT_EQ(changed(let_go), std::vector<BlockRange>{all}) << "nothing was kept yet";
  bench.group->keep_changes();
  ASSERT_TRUE(bench.fill(volume.id, {5 * kMibBlocks, 5 * kMibBlocks + 1}, 7).ok());
  push_floor();
  const std::vector<BlockRange> expected{{0, kMibBlocks}, {5 * kMibBlocks, 6 * kMibBlocks}};
  EXPECT_EQ(changed(let_go), expected);
  EXPECT_EQ(changed(early), std::vector<BlockRange>{all}) << "what came before is not in it";
  bench.restart();
  EXPECT_EQ(changed(let_go), expected);
  bench.group->forget_changes();
  EXPECT_EQ(changed(let_go), std::vector<BlockRange>{all});
}

TEST_F(GroupChanges, OfTheJournalAreByTheBlock) {
  const LogId let_go = bench.group->head();
  bench.group->keep_changes();
  ASSERT_TRUE(bench.fill(volume.id, {9 * kMibBlocks, 9 * kMibBlocks + 2}, 7).ok());
  ASSERT_TRUE(bench.flush().ok());
  EXPECT_EQ(changed(let_go).back(), (BlockRange{9 * kMibBlocks, 9 * kMibBlocks + 2}));
}

}  // namespace
}  // namespace tidemark::group
