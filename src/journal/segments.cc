// Segments of a journal: taken in turn, written in full once before their first use, recycled in place.

#include <algorithm>
#include <cstring>

#include "journal/state.h"

namespace tidemark::journal {

const Segment* State::find_segment(std::uint64_t generation) const {
  const auto at =
      std::lower_bound(used.begin(), used.end(), generation,
                       [](const Segment& segment, std::uint64_t g) { return segment.generation < g; });
  return at != used.end() && at->generation == generation ? &*at : nullptr;
}

DiskOffset State::disk_offset(Place place) const {
  const Segment* segment = find_segment(place.generation());
  TM_ASSERT(segment != nullptr);
  return DiskOffset{kSegmentsOffsetBytes + segment->index * superblock.segment_size_bytes +
                    place.block() * kBlockSizeBytes};
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
    const bool wanted = superblock.segments_prepared < superblock.segment_count &&
                        free_prepared() < kPreparedAhead && !prepare_error.has_value();
    if (!wanted) {
      co_await prepare_wanted.wait();
      continue;
    }
    const std::uint32_t index = superblock.segments_prepared;
    auto prepared = co_await prepare_one(index);
    if (prepared.ok()) {
      ++superblock.segments_prepared;
    } else if (prepared.error().code == ErrorCode::kNoSpace) {
      prepare_error = prepared.error();
    } else {
      fail(prepared.error());
    }
    room_changed.wake_all();
  }
}

io::Task<Result<void>> State::prepare_one(std::uint32_t index) {
  const std::uint64_t begin = kSegmentsOffsetBytes + index * superblock.segment_size_bytes;
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

}  // namespace tidemark::journal
