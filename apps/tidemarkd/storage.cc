#include "storage.h"

#include <algorithm>
#include <filesystem>

#include "base/log_field.h"
#include "pool/label.h"

namespace tidemark {
namespace {

constexpr Duration kDiskReleaseTimeout = Duration::seconds(20);
constexpr Duration kDiskRetryInterval = Duration::milliseconds(20);
constexpr const char* kRaidName = "raid0";

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

// An aggregate is built in a plain function: see CONTRIBUTING.md on them in coroutines.
raid::NamedDisk name_disk(std::string name, io::Disk* disk) {
  return {std::move(name), disk};
}

KnownPool known_pool(PoolNumber number, std::string identity, std::string name, KnownPool::Fate fate) {
  return {number, std::move(identity), std::move(name), fate};
}

pool::MissingPool missing_pool(PoolNumber number, std::string name, std::string reason) {
  return {number, std::move(name), std::move(reason)};
}

constexpr const char* kWasForgotten =
    "what lies on it was forgotten (`tidemark raid forget`); zero its first MiB to use it for something else";
constexpr const char* kWasCutOff =
    "the `raid create` that it is of was cut off; zero its first MiB to use it again";

}  // namespace

// Those of the options, or the folder's own disk, and those that were added since.
Result<std::vector<std::string>> Storage::disk_paths(const Machine& machine, bool is_new) {
  std::vector<std::string> paths = machine.options.disks;
  TM_TRY_ASSIGN(const std::vector<std::string> added,
                AddedDisks(machine.folder, machine.environment.offload).read());
  const std::string own = machine.folder.file("disk");
  const bool has_own = is_new || added.empty() || std::filesystem::exists(own);
  if (paths.empty() && has_own) paths.push_back(own);
  add_new(paths, added);
  return paths;
}

io::Task<Result<NodeIdentity>> Storage::find_owner(Machine machine) {
  TM_CO_TRY_ASSIGN(std::vector<std::string> paths, disk_paths(machine, false));
  Storage storage(machine, NodeIdentity());
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
  TM_CO_TRY_ASSIGN(std::vector<std::string> paths, disk_paths(machine, is_new));
  if (is_new && paths.size() > 1 && machine.options.raid.empty()) {
    co_return fail(ErrorCode::kInvalid,
                   "several disks become a RAID group: say --raid 0, 1, 5, 6 or 10 at the first start");
  }
  std::unique_ptr<Storage> storage(new Storage(std::move(machine), node));
  TM_CO_TRY(storage->known_.read());
  TM_CO_TRY(co_await storage->open_files(std::move(paths), is_new));
  TM_CO_TRY(co_await storage->open_parts(is_new));
  if (!storage->known_.all().empty()) co_await storage->note_found();
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

io::Task<Storage::Sorted> Storage::sort_files() {
  Sorted sorted;
  for (const auto& file : files_) {
    raid::NamedDisk disk = name_disk(file->path(), file.get());
    const auto member = co_await raid::RaidGroup::inspect(*disk.disk);
    if (member.ok() && member->node == node_) {
      sorted.raids[member->raid].push_back(std::move(disk));
      continue;
    }
    const auto loaded = co_await pool::load_label(*disk.disk);
    if (loaded.ok() && loaded->label.node == node_) {
      const KnownPool* known = known_.find(loaded->label.disk.to_string());
      if (known == nullptr || known->fate != Fate::kForgotten) {
        sorted.plain.push_back(file.get());
      } else {
        std::vector<raid::NamedDisk> forgotten{std::move(disk)};
        report_unused(forgotten, kWasForgotten);
        sorted.has_forgotten = true;
      }
    } else {
      sorted.rest.push_back(std::move(disk));
    }
  }
  co_return sorted;
}

io::Task<Result<void>> Storage::open_parts(bool is_new) {
  Sorted sorted = co_await sort_files();
  if (is_new && sorted.raids.empty() && sorted.plain.empty()) co_return co_await make_first_part();
  if (sorted.plain.size() > 1) {
    co_return fail(ErrorCode::kRefused, sorted.plain[0]->path() + " and " + sorted.plain[1]->path() +
                                            " carry the same pool of this node: one is a copy of the other; "
                                            "name one of them");
  }
  const bool is_plain =
      files_.size() == 1 && sorted.raids.empty() && machine_.options.raid.empty() && !sorted.has_forgotten;
  if (is_plain || !sorted.plain.empty()) {
    Part part;
    part.name = node::kPlainDiskName;
    part.file = sorted.plain.empty() ? files_.front().get() : sorted.plain.front();
    machine_.log("disk", part.file->description());
    TM_CO_TRY(co_await take_number(&part, is_new));
    const bool has_label = !sorted.plain.empty();
    parts_.push_back(std::move(part));
    // The node says what is wrong with the only disk.
    if (is_plain && !has_label) {
      note_missing();
      co_return Result<void>{};
    }
  }
  // Of disks that are of no RAID group, the first one that is in use says why.
  const auto says_why = std::ranges::find_if(sorted.raids, [this](const auto& entry) {
    const KnownPool* known = known_.find(entry.first.to_string());
    return known == nullptr || known->fate == Fate::kKept;
  });
  if (says_why == sorted.raids.end()) {
    std::erase_if(sorted.rest, [this](const raid::NamedDisk& disk) {
      return !parts_.empty() && parts_.front().file == disk.disk;
    });
    report_unused(
        sorted.rest,
        "it carries no label of this node; `tidemark raid create` makes a RAID group of blank disks");
  } else {
    std::move(sorted.rest.begin(), sorted.rest.end(), std::back_inserter(says_why->second));
  }
  for (auto& [identity, disks] : sorted.raids) {
    TM_CO_TRY(co_await add_raid(identity, std::move(disks), is_new));
  }
  if (parts_.empty() && missing_.empty()) {
    co_return fail(ErrorCode::kDamaged,
                   "none of the disks carries the label of this node's RAID group; see that the right disks "
                   "are named and readable: " +
                       files_.front()->path() + " and others");
  }
  if (parts_.empty()) {
    // Labels go on one after the other.
    const std::string hint =
        is_new ? "; if this node's first start was cut off, nothing is on its disks yet: zero the "
                 "first MiB of each, and start again"
               : "";
    co_return fail(failure_.value_or(Error{}).code, missing_.front().reason + hint);
  }
  note_missing();
  co_return Result<void>{};
}

io::Task<Result<void>> Storage::make_first_part() {
  const DaemonOptions& options = machine_.options;
  if (files_.size() == 1 && options.raid.empty()) {
    Part part;
    part.name = node::kPlainDiskName;
    part.file = files_.front().get();
    machine_.log("disk", part.file->description());
    parts_.push_back(std::move(part));
    co_return Result<void>{};
  }
  const std::optional<format::RaidLevel> level = level_named(options.raid);
  TM_ASSERT(level.has_value());
  node::NewRaidGroup what;
  what.name = kRaidName;
  what.level = *level;
  what.unit_bytes = static_cast<std::uint32_t>(options.stripe_unit_bytes);
  const auto identity = machine_.environment.random.identity<RaidIdentity>();
  TM_CO_TRY_ASSIGN(Part part, co_await make_raid(std::move(what), named(), identity));
  machine_.log("raid-create", log_field("level", options.raid) + " " +
                                  log_field("disks", std::uint64_t{files_.size()}) + " " +
                                  log_field("identity", part.identity));
  parts_.push_back(std::move(part));
  co_return Result<void>{};
}

io::Task<Result<Storage::Part>> Storage::make_raid(node::NewRaidGroup what,
                                                   std::vector<raid::NamedDisk> disks,
                                                   RaidIdentity identity) {
  raid::RaidSpec spec;
  spec.name = what.name;
  spec.level = what.level;
  spec.unit_bytes = what.unit_bytes;
  spec.identity = identity;
  std::vector<raid::NamedDisk> blank = disks;
  TM_CO_TRY(co_await raid::RaidGroup::create(machine_.environment, std::move(blank), node_, std::move(spec)));
  co_return co_await assemble(identity, std::move(disks));
}

io::Task<Result<Storage::Part>> Storage::assemble(RaidIdentity identity, std::vector<raid::NamedDisk> disks) {
  raid::RaidOptions raid_options;
  raid_options.rebuild_bytes_per_second_max = machine_.options.rebuild_rate_bytes;
  raid::Assembly assembly = co_await raid::RaidGroup::assemble(machine_.environment, std::move(disks), node_,
                                                               identity, raid_options);
  for (const raid::DiskReport& report : assembly.disks) {
    machine_.log("disk",
                 log_field("disk", report.name) + " " +
                     log_field("role", std::string(raid::disk_role_name(report.role))) +
                     (report.explanation.empty() ? "" : " " + log_field("reason", report.explanation)));
    reports_.push_back(report);
  }
  if (!assembly.group.ok()) co_return assembly.group.error();
  Part part;
  part.raid = std::move(assembly.group).value();
  part.identity = identity.to_string();
  const raid::RaidStatus status = part.raid->status();
  part.name = status.name;
  machine_.log("raid", log_field("name", status.name) + " " + log_field("size_bytes", status.size_bytes) +
                           " " + log_field("replayed_entries", status.replayed_entries) + " " +
                           log_field("resynced_bytes", status.resynced_bytes));
  co_return part;
}

// A RAID group of this node that disks are of.
io::Task<Result<void>> Storage::add_raid(RaidIdentity identity, std::vector<raid::NamedDisk> disks,
                                         bool is_new) {
  const std::string identity_text = identity.to_string();
  const KnownPool* known = known_.find(identity_text);
  const Fate fate = known == nullptr ? Fate::kKept : known->fate;
  const PoolNumber number = known == nullptr ? node::kUnknownPool : known->number;
  if (fate == Fate::kForgotten) {
    report_unused(disks, kWasForgotten);
    co_return Result<void>{};
  }
  const auto label = co_await raid::RaidGroup::inspect(*disks.front().disk);
  const std::string name = label.ok() ? label->name : identity_text;
  const std::vector<raid::NamedDisk> named = disks;
  auto part = co_await assemble(identity, std::move(disks));
  Result<void> usable;
  if (!part.ok()) usable = part.error();
  if (usable.ok()) usable = co_await take_number(&*part, is_new);
  if (!usable.ok() && fate == Fate::kCreating) {
    std::erase_if(reports_, [&](const raid::DiskReport& report) { return report.raid == identity; });
    report_unused(named, kWasCutOff);
    co_return Result<void>{};
  }
  if (!usable.ok()) {
    machine_.log("raid-missing", log_field("raid", name) + " " + log_field("reason", usable.error().message));
    if (!failure_.has_value()) failure_ = usable.error();
    missing_identities_[name] = identity_text;
    missing_.push_back(missing_pool(number, name, usable.error().message));
    co_return Result<void>{};
  }
  const std::optional<format::RaidLevel> asked = level_named(machine_.options.raid);
  if (part->name == kRaidName && asked.has_value() && *asked != part->raid->status().level) {
    machine_.log("raid-level-ignored", log_field("asked", machine_.options.raid) +
                                           " reason=\"a RAID group keeps the level that it was made with\"");
  }
  parts_.push_back(std::move(part).value());
  co_return Result<void>{};
}

// Which of the node's pools lies there.
io::Task<Result<void>> Storage::take_number(Part* part, bool is_new) {
  const auto loaded = co_await pool::load_label(part->disk());
  if (loaded.ok() && part->raid == nullptr) part->identity = loaded->label.disk.to_string();
  const KnownPool* known = known_.find(part->identity);
  const bool is_blank = !loaded.ok() && loaded.error().code == ErrorCode::kNotFound;
  if (loaded.ok()) {
    part->number = loaded->label.pool;
  } else if (known != nullptr && known->fate == Fate::kCreating && is_blank) {
    // Its `raid create` was cut off before the pool was made.
    part->number = known->number;
    const PoolNumber number = part->number;
    TM_CO_TRY(co_await pool::Pool::format(machine_.environment, part->disk(), node_, number));
    machine_.log("raid-create", log_field("raid", part->name) + " outcome=finished");
  } else if (known != nullptr && known->number != node::kUnknownPool) {
    part->number = known->number;  // the node says what is wrong with its label
  } else if (part->raid != nullptr && !is_new) {
    co_return fail(loaded.error().code, "RAID group " + part->name + ": " + loaded.error().message);
  }
  const auto same = std::ranges::find(parts_, part->number, &Part::number);
  if (same != parts_.end()) {
    co_return fail(ErrorCode::kRefused, "it carries pool " + std::to_string(part->number.value) +
                                            " of this node, as " + same->name + " does");
  }
  co_return Result<void>{};
}

// What the node was given and does not use.
void Storage::report_unused(const std::vector<raid::NamedDisk>& disks, const std::string& explanation) {
  for (const raid::NamedDisk& disk : disks) {
    raid::DiskReport report;
    report.name = disk.name;
    report.role = raid::DiskRole::kForeign;
    report.explanation = explanation;
    machine_.log("disk", log_field("disk", report.name) + " role=unused " + log_field("reason", explanation));
    reports_.push_back(std::move(report));
  }
}

// What was found and is not in the list must be missed when it is gone: without that it is not used. A node
// without a list goes by what it finds.
io::Task<void> Storage::note_found() {
  const auto is_listed = [this](const Part& part) {
    const KnownPool* known = known_.find(part.identity);
    return part.identity.empty() || (known != nullptr && known->fate == Fate::kKept);
  };
  if (std::ranges::all_of(parts_, is_listed)) co_return;
  const Result<void> settled = co_await settle();
  if (settled.ok()) co_return;
  for (const Part& part : parts_) {
    if (is_listed(part)) continue;
    const std::string reason = "it cannot be noted: " + settled.error().message;
    machine_.log("raid-missing", log_field("raid", part.name) + " " + log_field("reason", reason));
    missing_.push_back(missing_pool(part.number, part.name, reason));
    missing_identities_[part.name] = part.identity;
  }
  std::erase_if(parts_, [&](const Part& part) { return !is_listed(part); });
}

PoolNumber Storage::next_number() const {
  std::uint32_t next = 0;
  for (const KnownPool& expected : known_.all()) {
    if (expected.number != node::kUnknownPool) next = std::max(next, expected.number.value + 1);
  }
  for (const Part& part : parts_) next = std::max(next, part.number.value + 1);
  return {next};
}

void Storage::note_missing() {
  for (const KnownPool& expected : known_.all()) {
    const bool is_here = std::ranges::any_of(parts_, [&](const Part& part) {
      return part.identity == expected.identity || (part.file != nullptr && part.name == expected.name);
    });
    const bool is_told = std::ranges::any_of(missing_, [&](const pool::MissingPool& missing) {
      return missing.name == expected.name &&
             (missing.number == expected.number || missing.number == node::kUnknownPool);
    });
    if (is_here || is_told || expected.fate != Fate::kKept) continue;
    const std::string reason = expected.name == node::kPlainDiskName
                                   ? "it was not found, or its label cannot be read"
                                   : "none of its disks was found";
    missing_.push_back(missing_pool(expected.number, expected.name, reason));
    machine_.log("raid-missing", log_field("raid", expected.name) + " " + log_field("reason", reason));
  }
}

// What is here, and what is known to be missing.
io::Task<Result<void>> Storage::settle() {
  std::vector<KnownPool> wanted = known_.all();
  for (Part& part : parts_) {
    if (part.identity.empty()) {
      TM_CO_TRY_ASSIGN(const pool::LoadedLabel loaded, co_await pool::load_label(part.disk()));
      part.identity = loaded.label.disk.to_string();
    }
    std::erase_if(wanted, [&](const KnownPool& known) { return known.identity == part.identity; });
    wanted.push_back(known_pool(part.number, part.identity, part.name, Fate::kKept));
  }
  for (const pool::MissingPool& missing : missing_) {
    if (std::ranges::find(wanted, missing.name, &KnownPool::name) != wanted.end()) continue;
    wanted.push_back(
        known_pool(missing.number, missing_identities_[missing.name], missing.name, Fate::kKept));
  }
  co_return co_await known_.replace(std::move(wanted));
}

io::Task<Result<void>> Storage::forget_raid(std::string name) {
  std::vector<KnownPool> wanted = known_.all();
  for (KnownPool& known : wanted) {
    if (known.name == name && known.fate == Fate::kKept) known.fate = Fate::kForgotten;
  }
  TM_CO_TRY(co_await known_.replace(std::move(wanted)));
  std::erase_if(missing_, [&](const pool::MissingPool& missing) { return missing.name == name; });
  // One that could be put together, and whose pool could not be opened.
  std::erase_if(parts_, [&](const Part& part) { return part.name == name; });
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
  if (known != files_.end()) co_return name_disk(path, known->get());
  TM_CO_TRY_ASSIGN(os::FileDisk * disk, co_await open_file(path, os::FileDiskOptions::Open::kEither));
  tried_.push_back(disk);
  co_return name_disk(path, disk);
}

io::Task<Result<void>> Storage::remember(std::string path) {
  TM_CO_TRY_ASSIGN(const bool is_new, co_await added_.add(path));
  if (is_new) listed_.push_back(std::move(path));
  co_return Result<void>{};
}

// What was known before the command stays known: it may be of a RAID group that is missing.
io::Task<void> Storage::give_back(std::string path) {
  const auto tried = std::find_if(tried_.begin(), tried_.end(),
                                  [&](const os::FileDisk* disk) { return disk->path() == path; });
  if (tried == tried_.end()) co_return;
  std::erase_if(files_, [&](const auto& file) { return file.get() == *tried; });
  tried_.erase(tried);
  if (std::erase(listed_, path) == 0) co_return;
  const auto forgotten = co_await added_.remove(path);
  if (!forgotten.ok()) machine_.log("disk-list", log_field("reason", forgotten.error().message));
}

io::Task<Result<node::PoolDisk>> Storage::create_raid(node::NewRaidGroup what) {
  const std::vector<std::string> paths = what.disks;
  const std::string name = what.name;
  tried_.clear();
  listed_.clear();
  auto formed = co_await form_raid(std::move(what));
  if (!formed.ok()) {
    for (const std::string& path : paths) co_await give_back(path);
    co_return formed.error();
  }
  parts_.push_back(std::move(formed).value());
  // Not in the list, it would not be missed when its disks are gone: then it is not used. The next start
  // finds it by its labels.
  const Result<void> settled = co_await settle();
  if (!settled.ok()) {
    parts_.pop_back();
    co_return fail(settled.error().code, "RAID group " + name + " was made, and could not be noted: " +
                                             settled.error().message + "; it is there after a restart");
  }
  co_return pool_disk(parts_.back());
}

io::Task<Result<Storage::Part>> Storage::form_raid(node::NewRaidGroup what) {
  if (std::ranges::find(missing_, node::kUnknownPool, &pool::MissingPool::number) != missing_.end()) {
    co_return fail(
        ErrorCode::kRefused,
        "a RAID group is missing of which only its disks know its number (`tidemark raid list`); bring "
        "them back, or forget it");
  }
  const auto is_taken = [&](const KnownPool& known) {
    return known.name == what.name && known.fate != Fate::kCreating;
  };
  if (std::ranges::any_of(known_.all(), is_taken)) {
    co_return fail(ErrorCode::kExists,
                   "a RAID group of this node was called '" + what.name + "'; choose another name");
  }
  const PoolNumber number = next_number();
  if (number.value >= pool::kPoolsMax) {
    co_return fail(ErrorCode::kRefused, "a node has at most " + std::to_string(pool::kPoolsMax) +
                                            " RAID groups in its life, and this one has had them");
  }
  std::vector<raid::NamedDisk> disks;
  std::uint64_t smallest_bytes = UINT64_MAX;
  for (const std::string& path : what.disks) {
    TM_CO_TRY_ASSIGN(raid::NamedDisk disk, co_await open_another(path));
    smallest_bytes = std::min(smallest_bytes, disk.disk->size_bytes());
    disks.push_back(std::move(disk));
  }
  // Whether a pool fits, before anything is labelled.
  TM_CO_TRY_ASSIGN(const format::RaidShape shape,
                   format::make_raid_shape(what.level, static_cast<std::uint32_t>(disks.size()),
                                           what.unit_bytes, smallest_bytes));
  TM_CO_TRY(format::make_disk_layout(format::data_bytes(shape)));
  // First, so that a start between this and the end finds them, and knows what it finds.
  for (const std::string& path : what.disks) TM_CO_TRY(co_await remember(path));
  const auto identity = machine_.environment.random.identity<RaidIdentity>();
  const std::vector<KnownPool> before = known_.all();
  std::vector<KnownPool> begun = before;
  begun.push_back(known_pool(number, identity.to_string(), what.name, Fate::kCreating));
  TM_CO_TRY(co_await known_.replace(std::move(begun)));
  const std::vector<raid::NamedDisk> named = disks;
  auto made = co_await make_raid(std::move(what), std::move(disks), identity);
  if (!made.ok()) {
    // What was refused before a disk was labelled has left nothing.
    bool is_left = false;
    for (const raid::NamedDisk& disk : named) {
      const auto label = co_await raid::RaidGroup::inspect(*disk.disk);
      is_left |= label.ok() ? label->raid == identity : label.error().code == ErrorCode::kIo;
    }
    if (!is_left) (void)co_await known_.replace(before);
    co_return made.error();
  }
  Part part = std::move(made).value();
  part.number = number;
  TM_CO_TRY(co_await pool::Pool::format(machine_.environment, part.disk(), node_, number));
  co_return part;
}

node::PoolDisk Storage::pool_disk(const Part& part) const {
  node::PoolDisk out;
  out.number = part.number;
  out.name = part.name;
  out.disk = &part.disk();
  out.raid = part.raid.get();
  if (part.file != nullptr) out.path = part.file->path();
  return out;
}

std::string Storage::name() const {
  if (parts_.empty()) return "the node's disks";
  const Part& first = parts_.front();
  return first.raid != nullptr ? "RAID group " + first.name : first.file->path();
}

node::NodeDisks Storage::disks_of_node() {
  node::NodeDisks disks;
  for (const Part& part : parts_) disks.pools.push_back(pool_disk(part));
  disks.missing = missing_;
  disks.found = reports_;
  disks.open = [this](std::string path) {
    tried_.clear();
    listed_.clear();
    return open_another(std::move(path));
  };
  disks.remember = [this](std::string path) { return remember(std::move(path)); };
  disks.give_back = [this](std::string path) { return give_back(std::move(path)); };
  disks.forget_raid = [this](std::string name) { return forget_raid(std::move(name)); };
  disks.create_raid = [this](node::NewRaidGroup what) { return create_raid(std::move(what)); };
  return disks;
}

io::Task<Result<void>> Storage::close() {
  Result<void> outcome;
  for (const Part& part : parts_) {
    if (part.raid == nullptr) continue;
    const auto closed = co_await part.raid->close();
    if (!closed.ok()) outcome = closed;
  }
  co_return outcome;
}

}  // namespace tidemark
