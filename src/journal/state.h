#pragma once

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "format/batch.h"
#include "format/journal_frame.h"
#include "io/sync.h"
#include "journal/journal.h"
#include "journal/log_volumes.h"
#include "journal/recent_batches.h"

namespace tidemark::journal {

// The two superblocks, then room up to here; segments follow one another.
inline constexpr std::uint64_t kSegmentsOffsetBytes = 64 << 10;
inline constexpr std::uint32_t kSegmentsMin = 8;
// Free segments kept back: the last for the snapshot that lets a full journal free something, the one before
// for releases too, the next for restores and takeovers too, then one for marks and settings too; host data
// take none of them.
inline constexpr std::uint32_t kReservedForSnapshot = 1;
inline constexpr std::uint32_t kReservedForRelease = 1;
inline constexpr std::uint32_t kReservedForRestore = 1;
inline constexpr std::uint32_t kReservedForControl = 1;
// Free segments kept prepared ahead of the first use.
inline constexpr std::uint32_t kPreparedAhead = 2;
// After a recovery generations go on this much higher, so that what was cut can never be taken for what came
// after.
inline constexpr std::uint64_t kGenerationSkip = 16;
// Read at once when frames are walked: most batches' metas fit, and small batches come by the dozen. When
// every block behind the end of the journal is looked at, a start waits for it.
inline constexpr std::uint32_t kWindowBlocks = 16;
inline constexpr std::uint32_t kSweepWindowBlocks = 256;
// Batches of which a summary stays in memory: some seconds of small writes, in 0.75 MiB.
inline constexpr std::size_t kSummariesMax = 16384;
// One point of the directory at least every so many bytes of journal.
inline constexpr std::uint64_t kDirectoryStepBytes = 256 << 10;

// Free segments that an append for this purpose leaves, of so many.
std::uint32_t reserve_for(Purpose purpose, std::uint32_t segment_count);

// A segment in use.
struct Segment {
  std::uint64_t generation = 0;
  std::uint32_t index = 0;
  Place previous_end{};
  LogId first{};
  WallTime first_timer{};
};

// Frames on their way to the disk, in append order.
struct WriteItem {
  std::uint64_t ticket = 0;
  Place begin{};
  Place end{};
  std::vector<Buffer> pieces{};
  std::uint64_t bytes = 0;
  LogId last{};  // newest entry of a batch; none for other frames
  WallTime last_timer{};
  Place told{};  // the durable end that the frame carries
  bool done = false;
};

struct DirectoryPoint {
  Place place{};
  LogId first{};
  WallTime timer{};
};

// A frame read back.
struct Frame {
  format::FrameHeader header{};
  std::vector<std::byte> meta{};
  Place next() const { return header.place.plus(header.blocks()); }
};

// What the first blocks of all segments tell.
struct SegmentStarts {
  std::map<std::uint64_t, Segment> all{};  // by generation
  std::vector<Segment> beheaded{};  // first block unreadable, but a frame of this journal lies behind it
  std::vector<std::uint32_t> void_indexes{};  // whose first block names a segment that was dropped
  Place durable{};                            // the highest durable end that one of them tells
};

// What lies beyond the end of the journal.
struct Beyond {
  Place durable{};            // the highest durable end that a frame there tells
  bool tail_is_torn = false;  // there is a frame, or a segment that was begun
};

// What is known of a superblock's slot on the disk.
struct SuperblockSlot {
  bool is_written = false;  // or being written, since the journal was opened
  Buffer block{};           // what lies there then; none while it is written, or when that failed
};

// Everything a journal is. The parts that work on it: appender.cc (the order, the open batch, writing),
// segments.cc (taking, preparing, freeing), log_volume_changes.cc (log volumes that come and go), reader.cc
// (frames, scans, look-ups), recovery.cc (open), journal.cc (the rest).
struct State {
  State(io::Environment io_environment, io::Disk& log_volume, JournalOptions journal_options);
  ~State();

  io::Environment environment;
  LogVolumes disk;
  JournalOptions options;
  format::JournalSuperblock superblock;
  std::array<SuperblockSlot, 2> superblock_slots;
  std::vector<std::byte> snapshot;      // that was there at the start
  std::size_t snapshot_size_bytes = 0;  // of the newest
  io::Mutex superblock_mutex;
  io::Mutex snapshot_mutex;
  std::uint64_t snapshot_bound = 0;  // generations from here on the durable superblock's snapshot needs
  std::optional<Error> failed;
  const std::shared_ptr<const bool> alive = std::make_shared<const bool>(true);  // for what may outlive it

