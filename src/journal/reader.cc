// Reading a journal back: frames, scans in append order, look-ups by log id and by time.

#include <algorithm>
#include <cstring>
#include <functional>

#include "base/crc32c.h"
#include "journal/sequential_reader.h"
#include "journal/state.h"

namespace tidemark::journal {
namespace {

// Whether a block is the first one of a frame at the place; its meta too, when all of it is in the block.
std::function<bool(Bytes)> begins_frame(GroupIdentity group, Place place) {
  return [group, place](Bytes block) {
    const auto header = format::decode_frame_header(block, group, place);
    if (!header.ok()) return false;
    return header->meta_overflow_blocks() > 0 || format::decode_frame_meta(*header, block, Bytes()).ok();
  };
}

std::function<bool(Bytes)> has_checksum(std::uint32_t checksum) {
  return [checksum](Bytes block) { return crc32c(block) == checksum; };
}

}  // namespace

// What a RAID group below has instead of a block that is wrong. kDamaged when that is nothing.
io::Task<Result<void>> State::read_other_frame_block(Place place, Buffer block) {
  if (find_segment(place.generation()) == nullptr) {
    co_return tidemark::fail(ErrorCode::kExpired, "the segment has been freed");
  }
  std::function<bool(Bytes)> is_right = begins_frame(superblock.group, place);
  co_return co_await disk.read_other_copies(disk_offset(place), std::move(block), std::move(is_right));
}

io::Task<Result<void>> State::read_other_payload_block(DiskOffset offset, Buffer block,
                                                       std::uint32_t checksum) {
  std::function<bool(Bytes)> is_right = has_checksum(checksum);
  co_return co_await disk.read_other_copies(offset, std::move(block), std::move(is_right));
}

io::Task<Result<Buffer>> State::read_blocks(Place place, std::uint32_t blocks, Place limit) {
  const bool inside = window.begin.generation() == place.generation() && window.begin <= place &&
                      place.block() + blocks <= window.begin.block() + window.blocks;
  if (inside)
    co_return window.bytes.slice((place.block() - window.begin.block()) * kBlockSizeBytes,
                                 blocks * kBlockSizeBytes);
  const std::uint32_t in_segment = segment_blocks() - place.block();
  const std::uint32_t count = std::min(std::max(blocks, window_blocks), in_segment);
  if (count < blocks || find_segment(place.generation()) == nullptr) {
    co_return tidemark::fail(ErrorCode::kInvalid, "a read beyond the end of a segment");
  }
  Buffer bytes = Buffer::allocate(count * kBlockSizeBytes);
  TM_CO_TRY(co_await disk.read(disk_offset(place), bytes));
  // Blocks at or after the limit may still change; they are used now and not kept.
  const std::uint32_t stable = limit.generation() > place.generation() ? count
                               : limit <= place                        ? 0
                                                : std::min(count, limit.block() - place.block());
  window.begin = place;
  window.blocks = stable;
  window.bytes = bytes;
  co_return bytes.slice(0, blocks * kBlockSizeBytes);
}

io::Task<Result<Frame>> State::read_frame(Place place, Place limit, SequentialReader* reader) {
  const auto read = [this, limit, reader](Place at, std::uint32_t blocks) {
    return reader != nullptr ? reader->read_blocks(at, blocks) : read_blocks(at, blocks, limit);
  };
  TM_CO_TRY_ASSIGN(const Buffer first, co_await read(place, 1));
  auto header = format::decode_frame_header(first, superblock.group, place);
  if (!header.ok() && (co_await read_other_frame_block(place, first)).ok()) {
    header = format::decode_frame_header(first, superblock.group, place);
  }
  if (!header.ok()) co_return std::move(header).error();
  Frame frame;
  frame.header = *header;
  if (place.block() + frame.header.blocks() > segment_blocks()) {
    co_return tidemark::fail(ErrorCode::kInvalid, "a frame is longer than its segment");
  }
  Buffer overflow;
  if (const std::uint32_t blocks = frame.header.meta_overflow_blocks(); blocks > 0) {
    const Place at = place.plus(1 + frame.header.payload_blocks);
    TM_CO_TRY_ASSIGN(overflow, co_await read(at, blocks));
  }
  auto meta = format::decode_frame_meta(frame.header, first, overflow);
  if (!meta.ok() && overflow.empty() && (co_await read_other_frame_block(place, first)).ok()) {
    meta = format::decode_frame_meta(frame.header, first, overflow);
  }
  if (!meta.ok()) co_return std::move(meta).error();
  frame.meta = std::move(meta).value();
  co_return frame;
}

io::Task<Result<void>> State::verify_payload(const Frame& frame, const format::BatchMeta& meta) {
  if (frame.header.payload_blocks == 0) co_return Result<void>{};
  Buffer payload = Buffer::allocate(frame.header.payload_blocks * kBlockSizeBytes);
  TM_CO_TRY(co_await disk.read(disk_offset(frame.header.place.plus(1)), payload));
  for (const format::Entry& entry : meta.entries) {
    for (std::size_t i = 0; i < entry.checksums.size(); ++i) {
      const Bytes block =
          Bytes(payload).subspan((entry.payload_block + i) * kBlockSizeBytes, kBlockSizeBytes);
      if (crc32c(block) == entry.checksums[i]) continue;
      const std::uint64_t at = (entry.payload_block + i) * kBlockSizeBytes;
      const DiskOffset offset{disk_offset(frame.header.place.plus(1)).value + at};
      Buffer piece = payload.slice(at, kBlockSizeBytes);
      const std::uint32_t checksum = entry.checksums[i];
      const auto other = co_await read_other_payload_block(offset, std::move(piece), checksum);
      if (!other.ok()) {
        co_return tidemark::fail(ErrorCode::kDamaged, "a block of payload does not match its checksum");
      }
    }
  }
  co_return Result<void>{};
}

std::optional<Place> State::next_segment(Place place) const {
  const Segment* next = segment_after(place.generation());
  if (next == nullptr || next->previous_end > place) return std::nullopt;
  return Place(next->generation, 1);
}

io::Task<Result<std::optional<StoredBatch>>> State::scan(Place from, SequentialReader* reader) {
  Place at = from;
  if (used.empty()) co_return std::optional<StoredBatch>{};
  if (at.is_none()) at = Place(used.front().generation, 1);
  while (true) {
    if (failed.has_value()) co_return *failed;
    // A segment's first block tells of the segment; a place below the oldest is gone.
    if (at.generation() < used.front().generation) {
      co_return tidemark::fail(ErrorCode::kExpired, "the journal no longer holds what lies there");
    }
    // Deques move their elements; the position is found anew after every wait.
    const auto segment = std::lower_bound(
        used.begin(), used.end(), at.generation(),
        [](const Segment& s, std::uint64_t generation) { return s.generation < generation; });
    if (segment == used.end()) co_return std::optional<StoredBatch>{};
    if (segment->generation != at.generation()) at = Place(segment->generation, 1);
    if (at.block() == 0) at = at.plus(1);
    const auto next = std::next(segment);
    if (next != used.end() && next->previous_end <= at) {
      at = Place(next->generation, 1);
      continue;
    }
    if (at >= durable_end) co_return std::optional<StoredBatch>{};
    StoredBatch stored;
    stored.place = at;
    if (const RecentBatch* batch = recent.find_frame(at); batch != nullptr && batch->frame_blocks != 0) {
      stored.encoded_meta = batch->encoded_meta;
      stored.next = at.plus(batch->frame_blocks);
    } else {
      auto frame = co_await read_frame(at, durable_end, reader);
      if (!frame.ok() && find_segment(at.generation()) == nullptr) {
        co_return tidemark::fail(ErrorCode::kExpired, "the journal no longer holds what lies there");
      }
      if (!frame.ok()) {
        co_return tidemark::fail(frame.error().code == ErrorCode::kIo ? ErrorCode::kIo : ErrorCode::kDamaged,
                                 "the journal is damaged at segment " + std::to_string(at.generation()) +
                                     " block " + std::to_string(at.block()) + ": " + frame.error().message);
      }
      if (frame->header.kind != format::FrameKind::kBatch) {
        at = frame->next();
        continue;
      }
      stored.next = frame->next();
      stored.encoded_meta = std::move(frame->meta);
    }
    auto decoded = format::decode_batch_meta(stored.encoded_meta);
    if (!decoded.ok()) co_return std::move(decoded).error();
    stored.meta = std::move(decoded->meta);
    stored.checksum = decoded->checksum;
    stored.payload_place = at.plus(1);
    add_directory_point(at, stored.meta.first, stored.meta.entries.front().timer);
    co_return std::optional<StoredBatch>(std::move(stored));
  }
}

io::Task<Result<std::optional<BatchSummary>>> Journal::scan_summary(Place from) {
  const State& state = *state_;
  if (state.failed.has_value()) co_return *state.failed;
  if (!state.summaries.empty() && from >= state.summaries.front().place) {
    const auto at =
        std::lower_bound(state.summaries.begin(), state.summaries.end(), from,
                         [](const BatchSummary& summary, Place place) { return summary.place < place; });
    const bool is_durable = at != state.summaries.end() && at->place < state.durable_end;
    co_return is_durable ? std::optional(*at) : std::nullopt;
  }
  auto batch = co_await state_->scan(from);
  if (!batch.ok()) co_return std::move(batch).error();
  if (!batch->has_value()) co_return std::optional<BatchSummary>();
  const format::BatchMeta& meta = (*batch)->meta;
  BatchSummary summary;
  summary.place = (*batch)->place;
  summary.next = (*batch)->next;
  summary.first = meta.first;
  summary.last = meta.last();
  summary.first_timer = meta.entries.front().timer;
  summary.last_timer = meta.entries.back().timer;
  co_return std::optional(summary);
}

Buffer Journal::recent(Place place, std::uint32_t blocks) const {
  return state_->recent.read(place, blocks);
}

io::Task<Result<Buffer>> Journal::read(Place place, std::vector<std::uint32_t> checksums) {
  State& state = *state_;
  const auto blocks = static_cast<std::uint32_t>(checksums.size());
  Buffer data = state.recent.read(place, blocks);
  if (!data.empty()) co_return data;
  const std::string where = "segment " + std::to_string(place.generation()) + " block " +
                            std::to_string(place.block()) + " of the journal";
  if (state.find_segment(place.generation()) == nullptr || place.block() + blocks > state.segment_blocks()) {
    co_return tidemark::fail(ErrorCode::kExpired, where + " has been freed");
  }
  const DiskOffset offset = state.disk_offset(place);
  data = Buffer::allocate(blocks * kBlockSizeBytes);
  TM_CO_TRY(co_await state.disk.read(offset, data));
  for (std::uint32_t i = 0; i < blocks; ++i) {
    Buffer block = data.slice(i * kBlockSizeBytes, kBlockSizeBytes);
    if (crc32c(block) == checksums[i]) continue;
    const DiskOffset at{offset.value + i * kBlockSizeBytes};
    const auto other = co_await state.read_other_payload_block(at, std::move(block), checksums[i]);
    if (!other.ok()) {
      co_return tidemark::fail(ErrorCode::kDamaged,
                               where + " does not match its checksum (" + state.on_log_volume(at) + ")");
    }
  }
  co_return data;
}

io::Task<Result<Buffer>> Journal::read_unchecked(Place place, std::uint32_t blocks) {
  State& state = *state_;
  if (state.find_segment(place.generation()) == nullptr || place.block() + blocks > state.segment_blocks()) {
    co_return tidemark::fail(ErrorCode::kExpired, "the segment has been freed");
  }
  Buffer data = Buffer::allocate(blocks * kBlockSizeBytes);
  TM_CO_TRY(co_await state.disk.read(state.disk_offset(place), data));
  co_return data;
}

io::Task<Result<std::optional<StoredBatch>>> Journal::scan(Place from) {
  co_return co_await state_->scan(from);
}

io::Task<Result<Buffer>> Journal::read_payload(const StoredBatch& batch) {
  if (batch.meta.payload_blocks == 0) co_return Buffer();
  std::vector<std::uint32_t> checksums(batch.meta.payload_blocks);
  for (const format::Entry& entry : batch.meta.entries) {
    std::copy(entry.checksums.begin(), entry.checksums.end(), checksums.begin() + entry.payload_block);
  }
  const Place place = batch.payload_place;
  co_return co_await read(place, std::move(checksums));
}

io::Task<Result<StoredBatch>> Journal::find(LogId id) {
  State& state = *state_;
  const Error missing =
      tidemark::fail(ErrorCode::kNotFound, "log entry " + id.to_string() + " is not in the journal");
  // Start at the last point of the epoch at or before the entry, or at the oldest place when none is known.
  Place at = oldest();
  for (auto point = state.directory.rbegin(); point != state.directory.rend(); ++point) {
    if (point->place < at) break;
    if (point->first.epoch() == id.epoch() && point->first <= id) {
      at = point->place;
      break;
    }
  }
  while (true) {
    auto batch = co_await state.scan(at);
    if (!batch.ok() && batch.error().code == ErrorCode::kExpired && at < oldest()) {
      // Segments were freed meanwhile; the entry may lie behind them.
      at = oldest();
      continue;
    }
    if (!batch.ok()) co_return std::move(batch).error();
    if (!batch->has_value()) co_return missing;
    StoredBatch& found = **batch;
    if (found.meta.first.epoch() == id.epoch()) {
      if (found.meta.first > id) co_return missing;
      if (id <= found.meta.last()) co_return std::move(found);
    }
    at = found.next;
  }
}

io::Task<Result<std::optional<StoredBatch>>> Journal::find_time(Epoch epoch, std::uint64_t first,
                                                                std::uint64_t last, WallTime time) {
  State& state = *state_;
  // The last point of the directory before `bound` from which the batch may be found; the oldest place when
  // there is none.
  const auto start_before = [&](Place bound) {
    for (auto point = state.directory.rbegin(); point != state.directory.rend() && point->place > oldest();
         ++point) {
      if (point->place < bound && point->first.epoch() == epoch && point->first.sequence() <= last &&
          point->timer <= time) {
        return point->place;
      }
    }
    return oldest();
  };
  Place start = start_before(Place::from_raw(UINT64_MAX));
  Place at = start;
  std::optional<StoredBatch> best;
  bool began = false;  // some batch of the epoch seen on this walk began by then
  while (true) {
    auto batch = co_await state.scan(at);
    if (!batch.ok() && batch.error().code == ErrorCode::kExpired && at < oldest()) {
      // Segments were freed meanwhile; the entry may lie behind them.
      at = start = oldest();
      continue;
    }
    if (!batch.ok()) co_return std::move(batch).error();
    const bool over =
        !batch->has_value() ||
        ((*batch)->meta.first.epoch() == epoch &&
         ((*batch)->meta.first.sequence() > last || (*batch)->meta.entries.front().timer > time));
    if (over) {
      // A segment may have begun by then and its first batch later: what is wanted lies before it.
      if (began || start <= oldest()) break;
      at = start = start_before(start);
      continue;
    }
    StoredBatch& found = **batch;
    at = found.next;
    if (found.meta.first.epoch() != epoch) continue;
    began = true;
    if (found.meta.last().sequence() >= first) best = std::move(found);
  }
  co_return best;
}

}  // namespace tidemark::journal
