#include "group/destager.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "group/points.h"

namespace tidemark::group {
namespace {

// What a step empties: a quarter of the journal, less when less is free.
constexpr std::size_t kStepsPerJournal = 4;
constexpr std::size_t kStepsPerFullJournal = 16;
// Where history is given up for space, the floor goes as far as ever and the step half as far: what is
// overwritten in the other half need not be moved.
constexpr std::size_t kStepsPerGivenUp = 2;
// How often the state of the journal is looked at when nobody asks for space.
constexpr Duration kPassInterval = Duration::seconds(1);
// The same while writes wait for space that the peer's progress will free.
constexpr Duration kPeerInterval = Duration::milliseconds(20);
// How far beyond the retention the window of a quiet group may reach; a quarter of a longer retention.
constexpr Duration kExpirySlackMin = Duration::seconds(60);
// How often expired history is looked for while it keeps a log volume that is to go.
constexpr Duration kLeavingInterval = Duration::seconds(5);

}  // namespace

LogId Destager::older(LogId a, LogId b) const {
  return core_.state.epochs().is_ancestor(a, b) ? a : b;
}

LogId Destager::newer(LogId a, LogId b) const {
  return core_.state.epochs().is_ancestor(a, b) ? b : a;
}

bool Destager::promises_history() const {
  return core_.local.settings.retain > Duration{};
}

bool Destager::gives_up_history(Need need) const {
  return need != Need::kNone && core_.local.settings.on_full == OnFull::kDropHistory;
}

// Of one that is no unreplicated tail: those are pins.
bool Destager::branch_may_go(const index::EpochInfo& info, Need need) const {
  if (info.released) return true;
  if (gives_up_history(need)) return true;
  return info.last_timer + core_.local.settings.retain < core_.age_now();
}

std::vector<Destager::Pin> Destager::pins() const {
  std::vector<Pin> out;
  const index::EpochTree& epochs = core_.state.epochs();
  const LogId head = core_.head();
  for (const auto& [id, mark] : core_.state.marks()) {
    if (!mark.held || !epochs.is_ancestor(core_.local.floor, mark.at)) continue;
    // One that fell into a gap keeps nothing: it can never be shown here.
    if (core_.newest_whole(mark.at) != mark.at) continue;
    out.push_back({"held-mark", "mark '" + id + "' is held", epochs.common_ancestor(mark.at, head)});
  }
  if (const LogId kept = core_.local.log_kept_from; !kept.is_none()) {
    LogId from = epochs.is_ancestor(core_.local.floor, kept) ? kept : core_.local.floor;
    if (const LogId whole = core_.newest_whole(from); whole != from) {
      const LogId after = core_.whole_after(from);
      from = after.is_none() ? whole : after;
    }
    out.push_back({"log", "the log is kept from log:" + kept.to_string() + " on, until it is stopped",
                   epochs.common_ancestor(from, head)});
  }
  if (const LogId whole = core_.newest_whole(head); whole != head) {
    const bool refills = epochs.find(core_.live_epoch)->reason == format::EpochReason::kRefill;
    out.push_back({refills ? "refill" : "resync",
                   refills ? "a restore from the other node is not complete"
                           : "a resync behind the gap after log:" + whole.to_string() + " is not complete",
                   whole});
  }
  for (const std::uint64_t raw : core_.point_pins) {
    const LogId at = LogId::from_raw(raw);
    out.push_back({"command", "a command works on log:" + at.to_string(), epochs.common_ancestor(at, head)});
  }
  for (const std::uint64_t raw : core_.yielding_pins) {
    const LogId at = LogId::from_raw(raw);
    if (!epochs.is_ancestor(core_.local.floor, at)) continue;  // given up
    out.push_back(
        {"comparison", "the nodes are compared at log:" + at.to_string(), epochs.common_ancestor(at, head)});
  }
  for (const std::uint64_t raw : core_.view_pins) {
    const LogId at = LogId::from_raw(raw);
    if (!epochs.is_ancestor(core_.local.floor, at)) continue;  // given up
    out.push_back({"view", "a view of log:" + at.to_string() + " is open", epochs.common_ancestor(at, head)});
  }
  if (!core_.local.peer_has.is_none()) {
    out.push_back({"peer", "the peer has everything up to log:" + core_.local.peer_has.to_string(),
                   epochs.common_ancestor(core_.local.peer_has, head)});
  }
  for (const index::EpochTree::Branch& branch : epochs.branches(head)) {
    const index::EpochInfo* info = epochs.find(branch.epoch);
    if (info->released || !epochs.is_ancestor(core_.local.floor, branch.left_at)) continue;
    out.push_back({info->unreplicated ? "tail" : "branch",
                   "branch " + std::to_string(branch.epoch.value) +
                       " left the live path at log:" + branch.left_at.to_string(),
                   branch.left_at});
  }
  return out;
}

LogId Destager::limit_by_pins(Need need) const {
  const index::EpochTree& epochs = core_.state.epochs();
  const LogId head = core_.head();
  LogId limit = epochs.common_ancestor(core_.journal->durable(), head);
  for (const Pin& pin : pins()) {
    const std::string_view kind = pin.kind;
    if (kind == "branch" || (kind == "view" && need == Need::kViews)) continue;
    if (kind == "comparison" && need != Need::kNone) continue;
    // What the resync is to keep readable is not given up for the space that it takes.
    const bool keeps_window = kind == "resync" && need != Need::kNone;
    limit = older(keeps_window ? core_.local.floor : pin.at, limit);
  }
  for (const index::EpochTree::Branch& branch : epochs.branches(head)) {
    if (!branch_may_go(*epochs.find(branch.epoch), need) &&
        epochs.is_ancestor(core_.local.floor, branch.left_at)) {
      limit = older(branch.left_at, limit);
    }
  }
  return limit;
}

std::size_t Destager::segments_given_up() const {
  const std::size_t segments = core_.journal->status().segments_total;
  return std::max<std::size_t>(1, segments / kStepsPerJournal);
}

LogId Destager::limit_by_space(Need need) const {
  // As large as the time until the journal is full allows: the next space comes with the end of a step.
  const journal::JournalStatus status = core_.journal->status();
  // A step begins and ends inside of a segment, and takes up to two snapshots.
  const std::size_t overhead = 2 + 2 * (core_.journal->snapshot_size_bytes() / status.segment_size_bytes + 1);
  std::size_t largest = segments_given_up();
  if (promises_history() && gives_up_history(need))
    largest = std::min(largest, std::max(largest / kStepsPerGivenUp, 2 * overhead));
  const std::size_t smallest = std::max(overhead, status.segments_total / kStepsPerFullJournal);
  return behind(std::clamp<std::size_t>(status.segments_free, std::min(smallest, largest), largest));
}

LogId Destager::behind(std::size_t count) const {
  const std::vector<journal::SegmentInfo> segments = core_.journal->segments();
  const index::EpochTree& epochs = core_.state.epochs();
  if (segments.empty()) return core_.head();
  // Behind segments of a branch that the live epoch has left: what came since need not go with them.
  const LogId opened(core_.live_epoch, 1);
  const bool may_stop_there = !epochs.is_ancestor(opened, core_.local.destaged);
  bool dead = false;
  for (std::size_t i = std::min(count, segments.size() - 1); i < segments.size(); ++i) {
    const LogId first = segments[i].first;
    // What begins on a dead branch gives no point to stop at; the next segment may.
    const index::EpochInfo* info = epochs.find(first.epoch());
    if (info == nullptr) continue;
    if (!epochs.is_ancestor(first, core_.head())) {
      dead = true;
      continue;
    }
    const LogId before = first.sequence() > 1 ? first.previous() : info->parent;
    if (epochs.is_ancestor(before, core_.local.destaged)) continue;
    return dead && may_stop_there ? older(opened, before) : before;
  }
  return dead && may_stop_there ? opened : core_.head();
}

// The floor is a point that can be read, and the base ends at one: before a gap, or, when nothing else gives
// space, behind it.
LogId Destager::outside_gaps(LogId target, Need need) const {
  const index::EpochTree& epochs = core_.state.epochs();
  const LogId whole = epochs.newest_whole(target, core_.local.destaged);
  if (whole == target || !epochs.is_ancestor(whole, core_.local.destaged)) return whole;
  const LogId after = core_.whole_after(target);
  return !after.is_none() && epochs.is_ancestor(after, limit_by_pins(need)) ? after : whole;
}

io::Task<Result<LogId>> Destager::limit_by_retention(LogId limit) {
  const WallTime cutoff = core_.age_now() - core_.local.settings.retain;
  const std::shared_ptr<const index::Path> path = core_.path_to(limit);
  for (const index::PathStep& step : path->steps) {
    const index::EpochInfo* info = core_.state.epochs().find(step.epoch);
    if (info->opened > cutoff || info->last.sequence() == 0) continue;
    if (step.last_sequence == info->last.sequence() && info->last_timer <= cutoff) {
      co_return LogId(step.epoch, step.last_sequence);
    }
    auto batch =
        co_await core_.journal->find_time(step.epoch, step.first_sequence, step.last_sequence, cutoff);
    if (!batch.ok()) co_return std::move(batch).error();
    if (!batch->has_value()) break;
    const format::BatchMeta& meta = (*batch)->meta;
    LogId at = meta.first;
    for (std::size_t i = 0; i < meta.entries.size() && meta.entries[i].timer <= cutoff; ++i) {
      at = LogId::from_raw(meta.first.raw() + i);
    }
    co_return older(at, limit);
  }
  co_return core_.local.destaged;
}

LogId Destager::floor_beyond(LogId target, Need need) const {
  const LogId floor = newer(target, core_.local.floor);
  // What a step that was cut short may have left half written shows where the floor is now.
  const bool may_go = core_.local.base_settled && (!promises_history() || gives_up_history(need));
  if (!may_go) return floor;
  // What gives way for space does so for the target, and for nothing beyond it.
  LogId ahead = older(limit_by_pins(need), limit_by_pins(Need::kNone));
  // The peer may be told to go back to what it can show, or to hold a mark there.
  if (promises_history() || !core_.local.pair.empty()) ahead = older(behind(segments_given_up()), ahead);
  return newer(outside_gaps(ahead, need), floor);
}

io::Task<Result<bool>> Destager::step(Need need) {
  auto guard = co_await mutex_.lock();
  const index::EpochTree& epochs = core_.state.epochs();
  LogId target = outside_gaps(older(limit_by_space(need), limit_by_pins(need)), need);
  if (!epochs.is_ancestor(core_.local.destaged, target)) co_return false;
  // What lies below the floor is nobody's history any more.
  if (!gives_up_history(need) && !epochs.is_ancestor(target, core_.local.floor)) {
    TM_CO_TRY_ASSIGN(LogId expired, co_await limit_by_retention(target));
    expired = epochs.newest_whole(expired, core_.local.destaged);
    target = newer(expired, core_.local.floor);
  }
  // Nothing to move? Segments may still be left over from a step that a crash cut short.
  if (target == core_.local.destaged) co_return co_await free_segments();
  TM_CO_TRY_ASSIGN(const bool moved, co_await destage(target, floor_beyond(target, need), need));
  if (!moved) co_return false;
  TM_CO_TRY(co_await free_segments());
  co_return true;
}

io::Task<Result<bool>> Destager::destage(LogId target, LogId floor, Need need) {
  // Nothing may count as destaged of a volume that has no base to be destaged to.
  TM_CO_TRY(co_await core_.settle_volumes(false));
  TM_CO_TRY_ASSIGN(const std::uint32_t checksum, co_await core_.checksum_at(target));
  TM_CO_TRY_ASSIGN(const WallTime timer, co_await Points(core_).timer_at(target));
  TM_CO_TRY_ASSIGN(const WallTime floor_timer, co_await Points(core_).timer_at(floor));
  // A view may have been opened, or the head moved to another branch, while the above was awaited; or the
  // window of a first copy opened beyond it.
  const index::EpochTree& epochs = core_.state.epochs();
  const LogId limit = limit_by_pins(need);
  if (!epochs.is_ancestor(target, limit) || !epochs.is_ancestor(core_.local.floor, floor)) co_return false;
  if (floor != core_.local.floor && !epochs.is_ancestor(floor, limit)) co_return false;
  // 1. The promise first: from here on nobody may ask for an older point.
  core_.local.floor = floor;
  core_.local.floor_timer = floor_timer;
  core_.local.window_shortened =
      promises_history() && floor_timer > core_.age_now() - core_.local.settings.retain;
  const bool was_settled = std::exchange(core_.local.base_settled, false);
  const bool window_was_open = core_.local.window_open;
  TM_CO_TRY(co_await core_.save_local());
  co_await core_.flip_phase();
  // 2. The base; only the newest version of each block.
  TM_CO_TRY(co_await mover_.move(core_.path_to(floor), target, journal_bytes_up_to(target)));
  TM_CO_TRY(co_await keep_map());
  // 3. What the base now holds, durably, and the state without which the freed entries could not be missed.
  core_.local.destaged = target;
  core_.local.destaged_checksum = checksum;
  core_.local.destaged_timer = timer;
  // What a step before was cut short in is written again once this one, or the next, has come to the floor.
  core_.local.base_settled = (was_settled || target == floor) && core_.local.window_open == window_was_open;
  core_.update_live_path();
  TM_CO_TRY(co_await core_.save_local());
  co_return true;
}

// The map of changes is durable before what it stands for can be freed. When the journal has no room for it,
// it is the map that goes: whoever would need it compares everything.
io::Task<Result<void>> Destager::keep_map() {
  if (core_.local.changes_from.is_none()) co_return Result<void>{};
  auto saved = co_await core_.save_snapshot();
  if (saved.ok() || saved.error().code != ErrorCode::kNoSpace) co_return saved;
  core_.local.changes_from = LogId();
  core_.changes.end();
  co_return Result<void>{};
}

io::Task<Result<bool>> Destager::free_segments() {
  Place bound = core_.journal->oldest();
  const LogId destaged = core_.local.destaged;
  // The newest entries leave the journal only where they lie on a log volume that is to go.
  if (core_.journal->has_leaving() && destaged == core_.journal->durable()) {
    bound = core_.journal->durable_end();
  } else if (destaged.sequence() > 0) {
    auto batch = co_await core_.journal->find(destaged);
    if (batch.ok()) {
      bound = batch->meta.last() == destaged ? batch->next : batch->place;
    } else if (batch.error().code != ErrorCode::kNotFound) {
      co_return std::move(batch).error();
    }
  }
  // A snapshot takes space itself: none is written when no segment would be freed by it.
  const std::uint64_t oldest = core_.journal->oldest().generation();
  if (bound.generation() <= oldest) co_return false;
  co_await core_.flip_phase();
  core_.index->drop_before(bound);
  for (auto& [id, volume] : core_.volumes) {
    volume->appended_bytes.erase(volume->appended_bytes.begin(),
                                 volume->appended_bytes.lower_bound(bound.generation()));
  }
  // What the snapshot before allows goes first: a full journal may have no room for a new one until then.
  TM_CO_TRY(co_await core_.journal->free_before(bound));
  if (bound.generation() > core_.journal->oldest().generation()) {
    auto saved = co_await core_.save_snapshot();
    const bool freed_some = core_.journal->oldest().generation() > oldest;
    if (!saved.ok() && !(freed_some && saved.error().code == ErrorCode::kNoSpace))
      co_return std::move(saved).error();
    TM_CO_TRY(co_await core_.journal->free_before(bound));
  }
  TM_CO_TRY(co_await core_.settle_volumes(true));
  co_return core_.journal->oldest().generation() > oldest;
}

// What the segments hold that a step empties, or nearly.
std::uint64_t Destager::journal_bytes_up_to(LogId target) const {
  const index::EpochTree& epochs = core_.state.epochs();
  std::uint64_t bytes = 0;
  for (const journal::SegmentInfo& segment : core_.journal->segments()) {
    const bool holds_any = !segment.first.is_none() && epochs.find(segment.first.epoch()) != nullptr;
    if (holds_any && epochs.is_ancestor(segment.first, target))
      bytes += core_.journal->status().segment_size_bytes;
  }
  return bytes;
}

// A quiet group's journal may never be half full; what it was told to keep for a day is not kept for a year.
// Looked at now and then, and the floor still moves in steps worth their writes.
bool Destager::history_has_expired() const {
  const Duration retain = core_.local.settings.retain;
  const Duration since_last = core_.scheduler().now() - expiry_looked_at_;
  // After a crash, what is to be freed may be all that is left to be done.
  if (core_.journal->has_leaving() && since_last >= kLeavingInterval) return core_.local.window_open;
  const Duration slack = std::max(kExpirySlackMin, Duration{retain.ns / 4});
  return core_.local.window_open && core_.local.destaged != core_.head() && since_last >= slack &&
         core_.age_now() - core_.local.destaged_timer - slack > retain;
}

io::Task<void> Destager::run() {
  while (!core_.closing && !core_.failure.has_value()) {
    const journal::JournalStatus status = core_.journal->status();
    const bool half_full = status.segments_free * 2 <= status.segments_total;
    const bool short_of_space =
        core_.waiting_for_space > 0 || status.segments_free * 4 < status.segments_total;
    bool freed = false;
    // The floor follows what is durable.
    const std::uint64_t appended = core_.journal->last_ticket();
    const bool is_early = !core_.journal->is_durable(appended);
    const bool expired = history_has_expired();
    if (expired) expiry_looked_at_ = core_.scheduler().now();
    if (half_full || short_of_space || expired) {
      auto stepped = co_await step(short_of_space ? Need::kSpace : Need::kNone);
      const bool views_yield = stepped.ok() && !*stepped && core_.waiting_for_space > 0 &&
                               !core_.view_pins.empty() && gives_up_history(Need::kViews) &&
                               !core_.peer_is_behind();
      if (views_yield) {
        stepped = co_await step(Need::kViews);
        if (stepped.ok() && *stepped) core_.views_given_up_at = core_.scheduler().now();
      }
      if (!stepped.ok()) {
        if (stepped.error().code == ErrorCode::kNoSpace) {
          core_.alarm = stepped.error().message;
        } else if (!core_.closing || stepped.error().code != ErrorCode::kShutdown) {
          core_.stop(stepped.error());
        }
      }
      freed = stepped.ok() && stepped.value();
    }
    if (!core_.failure.has_value()) {
      const auto guard = co_await mutex_.lock();
      const auto given_back = co_await core_.give_back_log_volumes();
      if (!given_back.ok()) core_.stop(given_back.error());
    }
    // A pass that only came too early says nothing to who waits, also if it is durable by now.
    if (!freed && core_.waiting_for_space > 0 && is_early) {
      auto durable = co_await core_.journal->wait_durable(appended);
      if (!durable.ok()) core_.stop(durable.error());
      continue;
    }
    core_.last_pass_freed = freed;
    ++core_.destage_passes;
    core_.space_freed.wake_all();
    if (freed && core_.waiting_for_space == 0) continue;
    // The peer is waited for; the next pass comes when it has more, or was given up.
    if (core_.waiting_for_space > 0 && !freed && core_.peer_is_behind()) {
      co_await core_.floor_wanted.wait_until(core_.scheduler().now() + kPeerInterval);
      continue;
    }
    if (core_.waiting_for_space > 0) {
      // A waiter needs two fruitless passes before it gives up; let it look first.
      co_await core_.scheduler().yield();
      if (freed || core_.waiting_for_space > 0) continue;
    }
    co_await core_.floor_wanted.wait_until(core_.scheduler().now() + kPassInterval);
  }
}

}  // namespace tidemark::group
