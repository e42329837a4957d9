#include "journal/journal.h"

#include <algorithm>

#include "journal_model.h"

namespace tidemark::journal {
namespace {

using sim::World;

// A world with one disk and a journal on it.
struct Bench {
  explicit Bench(std::uint32_t segments = 12, std::uint64_t seed = 1,
                 JournalOptions journal_options = small_options())
      : world(seed), random(seed + 1000), disk(world, disk_bytes(segments)), options(journal_options) {
    auto made = world.run(Journal::create(world.environment(), disk, test_group(), options));
    EXPECT_TRUE(made.ok());
    journal = std::move(made).value();
    go_on(*journal, model);
  }
  void reopen() {
    journal.reset();
    auto opened = world.run(Journal::open(world.environment(), disk, options));
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    journal = std::move(opened).value();
    go_on(*journal, model);
  }
  // One random entry; false when the journal is full.
  bool append_one(Purpose purpose = Purpose::kData) {
    ModelEntry expected;
    NewEntry entry = random_entry(model, random, 6, expected);
    const auto blocks = static_cast<std::uint32_t>(entry.payload.size() / kBlockSizeBytes);
    const auto body = static_cast<std::uint32_t>(entry.body.size());
    const auto room = world.run(journal->make_room(blocks, body, purpose));
    if (!room.ok()) {
      EXPECT_EQ(room.error().code, ErrorCode::kNoSpace);
      return false;
    }
    EXPECT_TRUE(journal->has_room(blocks, body, purpose));
    appended(model, std::move(expected), journal->append(std::move(entry)));
    return true;
  }
  void settle() {
    const auto durable = world.run(journal->wait_durable(journal->last_ticket()));
    ASSERT_TRUE(durable.ok()) << durable.error().message;
  }
  // Everything from the oldest place on is what the model says, to its end.
  ScannedRun check() {
    auto run = world.run(check_scan(*journal, model, journal->oldest()));
    EXPECT_TRUE(run.ok()) << run.error().message;
    if (!run.ok()) return {};
    EXPECT_EQ(run->end, model.entries.size());
    return std::move(run).value();
  }
  // Names the present end with a snapshot and gives up what lies before `entry`.
  void free_up_to(std::size_t entry) {
    ASSERT_TRUE(world.run(journal->save_snapshot({})).ok());
    ASSERT_TRUE(world.run(journal->free_before(model.entries[entry].place)).ok());
  }

  World world;
  sim::SeededRandom random;
  sim::Disk disk;
  JournalOptions options;
  std::unique_ptr<Journal> journal;
  Model model;
};

std::vector<std::byte> bytes_of(const std::string& text) {
  const Bytes bytes = as_bytes(text);
  return {bytes.begin(), bytes.end()};
}

TEST(Journal, AnEmptyJournalOpensEmpty) {
  Bench bench;
  EXPECT_EQ(bench.journal->group(), test_group());
  EXPECT_TRUE(bench.journal->last_appended().is_none());
  bench.reopen();
  EXPECT_TRUE(bench.journal->last_appended().is_none());
  EXPECT_TRUE(bench.journal->snapshot().empty());
  EXPECT_TRUE(bench.journal->local_record().empty());
  EXPECT_EQ(bench.check().batches.size(), 0u);
}

TEST(Journal, ADiskWithoutOneIsNotFound) {
  World world(1);
  sim::Disk disk(world, disk_bytes(12));
  const auto opened = world.run(Journal::open(world.environment(), disk, small_options()));
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code, ErrorCode::kNotFound);
}

TEST(Journal, ADiskThatIsTooSmallIsRefused) {
  World world(1);
  sim::Disk disk(world, disk_bytes(3));
  const auto made = world.run(Journal::create(world.environment(), disk, test_group(), small_options()));
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code, ErrorCode::kInvalid);
}

TEST(Journal, WhatWasAppendedIsReadBackBeforeAndAfterReopening) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Bench bench(20, seed);
    for (int i = 0; i < 40; ++i) {
      ASSERT_TRUE(bench.append_one());
      if (bench.random.below(4) == 0) bench.settle();
    }
    bench.settle();
    bench.check();
    ASSERT_TRUE(bench.world.run(bench.journal->close()).ok());
    bench.reopen();
    EXPECT_EQ(bench.journal->last_appended(), bench.model.entries.back().id);
    EXPECT_EQ(bench.journal->durable(), bench.model.entries.back().id);
    bench.check();
    ASSERT_TRUE(bench.append_one());
    bench.settle();
    bench.check();
  }
}

