// What the pair needs of a group: entries that the other node wrote, the first copy, and turning to another
// epoch.

#include <algorithm>

#include "base/crc32c.h"
#include "group/group.h"

namespace tidemark::group {

io::Task<Result<void>> Group::save_pair(std::vector<std::byte> record, Role role, LogId peer_has) {
  core_.local.pair = std::move(record);
  core_.local.role = role;
  core_.local.peer_has = peer_has;
  core_.changed.wake_all();
  co_return co_await core_.save_local();
}

void Group::hold_back(std::optional<Error> reason) {
  core_.held_back = std::move(reason);
  core_.changed.wake_all();
  if (core_.held_back.has_value()) core_.space_freed.wake_all();
}

io::Task<void> Group::finish_commands() {
  auto guard = co_await core_.command_mutex.lock();
}

io::Task<void> Group::wait_while_busy(Duration limit) {
  const MonotonicTime due = core_.scheduler().now() + limit;
  while (held_back().has_value() && held_back()->code == ErrorCode::kBusy && !core_.closing &&
         core_.scheduler().now() < due) {
    (void)co_await core_.changed.wait_until(due);
  }
}

Result<void> Group::check_received(const format::BatchMeta& meta) const {
  if (core_.failure.has_value()) return *core_.failure;
  if (core_.closing) return fail(ErrorCode::kShutdown, "group '" + core_.name() + "' is closing");
  const LogId first = meta.first;
  const index::EpochInfo* known = core_.state.epochs().find(first.epoch());
  if (known != nullptr) {
    const bool continues = is_of_order(meta.group, identity()) && known->identity == meta.epoch_identity &&
                           first == known->last.next() && first.epoch() == core_.live_epoch;
    if (continues) return {};
  } else if (is_of_order(meta.group, identity()) && first.sequence() == 1) {
    TM_TRY_ASSIGN(const format::ControlRecord record, format::decode_control(meta.entries.front().body));
    const auto* opened = std::get_if<format::EpochOpened>(&record);
    if (opened == nullptr) {
      return fail(ErrorCode::kInvalid, "an epoch does not begin with the entry that opens it");
    }
    const LogId parent = opened->parent;
    if (!core_.state.epochs().is_ancestor(core_.local.floor, parent)) {
      return fail(ErrorCode::kExpired,
                  "the peer restored to log:" + parent.to_string() +
                      ", which is below the floor here, log:" + core_.local.floor.to_string());
    }
    // Behind a gap that is not yet whole the order may go on in another epoch; anything else stands on what
    // was never here.
    const bool goes_on = core_.state.epochs().is_ancestor(core_.local.skipped_to, parent) &&
                         parent == core_.head() && !core_.local.skipped_to.is_none();
    if (goes_on || core_.newest_whole(parent) == parent) return {};
    return fail(ErrorCode::kInGap,
                "the peer restored to log:" + parent.to_string() + ", which lies in a gap here");
  }
  return fail(ErrorCode::kInvalid, "a batch from log:" + first.to_string() +
                                       " does not continue what group '" + core_.name() +
                                       "' holds up to log:" + core_.head().to_string());
}

// Bodies and blocks are checked before anything is appended: a batch is taken whole or not at all.
Result<void> Group::check_contents(const format::BatchMeta& meta, Bytes payload) const {
  for (const format::Entry& entry : meta.entries) {
    if (entry.kind == format::EntryKind::kMark) {
      TM_TRY_ASSIGN(const format::MarkRecord mark, format::decode_mark(entry.body));
    } else if (entry.kind == format::EntryKind::kControl) {
      TM_TRY_ASSIGN(const format::ControlRecord record, format::decode_control(entry.body));
    }
    for (std::size_t i = 0; i < entry.checksums.size(); ++i) {
      const Bytes block = payload.subspan((entry.payload_block + i) * kBlockSizeBytes, kBlockSizeBytes);
      if (crc32c(block) != entry.checksums[i]) {
        return fail(ErrorCode::kDamaged,
                    "a block of the batch from log:" + meta.first.to_string() + " was damaged on its way");
      }
    }
  }
  return {};
}

io::Task<Result<void>> Group::append_received(format::BatchMeta meta, std::vector<std::byte> encoded_meta,
                                              Buffer payload) {
  auto guard = co_await core_.command_mutex.lock();
  TM_CO_TRY(check_received(meta));
  TM_CO_TRY(check_contents(meta, payload));
  const index::EpochInfo* known = core_.state.epochs().find(meta.first.epoch());
  if (known != nullptr) {
    // The same log ids could carry another history, were one of the two nodes a copy that went its own way.
    const LogId last = known->last;
    TM_CO_TRY_ASSIGN(const std::uint32_t expected, co_await core_.checksum_at(last));
    if (expected != meta.parent_checksum) {
      co_return fail(ErrorCode::kInvalid, "the batch from log:" + meta.first.to_string() +
                                              " follows another history than group '" + core_.name() +
                                              "' holds");
    }
  }
  const auto meta_bytes = static_cast<std::uint32_t>(encoded_meta.size());
  while (true) {
    auto room = co_await core_.journal->make_room_for_batch(meta.payload_blocks, meta_bytes);
    if (room.ok()) break;
    if (room.error().code != ErrorCode::kNoSpace) {
      core_.stop(room.error());
      co_return room;
    }
    TM_CO_TRY(co_await core_.wait_for_space());
  }
  // The floor may have risen while room was made. Nothing is awaited from here to the switch.
  TM_CO_TRY(check_received(meta));
  std::vector<Buffer> pieces;
  if (!payload.empty()) pieces.push_back(std::move(payload));
  const journal::Appended appended =
      core_.journal->append_batch(meta, std::move(encoded_meta), std::move(pieces));
  const bool opens = core_.state.epochs().find(meta.first.epoch()) == nullptr;
  TM_CO_TRY(core_.state.apply(meta));
  index_batch(meta, appended.place);
  if (opens) {
    core_.live_epoch = meta.first.epoch();
    core_.update_live_path();
  }
  // A start learns it from the entry or from the snapshot; until then every record that is saved says it.
  if (core_.follow_log_switch()) core_.floor_wanted.wake_all();
  const bool shape_may_have_changed =
      std::any_of(meta.entries.begin(), meta.entries.end(),
                  [](const format::Entry& e) { return e.kind == format::EntryKind::kControl; });
  core_.changed.wake_all();
  if (shape_may_have_changed) {
    // The order has the volume by now: without a unit for it nothing more may come.
    auto settled = co_await core_.settle_volumes(false);
    if (!settled.ok()) {
      core_.stop(settled.error());
      co_return settled;
    }
  }
  co_return Result<void>{};
}

void Group::set_peer_gives_way(bool gives_way) {
  core_.peer_gives_way = gives_way;
  core_.floor_wanted.wake_all();
}

io::Task<Result<void>> Group::write_copy(VolumeId id, BlockRange blocks, Buffer data) {
  // While it is held no volume goes.
  auto guard = co_await core_.base_mutex.lock();
  Volume* volume = core_.find_volume(id);
  // Deleted since, and this node's floor has passed that already: nothing of it can be read any more.
  const bool was_known = id < core_.state.next_volume_id();
  if (volume == nullptr && was_known && !core_.state.volume_may_be_read(id, core_.local.floor)) {
    co_return Result<void>{};
  }
  if (volume == nullptr || blocks.end > volume->base->record().size_bytes / kBlockSizeBytes) {
    co_return fail(ErrorCode::kInvalid,
                   "a copied range lies outside the volumes of group '" + core_.name() + "'");
  }
  core_.context.cache.erase_base(volume->number_in_cache, blocks.begin, blocks.end);
  if (data.empty()) co_return co_await volume->base->discard(blocks);
  TM_CO_TRY(co_await volume->base->reserve(blocks));
  std::vector<std::uint32_t> checksums;
  for (std::uint64_t i = 0; i < blocks.count(); ++i) {
    checksums.push_back(crc32c(Bytes(data).subspan(i * kBlockSizeBytes, kBlockSizeBytes)));
  }
  co_return co_await volume->base->write(blocks, std::move(data), std::move(checksums));
}

// What was written before a write or a flush that failed may be gone, though a later flush finds nothing to
// do: a group that has stopped counts on nothing until it is opened again.
io::Task<Result<void>> Group::flush_copy() {
  if (core_.failure.has_value()) co_return *core_.failure;
  auto guard = co_await core_.base_mutex.lock();
  for (auto& [id, volume] : core_.volumes) {
    auto flushed = co_await volume->base->flush();
    if (!flushed.ok()) core_.stop(flushed.error());
  }
  if (core_.failure.has_value()) co_return *core_.failure;
  co_return Result<void>{};
}

io::Task<Result<void>> Group::note_copied(VolumeId volume, std::uint64_t bytes) {
  TM_CO_TRY(co_await flush_copy());
  core_.local.copied_volume = volume;
  core_.local.copied_bytes = bytes;
  co_return co_await core_.save_local();
}

io::Task<Result<void>> Group::open_window(LogId point) {
  auto guard = co_await core_.command_mutex.lock();
  if (!core_.state.epochs().is_ancestor(point, core_.head())) {
    co_return fail(ErrorCode::kInvalid,
                   "the copy ended at log:" + point.to_string() + ", which is not held here");
  }
  TM_CO_TRY(co_await flush_copy());
  TM_CO_TRY_ASSIGN(const WallTime timer, co_await points_.timer_at(point));
  // Below this point the base mixes the moments at which its chunks were read. What came after it meanwhile
  // may have been destaged already.
  if (core_.state.epochs().is_ancestor(core_.local.floor, point)) {
    core_.local.floor = point;
    core_.local.floor_timer = timer;
  }
  if (core_.local.floor != core_.local.destaged) core_.local.base_settled = false;
  core_.local.window_start = point;
  core_.local.window_start_timer = timer;
  core_.local.window_open = true;
  auto saved = co_await core_.save_snapshot();
  core_.changed.wake_all();
  co_return saved;
}

io::Task<Result<void>> Group::open_epoch_for_resync() {
  auto guard = co_await core_.command_mutex.lock();
  if (core_.failure.has_value()) co_return *core_.failure;
  if (core_.closing) co_return fail(ErrorCode::kShutdown, "group '" + core_.name() + "' is closing");
  // Whoever lets go of the peer for want of space waits for the command that this is part of.
  const bool waits = core_.local.peer_has.is_none();
  auto opened = co_await core_.open_epoch(core_.head(), format::EpochReason::kResync, waits);
  if (!opened.ok()) co_return std::move(opened).error();
  co_return Result<void>{};
}

io::Task<Result<void>> Group::skip_to(GroupState primary, LogId start, std::uint32_t checksum) {
  auto guard = co_await core_.command_mutex.lock();
  if (core_.failure.has_value()) co_return *core_.failure;
  if (core_.closing) co_return fail(ErrorCode::kShutdown, "group '" + core_.name() + "' is closing");
  const LogId head = core_.head();
  TM_CO_TRY_ASSIGN(const std::uint32_t head_checksum, co_await core_.checksum_at(head));
  const GroupState state_before = core_.state;
  const LocalRecord local_before = core_.local;
  const Epoch live_before = core_.live_epoch;
  const std::shared_ptr<const index::Path> path_before = core_.live_path;
  GroupState merged = core_.state;
  TM_CO_TRY(merged.skip_to(std::move(primary), start));
  if (!merged.epochs().is_ancestor(core_.local.floor, start)) {
    co_return fail(ErrorCode::kExpired, "the primary went on from a point below the floor of group '" +
                                            core_.name() + "' here, log:" + core_.local.floor.to_string());
  }
  for (const index::PathStep& step : path_before->steps) {
    if (merged.epochs().is_ancestor(LogId(step.epoch, 1), start)) continue;
    index::EpochInfo* left = merged.epochs().find(step.epoch);
    left->abandoned = left->unreplicated = true;
  }
  const index::EpochInfo live = *merged.epochs().find(start.epoch());
  // Nothing is awaited between the switch of the state and that of the journal.
  core_.state = std::move(merged);
  core_.live_epoch = start.epoch();
  core_.local.skipped_before = local_before.skipped_to;
  core_.local.skipped_before_checksum = local_before.skipped_to_checksum;
  core_.local.skipped_to = start;
  core_.local.skipped_to_checksum = checksum;
  core_.journal->begin_epoch(live.identity, start.next(), checksum, live.last_timer);
  core_.update_live_path();
  (void)core_.follow_log_switch();
  // First what stands for the batch that never came: a start that finds the snapshot asks for it, whoever
  // writes it meanwhile. One that does not goes back to the gap before.
  Result<void> saved = co_await core_.save_local();
  if (saved.ok()) saved = co_await core_.settle_volumes(false);
  if (saved.ok()) saved = co_await core_.save_snapshot();
  if (!saved.ok() && !core_.failure.has_value()) {
    // A logical unit that was made stays for the next try.
    core_.state = state_before;
    core_.local.skipped_to = local_before.skipped_to;
    core_.local.skipped_to_checksum = local_before.skipped_to_checksum;
    core_.local.skipped_before = local_before.skipped_before;
    core_.local.skipped_before_checksum = local_before.skipped_before_checksum;
    core_.local.log_kept_from = local_before.log_kept_from;
    const index::EpochInfo* live_again = core_.state.epochs().find(live_before);
    core_.journal->begin_epoch(live_again->identity, head.next(), head_checksum, live_again->last_timer);
    core_.live_epoch = live_before;
    core_.update_live_path();
    // Of what others may have saved meanwhile.
    (void)co_await core_.save_snapshot();
  }
  core_.changed.wake_all();
  co_return saved;
}

io::Task<Result<void>> Group::end_gap(LogId point) {
  auto guard = co_await core_.command_mutex.lock();
  const index::EpochTree& epochs = core_.state.epochs();
  if (!epochs.is_ancestor(point, core_.head()) || !epochs.is_ancestor(core_.local.skipped_to, point)) {
    co_return fail(ErrorCode::kInvalid,
                   "the resync ended at log:" + point.to_string() + ", which is not held here");
  }
  if (core_.newest_whole(point) == point) co_return Result<void>{};
  // Nobody is shown the point before it would outlive a crash.
  {
    struct Ending {
      LogId& at;
      Ending(LogId& a, LogId point) : at(a) { at = point; }
      Ending(const Ending&) = delete;
      Ending& operator=(const Ending&) = delete;
      ~Ending() { at = LogId(); }
    };
    const Ending ending(core_.gap_ends_at, point);
    TM_CO_TRY(co_await core_.save_snapshot());
  }
  core_.state.epochs().find(point.epoch())->complete_from = point.sequence();
  core_.floor_wanted.wake_all();
  core_.changed.wake_all();
  co_return Result<void>{};
}

io::Task<Result<void>> Group::write_again(VolumeId volume, BlockRange blocks, Buffer data, LogId since) {
  const auto count =
      static_cast<std::uint32_t>(std::min<std::uint64_t>(blocks.count(), core_.journal->entry_blocks_max()));
  while (true) {
    if (core_.sequence_is_exhausted()) TM_CO_TRY(co_await core_.renew_epoch());
    // Space is waited for before the lock: a restore must not wait behind this.
    TM_CO_TRY(co_await core_.make_room(count, 0, journal::Purpose::kData));
    // Neither a restore nor a deletion of the volume comes between.
    auto guard = co_await core_.command_mutex.lock();
    if (held_back().has_value()) co_return *held_back();
    if (!core_.state.epochs().is_ancestor(since, core_.head())) {
      co_return fail(ErrorCode::kRefused, "group '" + core_.name() + "' was restored to before log:" +
                                              since.to_string() + " meanwhile");
    }
    const std::vector<VolumeShape> shapes = volumes();
    const auto shape = std::find_if(shapes.begin(), shapes.end(),
                                    [&](const VolumeShape& known) { return known.id == volume; });
    const std::uint64_t size_blocks = shape == shapes.end() ? 0 : shape->size_bytes / kBlockSizeBytes;
    if (blocks.begin >= size_blocks) {
      co_return fail(ErrorCode::kNotFound, "the volume was deleted or made smaller");
    }
    // What is beyond the end by now is nobody's.
    blocks.end = std::min(blocks.end, size_blocks);
    if (!data.empty()) data = data.slice(0, blocks.count() * kBlockSizeBytes);
    auto written = co_await data_.write_again(volume, blocks, data, since);
    if (written.ok() || written.error().code != ErrorCode::kBusy) co_return written;
  }
}

io::Task<Result<void>> Group::note_comparison(LogId point, std::uint64_t differing_bytes,
                                              std::uint64_t repaired_bytes) {
  core_.local.compared_at = core_.context.environment.clock.now();
  core_.local.compared_point = point;
  core_.local.compared_differing_bytes = differing_bytes;
  core_.local.compared_repaired_bytes = repaired_bytes;
  auto saved = co_await core_.save_local();
  core_.changed.wake_all();
  co_return saved;
}

io::Task<Result<Mark>> Group::add_provisional_mark(format::MarkRecord record, LogId at) {
  TM_CO_TRY(validate_mark(record));
  TM_CO_TRY(co_await core_.journal->wait_durable(core_.journal->last_ticket()));
  auto guard = co_await core_.command_mutex.lock();
  TM_CO_TRY(check_mark_id(record.id));
  TM_CO_TRY(core_.check_readable(at));
  TM_CO_TRY_ASSIGN(const WallTime timer, co_await points_.timer_at(at));
  Mark mark;
  mark.id = record.id;
  mark.at = mark.entry = at;
  mark.timer = timer;
  mark.host_time = record.host_time;
  mark.host = record.host;
  mark.note = record.note;
  mark.provisional = true;
  core_.state.add_provisional(mark);
  auto saved = co_await core_.save_snapshot();
  if (!saved.ok()) {
    core_.state.drop_provisional(mark.id);
    co_return saved.error();
  }
  core_.changed.wake_all();
  co_return mark;
}

io::Task<Result<void>> Group::drop_provisional_mark(std::string id) {
  auto guard = co_await core_.command_mutex.lock();
  core_.state.drop_provisional(id);
  core_.changed.wake_all();
  co_return co_await core_.save_snapshot();
}

std::vector<Mark> Group::provisional_marks() const {
  std::vector<Mark> out;
  for (const auto& [id, mark] : core_.state.marks()) {
    if (mark.provisional) out.push_back(mark);
  }
  return out;
}

// The mark that an earlier answer to the same question made, under its id or the one set aside.
const Mark* Group::find_adopted(const format::MarkRecord& record, LogId at, const std::string& aside) const {
  for (const std::string* id : {&record.id, &aside}) {
    const Mark* known = core_.state.find_mark(*id);
    const bool same = known != nullptr && known->at == at && known->host_time == record.host_time;
    if (same && !known->provisional) return known;
  }
  return nullptr;
}

io::Task<Result<Mark>> Group::adopt_mark(format::MarkRecord record, LogId at) {
  auto guard = co_await core_.command_mutex.lock();
  TM_CO_TRY(core_.check_accepting());
  TM_CO_TRY(core_.check_readable(at));
  const std::string aside = record.id + "~" + std::to_string(at.epoch().value);
  if (const Mark* adopted = find_adopted(record, at, aside)) co_return *adopted;
  const Mark* known = core_.state.find_mark(record.id);
  if (known != nullptr && !known->provisional) record.id = aside;
  TM_CO_TRY(format::validate_known_mark_id(record.id));
  if (record.id == aside && core_.state.find_mark(aside) != nullptr) {
    co_return fail(ErrorCode::kExists,
                   "group '" + core_.name() + "' has other marks by the ids of '" + record.id + "'");
  }
  TM_CO_TRY_ASSIGN(const WallTime timer, co_await points_.timer_at(at));
  const std::string id = record.id;
  ResolvedPoint target;
  target.at = at;
  target.timer = timer;
  co_return co_await name_resolved(std::move(record), target, id);
}

io::Task<Result<void>> Group::leave_tail(LogId point) {
  auto guard = co_await core_.command_mutex.lock();
  const index::EpochTree& epochs = core_.state.epochs();
  const index::EpochInfo* common = epochs.find(point.epoch());
  if (common == nullptr || common->last < point) {
    co_return fail(ErrorCode::kInvalid, "group '" + core_.name() + "' never had log:" + point.to_string());
  }
  if (!epochs.is_ancestor(core_.local.floor, point)) {
    co_return fail(ErrorCode::kExpired, "group '" + core_.name() +
                                            "' no longer holds log:" + point.to_string() +
                                            "; its floor is log:" + core_.local.floor.to_string());
  }
  std::vector<index::EpochInfo> before;
  for (const index::PathStep& step : epochs.path(core_.head(), core_.local.floor, true).steps) {
    index::EpochInfo* left = core_.state.epochs().find(step.epoch);
    if (epochs.is_ancestor(left->last, point)) continue;
    before.push_back(*left);
    left->unreplicated = true;
    left->abandoned = !epochs.is_ancestor(LogId(step.epoch, 1), point);
  }
  auto saved = co_await core_.save_snapshot();
  if (!saved.ok()) {
    for (const index::EpochInfo& was : before) {
      index::EpochInfo* left = core_.state.epochs().find(was.number);
      left->unreplicated = was.unreplicated;
      left->abandoned = was.abandoned;
    }
  }
  core_.changed.wake_all();
  co_return saved;
}

io::Task<Result<void>> Group::continue_epoch(LogId point, std::uint32_t checksum, bool mark_abandoned) {
  auto guard = co_await core_.command_mutex.lock();
  index::EpochInfo* target = core_.state.epochs().find(point.epoch());
  if (target == nullptr || target->last != point ||
      !core_.state.epochs().is_ancestor(core_.local.floor, point)) {
    co_return fail(ErrorCode::kInvalid,
                   "group '" + core_.name() + "' cannot go on after log:" + point.to_string());
  }
  const LogId head = core_.head();
  TM_CO_TRY_ASSIGN(const std::uint32_t head_checksum, co_await core_.checksum_at(head));
  target = core_.state.epochs().find(point.epoch());
  // Everything that was live here and is not on the way to the point is a dead branch now, kept until
  // released.
  std::vector<index::EpochInfo> before;
  for (const index::PathStep& step : core_.live_path->steps) {
    if (core_.state.epochs().is_ancestor(LogId(step.epoch, 1), point)) continue;
    index::EpochInfo* left = core_.state.epochs().find(step.epoch);
    before.push_back(*left);
    left->abandoned = mark_abandoned;
    left->unreplicated = true;
  }
  core_.journal->begin_epoch(target->identity, point.next(), checksum, target->last_timer);
  core_.live_epoch = point.epoch();
  core_.update_live_path();
  auto saved = co_await core_.save_snapshot();
  if (!saved.ok() && !core_.failure.has_value()) {
    // Nothing of it is on disk: what is written next must not be numbered in the other node's epoch.
    for (const index::EpochInfo& info : before) *core_.state.epochs().find(info.number) = info;
    const index::EpochInfo* live = core_.state.epochs().find(head.epoch());
    core_.journal->begin_epoch(live->identity, head.next(), head_checksum, live->last_timer);
    core_.live_epoch = head.epoch();
    core_.update_live_path();
  }
  core_.changed.wake_all();
  co_return saved;
}

}  // namespace tidemark::group
