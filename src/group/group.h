#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "group/core.h"
#include "group/data_path.h"
#include "group/destager.h"
#include "group/journal_export.h"
#include "group/points.h"
#include "group/verifier.h"
#include "group/view.h"

namespace tidemark::group {

// What a restore would do, or did.
struct RestorePlan {
  ResolvedPoint from{};  // the head that is left
  ResolvedPoint target{};
  std::vector<VolumeShape> shape_now{};
  std::vector<VolumeShape> shape_target{};
  std::uint64_t entries_left = 0;         // on the branch that is left, after the point where it was left
  std::vector<std::string> marks_left{};  // newest last
};

struct VolumeStatus {
  VolumeShape shape{};
  LuNumber lu{};
  std::uint64_t allocated_bytes = 0;  // of the base
  std::uint64_t dirty_bytes = 0;  // acknowledged and not yet in the base, whole journal segments at a time
  AccessCounters counters{};
};

// A run of blocks that differ between two points.
struct ChangedRun {
  BlockRange blocks{};
};

struct ShownEntry {
  LogId id{};
  format::Entry entry{};
  Place payload_place{};
};

// What a new group is made with.
struct NewGroup {
  std::string name{};
  GroupSettings settings{};
  std::uint64_t journal_size_bytes = 0;
  PoolNumber data_pool{};    // where its volumes lie, unless they are created elsewhere
  PoolNumber log_pool{};     // where its journal lies
  GroupIdentity identity{};  // of the group that a secondary is a copy of; Group::create() draws one
};

// Where a new secondary begins.
struct SecondaryStart {
  GroupState state{};                // of the primary as of `start`
  LogId start{};                     // the entries received go on after it
  std::uint32_t start_checksum = 0;  // of the batch that holds it
  std::uint32_t parity = 0;          // of the epoch numbers that this node draws
};

// A log volume of a group, with its unit.
struct GroupLogVolume {
  LuNumber number{};
  std::uint64_t size_bytes = 0;  // of the logical unit
  journal::LogVolumeStatus status{};
};

// The volumes that share one write order, with their journal: the heart of a node.
//
// All methods are called on the group's reactor thread. Commands that change the group answer when the change
// is durable here. A failed journal write stops the group: it accepts nothing more, says why, and is opened
// again from what is on disk at the next start. close() ends it in an orderly way; destroying it without is a
// crash. docs/architecture.md tells how a write, a read, a restore and a floor step run through it.
class Group {
 public:
  // A new group with its log volume, its first epoch and no volumes. One that fails leaves nothing; one that
  // a crash cuts off leaves a forming log volume, which the next start hands to destroy().
  static io::Task<Result<std::unique_ptr<Group>>> create(GroupContext context, NewGroup what);
  // The group whose log volume this is: replays what the snapshot and the index do not hold. Null when its
  // deletion had begun: destroy() finishes that.
  static io::Task<Result<std::unique_ptr<Group>>> open(GroupContext context, LuNumber log_volume);
  // An empty secondary. Nothing is readable until the first copy has been applied and open_window() called.
  // kInvalid when the state does not end at `start`.
  static io::Task<Result<std::unique_ptr<Group>>> create_secondary(GroupContext context, NewGroup what,
                                                                   SecondaryStart from);
  ~Group();

  // Ends the destager, writes a snapshot and a seal.
  io::Task<Result<void>> close();
  // Before destroy(): from here on a start finds a group that is to be destroyed, whatever is left of it.
  io::Task<Result<void>> mark_dropped();
  // Gives every logical unit of the group back. The group was closed.
  static io::Task<Result<void>> destroy(pool::Pools& pools, GroupIdentity group);

  // ---- What it is ----
  const std::string& name() const { return core_.local.name; }
  GroupIdentity identity() const { return core_.journal->group(); }
  LuNumber log_volume() const { return core_.log_volume; }  // the first one
  const LocalRecord& local() const { return core_.local; }
  const GroupState& state() const { return core_.state; }
  LogId head() const { return core_.head(); }
  Epoch live_epoch() const { return core_.live_epoch; }
  std::vector<VolumeShape> volumes() const { return core_.state.shape_at(core_.head()); }
  VolumeStatus volume_status(const VolumeShape& shape) const;
  journal::Journal& journal() { return *core_.journal; }
  const journal::Journal& journal() const { return *core_.journal; }
  index::IndexStatus index_status() const { return core_.index->status(); }
  std::vector<Destager::Pin> pins() const { return destager_.pins(); }
  // Why it stopped; nothing while it goes on.
  const std::optional<Error>& failure() const {
    return core_.failure.has_value() ? core_.failure : core_.journal->failed();
  }
  // What an operator should know. That views were given up, or the index rebuilt, is told for an hour.
  static constexpr Duration kViewsGivenUpTold = Duration::seconds(3600);
  // The same that the version index was damaged and rebuilt: what it lies on may be going bad.
  static constexpr Duration kIndexRebuiltTold = Duration::seconds(3600);
  std::optional<std::string> alarm() const;
  // How far back the window reaches, when that is less than the retention because space ran short.
  std::optional<Duration> shortened_window() const;
  Result<void> check_accepting() const { return core_.check_accepting(); }
  // Wakes when head, shape, marks, roles or failure change. Re-check after each wake.
  io::WaitQueue& changed() { return core_.changed; }

