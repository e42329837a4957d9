#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"

namespace tidemark::format {

// What an entry does. Numbers are on disk and on the link; they are never used for something else.
enum class EntryKind : std::uint8_t {
  kWrite = 1,    // blocks get the payload
  kZero = 2,     // blocks read as zeroes (WRITE_ZEROES)
  kDiscard = 3,  // blocks read as zeroes and their space may be given back (TRIM)
  kMark = 4,     // body: MarkRecord. The only kind with the mark flag
  kControl = 5,  // body: a ControlRecord (format/records.h): shape, epochs, names for past points, holds
};

inline constexpr std::uint32_t kEntryBlocksMax = 256;  // 1 MiB of payload; larger writes are split
inline constexpr std::uint64_t kEntryRangeBlocksMax = 1ull << 31;  // 8 TiB of zeroes; longer ranges are split
inline constexpr std::uint32_t kEntryBodyBytesMax = 60'000;        // fits 16 bits with room to spare
inline constexpr std::uint32_t kBatchEntriesMax = 4096;
inline constexpr std::uint32_t kBatchPayloadBlocksMax = 512;  // 2 MiB; see Journal for what is usual

// One entry of a batch as its readers see it. Its log id is the batch's first plus its index.
struct Entry {
  EntryKind kind = EntryKind::kWrite;
  VolumeId volume{};                       // kWrite, kZero, kDiscard
  BlockRange blocks{};                     // kWrite, kZero, kDiscard
  WallTime timer{};                        // never decreases along an epoch
  std::uint32_t payload_block = 0;         // kWrite: where its payload begins in the batch's payload
  std::vector<std::uint32_t> checksums{};  // kWrite: CRC32C of each block of payload
  std::vector<std::byte> body{};           // kMark, kControl
};

// The part of a batch that is the same on both nodes and on the link: everything but the payload.
// docs/formats/batch.md is the page of this format.
struct BatchMeta {
  GroupIdentity group{};
  EpochIdentity epoch_identity{};
  LogId first{};                      // log id of entries[0]
  std::uint32_t parent_checksum = 0;  // checksum of the batch before it on its branch; 0 for a group's first
  LogId durable_through{};            // what the writer knew to be durable when it closed the batch
  std::vector<Entry> entries{};
  std::uint32_t payload_blocks = 0;

  LogId last() const { return LogId::from_raw(first.raw() + entries.size() - 1); }
};

// The encoded form: a fixed header, then one descriptor per entry with its checksums and body. Its last
// field is the CRC32C of all the rest: the batch's checksum, by which its successor names it.
std::vector<std::byte> encode_batch_meta(const BatchMeta& meta);

// Bytes that one more entry adds to an encoded meta, and the bytes of a meta without entries.
std::size_t encoded_entry_bytes(std::size_t payload_blocks, std::size_t body_bytes);
std::size_t encoded_batch_bytes_least();

struct DecodedBatchMeta {
  BatchMeta meta;
  std::uint32_t checksum = 0;
};
// `bytes` is exactly one encoded meta, and may be anything. kDamaged when the checksum does not match,
// kUnsupported for a newer version, kInvalid when a field is out of its bounds.
Result<DecodedBatchMeta> decode_batch_meta(Bytes bytes);

}  // namespace tidemark::format
