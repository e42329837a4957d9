#include "simulation/machine.h"

#include <algorithm>
#include <utility>

namespace tidemark::simulation {
namespace {

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

// They go after the node that lies on them, also one that is made while it runs.
struct Machine::RaidGroups {
  std::vector<std::unique_ptr<raid::RaidGroup>> all{};
};

Machine::Machine(sim::World& world, MachineOptions options, LogLine log_line)
    : world_(world),
      options_(std::move(options)),
      environment_(world.environment(options_.clock_drift_ppm)),
      log_line_(std::move(log_line)) {
  replace_disks();
}

// Its number is not used again, nor is its name.
Part::Options Machine::part_options(PartLevel level) {
  Part::Options part;
  part.number = PoolNumber{part_numbers_++};
  part.name = level.has_value() ? "raid" + std::to_string(part.number.value) : node::kPlainDiskName;
  part.level = level;
  part.node.bytes.fill(options_.identity_byte);
  part.plain_bytes = options_.disk_bytes;
  part.disk = options_.disk;
  part.next_disk_name = [this] { return "/" + options_.name + "/" + std::to_string(++disk_numbers_); };
  return part;
}

void Machine::replace_disks() {
  TM_ASSERT(process_ == nullptr);
  parts_.clear();
  lost_.clear();
  part_numbers_ = 0;
  for (const PartLevel& level : options_.parts) {
    parts_.push_back(std::make_unique<Part>(world_, part_options(level)));
  }
  aim(0, 0);
}

void Machine::lose_part(std::size_t number) {
  TM_ASSERT(process_ == nullptr);
  const Part& old = *parts_[number];
  pool::MissingPool& lost = lost_.emplace_back();
  lost.number = old.number();
  lost.name = old.name();
  lost.reason = "none of its disks was found";
  // A node has one disk as it is, which comes with its first start.
  const format::RaidLevel level = old.level().value_or(format::RaidLevel::k1);
  parts_[number] = std::make_unique<Part>(world_, part_options(level));
  aim(0, 0);
}

bool Machine::misses_part() const {
  return !lost_.empty() || std::ranges::any_of(parts_, [](const auto& part) {
    return part->has_pulled() && part->raid_group() == nullptr;
  });
}

bool Machine::has_pulled_disks() const {
  return std::ranges::any_of(parts_, [](const auto& part) { return part->has_pulled(); });
}

std::vector<std::string> Machine::lost_parts() const {
  std::vector<std::string> names;
  for (const pool::MissingPool& lost : lost_) names.push_back(lost.name);
  return names;
}

io::Task<Result<void>> Machine::replace_member_task(std::size_t number, std::uint64_t member) {
  Part& part = *parts_[number];
  const std::size_t index = member % part.disk_count();
  const std::size_t former = part.put_blank_disk(index);
  process_->use(part.disk(index));
  const Result<void> replaced = co_await replace_by(&part, index);
  // A spare may have come first: a disk that was about to become a member when the power went.
  if (!replaced.ok()) part.put_former_back(index, former);
  co_return replaced;
}

// Of several RAID groups the node is told which.
io::Task<Result<void>> Machine::replace_by(Part* part, std::size_t index) {
  if (parts_.size() > 1 && node_ != nullptr) {
    control::DiskReplaceRequest request;
    request.raid = part->name();
    request.disk = std::to_string(index);
    request.by = part->disk_name(index);
    const auto replaced = co_await node_->disk_replace(std::move(request));
    co_return replaced.ok() ? Result<void>() : Result<void>(replaced.error());
  }
  raid::NamedDisk fresh;
  fresh.name = part->disk_name(index);
  fresh.disk = &part->disk(index);
  co_return co_await part->raid_group()->replace(static_cast<std::uint32_t>(index), std::move(fresh));
}

// What came back blank, or was failed out, is made anew from the others beside all that goes on.
io::Task<void> Machine::replace_failed(std::size_t number) {
  for (const std::size_t member : parts_[number]->failed()) {
    const auto replaced = co_await replace_member_task(number, member);
    if (!replaced.ok()) log_line_(options_.name + ": not replaced: " + replaced.error().message);
  }
}

io::Task<Result<void>> Machine::assemble(Part* part) {
  TM_CO_TRY_ASSIGN(std::unique_ptr<raid::RaidGroup> group, co_await part->assemble(environment_));
  if (group != nullptr) raid_groups_->all.push_back(std::move(group));
  co_return Result<void>{};
}

// As a real machine does it: what cannot be put together is missed.
io::Task<Result<node::NodeDisks>> Machine::open_disks() {
  raid_groups_ = &process_->own(std::make_unique<RaidGroups>());
  node::NodeDisks disks;
  const bool is_new = std::ranges::none_of(parts_, [](const auto& part) { return part->is_made(); });
  if (is_new) {
    TM_CO_TRY(co_await parts_.front()->create(environment_));
    parts_.front()->note_made();
  }
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    Part& part = *parts_[i];
    if (!part.is_made()) continue;
    const auto assembled = co_await assemble(&part);
    if (!assembled.ok() && parts_.size() == 1) co_return assembled.error();
    if (assembled.ok()) {
      process_->tasks().spawn(replace_failed(i));
      disks.pools.push_back(part.pool_disk());
      continue;
    }
    pool::MissingPool& missing = disks.missing.emplace_back();
    missing.number = part.number();
    missing.name = part.name();
    missing.reason = assembled.error().message;
    log_line_(options_.name + ": " + missing.name + " is missing: " + missing.reason);
  }
  for (const pool::MissingPool& lost : lost_) disks.missing.push_back(lost);
  disks.open = [this](std::string path) -> io::Task<Result<raid::NamedDisk>> {
    raid::NamedDisk found;
    found.name = path;
    for (const auto& part : parts_) {
      if (sim::Disk* disk = part->find_disk(path); disk != nullptr) found.disk = disk;
    }
    if (found.disk == nullptr) co_return fail(ErrorCode::kNotFound, "there is no disk " + path);
    co_return std::move(found);
  };
  // It looks at all that there is each time.
  disks.remember = [](std::string) -> io::Task<Result<void>> { co_return Result<void>{}; };
  disks.give_back = [](std::string) -> io::Task<void> { co_return; };
  disks.create_raid = [this](node::NewRaidGroup what) { return create_raid(std::move(what)); };
  disks.forget_raid = [this](std::string name) -> io::Task<Result<void>> {
    std::erase_if(lost_, [&name](const pool::MissingPool& lost) { return lost.name == name; });
    co_return Result<void>{};
  };
  co_return std::move(disks);
}

// Of the disks of one part, which are named.
io::Task<Result<node::PoolDisk>> Machine::create_raid(node::NewRaidGroup what) {
  const auto found =
      std::ranges::find_if(parts_, [&](const auto& part) { return part->name() == what.name; });
  TM_ASSERT(found != parts_.end());
  Part& part = **found;
  TM_CO_TRY(co_await part.create(environment_));
  TM_CO_TRY(co_await assemble(&part));
  NodeIdentity self;
  self.bytes.fill(options_.identity_byte);
  TM_CO_TRY(co_await pool::Pool::format(environment_, *part.raid_group(), self, part.number()));
  part.note_made();
  co_return part.pool_disk();
}

io::Task<Result<void>> Machine::make_further_parts() {
  constexpr std::pair<format::RaidLevel, control::RaidLevel> kLevels[] = {
      {format::RaidLevel::k1, control::RaidLevel::k1},
      {format::RaidLevel::k5, control::RaidLevel::k5},
      {format::RaidLevel::k6, control::RaidLevel::k6},
      {format::RaidLevel::k10, control::RaidLevel::k10}};
  for (const auto& part : parts_) {
    if (part->is_made()) continue;
    control::RaidCreateRequest request;
    request.name = part->name();
    for (const auto& [level, named] : kLevels) {
      if (level == part->level()) request.level = named;
    }
    request.disks = part->disk_names();
    const auto made = co_await node_->raid_create(std::move(request));
    if (!made.ok()) co_return made.error();
  }
  co_return Result<void>{};
}

void Machine::power_on() {
  TM_ASSERT(process_ == nullptr);
  process_ = std::make_unique<sim::SimulatedProcess>(world_);
  started_at_ = world_.now();
  for (const auto& part : parts_) {
    // A RAID group that was not made to the end is nothing yet.
    if (!part->is_made()) part->make_blank();
    part->put_back();
    for (std::size_t i = 0; i < part->disk_count(); ++i) process_->use(part->disk(i));
  }
  clients_ = std::make_unique<io::TaskScope>(world_);
}

void Machine::power_on_without(std::size_t part, std::vector<std::size_t> disks) {
  power_on();
  parts_[part]->pull(std::move(disks));
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
  co_return co_await make_further_parts();
}

io::Task<Result<void>> Machine::stop_task() {
  Result<void> outcome = co_await node_->stop();
  for (const auto& part : parts_) {
    if (part->raid_group() == nullptr) continue;
    const auto closed = co_await part->raid_group()->close();
    if (!closed.ok()) outcome = closed;
  }
  co_return outcome;
}

void Machine::kill() {
  node_ = nullptr;
  clients_ = nullptr;
  process_->kill();
  process_has_ended();
}

void Machine::power_cut() {
  node_ = nullptr;
  clients_ = nullptr;
  process_->power_cut();
  process_has_ended();
}

void Machine::process_has_ended() {
  process_ = nullptr;
  raid_groups_ = nullptr;
  for (const auto& part : parts_) part->process_has_ended();
}

}  // namespace tidemark::simulation
