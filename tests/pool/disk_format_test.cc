#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "base/crc32c.h"
#include "format/disk.h"
#include "pool/pool_fixture.h"

namespace tidemark::format {
namespace {

using pool::identity_of;

DiskLabel sample_label() {
  DiskLabel label;
  label.disk = identity_of<DiskIdentity>(0x80);
  label.node = identity_of<NodeIdentity>(0x10);
  label.size_bytes = 1ull << 40;
  label.generation = 3;
  label.layout = *make_disk_layout(label.size_bytes);
  return label;
}

LuTableRecord sample_lu() {
  LuTableRecord record;
  record.sequence = 9;
  record.number = LuNumber{5};
  record.kind = 2;
  record.group = identity_of<GroupIdentity>(0x40);
  record.volume = VolumeId{0};
  record.size_bytes = 8ull << 30;
  record.first_slot = 100;
  record.slot_count = 2045;
  return record;
}

ExtentHeader sample_header() {
  ExtentHeader header;
  header.disk = identity_of<DiskIdentity>(0x80);
  header.slot = 77;
  header.owner = LuNumber{5};
  header.extent_index = 3;
  header.generation = 12;
  header.group = identity_of<GroupIdentity>(0x40);
  header.volume = VolumeId{2};
  return header;
}

ExtentChecksums sample_checksums() {
  ExtentChecksums checksums;
  checksums.written = 0b1011;
  checksums.lost = 0b0100;
  checksums.checksum[0] = 0x11111111;
  checksums.checksum[1] = 0x22222222;
  checksums.checksum[3] = 0x44444444;
  return checksums;
}

LogVolumeHeader sample_log() {
  LogVolumeHeader header;
  header.disk = identity_of<DiskIdentity>(0x80);
  header.first_slot = 100;
  header.slot_count = 2045;
  header.owner = LuNumber{5};
  header.group = identity_of<GroupIdentity>(0x40);
  header.size_bytes = 8ull << 30;
  return header;
}

std::string to_hex(Bytes bytes) {
  std::string text;
  for (const std::byte byte : bytes) {
    static constexpr char kDigits[] = "0123456789abcdef";
    text.push_back(kDigits[std::to_integer<unsigned>(byte) >> 4]);
    text.push_back(kDigits[std::to_integer<unsigned>(byte) & 15]);
  }
  return text;
}

// Each byte flipped in each bit, and each truncation: never accepted.
void expect_no_damage_accepted(std::vector<std::byte> bytes, const std::function<bool(Bytes)>& accepts) {
  ASSERT_TRUE(accepts(bytes));
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      bytes[i] ^= std::byte(1u << bit);
      EXPECT_FALSE(accepts(bytes)) << "byte " << i << " bit " << bit;
      bytes[i] ^= std::byte(1u << bit);
    }
  }
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_FALSE(accepts(Bytes(bytes).first(length))) << "length " << length;
  }
}

std::vector<std::byte> encoded_label(const DiskLabel& label) {
  std::vector<std::byte> bytes(kSectorSizeBytes, std::byte{0xff});
  encode_disk_label(label, 1, bytes);
  return bytes;
}

std::vector<std::byte> encoded_extent_record() {
  std::vector<std::byte> bytes(kExtentRecordSizeBytes, std::byte{0xff});
  encode_extent_record({LuNumber{5}, 3, 12}, identity_of<DiskIdentity>(0x80), 77, bytes);
  return bytes;
}

TEST(DiskFormat, LabelReadsBackAndRejectsAllDamage) {
  DiskLabel label = sample_label();
  label.pool = PoolNumber{3};
  const auto bytes = encoded_label(label);
  const auto decoded = decode_disk_label(bytes, 1);
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_EQ(*decoded, label);
  EXPECT_EQ(decode_disk_label(bytes, 0).error().code, ErrorCode::kDamaged);
  expect_no_damage_accepted(bytes, [](Bytes b) { return decode_disk_label(b, 1).ok(); });
}

TEST(DiskFormat, LuRecordReadsBackAndRejectsAllDamage) {
  const auto disk = identity_of<DiskIdentity>(0x80);
  std::vector<std::byte> bytes(kSectorSizeBytes, std::byte{0xff});
  encode_lu_record(sample_lu(), disk, 4, bytes);
  const auto decoded = decode_lu_record(bytes, disk, 4);
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_EQ(*decoded, sample_lu());
  EXPECT_EQ(decode_lu_record(bytes, disk, 5).error().code, ErrorCode::kDamaged);
  EXPECT_EQ(decode_lu_record(bytes, identity_of<DiskIdentity>(0x81), 4).error().code, ErrorCode::kDamaged);
  expect_no_damage_accepted(bytes, [&disk](Bytes b) { return decode_lu_record(b, disk, 4).ok(); });
}

