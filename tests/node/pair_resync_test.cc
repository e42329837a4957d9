// A secondary that was away for longer than its primary's journal reaches back: it goes on behind a gap,
// keeps what could be read there, and gets what differs.

#include "pair_bench.h"

namespace tidemark::node {
namespace {

using control::PairState;
using control::WaitFor;

constexpr std::uint64_t kLapBlocks = 32;
constexpr std::uint64_t kMib = 1 << 20;

Buffer lap_data(std::uint32_t lap) {
  Buffer data = Buffer::allocate(kLapBlocks * kBlockSizeBytes);
  std::memset(data.data(), static_cast<int>(lap), data.size());
  return data;
}

class PairResync : public testing::TestWithParam<std::uint64_t> {
 protected:
  // A pair whose secondary has "kept", and whose primary has let go of what came after: "lost" and more.
  void part(PairBench& bench) {
    bench.make_group(bench.a, {"data", "logs"});
    for (std::uint32_t block = 0; block < kVolumeBlocks; ++block) {
      ASSERT_TRUE(bench.write(bench.a, "data", block, 1000 + block).ok());
    }
    ASSERT_NO_FATAL_FAILURE(bench.pair_up());
    ASSERT_TRUE(bench.write(bench.a, "logs", 3, 33).ok());
    ASSERT_TRUE(bench.mark(bench.a, "kept", WaitFor::kPeer).ok());
    kept_ = *bench.read(bench.a, "data", "kept");
    bench.b.kill();
    ASSERT_TRUE(bench.write(bench.a, "data", 40, 4040).ok());
    ASSERT_TRUE(bench.mark(bench.a, "lost").ok());
    ASSERT_TRUE(bench.discard(bench.a, "data", 44, 2).ok());
    ASSERT_NO_FATAL_FAILURE(fill_journal(bench));
    ASSERT_EQ(bench.state(bench.a), PairState::kPsue);
    ASSERT_NO_FATAL_FAILURE(bench.b.start());
  }
  // More than it holds, over the first blocks of a volume.
  void fill_journal(PairBench& bench) { write_laps(bench, 200); }
  void fill_half(PairBench& bench) { write_laps(bench, 45); }
  void write_laps(PairBench& bench, std::uint32_t laps) {
    auto target = bench.run(bench.a.node->open("app/data", "host"));
    ASSERT_TRUE(target.ok());
    for (std::uint32_t lap = 0; lap < laps; ++lap) {
      const auto written = bench.run((*target)->write(0, lap_data(lap), false));
      ASSERT_TRUE(written.ok()) << lap << ": " << written.error().message;
    }
  }
  // A pair with a second volume of 8 MiB, whose secondary has "kept" and is down; one block of the large
  // volume was written since and one discarded.
  void part_with_large(PairBench& bench) {
    bench.make_group(bench.a, {"data"});
    control::VolumeCreateRequest made;
    made.group = kGroup;
    made.volume = "large";
    made.size_bytes = 8 * kMib;
    ASSERT_TRUE(bench.run(bench.a.node->volume_create(made)).ok());
    for (std::uint32_t mib = 0; mib < 8; ++mib) {
      for (const std::uint64_t block : {std::uint64_t{0}, kMib / kBlockSizeBytes - 1}) {
        ASSERT_TRUE(bench.write(bench.a, "large", mib * kMib / kBlockSizeBytes + block, mib).ok());
      }
    }
    ASSERT_NO_FATAL_FAILURE(bench.pair_up());
    ASSERT_TRUE(bench.mark(bench.a, "kept", WaitFor::kPeer).ok());
    bench.b.kill();
    ASSERT_TRUE(bench.write(bench.a, "large", 5 * kMib / kBlockSizeBytes, 555).ok());
    ASSERT_TRUE(bench.discard(bench.a, "large", 7 * kMib / kBlockSizeBytes, 1).ok());
  }
  // By the last resync, as the primary's log has it.
  std::uint64_t compared_bytes(PairBench& bench) {
    std::uint64_t bytes = UINT64_MAX;
    for (const std::string& line : bench.a.log) {
      const std::string_view field = "compared_bytes=";
      if (line.find("resync-compared") == std::string::npos) continue;
      bytes = std::stoull(line.substr(line.find(field) + field.size()));
    }
    return bytes;
  }
  void expect_whole(PairBench& bench) {
    ASSERT_TRUE(bench.wait_caught_up()) << bench.status(bench.a).state_reason;
    ASSERT_NO_FATAL_FAILURE(bench.expect_same({"data", "logs"}));
    const auto verified = bench.b.group().check_readable(bench.b.group().head());
    EXPECT_TRUE(verified.ok()) << verified.error().message;
  }
  ErrorCode code_of(PairBench& bench, const std::string& point) {
    const auto read = bench.read(bench.b, "data", point);
    EXPECT_FALSE(read.ok()) << point;
    return read.ok() ? ErrorCode::kInvalid : read.error().code;
  }
  Image kept_;
};

TEST_F(PairResync, KeepsTheWindowAndBringsWhatDiffers) {
  PairBench bench(71);
  ASSERT_NO_FATAL_FAILURE(part(bench));
  const auto resynced = bench.resync(bench.a);
  ASSERT_TRUE(resynced.ok()) << resynced.error().message;
  ASSERT_NO_FATAL_FAILURE(expect_whole(bench));
  bench.expect_image(bench.b, "data", "kept", kept_);
  // What it never had is in the gap, by its name, its log id and its time, and not another point.
  EXPECT_EQ(code_of(bench, "lost"), ErrorCode::kInGap);
  const group::Mark lost = *bench.b.group().state().find_mark("lost");
  EXPECT_EQ(code_of(bench, "log:" + lost.at.to_string()), ErrorCode::kInGap);
  EXPECT_EQ(code_of(bench, "time:" + format_time(lost.timer)), ErrorCode::kInGap);
  // New points are readable, over a restart too.
  ASSERT_TRUE(bench.mark(bench.a, "after", WaitFor::kPeer).ok());
  bench.b.power_cut();
  ASSERT_NO_FATAL_FAILURE(bench.b.start());
  ASSERT_NO_FATAL_FAILURE(expect_whole(bench));
  bench.expect_image(bench.b, "data", "kept", kept_);
  bench.expect_image(bench.b, "data", "after", *bench.read(bench.a, "data"));
  EXPECT_EQ(code_of(bench, "lost"), ErrorCode::kInGap);
}

TEST_F(PairResync, OnlyWhatDiffersIsWrittenAgain) {
  PairBench bench(72);
  ASSERT_NO_FATAL_FAILURE(part(bench));
  const std::uint64_t before = bench.a.group().journal().status().written_bytes;
  ASSERT_TRUE(bench.resync(bench.a).ok());
  ASSERT_NO_FATAL_FAILURE(expect_whole(bench));
  // The blocks of the laps, the one before "lost" and the two that were discarded: of 48 in data, none in
  // logs. Frames and snapshots come on top.
  const std::uint64_t written = bench.a.group().journal().status().written_bytes - before;
  EXPECT_GE(written, (kLapBlocks + 3) * kBlockSizeBytes);
  EXPECT_LT(written, (kVolumeBlocks - 1) * kBlockSizeBytes);
}

// Regions of 1 MiB: where nothing was written since, nothing is read either.
TEST_F(PairResync, OnlyWhereSomethingWasWrittenIsCompared) {
  PairBench bench(85);
  ASSERT_NO_FATAL_FAILURE(part_with_large(bench));
  ASSERT_NO_FATAL_FAILURE(fill_journal(bench));
  ASSERT_EQ(bench.state(bench.a), PairState::kPsue);
  // What is known of that outlives the primary, and counts to the end of the resync.
  bench.a.power_cut();
  ASSERT_NO_FATAL_FAILURE(bench.a.start());
  ASSERT_NO_FATAL_FAILURE(fill_journal(bench));
  ASSERT_NO_FATAL_FAILURE(bench.b.start());
  ASSERT_TRUE(bench.resync(bench.a).ok());
  ASSERT_TRUE(bench.wait_caught_up()) << bench.status(bench.a).state_reason;
  bench.expect_same({"data", "large"});
  EXPECT_EQ(compared_bytes(bench), kVolumeBlocks * kBlockSizeBytes + 2 * kMib);
  // Over is over: the next time counts from then.
  ASSERT_TRUE(bench.mark(bench.a, "again", WaitFor::kPeer).ok());
  bench.b.kill();
  ASSERT_NO_FATAL_FAILURE(fill_journal(bench));
  ASSERT_EQ(bench.state(bench.a), PairState::kPsue);
  ASSERT_NO_FATAL_FAILURE(bench.b.start());
  ASSERT_TRUE(bench.resync(bench.a).ok());
  ASSERT_TRUE(bench.wait_caught_up());
  bench.expect_same({"data", "large"});
  EXPECT_EQ(compared_bytes(bench), kVolumeBlocks * kBlockSizeBytes);
}

// A restore leaves the entries that were written since; what it shows again was not written since.
TEST_F(PairResync, WhatARestoreMeanwhileChangesIsCompared) {
  PairBench bench(86);
  ASSERT_NO_FATAL_FAILURE(part_with_large(bench));
  ASSERT_TRUE(bench.restore(bench.a, "kept").ok());
  ASSERT_TRUE(bench.write(bench.a, "large", 3 * kMib / kBlockSizeBytes, 33).ok());
  ASSERT_NO_FATAL_FAILURE(fill_journal(bench));
  ASSERT_EQ(bench.state(bench.a), PairState::kPsue);
  ASSERT_NO_FATAL_FAILURE(bench.b.start());
  ASSERT_TRUE(bench.resync(bench.a).ok());
  ASSERT_TRUE(bench.wait_caught_up()) << bench.status(bench.a).state_reason;
  bench.expect_same({"data", "large"});
  EXPECT_EQ((*bench.read(bench.b, "large"))[5 * kMib / kBlockSizeBytes], 5u);
  EXPECT_EQ((*bench.read(bench.b, "large"))[3 * kMib / kBlockSizeBytes], 33u);
}

// The primary loses its power while it gives up what it kept, with changes that were written once and early.
TEST_P(PairResync, WhatChangedIsKnownWhereverThePrimaryStops) {
  PairBench bench(GetParam() + 500);
  ASSERT_NO_FATAL_FAILURE(part_with_large(bench));
  const auto write_all = [](PairBench* at) -> io::Task<void> {
    auto target = co_await at->a.node->open("app/data", "host");
    for (std::uint32_t lap = 0; target.ok() && lap < 400; ++lap) {
      if (!(co_await (*target)->write(0, lap_data(lap), false)).ok()) co_return;
    }
  };
  bench.a.process->tasks().spawn(write_all(&bench));
  // Around the end of the first step of the destager after the secondary was let go of.
  ASSERT_TRUE(bench.wait_for([&] { return bench.state(bench.a) == PairState::kPsue; }));
  bench.world.run_for(Duration::microseconds(static_cast<std::int64_t>(GetParam() % 60) * 700));
  bench.a.power_cut();
  ASSERT_NO_FATAL_FAILURE(bench.a.start());
  ASSERT_NO_FATAL_FAILURE(fill_journal(bench));
  ASSERT_NO_FATAL_FAILURE(bench.b.start());
  ASSERT_TRUE(bench.resync(bench.a).ok());
  ASSERT_TRUE(bench.wait_caught_up()) << bench.status(bench.a).state_reason;
  bench.expect_same({"data", "large"});
  EXPECT_LE(compared_bytes(bench), kVolumeBlocks * kBlockSizeBytes + 2 * kMib);
}

// Nothing came after the gap began: its first entry is known and was never here.
TEST_F(PairResync, WhereNothingDiffersNothingIsWrittenAndNothingIsDamaged) {
  PairBench bench(78);
  bench.make_group(bench.a, {"data"});
  ASSERT_NO_FATAL_FAILURE(fill_journal(bench));
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  ASSERT_TRUE(bench.mark(bench.a, "kept", WaitFor::kPeer).ok());
  bench.b.kill();
  ASSERT_NO_FATAL_FAILURE(fill_journal(bench));
  ASSERT_NO_FATAL_FAILURE(bench.b.start());
  ASSERT_TRUE(bench.resync(bench.a).ok());
  ASSERT_TRUE(bench.wait_caught_up()) << bench.status(bench.a).state_reason;
  bench.expect_same({"data"});
  group::Group& group = bench.b.group();
  const LogId head = group.head();
  EXPECT_EQ(head.sequence(), 1u);
  EXPECT_TRUE(group.check_readable(head).ok());
  const auto shown = bench.run(group.show_entries(group.state().epochs().find(head.epoch())->parent, 10));
  ASSERT_FALSE(shown.ok());
  EXPECT_EQ(shown.error().code, ErrorCode::kInGap) << shown.error().message;
  ASSERT_TRUE(group.verify({}).ok());
  ASSERT_TRUE(bench.wait_for([&] { return !bench.b.group().verifying(); }));
  EXPECT_EQ(group.local().verified_damages, 0u);
  bench.b.power_cut();
  ASSERT_NO_FATAL_FAILURE(bench.b.start());
  ASSERT_TRUE(bench.wait_caught_up());
  bench.expect_same({"data"});
}

TEST_F(PairResync, UntilItIsWholeTheWindowBeforeIsWhatCanBeReadAndTakenOver) {
  PairBench bench(73);
  ASSERT_NO_FATAL_FAILURE(part(bench));
  // The stream goes over, the questions do not.
  bench.world.network().set_options(
      {.latency_min = Duration::milliseconds(20), .latency_max = Duration::milliseconds(20)});
  ASSERT_TRUE(bench.resync(bench.a).ok());
  ASSERT_EQ(bench.state(bench.b), PairState::kCopy);
  EXPECT_EQ(code_of(bench, ""), ErrorCode::kBusy);
  EXPECT_EQ(code_of(bench, "head"), ErrorCode::kInGap);
  bench.expect_image(bench.b, "data", "kept", kept_);
  bench.a.kill();
  ASSERT_TRUE(bench.wait_for([&] { return !bench.status(bench.b).link_up; }));
  const auto taken = bench.take_over(bench.b);
  ASSERT_TRUE(taken.ok()) << taken.error().message;
  bench.expect_image(bench.b, "data", "", kept_);
  ASSERT_TRUE(bench.write(bench.b, "data", 1, 7).ok());
  // The other one comes back, and its branch is to go on: over a gap again, and nothing of here is lost.
  ASSERT_TRUE(bench.mark(bench.b, "alone").ok());
  const Image alone = *bench.read(bench.b, "data");
  ASSERT_NO_FATAL_FAILURE(bench.a.start());
  ASSERT_TRUE(bench.wait_for([&] { return bench.state(bench.a) == PairState::kSsws; }));
  const auto resynced = bench.resync(bench.a, false, control::ResyncFrom::kPrimary);
  ASSERT_TRUE(resynced.ok()) << resynced.error().message;
  ASSERT_NO_FATAL_FAILURE(expect_whole(bench));
  bench.expect_image(bench.b, "data", "kept", kept_);
  bench.expect_image(bench.b, "data", "alone", alone);
}

// The power goes in the very step after which the points behind the gap are shown, and nobody tells it again.
TEST_F(PairResync, WhatIsShownBehindTheGapIsShownAfterAPowerCut) {
  PairBench bench(83);
  ASSERT_NO_FATAL_FAILURE(part(bench));
  ASSERT_TRUE(bench.resync(bench.a).ok());
  const auto newest_shown = [&bench] { return bench.b.group().takeover_point(); };
  const LogId before = newest_shown();
  while (newest_shown() == before) ASSERT_GT(bench.world.run_steps(1), 0u);
  const LogId shown = newest_shown();
  bench.world.network().cut();
  bench.b.power_cut();
  ASSERT_NO_FATAL_FAILURE(bench.b.start());
  const auto readable = bench.b.group().check_readable(shown);
  EXPECT_TRUE(readable.ok()) << readable.error().message;
}

TEST_F(PairResync, VolumesMadeGrownAndDeletedMeanwhileAreAsOnThePrimary) {
  PairBench bench(74);
  bench.make_group(bench.a, {"data", "logs"});
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  ASSERT_TRUE(bench.write(bench.a, "logs", 2, 22).ok());
  ASSERT_TRUE(bench.mark(bench.a, "kept", WaitFor::kPeer).ok());
  bench.b.kill();
  control::VolumeDeleteRequest gone;
  gone.group = kGroup;
  gone.volume = "logs";
  ASSERT_TRUE(bench.run(bench.a.node->volume_delete(gone)).ok());
  control::VolumeCreateRequest made;
  made.group = kGroup;
  made.volume = "more";
  made.size_bytes = kVolumeBlocks * kBlockSizeBytes;
  ASSERT_TRUE(bench.run(bench.a.node->volume_create(made)).ok());
  ASSERT_TRUE(bench.write(bench.a, "more", 5, 55).ok());
  control::VolumeResizeRequest grown;
  grown.group = kGroup;
  grown.volume = "data";
  grown.size_bytes = 2 * kVolumeBlocks * kBlockSizeBytes;
  ASSERT_TRUE(bench.run(bench.a.node->volume_resize(grown)).ok());
  ASSERT_TRUE(bench.write(bench.a, "data", 2 * kVolumeBlocks - 1, 95).ok());
  ASSERT_NO_FATAL_FAILURE(fill_journal(bench));
  ASSERT_NO_FATAL_FAILURE(bench.b.start());
  ASSERT_TRUE(bench.resync(bench.a).ok());
  ASSERT_TRUE(bench.wait_caught_up()) << bench.status(bench.a).state_reason;
  bench.expect_same({"data", "more"});
  EXPECT_EQ((*bench.read(bench.b, "more"))[5], 55u);
  EXPECT_EQ((*bench.read(bench.b, "logs", "kept"))[2], 22u);
  EXPECT_FALSE(bench.read(bench.b, "logs").ok());
}

TEST_F(PairResync, AMarkThatWasDeletedMeanwhileIsGoneAndOneThatWasHeldIsHeld) {
  PairBench bench(75);
  ASSERT_NO_FATAL_FAILURE(part(bench));
  control::MarkDeleteRequest change;
  change.group = kGroup;
  change.id = "kept";
  ASSERT_TRUE(bench.run(bench.a.node->mark_delete(change)).ok());
  ASSERT_TRUE(bench.resync(bench.a).ok());
  ASSERT_NO_FATAL_FAILURE(expect_whole(bench));
  EXPECT_EQ(bench.b.group().state().find_mark("kept"), nullptr);
  EXPECT_NE(bench.b.group().state().find_mark("lost"), nullptr);
}

TEST_F(PairResync, AJournalTooSmallForBothWindowAndDifferencesStopsItAndLosesNothing) {
  PairBench bench(76);
  bench.make_group(bench.a, {"data"});
  control::VolumeCreateRequest made;
  made.group = kGroup;
  made.volume = "large";
  constexpr std::uint64_t kLargeBytes = 24 << 20;  // more than the journal
  made.size_bytes = kLargeBytes;
  ASSERT_TRUE(bench.run(bench.a.node->volume_create(made)).ok());
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  ASSERT_TRUE(bench.write(bench.a, "data", 1, 10).ok());
  ASSERT_TRUE(bench.mark(bench.a, "older", WaitFor::kPeer).ok());
  auto target = bench.run(bench.a.node->open("app/large", "host"));
  ASSERT_TRUE(target.ok());
  for (std::uint64_t at = 0; at < kLargeBytes / 8; at += 1 << 20) {
    Buffer data = Buffer::allocate(1 << 20);
    std::memset(data.data(), 0x77, data.size());
    ASSERT_TRUE(bench.run((*target)->write(at, data, false)).ok()) << at;
  }
  ASSERT_TRUE(bench.write(bench.a, "data", 1, 11).ok());
  ASSERT_TRUE(bench.mark(bench.a, "kept", WaitFor::kPeer).ok());
  bench.b.kill();
  for (std::uint64_t at = 0; at < kLargeBytes; at += 1 << 20) {
    Buffer data = Buffer::allocate(1 << 20);
    std::memset(data.data(), static_cast<int>(at >> 20) + 1, data.size());
    ASSERT_TRUE(bench.run((*target)->write(at, data, false)).ok()) << at;
  }
  target = fail(ErrorCode::kClosed, "");
  ASSERT_EQ(bench.state(bench.a), PairState::kPsue);
  ASSERT_NO_FATAL_FAILURE(bench.b.start());
  ASSERT_TRUE(bench.read(bench.b, "data", "older").ok());
  ASSERT_TRUE(bench.resync(bench.a).ok());
  ASSERT_TRUE(bench.wait_for([&] { return bench.state(bench.a) == PairState::kPsue; }));
  const std::string reason = bench.status(bench.a).state_reason;
  EXPECT_NE(reason.find("--give-up-window"), std::string::npos) << reason;
  // All of the window, not its end alone.
  for (const auto& [mark, value] : {std::pair("older", 10u), std::pair("kept", 11u)}) {
    const auto image = bench.read(bench.b, "data", mark);
    ASSERT_TRUE(image.ok()) << image.error().message;
    EXPECT_EQ((*image)[1], value) << mark;
  }
  // What it lacks is no finding of a comparison.
  control::PairVerifyRequest verify;
  verify.group = kGroup;
  ASSERT_TRUE(bench.run(bench.a.node->pair_verify(verify)).ok());
  control::PairVerifyStatusRequest ask;
  ask.group = kGroup;
  const auto state = [&] { return bench.run(bench.a.node->pair_verify_status(ask))->state; };
  ASSERT_TRUE(bench.wait_for([&] { return state() != control::CompareState::kRunning; }));
  EXPECT_EQ(state(), control::CompareState::kFailed);
  const std::string why = bench.run(bench.a.node->pair_verify_status(ask))->reason;
  EXPECT_NE(why.find("osaka follows behind a gap"), std::string::npos) << why;
  ASSERT_TRUE(bench.resync(bench.a, true).ok());
  ASSERT_TRUE(bench.wait_caught_up());
  bench.expect_same({"data", "large"});
}

TEST_F(PairResync, ARestoreIntoTheGapIsFollowedOverAnother) {
  PairBench bench(77);
  ASSERT_NO_FATAL_FAILURE(part(bench));
  ASSERT_TRUE(bench.mark(bench.a, "missed").ok());
  const Image missed = *bench.read(bench.a, "data");
  ASSERT_TRUE(bench.write(bench.a, "data", 2, 22).ok());
  ASSERT_TRUE(bench.resync(bench.a).ok());
  ASSERT_NO_FATAL_FAILURE(expect_whole(bench));
  ASSERT_TRUE(bench.restore(bench.a, "missed").ok());
  ASSERT_TRUE(bench.wait_for([&] { return bench.state(bench.a) == PairState::kPsue; }));
  const auto resynced = bench.resync(bench.a);
  ASSERT_TRUE(resynced.ok()) << resynced.error().message;
  ASSERT_NO_FATAL_FAILURE(expect_whole(bench));
  bench.expect_image(bench.b, "data", "", missed);
  bench.expect_image(bench.b, "data", "kept", kept_);
}

// Made smaller in the middle of what is to be written again.
TEST_F(PairResync, AVolumeThatShrinksMeanwhileIsWholeUpToItsNewEnd) {
  PairBench bench(81);
  ASSERT_NO_FATAL_FAILURE(part(bench));
  control::PairSetRequest rate;
  rate.group = kGroup;
  rate.copy_rate_bytes = 4 * kBlockSizeBytes;
  ASSERT_TRUE(bench.run(bench.a.node->pair_set(rate)).ok());
  ASSERT_TRUE(bench.resync(bench.a).ok());
  bench.world.run_for(Duration::seconds(2));
  ASSERT_EQ(bench.state(bench.a), PairState::kCopy);
  control::VolumeResizeRequest shrunk;
  shrunk.group = kGroup;
  shrunk.volume = "data";
  shrunk.size_bytes = 18 * kBlockSizeBytes;
  shrunk.shrink = true;
  const auto resized = bench.run(bench.a.node->volume_resize(shrunk));
  ASSERT_TRUE(resized.ok()) << resized.error().message;
  ASSERT_NO_FATAL_FAILURE(expect_whole(bench));
}

// Of a branch that the primary had meanwhile and left again, by its time.
TEST_F(PairResync, ATimeInABranchThatNeverCameIsInTheGap) {
  PairBench bench(82);
  bench.make_group(bench.a, {"data", "logs"});
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  ASSERT_TRUE(bench.write(bench.a, "data", 1, 11).ok());
  ASSERT_TRUE(bench.mark(bench.a, "kept", WaitFor::kPeer).ok());
  bench.b.kill();
  bench.world.run_for(Duration::seconds(1));
  ASSERT_TRUE(bench.write(bench.a, "data", 1, 12).ok());
  ASSERT_TRUE(bench.mark(bench.a, "tail").ok());
  bench.world.run_for(Duration::seconds(1));
  ASSERT_TRUE(bench.restore(bench.a, "kept").ok());
  ASSERT_TRUE(bench.write(bench.a, "data", 1, 13).ok());
  ASSERT_TRUE(bench.mark(bench.a, "branch").ok());
  bench.world.run_for(Duration::seconds(1));
  ASSERT_TRUE(bench.write(bench.a, "data", 1, 14).ok());
  ASSERT_TRUE(bench.restore(bench.a, "kept").ok());
  ASSERT_NO_FATAL_FAILURE(fill_journal(bench));
  ASSERT_NO_FATAL_FAILURE(bench.b.start());
  ASSERT_TRUE(bench.resync(bench.a).ok());
  ASSERT_NO_FATAL_FAILURE(expect_whole(bench));
  for (const char* id : {"tail", "branch"}) {
    const group::Mark* mark = bench.b.group().state().find_mark(id);
    ASSERT_NE(mark, nullptr) << id;
    for (const Duration after : {Duration{}, Duration::milliseconds(500)}) {
      EXPECT_EQ(code_of(bench, "time:" + format_time(mark->timer + after)), ErrorCode::kInGap) << id;
    }
  }
  EXPECT_EQ((*bench.read(bench.b, "data", "kept"))[1], 11u);
}

// A mark that is held on the primary and fell into the gap holds nothing on the secondary.
TEST_F(PairResync, AHeldMarkInTheGapDoesNotKeepTheSecondaryFromGoingOn) {
  PairBench bench(83);
  ASSERT_NO_FATAL_FAILURE(part(bench));
  ASSERT_TRUE(bench.mark(bench.a, "held").ok());
  control::MarkHoldRequest hold;
  hold.group = kGroup;
  hold.id = "held";
  ASSERT_TRUE(bench.run(bench.a.node->mark_hold(hold)).ok());
  ASSERT_TRUE(bench.resync(bench.a).ok());
  ASSERT_NO_FATAL_FAILURE(expect_whole(bench));
  control::MarkReleaseRequest release;
  release.group = kGroup;
  release.id = "held";
  // Room on the primary; the secondary needs its own, whatever it knows to be held.
  ASSERT_NO_FATAL_FAILURE(fill_half(bench));
  ASSERT_TRUE(bench.run(bench.a.node->mark_release(release)).ok());
  ASSERT_NO_FATAL_FAILURE(fill_journal(bench));
  ASSERT_NO_FATAL_FAILURE(expect_whole(bench));
}

TEST_F(PairResync, AResyncThatIsRefusedChangesNothing) {
  PairBench bench(84);
  ASSERT_NO_FATAL_FAILURE(part(bench));
  const auto before = bench.a.group().local().pair;
  bench.b.kill();
  EXPECT_FALSE(bench.resync(bench.a).ok());
  EXPECT_EQ(bench.state(bench.a), PairState::kPsue);
  EXPECT_EQ(bench.a.group().local().pair, before);
  ASSERT_NO_FATAL_FAILURE(bench.b.start());
  ASSERT_TRUE(bench.resync(bench.a).ok());
  ASSERT_NO_FATAL_FAILURE(expect_whole(bench));
}

TEST_F(PairResync, APrimaryWhoseGroupHasStoppedTakesNoWindowFromItsPeer) {
  PairBench bench(31);
  ASSERT_NO_FATAL_FAILURE(part(bench));
  bench.a.disk.fail_write_after(1);
  (void)bench.write(bench.a, "data", 1, 1);
  ASSERT_TRUE(bench.wait_for([&] { return bench.a.group().failure().has_value(); }));
  for (const bool give_up_window : {false, true}) {
    const auto refused = bench.resync(bench.a, give_up_window);
    ASSERT_FALSE(refused.ok());
    EXPECT_NE(refused.error().message.find("has stopped"), std::string::npos) << refused.error().message;
  }
  EXPECT_TRUE(bench.read(bench.b, "data", "kept").ok()) << "it could have sent nothing in its place";
}

TEST_F(PairResync, ItsRateIsHeldAndCanBeChangedWhileItRuns) {
  PairBench bench(79);
  ASSERT_NO_FATAL_FAILURE(part(bench));
  control::PairSetRequest rate;
  rate.group = kGroup;
  rate.copy_rate_bytes = 1;
  EXPECT_EQ(bench.run(bench.a.node->pair_set(rate)).error().code, ErrorCode::kInvalid);
  rate.copy_rate_bytes = 2 * kBlockSizeBytes;
  ASSERT_TRUE(bench.run(bench.a.node->pair_set(rate)).ok());
  EXPECT_EQ(bench.status(bench.a).copy_rate_bytes, 2 * kBlockSizeBytes);
  ASSERT_TRUE(bench.resync(bench.a).ok());
  // 49 blocks, two a second.
  bench.world.run_for(Duration::seconds(10));
  EXPECT_EQ(bench.state(bench.a), PairState::kCopy);
  const std::uint64_t done = bench.status(bench.a).copy_done_bytes;
  EXPECT_GE(done, 18 * kBlockSizeBytes);
  EXPECT_LE(done, 24 * kBlockSizeBytes);
  rate.copy_rate_bytes = 0;
  ASSERT_TRUE(bench.run(bench.a.node->pair_set(rate)).ok());
  bench.world.run_for(Duration::seconds(1));
  EXPECT_EQ(bench.state(bench.a), PairState::kPair);
  ASSERT_NO_FATAL_FAILURE(expect_whole(bench));
}

TEST_F(PairResync, TheRateOfAFirstCopyIsHeldToo) {
  PairBench bench(80);
  bench.make_group(bench.a, {"data", "more"});
  for (const char* volume : {"data", "more"}) {
    for (std::uint32_t block = 0; block < kVolumeBlocks; ++block) {
      ASSERT_TRUE(bench.write(bench.a, volume, block, block + 1).ok());
    }
  }
  control::PairCreateRequest create;
  create.group = kGroup;
  create.peer_address = bench.b.address();
  create.copy_rate_bytes = kVolumeBlocks * kBlockSizeBytes / 10;
  ASSERT_TRUE(bench.run(bench.a.node->pair_create(create)).ok());
  // The first volume at once, the second ten seconds later; writes meanwhile do not wait for that.
  bench.world.run_for(Duration::seconds(8));
  EXPECT_EQ(bench.state(bench.a), PairState::kCopy);
  ASSERT_TRUE(bench.write(bench.a, "data", 3, 333).ok());
  ASSERT_TRUE(bench.wait_for([&] { return bench.state(bench.a) == PairState::kPair; }, Duration::seconds(4)));
  ASSERT_TRUE(bench.wait_caught_up());
  bench.expect_same({"data", "more"});
}

// Either node loses its power anywhere while hosts write; what becomes of it is always the same.
TEST_P(PairResync, ACrashAnywhereIsMadeGood) {
  PairBench bench(GetParam());
  ASSERT_NO_FATAL_FAILURE(part(bench));
  bench.world.network().set_options(
      {.latency_min = Duration::milliseconds(1), .latency_max = Duration::milliseconds(3)});
  const std::uint64_t after_ms = GetParam() % 60;
  control::PairResyncRequest request;
  request.group = kGroup;
  const auto ask = [](io::Task<Result<control::PairStatus>> task) -> io::Task<void> {
    (void)co_await std::move(task);
  };
  bench.a.process->tasks().spawn(ask(bench.a.node->pair_resync(request)));
  bench.world.run_for(Duration::milliseconds(static_cast<std::int64_t>(after_ms)));
  Machine& victim = GetParam() % 2 == 0 ? bench.a : bench.b;
  victim.power_cut();
  if (GetParam() % 2 == 1) (void)bench.write(bench.a, "data", 7, 77);
  bench.world.run_for(Duration::milliseconds(200));
  ASSERT_NO_FATAL_FAILURE(victim.start());
  // The secondary can show what it could, whatever came of it.
  bench.expect_image(bench.b, "data", "kept", kept_);
  (void)bench.wait_for([&] { return bench.state(bench.a) == PairState::kPair; }, Duration::seconds(10));
  if (bench.state(bench.a) != PairState::kPair) {
    const auto resynced = bench.resync(bench.a);
    ASSERT_TRUE(resynced.ok()) << resynced.error().message;
  }
  ASSERT_TRUE(bench.write(bench.a, "logs", 9, 99).ok());
  ASSERT_NO_FATAL_FAILURE(expect_whole(bench));
  bench.expect_image(bench.b, "data", "kept", kept_);
  EXPECT_EQ(code_of(bench, "lost"), ErrorCode::kInGap);
}

INSTANTIATE_TEST_SUITE_P(Seeds, PairResync, testing::Range<std::uint64_t>(1000, 1060));

}  // namespace
}  // namespace tidemark::node
