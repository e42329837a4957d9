// A restore whose blocks come from the other node: what was there is kept and gone back to until all of it is
// here.

#include "group_bench.h"

namespace tidemark::group {
namespace {

constexpr std::uint64_t kBlocks = 16;

class GroupRefill : public testing::Test {
 protected:
  GroupRefill() {
    BenchOptions options;
    options.settings.retain = Duration{};
    bench = std::make_unique<GroupBench>(4, options);
    volume = bench->make_volume("db", kBlocks).id;
    EXPECT_TRUE(bench->fill(volume, {0, kBlocks}, 1).ok());
    EXPECT_TRUE(bench->flush().ok());
    before = bench->group->head();
    const auto begun = bench->run(bench->group->begin_refill());
    EXPECT_TRUE(begun.ok());
    EXPECT_TRUE(bench->fill(volume, {0, kBlocks / 2}, 2).ok());
    EXPECT_TRUE(bench->flush().ok());
    inside = bench->group->head();
  }
  ErrorCode readable(LogId point) {
    const auto checked = bench->group->check_readable(point);
    return checked.ok() ? ErrorCode::kShutdown : checked.error().code;
  }

  std::unique_ptr<GroupBench> bench;
  VolumeId volume{};
  LogId before, inside;
};

TEST_F(GroupRefill, NoPointInsideIsReadable) {
  EXPECT_TRUE(bench->group->refill_is_unfinished());
  EXPECT_EQ(bench->group->takeover_point(), before);
  EXPECT_EQ(readable(inside), ErrorCode::kInGap);
  EXPECT_EQ(readable(before), ErrorCode::kShutdown);
  EXPECT_EQ(bench->view_error("db", "log:" + inside.to_string()), ErrorCode::kInGap);
  ASSERT_TRUE(bench->fill(volume, {kBlocks / 2, kBlocks}, 2).ok());
  ASSERT_TRUE(bench->run(bench->group->finish_refill(inside.epoch(), before)).ok());
  EXPECT_FALSE(bench->group->refill_is_unfinished());
  EXPECT_EQ(readable(inside), ErrorCode::kInGap) << "half of it is not what was asked for";
  EXPECT_EQ(readable(bench->group->head()), ErrorCode::kShutdown);
  EXPECT_EQ(bench->at("db", "head"), std::vector<int>(kBlocks, 2));
}

TEST_F(GroupRefill, TheFloorDoesNotPassWhatWouldBeGoneBackTo) {
  // Nothing is to be retained, and space is short.
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(bench->run(bench->group->destage_now(true)).ok());
  EXPECT_TRUE(bench->group->state().epochs().is_ancestor(bench->group->local().floor, before));
  EXPECT_EQ(readable(before), ErrorCode::kShutdown);
  bench->power_cut();
  ASSERT_NO_FATAL_FAILURE(bench->start_again());
  EXPECT_FALSE(bench->group->refill_is_unfinished()) << "a start goes back";
  EXPECT_EQ(bench->live(volume, kBlocks), std::vector<int>(kBlocks, 1));
  // Once it is over, the floor goes on.
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(bench->run(bench->group->destage_now(true)).ok());
  EXPECT_EQ(bench->live(volume, kBlocks), std::vector<int>(kBlocks, 1));
}

// Found by the simulator: nothing of it could be given up then, and the group was of no use to anybody.
TEST_F(GroupRefill, AJournalThatItHasFilledIsGoneBackFrom) {
  for (const bool by_a_start : {false, true}) {
    SCOPED_TRACE(by_a_start);
    ASSERT_TRUE(bench->group->refill_is_unfinished() || by_a_start);
    if (by_a_start) {
      const auto begun = bench->run(bench->group->begin_refill());
      ASSERT_TRUE(begun.ok()) << begun.error().message;
    }
    Result<void> written;
    for (int i = 0; written.ok(); ++i)
      written = bench->fill(volume, {0, kBlocks}, static_cast<std::uint8_t>(2 + i % 200));
    ASSERT_EQ(written.error().code, ErrorCode::kNoSpace) << written.error().message;
    // And what else may be said meanwhile, up to what is kept back for letting go.
    Result<void> marked;
    for (int i = 0; marked.ok(); ++i) {
      const auto made = bench->mark((by_a_start ? "s" : "m") + std::to_string(i));
      if (!made.ok()) marked = made.error();
    }
    ASSERT_EQ(marked.error().code, ErrorCode::kNoSpace) << marked.error().message;
    if (by_a_start) {
      bench->power_cut();
      ASSERT_NO_FATAL_FAILURE(bench->start_again());
    } else {
      const auto undone = bench->run(bench->group->undo_refill());
      ASSERT_TRUE(undone.ok()) << undone.error().message;
    }
    EXPECT_FALSE(bench->group->refill_is_unfinished());
    EXPECT_EQ(bench->live(volume, kBlocks), std::vector<int>(kBlocks, 1));
    // All of it goes, and there is room again.
    for (int i = 0; i < 4; ++i) ASSERT_TRUE(bench->run(bench->group->destage_now(true)).ok());
    ASSERT_TRUE(bench->fill(volume, {0, kBlocks}, 1).ok());
  }
}

}  // namespace
}  // namespace tidemark::group
