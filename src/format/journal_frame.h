#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/place.h"
#include "base/result.h"
#include "base/time.h"

namespace tidemark::format {

// What lies around a batch on one node's log volume. docs/formats/journal.md is the page of these formats.

enum class FrameKind : std::uint8_t {
  kBatch = 1,         // meta: an encoded BatchMeta; payload: its payload
  kSeal = 2,          // no meta, no payload: only says what is durable
  kSnapshotPart = 3,  // meta: SnapshotPart; payload: a piece of the group's state
  kSegment = 4,       // block 0 of every segment; meta: SegmentStart
};

inline constexpr std::size_t kFrameHeaderBytes = 64;
inline constexpr std::uint32_t kFrameMetaBytesMax = 512 << 10;
inline constexpr std::uint32_t kFrameBlocksMax = 1024;

// A frame is: one block with the header and the first part of its meta, then the payload, then the rest of
// the meta in as many blocks as it needs. So the payload begins one block after the frame, whatever the
// meta's length turns out to be.
struct FrameHeader {
  FrameKind kind = FrameKind::kBatch;
  GroupIdentity group{};
  Place place{};  // of the frame itself: catches misdirected and stale blocks
  std::uint32_t meta_bytes = 0;
  std::uint32_t payload_blocks = 0;
  Place durable_end{};  // everything before this place was durable when the frame was made

  std::uint32_t meta_overflow_blocks() const {
    const std::size_t first = kBlockSizeBytes - kFrameHeaderBytes;
    return meta_bytes <= first
               ? 0
               : static_cast<std::uint32_t>((meta_bytes - first + kBlockSizeBytes - 1) / kBlockSizeBytes);
  }
  std::uint32_t blocks() const { return 1 + payload_blocks + meta_overflow_blocks(); }
};

// Header and meta as whole blocks: the first, and the overflow. The checksum covers header and meta.
struct EncodedFrame {
  Buffer first;     // one block
  Buffer overflow;  // may be empty
};
EncodedFrame encode_frame(const FrameHeader& header, Bytes meta);

// The place that a frame's first block gives for itself, for whoever does not know it yet; none when there is
// no frame. Nothing is verified.
Place frame_place(Bytes block);

// The header alone, from the first block; nothing is verified but that its fields are in bounds and that it
// lies where it says. kInvalid when there is no frame of this group and place.
Result<FrameHeader> decode_frame_header(Bytes block, const GroupIdentity& group, Place place);
// The meta of a frame, whole, with its checksum verified: kDamaged otherwise. `overflow` holds the blocks
// after the payload.
Result<std::vector<std::byte>> decode_frame_meta(const FrameHeader& header, Bytes first_block,
                                                 Bytes overflow);

// Meta of a segment's first block.
struct SegmentStart {
  std::uint32_t index = 0;  // position on the log volume
  Place previous_end{};     // where the segment before it ends; none for the journal's first
  LogId first{};            // the next log id when the segment was begun
  WallTime first_timer{};
};
std::vector<std::byte> encode_segment_start(const SegmentStart& start);
Result<SegmentStart> decode_segment_start(Bytes bytes);

// Meta of one piece of a snapshot.
struct SnapshotPart {
  std::uint64_t number = 0;  // of the snapshot
  std::uint32_t part = 0;
  std::uint32_t parts = 0;
  std::uint64_t total_bytes = 0;
  std::uint32_t part_bytes = 0;
  std::uint32_t checksum = 0;  // CRC32C of this part's bytes
};
std::vector<std::byte> encode_snapshot_part(const SnapshotPart& part);
Result<SnapshotPart> decode_snapshot_part(Bytes bytes);

// A log volume that was added to the one with the superblocks. It holds segments and nothing else.
struct FurtherLogVolume {
  LuNumber number{};
  std::uint32_t first_segment = 0;  // index of the segment that lies at its begin
  std::uint32_t segment_count = 0;
  bool leaving = false;  // no segment on it is taken any more; when all are free, it goes
  std::uint32_t end() const { return first_segment + segment_count; }
  bool operator==(const FurtherLogVolume&) const = default;
};
inline constexpr std::size_t kFurtherLogVolumesMax = 15;
inline constexpr std::uint32_t kSegmentIndexMax = 1u << 31;
// Addresses of all segments, those of log volumes that were removed included, are below.
inline constexpr std::uint64_t kJournalBytesMax = 1ull << 62;

// The first two blocks of a group's first log volume, written in turn; the readable one with the higher
// sequence counts.
inline constexpr std::size_t kLocalRecordBytesMax = 3000;
struct JournalSuperblock {
  std::uint64_t sequence = 0;
  GroupIdentity group{};
  std::uint64_t segment_size_bytes = 0;
  std::uint32_t segment_count = 0;           // on the first log volume
  std::uint32_t segments_prepared = 0;       // this many, from index 0 on, have been written in full
  std::uint64_t oldest_generation = 0;       // older segments are free
  Place durable_end{};                       // everything before it was durable when this was written
  std::uint64_t snapshot_number = 0;         // 0: none
  Place snapshot_place{};                    // of its first part, or a frame before it
  Place snapshot_scan{};                     // a scan from here yields all that the snapshot does not hold
  LogId snapshot_last{};                     // newest entry that the snapshot holds
  std::uint32_t snapshot_last_checksum = 0;  // of its batch
  WallTime snapshot_last_timer{};
  // Segments of generations in [begin, end) count for nothing: a recovery found them at the end of the
  // journal, with nothing in them that was needed, and gave them back.
  std::uint64_t void_generation_begin = 0;
  std::uint64_t void_generation_end = 0;
  std::vector<std::byte> local_record{};
  std::vector<FurtherLogVolume> further{};  // by their first segment; where one was removed is a hole
  // Beyond the highest index of a segment.
  std::uint32_t segments_end() const { return further.empty() ? segment_count : further.back().end(); }
};
Buffer encode_journal_superblock(const JournalSuperblock& superblock);
// kNotFound when the block holds something else, kDamaged when its checksum is wrong, kUnsupported for a
// newer version, kInvalid for fields out of bounds.
Result<JournalSuperblock> decode_journal_superblock(Bytes block);

}  // namespace tidemark::format
