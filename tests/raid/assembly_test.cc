#include "pool/pool.h"
#include "raid_fixture.h"

namespace tidemark::raid {
namespace {

using format::RaidMemberState;

class RaidAssembly : public RaidFixture {
 protected:
  void copy_disk(std::uint32_t from, std::uint32_t to) { disks[to]->put_back(disks[from]->stored()); }
};

TEST_F(RaidAssembly, TheOrderOfTheDisksDoesNotMatter) {
  for (const Shape& shape : all_shapes()) {
    ASSERT_NO_FATAL_FAILURE(start(2, shape));
    ASSERT_TRUE(work(40).ok());
    ASSERT_TRUE(world->run(group->close()).ok());
    group.reset();
    std::swap(disks[0], disks[1]);
    ASSERT_NO_FATAL_FAILURE(assemble());
    EXPECT_EQ(report_of(0).index, 1u);
    ASSERT_NO_FATAL_FAILURE(expect_model());
    EXPECT_EQ(group->status().resynced_bytes, 0u);
    EXPECT_EQ(group->status().replayed_entries, 0u);
  }
}

TEST_F(RaidAssembly, AMemberThatWasAwayWhileTheGroupWentOnIsNotUsed) {
  for (const Shape& shape : all_shapes()) {
    if (shape.losses == 0) continue;
    ASSERT_NO_FATAL_FAILURE(start(2, shape));
    ASSERT_TRUE(work(40).ok());
    ASSERT_TRUE(world->run(group->close()).ok());
    ASSERT_NO_FATAL_FAILURE(assemble({1}));
    ASSERT_TRUE(work(40).ok());
    ASSERT_TRUE(world->run(group->close()).ok());
    ASSERT_NO_FATAL_FAILURE(assemble());
    EXPECT_EQ(report_of(1).role, DiskRole::kFailed);
    ASSERT_NO_FATAL_FAILURE(expect_model());
  }
}

TEST_F(RaidAssembly, ADiskTakenBackInTimeIsNotUsed) {
  for (const Shape& shape : all_shapes()) {
    if (shape.losses == 0) continue;
    ASSERT_NO_FATAL_FAILURE(start(2, shape));
    ASSERT_TRUE(work(20).ok());
    ASSERT_TRUE(world->run(group->close()).ok());
    group.reset();
    const auto old = disks[0]->stored();
    ASSERT_NO_FATAL_FAILURE(assemble());
    ASSERT_TRUE(work(40).ok());
    ASSERT_TRUE(world->run(group->close()).ok());
    group.reset();
    disks[0]->put_back(old);
    ASSERT_NO_FATAL_FAILURE(assemble());
    EXPECT_EQ(report_of(0).role, DiskRole::kRolledBack);
    EXPECT_NE(report_of(0).explanation.find("d0 holds an old state"), std::string::npos);
    EXPECT_EQ(group->status().members[0].state, RaidMemberState::kFailed);
    ASSERT_NO_FATAL_FAILURE(expect_model());
  }
}

// Nothing but the start of the group came in between.
TEST_F(RaidAssembly, ADiskTakenBackToBeforeTheStartIsNotUsedAlsoAfterACrash) {
  for (const Shape& shape : all_shapes()) {
    if (shape.losses == 0) continue;
    ASSERT_NO_FATAL_FAILURE(start(2, shape));
    ASSERT_TRUE(work(20).ok());
    ASSERT_TRUE(world->run(group->close()).ok());
    group.reset();
    const auto old = disks[0]->stored();
    ASSERT_NO_FATAL_FAILURE(assemble());
    ASSERT_TRUE(work(40).ok());
    ASSERT_TRUE(world->run(flush_all()).ok());
    crash();
    disks[0]->put_back(old);
    ASSERT_NO_FATAL_FAILURE(assemble());
    EXPECT_EQ(report_of(0).role, DiskRole::kRolledBack) << level_name(shape.level);
    ASSERT_NO_FATAL_FAILURE(expect_model());
  }
}

TEST_F(RaidAssembly, TwoDisksWithOneIdentityAreRefusedByName) {
  ASSERT_NO_FATAL_FAILURE(start(2, {format::RaidLevel::k5, 4, 32768, 1}));
  ASSERT_TRUE(work(20).ok());
  ASSERT_TRUE(world->run(group->close()).ok());
  group.reset();
  const std::uint32_t clone = add_disk();
  copy_disk(2, clone);
  const auto refused = try_assemble();
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kRefused);
  EXPECT_NE(refused.error().message.find("d2"), std::string::npos);
  EXPECT_NE(refused.error().message.find("d4"), std::string::npos);
  EXPECT_EQ(report_of(2).role, DiskRole::kClone);
  EXPECT_EQ(report_of(clone).role, DiskRole::kClone);
  // Whichever is taken away, the group is whole.
  ASSERT_NO_FATAL_FAILURE(assemble({2}));
  EXPECT_EQ(group->status().health, GroupHealth::kOptimal);
  ASSERT_NO_FATAL_FAILURE(expect_model());
}

TEST_F(RaidAssembly, ADiskWithAnythingInItsFirstMiBIsNotTaken) {
  ASSERT_NO_FATAL_FAILURE(start(2, {format::RaidLevel::k1, 2, 65536, 1}));
  RaidSpec spec;
  spec.name = "another";
  const std::uint32_t blank = add_disk();
  // A label of LVM, superblocks of Linux md and bcache, and of btrfs; what is not ours in our own places.
  for (const std::uint64_t at :
       {512ull, 4096ull, 65536ull, 131072ull, 262144ull + 512, 327680ull, 1044480ull}) {
    const std::uint32_t used = add_disk();
    disks[used]->flip_bit(at, 3);
    const auto made = world->run(RaidGroup::create(*environment, {named(blank), named(used)}, node, spec));
    ASSERT_FALSE(made.ok()) << at;
    EXPECT_EQ(made.error().code, ErrorCode::kExists);
    EXPECT_NE(made.error().message.find("byte " + std::to_string(at / 4096 * 4096)), std::string::npos)
        << made.error().message;
    EXPECT_EQ(world->run(group->add_spare(named(used))).error().code, ErrorCode::kExists);
  }
  EXPECT_TRUE(disks[blank]->stored_pages().empty());
  // A creation that was cut off before its labels is begun again.
  const std::uint32_t second = add_disk();
  ASSERT_TRUE(world->run(RaidGroup::create(*environment, {named(blank), named(second)}, node, spec)).ok());
  const std::vector<std::byte> zeroes(kBlockSizeBytes);
  for (const std::uint64_t offset : format::kRaidLabelOffset) {
    disks[blank]->poke(offset, zeroes);
    disks[second]->poke(offset, zeroes);
  }
  EXPECT_TRUE(world->run(RaidGroup::create(*environment, {named(blank), named(second)}, node, spec)).ok());
}

TEST_F(RaidAssembly, TheSpaceBeforeTheDataIsPromisedWhenADiskIsTaken) {
  ASSERT_NO_FATAL_FAILURE(start(2, {format::RaidLevel::k5, 3, 16384, 1}));
  sim::DiskOptions thin;
  thin.space_bytes_max = geometry->shape().data_offset - kBlockSizeBytes;
  disks.push_back(std::make_unique<sim::Disk>(*world, disk_bytes, thin));
  thin.space_bytes_max += kBlockSizeBytes;
  disks.push_back(std::make_unique<sim::Disk>(*world, disk_bytes, thin));
  EXPECT_EQ(world->run(group->replace(1, named(3))).error().code, ErrorCode::kNoSpace);
  EXPECT_EQ(world->run(group->add_spare(named(3))).error().code, ErrorCode::kNoSpace);
  EXPECT_TRUE(world->run(group->add_spare(named(4))).ok());
}

TEST_F(RaidAssembly, AStateWithARebuiltPositionThatCannotBeIsNotUsed) {
  ASSERT_NO_FATAL_FAILURE(start(2, {format::RaidLevel::k1, 2, 65536, 1}));
  ASSERT_TRUE(world->run(group->close()).ok());
  group.reset();
  for (const std::uint64_t position : {geometry->shape().member_bytes + 65536, std::uint64_t{4096}}) {
    for (std::uint32_t i = 0; i < 2; ++i) {
      for (std::uint32_t copy = 0; copy < 2; ++copy) {
        Buffer block = Buffer::allocate(kBlockSizeBytes);
        disks[i]->peek(format::kRaidStateOffset[copy], block.writable());
        format::RaidState state = format::decode_raid_state(block, raid, copy).value();
        state.members[1].state = format::RaidMemberState::kRebuilding;
        state.members[1].rebuilt_bytes = position;
        format::encode_raid_state(state, copy, block.writable());
        disks[i]->poke(format::kRaidStateOffset[copy], block);
      }
    }
    EXPECT_EQ(try_assemble().error().code, ErrorCode::kNotFound);
  }
}

TEST_F(RaidAssembly, ForeignBlankAndDamagedDisksAreLeftAloneAndNamed) {
  ASSERT_NO_FATAL_FAILURE(start(2, {format::RaidLevel::k1, 2, 65536, 1}));
  ASSERT_TRUE(work(20).ok());
  ASSERT_TRUE(world->run(group->close()).ok());
  group.reset();
  const std::uint32_t blank = add_disk();
  const std::uint32_t other_group = add_disk();
  const std::uint32_t second = add_disk();
  const std::uint32_t pool_disk = add_disk(64 * kMiB);
  RaidSpec spec;
  spec.name = "another";
  ASSERT_TRUE(
      world->run(RaidGroup::create(*environment, {named(other_group), named(second)}, node, spec)).ok());
  ASSERT_TRUE(world->run(pool::Pool::format(*environment, *disks[pool_disk], node)).ok());
  const auto before = disks[blank]->stored_pages().size();
  const auto foreign_writes = disks[other_group]->writes();
  ASSERT_NO_FATAL_FAILURE(assemble());
  EXPECT_EQ(group->status().health, GroupHealth::kOptimal);
  EXPECT_EQ(report_of(blank).role, DiskRole::kBlank);
  EXPECT_EQ(report_of(other_group).role, DiskRole::kForeign);
  EXPECT_NE(report_of(other_group).explanation.find("'another'"), std::string::npos);
  EXPECT_EQ(report_of(pool_disk).role, DiskRole::kUnusable);
  EXPECT_EQ(disks[blank]->stored_pages().size(), before);
  EXPECT_EQ(disks[other_group]->writes(), foreign_writes);
  ASSERT_NO_FATAL_FAILURE(expect_model());
}

TEST_F(RaidAssembly, AnotherNodesDisksAreRefused) {
  ASSERT_NO_FATAL_FAILURE(start(2, {format::RaidLevel::k1, 2, 65536, 1}));
  ASSERT_TRUE(world->run(group->close()).ok());
  node = identity_of<NodeIdentity>(0x70);
  const auto refused = try_assemble();
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(report_of(0).role, DiskRole::kForeign);
  EXPECT_NE(refused.error().message.find("belongs to node"), std::string::npos) << refused.error().message;
}

TEST_F(RaidAssembly, AWrongDiskInTheSlotOfAMemberIsNotTakenForIt) {
  ASSERT_NO_FATAL_FAILURE(start(2, {format::RaidLevel::k6, 4, 8192, 2}));
  ASSERT_TRUE(work(20).ok());
  ASSERT_TRUE(world->run(group->close()).ok());
  group.reset();
  const std::uint32_t wrong = add_disk();
  std::swap(disks[1], disks[wrong]);
  ASSERT_NO_FATAL_FAILURE(assemble({wrong}));
  EXPECT_EQ(report_of(1).role, DiskRole::kBlank);
  EXPECT_EQ(group->status().members[1].state, RaidMemberState::kFailed);
  EXPECT_NE(group->status().members[1].failure.find("missing"), std::string::npos);
  ASSERT_NO_FATAL_FAILURE(expect_model());
}

TEST_F(RaidAssembly, TwoHalvesThatWentOnAloneAreRefused) {
  ASSERT_NO_FATAL_FAILURE(start(2, {format::RaidLevel::k1, 2, 65536, 1}));
  ASSERT_TRUE(world->run(group->close()).ok());
  ASSERT_NO_FATAL_FAILURE(assemble({0}));
  ASSERT_TRUE(world->run(group->close()).ok());
  ASSERT_NO_FATAL_FAILURE(assemble({1}));
  ASSERT_TRUE(world->run(group->close()).ok());
  const auto refused = try_assemble();
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kRefused);
  EXPECT_NE(refused.error().message.find("without the other"), std::string::npos);
  ASSERT_NO_FATAL_FAILURE(assemble({1}));
}

