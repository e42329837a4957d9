// One behaviour of a group at a time.

#include <algorithm>

#include "group_bench.h"

namespace tidemark::group {
namespace {

TEST(Group, ANewGroupHasItsFirstEpochAndNoVolumes) {
  GroupBench bench(1);
  EXPECT_EQ(bench.group->name(), "orders");
  EXPECT_EQ(bench.group->head(), LogId(Epoch{1}, 1));
  EXPECT_EQ(bench.group->live_epoch(), Epoch{1});
  EXPECT_EQ(bench.group->local().floor, LogId(Epoch{1}, 0));
  EXPECT_TRUE(bench.group->volumes().empty());
  EXPECT_TRUE(bench.group->check_accepting().ok());
  bench.restart();
  EXPECT_EQ(bench.group->name(), "orders");
  EXPECT_EQ(bench.group->head(), LogId(Epoch{1}, 1));
}

TEST(Group, WritesAreReadAtOnceAndAfterARestart) {
  GroupBench bench(2);
  const VolumeShape volume = bench.make_volume("data", 64);
  EXPECT_EQ(bench.live(volume.id, 64), all(64, 0));
  ASSERT_TRUE(bench.fill(volume.id, {3, 7}, 9).ok());
  std::vector<int> expected = all(64, 0);
  std::fill(expected.begin() + 3, expected.begin() + 7, 9);
  EXPECT_EQ(bench.live(volume.id, 64), expected);
  bench.restart();
  EXPECT_EQ(bench.live(volume.id, 64), expected);
}

TEST(Group, FlushedWritesSurviveAPowerCut) {
  GroupBench bench(3);
  const VolumeShape volume = bench.make_volume("data", 16);
  ASSERT_TRUE(bench.fill(volume.id, {0, 16}, 1).ok());
  ASSERT_TRUE(bench.flush().ok());
  const LogId flushed = bench.group->head();
  bench.power_cut();
  bench.start_again();
  EXPECT_EQ(bench.group->head(), flushed);
  EXPECT_EQ(bench.live(volume.id, 16), all(16, 1));
  Buffer data = Buffer::allocate(kBlockSizeBytes);
  std::memset(data.data(), 2, data.size());
  ASSERT_TRUE(bench.write(volume.id, 0, data, true).ok()) << "with FUA";
  bench.power_cut();
  bench.start_again();
  EXPECT_EQ(bench.live(volume.id, 1), all(1, 2));
}

// ---- Points ----

TEST(GroupPoints, EveryFormIsUnderstood) {
  GroupBench bench(4);
  const VolumeShape volume = bench.make_volume("data", 4);
  ASSERT_TRUE(bench.fill(volume.id, {0, 4}, 1).ok());
  const auto mark = bench.mark("before-upgrade");
  ASSERT_TRUE(mark.ok());
  ASSERT_TRUE(bench.fill(volume.id, {0, 4}, 2).ok());
  ASSERT_TRUE(bench.flush().ok());
  EXPECT_EQ(bench.at("data", "before-upgrade"), all(4, 1));
  EXPECT_EQ(bench.at("data", "log:" + mark->at.to_string()), all(4, 1));
  EXPECT_EQ(bench.at("data", "time:" + format_time(mark->timer)), all(4, 1));
  EXPECT_EQ(bench.at("data", "head"), all(4, 2));
  EXPECT_EQ(bench.at("data", "log:1.2"), all(4, 0));
  EXPECT_EQ(bench.view_error("data", "floor"), ErrorCode::kNotFound) << "the volume was not there yet";
  EXPECT_EQ(bench.view_error("data", "log:1.1"), ErrorCode::kNotFound);
}

TEST(GroupPoints, WhatCannotBeHadIsAnErrorThatSaysWhichAndNamesWhatCan) {
  GroupBench bench(5);
  bench.make_volume("data", 4);
  ASSERT_TRUE(bench.mark("last-one").ok());
  std::string message;
  EXPECT_EQ(bench.view_error("data", "never-made", &message), ErrorCode::kNotFound);
  EXPECT_NE(message.find("never-made"), std::string::npos) << message;
  EXPECT_NE(message.find("last-one"), std::string::npos) << "names the last mark: " << message;
  EXPECT_NE(message.find("1.3"), std::string::npos) << "names the head: " << message;
  EXPECT_EQ(bench.view_error("data", "log:1.99"), ErrorCode::kNotReceived);
  EXPECT_EQ(bench.view_error("data", "log:7.1"), ErrorCode::kNotFound);
  EXPECT_EQ(bench.view_error("other", "head"), ErrorCode::kNotFound);
  for (const char* malformed : {"", "log:", "log:1", "log:1.", "log:.1", "log:1.x", "log:1.2.3", "log:-1.2",
                                "log:0.5", "log:16777216.1", "log:1.1099511627776", "log: 1.2",
                                "time:", "time:yesterday", "time:2026-13-01T00:00:00Z", "a/b", "-x", "a b"}) {
    EXPECT_EQ(bench.view_error("data", malformed), ErrorCode::kInvalid) << malformed;
  }
}

TEST(GroupPoints, TimeIsWhatAHostWouldHaveReadThenOnWhicheverBranchWasLive) {
  GroupBench bench(6);
  const VolumeShape volume = bench.make_volume("data", 1);
  std::vector<WallTime> times;
  for (int step = 1; step <= 6; ++step) {
    if (step == 4) {
      ASSERT_TRUE(bench.restore("log:1.3").ok());
    }
    ASSERT_TRUE(bench.fill(volume.id, {0, 1}, static_cast<std::uint8_t>(step)).ok());
    ASSERT_TRUE(bench.flush().ok());
    bench.world.run_for(Duration::seconds(10));
    times.push_back(bench.world.wall_now());
    bench.world.run_for(Duration::seconds(10));
  }
  for (int step = 1; step <= 6; ++step) {
    const std::string point = "time:" + format_time(times[static_cast<std::size_t>(step - 1)]);
    EXPECT_EQ(bench.at("data", point), all(1, step));
  }
  const std::string past = "time:" + format_time(times[0] - Duration::seconds(3600));
  EXPECT_EQ(bench.view_error("data", past), ErrorCode::kExpired);
  const std::string future = "time:" + format_time(bench.world.wall_now() + Duration::seconds(5));
  EXPECT_EQ(bench.view_error("data", future), ErrorCode::kNotReceived);
}

TEST(GroupPoints, APointThatIsNotDurableYetIsWaitedFor) {
  GroupBench bench(7);
  const VolumeShape volume = bench.make_volume("data", 1);
  ASSERT_TRUE(bench.fill(volume.id, {0, 1}, 1).ok());
  ASSERT_TRUE(bench.fill(volume.id, {0, 1}, 2).ok());
  EXPECT_FALSE(bench.group->journal().is_durable(bench.group->journal().last_ticket()));
  EXPECT_EQ(bench.at("data", "log:1.3"), all(1, 1));
}

// ---- Marks ----

TEST(GroupMarks, AnIdIsUsedOnce) {
  GroupBench bench(8);
  ASSERT_TRUE(bench.mark("m").ok());
  EXPECT_EQ(error_of(bench.mark("m")), ErrorCode::kExists);
  EXPECT_EQ(error_of(bench.run(bench.group->name_point({.id = "m"}, "head"))), ErrorCode::kExists);
  bench.restart();
  EXPECT_EQ(error_of(bench.mark("m")), ErrorCode::kExists);
  ASSERT_TRUE(bench.restore("log:1.1").ok());
  EXPECT_EQ(error_of(bench.mark("m")), ErrorCode::kExists) << "on a dead branch it is still used";
  ASSERT_TRUE(bench.run(bench.group->change_mark("m", format::MarkAction::kDelete)).ok());
  EXPECT_TRUE(bench.mark("m").ok()) << "until it is deleted";
}

TEST(GroupMarks, BadNamesAndNotesAreRefused) {
  GroupBench bench(9);
  for (const char* id : {"", "head", "floor", "a/b", ".x", "a b"}) {
    EXPECT_EQ(error_of(bench.mark(id)), ErrorCode::kInvalid) << id;
  }
  format::MarkRecord record{.id = "m", .note = std::string(format::kMarkNoteBytesMax + 1, 'n')};
  EXPECT_EQ(error_of(bench.run(bench.group->create_mark(record))), ErrorCode::kInvalid);
  record = {.id = "m", .host = std::string(format::kHostNameBytesMax + 1, 'h')};
  EXPECT_EQ(error_of(bench.run(bench.group->create_mark(record))), ErrorCode::kInvalid);
  EXPECT_EQ(error_of(bench.run(bench.group->name_point(record, "head"))), ErrorCode::kInvalid);
  record = {.id = "m", .note = std::string(format::kMarkNoteBytesMax + 1, 'n')};
  EXPECT_EQ(error_of(bench.run(bench.group->name_point(record, "head"))), ErrorCode::kInvalid);
}

TEST(GroupMarks, AMarkIsDurableAndKeepsEverythingItWasGiven) {
  GroupBench bench(10);
  const format::MarkRecord record{
      .id = "m", .host_time = WallTime{123}, .host = "db1", .note = "after the night run"};
  const auto made = bench.run(bench.group->create_mark(record));
  ASSERT_TRUE(made.ok());
  bench.power_cut();
  bench.start_again();
  const Mark* mark = bench.group->state().find_mark("m");
  ASSERT_NE(mark, nullptr);
  EXPECT_EQ(mark->at, made->at);
  EXPECT_EQ(mark->entry, made->at);
  EXPECT_EQ(mark->timer, made->timer);
  EXPECT_EQ(mark->host_time, WallTime{123});
  EXPECT_EQ(mark->host, "db1");
  EXPECT_EQ(mark->note, "after the night run");
  EXPECT_FALSE(mark->held);
}

TEST(GroupMarks, AnUnknownMarkCannotBeChanged) {
  GroupBench bench(11);
  EXPECT_EQ(error_of(bench.run(bench.group->change_mark("m", format::MarkAction::kHold))),
            ErrorCode::kNotFound);
}

// ---- Restore and branches ----

TEST(GroupRestore, TakesOneEntryAndIsUndoneByAnother) {
  GroupBench bench(12);
  const VolumeShape volume = bench.make_volume("data", 64);
  for (std::uint64_t i = 0; i < 20; ++i) {
    ASSERT_TRUE(bench.fill(volume.id, {i, i + 1}, 1).ok());
  }
  ASSERT_TRUE(bench.mark("good").ok());
  const std::vector<int> good = bench.live(volume.id, 64);
  ASSERT_TRUE(bench.fill(volume.id, {0, 64}, 2).ok());
  ASSERT_TRUE(bench.flush().ok());
  const LogId bad = bench.group->head();
  const std::uint64_t batches = bench.group->journal().status().batches;
  const std::uint64_t payload = bench.group->journal().status().payload_bytes;
  const auto restored = bench.restore("good");
  ASSERT_TRUE(restored.ok());
  EXPECT_EQ(bench.group->journal().status().batches, batches + 1);
  EXPECT_EQ(bench.group->journal().status().payload_bytes, payload) << "no data moved";
  EXPECT_EQ(bench.group->head(), restored->id);
  EXPECT_EQ(restored->id, LogId(Epoch{3}, 1)) << "one entry, in an epoch of its own";
  EXPECT_EQ(bench.live(volume.id, 64), good);
  EXPECT_EQ(bench.at("data", "log:" + bad.to_string()), all(64, 2)) << "the branch that was left is readable";
  ASSERT_TRUE(bench.restore("log:" + bad.to_string()).ok());
  EXPECT_EQ(bench.live(volume.id, 64), all(64, 2));
  bench.power_cut();
  bench.start_again();
  EXPECT_EQ(bench.live(volume.id, 64), all(64, 2));
  EXPECT_EQ(bench.at("data", "good"), good);
}

// It had found the volume before that shrank.
TEST(GroupVolumes, AWriteBehindTheNewEndOfAVolumeIsRefused) {
  GroupBench bench(14);
  const VolumeId volume = bench.make_volume("data", 16).id;
  ASSERT_TRUE(bench.fill(volume, {0, 16}, 1).ok());
  ASSERT_TRUE(bench.run(bench.group->resize_volume("data", 8 * kBlockSizeBytes)).ok());
  EXPECT_EQ(error_of(bench.fill(volume, {8, 9}, 2)), ErrorCode::kInvalid);
  EXPECT_EQ(error_of(bench.fill(volume, {7, 9}, 2)), ErrorCode::kInvalid);
  EXPECT_EQ(error_of(bench.write(volume, 8 * kBlockSizeBytes + 512, Buffer::copy_of(as_bytes("late")))),
            ErrorCode::kInvalid);
  EXPECT_EQ(error_of(bench.run(
                bench.group->data().zero(volume, 4 * kBlockSizeBytes, 8 * kBlockSizeBytes, true, false))),
            ErrorCode::kInvalid);
  ASSERT_TRUE(bench.fill(volume, {7, 8}, 3).ok());
  ASSERT_TRUE(bench.run(bench.group->resize_volume("data", 16 * kBlockSizeBytes)).ok());
  const std::vector<int> seen = bench.live(volume, 16);
  EXPECT_EQ(seen[7], 3);
  for (std::size_t block = 8; block < 16; ++block) EXPECT_EQ(seen[block], 0) << block;
}

TEST(GroupRestore, ThePlanSaysWhatWouldBeLeft) {
  GroupBench bench(13);
  const VolumeShape volume = bench.make_volume("data", 8);                                // 1.2
  ASSERT_TRUE(bench.mark("a").ok());                                                      // 1.3
  ASSERT_TRUE(bench.fill(volume.id, {0, 1}, 1).ok());                                     // 1.4
  ASSERT_TRUE(bench.mark("b").ok());                                                      // 1.5
  bench.make_volume("more", 8);                                                           // 1.6
  ASSERT_TRUE(bench.run(bench.group->resize_volume("data", 16 * kBlockSizeBytes)).ok());  // 1.7
  ASSERT_TRUE(bench.mark("c").ok());                                                      // 1.8
  const auto plan = bench.run(bench.group->plan_restore("a", false));
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->from.at, LogId(Epoch{1}, 8));
  EXPECT_EQ(plan->target.at, LogId(Epoch{1}, 3));
  EXPECT_EQ(plan->entries_left, 5u);
  EXPECT_EQ(plan->marks_left, (std::vector<std::string>{"b", "c"}));
  ASSERT_EQ(plan->shape_now.size(), 2u);
  ASSERT_EQ(plan->shape_target.size(), 1u);
  EXPECT_EQ(plan->shape_now[0].size_bytes, 16 * kBlockSizeBytes);
  EXPECT_EQ(plan->shape_target[0].size_bytes, 8 * kBlockSizeBytes);
  EXPECT_EQ(bench.group->head(), LogId(Epoch{1}, 8)) << "a plan changes nothing";
  const auto before = bench.run(bench.group->plan_restore("a", true));
  ASSERT_TRUE(before.ok());
  EXPECT_EQ(before->target.at, LogId(Epoch{1}, 2));
  EXPECT_EQ(before->entries_left, 6u);
  EXPECT_EQ(error_of(bench.run(bench.group->plan_restore("nowhere", false))), ErrorCode::kNotFound);
}

TEST(GroupRestore, BringsTheShapeBackWithTheData) {
  GroupBench bench(14);
  const VolumeShape kept = bench.make_volume("kept", 8);
  const VolumeShape gone = bench.make_volume("gone", 8);
  ASSERT_TRUE(bench.fill(kept.id, {0, 8}, 1).ok());
  ASSERT_TRUE(bench.fill(gone.id, {0, 8}, 2).ok());
  ASSERT_TRUE(bench.mark("whole").ok());
  ASSERT_TRUE(bench.run(bench.group->delete_volume("gone")).ok());
  ASSERT_TRUE(bench.run(bench.group->resize_volume("kept", 4 * kBlockSizeBytes)).ok());
  ASSERT_TRUE(bench.run(bench.group->resize_volume("kept", 8 * kBlockSizeBytes)).ok());
  std::vector<int> cut = all(8, 0);
  std::fill(cut.begin(), cut.begin() + 4, 1);
  EXPECT_EQ(bench.live(kept.id, 8), cut) << "what was cut off reads as zeroes when it comes back";
  EXPECT_EQ(bench.group->volumes().size(), 1u);
  ASSERT_TRUE(bench.restore("whole").ok());
  ASSERT_EQ(bench.group->volumes().size(), 2u);
  EXPECT_EQ(bench.live(kept.id, 8), all(8, 1));
  EXPECT_EQ(bench.live(gone.id, 8), all(8, 2));
  ASSERT_TRUE(bench.run(bench.group->resize_volume("gone", 12 * kBlockSizeBytes)).ok());
  EXPECT_EQ(bench.group->volumes()[1].name, "gone") << "though a dead branch deleted it";
}

TEST(GroupRestore, ABranchIsListedAndCanBeReleased) {
  GroupBench bench(15);
  const VolumeShape volume = bench.make_volume("data", 4);
  ASSERT_TRUE(bench.mark("good").ok());
  ASSERT_TRUE(bench.fill(volume.id, {0, 4}, 2).ok());
  const LogId left = bench.group->head();
  ASSERT_TRUE(bench.restore("good").ok());
  ASSERT_TRUE(bench.fill(volume.id, {0, 4}, 3).ok());
  const auto branches = bench.group->state().epochs().branches(bench.group->head());
  ASSERT_EQ(branches.size(), 1u);
  EXPECT_EQ(branches[0].epoch, Epoch{1});
  EXPECT_EQ(branches[0].left_at, LogId(Epoch{1}, 3));
  EXPECT_EQ(error_of(bench.run(bench.group->release_branch(Epoch{3}))), ErrorCode::kRefused)
      << "the live one";
  EXPECT_EQ(error_of(bench.run(bench.group->release_branch(Epoch{9}))), ErrorCode::kNotFound);
  EXPECT_EQ(bench.at("data", "log:" + left.to_string()), all(4, 2));
  ASSERT_TRUE(bench.run(bench.group->release_branch(Epoch{1})).ok());
  EXPECT_EQ(bench.view_error("data", "log:" + left.to_string()), ErrorCode::kExpired);
  EXPECT_EQ(bench.at("data", "good"), all(4, 0)) << "the part that is still on the live way stays";
  EXPECT_EQ(bench.at("data", "head"), all(4, 3));
}

TEST(GroupRestore, WhatLiesUnderAReleasedBranchButOnALiveWayIsKept) {
  GroupBench bench(16, {.settings = {.retain = Duration::seconds(0)}});
  bench.make_volume("first", 4);
  ASSERT_TRUE(bench.mark("start").ok());
  const VolumeShape volume = bench.make_volume("data", 4);  // born in epoch 1
  ASSERT_TRUE(bench.fill(volume.id, {0, 4}, 7).ok());
  ASSERT_TRUE(bench.mark("fork").ok());
  ASSERT_TRUE(bench.mark("tail").ok());
  ASSERT_TRUE(bench.restore("fork").ok());
  ASSERT_TRUE(bench.run(bench.group->release_branch(Epoch{1})).ok());
  ASSERT_TRUE(bench.run(bench.group->destage_now(true)).ok());
  bench.restart();
  EXPECT_EQ(bench.live(volume.id, 4), all(4, 7));
}

TEST(GroupRestore, ABranchWithAHeldMarkIsNotReleased) {
  GroupBench bench(17);
  const VolumeShape volume = bench.make_volume("data", 4);
  ASSERT_TRUE(bench.mark("fork").ok());
  ASSERT_TRUE(bench.fill(volume.id, {0, 4}, 2).ok());
  ASSERT_TRUE(bench.mark("kept").ok());
  ASSERT_TRUE(bench.run(bench.group->change_mark("kept", format::MarkAction::kHold)).ok());
  ASSERT_TRUE(bench.restore("fork").ok());
  EXPECT_EQ(error_of(bench.run(bench.group->release_branch(Epoch{1}))), ErrorCode::kRefused);
  EXPECT_EQ(bench.at("data", "kept"), all(4, 2));
  ASSERT_TRUE(bench.run(bench.group->change_mark("kept", format::MarkAction::kRelease)).ok());
  EXPECT_TRUE(bench.run(bench.group->release_branch(Epoch{1})).ok());
  EXPECT_EQ(bench.view_error("data", "kept"), ErrorCode::kExpired);
}

TEST(GroupRestore, WhatWasLiveWhenItsBranchWasReleasedCanBeGoneBackTo) {
  GroupBench bench(18);
  const VolumeShape volume = bench.make_volume("data", 4);
  ASSERT_TRUE(bench.mark("low").ok());
  ASSERT_TRUE(bench.fill(volume.id, {0, 4}, 2).ok());
  ASSERT_TRUE(bench.mark("fork").ok());
  ASSERT_TRUE(bench.mark("tail").ok());
  ASSERT_TRUE(bench.restore("fork").ok());
  ASSERT_TRUE(bench.run(bench.group->release_branch(Epoch{1})).ok());
  ASSERT_TRUE(bench.fill(volume.id, {0, 4}, 3).ok());
  // The branch that is left now has the fork behind it, and nobody released it.
  ASSERT_TRUE(bench.restore("low").ok());
  EXPECT_EQ(bench.at("data", "fork"), all(4, 2));
  EXPECT_EQ(bench.view_error("data", "tail"), ErrorCode::kExpired);
  ASSERT_TRUE(bench.restore("fork").ok());
  EXPECT_EQ(bench.live(volume.id, 4), all(4, 2));
}

// ---- Looking back ----

TEST(GroupHistory, EntriesAreShownInOrderWithTheirDataBeforeAndAfter) {
  GroupBench bench(21);
  const VolumeShape volume = bench.make_volume("data", 8);  // 1.2
  ASSERT_TRUE(bench.fill(volume.id, {0, 4}, 1).ok());       // 1.3
  ASSERT_TRUE(bench.fill(volume.id, {2, 6}, 2).ok());       // 1.4
  ASSERT_TRUE(
      bench.run(bench.group->data().zero(volume.id, 0, 3 * kBlockSizeBytes, true, false)).ok());  // 1.5
  ASSERT_TRUE(bench.mark("m").ok());                                                              // 1.6
  const auto shown = bench.run(bench.group->show_entries(LogId(Epoch{1}, 0), 100));
  ASSERT_TRUE(shown.ok());
  ASSERT_EQ(shown->size(), 6u);
  const std::vector<format::EntryKind> kinds{format::EntryKind::kControl, format::EntryKind::kControl,
                                             format::EntryKind::kWrite,   format::EntryKind::kWrite,
                                             format::EntryKind::kDiscard, format::EntryKind::kMark};
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_EQ((*shown)[i].id, LogId(Epoch{1}, i + 1));
    EXPECT_EQ((*shown)[i].entry.kind, kinds[i]);
  }
  EXPECT_EQ((*shown)[3].entry.blocks, (BlockRange{2, 6}));
  const auto two = bench.run(bench.group->show_entries(LogId(Epoch{1}, 3), 2));
  ASSERT_TRUE(two.ok());
  ASSERT_EQ(two->size(), 2u);
  EXPECT_EQ((*two)[0].id, LogId(Epoch{1}, 4));
  const auto none = bench.run(bench.group->show_entries(bench.group->head(), 100));
  ASSERT_TRUE(none.ok());
  EXPECT_TRUE(none->empty());

