// One node alone.

#include <algorithm>

#include "pair_bench.h"

namespace tidemark::node {
namespace {

std::vector<control::Problem> problems_of(PairBench& bench) {
  const auto status = bench.run(bench.a.node->node_status(control::NodeStatusRequest{}));
  EXPECT_TRUE(status.ok());
  return status.ok() ? status->problems : std::vector<control::Problem>();
}

TEST(Node, AWallClockThatJumpsIsToldAndExpiresNothing) {
  PairBench bench(41);
  bench.make_group(bench.a, {"data"});
  ASSERT_TRUE(bench.write(bench.a, "data", 1, 11).ok());
  ASSERT_TRUE(bench.mark(bench.a, "before").ok());
  bench.world.run_for(Duration::seconds(3));
  EXPECT_TRUE(problems_of(bench).empty());
  bench.world.jump_wall_clock(Duration::seconds(48 * 3600));
  bench.world.run_for(Duration::seconds(3));
  auto problems = problems_of(bench);
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_NE(problems[0].text.find("forward by 2d"), std::string::npos) << problems[0].text;
  // The retention of a day is measured on another clock, also when there is a reason to raise the floor.
  ASSERT_TRUE(bench.run(bench.a.group().destage_now(false)).ok());
  EXPECT_EQ(bench.read(bench.a, "data", "before")->at(1), 11u);
  bench.world.jump_wall_clock(Duration::seconds(-90));
  bench.world.run_for(Duration::seconds(3));
  problems = problems_of(bench);
  ASSERT_EQ(problems.size(), 1u) << "the latest alone";
  EXPECT_NE(problems[0].text.find("back by 90s"), std::string::npos) << problems[0].text;
  bench.world.run_for(Duration::seconds(25 * 3600));
  EXPECT_TRUE(problems_of(bench).empty()) << "no news any more";
}

TEST(Node, ADamagedLabelThatWasMadeGoodIsToldUntilTheNextStart) {
  PairBench bench(44);
  EXPECT_TRUE(problems_of(bench).empty());
  bench.a.power_cut();
  bench.a.disk.flip_bit(100, 3);
  ASSERT_NO_FATAL_FAILURE(bench.a.start());
  const auto problems = problems_of(bench);
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_NE(problems[0].text.find("copy 0 of the disk's label"), std::string::npos) << problems[0].text;
  bool logged = false;
  for (const std::string& line : bench.a.log)
    logged |= line.find(" disk-damage notice=") != std::string::npos;
  EXPECT_TRUE(logged);
  bench.a.power_cut();
  ASSERT_NO_FATAL_FAILURE(bench.a.start());
  EXPECT_TRUE(problems_of(bench).empty());
}

TEST(Node, ADeletionThatNeedsForceSaysEverythingThatForceWillDo) {
  PairBench bench(45);
  bench.make_group(bench.a, {"data"});
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  auto writer = bench.run(bench.a.node->open("app/data", "host7"));
  ASSERT_TRUE(writer.ok());
  control::GroupDeleteRequest request;
  request.group = kGroup;
  auto refused = bench.run(bench.a.node->group_delete(request));
  ASSERT_EQ(refused.error().code, ErrorCode::kRefused);
  for (const char* word : {"host7 on app/data", "a pair with osaka in state PAIR", "1 volume;",
                           "--force disconnects", "dissolves the pair", "osaka keeps its copy"}) {
    EXPECT_NE(refused.error().message.find(word), std::string::npos)
        << word << ": " << refused.error().message;
  }
  writer = fail(ErrorCode::kClosed, "");
  request.force = true;
  ASSERT_TRUE(bench.run(bench.a.node->group_delete(request)).ok());
  EXPECT_FALSE(bench.a.has_group());
  // The peer goes on by itself.
  ASSERT_TRUE(bench.wait_for([&] { return bench.b.group().local().pair.empty(); }));
  EXPECT_TRUE(bench.write(bench.b, "data", 1, 1).ok());
}

TEST(Node, AJournalExportKeepsItsPointsWhileItIsReadAndEndsWhenNobodyAsks) {
  PairBench bench(48);
  bench.make_group(bench.a, {"data"});
  ASSERT_TRUE(bench.mark(bench.a, "a").ok());
  ASSERT_TRUE(bench.write(bench.a, "data", 1, 7).ok());
  ASSERT_TRUE(bench.mark(bench.a, "b").ok());
  control::JournalExportBeginRequest begin;
  begin.group = kGroup;
  begin.from = "a";
  begin.to = "b";
  const auto info = bench.run(bench.a.node->journal_export_begin(begin));
  ASSERT_TRUE(info.ok()) << info.error().message;
  EXPECT_EQ(info->entries, 2u);
  ASSERT_EQ(info->volumes.size(), 1u);
  EXPECT_EQ(info->volumes[0].volume, "data");
  control::JournalExportReadRequest read;
  read.group = kGroup;
  read.id = info->id;
  const auto pinned = [&] {
    const auto pins = bench.a.group().pins();
    return std::any_of(pins.begin(), pins.end(),
                       [](const auto& pin) { return std::string(pin.kind) == "view"; });
  };
  for (int i = 0; i < 3; ++i) {
    bench.world.run_for(Duration::seconds(info->lease_seconds - 1));
    const auto page = bench.run(bench.a.node->journal_export_read(read));
    ASSERT_TRUE(page.ok()) << page.error().message;
    ASSERT_EQ(page->entries.size(), 2u);
    EXPECT_EQ(page->entries[1].entry.mark_id, "b");
    EXPECT_EQ(page->data.bytes.size(), kBlockSizeBytes) << "what was zeroes before needs no bytes";
    EXPECT_FALSE(page->next_after.has_value());
    EXPECT_EQ(page->entries_done, 2u);
    EXPECT_TRUE(pinned());
  }
  bench.world.run_for(Duration::seconds(info->lease_seconds + 1));
  EXPECT_FALSE(pinned());
  const auto gone = bench.run(bench.a.node->journal_export_read(read));
  ASSERT_FALSE(gone.ok());
  EXPECT_EQ(gone.error().code, ErrorCode::kNotFound);
  EXPECT_NE(gone.error().message.find("begin it anew"), std::string::npos) << gone.error().message;

  // One that is ended, and one whose group goes.
  const auto second = bench.run(bench.a.node->journal_export_begin(begin));
  ASSERT_TRUE(second.ok());
  control::JournalExportEndRequest end;
  end.group = kGroup;
  end.id = second->id;
  EXPECT_TRUE(bench.run(bench.a.node->journal_export_end(end)).ok());
  EXPECT_FALSE(pinned());
  ASSERT_TRUE(bench.run(bench.a.node->journal_export_begin(begin)).ok());
  control::GroupDeleteRequest remove;
  remove.group = kGroup;
  remove.force = true;
  EXPECT_TRUE(bench.run(bench.a.node->group_delete(remove)).ok());
}

TEST(Node, MarksThatARestoreLeavesStandInTheirOrder) {
  PairBench bench(46);
  bench.make_group(bench.a, {"data"});
  ASSERT_TRUE(bench.mark(bench.a, "start").ok());
  for (const char* id : {"z", "b", "m", "a"}) ASSERT_TRUE(bench.mark(bench.a, id).ok());
  const auto reply = bench.restore(bench.a, "start");
  ASSERT_TRUE(reply.ok()) << reply.error().message;
  EXPECT_EQ(reply->marks_left_ids, (std::vector<std::string>{"z", "b", "m", "a"}));
}

TEST(Node, WritesRefusedForSpaceAndTakenAgainAreLogged) {
  PairBench bench(47);
  bench.make_group(bench.a, {"data"});
  ASSERT_TRUE(bench.mark(bench.a, "held").ok());
  control::MarkHoldRequest hold;
  hold.group = kGroup;
  hold.id = "held";
  ASSERT_TRUE(bench.run(bench.a.node->mark_hold(hold)).ok());
  const auto lines = [&](const std::string& event) {
    int count = 0;
    for (const std::string& line : bench.a.log)
      count += line.find(" " + event + " group=app") != std::string::npos;
    return count;
  };
  auto target = bench.run(bench.a.node->open("app/data", "host"));
  ASSERT_TRUE(target.ok());
  int refused = 0;
  for (int i = 0; i < 300 && refused < 3; ++i) {
    Buffer data = Buffer::allocate(32 * kBlockSizeBytes);
    std::memset(data.data(), i, data.size());
    if (!bench.run((*target)->write(0, data, false)).ok()) ++refused;
  }
  ASSERT_EQ(refused, 3);
  EXPECT_EQ(lines("writes-refused"), 1) << "once, however many are refused";
  EXPECT_EQ(lines("writes-accepted"), 0);
  control::MarkReleaseRequest release;
  release.group = kGroup;
  release.id = "held";
  ASSERT_TRUE(bench.run(bench.a.node->mark_release(release)).ok());
  ASSERT_TRUE(bench.run((*target)->write(0, block_of(1), false)).ok());
  EXPECT_EQ(lines("writes-accepted"), 1);
}

TEST(Node, AClockThatIsSetRightByALittleIsNoNews) {
  PairBench bench(42);
  bench.make_group(bench.a, {"data"});
  bench.world.jump_wall_clock(Duration::seconds(30));
  bench.world.run_for(Duration::seconds(3));
  EXPECT_TRUE(problems_of(bench).empty());
}

}  // namespace
}  // namespace tidemark::node
