#include "node/node_storage.h"

#include <algorithm>

#include "base/log_field.h"

namespace tidemark::node {

NodeDisks one_disk(io::Disk& disk) {
  PoolDisk only;
  only.name = kPlainDiskName;
  only.disk = &disk;
  NodeDisks disks;
  disks.pools.push_back(std::move(only));
  return disks;
}

NodeStorage::NodeStorage(const io::Environment& environment, Options options, Log log)
    : environment_(environment),
      options_(std::move(options)),
      log_(std::move(log)),
      disks_mutex_(environment.scheduler),
      tasks_(environment.scheduler) {}

NodeStorage::~NodeStorage() {
  tasks_.cancel_all();
}

io::Task<Result<std::unique_ptr<pool::Pool>>> NodeStorage::open_pool(PoolDisk at) {
  const bool may_format =
      options_.may_format && options_.disks.pools.size() == 1 && options_.disks.missing.empty();
  auto pool = co_await pool::Pool::open(environment_, *at.disk, options_.node);
  if (!pool.ok() && pool.error().code == ErrorCode::kNotFound && may_format) {
    TM_CO_TRY(co_await pool::Pool::format(environment_, *at.disk, options_.node, at.number));
    pool = co_await pool::Pool::open(environment_, *at.disk, options_.node);
  }
  if (pool.ok() && (*pool)->number() != at.number) {
    co_return fail(ErrorCode::kDamaged, "its label says that it is pool " +
                                            std::to_string((*pool)->number().value) +
                                            " of this node, and not " + std::to_string(at.number.value));
  }
  co_return pool;
}

io::Task<Result<void>> NodeStorage::open() {
  for (const pool::MissingPool& missing : options_.disks.missing) pools_.add_missing(missing);
  Result<void> trouble = fail(ErrorCode::kNotFound, "the node has no disk");
  for (const PoolDisk& at : options_.disks.pools) {
    auto pool = co_await open_pool(at);
    if (!pool.ok()) {
      trouble = pool.error();
      pool::MissingPool missing;
      missing.number = at.number;
      missing.name = at.name;
      missing.reason = pool.error().message;
      log_("raid-missing", log_field("raid", missing.name) + " " + log_field("reason", missing.reason));
      pools_.add_missing(std::move(missing));
      continue;
    }
    for (const std::string& notice : (*pool)->notices()) log_("disk-damage", log_field("notice", notice));
    parts_[at.number].disk = at;
    pools_.add(std::move(pool).value());
  }
  co_return pools_.empty() ? trouble : Result<void>{};
}

io::Task<void> NodeStorage::stop() {
  stopping_ = true;
  co_await tasks_.join();
}

const NodeStorage::Part* NodeStorage::find_part(const std::string& name) const {
  const auto at =
      std::ranges::find_if(parts_, [&](const auto& part) { return part.second.disk.name == name; });
  return at == parts_.end() ? nullptr : &at->second;
}

Result<PoolNumber> NodeStorage::find_pool(const std::optional<std::string>& name) const {
  if (!name.has_value()) {
    const PoolNumber first = parts_.begin()->first;
    for (const pool::MissingPool& missing : pools_.missing()) {
      if (missing.number > first) continue;
      return fail(ErrorCode::kIo, "RAID group " + missing.name + ", the first of this node, is not here (" +
                                      missing.reason + "); name another one");
    }
    return first;
  }
  if (const Part* part = find_part(*name); part != nullptr) return part->disk.number;
  for (const pool::MissingPool& missing : pools_.missing()) {
    if (missing.name != *name) continue;
    return fail(ErrorCode::kIo, "RAID group " + *name + " is not here: " + missing.reason);
  }
  std::string known;
  for (const auto& [number, part] : parts_) known += (known.empty() ? "" : ", ") + part.disk.name;
  return fail(ErrorCode::kNotFound, "this node has no RAID group '" + printable(*name) + "'; it has " +
                                        known + "; `tidemark raid create` makes another");
}

std::string NodeStorage::name_of(PoolNumber number) const {
  const auto at = parts_.find(number);
  return at == parts_.end() ? std::string() : at->second.disk.name;
}

// Of a pool's space, what journals take: it is theirs whether they are full or not.
std::uint64_t NodeStorage::journals_bytes(PoolNumber number) const {
  std::uint64_t bytes = 0;
  for (const pool::LuRecord& unit : pools_.find(number)->units()) {
    if (unit.kind == pool::LuKind::kLog) bytes += unit.size_bytes;
  }
  return bytes;
}

std::uint64_t NodeStorage::journals_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& [number, part] : parts_) bytes += journals_bytes(number);
  return bytes;
}

