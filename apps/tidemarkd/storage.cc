#include "storage.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/log_field.h"
#include "os/small_file.h"
#include "pool/label.h"

namespace tidemark {
namespace {

constexpr Duration kDiskReleaseTimeout = Duration::seconds(20);
constexpr Duration kDiskRetryInterval = Duration::milliseconds(20);
constexpr const char* kListName = "disks";
constexpr const char* kRaidName = "raid0";

// The paths that were added since the first start, one a line.
Result<std::vector<std::string>> read_list(const std::string& path) {
  std::vector<std::string> out;
  std::error_code error;
  if (!std::filesystem::exists(path, error) && !error) return out;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    if (!line.empty()) out.push_back(line);
  }
  // Taken for an empty list, it would cost the disks on it their places.
  if (error || !in.eof() || in.bad())
    return fail(ErrorCode::kIo, path + ", the list of added disks, cannot be read");
  return out;
}

void add_new(std::vector<std::string>& paths, const std::vector<std::string>& more) {
  for (const std::string& path : more) {
    if (std::find(paths.begin(), paths.end(), path) == paths.end()) paths.push_back(path);
  }
}

std::optional<format::RaidLevel> level_named(const std::string& text) {
  if (text == "0") return format::RaidLevel::k0;
  if (text == "1") return format::RaidLevel::k1;
  if (text == "5") return format::RaidLevel::k5;
  if (text == "6") return format::RaidLevel::k6;
  if (text == "10") return format::RaidLevel::k10;
  return std::nullopt;
}

std::function<void()> list_change(std::string list, std::string path, bool listed,
                                  std::shared_ptr<Result<void>> outcome) {
  return [list = std::move(list), path = std::move(path), listed, outcome = std::move(outcome)] {
    Result<std::vector<std::string>> paths = read_list(list);
    if (!paths.ok()) {
      *outcome = paths.error();
      return;
    }
    if (listed) add_new(*paths, {path});
    if (!listed) std::erase(*paths, path);
    std::string text;
    for (const std::string& line : *paths) text += line + "\n";
    *outcome = os::replace_file(list, text);
  };
}

// An aggregate is built in a plain function: see CONTRIBUTING.md on them in coroutines.
raid::NamedDisk name_disk(std::string name, io::Disk* disk) {
  return {std::move(name), disk};
}

}  // namespace

// Those of the options, and those that were added since; none: the disk is the folder's own.
Result<std::vector<std::string>> Storage::disk_paths(const Machine& machine) {
  std::vector<std::string> paths = machine.options.disks;
  TM_TRY_ASSIGN(const std::vector<std::string> added, read_list(machine.folder.file(kListName)));
  add_new(paths, added);
  return paths;
}

io::Task<Result<NodeIdentity>> Storage::find_owner(Machine machine) {
  TM_CO_TRY_ASSIGN(std::vector<std::string> paths, disk_paths(machine));
  if (paths.empty()) paths.push_back(machine.folder.file("disk"));
  Storage storage(machine);
  TM_CO_TRY(co_await storage.open_files(std::move(paths), false));
  NodeIdentity owner;
  std::string first;
  std::string unlabelled;
  for (const raid::NamedDisk& disk : storage.named()) {
    NodeIdentity found;
    const auto member = co_await raid::RaidGroup::inspect(*disk.disk);
    if (member.ok()) {
      found = member->node;
    } else {
      const auto loaded = co_await pool::load_label(*disk.disk);
      if (!loaded.ok()) {
        unlabelled += (unlabelled.empty() ? "" : "; ") + disk.name + ": " + loaded.error().message;
        continue;
      }
      found = loaded->label.node;
    }
    if (!owner.is_zero() && found != owner) {
      co_return fail(ErrorCode::kRefused, first + " is of node " + owner.to_string() + " and " + disk.name +
                                              " of node " + found.to_string() + "; name the disks of one");
    }
    owner = found;
    first = disk.name;
  }
  if (owner.is_zero()) {
    co_return fail(ErrorCode::kNotFound, "none of the disks carries a node's label (" + unlabelled + ")");
  }
  co_return owner;
}

