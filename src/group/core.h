#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "group/block_cache.h"
#include "group/group_index.h"
#include "group/local_record.h"
#include "group/peer_gate.h"
#include "group/range_lock.h"
#include "group/read_ahead.h"
#include "group/snapshot.h"
#include "group/state.h"
#include "index/version_index.h"
#include "io/environment.h"
#include "journal/journal.h"
#include "pool/pools.h"

namespace tidemark::group {

// Makes or opens the version index of a group; which twin, and where, is the node's business.
using IndexFactory = std::function<io::Task<Result<index::OpenedIndex>>(GroupIdentity)>;

// A word for the node's log: what happened, to which group, and fields.
using LogEvent =
    std::function<void(const std::string& event, const std::string& group, const std::string& fields)>;

// What a group stands on. All of it outlives the group.
struct GroupContext {
  io::Environment environment;
  pool::Pools& pools;
  BlockCache& cache;
  IndexFactory make_index;
  journal::JournalOptions journal_options{};
  // A branch has 2^40 names for its entries; a new one is opened well before they run out. Less in tests.
  std::uint64_t sequence_soft_max = kSequenceMax - (1ull << 24);
  LogEvent log{};
};

// Counted per request piece since the node started. A read is a hit when every block came from memory; a
// write is a hit when it landed in memory at once, a miss when it had to wait for a disk first (an edge block
// to be read, journal space to be made ready).
struct AccessCounters {
  std::uint64_t read_hits = 0;
  std::uint64_t read_misses = 0;
  std::uint64_t write_hits = 0;
  std::uint64_t write_misses = 0;
  std::uint64_t written_bytes = 0;   // to the journal
  std::uint64_t destaged_bytes = 0;  // of those, moved to the base
};

// A volume's place on this node: its base and what guards it. The base lives as long as its logical unit, the
// rest as long as somebody waits for it.
struct Volume {
  Volume(const GroupContext& context, VolumeId volume_id, LuNumber number, pool::DataVolume* data_volume)
      : id(volume_id),
        lu(number),
        base(data_volume),
        number_in_cache(context.cache.new_volume()),
        lock(context.environment.scheduler),
        read_ahead(context.environment.scheduler) {}
  CacheKey cache_key(std::uint64_t block) const { return {number_in_cache, block}; }

  VolumeId id;
  LuNumber lu;
  pool::DataVolume* base;
  std::uint64_t number_in_cache;
  RangeLock lock;
  AccessCounters counters;
  ReadAhead read_ahead;
  std::uint32_t reads_under_way = 0;                      // of hosts
  std::map<std::uint64_t, std::uint64_t> appended_bytes;  // by segment generation, while above destaged
};

// An entry of a body alone: a mark or a change of the state.
journal::NewEntry entry_with_body(format::EntryKind kind, std::vector<std::byte> body);

// Keeps a point readable: the floor does not pass it while the pin lives.
class PointPin;

// What the parts of a group share. Owned by Group; reactor thread only.
//
// Invariants
//   1. freed <= destaged <= floor on the live path; every readable point has floor as its ancestor. The base
//   holds what was written up to destaged and shows at the floor; what came in between hides the rest.
//   2. live_path is the path (destaged, head], open-ended; it changes only where the live epoch or destaged
//   do.
//   3. Once `failure` is set nothing is appended any more.
struct Core {
  Core(GroupContext group_context, std::unique_ptr<journal::Journal> opened_journal,
       LuNumber log_volume_number);

  GroupContext context;
  std::unique_ptr<journal::Journal> journal;
  LuNumber log_volume{};  // the first one of the journal
  std::unique_ptr<GroupIndex> index;
  LocalRecord local;
  GroupState state;
  Epoch live_epoch{};
  // While the end of a gap is being made durable: in snapshots it has ended, and nobody sees it here yet.
  LogId gap_ends_at{};
  ChangeMap changes;  // counts while local.changes_from says so
  std::shared_ptr<const index::Path> live_path;
  std::map<VolumeId, std::shared_ptr<Volume>> volumes;
  std::multiset<std::uint64_t> point_pins;     // raw log ids: of commands under way
  std::multiset<std::uint64_t> yielding_pins;  // raw log ids: of work that goes on at another point as well
  std::multiset<std::uint64_t> view_pins;  // raw log ids; the floor passes them when nothing else gives space
  std::optional<Error> failure;
  std::optional<std::string> alarm;                // the latest thing an operator should know
  std::optional<MonotonicTime> views_given_up_at;  // for want of space; Group::alarm()
  io::WaitQueue space_freed;
  io::WaitQueue floor_wanted;  // wakes the destager
  io::WaitQueue changed;       // head, roles or marks moved: for those who follow
  PeerGate peer_gate;          // what a FLUSH waits for besides this disk