  const auto data = [&](std::uint64_t sequence, BlockRange blocks, bool before) {
    const auto read =
        bench.run(bench.group->entry_data(LogId(Epoch{1}, sequence), volume.id, blocks, before));
    EXPECT_TRUE(read.ok());
    return read.ok() ? GroupBench::bytes_of_blocks(*read) : std::vector<int>{};
  };
  EXPECT_EQ(data(4, {2, 6}, true), (std::vector<int>{1, 1, 0, 0}));
  EXPECT_EQ(data(4, {2, 6}, false), (std::vector<int>{2, 2, 2, 2}));
  EXPECT_EQ(data(5, {0, 3}, true), (std::vector<int>{1, 1, 2}));
  EXPECT_EQ(data(5, {0, 3}, false), (std::vector<int>{0, 0, 0}));
}

TEST(GroupHistory, ADeadBranchIsShownToItsEnd) {
  GroupBench bench(22);
  const VolumeShape volume = bench.make_volume("data", 8);
  ASSERT_TRUE(bench.fill(volume.id, {0, 4}, 1).ok());
  ASSERT_TRUE(bench.fill(volume.id, {0, 4}, 2).ok());
  ASSERT_TRUE(bench.restore("log:1.2").ok());
  ASSERT_TRUE(bench.fill(volume.id, {0, 4}, 3).ok());
  ASSERT_TRUE(bench.flush().ok());
  const auto dead = bench.run(bench.group->show_entries(LogId(Epoch{1}, 3), 100));
  ASSERT_TRUE(dead.ok());
  ASSERT_EQ(dead->size(), 1u);
  EXPECT_EQ((*dead)[0].id, LogId(Epoch{1}, 4));
  const auto live = bench.run(bench.group->show_entries(LogId(Epoch{1}, 1), 100));
  ASSERT_TRUE(live.ok());
  ASSERT_EQ(live->size(), 3u);
  EXPECT_EQ((*live)[0].id, LogId(Epoch{1}, 2));
  EXPECT_EQ((*live)[1].id, LogId(Epoch{3}, 1));
  EXPECT_EQ((*live)[2].id, LogId(Epoch{3}, 2));
}

