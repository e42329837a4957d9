#include "sim/disk.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <set>
#include <vector>

namespace tidemark::sim {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kSector = 512;
constexpr std::uint64_t kSeeds = 60;

Buffer filled(int value, std::size_t pages = 1) {
  Buffer buffer = Buffer::allocate(pages * kPage);
  std::memset(buffer.data(), value, buffer.size());
  return buffer;
}

io::Task<Result<void>> write_page(Disk& disk, std::uint64_t page, int value,
                                  io::Durability durability = io::Durability::kVolatile,
                                  std::size_t pages = 1) {
  std::vector<Buffer> pieces{filled(value, pages)};
  co_return co_await disk.write(DiskOffset{page * kPage}, std::move(pieces), durability);
}

// The value of each sector of [page, page + pages); every sector must be of one value.
std::vector<int> sectors_of(const Disk& disk, std::uint64_t page, std::size_t pages = 1) {
  std::vector<std::byte> bytes(pages * kPage);
  disk.peek(page * kPage, bytes);
  std::vector<int> out;
  for (std::size_t at = 0; at < bytes.size(); at += kSector) {
    for (std::size_t i = 1; i < kSector; ++i) EXPECT_EQ(bytes[at + i], bytes[at]) << "a torn sector";
    out.push_back(static_cast<int>(bytes[at]));
  }
  return out;
}

std::vector<int> all(int value, std::size_t pages = 1) {
  return std::vector<int>(pages * kPage / kSector, value);
}

Result<int> read_first_byte(World& world, Disk& disk, std::uint64_t page) {
  Buffer out = filled(0xee);
  Result<void> done = world.run(disk.read(DiskOffset{page * kPage}, out));
  if (!done.ok()) return done.error();
  return static_cast<int>(out.data()[0]);
}

TEST(Disk, ReadsZeroesWhereNothingWasWritten) {
  World world(1);
  Disk disk(world, 1ull << 40);
  EXPECT_EQ(disk.size_bytes(), 1ull << 40);
  EXPECT_EQ(*read_first_byte(world, disk, 12'345'678), 0);
}

TEST(Disk, ReadsBackWhatWasWrittenGathered) {
  World world(1);
  Disk disk(world, 1 << 20);
  std::vector<Buffer> pieces{filled(1), filled(2, 2), filled(3)};
  ASSERT_TRUE(world.run(disk.write(DiskOffset{kPage}, std::move(pieces), io::Durability::kVolatile)).ok());
  Buffer out = filled(0xee, 5);
  ASSERT_TRUE(world.run(disk.read(DiskOffset{0}, out)).ok());
  std::vector<int> firsts;
  for (std::size_t page = 0; page < 5; ++page) firsts.push_back(static_cast<int>(out.data()[page * kPage]));
  EXPECT_EQ(firsts, (std::vector<int>{0, 1, 2, 2, 3}));
  EXPECT_EQ(disk.writes(), 1u);
  EXPECT_EQ(disk.bytes_written(), 4 * kPage);
  EXPECT_EQ(disk.reads(), 1u);
}

TEST(Disk, WritesInFlightOvertakeEachOther) {
  std::set<int> last;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    World world(seed);
    Disk disk(world, 1 << 20);
    io::TaskScope scope(world);
    for (int value = 1; value <= 3; ++value) {
      scope.spawn([](Disk& d, int v) -> io::Task<void> {
        const Result<void> written = co_await write_page(d, 0, v);
        EXPECT_TRUE(written.ok());
      }(disk, value));
    }
    world.run(scope.join());
    last.insert(*read_first_byte(world, disk, 0));
  }
  EXPECT_EQ(last, (std::set<int>{1, 2, 3}));
}

TEST(Disk, FlushedDataSurviveEveryCrash) {
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    World world(seed);
    Disk disk(world, 1 << 20);
    ASSERT_TRUE(world.run(write_page(disk, 3, 7)).ok());
    ASSERT_TRUE(world.run(disk.flush()).ok());
    disk.crash();
    EXPECT_EQ(sectors_of(disk, 3), all(7));
  }
}

TEST(Disk, DurableWritesSurviveEveryCrashWithoutAFlush) {
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    World world(seed);
    Disk disk(world, 1 << 20);
    ASSERT_TRUE(world.run(write_page(disk, 3, 6)).ok());
    ASSERT_TRUE(world.run(write_page(disk, 3, 7, io::Durability::kDurable)).ok());
    disk.crash();
    EXPECT_EQ(sectors_of(disk, 3), all(7));
  }
}