TEST(Journal, AnAppendIsReadableAtOnceFromMemory) {
  Bench bench;
  const Buffer payload = pattern(77, 3);
  ASSERT_TRUE(bench.journal->has_room(3, 0, Purpose::kData) ||
              bench.world.run(bench.journal->make_room(3, 0, Purpose::kData)).ok());
  const Appended done = bench.journal->append(
      {.kind = format::EntryKind::kWrite, .volume = VolumeId{1}, .blocks = {5, 8}, .payload = payload});
  EXPECT_FALSE(bench.journal->is_durable(done.ticket));
  EXPECT_TRUE(bench.journal->durable().is_none());
  const Buffer all = bench.journal->recent(done.place, 3);
  ASSERT_EQ(all.size(), payload.size());
  EXPECT_EQ(std::memcmp(all.data(), payload.data(), payload.size()), 0);
  const Buffer middle = bench.journal->recent(done.place.plus(1), 1);
  ASSERT_EQ(middle.size(), kBlockSizeBytes);
  EXPECT_EQ(std::memcmp(middle.data(), payload.data() + kBlockSizeBytes, kBlockSizeBytes), 0);
  EXPECT_TRUE(bench.journal->recent(done.place.plus(2), 2).empty()) << "beyond what was appended";
  const auto scanned = bench.world.run(bench.journal->scan(bench.journal->oldest()));
  ASSERT_TRUE(scanned.ok());
  bench.settle();
  EXPECT_TRUE(bench.journal->is_durable(done.ticket));
  EXPECT_EQ(bench.journal->durable(), done.id);
}

TEST(Journal, LargePayloadIsTakenWithoutACopyAndSmallIsCopied) {
  Bench bench(64, 1, {.segment_size_bytes = 4 * kSmallSegmentBytes});
  (void)bench.world.run(bench.journal->make_room(16, 0, Purpose::kData));
  const Buffer large = pattern(1, 16);
  const Appended adopted = bench.journal->append(
      {.kind = format::EntryKind::kWrite, .volume = VolumeId{1}, .blocks = {0, 16}, .payload = large});
  EXPECT_EQ(bench.journal->recent(adopted.place, 16).data(), large.data());
  const Buffer small = pattern(2, 15);
  const Appended copied = bench.journal->append(
      {.kind = format::EntryKind::kWrite, .volume = VolumeId{1}, .blocks = {0, 15}, .payload = small});
  EXPECT_NE(bench.journal->recent(copied.place, 15).data(), small.data());
  bench.settle();
}

TEST(Journal, ChecksumsOfTheAppendAreThoseOfTheBlocks) {
  Bench bench;
  const Buffer payload = pattern(5, 2);
  (void)bench.world.run(bench.journal->make_room(2, 0, Purpose::kData));
  const Appended done = bench.journal->append(
      {.kind = format::EntryKind::kWrite, .volume = VolumeId{1}, .blocks = {0, 2}, .payload = payload});
  ASSERT_EQ(done.checksums.size(), 2u);
  EXPECT_EQ(done.checksums[1], crc32c(Bytes(payload).subspan(kBlockSizeBytes)));
}

TEST(Journal, EachBatchNamesTheOneBeforeItByChecksum) {
  Bench bench(20);
  std::uint32_t given = 0;
  for (int i = 0; i < 30; ++i) {
    ASSERT_TRUE(bench.append_one());
    bench.settle();
    if (i == 14) {
      given = 0xfeedbeef;
      bench.journal->begin_epoch(epoch_identity(Epoch{4}), LogId(Epoch{4}, 1), given, WallTime{});
    }
  }
  const ScannedRun run = bench.check();
  std::uint32_t previous = 0;
  for (const StoredBatch& batch : run.batches) {
    const bool opens = batch.meta.first == LogId(Epoch{4}, 1);
    EXPECT_EQ(batch.meta.parent_checksum, opens ? given : previous);
    EXPECT_EQ(batch.meta.epoch_identity, epoch_identity(batch.meta.first.epoch()));
    previous = batch.checksum;
  }
  EXPECT_EQ(bench.journal->checksum_of_last(), previous);
}

TEST(Journal, TimerValuesNeverGoBack) {
  Bench bench(20);
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(bench.append_one());
    bench.world.jump_wall_clock(Duration::seconds(i % 2 == 0 ? -3600 : 1800));
  }
  bench.settle();
  for (std::size_t i = 1; i < bench.model.entries.size(); ++i) {
    EXPECT_GE(bench.model.entries[i].timer, bench.model.entries[i - 1].timer);
  }
  bench.check();
  const WallTime last = bench.model.entries.back().timer;
  ASSERT_TRUE(bench.world.run(bench.journal->close()).ok());
  bench.reopen();
  ASSERT_TRUE(bench.append_one());
  EXPECT_GE(bench.model.entries.back().timer, last);
}