TEST(GroupHistory, ADifferenceIsExact) {
  GroupBench bench(23);
  const VolumeShape volume = bench.make_volume("data", 64);
  ASSERT_TRUE(bench.fill(volume.id, {0, 32}, 1).ok());
  ASSERT_TRUE(bench.mark("a").ok());
  ASSERT_TRUE(bench.fill(volume.id, {4, 8}, 1).ok());    // the same bytes again
  ASSERT_TRUE(bench.fill(volume.id, {16, 20}, 2).ok());  // others
  ASSERT_TRUE(
      bench.run(bench.group->data().zero(volume.id, 40 * kBlockSizeBytes, kBlockSizeBytes, false, false))
          .ok());
  ASSERT_TRUE(
      bench.run(bench.group->data().zero(volume.id, 30 * kBlockSizeBytes, kBlockSizeBytes, true, false))
          .ok());
  ASSERT_TRUE(bench.mark("b").ok());
  const LogId a = bench.group->state().find_mark("a")->at;
  const LogId b = bench.group->state().find_mark("b")->at;
  for (const auto& [from, to] : {std::pair{a, b}, std::pair{b, a}}) {
    const auto runs = bench.run(bench.group->diff(volume.id, from, to, {0, 64}, 100));
    ASSERT_TRUE(runs.ok());
    std::vector<BlockRange> ranges;
    for (const ChangedRun& run : *runs) ranges.push_back(run.blocks);
    EXPECT_EQ(ranges, (std::vector<BlockRange>{{16, 20}, {30, 31}}));
    const auto bound = bench.run(bench.group->count_differing(volume.id, from, to, {0, 64}));
    ASSERT_TRUE(bound.ok());
    EXPECT_GE(*bound, 5u);
    EXPECT_LE(*bound, 10u);
  }
  const auto same = bench.run(bench.group->diff(volume.id, a, a, {0, 64}, 100));
  ASSERT_TRUE(same.ok());
  EXPECT_TRUE(same->empty());
  const auto first = bench.run(bench.group->diff(volume.id, a, b, {0, 64}, 1));
  ASSERT_TRUE(first.ok());
  ASSERT_EQ(first->size(), 1u);
  EXPECT_EQ((*first)[0].blocks, (BlockRange{16, 20}));
}