  // ---- Data ----
  DataPath& data() { return data_; }
  Volume* find_volume(VolumeId id) { return core_.find_volume(id); }
  std::shared_ptr<const index::Path> live_path() const { return core_.live_path; }
  std::shared_ptr<const index::Path> path_to(LogId point) const { return core_.path_to(point); }
  Result<void> check_readable(LogId point) const { return core_.check_readable(point); }
  Points& points() { return points_; }
  // kNotFound when no such volume exists at the point.
  io::Task<Result<std::unique_ptr<View>>> open_view(std::string volume, std::string point);

  // ---- Shape ----
  // In `pool`, or where the group's volumes lie.
  io::Task<Result<VolumeShape>> create_volume(std::string name, std::uint64_t size_bytes,
                                              std::optional<PoolNumber> pool = {});
  // Shrinking discards what lies beyond the new end first.
  io::Task<Result<VolumeShape>> resize_volume(std::string name, std::uint64_t size_bytes);
  io::Task<Result<void>> delete_volume(std::string name);
  io::Task<Result<void>> set_settings(GroupSettings settings);

  // ---- Log volumes ----
  // The first one first. What one that is removed holds stays until it is out of the window.
  std::vector<GroupLogVolume> log_volumes() const;
  std::uint64_t log_volumes_size_bytes() const;  // of those that stay
  bool has_log_volume(LuNumber number) const;
  // See journal::Journal::survey(). The group outlives the call.
  io::Task<std::unique_ptr<pool::LogVolumeSurvey>> survey_log_volume(LuNumber number, DiskOffset begin,
                                                                     DiskOffset end);
  // One more, in `pool`, rounded up to whole segments. kNoSpace when there is no room for it or there are as
  // many as there can be.
  io::Task<Result<LuNumber>> add_log_volume(PoolNumber pool, std::uint64_t size_bytes);
  // Takes no more entries, and is given back when those that it holds have left the window. Said again,
  // nothing changes. kNotFound when the group has no such log volume, kRefused for the first one, kNoSpace
  // when the others are full of what may not be dropped.
  io::Task<Result<void>> remove_log_volume(LuNumber number);

  // ---- Marks ----
  // kExists when the id was ever used in the group. Covers every write acknowledged before the call.
  io::Task<Result<Mark>> create_mark(format::MarkRecord mark);
  io::Task<Result<Mark>> name_point(format::MarkRecord mark, std::string point);
  // Acquires the log from here on, or ceases to; the entry that says so. Nothing is appended when it is so
  // already.
  io::Task<Result<LogId>> switch_log(bool started);
  // kRefused when a held mark is to be deleted: it has to be released first.
  io::Task<Result<Mark>> change_mark(std::string id, format::MarkAction action);

  // ---- Restore and branches ----
  io::Task<Result<RestorePlan>> plan_restore(std::string point, bool before);
  // One entry: opens an epoch that continues after the plan's target. Writers are the caller's to deal with.
  io::Task<Result<journal::Appended>> restore(RestorePlan plan, format::EpochReason reason);
  // While a reason is set the group works on itself: the node lets whoever comes wait, or tells the reason.
  void set_busy(std::optional<Error> reason);
  // A restore whose blocks come from elsewhere, while the group is busy. Between begin and finish the caller
  // writes them through data(). What was there stays readable and is gone back to by undo_refill(), which the
  // next start does by itself for one that was cut off.
  io::Task<Result<journal::Appended>> begin_refill();
  io::Task<Result<void>> finish_refill(Epoch epoch, LogId point);
  io::Task<Result<void>> undo_refill();
  bool refill_is_unfinished() const;
  // Where a takeover goes on: the head, or what was before an unfinished refill or before a gap.
  LogId takeover_point() const;
  // The same for a node that was turned and is held to be at `held`. A refill that it was told to leave may
  // have given up what was before it: then what is there.
  LogId takeover_point(LogId held) const;
  // The floor does not pass `point` while it lives; the caller has checked that it is readable.
  PointPin pin(LogId point) { return {&core_, point}; }
  // The same, but it yields when the journal is short of space: ask check_readable() again.
  PointPin pin_that_yields(LogId point) { return PointPin::that_yields(&core_, point); }
  // Where the group follows a primary, only a branch that this node alone has can be released.
  io::Task<Result<void>> release_branch(Epoch epoch);
  io::Task<Result<void>> set_exports_closed(bool closed);