TEST_F(RaidAssembly, AShrunkDiskIsNotUsed) {
  ASSERT_NO_FATAL_FAILURE(start(2, {format::RaidLevel::k5, 3, 16384, 1}));
  ASSERT_TRUE(work(20).ok());
  ASSERT_TRUE(world->run(group->close()).ok());
  group.reset();
  disks[0]->shrink(disk_bytes - 4096);
  ASSERT_NO_FATAL_FAILURE(assemble());
  EXPECT_EQ(report_of(0).role, DiskRole::kUnusable);
  EXPECT_NE(report_of(0).explanation.find("shrank"), std::string::npos);
  ASSERT_NO_FATAL_FAILURE(expect_model());
}

TEST_F(RaidAssembly, OneDamagedCopyOfALabelOrAStateHarmsNothing) {
  for (std::uint32_t copy = 0; copy < 2; ++copy) {
    for (const bool state : {false, true}) {
      ASSERT_NO_FATAL_FAILURE(start(2, {format::RaidLevel::k5, 3, 16384, 1}));
      ASSERT_TRUE(work(20).ok());
      ASSERT_TRUE(world->run(group->close()).ok());
      group.reset();
      disks[1]->flip_bit((state ? format::kRaidStateOffset[copy] : format::kRaidLabelOffset[copy]) + 40, 3);
      ASSERT_NO_FATAL_FAILURE(assemble());
      EXPECT_EQ(group->status().health, GroupHealth::kOptimal) << copy << state;
      ASSERT_NO_FATAL_FAILURE(expect_model());
    }
  }
}