// ---- Shape ----

TEST(GroupShape, BadVolumesAreRefused) {
  GroupBench bench(24);
  bench.make_volume("data", 4);
  EXPECT_EQ(error_of(bench.run(bench.group->create_volume("data", 4096))), ErrorCode::kExists);
  EXPECT_EQ(error_of(bench.run(bench.group->create_volume("a/b", 4096))), ErrorCode::kInvalid);
  EXPECT_EQ(error_of(bench.run(bench.group->create_volume("x", 0))), ErrorCode::kInvalid);
  EXPECT_EQ(error_of(bench.run(bench.group->create_volume("x", 4097))), ErrorCode::kInvalid);
  EXPECT_EQ(error_of(bench.run(bench.group->create_volume("x", 1ull << 62))), ErrorCode::kInvalid);
  EXPECT_EQ(error_of(bench.run(bench.group->resize_volume("x", 4096))), ErrorCode::kNotFound);
  EXPECT_EQ(error_of(bench.run(bench.group->delete_volume("x"))), ErrorCode::kNotFound);
  EXPECT_EQ(bench.group->head(), LogId(Epoch{1}, 2)) << "none of it left an entry";
}

TEST(GroupShape, TheSpaceOfAVolumeThatNobodyCanReadIsGivenBack) {
  GroupBench bench(25, {.settings = {.retain = Duration::seconds(0)}});
  const VolumeShape kept = bench.make_volume("kept", 32);
  const VolumeShape gone = bench.make_volume("gone", 32);
  ASSERT_TRUE(bench.fill(gone.id, {0, 32}, 1).ok());
  ASSERT_TRUE(bench.mark("full").ok());
  ASSERT_TRUE(bench.run(bench.group->delete_volume("gone")).ok());
  EXPECT_EQ(bench.at("gone", "full"), all(32, 1)) << "until the floor has passed it";
  const std::size_t units = bench.pool().units().size();
  for (int i = 0; i < 400; ++i) {
    ASSERT_TRUE(bench.fill(kept.id, {0, 30}, static_cast<std::uint8_t>(i)).ok());
  }
  bench.world.run_for(Duration::seconds(10));
  EXPECT_EQ(bench.pool().units().size(), units - 1);
  EXPECT_EQ(bench.live(kept.id, 30), all(30, 399 % 256));
}

