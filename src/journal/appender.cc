// The order of a journal: the open batch, the frames in flight, and how far they are durable.
//
// A batch opens with its first entry, whose place is then known, and closes when it is full, or when the
// writer is free to take it and it is due: somebody waits for it or is expected to, or it has grown for long
// enough. What is closed waits in `items`, is written by up to batches_in_flight_max
// operations at once, and becomes durable in append order: an item counts only when all before it are on disk
// too.

#include <algorithm>
#include <cstring>

#include "base/crc32c.h"
#include "journal/state.h"

namespace tidemark::journal {
namespace {

constexpr std::size_t kArenaBytes = 1 << 20;
constexpr Duration kSealDelay = Duration::milliseconds(5);

std::uint32_t frame_blocks(std::uint32_t payload_blocks, std::size_t meta_bytes) {
  const format::FrameHeader header{.meta_bytes = static_cast<std::uint32_t>(meta_bytes),
                                   .payload_blocks = payload_blocks};
  return header.blocks();
}

std::uint32_t lone_frame_blocks(std::uint32_t payload_blocks, std::size_t entry_bytes) {
  return frame_blocks(payload_blocks, format::encoded_batch_bytes_least() + entry_bytes);
}

}  // namespace

bool State::fits_segment(std::uint32_t blocks) const {
  if (!tail_is_usable) return false;
  std::uint32_t at = tail.block();
  if (open.batch != nullptr) at += frame_blocks(open.meta.payload_blocks, open.meta_bytes);
  return at + blocks <= segment_blocks();
}

bool State::fits_open(std::uint32_t payload_blocks, std::size_t entry_bytes) const {
  if (open.batch == nullptr) return false;
  const std::uint32_t payload = open.meta.payload_blocks + payload_blocks;
  const std::size_t meta = open.meta_bytes + entry_bytes;
  return payload <= format::kBatchPayloadBlocksMax && open.meta.entries.size() < format::kBatchEntriesMax &&
         meta <= format::kFrameMetaBytesMax &&
         open.batch->frame.block() + frame_blocks(payload, meta) <= segment_blocks();
}

std::uint64_t State::pending_bytes_max() const {
  return options.recent_memory != nullptr ? options.recent_memory->pending_bytes_max()
                                          : RecentMemory::kJournalPendingBytesMax;
}

bool State::has_room(std::uint32_t payload_blocks, std::size_t meta_bytes, std::uint32_t reserve,
                     bool alone) const {
  if (failed.has_value() || closing || pending_bytes > pending_bytes_max()) return false;
  // What is left of a segment that was kept back is for those alone that might have taken it; what lets space
  // be freed takes what there is.
  const bool tail_is_for_it = free_indexes.size() >= reserve || reserve <= kReservedForSnapshot;
  const bool fits_tail = (!alone && fits_open(payload_blocks, meta_bytes)) ||
                         fits_segment(lone_frame_blocks(payload_blocks, meta_bytes));
  return (tail_is_for_it && fits_tail) || segment_available(reserve);
}

io::Task<Result<void>> State::make_room(std::uint32_t payload_blocks, std::size_t meta_bytes,
                                        std::uint32_t reserve, bool alone) {
  while (true) {
    if (failed.has_value()) co_return *failed;
    if (closing) co_return tidemark::fail(ErrorCode::kShutdown, "the journal is closing");
    if (has_room(payload_blocks, meta_bytes, reserve, alone)) co_return Result<void>{};
    if (pending_bytes > pending_bytes_max()) {
      co_await room_changed.wait();
      continue;
    }
    if (free_indexes.size() <= reserve) {
      co_return tidemark::fail(ErrorCode::kNoSpace, "the journal has no free segment left");
    }
    // A free segment is there, but not prepared yet.
    prepare_error.reset();
    prepare_wanted.wake_all();
    co_await room_changed.wait();
    if (prepare_error.has_value()) co_return *prepare_error;
  }
}

void State::add_directory_point(Place place, LogId first, WallTime timer) {
  if (!directory.empty()) {
    const DirectoryPoint& last = directory.back();
    if (place <= last.place) return;
    if (last.first.epoch() == first.epoch() && last.place.generation() == place.generation() &&
        (place.block() - last.place.block()) * kBlockSizeBytes < kDirectoryStepBytes) {
      return;
    }
  }
  directory.push_back({place, first, timer});
}

void State::add_summary(const RecentBatch& batch, const format::BatchMeta& meta) {
  if (summaries.size() == kSummariesMax) summaries.pop_front();
  summaries.push_back({.place = batch.frame,
                       .next = batch.frame.plus(batch.frame_blocks),
                       .first = meta.first,
                       .last = meta.last(),
                       .first_timer = meta.entries.front().timer,
                       .last_timer = meta.entries.back().timer});
}

void State::queue_frame(format::FrameKind kind, Bytes meta, std::vector<Buffer> payload,
                        std::uint32_t payload_blocks, Place place, std::uint64_t ticket, LogId last,
                        WallTime timer) {
  const format::FrameHeader header{.kind = kind,
                                   .group = superblock.group,
                                   .place = place,
                                   .meta_bytes = static_cast<std::uint32_t>(meta.size()),
                                   .payload_blocks = payload_blocks,
                                   .durable_end = durable_end};
  format::EncodedFrame frame = format::encode_frame(header, meta);
  auto item = std::make_unique<WriteItem>();
  item->ticket = ticket;
  item->begin = place;
  item->end = place.plus(header.blocks());
  item->last = last;
  item->last_timer = timer;
  item->told = durable_end;
  item->pieces.push_back(std::move(frame.first));
  for (Buffer& piece : payload) item->pieces.push_back(std::move(piece));
  if (!frame.overflow.empty()) item->pieces.push_back(std::move(frame.overflow));
  item->bytes = header.blocks() * kBlockSizeBytes;
  TM_ASSERT(item->end.block() <= segment_blocks());
  tail = item->end;
  pending_bytes += item->bytes;
  items.push_back(std::move(item));
  pump_wanted.wake_all();
}

void State::open_batch(std::uint32_t blocks) {
  if (!fits_segment(blocks)) take_segment();
  open = OpenBatch{};
  open.meta.group = superblock.group;
  open.meta.epoch_identity = epoch_identity;
  open.meta.first = next_id;
  open.meta.parent_checksum = last_checksum;
  open.meta_bytes = format::encoded_batch_bytes_least();
  open.batch = &recent.add(tail, next_ticket++);
  open.due = environment.scheduler.now();
  if (eager_batches_left > 0) {
    --eager_batches_left;
  } else {
    open.due = open.due + options.batch_age_max;
  }
}

void State::add_payload(RecentBatch& batch, const Buffer& payload) {
  const auto blocks = static_cast<std::uint32_t>(payload.size() / kBlockSizeBytes);
  const std::uint32_t at = batch.payload_blocks;
  batch.payload_blocks += blocks;
  recent.grew(payload.size());
  counters.payload_bytes += payload.size();
  const bool aligned = reinterpret_cast<std::uintptr_t>(payload.data()) % kBlockSizeBytes == 0;
  if (payload.size() >= kPayloadAdoptBytesMin && aligned) {
    batch.pieces.push_back({at, blocks, payload, 0});
    return;
  }
  if (arena.size() - arena_used < payload.size()) {
    arena = Buffer::allocate(std::max(kArenaBytes, payload.size()));
    arena_used = 0;
  }
  RecentBatch::Piece* last = batch.pieces.empty() ? nullptr : &batch.pieces.back();
  const bool continues = last != nullptr && last->memory.data() == arena.data() &&
                         last->begin + last->blocks * kBlockSizeBytes == arena_used;
  std::memcpy(arena.data() + arena_used, payload.data(), payload.size());
  if (continues) {
    last->blocks += blocks;
  } else {
    batch.pieces.push_back({at, blocks, arena, arena_used});
  }
  arena_used += payload.size();
}

Appended State::append(NewEntry entry) {
  const auto payload_blocks = static_cast<std::uint32_t>(entry.payload.size() / kBlockSizeBytes);
  const std::size_t entry_bytes = format::encoded_entry_bytes(payload_blocks, entry.body.size());
  TM_ASSERT(!failed.has_value());
  TM_ASSERT(entry.payload.size() % kBlockSizeBytes == 0);
  TM_ASSERT(!next_id.is_none());
  if (open.batch != nullptr && !fits_open(payload_blocks, entry_bytes)) close_open();
  const bool opens = open.batch == nullptr;
  if (opens) open_batch(lone_frame_blocks(payload_blocks, entry_bytes));
  const bool was_gathered = is_gathered();
  RecentBatch& batch = *open.batch;
  last_timer = std::max(last_timer, environment.clock.now());
  Appended appended{.id = next_id,
                    .timer = last_timer,
                    .place = batch.frame.plus(1 + batch.payload_blocks),
                    .checksums = {},
                    .ticket = batch.ticket};
  format::Entry record{.kind = entry.kind,
                       .volume = entry.volume,
                       .blocks = entry.blocks,
                       .timer = last_timer,
                       .payload_block = payload_blocks > 0 ? batch.payload_blocks : 0,
                       .checksums = {},
                       .body = std::move(entry.body)};
  if (payload_blocks > 0) {
    record.checksums.reserve(payload_blocks);
    const Bytes bytes = entry.payload;
    for (std::uint32_t i = 0; i < payload_blocks; ++i) {
      record.checksums.push_back(crc32c(bytes.subspan(i * kBlockSizeBytes, kBlockSizeBytes)));
    }
    add_payload(batch, entry.payload);
    open.meta.payload_blocks = batch.payload_blocks;
    appended.checksums = record.checksums;
  }
  open.meta.entries.push_back(std::move(record));
  open.meta_bytes += entry_bytes;
  last_id = next_id;
  next_id = next_id.next();
  // Whoever writes the batch is told of what changes when it is due, not of each entry in between.
  if (opens || (is_gathered() && !was_gathered)) pump_wanted.wake_all();
  if (open.meta.payload_blocks * kBlockSizeBytes >= options.batch_bytes_usual_max) close_open();
  return appended;
}

void State::close_open() {
  if (open.batch == nullptr) return;
  RecentBatch& batch = *open.batch;
  open.meta.durable_through = durable_id;
  batch.encoded_meta = format::encode_batch_meta(open.meta);
  batch.frame_blocks = frame_blocks(batch.payload_blocks, batch.encoded_meta.size());
  recent.grew(batch.encoded_meta.size());
  // The batch's own checksum is the last field of its meta.
  last_checksum = crc32c(Bytes(batch.encoded_meta).first(batch.encoded_meta.size() - 4));
  add_directory_point(batch.frame, open.meta.first, open.meta.entries.front().timer);
  add_summary(batch, open.meta);
  const WallTime timer = open.meta.entries.back().timer;
  ++counters.batches;
  open.batch = nullptr;
  queue_frame(format::FrameKind::kBatch, batch.encoded_meta, batch.payload(), batch.payload_blocks,
              batch.frame, batch.ticket, open.meta.last(), timer);
}

void State::queue_seal() {
  queue_frame(format::FrameKind::kSeal, {}, {}, 0, tail, next_ticket++, LogId{}, WallTime{});
}

io::Task<void> State::pump() {
  while (!failed.has_value()) {
    // Everything that is ready in this pass gets into the batch before it closes.
    co_await environment.scheduler.yield();
    while (may_write()) {
      if (started == items.size()) close_open();
      WriteItem* item = items[started++].get();
      ++in_flight;
      tasks.spawn(write_item(item));
    }
    if (open.batch != nullptr && !open_is_due()) {
      (void)co_await pump_wanted.wait_until(open.due);
      continue;
    }
    if (!seal_is_due()) {
      co_await pump_wanted.wait();
      continue;
    }
    // Idle: soon say on disk how far it is durable, unless work comes first.
    if (!co_await pump_wanted.wait_until(environment.scheduler.now() + kSealDelay) && seal_is_due()) {
      queue_seal();
    }
  }
}

// Many small batches cost the disk a write and a block for a header each. A host that does not flush has its
// answer anyway, so what it writes is gathered; one that flushes finds its writes under way.
bool State::open_is_due() const {
  return awaited_ticket >= open.batch->ticket || is_gathered() || open.due <= environment.scheduler.now();
}

bool State::is_gathered() const {
  return open.meta.payload_blocks * kBlockSizeBytes >= options.batch_bytes_gathered;
}

// An open batch waits for its turn, to grow meanwhile; one that is full gains nothing by waiting.
bool State::may_write() const {
  const bool is_closed = started < items.size();
  if (!is_closed && (open.batch == nullptr || !open_is_due())) return false;
  return in_flight < (is_closed ? options.full_batches_in_flight_max : options.batches_in_flight_max);
}

bool State::seal_is_due() const {
  return !closing && items.empty() && open.batch == nullptr && recorded_durable_end < durable_batch_end &&
         tail_is_usable && tail.block() + 1 <= segment_blocks();
}

io::Task<void> State::write_item(WriteItem* item) {
  const DiskOffset offset = disk_offset(item->begin);
  std::vector<Buffer> pieces = item->pieces;
  auto written = co_await disk.write(offset, std::move(pieces), io::Durability::kDurable);
  --in_flight;
  if (!written.ok()) {
    fail(written.error());
    co_return;
  }
  item->done = true;
  counters.written_bytes += item->bytes;
  advance_durable();
  pump_wanted.wake_all();
}

void State::advance_durable() {
  bool moved = false;
  while (!items.empty() && items.front()->done) {
    const WriteItem& item = *items.front();
    durable_ticket = item.ticket;
    durable_end = item.end;
    pending_bytes -= item.bytes;
    recorded_durable_end = std::max(recorded_durable_end, item.told);
    if (!item.last.is_none()) {
      durable_id = item.last;
      durable_timer = item.last_timer;
      durable_batch_end = item.end;
    }
    items.pop_front();
    --started;
    moved = true;
  }
  if (!moved) return;
  recent.evict(durable_ticket);
  durable_moved.wake_all();
  room_changed.wake_all();
}

void State::fail(const Error& error) {
  if (failed.has_value()) return;
  failed = error;
  durable_moved.wake_all();
  room_changed.wake_all();
  pump_wanted.wake_all();
  prepare_wanted.wake_all();
}

io::Task<Result<void>> State::wait_durable(std::uint64_t ticket) {
  if (ticket > awaited_ticket) {
    awaited_ticket = ticket;
    if (open.batch != nullptr && open.batch->ticket <= ticket) pump_wanted.wake_all();
  }
  while (durable_ticket < ticket) {
    if (failed.has_value()) co_return *failed;
    co_await durable_moved.wait();
  }
  co_return Result<void>{};
}

}  // namespace tidemark::journal
