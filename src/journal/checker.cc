// Proving what lies on the disk: every frame is read from there, whatever is in memory, and held against all
// checksums that it has.

#include <algorithm>

#include "base/crc32c.h"
#include "journal/state.h"

namespace tidemark::journal {
namespace {

// Read at once: the largest frame fits, small ones come by the hundred.
constexpr std::uint32_t kCheckBlocks = 256;

std::string where(Place place) {
  return "segment " + std::to_string(place.generation()) + " block " + std::to_string(place.block());
}

}  // namespace

// At least `blocks` from `place` on, in `window`. What lies at or after `end` (in the same segment) is left
// out.
io::Task<Result<Buffer>> State::check_read(Place place, std::uint32_t blocks, std::uint32_t end,
                                           CheckWindow* held) {
  const auto inside = [&] {
    return held->begin.generation() == place.generation() && held->begin <= place && !held->bytes.empty() &&
           place.block() + blocks <= held->begin.block() + held->bytes.size() / kBlockSizeBytes;
  };
  if (!inside()) {
    const std::uint32_t count = std::min(std::max(blocks, kCheckBlocks), end - place.block());
    if (count < blocks) co_return tidemark::fail(ErrorCode::kInvalid, "a frame is longer than its segment");
    const DiskOffset offset = disk_offset(place);
    Buffer bytes = Buffer::allocate(count * kBlockSizeBytes);
    auto read = co_await disk.read(offset, bytes);
    if (!read.ok() && count > blocks) {
      // One block that cannot be read shall not hide those before it.
      bytes = Buffer::allocate(blocks * kBlockSizeBytes);
      read = co_await disk.read(offset, bytes);
    }
    if (!read.ok()) co_return std::move(read).error();
    held->begin = place;
    held->bytes = bytes;
  }
  co_return held->bytes.slice((place.block() - held->begin.block()) * kBlockSizeBytes,
                              blocks * kBlockSizeBytes);
}

// The frame at `place`, whole; `frame` has what it is.
io::Task<Result<void>> State::check_frame(Place place, std::uint32_t end, CheckWindow* held,
                                          CheckedFrame* frame) {
  // While it is read and mended, the segment is not given to somebody else. Also a reader that is given up
  // half way lets go of it.
  struct Pinned {
    State& state;
    std::multiset<std::uint64_t>::iterator pin;
    ~Pinned() {
      state.pins.erase(pin);
      state.pin_dropped.wake_all();
    }
  };
  const Pinned pinned{*this, pins.insert(place.generation())};
  TM_CO_TRY_ASSIGN(const Buffer first, co_await check_read(place, 1, end, held));
  if (!format::decode_frame_header(first, superblock.group, place).ok()) {
    (void)co_await read_other_frame_block(place, first);
  }
  TM_CO_TRY_ASSIGN(const format::FrameHeader header,
                   format::decode_frame_header(first, superblock.group, place));
  if (place.block() + header.blocks() > end) {
    co_return tidemark::fail(ErrorCode::kInvalid, "a frame is longer than its segment");
  }
  TM_CO_TRY_ASSIGN(const Buffer whole, co_await check_read(place, header.blocks(), end, held));
  const Bytes overflow = Bytes(whole).subspan((1 + header.payload_blocks) * kBlockSizeBytes);
  TM_CO_TRY_ASSIGN(const std::vector<std::byte> meta,
                   format::decode_frame_meta(header, Bytes(whole).first(kBlockSizeBytes), overflow));
  const Bytes payload = Bytes(whole).subspan(kBlockSizeBytes, header.payload_blocks * kBlockSizeBytes);
  if (header.kind == format::FrameKind::kSegment) {
    TM_CO_TRY_ASSIGN(const format::SegmentStart start, format::decode_segment_start(meta));
    const Segment* segment = find_segment(place.generation());
    if (segment != nullptr &&
        (start.index != segment->index || start.previous_end != segment->previous_end)) {
      co_return tidemark::fail(ErrorCode::kDamaged, "a segment's first block tells of another segment");
    }
  } else if (header.kind == format::FrameKind::kSnapshotPart) {
    TM_CO_TRY_ASSIGN(const format::SnapshotPart part, format::decode_snapshot_part(meta));
    if (part.part_bytes > payload.size() || crc32c(payload.first(part.part_bytes)) != part.checksum) {
      co_return tidemark::fail(ErrorCode::kDamaged, "a part of a snapshot does not match its checksum");
    }
  } else if (header.kind == format::FrameKind::kBatch) {
    TM_CO_TRY_ASSIGN(format::DecodedBatchMeta decoded, format::decode_batch_meta(meta));
    if (!is_of_order(decoded.meta.group, superblock.group)) {
      co_return tidemark::fail(ErrorCode::kDamaged, "a batch is of another group");
    }
    frame->is_batch = true;
    frame->checksum = decoded.checksum;
    frame->meta = std::move(decoded.meta);
    frame->payload = whole.slice(kBlockSizeBytes, payload.size());
    for (std::size_t i = 0; i < frame->meta.entries.size(); ++i) {
      const format::Entry& entry = frame->meta.entries[i];
      for (std::size_t block = 0; block < entry.checksums.size(); ++block) {
        const std::size_t at = (entry.payload_block + block) * kBlockSizeBytes;
        if (at + kBlockSizeBytes <= payload.size() &&
            crc32c(payload.subspan(at, kBlockSizeBytes)) == entry.checksums[block]) {
          continue;
        }
        if (at + kBlockSizeBytes <= payload.size()) {
          const DiskOffset offset{disk_offset(place.plus(1)).value + at};
          Buffer piece = frame->payload.slice(at, kBlockSizeBytes);
          const std::uint32_t checksum = entry.checksums[block];
          const auto other = co_await read_other_payload_block(offset, std::move(piece), checksum);
          if (other.ok()) continue;
        }
        frame->damaged.push_back({static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(block)});
      }
    }
  }
  frame->next = place.plus(header.blocks());
  co_return Result<void>{};
}

io::Task<Result<std::optional<CheckedFrame>>> State::check(Place from, CheckWindow* held) {
  if (failed.has_value()) co_return *failed;
  if (used.empty()) co_return std::optional<CheckedFrame>{};
  Place at = from.is_none() ? Place(used.front().generation, 0) : from;
  const auto segment =
      std::lower_bound(used.begin(), used.end(), at.generation(),
                       [](const Segment& s, std::uint64_t generation) { return s.generation < generation; });
  if (segment == used.end()) co_return std::optional<CheckedFrame>{};
  if (at.generation() < used.front().generation) {
    co_return tidemark::fail(ErrorCode::kExpired, "the journal no longer holds what lies there");
  }
  if (segment->generation != at.generation()) at = Place(segment->generation, 0);
  std::uint32_t end = segment_blocks();
  const auto next = std::next(segment);
  if (next != used.end() && next->previous_end.generation() == at.generation()) {
    end = next->previous_end.block();
    if (at.block() >= end) {
      at = Place(next->generation, 0);
      const auto after = std::next(next);
      end = after != used.end() && after->previous_end.generation() == at.generation()
                ? after->previous_end.block()
                : segment_blocks();
    }
  }
  // What is on its way to the disk proves nothing.
  if (at >= durable_end) co_return std::optional<CheckedFrame>{};
  if (durable_end.generation() == at.generation()) end = std::min(end, durable_end.block());
  CheckedFrame frame;
  frame.place = at;
  auto checked = co_await check_frame(at, end, held, &frame);
  if (find_segment(at.generation()) == nullptr) {
    co_return tidemark::fail(ErrorCode::kExpired, "the journal no longer holds what lies there");
  }
  if (!checked.ok()) {
    frame.is_batch = false;
    frame.unreadable = tidemark::fail(
        checked.error().code == ErrorCode::kIo ? ErrorCode::kIo : ErrorCode::kDamaged,
        where(at) + " of the journal (" + on_log_volume(disk_offset(at)) + "): " + checked.error().message);
    // The next frame of the segment that reads, or the segment's end; no further than a piece at once.
    std::uint32_t block = at.block() + 1;
    const std::uint32_t looked_at = std::min(end, block + kCheckBlocks);
    while (block < looked_at) {
      CheckedFrame other;
      const Place place(at.generation(), block);
      auto found = co_await check_frame(place, end, held, &other);
      if (find_segment(at.generation()) == nullptr) {
        co_return tidemark::fail(ErrorCode::kExpired, "the journal no longer holds what lies there");
      }
      if (found.ok()) break;
      ++block;
    }
    frame.next = Place(at.generation(), block);
  }
  frame.bytes = (frame.next.block() - at.block()) * kBlockSizeBytes;
  co_return std::optional<CheckedFrame>(std::move(frame));
}

io::Task<Result<std::optional<CheckedFrame>>> Journal::check(Place from, CheckWindow* window) {
  co_return co_await state_->check(from, window);
}

io::Task<Result<void>> Journal::repair(Place block, Buffer right) {
  State& state = *state_;
  if (state.failed.has_value()) co_return *state.failed;
  if (state.find_segment(block.generation()) == nullptr) {
    co_return tidemark::fail(ErrorCode::kExpired, "the journal no longer holds what lies there");
  }
  const Pin kept = pin(block);
  const DiskOffset offset = state.disk_offset(block);
  std::vector<Buffer> pieces{std::move(right)};
  co_return co_await state.disk.write(offset, std::move(pieces), io::Durability::kDurable);
}

io::Task<std::string> Journal::check_superblock() {
  State& state = *state_;
  // Neither slot is written meanwhile.
  auto guard = co_await state.superblock_mutex.lock();
  // Of the other slot only a crash may have left a part, which is no damage.
  const std::uint64_t offset = state.superblock.sequence % 2 * kBlockSizeBytes;
  const std::string name = "the journal's superblock (log volume offset " + std::to_string(offset) + "): ";
  Buffer block = Buffer::allocate(kBlockSizeBytes);
  auto read = co_await state.disk.read(DiskOffset{offset}, block);
  if (!read.ok()) co_return name + read.error().message;
  const auto decoded = format::decode_journal_superblock(block);
  if (!decoded.ok()) co_return name + decoded.error().message;
  if (decoded->sequence != state.superblock.sequence)
    co_return name + "it is not the one that was written last";
  co_return std::string();
}

std::uint64_t Journal::bytes_before(Place place) const {
  std::uint64_t blocks = 0;
  for (const Segment& segment : state_->used) {
    if (segment.generation > place.generation()) break;
    blocks += segment.generation == place.generation() ? place.block() : state_->segment_blocks();
  }
  return blocks * kBlockSizeBytes;
}

}  // namespace tidemark::journal