TEST_F(RaidAssembly, AMemberWithoutAStateThatCanBeReadIsNotUsed) {
  ASSERT_NO_FATAL_FAILURE(start(2, {format::RaidLevel::k5, 3, 16384, 1}));
  ASSERT_TRUE(work(20).ok());
  ASSERT_TRUE(world->run(group->close()).ok());
  group.reset();
  for (const std::uint64_t offset : format::kRaidStateOffset) disks[1]->flip_bit(offset + 40, 3);
  ASSERT_NO_FATAL_FAILURE(assemble());
  EXPECT_EQ(report_of(1).role, DiskRole::kUnusable);
  EXPECT_EQ(group->status().health, GroupHealth::kDegraded);
  ASSERT_NO_FATAL_FAILURE(expect_model());
}

TEST_F(RaidAssembly, DisksThatAreNotBlankAreNotTaken) {
  ASSERT_NO_FATAL_FAILURE(start(2, {format::RaidLevel::k1, 2, 65536, 1}));
  const std::uint32_t fresh = add_disk();
  RaidSpec spec;
  spec.name = "second";
  const auto made = world->run(RaidGroup::create(*environment, {named(fresh), named(0)}, node, spec));
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code, ErrorCode::kExists);
  EXPECT_NE(made.error().message.find("d0"), std::string::npos);
  EXPECT_EQ(world->run(group->add_spare(named(1))).error().code, ErrorCode::kExists);
  EXPECT_EQ(world->run(group->replace(0, named(1))).error().code, ErrorCode::kExists);
  const std::uint32_t small = add_disk(kMiB);
  EXPECT_EQ(world->run(group->replace(0, named(small))).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(group->status().health, GroupHealth::kOptimal);
}

// While a state is being written, members have the old one or the new one; none is taken for rolled back.
TEST_F(RaidAssembly, ACrashAtEveryStepOfAChangeOfStateLeavesMembersInOrder) {
  for (std::uint64_t steps = 0;; ++steps) {
    ASSERT_NO_FATAL_FAILURE(start(7, {format::RaidLevel::k6, 4, 8192, 2}));
    ASSERT_TRUE(work(10).ok());
    Result<void> result;
    scope = std::make_unique<io::TaskScope>(*world);
    scope->spawn([](RaidGroup* target, Result<void>* out) -> io::Task<void> {
      *out = co_await target->fail_out(2);
      *out = co_await target->close();
    }(group.get(), &result));
    const std::uint64_t made = world->run_steps(steps);
    crash();
    ASSERT_NO_FATAL_FAILURE(assemble());
    for (const std::uint32_t i : {0u, 1u, 3u}) ASSERT_EQ(report_of(i).role, DiskRole::kMember) << steps;
    ASSERT_NO_FATAL_FAILURE(expect_permitted(false, "step " + std::to_string(steps)));
    if (made < steps) break;
  }
}

}  // namespace
}  // namespace tidemark::raid