TEST(Journal, FindGivesTheBatchOfEveryEntryAndNothingElse) {
  Bench bench(30);
  for (int i = 0; i < 60; ++i) {
    ASSERT_TRUE(bench.append_one());
    if (bench.random.below(3) == 0) bench.settle();
    if (i == 30) {
      bench.journal->begin_epoch(epoch_identity(Epoch{3}), LogId(Epoch{3}, 1),
                                 bench.journal->checksum_of_last(), WallTime{});
    }
  }
  bench.settle();
  for (int round = 0; round < 2; ++round) {
    for (const ModelEntry& entry : bench.model.entries) {
      const auto found = bench.world.run(bench.journal->find(entry.id));
      ASSERT_TRUE(found.ok()) << entry.id.to_string() << ": " << found.error().message;
      EXPECT_LE(found->meta.first, entry.id);
      EXPECT_GE(found->meta.last(), entry.id);
    }
    for (const LogId missing :
         {LogId(Epoch{1}, 32), LogId(Epoch{2}, 1), LogId(Epoch{3}, 30), LogId(Epoch{4}, 1)}) {
      const auto found = bench.world.run(bench.journal->find(missing));
      ASSERT_FALSE(found.ok()) << missing.to_string();
      EXPECT_EQ(found.error().code, ErrorCode::kNotFound);
    }
    ASSERT_TRUE(bench.world.run(bench.journal->close()).ok());
    bench.reopen();
  }
}

TEST(Journal, FindTimeGivesTheLastBatchThatBeganByThen) {
  Bench bench(30);
  for (int i = 0; i < 60; ++i) {
    ASSERT_TRUE(bench.append_one());
    if (bench.random.below(3) == 0) bench.settle();
    bench.world.run_for(Duration::milliseconds(static_cast<std::int64_t>(bench.random.below(30))));
    if (i == 30) {
      bench.journal->begin_epoch(epoch_identity(Epoch{3}), LogId(Epoch{3}, 1),
                                 bench.journal->checksum_of_last(), WallTime{});
    }
  }
  bench.settle();
  for (int round = 0; round < 2; ++round) {
    const ScannedRun run = bench.check();
    const std::int64_t begin = bench.model.entries.front().timer.ns - 1'000'000;
    const std::int64_t end = bench.model.entries.back().timer.ns + 1'000'000;
    for (int i = 0; i < 200; ++i) {
      const Epoch epoch{bench.random.coin() ? 1u : 3u};
      const WallTime time{
          begin + static_cast<std::int64_t>(bench.random.below(static_cast<std::uint64_t>(end - begin)))};
      const std::uint64_t first = 1 + bench.random.below(10);
      const std::uint64_t last = first + bench.random.below(40);
      const StoredBatch* expected = nullptr;
      for (const StoredBatch& batch : run.batches) {
        if (batch.meta.first.epoch() == epoch && batch.meta.last().sequence() >= first &&
            batch.meta.first.sequence() <= last && batch.meta.entries.front().timer <= time) {
          expected = &batch;
        }
      }
      const auto found = bench.world.run(bench.journal->find_time(epoch, first, last, time));
      ASSERT_TRUE(found.ok()) << found.error().message;
      ASSERT_EQ(found->has_value(), expected != nullptr);
      if (expected != nullptr) {
        EXPECT_EQ((*found)->place, expected->place);
      }
    }
    ASSERT_TRUE(bench.world.run(bench.journal->close()).ok());
    bench.reopen();
  }
}

TEST(Journal, ManyLapsOfRecyclingKeepWhatIsInUse) {
  Bench bench(10, 3);
  std::size_t freed = 0;
  std::uint64_t reopened = 0;
  while (bench.journal->segments().empty() || bench.journal->segments().back().generation < 200) {
    if (!bench.append_one()) {
      bench.settle();
      const std::size_t oldest = freed;
      freed = oldest + (bench.model.entries.size() - oldest) * (1 + bench.random.below(3)) / 4;
      bench.free_up_to(freed);
      const ScannedRun run = bench.check();
      EXPECT_LE(run.first, freed);
    }
    if (bench.random.below(100) == 0) {
      ASSERT_TRUE(bench.world.run(bench.journal->close()).ok());
      bench.reopen();
      ++reopened;
      EXPECT_LE(bench.check().first, freed);
    }
  }
  EXPECT_GT(reopened, 1u);
}