  // ---- Looking back ----
  // Entries after `after` on the path to the head (or, when it lies on a dead branch, to that branch's end).
  io::Task<Result<std::vector<ShownEntry>>> show_entries(LogId after, std::size_t entries_max);
  // The bytes at the place of one entry just before or just after it: `blocks` within the entry's range.
  io::Task<Result<Buffer>> entry_data(LogId id, VolumeId volume, BlockRange blocks, bool before);
  // The entries after `from` up to `to` with their data. `volume`: only the changes of that one; empty: of
  // all. kInvalid when `from` does not lie on the way to `to`, kNotFound without such a volume at either
  // point.
  io::Task<Result<std::unique_ptr<JournalExport>>> begin_export(std::string from, std::string to,
                                                                std::string volume, ExportSides sides);
  // Runs of blocks from `begin` on whose content differs between two readable points; at most `runs_max`.
  io::Task<Result<std::vector<ChangedRun>>> diff(VolumeId volume, LogId from, LogId to, BlockRange blocks,
                                                 std::size_t runs_max);
  // Upper bound of the blocks that differ, from the index alone.
  io::Task<Result<std::uint64_t>> count_differing(VolumeId volume, LogId from, LogId to, BlockRange blocks);

  // ---- Proving what is on the disk ----
  // Begins in the background. kBusy while one runs, or while the first copy does.
  Result<void> verify(VerifyOptions options);
  bool verifying() const { return verifier_.running(); }
  // It ends at its next piece.
  void stop_verifying() { verifier_.stop(); }
  // Of the run under way, else of the last one since the group was opened.
  const VerifyProgress& verification() const { return verifier_.progress(); }

  // ---- For the pair ----
  // See DataPath::write_again(); at most 1 MiB. kRefused when the head is no longer on a branch that `since`
  // lies on, kExpired when `since` is no longer readable, kNotFound when the volume was deleted.
  io::Task<Result<void>> write_again(VolumeId volume, BlockRange blocks, Buffer data, LogId since);
  // What came of a comparison with the peer, now.
  io::Task<Result<void>> note_comparison(LogId point, std::uint64_t differing_bytes,
                                         std::uint64_t repaired_bytes);
  io::Task<Result<void>> save_pair(std::vector<std::byte> record, Role role, LogId peer_has);
  void set_peer_has(LogId id) { core_.local.peer_has = id; }  // saved with the next local record
  // What FLUSH and FUA wait for besides this node's disk.
  PeerGate& peer_gate() { return core_.peer_gate; }
  const PeerGate& peer_gate() const { return core_.peer_gate; }
  // While a reason is set, nothing is accepted; for the reason's sake.
  void hold_back(std::optional<Error> reason);
  const std::optional<Error>& held_back() const {
    return core_.held_back.has_value() ? core_.held_back : core_.busy;
  }
  // Until the commands that began before hold_back() have ended.
  io::Task<void> finish_commands();
  // Until nothing is held back for a reason that passes by itself (kBusy), or `limit` has passed.
  io::Task<void> wait_while_busy(Duration limit);
  // While true, a write that finds the journal full of what the peer lacks waits instead of failing.
  void set_peer_gives_way(bool gives_way);
  bool waits_for_space() const { return core_.waiting_for_space > 0; }
  // Appends a batch that the other node wrote. kInvalid when it does not continue the order held here.
  io::Task<Result<void>> append_received(format::BatchMeta meta, std::vector<std::byte> encoded_meta,
                                         Buffer payload);
  // Blocks of the first copy, straight into the base; `data` empty: they are zero. Durable after
  // open_window().
  io::Task<Result<void>> write_copy(VolumeId volume, BlockRange blocks, Buffer data);
  // Everything that was written of the first copy up to here, in the order of the volumes' numbers, is made
  // durable, and that is remembered.
  io::Task<Result<void>> note_copied(VolumeId volume, std::uint64_t bytes);
  // The first copy is complete as of `point`: it becomes the floor, and views may be opened.
  io::Task<Result<void>> open_window(LogId point);
  // A secondary goes on after `start`, where its primary is, without the entries between what is held here
  // and that, which are lost to it: a gap. `primary` is the primary's state at `start`, `checksum` that of
  // the batch that holds it. What was readable stays so; nothing behind the gap is before end_gap(). What was
  // live here and is not on the way to `start` becomes a dead branch, kept until released. kExpired when the
  // floor here is not on that way, kInvalid when the two are not of one order; nothing is changed then.
  io::Task<Result<void>> skip_to(GroupState primary, LogId start, std::uint32_t checksum);
  // Everything in which the two differed has come as entries up to `point`: from there on it is readable.
  io::Task<Result<void>> end_gap(LogId point);
  // What is live here cannot be read yet for that reason.
  bool is_behind_gap() const;
  // What lies on the data volumes is what their checksums say: nothing is being destaged or copied to them,
  // nor is to be again after a crash.
  bool base_is_settled() const;
  // Whether what is here at `point` can be read to be compared: also behind a gap.
  Result<void> check_comparable(LogId point) const { return core_.check_comparable(point); }
  // group_changes.cc: what changes from now on is kept by region, for a peer that is let go of and comes
  // back. In force with the next record that is saved. Said again, nothing changes.
  void keep_changes();
  void forget_changes();
  // The parts of `asked` that may have changed between `since` and `at`, a readable point; all of it when
  // that is not known: `since` lies before keep_changes(), or the journal had no room for the map.
  io::Task<Result<std::vector<BlockRange>>> changed_blocks(VolumeId volume, LogId since, LogId at,
                                                           BlockRange asked);
  // A primary opens an epoch that goes on where it is, for a secondary that is to skip to it.
  io::Task<Result<void>> open_epoch_for_resync();  // kNoSpace at once while something is kept for the peer
  // Goes on in `epoch` after `point`, its last entry held here: what was live becomes a dead branch.
  io::Task<Result<void>> continue_epoch(LogId point, std::uint32_t checksum, bool mark_abandoned);
  // A mark at `at`, the newest entry held of the primary's order, which only this secondary knows so far.
  // Durable when it answers.
  io::Task<Result<Mark>> add_provisional_mark(format::MarkRecord record, LogId at);
  io::Task<Result<void>> drop_provisional_mark(std::string id);
  std::vector<Mark> provisional_marks() const;
  // Records a mark that a secondary took while it could not ask: under its id, or as ID~EPOCH when that is
  // taken. Asked again it is the same mark.
  io::Task<Result<Mark>> adopt_mark(format::MarkRecord record, LogId at);
  // A primary turns into one that follows: what it has beyond `point`, its last entry that the other node has
  // too, becomes a dead branch that is kept until released. kExpired when the point is no longer held.
  io::Task<Result<void>> leave_tail(LogId point);
  std::vector<std::byte> encode_state() const { return core_.state.encode(core_.live_epoch); }
  io::Task<Result<std::uint32_t>> checksum_at(LogId id) { co_return co_await core_.checksum_at(id); }
  io::Task<Result<void>> snapshot() { co_return co_await core_.save_snapshot(); }
  // One floor step now, as far as pins and retention allow.
  io::Task<Result<bool>> destage_now(bool short_of_space);

