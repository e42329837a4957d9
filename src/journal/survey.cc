#include "journal/survey.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>

#include "base/crc32c.h"

namespace tidemark::journal {
namespace {

using pool::Knowledge;

Knowledge right_if(bool is_right) {
  return is_right ? Knowledge::kRight : Knowledge::kWrong;
}

// Gathers what redundancy yields for a block, instead of choosing one. It outlives whoever asks: a RAID group
// goes on with a read that nobody waits for any more.
using Gathered = std::shared_ptr<std::vector<Buffer>>;

std::function<bool(Bytes)> collect_into(Gathered found, std::function<bool(Bytes)> is_of_use) {
  return [found = std::move(found), is_of_use = std::move(is_of_use)](Bytes block) {
    if (is_of_use(block)) found->push_back(Buffer::copy_of(block));
    return false;
  };
}

// Whether the bytes would be whole if one of their blocks were another. It owns what it compares with.
std::function<bool(Bytes)> with_block(const Buffer& bytes, std::size_t at,
                                      std::function<bool(Bytes)> is_whole) {
  return [bytes = Buffer::copy_of(bytes), at, is_whole = std::move(is_whole)](Bytes block) {
    std::memcpy(bytes.data() + at, block.data(), block.size());
    return is_whole(bytes);
  };
}

}  // namespace

JournalSurvey::JournalSurvey(State& state, LuNumber number, DiskOffset begin, DiskOffset end)
    : state_(&state), alive_(state.alive), number_(number), next_generation_(state.next_generation) {
  volume_ = volume();
  if (!volume_.has_value() || begin.value >= end.value) return;
  if (number_.value == 0 && begin.value < 2 * kBlockSizeBytes) slots_end_ = 2;
  const std::uint64_t segment_bytes = state.superblock.segment_size_bytes;
  const std::uint64_t from = std::max(begin.value, volume_->segments_offset) - volume_->segments_offset;
  const std::uint64_t to = std::max(end.value, volume_->segments_offset) - volume_->segments_offset;
  const std::uint64_t last =
      std::min<std::uint64_t>(volume_->segment_count, (to + segment_bytes - 1) / segment_bytes);
  first_part_ = static_cast<std::uint32_t>(from / segment_bytes);
  for (std::uint64_t at = first_part_; at < last; ++at) {
    Part& part = parts_.emplace_back();
    part.index = volume_->first_segment + static_cast<std::uint32_t>(at);
    const std::uint64_t segment_begin = at * segment_bytes;
    const auto block_in = [&](std::uint64_t offset) {
      const std::uint64_t inside = std::max(offset, segment_begin) - segment_begin;
      return static_cast<std::uint32_t>(std::min(inside, segment_bytes) / kBlockSizeBytes);
    };
    part.first_block = block_in(from);
    part.end_block = block_in(to);
    part.is_free = std::ranges::find(state.free_indexes, part.index) != state.free_indexes.end();
    const auto used = std::ranges::find(state.used, part.index, &Segment::index);
    if (used == state.used.end()) continue;
    part.generation = used->generation;
    part.checksums.resize(part.end_block - part.first_block);
  }
}

std::optional<JournalSurvey::Volume> JournalSurvey::volume() const {
  Volume volume;
  if (number_.value == 0) {
    volume.segment_count = state_->superblock.segment_count;
    volume.segments_offset = kSegmentsOffsetBytes;
    return volume;
  }
  const format::FurtherLogVolume* further = state_->find_further(number_);
  if (further == nullptr) return std::nullopt;
  volume.first_segment = further->first_segment;
  volume.segment_count = further->segment_count;
  return volume;
}

// ---- What is read ----

io::Task<void> JournalSurvey::load() {
  for (std::uint32_t slot = 0; slot < slots_end_; ++slot) {
    if (!state_->superblock_slots[slot].is_written) co_await find_superblock(slot);
  }
  for (Part& part : parts_) {
    if (part.generation != 0) co_await walk(&part);
  }
  window_ = Buffer();
}

// Of a slot with another content on each member, the newer superblock is the right one.
io::Task<void> JournalSurvey::find_superblock(std::uint32_t slot) {
  const auto found = std::make_shared<std::vector<Buffer>>();
  const auto is_of_use = [](Bytes block) { return format::decode_journal_superblock(block).ok(); };
  const DiskOffset offset{slot * kBlockSizeBytes};
  std::function<bool(Bytes)> collect = collect_into(found, is_of_use);
  const Buffer block = Buffer::allocate(kBlockSizeBytes);
  (void)co_await state_->disk.peek_other_copies(offset, block, std::move(collect));
  std::uint64_t newest = 0;
  for (const Buffer& candidate : *found) {
    const auto superblock = format::decode_journal_superblock(candidate);
    if (superblock->group != state_->superblock.group || superblock->sequence % 2 != slot) continue;
    if (superblock->sequence < newest) continue;
    newest = superblock->sequence;
    superblocks_[slot] = candidate;
  }
  // The journal goes on from another: nobody can say what this one is.
  if (newest > state_->superblock.sequence) superblocks_[slot] = Buffer();
}

// Null when it is given to somebody else by now.
const Segment* JournalSurvey::segment_of(const Part& part) const {
  const Segment* segment = state_->find_segment(part.generation);
  return segment != nullptr && segment->index == part.index ? segment : nullptr;
}

// The last place at or before the part where a frame is known to begin. Frames are found by following one
// another from such a place alone: a host may write what looks like one.
Place JournalSurvey::walk_from(const Part& part) const {
  const Place wanted(part.generation, part.first_block);
  Place from(part.generation, 0);
  const auto after = std::ranges::upper_bound(state_->directory, wanted, {}, &DirectoryPoint::place);
  if (after != state_->directory.begin()) from = std::max(from, std::prev(after)->place);
  // Where the survey of the part before this one ended.
  if (state_->surveyed <= wanted) from = std::max(from, state_->surveyed);
  return from;
}

std::optional<Place> JournalSurvey::known_frame_after(Place place) const {
  const auto after = std::ranges::upper_bound(state_->directory, place, {}, &DirectoryPoint::place);
  if (after == state_->directory.end() || after->place.generation() != place.generation())
    return std::nullopt;
  return after->place;
}

io::Task<void> JournalSurvey::walk(Part* part) {
  const Place begin(part->generation, 0);
  const std::uint32_t end = state_->durable_blocks(begin);
  Place at = walk_from(*part);
  while (at.block() < std::min(end, part->end_block)) {
    auto frame = co_await read_frame(part, at, end);
    if (segment_of(*part) == nullptr) co_return;
    if (!frame.ok()) {
      const std::optional<Place> next = known_frame_after(at);
      if (!next.has_value()) co_return;
      at = *next;
      continue;
    }
    state_->surveyed = at;
    co_await note_frame(part, &*frame);
    at = frame->next();
  }
}

// What is durable there does not change while its segment is in use.
io::Task<Result<Buffer>> JournalSurvey::read(const Part* part, Place place, std::uint32_t blocks,
                                             std::uint32_t end) {
  const auto inside = [&] {
    return !window_.empty() && window_begin_.generation() == place.generation() && window_begin_ <= place &&
           place.block() + blocks <= window_begin_.block() + window_.size() / kBlockSizeBytes;
  };
  if (!inside()) {
    if (segment_of(*part) == nullptr || place.block() + blocks > end) {
      co_return tidemark::fail(ErrorCode::kExpired, "the segment has been freed, or ends before");
    }
    const DiskOffset offset = state_->disk_offset(place);
    const std::uint32_t count = std::min(std::max(blocks, kWindowBlocks), end - place.block());
    Buffer bytes = Buffer::allocate(count * kBlockSizeBytes);
    auto read = co_await state_->disk.peek(offset, bytes);
    if (!read.ok() && count > blocks) {
      // One block that cannot be read shall not hide those before it.
      bytes = Buffer::allocate(blocks * kBlockSizeBytes);
      read = co_await state_->disk.peek(offset, bytes);
    }
    if (!read.ok()) co_return std::move(read).error();
    window_begin_ = place;
    window_ = bytes;
  }
  // Its own: what of it turns out to be wrong is replaced.
  co_return Buffer::copy_of(
      window_.slice((place.block() - window_begin_.block()) * kBlockSizeBytes, blocks * kBlockSizeBytes));
}

// The frame whole, from whichever members have its blocks right.
io::Task<Result<Frame>> JournalSurvey::read_frame(const Part* part, Place place, std::uint32_t end) {
  auto first = co_await read(part, place, 1, end);
  if (first.ok()) {
    auto frame = co_await complete_frame(part, place, *first, end);
    if (frame.ok()) co_return frame;
  }
  if (segment_of(*part) == nullptr) co_return tidemark::fail(ErrorCode::kExpired, "the segment was freed");
  const auto found = std::make_shared<std::vector<Buffer>>();
  const auto is_of_use = [group = state_->superblock.group, place](Bytes block) {
    return format::decode_frame_header(block, group, place).ok();
  };
  const DiskOffset offset = state_->disk_offset(place);
  std::function<bool(Bytes)> collect = collect_into(found, is_of_use);
  const Buffer block = Buffer::allocate(kBlockSizeBytes);
  (void)co_await state_->disk.peek_other_copies(offset, block, std::move(collect));
  for (const Buffer& candidate : *found) {
    auto frame = co_await complete_frame(part, place, candidate, end);
    if (frame.ok()) co_return frame;
  }
  co_return tidemark::fail(ErrorCode::kDamaged, "no member has this frame whole");
}

// The frame with this first block, if it can be made whole.
io::Task<Result<Frame>> JournalSurvey::complete_frame(const Part* part, Place place, Buffer first,
                                                      std::uint32_t end) {
  Frame frame;
  TM_CO_TRY_ASSIGN(frame.header, format::decode_frame_header(first, state_->superblock.group, place));
  if (place.block() + frame.header.blocks() > end) {
    co_return tidemark::fail(ErrorCode::kInvalid, "a frame is longer than what is durable");
  }
  const std::uint32_t blocks = frame.header.meta_overflow_blocks();
  const Place at = place.plus(1 + frame.header.payload_blocks);
  Buffer overflow;
  if (blocks > 0) {
    TM_CO_TRY_ASSIGN(overflow, co_await read(part, at, blocks, end));
  }
  auto meta = format::decode_frame_meta(frame.header, first, overflow);
  for (std::uint32_t i = 0; i < blocks && !meta.ok(); ++i) {
    if (segment_of(*part) == nullptr) break;
    std::function<bool(Bytes)> is_whole = [header = frame.header, first](Bytes bytes) {
      return format::decode_frame_meta(header, first, bytes).ok();
    };
    const DiskOffset offset = state_->disk_offset(at.plus(i));
    std::function<bool(Bytes)> is_right = with_block(overflow, i * kBlockSizeBytes, std::move(is_whole));
    const Buffer block = Buffer::allocate(kBlockSizeBytes);
    const auto found = co_await state_->disk.peek_other_copies(offset, block, std::move(is_right));
    if (!found.ok()) continue;
    std::memcpy(overflow.data() + i * kBlockSizeBytes, block.data(), kBlockSizeBytes);
    meta = format::decode_frame_meta(frame.header, first, overflow);
  }
  if (!meta.ok()) co_return std::move(meta).error();
  frame.meta = std::move(meta).value();
  co_return frame;
}

// ---- What is kept ----

void JournalSurvey::note_checksum(Part& part, std::uint32_t block, std::uint32_t checksum) {
  if (block >= part.first_block && block < part.end_block) {
    part.checksums[block - part.first_block] = checksum;
  }
}

void JournalSurvey::note_content(Part& part, std::uint32_t block, Bytes content) {
  if (block >= part.first_block && block < part.end_block) part.digests[block] = digest_of(content);
}

io::Task<void> JournalSurvey::note_frame(Part* part, const Frame* frame) {
  const format::FrameHeader& header = frame->header;
  const std::uint32_t begin = header.place.block();
  const format::EncodedFrame encoded = format::encode_frame(header, frame->meta);
  note_content(*part, begin, encoded.first);
  const std::uint32_t overflow = begin + 1 + header.payload_blocks;
  for (std::uint32_t i = 0; i < header.meta_overflow_blocks(); ++i) {
    note_content(*part, overflow + i, encoded.overflow.slice(i * kBlockSizeBytes, kBlockSizeBytes));
  }
  if (header.kind == format::FrameKind::kSnapshotPart) co_await note_snapshot_part(part, frame);
  if (header.kind != format::FrameKind::kBatch) co_return;
  const auto decoded = format::decode_batch_meta(frame->meta);
  if (!decoded.ok()) co_return;
  for (const format::Entry& entry : decoded->meta.entries) {
    for (std::size_t i = 0; i < entry.checksums.size(); ++i) {
      const std::size_t block = entry.payload_block + i;
      if (block >= header.payload_blocks) break;
      note_checksum(*part, begin + 1 + static_cast<std::uint32_t>(block), entry.checksums[i]);
    }
  }
}

// It has one checksum for all of its payload: with one wrong block it is known which, with more it is not.
io::Task<void> JournalSurvey::note_snapshot_part(Part* part, const Frame* frame) {
  const std::uint32_t blocks = frame->header.payload_blocks;
  const Place at = frame->header.place.plus(1);
  const bool is_asked = at.block() < part->end_block && at.block() + blocks > part->first_block;
  const auto told = format::decode_snapshot_part(frame->meta);
  const std::uint64_t length = std::uint64_t{blocks} * kBlockSizeBytes;
  if (!is_asked || blocks == 0 || !told.ok() || told->part_bytes > length) co_return;
  auto payload = co_await read(part, at, blocks, at.block() + blocks);
  if (!payload.ok()) co_return;
  const auto matches = [size = told->part_bytes, checksum = told->checksum](Bytes bytes) {
    return crc32c(bytes.first(size)) == checksum;
  };
  bool whole = matches(*payload);
  for (std::uint32_t i = 0; i < blocks && !whole; ++i) {
    if (segment_of(*part) == nullptr) co_return;
    std::function<bool(Bytes)> is_right = with_block(*payload, i * kBlockSizeBytes, matches);
    const DiskOffset offset = state_->disk_offset(at.plus(i));
    const Buffer block = Buffer::allocate(kBlockSizeBytes);
    whole = (co_await state_->disk.peek_other_copies(offset, block, std::move(is_right))).ok();
    if (whole) std::memcpy(payload->data() + i * kBlockSizeBytes, block.data(), kBlockSizeBytes);
  }
  if (!whole) co_return;
  // Behind its bytes it was written as zeroes.
  std::memset(payload->data() + told->part_bytes, 0, length - told->part_bytes);
  for (std::uint32_t i = 0; i < blocks; ++i) {
    note_content(*part, at.block() + i, payload->slice(i * kBlockSizeBytes, kBlockSizeBytes));
  }
}

// ---- What is answered ----

// A start looks at the first blocks of free segments too. One that could mean something to it stays as it is.
Knowledge JournalSurvey::nobodys(Bytes block) const {
  const Place place = format::frame_place(block);
  const bool may_count = !place.is_none() && place.generation() >= state_->superblock.oldest_generation &&
                         format::decode_frame_header(block, state_->superblock.group, place).ok();
  return may_count ? Knowledge::kUnknown : Knowledge::kNobodys;
}

bool JournalSurvey::is_still_free(const Part& part) const {
  if (!part.is_free) return false;
  // So much was taken since that some of it was freed again.
  if (state_->superblock.oldest_generation > next_generation_) return false;
  for (auto taken = state_->used.rbegin(); taken != state_->used.rend(); ++taken) {
    if (taken->generation < next_generation_) break;
    if (taken->index == part.index) return false;
  }
  return true;
}

// Of a segment in use. Where a start found a torn tail, what is left of it stays as it is until the order
// goes on in another segment: the next start has to find the same.
bool JournalSurvey::is_behind_the_end(const Segment& segment, std::uint32_t block) const {
  const Segment* next = state_->segment_after(segment.generation);
  if (next != nullptr) {
    return state_->durable_end > Place(next->generation, 0) &&
           next->previous_end.generation() == segment.generation && block >= next->previous_end.block();
  }
  return state_->tail_is_usable && state_->tail.generation() == segment.generation &&
         block >= state_->tail.block();
}

Knowledge JournalSurvey::look_at_superblock(std::uint32_t slot, Bytes block) const {
  const SuperblockSlot& known = state_->superblock_slots[slot];
  const Buffer& right = known.is_written ? known.block : superblocks_[slot];
  if (right.empty()) return Knowledge::kUnknown;
  return right_if(std::memcmp(right.data(), block.data(), kBlockSizeBytes) == 0);
}

Knowledge JournalSurvey::look(DiskOffset offset, Bytes block) const {
  if (alive_.expired() || !volume_.has_value() || volume() != volume_) return Knowledge::kUnknown;
  if (offset.value < volume_->segments_offset) {
    const std::uint64_t slot = offset.value / kBlockSizeBytes;
    return slot < 2 ? look_at_superblock(static_cast<std::uint32_t>(slot), block) : Knowledge::kNobodys;
  }
  const std::uint64_t in_segments = offset.value - volume_->segments_offset;
  const std::uint64_t segment_bytes = state_->superblock.segment_size_bytes;
  const std::uint64_t position = in_segments / segment_bytes;
  if (position >= volume_->segment_count) return Knowledge::kNobodys;
  if (position < first_part_ || position - first_part_ >= parts_.size()) return Knowledge::kUnknown;
  const Part& part = parts_[position - first_part_];
  if (part.generation == 0) return is_still_free(part) ? nobodys(block) : Knowledge::kUnknown;
  const Segment* segment = segment_of(part);
  const auto at = static_cast<std::uint32_t>(in_segments % segment_bytes / kBlockSizeBytes);
  if (segment == nullptr || at < part.first_block || at >= part.end_block) return Knowledge::kUnknown;
  const std::optional<std::uint32_t>& checksum = part.checksums[at - part.first_block];
  if (checksum.has_value()) return right_if(crc32c(block) == *checksum);
  if (const auto digest = part.digests.find(at); digest != part.digests.end()) {
    return right_if(digest_of(block) == digest->second);
  }
  return is_behind_the_end(*segment, at) ? nobodys(block) : Knowledge::kUnknown;
}

io::Task<std::unique_ptr<pool::LogVolumeSurvey>> Journal::survey(LuNumber number, DiskOffset begin,
                                                                 DiskOffset end) {
  auto made = std::make_unique<JournalSurvey>(*state_, number, begin, end);
  co_await made->load();
  co_return made;
}

}  // namespace tidemark::journal