io::Task<Result<std::unique_ptr<Storage>>> Storage::open(Machine machine, NodeIdentity node, bool is_new) {
  const DaemonOptions& options = machine.options;
  TM_CO_TRY_ASSIGN(std::vector<std::string> paths, disk_paths(machine));
  if (is_new && paths.size() > 1 && options.raid.empty()) {
    co_return fail(ErrorCode::kInvalid,
                   "several disks become a RAID group: say --raid 0, 1, 5, 6 or 10 at the first start");
  }
  const bool by_default = paths.empty();
  if (by_default) paths.push_back(machine.folder.file("disk"));
  std::unique_ptr<Storage> storage(new Storage(machine));
  TM_CO_TRY(co_await storage->open_files(std::move(paths), is_new));
  const bool several = storage->files_.size() > 1;
  std::optional<RaidIdentity> found;
  if (!by_default) {
    TM_CO_TRY_ASSIGN(found, co_await storage->find_raid(node));
  }
  if (several || found.has_value() || !options.raid.empty()) {
    TM_CO_TRY(co_await storage->open_raid(node, found, is_new));
  } else {
    storage->name_ = storage->files_.front()->path();
    machine.log("disk", storage->files_.front()->description());
  }
  co_return storage;
}

// All that are there; at the first start that is all of them.
io::Task<Result<void>> Storage::open_files(std::vector<std::string> paths, bool is_new) {
  using Open = os::FileDiskOptions::Open;
  std::vector<std::string> missing;
  for (const std::string& path : paths) {
    auto opened = co_await open_file(path, is_new ? Open::kEither : Open::kExisting);
    if (opened.ok()) continue;
    // What is in the way of one disk is not in the way of the others, which may do without it.
    if (is_new || paths.size() == 1) co_return opened.error();
    machine_.log("disk-missing", log_field("disk", path) + " " + log_field("reason", opened.error().message));
    missing.push_back(path);
  }
  if (files_.empty())
    co_return fail(ErrorCode::kNotFound, "none of the disks can be opened: " + missing.front());
  co_return Result<void>{};
}

// A process that was killed holds its disks until the kernel has ended the writes it had in flight, which may
// be a while after the process itself is gone. The lock on the folder is ours: nobody else can mean to keep
// them.
io::Task<Result<os::FileDisk*>> Storage::open_file(std::string path, os::FileDiskOptions::Open how) {
  os::FileDiskOptions options;
  // A device that is not there must not become a file in memory.
  const bool is_device = path.starts_with("/dev/");
  options.open = is_device ? os::FileDiskOptions::Open::kExisting : how;
  options.create_size_bytes = machine_.options.disk_size_bytes;
  const MonotonicTime patience = machine_.reactor.now() + kDiskReleaseTimeout;
  while (true) {
    auto disk = os::FileDisk::open(machine_.reactor, path, options);
    const bool held = !disk.ok() && disk.error().code == ErrorCode::kBusy;
    if (disk.ok()) {
      files_.push_back(std::move(disk).value());
      co_return files_.back().get();
    }
    if (!held || machine_.reactor.now() >= patience) co_return disk.error();
    co_await machine_.reactor.sleep_for(kDiskRetryInterval);
  }
}

std::vector<raid::NamedDisk> Storage::named() const {
  std::vector<raid::NamedDisk> out;
  for (const auto& file : files_) out.push_back({file->path(), file.get()});
  return out;
}

// The RAID group of this node that any of the disks is of.
io::Task<Result<std::optional<RaidIdentity>>> Storage::find_raid(NodeIdentity node) {
  std::optional<RaidIdentity> found;
  std::string first;
  for (const raid::NamedDisk& disk : named()) {
    auto label = co_await raid::RaidGroup::inspect(*disk.disk);
    if (!label.ok() || label->node != node) continue;
    if (found.has_value() && label->raid != *found) {
      co_return fail(ErrorCode::kRefused, first + " and " + disk.name +
                                              " are of two RAID groups of this node; name the disks of one");
    }
    first = disk.name;
    found = label->raid;
  }
  co_return found;
}