TEST(Journal, AFullJournalRefusesDataAndStillTakesControlAndASnapshot) {
  Bench bench(12, 5);
  while (bench.append_one()) {
  }
  while (bench.world.run(bench.journal->make_room(1, 0, Purpose::kData)).ok()) {
    const ModelEntry expected{.kind = format::EntryKind::kZero, .volume = VolumeId{1}, .blocks = {0, 1}};
    appended(
        bench.model, expected,
        bench.journal->append({.kind = expected.kind, .volume = expected.volume, .blocks = expected.blocks}));
    bench.settle();
  }
  EXPECT_FALSE(bench.journal->has_room(1, 0, Purpose::kData));
  const auto room = bench.world.run(bench.journal->make_room(6, 0, Purpose::kData));
  ASSERT_FALSE(room.ok());
  EXPECT_EQ(room.error().code, ErrorCode::kNoSpace);
  std::size_t marks = 0;
  while (true) {
    ModelEntry expected{.kind = format::EntryKind::kMark, .body = std::vector<std::byte>(100)};
    if (!bench.world.run(bench.journal->make_room(0, 100, Purpose::kControl)).ok()) break;
    appended(bench.model, expected,
             bench.journal->append({.kind = format::EntryKind::kMark, .body = expected.body}));
    bench.settle();
    ++marks;
  }
  EXPECT_GE(marks, 10u) << "each in a batch of its own";
  EXPECT_TRUE(bench.journal->has_room(0, 100, Purpose::kRelease)) << "what frees space still goes in";
  const std::uint32_t free = bench.journal->status().segments_free;
  const auto too_large =
      bench.world.run(bench.journal->save_snapshot(std::vector<std::byte>((free + 2) * kSmallSegmentBytes)));
  ASSERT_FALSE(too_large.ok());
  EXPECT_EQ(too_large.error().code, ErrorCode::kNoSpace);
  EXPECT_EQ(bench.journal->status().segments_free, free) << "it took nothing";
  const std::vector<std::byte> state(20'000, std::byte{7});
  ASSERT_TRUE(bench.world.run(bench.journal->save_snapshot(state)).ok());
  EXPECT_EQ(bench.journal->snapshot_size_bytes(), state.size());
  ASSERT_TRUE(bench.world.run(bench.journal->free_before(bench.model.entries.back().place)).ok());
  EXPECT_TRUE(bench.append_one()) << "there is room again";
  bench.settle();
  bench.reopen();
  EXPECT_EQ(bench.journal->snapshot(), state);
  bench.check();
}

TEST(Journal, ARestartGoesOnWhereTheOneBeforeEnded) {
  Bench bench(12, 6);
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(bench.append_one());
  bench.settle();
  for (int restart = 0; restart < 20; ++restart) {
    bench.reopen();
    const std::uint32_t used = bench.journal->status().segments_total - bench.journal->status().segments_free;
    ASSERT_TRUE(bench.world.run(bench.journal->make_room(0, 0, Purpose::kData)).ok());
    const ModelEntry expected{.kind = format::EntryKind::kMark};
    appended(bench.model, expected, bench.journal->append({.kind = expected.kind}));
    bench.settle();
    bench.check();
    EXPECT_LE(bench.journal->status().segments_total - bench.journal->status().segments_free, used + 1);
  }
  EXPECT_LE(bench.journal->status().used_bytes, 4 * kSmallSegmentBytes) << "twenty starts filled no segments";
}

TEST(Journal, APinHoldsFreeingBack) {
  Bench bench(12, 6);
  while (bench.append_one()) {
  }
  bench.settle();
  ASSERT_TRUE(bench.world.run(bench.journal->save_snapshot({})).ok());
  const Place old_place = bench.model.entries.front().place;
  bool done = false;
  io::TaskScope scope(bench.world);
  {
    Journal::Pin pin = bench.journal->pin(old_place);
    const Journal::Pin moved = std::move(pin);
    scope.spawn([](Journal* journal, Place place, bool* out) -> io::Task<void> {
      const auto freed = co_await journal->free_before(place);
      EXPECT_TRUE(freed.ok());
      *out = true;
    }(bench.journal.get(), bench.model.entries.back().place, &done));
    bench.world.run_for(Duration::seconds(1));
    EXPECT_FALSE(done);
    EXPECT_EQ(bench.check().first, 0u) << "all of it is still there";
  }
  bench.world.run_for(Duration::seconds(1));
  EXPECT_TRUE(done);
  EXPECT_GT(bench.check().first, 0u);
  const auto expired = bench.world.run(bench.journal->scan(old_place));
  ASSERT_FALSE(expired.ok());
  EXPECT_EQ(expired.error().code, ErrorCode::kExpired);
}

TEST(Journal, NothingIsFreedPastTheSnapshot) {
  Bench bench(12, 7);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(bench.append_one());
  bench.settle();
  ASSERT_TRUE(bench.world.run(bench.journal->free_before(bench.model.entries.back().place)).ok());
  EXPECT_EQ(bench.check().first, 0u) << "there was no snapshot yet";
  ASSERT_TRUE(bench.world.run(bench.journal->save_snapshot(bytes_of("state"))).ok());
  const std::size_t at_snapshot = bench.model.entries.size();
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(bench.append_one());
  bench.settle();
  ASSERT_TRUE(bench.world.run(bench.journal->free_before(bench.model.entries.back().place)).ok());
  EXPECT_LE(bench.check().first, at_snapshot);
  bench.reopen();
  EXPECT_EQ(bench.journal->snapshot(), bytes_of("state"));
  const auto run = bench.world.run(check_scan(*bench.journal, bench.model, bench.journal->snapshot_end()));
  ASSERT_TRUE(run.ok());
  EXPECT_EQ(run->first, at_snapshot);
  EXPECT_EQ(run->end, bench.model.entries.size());
}

TEST(Journal, TheLocalRecordIsReplacedAndKept) {
  Bench bench;
  ASSERT_TRUE(bench.world.run(bench.journal->save_local_record(bytes_of("one"))).ok());
  EXPECT_EQ(bench.journal->local_record(), bytes_of("one"));
  const std::vector<std::byte> largest(Journal::kLocalRecordBytesMax, std::byte{9});
  ASSERT_TRUE(bench.world.run(bench.journal->save_local_record(largest)).ok());
  bench.reopen();
  EXPECT_EQ(bench.journal->local_record(), largest);
  ASSERT_TRUE(bench.world.run(bench.journal->save_snapshot(bytes_of("state"))).ok());
  ASSERT_TRUE(bench.world.run(bench.journal->save_local_record(bytes_of("two"))).ok());
  bench.reopen();
  EXPECT_EQ(bench.journal->local_record(), bytes_of("two"));
  EXPECT_EQ(bench.journal->snapshot(), bytes_of("state"));
}

TEST(Journal, ASnapshotMaySpanSegmentsWhileAppendsGoOn) {
  Bench bench(40, 8);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(bench.append_one());
  std::vector<std::byte> state(11 * kSmallSegmentBytes);
  for (std::size_t i = 0; i < state.size(); ++i) state[i] = std::byte((i * 13 + i / 4096) & 0xff);
  const std::size_t at_snapshot = bench.model.entries.size();
  bool done = false;
  io::TaskScope scope(bench.world);
  scope.spawn([](Journal* journal, std::vector<std::byte> bytes, bool* out) -> io::Task<void> {
    const auto saved = co_await journal->save_snapshot(std::move(bytes));
    EXPECT_TRUE(saved.ok()) << saved.error().message;
    *out = true;
  }(bench.journal.get(), state, &done));
  bench.world.run_ready_only();
  while (!done) ASSERT_TRUE(bench.append_one());
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(bench.append_one());
  bench.settle();
  bench.check();
  bench.reopen();
  EXPECT_TRUE(bench.journal->snapshot() == state);
  bench.check();
  const auto run = bench.world.run(check_scan(*bench.journal, bench.model, bench.journal->snapshot_end()));
  ASSERT_TRUE(run.ok());
  EXPECT_EQ(run->first, at_snapshot);
  EXPECT_EQ(run->end, bench.model.entries.size());
}

TEST(Journal, TwoSnapshotsAtOnceLeaveTheLaterOneWhole) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Bench bench(40, seed);
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(bench.append_one());
    const std::vector<std::byte> first(5 * kSmallSegmentBytes, std::byte{1});
    const std::vector<std::byte> second(3 * kSmallSegmentBytes, std::byte{2});
    int done = 0;
    io::TaskScope scope(bench.world);
    const auto save = [](Journal* journal, std::vector<std::byte> bytes, int* out) -> io::Task<void> {
      const auto saved = co_await journal->save_snapshot(std::move(bytes));
      EXPECT_TRUE(saved.ok()) << saved.error().message;
      ++*out;
    };
    scope.spawn(save(bench.journal.get(), first, &done));
    bench.world.run_steps(seed);
    scope.spawn(save(bench.journal.get(), second, &done));
    while (done < 2) bench.world.run_for(Duration::microseconds(100));
    bench.reopen();
    EXPECT_TRUE(bench.journal->snapshot() == second) << "seed " << seed;
  }
}

