#include "raid_fixture.h"
#include "rounds.h"

namespace tidemark::raid {
namespace {

class RaidCrash : public RaidFixture {
 protected:
  // Whatever is lost with the power, what was durable is there, and the rest is old or new, sector by sector.
  void expect_all_losses_are_survived(const Shape& shape, const std::string& what) {
    const auto left = stored();
    for (const auto& lost : loss_sets(shape.members, shape.losses)) {
      std::string name =
          what + " " + level_name(shape.level) + " of " + std::to_string(shape.members) + " without";
      for (const std::uint32_t i : lost) name += " " + std::to_string(i);
      put_back(left);
      const auto assembled = try_assemble(lost);
      ASSERT_TRUE(assembled.ok()) << name << ": " << assembled.error().message;
      ASSERT_NO_FATAL_FAILURE(expect_permitted(!lost.empty(), name));
      ASSERT_NO_FATAL_FAILURE(expect_consistent(name));
    }
    put_back(left);
  }

  // Two writes to one row, one of them again, a flush in between, a durable one, a discard.
  io::Task<void> scripted(Result<void>* result) {
    const auto failed = [result](const Result<void>& done) {
      if (!done.ok()) *result = done;
      return !done.ok();
    };
    if (failed(co_await write_blocks({1, 2}, 1001, false))) co_return;
    if (failed(co_await write_blocks({2, 3}, 1002, false))) co_return;
    if (failed(co_await write_blocks({1, 2}, 1003, false))) co_return;
    if (failed(co_await flush_all())) co_return;
    if (failed(co_await write_blocks({0, 1}, 1004, true))) co_return;
    if (failed(co_await write_blocks({0, 3}, 1005, false))) co_return;
    if (failed(co_await discard_blocks({2, 3}))) co_return;
    if (failed(co_await flush_all())) co_return;
    failed(co_await write_blocks({1, 3}, 1006, false));
  }
  io::Task<void> assemble_alone() {
    std::vector<NamedDisk> present;
    for (std::uint32_t i = 0; i < disks.size(); ++i) present.push_back(named(i));
    const Assembly assembly =
        co_await RaidGroup::assemble(*environment, std::move(present), node, raid, options);
  }
};

// The first cut has torn copy 1 of the states; the second one comes at any step of the start after it.
TEST_F(RaidCrash, TwoCutsInARowLeaveEachMemberAState) {
  const std::vector<std::byte> torn(kBlockSizeBytes / 2, std::byte{0xee});
  for (std::uint64_t steps = 0;; ++steps) {
    ASSERT_NO_FATAL_FAILURE(start(100 + steps, {format::RaidLevel::k1, 2, 65536, 1}, 64 * kKiB));
    group.reset();
    for (const auto& disk : disks) disk->poke(format::kRaidStateOffset[1], torn);
    scope = std::make_unique<io::TaskScope>(*world);
    scope->spawn(assemble_alone());
    const std::uint64_t made = world->run_steps(steps);
    crash();
    ASSERT_NO_FATAL_FAILURE(assemble()) << "after " << steps << " steps";
    ASSERT_EQ(group->status().health, GroupHealth::kOptimal) << "after " << steps << " steps";
    if (made < steps) break;
  }
}

TEST_F(RaidCrash, AnyMomentWithAnyToleratedLossKeepsWhatWasDurable) {
  for (const Shape& shape : all_shapes()) {
    for (std::uint64_t seed = 1; seed <= rounds(8, 2); ++seed) {
      ASSERT_NO_FATAL_FAILURE(start(seed * 77, shape));
      ASSERT_TRUE(work(30).ok());
      std::vector<Result<void>> results(4);
      scope = std::make_unique<io::TaskScope>(*world);
      for (auto& result : results) scope->spawn(run_worker(1000, &result));
      world->run_for(Duration::microseconds(static_cast<std::int64_t>(world->random().below(20000))));
      crash();
      ASSERT_NO_FATAL_FAILURE(expect_all_losses_are_survived(shape, "seed " + std::to_string(seed)));
    }
  }
}

// A scripted load that is cut after each step that it has.
TEST_F(RaidCrash, AtEveryStepOfPartialRowsWithAnyToleratedLoss) {
  const std::vector<Shape> shapes = {{format::RaidLevel::k1, 2, 65536, 1},
                                     {format::RaidLevel::k5, 3, 8192, 1},
                                     {format::RaidLevel::k6, 4, 8192, 2},
                                     {format::RaidLevel::k10, 4, 8192, 1}};
  for (const Shape& shape : shapes) {
    for (std::uint64_t steps = 0;; steps += rounds(1, 7)) {
      ASSERT_NO_FATAL_FAILURE(start(5, shape, 64 * kKiB));
      // Neighbours that were durable long ago.
      ASSERT_TRUE(world->run(write_blocks({0, 8}, 1000, false)).ok());
      ASSERT_TRUE(world->run(flush_all()).ok());
      Result<void> result;
      scope = std::make_unique<io::TaskScope>(*world);
      scope->spawn(scripted(&result));
      const std::uint64_t made = world->run_steps(steps);
      crash();
      ASSERT_NO_FATAL_FAILURE(
          expect_all_losses_are_survived(shape, "after " + std::to_string(steps) + " steps"));
      if (made < steps) break;
    }
  }
}

// Its parity is made from whole rows that a crash may take back; or from what a discard left.
TEST_F(RaidCrash, ADurableWriteInARowThatWasNotFlushedIsThereWithoutItsMember) {
  const std::vector<Shape> shapes = {{format::RaidLevel::k5, 3, 32768, 1},
                                     {format::RaidLevel::k6, 4, 32768, 2},
                                     {format::RaidLevel::k6, 5, 32768, 2}};
  for (const Shape& shape : shapes) {
    for (const bool discards : {false, true}) {
      for (std::uint64_t seed = 1; seed <= 3; ++seed) {
        ASSERT_NO_FATAL_FAILURE(start(seed, shape));
        const std::uint64_t row = geometry->row_bytes() / kBlockSizeBytes;
        ASSERT_TRUE(world->run(write_blocks({0, 2 * row}, 1000, false)).ok());
        ASSERT_TRUE(world->run(flush_all()).ok());
        ASSERT_TRUE(
            world->run(discards ? discard_blocks({0, 2 * row}) : write_blocks({0, 2 * row}, 1001, false))
                .ok());
        for (const std::uint64_t block : {std::uint64_t{1}, row - 1, row + 3}) {
          ASSERT_TRUE(world->run(write_blocks({block, block + 1}, 1002 + block, true)).ok());
        }
        crash();
        ASSERT_NO_FATAL_FAILURE(expect_all_losses_are_survived(shape, discards ? "discard" : "write"));
      }
    }
  }
}

TEST_F(RaidCrash, ADurableWriteFlushesOnlyWhereItsRowWasNotFlushed) {
  ASSERT_NO_FATAL_FAILURE(start(1, {format::RaidLevel::k5, 3, 32768, 1}));
  const std::uint64_t row = geometry->row_bytes() / kBlockSizeBytes;
  ASSERT_TRUE(world->run(write_blocks({0, row}, 1000, false)).ok());
  const std::uint64_t before = disks[0]->flushes();
  ASSERT_TRUE(world->run(write_blocks({row, row + 1}, 1001, true)).ok());
  ASSERT_TRUE(world->run(write_blocks({1, 2}, 1002, false)).ok());
  EXPECT_EQ(disks[0]->flushes(), before);
  ASSERT_TRUE(world->run(write_blocks({1, 2}, 1003, true)).ok());
  EXPECT_EQ(disks[0]->flushes(), before + 1);
  ASSERT_TRUE(world->run(write_blocks({2, 3}, 1004, true)).ok());
  EXPECT_EQ(disks[0]->flushes(), before + 1);
}

}  // namespace
}  // namespace tidemark::raid