  // Reads, and whoever else uses a base outside of base_mutex, register in the current phase; flip_phase()
  // waits until those of the phase before have ended, so that what they may still look at is not changed
  // under them.
  std::array<std::uint32_t, 2> reads_in_phase{};
  unsigned phase = 0;
  io::WaitQueue reads_ended;
  io::Mutex phase_mutex;
  class [[nodiscard]] ReadGuard {
   public:
    explicit ReadGuard(Core* core) : core_(core), phase_(core->phase) { ++core_->reads_in_phase[phase_]; }
    ReadGuard(ReadGuard&& other) noexcept
        : core_(std::exchange(other.core_, nullptr)), phase_(other.phase_) {}
    ReadGuard& operator=(ReadGuard&&) = delete;
    // No flip has begun since: what may not be changed under this one may not be under one made now.
    bool is_current() const { return phase_ == core_->phase; }
    ~ReadGuard() {
      if (core_ != nullptr && --core_->reads_in_phase[phase_] == 0) core_->reads_ended.wake_all();
    }

   private:
    Core* core_;
    unsigned phase_;
  };
  io::Task<void> flip_phase();

  io::Scheduler& scheduler() const { return context.environment.scheduler; }
  // The newest entry of the live epoch.
  LogId head() const { return state.epochs().find(live_epoch)->last; }
  std::string name() const { return local.name; }
  void update_live_path();
  // kExpired, kInGap, kNotReceived or kNotFound when a reader must not have `point`.
  Result<void> check_readable(LogId point) const;
  // The same for the other node, which compares what is here behind a gap with its own.
  Result<void> check_comparable(LogId point) const;
  // The newest point on the way to `point` that has no gap behind it; the floor is one.
  LogId newest_whole(LogId point) const { return state.epochs().newest_whole(point, local.floor); }
  // The entry is one of those behind a gap that the stream began after: what it made is here, it is not.
  bool is_skipped(LogId id) const { return id.epoch() == local.skipped_to.epoch() && id <= local.skipped_to; }
  // At the start: the record of a gap may be there without the snapshot that stands behind it. It never was.
  void forget_skip_without_state();
  // Where the live path is whole again behind the gap in which `point` lies; none where it is not.
  LogId whole_after(LogId point) const;
  std::shared_ptr<const index::Path> path_to(LogId point) const;
  // Nobody can read this point any more, but what its entry wrote may still show, and is only in the journal.
  bool waits_to_be_destaged(LogId id) const;
  // True when `point` lies on a branch that was released, and neither the live path nor a branch that was not
  // released nor a held mark has it behind it. Its epoch is known.
  bool is_released(LogId point) const;
  // A held mark on what is dead of a branch; null when there is none.
  const Mark* mark_held_on(Epoch epoch) const;
  Volume* find_volume(VolumeId id);
  // The volume was found before something was awaited. False: its unit may be gone, or the head does not show
  // it any more.
  // How many blocks the head shows of it; 0 of one that is gone.
  std::uint64_t blocks_at_head(const Volume& volume);
  // The group stops accepting writes and says why; `failure` keeps the first reason.
  void stop(const Error& error);
  // kRefused, kShutdown or the failure when writes are not accepted now.
  Result<void> check_accepting() const;
  bool closing = false;
  // Set by the replication layer while writes must wait for something (a peer not heard since the start).
  std::optional<Error> held_back;
  // While set, the group works on itself: whoever comes from outside is to wait.
  std::optional<Error> busy;
  // Where the log was started or stopped: on the secondary, or on a node that is alone, it is kept from there
  // on. True when that changed the local record, which the caller saves.
  bool follow_log_switch();
  io::Task<Result<void>> save_local();
  io::Task<Result<void>> save_snapshot();
  std::vector<std::byte> snapshot_to_save();
  // At the start: takes up the logical units that the pools hold. A volume whose unit must be there and is
  // not fails with kDamaged, or kIo while a pool is missing; so do two of one volume that both hold
  // something.
  io::Task<Result<void>> open_volumes();
  // Brings `volumes` in line with the pool and the state: makes the logical units of new volumes, grows them,
  // and removes those that no readable point shows any more.
  io::Task<Result<void>> settle_volumes(bool remove_unreadable);
  // The logical unit of one volume; what a creation that was cut off left of the same number goes.
  io::Task<Result<void>> make_unit(VolumeId id, std::uint64_t size_bytes, PoolNumber pool);
  // Of the volumes that are shown there and have none: those of a branch that a node had released, from which
  // it goes on since it was turned. They had nothing in the base.
  io::Task<Result<void>> make_units_at(LogId point);
  io::Task<Result<void>> remove_unit(VolumeId id);
  // log_volumes.cc: at the start, units of log volumes that the journal does not name are given back.
  io::Task<Result<void>> remove_unnamed_log_volumes();
  // Goes on with what remove_log_volume() began: what can be moved off is, and who holds nothing is given
  // back.
  io::Task<Result<void>> give_back_log_volumes();
  // Room for one entry, made by waiting for the journal or for space to be freed; kNoSpace when none can be.
  io::Task<Result<void>> make_room(std::uint32_t payload_blocks, std::uint32_t body_bytes,
                                   journal::Purpose purpose, bool waits = true);
  // Waits until the destager has freed something; kNoSpace when it cannot.
  io::Task<Result<void>> wait_for_space();
  // Appends an entry without blocks and applies it to the state. The caller holds command_mutex.
  io::Task<Result<journal::Appended>> append_control(format::ControlRecord record);
  // Opens an epoch that continues after `parent`, and makes it the live one: the single entry of a restore.
  // The caller holds command_mutex.
  // Without `waits` it is kNoSpace when no room is there at once.
  io::Task<Result<journal::Appended>> open_epoch(LogId parent, format::EpochReason reason, bool waits = true,
                                                 journal::Purpose purpose = journal::Purpose::kControl);
  bool sequence_is_exhausted() const {
    return journal->last_appended().sequence() >= context.sequence_soft_max;
  }
  // Goes on in a new epoch when the names of the live one run out.
  io::Task<Result<void>> renew_epoch();
  // The batch that holds `id`; waits until it is durable.
  io::Task<Result<journal::StoredBatch>> find_batch(LogId id);
  // Checksum of the batch that holds `id`; 0 for the root.
  io::Task<Result<std::uint32_t>> checksum_at(LogId id);
  // Serialises entries that change the state, so that a check and its append are one.
  io::Mutex command_mutex;
  io::Task<Result<void>> make_unit_locked(VolumeId id, std::uint64_t size_bytes, PoolNumber pool);
  io::Task<Result<void>> remove_unit_locked(VolumeId id);
  io::Mutex settle_mutex;  // of the logical units: a command and the destager may want to change them at once
  // The volumes that the head shows, as they were when it was in this epoch, after so many changes.
  struct HeadShape {
    Epoch epoch{};
    std::size_t changes = 0;
    std::map<VolumeId, std::uint64_t> blocks{};
  } head_shape;
  // The destager's passes so far, and whether the last one freed anything: who waits for space compares.
  // The age of an entry is measured from here on monotonic time, so that a wall clock that jumps expires
  // nothing. Time while the node was off does not count.
  WallTime age_anchor{};
  MonotonicTime age_anchor_monotonic{};
  WallTime age_now() const { return age_anchor + (scheduler().now() - age_anchor_monotonic); }
  std::uint64_t destage_passes = 0;
  bool last_pass_freed = false;
  std::uint32_t waiting_for_space = 0;
  // Set by the replication layer while it sends: when what the peer lacks is all that stands in the way,
  // writes wait until the peer has it or is given up, rather than fail.
  bool peer_gives_way = false;
  bool peer_is_behind() const;
  io::Mutex base_mutex;  // of the first copy and the destager: one writes to an extent at a time
};

class [[nodiscard]] PointPin {
 public:
  PointPin() = default;
  PointPin(Core* core, LogId point) : PointPin(core, point, core->point_pins) {}
  // It holds the floor as long as the journal is not short of space.
  static PointPin that_yields(Core* core, LogId point) { return {core, point, core->yielding_pins}; }
  // Of a view: it holds the floor until space can be had from nothing else.
  static PointPin of_view(Core* core, LogId point) { return {core, point, core->view_pins}; }
  PointPin(PointPin&& other) noexcept
      : core_(std::exchange(other.core_, nullptr)), point_(other.point_), pins_(other.pins_) {}
  PointPin& operator=(PointPin&& other) noexcept {
    if (this != &other) {
      release();
      core_ = std::exchange(other.core_, nullptr);
      point_ = other.point_;
      pins_ = other.pins_;
    }
    return *this;
  }
  ~PointPin() { release(); }

 private:
  PointPin(Core* core, LogId point, std::multiset<std::uint64_t>& pins)
      : core_(core), point_(point), pins_(&pins) {
    pins_->insert(point.raw());
  }
  void release() {
    if (core_ != nullptr) pins_->erase(pins_->find(point_.raw()));
    core_ = nullptr;
  }
  Core* core_ = nullptr;
  LogId point_{};
  std::multiset<std::uint64_t>* pins_ = nullptr;  // of `core_`
};

}  // namespace tidemark::group
