#include "group/base_mover.h"

#include <algorithm>
#include <cstring>
#include <tuple>

#include "base/crc32c.h"

namespace tidemark::group {
namespace {

// One extent of the base is written by one task at a time (DataVolume's rule); this many extents at once keep
// a disk busy.
constexpr std::uint64_t kExtentBlocks = 1024;
// Destaging shares its disk with the writes of hosts: ahead of its pace it does little at once, and that only
// while the journal's own writes get through; behind it, more, up to all that the disk takes.
constexpr std::size_t kExtentsInFlightMin = 2;
constexpr std::size_t kExtentsInFlightMax = 32;
constexpr std::size_t kSpansInFlightMax = 8;
constexpr std::uint64_t kBacklogBytesMax = 1 << 20;  // of the journal: less than a disk has in flight
// And then a run is moved all the same.
constexpr Duration kBacklogPatience = Duration::milliseconds(50);
constexpr double kBehindMax = 1.0 / 8;  // of the step: the disk is given all
// Index pieces looked at together: bounds the memory of a look-up to a few megabytes.
constexpr std::size_t kPiecesPerPageMax = 16'384;
// Look-ups for what is given back; who writes there waits for them.
constexpr std::size_t kLooksMax = 256;  // and one for each branch
// What is known of before any of it is read; the more, the denser it lies in the journal. Some 10 MB.
constexpr std::size_t kStepRunsMax = 128 << 10;
constexpr std::size_t kStepBlocksMax = 1 << 20;
// Read together, and then written; as much is being read meanwhile. The second bounds what lies in between.
constexpr std::uint64_t kLoadBlocksMax = 2048;
constexpr std::uint64_t kLoadSpanBlocksMax = 2 * kLoadBlocksMax;
// A span is read as a whole. To read over as much as the gap takes less of a disk than another read.
constexpr std::uint32_t kSpanBlocksMax = 256;
constexpr std::uint32_t kGapBlocksMax = 8;
// Blocks written to the base at once: 1 MiB.
constexpr std::uint64_t kWriteBlocksMax = 256;

// The whole extents in which the blocks lie.
BlockRange extents_of(BlockRange blocks) {
  return {blocks.begin / kExtentBlocks * kExtentBlocks,
          (blocks.end + kExtentBlocks - 1) / kExtentBlocks * kExtentBlocks};
}

BlockRange whole_extent(const Volume& volume, std::uint64_t extent) {
  const std::uint64_t volume_end = volume.base->record().size_bytes / kBlockSizeBytes;
  return {extent * kExtentBlocks, std::min((extent + 1) * kExtentBlocks, volume_end)};
}

bool is_allocated(const Volume& volume, BlockRange blocks) {
  const std::optional<BlockRange> allocated = volume.base->next_allocated(blocks.begin);
  return allocated.has_value() && allocated->begin < blocks.end;
}

}  // namespace

io::Task<Result<void>> BaseMover::move(std::shared_ptr<const index::Path> path, LogId newest,
                                       std::uint64_t journal_bytes) {
  pace_.begin(core_.journal->status(), journal_bytes);
  held_on_released_.clear();
  for (const auto& [id, mark] : core_.state.marks()) {
    const index::EpochInfo* info = mark.held ? core_.state.epochs().find(mark.at.epoch()) : nullptr;
    if (info != nullptr && info->released) held_on_released_.push_back(mark.at);
  }
  const std::map<VolumeId, std::uint64_t> failed_before = flushes_failed();
  Step step;
  for (const auto& [id, failures] : failed_before) {
    std::uint64_t at = 0;
    while (true) {
      const Volume* volume = core_.find_volume(id);
      const std::uint64_t end = volume == nullptr ? 0 : volume->base->record().size_bytes / kBlockSizeBytes;
      if (at >= end) break;
      const BlockRange rest{at, end};
      std::vector<index::Piece> page;
      TM_CO_TRY(co_await core_.index->lookup(id, rest, *path, page, kPiecesPerPageMax));
      TM_ASSERT(!page.empty());
      at = page.back().blocks.end;
      add(page, newest, id, &step);
      if (step.runs.size() < kStepRunsMax && step.checksums.size() < kStepBlocksMax) continue;
      Step full = std::move(step);
      step = Step();
      TM_CO_TRY(co_await move_step(std::move(full)));
    }
  }
  TM_CO_TRY(co_await move_step(std::move(step)));
  {
    const auto guard = co_await core_.base_mutex.lock();
    TM_CO_TRY(co_await flush_volumes());
  }
  // One that failed in between, of a repair or a resize, has taken away what had been moved by then.
  for (const auto& [id, failures] : flushes_failed()) {
    const auto before = failed_before.find(id);
    if (before == failed_before.end() || before->second == failures) continue;
    co_return fail(ErrorCode::kIo, "a flush of volume " + std::to_string(id.value) +
                                       " failed while its blocks were being moved from the journal");
  }
  co_return Result<void>{};
}

std::map<VolumeId, std::uint64_t> BaseMover::flushes_failed() const {
  std::map<VolumeId, std::uint64_t> out;
  for (const auto& [id, volume] : core_.volumes) out.emplace(id, volume->base->flushes_failed());
  return out;
}

io::Task<Result<void>> BaseMover::flush_volumes() {
  std::vector<VolumeId> ids;
  for (const auto& [id, volume] : core_.volumes) ids.push_back(id);
  for (const VolumeId id : ids) {
    Volume* volume = core_.find_volume(id);
    if (volume == nullptr) continue;
    const auto flushed = co_await volume->base->flush();
    // It took away what a first copy has written, too; that one would not be told.
    if (!flushed.ok() && !core_.local.window_open) core_.stop(flushed.error());
    if (!flushed.ok()) co_return flushed;
  }
  co_return Result<void>{};
}

// Cuts pieces at extent boundaries, so that each run belongs to one extent.
void BaseMover::add(const std::vector<index::Piece>& pieces, LogId newest, VolumeId volume,
                    Step* step) const {
  for (const index::Piece& piece : pieces) {
    if (piece.kind == index::Piece::Kind::kBase) continue;
    if (!core_.state.epochs().is_ancestor(piece.id, newest)) continue;
    core_.changes.add(volume, piece.blocks);
    const bool zero = piece.kind == index::Piece::Kind::kZero;
    std::uint64_t begin = piece.blocks.begin;
    while (begin < piece.blocks.end) {
      const std::uint64_t boundary = (begin / kExtentBlocks + 1) * kExtentBlocks;
      // Zeroes over whole extents stay one run: the base gives the extents back without touching each.
      const bool whole_extents = zero && begin % kExtentBlocks == 0 && piece.blocks.end >= boundary;
      const std::uint64_t end = whole_extents ? piece.blocks.end / kExtentBlocks * kExtentBlocks
                                              : std::min(piece.blocks.end, boundary);
      Run run;
      run.volume = volume;
      run.blocks = {begin, end};
      run.zero = zero;
      run.place = piece.place;
      run.first_checksum = step->checksums.size();
      if (!zero) {
        const std::uint64_t skip = begin - piece.blocks.begin;
        run.place = piece.place.plus(static_cast<std::uint32_t>(skip));
        const auto first = piece.checksums.begin() + static_cast<std::ptrdiff_t>(skip);
        step->checksums.insert(step->checksums.end(), first,
                               first + static_cast<std::ptrdiff_t>(end - begin));
      }
      step->runs.push_back(std::move(run));
      begin = end;
    }
  }
}

io::Task<Result<void>> BaseMover::move_step(Step step) {
  // What is discarded first: it makes room for what is written.
  std::sort(step.runs.begin(), step.runs.end(), [](const Run& a, const Run& b) {
    return std::tuple(!a.zero, a.place) < std::tuple(!b.zero, b.place);
  });
  std::size_t at = 0;
  Load load = next_load(step, &at);
  co_await read(step, &load);
  while (!load.runs.empty()) {
    Load next = next_load(step, &at);
    io::TaskScope reading(core_.scheduler());
    reading.spawn(read(step, &next));
    const auto written = co_await write(step, &load);
    co_await reading.join();
    if (!written.ok()) co_return written;
    load = std::move(next);
  }
  co_return Result<void>{};
}

BaseMover::Load BaseMover::next_load(Step& step, std::size_t* at) const {
  Load load;
  std::uint64_t blocks = 0;
  std::uint64_t span_blocks = 0;
  for (; *at < step.runs.size() && blocks < kLoadBlocksMax && span_blocks < kLoadSpanBlocksMax; ++*at) {
    Run run = std::move(step.runs[*at]);
    const std::size_t number = load.runs.size();
    const auto count = static_cast<std::uint32_t>(run.zero ? 0 : run.blocks.count());
    blocks += count;
    if (!run.zero) run.data = core_.journal->recent(run.place, count);
    const bool is_here = run.zero || !run.data.empty();
    const Place place = run.place;
    load.runs.push_back(std::move(run));
    if (is_here) continue;
    if (!load.spans.empty()) {
      Span& last = load.spans.back();
      const bool same_segment = last.begin.generation() == place.generation();
      const std::uint32_t length = same_segment ? place.block() + count - last.begin.block() : 0;
      if (same_segment && length <= kSpanBlocksMax &&
          place.block() <= last.begin.block() + last.blocks + kGapBlocksMax) {
        span_blocks += length - last.blocks;
        last.blocks = length;
        last.runs_end = number + 1;
        continue;
      }
    }
    load.spans.push_back({place, count, number, number + 1});
    span_blocks += count;
  }
  return load;
}

io::Task<void> BaseMover::read(const Step& step, Load* load) {
  io::TaskScope reading(core_.scheduler());
  for (const Span& span : load->spans) {
    while (reading.running() >= std::min(extents_at_once(), kSpansInFlightMax)) co_await reading.one_ended();
    co_await let_appends_pass();
    reading.spawn(read_span(step, load, span));
  }
  co_await reading.join();
}

// What cannot be read, or does not match, is left to be asked for by itself: that one error is its own.
io::Task<void> BaseMover::read_span(const Step& step, Load* load, Span span) {
  const auto read = co_await core_.journal->read_unchecked(span.begin, span.blocks);
  if (!read.ok()) co_return;
  for (std::size_t i = span.first_run; i < span.runs_end; ++i) {
    Run& run = load->runs[i];
    if (run.zero || !run.data.empty()) continue;
    const std::uint64_t skip = run.place.block() - span.begin.block();
    Buffer data = read->slice(skip * kBlockSizeBytes, run.blocks.count() * kBlockSizeBytes);
    bool matches = true;
    for (std::uint64_t block = 0; block < run.blocks.count() && matches; ++block) {
      const Bytes bytes = Bytes(data).subspan(block * kBlockSizeBytes, kBlockSizeBytes);
      matches = crc32c(bytes) == step.checksums[run.first_checksum + block];
    }
    if (matches) run.data = std::move(data);
  }
}

io::Task<Result<void>> BaseMover::write(const Step& step, Load* load) {
  std::vector<Run>& runs = load->runs;
  std::sort(runs.begin(), runs.end(), [](const Run& a, const Run& b) {
    return std::tie(a.volume, a.blocks.begin) < std::tie(b.volume, b.blocks.begin);
  });
  const auto guard = co_await core_.base_mutex.lock();
  if (core_.failure.has_value()) co_return *core_.failure;
  const auto written = co_await write_all(step, load);
  if (written.ok() || written.error().code != ErrorCode::kNoSpace) co_return written;
  // What was discarded can be used again once that is durable. What has been written is written again.
  TM_CO_TRY(co_await flush_volumes());
  co_return co_await write_all(step, load);
}

io::Task<Result<void>> BaseMover::write_all(const Step& step, Load* load) {
  std::vector<Run>& runs = load->runs;
  Result<void> outcome;
  io::TaskScope writing(core_.scheduler());
  std::size_t i = 0;
  while (i < runs.size() && outcome.ok()) {
    const std::size_t first = i;
    const VolumeId id = runs[i].volume;
    const std::uint64_t extent = runs[i].blocks.begin / kExtentBlocks;
    while (i < runs.size() && runs[i].volume == id && runs[i].blocks.begin / kExtentBlocks == extent) ++i;
    // It may be gone since it was looked at; what it held goes with it.
    Volume* volume = core_.find_volume(id);
    if (volume == nullptr) continue;
    while (writing.running() >= extents_at_once()) co_await writing.one_ended();
    writing.spawn(write_extent(step, volume, std::span(runs).subspan(first, i - first), &outcome));
  }
  co_await writing.join();
  co_return outcome;
}

io::Task<void> BaseMover::write_extent(const Step& step, Volume* volume, std::span<Run> runs,
                                       Result<void>* outcome) {
  std::size_t i = 0;
  while (i < runs.size() && outcome->ok()) {
    co_await let_appends_pass();
    const std::size_t first = i++;
    if (runs[first].zero) {
      auto zeroed = co_await write_zeroes(volume, runs[first].blocks);
      if (!zeroed.ok()) *outcome = zeroed;
      continue;
    }
    while (i < runs.size() && !runs[i].zero && runs[i].blocks.begin == runs[i - 1].blocks.end &&
           runs[i].blocks.end - runs[first].blocks.begin <= kWriteBlocksMax) {
      ++i;
    }
    auto written = co_await write_runs(step, volume, runs.subspan(first, i - first));
    if (!written.ok()) *outcome = written;
  }
}

// Space goes back to the pool unless something written later is going to need it, on whatever branch. The
// base gives back an extent of which nothing is left, also when only a part of it is zeroed now; who wrote to
// the rest of it since was promised the space.
io::Task<Result<void>> BaseMover::write_zeroes(Volume* volume, BlockRange blocks) {
  core_.context.cache.erase_base(volume->number_in_cache, blocks.begin, blocks.end);
  std::uint64_t at = blocks.begin;
  while (at < blocks.end) {
    BlockRange part{at, blocks.end};
    const BlockRange held = extents_of(volume->lock.first_held(extents_of(part)));
    if (held.empty() || held.begin > at) {
      if (!held.empty()) part.end = held.begin;
      TM_CO_TRY_ASSIGN(at, co_await give_back(volume, part));
      // Who waits to write there goes first.
      if (at < blocks.end) co_await core_.scheduler().yield();
    } else {
      // Who holds it may append before all is looked at, and may be waiting for this step.
      part.end = std::min(part.end, held.end);
      TM_CO_TRY(co_await volume->base->zero(part));
      at = part.end;
    }
  }
  co_return Result<void>{};
}

io::Task<Result<std::uint64_t>> BaseMover::give_back(Volume* volume, BlockRange blocks) {
  BlockRange extents = extents_of(blocks);
  // A write that comes meanwhile would find the space there, and ask for none.
  const RangeLock::Guard guard = volume->lock.take(extents);
  TM_CO_TRY_ASSIGN(const std::set<std::uint64_t> needed, co_await needed_extents(volume->id, &extents));
  const std::uint64_t end = std::min(blocks.end, extents.end);
  // To discard a part of an extent that is only promised, where nothing was ever written, leaves the promise.
  for (const std::uint64_t extent : std::set{blocks.begin / kExtentBlocks, (end - 1) / kExtentBlocks}) {
    const BlockRange whole = whole_extent(*volume, extent);
    const bool is_promised = volume->base->is_reserved(whole) && !is_allocated(*volume, whole);
    if (is_promised && !needed.contains(extent)) TM_CO_TRY(co_await volume->base->discard(whole));
  }
  std::uint64_t at = blocks.begin;
  for (const std::uint64_t extent : needed) {
    const std::uint64_t begin = extent * kExtentBlocks;
    if (begin >= end) break;
    const BlockRange spare{at, begin};
    if (!spare.empty()) TM_CO_TRY(co_await volume->base->discard(spare));
    const BlockRange kept{std::max(at, begin), std::min(begin + kExtentBlocks, end)};
    if (!kept.empty()) TM_CO_TRY(co_await volume->base->zero(kept));
    at = std::max(at, kept.end);
  }
  const BlockRange spare{at, end};
  if (!spare.empty()) TM_CO_TRY(co_await volume->base->discard(spare));
  co_return end;
}

std::vector<LogId> BaseMover::branch_ends() const {
  const index::EpochTree& epochs = core_.state.epochs();
  std::vector<LogId> ends = held_on_released_;
  for (const auto& [number, info] : epochs.all()) {
    if (!info.released && !epochs.is_ancestor(info.last, core_.head())) ends.push_back(info.last);
  }
  return ends;
}

// Where a point shows zeroes, the readable points before it may show data, and a restore may go back to
// those.
io::Task<Result<std::set<std::uint64_t>>> BaseMover::needed_extents(VolumeId id, BlockRange* extents) {
  const index::EpochTree& epochs = core_.state.epochs();
  std::set<std::uint64_t> needed;
  std::vector<Look> looks;
  for (const LogId end : branch_ends()) looks.push_back({*extents, end});
  looks.push_back({*extents, LogId()});
  const std::size_t looks_max = kLooksMax + looks.size();
  std::size_t looked_at = 0;
  while (!looks.empty()) {
    Look look = looks.back();
    looks.pop_back();
    look.blocks.end = std::min(look.blocks.end, extents->end);
    if (look.blocks.empty()) continue;
    std::shared_ptr<const index::Path> path = core_.live_path;
    if (!look.at.is_none()) {
      // It left the way of the floor before: no point of it can be read.
      if (!epochs.is_ancestor(core_.local.floor, look.at)) continue;
      path = core_.path_to(look.at);
    }
    if (++looked_at > looks_max) {
      // Zeroed again and again: a part of it now, and of one extent all is kept.
      looked_at = 0;
      extents->end = extents->begin + extents->count() / kExtentBlocks / 2 * kExtentBlocks;
      if (extents->empty()) {
        extents->end = extents->begin + kExtentBlocks;
        needed.insert(extents->begin / kExtentBlocks);
        co_return needed;
      }
      looks.push_back(look);
      continue;
    }
    std::vector<index::Piece> page;
    TM_CO_TRY(co_await core_.index->lookup(id, look.blocks, *path, page, kPiecesPerPageMax));
    TM_ASSERT(!page.empty());
    if (const std::uint64_t looked = page.back().blocks.end; looked < look.blocks.end) {
      const std::uint64_t whole = looked / kExtentBlocks * kExtentBlocks;
      if (whole > extents->begin) extents->end = whole;
      const BlockRange rest{looked, look.blocks.end};
      looks.push_back({rest, look.at});
    }
    note_needed(page, &looks, &needed);
  }
  co_return needed;
}

void BaseMover::note_needed(const std::vector<index::Piece>& page, std::vector<Look>* looks,
                            std::set<std::uint64_t>* needed) const {
  for (const index::Piece& piece : page) {
    if (piece.kind == index::Piece::Kind::kBase) continue;
    const BlockRange extents = extents_of(piece.blocks);
    if (piece.kind == index::Piece::Kind::kData) {
      for (std::uint64_t at = extents.begin; at < extents.end; at += kExtentBlocks)
        needed->insert(at / kExtentBlocks);
      continue;
    }
    if (core_.state.epochs().is_ancestor(piece.id, core_.local.floor)) continue;
    if (extents.count() == kExtentBlocks && needed->contains(extents.begin / kExtentBlocks)) continue;
    // The first entry of an epoch opens it: there is one before this one.
    looks->push_back({piece.blocks, piece.id.previous()});
  }
}

io::Task<Result<void>> BaseMover::write_runs(const Step& step, Volume* volume, std::span<Run> runs) {
  const BlockRange blocks{runs.front().blocks.begin, runs.back().blocks.end};
  Buffer data;
  std::vector<std::uint32_t> checksums;
  checksums.reserve(blocks.count());
  for (Run& run : runs) {
    TM_CO_TRY_ASSIGN(Buffer part, co_await data_of(step, &run));
    const auto first = step.checksums.begin() + static_cast<std::ptrdiff_t>(run.first_checksum);
    checksums.insert(checksums.end(), first, first + static_cast<std::ptrdiff_t>(run.blocks.count()));
    if (runs.size() == 1) {
      data = std::move(part);
      continue;
    }
    if (data.empty()) data = Buffer::allocate(blocks.count() * kBlockSizeBytes);
    const std::uint64_t skip = run.blocks.begin - blocks.begin;
    std::memcpy(data.data() + skip * kBlockSizeBytes, part.data(), part.size());
  }
  TM_CO_TRY(co_await volume->base->reserve(blocks));
  core_.context.cache.erase_base(volume->number_in_cache, blocks.begin, blocks.end);
  pace_.moved(blocks.count() * kBlockSizeBytes);
  volume->counters.destaged_bytes += blocks.count() * kBlockSizeBytes;
  TM_CO_TRY(co_await volume->base->write(blocks, std::move(data), std::move(checksums)));
  for (const Run& run : runs) {
    for (std::uint64_t i = 0; i < run.blocks.count(); ++i) {
      core_.context.cache.note_destaged(volume->cache_key(run.blocks.begin + i),
                                        run.place.plus(static_cast<std::uint32_t>(i)));
    }
  }
  co_return Result<void>{};
}

io::Task<Result<Buffer>> BaseMover::data_of(const Step& step, Run* run) {
  if (!run->data.empty()) co_return std::move(run->data);
  index::Piece piece;
  piece.kind = index::Piece::Kind::kData;
  piece.blocks = run->blocks;
  piece.place = run->place;
  const auto first = step.checksums.begin() + static_cast<std::ptrdiff_t>(run->first_checksum);
  piece.checksums.assign(first, first + static_cast<std::ptrdiff_t>(run->blocks.count()));
  co_return co_await data_.piece_data(std::move(piece));
}

// From 0, there is time, to 1: all that the disk takes.
double BaseMover::urgency() const {
  // Who stops the node waits for the step.
  if (core_.waiting_for_space > 0 || core_.closing) return 1;
  return std::min(pace_.behind(core_.journal->status()) / kBehindMax, 1.0);
}

std::size_t BaseMover::extents_at_once() const {
  constexpr double kRange = kExtentsInFlightMax - kExtentsInFlightMin;
  return kExtentsInFlightMin + static_cast<std::size_t>(kRange * urgency());
}

io::Task<void> BaseMover::let_appends_pass() {
  const MonotonicTime due = core_.scheduler().now() + kBacklogPatience;
  while (core_.journal->backlog_bytes() > kBacklogBytesMax && urgency() == 0 &&
         core_.scheduler().now() < due) {
    (void)co_await core_.journal->durable_moved().wait_until(due);
  }
}

}  // namespace tidemark::group
