// What only the twin with runs can get wrong: look-ups and inserts while a run is written, work that outlives
// its caller, failures, and what is found when the folder is opened again.

#include <optional>

#include "index/harness.h"
#include "index/run_format.h"

namespace tidemark::index::test {
namespace {

constexpr VolumeId kVolume{1};

LogId id(std::uint64_t sequence) {
  return LogId(Epoch{1}, sequence);
}

struct Answer {
  std::optional<Result<void>> result;
  std::vector<Piece> pieces;
};

io::Task<void> look_up(VersionIndex* index, BlockRange blocks, Path path, Answer* answer) {
  answer->result.emplace(co_await index->lookup(kVolume, blocks, path, answer->pieces, 4096));
}
io::Task<void> write_run(VersionIndex* index, Place resume, std::optional<Result<void>>* result) {
  result->emplace(co_await index->persist(resume));
}

class RocksIndexTest : public testing::Test {
 protected:
  RocksIndexTest() { open(); }
  ~RocksIndexTest() override {
    machine.offload.release();
    if (index != nullptr) machine.close(*index);
  }
  void open() {
    auto opened = machine.open(folder.path());
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    rebuilt = opened->rebuilt;
    index = std::move(opened->index);
  }
  void reopen() {
    machine.close(*index);
    index.reset();
    open();
  }
  LogId newest(std::uint64_t block, const Path& path = live_path()) {
    return machine.lookup(*index, kVolume, {block, block + 1}, path).at(0).id;
  }

