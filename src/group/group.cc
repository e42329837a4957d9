#include "group/group.h"

#include <algorithm>

#include "base/names.h"

namespace tidemark::group {
namespace {

// How often the index and the journal are looked at for a run or a snapshot to write.
constexpr Duration kPersistInterval = Duration::milliseconds(200);
// How much of the journal a start may have to read again for the index: about half a second of a fast disk,
// whose frames are looked at one after the other. A quarter of a journal that is smaller.
constexpr std::uint64_t kReplayBytesMax = 1ull << 30;
// After a run that could not be written the start may take longer; no hurry to try again for that alone.
constexpr Duration kLagRetryInterval = Duration::seconds(5);

Error no_such_volume(const std::string& group, const std::string& volume) {
  return fail(ErrorCode::kNotFound, "group '" + group + "' has no volume '" + printable(volume) +
                                        "'; see `tidemark volume list " + group + "`");
}

Result<void> validate_volume_size(std::uint64_t size_bytes) {
  constexpr std::uint64_t kVolumeSizeBytesMax = 1ull << 56;
  if (size_bytes == 0 || size_bytes % kBlockSizeBytes != 0 || size_bytes > kVolumeSizeBytesMax) {
    return fail(ErrorCode::kInvalid,
                "a volume of " + std::to_string(size_bytes) +
                    " bytes is not possible: the size must be a multiple of 4096, more than "
                    "0 and at most 64 PiB");
  }
  return {};
}

// Built outside of the coroutines that append them: see CONTRIBUTING.md on aggregates in coroutines.
format::ControlRecord record_of(const VolumeShape& created) {
  return format::VolumeCreated{created.id, created.name, created.size_bytes};
}
format::ControlRecord record_of(format::MarkRecord mark, const ResolvedPoint& target) {
  return format::PointNamed{std::move(mark), target.at, target.timer};
}
format::ControlRecord record_of(const std::string& mark_id, format::MarkAction action) {
  return format::MarkChanged{mark_id, action};
}

}  // namespace

Group::Group(GroupContext context, std::unique_ptr<journal::Journal> journal, LuNumber log_volume)
    : core_(std::move(context), std::move(journal), log_volume),
      data_(core_),
      points_(core_),
      destager_(core_, data_),
      verifier_(core_),
      tasks_(core_.scheduler()) {}

Group::~Group() {
  tasks_.cancel_all();
}

void Group::start() {
  tasks_.spawn(destager_.run());
  tasks_.spawn(persist_index());
}

io::Task<Result<void>> Group::close() {
  core_.closing = true;
  verifier_.stop();
  core_.peer_gate.end(core_.check_accepting().error());
  core_.floor_wanted.wake_all();
  core_.space_freed.wake_all();
  core_.changed.wake_all();
  co_await tasks_.join();
  co_await data_.stop();
  if (!core_.failure.has_value()) {
    // It shortens the next start; a journal that is too full for it is replayed from the one before.
    auto saved = co_await core_.save_snapshot();
    if (!saved.ok() && saved.error().code != ErrorCode::kNoSpace) co_return saved;
  }
  auto closed = co_await core_.journal->close();
  co_await core_.index->close();
  co_return closed;
}

Result<void> Group::verify(VerifyOptions options) {
  if (verifier_.running()) return fail(ErrorCode::kBusy, "group '" + name() + "' is being verified already");
  if (core_.closing) return fail(ErrorCode::kShutdown, "group '" + name() + "' is closing");
  TM_TRY(verifier_.begin(options));
  tasks_.spawn(verifier_.run());
  return {};
}

io::Task<Result<void>> Group::mark_dropped() {
  core_.local.dropped = true;
  co_return co_await core_.save_local();
}

io::Task<Result<void>> Group::destroy(pool::Pools& pools, GroupIdentity group) {
  // The first log volume last: as long as it is there, a start finds the group and can finish the deletion.
  std::vector<LuNumber> log_volumes;
  for (const pool::LuRecord& unit : pools.units()) {
    if (unit.group != group) continue;
    if (unit.is_first_log()) {
      log_volumes.push_back(unit.number);
    } else {
      TM_CO_TRY(co_await pools.remove(unit.number));
    }
  }
  for (const LuNumber number : log_volumes) TM_CO_TRY(co_await pools.remove(number));
  co_return Result<void>{};
}

bool Group::index_lags() const {
  const std::uint64_t resume = core_.index->resume_place().generation();
  const std::uint64_t durable = core_.journal->durable_end().generation();
  const std::vector<journal::SegmentInfo> segments = core_.journal->segments();
  const auto behind =
      std::count_if(segments.begin(), segments.end(), [&](const journal::SegmentInfo& segment) {
        return segment.generation > resume && segment.generation <= durable;
      });
  const journal::JournalStatus status = core_.journal->status();
  return static_cast<std::uint64_t>(behind) * status.segment_size_bytes >
         std::min(kReplayBytesMax, status.size_bytes / 4);
}

void Group::tell_operator(const Result<void>& outcome, const std::string& what, std::string* told) {
  if (!outcome.ok()) {
    *told = what + outcome.error().message;
    core_.alarm = *told;
    return;
  }
  // What was told of an attempt that failed is over.
  if (!told->empty() && core_.alarm == *told) core_.alarm.reset();
  told->clear();
}

io::Task<void> Group::persist_index() {
  std::uint64_t snapshot_at_bytes = core_.journal->status().written_bytes;
  MonotonicTime lag_looked_at_from{};
  std::string index_trouble;
  std::string snapshot_trouble;
  while (!core_.closing && !core_.failure.has_value()) {
    const bool lags = core_.scheduler().now() >= lag_looked_at_from && index_lags();
    if (core_.index->wants_persist() || lags) {
      const Place resume = core_.journal->durable_end();
      index::VersionIndex::UntilDurable until_durable = [this] {
        return wait_durable(core_.journal->last_ticket());
      };
      const auto persisted = co_await core_.index->persist(resume, std::move(until_durable));
      tell_operator(persisted, "the index could not be written: ", &index_trouble);
      if (!persisted.ok()) lag_looked_at_from = core_.scheduler().now() + kLagRetryInterval;
    }
    // A snapshot shortens the next start; the last segments are for those that free something.
    const journal::JournalStatus status = core_.journal->status();
    const bool has_space = status.segments_free * 4 >= status.segments_total;
    // A large one less often: it must not be what fills the journal.
    const std::uint64_t due_bytes =
        std::max(status.size_bytes / 16, 4 * std::uint64_t{core_.journal->snapshot_size_bytes()});
    if (has_space && status.written_bytes - snapshot_at_bytes > due_bytes && core_.local.window_open) {
      const auto saved = co_await core_.save_snapshot();
      snapshot_at_bytes = core_.journal->status().written_bytes;
      tell_operator(saved, "", &snapshot_trouble);
    }
    co_await core_.floor_wanted.wait_until(core_.scheduler().now() + kPersistInterval);
  }
}

io::Task<Result<void>> Group::wait_durable(std::uint64_t ticket) {
  auto durable = co_await core_.journal->wait_durable(ticket);
  if (!durable.ok()) core_.stop(durable.error());
  co_return durable;
}

VolumeStatus Group::volume_status(const VolumeShape& shape) const {
  VolumeStatus status{.shape = shape};
  const auto at = core_.volumes.find(shape.id);
  if (at == core_.volumes.end()) return status;
  const Volume& volume = *at->second;
  status.lu = volume.lu;
  status.allocated_bytes = volume.base->allocated_bytes();
  status.counters = volume.counters;
  for (const auto& [generation, bytes] : volume.appended_bytes) status.dirty_bytes += bytes;
  return status;
}

// ---- Shape ----

io::Task<Result<VolumeShape>> Group::create_volume(std::string name, std::uint64_t size_bytes,
                                                   std::optional<PoolNumber> pool) {
  TM_CO_TRY(validate_name("volume name", name));
  TM_CO_TRY(validate_volume_size(size_bytes));
  auto guard = co_await core_.command_mutex.lock();
  TM_CO_TRY(core_.check_accepting());
  if (core_.state.find_volume(name, core_.head()).has_value()) {
    co_return fail(ErrorCode::kExists, "group '" + core_.name() + "' has a volume '" + name + "' already");
  }
  if (core_.state.shape_changes() >= kShapeChangesMax) {
    co_return fail(ErrorCode::kRefused, "group '" + core_.name() + "' has had " +
                                            std::to_string(kShapeChangesMax) +
                                            " changes of its volumes, which is the most; make another group");
  }
  if (volumes().size() >= kVolumesMax) {
    co_return fail(ErrorCode::kRefused, "group '" + core_.name() + "' has " + std::to_string(kVolumesMax) +
                                            " volumes, which is the most");
  }
  VolumeShape shape;
  shape.id = core_.state.next_volume_id();
  shape.name = name;
  shape.size_bytes = size_bytes;
  // The unit first: of where it is to lie only this node knows, and not the order.
  const PoolNumber where = pool.value_or(core_.local.data_pool);
  TM_CO_TRY(co_await core_.make_unit(shape.id, size_bytes, where));
  format::ControlRecord record = record_of(shape);
  auto appended = co_await core_.append_control(std::move(record));
  if (!appended.ok()) {
    (void)co_await core_.remove_unit(shape.id);
    co_return appended.error();
  }
  TM_CO_TRY(co_await wait_durable(appended->ticket));
  co_return shape;
}

io::Task<Result<VolumeShape>> Group::resize_volume(std::string name, std::uint64_t size_bytes) {
  TM_CO_TRY(validate_volume_size(size_bytes));
  auto guard = co_await core_.command_mutex.lock();
  TM_CO_TRY(core_.check_accepting());
  std::optional<VolumeShape> shape = core_.state.find_volume(name, core_.head());
  if (!shape.has_value()) co_return no_such_volume(core_.name(), name);
  if (shape->size_bytes == size_bytes) co_return *shape;
  if (size_bytes < shape->size_bytes) {
    // What is cut off reads as zeroes if the volume grows again.
    const BlockRange cut{size_bytes / kBlockSizeBytes, shape->size_bytes / kBlockSizeBytes};
    TM_CO_TRY(co_await data_.discard_in_epoch(shape->id, cut));
  }
  format::ControlRecord record = format::VolumeResized{shape->id, size_bytes};
  TM_CO_TRY_ASSIGN(const journal::Appended appended, co_await core_.append_control(std::move(record)));
  TM_CO_TRY(co_await core_.settle_volumes(false));
  TM_CO_TRY(co_await wait_durable(appended.ticket));
  shape->size_bytes = size_bytes;
  co_return *shape;
}

io::Task<Result<void>> Group::delete_volume(std::string name) {
  auto guard = co_await core_.command_mutex.lock();
  TM_CO_TRY(core_.check_accepting());
  const std::optional<VolumeShape> shape = core_.state.find_volume(name, core_.head());
  if (!shape.has_value()) co_return no_such_volume(core_.name(), name);
  format::ControlRecord record = format::VolumeDeleted{shape->id};
  TM_CO_TRY_ASSIGN(const journal::Appended appended, co_await core_.append_control(std::move(record)));
  co_return co_await wait_durable(appended.ticket);
}

io::Task<Result<void>> Group::set_settings(GroupSettings settings) {
  auto guard = co_await core_.command_mutex.lock();
  core_.local.settings = settings;
  auto saved = co_await core_.save_local();
  core_.floor_wanted.wake_all();
  co_return saved;
}

io::Task<Result<std::unique_ptr<View>>> Group::open_view(std::string volume, std::string point) {
  auto resolved = co_await points_.resolve(point, false);
  if (!resolved.ok()) co_return std::move(resolved).error();
  const std::optional<VolumeShape> shape = core_.state.find_volume(volume, resolved->at);
  if (!shape.has_value()) {
    co_return fail(ErrorCode::kNotFound, "group '" + core_.name() + "' had no volume '" + printable(volume) +
                                             "' at '" + printable(point, 140) + "'");
  }
  // Nothing was awaited since the point was last checked, so the pin holds what was found.
  TM_CO_TRY(core_.check_readable(resolved->at));
  co_return std::make_unique<View>(core_, data_, *resolved, *shape);
}

// ---- Marks ----

Result<void> Group::check_mark_id(const std::string& id) const {
  if (core_.state.find_mark(id) != nullptr) {
    return fail(ErrorCode::kExists, "group '" + core_.name() + "' has had a mark '" + id +
                                        "' before; ids are used once, choose another");
  }
  if (core_.state.marks().size() >= kMarksMax) {
    return fail(ErrorCode::kRefused, "group '" + core_.name() + "' has " + std::to_string(kMarksMax) +
                                         " marks, which is the most; delete some");
  }
  return {};
}

io::Task<Result<Mark>> Group::create_mark(format::MarkRecord mark) {
  TM_CO_TRY(validate_mark(mark));
  std::vector<std::byte> body = format::encode_mark(mark);
  TM_CO_TRY(core_.check_accepting());
  const auto body_bytes = static_cast<std::uint32_t>(body.size());
  TM_CO_TRY(co_await core_.make_room(0, body_bytes, journal::Purpose::kControl));
  TM_CO_TRY(core_.check_accepting());
  TM_CO_TRY(check_mark_id(mark.id));
  journal::NewEntry entry = entry_with_body(format::EntryKind::kMark, std::move(body));
  const journal::Appended appended = core_.journal->append(std::move(entry));
  auto applied = core_.state.apply_mark(appended.id, appended.timer, mark);
  TM_ASSERT(applied.ok());
  core_.state.epochs().extend(appended.id, appended.timer);
  core_.changed.wake_all();
  const Mark recorded = *core_.state.find_mark(mark.id);
  TM_CO_TRY(co_await wait_durable(appended.ticket));
  co_return recorded;
}

io::Task<Result<Mark>> Group::record_mark(format::ControlRecord record, std::string id) {
  TM_CO_TRY_ASSIGN(const journal::Appended appended, co_await core_.append_control(std::move(record)));
  const Mark* mark = core_.state.find_mark(id);
  Mark recorded;
  recorded.id = id;
  if (mark != nullptr) recorded = *mark;
  TM_CO_TRY(co_await wait_durable(appended.ticket));
  co_return recorded;
}

io::Task<Result<Mark>> Group::name_point(format::MarkRecord mark, std::string point) {
  TM_CO_TRY(validate_mark(mark));
  auto guard = co_await core_.command_mutex.lock();
  TM_CO_TRY(core_.check_accepting());
  auto resolved = co_await points_.resolve(point, false);
  if (!resolved.ok()) co_return std::move(resolved).error();
  TM_CO_TRY(check_mark_id(mark.id));
  const std::string id = mark.id;
  co_return co_await name_resolved(std::move(mark), *resolved, id);
}

io::Task<Result<Mark>> Group::name_resolved(format::MarkRecord mark, ResolvedPoint target, std::string id) {
  format::ControlRecord record = record_of(std::move(mark), target);
  co_return co_await record_mark(std::move(record), id);
}

io::Task<Result<LogId>> Group::switch_log(bool started) {
  auto guard = co_await core_.command_mutex.lock();
  TM_CO_TRY(core_.check_accepting());
  if (started != core_.state.log_started().is_none()) co_return core_.state.log_started();
  format::ControlRecord record = format::LogSwitched{started};
  TM_CO_TRY_ASSIGN(const journal::Appended appended, co_await core_.append_control(std::move(record)));
  // The floor would pass a beginning that is not kept; an end counts when it is durable.
  const bool begins = started && core_.follow_log_switch();
  TM_CO_TRY(co_await wait_durable(appended.ticket));
  if (core_.follow_log_switch() || begins) TM_CO_TRY(co_await core_.save_local());
  core_.floor_wanted.wake_all();
  co_return appended.id;
}

io::Task<Result<Mark>> Group::change_mark(std::string id, format::MarkAction action) {
  auto guard = co_await core_.command_mutex.lock();
  TM_CO_TRY(core_.check_accepting());
  const Mark* mark = core_.state.find_mark(id);
  if (mark == nullptr) {
    co_return fail(ErrorCode::kNotFound, "group '" + core_.name() + "' has no mark '" + printable(id, 140) +
                                             "'; " + points_.hint());
  }
  if (action == format::MarkAction::kDelete && mark->held) {
    co_return fail(ErrorCode::kRefused, "mark '" + id +
                                            "' is held; let go of it first with `tidemark mark release " +
                                            core_.name() + " " + id + "`");
  }
  // The floor stays below the mark while the entry that holds it waits for room.
  PointPin pin;
  if (action == format::MarkAction::kHold) {
    TM_CO_TRY(core_.check_readable(mark->at));
    pin = PointPin(&core_, mark->at);
  }
  format::ControlRecord record = record_of(id, action);
  co_return co_await record_mark(std::move(record), id);
}

// ---- Restore and branches ----

io::Task<Result<RestorePlan>> Group::plan_restore(std::string point, bool before) {
  auto target = co_await points_.resolve(point, before);
  if (!target.ok()) co_return std::move(target).error();
  RestorePlan plan;
  plan.target = *target;
  plan.from.at = core_.head();
  const index::EpochInfo* live = core_.state.epochs().find(core_.live_epoch);
  plan.from.timer = live->last_timer;
  plan.shape_now = core_.state.shape_at(plan.from.at);
  plan.shape_target = core_.state.shape_at(plan.target.at);
  const LogId common = core_.state.epochs().common_ancestor(plan.from.at, plan.target.at);
  for (const index::PathStep& step : core_.state.epochs().path(plan.from.at, common).steps) {
    plan.entries_left += step.last_sequence - step.first_sequence + 1;
  }
  for (const auto& [id, mark] : core_.state.marks()) {
    const bool on_live = core_.state.epochs().is_ancestor(mark.at, plan.from.at);
    if (on_live && !core_.state.epochs().is_ancestor(mark.at, plan.target.at)) plan.marks_left.push_back(id);
  }
  co_return plan;
}

io::Task<Result<journal::Appended>> Group::restore(RestorePlan plan, format::EpochReason reason) {
  auto guard = co_await core_.command_mutex.lock();
  if (core_.local.role == Role::kPrimary) {
    TM_CO_TRY(core_.check_accepting());
  } else if (core_.failure.has_value()) {
    co_return *core_.failure;
  }
  TM_CO_TRY(core_.check_readable(plan.target.at));
  const PointPin pin(&core_, plan.target.at);
  auto appended = co_await core_.open_epoch(plan.target.at, reason, true, journal::Purpose::kRestore);
  if (!appended.ok()) co_return appended;
  TM_CO_TRY(co_await wait_durable(appended->ticket));
  co_return appended;
}

void Group::set_busy(std::optional<Error> reason) {
  core_.busy = std::move(reason);
  core_.changed.wake_all();
}

io::Task<Result<journal::Appended>> Group::begin_refill() {
  auto guard = co_await core_.command_mutex.lock();
  TM_CO_TRY(core_.check_accepting());
  const LogId left = core_.head();
  auto opened =
      co_await core_.open_epoch(left, format::EpochReason::kRefill, true, journal::Purpose::kRestore);
  if (!opened.ok()) co_return opened;
  TM_CO_TRY(co_await wait_durable(opened->ticket));
  co_return opened;
}

io::Task<Result<void>> Group::finish_refill(Epoch epoch, LogId point) {
  auto guard = co_await core_.command_mutex.lock();
  TM_CO_TRY(core_.check_accepting());
  if (core_.live_epoch != epoch) {
    co_return fail(ErrorCode::kRefused, "the group went on in another epoch meanwhile");
  }
  format::ControlRecord record = format::RefillDone{point};
  TM_CO_TRY_ASSIGN(const journal::Appended appended, co_await core_.append_control(std::move(record)));
  co_return co_await wait_durable(appended.ticket);
}

bool Group::refill_is_unfinished() const {
  const index::EpochInfo* live = core_.state.epochs().find(core_.live_epoch);
  return live->reason == format::EpochReason::kRefill && live->complete_from == kSequenceMax;
}

bool Group::base_is_settled() const {
  return !core_.failure.has_value() && core_.local.window_open && core_.local.base_settled;
}

bool Group::is_behind_gap() const {
  return !refill_is_unfinished() && takeover_point() != core_.head();
}

LogId Group::takeover_point() const {
  return core_.newest_whole(core_.head());
}

LogId Group::takeover_point(LogId held) const {
  const LogId whole = core_.newest_whole(held);
  return whole == held || core_.check_readable(whole).ok() ? whole : takeover_point();
}

io::Task<Result<void>> Group::undo_refill() {
  auto guard = co_await core_.command_mutex.lock();
  if (core_.failure.has_value()) co_return *core_.failure;
  const bool ours = core_.local.role == Role::kPrimary && refill_is_unfinished();
  if (!ours) co_return Result<void>{};
  // What came may have filled the journal; going back lets all of it go.
  TM_CO_TRY_ASSIGN(const journal::Appended opened,
                   co_await core_.open_epoch(takeover_point(), format::EpochReason::kRestore, true,
                                             journal::Purpose::kRelease));
  co_return co_await wait_durable(opened.ticket);
}

io::Task<Result<void>> Group::release_branch(Epoch epoch) {
  auto guard = co_await core_.command_mutex.lock();
  const bool follows = core_.local.role == Role::kSecondary && !core_.failure.has_value() && !core_.closing;
  if (!follows) TM_CO_TRY(core_.check_accepting());
  const std::string name = "branch " + std::to_string(epoch.value);
  const index::EpochInfo* info = core_.state.epochs().find(epoch);
  if (info == nullptr) {
    co_return fail(ErrorCode::kNotFound, "group '" + core_.name() + "' has no " + name +
                                             "; see `tidemark branch list " + core_.name() + "`");
  }
  if (core_.state.epochs().is_ancestor(LogId(epoch, 1), core_.head()) && epoch == core_.live_epoch) {
    co_return fail(ErrorCode::kRefused, name + " is the live one of group '" + core_.name() + "'");
  }
  if (const Mark* held = core_.mark_held_on(epoch)) {
    co_return fail(ErrorCode::kRefused, "mark '" + held->id + "' on " + name +
                                            " is held; let go of it first with `tidemark mark release " +
                                            core_.name() + " " + held->id + "`");
  }
  if (follows) co_return co_await release_tail(epoch);
  format::ControlRecord record = format::BranchReleased{epoch};
  TM_CO_TRY_ASSIGN(const journal::Appended appended, co_await core_.append_control(std::move(record)));
  core_.floor_wanted.wake_all();
  TM_CO_TRY(co_await wait_durable(appended.ticket));
  // The entry says it of what both nodes have.
  info = core_.state.epochs().find(epoch);
  if (info != nullptr && info->unreplicated) co_return co_await release_tail(epoch);
  co_return Result<void>{};
}

// What only this node has of a branch, released where no entry can say so: the snapshot of the state does.
io::Task<Result<void>> Group::release_tail(Epoch epoch) {
  index::EpochInfo* info = core_.state.epochs().find(epoch);
  if (!info->unreplicated) {
    co_return fail(ErrorCode::kRefused,
                   "branch " + std::to_string(epoch.value) +
                       " is the primary's too; release it there, and it is released here");
  }
  if (info->released) co_return Result<void>{};
  info->released = true;
  auto saved = co_await core_.save_snapshot();
  if (!saved.ok()) {
    if (index::EpochInfo* still = core_.state.epochs().find(epoch)) still->released = false;
    co_return saved;
  }
  core_.floor_wanted.wake_all();
  core_.changed.wake_all();
  co_return Result<void>{};
}

io::Task<Result<void>> Group::set_exports_closed(bool closed) {
  core_.local.exports_closed = closed;
  co_return co_await core_.save_local();
}

io::Task<Result<bool>> Group::destage_now(bool short_of_space) {
  auto stepped = co_await destager_.step(short_of_space ? Destager::Need::kSpace : Destager::Need::kNone);
  // What a failed flush took of the base, the next one would not tell.
  const bool passes = !stepped.ok() && (stepped.error().code == ErrorCode::kNoSpace ||
                                        (core_.closing && stepped.error().code == ErrorCode::kShutdown));
  if (!stepped.ok() && !passes) core_.stop(stepped.error());
  co_return stepped;
}

std::optional<std::string> Group::alarm() const {
  if (core_.alarm.has_value()) return core_.alarm;
  const auto is_recent = [this](std::optional<MonotonicTime> at, Duration told) {
    return at.has_value() && core_.scheduler().now() - *at <= told;
  };
  if (is_recent(core_.views_given_up_at, kViewsGivenUpTold))
    return "the journal was full: views of its oldest points were given up";
  if (is_recent(core_.index->rebuilt_at(), kIndexRebuiltTold)) {
    return "the version index was damaged and was rebuilt from the journal; the log says what was found, and "
           "the disk of the data folder should be looked at";
  }
  return std::nullopt;
}

std::optional<Duration> Group::shortened_window() const {
  const WallTime now = core_.age_now();
  const Duration retain = core_.local.settings.retain;
  if (!core_.local.window_shortened || retain == Duration{} || core_.local.floor_timer <= now - retain)
    return std::nullopt;
  return now - core_.local.floor_timer;
}

}  // namespace tidemark::group
