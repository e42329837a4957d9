#include "pool/pool_fixture.h"

namespace tidemark::pool {
namespace {

class DataVolumeTest : public PoolFixture {};

TEST_F(DataVolumeTest, ThinSpaceReadsAsZeroesAndTakesNone) {
  start(1, 128 * kMiB);
  const LuNumber number = make_volume(std::uint64_t{1} << 50);
  expect_zeroes(number, {0, 3});
  expect_zeroes(number, {(std::uint64_t{1} << 38) - 5, std::uint64_t{1} << 38});
  EXPECT_FALSE(volume(number).is_reserved({0, 1}));
  EXPECT_EQ(volume(number).allocated_bytes(), 0u);
  EXPECT_FALSE(volume(number).next_allocated(0).has_value());
  EXPECT_FALSE(volume(number).translate(0).allocated);
}

TEST_F(DataVolumeTest, WhatWasWrittenAndFlushedSurvivesACrash) {
  start(2, 128 * kMiB);
  const LuNumber number = make_volume(64 * kMiB);
  const BlockRange across{kExtent - 3, 2 * kExtent + 700};
  ASSERT_TRUE(write(number, across, 100).ok());
  expect_stamps(number, across, 100);
  ASSERT_TRUE(flush(number).ok());
  crash();
  open();
  expect_stamps(number, across, 100);
  expect_zeroes(number, {0, kExtent - 3});
  expect_zeroes(number, {2 * kExtent + 700, 3 * kExtent});
  EXPECT_EQ(volume(number).allocated_bytes(), 3 * format::kExtentSizeBytes);
}

TEST_F(DataVolumeTest, AdjacentBlocksOfAnExtentAreOneRead) {
  start(3, 128 * kMiB);
  const LuNumber number = make_volume(64 * kMiB);
  ASSERT_TRUE(write(number, {0, kExtent}, 100).ok());
  expect_stamps(number, {0, 1}, 100);
  const std::uint64_t reads = disk->reads();
  expect_stamps(number, {100, 900}, 200);
  EXPECT_EQ(disk->reads(), reads + 1);
}

TEST_F(DataVolumeTest, AReservationEndsWithACrashAndCountsUntilThen) {
  start(4, 128 * kMiB);
  const LuNumber number = make_volume(64 * kMiB);
  ASSERT_TRUE(world->run(volume(number).reserve({5, 6})).ok());
  EXPECT_TRUE(volume(number).is_reserved({0, kExtent}));
  EXPECT_FALSE(volume(number).is_reserved({kExtent - 1, kExtent + 1}));
  EXPECT_EQ(pool->status().allocated_bytes, format::kExtentSizeBytes);
  EXPECT_FALSE(volume(number).next_allocated(0).has_value()) << "nothing was written there";
  expect_zeroes(number, {0, kExtent});
  crash();
  open();
  EXPECT_FALSE(volume(number).is_reserved({5, 6}));
  EXPECT_EQ(pool->status().allocated_bytes, 0u);
}

TEST_F(DataVolumeTest, AFullPoolLeavesEverythingAsItWas) {
  start(5, 64 * kMiB);
  const LuNumber number = make_volume(1024 * kMiB);
  ASSERT_TRUE(write(number, {0, 5 * kExtent}, 1).ok());
  const PoolStatus before = pool->status();
  const auto reserved = world->run(volume(number).reserve({4 * kExtent, 200 * kExtent}));
  EXPECT_EQ(reserved.error().code, ErrorCode::kNoSpace);
  EXPECT_EQ(pool->status().allocated_bytes, before.allocated_bytes);
  EXPECT_FALSE(volume(number).is_reserved({5 * kExtent, 5 * kExtent + 1}));
  expect_stamps(number, {0, 5 * kExtent}, 1);
  // To the last extent.
  const std::uint64_t rest = pool->status().free_bytes / format::kExtentSizeBytes;
  EXPECT_TRUE(world->run(volume(number).reserve({5 * kExtent, (5 + rest) * kExtent})).ok());
  EXPECT_EQ(pool->status().free_bytes, 0u);
  EXPECT_EQ(world->run(volume(number).reserve({100 * kExtent, 100 * kExtent + 1})).error().code,
            ErrorCode::kNoSpace);
}

TEST_F(DataVolumeTest, AFullStoreBelowIsNoSpaceAndLeavesEverythingAsItWas) {
  sim::DiskOptions small;
  small.space_bytes_max = 20 * kMiB;
  start(6, 1024 * kMiB, small);
  const LuNumber number = make_volume(1024 * kMiB);
  std::uint64_t extents = 0;
  Result<void> reserved;
  for (;; ++extents) {
    reserved = world->run(volume(number).reserve({extents * kExtent, extents * kExtent + 1}));
    if (!reserved.ok()) break;
  }
  EXPECT_EQ(reserved.error().code, ErrorCode::kNoSpace);
  EXPECT_GE(extents, 3u) << "what fits is given, one by one at the end";
  EXPECT_EQ(volume(number).allocated_bytes(), extents * format::kExtentSizeBytes);
  // What was promised can be written in full.
  ASSERT_TRUE(write(number, {0, extents * kExtent}, 300).ok());
  ASSERT_TRUE(flush(number).ok());
  expect_stamps(number, {0, extents * kExtent}, 300);
}

TEST_F(DataVolumeTest, OnAFullStoreBelowWhatWasPromisedOnceIsTaken) {
  sim::DiskOptions small;
  small.space_bytes_max = 60 * kMiB;
  start(6, 1024 * kMiB, small);
  const LuNumber number = make_volume(1024 * kMiB);
  // The first slots are written, the ones behind them only promised.
  ASSERT_TRUE(write(number, {0, kExtent}, 1).ok());
  ASSERT_TRUE(world->run(volume(number).reserve({kExtent, 6 * kExtent})).ok());
  ASSERT_TRUE(flush(number).ok());
  for (const std::uint64_t extent : {0, 3}) {
    ASSERT_TRUE(world->run(volume(number).discard({extent * kExtent, (extent + 1) * kExtent})).ok());
    ASSERT_TRUE(flush(number).ok());
  }
  // Somebody else takes all that the store has left.
  for (std::uint64_t at = 1024 * kMiB - kMiB; at > 512 * kMiB; at -= kMiB) {
    if (!world->run(disk->allocate(DiskOffset{at}, kMiB)).ok()) break;
  }
  const auto reserved = world->run(volume(number).reserve({7 * kExtent, 7 * kExtent + 1}));
  EXPECT_TRUE(reserved.ok()) << reserved.error().message;
}

TEST_F(DataVolumeTest, DiscardedBlocksReadAsZeroesAndWholeExtentsComeBack) {
  start(7, 128 * kMiB);
  const LuNumber number = make_volume(64 * kMiB);
  ASSERT_TRUE(write(number, {0, 4 * kExtent}, 100).ok());
  ASSERT_TRUE(flush(number).ok());
  ASSERT_TRUE(world->run(volume(number).discard({kExtent - 10, 3 * kExtent + 10})).ok());
  EXPECT_EQ(volume(number).allocated_bytes(), 2 * format::kExtentSizeBytes);
  EXPECT_EQ(pool->status().allocated_bytes, 4 * format::kExtentSizeBytes) << "not before it is durable";
  ASSERT_TRUE(flush(number).ok());
  EXPECT_EQ(pool->status().allocated_bytes, 2 * format::kExtentSizeBytes);
  for (int round = 0; round < 2; ++round) {
    expect_stamps(number, {0, kExtent - 10}, 100);
    expect_zeroes(number, {kExtent - 10, 3 * kExtent + 10});
    expect_stamps(number, {3 * kExtent + 10, 4 * kExtent}, 100 + 3 * kExtent + 10);
    crash();
    open();
  }
}

TEST_F(DataVolumeTest, AnExtentDiscardedPieceByPieceComesBack) {
  start(8, 128 * kMiB);
  const LuNumber number = make_volume(64 * kMiB);
  ASSERT_TRUE(write(number, {0, kExtent}, 100).ok());
  ASSERT_TRUE(flush(number).ok());
  for (std::uint64_t at = 0; at < kExtent; at += 128) {
    EXPECT_EQ(volume(number).allocated_bytes(), format::kExtentSizeBytes);
    ASSERT_TRUE(world->run(volume(number).discard({at, at + 128})).ok());
  }
  EXPECT_EQ(volume(number).allocated_bytes(), 0u);
}

TEST_F(DataVolumeTest, ZeroKeepsThePromisedSpace) {
  start(9, 128 * kMiB);
  const LuNumber number = make_volume(64 * kMiB);
  ASSERT_TRUE(write(number, {0, kExtent}, 100).ok());
  ASSERT_TRUE(world->run(volume(number).zero({0, kExtent})).ok());
  EXPECT_TRUE(volume(number).is_reserved({0, kExtent}));
  expect_zeroes(number, {0, kExtent});
  ASSERT_TRUE(flush(number).ok());
  crash();
  open();
  expect_zeroes(number, {0, kExtent});
}

TEST_F(DataVolumeTest, AReusedSlotShowsNothingOfItsEarlierOwner) {
  start(10, 32 * kMiB);  // six slots: every one is reused
  const LuNumber first = make_volume(16 * kMiB, 1);
  ASSERT_TRUE(write(first, {0, 4 * kExtent}, 100).ok());
  ASSERT_TRUE(flush(first).ok());
  ASSERT_TRUE(world->run(pool->remove(first)).ok());
  const LuNumber second = make_volume(16 * kMiB, 2);
  for (std::uint64_t extent = 0; extent < 4; ++extent) {
    ASSERT_TRUE(write(second, {extent * kExtent + 70, extent * kExtent + 71}, 5000 + extent).ok());
  }
  ASSERT_TRUE(flush(second).ok());
  for (int round = 0; round < 2; ++round) {
    for (std::uint64_t extent = 0; extent < 4; ++extent) {
      expect_zeroes(second, {extent * kExtent, extent * kExtent + 70});
      expect_stamps(second, {extent * kExtent + 70, extent * kExtent + 71}, 5000 + extent);
      expect_zeroes(second, {extent * kExtent + 71, (extent + 1) * kExtent});
    }
    crash();
    open();
  }
}

TEST_F(DataVolumeTest, NextAllocatedWalksTheRuns) {
  start(11, 128 * kMiB);
  const LuNumber number = make_volume(12 * kExtent * kBlockSizeBytes + 8192);
  ASSERT_TRUE(write(number, {2 * kExtent + 5, 4 * kExtent + 5}, 1).ok());
  ASSERT_TRUE(write(number, {12 * kExtent, 12 * kExtent + 2}, 1).ok());
  EXPECT_EQ(volume(number).next_allocated(0), (BlockRange{2 * kExtent, 5 * kExtent}));
  EXPECT_EQ(volume(number).next_allocated(3 * kExtent + 7), (BlockRange{3 * kExtent + 7, 5 * kExtent}));
  EXPECT_EQ(volume(number).next_allocated(5 * kExtent), (BlockRange{12 * kExtent, 12 * kExtent + 2}));
  EXPECT_FALSE(volume(number).next_allocated(12 * kExtent + 2).has_value());
}

TEST_F(DataVolumeTest, TranslateNamesTheByteOnTheDisk) {
  start(12, 128 * kMiB);
  const LuNumber number = make_volume(64 * kMiB);
  ASSERT_TRUE(write(number, {kExtent + 9, kExtent + 10}, 77).ok());
  const auto at = volume(number).translate((kExtent + 9) * kBlockSizeBytes);
  ASSERT_TRUE(at.allocated);
  std::vector<std::byte> block(kBlockSizeBytes);
  disk->peek(at.disk_offset.value, block);
  EXPECT_TRUE(is_block(77, block));
  EXPECT_EQ(volume(number).translate((kExtent + 9) * kBlockSizeBytes + 17).disk_offset.value,
            at.disk_offset.value + 17);
}

TEST_F(DataVolumeTest, GrowingAndShrinkingNeverBringsOldBlocksBack) {
  start(13, 128 * kMiB);
  const std::uint64_t extent_bytes = format::kExtentSizeBytes;
  const LuNumber number = make_volume(8 * extent_bytes);
  ASSERT_TRUE(write(number, {0, 8 * kExtent}, 100).ok());
  ASSERT_TRUE(flush(number).ok());
  ASSERT_TRUE(world->run(volume(number).resize(2 * extent_bytes + 40960)).ok());
  EXPECT_EQ(pool->status().allocated_bytes, 3 * extent_bytes);
  EXPECT_EQ(read(number, {2 * kExtent + 10, 2 * kExtent + 11}).error().code, ErrorCode::kInvalid);
  crash();
  open();
  EXPECT_EQ(volume(number).record().size_bytes, 2 * extent_bytes + 40960);
  ASSERT_TRUE(world->run(volume(number).resize(9 * extent_bytes)).ok());
  crash();
  open();
  expect_stamps(number, {0, 2 * kExtent + 10}, 100);
  expect_zeroes(number, {2 * kExtent + 10, 9 * kExtent});
  EXPECT_EQ(world->run(volume(number).resize(77)).error().code, ErrorCode::kInvalid);
}

TEST_F(DataVolumeTest, ShrinkingIsOldOrNewAfterACrash) {
  for (std::uint64_t seed = 1; seed <= 25; ++seed) {
    start(seed, 64 * kMiB);
    const LuNumber number = make_volume(3 * format::kExtentSizeBytes);
    ASSERT_TRUE(write(number, {0, 3 * kExtent}, 100).ok());
    ASSERT_TRUE(flush(number).ok());
    {
      io::TaskScope scope(*world);
      auto shrink = [](DataVolume* v) -> io::Task<void> { (void)co_await v->resize(kExtent * 4096 + 4096); };
      scope.spawn(shrink(&volume(number)));
      world->run_for(Duration::microseconds(static_cast<std::int64_t>(world->random().below(3000))));
    }
    crash();
    open();
    if (volume(number).record().size_bytes == 3 * format::kExtentSizeBytes) {
      expect_stamps(number, {0, 3 * kExtent}, 100);
    } else {
      EXPECT_EQ(pool->status().allocated_bytes, 2 * format::kExtentSizeBytes);
      expect_stamps(number, {0, kExtent + 1}, 100);
      ASSERT_TRUE(world->run(volume(number).resize(3 * format::kExtentSizeBytes)).ok());
      expect_zeroes(number, {kExtent + 1, 3 * kExtent});
    }
  }
}

TEST_F(DataVolumeTest, RequestsBeyondTheEndAreInvalid) {
  start(14, 64 * kMiB);
  const LuNumber number = make_volume(kMiB);
  EXPECT_EQ(read(number, {255, 257}).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(write(number, {255, 257}, 1).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(world->run(volume(number).discard({255, 257})).error().code, ErrorCode::kInvalid);
}

// Bit rot anywhere in an extent: a block is served right or not at all.
TEST_F(DataVolumeTest, AFlippedBitAnywhereIsNeverServed) {
  start(15, 64 * kMiB);
  const LuNumber number = make_volume(32 * kMiB);
  ASSERT_TRUE(write(number, {0, 600}, 100).ok());
  ASSERT_TRUE(flush(number).ok());
  const std::uint64_t head = disk_offset(number, 0) - format::kExtentHeadBytes;
  std::vector<std::uint64_t> places;
  for (std::uint64_t at = 0; at < format::kExtentHeadBytes; at += 67) places.push_back(at);
  for (std::uint64_t block = 0; block < kExtent; block += 111) {
    places.push_back(format::kExtentHeadBytes + block * kBlockSizeBytes + block);
  }
  for (const std::uint64_t place : places) {
    const unsigned bit = static_cast<unsigned>(place % 8);
    disk->flip_bit(head + place, bit);
    open();
    int damaged = 0;
    for (std::uint64_t block = 0; block < kExtent; block += 16) {
      const auto out = read(number, {block, block + 16});
      if (!out.ok()) {
        ASSERT_EQ(out.error().code, ErrorCode::kDamaged) << out.error().message;
        ++damaged;
        continue;
      }
      for (std::uint64_t i = 0; i < 16; ++i) {
        const std::uint64_t stamp = block + i < 600 ? 100 + block + i : 0;
        ASSERT_TRUE(is_block(stamp, Bytes(*out).subspan(i * kBlockSizeBytes, kBlockSizeBytes)))
            << "bit at " << place << " block " << block + i;
      }
    }
    // A sector speaks of 64 blocks; a block only of itself, and of nothing where none was written.
    if (place < format::kExtentHeadBytes) {
      EXPECT_EQ(damaged, 4) << place;
    } else {
      EXPECT_EQ(damaged, (place - format::kExtentHeadBytes) / kBlockSizeBytes < 600 ? 1 : 0) << place;
    }
    disk->flip_bit(head + place, bit);
  }
}

TEST_F(DataVolumeTest, DamageNamesVolumeBlockAndPlace) {
  start(16, 64 * kMiB);
  const LuNumber number = make_volume(32 * kMiB, 3);
  ASSERT_TRUE(write(number, {0, 10}, 100).ok());
  const std::uint64_t at = disk_offset(number, 4);
  disk->flip_bit(at + 9, 1);
  const auto out = read(number, {0, 10});
  ASSERT_EQ(out.error().code, ErrorCode::kDamaged);
  for (const std::string& part : {std::string("block 4 "), std::string("volume 3 "), std::to_string(at)}) {
    EXPECT_NE(out.error().message.find(part), std::string::npos) << out.error().message;
  }
}

TEST_F(DataVolumeTest, BlocksOfALostSectorStayDamagedUntilTheyAreWritten) {
  start(17, 64 * kMiB);
  const LuNumber number = make_volume(32 * kMiB);
  ASSERT_TRUE(write(number, {0, 128}, 100).ok());
  ASSERT_TRUE(flush(number).ok());
  disk->flip_bit(disk_offset(number, 0) - format::kExtentHeadBytes + 90, 0);
  open();
  ASSERT_TRUE(write(number, {5, 6}, 900).ok());
  ASSERT_TRUE(world->run(volume(number).discard({6, 7})).ok());
  ASSERT_TRUE(flush(number).ok());
  crash();
  open();
  expect_stamps(number, {5, 6}, 900);
  expect_zeroes(number, {6, 7});
  EXPECT_EQ(read(number, {4, 5}).error().code, ErrorCode::kDamaged);
  EXPECT_EQ(read(number, {63, 64}).error().code, ErrorCode::kDamaged);
  expect_stamps(number, {64, 128}, 164);
  ASSERT_TRUE(write(number, {0, 64}, 100).ok());
  expect_stamps(number, {0, 128}, 100);
}

TEST_F(DataVolumeTest, AMovedExtentIsNotTakenForAnother) {
  start(18, 64 * kMiB);
  const LuNumber number = make_volume(32 * kMiB);
  ASSERT_TRUE(write(number, {0, 2 * kExtent}, 100).ok());
  ASSERT_TRUE(flush(number).ok());
  std::vector<std::byte> slot(format::kSlotSizeBytes);
  disk->peek(disk_offset(number, 0) - format::kExtentHeadBytes, slot);
  disk->poke(disk_offset(number, kExtent) - format::kExtentHeadBytes, slot);
  open();
  expect_stamps(number, {0, kExtent}, 100);
  EXPECT_EQ(read(number, {kExtent, kExtent + 1}).error().code, ErrorCode::kDamaged);
}

TEST_F(DataVolumeTest, AFailedFlushIsReportedToEveryVolumeThatMayHaveLostBlocks) {
  start(19, 64 * kMiB);
  const LuNumber first = make_volume(16 * kMiB, 1);
  const LuNumber second = make_volume(16 * kMiB, 2);
  const LuNumber idle = make_volume(16 * kMiB, 3);
  ASSERT_TRUE(write(first, {0, 4}, 100).ok());
  ASSERT_TRUE(write(second, {0, 4}, 200).ok());
  disk->fail_flush_after(1);
  EXPECT_EQ(flush(first).error().code, ErrorCode::kIo);
  EXPECT_EQ(flush(second).error().code, ErrorCode::kIo) << "its blocks were in the same cache";
  EXPECT_TRUE(flush(idle).ok());
  // Both repeat what they wrote, as their journals have it.
  ASSERT_TRUE(write(first, {0, 4}, 100).ok());
  ASSERT_TRUE(write(second, {0, 4}, 200).ok());
  ASSERT_TRUE(flush(first).ok());
  ASSERT_TRUE(flush(second).ok());
  crash();
  open();
  for (const auto& [number, stamp] : {std::pair{first, 100}, std::pair{second, 200}}) {
    expect_stamps(number, {0, 4}, static_cast<std::uint64_t>(stamp));
    expect_zeroes(number, {4, kExtent});
  }
}

TEST_F(DataVolumeTest, ALogVolumeLearnsOfAFlushThatFailedForAnother) {
  start(20, 64 * kMiB);
  const LuNumber number = make_volume(16 * kMiB, 1);
  const auto log = world->run(pool->create_log_volume(group, 4 * kMiB));
  ASSERT_TRUE(log.ok());
  io::Disk* view = pool->log_volume(*log);
  Buffer data = Buffer::allocate(4096);
  fill_block(1, data.writable());
  ASSERT_TRUE(world->run(view->write(DiskOffset{0}, {data}, io::Durability::kVolatile)).ok());
  ASSERT_TRUE(write(number, {0, 4}, 100).ok());
  disk->fail_flush_after(1);
  EXPECT_FALSE(flush(number).ok());
  EXPECT_EQ(world->run(view->flush()).error().code, ErrorCode::kIo);
}

TEST_F(DataVolumeTest, ASmallChecksumCacheServesALargeVolume) {
  options.checksum_cache_bytes_max = 1;  // the least there is: 16 pages, 8 extents
  start(21, 256 * kMiB);
  const LuNumber number = make_volume(200 * kMiB);
  for (std::uint64_t extent = 0; extent < 40; ++extent) {
    ASSERT_TRUE(write(number, {extent * kExtent + 500, extent * kExtent + 530}, 100 * extent + 1).ok());
  }
  for (std::uint64_t extent = 0; extent < 40; ++extent) {
    expect_stamps(number, {extent * kExtent + 500, extent * kExtent + 530}, 100 * extent + 1);
  }
  ASSERT_TRUE(flush(number).ok());
  crash();
  open();
  for (std::uint64_t extent = 0; extent < 40; ++extent) {
    expect_zeroes(number, {extent * kExtent, extent * kExtent + 500});
    expect_stamps(number, {extent * kExtent + 500, extent * kExtent + 530}, 100 * extent + 1);
  }
}

TEST_F(DataVolumeTest, ZeroesAreFlushedThoughOthersWroteTheirChecksumsBefore) {
  options.checksum_cache_bytes_max = 1;  // the least there is: 16 pages, 8 extents
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    start(seed, 256 * kMiB);
    const LuNumber zeroed = make_volume(64 * kMiB, 7);
    const LuNumber other = make_volume(128 * kMiB, 8);
    ASSERT_TRUE(write(zeroed, {0, 100}, 1).ok());
    ASSERT_TRUE(flush(zeroed).ok());
    ASSERT_TRUE(world->run(volume(zeroed).zero({20, 80})).ok());
    // Too many changed checksums for the cache: those of the zeroes are written, too, but not flushed.
    for (std::uint64_t extent = 0; extent < 20; ++extent) {
      ASSERT_TRUE(write(other, {extent * kExtent, extent * kExtent + 1}, 1000).ok());
    }
    ASSERT_TRUE(flush(zeroed).ok());
    crash();
    open();
    expect_stamps(zeroed, {0, 20}, 1);
    expect_zeroes(zeroed, {20, 80});
    expect_stamps(zeroed, {80, 100}, 81);
  }
}

TEST_F(DataVolumeTest, ARepairTakesNothingButWhatTheBlockHeld) {
  start(31, 128 * kMiB);
  const LuNumber number = make_volume(64 * kMiB);
  ASSERT_TRUE(write(number, {0, 4}, 100).ok());
  ASSERT_TRUE(flush(number).ok());
  disk->flip_bit(disk_offset(number, 2) + 17, 3);
  EXPECT_EQ(read(number, {2, 3}).error().code, ErrorCode::kDamaged);
  Buffer offered = Buffer::allocate(kBlockSizeBytes);
  fill_block(999, offered.writable());
  const auto wrong = world->run(volume(number).repair(2, offered));
  EXPECT_EQ(wrong.error().code, ErrorCode::kDamaged);
  EXPECT_EQ(read(number, {2, 3}).error().code, ErrorCode::kDamaged) << "it was not taken";
  Buffer right = Buffer::allocate(kBlockSizeBytes);
  fill_block(102, right.writable());
  const auto repaired = world->run(volume(number).repair(2, right));
  ASSERT_TRUE(repaired.ok()) << repaired.error().message;
  crash();
  open();
  expect_stamps(number, {0, 4}, 100);
}

TEST_F(DataVolumeTest, OfTwoExtentsForOnePlaceTheNewerIsTaken) {
  start(32, 128 * kMiB);
  const LuNumber number = make_volume(64 * kMiB);
  ASSERT_TRUE(write(number, {0, kExtent}, 100).ok());
  ASSERT_TRUE(flush(number).ok());
  const std::uint64_t old_offset = disk_offset(number, 0);
  const auto layout = format::make_disk_layout(disk->size_bytes());
  ASSERT_TRUE(layout.ok());
  std::uint64_t slot = 0;
  while (layout->slot_offset(slot) + format::kExtentHeadBytes != old_offset) ++slot;
  // Both copies of the sector that holds the record, as they are while the old extent is in use.
  const std::uint64_t record_at = slot * format::kExtentRecordSizeBytes;
  std::array<Buffer, 2> tables;
  for (std::size_t copy = 0; copy < 2; ++copy) {
    tables[copy] = Buffer::allocate(kBlockSizeBytes);
    const std::uint64_t block = (layout->extent_table_offset[copy] + record_at) / kBlockSizeBytes;
    ASSERT_TRUE(world->run(disk->read(DiskOffset{block * kBlockSizeBytes}, tables[copy])).ok());
  }
  ASSERT_TRUE(world->run(volume(number).discard({0, kExtent})).ok());
  ASSERT_TRUE(write(number, {0, kExtent}, 5000).ok());
  ASSERT_TRUE(flush(number).ok());
  ASSERT_NE(disk_offset(number, 0), old_offset);
  pool.reset();
  // The old record again beside the new one, as when a crash kept both.
  for (std::size_t copy = 0; copy < 2; ++copy) {
    const std::uint64_t at = layout->extent_table_offset[copy] + record_at;
    Buffer now = Buffer::allocate(kBlockSizeBytes);
    const DiskOffset block{at / kBlockSizeBytes * kBlockSizeBytes};
    ASSERT_TRUE(world->run(disk->read(block, now)).ok());
    std::memcpy(now.data() + at % kBlockSizeBytes, tables[copy].data() + at % kBlockSizeBytes,
                format::kExtentRecordSizeBytes);
    std::vector<Buffer> pieces{now};
    ASSERT_TRUE(world->run(disk->write(block, std::move(pieces), io::Durability::kDurable)).ok());
  }
  open();
  expect_stamps(number, {0, kExtent}, 5000);
  EXPECT_EQ(pool->status().allocated_bytes, format::kExtentSizeBytes) << "the old one was given up";
}

}  // namespace
}  // namespace tidemark::pool
