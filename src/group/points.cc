#include "group/points.h"

#include <charconv>

#include "base/names.h"

namespace tidemark::group {

Result<LogId> parse_log_id(const std::string& text) {
  const Error bad =
      fail(ErrorCode::kInvalid,
           "'" + printable(text, 40) + "' is not a log id; write EPOCH.SEQUENCE, for example log:1.42");
  const std::size_t dot = text.find('.');
  if (dot == std::string::npos) return bad;
  std::uint64_t epoch = 0;
  std::uint64_t sequence = 0;
  const char* begin = text.data();
  const char* middle = begin + dot;
  const char* end = begin + text.size();
  const auto first = std::from_chars(begin, middle, epoch);
  const auto second = std::from_chars(middle + 1, end, sequence);
  if (first.ec != std::errc{} || first.ptr != middle || second.ec != std::errc{} || second.ptr != end ||
      epoch == 0 || epoch > kEpochMax || sequence > kSequenceMax) {
    return bad;
  }
  return LogId(Epoch{static_cast<std::uint32_t>(epoch)}, sequence);
}

std::string Points::hint() const {
  const LogId newest = core_.newest_whole(core_.head());
  std::string text = "readable are log:" + core_.local.floor.to_string() +
                     " (floor) to log:" + newest.to_string() +
                     (newest == core_.head() ? " (head)" : ", where a gap begins");
  if (const std::optional<Mark> mark = core_.state.last_mark())
    text += "; the last mark is '" + mark->id + "'";
  return text;
}

io::Task<Result<LogId>> Points::find(std::string text) {
  if (text == "head") co_return core_.head();
  if (text == "floor") co_return core_.local.floor;
  if (text.starts_with("time:")) {
    TM_CO_TRY_ASSIGN(const WallTime time, parse_time(text.substr(5)));
    co_return co_await find_time(time);
  }
  if (text.starts_with("log:")) co_return parse_log_id(text.substr(4));
  TM_CO_TRY(validate_known_mark_id("point", text));
  const Mark* mark = core_.state.find_mark(text);
  if (mark == nullptr) {
    co_return fail(ErrorCode::kNotFound,
                   "group '" + core_.name() + "' has no mark '" + text + "'; " + hint());
  }
  co_return mark->at;
}

io::Task<Result<ResolvedPoint>> Points::resolve(std::string text, bool before) {
  auto found = co_await find(text);
  if (!found.ok()) co_return std::move(found).error();
  LogId at = found.value();
  if (before && at.sequence() > 0) at = at.previous();
  if (at.sequence() == 0) {
    // Sequence 0 of an epoch is the point it continues after; of the first epoch, the empty group.
    const index::EpochInfo* info = core_.state.epochs().find(at.epoch());
    if (info != nullptr && info->reason != format::EpochReason::kCreate) at = info->parent;
  }
  auto readable = core_.check_readable(at);
  if (!readable.ok()) {
    co_return fail(readable.error().code,
                   "'" + printable(text, 140) + "': " + readable.error().message + "; " + hint());
  }
  auto timer = co_await timer_at(at);
  // It may have expired while its entry was looked for.
  readable = core_.check_readable(at);
  if (!readable.ok()) co_return fail(readable.error().code, readable.error().message + "; " + hint());
  if (!timer.ok()) co_return std::move(timer).error();
  co_return ResolvedPoint{at, timer.value()};
}

Result<LogId> Points::comparable(const std::string& text) const {
  if (!text.starts_with("log:")) return fail(ErrorCode::kInvalid, "a point to compare at is a log id");
  TM_TRY_ASSIGN(LogId at, parse_log_id(text.substr(4)));
  const index::EpochInfo* info = core_.state.epochs().find(at.epoch());
  if (at.sequence() == 0 && info != nullptr && info->reason != format::EpochReason::kCreate)
    at = info->parent;
  TM_TRY(core_.check_comparable(at));
  return at;
}

io::Task<Result<WallTime>> Points::timer_at(LogId point) {
  const index::EpochInfo* info = core_.state.epochs().find(point.epoch());
  if (info == nullptr)
    co_return fail(ErrorCode::kNotFound, "no epoch " + std::to_string(point.epoch().value));
  if (point == info->last) co_return info->last_timer;
  if (point == core_.local.destaged && point.sequence() > 0) co_return core_.local.destaged_timer;
  if (point == core_.local.floor && point.sequence() > 0) co_return core_.local.floor_timer;
  if (point.sequence() <= 1) co_return info->opened;
  auto batch = co_await core_.find_batch(point);
  if (!batch.ok()) co_return std::move(batch).error();
  co_return batch->meta.entries[point.raw() - batch->meta.first.raw()].timer;
}

io::Task<Result<LogId>> Points::find_time(WallTime time) {
  // What a host would have read then: in the epoch that was live, which is the one opened last by then. An
  // epoch that lost to another at a resync was never what the hosts of the continued one read.
  const index::EpochInfo* live = nullptr;
  for (const auto& [number, info] : core_.state.epochs().all()) {
    if (info.opened > time || info.abandoned) continue;
    if (live == nullptr || live->opened <= info.opened) live = &info;
  }
  if (live == nullptr) {
    co_return fail(ErrorCode::kExpired, "the group began after " + format_time(time) + "; " + hint());
  }
  const WallTime now = core_.context.environment.clock.now();
  if (time > now && time > live->last_timer) {
    co_return fail(ErrorCode::kNotReceived, format_time(time) + " is in the future; " + hint());
  }
  if (live->last_timer <= time || live->last.sequence() == 0) {
    const bool held = live->last_timer >= time && live->last.sequence() > 0;
    if (!held && core_.state.epochs().has_gap_after(live->number)) {
      co_return fail(ErrorCode::kInGap, format_time(time) + " lies in the gap after log:" +
                                            core_.newest_whole(live->last).to_string() +
                                            "; the other node may hold it; " + hint());
    }
    co_return live->last;
  }
  const Epoch epoch = live->number;
  // Entries below the floor are not asked for: what they held may be freed.
  const std::uint64_t first = epoch == core_.local.floor.epoch() ? core_.local.floor.sequence() : 1;
  const std::uint64_t last = live->last.sequence();
  auto batch = co_await core_.journal->find_time(epoch, std::max<std::uint64_t>(first, 1), last, time);
  if (!batch.ok()) co_return std::move(batch).error();
  if (!batch->has_value()) {
    // The batch of the floor itself may be freed.
    const LocalRecord& local = core_.local;
    if (local.floor.epoch() == epoch && local.floor.sequence() > 0 && local.floor_timer <= time) {
      co_return local.floor;
    }
    if (!core_.local.window_start.is_none() && time < core_.local.window_start_timer) {
      co_return fail(ErrorCode::kInGap,
                     format_time(time) + " lies before the window of this node opened, at log:" +
                         core_.local.window_start.to_string() + "; the other node may hold it; " + hint());
    }
    co_return fail(ErrorCode::kExpired,
                   format_time(time) + " lies before the oldest readable point; " + hint());
  }
  const format::BatchMeta& meta = (*batch)->meta;
  std::size_t index = 0;
  while (index + 1 < meta.entries.size() && meta.entries[index + 1].timer <= time) ++index;
  co_return LogId::from_raw(meta.first.raw() + index);
}

}  // namespace tidemark::group
