// The log volumes of a group: further ones are added while it goes on, and given back when nothing on them is
// needed any more.

#include <algorithm>

#include "base/log_field.h"
#include "group/group.h"

namespace tidemark::group {

std::vector<GroupLogVolume> Group::log_volumes() const {
  std::vector<GroupLogVolume> out;
  for (const journal::LogVolumeStatus& status : core_.journal->log_volumes()) {
    GroupLogVolume& volume = out.emplace_back();
    volume.number = status.number.value == 0 ? core_.log_volume : status.number;
    volume.size_bytes = core_.context.pools.log_volume(volume.number)->size_bytes();
    volume.status = status;
  }
  return out;
}

bool Group::has_log_volume(LuNumber number) const {
  if (number == core_.log_volume) return true;
  return std::ranges::any_of(core_.journal->log_volumes(), [number](const journal::LogVolumeStatus& status) {
    return status.number == number;
  });
}

io::Task<std::unique_ptr<pool::LogVolumeSurvey>> Group::survey_log_volume(LuNumber number, DiskOffset begin,
                                                                          DiskOffset end) {
  const LuNumber of_journal = number == core_.log_volume ? LuNumber{} : number;
  return core_.journal->survey(of_journal, begin, end);
}

std::uint64_t Group::log_volumes_size_bytes() const {
  std::uint64_t bytes = 0;
  for (const GroupLogVolume& volume : log_volumes()) {
    if (!volume.status.leaving) bytes += volume.size_bytes;
  }
  return bytes;
}

io::Task<Result<LuNumber>> Group::add_log_volume(PoolNumber pool, std::uint64_t size_bytes) {
  auto guard = co_await core_.settle_mutex.lock();
  if (core_.closing) co_return fail(ErrorCode::kShutdown, "group '" + name() + "' is closing");
  if (core_.failure.has_value()) co_return *core_.failure;
  const std::uint64_t segment_bytes = core_.journal->status().segment_size_bytes;
  const std::uint64_t whole_bytes = (size_bytes + segment_bytes - 1) / segment_bytes * segment_bytes;
  TM_CO_TRY_ASSIGN(const LuNumber number,
                   co_await core_.context.pools.create_further_log_volume(pool, identity(), whole_bytes));
  auto added = co_await core_.journal->add_log_volume(number, *core_.context.pools.log_volume(number));
  if (added.ok()) {
    core_.floor_wanted.wake_all();
    co_return number;
  }
  // A superblock that could not be written may name it all the same; the next start tells.
  if (core_.journal->failed().has_value()) {
    core_.stop(*core_.journal->failed());
  } else {
    (void)co_await core_.context.pools.remove(number);
  }
  co_return added.error();
}

io::Task<Result<void>> Group::remove_log_volume(LuNumber number) {
  if (core_.closing) co_return fail(ErrorCode::kShutdown, "group '" + name() + "' is closing");
  if (number == core_.log_volume) {
    co_return fail(ErrorCode::kRefused, "log volume " + std::to_string(number.value) +
                                            " is the first of group '" + name() +
                                            "': the journal begins there, and it stays as long as the group");
  }
  auto emptied = co_await core_.journal->empty_log_volume(number);
  // The others are full of history: where it may be dropped for want of space, it is.
  while (!emptied.ok() && emptied.error().code == ErrorCode::kNoSpace && !core_.closing) {
    TM_CO_TRY_ASSIGN(const bool freed, co_await destage_now(true));
    if (!freed) break;
    emptied = co_await core_.journal->empty_log_volume(number);
  }
  if (core_.journal->failed().has_value()) core_.stop(*core_.journal->failed());
  core_.floor_wanted.wake_all();
  co_return emptied;
}

io::Task<Result<void>> Core::give_back_log_volumes() {
  // The last free segments are for snapshots that let some be freed here.
  const journal::JournalStatus status = journal->status();
  const bool has_space = status.segments_free * 4 >= status.segments_total;
  if (journal->ends_on_leaving() && local.window_open && has_space) {
    const auto saved = co_await save_snapshot();
    if (!saved.ok() && saved.error().code != ErrorCode::kNoSpace) co_return saved;
  }
  if (journal->emptied_log_volumes().empty()) co_return Result<void>{};
  auto guard = co_await settle_mutex.lock();
  for (const LuNumber number : journal->emptied_log_volumes()) {
    TM_CO_TRY(co_await journal->drop_log_volume(number));
    TM_CO_TRY(co_await context.pools.remove(number));
    if (context.log) context.log("log-volume-removed", name(), log_field("unit", number.value));
  }
  co_return Result<void>{};
}

io::Task<Result<void>> Core::remove_unnamed_log_volumes() {
  const std::vector<journal::LogVolumeStatus> named = journal->log_volumes();
  for (const pool::LuRecord& unit : context.pools.units()) {
    if (unit.group != journal->group() || !unit.is_further_log()) continue;
    if (std::ranges::find(named, unit.number, &journal::LogVolumeStatus::number) != named.end()) continue;
    TM_CO_TRY(co_await context.pools.remove(unit.number));
  }
  co_return Result<void>{};
}

}  // namespace tidemark::group
