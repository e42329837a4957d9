#include "raid_fixture.h"
#include "rounds.h"

namespace tidemark::raid {
namespace {

class RaidJournal : public RaidFixture {
 protected:
  // Partial rows over few rows, some of them durable, with whole rows in between: entries die, are
  // overwritten in the ring, and overlap.
  io::Task<void> churn(Result<void>* result) {
    io::Random* random = &world->random();
    const std::uint64_t row = geometry->row_bytes() / kBlockSizeBytes;
    for (;;) {
      const std::uint64_t begin = random->below(3 * row);
      BlockRange range{begin, std::min(model->size(), begin + 1 + random->below(row - 1))};
      if (random->below(12) == 0) range = {begin / row * row, begin / row * row + row};
      if (!model->is_free(range)) {
        co_await world->sleep_for(Duration::microseconds(50));
        continue;
      }
      if (random->below(20) == 0) {
        *result = co_await flush_all();
      } else {
        *result = co_await write_blocks(range, next_stamp++, random->below(3) == 0);
      }
      if (!result->ok()) co_return;
      written_bytes += range.count() * kBlockSizeBytes;
    }
  }
  std::uint64_t written_bytes = 0;
};

// The ring of 1 MiB is filled again and again; a crash at any turn of it.
TEST_F(RaidJournal, ARingThatWrapsReplaysWhatCountsAndNothingOlder) {
  std::uint64_t replayed = 0;
  for (const Shape& shape :
       {Shape{format::RaidLevel::k5, 3, 32768, 1}, Shape{format::RaidLevel::k6, 5, 32768, 2}}) {
    for (std::uint64_t seed = 1; seed <= rounds(12, 2); ++seed) {
      ASSERT_NO_FATAL_FAILURE(start(seed, shape));
      std::vector<Result<void>> results(4);
      scope = std::make_unique<io::TaskScope>(*world);
      for (auto& result : results) scope->spawn(churn(&result));
      while (written_bytes < 4 * kMiB * seed) world->run_for(Duration::microseconds(977));
      for (const auto& result : results) ASSERT_TRUE(result.ok()) << result.error().message;
      crash();
      written_bytes = 0;
      const auto left = stored();
      for (const auto& lost : loss_sets(shape.members, 1)) {
        put_back(left);
        const auto assembled = try_assemble(lost);
        ASSERT_TRUE(assembled.ok()) << assembled.error().message;
        replayed += group->status().replayed_entries;
        ASSERT_NO_FATAL_FAILURE(expect_permitted(!lost.empty(), "seed " + std::to_string(seed)));
        ASSERT_NO_FATAL_FAILURE(expect_consistent("seed " + std::to_string(seed)));
      }
    }
  }
  EXPECT_GT(replayed, 100u);
}

// Crashes while the last crash is being repaired, as often as it takes.
TEST_F(RaidJournal, ARepairThatIsCutIsRepeatedWithoutHarm) {
  for (const Shape& shape :
       {Shape{format::RaidLevel::k5, 3, 32768, 1}, Shape{format::RaidLevel::k1, 2, 65536, 1}}) {
    ASSERT_NO_FATAL_FAILURE(start(4, shape));
    std::vector<Result<void>> results(3);
    scope = std::make_unique<io::TaskScope>(*world);
    for (auto& result : results) scope->spawn(run_worker(1000, &result));
    world->run_for(Duration::milliseconds(9));
    crash();
    for (std::uint64_t steps = 1; steps < 400; steps += 1 + steps / 6) {
      {
        std::vector<NamedDisk> all;
        for (std::uint32_t i = 0; i < disks.size(); ++i) all.push_back(named(i));
        io::TaskScope attempt(*world);
        attempt.spawn([](io::Environment* env, std::vector<NamedDisk> present, NodeIdentity owner,
                         RaidIdentity which) -> io::Task<void> {
          static_cast<void>(co_await RaidGroup::assemble(*env, std::move(present), owner, which, {}));
        }(environment.get(), all, node, raid));
        world->run_steps(steps);
      }
      crash();
    }
    const auto left = stored();
    for (const auto& lost : loss_sets(shape.members, shape.losses)) {
      put_back(left);
      ASSERT_NO_FATAL_FAILURE(assemble(lost));
      ASSERT_NO_FATAL_FAILURE(expect_permitted(true, level_name(shape.level)));
      ASSERT_NO_FATAL_FAILURE(expect_consistent(level_name(shape.level)));
    }
  }
}

// One copy of each entry is enough: the ring of any member in turn is unreadable or damaged.
TEST_F(RaidJournal, ADamagedCopyOfAnEntryIsNotNeeded) {
  const Shape shape{format::RaidLevel::k5, 3, 32768, 1};
  for (std::uint32_t damaged = 0; damaged < 3; ++damaged) {
    ASSERT_NO_FATAL_FAILURE(start(damaged + 1, shape));
    ASSERT_TRUE(world->run(write_blocks({0, 16}, 900, false)).ok());
    ASSERT_TRUE(world->run(flush_all()).ok());
    for (std::uint64_t i = 0; i < 6; ++i) ASSERT_TRUE(world->run(write_blocks({i, i + 1}, i + 1, true)).ok());
    crash();
    for (std::uint64_t at = 0; at < kMiB; at += 4096)
      disks[damaged]->flip_bit(format::kRaidJournalOffset + at + 99, 1);
    ASSERT_NO_FATAL_FAILURE(assemble());
    EXPECT_GE(group->status().replayed_entries, 6u);
    ASSERT_NO_FATAL_FAILURE(expect_permitted(false, "damaged ring"));
    ASSERT_NO_FATAL_FAILURE(expect_consistent("damaged ring"));
  }
}

TEST_F(RaidJournal, AGroupThatWasClosedInOrderHasNothingToRepair) {
  for (const Shape& shape : all_shapes()) {
    ASSERT_NO_FATAL_FAILURE(start(4, shape));
    ASSERT_TRUE(work(40).ok());
    ASSERT_TRUE(world->run(group->close()).ok());
    crash();
    ASSERT_NO_FATAL_FAILURE(assemble());
    EXPECT_EQ(group->status().replayed_entries, 0u);
    EXPECT_EQ(group->status().resynced_bytes, 0u);
    ASSERT_NO_FATAL_FAILURE(expect_model());
  }
}

}  // namespace
}  // namespace tidemark::raid
