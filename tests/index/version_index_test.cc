// What both twins promise.

#include "index/answer.h"
#include "index/harness.h"

namespace tidemark::index::test {
namespace {

constexpr VolumeId kVolume{1};

enum class Twin { kMemory, kRocks, kRocksInRuns };

class VersionIndexTest : public testing::TestWithParam<Twin> {
 protected:
  VersionIndexTest() {
    if (GetParam() == Twin::kMemory) {
      index = make_memory_index();
    } else {
      index = std::move(machine.open(folder.path()).value().index);
    }
  }
  ~VersionIndexTest() override { machine.close(*index); }
  // Where the twin under test shall have its keys.
  void settle() {
    if (GetParam() == Twin::kRocksInRuns) machine.persist(*index, Place(9, 9));
  }
  LogId id(std::uint64_t sequence) const { return LogId(Epoch{1}, sequence); }

  TemporaryFolder folder;
  Machine machine;
  std::unique_ptr<VersionIndex> index;
};

TEST_P(VersionIndexTest, WhatNobodyWroteIsBase) {
  settle();
  const auto pieces = machine.lookup(*index, kVolume, {0, 1000}, live_path());
  ASSERT_EQ(pieces.size(), 1u);
  EXPECT_EQ(pieces[0].kind, Piece::Kind::kBase);
  EXPECT_EQ(pieces[0].blocks, (BlockRange{0, 1000}));
}

TEST_P(VersionIndexTest, AnUnalignedWriteReadsBackAsOnePieceWithItsPlacesAndChecksums) {
  insert_data(*index, kVolume, {13, 200}, id(1), Place(3, 50));
  settle();
  const auto pieces = machine.lookup(*index, kVolume, {20, 150}, live_path());
  ASSERT_EQ(pieces.size(), 1u);
  EXPECT_EQ(pieces[0].kind, Piece::Kind::kData);
  EXPECT_EQ(pieces[0].id, id(1));
  EXPECT_EQ(pieces[0].place, Place(3, 57));
  EXPECT_EQ(pieces[0].checksums, checksums_from(Place(3, 57), 130));
}

TEST_P(VersionIndexTest, TheNewestWinsAcrossSizesOfExtents) {
  index->insert_zero(kVolume, {0, 1ull << 28}, id(1), Place(1, 0));
  insert_data(*index, kVolume, {256, 512}, id(2), Place(1, 0));
  index->insert_zero(kVolume, {300, 301}, id(3), Place(1, 300));
  insert_data(*index, kVolume, {304, 320}, id(4), Place(1, 400));
  settle();
  const auto pieces = machine.lookup(*index, kVolume, {299, 600}, live_path());
  EXPECT_EQ(to_string(pieces),
            "[299, 300) data 1.2 at 1:43; [300, 301) zero 1.3 at 1:300; [301, 304) data 1.2 at 1:45; "
            "[304, 320) data 1.4 at 1:400; [320, 512) data 1.2 at 1:64; [512, 600) zero 1.1 at 1:0; ");
}

TEST_P(VersionIndexTest, ANewerEpochOnThePathBeatsALaterSequenceOfItsParent) {
  insert_data(*index, kVolume, {0, 1}, LogId(Epoch{1}, 900), Place(1, 0));
  insert_data(*index, kVolume, {0, 1}, LogId(Epoch{3}, 1), Place(1, 1));
  settle();
  const Path path{{{Epoch{3}, 1, kSequenceMax}, {Epoch{1}, 1, 900}}};
  EXPECT_EQ(machine.lookup(*index, kVolume, {0, 1}, path).at(0).id, LogId(Epoch{3}, 1));
}

TEST_P(VersionIndexTest, EntriesOfDeadBranchesAndAfterThePointAreNotSeen) {
  insert_data(*index, kVolume, {0, 1}, LogId(Epoch{1}, 5), Place(1, 0));
  insert_data(*index, kVolume, {0, 1}, LogId(Epoch{1}, 7), Place(1, 1));   // after the branching point
  insert_data(*index, kVolume, {0, 1}, LogId(Epoch{2}, 1), Place(1, 2));   // a dead branch
  insert_data(*index, kVolume, {0, 1}, LogId(Epoch{3}, 20), Place(1, 3));  // newer than the point
  settle();
  const Path path{{{Epoch{3}, 1, 10}, {Epoch{1}, 1, 6}}};
  EXPECT_EQ(machine.lookup(*index, kVolume, {0, 1}, path).at(0).id, LogId(Epoch{1}, 5));
  const Path above_floor{{{Epoch{3}, 1, 10}, {Epoch{1}, 6, 6}}};
  EXPECT_EQ(machine.lookup(*index, kVolume, {0, 1}, above_floor).at(0).kind, Piece::Kind::kBase);
}

TEST_P(VersionIndexTest, VolumesDoNotSeeEachOther) {
  insert_data(*index, VolumeId{2}, {0, 1}, id(1), Place(1, 0));
  settle();
  EXPECT_EQ(machine.lookup(*index, VolumeId{1}, {0, 1}, live_path()).at(0).kind, Piece::Kind::kBase);
  EXPECT_EQ(machine.lookup(*index, VolumeId{3}, {0, 1}, live_path()).at(0).kind, Piece::Kind::kBase);
}

TEST_P(VersionIndexTest, AFullAnswerIsContinuedWhereItEnded) {
  for (std::uint64_t i = 0; i < 10; ++i) {
    insert_data(*index, kVolume, {2 * i, 2 * i + 1}, id(i + 1), Place(1, static_cast<std::uint32_t>(i)));
  }
  settle();
  const auto first = machine.lookup(*index, kVolume, {0, 20}, live_path(), 7);
  ASSERT_EQ(first.size(), 7u);
  EXPECT_EQ(first.back().blocks.end, 7u);
  const auto second = machine.lookup(*index, kVolume, {7, 20}, live_path(), 7);
  ASSERT_EQ(second.size(), 7u);
  const auto third = machine.lookup(*index, kVolume, {14, 20}, live_path(), 7);
  ASSERT_EQ(third.size(), 6u);
  EXPECT_EQ(third.back().blocks.end, 20u);
}

TEST_P(VersionIndexTest, ManyHitsThatJoinAreOnePieceHoweverFewPiecesAreWanted) {
  constexpr std::uint64_t kBlocks = 20'001;  // odd, so that most keys are of one block or sixteen
  for (std::uint64_t at = 1; at < kBlocks; at += 255)
    index->insert_zero(kVolume, {at, at + 255}, id(1), Place(1, 0));
  settle();
  const auto pieces = machine.lookup(*index, kVolume, {1, kBlocks}, live_path(), 1);
  ASSERT_EQ(pieces.size(), 1u);
  EXPECT_EQ(pieces[0].blocks, (BlockRange{1, kBlocks}));
}

TEST_P(VersionIndexTest, InsertingAnEntryAgainChangesNothing) {
  insert_data(*index, kVolume, {3, 90}, id(1), Place(1, 0));
  index->insert_zero(kVolume, {50, 60}, id(2), Place(1, 90));
  const auto before = machine.lookup(*index, kVolume, {0, 100}, live_path());
  const std::uint64_t keys = index->status().keys_in_memory;
  settle();
  insert_data(*index, kVolume, {3, 90}, id(1), Place(1, 0));
  index->insert_zero(kVolume, {50, 60}, id(2), Place(1, 90));
  EXPECT_EQ(index->status().keys_in_memory, keys);
  EXPECT_TRUE(same(before, machine.lookup(*index, kVolume, {0, 100}, live_path())));
  settle();
  EXPECT_TRUE(same(before, machine.lookup(*index, kVolume, {0, 100}, live_path())));
}

TEST_P(VersionIndexTest, PiecesAreAppendedBehindWhatIsThere) {
  settle();
  std::vector<Piece> out(1);
  out[0].blocks = {5, 6};
  ASSERT_TRUE(machine.world.run(index->lookup(kVolume, {6, 8}, live_path(), out, 10)).ok());
  ASSERT_EQ(out.size(), 2u);
  EXPECT_EQ(out[0].blocks, (BlockRange{5, 6}));
}

TEST_P(VersionIndexTest, ClearForgetsEverything) {
  insert_data(*index, kVolume, {0, 9}, id(1), Place(1, 0));
  machine.persist(*index, Place(1, 9));
  insert_data(*index, kVolume, {20, 29}, id(2), Place(1, 9));
  EXPECT_EQ(index->resume_place(), Place(1, 9));
  ASSERT_TRUE(machine.world.run(index->clear()).ok());
  EXPECT_TRUE(index->resume_place().is_none());
  const auto pieces = machine.lookup(*index, kVolume, {0, 100}, live_path());
  ASSERT_EQ(pieces.size(), 1u);
  EXPECT_EQ(pieces[0].kind, Piece::Kind::kBase);
}

TEST_P(VersionIndexTest, ASuccessorIsEmptyAndTheOneBeforeGoesOn) {
  insert_data(*index, kVolume, {0, 9}, id(1), Place(1, 0));
  settle();
  auto made = machine.world.run(index->make_successor());
  ASSERT_TRUE(made.ok()) << made.error().message;
  VersionIndex& successor = **made;
  EXPECT_TRUE(successor.resume_place().is_none());
  insert_data(*index, kVolume, {20, 29}, id(2), Place(1, 9));
  insert_data(successor, kVolume, {40, 49}, id(3), Place(1, 18));
  EXPECT_EQ(to_string(machine.lookup(*index, kVolume, {0, 60}, live_path())),
            "[0, 9) data 1.1 at 1:0; [9, 20) base 0.0 at 0:0; [20, 29) data 1.2 at 1:9; [29, 60) base 0.0 at "
            "0:0; ");
  EXPECT_EQ(to_string(machine.lookup(successor, kVolume, {0, 60}, live_path())),
            "[0, 40) base 0.0 at 0:0; [40, 49) data 1.3 at 1:18; [49, 60) base 0.0 at 0:0; ");
  index->retire();
  EXPECT_EQ(machine.lookup(*index, kVolume, {0, 9}, live_path()).at(0).id, id(1)) << "until it is closed";
  machine.close(*index);
  index = std::move(*made);
  settle();
  EXPECT_EQ(machine.lookup(*index, kVolume, {40, 49}, live_path()).at(0).id, id(3));
}

TEST_P(VersionIndexTest, AClosedIndexSaysSo) {
  machine.close(*index);
  std::vector<Piece> out;
  EXPECT_FALSE(index->lookup_now(kVolume, {0, 1}, live_path(), out));
  EXPECT_EQ(machine.world.run(index->lookup(kVolume, {0, 1}, live_path(), out, 1)).error().code,
            ErrorCode::kClosed);
  EXPECT_EQ(machine.world.run(index->persist(Place(1, 1))).error().code, ErrorCode::kClosed);
  EXPECT_EQ(machine.world.run(index->make_successor()).error().code, ErrorCode::kClosed);
}

INSTANTIATE_TEST_SUITE_P(Twins, VersionIndexTest,
                         testing::Values(Twin::kMemory, Twin::kRocks, Twin::kRocksInRuns));

TEST(MemoryIndexTest, DroppedEntriesGiveTheirMemoryBack) {
  auto index = make_memory_index();
  constexpr std::uint64_t kRounds = 50'000;
  for (std::uint64_t i = 1; i <= kRounds; ++i) {
    insert_data(*index, kVolume, {i % 100, i % 100 + 1}, LogId(Epoch{1}, i), Place(i, 0));
    if (i > 1000) index->drop_before(Place(i - 1000, 0));
  }
  EXPECT_LT(index->status().keys_in_memory, 5000u);
}

TEST(CollectTest, AnEmptyTebibyteTakesAFewSearches) {
  MemoryTable table;
  const std::vector<std::uint32_t> checksum{1};
  for (std::uint64_t i = 0; i < 10'000; ++i) {
    table.insert_data(kVolume, {i, i + 1}, LogId(Epoch{1}, i + 1), Place(1, 0), checksum);
  }
  HitSet hits;
  EXPECT_EQ(collect_from_table(table, kVolume, {1ull << 28, 2ull << 28}, live_path(), 100, hits), 2ull << 28);
  EXPECT_TRUE(hits.hits.empty());
  EXPECT_LE(hits.seeks, kSizeClassCount);
}

TEST(CollectTest, ManyNewerAndDeadVersionsAreSkippedBySearching) {
  MemoryTable table;
  const std::vector<std::uint32_t> checksum{1};
  const auto put = [&](std::uint32_t epoch, std::uint64_t sequence) {
    table.insert_data(kVolume, {0, 1}, LogId(Epoch{epoch}, sequence), Place(1, 0), checksum);
  };
  for (std::uint64_t i = 1; i <= 20'000; ++i) put(1, i);
  for (std::uint64_t i = 1; i <= 20'000; ++i) put(2, i);  // dead
  for (std::uint64_t i = 1; i <= 20'000; ++i) put(3, i);
  HitSet hits;
  const Path path{{{Epoch{3}, 15'001, 15'000}, {Epoch{1}, 1, 5000}}};  // an empty step on top
  collect_from_table(table, kVolume, {0, 1}, path, 100, hits);
  ASSERT_EQ(hits.hits.size(), 1u);
  EXPECT_EQ(hits.hits[0].id_raw, LogId(Epoch{1}, 5000).raw());
  EXPECT_LE(hits.seeks, 4u);
}

TEST(PathTest, ContainsWhatItsStepsHold) {
  const Path path{{{Epoch{5}, 1, kSequenceMax}, {Epoch{2}, 10, 20}}};
  EXPECT_TRUE(path.contains(LogId(Epoch{5}, 1)));
  EXPECT_TRUE(path.contains(LogId(Epoch{2}, 10)));
  EXPECT_TRUE(path.contains(LogId(Epoch{2}, 20)));
  EXPECT_FALSE(path.contains(LogId(Epoch{2}, 9)));
  EXPECT_FALSE(path.contains(LogId(Epoch{2}, 21)));
  EXPECT_FALSE(path.contains(LogId(Epoch{3}, 15)));
  EXPECT_FALSE(path.contains(LogId(Epoch{1}, 15)));
  EXPECT_FALSE(path.contains(LogId(Epoch{6}, 15)));
  EXPECT_FALSE(Path{}.contains(LogId(Epoch{1}, 1)));
}

}  // namespace
}  // namespace tidemark::index::test
