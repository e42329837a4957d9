#include "journal/journal.h"

#include <algorithm>
#include <cstring>

#include "base/crc32c.h"
#include "journal/state.h"

namespace tidemark::journal {
namespace {

constexpr std::uint64_t kSegmentSizeBytesMin = 2 << 20;  // holds the largest batch with room to spare
constexpr std::uint64_t kSegmentSizeBytesMax = 64 << 20;
constexpr std::uint32_t kSnapshotPartBlocksMax = 64;

std::uint64_t choose_segment_size(std::uint64_t size_bytes) {
  std::uint64_t segment = kSegmentSizeBytesMin;
  while (segment < kSegmentSizeBytesMax && segment * 64 < size_bytes) segment *= 2;
  return segment;
}

}  // namespace

State::State(io::Environment io_environment, io::Disk& log_volume, JournalOptions journal_options)
    : environment(io_environment),
      disk(environment.scheduler, log_volume),
      options(journal_options),
      superblock_mutex(environment.scheduler),
      snapshot_mutex(environment.scheduler),
      pin_dropped(environment.scheduler),
      prepare_wanted(environment.scheduler),
      room_changed(environment.scheduler),
      recent(options.recent_bytes_max, options.recent_memory),
      pump_wanted(environment.scheduler),
      durable_moved(environment.scheduler),
      tasks(environment.scheduler) {}

State::~State() {
  tasks.cancel_all();
}

Journal::Journal(std::unique_ptr<State> state) : state_(std::move(state)) {}
Journal::~Journal() = default;

io::Task<Result<std::unique_ptr<Journal>>> Journal::create(io::Environment environment, io::Disk& disk,
                                                           GroupIdentity group, JournalOptions options) {
  auto state = std::make_unique<State>(environment, disk, options);
  format::JournalSuperblock& superblock = state->superblock;
  superblock.group = group;
  superblock.segment_size_bytes =
      options.segment_size_bytes != 0 ? options.segment_size_bytes : choose_segment_size(disk.size_bytes());
  const std::uint64_t room =
      disk.size_bytes() > kSegmentsOffsetBytes ? disk.size_bytes() - kSegmentsOffsetBytes : 0;
  superblock.segment_count = static_cast<std::uint32_t>(room / superblock.segment_size_bytes);
  superblock.oldest_generation = 1;
  if (superblock.segment_count < kSegmentsMin) {
    co_return tidemark::fail(
        ErrorCode::kInvalid,
        "a journal needs at least " +
            std::to_string(
                (kSegmentsMin * superblock.segment_size_bytes + kSegmentsOffsetBytes + (1 << 20) - 1) >> 20) +
            " MiB");
  }
  // Twice, so that neither slot can show what lay here before.
  TM_CO_TRY(co_await state->write_superblock());
  TM_CO_TRY(co_await state->write_superblock());
  for (std::uint32_t index = 0; index < superblock.segment_count; ++index)
    state->free_indexes.push_back(index);
  state->tasks.spawn(state->pump());
  state->tasks.spawn(state->prepare_segments());
  co_return std::unique_ptr<Journal>(new Journal(std::move(state)));
}

io::Task<Result<std::unique_ptr<Journal>>> Journal::open(io::Environment environment, io::Disk& disk,
                                                         JournalOptions options,
                                                         FindLogVolume find_log_volume) {
  auto state = std::make_unique<State>(environment, disk, options);
  TM_CO_TRY(co_await state->recover(find_log_volume));
  state->tasks.spawn(state->pump());
  state->tasks.spawn(state->prepare_segments());
  co_return std::unique_ptr<Journal>(new Journal(std::move(state)));
}

io::Task<Result<std::vector<std::byte>>> Journal::read_local_record(io::Environment environment,
                                                                    io::Disk& disk) {
  State state(environment, disk, JournalOptions{});
  TM_CO_TRY(co_await state.read_superblocks());
  co_return state.superblock.local_record;
}

GroupIdentity Journal::group() const {
  return state_->superblock.group;
}

io::Task<Result<void>> Journal::save_local_record(std::vector<std::byte> record) {
  TM_ASSERT(record.size() <= kLocalRecordBytesMax);
  state_->superblock.local_record = std::move(record);
  co_return co_await state_->write_superblock();
}

const std::vector<std::byte>& Journal::local_record() const {
  return state_->superblock.local_record;
}

io::Task<Result<void>> Journal::save_snapshot(std::vector<std::byte> bytes) {
  State& state = *state_;
  if (state.failed.has_value()) co_return *state.failed;
  state.close_open();
  const LogId last = state.last_id;
  const std::uint32_t last_checksum = state.last_checksum;
  const WallTime last_timer = state.last_timer;
  // What is appended from here on comes at or after this place.
  const Place scan_from = state.tail.is_none() ? Place(state.next_generation, 1) : state.tail;
  // One at a time, in the order of the calls: a snapshot's parts share its number.
  auto guard = co_await state.snapshot_mutex.lock();
  if (state.failed.has_value()) co_return *state.failed;
  const std::uint64_t number = state.superblock.snapshot_number + 1;
  Place first_part;
  const std::size_t part_bytes_max = std::min(kSnapshotPartBlocksMax, entry_blocks_max()) * kBlockSizeBytes;
  const auto parts =
      static_cast<std::uint32_t>(bytes.empty() ? 1 : (bytes.size() + part_bytes_max - 1) / part_bytes_max);
  const auto blocks_of = [&](std::uint32_t i) {
    const std::size_t size = std::min(part_bytes_max, bytes.size() - i * part_bytes_max);
    return static_cast<std::uint32_t>((size + kBlockSizeBytes - 1) / kBlockSizeBytes);
  };
  state.close_open();  // its frame takes room, too
  // Parts of a snapshot that has no room as a whole would keep what they take until there is a newer one.
  std::uint32_t room = state.tail_is_usable ? state.segment_blocks() - state.tail.block() : 0;
  std::size_t segments_needed = 0;
  for (std::uint32_t i = 0; i < parts; ++i) {
    const std::uint32_t frame = 1 + blocks_of(i);
    if (frame > room) {
      ++segments_needed;
      room = state.segment_blocks() - 1;
    }
    room -= frame;
  }
  if (segments_needed > state.free_indexes.size()) {
    co_return tidemark::fail(ErrorCode::kNoSpace,
                             "the state of the group takes " + std::to_string(segments_needed) +
                                 " segments of the journal, and " +
                                 std::to_string(state.free_indexes.size()) + " are free");
  }
  std::uint64_t ticket = 0;
  for (std::uint32_t i = 0; i < parts; ++i) {
    const std::size_t begin = i * part_bytes_max;
    const std::size_t size = std::min(part_bytes_max, bytes.size() - begin);
    const std::uint32_t blocks = blocks_of(i);
    // As if it were an entry of that size: the frame takes no more room than that one's batch would.
    TM_CO_TRY(co_await state.make_room(blocks, 256, 0, true));
    state.close_open();
    if (!state.fits_segment(blocks + 1)) state.take_segment();
    Buffer payload = Buffer::allocate(blocks * kBlockSizeBytes);
    if (blocks > 0) {
      std::memset(payload.data(), 0, payload.size());
      std::memcpy(payload.data(), bytes.data() + begin, size);
    }
    const format::SnapshotPart part{.number = number,
                                    .part = i,
                                    .parts = parts,
                                    .total_bytes = bytes.size(),
                                    .part_bytes = static_cast<std::uint32_t>(size),
                                    .checksum = crc32c(Bytes(bytes).subspan(begin, size))};
    const std::vector<std::byte> meta = format::encode_snapshot_part(part);
    const Place place = state.tail;
    if (i == 0) first_part = place;
    ticket = state.next_ticket++;
    std::vector<Buffer> pieces;
    if (blocks > 0) pieces.push_back(payload);
    state.queue_frame(format::FrameKind::kSnapshotPart, meta, std::move(pieces), blocks, place, ticket,
                      LogId{}, WallTime{});
  }
  TM_CO_TRY(co_await state.wait_durable(ticket));
  state.snapshot_size_bytes = bytes.size();
  state.superblock.snapshot_number = number;
  state.superblock.snapshot_place = first_part;
  state.superblock.snapshot_scan = scan_from;
  state.superblock.snapshot_last = last;
  state.superblock.snapshot_last_checksum = last_checksum;
  state.superblock.snapshot_last_timer = last_timer;
  co_return co_await state.write_superblock();
}

const std::vector<std::byte>& Journal::snapshot() const {
  return state_->snapshot;
}

std::size_t Journal::snapshot_size_bytes() const {
  return state_->snapshot_size_bytes;
}

Place Journal::snapshot_end() const {
  return state_->superblock.snapshot_scan;
}

std::uint32_t Journal::entry_blocks_max() const {
  // A frame of one entry: its header block, its payload, and overflow for its checksums.
  return std::min(format::kEntryBlocksMax, state_->segment_blocks() - 4);
}

void Journal::begin_epoch(EpochIdentity identity, LogId next, std::uint32_t parent_checksum,
                          WallTime timer_min) {
  State& state = *state_;
  state.close_open();
  state.epoch_identity = identity;
  state.next_id = next;
  state.last_checksum = parent_checksum;
  state.last_timer = std::max(state.last_timer, timer_min);
}

io::Task<Result<void>> Journal::make_room(std::uint32_t payload_blocks, std::uint32_t body_bytes,
                                          Purpose purpose) {
  const std::uint32_t reserve = reserve_for(purpose, state_->segments_staying());
  const std::size_t meta_bytes = format::encoded_entry_bytes(payload_blocks, body_bytes);
  co_return co_await state_->make_room(payload_blocks, meta_bytes, reserve, false);
}

io::Task<Result<void>> Journal::make_room_for_batch(std::uint32_t payload_blocks, std::uint32_t meta_bytes) {
  const std::uint32_t reserve = reserve_for(Purpose::kData, state_->segments_staying());
  co_return co_await state_->make_room(payload_blocks, meta_bytes, reserve, true);
}

bool Journal::has_room(std::uint32_t payload_blocks, std::uint32_t body_bytes, Purpose purpose) const {
  const std::size_t meta_bytes = format::encoded_entry_bytes(payload_blocks, body_bytes);
  return state_->has_room(payload_blocks, meta_bytes, reserve_for(purpose, state_->segments_staying()),
                          false);
}

Appended Journal::append(NewEntry entry) {
  return state_->append(std::move(entry));
}

Appended Journal::append_batch(const format::BatchMeta& meta, std::vector<std::byte> encoded_meta,
                               std::vector<Buffer> payload) {
  State& state = *state_;
  state.close_open();
  const format::FrameHeader shape{.meta_bytes = static_cast<std::uint32_t>(encoded_meta.size()),
                                  .payload_blocks = meta.payload_blocks};
  state.next_id = meta.first;
  if (!state.fits_segment(shape.blocks())) state.take_segment();
  RecentBatch& batch = state.recent.add(state.tail, state.next_ticket++);
  for (const Buffer& piece : payload) {
    batch.pieces.push_back(
        {batch.payload_blocks, static_cast<std::uint32_t>(piece.size() / kBlockSizeBytes), piece, 0});
    batch.payload_blocks += batch.pieces.back().blocks;
  }
  TM_ASSERT(batch.payload_blocks == meta.payload_blocks);
  batch.frame_blocks = shape.blocks();
  state.recent.grew(encoded_meta.size() + batch.payload_blocks * kBlockSizeBytes);
  state.counters.payload_bytes += batch.payload_blocks * kBlockSizeBytes;
  ++state.counters.batches;
  state.add_directory_point(batch.frame, meta.first, meta.entries.front().timer);
  state.add_summary(batch, meta);
  state.last_checksum = crc32c(Bytes(encoded_meta).first(encoded_meta.size() - 4));
  state.last_timer = std::max(state.last_timer, meta.entries.back().timer);
  state.epoch_identity = meta.epoch_identity;
  state.last_id = meta.last();
  state.next_id = meta.last().next();
  batch.encoded_meta = std::move(encoded_meta);
  state.queue_frame(format::FrameKind::kBatch, batch.encoded_meta, std::move(payload), batch.payload_blocks,
                    batch.frame, batch.ticket, meta.last(), meta.entries.back().timer);
  return {.id = meta.last(),
          .timer = meta.entries.back().timer,
          .place = batch.frame.plus(1),
          .checksums = {},
          .ticket = batch.ticket};
}

void Journal::close_batch() {
  state_->close_open();
}

io::Task<Result<void>> Journal::wait_durable(std::uint64_t ticket) {
  co_return co_await state_->wait_durable(ticket);
}

io::Task<Result<void>> Journal::flush() {
  state_->eager_batches_left = kEagerBatches;
  co_return co_await state_->wait_durable(last_ticket());
}

std::uint64_t Journal::last_ticket() const {
  if (state_->open.batch != nullptr) return state_->open.batch->ticket;
  return state_->items.empty() ? state_->durable_ticket : state_->items.back()->ticket;
}
bool Journal::is_durable(std::uint64_t ticket) const {
  return state_->durable_ticket >= ticket;
}
LogId Journal::last_appended() const {
  return state_->last_id;
}
LogId Journal::durable() const {
  return state_->durable_id;
}
WallTime Journal::durable_timer() const {
  return state_->durable_timer;
}
Place Journal::durable_end() const {
  return state_->durable_end;
}
io::WaitQueue& Journal::durable_moved() {
  return state_->durable_moved;
}

std::uint32_t Journal::checksum_of_last() const {
  state_->close_open();
  return state_->last_checksum;
}

const std::optional<Error>& Journal::failed() const {
  return state_->failed;
}

Journal::Pin::Pin(Journal* journal, std::uint64_t generation) : journal_(journal), generation_(generation) {
  journal_->state_->pins.insert(generation_);
}
Journal::Pin::Pin(Pin&& other) noexcept
    : journal_(std::exchange(other.journal_, nullptr)), generation_(other.generation_) {}
Journal::Pin& Journal::Pin::operator=(Pin&& other) noexcept {
  std::swap(journal_, other.journal_);
  std::swap(generation_, other.generation_);
  return *this;
}
Journal::Pin::~Pin() {
  if (journal_ == nullptr) return;
  State& state = *journal_->state_;
  state.pins.erase(state.pins.find(generation_));
  state.pin_dropped.wake_all();
}
Journal::Pin Journal::pin(Place place) {
  return Pin(this, place.generation());
}

Place Journal::oldest() const {
  return state_->used.empty() ? Place{} : Place(state_->used.front().generation, 1);
}

io::Task<Result<void>> Journal::free_before(Place place) {
  State& state = *state_;
  // What the superblock on disk names, not what it is about to name: a crash may bring it back.
  const std::uint64_t bound = std::min(place.generation(), state.snapshot_bound);
  while (!state.pins.empty() && *state.pins.begin() < bound) co_await state.pin_dropped.wait();
  std::vector<std::uint32_t> indexes;
  while (state.used.size() > 1 && state.used.front().generation < bound) {
    indexes.push_back(state.used.front().index);
    state.used.pop_front();
  }
  if (indexes.empty()) co_return Result<void>{};
  state.superblock.oldest_generation = state.used.front().generation;
  std::erase_if(state.directory, [&](const DirectoryPoint& p) { return p.place.generation() < bound; });
  // Durable before the first of them is overwritten: a segment that should be there and is not is damage
  // then.
  TM_CO_TRY(co_await state.write_superblock());
  for (const std::uint32_t index : indexes) {
    // Its log volume may be leaving, or be gone since.
    if (state.may_be_taken(index)) state.free_indexes.push_back(index);
  }
  state.room_changed.wake_all();
  co_return Result<void>{};
}

std::uint64_t Journal::backlog_bytes() const {
  return state_->pending_bytes;
}

JournalStatus Journal::status() const {
  const State& state = *state_;
  JournalStatus status = state.counters;
  status.segment_size_bytes = state.superblock.segment_size_bytes;
  status.segments_total = state.segments_staying();
  status.segments_free = static_cast<std::uint32_t>(state.free_indexes.size());
  status.size_bytes = status.segments_total * status.segment_size_bytes;
  for (const format::FurtherLogVolume& volume : state.superblock.further) {
    if (volume.leaving) status.size_bytes += state.segments_used_on(volume) * status.segment_size_bytes;
  }
  status.used_bytes = state.used.size() * status.segment_size_bytes;
  return status;
}

std::vector<SegmentInfo> Journal::segments() const {
  std::vector<SegmentInfo> out;
  for (const Segment& segment : state_->used) {
    out.push_back({segment.generation, segment.index, segment.first, segment.first_timer});
  }
  return out;
}

io::Task<Result<void>> Journal::close() {
  State& state = *state_;
  state.close_open();
  TM_CO_TRY(co_await state.wait_durable(last_ticket()));
  state.closing = true;
  // The superblock tells the durable end: nothing has to be looked for at the next start.
  TM_CO_TRY(co_await state.write_superblock());
  state.prepare_wanted.wake_all();
  state.pump_wanted.wake_all();
  state.room_changed.wake_all();
  co_return Result<void>{};
}

}  // namespace tidemark::journal