 private:
  io::Task<Result<void>> flush_copy();
  Group(GroupContext context, std::unique_ptr<journal::Journal> journal, LuNumber log_volume);
  static io::Task<Result<std::unique_ptr<Group>>> make(GroupContext context, NewGroup what);
  // create() and create_secondary(), without giving back what a failure leaves.
  static io::Task<Result<std::unique_ptr<Group>>> form(GroupContext context, NewGroup what);
  static io::Task<Result<std::unique_ptr<Group>>> form_secondary(GroupContext context, NewGroup what,
                                                                 SecondaryStart from);
  io::Task<Result<void>> replay();
  io::Task<Result<void>> replay_batch(const journal::StoredBatch& batch, bool to_state, bool to_index);
  Result<void> check_received(const format::BatchMeta& meta) const;
  Result<void> check_contents(const format::BatchMeta& meta, Bytes payload) const;
  io::Task<Result<void>> promise_base_space();
  void index_batch(const format::BatchMeta& meta, Place payload_place);
  void start();
  io::Task<void> persist_index();
  // So far behind the journal that a start would take long.
  bool index_lags() const;
  // Sets the alarm, or takes back what `told` says was told before.
  void tell_operator(const Result<void>& outcome, const std::string& what, std::string* told);
  io::Task<Result<void>> release_tail(Epoch epoch);
  io::Task<Result<Mark>> record_mark(format::ControlRecord record, std::string id);
  io::Task<Result<Mark>> name_resolved(format::MarkRecord mark, ResolvedPoint target, std::string id);
  const Mark* find_adopted(const format::MarkRecord& record, LogId at, const std::string& aside) const;
  Result<void> check_mark_id(const std::string& id) const;
  io::Task<Result<void>> wait_durable(std::uint64_t ticket);

  Core core_;
  DataPath data_;
  Points points_;
  Destager destager_;
  Verifier verifier_;
  std::uint64_t appended_since_snapshot_bytes_ = 0;
  io::TaskScope tasks_;
};

}  // namespace tidemark::group
