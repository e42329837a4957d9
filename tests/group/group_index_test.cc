// A group whose version index turns out to be damaged: at the start, under writes, while a run is written,
// once more, and when it cannot be rebuilt.

#include <array>
#include <map>
#include <optional>

#include "group_bench.h"

namespace tidemark::group {
namespace {

constexpr std::uint64_t kBlocks = 32;

Error error_of(ErrorCode code, const std::string& message) {
  return fail(code, message);
}

class GroupIndexTest : public testing::Test {
 protected:
  // A journal that holds all of it.
  GroupIndexTest() : bench(1, {.journal_bytes = 16 << 20}) { volume = bench.make_volume("data", kBlocks).id; }

  // Writes byte after byte, over several epochs, and remembers what each mark must show.
  void tell(std::uint8_t first, int rounds) {
    std::uint8_t byte = first;
    for (int round = 0; round < rounds; ++round) {
      write({static_cast<std::uint64_t>(round) % 8, static_cast<std::uint64_t>(round) % 8 + 12}, byte++);
      write({20, 22}, byte++);
      const std::string mark = "m" + std::to_string(first) + "-" + std::to_string(round);
      ASSERT_TRUE(bench.mark(mark).ok());
      marked[mark] = content;
      write({3, 30}, byte++);
      if (round % 3 != 2) continue;
      ASSERT_TRUE(bench.restore(mark).ok());
      content = marked[mark];
    }
  }
  void write(BlockRange blocks, std::uint8_t byte) {
    ASSERT_TRUE(bench.fill(volume, blocks, byte).ok());
    for (std::uint64_t block = blocks.begin; block < blocks.end; ++block) content[block] = byte;
  }
  void expect_all() {
    EXPECT_EQ(bench.live(volume, kBlocks), content);
    for (const auto& [mark, expected] : marked) EXPECT_EQ(bench.at("data", mark), expected) << mark;
  }
  Result<void> read(BlockRange blocks = {0, kBlocks}) {
    Buffer out = Buffer::allocate(blocks.count() * kBlockSizeBytes);
    return bench.run(bench.group->data().read(volume, bench.group->live_path(),
                                              blocks.begin * kBlockSizeBytes, out, true));
  }
  std::size_t times_logged(const std::string& event) const {
    std::size_t count = 0;
    for (std::size_t at = bench.log.find(event + " "); at != std::string::npos;
         at = bench.log.find(event + " ", at + 1)) {
      ++count;
    }
    return count;
  }
  // Offsets of the frames of batches: "TMF1", version 1, kind 1.
  std::vector<std::uint64_t> find_batches() {
    std::vector<std::uint64_t> found;
    std::vector<std::byte> block(kBlockSizeBytes);
    for (std::uint64_t at = 0; at < bench.disk.size_bytes(); at += kBlockSizeBytes) {
      bench.disk.peek(at, block);
      if (std::memcmp(block.data(), "TMF1\1\0\1", 7) == 0) found.push_back(at);
    }
    return found;
  }
  void pass(Duration time) { bench.run(sleep(bench.world, time)); }
  static io::Task<void> sleep(io::Scheduler& scheduler, Duration time) { co_await scheduler.sleep_for(time); }