TEST(Disk, ADurableWriteMakesNoOtherDurable) {
  std::set<int> seen;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    World world(seed);
    Disk disk(world, 1 << 20);
    ASSERT_TRUE(world.run(write_page(disk, 0, 5)).ok());
    ASSERT_TRUE(world.run(write_page(disk, 1, 6, io::Durability::kDurable)).ok());
    disk.crash();
    for (int value : sectors_of(disk, 0)) seen.insert(value);
  }
  EXPECT_EQ(seen, (std::set<int>{0, 5}));
}

TEST(Disk, ACrashKeepsAnySubsetOfTheUnflushedSectors) {
  bool kept_all = false, lost_all = false, torn_page = false, gap_between_writes = false;
  for (std::uint64_t seed = 0; seed < 4 * kSeeds; ++seed) {
    World world(seed);
    Disk disk(world, 1 << 20);
    ASSERT_TRUE(world.run(write_page(disk, 0, 1, io::Durability::kVolatile, 3)).ok());
    ASSERT_TRUE(world.run(disk.flush()).ok());
    for (std::uint64_t page = 0; page < 3; ++page) ASSERT_TRUE(world.run(write_page(disk, page, 2)).ok());
    EXPECT_EQ(sectors_of(disk, 0, 3), all(2, 3));
    disk.crash();
    const std::vector<int> sectors = sectors_of(disk, 0, 3);
    for (int value : sectors) ASSERT_TRUE(value == 1 || value == 2) << value;
    kept_all = kept_all || sectors == all(2, 3);
    lost_all = lost_all || sectors == all(1, 3);
    const auto whole = [&](std::uint64_t page, int value) { return sectors_of(disk, page) == all(value); };
    torn_page = torn_page || (!whole(0, 1) && !whole(0, 2));
    gap_between_writes = gap_between_writes || (whole(0, 2) && whole(1, 1) && whole(2, 2));
  }
  EXPECT_TRUE(kept_all);
  EXPECT_TRUE(lost_all);
  EXPECT_TRUE(torn_page);
  EXPECT_TRUE(gap_between_writes);
}

TEST(Disk, ACrashMayShowAnyUnflushedVersionOfASector) {
  std::set<int> seen;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    World world(seed);
    Disk disk(world, 1 << 20);
    for (int value = 1; value <= 3; ++value) ASSERT_TRUE(world.run(write_page(disk, 0, value)).ok());
    disk.crash();
    for (int value : sectors_of(disk, 0)) seen.insert(value);
  }
  EXPECT_EQ(seen, (std::set<int>{0, 1, 2, 3}));
}

TEST(Disk, ManyVersionsOfAPageStillLeaveAnOldOrANewSector) {
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    World world(seed);
    Disk disk(world, 1 << 20);
    for (int value = 1; value <= 20; ++value) ASSERT_TRUE(world.run(write_page(disk, 0, value)).ok());
    ASSERT_TRUE(world.run(disk.flush()).ok());
    for (int value = 21; value <= 40; ++value) ASSERT_TRUE(world.run(write_page(disk, 0, value)).ok());
    disk.crash();
    for (int value : sectors_of(disk, 0)) EXPECT_TRUE(value >= 20 && value <= 40) << value;
  }
}

TEST(Disk, AFlushCoversOnlyWhatHadCompletedBeforeTheCall) {
  bool later_write_lost = false;
  for (std::uint64_t seed = 0; seed < 4 * kSeeds; ++seed) {
    World world(seed);
    // A flush that takes so long that writes complete while it runs.
    Disk disk(world, 1 << 20, DiskOptions{.latency_min = Duration::microseconds(10)});
    ASSERT_TRUE(world.run(write_page(disk, 0, 1)).ok());
    io::TaskScope scope(world);
    bool flushed = false;
    scope.spawn([](Disk& d, bool* out) -> io::Task<void> {
      const Result<void> done = co_await d.flush();
      *out = done.ok();
    }(disk, &flushed));
    world.run_ready_only();
    bool overwritten = false;
    for (int i = 0; i < 12 && !flushed; ++i) {
      ASSERT_TRUE(world.run(write_page(disk, 0, 2)).ok());
      overwritten = overwritten || !flushed;
    }
    world.run(scope.join());
    ASSERT_TRUE(flushed);
    disk.crash();
    const std::vector<int> sectors = sectors_of(disk, 0);
    for (int value : sectors) ASSERT_TRUE(value == 1 || value == 2) << "flushed data were lost";
    later_write_lost = later_write_lost || (overwritten && sectors != all(2));
  }
  EXPECT_TRUE(later_write_lost);
}

