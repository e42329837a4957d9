#include "raid_fixture.h"
#include "rounds.h"

namespace tidemark::raid {
namespace {

using format::RaidMemberState;
using sim::DiskFault;

class RaidRebuild : public RaidFixture {
 protected:
  RaidRebuild() { options.rebuild_piece_bytes = 16 * kKiB; }
  void wait() { world->run(group->wait_for_rebuild()); }
  io::Task<void> write_and_tell(BlockRange range, std::uint64_t stamp, Result<void>* result) {
    *result = co_await write_blocks(range, stamp, false);
  }
};

TEST_F(RaidRebuild, AReplacedMemberIsRebuiltUnderLoad) {
  for (const Shape& shape : all_shapes()) {
    if (shape.losses == 0) continue;
    ASSERT_NO_FATAL_FAILURE(start(3, shape));
    ASSERT_TRUE(work(40).ok());
    const std::uint32_t fresh = add_disk();
    ASSERT_TRUE(world->run(group->replace(1, named(fresh))).ok());
    const auto done = work(40);
    ASSERT_TRUE(done.ok()) << done.error().message;
    wait();
    EXPECT_EQ(group->status().rebuild_problem, "");
    EXPECT_EQ(group->status().health, GroupHealth::kOptimal) << level_name(shape.level);
    EXPECT_EQ(group->status().members[1].name, "d" + std::to_string(fresh));
    ASSERT_NO_FATAL_FAILURE(expect_model());
    ASSERT_NO_FATAL_FAILURE(expect_consistent(level_name(shape.level)));
    // The others may go now, as many as the level tolerates.
    for (std::uint32_t i = 0, lost = 0; i < shape.members && lost < shape.losses; ++i) {
      if (i == 1) continue;
      ASSERT_TRUE(world->run(group->fail_out(i)).ok());
      ++lost;
    }
    ASSERT_NO_FATAL_FAILURE(expect_model());
    ASSERT_TRUE(world->run(group->close()).ok());
    ASSERT_NO_FATAL_FAILURE(assemble());
    EXPECT_EQ(report_of(1).role, DiskRole::kFailed);
    EXPECT_EQ(report_of(fresh).role, DiskRole::kMember);
    ASSERT_NO_FATAL_FAILURE(expect_model());
  }
}

TEST_F(RaidRebuild, ASpareTakesThePlaceOfAMemberThatFails) {
  for (const Shape& shape : all_shapes()) {
    if (shape.losses == 0) continue;
    ASSERT_NO_FATAL_FAILURE(start(3, shape));
    const std::uint32_t spare = add_disk();
    ASSERT_TRUE(world->run(group->add_spare(named(spare))).ok());
    EXPECT_EQ(group->status().spares.size(), 1u);
    ASSERT_TRUE(world->run(group->close()).ok());
    ASSERT_NO_FATAL_FAILURE(assemble());
    EXPECT_EQ(report_of(spare).role, DiskRole::kSpare);
    ASSERT_TRUE(work(20).ok());
    disks[0]->inject(DiskFault::kWriteFails, 2);
    ASSERT_TRUE(work(60).ok());
    wait();
    EXPECT_EQ(group->status().health, GroupHealth::kOptimal) << level_name(shape.level);
    EXPECT_EQ(group->status().members[0].name, "d" + std::to_string(spare));
    EXPECT_TRUE(group->status().spares.empty());
    ASSERT_NO_FATAL_FAILURE(expect_model());
    ASSERT_NO_FATAL_FAILURE(expect_consistent(level_name(shape.level)));
  }
}

TEST_F(RaidRebuild, ARebuildThatIsCutAnywhereGoesOnAndKeepsWhatWasDurable) {
  options.rebuild_step_bytes = 128 * kKiB;
  const std::vector<Shape> shapes = {{format::RaidLevel::k1, 2, 65536, 1},
                                     {format::RaidLevel::k5, 3, 16384, 1},
                                     {format::RaidLevel::k6, 4, 16384, 2},
                                     {format::RaidLevel::k10, 4, 16384, 1}};
  for (const Shape& shape : shapes) {
    for (std::uint64_t seed = 1; seed <= rounds(15, 3); ++seed) {
      ASSERT_NO_FATAL_FAILURE(start(seed, shape, 2 * kMiB));
      ASSERT_TRUE(work(20).ok());
      const std::uint32_t fresh = add_disk();
      std::vector<Result<void>> results(3);
      scope = std::make_unique<io::TaskScope>(*world);
      scope->spawn([](RaidGroup* target, NamedDisk disk, Result<void>* out) -> io::Task<void> {
        *out = co_await target->replace(1, disk);
      }(group.get(), named(fresh), &results[0]));
      scope->spawn(run_worker(1000, &results[1]));
      scope->spawn(run_worker(1000, &results[2]));
      world->run_for(Duration::microseconds(static_cast<std::int64_t>(world->random().below(25000))));
      crash();
      const auto left = stored();
      // One more loss where the level takes it; of those that are in sync.
      if (shape.losses == 2) {
        ASSERT_NO_FATAL_FAILURE(assemble({0}));
        ASSERT_NO_FATAL_FAILURE(expect_permitted(true, level_name(shape.level)));
        put_back(left);
      }
      const auto assembled = try_assemble();
      ASSERT_TRUE(assembled.ok()) << level_name(shape.level) << " seed " << seed << ": "
                                  << assembled.error().message;
      ASSERT_NO_FATAL_FAILURE(expect_permitted(true, level_name(shape.level)));
      wait();
      ASSERT_NO_FATAL_FAILURE(expect_consistent(level_name(shape.level)));
      // With the power out before the new disk was known, it is blank or a spare.
      if (group->status().health != GroupHealth::kOptimal) {
        ASSERT_NE(report_of(fresh).role, DiskRole::kMember) << seed;
      }
    }
  }
}

TEST_F(RaidRebuild, TwoMembersAreRebuiltUnderALoadThatNeverPauses) {
  for (const std::uint32_t members : {4u, 5u}) {
    ASSERT_NO_FATAL_FAILURE(start(members, {format::RaidLevel::k6, members, 16384, 2}));
    ASSERT_TRUE(work(20).ok());
    ASSERT_TRUE(world->run(group->fail_out(0)).ok());
    ASSERT_TRUE(world->run(group->fail_out(2)).ok());
    std::vector<Result<void>> results(4);
    scope = std::make_unique<io::TaskScope>(*world);
    for (auto& result : results) scope->spawn(run_worker(1000000, &result));
    for (const std::uint32_t index : {0u, 2u}) {
      const std::uint32_t fresh = add_disk();
      ASSERT_TRUE(world->run(group->replace(index, named(fresh))).ok());
    }
    world->run_for(Duration::milliseconds(200));
    EXPECT_EQ(group->status().health, GroupHealth::kOptimal);
    for (const auto& result : results) EXPECT_TRUE(result.ok());
    // Now both of the old ones may go, with the power.
    crash();
    ASSERT_NO_FATAL_FAILURE(assemble({1, 3}));
    ASSERT_NO_FATAL_FAILURE(expect_permitted(true, "rebuilt"));
  }
}

// Of as many members as it takes to make the lost one, and of the others only when one of those has a bad
// block.
TEST_F(RaidRebuild, NoMoreIsReadThanTheLevelNeeds) {
  struct Case {
    Shape shape;
    std::uint64_t reads_of_a_member;
  };
  const Case cases[] = {{{format::RaidLevel::k1, 3, 65536, 2}, 1},
                        {{format::RaidLevel::k10, 4, 65536, 1}, 1},
                        {{format::RaidLevel::k5, 4, 65536, 1}, 3},
                        {{format::RaidLevel::k6, 5, 65536, 2}, 3}};
  for (const Case& tried : cases) {
    for (const bool has_bad_block : {false, true}) {
      if (has_bad_block && tried.shape.losses < 2) continue;
      SCOPED_TRACE(std::string(level_name(tried.shape.level)) + (has_bad_block ? ", a bad block" : ""));
      ASSERT_NO_FATAL_FAILURE(start(3, tried.shape));
      ASSERT_TRUE(world->run(write_blocks({0, model->size()}, 5, false)).ok());
      ASSERT_TRUE(world->run(flush_all()).ok());
      const auto read_bytes = [&] {
        std::uint64_t sum = 0;
        for (const MemberStatus& member : group->status().members) {
          if (member.index != 1) sum += member.read_bytes;
        }
        return sum;
      };
      const std::uint32_t fresh = add_disk();
      if (has_bad_block) {
        std::uint64_t at = 0;
        while (group->translate(DiskOffset{at}).data[0].member == 1) at += 65536;
        const RaidAddress::Place place = group->translate(DiskOffset{at}).data[0];
        disks[place.member]->inject(DiskFault::kBadSector, 1);
        Buffer one = Buffer::allocate(kBlockSizeBytes);
        EXPECT_FALSE(world->run(disks[place.member]->read(place.offset, one)).ok());
      }
      const std::uint64_t before = read_bytes();
      ASSERT_TRUE(world->run(group->replace(1, named(fresh))).ok());
      wait();
      EXPECT_EQ(group->status().health, GroupHealth::kOptimal) << group->status().rebuild_problem;
      if (!has_bad_block) {
        EXPECT_EQ(read_bytes() - before, tried.reads_of_a_member * group->status().member_bytes);
      }
      ASSERT_NO_FATAL_FAILURE(expect_model());
      ASSERT_NO_FATAL_FAILURE(expect_consistent("rebuilt"));
    }
  }
}

TEST_F(RaidRebuild, APositionThatWasReachedIsNotRebuiltAgain) {
  options.rebuild_step_bytes = 256 * kKiB;
  options.rebuild_bytes_per_second_max = kMiB;
  ASSERT_NO_FATAL_FAILURE(start(1, {format::RaidLevel::k5, 3, 65536, 1}, 8 * kMiB));
  const std::uint32_t fresh = add_disk();
  ASSERT_TRUE(world->run(group->replace(2, named(fresh))).ok());
  world->run_for(Duration::seconds(4));
  const std::uint64_t reached = group->status().members[2].rebuilt_bytes;
  EXPECT_GT(reached, 3 * kMiB);
  EXPECT_LE(reached, 5 * kMiB + 65536);
  crash();
  ASSERT_NO_FATAL_FAILURE(assemble());
  EXPECT_GE(group->status().members[2].rebuilt_bytes, reached - kMiB);
  EXPECT_EQ(group->status().members[2].state, RaidMemberState::kRebuilding);
  wait();
  EXPECT_EQ(group->status().health, GroupHealth::kOptimal);
  ASSERT_NO_FATAL_FAILURE(expect_consistent("rebuilt"));
}

TEST_F(RaidRebuild, ARebuildHaltsAtABlockThatNobodyCanGiveAndGoesOnWhenItWasWritten) {
  ASSERT_NO_FATAL_FAILURE(start(1, {format::RaidLevel::k5, 3, 16384, 1}));
  ASSERT_TRUE(world->run(write_blocks({0, 8}, 50, false)).ok());
  ASSERT_TRUE(world->run(group->fail_out(2)).ok());
  disks[0]->inject(DiskFault::kBadSector, 1);
  Buffer one = Buffer::allocate(kBlockSizeBytes);
  EXPECT_FALSE(world->run(disks[0]->read(DiskOffset{geometry->shape().data_offset + 4096}, one)).ok());
  const std::uint32_t fresh = add_disk();
  ASSERT_TRUE(world->run(group->replace(2, named(fresh))).ok());
  wait();
  EXPECT_EQ(group->status().health, GroupHealth::kDegraded);
  EXPECT_NE(group->status().rebuild_problem.find("d0"), std::string::npos) << group->status().rebuild_problem;
  ASSERT_TRUE(world->run(write_blocks({1, 2}, 51, false)).ok());
  group->resume_rebuild();
  wait();
  EXPECT_EQ(group->status().health, GroupHealth::kOptimal) << group->status().rebuild_problem;
  ASSERT_NO_FATAL_FAILURE(expect_model());
  ASSERT_NO_FATAL_FAILURE(expect_consistent("rebuilt"));
}

TEST_F(RaidRebuild, ANewDiskThatFailsWhileItIsRebuiltIsFailedOutAgain) {
  ASSERT_NO_FATAL_FAILURE(start(1, {format::RaidLevel::k1, 2, 65536, 1}));
  ASSERT_TRUE(work(20).ok());
  const std::uint32_t fresh = add_disk();
  disks[fresh]->inject(DiskFault::kWriteFails, 6);
  ASSERT_TRUE(world->run(group->replace(0, named(fresh))).ok());
  wait();
  EXPECT_EQ(group->status().members[0].state, RaidMemberState::kFailed);
  ASSERT_NO_FATAL_FAILURE(expect_model());
}

TEST_F(RaidRebuild, AMemberStaysWhereItsReplacementCannotBeWritten) {
  for (std::uint64_t writes = 1; writes < 4; ++writes) {
    SCOPED_TRACE(writes);
    ASSERT_NO_FATAL_FAILURE(start(1, {format::RaidLevel::k1, 2, 65536, 1}));
    ASSERT_TRUE(work(20).ok());
    const std::uint32_t fresh = add_disk();
    disks[fresh]->inject(DiskFault::kWriteFails, writes);
    const auto replaced = world->run(group->replace(0, named(fresh)));
    if (replaced.ok()) break;
    EXPECT_EQ(replaced.error().code, ErrorCode::kIo);
    EXPECT_EQ(group->status().health, GroupHealth::kOptimal);
    EXPECT_EQ(group->status().members[0].state, RaidMemberState::kInSync);
    ASSERT_NO_FATAL_FAILURE(expect_model());
  }
}

TEST_F(RaidRebuild, AMemberThatCannotBeDoneWithoutIsNotReplaced) {
  ASSERT_NO_FATAL_FAILURE(start(1, {format::RaidLevel::k0, 3, 16384, 0}));
  const std::uint32_t fresh = add_disk();
  EXPECT_EQ(world->run(group->replace(0, named(fresh))).error().code, ErrorCode::kRefused);
  EXPECT_EQ(world->run(group->add_spare(named(fresh))).error().code, ErrorCode::kRefused);
  EXPECT_EQ(world->run(group->replace(3, named(fresh))).error().code, ErrorCode::kInvalid);
}

TEST_F(RaidRebuild, WhatADiskThatWasReplacedStillFailsAtDoesNotFailTheNewOneOut) {
  for (const Shape& shape :
       {Shape{format::RaidLevel::k1, 2, 65536, 1}, Shape{format::RaidLevel::k5, 3, 16384, 1}}) {
    ASSERT_NO_FATAL_FAILURE(start(1, shape));
    const std::uint64_t row = 16;  // of RAID 5 two, in place at once
    ASSERT_TRUE(world->run(write_blocks({0, 2 * row}, 50, false)).ok());
    const std::uint32_t spare = add_disk();
    ASSERT_TRUE(world->run(group->add_spare(named(spare))).ok());
    std::vector<Result<void>> results(2);
    // Two writes on their way to the member; both fail, the second much later.
    disks[0]->inject(DiskFault::kWriteFails, 1);
    disks[0]->inject(DiskFault::kWriteFails, 2);
    io::TaskScope writers(*world);
    writers.spawn(write_and_tell({0, row}, 51, &results[0]));
    world->run_for(Duration::microseconds(10));
    disks[0]->slow_down(Duration::seconds(1));
    writers.spawn(write_and_tell({row, 2 * row}, 52, &results[1]));
    world->run_for(Duration::milliseconds(500));
    ASSERT_EQ(group->status().members[0].name, "d" + std::to_string(spare)) << level_name(shape.level);
    world->run(writers.join());
    EXPECT_TRUE(results[0].ok());
    EXPECT_TRUE(results[1].ok());
    wait();
    ASSERT_EQ(disks[0]->fault_hits().size(), 2u);
    EXPECT_EQ(group->status().members[0].state, RaidMemberState::kInSync) << level_name(shape.level);
    EXPECT_EQ(group->status().members[0].name, "d" + std::to_string(spare));
    ASSERT_NO_FATAL_FAILURE(expect_model());
    ASSERT_NO_FATAL_FAILURE(expect_consistent(level_name(shape.level)));
  }
}

TEST_F(RaidRebuild, WhatWasWrittenToADiskThatWasReplacedIsNotTakenForRebuiltOnTheNewOne) {
  for (const Shape& shape :
       {Shape{format::RaidLevel::k1, 2, 65536, 1}, Shape{format::RaidLevel::k5, 3, 16384, 1}}) {
    ASSERT_NO_FATAL_FAILURE(start(1, shape));
    ASSERT_TRUE(world->run(write_blocks({0, model->size()}, 50, false)).ok());
    const std::uint32_t first = add_disk();
    const std::uint32_t second = add_disk();
    ASSERT_TRUE(world->run(group->replace(0, named(first))).ok());
    const MonotonicTime due = world->now() + Duration::seconds(10);
    disks[first]->hang_until(due);
    world->run_for(Duration::milliseconds(5));
    ASSERT_TRUE(world->run(group->replace(0, named(second))).ok());
    ASSERT_LT(world->now(), due);
    wait();
    EXPECT_EQ(group->status().health, GroupHealth::kOptimal) << group->status().rebuild_problem;
    EXPECT_EQ(group->status().members[0].name, "d" + std::to_string(second));
    ASSERT_NO_FATAL_FAILURE(expect_model());
    ASSERT_NO_FATAL_FAILURE(expect_consistent(level_name(shape.level)));
  }
}

TEST_F(RaidRebuild, AMemberThatHangsUnderManyWritesIsFailedOutAndReplaced) {
  ASSERT_NO_FATAL_FAILURE(start(1, {format::RaidLevel::k1, 2, 65536, 1}, 2 * kMiB));
  ASSERT_TRUE(world->run(write_blocks({0, model->size()}, 50, false)).ok());
  const MonotonicTime due = world->now() + Duration::seconds(1000);
  disks[0]->hang_until(due);
  std::vector<Result<void>> results(300);
  io::TaskScope writers(*world);
  for (std::uint64_t i = 0; i < results.size(); ++i) {
    writers.spawn(write_and_tell({i, i + 1}, 100 + i, &results[i]));
  }
  world->run_for(Duration::milliseconds(100));
  ASSERT_TRUE(world->run(group->fail_out(0)).ok());
  const std::uint32_t fresh = add_disk();
  ASSERT_TRUE(world->run(group->replace(0, named(fresh))).ok());
  EXPECT_LT(world->now(), due);
  world->run(writers.join());
  for (const Result<void>& result : results) EXPECT_TRUE(result.ok());
  wait();
  EXPECT_EQ(group->status().health, GroupHealth::kOptimal);
  ASSERT_NO_FATAL_FAILURE(expect_model());
  ASSERT_NO_FATAL_FAILURE(expect_consistent("replaced"));
}

// What the stripe journal has for a member is older than what was written while it was away.
TEST_F(RaidRebuild, ACrashAfterARebuildPutsNothingOldOnTheNewDisk) {
  for (const Shape& shape :
       {Shape{format::RaidLevel::k5, 3, 16384, 1}, Shape{format::RaidLevel::k6, 5, 16384, 2}}) {
    for (std::uint32_t lost = 0; lost < shape.members; ++lost) {
      ASSERT_NO_FATAL_FAILURE(start(1, shape));
      ASSERT_TRUE(world->run(write_blocks({0, model->size()}, 50, false)).ok());
      ASSERT_TRUE(world->run(flush_all()).ok());
      for (std::uint64_t i = 0; i < 6; ++i) {
        ASSERT_TRUE(world->run(write_blocks({i, i + 1}, 60, false)).ok());
      }
      ASSERT_TRUE(world->run(group->fail_out(lost)).ok());
      for (std::uint64_t i = 0; i < 6; ++i) {
        ASSERT_TRUE(world->run(write_blocks({i, i + 1}, 70, true)).ok());
      }
      const std::uint32_t fresh = add_disk();
      ASSERT_TRUE(world->run(group->replace(lost, named(fresh))).ok());
      wait();
      crash();
      ASSERT_NO_FATAL_FAILURE(assemble());
      ASSERT_NO_FATAL_FAILURE(expect_consistent(level_name(shape.level)));
      ASSERT_NO_FATAL_FAILURE(expect_model());
    }
  }
}

TEST_F(RaidRebuild, ARebuildThatHaltedIsTriedAgainAndDoesNotKeepASpareFromAnotherMember) {
  ASSERT_NO_FATAL_FAILURE(start(1, {format::RaidLevel::k10, 4, 16384, 1}));
  ASSERT_TRUE(world->run(write_blocks({0, model->size()}, 50, false)).ok());
  ASSERT_TRUE(world->run(group->fail_out(1)).ok());
  disks[0]->inject(DiskFault::kBadSector, 1);
  Buffer one = Buffer::allocate(kBlockSizeBytes);
  EXPECT_FALSE(world->run(disks[0]->read(DiskOffset{geometry->shape().data_offset}, one)).ok());
  const std::uint32_t fresh = add_disk();
  ASSERT_TRUE(world->run(group->replace(1, named(fresh))).ok());
  wait();
  EXPECT_NE(group->status().rebuild_problem, "");
  ASSERT_TRUE(world->run(group->fail_out(3)).ok());
  const std::uint32_t spare = add_disk();
  ASSERT_TRUE(world->run(group->add_spare(named(spare))).ok());
  wait();
  EXPECT_EQ(group->status().members[3].state, RaidMemberState::kInSync);
  EXPECT_EQ(group->status().members[1].state, RaidMemberState::kRebuilding);
  // Written, it can be read.
  ASSERT_TRUE(world->run(write_blocks({0, 1}, 51, false)).ok());
  world->run_for(Duration::seconds(700));
  EXPECT_EQ(group->status().health, GroupHealth::kOptimal) << group->status().rebuild_problem;
  EXPECT_EQ(group->status().rebuild_problem, "");
  ASSERT_NO_FATAL_FAILURE(expect_model());
  ASSERT_NO_FATAL_FAILURE(expect_consistent("rebuilt"));
}

TEST_F(RaidRebuild, ASpareDoesNotTakeThePlaceThatACommandGivesAway) {
  ASSERT_NO_FATAL_FAILURE(start(1, {format::RaidLevel::k5, 3, 16384, 1}));
  const std::uint32_t spare = add_disk();
  const std::uint32_t fresh = add_disk();
  ASSERT_TRUE(world->run(group->add_spare(named(spare))).ok());
  disks[1]->inject(DiskFault::kReadFails, 1);
  Result<void> written, replaced;
  io::TaskScope tasks(*world);
  tasks.spawn([](RaidGroup* target, NamedDisk disk, Result<void>* out) -> io::Task<void> {
    *out = co_await target->replace(1, disk);
  }(group.get(), named(fresh), &replaced));
  tasks.spawn(write_and_tell({0, 4}, 50, &written));
  world->run(tasks.join());
  wait();
  EXPECT_TRUE(replaced.ok()) << replaced.error().message;
  EXPECT_TRUE(written.ok());
  EXPECT_EQ(group->status().members[1].name, "d" + std::to_string(fresh));
  EXPECT_EQ(group->status().spares.size(), 1u);
  EXPECT_EQ(group->status().health, GroupHealth::kOptimal);
}

TEST_F(RaidRebuild, WhatWasCountedOfADiskDoesNotStayWithTheNextOne) {
  ASSERT_NO_FATAL_FAILURE(start(1, {format::RaidLevel::k1, 2, 65536, 1}));
  disks[0]->inject(DiskFault::kWriteFails, 1);
  disks[0]->slow_down(Duration::seconds(2));
  ASSERT_TRUE(world->run(write_blocks({0, 1}, 50, false)).ok());
  ASSERT_GT(group->status().members[0].write_errors, 0u);
  ASSERT_TRUE(group->status().members[0].slow);
  const std::uint32_t fresh = add_disk();
  ASSERT_TRUE(world->run(group->replace(0, named(fresh))).ok());
  wait();
  const MemberStatus status = group->status().members[0];
  EXPECT_EQ(status.write_errors, 0u);
  EXPECT_FALSE(status.slow);
  EXPECT_LT(status.latency_max, Duration::seconds(1));
}

}  // namespace
}  // namespace tidemark::raid
