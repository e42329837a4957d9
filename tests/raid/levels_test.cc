#include <set>

#include "raid_fixture.h"
#include "rounds.h"

namespace tidemark::raid {
namespace {

using Levels = RaidFixture;

TEST_F(Levels, ANewGroupReadsAsZeroesAndIsConsistent) {
  for (const Shape& shape : all_shapes()) {
    ASSERT_NO_FATAL_FAILURE(start(1, shape));
    ASSERT_NO_FATAL_FAILURE(expect_model());
    ASSERT_NO_FATAL_FAILURE(expect_consistent("new"));
    EXPECT_EQ(group->status().health, GroupHealth::kOptimal);
    EXPECT_EQ(group->status().losses_left, shape.losses);
  }
}

TEST_F(Levels, RandomOperationsShowWhatAModelShows) {
  for (const Shape& shape : all_shapes()) {
    for (std::uint64_t seed = 1; seed <= rounds(3, 1); ++seed) {
      ASSERT_NO_FATAL_FAILURE(start(seed, shape));
      const auto done = work(150);
      ASSERT_TRUE(done.ok()) << done.error().message;
      ASSERT_NO_FATAL_FAILURE(expect_model()) << level_name(shape.level) << " seed " << seed;
      ASSERT_NO_FATAL_FAILURE(expect_consistent(level_name(shape.level)));
    }
  }
}

TEST_F(Levels, OneDiskIsARaidGroupOfLevel0) {
  ASSERT_NO_FATAL_FAILURE(start(9, {format::RaidLevel::k0, 1, 16384, 0}));
  EXPECT_EQ(group->status().members.size(), 1u);
  ASSERT_TRUE(work(150).ok());
  ASSERT_NO_FATAL_FAILURE(expect_model());
  ASSERT_TRUE(world->run(group->close()).ok());
  ASSERT_NO_FATAL_FAILURE(assemble());
  EXPECT_EQ(group->status().health, GroupHealth::kOptimal);
  ASSERT_NO_FATAL_FAILURE(expect_model());
  EXPECT_EQ(world->run(group->fail_out(0)).error().code, ErrorCode::kRefused);
}

TEST_F(Levels, EveryLossThatIsToleratedLeavesAllDataReadableAndWritable) {
  for (const Shape& shape : all_shapes()) {
    for (const auto& lost : loss_sets(shape.members, shape.losses)) {
      if (lost.empty()) continue;
      ASSERT_NO_FATAL_FAILURE(start(lost[0] * 10 + lost.size(), shape));
      ASSERT_TRUE(work(60).ok());
      // The first is lost at work, the second while nobody looks.
      ASSERT_TRUE(world->run(group->fail_out(lost[0])).ok());
      ASSERT_NO_FATAL_FAILURE(expect_model()) << level_name(shape.level) << " without " << lost[0];
      ASSERT_TRUE(work(60).ok());
      ASSERT_TRUE(world->run(group->close()).ok());
      ASSERT_NO_FATAL_FAILURE(assemble({lost.back()}));
      EXPECT_EQ(group->status().health, GroupHealth::kDegraded);
      ASSERT_NO_FATAL_FAILURE(expect_model()) << level_name(shape.level) << " without " << lost.back();
      const auto done = work(60);
      ASSERT_TRUE(done.ok()) << done.error().message;
      ASSERT_NO_FATAL_FAILURE(expect_model());
    }
  }
}

TEST_F(Levels, ALossThatIsNotToleratedIsRefusedByName) {
  for (const Shape& shape : all_shapes()) {
    std::vector<std::uint32_t> lost;
    for (std::uint32_t i = 0; i <= shape.losses; ++i) lost.push_back(i);
    ASSERT_NO_FATAL_FAILURE(start(1, shape));
    ASSERT_TRUE(work(20).ok());
    ASSERT_TRUE(world->run(group->close()).ok());
    const auto refused = try_assemble(lost);
    ASSERT_FALSE(refused.ok()) << level_name(shape.level);
    if (lost.size() < shape.members) {
      EXPECT_EQ(refused.error().code, ErrorCode::kIo);
      EXPECT_NE(refused.error().message.find("member 0"), std::string::npos) << refused.error().message;
    } else {
      EXPECT_EQ(refused.error().code, ErrorCode::kNotFound);
    }
    // Nothing was written: with its members back it is what it was.
    ASSERT_NO_FATAL_FAILURE(assemble());
    EXPECT_EQ(group->status().health, GroupHealth::kOptimal);
    ASSERT_NO_FATAL_FAILURE(expect_model());
    // At work it is refused too, and nothing changes.
    for (std::uint32_t i = 0; i < shape.losses; ++i) ASSERT_TRUE(world->run(group->fail_out(i)).ok());
    const auto one_more = world->run(group->fail_out(shape.losses));
    EXPECT_EQ(one_more.error().code, ErrorCode::kRefused);
    ASSERT_NO_FATAL_FAILURE(expect_model());
  }
}

TEST_F(Levels, MirrorsInDifferentPairsMayBeLostTogether) {
  ASSERT_NO_FATAL_FAILURE(start(4, {format::RaidLevel::k10, 4, 16384, 1}));
  ASSERT_TRUE(work(60).ok());
  ASSERT_TRUE(world->run(group->fail_out(0)).ok());
  ASSERT_TRUE(world->run(group->fail_out(3)).ok());
  EXPECT_EQ(world->run(group->fail_out(1)).error().code, ErrorCode::kRefused);
  EXPECT_EQ(world->run(group->fail_out(2)).error().code, ErrorCode::kRefused);
  ASSERT_NO_FATAL_FAILURE(expect_model());
}

TEST_F(Levels, BeyondTheEndIsAnError) {
  ASSERT_NO_FATAL_FAILURE(start(1, {format::RaidLevel::k5, 3, 16384, 1}));
  Buffer block = Buffer::allocate(kBlockSizeBytes);
  const auto done = world->run(group->read(DiskOffset{group->size_bytes()}, block));
  EXPECT_EQ(done.error().code, ErrorCode::kIo);
}

TEST_F(Levels, ADestroyedTaskDoesNotLeaveMembersThatDiffer) {
  for (const Shape& shape : all_shapes()) {
    for (std::uint64_t steps = 1; steps < 30; steps += 3) {
      ASSERT_NO_FATAL_FAILURE(start(steps, shape));
      ASSERT_TRUE(work(20).ok());
      {
        std::vector<Result<void>> results(3);
        io::TaskScope workers(*world);
        for (auto& result : results) workers.spawn(run_worker(50, &result));
        world->run_steps(steps);
      }
      world->run_for(Duration::seconds(1));
      ASSERT_NO_FATAL_FAILURE(expect_consistent(level_name(shape.level)));
    }
  }
}

}  // namespace
}  // namespace tidemark::raid
