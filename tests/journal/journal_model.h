#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/crc32c.h"
#include "journal/journal.h"
#include "sim/disk.h"
#include "sim/random.h"
#include "sim/simulated_process.h"
#include "sim/world.h"

namespace tidemark::journal {

inline GroupIdentity test_group() {
  GroupIdentity group;
  for (std::size_t i = 0; i < 16; ++i) group.bytes[i] = static_cast<std::uint8_t>(0xa0 + i);
  return group;
}

inline EpochIdentity epoch_identity(Epoch epoch) {
  EpochIdentity identity;
  for (std::size_t i = 0; i < 16; ++i) identity.bytes[i] = static_cast<std::uint8_t>(epoch.value + i);
  return identity;
}

// `blocks` blocks that differ from those of any other seed.
inline Buffer pattern(std::uint64_t seed, std::uint32_t blocks) {
  Buffer out = Buffer::allocate(blocks * kBlockSizeBytes);
  for (std::uint32_t b = 0; b < blocks; ++b) {
    std::uint64_t state = seed * 1000 + b;
    std::uint64_t words[8];
    for (std::uint64_t& word : words) word = sim::split_mix(state);
    for (std::size_t at = 0; at < kBlockSizeBytes; at += sizeof words) {
      words[0] = at;
      std::memcpy(out.data() + b * kBlockSizeBytes + at, words, sizeof words);
    }
  }
  return out;
}

// The journal that a disk's size and options of the tests give: segments of 16 blocks, so that a few writes
// fill one.
inline constexpr std::uint64_t kSmallSegmentBytes = 64 << 10;
inline std::uint64_t disk_bytes(std::uint32_t segments) {
  return (64 << 10) + segments * kSmallSegmentBytes;
}
inline JournalOptions small_options() {
  return {.segment_size_bytes = kSmallSegmentBytes,
          .recent_bytes_max = 96 << 10,
          .batches_in_flight_max = 3,
          .batch_bytes_usual_max = 24 << 10};
}

// What was appended, in order: one element per entry. Payload is known by its seed.
struct ModelEntry {
  LogId id{};
  format::EntryKind kind{};
  VolumeId volume{};
  BlockRange blocks{};
  std::uint64_t payload_seed = 0;
  std::uint32_t payload_blocks = 0;
  std::vector<std::byte> body{};
  WallTime timer{};
  Place place{};
  std::vector<std::uint32_t> checksums{};
};

struct Model {
  std::vector<ModelEntry> entries;
  std::size_t durable = 0;  // entries of which wait_durable() said so
  std::uint64_t next_seed = 1;
  std::uint32_t epochs = 0;
};

// A random entry of at most `blocks_max` blocks. The model learns of it in appended().
inline NewEntry random_entry(Model& model, sim::SeededRandom& random, std::uint32_t blocks_max,
                             ModelEntry& expected) {
  NewEntry entry;
  expected = ModelEntry{};
  switch (random.below(8)) {
    case 0:
      entry.kind = format::EntryKind::kZero;
      break;
    case 1:
      entry.kind = format::EntryKind::kDiscard;
      break;
    case 2:
      entry.kind = format::EntryKind::kMark;
      break;
    case 3:
      entry.kind = format::EntryKind::kControl;
      break;
    default:
      entry.kind = format::EntryKind::kWrite;
  }
  if (entry.kind == format::EntryKind::kMark || entry.kind == format::EntryKind::kControl) {
    const std::size_t size = random.below(20) == 0 ? random.below(6000) : random.below(60);
    entry.body.assign(size, std::byte(random.next()));
  } else {
    entry.volume.value = 1 + static_cast<std::uint32_t>(random.below(3));
    entry.blocks.begin = random.below(1000);
    entry.blocks.end = entry.blocks.begin + 1 + random.below(blocks_max);
    if (entry.kind == format::EntryKind::kWrite) {
      expected.payload_seed = model.next_seed++;
      expected.payload_blocks = static_cast<std::uint32_t>(entry.blocks.count());
      entry.payload = pattern(expected.payload_seed, expected.payload_blocks);
    }
  }
  expected.kind = entry.kind;
  expected.volume = entry.volume;
  expected.blocks = entry.blocks;
  expected.body = entry.body;
  return entry;
}

inline void appended(Model& model, ModelEntry expected, const Appended& done) {
  expected.id = done.id;
  expected.timer = done.timer;
  expected.place = done.place;
  expected.checksums = done.checksums;
  ASSERT_EQ(done.checksums.size(), expected.payload_blocks);
  if (!model.entries.empty()) {
    ASSERT_GE(done.place, model.entries.back().place) << "places grow with the order";
  }
  model.entries.push_back(std::move(expected));
}

inline void expect_same(const ModelEntry& expected, LogId id, const format::Entry& entry) {
  ASSERT_EQ(id, expected.id);
  ASSERT_EQ(entry.kind, expected.kind) << id.to_string();
  ASSERT_EQ(entry.volume, expected.volume) << id.to_string();
  ASSERT_EQ(entry.blocks, expected.blocks) << id.to_string();
  ASSERT_EQ(entry.timer, expected.timer) << id.to_string();
  ASSERT_EQ(entry.checksums, expected.checksums) << id.to_string();
  ASSERT_EQ(entry.body, expected.body) << id.to_string();
}

// What the summary of a batch says is what a scan finds.
inline bool is_summary_of(const BatchSummary& summary, const StoredBatch& batch) {
  return summary.place == batch.place && summary.next == batch.next && summary.first == batch.meta.first &&
         summary.last == batch.meta.last() && summary.first_timer == batch.meta.entries.front().timer &&
         summary.last_timer == batch.meta.entries.back().timer;
}

// All batches from `from` on.
inline io::Task<Result<std::vector<StoredBatch>>> scan_all(Journal& journal, Place from) {
  std::vector<StoredBatch> batches;
  while (true) {
    auto summary = co_await journal.scan_summary(from);
    auto batch = co_await journal.scan(from);
    if (!batch.ok()) co_return std::move(batch).error();
    // More can have become durable in between, and not less.
    TM_ASSERT(summary.ok() && (!summary->has_value() || batch->has_value()));
    if (!batch->has_value()) co_return batches;
    TM_ASSERT(!summary->has_value() || is_summary_of(**summary, **batch));
    TM_ASSERT((*batch)->place >= from);
    from = (*batch)->next;
    batches.push_back(std::move(**batch));
  }
}

// The index in the model of the entry with this id; the last one when ids were given out again after a cut.
inline std::size_t index_of(const Model& model, LogId id) {
  for (std::size_t i = model.entries.size(); i > 0; --i) {
    if (model.entries[i - 1].id == id) return i - 1;
  }
  return model.entries.size();
}

// Checks that what a scan from `from` yields is a run of the model's entries without a gap, payload included,
// and gives [first, end) of it; an empty run at the model's end when nothing comes. Sets `*error` and stops
// at what does not read.
struct ScannedRun {
  std::size_t first = 0;
  std::size_t end = 0;
  std::vector<StoredBatch> batches{};
};
inline io::Task<Result<ScannedRun>> check_scan(Journal& journal, const Model& model, Place from) {
  ScannedRun run;
  auto batches = co_await scan_all(journal, from);
  if (!batches.ok()) co_return std::move(batches).error();
  run.batches = std::move(batches).value();
  if (run.batches.empty()) {
    run.first = run.end = model.entries.size();
    co_return run;
  }
  run.first = run.end = index_of(model, run.batches.front().meta.first);
  for (const StoredBatch& batch : run.batches) {
    EXPECT_EQ(batch.meta.group, test_group());
    EXPECT_EQ(crc32c(Bytes(batch.encoded_meta).first(batch.encoded_meta.size() - 4)), batch.checksum);
    EXPECT_EQ(batch.encoded_meta, format::encode_batch_meta(batch.meta));
    auto payload = co_await journal.read_payload(batch);
    if (!payload.ok()) co_return std::move(payload).error();
    EXPECT_EQ(payload->size(), batch.meta.payload_blocks * kBlockSizeBytes);
    for (std::size_t i = 0; i < batch.meta.entries.size(); ++i, ++run.end) {
      if (run.end >= model.entries.size()) {
        ADD_FAILURE() << "an entry that was never appended: " << batch.meta.first.to_string() << " + " << i;
        co_return run;
      }
      const ModelEntry& expected = model.entries[run.end];
      const format::Entry& entry = batch.meta.entries[i];
      expect_same(expected, LogId::from_raw(batch.meta.first.raw() + i), entry);
      if (::testing::Test::HasFatalFailure()) co_return run;
      if (expected.payload_blocks == 0) continue;
      EXPECT_EQ(batch.payload_place.plus(entry.payload_block), expected.place);
      const Buffer want = pattern(expected.payload_seed, expected.payload_blocks);
      const Bytes got = Bytes(*payload).subspan(entry.payload_block * kBlockSizeBytes,
                                                expected.payload_blocks * kBlockSizeBytes);
      EXPECT_EQ(std::memcmp(got.data(), want.data(), want.size()), 0)
          << "payload of " << expected.id.to_string();
    }
  }
  co_return run;
}

// Begins or goes on with an epoch after a create or an open.
inline void go_on(Journal& journal, Model& model) {
  const LogId last = journal.last_appended();
  if (last.is_none()) {
    model.epochs = 1;
    journal.begin_epoch(epoch_identity(Epoch{1}), LogId(Epoch{1}, 1), 0, WallTime{});
  } else {
    journal.begin_epoch(epoch_identity(last.epoch()), last.next(), journal.checksum_of_last(), WallTime{});
  }
}

}  // namespace tidemark::journal
