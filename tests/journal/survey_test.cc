// What a journal says of the blocks of its log volumes to whoever compares the copies below them.

#include <algorithm>

#include "disk_in_front.h"
#include "format/journal_frame.h"
#include "journal_model.h"

namespace tidemark::journal {
namespace {

using pool::Knowledge;
using sim::World;

constexpr std::uint32_t kSegments = 32;

// A disk whose blocks another member has as they are in `other`; empty: there is none.
class Mirror final : public DiskInFront {
 public:
  explicit Mirror(sim::Disk& disk) : DiskInFront(disk) {}
  io::Task<Result<void>> peek_other_copies(DiskOffset offset, Buffer out,
                                           std::function<bool(Bytes)> is_right) override {
    disk_.peek(offset.value, out.writable());
    if (is_right(out)) co_return Result<void>{};
    if (other.empty()) co_return fail(ErrorCode::kDamaged, "there is no other");
    std::memcpy(out.data(), other.data() + offset.value, out.size());
    if (!is_right(out)) co_return fail(ErrorCode::kDamaged, "neither is right");
    co_return Result<void>{};
  }
  std::vector<std::byte> other;

 private:
};

class JournalSurveys : public testing::Test {
 protected:
  void SetUp() override {
    auto made = world.run(Journal::create(world.environment(), mirror, test_group(), small_options()));
    ASSERT_TRUE(made.ok()) << made.error().message;
    journal = std::move(made).value();
    ++model.epochs;
    journal->begin_epoch(epoch_identity(Epoch{1}), LogId(Epoch{1}, 1), 0, WallTime{});
  }
  void append(NewEntry entry, ModelEntry expected) {
    const auto blocks = static_cast<std::uint32_t>(entry.payload.size() / kBlockSizeBytes);
    const auto body = static_cast<std::uint32_t>(entry.body.size());
    const auto room = world.run(journal->make_room(blocks, body, Purpose::kData));
    ASSERT_TRUE(room.ok()) << room.error().message;
    appended(model, std::move(expected), journal->append(std::move(entry)));
  }
  void append_some(int count) {
    for (int i = 0; i < count; ++i) {
      ModelEntry expected;
      NewEntry entry = random_entry(model, random, 6, expected);
      ASSERT_NO_FATAL_FAILURE(append(std::move(entry), std::move(expected)));
    }
  }
  void settle() {
    ASSERT_TRUE(world.run(journal->wait_durable(journal->last_ticket())).ok());
    world.run_for(Duration::milliseconds(50));  // the seal
  }
  // Entries, one whose meta does not fit the first block of its frame, a snapshot of several blocks, more.
  void fill() {
    ASSERT_NO_FATAL_FAILURE(append_some(20));
    journal->close_batch();
    ModelEntry expected;
    expected.kind = format::EntryKind::kMark;
    expected.body.assign(5500, std::byte{0x5a});
    NewEntry entry;
    entry.kind = expected.kind;
    entry.body = expected.body;
    ASSERT_NO_FATAL_FAILURE(append(std::move(entry), std::move(expected)));
    journal->close_batch();
    std::vector<std::byte> state(20000, std::byte{0x77});
    ASSERT_TRUE(world.run(journal->save_snapshot(std::move(state))).ok());
    ASSERT_NO_FATAL_FAILURE(append_some(20));
    ASSERT_NO_FATAL_FAILURE(settle());
  }
  std::unique_ptr<pool::LogVolumeSurvey> survey() { return survey(0, disk.size_bytes()); }
  std::unique_ptr<pool::LogVolumeSurvey> survey(std::uint64_t begin, std::uint64_t end) {
    return world.run(journal->survey(LuNumber{}, DiskOffset{begin}, DiskOffset{end}));
  }
  Buffer on_disk(std::uint64_t offset) const {
    Buffer out = Buffer::allocate(kBlockSizeBytes);
    disk.peek(offset, out.writable());
    return out;
  }
  static Buffer spoilt(const Buffer& block, std::size_t at = 77) {
    Buffer out = Buffer::copy_of(block);
    out.data()[at] ^= std::byte{4};
    return out;
  }
  std::vector<std::byte> image() const {
    std::vector<std::byte> out(disk.size_bytes());
    disk.peek(0, out);
    return out;
  }
  std::uint64_t offset_of(Place place) const {
    for (const SegmentInfo& segment : journal->segments()) {
      if (segment.generation == place.generation())
        return (64 << 10) + segment.index * kSmallSegmentBytes + place.block() * kBlockSizeBytes;
    }
    return UINT64_MAX;
  }
  // Each block is known or nobody's, as it lies there and otherwise; how many are known.
  int expect_known(const pool::LogVolumeSurvey& at) {
    int known = 0;
    for (std::uint64_t offset = 0; offset < disk.size_bytes(); offset += kBlockSizeBytes) {
      const Buffer block = on_disk(offset);
      const Knowledge now = at.look(DiskOffset{offset}, block);
      if (now == Knowledge::kNobodys) {
        EXPECT_EQ(at.look(DiskOffset{offset}, spoilt(block)), Knowledge::kNobodys) << offset;
        continue;
      }
      EXPECT_EQ(now, Knowledge::kRight) << offset;
      EXPECT_EQ(at.look(DiskOffset{offset}, spoilt(block)), Knowledge::kWrong) << offset;
      EXPECT_EQ(at.look(DiskOffset{offset}, spoilt(block, kBlockSizeBytes - 1)), Knowledge::kWrong) << offset;
      ++known;
    }
    return known;
  }
  void expect_payload_known(const pool::LogVolumeSurvey& at) {
    for (const ModelEntry& entry : model.entries) {
      for (std::uint32_t i = 0; i < entry.payload_blocks; ++i) {
        const std::uint64_t offset = offset_of(entry.place.plus(i));
        if (offset == UINT64_MAX) continue;
        EXPECT_EQ(at.look(DiskOffset{offset}, on_disk(offset)), Knowledge::kRight) << offset;
      }
    }
  }
  void reopen() {
    journal.reset();
    auto opened = world.run(Journal::open(world.environment(), mirror, small_options()));
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    journal = std::move(opened).value();
    go_on(*journal, model);
  }