  // ---- segments.cc
  std::deque<Segment> used;  // by generation
  std::deque<std::uint32_t> free_indexes;
  std::uint64_t next_generation = 1;
  std::optional<std::uint32_t> preparing;  // index of the segment that is being written in full
  std::uint32_t marks_under_way =
      0;  // of log volumes that leave; nothing is prepared before they are durable
  std::optional<Error> prepare_error;
  std::multiset<std::uint64_t> pins;  // generations
  io::WaitQueue pin_dropped;
  io::WaitQueue prepare_wanted;
  io::WaitQueue room_changed;  // prepared, freed, durable, failed

  std::uint32_t segment_blocks() const {
    return static_cast<std::uint32_t>(superblock.segment_size_bytes / kBlockSizeBytes);
  }
  const Segment* find_segment(std::uint64_t generation) const;
  const Segment* segment_after(std::uint64_t generation) const;
  // From `place` on in its segment; 0 when the segment is not in use.
  std::uint32_t durable_blocks(Place place) const;
  DiskOffset disk_offset(Place place) const;  // of a place in a segment in use
  DiskOffset segment_offset(std::uint32_t index) const {
    return DiskOffset{kSegmentsOffsetBytes + index * superblock.segment_size_bytes};
  }
  // An address, for people: "log volume offset 4096", or of which further one.
  std::string on_log_volume(DiskOffset offset) const;
  // Of all log volumes; of those that stay.
  std::vector<std::uint32_t> segment_indexes() const;
  std::uint32_t segments_staying() const;
  format::FurtherLogVolume* find_further(LuNumber number);
  // The further log volume that the segment lies on; null for the first.
  const format::FurtherLogVolume* volume_of(std::uint32_t index) const;
  bool is_leaving(std::uint32_t index) const;
  bool may_be_taken(std::uint32_t index) const;  // when it is free
  std::uint32_t segments_used_on(const format::FurtherLogVolume& volume) const;
  bool is_prepared(std::uint32_t index) const { return index < superblock.segments_prepared; }
  // The segment to be prepared next; nothing when all are that may be taken.
  std::optional<std::uint32_t> next_unprepared() const;
  std::uint32_t free_prepared() const;
  bool segment_available(std::uint32_t reserve) const;
  void take_segment();
  io::Task<void> prepare_segments();
  io::Task<Result<void>> prepare_one(std::uint32_t index);
  // The oldest generation that the snapshot named by `superblock`, and a scan from it, read; 0 without one.
  std::uint64_t snapshot_needs() const;
  io::Task<Result<void>> write_superblock();

  // ---- appender.cc
  struct OpenBatch {
    format::BatchMeta meta{};
    std::size_t meta_bytes = 0;
    RecentBatch* batch = nullptr;  // null: no batch is open
    MonotonicTime due{};           // when it is written whether or not somebody waits for it
  };
  OpenBatch open;
  Place tail{};                 // where the next frame goes; its segment is the last used one
  bool tail_is_usable = false;  // false after a torn tail was cut: the next frame begins a new segment
  EpochIdentity epoch_identity{};
  LogId next_id{};
  LogId last_id{};
  std::uint32_t last_checksum = 0;
  WallTime last_timer{};
  Buffer arena{};
  std::size_t arena_used = 0;
  std::uint64_t next_ticket = 1;
  std::uint64_t durable_ticket = 0;
  LogId durable_id{};
  WallTime durable_timer{};  // of that entry
  Place durable_end{};
  Place durable_batch_end{};                     // end of the last durable batch
  Place recorded_durable_end{};                  // the highest that a durable frame tells of
  std::deque<std::unique_ptr<WriteItem>> items;  // not durable yet; the first `started` are in flight or done
  std::size_t started = 0;
  std::uint32_t in_flight = 0;
  std::uint64_t awaited_ticket = 0;      // the highest that somebody waits, or waited, for
  std::uint32_t eager_batches_left = 0;  // written with their first entry: a flush is expected
  std::uint64_t pending_bytes = 0;
  RecentBatches recent;
  std::vector<DirectoryPoint> directory;
  // Of the newest batches appended since the start, durable or not; none between the oldest of them and the
  // newest is left out.
  std::deque<BatchSummary> summaries;
  JournalStatus counters;
  bool closing = false;
  io::WaitQueue pump_wanted;
  io::WaitQueue durable_moved;

