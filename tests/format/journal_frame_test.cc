#include "format/journal_frame.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/crc32c.h"
#include "damage.h"

namespace tidemark::format {
namespace {

GroupIdentity group_of(std::uint8_t first) {
  GroupIdentity identity;
  for (std::uint8_t& byte : identity.bytes) byte = first++;
  return identity;
}

std::vector<std::byte> pattern(std::size_t size) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = std::byte((i * 7 + i / 256) & 0xff);
  return bytes;
}

FrameHeader example_header(std::uint32_t meta_bytes) {
  return {.kind = FrameKind::kBatch,
          .group = group_of(0x10),
          .place = Place(5, 6),
          .meta_bytes = meta_bytes,
          .payload_blocks = 3,
          .durable_end = Place(5, 2)};
}

Bytes head_of(const Buffer& block, std::size_t bytes) {
  return Bytes(block).first(bytes);
}

TEST(JournalFrame, ReadsBackMetasOfEverySizeAroundABlock) {
  for (const std::uint32_t size : {0u, 1u, 4031u, 4032u, 4033u, 8128u, 8129u, kFrameMetaBytesMax}) {
    const std::vector<std::byte> meta = pattern(size);
    const FrameHeader header = example_header(size);
    const EncodedFrame frame = encode_frame(header, meta);
    ASSERT_EQ(frame.first.size(), kBlockSizeBytes);
    EXPECT_EQ(frame.overflow.size(), header.meta_overflow_blocks() * kBlockSizeBytes);
    EXPECT_EQ(header.blocks(), 1 + 3 + frame.overflow.size() / kBlockSizeBytes);
    const auto decoded = decode_frame_header(frame.first, header.group, header.place);
    ASSERT_TRUE(decoded.ok()) << decoded.error().message;
    EXPECT_EQ(decoded->kind, header.kind);
    EXPECT_EQ(decoded->meta_bytes, size);
    EXPECT_EQ(decoded->payload_blocks, 3u);
    EXPECT_EQ(decoded->durable_end, header.durable_end);
    const auto back = decode_frame_meta(*decoded, frame.first, frame.overflow);
    ASSERT_TRUE(back.ok()) << back.error().message;
    EXPECT_EQ(*back, meta);
  }
}

TEST(JournalFrame, OverflowBlocksAreCountedExactly) {
  EXPECT_EQ(example_header(0).meta_overflow_blocks(), 0u);
  EXPECT_EQ(example_header(4032).meta_overflow_blocks(), 0u);
  EXPECT_EQ(example_header(4033).meta_overflow_blocks(), 1u);
  EXPECT_EQ(example_header(4032 + 4096).meta_overflow_blocks(), 1u);
  EXPECT_EQ(example_header(4032 + 4097).meta_overflow_blocks(), 2u);
}

TEST(JournalFrame, HasTheBytesOfItsPage) {
  const EncodedFrame frame = encode_frame(example_header(4), pattern(4));
  EXPECT_EQ(hex(head_of(frame.first, 68)),
            "544d463101000100101112131415161718191a1b1c1d1e1f0600000500000000040000000300000002000005"
            "00000000000000000000000000000000eba4324e00070e15");
  EXPECT_TRUE(all_zero(Bytes(frame.first).subspan(68)));
}

TEST(JournalFrame, EveryFlippedByteOfHeaderAndMetaIsSeen) {
  const std::uint32_t size = 5000;
  const std::vector<std::byte> meta = pattern(size);
  const FrameHeader header = example_header(size);
  const EncodedFrame frame = encode_frame(header, meta);
  for_each_flip(frame.first, [&](Bytes first, std::size_t at) {
    const auto decoded = decode_frame_header(first, header.group, header.place);
    if (!decoded.ok()) return;
    const auto back = decode_frame_meta(*decoded, first, frame.overflow);
    EXPECT_FALSE(back.ok()) << "byte " << at << " of the first block";
  });
  for_each_flip(frame.overflow, [&](Bytes overflow, std::size_t at) {
    const auto back = decode_frame_meta(header, frame.first, overflow);
    if (at < size - (kBlockSizeBytes - kFrameHeaderBytes)) {
      ASSERT_FALSE(back.ok()) << "byte " << at << " of the overflow";
      EXPECT_EQ(back.error().code, ErrorCode::kDamaged);
    } else {
      EXPECT_TRUE(back.ok()) << "padding";
    }
  });
}

TEST(JournalFrame, ItsPlaceAndGroupMustMatch) {
  const EncodedFrame frame = encode_frame(example_header(4), pattern(4));
  EXPECT_EQ(decode_frame_header(frame.first, group_of(0x10), Place(4, 6)).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(decode_frame_header(frame.first, group_of(0x10), Place(5, 7)).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(decode_frame_header(frame.first, group_of(0x11), Place(5, 6)).error().code, ErrorCode::kInvalid);
}

TEST(JournalFrame, EveryTruncationIsRefused) {
  const std::vector<std::byte> meta = pattern(5000);
  const FrameHeader header = example_header(5000);
  const EncodedFrame frame = encode_frame(header, meta);
  for_each_truncation(frame.first, [&](Bytes bytes) {
    EXPECT_FALSE(decode_frame_header(bytes, header.group, header.place).ok());
    EXPECT_FALSE(decode_frame_meta(header, bytes, frame.overflow).ok());
  });
  for_each_truncation(Bytes(frame.overflow).first(5000 - 4032),
                      [&](Bytes bytes) { EXPECT_FALSE(decode_frame_meta(header, frame.first, bytes).ok()); });
}

TEST(JournalFrame, ANewerVersionIsUnsupportedAndUnknownKindsAreInvalid) {
  const FrameHeader header = example_header(4);
  const EncodedFrame frame = encode_frame(header, pattern(4));
  frame.first.writable()[4] = std::byte{2};
  EXPECT_EQ(decode_frame_header(frame.first, header.group, header.place).error().code,
            ErrorCode::kUnsupported);
  frame.first.writable()[4] = std::byte{1};
  for (const unsigned kind : {0u, 5u, 255u}) {
    frame.first.writable()[6] = std::byte(kind);
    EXPECT_EQ(decode_frame_header(frame.first, header.group, header.place).error().code, ErrorCode::kInvalid);
  }
}

TEST(JournalFrame, LengthsOutOfBoundsAreInvalid) {
  const FrameHeader header = example_header(4);
  const EncodedFrame frame = encode_frame(header, pattern(4));
  const auto code_with = [&](std::size_t at, unsigned value) {
    const Buffer block = Buffer::copy_of(frame.first);
    block.writable()[at] = std::byte(value);
    const auto decoded = decode_frame_header(block, header.group, header.place);
    return decoded.ok() ? ErrorCode::kShutdown : decoded.error().code;
  };
  EXPECT_EQ(code_with(34, 0x10), ErrorCode::kInvalid) << "a meta of a megabyte";
  EXPECT_EQ(code_with(37, 0x10), ErrorCode::kInvalid) << "4099 blocks of payload";
  EXPECT_EQ(code_with(40, 0x07), ErrorCode::kInvalid) << "durable beyond itself";
}

TEST(SegmentStart, ReadsBackAndHasTheBytesOfItsPage) {
  const SegmentStart start{.index = 9,
                           .previous_end = Place(4, 63),
                           .first = LogId(Epoch{2}, 77),
                           .first_timer = WallTime{1'234'567'890}};
  const std::vector<std::byte> bytes = encode_segment_start(start);
  EXPECT_EQ(hex(bytes), "090000003f000004000000004d00000000020000d202964900000000");
  const auto back = decode_segment_start(bytes);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->index, start.index);
  EXPECT_EQ(back->previous_end, start.previous_end);
  EXPECT_EQ(back->first, start.first);
  EXPECT_EQ(back->first_timer, start.first_timer);
  for_each_truncation(bytes, [](Bytes prefix) { EXPECT_FALSE(decode_segment_start(prefix).ok()); });
}

TEST(SnapshotPart, ReadsBackAndHasTheBytesOfItsPage) {
  const SnapshotPart part{
      .number = 3, .part = 1, .parts = 2, .total_bytes = 5000, .part_bytes = 904, .checksum = 0xcafef00d};
  const std::vector<std::byte> bytes = encode_snapshot_part(part);
  EXPECT_EQ(hex(bytes), "030000000000000001000000020000008813000000000000880300000df0feca");
  const auto back = decode_snapshot_part(bytes);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->number, part.number);
  EXPECT_EQ(back->part, part.part);
  EXPECT_EQ(back->parts, part.parts);
  EXPECT_EQ(back->total_bytes, part.total_bytes);
  EXPECT_EQ(back->part_bytes, part.part_bytes);
  EXPECT_EQ(back->checksum, part.checksum);
  for_each_truncation(bytes, [](Bytes prefix) { EXPECT_FALSE(decode_snapshot_part(prefix).ok()); });
}

TEST(SnapshotPart, FieldsOutOfBoundsAreInvalid) {
  SnapshotPart part{.number = 1, .part = 2, .parts = 2, .total_bytes = 1, .part_bytes = 1};
  EXPECT_EQ(decode_snapshot_part(encode_snapshot_part(part)).error().code, ErrorCode::kInvalid);
  part.part = 0;
  part.part_bytes = kFrameBlocksMax * kBlockSizeBytes + 1;
  EXPECT_EQ(decode_snapshot_part(encode_snapshot_part(part)).error().code, ErrorCode::kInvalid);
}

JournalSuperblock example_superblock() {
  return {.sequence = 12,
          .group = group_of(0x10),
          .segment_size_bytes = 256 << 10,
          .segment_count = 64,
          .segments_prepared = 5,
          .oldest_generation = 3,
          .durable_end = Place(7, 9),
          .snapshot_number = 2,
          .snapshot_place = Place(6, 20),
          .snapshot_scan = Place(6, 11),
          .snapshot_last = LogId(Epoch{1}, 99),
          .snapshot_last_checksum = 0x01020304,
          .snapshot_last_timer = WallTime{55},
          .void_generation_begin = 34,
          .void_generation_end = 36,
          .local_record = {std::byte{1}, std::byte{2}, std::byte{3}}};
}

TEST(JournalSuperblock, ReadsBackAndHasTheBytesOfItsPage) {
  const JournalSuperblock superblock = example_superblock();
  const Buffer block = encode_journal_superblock(superblock);
  ASSERT_EQ(block.size(), kBlockSizeBytes);
  EXPECT_EQ(hex(head_of(block, 131)),
            "544d4a31010000000c00000000000000101112131415161718191a1b1c1d1e1f000004000000000040000000"
            "0500000003000000000000000900000700000000020000000000000014000006000000000b00000600000000"
            "6300000000010000040302013700000000000000220000000000000024000000000000000300000001"
            "0203");
  EXPECT_EQ(hex(Bytes(block).last(4)), "3c6fe025");
  EXPECT_TRUE(all_zero(Bytes(block).subspan(131, kBlockSizeBytes - 131 - 4)));
  const auto back = decode_journal_superblock(block);
  ASSERT_TRUE(back.ok()) << back.error().message;
  EXPECT_EQ(back->sequence, superblock.sequence);
  EXPECT_EQ(back->group, superblock.group);
  EXPECT_EQ(back->segment_size_bytes, superblock.segment_size_bytes);
  EXPECT_EQ(back->segment_count, superblock.segment_count);
  EXPECT_EQ(back->segments_prepared, superblock.segments_prepared);
  EXPECT_EQ(back->oldest_generation, superblock.oldest_generation);
  EXPECT_EQ(back->durable_end, superblock.durable_end);
  EXPECT_EQ(back->snapshot_number, superblock.snapshot_number);
  EXPECT_EQ(back->snapshot_place, superblock.snapshot_place);
  EXPECT_EQ(back->snapshot_scan, superblock.snapshot_scan);
  EXPECT_EQ(back->snapshot_last, superblock.snapshot_last);
  EXPECT_EQ(back->snapshot_last_checksum, superblock.snapshot_last_checksum);
  EXPECT_EQ(back->snapshot_last_timer, superblock.snapshot_last_timer);
  EXPECT_EQ(back->void_generation_begin, superblock.void_generation_begin);
  EXPECT_EQ(back->void_generation_end, superblock.void_generation_end);
  EXPECT_EQ(back->local_record, superblock.local_record);
}

TEST(JournalSuperblock, HoldsTheLargestLocalRecord) {
  JournalSuperblock superblock = example_superblock();
  superblock.local_record = pattern(kLocalRecordBytesMax);
  const auto back = decode_journal_superblock(encode_journal_superblock(superblock));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->local_record, superblock.local_record);
}

TEST(JournalSuperblock, NamesFurtherLogVolumes) {
  JournalSuperblock superblock = example_superblock();
  superblock.further = {{LuNumber{5}, 64, 7, false}, {LuNumber{100'000'002}, 80, 1, true}};
  superblock.segments_prepared = 70;
  const Buffer block = encode_journal_superblock(superblock);
  EXPECT_EQ(hex(head_of(block, 8)), "544d4a3102000000");
  EXPECT_EQ(hex(Bytes(block).subspan(131, 27)),
            "0205000000400000000700000000"
            "02e1f505500000000100000001");
  const auto back = decode_journal_superblock(block);
  ASSERT_TRUE(back.ok()) << back.error().message;
  EXPECT_EQ(back->further, superblock.further);
  EXPECT_EQ(back->segments_end(), 81u);
  EXPECT_EQ(back->segments_prepared, 70u);
  superblock.local_record = pattern(kLocalRecordBytesMax);
  while (superblock.further.size() < kFurtherLogVolumesMax) {
    superblock.further.push_back({LuNumber{9}, superblock.segments_end(), 3, false});
  }
  const auto largest = decode_journal_superblock(encode_journal_superblock(superblock));
  ASSERT_TRUE(largest.ok()) << largest.error().message;
  EXPECT_EQ(largest->further, superblock.further);
}

TEST(JournalSuperblock, EveryFlippedByteIsSeen) {
  for_each_flip(encode_journal_superblock(example_superblock()), [](Bytes bytes, std::size_t at) {
    const auto decoded = decode_journal_superblock(bytes);
    ASSERT_FALSE(decoded.ok()) << "byte " << at;
    EXPECT_EQ(decoded.error().code, at < 4 ? ErrorCode::kNotFound : ErrorCode::kDamaged) << "byte " << at;
  });
}

TEST(JournalSuperblock, EveryTruncationIsRefused) {
  for_each_truncation(encode_journal_superblock(example_superblock()),
                      [](Bytes bytes) { EXPECT_FALSE(decode_journal_superblock(bytes).ok()); });
}

TEST(JournalSuperblock, FieldsOutOfBoundsAreInvalid) {
  const auto code_with = [](auto change) {
    JournalSuperblock superblock = example_superblock();
    change(superblock);
    const auto decoded = decode_journal_superblock(encode_journal_superblock(superblock));
    return decoded.ok() ? ErrorCode::kShutdown : decoded.error().code;
  };
  EXPECT_EQ(code_with([](JournalSuperblock& s) { s.segment_size_bytes = 15 * 4096; }), ErrorCode::kInvalid);
  EXPECT_EQ(code_with([](JournalSuperblock& s) { s.segment_size_bytes += 512; }), ErrorCode::kInvalid);
  EXPECT_EQ(code_with([](JournalSuperblock& s) { s.segment_size_bytes = 1ull << 40; }), ErrorCode::kInvalid);
  EXPECT_EQ(code_with([](JournalSuperblock& s) { s.segment_count = 3; }), ErrorCode::kInvalid);
  EXPECT_EQ(code_with([](JournalSuperblock& s) { s.segments_prepared = 65; }), ErrorCode::kInvalid);
  const auto code_with_volume = [&](FurtherLogVolume volume) {
    return code_with([&](JournalSuperblock& s) { s.further = {{LuNumber{5}, 64, 6, false}, volume}; });
  };
  EXPECT_EQ(code_with_volume({LuNumber{6}, 70, 1, false}), ErrorCode::kShutdown);
  EXPECT_EQ(code_with_volume({LuNumber{6}, 69, 1, false}), ErrorCode::kInvalid);
  EXPECT_EQ(code_with_volume({LuNumber{6}, 70, 0, false}), ErrorCode::kInvalid);
  EXPECT_EQ(code_with_volume({LuNumber{6}, 70, UINT32_MAX, false}), ErrorCode::kInvalid);
  EXPECT_EQ(code_with_volume({LuNumber{6}, kSegmentIndexMax, 1, false}), ErrorCode::kInvalid);
  EXPECT_EQ(code_with([](JournalSuperblock& s) {
              s.segment_size_bytes = 64ull << 30;
              s.further = {{LuNumber{5}, 1u << 26, 1, false}};
            }),
            ErrorCode::kInvalid)
      << "the end of its segments is no address";
}

TEST(JournalSuperblock, ABlockOfZeroesIsNoJournalAndANewerVersionIsUnsupported) {
  const std::vector<std::byte> zeroes(kBlockSizeBytes);
  EXPECT_EQ(decode_journal_superblock(zeroes).error().code, ErrorCode::kNotFound);
  Buffer block = encode_journal_superblock(example_superblock());
  block.writable()[4] = std::byte{3};
  const std::uint32_t checksum = crc32c(Bytes(block).first(kBlockSizeBytes - 4));
  for (std::size_t i = 0; i < 4; ++i) {
    block.writable()[kBlockSizeBytes - 4 + i] = std::byte(checksum >> (8 * i));
  }
  EXPECT_EQ(decode_journal_superblock(block).error().code, ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace tidemark::format