TEST(Journal, BatchesOfAnotherJournalAreKeptToTheByte) {
  Bench source(30, 9);
  for (int i = 0; i < 60; ++i) {
    ASSERT_TRUE(source.append_one());
    if (source.random.below(3) == 0) source.settle();
  }
  source.settle();
  const ScannedRun sent = source.check();

  World& world = source.world;
  sim::Disk disk(world, disk_bytes(40));
  auto made = world.run(Journal::create(world.environment(), disk, test_group(), small_options()));
  ASSERT_TRUE(made.ok());
  std::unique_ptr<Journal> received = std::move(made).value();
  for (const StoredBatch& batch : sent.batches) {
    const auto payload = world.run(source.journal->read_payload(batch));
    ASSERT_TRUE(payload.ok());
    const auto meta_bytes = static_cast<std::uint32_t>(batch.encoded_meta.size());
    ASSERT_TRUE(world.run(received->make_room(batch.meta.payload_blocks, meta_bytes, Purpose::kData)).ok());
    std::vector<Buffer> pieces;
    // As it comes from the link: in pieces.
    for (std::uint32_t block = 0; block < batch.meta.payload_blocks;) {
      const std::uint32_t count =
          1 + static_cast<std::uint32_t>(source.random.below(batch.meta.payload_blocks - block));
      pieces.push_back(payload->slice(block * kBlockSizeBytes, count * kBlockSizeBytes));
      block += count;
    }
    const Appended done = received->append_batch(batch.meta, batch.encoded_meta, std::move(pieces));
    EXPECT_EQ(done.id, batch.meta.last());
    if (batch.meta.payload_blocks > 0) {
      const Buffer in_memory = received->recent(done.place, batch.meta.payload_blocks);
      ASSERT_EQ(in_memory.size(), payload->size());
      EXPECT_EQ(std::memcmp(in_memory.data(), payload->data(), payload->size()), 0);
    }
  }
  ASSERT_TRUE(world.run(received->wait_durable(received->last_ticket())).ok());
  for (int round = 0; round < 2; ++round) {
    const auto kept = world.run(scan_all(*received, received->oldest()));
    ASSERT_TRUE(kept.ok());
    ASSERT_EQ(kept->size(), sent.batches.size());
    for (std::size_t i = 0; i < kept->size(); ++i) {
      EXPECT_EQ((*kept)[i].encoded_meta, sent.batches[i].encoded_meta);
      EXPECT_EQ((*kept)[i].checksum, sent.batches[i].checksum);
      const auto there = world.run(received->read_payload((*kept)[i]));
      const auto here = world.run(source.journal->read_payload(sent.batches[i]));
      ASSERT_TRUE(there.ok() && here.ok());
      ASSERT_EQ(there->size(), here->size());
      EXPECT_TRUE(std::ranges::equal(Bytes(*there), Bytes(*here)));
    }
    EXPECT_EQ(received->last_appended(), source.journal->last_appended());
    EXPECT_EQ(received->checksum_of_last(), source.journal->checksum_of_last());
    received.reset();
    auto opened = world.run(Journal::open(world.environment(), disk, small_options()));
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    received = std::move(opened).value();
  }
}

