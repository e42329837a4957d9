#include "journal/recent_batches.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "base/ids.h"

namespace tidemark::journal {
namespace {

// A batch of `blocks` of payload, in memory and durable from `ticket` on.
void add(RecentBatches& recent, std::uint64_t ticket, std::uint32_t blocks) {
  RecentBatch& batch = recent.add(Place(1, static_cast<std::uint32_t>(ticket * 100)), ticket);
  batch.payload_blocks = blocks;
  batch.frame_blocks = blocks + 1;
  recent.grew(blocks * kBlockSizeBytes);
}

bool holds(const RecentBatches& recent, std::uint64_t ticket) {
  return recent.find_frame(Place(1, static_cast<std::uint32_t>(ticket * 100))) != nullptr;
}

TEST(RecentMemory, TheJournalThatHoldsTheMostLetsGoFirst) {
  RecentMemory memory(100 * kBlockSizeBytes);
  RecentBatches idle(80 * kBlockSizeBytes, &memory);
  RecentBatches busy(80 * kBlockSizeBytes, &memory);
  for (std::uint64_t ticket = 1; ticket <= 4; ++ticket) add(idle, ticket, 20);
  idle.evict(4);
  EXPECT_EQ(memory.bytes(), 80 * kBlockSizeBytes);
  for (std::uint64_t ticket = 1; ticket <= 3; ++ticket) {
    add(busy, ticket, 20);
    busy.evict(ticket);
    EXPECT_LE(memory.bytes(), 100 * kBlockSizeBytes);
  }
  EXPECT_FALSE(holds(idle, 1));
  EXPECT_TRUE(holds(idle, 4));
  EXPECT_TRUE(holds(busy, 3));
}

TEST(RecentMemory, WhatIsNotDurableStays) {
  RecentMemory memory(10 * kBlockSizeBytes);
  RecentBatches first(10 * kBlockSizeBytes, &memory);
  RecentBatches second(10 * kBlockSizeBytes, &memory);
  for (std::uint64_t ticket = 1; ticket <= 3; ++ticket) add(first, ticket, 20);
  first.evict(0);
  second.evict(0);
  EXPECT_TRUE(holds(first, 1));
  first.evict(2);
  EXPECT_FALSE(holds(first, 2));
  EXPECT_TRUE(holds(first, 3));
}

TEST(RecentMemory, AJournalThatEndsGivesItsPartBack) {
  RecentMemory memory(100 * kBlockSizeBytes);
  auto journal = std::make_unique<RecentBatches>(80 * kBlockSizeBytes, &memory);
  add(*journal, 1, 20);
  journal.reset();
  EXPECT_EQ(memory.bytes(), 0u);
}

TEST(RecentMemory, JournalsShareWhatMayBeOnItsWayToTheDisk) {
  RecentMemory memory(1 << 20);
  EXPECT_EQ(memory.pending_bytes_max(), 32u << 20);
  std::vector<std::unique_ptr<RecentBatches>> journals;
  for (int i = 0; i < 24; ++i) journals.push_back(std::make_unique<RecentBatches>(1 << 20, &memory));
  EXPECT_EQ(memory.pending_bytes_max(), 4u << 20);
  for (int i = 0; i < 100; ++i) journals.push_back(std::make_unique<RecentBatches>(1 << 20, &memory));
  EXPECT_EQ(memory.pending_bytes_max(), 2u << 20);
}

}  // namespace
}  // namespace tidemark::journal
