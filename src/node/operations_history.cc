// Operations of the control API on marks, restores, branches, the journal and differences.

#include <algorithm>
#include <cstdio>
#include <string_view>
#include <tuple>

#include "base/log_field.h"
#include "node/node.h"

namespace tidemark::node {
namespace {

// "m-20260501-120000-1a2b3c": readable, sorted by time, and not met twice.
std::string generate_mark_id(WallTime now, std::uint64_t random) {
  std::string digits;
  for (const char c : format_time(now).substr(0, 19)) {
    if (c >= '0' && c <= '9') digits.push_back(c);
  }
  // 48 bits: of ten thousand in one second, two are the same once in months.
  char tail[16];
  std::snprintf(tail, sizeof tail, "%012llx", static_cast<unsigned long long>(random & 0xffff'ffff'ffff));
  return "m-" + digits.substr(0, 8) + "-" + digits.substr(8) + "-" + tail;
}

// The order in which marks were recorded, whatever branch they are on.
bool recorded_before(const group::Mark* a, const group::Mark* b) {
  return std::tuple(a->timer, a->entry.raw(), std::string_view(a->id)) <
         std::tuple(b->timer, b->entry.raw(), std::string_view(b->id));
}

// The first marks recorded after `after` (null: of all), at most `count_max` of them, in order. Marks are
// kept by id; one walk and a small heap find a page.
std::vector<const group::Mark*> marks_after(const group::GroupState& state, const group::Mark* after,
                                            std::size_t count_max) {
  std::vector<const group::Mark*> heap;
  for (const auto& [id, mark] : state.marks()) {
    if (after != nullptr && !recorded_before(after, &mark)) continue;
    if (heap.size() == count_max) {
      if (!recorded_before(&mark, heap.front())) continue;
      std::pop_heap(heap.begin(), heap.end(), recorded_before);
      heap.pop_back();
    }
    heap.push_back(&mark);
    std::push_heap(heap.begin(), heap.end(), recorded_before);
  }
  std::sort_heap(heap.begin(), heap.end(), recorded_before);
  return heap;
}

// Marks of one path by the place of their points in the order, newest last.
std::vector<std::string> in_order(const group::GroupState& state, std::vector<std::string> ids) {
  const auto place = [&state](const std::string& id) {
    const group::Mark* mark = state.find_mark(id);
    return mark == nullptr ? std::tuple(std::uint64_t{0}, std::uint64_t{0}, std::string_view(id))
                           : std::tuple(mark->at.raw(), mark->entry.raw(), std::string_view(id));
  };
  std::ranges::sort(ids, {}, place);
  return ids;
}

}  // namespace

io::Task<Result<control::MarkInfo>> Node::mark_create(control::MarkCreateRequest request) {
  TM_CO_TRY_ASSIGN(GroupHandle group, require_group(request.group));
  format::MarkRecord record;
  record.id = request.id.value_or(generate_mark_id(environment_.clock.now(), environment_.random.next()));
  record.host_time = request.host_time.value_or(WallTime{});
  record.host = request.host;
  record.note = request.note;
  if (group->local().role == group::Role::kSecondary) {
    // Not at hand while this waits for its turn, as with the commands of a pair.
    group = nullptr;
    auto asked = co_await pairs_->mark_at_secondary(request.group, std::move(record));
    if (!asked.ok()) co_return std::move(asked).error();
    TM_CO_TRY_ASSIGN(group, require_group(request.group));
    co_return mark_info(*group, *asked);
  }
  TM_CO_TRY(co_await wait_for_changes(*group));
  auto mark = co_await group->create_mark(record);
  if (!mark.ok()) co_return std::move(mark).error();
  if (request.wait == control::WaitFor::kPeer) {
    TM_CO_TRY(co_await pairs_->wait_received(request.group, mark->entry));
  }
  co_return mark_info(*group, *mark);
}

io::Task<Result<control::MarkListReply>> Node::mark_list(control::MarkListRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  control::MarkListReply reply;
  const group::Mark* after = nullptr;
  if (!request.after.empty()) {
    after = group->state().find_mark(request.after);
    if (after == nullptr) {
      co_return fail(ErrorCode::kNotFound, "group '" + request.group + "' has no mark '" +
                                               printable(request.after, 140) + "' to list after");
    }
  }
  for (const group::Mark* mark : marks_after(group->state(), after, std::size_t{request.limit} + 1)) {
    if (reply.marks.size() == request.limit) {
      reply.next = reply.marks.back().id;
      break;
    }
    reply.marks.push_back(mark_info(*group, *mark));
  }
  co_return reply;
}

io::Task<Result<control::MarkInfo>> Node::mark_show(control::MarkShowRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  const group::Mark* mark = group->state().find_mark(request.id);
  if (mark == nullptr) {
    co_return fail(ErrorCode::kNotFound, "group '" + request.group + "' has no mark '" +
                                             printable(request.id, 140) + "'; " + group->points().hint());
  }
  co_return mark_info(*group, *mark);
}

io::Task<Result<control::MarkInfo>> Node::mark_name(control::MarkNameRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  TM_CO_TRY(co_await wait_for_changes(*group));
  format::MarkRecord record;
  record.id = request.id;
  record.note = request.note;
  auto mark = co_await group->name_point(record, request.point);
  if (!mark.ok()) co_return std::move(mark).error();
  co_return mark_info(*group, *mark);
}

io::Task<Result<control::MarkInfo>> Node::mark_hold(control::MarkHoldRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  TM_CO_TRY(co_await wait_for_changes(*group));
  auto mark = co_await group->change_mark(request.id, format::MarkAction::kHold);
  if (!mark.ok()) co_return std::move(mark).error();
  co_return mark_info(*group, *mark);
}

io::Task<Result<control::MarkInfo>> Node::mark_release(control::MarkReleaseRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  TM_CO_TRY(co_await wait_for_changes(*group));
  auto mark = co_await group->change_mark(request.id, format::MarkAction::kRelease);
  if (!mark.ok()) co_return std::move(mark).error();
  co_return mark_info(*group, *mark);
}

io::Task<Result<control::Done>> Node::mark_delete(control::MarkDeleteRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  TM_CO_TRY(co_await wait_for_changes(*group));
  auto mark = co_await group->change_mark(request.id, format::MarkAction::kDelete);
  if (!mark.ok()) co_return std::move(mark).error();
  co_return control::Done();
}

io::Task<Result<void>> Node::clear_writers(group::Group& group, bool force, control::RestoreReply* reply) {
  if (reply->writers.empty()) co_return Result<void>{};
  if (!force) {
    co_return fail(ErrorCode::kBusy,
                   "a client that can write is connected: " + reply->writers.front() +
                       "; unmount and disconnect it, or say --force to cut it off and keep the "
                       "exports closed until `tidemark group open " +
                       group.name() + "`");
  }
  // Closed first, so that nobody comes back before the restore has taken effect.
  TM_CO_TRY(co_await group.set_exports_closed(true));
  reply->exports_closed = true;
  co_return Result<void>{};
}

// To a point that only the other node can show.
io::Task<Result<control::RestoreReply>> Node::restore_from_peer(control::RestoreRequest request) {
  TM_CO_TRY_ASSIGN(replication::Refill refill,
                   co_await pairs_->plan_refill(request.group, request.point, request.before));
  TM_CO_TRY_ASSIGN(GroupHandle group, require_group(request.group));
  control::RestoreReply reply;
  reply.from_peer = true;
  reply.dry_run = request.dry_run;
  reply.from = point_info(*group, group->head());
  reply.target.log_id = refill.point.at;
  reply.target.timer = refill.point.timer;
  reply.writers = writers_of(request.group);
  for (const group::VolumeShape& shape : group->volumes()) {
    control::VolumeChange change;
    change.volume = shape.name;
    change.size_bytes_now = change.size_bytes_target = shape.size_bytes;
    change.blocks_differing = refill.differing_blocks[shape.id];
    change.bytes_differing = *change.blocks_differing * kBlockSizeBytes;
    reply.volumes.push_back(std::move(change));
  }
  if (request.dry_run) co_return reply;
  TM_CO_TRY(co_await clear_writers(*group, request.force, &reply));
  group = nullptr;
  auto restored = co_await pairs_->refill(request.group, std::move(refill));
  if (!restored.ok()) co_return std::move(restored).error();
  reply.new_epoch = restored->id.epoch().value;
  log_("restore", log_field("group", request.group) + " " + log_field("to", reply.target.log_id.to_string()) +
                      " " + log_field("epoch", *reply.new_epoch));
  co_return reply;
}

io::Task<Result<control::RestoreReply>> Node::restore(control::RestoreRequest request) {
  TM_CO_TRY_ASSIGN(GroupHandle group, require_group(request.group));
  auto planned = co_await group->plan_restore(request.point, request.before);
  const bool beyond = !planned.ok() && (planned.error().code == ErrorCode::kExpired ||
                                        planned.error().code == ErrorCode::kInGap);
  const bool by_name = request.from_peer.has_value();
  if (request.from_peer.value_or(beyond && pairs_->can_refill(request.group))) {
    group = nullptr;
    auto from_peer = co_await restore_from_peer(std::move(request));
    // Writers in the way, or what went wrong with the blocks, is told as it is. Else both say what they have.
    const bool planned_there = from_peer.ok() || from_peer.error().code == ErrorCode::kBusy ||
                               from_peer.error().code == ErrorCode::kUnsupported;
    if (!planned_there && beyond && !by_name) {
      co_return fail(planned.error().code,
                     planned.error().message + "; the other node: " + from_peer.error().message);
    }
    co_return from_peer;
  }
  if (!planned.ok()) co_return std::move(planned).error();
  const group::RestorePlan& plan = *planned;
  control::RestoreReply reply;
  reply.dry_run = request.dry_run;
  reply.from.log_id = plan.from.at;
  reply.from.timer = plan.from.timer;
  reply.target.log_id = plan.target.at;
  reply.target.timer = plan.target.timer;
  reply.entries_left = plan.entries_left;
  reply.marks_left = plan.marks_left.size();
  reply.marks_left_ids = in_order(group->state(), plan.marks_left);
  reply.writers = writers_of(request.group);
  if (reply.marks_left_ids.size() > control::kPageLimitDefault) {
    reply.marks_left_ids.erase(reply.marks_left_ids.begin(),
                               reply.marks_left_ids.end() - control::kPageLimitDefault);
  }
  std::map<VolumeId, control::VolumeChange> changes;
  for (const group::VolumeShape& shape : plan.shape_now) {
    changes[shape.id].volume = shape.name;
    changes[shape.id].size_bytes_now = shape.size_bytes;
  }
  for (const group::VolumeShape& shape : plan.shape_target) {
    changes[shape.id].volume = shape.name;
    changes[shape.id].size_bytes_target = shape.size_bytes;
  }
  for (auto& [id, change] : changes) {
    if (request.dry_run) {
      const std::uint64_t size =
          std::max(change.size_bytes_now.value_or(0), change.size_bytes_target.value_or(0));
      auto differing =
          co_await group->count_differing(id, plan.from.at, plan.target.at, {0, size / kBlockSizeBytes});
      if (!differing.ok()) co_return std::move(differing).error();
      change.blocks_differing = *differing;
      change.bytes_differing = *differing * kBlockSizeBytes;
    }
    reply.volumes.push_back(change);
  }
  TM_CO_TRY(pairs_->check_restore(*group, plan.target.at));
  if (request.dry_run) co_return reply;
  TM_CO_TRY(co_await clear_writers(*group, request.force, &reply));
  // Not at hand while this waits for its turn, as with the commands of a pair.
  group = nullptr;
  co_await disconnect_exports(request.group);
  auto restored = co_await pairs_->restore(request.group, plan);
  if (!restored.ok()) co_return std::move(restored).error();
  // Whoever came meanwhile may have read what was there before.
  co_await disconnect_exports(request.group);
  reply.new_epoch = restored->id.epoch().value;
  log_("restore", log_field("group", request.group) + " " + log_field("to", plan.target.at.to_string()) +
                      " " + log_field("epoch", *reply.new_epoch));
  co_return reply;
}

io::Task<Result<control::BranchListReply>> Node::branch_list(control::BranchListRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  control::BranchListReply reply;
  for (const auto& [number, info] : group->state().epochs().all()) {
    const bool live = number == group->live_epoch();
    const bool readable = group->check_readable(info.last).ok();
    if (live || readable) reply.branches.push_back(branch_info(*group, info));
  }
  co_return reply;
}

io::Task<Result<control::BranchInfo>> Node::branch_show(control::BranchShowRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  const index::EpochInfo* info = group->state().epochs().find(Epoch{request.epoch});
  if (info == nullptr) {
    co_return fail(ErrorCode::kNotFound, "group '" + request.group + "' has no branch " +
                                             std::to_string(request.epoch) + "; see `tidemark branch list " +
                                             request.group + "`");
  }
  co_return branch_info(*group, *info);
}

io::Task<Result<control::Done>> Node::branch_release(control::BranchReleaseRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  TM_CO_TRY(co_await group->release_branch(Epoch{request.epoch}));
  co_return control::Done();
}

io::Task<Result<control::JournalStatus>> Node::journal_status(control::JournalStatusRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  control::JournalStatus info = journal_info(*group);
  auto floor = co_await group->points().timer_at(info.floor.log_id);
  if (floor.ok()) info.floor.timer = *floor;
  co_return info;
}

io::Task<Result<control::JournalStatus>> Node::journal_volume_add(control::JournalVolumeAddRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  PoolNumber pool = pool::pool_of(group->log_volume());
  if (request.raid.has_value()) {
    TM_CO_TRY_ASSIGN(pool, storage_.find_pool(request.raid));
  }
  TM_CO_TRY_ASSIGN(const LuNumber unit, co_await group->add_log_volume(pool, request.size_bytes));
  log_("log-volume-added", log_field("group", request.group) + " " + log_field("unit", unit.value));
  co_return journal_info(*group);
}

io::Task<Result<control::JournalStatus>> Node::journal_volume_remove(
    control::JournalVolumeRemoveRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  TM_CO_TRY(co_await group->remove_log_volume(LuNumber{request.lu_number}));
  log_("log-volume-leaves", log_field("group", request.group) + " " + log_field("unit", request.lu_number));
  co_return journal_info(*group);
}

io::Task<Result<control::JournalStatus>> Node::journal_start(control::JournalStartRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  TM_CO_TRY(co_await wait_for_changes(*group));
  const auto pair = pairs_->status(request.group);
  const bool sends = pair.has_value() && pair->record.side == replication::Side::kPrimary;
  if (sends && pair->record.state != replication::PairState::kPair) {
    co_return fail(
        ErrorCode::kRefused,
        "the pair of group '" + request.group + "' is " + replication::pair_state_name(pair->record.state) +
            ": no volume on " + pair->record.peer_name +
            " is in duplex, so none could acquire the log; wait for PAIR, or `tidemark pair resync`");
  }
  TM_CO_TRY_ASSIGN(const LogId entry, co_await group->switch_log(true));
  if (sends && pair->link_up) TM_CO_TRY(co_await pairs_->wait_received(request.group, entry));
  log_("journal-start", log_field("group", request.group) + " " + log_field("at", entry.to_string()));
  co_return journal_info(*group);
}

io::Task<Result<control::JournalStatus>> Node::journal_stop(control::JournalStopRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  TM_CO_TRY(co_await wait_for_changes(*group));
  TM_CO_TRY(co_await group->switch_log(false));
  log_("journal-stop", log_field("group", request.group));
  co_return journal_info(*group);
}

io::Task<Result<control::JournalShowReply>> Node::journal_show(control::JournalShowRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  auto from = co_await group->points().resolve(request.from, false);
  if (!from.ok()) co_return std::move(from).error();
  auto entries = co_await group->show_entries(from->at, request.limit);
  if (!entries.ok()) co_return std::move(entries).error();
  control::JournalShowReply reply;
  for (const group::ShownEntry& shown : *entries) reply.entries.push_back(entry_info(*group, shown));
  if (entries->size() == request.limit && !entries->empty() && entries->back().id != group->head()) {
    reply.next = entries->back().id;
  }
  co_return reply;
}

io::Task<Result<control::JournalDataReply>> Node::journal_data(control::JournalDataRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  auto batch = co_await group->journal().find(request.log_id);
  if (!batch.ok()) {
    co_return fail(batch.error().code, "log:" + request.log_id.to_string() +
                                           " is not in the journal of group '" + request.group + "'; " +
                                           group->points().hint());
  }
  group::ShownEntry shown;
  shown.id = request.log_id;
  shown.entry = batch->meta.entries[request.log_id.raw() - batch->meta.first.raw()];
  control::JournalDataReply reply;
  reply.entry = entry_info(*group, shown);
  reply.offset_bytes = request.offset_bytes;
  const std::uint64_t length = reply.entry.length_bytes;
  if (length == 0) {
    co_return fail(ErrorCode::kInvalid,
                   "log:" + request.log_id.to_string() + " changes no blocks, so it has no data");
  }
  if (request.offset_bytes >= length) {
    co_return fail(ErrorCode::kInvalid, "the entry has " + std::to_string(length) + " bytes");
  }
  const std::uint64_t wanted =
      std::min({request.length_bytes, length - request.offset_bytes, control::kJournalDataLengthBytesMax});
  const std::uint64_t begin = reply.entry.offset_bytes + request.offset_bytes;
  const BlockRange blocks{begin / kBlockSizeBytes, (begin + wanted + kBlockSizeBytes - 1) / kBlockSizeBytes};
  auto data = co_await group->entry_data(request.log_id, shown.entry.volume, blocks,
                                         request.side == control::DataSide::kBefore);
  if (!data.ok()) co_return std::move(data).error();
  const std::uint64_t skip = begin - blocks.begin * kBlockSizeBytes;
  reply.data.bytes.assign(reinterpret_cast<const char*>(data->data()) + skip, wanted);
  if (request.offset_bytes + wanted < length) reply.next = request.offset_bytes + wanted;
  co_return reply;
}

io::Task<Result<control::DiffReply>> Node::diff(control::DiffRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  TM_CO_TRY(validate_name("volume name", request.volume));
  auto from = co_await group->points().resolve(request.from, false);
  if (!from.ok()) co_return std::move(from).error();
  auto to = co_await group->points().resolve(request.to, false);
  if (!to.ok()) co_return std::move(to).error();
  const auto shape_from = group->state().find_volume(request.volume, from->at);
  const auto shape_to = group->state().find_volume(request.volume, to->at);
  if (!shape_from.has_value() && !shape_to.has_value()) {
    co_return fail(ErrorCode::kNotFound,
                   "group '" + request.group + "' had no volume '" + request.volume + "' at either point");
  }
  const VolumeId id = shape_to.has_value() ? shape_to->id : shape_from->id;
  control::DiffReply reply;
  reply.from.log_id = from->at;
  reply.from.timer = from->timer;
  reply.to.log_id = to->at;
  reply.to.timer = to->timer;
  reply.size_bytes_from = shape_from.has_value() ? shape_from->size_bytes : 0;
  reply.size_bytes_to = shape_to.has_value() ? shape_to->size_bytes : 0;
  const std::uint64_t end = std::max(reply.size_bytes_from, reply.size_bytes_to) / kBlockSizeBytes;
  const BlockRange blocks{std::min(request.offset_bytes / kBlockSizeBytes, end), end};
  auto runs = co_await group->diff(id, from->at, to->at, blocks, request.limit);
  if (!runs.ok()) co_return std::move(runs).error();
  for (const group::ChangedRun& run : *runs) {
    reply.runs.push_back({run.blocks.begin * kBlockSizeBytes, run.blocks.count() * kBlockSizeBytes});
  }
  if (runs->size() == request.limit && runs->back().blocks.end < end) {
    reply.next = runs->back().blocks.end * kBlockSizeBytes;
  }
  co_return reply;
}

}  // namespace tidemark::node
