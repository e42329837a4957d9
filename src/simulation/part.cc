#include "simulation/part.h"

#include <algorithm>
#include <utility>

namespace tidemark::simulation {
namespace {

// Small enough to be rebuilt often.
constexpr std::uint64_t kMemberBytes = 32 << 20;

}  // namespace

Part::Part(sim::World& world, Options options) : world_(world), options_(std::move(options)) {
  make_blank();
}

Part::Slot Part::blank_slot() const {
  Slot slot;
  slot.name = options_.next_disk_name();
  slot.disk =
      std::make_unique<sim::Disk>(world_, is_raid() ? kMemberBytes : options_.plain_bytes, options_.disk);
  return slot;
}

void Part::make_blank() {
  TM_ASSERT(raid_group_ == nullptr);
  is_made_ = false;
  disks_.clear();
  const std::size_t count = !is_raid() ? 1 : options_.level == format::RaidLevel::k1 ? 2 : 4;
  while (disks_.size() < count) disks_.push_back(blank_slot());
}

std::size_t Part::put_blank_disk(std::size_t number) {
  removed_.push_back(std::exchange(disks_[number % disks_.size()], blank_slot()));
  return removed_.size() - 1;
}

void Part::put_former_back(std::size_t number, std::size_t former) {
  std::swap(disks_[number % disks_.size()], removed_[former]);
}

std::vector<std::string> Part::disk_names() const {
  std::vector<std::string> names;
  for (const Slot& slot : disks_) names.push_back(slot.name);
  return names;
}

sim::Disk* Part::find_disk(const std::string& name) {
  const auto found = std::ranges::find(disks_, name, &Slot::name);
  return found == disks_.end() ? nullptr : found->disk.get();
}

bool Part::is_pulled(std::size_t number) const {
  return std::ranges::find(pulled_, number) != pulled_.end();
}

std::size_t Part::losses_tolerated() const {
  if (!is_raid()) return 0;
  return options_.level == format::RaidLevel::k6 ? 2 : 1;
}

std::size_t Part::losses_too_many() const {
  // Two members of RAID 10 may be of different mirrors.
  return options_.level == format::RaidLevel::k10 ? 3 : losses_tolerated() + 1;
}

io::Task<Result<void>> Part::create(io::Environment& environment) {
  raid::RaidSpec spec;
  spec.name = options_.name;
  spec.level = *options_.level;
  std::vector<raid::NamedDisk> named(disks_.size());
  for (std::size_t i = 0; i < disks_.size(); ++i) {
    named[i].name = disks_[i].name;
    named[i].disk = disks_[i].disk.get();
  }
  TM_CO_TRY_ASSIGN(raid_,
                   co_await raid::RaidGroup::create(environment, std::move(named), options_.node, spec));
  co_return Result<void>{};
}

io::Task<Result<std::unique_ptr<raid::RaidGroup>>> Part::assemble(io::Environment& environment) {
  std::vector<raid::NamedDisk> named;
  for (std::size_t i = 0; i < disks_.size(); ++i) {
    if (is_pulled(i)) continue;
    raid::NamedDisk& disk = named.emplace_back();
    disk.name = disks_[i].name;
    disk.disk = disks_[i].disk.get();
  }
  if (named.empty()) {
    co_return fail(ErrorCode::kIo, is_raid() ? "none of its disks was found" : "it was not found");
  }
  std::unique_ptr<raid::RaidGroup> group;
  if (!is_raid()) co_return std::move(group);
  const raid::RaidOptions options;
  raid::Assembly assembly =
      co_await raid::RaidGroup::assemble(environment, std::move(named), options_.node, raid_, options);
  if (!assembly.group.ok()) co_return assembly.group.error();
  group = std::move(assembly.group).value();
  raid_group_ = group.get();
  co_return std::move(group);
}

node::PoolDisk Part::pool_disk() const {
  node::PoolDisk out;
  out.number = options_.number;
  out.name = options_.name;
  out.disk = disks_.front().disk.get();
  if (is_raid()) {
    out.disk = out.raid = raid_group_;
  } else {
    out.path = disks_.front().name;
  }
  return out;
}

bool Part::is_whole() const {
  return raid_group_ != nullptr && raid_group_->status().health == raid::GroupHealth::kOptimal;
}

bool Part::has_taken(std::size_t number) const {
  if (raid_group_ == nullptr) return false;
  const std::size_t index = number % disks_.size();
  const raid::RaidStatus status = raid_group_->status();
  const raid::MemberStatus& member = status.members[index];
  return member.name == disks_[index].name && member.state != format::RaidMemberState::kFailed;
}

std::vector<std::size_t> Part::failed() const {
  std::vector<std::size_t> out;
  if (raid_group_ == nullptr) return out;
  const raid::RaidStatus status = raid_group_->status();
  for (const raid::MemberStatus& member : status.members) {
    if (member.state == format::RaidMemberState::kFailed && !is_pulled(member.index)) {
      out.push_back(member.index);
    }
  }
  return out;
}

}  // namespace tidemark::simulation