TEST(GroupShape, AnEnormousDiscardIsCheapAndExact) {
  GroupBench bench(26);
  constexpr std::uint64_t kTerabyteBlocks = (1ull << 40) / kBlockSizeBytes;
  const VolumeShape volume = bench.make_volume("huge", 30 * kTerabyteBlocks);
  const std::uint64_t last = 30 * kTerabyteBlocks - 1;
  for (const std::uint64_t block : {std::uint64_t{0}, 8 * kTerabyteBlocks, last}) {
    ASSERT_TRUE(bench.fill(volume.id, {block, block + 1}, 7).ok());
  }
  ASSERT_TRUE(bench.run(bench.group->data().zero(volume.id, 0, 30ull << 40, true, false)).ok());
  ASSERT_TRUE(bench.flush().ok());
  for (int round = 0; round < 2; ++round) {
    for (const std::uint64_t block : {std::uint64_t{0}, 8 * kTerabyteBlocks, last}) {
      Buffer out = Buffer::allocate(kBlockSizeBytes);
      ASSERT_TRUE(bench
                      .run(bench.group->data().read(volume.id, bench.group->live_path(),
                                                    block * kBlockSizeBytes, out, true))
                      .ok());
      EXPECT_TRUE(all_zero(Bytes(out))) << "block " << block << ", round " << round;
    }
    bench.power_cut();
    bench.start_again();
  }
  EXPECT_LT(bench.group->journal().status().used_bytes, 2u << 20);
}

