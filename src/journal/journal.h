#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/place.h"
#include "base/result.h"
#include "base/time.h"
#include "format/batch.h"
#include "io/disk.h"
#include "io/environment.h"
#include "io/sync.h"
#include "pool/pool.h"

namespace tidemark::journal {

struct State;
class RecentMemory;
class SequentialReader;

struct JournalOptions {
  std::uint64_t segment_size_bytes = 0;  // 0: chosen from the log volume's size (about 1/64, 2 MiB to 64 MiB)
  std::uint64_t recent_bytes_max = 64 << 20;  // memory for batches written last, served without a disk read
  RecentMemory* recent_memory = nullptr;      // bounds that of all journals of a node; null: none does
  std::uint32_t batches_in_flight_max = 4;    // while what comes meanwhile has room in one batch
  std::uint32_t full_batches_in_flight_max = 16;    // while batches fill faster than they are written
  std::uint32_t batch_bytes_usual_max = 512 << 10;  // a batch is closed when it has this much payload
  // Until when a batch grows that nobody waits for, while hosts do not flush what they write.
  std::uint32_t batch_bytes_gathered = 128 << 10;
  Duration batch_age_max = Duration::milliseconds(1);
};

// One update to append. `payload` is a multiple of 4096 bytes, one block per block of `blocks`
// (kWrite), else empty. Payloads of less than kPayloadAdoptBytesMin are copied into the batch while
// they are checksummed; larger ones that start at a 4 KiB-aligned address are written from where they
// are, without a copy.
struct NewEntry {
  format::EntryKind kind{};
  VolumeId volume{};
  BlockRange blocks{};
  Buffer payload{};
  std::vector<std::byte> body{};
};
inline constexpr std::size_t kPayloadAdoptBytesMin = 64 << 10;

// What append() settled. The entry has its place in the order and is visible to readers of the
// journal's memory; it is not durable yet.
struct Appended {
  LogId id{};
  WallTime timer{};
  Place place{};                           // of the first payload block, or where one would have been
  std::vector<std::uint32_t> checksums{};  // of each payload block
  std::uint64_t ticket = 0;                // for wait_durable()
};

// A batch read back, whole.
struct StoredBatch {
  Place place{};  // of its frame
  Place next{};   // of the frame after it (where a scan goes on)
  format::BatchMeta meta{};
  std::uint32_t checksum = 0;
  std::vector<std::byte> encoded_meta{};  // as it lies on disk and crosses the link
  Place payload_place{};                  // of payload block 0
};

// What a list of batches says of each.
struct BatchSummary {
  Place place{};  // of its frame
  Place next{};   // where a scan goes on
  LogId first{};
  LogId last{};
  WallTime first_timer{};
  WallTime last_timer{};
};

// One frame read back from the disk, whatever is in memory, and held against all checksums that it has.
struct CheckedFrame {
  Place place{};
  Place next{};  // where to go on
  std::uint64_t bytes = 0;
  std::optional<Error>
      unreadable{};  // no whole frame lies here; `next` is where one does, or the segment ends
  bool is_batch = false;
  format::BatchMeta meta{};
  std::uint32_t checksum = 0;  // of the batch
  struct Block {
    std::uint32_t entry = 0;  // by its index in the batch
    std::uint32_t block = 0;  // of the entry
  };
  std::vector<Block> damaged{};  // of the payload: they do not match
  Buffer payload{};              // of a batch
};

// What a walk of check() has read ahead.
struct CheckWindow {
  Place begin{};
  Buffer bytes{};
};

struct SegmentInfo {
  std::uint64_t generation = 0;
  std::uint32_t index = 0;  // position on the log volume
  LogId first{};            // first log id in it; none when it holds only snapshots
  WallTime first_timer{};
};

// Finds a further log volume of a journal that is opened; an error when it is not here.
using FindLogVolume = std::function<Result<io::Disk*>(LuNumber)>;

struct LogVolumeStatus {
  LuNumber number{};  // 0: the first one, with the superblocks
  std::uint32_t segments_total = 0;
  std::uint32_t segments_used = 0;
  bool leaving = false;  // it is removed once nothing on it is needed
  LogId first{};         // oldest entry on it; none when there is none
  LogId last{};          // newest entry on it
};

struct JournalStatus {
  std::uint64_t size_bytes = 0;  // what the segments hold in all; on a log volume that leaves, those in use
  std::uint64_t used_bytes = 0;  // in segments not free
  std::uint64_t segment_size_bytes = 0;
  std::uint32_t segments_total = 0;  // without those on a log volume that leaves
  std::uint32_t segments_free = 0;
  std::uint64_t written_bytes = 0;  // since open, frames and padding included
  std::uint64_t payload_bytes = 0;  // since open
  std::uint64_t batches = 0;        // since open
};

// Why the space is wanted: the last segments are kept back for what a full journal must still do.
enum class Purpose {
  kData,     // host writes; may be made to wait or be refused
  kControl,  // marks, holds, settings: may use segments kept back
  kRestore,  // restores and takeovers: what many marks must not stand in the way of
  kRelease,  // what lets space be freed: leaves the last one, for the snapshot that frees it
};

// The log of a group on its log volumes: segments, written in append order and recycled in place. The first
// one holds the superblocks and stays; further ones come and go.
// docs/formats/journal.md describes what lies on disk and what a crash may leave.
//
// Invariants
//   1. Appends have one order. A batch is durable only when it and every batch before it is.
//   2. Places grow with that order. A segment's generation is taken once; freed places never return.
//   3. Nothing is overwritten that free_before() did not give up, or while a Pin on it is held.
//   4. After a failed write or flush the journal accepts nothing more: failed() says why, all waiters
//      get that error, and what is on disk is learnt by opening it again.
//   5. The snapshot named by the superblock, and everything after it, is never freed.
//
// Owned by its Group; used on the group's reactor thread only. The disks must outlive it. Call close()
// and await it before destroying it in an orderly way; destroying it at any other time is a crash.
class Journal {
 public:
  // Lays out a new journal over all of `disk` (its first log volume): superblock only; segments are prepared
  // ahead of their first use. Durable on return.
  static io::Task<Result<std::unique_ptr<Journal>>> create(io::Environment environment, io::Disk& disk,
                                                           GroupIdentity group, JournalOptions options);
  // Reads the superblock, orders the segments and finds the end: the torn tail, if any, is cut (its
  // bytes can never be taken for entries later). kDamaged with the exact place and log ids when
  // something at or below a recorded durable-through does not read; kUnsupported for a newer version;
  // kNotFound when there is no journal on the disk; what `find_log_volume` says when a further log volume is
  // not here.
  static io::Task<Result<std::unique_ptr<Journal>>> open(io::Environment environment, io::Disk& disk,
                                                         JournalOptions options,
                                                         FindLogVolume find_log_volume = {});
  // Of a journal that need not be opened whole: what save_local_record() kept last.
  static io::Task<Result<std::vector<std::byte>>> read_local_record(io::Environment environment,
                                                                    io::Disk& disk);
  ~Journal();

