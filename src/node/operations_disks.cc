// Operations of the control API on what the pool lies on: one disk, or a RAID group of several.

#include <algorithm>
#include <charconv>

#include "base/log_field.h"
#include "control/types_fields.h"
#include "node/node.h"

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

control::DiskInfo member_info(const raid::MemberStatus& member, std::uint64_t member_bytes) {
  control::DiskInfo info;
  info.disk = member.name;
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

Error no_such_member(const std::string& named) {
  return fail(ErrorCode::kNotFound, "the RAID group has no member '" + named +
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

// Where a member failed, another disk may be by now.
bool is_in_use(const raid::RaidStatus& status, const std::string& path) {
  const bool failed =
      std::any_of(status.members.begin(), status.members.end(), [&](const raid::MemberStatus& member) {
        return member.name == path && member.state == format::RaidMemberState::kFailed;
      });
  return names(status, path) && !failed;
}

}  // namespace

Result<raid::RaidGroup*> Node::require_raid() const {
  if (configuration_.disks.raid != nullptr) return configuration_.disks.raid;
  return fail(ErrorCode::kNotFound, "the pool of this node lies on one disk, " + configuration_.disks.name +
                                        ", and not on a RAID group; a node is given one at its first start, "
                                        "with --raid and a --disk for each member");
}

control::RaidInfo Node::raid_info(const raid::RaidStatus& status) const {
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
    info.disks.push_back(member_info(member, status.member_bytes));
  }
  for (const std::string& spare : status.spares) {
    control::DiskInfo disk;
    disk.disk = spare;
    disk.state = control::DiskState::kSpare;
    info.disks.push_back(std::move(disk));
  }
  for (const raid::DiskReport& report : configuration_.disks.found) {
    const bool known = std::any_of(info.disks.begin(), info.disks.end(),
                                   [&](const control::DiskInfo& disk) { return disk.disk == report.name; });
    const bool was_used = report.role == raid::DiskRole::kMember || report.role == raid::DiskRole::kSpare;
    if (known || was_used) continue;
    control::DiskInfo disk;
    disk.disk = report.name;
    disk.state = control::DiskState::kRefused;
    if (!report.disk.is_zero()) disk.identity = report.disk.to_string();
    disk.explanation = report.explanation;
    if (disk.explanation.empty()) disk.explanation = raid::disk_role_name(report.role);
    info.disks.push_back(std::move(disk));
  }
  info.rebuild_problem = status.rebuild_problem;
  info.replayed_entries = status.replayed_entries;
  info.resynced_bytes = status.resynced_bytes;
  info.notices = status.notices;
  if (scrub_ != nullptr) info.scrub = scrub_->info;
  return info;
}

control::DiskListReply Node::disks_info() const {
  control::DiskListReply reply;
  if (configuration_.disks.raid != nullptr) {
    reply.disks = raid_info(configuration_.disks.raid->status()).disks;
    return reply;
  }
  control::DiskInfo disk;
  disk.disk = configuration_.disks.name;
  disk.identity = pool_->disk_identity().to_string();
  disk.size_bytes = pool_->status().size_bytes;
  reply.disks.push_back(std::move(disk));
  return reply;
}

void Node::add_disk_problems(std::vector<control::Problem>& out) const {
  if (configuration_.disks.raid == nullptr) return;
  const control::RaidInfo info = raid_info(configuration_.disks.raid->status());
  const std::string raid = "RAID group " + info.name;
  if (info.health == control::RaidHealth::kFailed) {
    out.push_back(
        {{}, raid + " has lost more members than its level tolerates", std::nullopt, "tidemark raid status"});
  } else if (info.health == control::RaidHealth::kDegraded) {
    out.push_back({{},
                   raid + " is degraded: all data are there, and it tolerates the loss of " +
                       std::to_string(info.losses_left) + " more",
                   std::nullopt,
                   "tidemark raid status"});
  }
  for (const control::DiskInfo& disk : info.disks) {
    const std::string name =
        disk.disk.empty() ? "member " + std::to_string(disk.member.value_or(0)) : disk.disk;
    const std::string why = disk.explanation.empty() ? "" : ": " + disk.explanation;
    if (disk.state == control::DiskState::kFailed || disk.state == control::DiskState::kMissing) {
      out.push_back({{},
                     "disk " + name + " is " + std::string(control::word(disk.state)) + why,
                     std::nullopt,
                     "tidemark disk replace " + std::to_string(disk.member.value_or(0)) + " NEW-DISK"});
    } else if (disk.state == control::DiskState::kRefused) {
      out.push_back({{}, "disk " + name + " is not used" + why, std::nullopt, {}});
    } else if (disk.slow) {
      out.push_back({{}, "disk " + name + " is slow", std::nullopt, "tidemark disk list"});
    }
  }
  if (!info.rebuild_problem.empty()) {
    out.push_back({{}, raid + ": the rebuild does not go on: " + info.rebuild_problem, std::nullopt, {}});
  }
  for (const std::string& notice : info.notices) out.push_back({{}, raid + ": " + notice, started_, {}});
  if (info.scrub.has_value() && info.scrub->undecided > 0) {
    out.push_back({{},
                   raid + ": its last scrub found " + std::to_string(info.scrub->undecided) +
                       " places of which nobody can say which member is right",
                   info.scrub->ended,
                   "tidemark raid status"});
  }
}

io::Task<Result<control::DiskListReply>> Node::disk_list(control::DiskListRequest) {
  co_return disks_info();
}

io::Task<Result<control::DiskListReply>> Node::disk_add(control::DiskAddRequest request) {
  TM_CO_TRY_ASSIGN(raid::RaidGroup * raid, require_raid());
  auto guard = co_await disks_mutex_.lock();
  if (is_in_use(raid->status(), request.disk)) co_return disks_info();
  TM_CO_TRY_ASSIGN(raid::NamedDisk disk, co_await configuration_.disks.open(request.disk));
  Result<void> added = co_await configuration_.disks.remember(request.disk);
  if (added.ok()) added = co_await raid->add_spare(std::move(disk));
  if (!added.ok()) {
    if (!names(raid->status(), request.disk)) co_await configuration_.disks.give_back(request.disk);
    co_return std::move(added).error();
  }
  log_("disk-add", log_field("disk", request.disk));
  co_return disks_info();
}

io::Task<Result<control::DiskListReply>> Node::disk_replace(control::DiskReplaceRequest request) {
  TM_CO_TRY_ASSIGN(raid::RaidGroup * raid, require_raid());
  auto guard = co_await disks_mutex_.lock();
  const raid::RaidStatus status = raid->status();
  const raid::MemberStatus* member = find_member(status, request.disk);
  // Said again, it has been done.
  if (member == nullptr && is_in_use(status, request.by)) co_return disks_info();
  if (member == nullptr) co_return no_such_member(request.disk);
  const bool failed = member->state == format::RaidMemberState::kFailed;
  if (member->name == request.by && !failed) co_return disks_info();
  if (is_in_use(status, request.by)) {
    co_return fail(ErrorCode::kExists, request.by + " is in the RAID group already");
  }
  const std::uint32_t index = member->index;
  TM_CO_TRY_ASSIGN(raid::NamedDisk disk, co_await configuration_.disks.open(request.by));
  // First, so that a start between the two finds it.
  Result<void> replaced = co_await configuration_.disks.remember(request.by);
  if (replaced.ok()) replaced = co_await raid->replace(index, std::move(disk));
  if (!replaced.ok()) {
    if (!names(raid->status(), request.by)) co_await configuration_.disks.give_back(request.by);
    co_return std::move(replaced).error();
  }
  log_("disk-replace", log_field("member", index) + " " + log_field("by", request.by));
  co_return disks_info();
}

io::Task<Result<control::DiskListReply>> Node::disk_remove(control::DiskRemoveRequest request) {
  TM_CO_TRY_ASSIGN(raid::RaidGroup * raid, require_raid());
  auto guard = co_await disks_mutex_.lock();
  const raid::RaidStatus status = raid->status();
  const raid::MemberStatus* member = find_member(status, request.disk);
  if (member == nullptr) co_return no_such_member(request.disk);
  if (member->state != format::RaidMemberState::kFailed) {
    const std::uint32_t index = member->index;
    TM_CO_TRY(co_await raid->fail_out(index));
    log_("disk-remove", log_field("member", index) + " " + log_field("disk", request.disk));
  }
  co_return disks_info();
}

io::Task<Result<control::RaidInfo>> Node::raid_status(control::RaidStatusRequest) {
  TM_CO_TRY_ASSIGN(raid::RaidGroup * raid, require_raid());
  co_return raid_info(raid->status());
}

io::Task<Result<control::RaidInfo>> Node::raid_scrub(control::RaidScrubRequest request) {
  TM_CO_TRY_ASSIGN(raid::RaidGroup * raid, require_raid());
  if (stopping_) co_return fail(ErrorCode::kShutdown, "the node is stopping");
  const raid::RaidStatus status = raid->status();
  if (scrub_ != nullptr && scrub_->info.running) {
    if (scrub_->info.repairs == !request.report_only) co_return raid_info(status);
    co_return fail(ErrorCode::kBusy,
                   "a scrub runs already, with other options; `tidemark raid scrub --stop` ends it");
  }
  if (status.health == raid::GroupHealth::kFailed) {
    co_return fail(ErrorCode::kRefused,
                   "the RAID group has lost too many members; there is nothing to compare");
  }
  auto scrub = std::make_shared<Scrub>();
  scrub->info.running = true;
  scrub->info.started = environment_.clock.now();
  scrub->info.repairs = !request.report_only;
  scrub->info.bytes_total = status.size_bytes;
  scrub->bytes_per_second_max = request.bytes_per_second_max;
  scrub_ = scrub;
  tasks_.spawn(run_scrub(scrub));
  co_return raid_info(status);
}

io::Task<Result<control::Done>> Node::raid_scrub_stop(control::RaidScrubStopRequest) {
  TM_CO_TRY(require_raid());
  if (scrub_ == nullptr || !scrub_->info.running) {
    co_return fail(ErrorCode::kRefused, "no scrub is running; `tidemark raid scrub` begins one");
  }
  scrub_->stop_wanted = true;
  control::Done done;
  done.note = "it stops within a second or so";
  co_return done;
}

// In parts, so that it can be followed and stopped.
io::Task<void> Node::run_scrub(std::shared_ptr<Scrub> scrub) {
  control::ScrubInfo& info = scrub->info;
  const std::uint64_t part_bytes =
      scrub_part_bytes(configuration_.disks.raid->status(), scrub->bytes_per_second_max);
  log_("scrub-begin", log_field("bytes", info.bytes_total));
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
    auto report = co_await configuration_.disks.raid->scrub(std::move(part));
    if (!report.ok()) {
      info.reason = report.error().message;
      break;
    }
    info.bytes_done = end;
    info.mismatches += report->mismatches;
    info.repaired += report->repaired;
    info.undecided += report->undecided;
    for (const raid::ScrubFinding& finding : report->findings) {
      if (info.findings.size() < kFindingsMax) info.findings.push_back(finding.explanation);
    }
  }
  info.running = false;
  info.ended = environment_.clock.now();
  log_("scrub-end", log_field("bytes_done", info.bytes_done) + " " +
                        log_field("mismatches", info.mismatches) + " " +
                        log_field("repaired", info.repaired) + " " + log_field("undecided", info.undecided) +
                        (info.reason.empty() ? "" : " " + log_field("reason", info.reason)));
}