TEST(GroupShape, SettingsAreKept) {
  GroupBench bench(27);
  const GroupSettings settings{.retain = Duration::seconds(77), .on_full = OnFull::kStopWrites};
  ASSERT_TRUE(bench.run(bench.group->set_settings(settings)).ok());
  ASSERT_TRUE(bench.run(bench.group->set_exports_closed(true)).ok());
  bench.power_cut();
  bench.start_again();
  EXPECT_EQ(bench.group->local().settings.retain, Duration::seconds(77));
  EXPECT_EQ(bench.group->local().settings.on_full, OnFull::kStopWrites);
  EXPECT_TRUE(bench.group->local().exports_closed);
}

// ---- Space ----

TEST(GroupSpace, TheJournalIsRecycledWhileWritesGoOn) {
  GroupBench bench(28, {.settings = {.retain = Duration::seconds(0)}});
  const VolumeShape volume = bench.make_volume("data", 32);
  for (int i = 0; i < 600; ++i) {
    ASSERT_TRUE(bench.fill(volume.id, {0, 30}, static_cast<std::uint8_t>(i)).ok()) << i;
  }
  EXPECT_EQ(bench.live(volume.id, 30), all(30, 599 % 256));
  EXPECT_GT(bench.group->local().floor, LogId(Epoch{1}, 100));
  bench.restart();
  EXPECT_EQ(bench.live(volume.id, 30), all(30, 599 % 256));
}

TEST(GroupSpace, RetentionYieldsBeforeWritesFailUnlessToldOtherwise) {
  for (const OnFull on_full : {OnFull::kDropHistory, OnFull::kStopWrites}) {
    GroupBench bench(29, {.settings = {.retain = Duration::seconds(3600), .on_full = on_full}});
    const VolumeShape volume = bench.make_volume("data", 32);
    Result<void> written;
    for (int i = 0; i < 200 && written.ok(); ++i) {
      written = bench.fill(volume.id, {0, 30}, static_cast<std::uint8_t>(i));
    }
    if (on_full == OnFull::kDropHistory) {
      EXPECT_TRUE(written.ok()) << written.error().message;
    } else {
      ASSERT_FALSE(written.ok());
      EXPECT_EQ(written.error().code, ErrorCode::kNoSpace);
      EXPECT_EQ(bench.group->local().floor, LogId(Epoch{1}, 0)) << "history was not touched";
      EXPECT_FALSE(bench.group->failure().has_value()) << "full is not broken";
      bench.world.run_for(Duration::seconds(4000));
      EXPECT_TRUE(bench.fill(volume.id, {0, 30}, 1).ok()) << "what has expired makes room";
    }
  }
}

TEST(GroupSpace, AHeldMarkKeepsTheSpaceAndMarksAreStillTaken) {
  GroupBench bench(30, {.settings = {.retain = Duration::seconds(0)}});
  const VolumeShape volume = bench.make_volume("data", 32);
  ASSERT_TRUE(bench.fill(volume.id, {0, 30}, 1).ok());
  const auto held = bench.mark("keep");
  ASSERT_TRUE(held.ok());
  ASSERT_TRUE(bench.run(bench.group->change_mark("keep", format::MarkAction::kHold)).ok());
  Result<void> written;
  int writes = 0;
  for (; writes < 200 && written.ok(); ++writes) written = bench.fill(volume.id, {0, 30}, 2);
  ASSERT_FALSE(written.ok());
  EXPECT_EQ(written.error().code, ErrorCode::kNoSpace);
  EXPECT_EQ(bench.at("data", "keep")[0], 1);
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(bench.mark("full" + std::to_string(i)).ok()) << "mark " << i << " on a full journal";
  }
  ASSERT_TRUE(bench.restore("keep").ok()) << "and a restore";
  EXPECT_EQ(bench.live(volume.id, 30), all(30, 1));
  bench.restart();
  EXPECT_EQ(bench.live(volume.id, 30), all(30, 1));
  EXPECT_TRUE(bench.group->state().find_mark("keep")->held);
  ASSERT_TRUE(bench.run(bench.group->change_mark("keep", format::MarkAction::kRelease)).ok());
  EXPECT_TRUE(bench.fill(volume.id, {0, 30}, 3).ok()) << "writes go on when it is let go";
  for (int i = 0; i < 100; ++i) {
    const auto again = bench.fill(volume.id, {0, 30}, 4);
    ASSERT_TRUE(again.ok()) << again.error().message;
  }
}

