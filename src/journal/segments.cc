// Segments of a journal: taken in turn, written in full once before their first use, recycled in place; and
// the log volumes that they lie on.

#include <algorithm>
#include <cstring>

#include "base/names.h"
#include "journal/state.h"

namespace tidemark::journal {

std::uint32_t reserve_for(Purpose purpose, std::uint32_t segment_count) {
  if (purpose == Purpose::kRelease) return kReservedForSnapshot;
  const std::uint32_t for_restore = kReservedForSnapshot + kReservedForRelease;
  if (purpose == Purpose::kRestore) return for_restore;
  const std::uint32_t for_control = for_restore + kReservedForRestore;
  if (purpose == Purpose::kControl) return for_control;
  return for_control + std::max(kReservedForControl, segment_count / 16);
}

const Segment* State::find_segment(std::uint64_t generation) const {
  const auto at =
      std::lower_bound(used.begin(), used.end(), generation,
                       [](const Segment& segment, std::uint64_t g) { return segment.generation < g; });
  return at != used.end() && at->generation == generation ? &*at : nullptr;
}

const Segment* State::segment_after(std::uint64_t generation) const {
  const auto at =
      std::upper_bound(used.begin(), used.end(), generation,
                       [](std::uint64_t g, const Segment& segment) { return g < segment.generation; });
  return at != used.end() ? &*at : nullptr;
}

std::uint32_t State::durable_blocks(Place place) const {
  if (find_segment(place.generation()) == nullptr) return 0;
  Place end(place.generation(), segment_blocks());
  if (const Segment* next = segment_after(place.generation()); next != nullptr)
    end = std::min(end, next->previous_end);
  end = std::min(end, durable_end);
  return end > place ? end.block() - place.block() : 0;
}

DiskOffset State::disk_offset(Place place) const {
  const Segment* segment = find_segment(place.generation());
  TM_ASSERT(segment != nullptr);
  return DiskOffset{segment_offset(segment->index).value + place.block() * kBlockSizeBytes};
}

std::string State::on_log_volume(DiskOffset offset) const {
  const std::string at = " offset " + std::to_string(disk.offset_on_volume(offset));
  if (offset.value < kSegmentsOffsetBytes) return "log volume" + at;
  const auto index = (offset.value - kSegmentsOffsetBytes) / superblock.segment_size_bytes;
  const format::FurtherLogVolume* volume = volume_of(static_cast<std::uint32_t>(index));
  return "log volume" + (volume == nullptr ? "" : " " + std::to_string(volume->number.value)) + at;
}

std::vector<std::uint32_t> State::segment_indexes() const {
  std::vector<std::uint32_t> out;
  for (std::uint32_t index = 0; index < superblock.segment_count; ++index) out.push_back(index);
  for (const format::FurtherLogVolume& volume : superblock.further) {
    for (std::uint32_t index = volume.first_segment; index < volume.end(); ++index) out.push_back(index);
  }
  return out;
}

std::uint32_t State::segments_staying() const {
  std::uint32_t count = superblock.segment_count;
  for (const format::FurtherLogVolume& volume : superblock.further) {
    if (!volume.leaving) count += volume.segment_count;
  }
  return count;
}

format::FurtherLogVolume* State::find_further(LuNumber number) {
  const auto found = std::ranges::find(superblock.further, number, &format::FurtherLogVolume::number);
  return found == superblock.further.end() ? nullptr : &*found;
}

const format::FurtherLogVolume* State::volume_of(std::uint32_t index) const {
  for (const format::FurtherLogVolume& volume : superblock.further) {
    if (index >= volume.first_segment && index < volume.end()) return &volume;
  }
  return nullptr;
}

bool State::is_leaving(std::uint32_t index) const {
  const format::FurtherLogVolume* volume = volume_of(index);
  return volume != nullptr && volume->leaving;
}

bool State::may_be_taken(std::uint32_t index) const {
  const format::FurtherLogVolume* volume = volume_of(index);
  return volume == nullptr ? index < superblock.segment_count : !volume->leaving;
}

std::uint32_t State::segments_used_on(const format::FurtherLogVolume& volume) const {
  return static_cast<std::uint32_t>(std::ranges::count_if(used, [&](const Segment& segment) {
    return segment.index >= volume.first_segment && segment.index < volume.end();
  }));
}

std::optional<std::uint32_t> State::next_unprepared() const {
  std::uint32_t index = superblock.segments_prepared;
  if (index < superblock.segment_count) return index;
  for (const format::FurtherLogVolume& volume : superblock.further) {
    if (!volume.leaving && index < volume.end()) return std::max(index, volume.first_segment);
  }
  return std::nullopt;
}

std::uint32_t State::free_prepared() const {
  return static_cast<std::uint32_t>(std::count_if(
      free_indexes.begin(), free_indexes.end(), [this](std::uint32_t index) { return is_prepared(index); }));
}

bool State::segment_available(std::uint32_t reserve) const {
  if (free_indexes.size() <= reserve) return false;
  return std::any_of(free_indexes.begin(), free_indexes.end(),
                     [this](std::uint32_t index) { return is_prepared(index); });
}

void State::take_segment() {
  const auto at = std::find_if(free_indexes.begin(), free_indexes.end(),
                               [this](std::uint32_t index) { return is_prepared(index); });
  TM_ASSERT(at != free_indexes.end());
  TM_ASSERT(open.batch == nullptr);
  const std::uint32_t index = *at;
  free_indexes.erase(at);
  const Segment segment{.generation = next_generation++,
                        .index = index,
                        .previous_end = tail,
                        .first = next_id,
                        .first_timer = last_timer};
  used.push_back(segment);
  tail_is_usable = true;
  const format::SegmentStart start{.index = index,
                                   .previous_end = segment.previous_end,
                                   .first = segment.first,
                                   .first_timer = segment.first_timer};
  const std::vector<std::byte> meta = format::encode_segment_start(start);
  queue_frame(format::FrameKind::kSegment, meta, {}, 0, Place(segment.generation, 0), next_ticket++, LogId{},
              WallTime{});
  prepare_wanted.wake_all();
}

io::Task<void> State::prepare_segments() {
  while (!closing && !failed.has_value()) {
    const std::optional<std::uint32_t> next = next_unprepared();
    if (!next.has_value() || free_prepared() >= kPreparedAhead || prepare_error.has_value() ||
        marks_under_way > 0) {
      co_await prepare_wanted.wait();
      continue;
    }
    preparing = next;
    auto prepared = co_await prepare_one(*next);
    preparing.reset();
    if (prepared.ok()) {
      superblock.segments_prepared = std::max(superblock.segments_prepared, *next + 1);
    } else if (prepared.error().code == ErrorCode::kNoSpace) {
      prepare_error = prepared.error();
    } else {
      fail(prepared.error());
    }
    room_changed.wake_all();
  }
}

io::Task<Result<void>> State::prepare_one(std::uint32_t index) {
  const std::uint64_t begin = segment_offset(index).value;
  TM_CO_TRY(co_await disk.allocate(DiskOffset{begin}, superblock.segment_size_bytes));
  for (std::uint64_t done = 0; done < superblock.segment_size_bytes; done += kZeroesBytesMax) {
    const std::uint64_t step = std::min<std::uint64_t>(kZeroesBytesMax, superblock.segment_size_bytes - done);
    std::vector<Buffer> pieces;
    pieces.push_back(zeroes(step));
    TM_CO_TRY(co_await disk.write(DiskOffset{begin + done}, std::move(pieces), io::Durability::kVolatile));
  }
  co_return co_await disk.flush();
}

std::uint64_t State::snapshot_needs() const {
  if (superblock.snapshot_number == 0) return 0;
  return std::min(superblock.snapshot_scan.generation(), superblock.snapshot_place.generation());
}

io::Task<Result<void>> State::write_superblock() {
  auto guard = co_await superblock_mutex.lock();
  if (failed.has_value()) co_return *failed;
  ++superblock.sequence;
  superblock.durable_end = durable_end;
  std::vector<Buffer> pieces;
  pieces.push_back(format::encode_journal_superblock(superblock));
  const DiskOffset offset{(superblock.sequence % 2) * kBlockSizeBytes};
  SuperblockSlot& slot = superblock_slots[superblock.sequence % 2];
  Buffer block = pieces.front();
  slot.is_written = true;
  slot.block = Buffer();
  const std::uint64_t bound = snapshot_needs();
  auto written = co_await disk.write(offset, std::move(pieces), io::Durability::kDurable);
  if (written.ok()) {
    snapshot_bound = bound;
    slot.block = std::move(block);
  } else {
    fail(written.error());
  }
  co_return written;
}

}  // namespace tidemark::journal
