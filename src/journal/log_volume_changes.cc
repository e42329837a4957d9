// Log volumes of a journal that come and go while it is written.

#include <algorithm>

#include "base/time.h"
#include "journal/state.h"

namespace tidemark::journal {

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
  // It may have been told to leave meanwhile.
  for (std::uint32_t i = 0; i < count; ++i) {
    if (state.may_be_taken(first + i)) state.free_indexes.push_back(first + i);
  }
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
  // Who says it again is answered when it is on disk, too.
  if (volume->leaving) co_return co_await state.write_superblock();
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
  ++state.marks_under_way;
  auto noted = co_await state.write_superblock();
  --state.marks_under_way;
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
