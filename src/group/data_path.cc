#include "group/data_path.h"

#include <algorithm>
#include <cstring>

namespace tidemark::group {
namespace {

BlockRange covering(std::uint64_t offset, std::uint64_t length) {
  return {offset / kBlockSizeBytes, (offset + length + kBlockSizeBytes - 1) / kBlockSizeBytes};
}

bool is_block_aligned(std::uint64_t offset, std::uint64_t length) {
  return offset % kBlockSizeBytes == 0 && length % kBlockSizeBytes == 0;
}

}  // namespace

void DataPath::append_write(Volume& volume, BlockRange blocks, Buffer data) {
  const journal::Appended appended = core_.journal->append(
      {.kind = format::EntryKind::kWrite, .volume = volume.id, .blocks = blocks, .payload = data});
  core_.context.cache.note_write(volume.cache_key(blocks.begin), appended.place, data);
  core_.index->insert_data(volume.id, blocks, appended.id, appended.place, appended.checksums);
  core_.state.epochs().extend(appended.id, appended.timer);
  const std::uint64_t bytes = blocks.count() * kBlockSizeBytes;
  volume.appended_bytes[appended.place.generation()] += bytes;
  volume.counters.written_bytes += bytes;
}

bool DataPath::write_now(Volume& volume, std::uint64_t offset, const Buffer& data) {
  if (!is_block_aligned(offset, data.size())) return false;
  const BlockRange blocks = covering(offset, data.size());
  if (blocks.count() > core_.journal->entry_blocks_max() || core_.sequence_is_exhausted() ||
      !volume.lock.is_free(blocks) || !volume.base->is_reserved(blocks) ||
      !check_writable(volume, blocks).ok() ||
      !core_.journal->has_room(static_cast<std::uint32_t>(blocks.count()), 0, journal::Purpose::kData)) {
    return false;
  }
  append_write(volume, blocks, data);
  ++volume.counters.write_hits;
  return true;
}

io::Task<Result<std::shared_ptr<Volume>>> DataPath::writable(VolumeId id) {
  TM_CO_TRY(core_.check_accepting());
  if (core_.sequence_is_exhausted()) TM_CO_TRY(co_await core_.renew_epoch());
  const auto at = core_.volumes.find(id);
  if (at == core_.volumes.end()) co_return fail(ErrorCode::kNotFound, "the volume is gone");
  TM_CO_TRY(check_writable(*at->second, BlockRange{}));
  co_return at->second;
}

Result<void> DataPath::check_writable(const Volume& volume, BlockRange blocks) const {
  TM_TRY(core_.check_accepting());
  const std::uint64_t blocks_now = core_.blocks_at_head(volume);
  if (blocks_now == 0) return fail(ErrorCode::kNotFound, "the volume is gone");
  if (blocks.end > blocks_now) {
    return fail(ErrorCode::kInvalid,
                "the volume ends at byte " + std::to_string(blocks_now * kBlockSizeBytes) + " by now");
  }
  return {};
}

io::Task<Result<void>> DataPath::reserve(Volume* volume, BlockRange blocks) {
  // Its unit is not removed meanwhile.
  const Core::ReadGuard guard(&core_);
  co_return co_await volume->base->reserve(blocks);
}

io::Task<Result<void>> DataPath::write(VolumeId id, std::uint64_t offset, Buffer data, bool fua) {
  TM_CO_TRY_ASSIGN(const std::shared_ptr<Volume> volume, co_await writable(id));
  if (!write_now(*volume, offset, data)) {
    const BlockRange blocks = covering(offset, data.size());
    const RangeLock::Guard guard = co_await volume->lock.lock(blocks);
    ++volume->counters.write_misses;
    if (is_block_aligned(offset, data.size())) {
      TM_CO_TRY(co_await write_whole(volume.get(), blocks, data));
    } else {
      TM_CO_TRY(co_await write_partial(volume.get(), offset, data));
    }
  }
  if (fua) co_return co_await flush();
  co_return Result<void>{};
}

io::Task<Result<void>> DataPath::write_whole(Volume* volume, BlockRange blocks, Buffer data) {
  const std::uint32_t step = core_.journal->entry_blocks_max();
  for (std::uint64_t begin = blocks.begin; begin < blocks.end; begin += step) {
    const BlockRange part{begin, std::min(blocks.end, begin + step)};
    const auto count = static_cast<std::uint32_t>(part.count());
    while (true) {
      TM_CO_TRY(check_writable(*volume, part));
      // Room first: what the base promises to a write that is refused nobody gives back.
      TM_CO_TRY(co_await core_.make_room(count, 0, journal::Purpose::kData));
      TM_CO_TRY(check_writable(*volume, part));
      if (!volume->base->is_reserved(part)) TM_CO_TRY(co_await reserve(volume, part));
      // Either wait may have let the other condition lapse; append only when both hold at once.
      if (check_writable(*volume, part).ok() && volume->base->is_reserved(part) &&
          core_.journal->has_room(count, 0, journal::Purpose::kData)) {
        break;
      }
    }
    append_write(*volume, part,
                 data.slice((begin - blocks.begin) * kBlockSizeBytes, count * kBlockSizeBytes));
  }
  co_return Result<void>{};
}

io::Task<Result<void>> DataPath::write_partial(Volume* volume, std::uint64_t offset, Buffer data) {
  const BlockRange blocks = covering(offset, data.size());
  Buffer whole = Buffer::allocate(blocks.count() * kBlockSizeBytes);
  const std::uint64_t lead = offset - blocks.begin * kBlockSizeBytes;
  bool hit = true;
  // The first and the last block keep what the write does not cover. Its owner holds the range, so nothing
  // can change them between here and the append.
  {
    // Not held while room is waited for: who makes it waits for readers.
    const Core::ReadGuard reading(&core_);
    TM_CO_TRY(check_writable(*volume, blocks));
    if (lead != 0 || data.size() < kBlockSizeBytes) {
      const BlockRange first{blocks.begin, blocks.begin + 1};
      Buffer block = whole.slice(0, kBlockSizeBytes);
      TM_CO_TRY(co_await read_blocks(volume, core_.live_path, first, block, &hit));
    }
    if (blocks.count() > 1 && (offset + data.size()) % kBlockSizeBytes != 0) {
      const BlockRange last{blocks.end - 1, blocks.end};
      Buffer block = whole.slice((blocks.count() - 1) * kBlockSizeBytes, kBlockSizeBytes);
      TM_CO_TRY(co_await read_blocks(volume, core_.live_path, last, block, &hit));
    }
  }
  std::memcpy(whole.data() + lead, data.data(), data.size());
  co_return co_await write_whole(volume, blocks, whole);
}

void DataPath::append_zero(Volume& volume, BlockRange blocks, format::EntryKind kind) {
  journal::NewEntry entry;
  entry.kind = kind;
  entry.volume = volume.id;
  entry.blocks = blocks;
  const journal::Appended appended = core_.journal->append(std::move(entry));
  core_.index->insert_zero(volume.id, blocks, appended.id, appended.place);
  core_.state.epochs().extend(appended.id, appended.timer);
}

io::Task<Result<void>> DataPath::zero_whole(Volume* volume, BlockRange blocks, format::EntryKind kind) {
  for (std::uint64_t begin = blocks.begin; begin < blocks.end; begin += format::kEntryRangeBlocksMax) {
    const BlockRange part{begin, std::min(blocks.end, begin + format::kEntryRangeBlocksMax)};
    do {
      TM_CO_TRY(co_await core_.make_room(0, 0, journal::Purpose::kData));
      TM_CO_TRY(check_writable(*volume, part));
    } while (!core_.journal->has_room(0, 0, journal::Purpose::kData));
    append_zero(*volume, part, kind);
  }
  ++volume->counters.write_hits;
  co_return Result<void>{};
}

io::Task<Result<void>> DataPath::zero(VolumeId id, std::uint64_t offset, std::uint64_t length, bool discard,
                                      bool fua) {
  TM_CO_TRY_ASSIGN(const std::shared_ptr<Volume> volume, co_await writable(id));
  const std::uint64_t end = offset + length;
  const BlockRange whole{(offset + kBlockSizeBytes - 1) / kBlockSizeBytes, end / kBlockSizeBytes};
  if (!discard) {
    // Bytes outside whole blocks are zeroed by writing them.
    const std::uint64_t lead_end = std::min(end, whole.begin * kBlockSizeBytes);
    if (offset < lead_end) {
      Buffer lead = zeroes(lead_end - offset);
      TM_CO_TRY(co_await write(id, offset, lead, false));
    }
    const std::uint64_t tail_begin = std::max(lead_end, whole.end * kBlockSizeBytes);
    if (tail_begin < end) {
      Buffer tail = zeroes(end - tail_begin);
      TM_CO_TRY(co_await write(id, tail_begin, tail, false));
    }
  }
  if (!whole.empty()) {
    const format::EntryKind kind = discard ? format::EntryKind::kDiscard : format::EntryKind::kZero;
    const RangeLock::Guard guard = co_await volume->lock.lock(whole);
    TM_CO_TRY(co_await zero_whole(volume.get(), whole, kind));
  }
  if (fua) co_return co_await flush();
  co_return Result<void>{};
}

io::Task<Result<void>> DataPath::discard_in_epoch(VolumeId id, BlockRange blocks) {
  Volume* const volume = core_.find_volume(id);
  if (volume == nullptr) co_return fail(ErrorCode::kNotFound, "the volume is gone");
  const RangeLock::Guard guard = co_await volume->lock.lock(blocks);
  co_return co_await zero_whole(volume, blocks, format::EntryKind::kDiscard);
}

io::Task<Result<void>> DataPath::write_again(VolumeId id, BlockRange blocks, Buffer data, LogId since) {
  const auto found_at = core_.volumes.find(id);
  if (found_at == core_.volumes.end()) co_return fail(ErrorCode::kNotFound, "the volume is gone");
  const std::shared_ptr<Volume> volume = found_at->second;
  // Whoever writes there meanwhile waits, and comes after it in the order.
  const RangeLock::Guard guard = co_await volume->lock.lock(blocks);
  for (std::uint64_t at = blocks.begin; at < blocks.end;) {
    const BlockRange rest{at, blocks.end};
    std::vector<index::Piece> found;
    {
      const Core::ReadGuard reading(&core_);
      TM_CO_TRY_ASSIGN(found, co_await pieces(id, rest, core_.live_path, 4096));
    }
    for (const index::Piece& piece : found) {
      at = piece.blocks.end;
      const bool is_newer =
          piece.kind != index::Piece::Kind::kBase && !core_.state.epochs().is_ancestor(piece.id, since);
      if (is_newer) continue;
      Buffer part = data.empty() ? Buffer()
                                 : data.slice((piece.blocks.begin - blocks.begin) * kBlockSizeBytes,
                                              piece.blocks.count() * kBlockSizeBytes);
      TM_CO_TRY(co_await write_again_whole(volume.get(), piece.blocks, std::move(part), since));
    }
  }
  co_return Result<void>{};
}

io::Task<Result<void>> DataPath::write_again_whole(Volume* volume, BlockRange blocks, Buffer data,
                                                   LogId since) {
  if (data.empty()) {
    data = Buffer::allocate(blocks.count() * kBlockSizeBytes);
    TM_CO_TRY(co_await read(volume->id, core_.live_path, blocks.begin * kBlockSizeBytes, data, false));
  }
  const bool is_zero = all_zero(data);
  const std::uint32_t step = core_.journal->entry_blocks_max();
  for (std::uint64_t begin = blocks.begin; begin < blocks.end; begin += step) {
    const BlockRange part{begin, std::min(blocks.end, begin + step)};
    const auto count = is_zero ? 0 : static_cast<std::uint32_t>(part.count());
    TM_CO_TRY(check_writable(*volume, part));
    const bool has_room = core_.journal->has_room(count, 0, journal::Purpose::kData);
    if (has_room && !is_zero && !volume->base->is_reserved(part)) TM_CO_TRY(co_await reserve(volume, part));
    // From here to the append nothing is awaited. What the base has taken in since would no longer be told
    // from what was there at `since`; the floor has passed that by then.
    TM_CO_TRY(check_writable(*volume, part));
    TM_CO_TRY(core_.check_readable(since));
    if (!core_.journal->has_room(count, 0, journal::Purpose::kData)) {
      co_return fail(ErrorCode::kBusy, "the journal has no room at once");
    }
    if (is_zero) {
      append_zero(*volume, part, format::EntryKind::kDiscard);
    } else {
      append_write(*volume, part,
                   data.slice((begin - blocks.begin) * kBlockSizeBytes, part.count() * kBlockSizeBytes));
    }
  }
  co_return Result<void>{};
}

io::Task<Result<void>> DataPath::flush() {
  const LogId newest = core_.journal->last_appended();
  auto durable = co_await core_.journal->flush();
  if (!durable.ok()) {
    core_.stop(durable.error());
    co_return durable;
  }
  co_return co_await core_.peer_gate.pass(newest);
}

io::Task<Result<std::vector<index::Piece>>> DataPath::pieces(VolumeId volume, BlockRange blocks,
                                                             std::shared_ptr<const index::Path> path,
                                                             std::size_t pieces_max) {
  std::vector<index::Piece> out;
  if (!core_.index->lookup_now(volume, blocks, *path, out) || out.empty()) {
    out.clear();
    TM_CO_TRY(co_await core_.index->lookup(volume, blocks, *path, out, pieces_max));
  }
  co_return out;
}

io::Task<Result<Buffer>> DataPath::piece_data(index::Piece piece) {
  Buffer recent = core_.journal->recent(piece.place, static_cast<std::uint32_t>(piece.blocks.count()));
  if (!recent.empty()) co_return recent;
  std::vector<std::uint32_t> checksums = std::move(piece.checksums);
  co_return co_await core_.journal->read(piece.place, std::move(checksums));
}

io::Task<Result<void>> DataPath::read(VolumeId id, std::shared_ptr<const index::Path> path,
                                      std::uint64_t offset, Buffer out, bool count) {
  Volume* volume = core_.find_volume(id);
  if (volume == nullptr) co_return fail(ErrorCode::kNotFound, "the volume is gone");
  // Its unit is not removed meanwhile.
  const Core::ReadGuard guard(&core_);
  const BlockRange blocks = covering(offset, out.size());
  if (volume->read_ahead.is_being_brought(blocks)) co_await volume->read_ahead.wait_for(blocks);
  const auto ends = [](std::uint32_t* reads) { --*reads; };
  ++volume->reads_under_way;
  const std::unique_ptr<std::uint32_t, decltype(ends)> under_way(&volume->reads_under_way, ends);
  bool hit = true;
  Result<void> done;
  if (is_block_aligned(offset, out.size())) {
    done = co_await read_blocks(volume, path, blocks, out, &hit);
  } else {
    Buffer whole = Buffer::allocate(blocks.count() * kBlockSizeBytes);
    done = co_await read_blocks(volume, path, blocks, whole, &hit);
    if (done.ok()) {
      std::memcpy(out.data(), whole.data() + (offset - blocks.begin * kBlockSizeBytes), out.size());
    }
  }
  if (!count) co_return done;
  ++(hit ? volume->counters.read_hits : volume->counters.read_misses);
  // Whoever flips the phase waits for this read, and would not wait for one that begins now on the same path.
  if (!done.ok() || stopping_ || volume->reads_under_way > 1 || !guard.is_current()) co_return done;
  const BlockRange next =
      volume->read_ahead.note(blocks, hit, volume->base->record().size_bytes / kBlockSizeBytes,
                              core_.context.cache.size_bytes() / kBlockSizeBytes);
  if (!next.empty()) reading_ahead_.spawn(read_ahead(Core::ReadGuard(&core_), volume, path, next));
  co_return done;
}

// An error is the host's, when it asks.
io::Task<void> DataPath::read_ahead([[maybe_unused]] Core::ReadGuard guard, Volume* volume,
                                    std::shared_ptr<const index::Path> path, BlockRange blocks) {
  Buffer out = Buffer::allocate(blocks.count() * kBlockSizeBytes);
  bool hit = true;
  (void)co_await read_blocks(volume, path, blocks, std::move(out), &hit);
  volume->read_ahead.ended(blocks, hit);
}

io::Task<void> DataPath::stop() {
  stopping_ = true;
  co_await reading_ahead_.join();
}

io::Task<Result<void>> DataPath::read_blocks(Volume* volume, std::shared_ptr<const index::Path> path,
                                             BlockRange blocks, Buffer out, bool* hit) {
  std::uint64_t at = blocks.begin;
  while (at < blocks.end) {
    const BlockRange rest{at, blocks.end};
    TM_CO_TRY_ASSIGN(const std::vector<index::Piece> found, co_await pieces(volume->id, rest, path, 4096));
    for (const index::Piece& piece : found) {
      TM_ASSERT(piece.blocks.begin == at);
      Buffer part = out.slice((at - blocks.begin) * kBlockSizeBytes, piece.blocks.count() * kBlockSizeBytes);
      if (piece.kind == index::Piece::Kind::kZero) {
        std::memset(part.data(), 0, part.size());
      } else if (piece.kind == index::Piece::Kind::kBase) {
        TM_CO_TRY(co_await read_base(volume, piece.blocks, part, hit));
      } else {
        TM_CO_TRY(co_await read_piece(volume, piece, part, hit));
      }
      at = piece.blocks.end;
    }
    TM_ASSERT(!found.empty());
  }
  co_return Result<void>{};
}

io::Task<Result<void>> DataPath::read_piece(Volume* volume, index::Piece piece, Buffer out, bool* hit) {
  const std::uint64_t count = piece.blocks.count();
  const Buffer recent = core_.journal->recent(piece.place, static_cast<std::uint32_t>(count));
  if (!recent.empty()) {
    std::memcpy(out.data(), recent.data(), out.size());
    co_return Result<void>{};
  }
  bool cached = true;
  for (std::uint64_t i = 0; i < count && cached; ++i) {
    cached = core_.context.cache.read(volume->cache_key(piece.blocks.begin + i),
                                      piece.place.plus(static_cast<std::uint32_t>(i)),
                                      out.writable().subspan(i * kBlockSizeBytes, kBlockSizeBytes));
  }
  if (cached) co_return Result<void>{};
  *hit = false;
  std::vector<std::uint32_t> checksums = std::move(piece.checksums);
  TM_CO_TRY_ASSIGN(const Buffer data, co_await core_.journal->read(piece.place, std::move(checksums)));
  std::memcpy(out.data(), data.data(), out.size());
  for (std::uint64_t i = 0; i < count; ++i) {
    core_.context.cache.insert(volume->cache_key(piece.blocks.begin + i),
                               piece.place.plus(static_cast<std::uint32_t>(i)),
                               Bytes(data).subspan(i * kBlockSizeBytes, kBlockSizeBytes));
  }
  co_return Result<void>{};
}

io::Task<Result<void>> DataPath::read_base(Volume* volume, BlockRange blocks, Buffer out, bool* hit) {
  // The base may be smaller than the volume just after a resize elsewhere; beyond it there are zeroes.
  const std::uint64_t base_end = volume->base->record().size_bytes / kBlockSizeBytes;
  std::uint64_t at = blocks.begin;
  while (at < blocks.end) {
    const std::optional<BlockRange> allocated =
        at < base_end ? volume->base->next_allocated(at) : std::nullopt;
    const std::uint64_t data_begin =
        allocated.has_value() ? std::min(allocated->begin, blocks.end) : blocks.end;
    if (at < data_begin) {
      std::memset(out.data() + (at - blocks.begin) * kBlockSizeBytes, 0, (data_begin - at) * kBlockSizeBytes);
      at = data_begin;
      continue;
    }
    const MutableBytes block = out.writable().subspan((at - blocks.begin) * kBlockSizeBytes, kBlockSizeBytes);
    if (core_.context.cache.read(volume->cache_key(at), Place(), block)) {
      ++at;
      continue;
    }
    // One disk read for the run of blocks that the cache does not have.
    std::uint64_t run_end = at + 1;
    const std::uint64_t limit = std::min({blocks.end, allocated->end, base_end});
    while (run_end < limit && !core_.context.cache.contains(volume->cache_key(run_end), Place())) ++run_end;
    *hit = false;
    const BlockRange run{at, run_end};
    Buffer part = out.slice((at - blocks.begin) * kBlockSizeBytes, run.count() * kBlockSizeBytes);
    TM_CO_TRY(co_await volume->base->read(run, part));
    for (std::uint64_t i = 0; i < run.count(); ++i) {
      core_.context.cache.insert(volume->cache_key(at + i), Place(),
                                 Bytes(part).subspan(i * kBlockSizeBytes, kBlockSizeBytes));
    }
    at = run_end;
  }
  co_return Result<void>{};
}

io::Task<Result<std::vector<AllocationRun>>> DataPath::allocation(VolumeId id,
                                                                  std::shared_ptr<const index::Path> path,
                                                                  std::uint64_t offset, std::uint64_t length,
                                                                  std::size_t runs_max) {
  Volume* volume = core_.find_volume(id);
  if (volume == nullptr) co_return fail(ErrorCode::kNotFound, "the volume is gone");
  const Core::ReadGuard guard(&core_);
  const std::uint64_t end = offset + length;
  const BlockRange blocks = covering(offset, length);
  TM_CO_TRY_ASSIGN(const std::vector<index::Piece> found, co_await pieces(id, blocks, path, runs_max + 1));
  std::vector<AllocationRun> runs;
  std::uint64_t at = offset;
  // Joins `until` to the run before it when the answer is the same.
  const auto extend = [&](std::uint64_t until_block, bool hole) {
    const std::uint64_t until = std::min(end, until_block * kBlockSizeBytes);
    if (until <= at) return;
    if (!runs.empty() && runs.back().hole == hole) {
      runs.back().length_bytes += until - at;
    } else {
      runs.push_back({until - at, hole, hole});
    }
    at = until;
  };
  for (const index::Piece& piece : found) {
    if (piece.kind != index::Piece::Kind::kBase) {
      extend(piece.blocks.end, piece.kind == index::Piece::Kind::kZero);
    } else {
      std::uint64_t block = piece.blocks.begin;
      while (block < piece.blocks.end) {
        const std::optional<BlockRange> allocated = volume->base->next_allocated(block);
        const std::uint64_t data_begin =
            allocated.has_value() ? std::min(allocated->begin, piece.blocks.end) : piece.blocks.end;
        extend(data_begin, true);
        if (data_begin >= piece.blocks.end) break;
        block = std::min(allocated->end, piece.blocks.end);
        extend(block, false);
        if (runs.size() > runs_max) break;
      }
    }
    if (runs.size() > runs_max) break;
  }
  if (runs.size() > runs_max) runs.resize(runs_max);
  co_return runs;
}

}  // namespace tidemark::group
