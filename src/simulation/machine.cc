#include "simulation/machine.h"

#include <utility>

namespace tidemark::simulation {
namespace {

constexpr std::uint64_t kMemberBytes = 32 << 20;

// The twin in memory, until it is damaged: then nothing of it is found any more.
class DamageableIndex final : public index::VersionIndex {
 public:
  // `damages`: how often the indexes of the machine were damaged; those that are in use when it moves are.
  // One that is still being filled is not: a look-up that waits for it is sure to get its answer.
  explicit DamageableIndex(std::shared_ptr<const std::uint64_t> damages) : damages_(std::move(damages)) {}

  void insert_data(VolumeId volume, BlockRange blocks, LogId id, Place place,
                   const std::vector<std::uint32_t>& checksums) override {
    inner_->insert_data(volume, blocks, id, place, checksums);
  }
  void insert_zero(VolumeId volume, BlockRange blocks, LogId id, Place place) override {
    inner_->insert_zero(volume, blocks, id, place);
  }
  io::Task<Result<void>> lookup(VolumeId volume, BlockRange blocks, const index::Path& path,
                                std::vector<index::Piece>& out, std::size_t pieces_max) override {
    use();
    if (is_damaged()) co_return damaged();
    co_return co_await inner_->lookup(volume, blocks, path, out, pieces_max);
  }
  bool lookup_now(VolumeId volume, BlockRange blocks, const index::Path& path,
                  std::vector<index::Piece>& out) override {
    use();
    return !is_damaged() && inner_->lookup_now(volume, blocks, path, out);
  }
  bool wants_persist() const override { return inner_->wants_persist(); }
  io::Task<Result<void>> persist(Place resume, UntilDurable until_durable) override {
    if (!is_damaged()) co_return co_await inner_->persist(resume, std::move(until_durable));
    if (until_durable) TM_CO_TRY(co_await until_durable());
    co_return damaged();
  }
  Place resume_place() const override { return inner_->resume_place(); }
  void drop_before(Place bound) override { inner_->drop_before(bound); }
  io::Task<Result<void>> clear() override {
    in_use_ = false;
    co_return co_await inner_->clear();
  }
  io::Task<Result<std::unique_ptr<index::VersionIndex>>> make_successor() override {
    co_return std::make_unique<DamageableIndex>(damages_);
  }
  void retire() override {}
  index::IndexStatus status() const override { return inner_->status(); }
  io::Task<void> close() override { co_await inner_->close(); }

 private:
  void use() {
    if (!std::exchange(in_use_, true)) damages_before_ = *damages_;
  }
  bool is_damaged() const { return in_use_ && *damages_ != damages_before_; }
  static Error damaged() { return fail(ErrorCode::kDamaged, "the version index was damaged"); }