  World world{5};
  sim::SeededRandom random{6};
  sim::Disk disk{world, disk_bytes(kSegments)};
  Mirror mirror{disk};
  Model model;
  std::unique_ptr<Journal> journal;
};

TEST_F(JournalSurveys, EveryBlockOfAnIdleJournalIsKnownOrNobodys) {
  ASSERT_NO_FATAL_FAILURE(fill());
  const auto at = survey();
  const int known = expect_known(*at);
  EXPECT_GT(known, 60);
  expect_payload_known(*at);
  for (const std::uint64_t slot : {0u, 1u}) {
    const DiskOffset offset{slot * kBlockSizeBytes};
    EXPECT_EQ(at->look(offset, on_disk(offset.value)), Knowledge::kRight) << "superblock " << slot;
  }
  // Also after a start, which knows less of it in memory.
  ASSERT_TRUE(world.run(journal->close()).ok());
  ASSERT_NO_FATAL_FAILURE(reopen());
  EXPECT_GE(expect_known(*survey()), known);
  expect_payload_known(*survey());
}

TEST_F(JournalSurveys, PartsSayWhatTheWholeSays) {
  ASSERT_NO_FATAL_FAILURE(fill());
  ASSERT_TRUE(world.run(journal->close()).ok());
  ASSERT_NO_FATAL_FAILURE(reopen());
  const auto whole = survey();
  for (const std::uint64_t step : {kBlockSizeBytes, 5 * kBlockSizeBytes, 3 * kSmallSegmentBytes}) {
    for (std::uint64_t begin = 0; begin < disk.size_bytes(); begin += step) {
      const auto part = survey(begin, begin + step);
      for (std::uint64_t at = begin; at < std::min(begin + step, disk.size_bytes()); at += kBlockSizeBytes) {
        ASSERT_EQ(part->look(DiskOffset{at}, on_disk(at)), whole->look(DiskOffset{at}, on_disk(at))) << at;
        ASSERT_EQ(part->look(DiskOffset{at}, spoilt(on_disk(at))),
                  whole->look(DiskOffset{at}, spoilt(on_disk(at))))
            << at;
      }
    }
  }
}

// Whichever block it is, also when it is needed to know what the others should be. Nothing is written.
TEST_F(JournalSurveys, ABlockThatOneMemberHasWrongIsKnownByTheOther) {
  ASSERT_NO_FATAL_FAILURE(fill());
  const auto before = survey();
  mirror.other = image();
  for (std::uint64_t offset = 0; offset < disk.size_bytes(); offset += kBlockSizeBytes) {
    const Buffer right = on_disk(offset);
    if (before->look(DiskOffset{offset}, right) != Knowledge::kRight) continue;
    for (const std::uint64_t byte : {5ull, 4000ull}) {
      disk.flip_bit(offset + byte, 3);
      const std::uint64_t writes = disk.writes();
      const auto at = survey();
      EXPECT_EQ(disk.writes(), writes);
      EXPECT_EQ(at->look(DiskOffset{offset}, right), Knowledge::kRight) << offset << " " << byte;
      EXPECT_EQ(at->look(DiskOffset{offset}, on_disk(offset)), Knowledge::kWrong) << offset << " " << byte;
      disk.flip_bit(offset + byte, 3);
    }
  }
}

// A host may write what looks like a frame; where one that cannot be read should be, it is not taken for it.
TEST_F(JournalSurveys, WhatAHostWroteIsNotTakenForAFrame) {
  ASSERT_NO_FATAL_FAILURE(append_some(3));
  journal->close_batch();
  ASSERT_NO_FATAL_FAILURE(settle());
  const Place frame = journal->durable_end();
  const format::FrameHeader fake{.kind = format::FrameKind::kSnapshotPart,
                                 .group = test_group(),
                                 .place = frame.plus(1),
                                 .meta_bytes = 0,
                                 .payload_blocks = 2,
                                 .durable_end = {}};
  ModelEntry expected;
  expected.kind = format::EntryKind::kWrite;
  expected.volume.value = 1;
  expected.blocks = {10, 13};
  expected.payload_blocks = 3;
  NewEntry entry;
  entry.kind = expected.kind;
  entry.volume = expected.volume;
  entry.blocks = expected.blocks;
  entry.payload = pattern(9, 3);
  const Buffer first = format::encode_frame(fake, {}).first;
  std::memcpy(entry.payload.data(), first.data(), kBlockSizeBytes);
  ASSERT_NO_FATAL_FAILURE(append(std::move(entry), std::move(expected)));
  ASSERT_NO_FATAL_FAILURE(settle());
  const std::uint64_t offset = offset_of(model.entries.back().place);
  ASSERT_EQ(model.entries.back().place, frame.plus(1));
  EXPECT_EQ(survey()->look(DiskOffset{offset}, on_disk(offset)), Knowledge::kRight);
  disk.flip_bit(offset - kBlockSizeBytes + 60, 1);
  EXPECT_EQ(survey()->look(DiskOffset{offset}, spoilt(on_disk(offset))), Knowledge::kUnknown);
  EXPECT_EQ(survey()->look(DiskOffset{offset}, on_disk(offset)), Knowledge::kUnknown);
}

TEST_F(JournalSurveys, OfTwoSuperblocksThatAreWholeTheNewerIsRight) {
  ASSERT_NO_FATAL_FAILURE(fill());
  ASSERT_TRUE(world.run(journal->save_local_record({std::byte{1}})).ok());
  const std::vector<std::byte> older = image();
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(world.run(journal->save_local_record({std::byte{2}})).ok());
  ASSERT_TRUE(world.run(journal->close()).ok());
  ASSERT_NO_FATAL_FAILURE(reopen());
  const std::vector<std::byte> newer = image();
  for (const std::uint64_t slot : {0u, 1u}) {
    for (const bool is_here : {true, false}) {
      // A write of it was lost on the one member or the other.
      const DiskOffset offset{slot * kBlockSizeBytes};
      mirror.other = is_here ? older : newer;
      disk.poke(offset.value, Bytes(is_here ? newer : older).subspan(offset.value, kBlockSizeBytes));
      const auto at = survey();
      const Bytes right = Bytes(newer).subspan(offset.value, kBlockSizeBytes);
      EXPECT_EQ(at->look(offset, right), Knowledge::kRight) << slot << is_here;
      EXPECT_EQ(at->look(offset, Bytes(older).subspan(offset.value, kBlockSizeBytes)), Knowledge::kWrong);
      disk.poke(offset.value, right);
    }
  }
}

// What the answer was before a block was written is never the answer after.
TEST_F(JournalSurveys, BesideAWriterNothingOldIsRightAndNothingNewIsWrong) {
  io::TaskScope writing(world);
  bool stops = false;
  const auto write = [this, &stops]() -> io::Task<void> {
    while (!stops) {
      ModelEntry expected;
      NewEntry entry = random_entry(model, random, 6, expected);
      const auto blocks = static_cast<std::uint32_t>(entry.payload.size() / kBlockSizeBytes);
      const auto body = static_cast<std::uint32_t>(entry.body.size());
      const auto room = co_await journal->make_room(blocks, body, Purpose::kData);
      if (!room.ok()) {
        EXPECT_EQ(room.error().code, ErrorCode::kNoSpace) << room.error().message;
        // Room for a few segments more.
        std::vector<std::byte> state(6000, std::byte{0x31});
        (void)co_await journal->save_snapshot(std::move(state));
        (void)co_await journal->free_before(journal->durable_end());
        continue;
      }
      appended(model, std::move(expected), journal->append(std::move(entry)));
      if (random.below(6) == 0) co_await world.sleep_for(Duration::microseconds(random.below(3000)));
    }
  };
  writing.spawn(write());
  std::uint64_t right = 0;
  std::uint64_t nobodys = 0;
  for (int round = 0; round < 150; ++round) {
    const std::vector<std::byte> before = image();
    const auto at = survey();
    for (int looks = 0; looks < 6; ++looks) {
      const std::vector<std::byte> now = image();
      for (std::uint64_t offset = 0; offset < disk.size_bytes(); offset += kBlockSizeBytes) {
        const Bytes block = Bytes(now).subspan(offset, kBlockSizeBytes);
        const Knowledge knowledge = at->look(DiskOffset{offset}, block);
        ASSERT_NE(knowledge, Knowledge::kWrong) << "round " << round << " offset " << offset;
        right += knowledge == Knowledge::kRight ? 1 : 0;
        nobodys += knowledge == Knowledge::kNobodys ? 1 : 0;
        const Bytes old = Bytes(before).subspan(offset, kBlockSizeBytes);
        if (std::memcmp(old.data(), block.data(), kBlockSizeBytes) == 0) continue;
        ASSERT_NE(at->look(DiskOffset{offset}, old), Knowledge::kRight)
            << "round " << round << " offset " << offset;
      }
      for (const ModelEntry& entry : model.entries) {
        for (std::uint32_t i = 0; i < entry.payload_blocks; ++i) {
          const Place place = entry.place.plus(i);
          const std::uint64_t offset = offset_of(place);
          if (offset == UINT64_MAX) continue;
          // What is on its way may be there already.
          if (place >= journal->durable_end() && crc32c(on_disk(offset)) != entry.checksums[i]) continue;
          ASSERT_NE(at->look(DiskOffset{offset}, on_disk(offset)), Knowledge::kNobodys)
              << "round " << round << " offset " << offset;
        }
      }
      world.run_for(Duration::microseconds(static_cast<std::int64_t>(random.below(1500))));
    }
    if (model.entries.size() > 400) model.entries.erase(model.entries.begin(), model.entries.end() - 200);
  }
  stops = true;
  world.run(writing.join());
  EXPECT_GT(right, 10000u);
  EXPECT_GT(nobodys, 1000u);
}

TEST_F(JournalSurveys, OutlivesTheJournalAndALogVolumeThatGoes) {
  sim::Disk further(world, 4 * kSmallSegmentBytes);
  ASSERT_TRUE(world.run(journal->add_log_volume(LuNumber{7}, further)).ok());
  ASSERT_NO_FATAL_FAILURE(fill());
  const auto first = survey();
  const auto second =
      world.run(journal->survey(LuNumber{7}, DiskOffset{0}, DiskOffset{further.size_bytes()}));
  Buffer block = Buffer::allocate(kBlockSizeBytes);
  further.peek(0, block.writable());
  EXPECT_EQ(second->look(DiskOffset{0}, block), Knowledge::kNobodys);
  ASSERT_TRUE(world.run(journal->empty_log_volume(LuNumber{7})).ok());
  ASSERT_TRUE(world.run(journal->drop_log_volume(LuNumber{7})).ok());
  EXPECT_EQ(second->look(DiskOffset{0}, block), Knowledge::kUnknown);
  EXPECT_EQ(world.run(journal->survey(LuNumber{7}, DiskOffset{0}, DiskOffset{4096}))->look({}, block),
            Knowledge::kUnknown);
  EXPECT_EQ(first->look(DiskOffset{64 << 10}, on_disk(64 << 10)), Knowledge::kRight);
  journal.reset();
  EXPECT_EQ(first->look(DiskOffset{64 << 10}, on_disk(64 << 10)), Knowledge::kUnknown);
}

}  // namespace
}  // namespace tidemark::journal
