#include "format/journal_frame.h"

#include <algorithm>
#include <cstring>

#include "base/codec.h"
#include "base/crc32c.h"

namespace tidemark::format {
namespace {

constexpr std::uint32_t kFrameMagic = 0x31464d54;       // "TMF1"
constexpr std::uint32_t kSuperblockMagic = 0x314a4d54;  // "TMJ1"
constexpr std::uint16_t kFrameVersion = 1;
// One log volume is written as version 1, so that who knows no other can still read it.
constexpr std::uint32_t kSuperblockOfOneVolume = 1;
constexpr std::uint32_t kSuperblockVersion = 2;
constexpr std::size_t kFrameChecksumAt = kFrameHeaderBytes - 4;
constexpr std::size_t kFirstMetaBytes = kBlockSizeBytes - kFrameHeaderBytes;

std::vector<std::byte> encode_frame_header(const FrameHeader& header, std::uint32_t checksum) {
  Encoder out;
  out.u32(kFrameMagic);
  out.u16(kFrameVersion);
  out.u8(static_cast<std::uint8_t>(header.kind));
  out.u8(0);
  out.raw(header.group.bytes);
  out.u64(header.place.raw());
  out.u32(header.meta_bytes);
  out.u32(header.payload_blocks);
  out.u64(header.durable_end.raw());
  out.u64(0);
  out.u32(0);
  out.u32(checksum);
  TM_ASSERT(out.size() == kFrameHeaderBytes);
  return out.take();
}

Error invalid(const char* what) {
  return fail(ErrorCode::kInvalid, what);
}

// What is cut off has no count, or a volume without segments.
Result<std::vector<FurtherLogVolume>> decode_further(Decoder& in, const JournalSuperblock& superblock) {
  std::vector<FurtherLogVolume> further(in.u8());
  if (further.empty() || further.size() > kFurtherLogVolumesMax) {
    return invalid("a journal superblock has a number of log volumes out of bounds");
  }
  std::uint32_t end = superblock.segment_count;
  for (FurtherLogVolume& volume : further) {
    volume.number.value = in.u32();
    volume.first_segment = in.u32();
    volume.segment_count = in.u32();
    const std::uint8_t leaving = in.u8();
    volume.leaving = leaving == 1;
    const bool fits = volume.first_segment >= end && volume.first_segment < kSegmentIndexMax &&
                      volume.segment_count > 0 &&
                      volume.segment_count < kSegmentIndexMax - volume.first_segment;
    if (!fits || leaving > 1) return invalid("a journal superblock has a log volume out of bounds");
    end = volume.end();
  }
  return further;
}

}  // namespace

EncodedFrame encode_frame(const FrameHeader& header, Bytes meta) {
  TM_ASSERT(meta.size() == header.meta_bytes);
  TM_ASSERT(meta.size() <= kFrameMetaBytesMax);
  const std::vector<std::byte> unsigned_header = encode_frame_header(header, 0);
  const std::uint32_t checksum = crc32c_extend(crc32c(Bytes(unsigned_header).first(kFrameChecksumAt)), meta);
  const std::vector<std::byte> bytes = encode_frame_header(header, checksum);
  EncodedFrame frame;
  frame.first = Buffer::allocate(kBlockSizeBytes);
  std::memset(frame.first.data(), 0, kBlockSizeBytes);
  std::memcpy(frame.first.data(), bytes.data(), bytes.size());
  const std::size_t first = std::min(meta.size(), kFirstMetaBytes);
  if (first > 0) std::memcpy(frame.first.data() + kFrameHeaderBytes, meta.data(), first);
  if (meta.size() > first) {
    frame.overflow = Buffer::allocate(header.meta_overflow_blocks() * kBlockSizeBytes);
    std::memset(frame.overflow.data(), 0, frame.overflow.size());
    std::memcpy(frame.overflow.data(), meta.data() + first, meta.size() - first);
  }
  return frame;
}

Place frame_place(Bytes block) {
  Decoder in(block.first(std::min(block.size(), kFrameHeaderBytes)));
  if (in.u32() != kFrameMagic) return {};
  (void)in.raw(20);
  const Place place = Place::from_raw(in.u64());
  return in.failed() ? Place{} : place;
}

Result<FrameHeader> decode_frame_header(Bytes block, const GroupIdentity& group, Place place) {
  if (block.size() < kBlockSizeBytes) return invalid("a frame is shorter than a block");
  Decoder in(block.first(kFrameHeaderBytes));
  if (in.u32() != kFrameMagic) return invalid("there is no frame");
  const std::uint16_t version = in.u16();
  if (version != kFrameVersion) {
    return fail(ErrorCode::kUnsupported, "a journal frame has format version " + std::to_string(version) +
                                             "; this tidemarkd knows version " +
                                             std::to_string(kFrameVersion));
  }
  FrameHeader header;
  const std::uint8_t kind = in.u8();
  if (kind < 1 || kind > 4 || in.u8() != 0) return invalid("a frame is of an unknown kind");
  header.kind = static_cast<FrameKind>(kind);
  header.group.bytes = in.array<16>();
  header.place = Place::from_raw(in.u64());
  header.meta_bytes = in.u32();
  header.payload_blocks = in.u32();
  header.durable_end = Place::from_raw(in.u64());
  if (header.group != group || header.place != place) return invalid("a frame belongs to another place");
  if (header.meta_bytes > kFrameMetaBytesMax || header.payload_blocks > kFrameBlocksMax ||
      header.durable_end > place) {
    return invalid("a frame has a field out of bounds");
  }
  return header;
}

Result<std::vector<std::byte>> decode_frame_meta(const FrameHeader& header, Bytes first_block,
                                                 Bytes overflow) {
  const std::size_t first = std::min<std::size_t>(header.meta_bytes, kFirstMetaBytes);
  const std::size_t rest = header.meta_bytes - first;
  if (first_block.size() < kBlockSizeBytes || overflow.size() < rest) return invalid("a frame is cut off");
  std::vector<std::byte> meta(header.meta_bytes);
  if (first > 0) std::memcpy(meta.data(), first_block.data() + kFrameHeaderBytes, first);
  if (rest > 0) std::memcpy(meta.data() + first, overflow.data(), rest);
  Decoder stored(first_block.subspan(kFrameChecksumAt, 4));
  if (crc32c_extend(crc32c(first_block.first(kFrameChecksumAt)), Bytes(meta)) != stored.u32()) {
    return fail(ErrorCode::kDamaged, "a journal frame does not match its checksum");
  }
  return meta;
}

std::vector<std::byte> encode_segment_start(const SegmentStart& start) {
  Encoder out;
  out.u32(start.index);
  out.u64(start.previous_end.raw());
  out.u64(start.first.raw());
  out.i64(start.first_timer.ns);
  return out.take();
}

Result<SegmentStart> decode_segment_start(Bytes bytes) {
  Decoder in(bytes);
  SegmentStart start;
  start.index = in.u32();
  start.previous_end = Place::from_raw(in.u64());
  start.first = LogId::from_raw(in.u64());
  start.first_timer.ns = in.i64();
  if (!in.done()) return invalid("a segment start has the wrong length");
  return start;
}

std::vector<std::byte> encode_snapshot_part(const SnapshotPart& part) {
  Encoder out;
  out.u64(part.number);
  out.u32(part.part);
  out.u32(part.parts);
  out.u64(part.total_bytes);
  out.u32(part.part_bytes);
  out.u32(part.checksum);
  return out.take();
}

Result<SnapshotPart> decode_snapshot_part(Bytes bytes) {
  Decoder in(bytes);
  SnapshotPart part;
  part.number = in.u64();
  part.part = in.u32();
  part.parts = in.u32();
  part.total_bytes = in.u64();
  part.part_bytes = in.u32();
  part.checksum = in.u32();
  if (!in.done() || part.part >= part.parts || part.part_bytes > kFrameBlocksMax * kBlockSizeBytes) {
    return invalid("a snapshot part has a field out of bounds");
  }
  return part;
}

Buffer encode_journal_superblock(const JournalSuperblock& superblock) {
  TM_ASSERT(superblock.local_record.size() <= kLocalRecordBytesMax);
  Encoder out;
  out.u32(kSuperblockMagic);
  out.u32(superblock.further.empty() ? kSuperblockOfOneVolume : kSuperblockVersion);
  out.u64(superblock.sequence);
  out.raw(superblock.group.bytes);
  out.u64(superblock.segment_size_bytes);
  out.u32(superblock.segment_count);
  out.u32(superblock.segments_prepared);
  out.u64(superblock.oldest_generation);
  out.u64(superblock.durable_end.raw());
  out.u64(superblock.snapshot_number);
  out.u64(superblock.snapshot_place.raw());
  out.u64(superblock.snapshot_scan.raw());
  out.u64(superblock.snapshot_last.raw());
  out.u32(superblock.snapshot_last_checksum);
  out.i64(superblock.snapshot_last_timer.ns);
  out.u64(superblock.void_generation_begin);
  out.u64(superblock.void_generation_end);
  out.u32(static_cast<std::uint32_t>(superblock.local_record.size()));
  out.raw(Bytes(superblock.local_record));
  if (!superblock.further.empty()) {
    TM_ASSERT(superblock.further.size() <= kFurtherLogVolumesMax);
    out.u8(static_cast<std::uint8_t>(superblock.further.size()));
    for (const FurtherLogVolume& volume : superblock.further) {
      out.u32(volume.number.value);
      out.u32(volume.first_segment);
      out.u32(volume.segment_count);
      out.u8(volume.leaving ? 1 : 0);
    }
  }
  out.pad_to(kBlockSizeBytes - 4);
  out.u32(crc32c(out.bytes()));
  TM_ASSERT(out.size() == kBlockSizeBytes);
  return Buffer::copy_of(out.bytes());
}

Result<JournalSuperblock> decode_journal_superblock(Bytes block) {
  if (block.size() != kBlockSizeBytes) return invalid("a journal superblock is not one block");
  Decoder in(block.first(kBlockSizeBytes - 4));
  if (in.u32() != kSuperblockMagic) return fail(ErrorCode::kNotFound, "there is no journal superblock");
  Decoder tail(block.last(4));
  if (tail.u32() != crc32c(block.first(kBlockSizeBytes - 4))) {
    return fail(ErrorCode::kDamaged, "a journal superblock does not match its checksum");
  }
  const std::uint32_t version = in.u32();
  if (version < kSuperblockOfOneVolume || version > kSuperblockVersion) {
    return fail(ErrorCode::kUnsupported, "a journal has format version " + std::to_string(version) +
                                             "; this tidemarkd knows versions up to " +
                                             std::to_string(kSuperblockVersion));
  }
  JournalSuperblock superblock;
  superblock.sequence = in.u64();
  superblock.group.bytes = in.array<16>();
  superblock.segment_size_bytes = in.u64();
  superblock.segment_count = in.u32();
  superblock.segments_prepared = in.u32();
  superblock.oldest_generation = in.u64();
  superblock.durable_end = Place::from_raw(in.u64());
  superblock.snapshot_number = in.u64();
  superblock.snapshot_place = Place::from_raw(in.u64());
  superblock.snapshot_scan = Place::from_raw(in.u64());
  superblock.snapshot_last = LogId::from_raw(in.u64());
  superblock.snapshot_last_checksum = in.u32();
  superblock.snapshot_last_timer.ns = in.i64();
  superblock.void_generation_begin = in.u64();
  superblock.void_generation_end = in.u64();
  const std::uint32_t record_bytes = in.u32();
  if (record_bytes > kLocalRecordBytesMax)
    return invalid("a journal superblock has a local record out of bounds");
  const Bytes record = in.raw(record_bytes);
  superblock.local_record.assign(record.begin(), record.end());
  if (version == kSuperblockVersion) {
    TM_TRY_ASSIGN(superblock.further, decode_further(in, superblock));
  }
  const std::uint64_t segment_blocks = superblock.segment_size_bytes / kBlockSizeBytes;
  if (in.failed() || superblock.segment_size_bytes % kBlockSizeBytes != 0 || segment_blocks < 16 ||
      segment_blocks > Place::kBlockMax || superblock.segment_count < 4 ||
      superblock.segments_prepared > superblock.segments_end() ||
      superblock.segments_end() > kJournalBytesMax / superblock.segment_size_bytes) {
    return invalid("a journal superblock has a field out of bounds");
  }
  return superblock;
}

}  // namespace tidemark::format
