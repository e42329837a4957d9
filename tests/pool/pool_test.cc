#include "pool/pool.h"

#include "pool/pool_fixture.h"

namespace tidemark::pool {
namespace {

class PoolTest : public PoolFixture {};

TEST_F(PoolTest, FormatRefusesADiskThatIsNotBlank) {
  start(1, 64 * kMiB);
  EXPECT_EQ(world->run(Pool::format(*environment, *disk, node)).error().code, ErrorCode::kExists);
  sim::Disk other(*world, 64 * kMiB);
  const std::vector<std::byte> junk(512, std::byte{0x5a});
  other.poke(64 << 10, junk);
  EXPECT_EQ(world->run(Pool::format(*environment, other, node)).error().code, ErrorCode::kExists);
}

TEST_F(PoolTest, OpenNamesWhatIsWrongWithTheLabel) {
  start(2, 64 * kMiB);
  sim::Disk blank(*world, 64 * kMiB);
  EXPECT_EQ(world->run(Pool::open(*environment, blank, node)).error().code, ErrorCode::kNotFound);

  const NodeIdentity mine = node;
  node = identity_of<NodeIdentity>(0x99);
  const std::uint64_t writes = disk->writes();
  EXPECT_EQ(try_open().error().code, ErrorCode::kRefused);
  EXPECT_EQ(disk->writes(), writes) << "somebody else's disk is left alone";
  node = mine;

  // One copy damaged: used from the other, and repaired.
  EXPECT_TRUE(pool == nullptr || pool->notices().empty());
  disk->flip_bit(100, 3);
  ASSERT_TRUE(try_open().ok());
  ASSERT_EQ(pool->notices().size(), 1u);
  EXPECT_NE(pool->notices()[0].find("copy 0 of the disk's label"), std::string::npos) << pool->notices()[0];
  disk->flip_bit((64 << 10) + 7, 0);
  ASSERT_TRUE(try_open().ok()) << "the first copy was written again";
  ASSERT_EQ(pool->notices().size(), 1u);
  EXPECT_NE(pool->notices()[0].find("copy 1 of the disk's label"), std::string::npos) << pool->notices()[0];
  ASSERT_TRUE(try_open().ok());
  EXPECT_TRUE(pool->notices().empty()) << "it is told until the next start";
  disk->flip_bit(100, 3);
  disk->flip_bit((64 << 10) + 7, 0);
  EXPECT_EQ(try_open().error().code, ErrorCode::kDamaged);
  disk->flip_bit(100, 3);
  ASSERT_TRUE(try_open().ok());

  pool.reset();
  disk->shrink(60 * kMiB);
  const auto shrunk = try_open();
  EXPECT_EQ(shrunk.error().code, ErrorCode::kIo);
  EXPECT_NE(shrunk.error().message.find("smaller than"), std::string::npos);
}

TEST_F(PoolTest, ANewerVersionIsRefusedAndLeftAlone) {
  start(3, 64 * kMiB);
  for (const std::uint64_t at : format::kLabelOffset) {
    std::vector<std::byte> sector(512);
    disk->peek(at, sector);
    sector[8] = std::byte{2};
    const std::uint32_t crc = crc32c(Bytes(sector).first(508));
    for (std::size_t i = 0; i < 4; ++i) sector[508 + i] = std::byte(crc >> (8 * i));
    disk->poke(at, sector);
  }
  EXPECT_EQ(try_open().error().code, ErrorCode::kUnsupported);
}

TEST_F(PoolTest, FormatCutShortIsNotFoundOrWhole) {
  for (std::uint64_t seed = 1; seed <= 25; ++seed) {
    stop();
    world = std::make_unique<sim::World>(seed);
    disk = std::make_unique<sim::Disk>(*world, 64 * kMiB);
    environment = std::make_unique<io::Environment>(world->environment());
    {
      io::TaskScope scope(*world);
      auto format_it = [](io::Environment& e, io::Disk& d, NodeIdentity n) -> io::Task<void> {
        (void)co_await Pool::format(e, d, n);
      };
      scope.spawn(format_it(*environment, *disk, node));
      world->run_for(Duration::microseconds(static_cast<std::int64_t>(world->random().below(2000))));
    }
    disk->crash();
    const auto opened = try_open();
    if (opened.ok()) continue;
    EXPECT_EQ(opened.error().code, ErrorCode::kNotFound) << opened.error().message;
    EXPECT_TRUE(world->run(Pool::format(*environment, *disk, node)).ok());
    EXPECT_TRUE(try_open().ok());
  }
}

TEST_F(PoolTest, UnitsAndTheirNumbersSurviveReopening) {
  start(4, 128 * kMiB);
  const LuNumber first = make_volume(100 * kMiB, 1);
  const auto log = world->run(pool->create_log_volume(group, 8 * kMiB));
  ASSERT_TRUE(log.ok());
  EXPECT_NE(first, *log);
  crash();
  open();
  const auto units = pool->units();
  ASSERT_EQ(units.size(), 2u);
  EXPECT_EQ(units[0].number, first);
  EXPECT_EQ(units[0].kind, LuKind::kData);
  EXPECT_EQ(units[0].group, group);
  EXPECT_EQ(units[0].volume, VolumeId{1});
  EXPECT_EQ(units[0].size_bytes, 100 * kMiB);
  EXPECT_EQ(units[1].number, *log);
  EXPECT_EQ(units[1].kind, LuKind::kLog);
  EXPECT_EQ(units[1].size_bytes, 8 * kMiB);
  EXPECT_EQ(pool->data_volume(*log), nullptr);
  EXPECT_EQ(pool->log_volume(first), nullptr);
  EXPECT_EQ(pool->log_volume(*log)->size_bytes(), 8 * kMiB);
}

TEST_F(PoolTest, NumbersAreNeverUsedAgain) {
  start(5, 64 * kMiB);
  std::uint32_t last = 0;
  for (int round = 0; round < 12; ++round) {
    const LuNumber number = make_volume(kMiB);
    EXPECT_GT(number.value, last);
    last = number.value;
    ASSERT_TRUE(world->run(pool->remove(number)).ok());
    if (round % 3 == 0) {
      crash();
      open();
    }
    EXPECT_TRUE(pool->units().empty());
  }
  EXPECT_EQ(world->run(pool->remove(LuNumber{last})).error().code, ErrorCode::kNotFound);
}

TEST_F(PoolTest, ATableFullOfUnitsIsNoSpaceAndRemovedOnesMakeRoom) {
  start(6, 64 * kMiB, {Duration::microseconds(1), Duration::microseconds(2)});
  LuNumber last{};
  for (std::uint32_t i = 0; i < format::kLuRecordsDefault; ++i) last = make_volume(kMiB, i + 1);
  const auto more = world->run(pool->create_data_volume(group, VolumeId{1}, kMiB));
  EXPECT_EQ(more.error().code, ErrorCode::kNoSpace);
  ASSERT_TRUE(world->run(pool->remove(LuNumber{1000})).ok());
  const LuNumber newest = make_volume(kMiB);
  EXPECT_GT(newest, last);
  open();
  EXPECT_EQ(pool->units().size(), format::kLuRecordsDefault);
}

TEST_F(PoolTest, OneDamagedCopyOfATableIsRepairedBothAreNamed) {
  start(7, 128 * kMiB);
  const LuNumber number = make_volume(64 * kMiB);
  ASSERT_TRUE(write(number, {0, 3}, 50).ok());
  ASSERT_TRUE(flush(number).ok());
  const auto layout = *format::make_disk_layout(128 * kMiB);
  const std::uint64_t slot =
      (disk_offset(number, 0) - format::kExtentHeadBytes - layout.slots_offset) / format::kSlotSizeBytes;
  const auto damage_both_in_turn = [&](const std::array<std::uint64_t, 2>& at) {
    for (const std::uint64_t offset : at) {
      disk->flip_bit(offset + 20, 5);
      open();
      EXPECT_EQ(pool->notices().size(), offset < layout.extent_table_offset[0] ? 1u : 0u);
      expect_stamps(number, {0, 3}, 50);
    }
    for (const std::uint64_t offset : at) disk->flip_bit(offset + 20, 5);
    EXPECT_EQ(try_open().error().code, ErrorCode::kDamaged);
    for (const std::uint64_t offset : at) disk->flip_bit(offset + 20, 5);
    open();
  };
  damage_both_in_turn(layout.lu_table_offset);
  damage_both_in_turn({layout.extent_table_offset[0] + slot * format::kExtentRecordSizeBytes,
                       layout.extent_table_offset[1] + slot * format::kExtentRecordSizeBytes});
}

// The usual fault of a disk: a sector that gives an error, and is good again once it is written.
TEST_F(PoolTest, ASectorOfOneCopyThatCannotBeReadIsReadFromTheOtherAndWrittenAgain) {
  start(7, 128 * kMiB);
  const LuNumber number = make_volume(64 * kMiB);
  ASSERT_TRUE(write(number, {0, 3}, 50).ok());
  ASSERT_TRUE(flush(number).ok());
  const auto layout = *format::make_disk_layout(128 * kMiB);
  const std::array<std::array<std::uint64_t, 2>, 3> places = {
      std::array{format::kLabelOffset[0], format::kLabelOffset[1]},
      std::array{layout.lu_table_offset[0], layout.lu_table_offset[1]},
      std::array{layout.extent_table_offset[0], layout.extent_table_offset[1]}};
  for (const auto& copies : places) {
    for (const std::uint64_t offset : copies) {
      SCOPED_TRACE(offset);
      disk->make_unreadable(offset);
      open();
      expect_stamps(number, {0, 3}, 50);
      Buffer block = Buffer::allocate(kBlockSizeBytes);
      EXPECT_TRUE(world->run(disk->read(DiskOffset{offset}, block)).ok()) << "written again";
    }
    for (const std::uint64_t offset : copies) disk->make_unreadable(offset);
    EXPECT_FALSE(try_open().ok());
    for (const std::uint64_t offset : copies) disk->make_readable(offset);
    open();
  }
  // While it is in use.
  disk->make_unreadable(layout.extent_table_offset[0]);
  ASSERT_TRUE(write(number, {2 * kExtent, 2 * kExtent + 3}, 70).ok());
  ASSERT_TRUE(flush(number).ok());
  crash();
  open();
  expect_stamps(number, {0, 3}, 50);
  expect_stamps(number, {2 * kExtent, 2 * kExtent + 3}, 70);
}

TEST_F(PoolTest, AnExtentOfAnUnknownUnitIsDamage) {
  start(8, 128 * kMiB);
  const auto layout = *format::make_disk_layout(128 * kMiB);
  std::vector<std::byte> record(format::kExtentRecordSizeBytes);
  format::encode_extent_record({LuNumber{33}, 0, 1}, pool->disk_identity(), 2, record);
  for (const std::uint64_t table : layout.extent_table_offset) {
    disk->poke(table + 2 * format::kExtentRecordSizeBytes, record);
  }
  const auto opened = try_open();
  EXPECT_EQ(opened.error().code, ErrorCode::kDamaged);
  EXPECT_NE(opened.error().message.find("slot 2"), std::string::npos) << opened.error().message;
}

TEST_F(PoolTest, ALogVolumeIsAZeroedDiskOfItsOwn) {
  start(9, 128 * kMiB);
  // Fill and free the whole disk first: nothing of it may shine through.
  const LuNumber filler = make_volume(200 * kMiB);
  std::uint64_t filled = 0;
  while (write(filler, {filled, filled + kExtent}, 1000).ok()) filled += kExtent;
  ASSERT_GT(filled, 20 * kExtent);
  ASSERT_TRUE(flush(filler).ok());
  EXPECT_EQ(world->run(pool->create_log_volume(group, 8 * kMiB)).error().code, ErrorCode::kNoSpace);
  ASSERT_TRUE(world->run(pool->remove(filler)).ok());
  EXPECT_EQ(pool->status().allocated_bytes, 0u);

  const auto made = world->run(pool->create_log_volume(group, 10 * kMiB));
  ASSERT_TRUE(made.ok()) << made.error().message;
  io::Disk* log = pool->log_volume(*made);
  ASSERT_EQ(log->size_bytes(), 10 * kMiB);
  Buffer out = Buffer::allocate(10 * kMiB);
  ASSERT_TRUE(world->run(log->read(DiskOffset{0}, out)).ok());
  EXPECT_TRUE(all_zero(out));

  Buffer data = Buffer::allocate(8192);
  fill_block(5, data.writable());
  ASSERT_TRUE(world->run(log->write(DiskOffset{10 * kMiB - 8192}, {data}, io::Durability::kDurable)).ok());
  std::vector<std::byte> raw(8192);
  disk->peek(pool->log_volume_offset(*made).value + 10 * kMiB - 8192, raw);
  EXPECT_TRUE(std::ranges::equal(raw, Bytes(data)));
  crash();
  open();
  Buffer tail = Buffer::allocate(8192);
  ASSERT_TRUE(world->run(pool->log_volume(*made)->read(DiskOffset{10 * kMiB - 8192}, tail)).ok());
  EXPECT_TRUE(std::ranges::equal(Bytes(tail), Bytes(data)));
  EXPECT_EQ(pool->status().allocated_bytes, 3 * format::kExtentSizeBytes);
  ASSERT_TRUE(world->run(pool->remove(*made)).ok());
  EXPECT_EQ(pool->status().allocated_bytes, 0u);
  EXPECT_EQ(pool->log_volume(*made), nullptr);
}

TEST_F(PoolTest, TheHeaderOfALogVolumeSaysWhoseItIs) {
  start(10, 64 * kMiB);
  const auto made = world->run(pool->create_log_volume(group, 8 * kMiB));
  ASSERT_TRUE(made.ok());
  std::vector<std::byte> sector(512);
  disk->peek(pool->log_volume_offset(*made).value - format::kExtentHeadBytes, sector);
  const auto header = format::decode_log_volume_header(sector);
  ASSERT_TRUE(header.ok()) << header.error().message;
  EXPECT_EQ(header->owner, *made);
  EXPECT_EQ(header->group, group);
  EXPECT_EQ(header->disk, pool->disk_identity());
  EXPECT_EQ(header->size_bytes, 8 * kMiB);
}

TEST_F(PoolTest, SizesThatCannotBeAreRefused) {
  start(11, 64 * kMiB);
  EXPECT_EQ(world->run(pool->create_data_volume(group, VolumeId{1}, 4095)).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(world->run(pool->create_data_volume(group, VolumeId{1}, kVolumeSizeBytesMax + 4096)).error().code,
            ErrorCode::kInvalid);
  EXPECT_EQ(world->run(pool->create_log_volume(group, 100)).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(world->run(pool->create_log_volume(group, std::uint64_t{1} << 62)).error().code,
            ErrorCode::kNoSpace);
  EXPECT_TRUE(pool->units().empty());
  EXPECT_EQ(pool->status().allocated_bytes, 0u);
}

// A crash at any moment of making and removing units leaves each of them whole or gone, and no space lost.
TEST_F(PoolTest, ACrashWhileUnitsComeAndGoLeavesNothingHalfDone) {
  for (std::uint64_t seed = 1; seed <= 25; ++seed) {
    start(seed, 128 * kMiB);
    const LuNumber kept = make_volume(40 * kMiB, 1);
    ASSERT_TRUE(write(kept, {0, 2 * kExtent}, 9000).ok());
    ASSERT_TRUE(flush(kept).ok());
    const LuNumber doomed = make_volume(40 * kMiB, 2);
    ASSERT_TRUE(write(doomed, {0, 3 * kExtent}, 70000).ok());
    ASSERT_TRUE(flush(doomed).ok());
    {
      io::TaskScope scope(*world);
      auto change = [](Pool* p, GroupIdentity g, LuNumber victim) -> io::Task<void> {
        (void)co_await p->create_log_volume(g, 8 * kMiB);
        (void)co_await p->remove(victim);
        (void)co_await p->create_data_volume(g, VolumeId{3}, kMiB);
      };
      scope.spawn(change(pool.get(), group, doomed));
      world->run_for(Duration::microseconds(static_cast<std::int64_t>(world->random().below(6000))));
    }
    crash();
    open();
    std::uint64_t expected_bytes = 0;
    for (const LuRecord& unit : pool->units()) {
      if (unit.number == kept) expected_bytes += 2 * format::kExtentSizeBytes;
      if (unit.number == doomed) {
        expected_bytes += 3 * format::kExtentSizeBytes;
        expect_stamps(doomed, {0, 3 * kExtent}, 70000);
      }
      if (unit.kind == LuKind::kLog) expected_bytes += 2 * format::kExtentSizeBytes;
    }
    EXPECT_EQ(pool->status().allocated_bytes, expected_bytes) << "seed " << seed;
    expect_stamps(kept, {0, 2 * kExtent}, 9000);
  }
}

}  // namespace
}  // namespace tidemark::pool
