// Opening a journal: which superblock counts, how the segments follow each other, where the order ends.
//
// The end is the first place where no whole frame lies. What a crash may leave there is a torn tail: batches
// that were in flight, in any subset and each perhaps in part. It is cut by beginning a new segment, whose
// first block names the exact end; where no frame lies behind the end, the journal goes on there. A missing
// frame is damage instead, and nothing is cut, when anything on disk tells that it had been durable: a
// superblock, an earlier frame, or a later one.

#include <algorithm>
#include <cstring>

#include "base/crc32c.h"
#include "journal/state.h"

namespace tidemark::journal {
namespace {

// Nothing is being written during a recovery: all that is read may be kept.
constexpr Place kNoLimit = Place::from_raw(UINT64_MAX);

// No journal has taken so many segments, and one that went on from there would run out of numbers.
Result<void> check_generation(std::uint64_t next) {
  if (next <= Place::kGenerationMax / 2) return {};
  return fail(ErrorCode::kDamaged, "the journal names a segment of generation " + std::to_string(next) +
                                       ", which it cannot have reached");
}

std::string where(Place place) {
  return "segment " + std::to_string(place.generation()) + " block " + std::to_string(place.block());
}

}  // namespace

io::Task<Result<void>> State::read_superblocks() {
  std::optional<format::JournalSuperblock> best;
  std::optional<Error> worst;
  for (std::uint64_t slot = 0; slot < 2; ++slot) {
    Buffer block = Buffer::allocate(kBlockSizeBytes);
    TM_CO_TRY(co_await disk.read(DiskOffset{slot * kBlockSizeBytes}, block));
    auto decoded = format::decode_journal_superblock(block);
    if (!decoded.ok() && decoded.error().code == ErrorCode::kDamaged) {
      std::function<bool(Bytes)> is_whole = [](Bytes bytes) {
        return format::decode_journal_superblock(bytes).ok();
      };
      const DiskOffset offset{slot * kBlockSizeBytes};
      const auto other = co_await disk.read_other_copies(offset, block, std::move(is_whole));
      if (other.ok()) decoded = format::decode_journal_superblock(block);
    }
    if (decoded.ok()) {
      if (!best.has_value() || best->sequence < decoded->sequence) best = std::move(decoded).value();
    } else if (decoded.error().code == ErrorCode::kUnsupported) {
      co_return std::move(decoded).error();
    } else if (!worst.has_value() || worst->code == ErrorCode::kNotFound) {
      worst = decoded.error();
    }
  }
  if (!best.has_value()) co_return *worst;
  superblock = std::move(*best);
  if (kSegmentsOffsetBytes + superblock.segment_count * superblock.segment_size_bytes > disk.size_bytes()) {
    co_return tidemark::fail(ErrorCode::kDamaged, "the log volume is smaller than the journal on it");
  }
  co_return Result<void>{};
}

Result<void> State::find_further_volumes(const FindLogVolume& find_log_volume) {
  for (const format::FurtherLogVolume& volume : superblock.further) {
    const std::string name = "log volume " + std::to_string(volume.number.value) + " of the journal";
    if (!find_log_volume) return tidemark::fail(ErrorCode::kNotFound, name + " is not here");
    TM_TRY_ASSIGN(io::Disk* const found, find_log_volume(volume.number));
    if (found->size_bytes() < volume.segment_count * superblock.segment_size_bytes) {
      return tidemark::fail(ErrorCode::kDamaged, name + " is smaller than what the journal has on it");
    }
    disk.add(segment_offset(volume.first_segment).value, *found);
  }
  return {};
}

io::Task<Result<Buffer>> State::read_segment_block(std::uint32_t index, std::uint32_t block) {
  Buffer bytes = Buffer::allocate(kBlockSizeBytes);
  const DiskOffset offset{segment_offset(index).value + block * kBlockSizeBytes};
  TM_CO_TRY(co_await disk.read(offset, bytes));
  co_return bytes;
}

io::Task<Result<SegmentStarts>> State::read_segment_starts() {
  SegmentStarts starts;
  for (const std::uint32_t index : segment_indexes()) {
    TM_CO_TRY_ASSIGN(const Buffer block, co_await read_segment_block(index, 0));
    // The block names its own generation; everything else must agree with it.
    const Place place = format::frame_place(block);
    if (is_void(place.generation())) {
      starts.void_indexes.push_back(index);
      continue;
    }
    if (!place.is_none() && place.block() == 0) {
      auto header = format::decode_frame_header(block, superblock.group, place);
      if (header.ok() && header->kind == format::FrameKind::kSegment && header->meta_overflow_blocks() == 0) {
        auto meta = format::decode_frame_meta(*header, block, {});
        auto start =
            meta.ok() ? format::decode_segment_start(*meta) : Result<format::SegmentStart>(meta.error());
        if (start.ok() && start->index == index) {
          starts.durable = std::max(starts.durable, header->durable_end);
          starts.all[place.generation()] = {.generation = place.generation(),
                                            .index = index,
                                            .previous_end = start->previous_end,
                                            .first = start->first,
                                            .first_timer = start->first_timer};
          superblock.segments_prepared = std::max(superblock.segments_prepared, index + 1);
          continue;
        }
      }
    }
    // A first block that does not read: the frame behind it still tells whose segment it was.
    TM_CO_TRY_ASSIGN(const Buffer second, co_await read_segment_block(index, 1));
    const Place behind = format::frame_place(second);
    if (is_void(behind.generation())) continue;
    if (behind.block() == 1 && format::decode_frame_header(second, superblock.group, behind).ok()) {
      starts.beheaded.push_back({.generation = behind.generation(), .index = index});
    }
  }
  co_return starts;
}

io::Task<Result<Beyond>> State::look_beyond(Place end, const SegmentStarts& starts) {
  Beyond beyond;
  // A frame that was cut off in its first block is whole again when the next one there is cut off after it
  // has written what the two have in common: zeroes, say.
  if (end.block() < segment_blocks()) {
    TM_CO_TRY_ASSIGN(const Buffer block,
                     co_await read_segment_block(find_segment(end.generation())->index, end.block()));
    beyond.tail_is_torn = format::frame_place(block) == end;
  }
  window_blocks = kSweepWindowBlocks;
  std::vector<Segment> segments = starts.beheaded;
  for (const auto& [generation, segment] : starts.all) segments.push_back(segment);
  for (const Segment& segment : segments) {
    const std::uint64_t generation = segment.generation;
    if (generation < end.generation()) continue;
    // A segment that was begun beyond the end names the end of a frame that is gone; one of the same length
    // would lead to it.
    if (generation > end.generation()) beyond.tail_is_torn = true;
    // Only what was in flight can lie beyond the end, but a frame may begin at any block.
    std::uint32_t block = generation == end.generation() ? end.block() : 1;
    used.push_back(segment);
    while (block < segment_blocks()) {
      const Place place(generation, block);
      auto frame = co_await read_frame(place, kNoLimit);
      if (!frame.ok() && frame.error().code == ErrorCode::kIo) co_return std::move(frame).error();
      if (frame.ok()) {
        beyond.durable = std::max(beyond.durable, frame->header.durable_end);
        beyond.tail_is_torn = true;
      }
      block += frame.ok() ? frame->header.blocks() : 1;
    }
    used.pop_back();
  }
  co_return beyond;
}

// Segments at the end that hold nothing up to `needed`: parts of a snapshot that a crash cut off. A full
// journal may have had its last free segment taken for them, and the next snapshot needs it.
void State::drop_empty_segments(Place needed) {
  while (used.back().generation > needed.generation() && used.size() > 1) {
    tail = used.back().previous_end;
    tail_is_usable = false;
    used.pop_back();
    TM_ASSERT(used.back().generation == tail.generation());
  }
  durable_end = recorded_durable_end = tail;
}

// Noted before a segment of the next generation is used: a power cut can take the first block of a segment
// and leave frames in it, and who came back without this would use the same generation, and take those for
// its own. And before a segment that was dropped is overwritten: what is left of the others tells that more
// had been durable.
io::Task<Result<void>> State::note_generations(bool dropped, const SegmentStarts& starts) {
  // Nothing beyond the end counts, neither what was dropped now nor what was before.
  const bool ends_before_void = tail.generation() < superblock.void_generation_begin;
  const bool has_void = superblock.void_generation_begin < superblock.void_generation_end;
  const std::uint64_t begin =
      dropped || (has_void && ends_before_void) ? tail.generation() + 1 : next_generation;
  // There is room for one range. What is left of segments that were dropped earlier would count again, and
  // leads to where the journal went on otherwise.
  for (const std::uint32_t index : starts.void_indexes) {
    if (ends_before_void) break;
    Buffer zeroes = Buffer::allocate(kBlockSizeBytes);
    std::memset(zeroes.data(), 0, zeroes.size());
    std::vector<Buffer> pieces;
    pieces.push_back(std::move(zeroes));
    TM_CO_TRY(co_await disk.write(DiskOffset{segment_offset(index).value}, std::move(pieces),
                                  io::Durability::kDurable));
  }
  superblock.void_generation_begin = begin;
  superblock.void_generation_end = next_generation;
  co_return co_await write_superblock();
}

io::Task<Result<void>> State::find_end(Place from, Place durable,
                                       const std::map<std::uint64_t, Segment>& all) {
  // Who goes on after which end; of two, the newer was begun by a later recovery, whose end counts.
  std::map<Place, Segment> continued_by;
  for (const auto& [generation, segment] : all) {
    if (!segment.previous_end.is_none() && segment.previous_end.generation() < generation) {
      continued_by[segment.previous_end] = segment;
    }
  }
  Place at = from;
  Place told = durable;
  while (true) {
    // Before any frame that may lie here: what a recovery cut off is still there.
    if (const auto next = continued_by.find(at); next != continued_by.end()) {
      used.push_back(next->second);
      at = Place(next->second.generation, 1);
      continue;
    }
    if (at.block() >= segment_blocks()) break;
    auto frame = co_await read_frame(at, kNoLimit);
    if (!frame.ok()) {
      if (frame.error().code == ErrorCode::kIo || frame.error().code == ErrorCode::kUnsupported) {
        co_return std::move(frame).error();
      }
      break;
    }
    if (frame->header.kind == format::FrameKind::kSegment) break;
    told = std::max(told, frame->header.durable_end);
    if (frame->header.kind == format::FrameKind::kBatch) {
      auto decoded = format::decode_batch_meta(frame->meta);
      if (!decoded.ok() || !is_of_order(decoded->meta.group, superblock.group)) break;
      const format::BatchMeta& meta = decoded->meta;
      const bool follows = last_id.is_none() || meta.first.epoch() != last_id.epoch() ||
                           (meta.first == last_id.next() && meta.parent_checksum == last_checksum);
      if (!follows) break;
      if (at >= told) {
        auto whole = co_await verify_payload(*frame, meta);
        if (!whole.ok() && whole.error().code == ErrorCode::kIo) co_return whole;
        if (!whole.ok()) break;
      }
      add_directory_point(at, meta.first, meta.entries.front().timer);
      last_id = meta.last();
      last_checksum = decoded->checksum;
      last_timer = meta.entries.back().timer;
      durable_batch_end = frame->next();
    }
    at = frame->next();
  }
  tail = at;
  if (told > tail) {
    co_return tidemark::fail(ErrorCode::kDamaged, "the journal is damaged at " + where(tail) +
                                                      ": entries after log:" + last_id.to_string() +
                                                      " up to " + where(told) +
                                                      " were durable and cannot be read");
  }
  co_return Result<void>{};
}

io::Task<Result<void>> State::recover(const FindLogVolume& find_log_volume) {
  TM_CO_TRY(co_await read_superblocks());
  TM_CO_TRY(find_further_volumes(find_log_volume));
  TM_CO_TRY_ASSIGN(const SegmentStarts starts, co_await read_segment_starts());
  const Place told = std::max(superblock.durable_end, starts.durable);
  const std::map<std::uint64_t, Segment>& all = starts.all;
  // Where the replay begins, and its segment.
  const bool has_snapshot = superblock.snapshot_number > 0;
  Place from = has_snapshot ? superblock.snapshot_scan : Place(superblock.oldest_generation, 1);
  if (!all.contains(from.generation())) {
    if (has_snapshot || !told.is_none()) {
      co_return tidemark::fail(ErrorCode::kDamaged, "the journal's segment " +
                                                        std::to_string(from.generation()) +
                                                        ", where its replay begins, cannot be read");
    }
    for (const std::uint32_t index : segment_indexes()) {
      if (may_be_taken(index)) free_indexes.push_back(index);
    }
    // Frames of a first segment whose own first block was lost may lie here; its generation is not used
    // again.
    next_generation = std::max(std::max(superblock.oldest_generation, superblock.void_generation_end),
                               all.empty() ? 0 : all.rbegin()->first) +
                      kGenerationSkip;
    TM_CO_TRY(check_generation(next_generation));
    superblock.oldest_generation = next_generation;
    co_return co_await write_superblock();
  }
  // Segments still in use before it: each names the one before.
  std::vector<Segment> chain{all.at(from.generation())};
  while (chain.front().previous_end.generation() >= superblock.oldest_generation) {
    const std::uint64_t previous = chain.front().previous_end.generation();
    if (!all.contains(previous)) {
      co_return tidemark::fail(ErrorCode::kDamaged, "the first block of the journal's segment " +
                                                        std::to_string(previous) + " cannot be read");
    }
    chain.insert(chain.begin(), all.at(previous));
  }
  snapshot_bound = snapshot_needs();
  used.assign(chain.begin(), chain.end());
  last_id = superblock.snapshot_last;
  last_checksum = superblock.snapshot_last_checksum;
  last_timer = superblock.snapshot_last_timer;
  TM_CO_TRY(co_await find_end(from, told, all));
  // Cut or damaged? Whatever lies beyond the end was in flight, unless something there says otherwise.
  const std::deque<Segment> in_use = used;
  auto beyond = co_await look_beyond(tail, starts);
  used = in_use;
  if (!beyond.ok()) co_return std::move(beyond).error();
  while (used.back().generation > tail.generation()) used.pop_back();
  if (beyond->durable > tail) {
    co_return tidemark::fail(ErrorCode::kDamaged,
                             "the journal is damaged at " + where(tail) +
                                 ": a later frame tells that entries after log:" + last_id.to_string() +
                                 " up to " + where(beyond->durable) + " were durable");
  }
  next_generation = std::max(all.rbegin()->first, superblock.void_generation_end) + kGenerationSkip;
  TM_CO_TRY(check_generation(next_generation));
  durable_end = tail;
  durable_id = last_id;
  durable_timer = last_timer;
  recorded_durable_end = told;
  tail_is_usable = !beyond->tail_is_torn;
  TM_CO_TRY_ASSIGN(const Place snapshot_parts_end, co_await load_snapshot());
  const Place needed = std::max(std::max(from, durable_batch_end), snapshot_parts_end);
  const bool drops = used.back().generation > needed.generation();
  if (drops) drop_empty_segments(needed);
  for (const std::uint32_t index : segment_indexes()) {
    const bool in_chain =
        std::any_of(used.begin(), used.end(), [&](const Segment& s) { return s.index == index; });
    if (!in_chain && may_be_taken(index)) free_indexes.push_back(index);
  }
  if (is_leaving(used.back().index)) tail_is_usable = false;
  for (const Segment& segment : used) {
    if (segment.first.is_none()) continue;
    const Place first(segment.generation, 1);
    const auto at = std::lower_bound(directory.begin(), directory.end(), first,
                                     [](const DirectoryPoint& p, Place place) { return p.place < place; });
    if (at == directory.end() || at->place != first)
      directory.insert(at, {first, segment.first, segment.first_timer});
  }
  window.blocks = 0;
  window.bytes = Buffer();
  window_blocks = kWindowBlocks;
  // What was found may have been on its way when the process before ended: it counts as durable from here on.
  TM_CO_TRY(co_await disk.flush());
  co_return co_await note_generations(drops, starts);
}

io::Task<Result<Place>> State::load_snapshot() {
  if (superblock.snapshot_number == 0) co_return Place{};
  Place at = superblock.snapshot_place;
  std::uint32_t parts_seen = 0;
  while (true) {
    if (const std::optional<Place> next = next_segment(at)) at = *next;
    if (at >= durable_end) break;
    auto frame = co_await read_frame(at, kNoLimit);
    if (!frame.ok()) co_return std::move(frame).error();
    const Place payload = at.plus(1);
    at = frame->next();
    if (frame->header.kind != format::FrameKind::kSnapshotPart) continue;
    auto part = format::decode_snapshot_part(frame->meta);
    if (!part.ok()) co_return std::move(part).error();
    if (part->number != superblock.snapshot_number) continue;
    if (part->part != parts_seen || part->part_bytes > frame->header.payload_blocks * kBlockSizeBytes) break;
    Buffer bytes = Buffer::allocate(frame->header.payload_blocks * kBlockSizeBytes);
    TM_CO_TRY(co_await disk.read(disk_offset(payload), bytes));
    const Bytes content = Bytes(bytes).first(part->part_bytes);
    if (crc32c(content) != part->checksum) break;
    snapshot.insert(snapshot.end(), content.begin(), content.end());
    snapshot_size_bytes = snapshot.size();
    if (++parts_seen == part->parts) co_return at;
  }
  co_return tidemark::fail(ErrorCode::kDamaged, "the snapshot of the group's state at " +
                                                    where(superblock.snapshot_place) + " cannot be read");
}

}  // namespace tidemark::journal