TEST(Journal, AWrongChecksumIsDamageThatNamesItsPlace) {
  Bench bench(20, 10);
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(bench.append_one());
  bench.settle();
  bench.reopen();  // nothing is in memory now
  for (const ModelEntry& entry : bench.model.entries) {
    if (entry.payload_blocks == 0) continue;
    const auto read = bench.world.run(bench.journal->read(entry.place, entry.checksums));
    ASSERT_TRUE(read.ok()) << read.error().message;
    const Buffer want = pattern(entry.payload_seed, entry.payload_blocks);
    EXPECT_EQ(std::memcmp(read->data(), want.data(), want.size()), 0);
    std::vector<std::uint32_t> wrong = entry.checksums;
    ++wrong.back();
    const auto damaged = bench.world.run(bench.journal->read(entry.place, wrong));
    ASSERT_FALSE(damaged.ok());
    EXPECT_EQ(damaged.error().code, ErrorCode::kDamaged);
    EXPECT_NE(damaged.error().message.find("offset"), std::string::npos) << damaged.error().message;
  }
}

TEST(Journal, AnIdleJournalSealsWhatIsDurable) {
  Bench bench;
  ASSERT_TRUE(bench.append_one());
  bench.settle();
  bench.world.run_for(Duration::seconds(1));  // segments are prepared meanwhile
  const ModelEntry mark{.kind = format::EntryKind::kMark, .body = bytes_of("m")};
  ASSERT_TRUE(bench.journal->has_room(0, 1, Purpose::kControl));
  appended(bench.model, mark, bench.journal->append({.kind = mark.kind, .body = mark.body}));
  bench.settle();
  const std::uint64_t before = bench.disk.writes();
  bench.world.run_for(Duration::seconds(1));
  EXPECT_EQ(bench.disk.writes(), before + 1) << "one seal, once";
  bench.world.run_for(Duration::seconds(10));
  EXPECT_EQ(bench.disk.writes(), before + 1) << "and then it rests";
}