  GroupIdentity group() const;

  // ---- Local record and snapshot: what this node alone knows of the group, and the group's state ----

  // At most kLocalRecordBytesMax; replaced atomically; empty at first. Durable on return.
  static constexpr std::size_t kLocalRecordBytesMax = 3000;
  io::Task<Result<void>> save_local_record(std::vector<std::byte> record);
  const std::vector<std::byte>& local_record() const;

  // Appends `state` (any size that fits the free segments) to the log after everything appended before the
  // call, and makes the superblock name it. Durable on return. Appends may go on meanwhile: they come after
  // the snapshot. `state` must describe exactly the entries appended before the call: build it and call
  // without awaiting in between. kNoSpace leaves the snapshot before it in force, and takes no space.
  io::Task<Result<void>> save_snapshot(std::vector<std::byte> state);
  // The one that open() found; empty when none was ever saved.
  const std::vector<std::byte>& snapshot() const;
  // Of the newest: how large it is, and the place from which a scan yields all that came after it.
  std::size_t snapshot_size_bytes() const;
  Place snapshot_end() const;

  // ---- Appending ----

  // The most blocks that one entry can have here: kEntryBlocksMax, or less where segments are tiny.
  std::uint32_t entry_blocks_max() const;

  // The epoch of the appends from here on; `next` is the log id that the next entry gets, and
  // `parent_checksum` the checksum of the batch that holds the entry before it (see checksum_of_last).
  // Closes the open batch.
  void begin_epoch(EpochIdentity identity, LogId next, std::uint32_t parent_checksum, WallTime timer_min);
  // Completes when an append of this size can be made at once, without waiting. Completes without
  // suspending when there is room already, which is the usual case. kNoSpace when no free segment is
  // left for this purpose (the caller frees some, waits or gives up); the reason of failed() after a
  // failure.
  io::Task<Result<void>> make_room(std::uint32_t payload_blocks, std::uint32_t body_bytes, Purpose purpose);
  // The same for append_batch().
  io::Task<Result<void>> make_room_for_batch(std::uint32_t payload_blocks, std::uint32_t meta_bytes);
  // The usual case of the above, without a coroutine: true when append() may be called at once.
  bool has_room(std::uint32_t payload_blocks, std::uint32_t body_bytes, Purpose purpose) const;
  // Appends one entry; has_room() held just before, with no await in between. The timer value is
  // the wall clock's, or the last one when that is later.
  Appended append(NewEntry entry);
  // Appends a batch that another node wrote, unchanged, as a frame of its own; its checksums have been
  // verified and its place in the order is the caller's business. make_room_for_batch() was awaited just
  // before. Payload pieces hold meta.payload_blocks blocks.
  Appended append_batch(const format::BatchMeta& meta, std::vector<std::byte> encoded_meta,
                        std::vector<Buffer> payload);
  // What is appended next begins a batch of its own. has_room() answers accordingly from here on.
  void close_batch();
  // Completes when everything appended up to `ticket` is durable here. A batch that nobody waits for is
  // written when it has batch_bytes_gathered or is batch_age_max old.
  io::Task<Result<void>> wait_durable(std::uint64_t ticket);
  // The same for all that was appended before the call, when a host asks. Where one flushes, it will again:
  // the next kEagerBatches are written with their first entry.
  static constexpr std::uint32_t kEagerBatches = 64;
  io::Task<Result<void>> flush();
  std::uint64_t last_ticket() const;
  bool is_durable(std::uint64_t ticket) const;
  LogId last_appended() const;
  // Log id of the last durable entry in append order, and the place just after its batch.
  LogId durable() const;
  WallTime durable_timer() const;  // of that entry
  Place durable_end() const;
  // Wakes whoever streams or tails when durable() moves, or on failure. Re-check after each wake.
  io::WaitQueue& durable_moved();
  std::uint32_t checksum_of_last()
      const;  // of the batch appended last, the open one excluded: close it first
  const std::optional<Error>& failed() const;

