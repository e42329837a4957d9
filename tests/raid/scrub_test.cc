#include "base/crc32c.h"
#include "raid_fixture.h"

namespace tidemark::raid {
namespace {

class RaidScrub : public RaidFixture {
 protected:
  // Turns a bit of the block on a member, by the group's address; `parity` 1 is P, 2 is Q.
  std::uint32_t damage(std::uint64_t block, std::uint32_t copy = 0, std::uint32_t parity = 0) {
    const RaidAddress address = group->translate(DiskOffset{block * kBlockSizeBytes});
    const RaidAddress::Place place = parity == 0 ? address.data[copy] : address.parity[parity - 1];
    disks[place.member]->flip_bit(place.offset.value + 77, 2);
    return place.member;
  }
  void fill() {
    ASSERT_TRUE(world->run(write_blocks({0, model->size()}, 5, false)).ok());
    ASSERT_TRUE(world->run(flush_all()).ok());
  }
  Judge judge() {
    return [this](DiskOffset offset, Bytes bytes) {
      const std::uint64_t block = offset.value / kBlockSizeBytes;
      const Buffer expected = make_data({block, block + 1}, model->newest(block));
      return std::memcmp(expected.data(), bytes.data(), kBlockSizeBytes) == 0 ? Verdict::kRight
                                                                              : Verdict::kWrong;
    };
  }
  std::function<bool(Bytes)> is_block(std::uint64_t block) {
    return [this, block](Bytes bytes) {
      return judge()(DiskOffset{block * kBlockSizeBytes}, bytes) == Verdict::kRight;
    };
  }
  ScrubReport scrub(bool with_judge) {
    ScrubRequest request;
    if (with_judge) request.judge = judge();
    auto report = world->run(group->scrub(request));
    EXPECT_TRUE(report.ok()) << report.error().message;
    return report.ok() ? *report : ScrubReport{};
  }
};

TEST_F(RaidScrub, WhatIsWrongIsFoundOnTheRightMemberAndWrittenAgain) {
  for (const Shape& shape : all_shapes()) {
    if (shape.losses == 0) continue;
    ASSERT_NO_FATAL_FAILURE(start(1, shape));
    ASSERT_NO_FATAL_FAILURE(fill());
    const std::uint32_t first = damage(3);
    const std::uint32_t second = damage(model->size() - 2, geometry->copies() - 1);
    const ScrubReport report = scrub(true);
    ASSERT_EQ(report.mismatches, 2u) << level_name(shape.level);
    EXPECT_EQ(report.repaired, 2u);
    EXPECT_EQ(report.undecided, 0u);
    EXPECT_EQ(report.findings[0].member, first);
    EXPECT_EQ(report.findings[0].offset.value, 3 * kBlockSizeBytes);
    EXPECT_EQ(report.findings[1].member, second);
    EXPECT_EQ(report.checked_bytes, group->size_bytes());
    ASSERT_NO_FATAL_FAILURE(expect_consistent("repaired"));
    ASSERT_NO_FATAL_FAILURE(expect_model());
    EXPECT_EQ(group->status().members[first].repaired_blocks, first == second ? 2u : 1u);
  }
}

// What nobody minds is no witness: made from a block that is wrong, it would take away what that can be made
// from.
TEST_F(RaidScrub, ABlockThatIsNobodysIsNotMadeFromOneThatMayBeWrong) {
  for (const bool parity_is_wrong : {false, true}) {
    SCOPED_TRACE(parity_is_wrong);
    ASSERT_NO_FATAL_FAILURE(start(1, {format::RaidLevel::k5, 3, 65536, 1}));
    ASSERT_NO_FATAL_FAILURE(fill());
    const std::uint64_t nobodys = 65536 / kBlockSizeBytes;  // the other block of the first one's column
    damage(0, 0, parity_is_wrong ? 1 : 0);
    ScrubRequest request;
    request.judge = [&](DiskOffset offset, Bytes bytes) {
      const std::uint64_t block = offset.value / kBlockSizeBytes;
      if (block == nobodys) return Verdict::kAny;
      // Of a journal, say: nobody knows it until it is read.
      if (block == 0 && !parity_is_wrong) return Verdict::kUnknown;
      return judge()(offset, bytes);
    };
    const auto report = world->run(group->scrub(request));
    ASSERT_TRUE(report.ok()) << report.error().message;
    EXPECT_EQ(report->mismatches, 1u);
    EXPECT_EQ(report->repaired, parity_is_wrong ? 1u : 0u);
    Buffer out = Buffer::allocate(kBlockSizeBytes);
    const auto read = world->run(group->read_other_copies(DiskOffset{0}, out, is_block(0)));
    EXPECT_TRUE(read.ok()) << read.error().message;
    ASSERT_NO_FATAL_FAILURE(expect_model());
  }
}

TEST_F(RaidScrub, WrongParityIsWrittenAgainAndNotTheData) {
  for (const Shape& shape : all_shapes()) {
    const Geometry shape_geometry(
        format::make_raid_shape(shape.level, shape.members, shape.unit, 8 * kMiB).value());
    for (std::uint32_t parity = 1; parity <= shape_geometry.parities(); ++parity) {
      ASSERT_NO_FATAL_FAILURE(start(1, shape));
      ASSERT_NO_FATAL_FAILURE(fill());
      const std::uint32_t member = damage(2, 0, parity);
      const ScrubReport report = scrub(true);
      ASSERT_EQ(report.mismatches, 1u);
      EXPECT_EQ(report.repaired, 1u);
      EXPECT_EQ(report.findings[0].member, member);
      ASSERT_NO_FATAL_FAILURE(expect_model());
      ASSERT_NO_FATAL_FAILURE(expect_consistent("repaired"));
    }
  }
}

TEST_F(RaidScrub, WithoutAnybodyWhoKnowsOnlyWhatRedundancyProvesIsRepaired) {
  for (const Shape& shape : all_shapes()) {
    if (shape.losses == 0) continue;
    ASSERT_NO_FATAL_FAILURE(start(1, shape));
    ASSERT_NO_FATAL_FAILURE(fill());
    damage(3);
    const ScrubReport report = scrub(false);
    ASSERT_EQ(report.mismatches, 1u) << level_name(shape.level);
    // Two parities, or three copies, outvote one that is wrong.
    EXPECT_EQ(report.repaired, shape.losses == 2 ? 1u : 0u) << level_name(shape.level);
    EXPECT_EQ(report.undecided, shape.losses == 2 ? 0u : 1u);
    if (shape.losses < 2) continue;
    ASSERT_NO_FATAL_FAILURE(expect_model());
  }
}

TEST_F(RaidScrub, TwoWrongUnitsOfARaid6RowAreRepairedWithTheOwnersWord) {
  ASSERT_NO_FATAL_FAILURE(start(1, {format::RaidLevel::k6, 5, 32768, 2}));
  ASSERT_NO_FATAL_FAILURE(fill());
  damage(0);
  damage(8);
  const ScrubReport report = scrub(true);
  EXPECT_EQ(report.repaired, 2u);
  EXPECT_EQ(report.undecided, 0u);
  ASSERT_NO_FATAL_FAILURE(expect_model());
  ASSERT_NO_FATAL_FAILURE(expect_consistent("repaired"));
}

TEST_F(RaidScrub, OnlyTheRangeThatWasAskedForIsLookedAtAndNothingIsWrittenUnlessAsked) {
  ASSERT_NO_FATAL_FAILURE(start(1, {format::RaidLevel::k1, 2, 65536, 1}));
  ASSERT_NO_FATAL_FAILURE(fill());
  damage(3);
  ScrubRequest request;
  request.judge = judge();
  request.begin = 65536;
  EXPECT_EQ(world->run(group->scrub(request))->mismatches, 0u);
  request.begin = 0;
  request.end = 65536;
  request.repair = false;
  const auto report = world->run(group->scrub(request));
  EXPECT_EQ(report->mismatches, 1u);
  EXPECT_EQ(report->repaired, 0u);
  EXPECT_EQ(report->checked_bytes, 65536u);
  EXPECT_EQ(scrub(true).repaired, 1u);
}

TEST_F(RaidScrub, AScrubUnderLoadFindsNothingThatIsNotThere) {
  for (const Shape& shape : all_shapes()) {
    ASSERT_NO_FATAL_FAILURE(start(6, shape));
    std::vector<Result<void>> results(3);
    scope = std::make_unique<io::TaskScope>(*world);
    for (auto& result : results) scope->spawn(run_worker(1000, &result));
    const ScrubReport report = scrub(false);
    EXPECT_EQ(report.mismatches, 0u) << level_name(shape.level);
    scope.reset();
  }
}

TEST_F(RaidScrub, ALatentSectorErrorIsFoundAndRepaired) {
  for (const Shape& shape : all_shapes()) {
    if (shape.losses == 0) continue;
    ASSERT_NO_FATAL_FAILURE(start(1, shape));
    ASSERT_NO_FATAL_FAILURE(fill());
    disks[1]->inject(sim::DiskFault::kBadSector, 2);
    const ScrubReport report = scrub(false);
    EXPECT_EQ(report.mismatches, 1u) << level_name(shape.level);
    EXPECT_EQ(report.repaired, 1u);
    EXPECT_EQ(scrub(false).mismatches, 0u);
    ASSERT_NO_FATAL_FAILURE(expect_model());
  }
}

// What is made from parity because its member is missing is no witness for it.
TEST_F(RaidScrub, WithAMemberMissingRaid6RepairsOnlyWithTheOwnersWord) {
  for (std::uint32_t missing = 0; missing < 5; ++missing) {
    for (std::uint32_t parity = 0; parity <= 2; ++parity) {
      ASSERT_NO_FATAL_FAILURE(start(1, {format::RaidLevel::k6, 5, 32768, 2}));
      ASSERT_NO_FATAL_FAILURE(fill());
      const RaidAddress address = group->translate(DiskOffset{3 * kBlockSizeBytes});
      if ((parity == 0 ? address.data[0] : address.parity[parity - 1]).member == missing) continue;
      ASSERT_TRUE(world->run(group->fail_out(missing)).ok());
      const std::uint32_t member = damage(3, 0, parity);
      ScrubReport report = scrub(false);
      EXPECT_EQ(report.mismatches, 1u);
      EXPECT_EQ(report.repaired, 0u) << "without " << missing << ", wrong " << member;
      EXPECT_EQ(report.undecided, 1u);
      report = scrub(true);
      EXPECT_EQ(report.repaired, 1u) << "without " << missing << ", wrong " << member;
      ASSERT_FALSE(report.findings.empty());
      EXPECT_EQ(report.findings[0].member, member);
      ASSERT_NO_FATAL_FAILURE(expect_model());
      ASSERT_NO_FATAL_FAILURE(expect_consistent("repaired"));
    }
  }
}

TEST_F(RaidScrub, NothingIsWrittenUnlessAskedAlsoWhereABlockCannotBeRead) {
  for (const Shape& shape : all_shapes()) {
    if (shape.losses == 0) continue;
    ASSERT_NO_FATAL_FAILURE(start(1, shape));
    ASSERT_NO_FATAL_FAILURE(fill());
    std::vector<std::uint64_t> writes;
    for (const auto& disk : disks) writes.push_back(disk->writes());
    disks[1]->inject(sim::DiskFault::kBadSector, 2);
    ScrubRequest request;
    request.repair = false;
    for (int times = 0; times < 2; ++times) {
      const auto report = world->run(group->scrub(request));
      ASSERT_TRUE(report.ok());
      EXPECT_EQ(report->mismatches, 1u) << level_name(shape.level);
      EXPECT_EQ(report->repaired, 0u);
      EXPECT_EQ(report->repairable, 1u);
      EXPECT_EQ(report->undecided, 0u);
    }
    for (std::size_t i = 0; i < disks.size(); ++i) EXPECT_EQ(disks[i]->writes(), writes[i]);
    EXPECT_EQ(scrub(false).repaired, 1u);
    ASSERT_NO_FATAL_FAILURE(expect_model());
  }
}

TEST_F(RaidScrub, WithoutRepairItTellsWhatOneThatRepairsMakesGoodAndLeavesEachMemberAsItWas) {
  for (const Shape& shape : all_shapes()) {
    if (shape.losses == 0) continue;
    for (const bool with_judge : {false, true}) {
      ASSERT_NO_FATAL_FAILURE(start(1, shape));
      ASSERT_NO_FATAL_FAILURE(fill());
      damage(3);
      damage(model->size() - 2, geometry->copies() - 1);
      const auto before = checksums_of_members();
      ScrubRequest request;
      request.repair = false;
      if (with_judge) request.judge = judge();
      const auto told = world->run(group->scrub(request));
      ASSERT_TRUE(told.ok()) << told.error().message;
      EXPECT_EQ(checksums_of_members(), before) << level_name(shape.level);
      EXPECT_EQ(told->mismatches, 2u);
      EXPECT_EQ(told->repaired, 0u);
      for (const ScrubFinding& finding : told->findings) EXPECT_FALSE(finding.repaired);
      const ScrubReport done = scrub(with_judge);
      EXPECT_EQ(told->repairable, done.repaired) << level_name(shape.level);
      EXPECT_EQ(told->undecided, done.undecided) << level_name(shape.level);
      EXPECT_EQ(done.repairable, 0u);
    }
  }
}

// It is made good from one of them, and says nothing that this one does not say.
TEST_F(RaidScrub, ACopyThatCannotBeReadIsNoWitnessForTheOneItIsMadeFrom) {
  ASSERT_NO_FATAL_FAILURE(start(1, {format::RaidLevel::k1, 3, 65536, 2}));
  ASSERT_NO_FATAL_FAILURE(fill());
  damage(0, 1);
  disks[0]->inject(sim::DiskFault::kBadSector, 1);  // the same block
  ScrubReport report = scrub(false);
  EXPECT_EQ(report.repaired, 0u);
  EXPECT_EQ(report.undecided, 2u);
  report = scrub(true);
  EXPECT_EQ(report.repaired, 2u);
  EXPECT_EQ(report.undecided, 0u);
  ASSERT_NO_FATAL_FAILURE(expect_model());
  ASSERT_NO_FATAL_FAILURE(expect_consistent("repaired"));
}

TEST_F(RaidScrub, WhatWasRepairedIsDurable) {
  for (const Shape& shape : all_shapes()) {
    if (shape.losses == 0) continue;
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
      ASSERT_NO_FATAL_FAILURE(start(seed, shape));
      ASSERT_NO_FATAL_FAILURE(fill());
      damage(3);
      ASSERT_EQ(scrub(true).repaired, 1u);
      crash();
      ASSERT_NO_FATAL_FAILURE(assemble());
      ASSERT_NO_FATAL_FAILURE(expect_model());
      ASSERT_NO_FATAL_FAILURE(expect_consistent(level_name(shape.level)));
    }
  }
}

// ---- read_other_copies, and the reads that write nothing ----

TEST_F(RaidScrub, APeekGivesWhatIsRightAndWritesNothing) {
  for (const Shape& shape : all_shapes()) {
    if (shape.losses == 0) continue;
    ASSERT_NO_FATAL_FAILURE(start(1, shape));
    ASSERT_NO_FATAL_FAILURE(fill());
    damage(5, 0);
    const auto before = checksums_of_members();
    Buffer out = Buffer::allocate(kBlockSizeBytes);
    const auto found =
        world->run(group->peek_other_copies(DiskOffset{5 * kBlockSizeBytes}, out, is_block(5)));
    ASSERT_TRUE(found.ok()) << level_name(shape.level) << ": " << found.error().message;
    EXPECT_TRUE(is_block(5)(out));
    EXPECT_EQ(checksums_of_members(), before);
    // A block that cannot be read is made from the others.
    const RaidAddress::Place place = group->translate(DiskOffset{9 * kBlockSizeBytes}).data[0];
    disks[place.member]->inject(sim::DiskFault::kBadSector, 1);
    std::vector<std::uint64_t> writes;
    for (const auto& disk : disks) writes.push_back(disk->writes());
    for (int times = 0; times < 2; ++times) {
      const auto read = world->run(group->peek(DiskOffset{9 * kBlockSizeBytes}, out));
      ASSERT_TRUE(read.ok()) << level_name(shape.level) << ": " << read.error().message;
      EXPECT_TRUE(is_block(9)(out));
    }
    for (std::size_t i = 0; i < disks.size(); ++i) EXPECT_EQ(disks[i]->writes(), writes[i]);
  }
}

TEST_F(RaidScrub, ABlockThatItsOwnerKnowsToBeWrongIsReadFromTheOthersAndRepaired) {
  for (const Shape& shape : all_shapes()) {
    if (shape.losses == 0) continue;
    ASSERT_NO_FATAL_FAILURE(start(1, shape));
    ASSERT_NO_FATAL_FAILURE(fill());
    const std::uint32_t member = damage(5, 0);
    Buffer out = Buffer::allocate(kBlockSizeBytes);
    const auto done = world->run(group->read_other_copies(DiskOffset{5 * kBlockSizeBytes}, out, is_block(5)));
    ASSERT_TRUE(done.ok()) << level_name(shape.level) << ": " << done.error().message;
    EXPECT_TRUE(is_block(5)(out));
    EXPECT_EQ(group->status().members[member].repaired_blocks, 1u);
    ASSERT_NO_FATAL_FAILURE(expect_model());
    ASSERT_NO_FATAL_FAILURE(expect_consistent("repaired"));
  }
}

TEST_F(RaidScrub, ABlockAndAnotherOfItsRowAreWrongInRaid6) {
  const Shape shape{format::RaidLevel::k6, 5, 32768, 2};
  // Together with another data unit, P, or Q.
  for (int other = 0; other < 3; ++other) {
    ASSERT_NO_FATAL_FAILURE(start(1, shape));
    ASSERT_NO_FATAL_FAILURE(fill());
    damage(5);
    if (other == 0) {
      damage(5 + 8);
    } else {
      damage(5, 0, static_cast<std::uint32_t>(other));
    }
    Buffer out = Buffer::allocate(kBlockSizeBytes);
    const auto done = world->run(group->read_other_copies(DiskOffset{5 * kBlockSizeBytes}, out, is_block(5)));
    ASSERT_TRUE(done.ok()) << other << ": " << done.error().message;
    EXPECT_TRUE(is_block(5)(out));
    ASSERT_NO_FATAL_FAILURE(expect_model());
    ASSERT_NO_FATAL_FAILURE(expect_consistent("repaired"));
  }
}

TEST_F(RaidScrub, WhatNoReconstructionMakesRightIsDamaged) {
  for (const Shape& shape : all_shapes()) {
    ASSERT_NO_FATAL_FAILURE(start(1, shape));
    ASSERT_NO_FATAL_FAILURE(fill());
    Buffer out = Buffer::allocate(kBlockSizeBytes);
    const auto done = world->run(group->read_other_copies(DiskOffset{0}, out, [](Bytes) { return false; }));
    EXPECT_EQ(done.error().code, ErrorCode::kDamaged) << level_name(shape.level);
    ASSERT_NO_FATAL_FAILURE(expect_model());
    ASSERT_NO_FATAL_FAILURE(expect_consistent("nothing was written"));
  }
}

}  // namespace
}  // namespace tidemark::raid