TEST(Journal, StatusCountsWhatIsUsed) {
  Bench bench(12, 11);
  const JournalStatus empty = bench.journal->status();
  EXPECT_EQ(empty.segments_total, 12u);
  EXPECT_EQ(empty.segments_free, 12u);
  EXPECT_EQ(empty.used_bytes, 0u);
  EXPECT_EQ(empty.size_bytes, 12 * kSmallSegmentBytes);
  std::uint64_t payload = 0;
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(bench.append_one());
    payload += bench.model.entries.back().payload_blocks * kBlockSizeBytes;
  }
  bench.settle();
  const JournalStatus status = bench.journal->status();
  EXPECT_EQ(status.payload_bytes, payload);
  EXPECT_GT(status.written_bytes, payload);
  EXPECT_GT(status.batches, 0u);
  EXPECT_EQ(status.segments_free + bench.journal->segments().size(), 12u);
  EXPECT_EQ(status.used_bytes, bench.journal->segments().size() * kSmallSegmentBytes);
}

TEST(Journal, AfterCloseNothingIsAccepted) {
  Bench bench;
  ASSERT_TRUE(bench.append_one());
  ASSERT_TRUE(bench.world.run(bench.journal->close()).ok());
  EXPECT_FALSE(bench.journal->has_room(1, 0, Purpose::kData));
  const auto room = bench.world.run(bench.journal->make_room(1, 0, Purpose::kData));
  ASSERT_FALSE(room.ok());
  EXPECT_EQ(room.error().code, ErrorCode::kShutdown);
}

// ---- Failures ----

TEST(JournalFailure, AFailedWriteStopsTheJournalAndEveryWaiterLearnsIt) {
  int refused_in_all = 0;
  for (std::uint64_t nth = 1; nth <= 12; ++nth) {
    Bench bench(20, nth);
    for (int i = 0; i < 4; ++i) ASSERT_TRUE(bench.append_one());
    bench.settle();
    const std::size_t durable = bench.model.entries.size();
    bench.disk.fail_write_after(nth);
    int refused = 0;
    int accepted = 0;
    io::TaskScope scope(bench.world);
    std::size_t certain = durable;
    for (int i = 0; i < 40 && !bench.journal->failed().has_value(); ++i) {
      ModelEntry expected;
      NewEntry entry = random_entry(bench.model, bench.random, 6, expected);
      const auto blocks = static_cast<std::uint32_t>(entry.payload.size() / kBlockSizeBytes);
      const auto body = static_cast<std::uint32_t>(entry.body.size());
      if (!bench.world.run(bench.journal->make_room(blocks, body, Purpose::kData)).ok()) break;
      const Appended done = bench.journal->append(std::move(entry));
      appended(bench.model, std::move(expected), done);
      scope.spawn([](Journal* journal, std::uint64_t ticket, std::size_t count, std::size_t* sure, int* good,
                     int* bad) -> io::Task<void> {
        const auto durable_now = co_await journal->wait_durable(ticket);
        if (durable_now.ok()) {
          ++*good;
          *sure = std::max(*sure, count);
        } else {
          EXPECT_EQ(durable_now.error().code, ErrorCode::kIo);
          ++*bad;
        }
      }(bench.journal.get(), done.ticket, bench.model.entries.size(), &certain, &accepted, &refused));
      bench.world.run_for(Duration::microseconds(50));
    }
    bench.world.run_for(Duration::seconds(1));
    EXPECT_EQ(scope.running(), 0u) << "nobody waits for ever";
    ASSERT_TRUE(bench.journal->failed().has_value()) << "write " << nth;
    EXPECT_EQ(bench.journal->failed()->code, ErrorCode::kIo);
    refused_in_all += refused;
    EXPECT_FALSE(bench.journal->has_room(0, 0, Purpose::kControl));
    const auto room = bench.world.run(bench.journal->make_room(0, 0, Purpose::kControl));
    ASSERT_FALSE(room.ok());
    EXPECT_EQ(room.error().code, ErrorCode::kIo);
    EXPECT_FALSE(bench.world.run(bench.journal->save_snapshot({})).ok());
    EXPECT_FALSE(bench.world.run(bench.journal->save_local_record({})).ok());
    EXPECT_FALSE(bench.world.run(bench.journal->close()).ok());

    bench.journal.reset();
    auto opened = bench.world.run(Journal::open(bench.world.environment(), bench.disk, bench.options));
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    bench.journal = std::move(opened).value();
    const auto run = bench.world.run(check_scan(*bench.journal, bench.model, bench.journal->oldest()));
    ASSERT_TRUE(run.ok()) << run.error().message;
    EXPECT_GE(run->end, certain) << "what was said to be durable is";
  }
  EXPECT_GT(refused_in_all, 12);
}