// A pool that fills up is told before a write fails for want of space.
std::optional<std::string> NodeStorage::alarm_of(const Part& part) const {
  const pool::PoolStatus pool = pools_.find(part.disk.number)->status();
  const double percent = 100.0 * static_cast<double>(pool.allocated_bytes) /
                         static_cast<double>(std::max<std::uint64_t>(1, pool.size_bytes));
  if (options_.alarm_percent == 0 || percent < options_.alarm_percent) return std::nullopt;
  return (is_alone() ? "the pool" : "the pool on RAID group " + part.disk.name) + " is " +
         std::to_string(static_cast<int>(percent)) + "% full: " + format_size(pool.allocated_bytes) + " of " +
         format_size(pool.size_bytes) + " in use, " + format_size(journals_bytes(part.disk.number)) +
         " of that by journals; with nothing left, writes to blocks never written " +
         "before fail with ENOSPC. Discard what is not needed, or delete volumes";
}

// Once when it begins and once when it is over.
void NodeStorage::watch() {
  for (auto& [number, part] : parts_) {
    const std::optional<std::string> alarm = alarm_of(part);
    if (alarm.has_value() == part.alarm_since.has_value()) continue;
    // A pool that comes and goes at the limit is not told each time.
    const pool::PoolStatus pool = pools_.find(number)->status();
    const std::uint64_t enough = pool.size_bytes / 100 * std::max(2u, options_.alarm_percent);
    if (!alarm.has_value() && pool.allocated_bytes > enough - pool.size_bytes / 50) continue;
    if (alarm.has_value()) {
      part.alarm_since = environment_.clock.now();
      log_("pool-fills-up", log_field("raid", part.disk.name) + " " + log_field("reason", *alarm));
    } else {
      part.alarm_since.reset();
      log_("pool-has-room",
           log_field("raid", part.disk.name) + " " + log_field("free_bytes", pool.free_bytes));
    }
  }
}

void NodeStorage::add_problems(WallTime started, std::vector<control::Problem>& out) const {
  for (const pool::MissingPool& missing : pools_.missing()) {
    out.push_back(
        {{},
         "RAID group " + missing.name + " is not here: " + missing.reason +
             "; groups that have their journal or a volume there are not served. Bring its disks back; if "
             "they are lost for good, `tidemark raid forget " +
             missing.name + "`",
         started,
         "tidemark raid list"});
  }
  for (const pool::Pool* pool : pools_.all()) {
    for (const std::string& notice : pool->notices()) {
      out.push_back({{}, notice + "; look at the health of the disk", started, {}});
    }
  }
  for (const auto& [number, part] : parts_) add_raid_problems(part, out);
  for (const control::DiskInfo& disk : refused_disks()) {
    out.push_back({{}, "disk " + disk.disk + " is not used: " + disk.explanation, std::nullopt, {}});
  }
  for (const auto& [number, part] : parts_) {
    if (const auto alarm = alarm_of(part); alarm.has_value()) {
      out.push_back({{}, *alarm, part.alarm_since, "tidemark volume list"});
    }
  }
}

NodeStorage::DiskNames NodeStorage::disk_names(PoolNumber number) const {
  DiskNames names;
  const auto at = parts_.find(number);
  if (at == parts_.end()) return names;
  const PoolDisk& disk = at->second.disk;
  if (disk.raid == nullptr) {
    names.members.push_back(disk.path);
    return names;
  }
  const raid::RaidStatus status = disk.raid->status();
  names.raid_group = status.name;
  names.members.resize(status.members.size());
  for (const raid::MemberStatus& member : status.members) {
    std::string& name = names.members.at(member.index);
    name = member.name.empty() ? "member " + std::to_string(member.index) : member.name;
  }
  return names;
}

std::vector<control::DiskPlace> NodeStorage::places_of(PoolNumber number, const DiskNames& names,
                                                       DiskOffset offset) const {
  std::vector<control::DiskPlace> places;
  const auto at = parts_.find(number);
  if (at == parts_.end()) return places;
  if (at->second.disk.raid == nullptr) {
    places.push_back({control::PlaceKind::kData, names.members.front(), offset.value});
    return places;
  }
  const raid::RaidAddress address = at->second.disk.raid->translate(offset);
  const auto add = [&](const raid::RaidAddress::Place& place, control::PlaceKind kind) {
    places.push_back({kind, names.members.at(place.member), place.offset.value});
  };
  for (const raid::RaidAddress::Place& place : address.data) add(place, control::PlaceKind::kData);
  for (std::size_t i = 0; i < address.parity.size(); ++i) {
    add(address.parity[i], i == 0 ? control::PlaceKind::kParityP : control::PlaceKind::kParityQ);
  }
  return places;
}

}  // namespace tidemark::node