  GroupBench bench;
  VolumeId volume{};
  std::vector<int> content = std::vector<int>(kBlocks, 0);
  std::map<std::string, std::vector<int>> marked;
};

TEST_F(GroupIndexTest, ALookupThatMeetsDamageIsAnsweredFromTheRebuiltIndex) {
  ASSERT_NO_FATAL_FAILURE(tell(1, 7));
  bench.opened_index->damage();
  expect_all();
  EXPECT_EQ(bench.fate->damaged, 1u);
  EXPECT_EQ(bench.fate->successors, 1u);
  EXPECT_EQ(times_logged("index-rebuilt"), 1u) << bench.log;
  EXPECT_NE(bench.log.find("index-rebuilt orders damage=\"a block of a run does not match its checksum\""),
            std::string::npos)
      << bench.log;
  pass(Duration::milliseconds(1));
  EXPECT_EQ(bench.fate->alive, 1u) << "the damaged one is given up";
  EXPECT_EQ(bench.fate->retired, 1u);
  ASSERT_NO_FATAL_FAILURE(tell(100, 4));
  bench.restart();
  expect_all();
}

TEST_F(GroupIndexTest, TheOperatorIsToldForAWhile) {
  bench.opened_index->damage();
  ASSERT_TRUE(read().ok());
  ASSERT_TRUE(bench.group->alarm().has_value());
  EXPECT_NE(bench.group->alarm()->find("rebuilt from the journal"), std::string::npos);
  pass(Group::kIndexRebuiltTold + Duration::seconds(1));
  EXPECT_FALSE(bench.group->alarm().has_value());
}

// What a start looks up, it looks up in a rebuilt index.
TEST_F(GroupIndexTest, AnIndexThatIsDamagedAtTheStartIsRebuilt) {
  ASSERT_NO_FATAL_FAILURE(tell(1, 7));
  bench.power_cut();
  bench.fate->damage_one_in = 1;
  bench.open_pool();
  // Only the first one: what comes after it is whole.
  bench.fate->on_damage = [fate = bench.fate.get()] { fate->damage_one_in = 0; };
  const auto opened = bench.try_open_group();
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  EXPECT_EQ(bench.fate->successors, 1u);
  EXPECT_EQ(times_logged("index-rebuilt"), 1u) << bench.log;
  // All but the last writes were durable: marks are.
  for (const auto& [mark, expected] : marked) EXPECT_EQ(bench.at("data", mark), expected) << mark;
}

TEST_F(GroupIndexTest, AnIndexThatCannotBeOpenedIsToldToo) {
  bench.fate->opened_as_rebuilt = "the description does not match its checksum";
  bench.restart();
  EXPECT_NE(bench.log.find("index-rebuilt orders damage=\"the description does not match its checksum\""),
            std::string::npos)
      << bench.log;
}

// What is written while the journal is scanned is in the new index as well, whether the scan passes it or
// not.
io::Task<void> write_until_rebuilt(GroupBench* bench, VolumeId volume, std::uint64_t* written,
                                   std::vector<int>* content) {
  while (bench->log.find("index-rebuilt ") == std::string::npos) {
    const std::uint64_t block = *written % kBlocks;
    const auto byte = static_cast<std::uint8_t>(1 + *written % 250);
    Buffer data = Buffer::allocate(kBlockSizeBytes);
    std::memset(data.data(), byte, data.size());
    const auto done =
        co_await bench->group->data().write(volume, block * kBlockSizeBytes, data, *written % 50 == 49);
    EXPECT_TRUE(done.ok()) << done.error().message;
    (*content)[block] = byte;
    ++*written;
    co_await bench->world.yield();
  }
}

io::Task<void> read_live(GroupBench* bench, VolumeId volume, std::optional<Result<void>>* outcome) {
  Buffer out = Buffer::allocate(kBlocks * kBlockSizeBytes);
  outcome->emplace(co_await bench->group->data().read(volume, bench->group->live_path(), 0, out, true));
}

TEST_F(GroupIndexTest, WritesGoOnWhileItIsRebuiltAndManyWaitForOneRebuild) {
  ASSERT_NO_FATAL_FAILURE(tell(1, 12));
  bench.fate->look_slowly = true;
  std::uint64_t written = 0;
  io::TaskScope writer(bench.world);
  writer.spawn(write_until_rebuilt(&bench, volume, &written, &content));
  while (written < 20) bench.world.run_steps(1);
  bench.opened_index->damage();
  io::TaskScope readers(bench.world);
  std::array<std::optional<Result<void>>, 6> outcomes;
  for (auto& outcome : outcomes) readers.spawn(read_live(&bench, volume, &outcome));
  const std::uint64_t before = written;
  bench.run(readers.join());
  EXPECT_GT(written, before) << "writes wait for nobody";
  bench.run(writer.join());
  for (const auto& outcome : outcomes) EXPECT_TRUE(outcome->ok()) << outcome->error().message;
  EXPECT_EQ(bench.fate->successors, 1u);
  EXPECT_GT(bench.fate->damaged, 1u);
  expect_all();
}

// A look-up on its way in the old index ends there.
TEST_F(GroupIndexTest, AnIndexThatIsReplacedIsClosedWhenItsLastLookupHasEnded) {
  ASSERT_NO_FATAL_FAILURE(tell(1, 3));
  ASSERT_TRUE(bench.flush().ok());
  bench.fate->look_slowly = true;
  bench.fate->look_time = Duration::seconds(1);
  io::TaskScope readers(bench.world);
  std::array<std::optional<Result<void>>, 8> outcomes;
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    if (i == 4) {
      pass(Duration::milliseconds(500));
      bench.opened_index->damage();
    }
    readers.spawn(read_live(&bench, volume, &outcomes[i]));
  }
  while (times_logged("index-rebuilt") == 0) bench.world.run_steps(1);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_FALSE(outcomes[i].has_value());
  bench.run(readers.join());
  for (const auto& outcome : outcomes) EXPECT_TRUE(outcome->ok()) << outcome->error().message;
  bench.fate->look_slowly = false;
  pass(Duration::milliseconds(1));
  EXPECT_EQ(bench.fate->alive, 1u);
  expect_all();
}

TEST_F(GroupIndexTest, ARunThatCannotBeWrittenForDamageLeadsToARebuild) {
  ASSERT_NO_FATAL_FAILURE(tell(1, 7));
  bench.fate->no_persist = error_of(ErrorCode::kDamaged, "the manifest does not match its checksum");
  bench.fate->wants_persist = true;
  pass(Duration::milliseconds(500));
  bench.fate->wants_persist = false;
  EXPECT_EQ(bench.fate->successors, 1u);
  EXPECT_EQ(times_logged("index-rebuilt"), 1u);
  EXPECT_GE(bench.fate->persists, 2u) << "the successor writes runs while it is filled";
  expect_all();
}

// A start reads the journal again from where the last run ends.
TEST_F(GroupIndexTest, ARunIsWrittenBeforeTheIndexLagsFarBehindTheJournal) {
  EXPECT_TRUE(bench.opened_index->resume_place().is_none());
  const std::uint64_t size = bench.group->journal().status().size_bytes;
  // Few keys, so that its memory does not ask for one: a third of the journal.
  for (std::uint64_t written = 0; written < size / 3; written += kBlocks * kBlockSizeBytes) {
    write({0, kBlocks}, 7);
  }
  bench.world.run_for(Duration::seconds(1));
  const std::vector<journal::SegmentInfo> segments = bench.group->journal().segments();
  const std::uint64_t behind = segments.back().generation - bench.opened_index->resume_place().generation();
  EXPECT_LE(behind * bench.options.segment_bytes, size / 4);
  expect_all();
}

TEST_F(GroupIndexTest, WhatKeepsItFromBeingRebuiltIsSaidAndItIsTriedAgainLater) {
  ASSERT_NO_FATAL_FAILURE(tell(1, 7));
  bench.opened_index->damage();
  bench.fate->no_successor = error_of(ErrorCode::kNoSpace, "its file system is full");
  auto failed = read();
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().code, ErrorCode::kNoSpace);
  EXPECT_NE(failed.error().message.find("its file system is full"), std::string::npos);
  EXPECT_NE(failed.error().message.find("does not match its checksum"), std::string::npos);
  ASSERT_TRUE(bench.group->alarm().has_value());
  EXPECT_EQ(times_logged("index-not-rebuilt"), 1u);
  // Not for every read that comes.
  for (int i = 0; i < 20; ++i) EXPECT_FALSE(read().ok());
  EXPECT_EQ(times_logged("index-not-rebuilt"), 1u);
  // Nobody reads, nothing is tried.
  pass(Duration::seconds(30));
  EXPECT_EQ(times_logged("index-not-rebuilt"), 1u);
  EXPECT_FALSE(read().ok());
  EXPECT_EQ(times_logged("index-not-rebuilt"), 2u);
  // A disk that fails while runs of the new one are written.
  bench.fate->no_successor.reset();
  bench.fate->wants_persist = true;
  bench.fate->successor_persist = error_of(ErrorCode::kIo, "a run cannot be written");
  pass(GroupIndex::kPause);
  failed = read();
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().code, ErrorCode::kIo);
  bench.fate->wants_persist = false;
  bench.fate->successor_persist.reset();
  ASSERT_TRUE(bench.fill(volume, {0, 2}, 77).ok());
  content[0] = content[1] = 77;
  pass(GroupIndex::kPause);
  expect_all();
  EXPECT_EQ(times_logged("index-rebuilt"), 1u);
  EXPECT_EQ(bench.group->alarm()->find("cannot be rebuilt"), std::string::npos) << *bench.group->alarm();
  EXPECT_EQ(bench.fate->alive, 1u) << "an attempt that failed leaves nothing";
}

