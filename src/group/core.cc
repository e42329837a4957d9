#include "group/core.h"

#include <algorithm>
#include <utility>

namespace tidemark::group {
namespace {

// Whether the entry lets space be freed: a journal that is full must still take it.
bool lets_go(const GroupState& state, const format::ControlRecord& record) {
  if (const auto* released = std::get_if<format::BranchReleased>(&record)) {
    const index::EpochInfo* info = state.epochs().find(released->epoch);
    return info != nullptr && !info->released;
  }
  const auto* changed = std::get_if<format::MarkChanged>(&record);
  if (changed == nullptr || changed->action == format::MarkAction::kHold) return false;
  const Mark* mark = state.find_mark(changed->id);
  return mark != nullptr && mark->held;
}

}  // namespace

journal::NewEntry entry_with_body(format::EntryKind kind, std::vector<std::byte> body) {
  return {.kind = kind, .body = std::move(body)};
}

Core::Core(GroupContext group_context, std::unique_ptr<journal::Journal> opened_journal,
           LuNumber log_volume_number)
    : context(std::move(group_context)),
      journal(std::move(opened_journal)),
      log_volume(log_volume_number),
      live_path(std::make_shared<index::Path>()),
      space_freed(context.environment.scheduler),
      floor_wanted(context.environment.scheduler),
      changed(context.environment.scheduler),
      peer_gate(context.environment.scheduler),
      reads_ended(context.environment.scheduler),
      phase_mutex(context.environment.scheduler),
      command_mutex(context.environment.scheduler),
      settle_mutex(context.environment.scheduler),
      base_mutex(context.environment.scheduler) {}

io::Task<void> Core::flip_phase() {
  auto guard = co_await phase_mutex.lock();
  const unsigned old_phase = phase;
  phase = 1 - phase;
  while (reads_in_phase[old_phase] > 0) co_await reads_ended.wait();
}

void Core::update_live_path() {
  live_path = std::make_shared<const index::Path>(state.epochs().path(head(), local.destaged, true));
}

std::shared_ptr<const index::Path> Core::path_to(LogId point) const {
  return std::make_shared<const index::Path>(state.epochs().path(point, local.destaged));
}

Result<void> Core::check_readable(LogId point) const {
  TM_TRY(check_comparable(point));
  const LogId whole = newest_whole(point);
  if (whole == point) return {};
  const std::string name = "log:" + point.to_string();
  const index::EpochInfo* info = state.epochs().find(point.epoch());
  if (info->reason == format::EpochReason::kRefill && point.sequence() < info->complete_from) {
    return fail(ErrorCode::kInGap,
                "point " + name + " lies inside a restore from the other node, which " +
                    (info->complete_from == kSequenceMax
                         ? std::string("is not complete")
                         : "was complete at log:" + LogId(point.epoch(), info->complete_from).to_string()));
  }
  const LogId after = whole_after(point);
  return fail(ErrorCode::kInGap,
              "point " + name +
                  " lies in a gap: this node does not have what came after log:" + whole.to_string() +
                  (after.is_none() ? ", and a resync that is to bring what differs is not complete"
                                   : ", and is whole again from log:" + after.to_string() + " on") +
                  "; the other node may hold it");
}

void Core::forget_skip_without_state() {
  const index::EpochInfo* info = state.epochs().find(local.skipped_to.epoch());
  if (info != nullptr && local.skipped_to.sequence() <= info->last.sequence()) return;
  local.skipped_to = local.skipped_before;
  local.skipped_to_checksum = local.skipped_before_checksum;
}

LogId Core::whole_after(LogId point) const {
  LogId found;
  for (LogId at = head(); at.epoch() > point.epoch() || at == head();) {
    const index::EpochInfo* info = state.epochs().find(at.epoch());
    if (info == nullptr) break;
    const bool ends_gap = info->complete_from > 0 && info->complete_from <= at.sequence();
    const LogId whole(at.epoch(), info->complete_from);
    if (ends_gap && state.epochs().is_ancestor(point, whole)) found = whole;
    if (info->parent.epoch() == at.epoch()) break;
    at = info->parent;
  }
  return found;
}

Result<void> Core::check_comparable(LogId point) const {
  const std::string name = "log:" + point.to_string();
  if (!local.window_open) {
    return fail(ErrorCode::kInGap, "group '" + local.name +
                                       "' has no readable point yet: its first copy is still running; see "
                                       "`tidemark pair status " +
                                       local.name + "`");
  }
  const index::EpochInfo* info = state.epochs().find(point.epoch());
  if (info == nullptr) {
    return fail(ErrorCode::kNotFound, "point " + name + " is unknown: group '" + local.name +
                                          "' has no epoch " + std::to_string(point.epoch().value));
  }
  if (point.sequence() > info->last.sequence()) {
    if (state.epochs().has_gap_after(point.epoch())) {
      return fail(ErrorCode::kInGap,
                  "point " + name + " lies in a gap: of its epoch this node has " +
                      (info->last.sequence() > 0 ? "nothing after log:" + info->last.to_string()
                                                 : std::string("nothing")) +
                      "; the other node may hold it");
    }
    return fail(
        ErrorCode::kNotReceived,
        "point " + name + " is beyond the last entry of its epoch here, log:" + info->last.to_string());
  }
  if (!state.epochs().is_ancestor(local.floor, point)) {
    if (!local.window_start.is_none() && !state.epochs().is_ancestor(local.window_start, point)) {
      return fail(ErrorCode::kInGap, "point " + name +
                                         " was never held here: the window of this node opened at log:" +
                                         local.window_start.to_string() + "; the other node may hold it");
    }
    return fail(ErrorCode::kExpired,
                "point " + name +
                    " has expired; the oldest readable point is the floor, log:" + local.floor.to_string());
  }
  if (is_released(point)) {
    return fail(ErrorCode::kExpired, "point " + name + " lies on branch " +
                                         std::to_string(point.epoch().value) + ", which was released");
  }
  return {};
}

bool Core::is_released(LogId point) const {
  const index::EpochTree& epochs = state.epochs();
  if (!epochs.find(point.epoch())->released || epochs.is_ancestor(point, head())) return false;
  // A node that was turned goes on from the point that it is held to be at, before anything has come after
  // it.
  const bool was_turned = local.role == Role::kSecondary && epochs.find(local.peer_has.epoch()) != nullptr;
  if (was_turned && epochs.is_ancestor(point, local.peer_has)) return false;
  for (const auto& [number, info] : epochs.all()) {
    if (!info.released && epochs.is_ancestor(point, info.last)) return false;
  }
  return std::none_of(state.marks().begin(), state.marks().end(), [&](const auto& mark) {
    return mark.second.held && epochs.is_ancestor(point, mark.second.at);
  });
}

bool Core::waits_to_be_destaged(LogId id) const {
  const index::EpochTree& epochs = state.epochs();
  return epochs.is_ancestor(id, local.floor) && !epochs.is_ancestor(id, local.destaged) &&
         epochs.newest_whole(id, local.destaged) == id;
}

const Mark* Core::mark_held_on(Epoch epoch) const {
  for (const auto& [id, mark] : state.marks()) {
    if (mark.held && mark.at.epoch() == epoch && !state.epochs().is_ancestor(mark.at, head())) return &mark;
  }
  return nullptr;
}

Volume* Core::find_volume(VolumeId id) {
  const auto at = volumes.find(id);
  return at == volumes.end() ? nullptr : at->second.get();
}

std::uint64_t Core::blocks_at_head(const Volume& volume) {
  if (find_volume(volume.id) != &volume) return 0;
  if (head_shape.epoch != live_epoch || head_shape.changes != state.shape_changes()) {
    head_shape.epoch = live_epoch;
    head_shape.changes = state.shape_changes();
    head_shape.blocks.clear();
    for (const VolumeShape& shape : state.shape_at(head()))
      head_shape.blocks[shape.id] = shape.size_bytes / kBlockSizeBytes;
  }
  const auto at = head_shape.blocks.find(volume.id);
  return at == head_shape.blocks.end() ? 0 : at->second;
}

void Core::stop(const Error& error) {
  if (failure.has_value()) return;
  failure = error;
  // The peer is sent nothing more: nobody need wait for it.
  peer_gate.end(check_accepting().error());
  space_freed.wake_all();
  floor_wanted.wake_all();
  changed.wake_all();
}

Result<void> Core::check_accepting() const {
  if (const std::optional<Error>& why = failure.has_value() ? failure : journal->failed(); why.has_value()) {
    return fail(why->code, "group '" + local.name + "' has stopped: " + why->message +
                               "; restart the node to reopen it from what is on disk");
  }
  if (closing) return fail(ErrorCode::kShutdown, "group '" + local.name + "' is closing");
  if (held_back.has_value()) return *held_back;
  if (local.role == Role::kSecondary) {
    return fail(ErrorCode::kReadOnly, "group '" + local.name +
                                          "' is the secondary of its pair here; say it on the primary, which "
                                          "`tidemark pair status " +
                                          local.name + "` names");
  }
  return {};
}

bool Core::follow_log_switch() {
  const LogId started = state.log_started();
  if (started.is_none() == local.log_kept_from.is_none()) return false;
  if (!started.is_none() && local.role == Role::kPrimary && !local.pair.empty()) return false;
  local.log_kept_from = started;
  return true;
}

io::Task<Result<void>> Core::save_local() {
  std::vector<std::byte> record = local.encode();
  auto saved = co_await journal->save_local_record(std::move(record));
  if (!saved.ok()) stop(saved.error());
  co_return saved;
}

std::vector<std::byte> Core::snapshot_to_save() {
  if (gap_ends_at.is_none()) return encode_snapshot(state, live_epoch, changes);
  std::uint64_t& complete_from = state.epochs().find(gap_ends_at.epoch())->complete_from;
  const std::uint64_t before = std::exchange(complete_from, gap_ends_at.sequence());
  std::vector<std::byte> bytes = encode_snapshot(state, live_epoch, changes);
  complete_from = before;
  return bytes;
}

io::Task<Result<void>> Core::save_snapshot() {
  std::vector<std::byte> bytes = snapshot_to_save();
  auto saved = co_await journal->save_snapshot(std::move(bytes));
  // A snapshot that does not fit for want of space leaves the one before it in force.
  if (!saved.ok()) {
    if (saved.error().code != ErrorCode::kNoSpace) stop(saved.error());
    co_return saved;
  }
  co_return co_await save_local();
}

io::Task<Result<void>> Core::open_volumes() {
  const GroupIdentity group = journal->group();
  for (const pool::LuRecord& unit : context.pools.units()) {
    if (unit.group != group || unit.kind != pool::LuKind::kData || unit.volume.value == 0) continue;
    pool::DataVolume* base = context.pools.data_volume(unit.number);
    Volume* other = find_volume(unit.volume);
    if (other == nullptr) {
      volumes[unit.volume] = std::make_shared<Volume>(context, unit.volume, unit.number, base);
      continue;
    }
    // Of a creation that was cut off nothing was ever written.
    const bool is_empty = base->allocated_bytes() == 0;
    if (!is_empty && other->base->allocated_bytes() != 0) {
      co_return fail(ErrorCode::kDamaged,
                     "volume " + std::to_string(unit.volume.value) + " of group '" + name() +
                         "' lies in the logical units " + std::to_string(other->lu.value) + " and " +
                         std::to_string(unit.number.value) + ", and both hold something");
    }
    const LuNumber gone = is_empty ? unit.number : other->lu;
    if (!is_empty) {
      volumes[unit.volume] = std::make_shared<Volume>(context, unit.volume, unit.number, base);
    }
    TM_CO_TRY(co_await context.pools.remove(gone));
  }
  for (const auto& [id, size_bytes] : state.sizes_max()) {
    if (find_volume(id) != nullptr || !state.volume_may_be_read(id, local.floor)) continue;
    // A second unit, made because the first is not here, would read as zeroes.
    TM_CO_TRY(context.pools.check_whole());
    const std::vector<VolumeShape> based = state.shape_at(local.destaged);
    if (std::ranges::find(based, id, &VolumeShape::id) != based.end()) {
      co_return fail(ErrorCode::kDamaged, "the logical unit of volume " + std::to_string(id.value) +
                                              " of group '" + name() + "' is on none of this node's disks");
    }
  }
  // All that it held is in the journal then, or was never there.
  if (context.pools.find(local.data_pool) == nullptr && context.pools.check_whole().ok()) {
    local.data_pool = pool::pool_of(log_volume);
    TM_CO_TRY(co_await save_local());
  }
  co_return co_await settle_volumes(true);
}

io::Task<Result<void>> Core::settle_volumes(bool remove_unreadable) {
  auto guard = co_await settle_mutex.lock();
  const GroupIdentity group = journal->group();
  for (const pool::LuRecord& unit : context.pools.units()) {
    if (unit.group != group || unit.kind != pool::LuKind::kData || unit.volume.value == 0) continue;
    if (find_volume(unit.volume) != nullptr) continue;
    volumes[unit.volume] =
        std::make_shared<Volume>(context, unit.volume, unit.number, context.pools.data_volume(unit.number));
  }
  for (const auto& [id, size_bytes] : state.sizes_max()) {
    Volume* volume = find_volume(id);
    if (!state.volume_may_be_read(id, local.floor)) {
      if (volume != nullptr && remove_unreadable) TM_CO_TRY(co_await remove_unit_locked(id));
      continue;
    }
    if (volume == nullptr) {
      TM_CO_TRY(co_await make_unit_locked(id, size_bytes, local.data_pool));
    } else if (volume->base->record().size_bytes < size_bytes) {
      TM_CO_TRY(co_await volume->base->resize(size_bytes));
    }
  }
  co_return Result<void>{};
}

io::Task<Result<void>> Core::make_unit(VolumeId id, std::uint64_t size_bytes, PoolNumber pool) {
  auto guard = co_await settle_mutex.lock();
  // One that a pool holds which is not here is empty, and goes at the start that finds it.
  if (find_volume(id) != nullptr) TM_CO_TRY(co_await remove_unit_locked(id));
  const GroupIdentity group = journal->group();
  for (const pool::LuRecord& unit : context.pools.units()) {
    if (unit.group == group && unit.kind == pool::LuKind::kData && unit.volume == id) {
      TM_CO_TRY(co_await context.pools.remove(unit.number));
    }
  }
  co_return co_await make_unit_locked(id, size_bytes, pool);
}

io::Task<Result<void>> Core::make_units_at(LogId point) {
  const auto is_missing = [this](const VolumeShape& shape) { return find_volume(shape.id) == nullptr; };
  if (std::ranges::none_of(state.shape_at(point), is_missing)) co_return Result<void>{};
  // A second unit, made because the first is not here, would read as zeroes.
  TM_CO_TRY(context.pools.check_whole());
  auto guard = co_await settle_mutex.lock();
  const std::map<VolumeId, std::uint64_t> sizes = state.sizes_max();
  for (const VolumeShape& shape : state.shape_at(point)) {
    if (is_missing(shape))
      TM_CO_TRY(co_await make_unit_locked(shape.id, sizes.at(shape.id), local.data_pool));
  }
  co_return Result<void>{};
}

io::Task<Result<void>> Core::remove_unit(VolumeId id) {
  auto guard = co_await settle_mutex.lock();
  co_return co_await remove_unit_locked(id);
}

io::Task<Result<void>> Core::make_unit_locked(VolumeId id, std::uint64_t size_bytes, PoolNumber pool) {
  TM_CO_TRY_ASSIGN(const LuNumber number,
                   co_await context.pools.create_data_volume(pool, journal->group(), id, size_bytes));
  volumes[id] = std::make_shared<Volume>(context, id, number, context.pools.data_volume(number));
  co_return Result<void>{};
}

io::Task<Result<void>> Core::remove_unit_locked(VolumeId id) {
  const std::shared_ptr<Volume> volume = volumes.at(id);
  {
    // Who writes to the bases, or makes them durable, has them at hand.
    const auto base_guard = co_await base_mutex.lock();
    volumes.erase(id);
  }
  // From here on nobody finds it. Who reads it, or makes its base larger, has found it before.
  co_await flip_phase();
  co_return co_await context.pools.remove(volume->lu);
}

io::Task<Result<void>> Core::make_room(std::uint32_t payload_blocks, std::uint32_t body_bytes,
                                       journal::Purpose purpose, bool waits) {
  while (true) {
    if (failure.has_value()) co_return *failure;
    if (journal->has_room(payload_blocks, body_bytes, purpose)) co_return Result<void>{};
    auto room = co_await journal->make_room(payload_blocks, body_bytes, purpose);
    if (room.ok()) continue;
    if (room.error().code != ErrorCode::kNoSpace) {
      stop(room.error());
      co_return room;
    }
    if (!waits) co_return room;
    TM_CO_TRY(co_await wait_for_space());
  }
}

bool Core::peer_is_behind() const {
  return peer_gives_way && local.role == Role::kPrimary && !local.peer_has.is_none() &&
         local.settings.on_full == OnFull::kDropHistory && local.peer_has != journal->durable();
}

io::Task<Result<void>> Core::wait_for_space() {
  // Two passes of the destager that freed nothing mean that nothing can be. Those with a peer in the way do
  // not count, nor the one in which it was let go of.
  std::uint64_t pass = destage_passes;
  const auto count = [](std::uint32_t* waiting) { --*waiting; };
  ++waiting_for_space;
  // Also when whoever waits is given up.
  const std::unique_ptr<std::uint32_t, decltype(count)> counted(&waiting_for_space, count);
  floor_wanted.wake_all();
  while ((destage_passes < pass + 2 || peer_is_behind()) && !(destage_passes > pass && last_pass_freed) &&
         !failure.has_value() && !closing && !held_back.has_value()) {
    co_await space_freed.wait();
    if (!last_pass_freed && peer_is_behind()) pass = destage_passes;
  }
  if (failure.has_value()) co_return *failure;
  if (closing) co_return fail(ErrorCode::kShutdown, "group '" + local.name + "' is closing");
  if (held_back.has_value()) co_return *held_back;
  if (last_pass_freed) co_return Result<void>{};
  co_return fail(ErrorCode::kNoSpace,
                 "the journal of group '" + local.name +
                     "' is full and nothing in it may be given up; see `tidemark journal status " +
                     local.name +
                     "` for what holds it, release marks or branches, shorten --retain, or add a log volume");
}

io::Task<Result<journal::Appended>> Core::append_control(format::ControlRecord record) {
  std::vector<std::byte> body = format::encode_control(record);
  const auto purpose = lets_go(state, record) ? journal::Purpose::kRelease : journal::Purpose::kControl;
  TM_CO_TRY(co_await make_room(0, static_cast<std::uint32_t>(body.size()), purpose));
  journal::NewEntry entry = entry_with_body(format::EntryKind::kControl, std::move(body));
  journal::Appended appended = journal->append(std::move(entry));
  auto applied = state.apply(appended.id, appended.timer, record);
  TM_ASSERT(applied.ok());
  state.epochs().extend(appended.id, appended.timer);
  changed.wake_all();
  co_return appended;
}

io::Task<Result<journal::StoredBatch>> Core::find_batch(LogId id) {
  auto batch = co_await journal->find(id);
  if (batch.ok() || batch.error().code != ErrorCode::kNotFound) co_return batch;
  // Appended and not durable yet? What the journal cannot keep it does not show.
  auto durable = co_await journal->wait_durable(journal->last_ticket());
  if (!durable.ok()) {
    stop(durable.error());
    co_return std::move(durable).error();
  }
  batch = co_await journal->find(id);
  const bool is_missing = !batch.ok() && batch.error().code == ErrorCode::kNotFound;
  if (is_missing && !waits_to_be_destaged(id)) TM_CO_TRY(check_readable(id));
  if (is_missing && is_skipped(id)) {
    co_return fail(ErrorCode::kInGap, "log entry " + id.to_string() +
                                          " never came: this node went on behind a gap after it; the other "
                                          "node may hold it");
  }
  if (is_missing && !state.epochs().is_ancestor(id, local.destaged)) {
    // A disk that gives an old block of the same place back can make a batch pass unseen.
    co_return fail(ErrorCode::kDamaged, "log entry " + id.to_string() +
                                            " should lie in the journal and was not found there; see "
                                            "`tidemark journal verify " +
                                            local.name + "`");
  }
  co_return batch;
}

io::Task<Result<std::uint32_t>> Core::checksum_at(LogId id) {
  if (id.sequence() == 0) co_return std::uint32_t{0};
  if (id == local.destaged) co_return local.destaged_checksum;
  if (id == local.skipped_to) co_return local.skipped_to_checksum;
  // Two gaps, and nothing that came between them.
  if (id == local.skipped_before) co_return local.skipped_before_checksum;
  if (id == journal->last_appended()) co_return journal->checksum_of_last();
  auto batch = co_await find_batch(id);
  if (!batch.ok()) co_return std::move(batch).error();
  co_return batch->checksum;
}

io::Task<Result<journal::Appended>> Core::open_epoch(LogId parent, format::EpochReason reason, bool waits,
                                                     journal::Purpose purpose) {
  const std::optional<Epoch> number = state.epochs().next_number(local.parity);
  if (!number.has_value()) {
    co_return fail(ErrorCode::kRefused, "group '" + local.name + "' has used all 2^24 epoch numbers");
  }
  const LogId head_before = head();
  TM_CO_TRY(co_await make_units_at(parent));
  TM_CO_TRY_ASSIGN(std::uint32_t parent_checksum, co_await checksum_at(parent));
  const format::EpochOpened record{
      .identity = context.environment.random.identity<EpochIdentity>(), .parent = parent, .reason = reason};
  std::vector<std::byte> body = format::encode_control(record);
  const auto body_bytes = static_cast<std::uint32_t>(body.size());
  do {
    TM_CO_TRY(co_await make_room(0, body_bytes, purpose, waits));
    // The entry begins a batch of its own: room in the one that is open now would not do.
    journal->close_batch();
  } while (!journal->has_room(0, body_bytes, purpose));
  // From here to the switch nothing awaits: no write can slip in between the old epoch and the new one.
  WallTime timer_min{};
  if (const index::EpochInfo* left = state.epochs().find(head_before.epoch())) timer_min = left->last_timer;
  if (parent == head_before && head() != head_before) {
    // Writes went on while room was made; the epoch continues after the newest of them.
    co_return co_await open_epoch(head(), reason, waits, purpose);
  }
  journal->begin_epoch(record.identity, LogId(*number, 1), parent_checksum, timer_min);
  journal::NewEntry entry = entry_with_body(format::EntryKind::kControl, std::move(body));
  journal::Appended appended = journal->append(std::move(entry));
  TM_ASSERT(appended.id == LogId(*number, 1));
  auto applied = state.apply(appended.id, appended.timer, record);
  TM_ASSERT(applied.ok());
  live_epoch = *number;
  update_live_path();
  changed.wake_all();
  // While they were nobody's, the destager may have taken one away again. The epoch is open, so what fails
  // here is for the next step of destaging to make good.
  (void)co_await make_units_at(parent);
  co_return appended;
}

io::Task<Result<void>> Core::renew_epoch() {
  auto guard = co_await command_mutex.lock();
  // Somebody else may have done it while this one waited.
  if (!sequence_is_exhausted()) co_return Result<void>{};
  TM_CO_TRY(check_accepting());
  auto opened = co_await open_epoch(head(), format::EpochReason::kSequenceExhausted);
  if (!opened.ok()) co_return std::move(opened).error();
  co_return Result<void>{};
}

}  // namespace tidemark::group