TEST(Disk, ADurableWriteInFlightAtACrashMayBeThereInPart) {
  bool none = false, whole = false, torn = false;
  for (std::uint64_t seed = 0; seed < 4 * kSeeds; ++seed) {
    World world(seed);
    Disk disk(world, 1 << 20);
    ASSERT_TRUE(world.run(write_page(disk, 0, 1, io::Durability::kDurable, 2)).ok());
    bool completed = false;
    {
      io::TaskScope scope(world);
      scope.spawn([](Disk& d, bool* out) -> io::Task<void> {
        const Result<void> written = co_await write_page(d, 0, 2, io::Durability::kDurable, 2);
        *out = written.ok();
      }(disk, &completed));
      world.run_for(Duration::microseconds(5));
      disk.crash();
      world.run_for(Duration::seconds(10));
    }
    EXPECT_FALSE(completed) << "an operation in flight at the crash was answered";
    const std::vector<int> sectors = sectors_of(disk, 0, 2);
    for (int value : sectors) ASSERT_TRUE(value == 1 || value == 2);
    none = none || sectors == all(1, 2);
    whole = whole || sectors == all(2, 2);
    torn = torn || (sectors != all(1, 2) && sectors != all(2, 2));
  }
  EXPECT_TRUE(none);
  EXPECT_TRUE(whole);
  EXPECT_TRUE(torn);
}

TEST(Disk, AnAbandonedWriteIsStillDoneByTheDevice) {
  World world(1);
  Disk disk(world, 1 << 20);
  {
    io::TaskScope scope(world);
    scope.spawn([](Disk& d) -> io::Task<void> {
      const Result<void> written = co_await write_page(d, 0, 9);
      ADD_FAILURE() << "resumed after it was destroyed: " << written.ok();
    }(disk));
    world.run_for(Duration::microseconds(5));
  }
  EXPECT_EQ(sectors_of(disk, 0), all(0));
  world.run_for(Duration::seconds(1));
  EXPECT_EQ(sectors_of(disk, 0), all(9));
}

TEST(Disk, FailsTheOperationThatTheTestAskedForAndNoOther) {
  World world(1);
  Disk disk(world, 1 << 20);
  disk.fail_write_after(2);
  EXPECT_TRUE(world.run(write_page(disk, 0, 1)).ok());
  const Result<void> failed = world.run(write_page(disk, 0, 2));
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().code, ErrorCode::kIo);
  for (int value : sectors_of(disk, 0)) EXPECT_TRUE(value == 1 || value == 2);
  EXPECT_TRUE(world.run(write_page(disk, 0, 3)).ok());

  disk.fail_read_after(1);
  EXPECT_FALSE(read_first_byte(world, disk, 0).ok());
  EXPECT_EQ(*read_first_byte(world, disk, 0), 3);

  disk.fail_flush_after(1);
  EXPECT_FALSE(world.run(disk.flush()).ok());
  EXPECT_TRUE(world.run(disk.flush()).ok());
  EXPECT_EQ(disk.flushes(), 2u);
}