  // ---- Reading ----

  // Keeps the segments from `place` on from being reused while it lives.
  class [[nodiscard]] Pin {
   public:
    Pin() = default;
    Pin(Journal* journal, std::uint64_t generation);
    Pin(Pin&& other) noexcept;
    Pin& operator=(Pin&& other) noexcept;
    ~Pin();

   private:
    Journal* journal_ = nullptr;
    std::uint64_t generation_ = 0;
  };
  Pin pin(Place place);

  // `blocks` blocks of payload from `place` on, when they are still in memory; else an empty Buffer.
  Buffer recent(Place place, std::uint32_t blocks) const;
  // The same from memory or disk; `checksums` (one per block) are verified: kDamaged names the place and
  // the log volume offset. The caller holds a Pin when it awaited anything since it learnt the place.
  io::Task<Result<Buffer>> read(Place place, std::vector<std::uint32_t> checksums);

  // `blocks` blocks as they lie on the disk, of whatever kind and not checked: for who wants a lot that lies
  // near each other, and has the checksums of it. Of one segment; a Pin as with read(). kExpired, kIo.
  io::Task<Result<Buffer>> read_unchecked(Place place, std::uint32_t blocks);

  // The first durable batch whose frame is at or after `from` (a place that a scan, find() or
  // snapshot_end() gave, or oldest()); nothing at the durable end. Checksums of the meta are verified,
  // payload is not read. kExpired when `from` has been freed.
  io::Task<Result<std::optional<StoredBatch>>> scan(Place from);
  // What scan() would find, from memory while `from` is not before the newest few thousand batches.
  io::Task<Result<std::optional<BatchSummary>>> scan_summary(Place from);
  // The payload of a batch that scan() gave, as it crosses the link.
  io::Task<Result<Buffer>> read_payload(const StoredBatch& batch);