  TemporaryFolder folder;
  Machine machine;
  std::unique_ptr<VersionIndex> index;
  bool rebuilt = false;
};

TEST_F(RocksIndexTest, ANewFolderIsEmptyAndNotRebuilt) {
  EXPECT_FALSE(rebuilt);
  EXPECT_TRUE(index->resume_place().is_none());
}

TEST_F(RocksIndexTest, AFinishedRunAndItsResumePlaceAreFoundAgain) {
  insert_data(*index, kVolume, {10, 300}, id(1), Place(4, 7));
  machine.persist(*index, Place(4, 297));
  insert_data(*index, kVolume, {10, 11}, id(2), Place(4, 297));  // in no run: the journal has it
  reopen();
  EXPECT_FALSE(rebuilt);
  EXPECT_EQ(index->resume_place(), Place(4, 297));
  const auto pieces = machine.lookup(*index, kVolume, {0, 400}, live_path());
  EXPECT_EQ(to_string(pieces),
            "[0, 10) base 0.0 at 0:0; [10, 300) data 1.1 at 4:7; [300, 400) base 0.0 at 0:0; ");
  EXPECT_EQ(pieces[1].checksums, checksums_from(Place(4, 7), 290));
}

TEST_F(RocksIndexTest, ARunWithoutKeysMovesTheResumePlace) {
  machine.persist(*index, Place(7, 1));
  reopen();
  EXPECT_EQ(index->resume_place(), Place(7, 1));
}

TEST_F(RocksIndexTest, KeysAreReadableAtEveryMomentOfWritingARun) {
  insert_data(*index, kVolume, {0, 1}, id(1), Place(1, 0));
  machine.offload.hold();
  std::optional<Result<void>> persisted;
  io::TaskScope scope(machine.world);
  scope.spawn(write_run(index.get(), Place(1, 1), &persisted));
  machine.world.run_ready_only();
  ASSERT_EQ(machine.offload.waiting(), 1u);
  insert_data(*index, kVolume, {5, 6}, id(2), Place(1, 1));

  std::vector<Piece> out;
  ASSERT_TRUE(index->lookup_now(kVolume, {0, 1}, live_path(), out));
  EXPECT_EQ(out.at(0).id, id(1));
  machine.offload.run_one();  // the run is in; persist() has not gone on yet
  out.clear();
  ASSERT_TRUE(index->lookup_now(kVolume, {0, 6}, live_path(), out));
  EXPECT_EQ(out.front().id, id(1));
  EXPECT_EQ(out.back().id, id(2));
  machine.offload.release();
  machine.world.run_ready_only();
  ASSERT_TRUE(persisted.has_value() && persisted->ok());
  EXPECT_EQ(newest(0), id(1));
  EXPECT_EQ(newest(5), id(2));
  EXPECT_EQ(index->status().keys_in_memory, 1u);
}

TEST_F(RocksIndexTest, ALookupThatWaitsWhileARunIsFinishedMissesNothing) {
  insert_data(*index, kVolume, {0, 1}, id(1), Place(1, 0));
  machine.persist(*index, Place(1, 1));
  insert_data(*index, kVolume, {1, 2}, id(2), Place(1, 1));
  machine.offload.hold();
  io::TaskScope scope(machine.world);
  Answer answer;
  scope.spawn(look_up(index.get(), {0, 3}, path_to(1, 100), &answer));
  machine.world.run_ready_only();
  ASSERT_EQ(machine.offload.waiting(), 1u);
  std::optional<Result<void>> persisted;
  scope.spawn(write_run(index.get(), Place(1, 2), &persisted));
  machine.world.run_ready_only();
  machine.offload.release();
  machine.world.run_ready_only();
  ASSERT_TRUE(persisted.has_value() && answer.result.has_value() && answer.result->ok());
  EXPECT_EQ(to_string(answer.pieces),
            "[0, 1) data 1.1 at 1:0; [1, 2) data 1.2 at 1:1; [2, 3) base 0.0 at 0:0; ");
}

TEST_F(RocksIndexTest, AWriteDuringAColdReadOfTheLiveVolumeIsSeenByTheNextRead) {
  insert_data(*index, kVolume, {0, 1}, id(1), Place(1, 0));
  machine.persist(*index, Place(1, 1));
  machine.offload.hold();
  io::TaskScope scope(machine.world);
  Answer answer;
  scope.spawn(look_up(index.get(), {0, 1}, live_path(), &answer));
  machine.world.run_ready_only();
  ASSERT_EQ(machine.offload.waiting(), 1u);
  insert_data(*index, kVolume, {0, 1}, id(2), Place(1, 1));
  machine.offload.release();
  machine.world.run_ready_only();
  ASSERT_TRUE(answer.result.has_value());
  machine.persist(*index, Place(1, 2));  // so that only the map of the path or the runs can answer
  EXPECT_EQ(newest(0), id(2));
}

TEST_F(RocksIndexTest, ThePathMapSparesRunsAndFollowsWrites) {
  insert_data(*index, kVolume, {0, 64}, id(1), Place(1, 0));
  machine.persist(*index, Place(1, 64));
  std::vector<Piece> out;
  EXPECT_FALSE(index->lookup_now(kVolume, {3, 9}, live_path(), out));
  EXPECT_EQ(newest(5), id(1));
  machine.lookup(*index, kVolume, {3, 9}, live_path());
  const std::uint64_t beyond = index->status().lookups_beyond_memory;
  ASSERT_TRUE(index->lookup_now(kVolume, {3, 9}, live_path(), out));
  EXPECT_EQ(to_string(out), "[3, 9) data 1.1 at 1:3; ");
  EXPECT_EQ(out[0].checksums, checksums_from(Place(1, 3), 6));

  index->insert_zero(kVolume, {5, 6}, id(2), Place(1, 64));
  machine.persist(*index, Place(1, 65));
  out.clear();
  ASSERT_TRUE(index->lookup_now(kVolume, {3, 9}, live_path(), out));
  EXPECT_EQ(to_string(out), "[3, 5) data 1.1 at 1:3; [5, 6) zero 1.2 at 1:64; [6, 9) data 1.1 at 1:6; ");
  EXPECT_EQ(index->status().lookups_beyond_memory, beyond);

  // The floor rises over the first entry: what it covered is base again.
  const Path raised{{{Epoch{1}, 2, kSequenceMax}}};
  out.clear();
  ASSERT_TRUE(index->lookup_now(kVolume, {3, 9}, raised, out));
  EXPECT_EQ(to_string(out), "[3, 5) base 0.0 at 0:0; [5, 6) zero 1.2 at 1:64; [6, 9) base 0.0 at 0:0; ");

  // A restore: another path, of which the map knows nothing.
  const Path restored{{{Epoch{3}, 1, kSequenceMax}, {Epoch{1}, 1, 1}}};
  EXPECT_EQ(newest(5, restored), id(1));
}

TEST_F(RocksIndexTest, AnOldPointHasAMapOfItsOwn) {
  insert_data(*index, kVolume, {0, 64}, id(1), Place(1, 0));
  insert_data(*index, kVolume, {4, 6}, id(2), Place(1, 64));
  insert_data(*index, kVolume, {0, 64}, id(3), Place(1, 66));
  machine.persist(*index, Place(1, 130));
  const auto up_to = [](std::uint64_t last) { return Path{{{Epoch{1}, 1, last}}}; };
  std::vector<Piece> out;
  EXPECT_FALSE(index->lookup_now(kVolume, {3, 5}, up_to(2), out));
  machine.lookup(*index, kVolume, {3, 5}, up_to(2));
  machine.lookup(*index, kVolume, {3, 5}, up_to(1));
  machine.lookup(*index, kVolume, {3, 5}, live_path());
  const auto now = [&](const Path& path) {
    out.clear();
    return index->lookup_now(kVolume, {3, 5}, path, out) ? to_string(out) : "not in memory";
  };
  EXPECT_EQ(now(up_to(2)), "[3, 4) data 1.1 at 1:3; [4, 5) data 1.2 at 1:64; ");
  EXPECT_EQ(now(up_to(1)), "[3, 5) data 1.1 at 1:3; ");
  EXPECT_EQ(now(live_path()), "[3, 5) data 1.3 at 1:69; ");
  insert_data(*index, kVolume, {4, 5}, id(4), Place(1, 130));
  EXPECT_EQ(now(up_to(2)), "[3, 4) data 1.1 at 1:3; [4, 5) data 1.2 at 1:64; ");

  // The floor rises over the first entry, of which this point then shows the base.
  EXPECT_EQ(now(Path{{{Epoch{1}, 2, 2}}}), "[3, 4) base 0.0 at 0:0; [4, 5) data 1.2 at 1:64; ");

  // Points that are read after it take its memory.
  for (std::uint64_t last = 3; last < 9; ++last) machine.lookup(*index, kVolume, {3, 5}, up_to(last));
  EXPECT_EQ(now(up_to(1)), "not in memory");
  EXPECT_EQ(now(up_to(8)), "[3, 4) data 1.3 at 1:69; [4, 5) data 1.4 at 1:130; ");
}

TEST_F(RocksIndexTest, WhatIsNewerThanAllRunsIsAnsweredWithoutThem) {
  insert_data(*index, kVolume, {0, 10}, id(1), Place(1, 0));
  machine.persist(*index, Place(1, 10));
  insert_data(*index, kVolume, {2, 4}, id(2), Place(1, 10));
  std::vector<Piece> out;
  ASSERT_TRUE(index->lookup_now(kVolume, {2, 4}, live_path(), out));
  EXPECT_EQ(out.at(0).id, id(2));
  // Only half of it is.
  out.clear();
  EXPECT_FALSE(index->lookup_now(kVolume, {3, 5}, live_path(), out));
  EXPECT_TRUE(out.empty());
}

TEST_F(RocksIndexTest, AReplayThatHasNotCaughtUpWithTheRunsDoesNotHideThem) {
  insert_data(*index, kVolume, {0, 1}, id(1), Place(1, 0));
  insert_data(*index, kVolume, {0, 1}, id(2), Place(1, 1));
  machine.persist(*index, Place(1, 0));  // a resume place before both
  reopen();
  insert_data(*index, kVolume, {0, 1}, id(1), Place(1, 0));
  EXPECT_EQ(newest(0), id(2));
}

TEST_F(RocksIndexTest, AFailedRunLosesNothingAndTheNextOneHasItAll) {
  insert_data(*index, kVolume, {0, 20}, id(1), Place(1, 0));
  // A folder where the run's file should go.
  const std::filesystem::path obstacle = std::filesystem::path(folder.path()) / "incoming-1-1";
  std::filesystem::create_directory(obstacle);
  machine.offload.hold();
  io::TaskScope scope(machine.world);
  std::optional<Result<void>> persisted;
  scope.spawn(write_run(index.get(), Place(1, 20), &persisted));
  machine.world.run_ready_only();
  insert_data(*index, kVolume, {3, 4}, id(2), Place(1, 20));
  machine.offload.release();
  machine.world.run_ready_only();
  ASSERT_TRUE(persisted.has_value());
  ASSERT_FALSE(persisted->ok());
  EXPECT_EQ(persisted->error().code, ErrorCode::kIo);
  EXPECT_TRUE(index->resume_place().is_none());
  EXPECT_EQ(newest(0), id(1));
  EXPECT_EQ(newest(3), id(2));

  machine.persist(*index, Place(1, 21));
  reopen();
  EXPECT_EQ(newest(0), id(1));
  EXPECT_EQ(newest(3), id(2));
}

TEST_F(RocksIndexTest, ARunIsWrittenOnlyWhenItsEntriesAreDurable) {
  insert_data(*index, kVolume, {0, 1}, id(1), Place(1, 0));
  const VersionIndex::UntilDurable refuse = [this]() -> io::Task<Result<void>> {
    insert_data(*index, kVolume, {1, 2}, id(2), Place(1, 1));  // too late for this run
    co_return fail(ErrorCode::kIo, "the journal cannot be flushed");
  };
  auto refused = machine.world.run(index->persist(Place(1, 1), refuse));
  ASSERT_FALSE(refused.ok());
  EXPECT_TRUE(index->resume_place().is_none());
  EXPECT_EQ(newest(0), id(1));
  EXPECT_EQ(newest(1), id(2));

  const VersionIndex::UntilDurable agree = [this]() -> io::Task<Result<void>> {
    insert_data(*index, kVolume, {2, 3}, id(3), Place(1, 2));
    co_return Result<void>{};
  };
  ASSERT_TRUE(machine.world.run(index->persist(Place(1, 2), agree)).ok());
  EXPECT_EQ(index->status().keys_in_memory, 1u);
  reopen();
  EXPECT_EQ(newest(0), id(1));
  EXPECT_EQ(newest(1), id(2));
  EXPECT_TRUE(newest(2).is_none());  // in no run
}

TEST_F(RocksIndexTest, ACancelledRunLosesNothing) {
  insert_data(*index, kVolume, {0, 20}, id(1), Place(1, 0));
  machine.offload.hold();
  std::optional<Result<void>> persisted;
  {
    io::TaskScope scope(machine.world);
    scope.spawn(write_run(index.get(), Place(1, 20), &persisted));
    machine.world.run_ready_only();
    ASSERT_EQ(machine.offload.waiting(), 1u);
  }
  EXPECT_EQ(newest(0, path_to(1, 5)), id(1));
  machine.offload.release();  // the work runs to its end all the same
  EXPECT_EQ(newest(0, path_to(1, 5)), id(1));
  insert_data(*index, kVolume, {1, 2}, id(2), Place(1, 20));
  machine.persist(*index, Place(1, 21));
  EXPECT_EQ(index->status().keys_in_memory, 0u);
  reopen();
  EXPECT_EQ(newest(0), id(1));
  EXPECT_EQ(newest(1), id(2));
}

TEST_F(RocksIndexTest, AFolderInUseIsRefusedAndLeftAlone) {
  insert_data(*index, kVolume, {0, 1}, id(1), Place(1, 0));
  machine.persist(*index, Place(1, 1));
  auto second = machine.open(folder.path());
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, ErrorCode::kIo);
  EXPECT_EQ(newest(0, path_to(1, 9)), id(1));
  reopen();
  EXPECT_FALSE(rebuilt);
  EXPECT_EQ(newest(0), id(1));
}

TEST_F(RocksIndexTest, AFolderThatDoesNotOpenIsMadeAnew) {
  insert_data(*index, kVolume, {0, 1}, id(1), Place(1, 0));
  machine.persist(*index, Place(1, 1));
  machine.close(*index);
  index.reset();
  const std::filesystem::path current = std::filesystem::path(folder.path()) / "runs-1" / "CURRENT";
  ASSERT_TRUE(std::filesystem::exists(current));
  std::filesystem::resize_file(current, 3);
  open();
  EXPECT_TRUE(rebuilt);
  EXPECT_TRUE(index->resume_place().is_none());
  EXPECT_TRUE(newest(0).is_none());
  EXPECT_FALSE(std::filesystem::exists(current));
  insert_data(*index, kVolume, {0, 1}, id(1), Place(1, 0));
  machine.persist(*index, Place(1, 1));
  reopen();
  EXPECT_FALSE(rebuilt);
  EXPECT_EQ(newest(0), id(1));
}

TEST_F(RocksIndexTest, ClearedRunsDoNotComeBack) {
  insert_data(*index, kVolume, {0, 1}, id(1), Place(1, 0));
  machine.persist(*index, Place(1, 1));
  ASSERT_TRUE(machine.world.run(index->clear()).ok());
  reopen();
  EXPECT_FALSE(rebuilt);
  EXPECT_TRUE(index->resume_place().is_none());
  EXPECT_TRUE(newest(0).is_none());
  EXPECT_FALSE(std::filesystem::exists(std::filesystem::path(folder.path()) / "runs-1"));
}

TEST_F(RocksIndexTest, ASuccessorWhoseRebuildACrashCutOffGoesOnFromItsLastRun) {
  insert_data(*index, kVolume, {0, 1}, id(1), Place(1, 0));
  machine.persist(*index, Place(1, 1));
  auto successor = machine.world.run(index->make_successor());
  ASSERT_TRUE(successor.ok()) << successor.error().message;
  insert_data(**successor, kVolume, {7, 8}, id(7), Place(2, 0));
  machine.persist(**successor, Place(2, 1));
  insert_data(**successor, kVolume, {8, 9}, id(8), Place(2, 1));
  successor->reset();  // without close(), and the other is not retired
  reopen();
  EXPECT_FALSE(rebuilt);
  EXPECT_EQ(index->resume_place(), Place(2, 1));
  EXPECT_EQ(newest(7), id(7));
  EXPECT_TRUE(newest(8).is_none()) << "a scan from the resume place brings it";
  EXPECT_TRUE(newest(0).is_none());
  EXPECT_FALSE(std::filesystem::exists(std::filesystem::path(folder.path()) / "runs-1"));
}

TEST_F(RocksIndexTest, ASuccessorThatIsGivenUpLeavesTheRunsAndTheNextOneIsEmpty) {
  insert_data(*index, kVolume, {0, 1}, id(1), Place(1, 0));
  machine.persist(*index, Place(1, 1));
  auto given_up = machine.world.run(index->make_successor());
  ASSERT_TRUE(given_up.ok()) << given_up.error().message;
  insert_data(**given_up, kVolume, {7, 8}, id(7), Place(2, 0));
  machine.persist(**given_up, Place(2, 1));
  // Somebody still reads in it while the next one is made.
  machine.offload.hold();
  io::TaskScope scope(machine.world);
  Answer answer;
  scope.spawn(look_up(given_up->get(), {0, 9}, path_to(1, 100), &answer));
  machine.world.run_ready_only();
  ASSERT_EQ(machine.offload.waiting(), 1u);
  (*given_up)->retire();
  std::optional<Result<std::unique_ptr<VersionIndex>>> next;
  scope.spawn(
      [](VersionIndex* old, std::optional<Result<std::unique_ptr<VersionIndex>>>* made) -> io::Task<void> {
        made->emplace(co_await old->make_successor());
      }(index.get(), &next));
  machine.world.run_ready_only();
  machine.offload.release();
  machine.world.run_ready_only();
  ASSERT_TRUE(answer.result.has_value() && answer.result->ok());
  EXPECT_EQ(to_string(answer.pieces),
            "[0, 7) base 0.0 at 0:0; [7, 8) data 1.7 at 2:0; [8, 9) base 0.0 at 0:0; ");
  ASSERT_TRUE(next.has_value() && next->ok());
  EXPECT_TRUE((**next)->resume_place().is_none());
  EXPECT_TRUE(machine.lookup(***next, kVolume, {7, 8}, live_path()).at(0).id.is_none());
  machine.close(**given_up);
  (**next)->retire();
  machine.close(***next);
  next.reset();
  reopen();
  EXPECT_FALSE(rebuilt);
  EXPECT_EQ(newest(0), id(1)) << "as it was";
}

TEST_F(RocksIndexTest, ASuccessorKnowsWhatIsNoLongerWanted) {
  index->drop_before(Place(5, 0));
  auto successor = machine.world.run(index->make_successor());
  ASSERT_TRUE(successor.ok()) << successor.error().message;
  insert_data(**successor, kVolume, {0, 1}, id(1), Place(1, 0));
  insert_data(**successor, kVolume, {1, 2}, id(2), Place(5, 0));
  machine.persist(**successor, Place(5, 1));
  machine.close(**successor);
  reopen();
  EXPECT_TRUE(newest(0).is_none());
  EXPECT_EQ(newest(1), id(2));
}

TEST_F(RocksIndexTest, WhatIsInsertedWhileTheIndexIsClearedStays) {
  insert_data(*index, kVolume, {0, 1}, id(1), Place(1, 0));
  machine.offload.hold();
  io::TaskScope scope(machine.world);
  scope.spawn(
      [](VersionIndex* cleared) -> io::Task<void> { (co_await cleared->clear()).value(); }(index.get()));
  machine.world.run_ready_only();
  insert_data(*index, kVolume, {1, 2}, id(2), Place(1, 1));
  machine.offload.release();
  machine.world.run_ready_only();
  EXPECT_TRUE(newest(0).is_none());
  EXPECT_EQ(newest(1), id(2));
}

TEST_F(RocksIndexTest, DroppedEntriesAreNotWrittenAndGoFromTheRuns) {
  constexpr std::uint64_t kKeys = 20'000;
  const auto insert_all = [&](std::uint64_t first) {
    for (std::uint64_t i = 0; i < kKeys; ++i) {
      insert_data(*index, kVolume, {2 * i, 2 * i + 1}, id(first + i),
                  Place(1, static_cast<std::uint32_t>(i)));
    }
  };
  insert_all(1);
  machine.persist(*index, Place(2, 0));
  const std::uint64_t full = index->status().runs_bytes_on_disk;
  insert_all(1 + kKeys);
  index->drop_before(Place(2, 0));
  machine.persist(*index, Place(2, 0));
  EXPECT_LT(index->status().runs_bytes_on_disk, full + full / 10);
  // The rest goes as runs are merged, which writing more of them brings about.
  for (int i = 0; i < 1000 && index->status().runs_bytes_on_disk > full / 2; ++i) {
    insert_data(*index, kVolume, {2 * kKeys, 2 * kKeys + 1}, id(3 * kKeys), Place(2, 0));
    index->insert_zero(kVolume, {0, 1}, id(3 * kKeys), Place(2, 0));
    machine.persist(*index, Place(2, 0));
  }
  EXPECT_LE(index->status().runs_bytes_on_disk, full / 2);
}

TEST_F(RocksIndexTest, WantsARunWhenHalfItsMemoryIsFull) {
  machine.close(*index);
  index.reset();
  RocksIndexOptions options;
  options.memory_bytes_max = 1 << 20;
  index = std::move(machine.open(folder.path(), options).value().index);
  std::uint64_t sequence = 0;
  while (!index->wants_persist()) {
    ++sequence;
    ASSERT_LT(sequence, 100'000u);
    insert_data(*index, kVolume, {sequence, sequence + 1}, id(sequence), Place(1, 0));
  }
  EXPECT_GT(sequence, 5000u);
  EXPECT_LE(index->status().memory_bytes, 1u << 20);
  machine.persist(*index, Place(1, 1));
  EXPECT_FALSE(index->wants_persist());
}

}  // namespace
}  // namespace tidemark::index::test