TEST(Disk, EachFaultTakesPlaceAtTheOperationThatWasChosen) {
  World world(5);
  Disk disk(world, 1 << 20,
            {.latency_min = {}, .latency_max = {}, .space_bytes_max = UINT64_MAX, .remembers_older = true});
  for (const int value : {1, 2}) {
    ASSERT_TRUE(world.run(write_page(disk, 7, value, io::Durability::kDurable)).ok());
  }
  disk.inject(DiskFault::kStaleRead, 2);
  EXPECT_EQ(*read_first_byte(world, disk, 7), 2);
  EXPECT_EQ(*read_first_byte(world, disk, 7), 1);
  EXPECT_EQ(*read_first_byte(world, disk, 7), 2);

  disk.inject(DiskFault::kBadSector, 1);
  EXPECT_FALSE(read_first_byte(world, disk, 7).ok());
  EXPECT_FALSE(read_first_byte(world, disk, 7).ok());
  ASSERT_TRUE(world.run(write_page(disk, 7, 3, io::Durability::kDurable)).ok());
  EXPECT_EQ(*read_first_byte(world, disk, 7), 3);

  disk.inject(DiskFault::kLostWrite, 1);
  EXPECT_TRUE(world.run(write_page(disk, 7, 4, io::Durability::kDurable)).ok());
  EXPECT_EQ(*read_first_byte(world, disk, 7), 3);

  disk.inject(DiskFault::kMisdirectedWrite, 1);
  EXPECT_TRUE(world.run(write_page(disk, 7, 5, io::Durability::kDurable)).ok());
  EXPECT_EQ(*read_first_byte(world, disk, 7), 3);
  const std::uint64_t elsewhere = disk.fault_hits().back().offset_bytes / kPage;
  EXPECT_NE(elsewhere, 7u);
  EXPECT_EQ(*read_first_byte(world, disk, elsewhere), 5);

  disk.inject(DiskFault::kMisdirectedRead, 1);
  EXPECT_NE(*read_first_byte(world, disk, 7), 3);

  disk.inject(DiskFault::kFlippedBit, 1);
  Buffer out = filled(0);
  ASSERT_TRUE(world.run(disk.read(DiskOffset{7 * kPage}, out)).ok());
  Buffer again = filled(0);
  ASSERT_TRUE(world.run(disk.read(DiskOffset{7 * kPage}, again)).ok());
  EXPECT_NE(std::memcmp(out.data(), filled(3).data(), kPage), 0);
  EXPECT_EQ(std::memcmp(out.data(), again.data(), kPage), 0);

  disk.inject(DiskFault::kShortWrite, 1);
  EXPECT_FALSE(world.run(write_page(disk, 20, 6, io::Durability::kDurable, 2)).ok());
  EXPECT_EQ(*read_first_byte(world, disk, 20), 6);
  EXPECT_EQ(*read_first_byte(world, disk, 21), 0);
}

TEST(Disk, AFlushThatLiesMakesNothingDurable) {
  bool lost = false;
  for (std::uint64_t seed = 0; seed < kSeeds && !lost; ++seed) {
    World world(seed);
    Disk disk(world, 1 << 20);
    ASSERT_TRUE(world.run(write_page(disk, 3, 9)).ok());
    disk.inject(DiskFault::kFlushLies, 1);
    ASSERT_TRUE(world.run(disk.flush()).ok());
    disk.crash();
    lost = sectors_of(disk, 3) == all(0);
  }
  EXPECT_TRUE(lost);
}

TEST(Disk, AHangingDiskEndsNothingBeforeItsTime) {
  World world(6);
  Disk disk(world, 1 << 20);
  const MonotonicTime due = world.now() + Duration::seconds(5);
  disk.hang_until(due);
  EXPECT_EQ(*read_first_byte(world, disk, 0), 0);
  EXPECT_GE(world.now(), due);
  disk.slow_down(Duration::seconds(1));
  EXPECT_EQ(*read_first_byte(world, disk, 0), 0);
  EXPECT_GE(world.now(), due + Duration::seconds(1));
}

TEST(Disk, AFlushThatSucceedsAfterOneThatFailedPromisesNothingForTheOldWrites) {
  bool lost = false;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    World world(seed);
    Disk disk(world, 1 << 20);
    ASSERT_TRUE(world.run(write_page(disk, 0, 1)).ok());
    ASSERT_TRUE(world.run(write_page(disk, 1, 1)).ok());
    disk.fail_flush_after(1);
    ASSERT_FALSE(world.run(disk.flush()).ok());
    ASSERT_TRUE(world.run(write_page(disk, 1, 2)).ok());
    ASSERT_TRUE(world.run(disk.flush()).ok());
    EXPECT_EQ(sectors_of(disk, 0), all(1)) << "the cache still shows it";
    disk.crash();
    lost = lost || sectors_of(disk, 0) != all(1);
    EXPECT_EQ(sectors_of(disk, 1), all(2)) << "rewritten after the failure, so covered";
  }
  EXPECT_TRUE(lost);
}

TEST(Disk, SpaceEndsAtItsLimitUnlessItWasPromised) {
  World world(1);
  Disk disk(world, 1 << 20, DiskOptions{.space_bytes_max = 4 * kPage});
  ASSERT_TRUE(world.run(disk.allocate(DiskOffset{0}, 2 * kPage)).ok());
  const Result<void> too_much = world.run(disk.allocate(DiskOffset{0}, 5 * kPage));
  ASSERT_FALSE(too_much.ok());
  EXPECT_EQ(too_much.error().code, ErrorCode::kNoSpace);
  ASSERT_TRUE(world.run(write_page(disk, 10, 1)).ok());
  ASSERT_TRUE(world.run(write_page(disk, 11, 1)).ok());
  const Result<void> full = world.run(write_page(disk, 12, 1));
  ASSERT_FALSE(full.ok());
  EXPECT_EQ(full.error().code, ErrorCode::kNoSpace);
  EXPECT_TRUE(world.run(write_page(disk, 0, 1)).ok()) << "promised";
  EXPECT_TRUE(world.run(write_page(disk, 10, 2)).ok()) << "held already";
  ASSERT_TRUE(world.run(disk.discard(DiskOffset{10 * kPage}, kPage)).ok());
  EXPECT_TRUE(world.run(write_page(disk, 12, 1)).ok()) << "given back";
}

