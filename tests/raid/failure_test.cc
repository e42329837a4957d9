#include "raid_fixture.h"
#include "rounds.h"

namespace tidemark::raid {
namespace {

using format::RaidMemberState;
using sim::DiskFault;

class RaidFailure : public RaidFixture {
 protected:
  std::uint32_t members_failed() const {
    const RaidStatus status = group->status();
    return static_cast<std::uint32_t>(
        std::ranges::count(status.members, RaidMemberState::kFailed, &MemberStatus::state));
  }
};

TEST_F(RaidFailure, AMemberWhoseWriteOrFlushFailsIsFailedOutAndNothingIsLost) {
  for (const Shape& shape : all_shapes()) {
    if (shape.losses == 0) continue;
    for (const DiskFault fault : {DiskFault::kWriteFails, DiskFault::kShortWrite, DiskFault::kFlushFails}) {
      for (std::uint32_t member = 0; member < shape.members; ++member) {
        ASSERT_NO_FATAL_FAILURE(start(member + 1, shape));
        ASSERT_TRUE(work(20).ok());
        disks[member]->inject(fault, fault == DiskFault::kFlushFails ? 1 : 3);
        const auto done = work(40);
        ASSERT_TRUE(done.ok()) << done.error().message;
        ASSERT_TRUE(world->run(flush_all()).ok());
        ASSERT_EQ(group->status().members[member].state, RaidMemberState::kFailed);
        EXPECT_FALSE(group->status().members[member].failure.empty());
        EXPECT_EQ(group->status().members[member].write_errors, 1u);
        ASSERT_NO_FATAL_FAILURE(expect_model());
        // The others know: with it back after a crash, it is not used.
        crash();
        ASSERT_NO_FATAL_FAILURE(assemble());
        EXPECT_EQ(report_of(member).role, DiskRole::kFailed);
        EXPECT_NE(report_of(member).explanation.find("d" + std::to_string(member)), std::string::npos);
        ASSERT_NO_FATAL_FAILURE(expect_permitted(true, level_name(shape.level)));
      }
    }
  }
}

// The failure is durable on the others before the write that met it is acknowledged.
TEST_F(RaidFailure, WhatWasAcknowledgedWithoutAMemberIsNotReadFromItAfterACrash) {
  for (const Shape& shape : all_shapes()) {
    if (shape.losses == 0) continue;
    for (std::uint32_t member = 0; member < shape.members; ++member) {
      ASSERT_NO_FATAL_FAILURE(start(member + 1, shape));
      disks[member]->inject(DiskFault::kWriteFails, 1);
      for (std::uint64_t block = 0; block < 24 && members_failed() == 0; ++block) {
        const auto done = world->run(write_blocks({block, block + 1}, 100 + block, true));
        ASSERT_TRUE(done.ok()) << done.error().message;
      }
      ASSERT_EQ(members_failed(), 1u);
      crash();
      ASSERT_NO_FATAL_FAILURE(assemble());
      ASSERT_NO_FATAL_FAILURE(expect_permitted(false, level_name(shape.level)));
    }
  }
}

TEST_F(RaidFailure, MoreLossesThanToleratedFailTheGroupByNameAndNeverGiveWrongData) {
  for (const Shape& shape : all_shapes()) {
    ASSERT_NO_FATAL_FAILURE(start(9, shape));
    ASSERT_TRUE(work(30).ok());
    ASSERT_TRUE(world->run(flush_all()).ok());
    for (std::uint32_t i = 0; i < shape.losses; ++i) ASSERT_TRUE(world->run(group->fail_out(i)).ok());
    const std::uint32_t last = shape.losses;
    for (int i = 1; i < 400; ++i) disks[last]->inject(DiskFault::kWriteFails, static_cast<std::uint64_t>(i));
    Result<void> failed;
    for (std::uint64_t block = 0; block < 24 && failed.ok(); ++block) {
      failed = world->run(write_blocks({block, block + 1}, 200 + block, false));
    }
    ASSERT_FALSE(failed.ok()) << level_name(shape.level);
    EXPECT_EQ(failed.error().code, ErrorCode::kIo);
    EXPECT_NE(failed.error().message.find("d" + std::to_string(last)), std::string::npos)
        << failed.error().message;
    disks[last]->forget_planned_faults();
    if (geometry->has_parity()) {
      EXPECT_EQ(group->status().health, GroupHealth::kFailed);
      EXPECT_EQ(read({0, 1}).error().code, ErrorCode::kIo);
    }
    // Assembled again, it is what the contract of a disk permits: the stripe journal makes the rows whole.
    crash();
    ASSERT_NO_FATAL_FAILURE(assemble());
    ASSERT_NO_FATAL_FAILURE(expect_permitted(false, level_name(shape.level)));
  }
}

TEST_F(RaidFailure, ALatentSectorErrorIsReadFromTheOthersAndWrittenAgain) {
  for (const Shape& shape : all_shapes()) {
    if (shape.losses == 0) continue;
    for (std::uint32_t member = 0; member < shape.members; ++member) {
      ASSERT_NO_FATAL_FAILURE(start(member + 3, shape));
      ASSERT_TRUE(work(40).ok());
      for (int i = 0; i < 4; ++i) {
        disks[member]->inject(DiskFault::kBadSector, 1);
        for (int reads = 0; reads < 3; ++reads) {
          ASSERT_NO_FATAL_FAILURE(expect_model()) << level_name(shape.level);
        }
      }
      ASSERT_FALSE(disks[member]->fault_hits().empty());
      const MemberStatus status = group->status().members[member];
      EXPECT_EQ(status.state, RaidMemberState::kInSync);
      EXPECT_GT(status.read_errors, 0u);
      EXPECT_GT(status.repaired_blocks, 0u);
      // What no read has met yet is found by a scrub; then every sector can be read again.
      disks[member]->forget_planned_faults();
      ASSERT_EQ(world->run(group->scrub({})).value().undecided, 0u);
      ASSERT_NO_FATAL_FAILURE(expect_consistent(level_name(shape.level)));
    }
  }
}

TEST_F(RaidFailure, TwoMembersThatAreBadInDifferentBlocksOfOneRowAreMadeGoodBlockByBlock) {
  ASSERT_NO_FATAL_FAILURE(start(3, {format::RaidLevel::k5, 3, 16384, 1}));
  ASSERT_TRUE(world->run(write_blocks({0, 8}, 50, false)).ok());
  ASSERT_TRUE(world->run(flush_all()).ok());
  // Row 0: units on d0 and d1, P on d2. The first page of a read goes bad.
  disks[0]->inject(DiskFault::kBadSector, 1);
  Buffer one = Buffer::allocate(kBlockSizeBytes);
  const std::uint64_t data = geometry->shape().data_offset;
  EXPECT_FALSE(world->run(disks[0]->read(DiskOffset{data}, one)).ok());
  disks[1]->inject(DiskFault::kBadSector, 1);
  EXPECT_FALSE(world->run(disks[1]->read(DiskOffset{data + 8192}, one)).ok());
  ASSERT_NO_FATAL_FAILURE(expect_model());
  EXPECT_EQ(members_failed(), 0u);
  ASSERT_NO_FATAL_FAILURE(expect_consistent("repaired"));
}

TEST_F(RaidFailure, ABlockThatCanBeNeitherReadNorWrittenFailsItsMemberOut) {
  ASSERT_NO_FATAL_FAILURE(start(3, {format::RaidLevel::k1, 2, 65536, 1}));
  ASSERT_TRUE(world->run(write_blocks({0, 8}, 50, false)).ok());
  disks[0]->inject(DiskFault::kBadSector, 1);
  disks[0]->inject(DiskFault::kWriteFails, 1);
  for (int reads = 0; reads < 4; ++reads) ASSERT_NO_FATAL_FAILURE(expect_model());
  EXPECT_EQ(group->status().members[0].state, RaidMemberState::kFailed);
  EXPECT_NE(group->status().members[0].failure.find("could not be written again"), std::string::npos);
  // The last one is kept, bad block and all, and serves what it can.
  disks[1]->inject(DiskFault::kBadSector, 1);
  EXPECT_EQ(read({0, 1}).error().code, ErrorCode::kIo);
  EXPECT_EQ(group->status().members[1].state, RaidMemberState::kInSync);
  ASSERT_TRUE(read({1, 8}).ok());
  ASSERT_TRUE(world->run(write_blocks({0, 1}, 70, false)).ok());
  ASSERT_NO_FATAL_FAILURE(expect_model());
}

TEST_F(RaidFailure, WhatNoMemberCanGiveIsAnErrorAndNotSomethingElse) {
  ASSERT_NO_FATAL_FAILURE(start(3, {format::RaidLevel::k5, 3, 16384, 1}));
  ASSERT_TRUE(world->run(write_blocks({0, 8}, 50, false)).ok());
  ASSERT_TRUE(world->run(flush_all()).ok());
  ASSERT_TRUE(world->run(group->fail_out(0)).ok());
  disks[1]->inject(DiskFault::kBadSector, 1);
  Buffer one = Buffer::allocate(kBlockSizeBytes);
  EXPECT_FALSE(world->run(disks[1]->read(DiskOffset{geometry->shape().data_offset}, one)).ok());
  const auto out = read({0, 1});
  ASSERT_FALSE(out.ok());
  EXPECT_EQ(out.error().code, ErrorCode::kIo);
  EXPECT_NE(out.error().message.find("d1"), std::string::npos) << out.error().message;
  EXPECT_NE(out.error().message.find("d0"), std::string::npos) << out.error().message;
  EXPECT_EQ(members_failed(), 1u);
  // Nobody can compute parity from it either, but a write of all that shares it makes it good.
  EXPECT_EQ(world->run(group->write(DiskOffset{0}, {make_data({0, 1}, 60)}, io::Durability::kVolatile))
                .error()
                .code,
            ErrorCode::kIo);
  ASSERT_TRUE(world->run(write_blocks({0, 8}, 61, false)).ok());
  ASSERT_NO_FATAL_FAILURE(expect_model());
}

TEST_F(RaidFailure, TwoMembersOfRaid6FailAtOnce) {
  for (std::uint64_t seed = 1; seed <= rounds(12, 3); ++seed) {
    ASSERT_NO_FATAL_FAILURE(start(seed, {format::RaidLevel::k6, 5, 32768, 2}));
    ASSERT_TRUE(work(20).ok());
    const auto first = static_cast<std::uint32_t>(seed % 5);
    const auto second = static_cast<std::uint32_t>((seed + 1 + seed / 5) % 5);
    disks[first]->inject(DiskFault::kWriteFails, 1 + seed % 3);
    disks[second]->inject(seed % 2 == 0 ? DiskFault::kFlushFails : DiskFault::kWriteFails, 1 + seed % 2);
    const auto done = work(40);
    ASSERT_TRUE(done.ok()) << done.error().message;
    ASSERT_TRUE(world->run(flush_all()).ok());
    ASSERT_EQ(members_failed(), 2u);
    ASSERT_NO_FATAL_FAILURE(expect_model());
    crash();
    ASSERT_NO_FATAL_FAILURE(assemble());
    ASSERT_NO_FATAL_FAILURE(expect_permitted(true, "two at once"));
  }
}

// A member fails under load, power fails at any moment around it.
TEST_F(RaidFailure, AFailureAndAPowerCutTogetherKeepWhatWasDurable) {
  for (const Shape& shape : all_shapes()) {
    if (shape.losses == 0) continue;
    for (std::uint64_t seed = 1; seed <= rounds(12, 3); ++seed) {
      ASSERT_NO_FATAL_FAILURE(start(seed * 31, shape));
      ASSERT_TRUE(work(20).ok());
      const auto member = static_cast<std::uint32_t>(seed % shape.members);
      disks[member]->inject(DiskFault::kWriteFails, 1 + seed % 7);
      std::vector<Result<void>> results(3);
      scope = std::make_unique<io::TaskScope>(*world);
      for (auto& result : results) scope->spawn(run_worker(1000, &result));
      world->run_for(Duration::microseconds(static_cast<std::int64_t>(world->random().below(6000))));
      crash();
      disks[member]->forget_planned_faults();
      // Whether it was failed out or not, it may be lost now; or be there, with what it missed.
      const auto left = stored();
      for (const auto& lost : {std::vector<std::uint32_t>{member}, std::vector<std::uint32_t>{}}) {
        put_back(left);
        const auto assembled = try_assemble(lost);
        ASSERT_TRUE(assembled.ok()) << assembled.error().message;
        ASSERT_NO_FATAL_FAILURE(expect_permitted(true, level_name(shape.level)));
        ASSERT_NO_FATAL_FAILURE(expect_consistent(level_name(shape.level)));
      }
    }
  }
}

TEST_F(RaidFailure, ASlowMemberIsReportedAndOneThatHangsToo) {
  ASSERT_NO_FATAL_FAILURE(start(3, {format::RaidLevel::k1, 2, 65536, 1}));
  ASSERT_TRUE(work(10).ok());
  EXPECT_FALSE(group->status().members[0].slow);
  disks[0]->slow_down(Duration::seconds(2));
  ASSERT_TRUE(world->run(write_blocks({0, 1}, 5, false)).ok());
  EXPECT_TRUE(group->status().members[0].slow);
  EXPECT_FALSE(group->status().members[1].slow);
  EXPECT_GE(group->status().members[0].latency_max, Duration::seconds(2));
  disks[1]->hang_until(world->now() + Duration::seconds(100));
  scope = std::make_unique<io::TaskScope>(*world);
  Result<void> result;
  scope->spawn(run_worker(1000, &result));
  world->run_for(Duration::seconds(60));
  EXPECT_TRUE(group->status().members[1].slow);
}

TEST_F(RaidFailure, WhatAnAssemblyCannotMakeEqualIsNamedByItsPlaceAndLookedAtByTheNextOne) {
  ASSERT_NO_FATAL_FAILURE(start(3, {format::RaidLevel::k10, 4, 16384, 1}));
  ASSERT_TRUE(world->run(write_blocks({0, 16}, 50, false)).ok());
  ASSERT_TRUE(world->run(flush_all()).ok());
  // The second block of the second unit of members 2 and 3: of cell 1 in row 1.
  const std::uint64_t at = geometry->shape().data_offset + 16384 + 4096;
  Buffer one = Buffer::allocate(kBlockSizeBytes);
  for (const std::uint32_t i : {2, 3}) {
    disks[i]->inject(DiskFault::kBadSector, 1);
    EXPECT_FALSE(world->run(disks[i]->read(DiskOffset{at}, one)).ok());
  }
  crash();
  for (int times = 0; times < 2; ++times) {
    ASSERT_NO_FATAL_FAILURE(assemble());
    EXPECT_GT(group->status().resynced_bytes, 0u);
    ASSERT_EQ(group->status().notices.size(), 1u);
    EXPECT_NE(group->status().notices[0].find("byte " + std::to_string(32768 + 16384 + 4096) + ":"),
              std::string::npos)
        << group->status().notices[0];
    ASSERT_TRUE(world->run(flush_all()).ok());
    ASSERT_TRUE(world->run(group->close()).ok());
  }
  ASSERT_NO_FATAL_FAILURE(assemble());
  ASSERT_TRUE(world->run(write_blocks({13, 14}, 60, false)).ok());
  ASSERT_TRUE(world->run(group->close()).ok());
  ASSERT_NO_FATAL_FAILURE(assemble());
  EXPECT_TRUE(group->status().notices.empty());
  ASSERT_TRUE(world->run(group->close()).ok());
  ASSERT_NO_FATAL_FAILURE(assemble());
  EXPECT_EQ(group->status().resynced_bytes, 0u);
}

// Whoever gives up a read may use its memory for something else, while the copy is still being repaired.
TEST_F(RaidFailure, AReadThatIsGivenUpDoesNotSpoilTheRepairOfACopy) {
  for (std::uint64_t steps = 0; steps < 80; ++steps) {
    ASSERT_NO_FATAL_FAILURE(start(3, {format::RaidLevel::k1, 2, 65536, 1}));
    ASSERT_TRUE(world->run(write_blocks({0, 8}, 50, false)).ok());
    Buffer out = Buffer::allocate(2 * kBlockSizeBytes);
    disks[0]->inject(DiskFault::kBadSector, 1);
    EXPECT_FALSE(
        world->run(disks[0]->read(DiskOffset{geometry->shape().data_offset + kBlockSizeBytes}, out)).ok());
    scope = std::make_unique<io::TaskScope>(*world);
    scope->spawn([](RaidGroup* target, Buffer into) -> io::Task<void> {
      static_cast<void>(co_await target->read(DiskOffset{kBlockSizeBytes}, into));
    }(group.get(), out));
    world->run_steps(steps);
    scope.reset();
    std::memset(out.data(), 0xee, out.size());
    world->run_for(Duration::milliseconds(20));
    // Of either copy.
    for (int reads = 0; reads < 3; ++reads) ASSERT_NO_FATAL_FAILURE(expect_model()) << steps;
  }
}

}  // namespace
}  // namespace tidemark::raid
