// Batches come in order and whole, however far ahead they were read.

#include "journal/sequential_reader.h"

#include <gtest/gtest.h>

#include "journal/journal_model.h"

namespace tidemark::journal {
namespace {

class SequentialReaderTest : public testing::Test {
 protected:
  void start(std::uint64_t seed, std::uint64_t recent_bytes) {
    world = std::make_unique<sim::World>(seed);
    random = std::make_unique<sim::SeededRandom>(seed + 1000);
    disk = std::make_unique<sim::Disk>(*world, disk_bytes(20));
    JournalOptions options = small_options();
    options.recent_bytes_max = recent_bytes;
    auto made = world->run(Journal::create(world->environment(), *disk, test_group(), options));
    ASSERT_TRUE(made.ok()) << made.error().message;
    log = std::move(made).value();
    go_on(*log, model);
  }
  // One random entry, durable; false when the journal is full.
  bool append() {
    ModelEntry expected;
    NewEntry entry = random_entry(model, *random, 6, expected);
    const auto blocks = static_cast<std::uint32_t>(entry.payload.size() / kBlockSizeBytes);
    const auto body = static_cast<std::uint32_t>(entry.body.size());
    if (!world->run(log->make_room(blocks, body, Purpose::kData)).ok()) return false;
    appended(model, std::move(expected), log->append(std::move(entry)));
    return world->run(log->wait_durable(log->last_ticket())).ok();
  }
  // As a reader without any ahead sees it.
  void expect_next(SequentialReader& reader, Place* from) {
    const auto expected = world->run(log->scan(*from));
    ASSERT_TRUE(expected.ok() && expected->has_value());
    const auto payload = world->run(log->read_payload(**expected));
    ASSERT_TRUE(payload.ok());
    const auto found = world->run(reader.read(*from));
    ASSERT_TRUE(found.ok()) << found.error().message;
    ASSERT_TRUE(found->has_value());
    EXPECT_EQ((*found)->batch.meta.first, (*expected)->meta.first);
    EXPECT_EQ((*found)->batch.next, (*expected)->next);
    EXPECT_EQ((*found)->batch.encoded_meta, (*expected)->encoded_meta);
    ASSERT_EQ((*found)->payload.size(), payload->size());
    EXPECT_TRUE(payload->empty() ||
                std::memcmp((*found)->payload.data(), payload->data(), payload->size()) == 0);
    *from = (*found)->batch.next;
  }