TEST(DiskFormat, ExtentRecordReadsBackAndRejectsAllDamage) {
  const auto disk = identity_of<DiskIdentity>(0x80);
  const auto bytes = encoded_extent_record();
  const auto decoded = decode_extent_record(bytes, disk, 77);
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_EQ(*decoded, (ExtentRecord{LuNumber{5}, 3, 12}));
  EXPECT_EQ(decode_extent_record(bytes, disk, 78).error().code, ErrorCode::kDamaged);
  EXPECT_EQ(decode_extent_record(bytes, identity_of<DiskIdentity>(0x81), 77).error().code,
            ErrorCode::kDamaged);
  expect_no_damage_accepted(bytes, [&disk](Bytes b) { return decode_extent_record(b, disk, 77).ok(); });
}

TEST(DiskFormat, ExtentSectorReadsBackAndRejectsAllDamage) {
  std::vector<std::byte> bytes(kSectorSizeBytes, std::byte{0xff});
  encode_extent_sector(sample_header(), 15, sample_checksums(), bytes);
  const auto decoded = decode_extent_sector(bytes, sample_header(), 15);
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_EQ(*decoded, sample_checksums());
  EXPECT_EQ(*decode_extent_header(bytes, 15), sample_header());
  EXPECT_EQ(decode_extent_sector(bytes, sample_header(), 14).error().code, ErrorCode::kDamaged);
  ExtentHeader older = sample_header();
  --older.generation;
  EXPECT_EQ(decode_extent_sector(bytes, older, 15).error().code, ErrorCode::kDamaged);
  expect_no_damage_accepted(bytes, [](Bytes b) { return decode_extent_sector(b, sample_header(), 15).ok(); });
}

TEST(DiskFormat, ASectorThatSaysWrittenAndLostOfOneBlockIsDamaged) {
  ExtentChecksums checksums = sample_checksums();
  checksums.lost |= 1;
  std::vector<std::byte> bytes(kSectorSizeBytes);
  encode_extent_sector(sample_header(), 0, checksums, bytes);
  EXPECT_EQ(decode_extent_sector(bytes, sample_header(), 0).error().code, ErrorCode::kDamaged);
}

