// What the node knows, in the words of the control API.

#include <algorithm>

#include "base/log_field.h"
#include "node/node.h"
#include "replication/query.h"

namespace tidemark::node {
namespace {

control::PairState to_api(replication::PairState state) {
  switch (state) {
    case replication::PairState::kSmpl:
      return control::PairState::kSmpl;
    case replication::PairState::kCopy:
      return control::PairState::kCopy;
    case replication::PairState::kPair:
      return control::PairState::kPair;
    case replication::PairState::kPsus:
      return control::PairState::kPsus;
    case replication::PairState::kPsue:
      return control::PairState::kPsue;
    case replication::PairState::kSsws:
      return control::PairState::kSsws;
  }
  return control::PairState::kSmpl;
}

control::OnPeerLoss to_api(format::PeerLoss on_loss) {
  switch (on_loss) {
    case format::PeerLoss::kAsync:
      return control::OnPeerLoss::kAsync;
    case format::PeerLoss::kWait:
      return control::OnPeerLoss::kWait;
    case format::PeerLoss::kFail:
      return control::OnPeerLoss::kFail;
  }
  return control::OnPeerLoss::kAsync;
}

std::string why_not_in_sync(const replication::PairRecord& record) {
  const std::string after = format_duration(record.sync->loss_after);
  switch (record.not_in_sync) {
    case format::NotInSync::kNone:
      return {};
    case format::NotInSync::kCatchingUp:
      return "the secondary has not caught up yet";
    case format::NotInSync::kLinkDown:
      return "the link was down for " + after;
    case format::NotInSync::kNoProgress:
      return "the secondary made no progress for " + after;
    case format::NotInSync::kSuspended:
      return "the pair was suspended";
  }
  return {};
}

// What is said of a pair that is in sync and has lost its secondary.
const char* lost_words(format::PeerLoss on_loss) {
  return on_loss == format::PeerLoss::kFail ? "the secondary is lost, and FLUSH and FUA fail"
                                            : "the secondary is lost, and FLUSH and FUA wait for it";
}

// Suspended, it is told as that.
void add_sync_problem(const std::string& group, const replication::PairStatus& status,
                      const control::PairStatus& pair, std::vector<control::Problem>& out) {
  const replication::PairRecord& record = status.record;
  const bool takes_writes =
      record.state == replication::PairState::kPair || record.state == replication::PairState::kPsue;
  if (!record.sync.has_value() || record.side != replication::Side::kPrimary || !takes_writes) return;
  if (status.sync.lost && record.in_sync()) {
    const std::string words = lost_words(record.sync->on_loss);
    out.push_back({group, words + "; to go on without it:", std::nullopt,
                   "tidemark pair set " + group + " --on-peer-loss async"});
  } else if (!record.in_sync() && record.state == replication::PairState::kPair) {
    out.push_back({group,
                   "the pair is synchronous and goes on as asynchronous: " + pair.sync_reason +
                       "; it is in sync again by itself once " + pair.peer_node + " has caught up",
                   pair.sync_since,
                   {}});
  }
}

void describe_sync(const replication::PairStatus& status, control::PairStatus& info) {
  const replication::PairRecord& record = status.record;
  if (!record.sync.has_value()) return;
  info.mode = control::PairMode::kSync;
  info.on_peer_loss = to_api(record.sync->on_loss);
  info.peer_loss_after = record.sync->loss_after;
  info.in_sync = status.sync.in_sync;
  if (record.sync_since.ns != 0) info.sync_since = record.sync_since;
  info.sync_reason = why_not_in_sync(record);
  if (record.in_sync() && !status.sync.in_sync) {
    info.sync_reason = "the primary may go on without this node by now";
  } else if (status.sync.lost && record.in_sync()) {
    info.sync_reason = lost_words(record.sync->on_loss);
  }
  info.flushes_waiting = status.sync.flushes_waiting;
}

void add(control::CacheCounters& sum, const control::CacheCounters& part) {
  sum.read_hits += part.read_hits;
  sum.read_misses += part.read_misses;
  sum.write_hits += part.write_hits;
  sum.write_misses += part.write_misses;
  sum.dirty_bytes += part.dirty_bytes;
  sum.written_bytes += part.written_bytes;
  sum.destaged_bytes += part.destaged_bytes;
}

control::EntryKind control_entry_kind(const format::ControlRecord& record) {
  if (std::holds_alternative<format::EpochOpened>(record)) return control::EntryKind::kEpoch;
  if (std::holds_alternative<format::VolumeCreated>(record)) return control::EntryKind::kVolumeCreate;
  if (std::holds_alternative<format::VolumeResized>(record)) return control::EntryKind::kVolumeResize;
  if (std::holds_alternative<format::VolumeDeleted>(record)) return control::EntryKind::kVolumeDelete;
  if (std::holds_alternative<format::PointNamed>(record)) return control::EntryKind::kName;
  if (std::holds_alternative<format::LogSwitched>(record)) return control::EntryKind::kLog;
  return control::EntryKind::kOther;
}

const char* action_word(format::MarkAction action) {
  switch (action) {
    case format::MarkAction::kHold:
      return "hold";
    case format::MarkAction::kRelease:
      return "release";
    case format::MarkAction::kDelete:
      return "delete";
  }
  return "?";
}

std::string name_at(const group::Group& group, VolumeId volume, LogId point) {
  for (const group::VolumeShape& shape : group.state().shape_at(point)) {
    if (shape.id == volume) return shape.name;
  }
  return {};
}

// The members of an entry that changes the group's shape, marks or branches.
void describe_record(const group::Group& group, LogId id, const format::ControlRecord& record,
                     control::JournalEntry& info) {
  if (const auto* opened = std::get_if<format::EpochOpened>(&record)) {
    if (opened->reason != format::EpochReason::kCreate)
      info.note = "continues after log:" + opened->parent.to_string();
  } else if (const auto* created = std::get_if<format::VolumeCreated>(&record)) {
    info.volume = created->name;
    info.volume_number = created->volume.value;
    info.size_bytes = created->size_bytes;
    info.note = "size " + format_size(created->size_bytes);
  } else if (const auto* resized = std::get_if<format::VolumeResized>(&record)) {
    info.volume = name_at(group, resized->volume, id);
    info.volume_number = resized->volume.value;
    info.size_bytes = resized->size_bytes;
    info.note = "size " + format_size(resized->size_bytes);
  } else if (const auto* deleted = std::get_if<format::VolumeDeleted>(&record)) {
    info.volume = name_at(group, deleted->volume, id.previous());
    info.volume_number = deleted->volume.value;
  } else if (const auto* named = std::get_if<format::PointNamed>(&record)) {
    info.mark_id = named->mark.id;
    info.note = named->mark.note;
  } else if (const auto* changed = std::get_if<format::MarkChanged>(&record)) {
    info.mark_id = changed->id;
    info.note = action_word(changed->action);
  } else if (const auto* log = std::get_if<format::LogSwitched>(&record)) {
    info.note = log->started ? "the log is acquired from here on" : "the log ends";
  } else if (const auto* done = std::get_if<format::RefillDone>(&record)) {
    info.note = "restored to log:" + done->point.to_string() + " from the other node";
  } else if (const auto* released = std::get_if<format::BranchReleased>(&record)) {
    info.note = "branch " + std::to_string(released->epoch.value) + " released";
  }
}

control::GroupRole role_of(const group::Group& group, const std::optional<control::PairStatus>& pair) {
  if (!pair.has_value()) return control::GroupRole::kAlone;
  return group.local().role == group::Role::kSecondary ? control::GroupRole::kSecondary
                                                       : control::GroupRole::kPrimary;
}

}  // namespace

control::PointInfo Node::point_info(const group::Group& group, LogId id) const {
  control::PointInfo info{.log_id = id, .timer = {}};
  const index::EpochInfo* epoch = group.state().epochs().find(id.epoch());
  if (epoch == nullptr) return info;
  if (id == epoch->last) {
    info.timer = epoch->last_timer;
  } else if (id == group.local().floor) {
    info.timer = group.local().floor_timer;
  } else if (id == group.journal().durable()) {
    info.timer = group.journal().durable_timer();
  } else {
    info.timer = epoch->opened;
  }
  return info;
}

control::VolumeInfo Node::volume_info(const group::Group& group, const group::VolumeShape& shape) const {
  const group::VolumeStatus status = group.volume_status(shape);
  control::VolumeInfo info{.group = group.name(),
                           .volume = shape.name,
                           .number = shape.id.value,
                           .lu_number = status.lu.value,
                           .raid = storage_.name_of(pool::pool_of(status.lu)),
                           .size_bytes = shape.size_bytes,
                           .allocated_bytes = status.allocated_bytes,
                           .read_only = group.local().role == group::Role::kSecondary,
                           .cache = {.read_hits = status.counters.read_hits,
                                     .read_misses = status.counters.read_misses,
                                     .write_hits = status.counters.write_hits,
                                     .write_misses = status.counters.write_misses,
                                     .dirty_bytes = status.dirty_bytes,
                                     .written_bytes = status.counters.written_bytes,
                                     .destaged_bytes = status.counters.destaged_bytes}};
  for (const OpenExport& open : open_exports_) {
    if (open.group != group.name() || open.volume != shape.name) continue;
    ++(open.writable && !open.view ? info.writers_connected : info.readers_connected);
  }
  return info;
}

control::JournalStatus Node::journal_info(const group::Group& group) const {
  const journal::JournalStatus status = group.journal().status();
  // A journal that has taken no entry yet begins after the head.
  const LogId durable = group.journal().durable().is_none() ? group.head() : group.journal().durable();
  control::JournalStatus info{.group = group.name(),
                              .capacity_bytes = status.size_bytes,
                              .used_bytes = status.used_bytes,
                              .floor = point_info(group, group.local().floor),
                              .head = point_info(group, group.head()),
                              .durable = point_info(group, durable),
                              .destaged = group.local().destaged,
                              .retain = group.local().settings.retain,
                              .on_full = group.local().settings.on_full == group::OnFull::kStopWrites
                                             ? control::OnFull::kStopWrites
                                             : control::OnFull::kDropHistory,
                              .log_volumes = {},
                              .pins = {},
                              .log_started = {},
                              .log_kept_here = !group.local().log_kept_from.is_none(),
                              .verified = {}};
  if (const LogId started = group.state().log_started(); !started.is_none()) info.log_started = started;
  const group::LocalRecord& local = group.local();
  if (local.verified_at.ns != 0) {
    info.verified = {
        .time = local.verified_at,
        .first = local.verified_first.is_none() ? std::nullopt : std::optional(local.verified_first),
        .last = local.verified_last.is_none() ? std::nullopt : std::optional(local.verified_last),
        .base = local.verified_base,
        .damages = local.verified_damages};
  }
  for (const group::GroupLogVolume& volume : group.log_volumes()) {
    control::LogVolumeInfo& told = info.log_volumes.emplace_back();
    told.lu_number = volume.number.value;
    told.raid = storage_.name_of(pool::pool_of(volume.number));
    told.capacity_bytes = volume.status.segments_total * status.segment_size_bytes;
    told.used_bytes = volume.status.segments_used * status.segment_size_bytes;
    if (!volume.status.first.is_none()) told.first = volume.status.first;
    if (!volume.status.last.is_none()) told.last = volume.status.last;
    told.leaving = volume.status.leaving;
  }
  constexpr std::size_t kPinsShownMax = 100;
  for (const group::Destager::Pin& pin : group.pins()) {
    if (info.pins.size() == kPinsShownMax) break;
    info.pins.push_back({.kind = pin.kind, .text = pin.text, .log_id = pin.at});
  }
  return info;
}

control::MarkInfo Node::mark_info(const group::Group& group, const group::Mark& mark) const {
  control::MarkInfo info{
      .group = group.name(),
      .id = mark.id,
      .kind = mark.at == mark.entry ? control::MarkKind::kMark : control::MarkKind::kName,
      .log_id = mark.at,
      .timer = mark.timer,
      .host = mark.host,
      .host_time = mark.host_time.ns == 0 ? std::nullopt : std::optional<WallTime>(mark.host_time),
      .note = mark.note,
      .held = mark.held,
      .live = group.state().epochs().is_ancestor(mark.at, group.head()),
      .not_restorable_reason = {},
      .received = {},
      .logged_on = {},
      .logged_volumes = {},
      .not_logged_reason = {}};
  const Result<void> readable = group.check_readable(mark.at);
  info.restorable = readable.ok();
  if (!readable.ok()) info.not_restorable_reason = readable.error().message;
  if (const auto status = pairs_->status(group.name());
      status && status->record.side == replication::Side::kPrimary) {
    info.received = status->received.raw() >= mark.entry.raw();
  }
  info.provisional = mark.provisional;
  describe_log_of(group, mark, info);
  return info;
}

void Node::describe_log_of(const group::Group& group, const group::Mark& mark,
                           control::MarkInfo& info) const {
  const auto status = pairs_->status(group.name());
  const bool by_peer = status && status->record.side == replication::Side::kPrimary;
  info.logged_on = by_peer ? status->record.peer_name : configuration_.name;
  if (by_peer && !info.received.value_or(false)) {
    info.not_logged_reason = info.logged_on + " has not received it";
  } else if (by_peer && !group.state().epochs().is_ancestor(status->peer_floor, mark.at)) {
    info.not_logged_reason = "it lies before the oldest point that " + info.logged_on + " can show";
  } else if (!by_peer && !info.restorable) {
    info.not_logged_reason = info.not_restorable_reason;
  }
  if (!info.not_logged_reason.empty()) return;
  for (const group::VolumeShape& shape : group.state().shape_at(mark.at)) {
    control::LoggedVolume logged;
    logged.volume = shape.name;
    if (!by_peer) {
      logged.lu_number = group.volume_status(shape).lu.value;
    } else {
      for (const format::UnitOfVolume& unit : status->peer_units) {
        if (unit.volume == shape.id) logged.lu_number = unit.unit.value;
      }
    }
    info.logged_volumes.push_back(std::move(logged));
  }
  if (info.logged_volumes.empty()) info.not_logged_reason = "the group had no volumes then";
}

control::BranchInfo Node::branch_info(const group::Group& group, const index::EpochInfo& info) const {
  const LogId head = group.head();
  control::BranchInfo branch{.group = group.name(),
                             .epoch = info.number.value,
                             .identity = info.identity.to_string(),
                             .live = info.number == group.live_epoch(),
                             .parent = {},
                             .first = {.log_id = LogId(info.number, 1), .timer = info.opened},
                             .last = {.log_id = info.last, .timer = info.last_timer},
                             .entries = info.last.sequence(),
                             .held = info.unreplicated && !info.released,
                             .left = {}};
  switch (info.reason) {
    case format::EpochReason::kCreate:
      branch.origin = control::BranchOrigin::kFirst;
      break;
    case format::EpochReason::kRestore:
    case format::EpochReason::kRefill:
      branch.origin = control::BranchOrigin::kRestore;
      break;
    case format::EpochReason::kTakeover:
      branch.origin = control::BranchOrigin::kTakeover;
      break;
    case format::EpochReason::kSequenceExhausted:
      branch.origin = control::BranchOrigin::kSequence;
      break;
    case format::EpochReason::kResync:
      branch.origin = control::BranchOrigin::kResync;
      break;
  }
  if (info.reason != format::EpochReason::kCreate) branch.parent = info.parent;
  for (const auto& [id, mark] : group.state().marks()) {
    if (mark.at.epoch() == info.number) ++branch.marks;
  }
  if (!branch.live && !group.state().epochs().is_ancestor(info.last, head)) branch.left = info.last_timer;
  return branch;
}

control::PairWindow Node::window_info(const format::GroupWindow& window) {
  control::PairWindow info{.floor = {.log_id = window.floor, .timer = window.floor_timer},
                           .newest = {.log_id = window.newest, .timer = window.newest_timer},
                           .journal_capacity_bytes = window.journal_bytes,
                           .journal_used_bytes = window.journal_used_bytes,
                           .last_mark = window.last_mark,
                           .last_mark_log_id = {}};
  if (!window.last_mark.empty()) info.last_mark_log_id = window.last_mark_at;
  return info;
}

std::optional<control::PairStatus> Node::pair_info(const group::Group& group) const {
  const std::optional<replication::PairStatus> status = pairs_->status(group.name());
  if (!status.has_value()) return std::nullopt;
  const replication::PairRecord& record = status->record;
  control::PairStatus info{
      .group = group.name(),
      .role = record.side == replication::Side::kPrimary ? control::GroupRole::kPrimary
                                                         : control::GroupRole::kSecondary,
      .state = to_api(record.state),
      .state_reason = record.reason,
      .state_since = record.since,
      .peer_address = record.peer_address,
      .peer_node = record.peer_name,
      .peer_group = record.peer_group,
      .peer_certificate = record.peer_certificate,
      .link_up = status->link_up,
      .link_since = status->link_since,
      .compress = record.compression == format::Compression::kZstd ? control::PairCompression::kZstd
                                                                   : control::PairCompression::kOff,
      .link_sent_bytes = status->traffic.sent_bytes,
      .link_sent_uncompressed_bytes = status->traffic.sent_uncompressed_bytes,
      .link_received_bytes = status->traffic.received_bytes,
      .link_received_uncompressed_bytes = status->traffic.received_uncompressed_bytes,
      .duplex_suspended_since = group.state().log_started().is_none()
                                    ? std::nullopt
                                    : std::optional<LogId>(group.state().log_started()),
      .sent = status->sent,
      .received = status->received,
      .durable = group.journal().durable(),
      .lag_entries = status->lag.entries,
      .lag_bytes = status->lag.bytes,
      .lag_seconds = status->lag.seconds,
      .copy_done_bytes = status->copy.done_bytes,
      .copy_total_bytes = status->copy.total_bytes,
      .copy_rate_bytes = record.copy_rate_bytes,
      .compared = {},
      .on_peer_loss = {},
      .peer_loss_after = {},
      .in_sync = {},
      .sync_since = {},
      .sync_reason = {},
      .window = {},
      .peer_window = {},
      .peer_window_reason = {}};
  info.window = window_info(replication::window_of(group));
  describe_sync(*status, info);
  const group::LocalRecord& local = group.local();
  if (local.compared_at.ns != 0) {
    info.compared = control::ComparedInfo{.time = local.compared_at,
                                          .point = local.compared_point,
                                          .differing_bytes = local.compared_differing_bytes,
                                          .repaired_bytes = local.compared_repaired_bytes};
  }
  if (info.state_reason.empty() && !status->link_up) info.state_reason = status->link_error;
  if (status->link_since.ns == 0) info.link_since.reset();
  // What was sent and not received when the link ended counts for nothing.
  info.sent = std::max(info.sent, info.received);
  // A journal that has taken no entry yet begins after the head.
  if (info.durable.raw() == 0) info.durable = group.head();
  return info;
}

control::GroupInfo Node::group_info(const group::Group& group) const {
  control::GroupInfo info{.group = group.name(),
                          .identity = group.identity().to_string(),
                          .state_reason = {},
                          .epoch = group.live_epoch().value,
                          .volumes = {},
                          .cache = {},
                          .journal = journal_info(group),
                          .marks = group.state().marks().size(),
                          .last_mark = {},
                          .pair = pair_info(group)};
  info.role = role_of(group, info.pair);
  if (group.failure().has_value()) {
    info.state = control::GroupState::kStopped;
    info.state_reason = group.failure()->message;
  } else if (group.local().exports_closed) {
    info.state = control::GroupState::kClosed;
    info.state_reason = "closed by a forced restore";
  } else if (group.held_back().has_value()) {
    info.state = control::GroupState::kWaiting;
    info.state_reason = group.held_back()->message;
  } else if (group.alarm().has_value()) {
    info.state_reason = *group.alarm();
  }
  for (const group::VolumeShape& shape : group.volumes()) {
    info.volumes.push_back(volume_info(group, shape));
    add(info.cache, info.volumes.back().cache);
  }
  if (const std::optional<group::Mark> mark = group.state().last_mark())
    info.last_mark = mark_info(group, *mark);
  return info;
}

control::JournalEntry Node::entry_info(const group::Group& group, const group::ShownEntry& shown) const {
  control::JournalEntry info{.log_id = shown.id,
                             .timer = shown.entry.timer,
                             .volume = {},
                             .mark_id = {},
                             .note = {},
                             .host = {},
                             .host_time = {},
                             .volume_number = {},
                             .size_bytes = {}};
  switch (shown.entry.kind) {
    case format::EntryKind::kWrite:
      info.kind = control::EntryKind::kWrite;
      break;
    case format::EntryKind::kZero:
      info.kind = control::EntryKind::kZero;
      break;
    case format::EntryKind::kDiscard:
      info.kind = control::EntryKind::kDiscard;
      break;
    case format::EntryKind::kMark: {
      info.kind = control::EntryKind::kMark;
      info.mark = true;
      if (auto mark = format::decode_mark(shown.entry.body); mark.ok()) {
        info.mark_id = mark->id;
        info.note = mark->note;
        info.host = mark->host;
        if (mark->host_time.ns != 0) info.host_time = mark->host_time;
      }
      return info;
    }
    case format::EntryKind::kControl: {
      auto record = format::decode_control(shown.entry.body);
      if (!record.ok()) return info;
      info.kind = control_entry_kind(*record);
      describe_record(group, shown.id, *record, info);
      return info;
    }
  }
  info.volume = name_at(group, shown.entry.volume, shown.id);
  info.volume_number = shown.entry.volume.value;
  info.offset_bytes = shown.entry.blocks.begin * kBlockSizeBytes;
  info.length_bytes = shown.entry.blocks.count() * kBlockSizeBytes;
  return info;
}

std::vector<control::Problem> Node::problems() const {
  std::vector<control::Problem> out;
  for (const BrokenGroup& broken : broken_) {
    out.push_back(
        {.group = {},
         .text = "the group " + broken.identity.to_string() + " cannot be opened: " + broken.reason,
         .since = broken.since,
         .action = "restart the node when that is gone; when what is left of the group is not needed: "
                   "tidemark group delete " +
                   broken.identity.to_string() + " --force"});
  }
  storage_.add_problems(started_, out);
  for (control::Problem& orphan : orphan_problems()) out.push_back(std::move(orphan));
  if (const auto jump = clock_watch_.latest(); jump.has_value()) {
    out.push_back({{}, describe_jump(*jump) + "; nothing expires by it", jump->at, {}});
  }
  if (configuration_.machine_alarm) {
    const std::string alarm = configuration_.machine_alarm();
    if (!alarm.empty()) out.push_back({{}, alarm, std::nullopt, {}});
  }
  for (const auto& [name, group] : groups_) {
    if (group->failure().has_value()) {
      out.push_back({name, "stopped: " + group->failure()->message, std::nullopt, "restart the node"});
    } else if (group->local().exports_closed) {
      out.push_back({name, "its exports are closed after a forced restore", std::nullopt,
                     "tidemark group open " + name});
    }
    if (group->alarm().has_value())
      out.push_back({name, *group->alarm(), std::nullopt, "tidemark journal status " + name});
    if (group->local().verified_damages > 0) {
      out.push_back({name,
                     "its last verification found " + std::to_string(group->local().verified_damages) +
                         " damages; reads of what is damaged fail, and are not answered with other data",
                     group->local().verified_at, "tidemark journal verify " + name});
    }
    const std::optional<control::PairStatus> pair = pair_info(*group);
    if (!pair.has_value()) continue;
    if (pair->compared && pair->compared->differing_bytes > pair->compared->repaired_bytes) {
      out.push_back({name,
                     "its last comparison with " + pair->peer_node + " found " +
                         format_size(pair->compared->differing_bytes - pair->compared->repaired_bytes) +
                         " that differ and were not repaired",
                     pair->compared->time, "tidemark pair verify " + name});
    }
    const bool primary = pair->role == control::GroupRole::kPrimary;
    const std::optional<replication::PairStatus> status = pairs_->status(name);
    std::string resync =
        (primary ? std::string() : "on " + pair->peer_node + ": ") + "tidemark pair resync " + name;
    if (pair->state == control::PairState::kPsue) {
      out.push_back(
          {name, "the pair is suspended by an error: " + pair->state_reason, pair->state_since, resync});
    } else if (pair->state == control::PairState::kPsus) {
      out.push_back({name, "the pair is suspended", pair->state_since, resync});
    } else if (pair->state == control::PairState::kSsws) {
      out.push_back(
          {name,
           primary
               ? "no writes are taken: " + pair->peer_node + " has taken over (" + pair->state_reason + ")"
               : "this secondary goes on by itself (" + pair->state_reason + "); the pair is suspended",
           pair->state_since, "tidemark pair resync " + name + " --swap"});
    } else if (group->held_back().has_value()) {
      out.push_back(
          {name, group->held_back()->message, pair->link_since, "tidemark group serve " + name + " --alone"});
    } else if (pair->state == control::PairState::kPair && !pair->link_up) {
      out.push_back({name,
                     "the link to " + pair->peer_node + " is down; streaming resumes by itself",
                     pair->link_since,
                     {}});
    }
    add_sync_problem(name, *status, *pair, out);
  }
  // What went wrong comes before what only got less.
  for (const auto& [name, group] : groups_) {
    if (const auto window = group->shortened_window(); window.has_value()) {
      const Duration whole = Duration::seconds(static_cast<std::int64_t>(window->to_seconds()));
      out.push_back({name,
                     "history within the retention was given up for want of space: the window reaches back " +
                         format_duration(whole) + " of " + format_duration(group->local().settings.retain) +
                         "; the journal is too small for what is written",
                     std::nullopt, "tidemark journal status " + name});
    }
  }
  return out;
}

}  // namespace tidemark::node