TEST(Disk, ADiscardReadsAsZeroesAndIsVolatileUntilFlushed) {
  std::set<int> seen;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    World world(seed);
    Disk disk(world, 1ull << 40);
    for (std::uint64_t page : {1, 5}) {
      ASSERT_TRUE(world.run(write_page(disk, page, 4, io::Durability::kDurable)).ok());
    }
    ASSERT_TRUE(world.run(write_page(disk, 6, 4)).ok());
    ASSERT_TRUE(world.run(disk.discard(DiskOffset{5 * kPage}, (1ull << 40) - 5 * kPage)).ok());
    EXPECT_EQ(sectors_of(disk, 5, 2), all(0, 2));
    if (seed % 2 == 0) {
      ASSERT_TRUE(world.run(disk.flush()).ok());
      disk.crash();
      EXPECT_EQ(sectors_of(disk, 5, 2), all(0, 2));
    } else {
      disk.crash();
      for (int value : sectors_of(disk, 5)) seen.insert(value);
    }
    EXPECT_EQ(sectors_of(disk, 1), all(4));
  }
  EXPECT_EQ(seen, (std::set<int>{0, 4}));
}

TEST(Disk, EndsWhereItWasShrunkTo) {
  World world(1);
  Disk disk(world, 4 * kPage);
  ASSERT_TRUE(world.run(write_page(disk, 3, 1)).ok());
  disk.shrink(2 * kPage);
  EXPECT_EQ(disk.size_bytes(), 2 * kPage);
  const Result<int> beyond = read_first_byte(world, disk, 3);
  ASSERT_FALSE(beyond.ok());
  EXPECT_EQ(beyond.error().code, ErrorCode::kIo);
  EXPECT_FALSE(world.run(write_page(disk, 1, 1, io::Durability::kVolatile, 2)).ok());
  EXPECT_TRUE(read_first_byte(world, disk, 1).ok());
}

TEST(Disk, DamageReachesDurableAndVolatileBytesAlike) {
  World world(1);
  Disk disk(world, 1 << 20);
  ASSERT_TRUE(world.run(write_page(disk, 0, 1, io::Durability::kDurable)).ok());
  ASSERT_TRUE(world.run(write_page(disk, 0, 2)).ok());
  disk.flip_bit(10, 7);
  std::vector<std::byte> at(1);
  disk.peek(10, at);
  EXPECT_EQ(at[0], std::byte{0x82});
  disk.poke(4090, as_bytes("twelve bytes"));
  std::vector<std::byte> text(12);
  for (int round = 0; round < 2; ++round) {
    disk.peek(4090, text);
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(text.data()), text.size()), "twelve bytes");
    disk.crash();
  }
  disk.peek(10, at);
  EXPECT_TRUE(at[0] == std::byte{0x82} || at[0] == std::byte{0x81});
}

TEST(DiskDeathTest, AssertsThatEverythingIsAligned) {
  World world(1);
  Disk disk(world, 1 << 20);
  Buffer odd = Buffer::allocate(2 * kPage);
  EXPECT_DEATH((void)world.run(disk.read(DiskOffset{512}, odd)), "assertion failed");
  EXPECT_DEATH((void)world.run(disk.read(DiskOffset{0}, odd.slice(0, 100))), "assertion failed");
  EXPECT_DEATH((void)world.run(disk.read(DiskOffset{0}, odd.slice(512, kPage))), "assertion failed");
}

TEST(Disk, GoesAwayWhileOperationsAreInFlight) {
  World world(1);
  io::TaskScope scope(world);
  {
    Disk disk(world, 1 << 20);
    scope.spawn([](Disk& d) -> io::Task<void> {
      const Result<void> written = co_await write_page(d, 0, 9);
      EXPECT_TRUE(written.ok());
    }(disk));
    world.run_for(Duration::microseconds(5));
  }
  world.run_for(Duration::seconds(1));
  EXPECT_EQ(scope.running(), 1u);
}

}  // namespace
}  // namespace tidemark::sim
