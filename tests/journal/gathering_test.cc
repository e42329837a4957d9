// When the open batch is written: what nobody waits for is gathered, what somebody waits for is not.

#include "journal_model.h"

namespace tidemark::journal {
namespace {

using sim::World;

constexpr std::uint32_t kGathered = 8;  // blocks

class Gathering : public testing::Test {
 protected:
  Gathering() : disk_(world_, (64 << 10) + 12 * kSegmentBytes) {
    auto made = world_.run(Journal::create(world_.environment(), disk_, test_group(), options()));
    EXPECT_TRUE(made.ok());
    journal_ = std::move(made).value();
    EXPECT_TRUE(world_.run(journal_->make_room(1, 0, Purpose::kData)).ok());
    Model model;
    go_on(*journal_, model);
    world_.run_for(Duration::seconds(1));  // segments are prepared
  }

  static JournalOptions options() {
    return {.segment_size_bytes = kSegmentBytes,
            .batch_bytes_gathered = kGathered * kBlockSizeBytes,
            .batch_age_max = kAge};
  }

  // One write of a block.
  std::uint64_t append() {
    EXPECT_TRUE(journal_->has_room(1, 0, Purpose::kData));
    return journal_
        ->append({.kind = format::EntryKind::kWrite,
                  .volume = VolumeId{1},
                  .blocks = {0, 1},
                  .payload = pattern(1, 1)})
        .ticket;
  }
  std::uint64_t batches() const { return journal_->status().batches; }

  static constexpr std::uint64_t kSegmentBytes = 1 << 20;
  // Much longer than a write of the disk takes.
  static constexpr Duration kAge = Duration::milliseconds(20);
  static constexpr Duration kWrite = Duration::milliseconds(2);
  World world_{1};
  sim::Disk disk_;
  std::unique_ptr<Journal> journal_;
};

TEST_F(Gathering, WhatNobodyWaitsForIsOneBatchAndDurableWhenItIsOldEnough) {
  const MonotonicTime opened = world_.now();
  const std::uint64_t ticket = append();
  for (std::uint32_t i = 2; i < kGathered; ++i) {
    world_.run_for(kWrite);
    EXPECT_EQ(append(), ticket);
  }
  const Duration almost = Duration::milliseconds(1);
  world_.run_for(kAge - (world_.now() - opened) - almost);
  EXPECT_EQ(batches(), 0u) << "not yet old enough";
  world_.run_for(almost + kWrite);
  EXPECT_EQ(batches(), 1u);
  EXPECT_TRUE(journal_->is_durable(ticket));
}

TEST_F(Gathering, ABatchThatIsLargeEnoughIsWritten) {
  for (std::uint32_t i = 1; i < kGathered; ++i) append();
  world_.run_for(kWrite);
  EXPECT_EQ(batches(), 0u);
  const std::uint64_t ticket = append();
  world_.run_for(kWrite);
  EXPECT_EQ(batches(), 1u);
  EXPECT_TRUE(journal_->is_durable(ticket));
}

TEST_F(Gathering, WhoWaitsDoesNotWaitForMore) {
  append();
  world_.run_for(kWrite);
  EXPECT_EQ(batches(), 0u);
  const MonotonicTime before = world_.now();
  ASSERT_TRUE(world_.run(journal_->wait_durable(journal_->last_ticket())).ok());
  EXPECT_LE(world_.now() - before, kWrite);
  // A wait is no flush of a host: the next is gathered again.
  const std::uint64_t next = append();
  world_.run_for(kWrite);
  EXPECT_FALSE(journal_->is_durable(next));
}

TEST_F(Gathering, AfterAFlushTheNextBatchesAreWrittenWithTheirFirstEntryForAWhile) {
  append();
  ASSERT_TRUE(world_.run(journal_->flush()).ok());
  for (std::uint32_t i = 0; i < Journal::kEagerBatches; ++i) {
    const std::uint64_t ticket = append();
    world_.run_for(kWrite);
    ASSERT_TRUE(journal_->is_durable(ticket)) << i;
  }
  const std::uint64_t ticket = append();
  world_.run_for(kWrite);
  EXPECT_FALSE(journal_->is_durable(ticket)) << "nobody flushed for long";
  ASSERT_TRUE(world_.run(journal_->flush()).ok());
  EXPECT_TRUE(journal_->is_durable(ticket));
  const std::uint64_t next = append();
  world_.run_for(kWrite);
  EXPECT_TRUE(journal_->is_durable(next)) << "somebody did";
}

}  // namespace
}  // namespace tidemark::journal
