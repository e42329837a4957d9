// Operations of the control API on disks and RAID groups.

#include <algorithm>
#include <charconv>

#include "base/log_field.h"
#include "control/types_fields.h"
#include "node/node_storage.h"

namespace tidemark::node {
namespace {

constexpr std::uint64_t kScrubPartBytesMax = 64 << 20;
constexpr std::size_t kFindingsMax = 100;

control::RaidLevel level_of(format::RaidLevel level) {
  switch (level) {
    case format::RaidLevel::k0:
      return control::RaidLevel::k0;
    case format::RaidLevel::k1:
      return control::RaidLevel::k1;
    case format::RaidLevel::k5:
      return control::RaidLevel::k5;
    case format::RaidLevel::k6:
      return control::RaidLevel::k6;
    case format::RaidLevel::k10:
      return control::RaidLevel::k10;
  }
  return control::RaidLevel::k1;
}

control::RaidHealth health_of(raid::GroupHealth health) {
  switch (health) {
    case raid::GroupHealth::kOptimal:
      return control::RaidHealth::kOptimal;
    case raid::GroupHealth::kDegraded:
      return control::RaidHealth::kDegraded;
    case raid::GroupHealth::kFailed:
      return control::RaidHealth::kFailed;
  }
  return control::RaidHealth::kFailed;
}

control::DiskState state_of(const raid::MemberStatus& member) {
  if (member.name.empty()) return control::DiskState::kMissing;
  switch (member.state) {
    case format::RaidMemberState::kInSync:
      return control::DiskState::kInSync;
    case format::RaidMemberState::kRebuilding:
      return control::DiskState::kRebuilding;
    case format::RaidMemberState::kFailed:
      return control::DiskState::kFailed;
  }
  return control::DiskState::kFailed;
}

format::RaidLevel level_of(control::RaidLevel wanted) {
  using format::RaidLevel;
  for (const RaidLevel level : {RaidLevel::k0, RaidLevel::k5, RaidLevel::k6, RaidLevel::k10}) {
    if (level_of(level) == wanted) return level;
  }
  return RaidLevel::k1;
}

control::DiskInfo member_info(const std::string& raid, const raid::MemberStatus& member,
                              std::uint64_t member_bytes) {
  control::DiskInfo info;
  info.disk = member.name;
  info.raid = raid;
  info.state = state_of(member);
  info.member = member.index;
  info.identity = member.disk.to_string();
  info.size_bytes = member_bytes;
  info.rebuilt_bytes = member.rebuilt_bytes;
  info.reads = member.reads;
  info.writes = member.writes;
  info.read_bytes = member.read_bytes;
  info.written_bytes = member.written_bytes;
  info.read_errors = member.read_errors;
  info.write_errors = member.write_errors;
  info.repaired_blocks = member.repaired_blocks;
  if (member.reads + member.writes > 0) {
    info.latency_mean = member.latency_mean;
    info.latency_max = member.latency_max;
  }
  info.slow = member.slow;
  info.explanation = member.failure;
  return info;
}

// By its path or its number.
const raid::MemberStatus* find_member(const raid::RaidStatus& status, const std::string& named) {
  std::uint32_t index = 0;
  const char* end = named.data() + named.size();
  const auto [at, error] = std::from_chars(named.data(), end, index);
  const bool is_number = error == std::errc() && at == end;
  const auto found =
      std::find_if(status.members.begin(), status.members.end(), [&](const raid::MemberStatus& member) {
        return is_number ? member.index == index : member.name == named;
      });
  return found == status.members.end() ? nullptr : &*found;
}

Error no_such_member(const std::string& raid, const std::string& named) {
  return fail(ErrorCode::kNotFound, "RAID group " + raid + " has no member '" + named +
                                        "'; `tidemark disk list` shows its members, which are "
                                        "named by their path or their number");
}

// Whole rows that are scrubbed at once, in about a second; between two such parts a scrub can be stopped.
std::uint64_t scrub_part_bytes(const raid::RaidStatus& status, std::uint64_t bytes_per_second_max) {
  const std::uint64_t columns = std::max<std::uint64_t>(1, status.size_bytes / status.member_bytes);
  const std::uint64_t row_bytes = columns * status.unit_bytes;
  const std::uint64_t wanted =
      bytes_per_second_max == 0 ? kScrubPartBytesMax : std::min(bytes_per_second_max, kScrubPartBytesMax);
  return std::max<std::uint64_t>(1, wanted / row_bytes) * row_bytes;
}

// Whether the group holds on to a disk of that path: also one that failed after it had taken the place.
bool names(const raid::RaidStatus& status, const std::string& path) {
  const auto is_it = [&](const raid::MemberStatus& member) { return member.name == path; };
  return std::any_of(status.members.begin(), status.members.end(), is_it) ||
         std::find(status.spares.begin(), status.spares.end(), path) != status.spares.end();
}

// A member or spare of the start whose place another disk has by now.
bool has_left(const raid::RaidStatus& status, const raid::DiskReport& report) {
  const bool was_used = report.role == raid::DiskRole::kMember || report.role == raid::DiskRole::kSpare;
  return was_used && report.raid == status.raid;
}

// Where a member failed, another disk may be by now.
bool is_in_use(const raid::RaidStatus& status, const std::string& path) {
  const bool failed =
      std::any_of(status.members.begin(), status.members.end(), [&](const raid::MemberStatus& member) {
        return member.name == path && member.state == format::RaidMemberState::kFailed;
      });
  return names(status, path) && !failed;
}

}  // namespace

Result<PoolNumber> NodeStorage::require_raid(const std::optional<std::string>& name) const {
  if (name.has_value()) {
    TM_TRY_ASSIGN(const PoolNumber number, find_pool(name));
    const Part& part = parts_.at(number);
    if (part.disk.raid != nullptr) return number;
    return fail(ErrorCode::kNotFound,
                "'" + *name + "' is one disk, " + part.disk.path + ", as it is, and not a RAID group");
  }
  const Part* only = nullptr;
  std::string names;
  for (const auto& [number, part] : parts_) {
    if (part.disk.raid == nullptr) continue;
    only = &part;
    names += (names.empty() ? "" : ", ") + part.disk.name;
  }
  if (only == nullptr) {
    return fail(ErrorCode::kNotFound, "this node has no RAID group; its pool lies on one disk, " +
                                          parts_.begin()->second.disk.path +
                                          "; `tidemark raid create` makes a RAID group of others");
  }
  if (names != only->disk.name) {
    return fail(ErrorCode::kInvalid, "this node has several RAID groups, " + names + "; say --raid NAME");
  }
  return only->disk.number;
}

Result<PoolNumber> NodeStorage::raid_of(const std::optional<std::string>& name,
                                        std::vector<std::string> disks) const {
  if (name.has_value()) return require_raid(name);
  for (const std::string& disk : disks) {
    for (const auto& [number, part] : parts_) {
      if (part.disk.raid != nullptr && names(part.disk.raid->status(), disk)) return number;
    }
  }
  return require_raid(name);
}

// Of whatever is not being replaced.
Result<void> NodeStorage::check_unused(const std::string& path) const {
  for (const auto& [number, part] : parts_) {
    const bool is_plain = part.disk.raid == nullptr && part.disk.path == path;
    if (is_plain || (part.disk.raid != nullptr && is_in_use(part.disk.raid->status(), path))) {
      return fail(ErrorCode::kExists,
                  path + " is in use already" + (is_plain ? "" : ", in RAID group " + part.disk.name));
    }
  }
  return {};
}

control::RaidInfo NodeStorage::raid_info(const Part& part, const raid::RaidStatus& status) const {
  control::RaidInfo info;
  info.name = status.name;
  info.identity = status.raid.to_string();
  info.level = level_of(status.level);
  info.unit_bytes = status.unit_bytes;
  info.size_bytes = status.size_bytes;
  info.member_bytes = status.member_bytes;
  info.health = health_of(status.health);
  info.losses_left = status.losses_left;
  for (const raid::MemberStatus& member : status.members) {
    info.disks.push_back(member_info(status.name, member, status.member_bytes));
  }
  for (const std::string& spare : status.spares) {
    control::DiskInfo disk;
    disk.disk = spare;
    disk.raid = status.name;
    disk.state = control::DiskState::kSpare;
    info.disks.push_back(std::move(disk));
  }
  info.rebuild_problem = status.rebuild_problem;
  info.replayed_entries = status.replayed_entries;
  info.resynced_bytes = status.resynced_bytes;
  info.notices = status.notices;
  if (part.scrub != nullptr) info.scrub = part.scrub->info;
  return info;
}

// Those that were found at the start and that nothing uses now.
std::vector<control::DiskInfo> NodeStorage::refused_disks() const {
  std::vector<control::DiskInfo> out;
  for (const raid::DiskReport& report : options_.disks.found) {
    const bool known = std::any_of(parts_.begin(), parts_.end(), [&](const auto& part) {
      const PoolDisk& at = part.second.disk;
      return at.raid != nullptr ? names(at.raid->status(), report.name) || has_left(at.raid->status(), report)
                                : at.path == report.name;
    });
    if (known) continue;
    const bool is_member = report.role == raid::DiskRole::kMember || report.role == raid::DiskRole::kSpare;
    control::DiskInfo disk;
    disk.disk = report.name;
    disk.state = control::DiskState::kRefused;
    if (!report.disk.is_zero()) disk.identity = report.disk.to_string();
    disk.explanation = report.explanation;
    if (disk.explanation.empty() && is_member) disk.explanation = "its RAID group is not here";
    if (disk.explanation.empty()) disk.explanation = raid::disk_role_name(report.role);
    out.push_back(std::move(disk));
  }
  return out;
}

control::DiskListReply NodeStorage::disk_list() const {
  control::DiskListReply reply;
  for (const auto& [number, part] : parts_) {
    if (part.disk.raid != nullptr) {
      std::vector<control::DiskInfo> disks = raid_info(part, part.disk.raid->status()).disks;
      std::move(disks.begin(), disks.end(), std::back_inserter(reply.disks));
      continue;
    }
    const pool::Pool& pool = *pools_.find(number);
    control::DiskInfo disk;
    disk.disk = part.disk.path;
    disk.identity = pool.disk_identity().to_string();
    disk.size_bytes = pool.status().size_bytes;
    reply.disks.push_back(std::move(disk));
  }
  std::vector<control::DiskInfo> refused = refused_disks();
  std::move(refused.begin(), refused.end(), std::back_inserter(reply.disks));
  return reply;
}

void NodeStorage::add_raid_problems(const Part& part, std::vector<control::Problem>& out) const {
  if (part.disk.raid == nullptr) return;
  const control::RaidInfo info = raid_info(part, part.disk.raid->status());
  const std::string raid = "RAID group " + info.name;
  const std::string named = is_alone() ? "" : " --raid " + info.name;
  const std::string show = "tidemark raid status" + (is_alone() ? "" : " " + info.name);
  if (info.health == control::RaidHealth::kFailed) {
    out.push_back({{}, raid + " has lost more members than its level tolerates", std::nullopt, show});
  } else if (info.health == control::RaidHealth::kDegraded) {
    out.push_back({{},
                   raid + " is degraded: all data are there, and it tolerates the loss of " +
                       std::to_string(info.losses_left) + " more",
                   std::nullopt,
                   show});
  }
  for (const control::DiskInfo& disk : info.disks) {
    const std::string name = disk.disk.empty()
                                 ? "member " + std::to_string(disk.member.value_or(0)) + " of " + info.name
                                 : disk.disk;
    const std::string why = disk.explanation.empty() ? "" : ": " + disk.explanation;
    if (disk.state == control::DiskState::kFailed || disk.state == control::DiskState::kMissing) {
      out.push_back(
          {{},
           "disk " + name + " is " + std::string(control::word(disk.state)) + why,
           std::nullopt,
           "tidemark disk replace " + std::to_string(disk.member.value_or(0)) + " NEW-DISK" + named});
    } else if (disk.slow) {
      out.push_back({{}, "disk " + name + " is slow", std::nullopt, "tidemark disk list"});
    }
  }
  if (!info.rebuild_problem.empty()) {
    out.push_back({{}, raid + ": the rebuild does not go on: " + info.rebuild_problem, std::nullopt, {}});
  }
  for (const std::string& notice : info.notices) out.push_back({{}, raid + ": " + notice, std::nullopt, {}});
  if (info.scrub.has_value() && info.scrub->undecided > 0) {
    out.push_back({{},
                   raid + ": its last scrub found " + std::to_string(info.scrub->undecided) +
                       " places of which nobody can say which member is right",
                   info.scrub->ended,
                   show});
  }
  if (info.scrub.has_value() && info.scrub->repairable > 0) {
    out.push_back({{},
                   raid + ": its last scrub, which was to repair nothing, found " +
                       std::to_string(info.scrub->repairable) + " places that one that repairs makes good",
                   info.scrub->ended,
                   "tidemark raid scrub" + (is_alone() ? "" : " " + info.name)});
  }
}

io::Task<Result<control::DiskListReply>> NodeStorage::disk_add(control::DiskAddRequest request) {
  auto guard = co_await disks_mutex_.lock();
  TM_CO_TRY_ASSIGN(const PoolNumber number, require_raid(request.raid));
  const PoolDisk& at = parts_.at(number).disk;
  raid::RaidGroup* raid = at.raid;
  if (is_in_use(raid->status(), request.disk)) co_return disk_list();
  TM_CO_TRY(check_unused(request.disk));
  TM_CO_TRY_ASSIGN(raid::NamedDisk disk, co_await options_.disks.open(request.disk));
  Result<void> added = co_await options_.disks.remember(request.disk);
  if (added.ok()) added = co_await raid->add_spare(std::move(disk));
  if (!added.ok()) {
    if (!names(raid->status(), request.disk)) co_await options_.disks.give_back(request.disk);
    co_return std::move(added).error();
  }
  log_("disk-add", log_field("raid", at.name) + " " + log_field("disk", request.disk));
  co_return disk_list();
}

io::Task<Result<control::DiskListReply>> NodeStorage::disk_replace(control::DiskReplaceRequest request) {
  auto guard = co_await disks_mutex_.lock();
  // Said again, the old disk may not be of any.
  std::vector<std::string> named{request.disk, request.by};
  TM_CO_TRY_ASSIGN(const PoolNumber number, raid_of(request.raid, std::move(named)));
  const PoolDisk& at = parts_.at(number).disk;
  raid::RaidGroup* raid = at.raid;
  const raid::RaidStatus status = raid->status();
  const raid::MemberStatus* member = find_member(status, request.disk);
  // Said again, it has been done.
  if (member == nullptr && is_in_use(status, request.by)) co_return disk_list();
  if (member == nullptr) co_return no_such_member(at.name, request.disk);
  const bool failed = member->state == format::RaidMemberState::kFailed;
  if (member->name == request.by && !failed) co_return disk_list();
  TM_CO_TRY(check_unused(request.by));
  const std::uint32_t index = member->index;
  TM_CO_TRY_ASSIGN(raid::NamedDisk disk, co_await options_.disks.open(request.by));
  // First, so that a start between the two finds it.
  Result<void> replaced = co_await options_.disks.remember(request.by);
  if (replaced.ok()) replaced = co_await raid->replace(index, std::move(disk));
  if (!replaced.ok()) {
    if (!names(raid->status(), request.by)) co_await options_.disks.give_back(request.by);
    co_return std::move(replaced).error();
  }
  log_("disk-replace",
       log_field("raid", at.name) + " " + log_field("member", index) + " " + log_field("by", request.by));
  co_return disk_list();
}

io::Task<Result<control::DiskListReply>> NodeStorage::disk_remove(control::DiskRemoveRequest request) {
  auto guard = co_await disks_mutex_.lock();
  std::vector<std::string> named{request.disk};
  TM_CO_TRY_ASSIGN(const PoolNumber number, raid_of(request.raid, std::move(named)));
  const PoolDisk& at = parts_.at(number).disk;
  raid::RaidGroup* raid = at.raid;
  const raid::RaidStatus status = raid->status();
  const raid::MemberStatus* member = find_member(status, request.disk);
  if (member == nullptr) co_return no_such_member(at.name, request.disk);
  if (member->state != format::RaidMemberState::kFailed) {
    const std::uint32_t index = member->index;
    TM_CO_TRY(co_await raid->fail_out(index));
    log_("disk-remove", log_field("raid", at.name) + " " + log_field("member", index) + " " +
                            log_field("disk", request.disk));
  }
  co_return disk_list();
}

control::RaidListReply NodeStorage::raid_list() const {
  control::RaidListReply reply;
  for (const auto& [number, part] : parts_) {
    const pool::PoolStatus pool = pools_.find(number)->status();
    control::RaidSummary summary;
    summary.name = part.disk.name;
    summary.pool_number = number.value;
    summary.capacity_bytes = pool.size_bytes;
    summary.used_bytes = pool.allocated_bytes;
    summary.journals_bytes = journals_bytes(number);
    summary.disks = 1;
    if (part.disk.raid != nullptr) {
      const raid::RaidStatus status = part.disk.raid->status();
      summary.level = level_of(status.level);
      summary.health = health_of(status.health);
      summary.disks = static_cast<std::uint32_t>(status.members.size());
    }
    reply.raids.push_back(std::move(summary));
  }
  for (const pool::MissingPool& missing : pools_.missing()) {
    control::RaidSummary summary;
    summary.name = missing.name;
    if (missing.number < kUnknownPool) summary.pool_number = missing.number.value;
    summary.health = control::RaidHealth::kMissing;
    summary.explanation = missing.reason;
    reply.raids.push_back(std::move(summary));
  }
  return reply;
}

io::Task<Result<control::RaidInfo>> NodeStorage::raid_create(control::RaidCreateRequest request) {
  auto guard = co_await disks_mutex_.lock();
  if (stopping_) co_return fail(ErrorCode::kShutdown, "the node is stopping");
  const auto has_name = [&](const pool::MissingPool& missing) { return missing.name == request.name; };
  if (find_part(request.name) != nullptr || std::ranges::any_of(pools_.missing(), has_name)) {
    co_return fail(ErrorCode::kExists, "this node has a RAID group '" + request.name + "' already");
  }
  for (const std::string& path : request.disks) {
    TM_CO_TRY(check_unused(path));
    if (std::count(request.disks.begin(), request.disks.end(), path) > 1) {
      co_return fail(ErrorCode::kInvalid, path + " is named twice");
    }
  }
  NewRaidGroup what;
  what.name = request.name;
  what.level = level_of(request.level);
  what.unit_bytes = static_cast<std::uint32_t>(request.unit_bytes.value_or(raid::kUnitBytesDefault));
  what.disks = request.disks;
  TM_CO_TRY_ASSIGN(PoolDisk made, co_await options_.disks.create_raid(std::move(what)));
  auto opened = co_await pool::Pool::open(environment_, *made.disk, options_.node);
  if (!opened.ok()) {
    pool::MissingPool missing;
    missing.number = made.number;
    missing.name = made.name;
    missing.reason = opened.error().message;
    pools_.add_missing(std::move(missing));
    co_return opened.error();
  }
  Part& part = parts_[made.number];
  part.disk = made;
  pools_.add(std::move(opened).value());
  log_("raid-create", log_field("raid", made.name) + " " +
                          log_field("level", std::string(control::word(request.level))) + " " +
                          log_field("disks", std::uint64_t{request.disks.size()}));
  co_return raid_info(part, made.raid->status());
}

io::Task<Result<control::RaidListReply>> NodeStorage::raid_forget(control::RaidForgetRequest request) {
  auto guard = co_await disks_mutex_.lock();
  const std::string name = request.name;
  if (find_part(name) != nullptr) {
    co_return fail(ErrorCode::kRefused,
                   "RAID group " + name + " is here; only one that is missing can be forgotten");
  }
  const bool is_missing = std::ranges::any_of(
      pools_.missing(), [&](const pool::MissingPool& missing) { return missing.name == name; });
  if (!is_missing) co_return fail(ErrorCode::kNotFound, "this node misses no RAID group '" + name + "'");
  TM_CO_TRY(co_await options_.disks.forget_raid(name));
  pools_.forget_missing(name);
  log_("raid-forget", log_field("raid", name));
  co_return raid_list();
}

Result<control::RaidInfo> NodeStorage::raid_status(const control::RaidStatusRequest& request) const {
  TM_TRY_ASSIGN(const PoolNumber number, require_raid(request.raid));
  const Part& part = parts_.at(number);
  return raid_info(part, part.disk.raid->status());
}

Result<control::RaidInfo> NodeStorage::raid_scrub(const control::RaidScrubRequest& request) {
  TM_TRY_ASSIGN(const PoolNumber number, require_raid(request.raid));
  Part& part = parts_.at(number);
  if (stopping_) return fail(ErrorCode::kShutdown, "the node is stopping");
  raid::RaidGroup* raid = part.disk.raid;
  const raid::RaidStatus status = raid->status();
  if (part.scrub != nullptr && part.scrub->info.running) {
    if (part.scrub->info.repairs == !request.report_only) return raid_info(part, status);
    return fail(ErrorCode::kBusy,
                "a scrub runs already, with other options; `tidemark raid scrub --stop` ends it");
  }
  if (status.health == raid::GroupHealth::kFailed) {
    return fail(ErrorCode::kRefused,
                "RAID group " + status.name + " has lost too many members; there is nothing to compare");
  }
  auto scrub = std::make_shared<Scrub>();
  scrub->info.running = true;
  scrub->info.started = environment_.clock.now();
  scrub->info.repairs = !request.report_only;
  scrub->info.bytes_total = status.size_bytes;
  scrub->bytes_per_second_max = request.bytes_per_second_max;
  part.scrub = scrub;
  tasks_.spawn(run_scrub(number, raid, status.name, scrub));
  return raid_info(part, status);
}

Result<control::Done> NodeStorage::raid_scrub_stop(const control::RaidScrubStopRequest& request) {
  TM_TRY_ASSIGN(const PoolNumber number, require_raid(request.raid));
  const Part& part = parts_.at(number);
  if (part.scrub == nullptr || !part.scrub->info.running) {
    return fail(ErrorCode::kRefused, "no scrub is running; `tidemark raid scrub` begins one");
  }
  part.scrub->stop_wanted = true;
  control::Done done;
  done.note = "it stops within a second or so";
  return done;
}

// The checksums of the pool say which copy is right, and those of the journals. What a volume should hold may
// be on its way there again after a crash; a journal is whole once it was opened.
raid::Judge NodeStorage::judge(std::shared_ptr<const pool::Survey> survey) const {
  return [survey = std::move(survey), is_settled = options_.is_settled](DiskOffset offset, Bytes block) {
    const pool::Survey::Answer answer = survey->look(offset, block);
    switch (answer.knowledge) {
      case pool::Knowledge::kUnknown:
        return raid::Verdict::kUnknown;
      case pool::Knowledge::kRight:
        return raid::Verdict::kRight;
      case pool::Knowledge::kNobodys:
        return raid::Verdict::kAny;
      case pool::Knowledge::kWrong:
        if (answer.unit.value == 0) return raid::Verdict::kWrong;
        return is_settled && is_settled(answer.unit) ? raid::Verdict::kWrong : raid::Verdict::kUnknown;
    }
    TM_ASSERT(false);
  };
}

// In parts, so that it can be followed and stopped.
io::Task<void> NodeStorage::run_scrub(PoolNumber number, raid::RaidGroup* raid, std::string name,
                                      std::shared_ptr<Scrub> scrub) {
  control::ScrubInfo& info = scrub->info;
  const std::uint64_t part_bytes = scrub_part_bytes(raid->status(), scrub->bytes_per_second_max);
  log_("scrub-begin", log_field("raid", name) + " " + log_field("bytes", info.bytes_total));
  while (info.bytes_done < info.bytes_total && info.reason.empty()) {
    if (stopping_ || scrub->stop_wanted) {
      info.reason = stopping_ ? "the node stopped" : "it was stopped by request";
      break;
    }
    raid::ScrubRequest part;
    part.begin = info.bytes_done;
    part.end = std::min(info.bytes_total, info.bytes_done + part_bytes);
    part.repair = info.repairs;
    part.bytes_per_second_max = scrub->bytes_per_second_max;
    const std::uint64_t end = part.end;
    if (pool::Pool* pool = pools_.find(number); pool != nullptr) {
      pool::SurveyLogVolume ask = options_.survey_log_volume;
      part.judge = judge(co_await pool->survey(DiskOffset{part.begin}, DiskOffset{part.end}, std::move(ask)));
    }
    auto report = co_await raid->scrub(std::move(part));
    if (!report.ok()) {
      info.reason = report.error().message;
      break;
    }
    info.bytes_done = end;
    info.mismatches += report->mismatches;
    info.repaired += report->repaired;
    info.repairable += report->repairable;
    info.undecided += report->undecided;
    for (const raid::ScrubFinding& finding : report->findings) {
      if (info.findings.size() < kFindingsMax) info.findings.push_back(finding.explanation);
    }
  }
  info.running = false;
  info.ended = environment_.clock.now();
  log_("scrub-end",
       log_field("raid", name) + " " + log_field("bytes_done", info.bytes_done) + " " +
           log_field("mismatches", info.mismatches) + " " + log_field("repaired", info.repaired) + " " +
           log_field("repairable", info.repairable) + " " + log_field("undecided", info.undecided) +
           (info.reason.empty() ? "" : " " + log_field("reason", info.reason)));
}

}  // namespace tidemark::node