  // The batch that holds `id`: at or below the durable end, in a segment not freed; else kNotFound. Reads
  // a bounded number of frames.
  io::Task<Result<StoredBatch>> find(LogId id);
  // The last batch in append order whose first entry's timer is at or before `time`, among batches of
  // `epoch` with sequences in [first, last]; nothing when all are later.
  io::Task<Result<std::optional<StoredBatch>>> find_time(Epoch epoch, std::uint64_t first, std::uint64_t last,
                                                         WallTime time);

  // ---- Proving what lies on the disk ----

  // The frame at or after `from` (none: the oldest), of whatever kind; nothing at the durable end. Only a
  // disk read is waited for, of a megabyte at most. kExpired when `from` has been freed.
  io::Task<Result<std::optional<CheckedFrame>>> check(Place from, CheckWindow* window);
  // Writes a block of payload again that does not match its checksum, as a copy elsewhere has it: `right`
  // matches. Durable on return. kExpired when it has been freed.
  io::Task<Result<void>> repair(Place block, Buffer right);
  // For whoever compares the copies below a log volume (0: the first), of [begin, end) of it. Takes memory
  // of a hundredth of that. Nothing is written. The journal outlives the call, and need not outlive what it
  // gives.
  io::Task<std::unique_ptr<pool::LogVolumeSurvey>> survey(LuNumber volume, DiskOffset begin, DiskOffset end);
  // What is wrong with the superblock in force; "" for nothing.
  io::Task<std::string> check_superblock();
  // Of the journal, before `place`.
  std::uint64_t bytes_before(Place place) const;

  // ---- Space ----

  Place oldest() const;
  // Gives up every segment that lies wholly before `place`; waits for pins on them. Never past the
  // snapshot. Durable when the segments are reused, which is soon enough: doing it again is harmless.
  io::Task<Result<void>> free_before(Place place);
  JournalStatus status() const;
  // Appended and not durable yet.
  std::uint64_t backlog_bytes() const;
  std::vector<SegmentInfo> segments() const;

  // ---- Log volumes ----

  std::vector<LogVolumeStatus> log_volumes() const;  // the first one first
  // Goes on on `disk` too, which reads as zeroes and outlives the journal or drop_log_volume(). Durable on
  // return. kInvalid when it does not hold a segment, kNoSpace when there are too many.
  io::Task<Result<void>> add_log_volume(LuNumber number, io::Disk& disk);
  // Takes no segment on it any more; what lies there stays until it is freed. Durable on return; doing it
  // again is harmless. kNotFound for one that is not there and for the first, kNoSpace when the others have
  // no free segment for data.
  io::Task<Result<void>> empty_log_volume(LuNumber number);
  bool has_leaving() const;
  // The end of the journal, or of the snapshot in force, lies on one that is to be emptied: another snapshot
  // moves it off.
  bool ends_on_leaving() const;
  // Those of them on which nothing lies any more.
  std::vector<LuNumber> emptied_log_volumes() const;
  // One of these. On return it is durably no part of the journal, and nothing of its disk is used.
  io::Task<Result<void>> drop_log_volume(LuNumber number);

  // Writes out the open batch and a seal, waits for everything in flight. Appending is over.
  io::Task<Result<void>> close();

 private:
  friend class SequentialReader;
  explicit Journal(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace tidemark::journal