TEST(JournalFailure, AFailedSuperblockWriteStopsTheJournal) {
  Bench bench;
  ASSERT_TRUE(bench.append_one());
  bench.settle();
  bench.world.run_for(Duration::seconds(1));
  bench.disk.fail_write_after(1);
  EXPECT_EQ(bench.world.run(bench.journal->save_local_record(bytes_of("x"))).error().code, ErrorCode::kIo);
  ASSERT_TRUE(bench.journal->failed().has_value());
  bench.reopen();
  const std::vector<std::byte>& record = bench.journal->local_record();
  EXPECT_TRUE(record.empty() || record == bytes_of("x")) << "nobody knows which, but one of them";
  bench.check();
}

TEST(JournalFailure, AFailedReadIsToldAndDoesNotStopTheJournal) {
  Bench bench(20, 2);
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(bench.append_one());
  bench.settle();
  bench.reopen();
  bench.world.run_for(Duration::seconds(1));
  const ModelEntry* entry = nullptr;
  for (const ModelEntry& candidate : bench.model.entries) {
    if (candidate.payload_blocks > 0) entry = &candidate;
  }
  ASSERT_NE(entry, nullptr);
  bench.disk.fail_read_after(1);
  EXPECT_EQ(bench.world.run(bench.journal->read(entry->place, entry->checksums)).error().code,
            ErrorCode::kIo);
  EXPECT_TRUE(bench.world.run(bench.journal->read(entry->place, entry->checksums)).ok());
  EXPECT_FALSE(bench.journal->failed().has_value());
}

TEST(JournalFailure, AFailedReadWhileOpeningIsAnErrorAndTheNextOpenSucceeds) {
  Bench bench(20, 3);
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(bench.append_one());
  ASSERT_TRUE(bench.world.run(bench.journal->save_snapshot(bytes_of("state"))).ok());
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(bench.append_one());
  bench.settle();
  bench.journal.reset();
  for (std::uint64_t nth = 1;; ++nth) {
    const std::uint64_t before = bench.disk.reads();
    bench.disk.fail_read_after(nth);
    auto opened = bench.world.run(Journal::open(bench.world.environment(), bench.disk, bench.options));
    if (bench.disk.reads() - before < nth) break;
    ASSERT_FALSE(opened.ok()) << "read " << nth << " failed and nobody noticed";
    EXPECT_EQ(opened.error().code, ErrorCode::kIo) << opened.error().message;
  }
}

TEST(JournalFailure, AThinDiskThatIsFullRefusesSpaceAndGoesOnWhenThereIsSome) {
  World world(4);
  sim::Disk disk(world, disk_bytes(12), {.space_bytes_max = (64 << 10) + 4 * kSmallSegmentBytes});
  auto made = world.run(Journal::create(world.environment(), disk, test_group(), small_options()));
  ASSERT_TRUE(made.ok());
  std::unique_ptr<Journal> journal = std::move(made).value();
  Model model;
  go_on(*journal, model);
  std::size_t appended_count = 0;
  while (true) {
    const auto room = world.run(journal->make_room(6, 0, Purpose::kData));
    if (!room.ok()) {
      EXPECT_EQ(room.error().code, ErrorCode::kNoSpace);
      break;
    }
    const Buffer payload = pattern(appended_count, 6);
    (void)journal->append(
        {.kind = format::EntryKind::kWrite, .volume = VolumeId{1}, .blocks = {0, 6}, .payload = payload});
    ASSERT_LT(++appended_count, 100u);
  }
  EXPECT_GE(appended_count, 4u);
  EXPECT_TRUE(world.run(journal->wait_durable(journal->last_ticket())).ok()) << "what was accepted is kept";
  EXPECT_FALSE(journal->failed().has_value());
}

}  // namespace
}  // namespace tidemark::journal
