// Two nodes and a pair between them: what it carries over, and what its commands do.

#include "pair_bench.h"

namespace tidemark::node {
namespace {

using control::PairState;
using control::WaitFor;

Image blank() {
  return Image(kVolumeBlocks, 0);
}

// Writes blocks one after the other, over and over, and keeps what was acknowledged.
io::Task<void> write_on_and_on(io::Scheduler* scheduler, Machine* machine, std::string volume, Image* image,
                               std::uint32_t first, const bool* stop) {
  std::uint32_t value = first;
  while (!*stop && machine->node != nullptr) {
    const std::uint64_t block = value * 7 % kVolumeBlocks;
    auto target = co_await machine->node->open(kGroup + ("/" + volume), "writer");
    if (!target.ok()) co_return;
    Buffer data = block_of(value);
    auto written = co_await (*target)->write(block * kBlockSizeBytes, std::move(data), false);
    if (!written.ok()) co_return;
    (*image)[block] = value++;
    co_await scheduler->sleep_for(Duration::microseconds(300));
  }
}

TEST(Pair, AFirstCopyTakesOverWhatWasThereWhileWritesGoOn) {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    SCOPED_TRACE(seed);
    PairBench bench(seed);
    bench.make_group(bench.a, {"data", "wal"});
    Image data = blank();
    Image wal = blank();
    for (std::uint32_t i = 0; i < kVolumeBlocks; i += 3) {
      ASSERT_TRUE(bench.write(bench.a, "data", i, 100 + i).ok());
      data[i] = 100 + i;
    }
    ASSERT_TRUE(bench.mark(bench.a, "before-the-pair").ok());
    bool stop = false;
    io::TaskScope writers(bench.world);
    writers.spawn(write_on_and_on(&bench.world, &bench.a, "data", &data, 1000, &stop));
    writers.spawn(write_on_and_on(&bench.world, &bench.a, "wal", &wal, 5000, &stop));
    ASSERT_NO_FATAL_FAILURE(bench.pair_up());
    bench.world.run_for(Duration::milliseconds(20));
    ASSERT_TRUE(bench.mark(bench.a, "in-pair", WaitFor::kPeer).ok());
    stop = true;
    bench.run(writers.join());
    ASSERT_TRUE(bench.wait_caught_up());
    bench.expect_image(bench.a, "data", {}, data);
    bench.expect_image(bench.b, "data", {}, data);
    bench.expect_image(bench.b, "wal", {}, wal);
    bench.expect_same({"data", "wal"});
    // The copy has no past of before: its window opens where it ended.
    const LogId start = bench.b.group().local().window_start;
    ASSERT_FALSE(start.is_none());
    const auto before = bench.read(bench.b, "data", "before-the-pair");
    EXPECT_EQ(before.error().code, ErrorCode::kInGap);
    EXPECT_NE(before.error().message.find("opened at log:" + start.to_string()), std::string::npos)
        << before.error().message;
    const WallTime then = bench.b.group().state().find_mark("before-the-pair")->timer;
    EXPECT_EQ(bench.read(bench.b, "data", "time:" + format_time(then)).error().code, ErrorCode::kInGap);
    const control::PairStatus there = bench.status(bench.b);
    EXPECT_EQ(there.peer_node, "kyoto");
    EXPECT_EQ(there.role, control::GroupRole::kSecondary);
    EXPECT_EQ(bench.status(bench.a).peer_node, "osaka");
  }
}

TEST(Pair, NothingIsReadableOnTheSecondaryUntilItsCopyIsComplete) {
  PairBench bench(5);
  bench.make_group(bench.a, {"data"});
  ASSERT_TRUE(bench.write(bench.a, "data", 1, 7).ok());
  bench.world.network().cut();
  bench.world.network().heal();
  ASSERT_TRUE(bench.pair_create(bench.a, bench.b).ok());
  bench.world.network().cut();
  ASSERT_EQ(bench.state(bench.b), PairState::kCopy);
  EXPECT_EQ(bench.read(bench.b, "data").error().code, ErrorCode::kBusy);
  EXPECT_EQ(bench.read(bench.b, "data", "head").error().code, ErrorCode::kInGap);
  bench.world.network().heal();
  ASSERT_TRUE(bench.wait_caught_up());
  EXPECT_EQ(bench.read(bench.b, "data")->at(1), 7u);
}

TEST(Pair, AMarkThatWaitsForThePeerIsReadableThereWhenItAnswers) {
  PairBench bench(6);
  bench.make_group(bench.a, {"data"});
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  Image image = blank();
  for (std::uint32_t i = 1; i <= 20; ++i) {
    ASSERT_TRUE(bench.write(bench.a, "data", i, i).ok());
    image[i] = i;
    const std::string id = "m" + std::to_string(i);
    ASSERT_TRUE(bench.mark(bench.a, id, WaitFor::kPeer).ok());
    ASSERT_TRUE(bench.b.group().state().find_mark(id) != nullptr);
    ASSERT_TRUE(bench.b.group().journal().durable().raw() >=
                bench.b.group().state().find_mark(id)->entry.raw());
    bench.expect_image(bench.b, "data", id, image);
  }
}

TEST(Pair, TheSecondaryTakesNoWritesChangesOrRestores) {
  PairBench bench(7);
  bench.make_group(bench.a, {"data"});
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  EXPECT_EQ(bench.write(bench.b, "data", 1, 1).error().code, ErrorCode::kReadOnly);
  control::VolumeCreateRequest create;
  create.group = kGroup;
  create.volume = "more";
  create.size_bytes = kBlockSizeBytes;
  control::MarkHoldRequest hold;
  hold.group = kGroup;
  hold.id = "m";
  for (const Error& refusal : {bench.run(bench.b.node->volume_create(create)).error(),
                               bench.run(bench.b.node->mark_hold(hold)).error()}) {
    EXPECT_EQ(refusal.code, ErrorCode::kRefused);
    EXPECT_NE(refusal.message.find("say it on the primary, kyoto"), std::string::npos) << refusal.message;
  }
  EXPECT_EQ(bench.restore(bench.b, "head").error().code, ErrorCode::kRefused);
}

TEST(Pair, VolumesMadeResizedAndDeletedFollow) {
  PairBench bench(8);
  bench.make_group(bench.a, {"data"});
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  control::VolumeCreateRequest create;
  create.group = kGroup;
  create.volume = "late";
  create.size_bytes = 8 * kBlockSizeBytes;
  ASSERT_TRUE(bench.run(bench.a.node->volume_create(create)).ok());
  ASSERT_TRUE(bench.write(bench.a, "late", 3, 33).ok());
  control::VolumeResizeRequest resize;
  resize.group = kGroup;
  resize.volume = "late";
  resize.size_bytes = 16 * kBlockSizeBytes;
  ASSERT_TRUE(bench.run(bench.a.node->volume_resize(resize)).ok());
  ASSERT_TRUE(bench.write(bench.a, "late", 12, 44).ok());
  ASSERT_TRUE(bench.mark(bench.a, "with-late", WaitFor::kPeer).ok());
  Image late(16, 0);
  late[3] = 33;
  late[12] = 44;
  bench.expect_image(bench.b, "late", {}, late);
  control::VolumeDeleteRequest remove;
  remove.group = kGroup;
  remove.volume = "late";
  ASSERT_TRUE(bench.run(bench.a.node->volume_delete(remove)).ok());
  ASSERT_TRUE(bench.wait_caught_up());
  EXPECT_EQ(bench.read(bench.b, "late").error().code, ErrorCode::kNotFound);
  bench.expect_image(bench.b, "late", "with-late", late);
}

TEST(Pair, ARestoreOnThePrimaryIsFollowedAndUndone) {
  PairBench bench(9);
  bench.make_group(bench.a, {"data"});
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  Image good = blank();
  for (std::uint32_t i = 0; i < 10; ++i) {
    ASSERT_TRUE(bench.write(bench.a, "data", i, 10 + i).ok());
    good[i] = 10 + i;
  }
  ASSERT_TRUE(bench.mark(bench.a, "good").ok());
  Image bad = good;
  for (std::uint32_t i = 5; i < 15; ++i) {
    ASSERT_TRUE(bench.write(bench.a, "data", i, 666).ok());
    bad[i] = 666;
  }
  ASSERT_TRUE(bench.mark(bench.a, "bad").ok());
  ASSERT_TRUE(bench.wait_caught_up());
  const LogId before = bench.b.group().head();
  const auto restored = bench.restore(bench.a, "good");
  ASSERT_TRUE(restored.ok()) << restored.error().message;
  ASSERT_TRUE(bench.wait_caught_up());
  // One entry, the first of the new epoch.
  EXPECT_EQ(bench.b.group().head(), LogId(Epoch{*restored->new_epoch}, 1));
  EXPECT_NE(bench.b.group().head().epoch(), before.epoch());
  bench.expect_image(bench.a, "data", {}, good);
  bench.expect_image(bench.b, "data", {}, good);
  bench.expect_image(bench.b, "data", "bad", bad);
  // Back to the branch just left.
  ASSERT_TRUE(bench.restore(bench.a, "bad").ok());
  ASSERT_TRUE(bench.write(bench.a, "data", 40, 40).ok());
  bad[40] = 40;
  ASSERT_TRUE(bench.wait_caught_up());
  bench.expect_image(bench.b, "data", {}, bad);
  bench.expect_same({"data"});
}

TEST(Pair, WhatASuspendedSecondaryWroteAloneStaysReadableAfterAResync) {
  PairBench bench(10);
  bench.make_group(bench.a, {"data"});
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  Image base = blank();
  ASSERT_TRUE(bench.write(bench.a, "data", 1, 11).ok());
  base[1] = 11;
  ASSERT_TRUE(bench.mark(bench.a, "common", WaitFor::kPeer).ok());
  ASSERT_TRUE(bench.write(bench.a, "data", 2, 22).ok());
  ASSERT_TRUE(bench.wait_caught_up());
  ASSERT_TRUE(bench.suspend(bench.a).ok());
  ASSERT_TRUE(bench.wait_for([&] { return bench.state(bench.b) == PairState::kPsus; }));
  // The primary goes on, and the secondary goes its own way.
  ASSERT_TRUE(bench.write(bench.a, "data", 3, 33).ok());
  ASSERT_TRUE(bench.mark(bench.a, "primary-alone").ok());
  const auto restored = bench.restore(bench.b, "common");
  ASSERT_TRUE(restored.ok()) << restored.error().message;
  EXPECT_EQ(bench.state(bench.b), PairState::kSsws);
  bench.expect_image(bench.b, "data", {}, base);
  Image own = base;
  ASSERT_TRUE(bench.write(bench.b, "data", 4, 444).ok());
  own[4] = 444;
  ASSERT_TRUE(bench.mark(bench.b, "secondary-alone").ok());
  ASSERT_TRUE(bench.write(bench.b, "data", 5, 555).ok());
  Image own_head = own;
  own_head[5] = 555;
  const LogId own_last = bench.b.group().head();

  const auto resynced = bench.resync(bench.a, false, control::ResyncFrom::kPrimary);
  ASSERT_TRUE(resynced.ok()) << resynced.error().message;
  ASSERT_TRUE(bench.wait_caught_up());
  EXPECT_EQ(bench.state(bench.b), PairState::kPair);
  Image expected = base;
  expected[2] = 22;
  expected[3] = 33;
  bench.expect_image(bench.a, "data", {}, expected);
  bench.expect_image(bench.b, "data", {}, expected);
  EXPECT_EQ(bench.write(bench.b, "data", 1, 1).error().code, ErrorCode::kReadOnly);
  // The branch that was left: listed, held, and readable at each of its points.
  bool listed = false;
  for (const control::BranchInfo& branch : bench.branches(bench.b)) {
    if (branch.epoch != own_last.epoch().value) continue;
    listed = true;
    EXPECT_FALSE(branch.live);
    EXPECT_TRUE(branch.held);
  }
  EXPECT_TRUE(listed);
  bench.expect_image(bench.b, "data", "secondary-alone", own);
  bench.expect_image(bench.b, "data", "log:" + own_last.to_string(), own_head);
  // And streaming goes on.
  ASSERT_TRUE(bench.write(bench.a, "data", 6, 66).ok());
  expected[6] = 66;
  ASSERT_TRUE(bench.mark(bench.a, "later", WaitFor::kPeer).ok());
  bench.expect_image(bench.b, "data", "later", expected);
  // A restart finds the same.
  ASSERT_NO_FATAL_FAILURE(bench.b.stop());
  ASSERT_NO_FATAL_FAILURE(bench.b.start());
  bench.expect_image(bench.b, "data", "secondary-alone", own);
  bench.expect_image(bench.b, "data", "log:" + own_last.to_string(), own_head);
  ASSERT_TRUE(bench.wait_caught_up());
  bench.expect_same({"data"});
}

// A restore there begins while what came last is not durable yet, and the power goes at any moment of it.
TEST(Pair, ASecondaryThatIsCutOffWhileItIsRestoredHasItsOwnEpochOrFollows) {
  bool done = false;
  for (std::uint64_t steps = 0; !done; ++steps) {
    PairBench bench(32);
    bench.make_group(bench.a, {"data"});
    ASSERT_NO_FATAL_FAILURE(bench.pair_up());
    ASSERT_TRUE(bench.write(bench.a, "data", 1, 11, true).ok());
    ASSERT_TRUE(bench.wait_caught_up());
    const LogId before = bench.b.group().head();
    bench.b.disk.slow_down(Duration::milliseconds(2));
    ASSERT_TRUE(bench.write(bench.a, "data", 2, 22, true).ok());
    ASSERT_TRUE(bench.wait_for([&] { return bench.b.group().head() != before; }));
    bench.b.disk.slow_down(Duration{});
    const auto alone = [](Node* node, bool* ended) -> io::Task<void> {
      control::PairSuspendRequest suspend;
      suspend.group = kGroup;
      (void)co_await node->pair_suspend(suspend);
      control::RestoreRequest restore;
      restore.group = kGroup;
      restore.point = "head";
      (void)co_await node->restore(restore);
      *ended = true;
    };
    bench.b.process->tasks().spawn(alone(bench.b.node, &done));
    for (std::uint64_t i = 0; i < steps && !done; ++i) bench.world.run_steps(1);
    bench.b.power_cut();
    bench.b.start();
    const bool own_epoch = bench.b.group().head().epoch().value % 2 == 0;
    EXPECT_EQ(bench.b.group().check_accepting().ok(), own_epoch) << "after " << steps << " steps";
    EXPECT_EQ(bench.state(bench.b) == PairState::kSsws, own_epoch) << "after " << steps << " steps";
    if (testing::Test::HasFailure()) return;
  }
}

TEST(Pair, ASecondaryThatWritesAloneDoesSoAfterARestartToo) {
  PairBench bench(11);
  bench.make_group(bench.a, {"data"});
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  ASSERT_TRUE(bench.write(bench.a, "data", 1, 11).ok());
  ASSERT_TRUE(bench.wait_caught_up());
  ASSERT_TRUE(bench.suspend(bench.b).ok());
  ASSERT_TRUE(bench.wait_for([&] { return bench.state(bench.a) == PairState::kPsus; }));
  ASSERT_TRUE(bench.restore(bench.b, "head").ok());
  ASSERT_TRUE(bench.write(bench.b, "data", 2, 22, true).ok());
  bench.b.power_cut();
  ASSERT_NO_FATAL_FAILURE(bench.b.start());
  EXPECT_EQ(bench.state(bench.b), PairState::kSsws);
  EXPECT_EQ(bench.read(bench.b, "data")->at(2), 22u);
  ASSERT_TRUE(bench.write(bench.b, "data", 3, 33).ok());
  ASSERT_TRUE(bench.resync(bench.a, false, control::ResyncFrom::kPrimary).ok());
  ASSERT_TRUE(bench.wait_caught_up());
  EXPECT_EQ(bench.read(bench.b, "data")->at(2), 0u);
}

// Both sides gave the same ids while they were apart. After the resync an id means the same on both.
TEST(Pair, AMarkIdThatBothSidesGaveMeansThePrimarysOnBoth) {
  PairBench bench(16);
  bench.make_group(bench.a, {"data"});
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  ASSERT_TRUE(bench.suspend(bench.a).ok());
  ASSERT_TRUE(bench.wait_for([&] { return bench.state(bench.b) == PairState::kPsus; }));
  ASSERT_TRUE(bench.restore(bench.b, "head").ok());
  Image own = blank();
  own[1] = 99;
  ASSERT_TRUE(bench.write(bench.b, "data", 1, 99).ok());
  ASSERT_TRUE(bench.mark(bench.b, "same").ok());
  ASSERT_TRUE(bench.mark(bench.b, "later-there").ok());
  const std::string aside = "same~" + std::to_string(bench.b.group().live_epoch().value);
  Image expected = blank();
  expected[1] = 11;
  ASSERT_TRUE(bench.write(bench.a, "data", 1, 11).ok());
  ASSERT_TRUE(bench.mark(bench.a, "same").ok());
  ASSERT_TRUE(bench.resync(bench.a, false, control::ResyncFrom::kPrimary).ok());
  ASSERT_TRUE(bench.wait_caught_up());
  bench.expect_image(bench.a, "data", "same", expected);
  bench.expect_image(bench.b, "data", "same", expected);
  bench.expect_image(bench.b, "data", aside, own);
  // An id that only the secondary knew is given on the primary.
  ASSERT_TRUE(bench.mark(bench.a, "later-there", WaitFor::kPeer).ok());
  bench.expect_image(bench.b, "data", "later-there", expected);
  // What is done to the primary's mark is done to no other.
  control::MarkDeleteRequest remove;
  remove.group = kGroup;
  remove.id = "same";
  ASSERT_TRUE(bench.run(bench.a.node->mark_delete(remove)).ok());
  ASSERT_TRUE(bench.wait_caught_up());
  EXPECT_EQ(bench.read(bench.b, "data", "same").error().code, ErrorCode::kNotFound);
  bench.expect_image(bench.b, "data", aside, own);
  bench.b.power_cut();
  ASSERT_NO_FATAL_FAILURE(bench.b.start());
  bench.expect_image(bench.b, "data", aside, own);
  bench.expect_image(bench.b, "data", "later-there", expected);
}

TEST(Pair, ABranchThatAResyncLeftIsReleasedWhereItLies) {
  PairBench bench(17);
  bench.make_group(bench.a, {"data"});
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  ASSERT_TRUE(bench.suspend(bench.a).ok());
  ASSERT_TRUE(bench.wait_for([&] { return bench.state(bench.b) == PairState::kPsus; }));
  ASSERT_TRUE(bench.restore(bench.b, "head").ok());
  ASSERT_TRUE(bench.write(bench.b, "data", 1, 99).ok());
  const LogId own = bench.b.group().head();
  ASSERT_TRUE(bench.resync(bench.a, false, control::ResyncFrom::kPrimary).ok());
  ASSERT_TRUE(bench.wait_caught_up());
  control::BranchReleaseRequest request;
  request.group = kGroup;
  request.epoch = 1;
  const auto primarys = bench.run(bench.b.node->branch_release(request));
  ASSERT_FALSE(primarys.ok()) << "what the primary has too is the primary's to release";
  EXPECT_EQ(primarys.error().code, ErrorCode::kRefused);
  request.epoch = own.epoch().value;
  const auto released = bench.run(bench.b.node->branch_release(request));
  ASSERT_TRUE(released.ok()) << released.error().message;
  EXPECT_EQ(bench.read(bench.b, "data", "log:" + own.to_string()).error().code, ErrorCode::kExpired);
  bench.b.power_cut();
  ASSERT_NO_FATAL_FAILURE(bench.b.start());
  EXPECT_EQ(bench.read(bench.b, "data", "log:" + own.to_string()).error().code, ErrorCode::kExpired);
  ASSERT_TRUE(bench.write(bench.a, "data", 2, 22).ok());
  ASSERT_TRUE(bench.wait_caught_up());
  bench.expect_same({"data"});
}

TEST(Pair, DeletedOnThePrimaryBothGroupsGoOnAlone) {
  PairBench bench(12);
  bench.make_group(bench.a, {"data"});
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  ASSERT_TRUE(bench.write(bench.a, "data", 1, 11).ok());
  ASSERT_TRUE(bench.mark(bench.a, "together", WaitFor::kPeer).ok());
  ASSERT_TRUE(bench.pair_delete(bench.a).ok());
  ASSERT_TRUE(bench.wait_for([&] { return bench.state(bench.b) == PairState::kSmpl; }));
  EXPECT_EQ(bench.state(bench.a), PairState::kSmpl);
  ASSERT_TRUE(bench.write(bench.a, "data", 2, 22).ok());
  ASSERT_TRUE(bench.write(bench.b, "data", 2, 99).ok());
  EXPECT_EQ(bench.read(bench.a, "data")->at(2), 22u);
  EXPECT_EQ(bench.read(bench.b, "data")->at(2), 99u);
  EXPECT_EQ(bench.read(bench.b, "data", "together")->at(1), 11u);
}

TEST(Pair, DeletedOnTheSecondaryBothGroupsGoOnAlone) {
  PairBench bench(13);
  bench.make_group(bench.a, {"data"});
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  ASSERT_TRUE(bench.write(bench.a, "data", 1, 11).ok());
  ASSERT_TRUE(bench.wait_caught_up());
  ASSERT_TRUE(bench.pair_delete(bench.b).ok());
  ASSERT_TRUE(bench.wait_for([&] { return bench.state(bench.a) == PairState::kSmpl; }));
  ASSERT_TRUE(bench.write(bench.a, "data", 2, 22).ok());
  ASSERT_TRUE(bench.write(bench.b, "data", 2, 99).ok());
  ASSERT_NO_FATAL_FAILURE(bench.a.stop());
  ASSERT_NO_FATAL_FAILURE(bench.a.start());
  EXPECT_EQ(bench.state(bench.a), PairState::kSmpl);
  EXPECT_EQ(bench.read(bench.a, "data")->at(2), 22u);
}

// What is refused has no effect.
TEST(Pair, DeletedOnASecondaryWhoseCopyIsNotFinishedItGoesOn) {
  PairBench bench(15);
  bench.make_group(bench.a, {"data"});
  for (std::uint64_t block = 0; block < kVolumeBlocks; ++block)
    ASSERT_TRUE(bench.write(bench.a, "data", block, 100).ok());
  bench.b.disk.slow_down(Duration::milliseconds(300));
  ASSERT_TRUE(bench.pair_create(bench.a, bench.b).ok());
  ASSERT_EQ(bench.state(bench.b), PairState::kCopy);
  EXPECT_EQ(bench.pair_delete(bench.b).error().code, ErrorCode::kRefused);
  ASSERT_TRUE(bench.wait_for([&] { return bench.state(bench.a) == PairState::kPair; }));
  EXPECT_EQ(bench.read(bench.b, "data", "head")->at(1), 100u);
}

io::Task<void> dissolve(Node* node, std::optional<Result<control::Done>>* outcome) {
  control::PairDeleteRequest request;
  request.group = kGroup;
  outcome->emplace(co_await node->pair_delete(request));
}

// From then on the primary answers flushes alone: a secondary that comes back must not say that it has
// everything.
TEST(Pair, DeletedOnTheSecondaryIsKnownThereBeforeThePrimaryHearsOfIt) {
  bool was_dissolved = false;
  for (std::uint64_t steps = 0; !was_dissolved && !testing::Test::HasFailure(); ++steps) {
    SCOPED_TRACE(steps);
    PairBench bench(16);
    bench.make_group(bench.a, {"data"});
    control::PairCreateRequest create;
    create.group = kGroup;
    create.peer_address = bench.b.address();
    create.mode = control::PairMode::kSync;
    create.on_peer_loss = control::OnPeerLoss::kWait;
    ASSERT_TRUE(bench.run(bench.a.node->pair_create(create)).ok());
    ASSERT_TRUE(bench.wait_for([&] { return bench.status(bench.a).in_sync.value_or(false); }));
    std::optional<Result<control::Done>> outcome;
    bench.b.disk.slow_down(Duration::milliseconds(50));
    bench.b.process->tasks().spawn(dissolve(bench.b.node, &outcome));
    (void)bench.world.run_steps(steps);
    was_dissolved = outcome.has_value();
    bench.b.power_cut();
    bench.world.run_for(Duration::seconds(1));
    const bool primary_is_alone = bench.state(bench.a) == PairState::kSmpl;
    bench.b.disk.slow_down(Duration{});
    ASSERT_NO_FATAL_FAILURE(bench.b.start());
    if (primary_is_alone) {
      EXPECT_NE(bench.state(bench.b), PairState::kPair);
    }
  }
}

TEST(Pair, ASecondaryCanBeDeletedAndPairedAnew) {
  PairBench bench(14);
  bench.make_group(bench.a, {"data"});
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  ASSERT_TRUE(bench.write(bench.a, "data", 1, 11).ok());
  ASSERT_TRUE(bench.pair_delete(bench.a).ok());
  ASSERT_TRUE(bench.wait_for([&] { return bench.state(bench.b) == PairState::kSmpl; }));
  EXPECT_EQ(bench.pair_create(bench.a, bench.b).error().code, ErrorCode::kExists);
  control::GroupDeleteRequest request;
  request.group = kGroup;
  request.force = true;
  ASSERT_TRUE(bench.run(bench.b.node->group_delete(request)).ok());
  ASSERT_NO_FATAL_FAILURE(bench.pair_up());
  ASSERT_TRUE(bench.wait_caught_up());
  bench.expect_same({"data"});
}

TEST(Pair, ADeletionCutOffIsFinishedAtTheNextStart) {
  // A power cut at every few steps of a group's deletion: afterwards the group is whole, or gone.
  bool whole = false;
  bool gone = false;
  for (std::uint64_t steps = 0; steps < 4000; steps = steps * 5 / 4 + 1) {
    SCOPED_TRACE(steps);
    PairBench bench(15);
    bench.make_group(bench.a, {"data"});
    ASSERT_TRUE(bench.write(bench.a, "data", 1, 11, true).ok());
    io::TaskScope deleting(bench.world);
    deleting.spawn([](Node* node) -> io::Task<void> {
      control::GroupDeleteRequest request;
      request.group = kGroup;
      request.force = true;
      (void)co_await node->group_delete(request);
    }(bench.a.node));
    const bool done = bench.world.run_steps(steps) < steps;
    deleting.cancel_all();
    bench.a.power_cut();
    ASSERT_NO_FATAL_FAILURE(bench.a.start());
    if (bench.a.has_group()) {
      whole = true;
      EXPECT_EQ(bench.read(bench.a, "data")->at(1), 11u);
    } else {
      gone = true;
      ASSERT_NO_FATAL_FAILURE(bench.make_group(bench.a, {"data"}));
    }
    if (done) break;
  }
  EXPECT_TRUE(whole);
  EXPECT_TRUE(gone);
}

}  // namespace
}  // namespace tidemark::node
