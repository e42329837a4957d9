// A journal on several log volumes, which come and go while it is written.

#include <algorithm>
#include <map>

#include "journal_model.h"

namespace tidemark::journal {
namespace {

using sim::World;

class JournalLogVolumes : public ::testing::Test {
 protected:
  void SetUp() override {
    auto made = world_.run(Journal::create(world_.environment(), first_, test_group(), small_options()));
    ASSERT_TRUE(made.ok());
    journal_ = std::move(made).value();
    go_on(*journal_, model_);
  }
  sim::Disk& disk(std::uint32_t number, std::uint64_t size_bytes = 0) {
    auto& made = disks_[LuNumber{number}];
    if (made == nullptr) made = std::make_unique<sim::Disk>(world_, size_bytes);
    return *made;
  }
  Result<void> add(std::uint32_t number, std::uint32_t segments) {
    return world_.run(
        journal_->add_log_volume(LuNumber{number}, disk(number, segments * kSmallSegmentBytes)));
  }
  Result<void> empty(std::uint32_t number) {
    return world_.run(journal_->empty_log_volume(LuNumber{number}));
  }
  FindLogVolume finder() {
    return [this](LuNumber number) -> Result<io::Disk*> {
      const auto found = disks_.find(number);
      if (found == disks_.end()) return fail(ErrorCode::kIo, "nobody has it");
      return found->second.get();
    };
  }
  void reopen() {
    journal_.reset();
    auto opened = world_.run(Journal::open(world_.environment(), first_, small_options(), finder()));
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    journal_ = std::move(opened).value();
    go_on(*journal_, model_);
  }
  // False: the journal is full.
  bool append_one() {
    ModelEntry expected;
    NewEntry entry = random_entry(model_, random_, 6, expected);
    const auto blocks = static_cast<std::uint32_t>(entry.payload.size() / kBlockSizeBytes);
    const auto body = static_cast<std::uint32_t>(entry.body.size());
    const auto room = world_.run(journal_->make_room(blocks, body, Purpose::kData));
    if (!room.ok()) {
      EXPECT_EQ(room.error().code, ErrorCode::kNoSpace) << room.error().message;
      return false;
    }
    appended(model_, std::move(expected), journal_->append(std::move(entry)));
    return true;
  }
  void fill() {
    while (append_one()) {
    }
    ASSERT_TRUE(world_.run(journal_->wait_durable(journal_->last_ticket())).ok());
  }
  // Gives up all but the newest entry.
  void free_all() {
    ASSERT_TRUE(world_.run(journal_->save_snapshot({})).ok());
    ASSERT_TRUE(world_.run(journal_->free_before(model_.entries.back().place)).ok());
  }
  void expect_all_there() {
    const auto run = world_.run(check_scan(*journal_, model_, journal_->oldest()));
    ASSERT_TRUE(run.ok()) << run.error().message;
    EXPECT_EQ(run->end, model_.entries.size());
  }
  LogVolumeStatus status(std::uint32_t number) {
    for (const LogVolumeStatus& one : journal_->log_volumes()) {
      if (one.number == LuNumber{number}) return one;
    }
    ADD_FAILURE() << "no log volume " << number;
    return {};
  }