TEST(GroupSpace, AFullJournalCanAlwaysBeReleased) {
  GroupBench bench(31, {.settings = {.retain = Duration::seconds(0)}});
  const VolumeShape volume = bench.make_volume("data", 32);
  ASSERT_TRUE(bench.mark("keep").ok());
  ASSERT_TRUE(bench.run(bench.group->change_mark("keep", format::MarkAction::kHold)).ok());
  while (bench.fill(volume.id, {0, 30}, 2).ok()) {
  }
  int marks = 0;
  while (bench.mark("m" + std::to_string(marks)).ok()) ASSERT_LT(++marks, 10'000);
  ASSERT_EQ(error_of(bench.mark("one-more")), ErrorCode::kNoSpace);
  int restores = 0;
  while (bench.restore("keep").ok()) ASSERT_LT(++restores, 10'000);
  EXPECT_GT(restores, 10) << "marks leave room for them";
  EXPECT_EQ(error_of(bench.restore("keep")), ErrorCode::kNoSpace);
  bench.restart();
  ASSERT_TRUE(bench.run(bench.group->change_mark("keep", format::MarkAction::kRelease)).ok());
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(bench.fill(volume.id, {0, 30}, 4).ok());
}

TEST(GroupSpace, AViewYieldsBeforeWritesFailAndSaysSo) {
  GroupBench bench(101);
  const VolumeShape volume = bench.make_volume("data", 32);
  ASSERT_TRUE(bench.fill(volume.id, {0, 32}, 1).ok());
  ASSERT_TRUE(bench.mark("old").ok());
  auto view = bench.run(bench.group->open_view("data", "old"));
  ASSERT_TRUE(view.ok());
  EXPECT_EQ(bench.read_view(**view), std::vector<int>(32, 1));
  // Far more than the journal holds.
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(bench.fill(volume.id, {0, 32}, 2).ok()) << i;
  Buffer out = Buffer::allocate(kBlockSizeBytes);
  const auto read = bench.run((*view)->read(0, out));
  ASSERT_FALSE(read.ok()) << "it would have to show what is overwritten";
  EXPECT_EQ(read.error().code, ErrorCode::kExpired);
  EXPECT_NE(read.error().message.find("given up"), std::string::npos) << read.error().message;
  EXPECT_TRUE(bench.group->alarm().has_value());
  bench.world.run_for(Group::kViewsGivenUpTold - Duration::seconds(60));
  EXPECT_TRUE(bench.group->alarm().has_value());
  bench.world.run_for(Duration::seconds(61));
  EXPECT_FALSE(bench.group->alarm().has_value());
  bench.run((*view)->close());
  EXPECT_EQ(bench.live(volume.id, 32), std::vector<int>(32, 2));
}

TEST(GroupSpace, AViewIsKeptWhereWritesAreToStopInstead) {
  GroupBench bench(102, {.settings = {.on_full = OnFull::kStopWrites}});
  const VolumeShape volume = bench.make_volume("data", 32);
  ASSERT_TRUE(bench.fill(volume.id, {0, 32}, 1).ok());
  auto view = bench.run(bench.group->open_view("data", "head"));
  ASSERT_TRUE(view.ok());
  while (bench.fill(volume.id, {0, 32}, 2).ok()) {
  }
  EXPECT_EQ(bench.read_view(**view), std::vector<int>(32, 1));
  bench.run((*view)->close());
}

TEST(GroupSpace, AWindowShorterThanTheRetentionIsTold) {
  GroupBench bench(103, {.settings = {.retain = Duration::seconds(3600)}});
  const VolumeShape volume = bench.make_volume("data", 32);
  ASSERT_TRUE(bench.fill(volume.id, {0, 32}, 1).ok());
  EXPECT_FALSE(bench.group->shortened_window().has_value());
  for (int i = 0; i < 100; ++i) {
    bench.world.run_for(Duration::seconds(1));
    ASSERT_TRUE(bench.fill(volume.id, {0, 32}, 2).ok()) << i;
  }
  const auto window = bench.group->shortened_window();
  ASSERT_TRUE(window.has_value());
  EXPECT_GT(window->to_seconds(), 1.0);
  EXPECT_LT(window->to_seconds(), 100.0);
  bench.restart();
  EXPECT_TRUE(bench.group->shortened_window().has_value());
  // With time, what is left is old enough.
  bench.world.run_for(Duration::seconds(3700));
  EXPECT_FALSE(bench.group->shortened_window().has_value());
}

TEST(GroupRetention, WhatAQuietGroupWrotePassesOutOfItsWindowToo) {
  GroupBench bench(104, {.settings = {.retain = Duration::seconds(600)}});
  const VolumeShape volume = bench.make_volume("data", 32);
  ASSERT_TRUE(bench.fill(volume.id, {0, 4}, 1).ok());
  ASSERT_TRUE(bench.mark("old").ok());
  ASSERT_TRUE(bench.fill(volume.id, {0, 4}, 2).ok());
  bench.world.run_for(Duration::seconds(300));
  EXPECT_EQ(bench.at("data", "old")[0], 1);
  bench.world.run_for(Duration::seconds(1200));
  ASSERT_TRUE(bench.fill(volume.id, {4, 8}, 3).ok());
  EXPECT_EQ(bench.view_error("data", "old"), ErrorCode::kExpired);
  EXPECT_EQ(bench.live(volume.id, 5), (std::vector<int>{2, 2, 2, 2, 3}));
}

TEST(GroupMarks, AHeldMarkIsReleasedBeforeItIsDeleted) {
  GroupBench bench(105);
  ASSERT_TRUE(bench.mark("kept").ok());
  ASSERT_TRUE(bench.run(bench.group->change_mark("kept", format::MarkAction::kHold)).ok());
  const auto refused = bench.run(bench.group->change_mark("kept", format::MarkAction::kDelete));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kRefused);
  ASSERT_TRUE(bench.run(bench.group->change_mark("kept", format::MarkAction::kRelease)).ok());
  EXPECT_TRUE(bench.run(bench.group->change_mark("kept", format::MarkAction::kDelete)).ok());
  EXPECT_EQ(bench.group->state().find_mark("kept"), nullptr);
}

TEST(GroupMarks, ANameGivenLaterHasTheTimeOfItsPoint) {
  GroupBench bench(106);
  const VolumeShape volume = bench.make_volume("data", 8);
  ASSERT_TRUE(bench.fill(volume.id, {0, 1}, 1).ok());
  const Mark mark = *bench.mark("then");
  bench.world.run_for(Duration::seconds(50));
  ASSERT_TRUE(bench.fill(volume.id, {0, 1}, 2).ok());
  const auto named = bench.run(bench.group->name_point({.id = "name"}, "then"));
  ASSERT_TRUE(named.ok()) << named.error().message;
  EXPECT_EQ(named->timer, mark.timer);
  ASSERT_NO_FATAL_FAILURE(bench.restart());
  EXPECT_EQ(bench.group->state().find_mark("name")->timer, mark.timer);
}

// The last room may be in the batch that is open, where a mark still fits; an epoch begins a batch of its
// own.
TEST(GroupSpace, ARestoreOnAFullJournalDoesNotCountOnTheOpenBatch) {
  for (int marks_first = 0; marks_first < 4; ++marks_first) {
    GroupBench bench(100, {.settings = {.retain = Duration::seconds(3600), .on_full = OnFull::kStopWrites}});
    const VolumeShape volume = bench.make_volume("data", 32);
    while (bench.fill(volume.id, {0, 30}, 2).ok()) {
    }
    for (int i = 0; i < marks_first; ++i) (void)bench.mark("first" + std::to_string(i));
    bool full = false;
    for (int round = 0; !full && round < 1000; ++round) {
      // Both in one pass: the mark opens a batch, and the restore, to a point that takes no look-up, finds it
      // open.
      io::TaskScope scope(bench.world);
      scope.spawn([](Group* group, std::string id) -> io::Task<void> {
        const format::MarkRecord record{.id = id};
        (void)co_await group->create_mark(record);
      }(bench.group, "m" + std::to_string(round)));
      scope.spawn([](Group* group, bool* refused) -> io::Task<void> {
        const std::string root = "log:1.0";
        auto plan = co_await group->plan_restore(root, false);
        EXPECT_TRUE(plan.ok());
        const RestorePlan chosen = *plan;
        const auto restored = co_await group->restore(chosen, format::EpochReason::kRestore);
        *refused = !restored.ok();
        if (!restored.ok()) {
          EXPECT_EQ(restored.error().code, ErrorCode::kNoSpace);
        }
      }(bench.group, &full));
      bench.run(scope.join());
    }
    EXPECT_TRUE(full);
    EXPECT_FALSE(bench.group->failure().has_value());
  }
}

TEST(GroupSpace, DeadBranchesGoWhenSpaceIsShort) {
  GroupBench bench(32, {.settings = {.retain = Duration::seconds(3600)}});
  const VolumeShape volume = bench.make_volume("data", 32);
  ASSERT_TRUE(bench.mark("start").ok());
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(bench.fill(volume.id, {0, 30}, static_cast<std::uint8_t>(i)).ok()) << i;
    if (i % 15 == 14) {
      ASSERT_TRUE(bench.restore("head").ok());
    }
  }
  EXPECT_EQ(bench.live(volume.id, 30), all(30, 199));
}