io::Task<Result<void>> Storage::open_raid(NodeIdentity node, std::optional<RaidIdentity> found, bool is_new) {
  io::Environment& environment = machine_.environment;
  RaidIdentity identity = found.value_or(RaidIdentity());
  if (!found.has_value() && !is_new) {
    co_return fail(
        ErrorCode::kDamaged,
        "none of the disks carries the label of this node's RAID group; see that the right disks are "
        "named and readable: " +
            files_.front()->path() + " and others (a node that began on one disk stays on one)");
  }
  if (!found.has_value()) {
    const std::optional<format::RaidLevel> level = level_named(machine_.options.raid);
    TM_ASSERT(level.has_value());
    raid::RaidSpec spec;
    spec.name = kRaidName;
    spec.level = *level;
    spec.unit_bytes = static_cast<std::uint32_t>(machine_.options.stripe_unit_bytes);
    std::vector<raid::NamedDisk> disks = named();
    TM_CO_TRY_ASSIGN(identity,
                     co_await raid::RaidGroup::create(environment, std::move(disks), node, std::move(spec)));
    machine_.log("raid-create", log_field("level", machine_.options.raid) + " " +
                                    log_field("disks", std::uint64_t{files_.size()}) + " " +
                                    log_field("identity", identity.to_string()));
  }
  raid::RaidOptions raid_options;
  raid_options.rebuild_bytes_per_second_max = machine_.options.rebuild_rate_bytes;
  std::vector<raid::NamedDisk> disks = named();
  raid::Assembly assembly =
      co_await raid::RaidGroup::assemble(environment, std::move(disks), node, identity, raid_options);
  reports_ = std::move(assembly.disks);
  for (const raid::DiskReport& report : reports_) {
    machine_.log("disk",
                 log_field("disk", report.name) + " " +
                     log_field("role", std::string(raid::disk_role_name(report.role))) +
                     (report.explanation.empty() ? "" : " " + log_field("reason", report.explanation)));
  }
  if (!assembly.group.ok()) {
    const Error& error = assembly.group.error();
    // Labels go on one after the other.
    const std::string hint =
        is_new ? "; if this node's first start was cut off, nothing is on its disks yet: zero the "
                 "first MiB of each, and start again"
               : "";
    co_return fail(error.code, error.message + hint);
  }
  raid_ = std::move(assembly.group).value();
  const raid::RaidStatus status = raid_->status();
  const std::optional<format::RaidLevel> asked = level_named(machine_.options.raid);
  if (asked.has_value() && *asked != status.level) {
    machine_.log("raid-level-ignored", log_field("asked", machine_.options.raid) +
                                           " reason=\"a RAID group keeps the level that it was made with\"");
  }
  name_ = "RAID group " + status.name;
  machine_.log("raid", log_field("name", status.name) + " " + log_field("size_bytes", status.size_bytes) +
                           " " + log_field("replayed_entries", status.replayed_entries) + " " +
                           log_field("resynced_bytes", status.resynced_bytes));
  co_return Result<void>{};
}

// One that was opened before, and was of no use then, may be blank by now.
io::Task<Result<raid::NamedDisk>> Storage::open_another(std::string path) {
  if (!std::filesystem::path(path).is_absolute()) {
    co_return fail(ErrorCode::kInvalid, "a disk is named by its whole path, not '" + path + "'");
  }
  const auto known = std::find_if(files_.begin(), files_.end(), [&](const auto& file) {
    return file->path() == path && file->is_at_its_path();
  });
  tried_ = nullptr;
  if (known != files_.end()) co_return name_disk(path, known->get());
  TM_CO_TRY_ASSIGN(os::FileDisk * disk, co_await open_file(path, os::FileDiskOptions::Open::kEither));
  tried_ = disk;
  co_return name_disk(path, disk);
}

io::Task<Result<void>> Storage::change_list(std::string path, bool listed) {
  auto outcome = std::make_shared<Result<void>>();
  std::function<void()> work = list_change(machine_.folder.file(kListName), std::move(path), listed, outcome);
  co_await machine_.environment.offload.run(std::move(work));
  co_return *outcome;
}

io::Task<Result<void>> Storage::remember(std::string path) {
  co_return co_await change_list(std::move(path), true);
}

io::Task<void> Storage::give_back(std::string path) {
  if (tried_ == nullptr || tried_->path() != path) co_return;
  std::erase_if(files_, [this](const auto& file) { return file.get() == tried_; });
  tried_ = nullptr;
  const Result<void> forgotten = co_await change_list(path, false);
  if (!forgotten.ok()) machine_.log("disk-list", log_field("reason", forgotten.error().message));
}

node::NodeDisks Storage::disks_of_node() {
  node::NodeDisks disks;
  disks.raid = raid_.get();
  disks.name = name_;
  disks.found = reports_;
  disks.open = [this](std::string path) { return open_another(std::move(path)); };
  disks.remember = [this](std::string path) { return remember(std::move(path)); };
  disks.give_back = [this](std::string path) { return give_back(std::move(path)); };
  return disks;
}

io::Task<Result<void>> Storage::close() {
  if (raid_ == nullptr) co_return Result<void>{};
  co_return co_await raid_->close();
}

}  // namespace tidemark