  World world_{7};
  sim::SeededRandom random_{8};
  sim::Disk first_{world_, disk_bytes(8)};
  std::map<LuNumber, std::unique_ptr<sim::Disk>> disks_;
  Model model_;
  std::unique_ptr<Journal> journal_;
};

TEST_F(JournalLogVolumes, OneThatIsToldToLeaveWhileItIsAddedTakesNothing) {
  const std::uint32_t free = journal_->status().segments_free;
  Result<void> added = fail(ErrorCode::kIo, "not done");
  Result<void> emptied = added;
  const auto keep = [](io::Task<Result<void>> task, Result<void>* out) -> io::Task<void> {
    *out = co_await task;
  };
  io::TaskScope scope(world_);
  scope.spawn(keep(journal_->add_log_volume(LuNumber{9}, disk(9, 4 * kSmallSegmentBytes)), &added));
  scope.spawn(keep(journal_->empty_log_volume(LuNumber{9}), &emptied));
  world_.run(scope.join());
  ASSERT_TRUE(added.ok()) << added.error().message;
  ASSERT_TRUE(emptied.ok()) << emptied.error().message;
  EXPECT_EQ(journal_->status().segments_free, free);
  EXPECT_EQ(journal_->emptied_log_volumes(), std::vector<LuNumber>{LuNumber{9}});
  ASSERT_TRUE(world_.run(journal_->drop_log_volume(LuNumber{9})).ok());
  // The next one gets its indexes, each of them once.
  ASSERT_TRUE(add(10, 4).ok());
  EXPECT_EQ(journal_->status().segments_free, free + 4);
  fill();
  reopen();
  expect_all_there();
}

TEST_F(JournalLogVolumes, AFullJournalGoesOnOnOneThatIsAdded) {
  fill();
  const std::size_t before = model_.entries.size();
  ASSERT_TRUE(add(5, 6).ok());
  EXPECT_EQ(journal_->status().segments_total, 14u);
  fill();
  EXPECT_GT(model_.entries.size(), before);
  expect_all_there();
  const LogVolumeStatus first = status(0);
  const LogVolumeStatus further = status(5);
  EXPECT_EQ(first.segments_total, 8u);
  EXPECT_EQ(further.segments_total, 6u);
  EXPECT_EQ(first.segments_used + further.segments_used, journal_->status().used_bytes / kSmallSegmentBytes);
  EXPECT_EQ(first.first, model_.entries.front().id);
  EXPECT_EQ(further.last, model_.entries.back().id);
  EXPECT_LT(first.last, further.last);
  reopen();
  expect_all_there();
  EXPECT_EQ(status(5).segments_used, further.segments_used);
  ASSERT_TRUE(add(6, 3).ok());
  fill();
  reopen();
  expect_all_there();
}

TEST_F(JournalLogVolumes, OneThatLeavesKeepsWhatIsNeededAndGoesWhenNothingIs) {
  ASSERT_TRUE(add(5, 6).ok());
  ASSERT_TRUE(add(6, 6).ok());
  for (int i = 0; i < 60; ++i) ASSERT_TRUE(append_one());
  while (status(5).segments_used < 2) ASSERT_TRUE(append_one());
  ASSERT_TRUE(world_.run(journal_->wait_durable(journal_->last_ticket())).ok());
  ASSERT_TRUE(empty(5).ok());
  ASSERT_TRUE(empty(5).ok()) << "again changes nothing";
  const std::uint32_t used = status(5).segments_used;
  EXPECT_TRUE(status(5).leaving);
  EXPECT_TRUE(journal_->emptied_log_volumes().empty());
  EXPECT_EQ(journal_->status().segments_total, 14u);
  EXPECT_EQ(journal_->status().size_bytes, (14 + used) * kSmallSegmentBytes);
  reopen();
  EXPECT_TRUE(status(5).leaving);
  fill();
  expect_all_there();
  EXPECT_EQ(status(5).segments_used, used) << "nothing new comes to lie on it";
  free_all();
  ASSERT_EQ(journal_->emptied_log_volumes(), std::vector<LuNumber>{LuNumber{5}});
  ASSERT_TRUE(world_.run(journal_->drop_log_volume(LuNumber{5})).ok());
  disks_.erase(LuNumber{5});
  EXPECT_EQ(journal_->log_volumes().size(), 2u);
  fill();
  reopen();
  expect_all_there();
  // Where it was in the order of the segments stays empty; the next one comes behind.
  ASSERT_TRUE(add(7, 2).ok());
  fill();
  EXPECT_EQ(status(7).segments_total, 2u);
  reopen();
  expect_all_there();
}

TEST_F(JournalLogVolumes, TheNewestEntriesLeaveToo) {
  fill();
  ASSERT_TRUE(add(5, 6).ok());
  while (status(5).segments_used < 2) ASSERT_TRUE(append_one());
  free_all();
  ASSERT_TRUE(empty(5).ok());
  // Nothing but snapshots comes.
  ASSERT_TRUE(world_.run(journal_->save_snapshot({})).ok());
  ASSERT_TRUE(world_.run(journal_->save_snapshot({})).ok());
  ASSERT_TRUE(world_.run(journal_->free_before(journal_->durable_end())).ok());
  EXPECT_EQ(journal_->emptied_log_volumes(), std::vector<LuNumber>{LuNumber{5}});
}

TEST_F(JournalLogVolumes, WhatCannotBeIsRefusedAndChangesNothing) {
  EXPECT_EQ(
      world_.run(journal_->add_log_volume(LuNumber{4}, disk(4, kSmallSegmentBytes - 4096))).error().code,
      ErrorCode::kInvalid);
  EXPECT_EQ(empty(4).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(empty(0).error().code, ErrorCode::kNotFound) << "the first one stays";
  for (std::uint32_t number = 5; number < 20; ++number) ASSERT_TRUE(add(number, 1).ok());
  EXPECT_EQ(add(20, 1).error().code, ErrorCode::kNoSpace);
  fill();
  EXPECT_EQ(empty(5).error().code, ErrorCode::kNoSpace) << "the others are full";
  EXPECT_FALSE(status(5).leaving);
  expect_all_there();
}

TEST_F(JournalLogVolumes, WithoutOneOfThemAJournalIsNotOpened) {
  ASSERT_TRUE(add(5, 4).ok());
  fill();
  journal_.reset();
  const auto alone = world_.run(Journal::open(world_.environment(), first_, small_options()));
  EXPECT_EQ(alone.error().code, ErrorCode::kNotFound);
  std::unique_ptr<sim::Disk> kept = std::move(disks_[LuNumber{5}]);
  disks_.clear();
  const auto missing = world_.run(Journal::open(world_.environment(), first_, small_options(), finder()));
  EXPECT_EQ(missing.error().message, "nobody has it");
  disks_[LuNumber{5}] = std::make_unique<sim::Disk>(world_, 3 * kSmallSegmentBytes);
  const auto smaller = world_.run(Journal::open(world_.environment(), first_, small_options(), finder()));
  EXPECT_EQ(smaller.error().code, ErrorCode::kDamaged) << smaller.error().message;
  disks_[LuNumber{5}] = std::move(kept);
  reopen();
  expect_all_there();
}

TEST_F(JournalLogVolumes, DamageNamesTheLogVolumeThatItIsOn) {
  ASSERT_TRUE(add(5, 6).ok());
  fill();
  reopen();
  std::string told;
  for (const ModelEntry& entry : model_.entries) {
    if (entry.payload_blocks == 0) continue;
    std::vector<std::uint32_t> wrong = entry.checksums;
    wrong.front() ^= 1;
    const auto read = world_.run(journal_->read(entry.place, std::move(wrong)));
    ASSERT_EQ(read.error().code, ErrorCode::kDamaged);
    told = read.error().message;
  }
  EXPECT_NE(told.find("log volume 5 offset "), std::string::npos) << told;
}

TEST_F(JournalLogVolumes, AWriteThatFailsOnAFurtherOneStopsTheJournal) {
  ASSERT_TRUE(add(5, 6).ok());
  while (status(5).segments_used == 0) ASSERT_TRUE(append_one());
  disk(5).fail_write_after(1);
  while (!journal_->failed().has_value()) {
    if (!append_one()) break;
    (void)world_.run(journal_->wait_durable(journal_->last_ticket()));
  }
  ASSERT_TRUE(journal_->failed().has_value());
  EXPECT_EQ(journal_->failed()->code, ErrorCode::kIo);
}

}  // namespace
}  // namespace tidemark::journal