TEST(DiskFormat, LogVolumeHeaderReadsBackAndRejectsAllDamage) {
  std::vector<std::byte> bytes(kSectorSizeBytes, std::byte{0xff});
  encode_log_volume_header(sample_log(), bytes);
  const auto decoded = decode_log_volume_header(bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_EQ(*decoded, sample_log());
  expect_no_damage_accepted(bytes, [](Bytes b) { return decode_log_volume_header(b).ok(); });
}

TEST(DiskFormat, BlankBytesAreNotFoundAndNotDamage) {
  const std::vector<std::byte> blank(kSectorSizeBytes);
  const auto disk = identity_of<DiskIdentity>(0x80);
  EXPECT_EQ(decode_disk_label(blank, 0).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(decode_lu_record(blank, disk, 0).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(decode_log_volume_header(blank).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(decode_extent_record(Bytes(blank).first(kExtentRecordSizeBytes), disk, 0).error().code,
            ErrorCode::kNotFound);
  // In an extent in use every sector was written once.
  EXPECT_EQ(decode_extent_sector(blank, sample_header(), 0).error().code, ErrorCode::kDamaged);
}

TEST(DiskFormat, ANewerVersionIsUnsupportedNotDamaged) {
  auto bytes = encoded_label(sample_label());
  bytes[8] = std::byte{2};
  const std::uint32_t crc = crc32c(Bytes(bytes).first(508));
  for (std::size_t i = 0; i < 4; ++i) bytes[508 + i] = std::byte(crc >> (8 * i));
  EXPECT_EQ(decode_disk_label(bytes, 1).error().code, ErrorCode::kUnsupported);
}

TEST(DiskFormat, ALabelWithImpossiblePlacesIsDamaged) {
  DiskLabel label = sample_label();
  label.layout.slots_offset = label.layout.extent_table_offset[0];
  EXPECT_EQ(decode_disk_label(encoded_label(label), 1).error().code, ErrorCode::kDamaged);
  label = sample_label();
  label.layout.slot_count += 100;
  EXPECT_EQ(decode_disk_label(encoded_label(label), 1).error().code, ErrorCode::kDamaged);
  label = sample_label();
  label.layout.slots_offset = UINT64_MAX - 4095;
  EXPECT_EQ(decode_disk_label(encoded_label(label), 1).error().code, ErrorCode::kDamaged);
  label = sample_label();
  label.pool.value = kPoolsMax;
  EXPECT_EQ(decode_disk_label(encoded_label(label), 1).error().code, ErrorCode::kDamaged);
}

TEST(DiskFormat, ALabelWhoseTablesEndAtTheEndOfAllNumbersIsDamaged) {
  // The first extent table ends within the last 4 KiB of 2^64; rounded up, what follows it would be looked
  // for from 0 on, over the label.
  DiskLabel label = sample_label();
  label.size_bytes = UINT64_MAX;
  label.layout.slot_count = 1;
  label.layout.extent_table_offset[0] = UINT64_MAX - 4095;
  label.layout.extent_table_offset[1] = 0;
  label.layout.slots_offset = 1 << 20;
  EXPECT_EQ(decode_disk_label(encoded_label(label), 1).error().code, ErrorCode::kDamaged);
}

TEST(DiskFormat, LayoutUsesTheDiskToItsLastExtent) {
  for (const std::uint64_t size : {std::uint64_t{16} << 20, std::uint64_t{1} << 30, std::uint64_t{1} << 40,
                                   (std::uint64_t{1} << 40) + 4096 * 777}) {
    const auto layout = make_disk_layout(size);
    ASSERT_TRUE(layout.ok());
    const std::uint64_t end = layout->slots_offset + layout->slot_count * kSlotSizeBytes;
    EXPECT_LE(end, size);
    EXPECT_LT(size - end, kSlotSizeBytes + (2 << 20)) << size;
  }
  EXPECT_EQ(make_disk_layout(1 << 20).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(make_disk_layout(UINT64_MAX / 2).error().code, ErrorCode::kInvalid);
}

// The bytes of docs/formats/disk.md. A change here is a change of the format.
TEST(DiskFormat, GoldenBytes) {
  const auto label = encoded_label(sample_label());
  EXPECT_EQ(to_hex(Bytes(label).first(128)),
            "544d4449534b0d0a0100000001000000808182838485868788898a8b8c8d8e8f"
            "101112131415161718191a1b1c1d1e1f00000000000100000300000000000000"
            "00001000000000000000300000000000000050000000000000c0cf0000000000"
            "0000500100000000fbfd03000000000000204000000000000010000000040000");
  EXPECT_EQ(to_hex(Bytes(label).last(4)), "719947d7");
  std::vector<std::byte> lu(kSectorSizeBytes);
  encode_lu_record(sample_lu(), identity_of<DiskIdentity>(0x80), 4, lu);
  EXPECT_EQ(to_hex(Bytes(lu).first(96)),
            "544d4c554e49540a0100000004000000808182838485868788898a8b8c8d8e8f"
            "09000000000000000500000002010000404142434445464748494a4b4c4d4e4f"
            "000000000000000000000000020000006400000000000000fd07000000000000");
  EXPECT_EQ(to_hex(Bytes(lu).last(4)), "2f4df142");
  EXPECT_EQ(to_hex(encoded_extent_record()),
            "545845314d00000005000000030000000c00000000000000000000004c601677");
  std::vector<std::byte> sector(kSectorSizeBytes);
  encode_extent_sector(sample_header(), 15, sample_checksums(), sector);
  EXPECT_EQ(to_hex(Bytes(sector).first(112)),
            "544d455854454e54010000000f000000808182838485868788898a8b8c8d8e8f"
            "4d0000000000000005000000030000000c000000000000004041424344454647"
            "48494a4b4c4d4e4f02000000000000000b000000000000000400000000000000"
            "11111111222222220000000044444444");
  EXPECT_EQ(to_hex(Bytes(sector).last(4)), "09e2782e");
  std::vector<std::byte> log(kSectorSizeBytes);
  encode_log_volume_header(sample_log(), log);
  EXPECT_EQ(to_hex(Bytes(log).first(80)),
            "544d4c4f47564f4c0100000000000000808182838485868788898a8b8c8d8e8f"
            "6400000000000000fd0700000000000005000000000000004041424344454647"
            "48494a4b4c4d4e4f0000000002000000");
  EXPECT_EQ(to_hex(Bytes(log).last(4)), "06fae777");
}

}  // namespace
}  // namespace tidemark::format
