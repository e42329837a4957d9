// What a verification proves, and how exactly it tells what is not as it was written.

#include <algorithm>

#include "group_bench.h"

namespace tidemark::group {
namespace {

VerifyProgress verify(GroupBench& bench, VerifyOptions options = {}) {
  const auto begun = bench.group->verify(options);
  EXPECT_TRUE(begun.ok()) << begun.error().message;
  for (int i = 0; i < 10'000 && bench.group->verifying(); ++i)
    bench.world.run_for(Duration::milliseconds(50));
  EXPECT_FALSE(bench.group->verifying());
  return bench.group->verification();
}

// Offsets of the blocks on the disk that hold nothing but `byte`.
std::vector<std::uint64_t> find_blocks(GroupBench& bench, int byte) {
  std::vector<std::uint64_t> out;
  std::vector<std::byte> block(kBlockSizeBytes);
  for (std::uint64_t at = 0; at < kBenchDiskBytes; at += kBlockSizeBytes) {
    bench.disk.peek(at, block);
    if (block[0] == static_cast<std::byte>(byte) && GroupBench::bytes_of_blocks(block)[0] == byte)
      out.push_back(at);
  }
  return out;
}

// Offsets of the frames of batches: "TMF1", version 1, kind 1.
std::vector<std::uint64_t> find_batches(GroupBench& bench) {
  std::vector<std::uint64_t> out;
  std::vector<std::byte> block(kBlockSizeBytes);
  for (std::uint64_t at = 0; at < kBenchDiskBytes; at += kBlockSizeBytes) {
    bench.disk.peek(at, block);
    if (std::memcmp(block.data(), "TMF1\1\0\1", 7) == 0) out.push_back(at);
  }
  return out;
}

std::string texts(const VerifyProgress& progress) {
  std::string all;
  for (const Damage& damage : progress.damage) all += damage.text + "\n";
  return all;
}

void flush_fill(GroupBench& bench, VolumeId volume, BlockRange blocks, std::uint8_t byte) {
  ASSERT_TRUE(bench.fill(volume, blocks, byte).ok());
  ASSERT_TRUE(bench.flush().ok());
}

TEST(Verify, AGroupWithBranchesMarksAndABaseIsGoodAndThatIsRemembered) {
  GroupBench bench(1);
  const VolumeShape volume = bench.make_volume("data", 64);
  const LogId nothing_yet = bench.group->local().verified_last;
  EXPECT_TRUE(nothing_yet.is_none());
  ASSERT_TRUE(bench.mark("first").ok());
  ASSERT_NO_FATAL_FAILURE(flush_fill(bench, volume.id, {0, 30}, 1));
  ASSERT_TRUE(bench.mark("left").ok());
  ASSERT_TRUE(bench.mark("forgotten").ok());
  ASSERT_TRUE(bench.run(bench.group->change_mark("forgotten", format::MarkAction::kDelete)).ok());
  ASSERT_TRUE(bench.mark("forgotten").ok()) << "its id is free again";
  ASSERT_TRUE(bench.restore("first").ok());
  ASSERT_NO_FATAL_FAILURE(flush_fill(bench, volume.id, {10, 40}, 2));
  ASSERT_TRUE(bench.run(bench.group->name_point({.id = "named"}, "first")).ok());
  ASSERT_TRUE(bench.run(bench.group->data().zero(volume.id, 0, 5 * kBlockSizeBytes, true, true)).ok());
  const VerifyProgress progress = verify(bench);
  EXPECT_EQ(progress.state, VerifyState::kGood) << texts(progress);
  EXPECT_EQ(progress.first, LogId(Epoch{1}, 1));
  EXPECT_EQ(progress.last, bench.group->journal().durable());
  EXPECT_GE(progress.entries, 12u);
  EXPECT_EQ(progress.bytes_done, progress.bytes_total);
  bench.restart();
  EXPECT_EQ(bench.group->verification().state, VerifyState::kNever);
  EXPECT_EQ(bench.group->local().verified_last, progress.last);
  EXPECT_NE(bench.group->local().verified_at.ns, 0);
  EXPECT_TRUE(bench.group->local().verified_base);
  EXPECT_EQ(bench.group->local().verified_damages, 0u);
  EXPECT_EQ(verify(bench).state, VerifyState::kGood);
}

TEST(Verify, WhatPassedIntoTheBaseIsProvedThere) {
  GroupBench bench(2);
  const VolumeShape volume = bench.make_volume("data", 2048);
  for (int i = 0; i < 60; ++i) {
    ASSERT_TRUE(bench.fill(volume.id, {0, 32}, static_cast<std::uint8_t>(i)).ok());
    ASSERT_TRUE(bench.fill(volume.id, {1500, 1510}, static_cast<std::uint8_t>(i)).ok());
  }
  ASSERT_TRUE(bench.flush().ok());
  ASSERT_TRUE(bench.run(bench.group->destage_now(true)).ok());
  VerifyProgress progress = verify(bench);
  EXPECT_EQ(progress.state, VerifyState::kGood) << texts(progress);
  EXPECT_GT(progress.base_blocks, 2u * 1000u);
  EXPECT_GT(progress.first, LogId(Epoch{1}, 1)) << "what was freed is not there to be proved";
  progress = verify(bench, {.base = false});
  EXPECT_EQ(progress.state, VerifyState::kGood);
  EXPECT_EQ(progress.base_blocks, 0u);
  EXPECT_FALSE(bench.group->local().verified_base);
}

TEST(Verify, ADamagedBlockOfTheJournalIsToldWithTheEntryThePlaceAndThePointsThatShowIt) {
  GroupBench bench(3, {.recent_bytes = 4 << 20});
  const VolumeShape volume = bench.make_volume("data", 64);
  ASSERT_TRUE(bench.mark("before").ok());                               // 1.3
  ASSERT_NO_FATAL_FAILURE(flush_fill(bench, volume.id, {4, 8}, 0x6b));  // 1.4
  ASSERT_TRUE(bench.mark("inside").ok());                               // 1.5
  ASSERT_NO_FATAL_FAILURE(flush_fill(bench, volume.id, {0, 6}, 2));     // 1.6
  ASSERT_TRUE(bench.mark("also-inside").ok());                          // 1.7
  ASSERT_NO_FATAL_FAILURE(flush_fill(bench, volume.id, {6, 64}, 3));    // 1.8
  ASSERT_TRUE(bench.mark("after").ok());                                // 1.9
  const std::vector<std::uint64_t> found = find_blocks(bench, 0x6b);
  ASSERT_EQ(found.size(), 4u);
  bench.disk.flip_bit(found[1] + 100, 1);
  bench.disk.flip_bit(found[2] + 4095, 7);
  // Reads still come from memory; the disk is what is proved.
  EXPECT_EQ(bench.at("data", "inside")[5], 0x6b);
  const VerifyProgress progress = verify(bench);
  EXPECT_EQ(progress.state, VerifyState::kDamaged);
  ASSERT_EQ(progress.damage.size(), 1u) << texts(progress);
  const Damage& damage = progress.damage[0];
  EXPECT_EQ(damage.volume, volume.id);
  EXPECT_EQ(damage.volume_name, "data");
  EXPECT_EQ(damage.blocks, (BlockRange{5, 7}));
  EXPECT_EQ(damage.first, LogId(Epoch{1}, 4));
  EXPECT_EQ(damage.last, LogId(Epoch{1}, 4));
  EXPECT_EQ(damage.affected_from, LogId(Epoch{1}, 4));
  EXPECT_EQ(damage.affected_to, LogId(Epoch{1}, 7)) << "block 6 is overwritten by 1.8";
  EXPECT_FALSE(damage.live);
  EXPECT_EQ(damage.marks, (std::vector<std::string>{"also-inside", "inside"}));
  EXPECT_NE(damage.text.find("orders/data 20480+8192"), std::string::npos) << damage.text;
  EXPECT_NE(damage.text.find("log:1.4"), std::string::npos) << damage.text;
  EXPECT_EQ(bench.group->local().verified_damages, 1u);
  // Never served: not by those points once it is read from the disk, and everything else as before.
  bench.restart();
  Buffer out = Buffer::allocate(kBlockSizeBytes);
  auto view = bench.run(bench.group->open_view("data", "inside"));
  ASSERT_TRUE(view.ok());
  EXPECT_EQ(bench.run((*view)->read(5 * kBlockSizeBytes, out)).error().code, ErrorCode::kDamaged);
  EXPECT_TRUE(bench.run((*view)->read(4 * kBlockSizeBytes, out)).ok());
  bench.run((*view)->close());
  EXPECT_EQ(bench.live(volume.id, 64)[6], 3);
}

TEST(Verify, ADamagedBlockThatTheLiveVolumeShowsIsToldAsSuchAndOneOfADeadBranchIsNot) {
  GroupBench bench(4);
  const VolumeShape volume = bench.make_volume("data", 16);
  ASSERT_TRUE(bench.mark("start").ok());
  ASSERT_NO_FATAL_FAILURE(flush_fill(bench, volume.id, {0, 1}, 0x6c));
  ASSERT_TRUE(bench.mark("left").ok());
  const LogId left = bench.group->head();
  ASSERT_TRUE(bench.restore("start").ok());
  ASSERT_NO_FATAL_FAILURE(flush_fill(bench, volume.id, {1, 2}, 0x6d));
  const LogId live = bench.group->head();
  ASSERT_TRUE(bench.mark("m").ok());
  bench.disk.flip_bit(find_blocks(bench, 0x6c).at(0), 0);
  bench.disk.flip_bit(find_blocks(bench, 0x6d).at(0), 0);
  const VerifyProgress progress = verify(bench);
  ASSERT_EQ(progress.damage.size(), 2u) << texts(progress);
  EXPECT_EQ(progress.damage[0].affected_from, left.previous());
  EXPECT_EQ(progress.damage[0].affected_to, left);
  EXPECT_FALSE(progress.damage[0].live);
  EXPECT_EQ(progress.damage[0].marks, (std::vector<std::string>{"left"}));
  EXPECT_EQ(progress.damage[1].affected_from, live);
  EXPECT_EQ(progress.damage[1].affected_to, bench.group->head());
  EXPECT_TRUE(progress.damage[1].live);
}

TEST(Verify, ADamagedBlockOfTheBaseIsToldWithThePointsThatReadIt) {
  GroupBench bench(5);
  const VolumeShape volume = bench.make_volume("data", 64);
  ASSERT_TRUE(bench.run(bench.group->set_settings({.retain = Duration{}})).ok());
  ASSERT_NO_FATAL_FAILURE(flush_fill(bench, volume.id, {8, 12}, 0x71));
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(bench.fill(volume.id, {30, 62}, 2).ok());
  ASSERT_TRUE(bench.flush().ok());
  while (*bench.run(bench.group->destage_now(true))) {
  }
  ASSERT_NO_FATAL_FAILURE(flush_fill(bench, volume.id, {8, 10}, 3));
  const LogId overwritten = bench.group->head();
  ASSERT_TRUE(bench.mark("m").ok());
  const std::vector<std::uint64_t> found = find_blocks(bench, 0x71);
  // One copy in the base; there may be others where the journal was, or is.
  ASSERT_GE(found.size(), 4u);
  ASSERT_EQ(found.size() % 4, 0u);
  for (std::size_t i = 0; i < found.size(); i += 4) {
    bench.disk.flip_bit(found[i + 1], 0);
    bench.disk.flip_bit(found[i + 3], 0);
  }
  VerifyProgress progress = verify(bench);
  std::erase_if(progress.damage, [](const Damage& damage) { return !damage.first.is_none(); });
  ASSERT_EQ(progress.damage.size(), 2u) << texts(progress);
  EXPECT_EQ(progress.damage[0].blocks, (BlockRange{9, 10}));
  EXPECT_EQ(progress.damage[0].affected_from, bench.group->local().floor);
  EXPECT_EQ(progress.damage[0].affected_to, overwritten.previous());
  EXPECT_FALSE(progress.damage[0].live);
  EXPECT_NE(progress.damage[0].text.find("in the base"), std::string::npos);
  EXPECT_EQ(progress.damage[1].blocks, (BlockRange{11, 12}));
  EXPECT_EQ(progress.damage[1].affected_to, bench.group->head());
  EXPECT_TRUE(progress.damage[1].live);
}

TEST(Verify, ADamagedFrameIsToldWithItsEntriesAndWhatLiesBehindItIsStillProved) {
  GroupBench bench(6);
  const VolumeShape volume = bench.make_volume("data", 64);
  for (int i = 0; i < 8; ++i) ASSERT_NO_FATAL_FAILURE(flush_fill(bench, volume.id, {0, 4}, 1));
  ASSERT_NO_FATAL_FAILURE(flush_fill(bench, volume.id, {5, 6}, 0x72));
  const std::vector<std::uint64_t> batches = find_batches(bench);
  ASSERT_EQ(batches.size(), 11u) << "one for each: the epoch, the volume, nine writes";
  bench.disk.flip_bit(batches[5] + 70, 2);
  bench.disk.flip_bit(find_blocks(bench, 0x72).at(0), 2);
  const VerifyProgress progress = verify(bench);
  ASSERT_EQ(progress.damage.size(), 2u) << texts(progress);
  EXPECT_EQ(progress.damage[0].first, LogId(Epoch{1}, 6));
  EXPECT_EQ(progress.damage[0].last, LogId(Epoch{1}, 6));
  EXPECT_NE(progress.damage[0].text.find("log volume offset"), std::string::npos) << progress.damage[0].text;
  EXPECT_EQ(progress.damage[1].first, LogId(Epoch{1}, 11));
  EXPECT_EQ(progress.entries, 10u);
}

// What nobody can read any more may still hide what lies in the base.
TEST(Verify, ADamagedFrameBelowTheFloorIsToldAsLongAsItIsNotInTheBase) {
  GroupBench bench(9, {.settings = {.retain = Duration{}}});
  const VolumeShape volume = bench.make_volume("data", 64);
  for (int i = 0; i < 14; ++i) ASSERT_NO_FATAL_FAILURE(flush_fill(bench, volume.id, {0, 28}, 1));
  ASSERT_TRUE(*bench.run(bench.group->destage_now(true)));
  const LocalRecord& local = bench.group->local();
  ASSERT_EQ(local.floor, bench.group->head());
  ASSERT_GE(local.floor.sequence(), local.destaged.sequence() + 3);
  const std::vector<std::uint64_t> batches = find_batches(bench);
  bench.disk.flip_bit(batches.at(local.destaged.sequence() + 1) + 70, 2);
  const VerifyProgress progress = verify(bench);
  ASSERT_EQ(progress.damage.size(), 1u) << texts(progress);
  EXPECT_EQ(progress.damage[0].first, LogId(Epoch{1}, local.destaged.sequence() + 2));
  EXPECT_EQ(progress.damage[0].affected_from, local.floor);
  EXPECT_EQ(progress.damage[0].affected_to, bench.group->head());
  EXPECT_TRUE(progress.damage[0].live);
}

TEST(Verify, TheSuperblockInForceIsProvedToo) {
  GroupBench bench(7);
  const std::string magic = "TMJ1";
  std::vector<std::byte> block(kBlockSizeBytes);
  std::vector<std::uint64_t> slots;
  for (std::uint64_t at = 0; at < kBenchDiskBytes; at += kBlockSizeBytes) {
    bench.disk.peek(at, block);
    if (std::memcmp(block.data(), magic.data(), 4) == 0) slots.push_back(at);
  }
  ASSERT_EQ(slots.size(), 2u);
  for (const std::uint64_t slot : slots) bench.disk.flip_bit(slot + 130, 1);
  const VerifyProgress progress = verify(bench);
  ASSERT_EQ(progress.damage.size(), 1u) << texts(progress);
  EXPECT_NE(progress.damage[0].text.find("superblock"), std::string::npos);
}

TEST(Verify, WritesGoOnAndTheJournalIsRecycledUnderASlowOne) {
  GroupBench bench(8);
  const VolumeShape volume = bench.make_volume("data", 64);
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(bench.fill(volume.id, {0, 32}, 1).ok());
  ASSERT_TRUE(bench.flush().ok());
  ASSERT_TRUE(bench.group->verify({.bytes_per_second_max = 256 << 10}).ok());
  EXPECT_EQ(bench.group->verify({}).error().code, ErrorCode::kBusy);
  // Several times what the journal holds.
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(bench.fill(volume.id, {0, 32}, static_cast<std::uint8_t>(i)).ok()) << i;
    if (i % 5 == 0) {
      // Its entry may be met with the mark in the table or not, and its deletion may be freed before it is
      // met.
      ASSERT_TRUE(bench.mark("brief").ok());
      ASSERT_TRUE(bench.run(bench.group->change_mark("brief", format::MarkAction::kDelete)).ok());
    }
    bench.world.run_for(Duration::milliseconds(1));
  }
  EXPECT_TRUE(bench.group->verifying());
  for (int i = 0; i < 10'000 && bench.group->verifying(); ++i)
    bench.world.run_for(Duration::milliseconds(50));
  const VerifyProgress& progress = bench.group->verification();
  EXPECT_EQ(progress.state, VerifyState::kGood) << texts(progress) << progress.reason;
  EXPECT_GE((progress.ended - progress.begun).to_seconds(),
            static_cast<double>(progress.bytes_done) / (256 << 10) * 0.9);
}

TEST(Verify, ItStopsWhenItIsToldToAndWhenItsGroupCloses) {
  GroupBench bench(9);
  const VolumeShape volume = bench.make_volume("data", 64);
  ASSERT_NO_FATAL_FAILURE(flush_fill(bench, volume.id, {0, 32}, 1));
  ASSERT_TRUE(bench.group->verify({.bytes_per_second_max = 1}).ok());
  bench.world.run_for(Duration::seconds(1));
  bench.group->stop_verifying();
  bench.world.run_for(Duration::seconds(1));
  EXPECT_EQ(bench.group->verification().state, VerifyState::kStopped);
  EXPECT_EQ(bench.group->local().verified_at.ns, 0) << "only what came to its end is remembered";
  ASSERT_TRUE(bench.group->verify({.bytes_per_second_max = 1}).ok());
  bench.world.run_for(Duration::seconds(1));
  const MonotonicTime before = bench.world.now();
  bench.restart();
  EXPECT_LT((bench.world.now() - before).to_seconds(), 5.0);
  EXPECT_EQ(verify(bench).state, VerifyState::kGood);
}

TEST(Verify, AfterAPowerCutATornTailIsNoDamage) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    GroupBench bench(100 + seed);
    const VolumeShape volume = bench.make_volume("data", 64);
    for (int i = 0; i < 30; ++i) {
      const std::uint64_t first = bench.environment.random.below(32);
      ASSERT_TRUE(bench.fill(volume.id, {first, first + 30}, static_cast<std::uint8_t>(i)).ok());
      if (i % 3 == 0) bench.world.run_for(Duration::microseconds(static_cast<std::int64_t>(seed) * 40));
      if (i == 10) {
        ASSERT_TRUE(bench.mark("m").ok());
      }
    }
    bench.power_cut();
    ASSERT_NO_FATAL_FAILURE(bench.start_again());
    const VerifyProgress progress = verify(bench);
    EXPECT_EQ(progress.state, VerifyState::kGood) << seed << "\n" << texts(progress) << progress.reason;
  }
}

}  // namespace
}  // namespace tidemark::group