// ---- Failures ----

TEST(GroupFailure, AFailedDiskWriteStopsTheGroupWithAReasonAndReopeningRecovers) {
  for (std::uint64_t nth = 1; nth <= 4; ++nth) {
    GroupBench bench(33 + nth);
    const VolumeShape volume = bench.make_volume("data", 32);
    ASSERT_TRUE(bench.fill(volume.id, {0, 16}, 1).ok());
    ASSERT_TRUE(bench.flush().ok());
    bench.world.run_for(Duration::seconds(2));
    bench.disk.fail_write_after(nth);
    Result<void> last;
    for (int i = 0; i < 40 && last.ok(); ++i) {
      last = bench.fill(volume.id, {16, 32}, 2);
      if (last.ok()) last = bench.flush();
    }
    ASSERT_FALSE(last.ok());
    EXPECT_EQ(last.error().code, ErrorCode::kIo);
    ASSERT_TRUE(bench.group->failure().has_value());
    const auto refused = bench.group->check_accepting();
    ASSERT_FALSE(refused.ok());
    EXPECT_NE(refused.error().message.find("orders"), std::string::npos) << refused.error().message;
    EXPECT_FALSE(bench.fill(volume.id, {0, 1}, 3).ok());
    EXPECT_FALSE(bench.mark("m").ok());
    EXPECT_FALSE(bench.restore("head").ok());
    EXPECT_EQ(bench.live(volume.id, 16), all(16, 1)) << "reads go on";
    bench.power_cut();
    bench.start_again();
    EXPECT_EQ(bench.live(volume.id, 16), all(16, 1));
    EXPECT_TRUE(bench.fill(volume.id, {0, 1}, 3).ok());
    EXPECT_TRUE(bench.mark("m").ok());
  }
}

TEST(GroupFailure, ADamagedBlockIsAnErrorOfThatReadAlone) {
  GroupBench bench(40, {.recent_bytes = 0});
  const VolumeShape volume = bench.make_volume("data", 32);
  ASSERT_TRUE(bench.fill(volume.id, {0, 30}, 0xd7).ok());
  ASSERT_TRUE(bench.fill(volume.id, {31, 32}, 1).ok());
  bench.restart();
  // Find the payload on the disk and flip one bit in its middle.
  std::vector<std::byte> block(kBlockSizeBytes);
  std::uint64_t found = 0;
  for (std::uint64_t at = 0; at < kBenchDiskBytes && found == 0; at += kBlockSizeBytes) {
    bench.disk.peek(at, block);
    if (block[0] == std::byte{0xd7} && GroupBench::bytes_of_blocks(block)[0] == 0xd7) found = at;
  }
  ASSERT_GT(found, 0u);
  bench.disk.flip_bit(found + 1000, 3);
  Buffer out = Buffer::allocate(30 * kBlockSizeBytes);
  const auto damaged = bench.run(bench.group->data().read(volume.id, bench.group->live_path(), 0, out, true));
  ASSERT_FALSE(damaged.ok());
  EXPECT_EQ(damaged.error().code, ErrorCode::kDamaged);
  Buffer other = Buffer::allocate(kBlockSizeBytes);
  ASSERT_TRUE(bench
                  .run(bench.group->data().read(volume.id, bench.group->live_path(), 31 * kBlockSizeBytes,
                                                other, true))
                  .ok());
  EXPECT_EQ(GroupBench::bytes_of_blocks(other), all(1, 1));
}

TEST(GroupFailure, AGroupIsNotFoundWhereThereIsNone) {
  GroupBench bench(41);
  bench.log_volume = LuNumber{999};
  bench.power_cut();
  bench.open_pool();
  EXPECT_EQ(error_of(bench.try_open_group()), ErrorCode::kNotFound);
}

TEST(GroupLife, DestroyGivesEverythingBack) {
  GroupBench bench(42);
  const VolumeShape volume = bench.make_volume("data", 32);
  ASSERT_TRUE(bench.fill(volume.id, {0, 32}, 1).ok());
  const GroupIdentity identity = bench.group->identity();
  ASSERT_TRUE(bench.run(bench.group->close()).ok());
  bench.group = nullptr;
  bench.process->kill();
  bench.open_pool();
  ASSERT_TRUE(bench.run(Group::destroy(bench.pools(), identity)).ok());
  EXPECT_TRUE(bench.pool().units().empty());
  EXPECT_EQ(bench.pool().status().allocated_bytes, 0u);
}

}  // namespace
}  // namespace tidemark::group