  std::shared_ptr<const std::uint64_t> damages_;
  std::uint64_t damages_before_ = 0;
  bool in_use_ = false;
  std::unique_ptr<index::VersionIndex> inner_ = index::make_memory_index();
};

io::Task<Result<index::OpenedIndex>> open_index(std::shared_ptr<const std::uint64_t> damages) {
  index::OpenedIndex opened;
  opened.index = std::make_unique<DamageableIndex>(std::move(damages));
  co_return opened;
}

}  // namespace

Machine::Machine(sim::World& world, MachineOptions options, LogLine log_line)
    : world_(world),
      options_(std::move(options)),
      environment_(world.environment(options_.clock_drift_ppm)),
      log_line_(std::move(log_line)) {
  replace_disk();
}

std::unique_ptr<sim::Disk> Machine::make_disk() const {
  const std::uint64_t bytes = has_raid() ? kMemberBytes : options_.disk_bytes;
  return std::make_unique<sim::Disk>(world_, bytes, options_.disk);
}

void Machine::replace_disk() {
  TM_ASSERT(process_ == nullptr);
  raid_.reset();
  disks_.clear();
  const std::size_t count = !has_raid() ? 1 : *options_.raid == format::RaidLevel::k1 ? 2 : 4;
  while (disks_.size() < count) disks_.push_back(make_disk());
  aim_ = 0;
}

std::uint32_t Machine::losses_tolerated() const {
  return *options_.raid == format::RaidLevel::k6 ? 2 : 1;
}

bool Machine::raid_is_whole() const {
  return raid_group_ != nullptr && raid_group_->status().health == raid::GroupHealth::kOptimal;
}

void Machine::end_hangs() {
  for (const auto& disk : disks_) disk->hang_until(world_.now());
}

void Machine::lose_member(std::uint64_t number) {
  TM_ASSERT(process_ == nullptr);
  removed_.push_back(std::exchange(disks_[number % disks_.size()], make_disk()));
}

io::Task<Result<void>> Machine::replace_member_task(std::uint64_t number) {
  const std::size_t index = number % disks_.size();
  removed_.push_back(std::exchange(disks_[index], make_disk()));
  process_->use(*disks_[index]);
  raid::NamedDisk fresh;
  fresh.name = "member " + std::to_string(index);
  fresh.disk = disks_[index].get();
  co_return co_await raid_group_->replace(static_cast<std::uint32_t>(index), std::move(fresh));
}

std::vector<raid::NamedDisk> Machine::named_disks() const {
  std::vector<raid::NamedDisk> out(disks_.size());
  for (std::size_t i = 0; i < disks_.size(); ++i) {
    out[i].name = "member " + std::to_string(i);
    out[i].disk = disks_[i].get();
  }
  return out;
}

// What came back blank, or was failed out, is made anew from the others beside all that goes on.
io::Task<void> Machine::replace_failed() {
  const raid::RaidStatus status = raid_group_->status();
  for (const raid::MemberStatus& member : status.members) {
    if (member.state != format::RaidMemberState::kFailed) continue;
    const auto replaced = co_await replace_member_task(member.index);
    if (!replaced.ok()) log_line_(options_.name + ": not replaced: " + replaced.error().message);
  }
}

io::Task<Result<node::NodeDisks>> Machine::open_disks() {
  if (!has_raid()) co_return node::one_disk(*disks_.front());
  NodeIdentity self;
  self.bytes.fill(options_.identity_byte);
  if (!raid_.has_value()) {
    raid::RaidSpec spec;
    spec.name = "raid";
    spec.level = *options_.raid;
    TM_CO_TRY_ASSIGN(raid_, co_await raid::RaidGroup::create(environment_, named_disks(), self, spec));
  }
  raid::Assembly assembly =
      co_await raid::RaidGroup::assemble(environment_, named_disks(), self, *raid_, raid::RaidOptions());
  if (!assembly.group.ok()) co_return assembly.group.error();
  raid::RaidGroup& group = process_->own(std::move(assembly.group).value());
  raid_group_ = &group;
  process_->tasks().spawn(replace_failed());
  node::NodeDisks disks = node::one_disk(group);
  disks.pools.front().name = "raid";
  disks.pools.front().raid = &group;
  co_return std::move(disks);
}

void Machine::power_on() {
  TM_ASSERT(process_ == nullptr);
  // A group that was not made to the end is nothing yet.
  if (has_raid() && !raid_.has_value()) replace_disk();
  process_ = std::make_unique<sim::SimulatedProcess>(world_);
  started_at_ = world_.now();
  for (const auto& disk : disks_) process_->use(*disk);
  clients_ = std::make_unique<io::TaskScope>(world_);
}

io::Task<Result<void>> Machine::start_task() {
  node::NodeConfiguration configuration;
  configuration.identity.bytes.fill(options_.identity_byte);
  configuration.name = options_.name;
  TM_CO_TRY_ASSIGN(configuration.disks, co_await open_disks());
  configuration.cache_size_bytes = node::kCacheSizeBytesMin;
  configuration.journal_segment_size_bytes = options_.segment_bytes;
  configuration.recent_size_bytes = options_.recent_bytes;
  group::IndexFactory make_index = [this](GroupIdentity) { return open_index(index_damages_); };
  node::Log log = [this](const std::string& event, const std::string& text) {
    if (event == "pair-window-given-up") {
      gave_up_window = true;
      ++windows_given_up;
    }
    std::string line = options_.name;
    line.append(": ").append(event).append(" ").append(text);
    log_line_(line);
  };
  auto started = co_await node::Node::start(environment_, std::move(configuration), std::move(make_index),
                                            node::OpenCatalog(), std::move(log));
  if (!started.ok()) co_return std::move(started).error();
  node::Node& node = process_->own(std::move(started).value());
  TM_CO_TRY_ASSIGN(const io::Address at, io::Address::parse(address()));
  TM_CO_TRY_ASSIGN(std::unique_ptr<io::Listener> listener, co_await world_.network().listen(at));
  process_->tasks().spawn(node.pairs().serve(std::move(listener)));
  node.set_addresses({}, {}, {address()});
  node_ = &node;
  co_return Result<void>{};
}

void Machine::kill() {
  node_ = nullptr;
  raid_group_ = nullptr;
  clients_ = nullptr;
  process_->kill();
  process_ = nullptr;
}

void Machine::power_cut() {
  node_ = nullptr;
  raid_group_ = nullptr;
  clients_ = nullptr;
  process_->power_cut();
  process_ = nullptr;
}

}  // namespace tidemark::simulation