Node::PoolDisks Node::pool_disks() const {
  PoolDisks disks;
  const raid::RaidGroup* raid = configuration_.disks.raid;
  if (raid == nullptr) {
    disks.members.push_back(configuration_.disks.name);
    return disks;
  }
  const raid::RaidStatus status = raid->status();
  disks.raid_group = status.name;
  disks.members.resize(status.members.size());
  for (const raid::MemberStatus& member : status.members) {
    std::string& name = disks.members.at(member.index);
    name = member.name.empty() ? "member " + std::to_string(member.index) : member.name;
  }
  return disks;
}

// Of an address of the pool's disk.
std::vector<control::DiskPlace> Node::places_of(const PoolDisks& disks, DiskOffset offset) const {
  std::vector<control::DiskPlace> places;
  const raid::RaidGroup* raid = configuration_.disks.raid;
  if (raid == nullptr) {
    places.push_back({control::PlaceKind::kData, disks.members.front(), offset.value});
    return places;
  }
  const raid::RaidAddress address = raid->translate(offset);
  const auto add = [&](const raid::RaidAddress::Place& place, control::PlaceKind kind) {
    places.push_back({kind, disks.members.at(place.member), place.offset.value});
  };
  for (const raid::RaidAddress::Place& place : address.data) add(place, control::PlaceKind::kData);
  for (std::size_t i = 0; i < address.parity.size(); ++i) {
    add(address.parity[i], i == 0 ? control::PlaceKind::kParityP : control::PlaceKind::kParityQ);
  }
  return places;
}