  std::unique_ptr<sim::World> world;
  std::unique_ptr<sim::SeededRandom> random;
  std::unique_ptr<sim::Disk> disk;
  Model model;
  std::unique_ptr<Journal> log;
};

TEST_F(SequentialReaderTest, GivesEachBatchOnceInOrderAndThenNothing) {
  for (const std::uint64_t recent : {std::uint64_t{0}, std::uint64_t{1} << 20}) {
    model = {};
    ASSERT_NO_FATAL_FAILURE(start(1, recent));
    for (int i = 0; i < 40; ++i) ASSERT_TRUE(append());
    SequentialReader reader(*world, *log);
    Place from = log->oldest();
    for (int i = 0; i < 40; ++i) ASSERT_NO_FATAL_FAILURE(expect_next(reader, &from)) << i;
    for (int i = 0; i < 3; ++i) {
      const auto end = world->run(reader.read(from));
      ASSERT_TRUE(end.ok()) << end.error().message;
      EXPECT_FALSE(end->has_value());
      // What comes then is found as well.
      ASSERT_TRUE(append());
      ASSERT_NO_FATAL_FAILURE(expect_next(reader, &from));
    }
  }
}

TEST_F(SequentialReaderTest, GoesOnWhereItIsToldTo) {
  ASSERT_NO_FATAL_FAILURE(start(2, 0));
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(append());
  SequentialReader reader(*world, *log);
  std::vector<Place> places{log->oldest()};
  Place from = log->oldest();
  for (int i = 0; i < 10; ++i) {
    ASSERT_NO_FATAL_FAILURE(expect_next(reader, &from));
    places.push_back(from);
  }
  for (const std::size_t back : {9u, 3u, 0u, 7u}) {
    from = places[back];
    for (int i = 0; i < 3; ++i) ASSERT_NO_FATAL_FAILURE(expect_next(reader, &from)) << back;
  }
}

TEST_F(SequentialReaderTest, WhatCannotBeReadIsToldWhenItHasItsTurn) {
  ASSERT_NO_FATAL_FAILURE(start(3, 0));
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(append());
  std::vector<StoredBatch> batches;
  for (Place at = log->oldest(); batches.size() < 40;) {
    auto scanned = world->run(log->scan(at));
    ASSERT_TRUE(scanned.ok() && scanned->has_value());
    at = (*scanned)->next;
    batches.push_back(std::move(**scanned));
  }
  // The first block of the payload of one in the middle.
  std::size_t bad = 20;
  while (batches[bad].meta.payload_blocks == 0) ++bad;
  std::uint64_t offset = 0;
  for (const SegmentInfo& segment : log->segments()) {
    if (segment.generation != batches[bad].payload_place.generation()) continue;
    offset = (64 << 10) + segment.index * log->status().segment_size_bytes +
             batches[bad].payload_place.block() * kBlockSizeBytes;
  }
  ASSERT_NE(offset, 0u);
  disk->flip_bit(offset + 5, 1);
  SequentialReader reader(*world, *log);
  Place from = log->oldest();
  for (std::size_t i = 0; i < bad; ++i) ASSERT_NO_FATAL_FAILURE(expect_next(reader, &from)) << i;
  for (int i = 0; i < 2; ++i) {
    const auto damaged = world->run(reader.read(from));
    ASSERT_FALSE(damaged.ok());
    EXPECT_EQ(damaged.error().code, ErrorCode::kDamaged) << damaged.error().message;
  }
  from = batches[bad].next;
  ASSERT_NO_FATAL_FAILURE(expect_next(reader, &from));
}

// The journal goes on in the next segment already, and what is left of this one is not durable yet.
TEST_F(SequentialReaderTest, WhatBecomesDurableBehindWhatWasReadIsNotPassedOver) {
  ASSERT_NO_FATAL_FAILURE(start(6, 0));
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(append());
  world->run_for(Duration::milliseconds(50));  // idle, so that a seal is the last that is durable
  std::size_t begun = 0;
  for (const std::size_t segments = log->segments().size(); log->segments().size() == segments; ++begun) {
    ModelEntry expected;
    NewEntry entry = random_entry(model, *random, 1, expected);
    const auto blocks = static_cast<std::uint32_t>(entry.payload.size() / kBlockSizeBytes);
    ASSERT_TRUE(log->has_room(blocks, static_cast<std::uint32_t>(entry.body.size()), Purpose::kData));
    appended(model, std::move(expected), log->append(std::move(entry)));
  }
  ASSERT_GT(begun, 1u);
  SequentialReader reader(*world, *log);
  const auto first = world->run(reader.read(log->oldest()));
  ASSERT_TRUE(first.ok() && first->has_value());
  Place from = (*first)->batch.next;
  ASSERT_TRUE(world->run(log->wait_durable(log->last_ticket())).ok());
  for (std::size_t entries = 1; entries < 2 + begun;) {
    const auto scanned = world->run(log->scan(from));
    ASSERT_TRUE(scanned.ok() && scanned->has_value());
    entries += (*scanned)->meta.entries.size();
    ASSERT_NO_FATAL_FAILURE(expect_next(reader, &from)) << entries;
  }
}

TEST_F(SequentialReaderTest, WhatWasFreedIsExpired) {
  ASSERT_NO_FATAL_FAILURE(start(4, 0));
  while (append()) {
  }
  const Place oldest = log->oldest();
  ASSERT_TRUE(world->run(log->save_snapshot({})).ok());
  ASSERT_TRUE(world->run(log->free_before(model.entries[model.entries.size() / 2].place)).ok());
  ASSERT_GT(log->oldest(), oldest);
  SequentialReader reader(*world, *log);
  const auto gone = world->run(reader.read(oldest));
  ASSERT_FALSE(gone.ok());
  EXPECT_EQ(gone.error().code, ErrorCode::kExpired) << gone.error().message;
  Place from = log->oldest();
  ASSERT_NO_FATAL_FAILURE(expect_next(reader, &from));
}

// From disk several are read at once, and an abandoned read harms nobody.
TEST_F(SequentialReaderTest, ReadsAheadWhileItIsWaitedFor) {
  ASSERT_NO_FATAL_FAILURE(start(5, 0));
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(append());
  const auto time_of = [&](const auto& read_one) {
    const MonotonicTime began = world->now();
    for (Place at = log->oldest(); !at.is_none();) at = read_one(at);
    return world->now() - began;
  };
  const Duration alone = time_of([&](Place at) {
    const auto scanned = world->run(log->scan(at));
    EXPECT_TRUE(scanned.ok());
    if (!scanned->has_value()) return Place();
    EXPECT_TRUE(world->run(log->read_payload(**scanned)).ok());
    return (*scanned)->next;
  });
  SequentialReader reader(*world, *log);
  const Duration ahead = time_of([&](Place at) {
    const auto found = world->run(reader.read(at));
    EXPECT_TRUE(found.ok());
    return found->has_value() ? (*found)->batch.next : Place();
  });
  EXPECT_LT(ahead.ns, alone.ns * 3 / 4);
  {
    SequentialReader other(*world, *log);
    ASSERT_TRUE(world->run(other.read(log->oldest())).ok());
  }
  world->run_for(Duration::seconds(1));
}

}  // namespace
}  // namespace tidemark::journal