  bool fits_open(std::uint32_t payload_blocks, std::size_t entry_bytes) const;
  bool fits_segment(std::uint32_t frame_blocks) const;
  // `meta_bytes`: what the entry adds to its batch's meta. `alone`: it comes in a frame of its own.
  // Appended and not durable: beyond this, appends wait for the disk.
  std::uint64_t pending_bytes_max() const;
  bool has_room(std::uint32_t payload_blocks, std::size_t meta_bytes, std::uint32_t reserve,
                bool alone) const;
  io::Task<Result<void>> make_room(std::uint32_t payload_blocks, std::size_t meta_bytes,
                                   std::uint32_t reserve, bool alone);
  Appended append(NewEntry entry);
  void open_batch(std::uint32_t frame_blocks);
  void add_payload(RecentBatch& batch, const Buffer& payload);
  void close_open();
  void queue_frame(format::FrameKind kind, Bytes meta, std::vector<Buffer> payload,
                   std::uint32_t payload_blocks, Place place, std::uint64_t ticket, LogId last,
                   WallTime timer);
  void add_summary(const RecentBatch& batch, const format::BatchMeta& meta);
  void add_directory_point(Place place, LogId first, WallTime timer);
  void queue_seal();
  io::Task<void> pump();
  io::Task<void> write_item(WriteItem* item);
  void advance_durable();
  void fail(const Error& error);
  io::Task<Result<void>> wait_durable(std::uint64_t ticket);
  bool open_is_due() const;
  bool is_gathered() const;
  bool may_write() const;
  bool seal_is_due() const;

  // ---- reader.cc
  struct Window {
    Place begin{};
    std::uint32_t blocks = 0;
    Buffer bytes{};
  };
  Window window;
  std::uint32_t window_blocks = kWindowBlocks;  // read at once
  // The frame at `place`, meta verified. `limit`: blocks at or after it are not to be remembered, because
  // they may still be written.
  io::Task<Result<Frame>> read_frame(Place place, Place limit, SequentialReader* reader = nullptr);
  io::Task<Result<void>> read_other_frame_block(Place place, Buffer block);
  io::Task<Result<void>> read_other_payload_block(DiskOffset offset, Buffer block, std::uint32_t checksum);
  io::Task<Result<Buffer>> read_blocks(Place place, std::uint32_t blocks, Place limit);
  // `reader`: through which frames are read that are not in memory; null: through the window.
  io::Task<Result<std::optional<StoredBatch>>> scan(Place from, SequentialReader* reader = nullptr);
  // Where a scan goes on after the last frame of a segment; nothing when `place` is not at its end.
  std::optional<Place> next_segment(Place place) const;
  io::Task<Result<void>> verify_payload(const Frame& frame, const format::BatchMeta& meta);

  // ---- survey.cc
  Place surveyed{};  // a frame begins there; the last one that a survey has read

  // ---- checker.cc
  io::Task<Result<Buffer>> check_read(Place place, std::uint32_t blocks, std::uint32_t end,
                                      CheckWindow* held);
  io::Task<Result<void>> check_frame(Place place, std::uint32_t end, CheckWindow* held, CheckedFrame* frame);
  io::Task<Result<std::optional<CheckedFrame>>> check(Place from, CheckWindow* held);

  // ---- recovery.cc
  io::Task<Result<void>> recover(const FindLogVolume& find_log_volume);
  Result<void> find_further_volumes(const FindLogVolume& find_log_volume);
  io::Task<Result<void>> read_superblocks();
  io::Task<Result<Buffer>> read_segment_block(std::uint32_t index, std::uint32_t block);
  bool is_void(std::uint64_t generation) const {
    return generation >= superblock.void_generation_begin && generation < superblock.void_generation_end;
  }
  io::Task<Result<SegmentStarts>> read_segment_starts();
  // The place after the last part of the snapshot in force.
  io::Task<Result<Place>> load_snapshot();
  void drop_empty_segments(Place needed);
  io::Task<Result<void>> note_generations(bool dropped, const SegmentStarts& starts);
  io::Task<Result<void>> find_end(Place from, Place durable, const std::map<std::uint64_t, Segment>& all);
  io::Task<Result<Beyond>> look_beyond(Place end, const SegmentStarts& starts);

  io::TaskScope tasks;  // last: ends before what its tasks use
};

}  // namespace tidemark::journal
