#include "format/batch.h"

#include "base/codec.h"
#include "base/crc32c.h"

namespace tidemark::format {
namespace {

constexpr std::uint32_t kBatchMagic = 0x31424d54;  // "TMB1"
constexpr std::uint16_t kBatchVersion = 1;
constexpr std::size_t kBatchHeaderBytes = 72;
constexpr std::size_t kDescriptorBytes = 32;
constexpr std::size_t kChecksumBytes = 4;
constexpr std::uint8_t kMarkFlag = 1;
constexpr std::uint64_t kVolumeBlocksMax = 1ull << 44;  // 64 PiB

Error invalid(const std::string& what) {
  return fail(ErrorCode::kInvalid, "a batch " + what);
}

bool carries_blocks(EntryKind kind) {
  return kind == EntryKind::kWrite || kind == EntryKind::kZero || kind == EntryKind::kDiscard;
}

void encode_entry(Encoder& out, const Entry& entry) {
  TM_ASSERT(entry.body.size() <= kEntryBodyBytesMax);
  TM_ASSERT(entry.blocks.count() <= UINT32_MAX);
  out.u8(static_cast<std::uint8_t>(entry.kind));
  out.u8(entry.kind == EntryKind::kMark ? kMarkFlag : 0);
  out.u16(static_cast<std::uint16_t>(entry.body.size()));
  out.u32(entry.volume.value);
  out.u64(entry.blocks.begin);
  out.u32(static_cast<std::uint32_t>(entry.blocks.count()));
  out.u32(entry.payload_block);
  out.i64(entry.timer.ns);
  for (const std::uint32_t checksum : entry.checksums) out.u32(checksum);
  out.raw(Bytes(entry.body));
}

Result<Entry> decode_entry(Decoder& in, std::uint32_t payload_blocks) {
  Entry entry;
  const std::uint8_t kind = in.u8();
  const std::uint8_t flags = in.u8();
  const std::uint16_t body_bytes = in.u16();
  entry.volume.value = in.u32();
  entry.blocks.begin = in.u64();
  const std::uint32_t block_count = in.u32();
  entry.payload_block = in.u32();
  entry.timer.ns = in.i64();
  if (in.failed()) return invalid("ends within a descriptor");
  if (kind < 1 || kind > 5) {
    return fail(ErrorCode::kUnsupported, "a batch has an entry of the unknown kind " + std::to_string(kind) +
                                             "; it was written by a newer version of tidemarkd");
  }
  entry.kind = static_cast<EntryKind>(kind);
  entry.blocks.end = entry.blocks.begin + block_count;
  if (flags != (entry.kind == EntryKind::kMark ? kMarkFlag : 0))
    return invalid("has an entry with wrong flags");
  if (carries_blocks(entry.kind)) {
    if (entry.volume.value == 0 || block_count == 0 || entry.blocks.begin > kVolumeBlocksMax ||
        body_bytes != 0) {
      return invalid("has an entry with a place out of bounds");
    }
  } else if (entry.volume.value != 0 || block_count != 0 || entry.blocks.begin != 0) {
    return invalid("has an entry with a place it cannot have");
  }
  if (entry.kind == EntryKind::kWrite) {
    if (block_count > kEntryBlocksMax || entry.payload_block > payload_blocks ||
        block_count > payload_blocks - entry.payload_block) {
      return invalid("has an entry with its payload out of bounds");
    }
    entry.checksums.reserve(block_count);
    for (std::uint32_t i = 0; i < block_count; ++i) entry.checksums.push_back(in.u32());
  } else if (entry.payload_block != 0) {
    return invalid("has an entry with a payload it cannot have");
  }
  const Bytes body = in.raw(body_bytes);
  entry.body.assign(body.begin(), body.end());
  if (in.failed()) return invalid("ends within an entry");
  return entry;
}

}  // namespace

std::size_t encoded_entry_bytes(std::size_t payload_blocks, std::size_t body_bytes) {
  return kDescriptorBytes + kChecksumBytes * payload_blocks + body_bytes;
}

std::size_t encoded_batch_bytes_least() {
  return kBatchHeaderBytes + kChecksumBytes;
}

std::vector<std::byte> encode_batch_meta(const BatchMeta& meta) {
  Encoder out;
  out.u32(kBatchMagic);
  out.u16(kBatchVersion);
  out.u16(static_cast<std::uint16_t>(kBatchHeaderBytes));
  out.raw(meta.group.bytes);
  out.raw(meta.epoch_identity.bytes);
  out.u64(meta.first.raw());
  out.u32(meta.parent_checksum);
  out.u64(meta.durable_through.raw());
  out.u32(static_cast<std::uint32_t>(meta.entries.size()));
  out.u32(meta.payload_blocks);
  const std::size_t length_at = out.size();
  out.u32(0);
  TM_ASSERT(out.size() == kBatchHeaderBytes);
  for (const Entry& entry : meta.entries) encode_entry(out, entry);
  out.patch_u32(length_at, static_cast<std::uint32_t>(out.size() - kBatchHeaderBytes));
  out.u32(crc32c(out.bytes()));
  return out.take();
}

Result<DecodedBatchMeta> decode_batch_meta(Bytes bytes) {
  if (bytes.size() < kBatchHeaderBytes + kChecksumBytes) return invalid("is shorter than its header");
  DecodedBatchMeta decoded;
  Decoder tail(bytes.last(kChecksumBytes));
  decoded.checksum = tail.u32();
  const Bytes covered = bytes.first(bytes.size() - kChecksumBytes);
  if (crc32c(covered) != decoded.checksum) {
    return fail(ErrorCode::kDamaged, "a batch does not match its checksum");
  }
  Decoder in(covered);
  BatchMeta& meta = decoded.meta;
  if (in.u32() != kBatchMagic) return invalid("does not begin with its magic number");
  const std::uint16_t version = in.u16();
  if (version != kBatchVersion) {
    return fail(ErrorCode::kUnsupported, "a batch has format version " + std::to_string(version) +
                                             "; this tidemarkd knows version " +
                                             std::to_string(kBatchVersion));
  }
  if (in.u16() != kBatchHeaderBytes) return invalid("has a header of the wrong size");
  meta.group.bytes = in.array<16>();
  meta.epoch_identity.bytes = in.array<16>();
  meta.first = LogId::from_raw(in.u64());
  meta.parent_checksum = in.u32();
  meta.durable_through = LogId::from_raw(in.u64());
  const std::uint32_t entry_count = in.u32();
  meta.payload_blocks = in.u32();
  const std::uint32_t descriptor_bytes = in.u32();
  if (entry_count == 0 || entry_count > kBatchEntriesMax || meta.payload_blocks > kBatchPayloadBlocksMax) {
    return invalid("has more or fewer entries or blocks than allowed");
  }
  if (descriptor_bytes != in.remaining()) return invalid("has descriptors of the wrong length");
  if (meta.first.epoch().value == 0 || meta.first.sequence() == 0 ||
      meta.first.sequence() + entry_count > kSequenceMax) {
    return invalid("has log ids out of bounds");
  }
  meta.entries.reserve(entry_count);
  for (std::uint32_t i = 0; i < entry_count; ++i) {
    TM_TRY_ASSIGN(Entry entry, decode_entry(in, meta.payload_blocks));
    if (!meta.entries.empty() && entry.timer < meta.entries.back().timer) {
      return invalid("has timer values that go back");
    }
    meta.entries.push_back(std::move(entry));
  }
  if (!in.done()) return invalid("has bytes left over");
  return decoded;
}

}  // namespace tidemark::format