control::VolumeAddress Node::address_info(const control::VolumeAddressRequest& request, LuNumber lu) const {
  control::VolumeAddress reply;
  reply.group = request.group;
  reply.volume = request.volume;
  reply.offset_bytes = request.offset_bytes;
  reply.lu_number = lu.value;
  reply.lu_address_bytes = request.offset_bytes;
  const pool::DataVolume* base = pool_->data_volume(lu);
  const pool::AddressTranslation place =
      base == nullptr ? pool::AddressTranslation() : base->translate(request.offset_bytes);
  reply.allocated = place.allocated;
  if (!place.allocated) return reply;
  const PoolDisks disks = pool_disks();
  reply.raid_group = disks.raid_group;
  reply.raid_address_bytes = place.disk_offset.value;
  reply.places = places_of(disks, place.disk_offset);
  return reply;
}

io::Task<Result<control::VolumeAddress>> Node::volume_address(control::VolumeAddressRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  TM_CO_TRY_ASSIGN(const group::VolumeShape shape, require_volume(*group, request.volume));
  if (request.offset_bytes >= shape.size_bytes) {
    co_return fail(ErrorCode::kInvalid, "the volume ends at " + std::to_string(shape.size_bytes) +
                                            " bytes, before offset " + std::to_string(request.offset_bytes));
  }
  const control::VolumeInfo info = volume_info(*group, shape);
  co_return address_info(request, LuNumber{info.lu_number});
}

}  // namespace tidemark::node
