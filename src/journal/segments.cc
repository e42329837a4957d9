// Segments of a journal: taken in turn, written in full once before their first use, recycled in place; and
// the log volumes that they lie on.

#include <algorithm>
#include <cstring>

#include "base/names.h"
#include "journal/state.h"

namespace tidemark::journal {

std::uint32_t reserve_for(Purpose purpose, std::uint32_t segment_count) {
  if (purpose == Purpose::kRelease) return kReservedForSnapshot;
  const std::uint32_t for_control = kReservedForSnapshot + kReservedForRelease;
  if (purpose == Purpose::kControl) return for_control;
  return for_control + std::max(kReservedForControl, segment_count / 16);
}

const Segment* State::find_segment(std::uint64_t generation) const {
  const auto at =
      std::lower_bound(used.begin(), used.end(), generation,
                       [](const Segment& segment, std::uint64_t g) { return segment.generation < g; });
  return at != used.end() && at->generation == generation ? &*at : nullptr;
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
        preparing_waits) {
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
  constexpr std::uint64_t kStepBytes = 1 << 20;
  Buffer zeroes = Buffer::allocate(std::min(kStepBytes, superblock.segment_size_bytes));
  std::memset(zeroes.data(), 0, zeroes.size());
  for (std::uint64_t done = 0; done < superblock.segment_size_bytes; done += zeroes.size()) {
    const std::uint64_t step = std::min<std::uint64_t>(zeroes.size(), superblock.segment_size_bytes - done);
    std::vector<Buffer> pieces;
    pieces.push_back(zeroes.slice(0, step));
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
  const std::uint64_t bound = snapshot_needs();
  auto written = co_await disk.write(offset, std::move(pieces), io::Durability::kDurable);
  if (written.ok()) {
    snapshot_bound = bound;
  } else {
    fail(written.error());
  }
  co_return written;
}

// ---- Log volumes that come and go ----

io::Task<Result<void>> Journal::add_log_volume(LuNumber number, io::Disk& disk) {
  State& state = *state_;
  format::JournalSuperblock& superblock = state.superblock;
  if (state.failed.has_value()) co_return *state.failed;
  const std::uint32_t first = superblock.segments_end();
  const std::uint64_t count = disk.size_bytes() / superblock.segment_size_bytes;
  if (count == 0) {
    co_return tidemark::fail(ErrorCode::kInvalid, "a log volume of this journal needs at least " +
                                                      format_size(superblock.segment_size_bytes) +
                                                      ", the size of one of its segments");
  }
  if (superblock.further.size() == format::kFurtherLogVolumesMax ||
      count >= format::kSegmentIndexMax - first ||
      first + count > format::kJournalBytesMax / superblock.segment_size_bytes) {
    co_return tidemark::fail(ErrorCode::kNoSpace,
                             "the journal has as many log volumes as it can have, or segments");
  }
  TM_ASSERT(state.find_further(number) == nullptr);
  state.disk.add(state.segment_offset(first).value, disk);
  superblock.further.push_back(
      {.number = number, .first_segment = first, .segment_count = static_cast<std::uint32_t>(count)});
  // Nothing may lie on it before whoever opens the journal knows of it, by either slot.
  TM_CO_TRY(co_await state.write_superblock());
  TM_CO_TRY(co_await state.write_superblock());
  for (std::uint32_t i = 0; i < count; ++i) state.free_indexes.push_back(first + i);
  state.prepare_wanted.wake_all();
  state.room_changed.wake_all();
  co_return Result<void>{};
}

io::Task<Result<void>> Journal::empty_log_volume(LuNumber number) {
  State& state = *state_;
  if (state.failed.has_value()) co_return *state.failed;
  format::FurtherLogVolume* volume = state.find_further(number);
  if (volume == nullptr) {
    co_return tidemark::fail(ErrorCode::kNotFound,
                             "the journal has no further log volume " + std::to_string(number.value));
  }
  if (volume->leaving) co_return Result<void>{};
  const auto lies_on_it = [first = volume->first_segment, end = volume->end()](std::uint32_t index) {
    return index >= first && index < end;
  };
  const auto free_elsewhere = state.free_indexes.size() -
                              static_cast<std::size_t>(std::ranges::count_if(state.free_indexes, lies_on_it));
  const std::uint32_t staying = state.segments_staying() - volume->segment_count;
  if (free_elsewhere <= reserve_for(Purpose::kData, staying)) {
    co_return tidemark::fail(ErrorCode::kNoSpace,
                             "the other log volumes of the journal have no free space; "
                             "add one first, or wait until history has expired");
  }
  state.close_open();
  volume->leaving = true;
  std::erase_if(state.free_indexes, lies_on_it);
  if (!state.used.empty() && lies_on_it(state.used.back().index)) state.tail_is_usable = false;
  // A later segment that a start finds in use tells it that those before are prepared, but for these.
  state.preparing_waits = true;
  auto noted = co_await state.write_superblock();
  state.preparing_waits = false;
  state.prepare_wanted.wake_all();
  co_return noted;
}

bool Journal::has_leaving() const {
  return std::ranges::any_of(state_->superblock.further, &format::FurtherLogVolume::leaving);
}

bool Journal::ends_on_leaving() const {
  const State& state = *state_;
  return std::ranges::any_of(state.used, [&](const Segment& segment) {
    return segment.generation >= state.snapshot_bound && state.is_leaving(segment.index);
  });
}

std::vector<LuNumber> Journal::emptied_log_volumes() const {
  std::vector<LuNumber> out;
  for (const format::FurtherLogVolume& volume : state_->superblock.further) {
    if (volume.leaving && state_->segments_used_on(volume) == 0) out.push_back(volume.number);
  }
  return out;
}

io::Task<Result<void>> Journal::drop_log_volume(LuNumber number) {
  State& state = *state_;
  const format::FurtherLogVolume* volume = state.find_further(number);
  TM_ASSERT(volume != nullptr && volume->leaving && state.segments_used_on(*volume) == 0);
  const std::uint32_t first = volume->first_segment;
  const std::uint32_t end = volume->end();
  while (state.preparing.has_value() && *state.preparing >= first && *state.preparing < end) {
    co_await state.room_changed.wait();
  }
  if (state.failed.has_value()) co_return *state.failed;
  std::erase_if(state.superblock.further,
                [number](const format::FurtherLogVolume& other) { return other.number == number; });
  state.superblock.segments_prepared =
      std::min(state.superblock.segments_prepared, state.superblock.segments_end());
  // Twice: neither slot may name what is not there.
  TM_CO_TRY(co_await state.write_superblock());
  TM_CO_TRY(co_await state.write_superblock());
  co_await state.disk.remove(state.segment_offset(first).value);
  co_return Result<void>{};
}

std::vector<LogVolumeStatus> Journal::log_volumes() const {
  const State& state = *state_;
  std::vector<LogVolumeStatus> out;
  out.push_back({.segments_total = state.superblock.segment_count});
  for (const format::FurtherLogVolume& volume : state.superblock.further) {
    out.push_back(
        {.number = volume.number, .segments_total = volume.segment_count, .leaving = volume.leaving});
  }
  for (std::size_t i = 0; i < state.used.size(); ++i) {
    const Segment& segment = state.used[i];
    const format::FurtherLogVolume* volume = state.volume_of(segment.index);
    const LuNumber number = volume == nullptr ? LuNumber{} : volume->number;
    LogVolumeStatus& status = *std::ranges::find(out, number, &LogVolumeStatus::number);
    ++status.segments_used;
    const bool is_last = i + 1 == state.used.size();
    const LogId next = is_last ? state.last_id : state.used[i + 1].first;
    const LogId last = is_last || next.sequence() == 0 ? next : next.previous();
    // One that took parts of snapshots alone holds no entry.
    if (segment.first.is_none() || last < segment.first) continue;
    if (status.first.is_none()) status.first = segment.first;
    status.last = last;
  }
  return out;
}

}  // namespace tidemark::journal