TEST_F(GroupIndexTest, OneThatIsDamagedOnceMoreIsAnErrorAndRebuiltForTheNextLookup) {
  ASSERT_NO_FATAL_FAILURE(tell(1, 4));
  bench.opened_index->damage();
  bench.fate->damage_every_successor = true;
  const auto failed = read();
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().code, ErrorCode::kDamaged);
  EXPECT_EQ(bench.fate->successors, 1u);
  bench.fate->damage_every_successor = false;
  expect_all();
  EXPECT_EQ(bench.fate->successors, 2u);
}

TEST_F(GroupIndexTest, AGroupThatClosesEndsTheRebuild) {
  ASSERT_NO_FATAL_FAILURE(tell(1, 12));
  bench.opened_index->damage();
  io::TaskScope readers(bench.world);
  std::optional<Result<void>> outcome;
  readers.spawn(read_live(&bench, volume, &outcome));
  while (bench.fate->successors == 0) bench.world.run_steps(1);
  ASSERT_FALSE(outcome.has_value());
  const auto closed = bench.run(bench.group->close());
  EXPECT_TRUE(closed.ok()) << closed.error().message;
  bench.run(readers.join());
  ASSERT_TRUE(outcome.has_value() && !outcome->ok());
  EXPECT_EQ(outcome->error().code, ErrorCode::kShutdown) << outcome->error().message;
  EXPECT_EQ(times_logged("index-not-rebuilt"), 0u);
  bench.group = nullptr;
  bench.process->kill();
  EXPECT_EQ(bench.fate->alive, 0u);
  bench.start_again();
  expect_all();
}

// Entries of a batch that cannot be read are nobody's guess: no index is used that lacks them.
TEST_F(GroupIndexTest, ADamagedJournalKeepsItFromBeingRebuilt) {
  ASSERT_NO_FATAL_FAILURE(tell(1, 12));
  ASSERT_TRUE(bench.flush().ok());
  const std::vector<std::uint64_t> batches = find_batches();
  ASSERT_GT(batches.size(), 20u);
  bench.disk.flip_bit(batches[5] + 70, 2);
  bench.opened_index->damage();
  const auto failed = read();
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().code, ErrorCode::kDamaged);
  EXPECT_NE(failed.error().message.find("the journal is damaged"), std::string::npos)
      << failed.error().message;
  EXPECT_EQ(times_logged("index-not-rebuilt"), 1u);
  EXPECT_TRUE(bench.fill(volume, {0, 1}, 9).ok()) << "writes need no look-up";
}

}  // namespace
}  // namespace tidemark::group
