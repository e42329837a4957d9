#include "node/node.h"

#include <algorithm>
#include <limits>

#include "base/log_field.h"

namespace tidemark::node {
namespace {

// What became of work that a crash cut off and this start finishes.
std::string outcome_field(const Result<void>& outcome) {
  return outcome.ok() ? " outcome=done" : " outcome=failed " + log_field("reason", outcome.error().message);
}

std::uint64_t recent_bytes_max(const NodeConfiguration& configuration) {
  if (configuration.recent_size_bytes != 0) return configuration.recent_size_bytes;
  return std::clamp<std::uint64_t>(configuration.cache_size_bytes / 8, 2 << 20, 64 << 20);
}

NodeStorage::Options storage_options(const NodeConfiguration& configuration,
                                     std::function<bool(LuNumber)> is_settled,
                                     pool::SurveyLogVolume survey_log_volume) {
  NodeStorage::Options options;
  options.is_settled = std::move(is_settled);
  options.survey_log_volume = std::move(survey_log_volume);
  options.node = configuration.identity;
  options.disks = configuration.disks;
  options.alarm_percent = configuration.pool_alarm_percent;
  options.may_format = configuration.may_format_disk;
  return options;
}

}  // namespace

Node::Node(io::Environment environment, NodeConfiguration configuration, group::IndexFactory make_index,
           Log log)
    : environment_(environment),
      configuration_(std::move(configuration)),
      make_index_(std::move(make_index)),
      log_(std::move(log)),
      started_(environment.clock.now()),
      clock_watch_(environment),
      storage_(environment,
               storage_options(
                   configuration_, [this](LuNumber unit) { return base_is_settled(unit); },
                   [this](LuNumber number, DiskOffset begin, DiskOffset end) {
                     return survey_log_volume(number, begin, end);
                   }),
               log_),
      cache_(std::make_unique<group::BlockCache>(configuration_.cache_size_bytes / 2)),
      recent_memory_(recent_bytes_max(configuration_)),
      catalog_mutex_(environment.scheduler),
      registry_mutex_(environment.scheduler),
      stop_wanted_(environment.scheduler),
      tasks_(environment.scheduler) {
  const replication::NodeName self{configuration_.identity, configuration_.name};
  pairs_ = std::make_unique<replication::Pairs>(environment_, self, *this);
  nbd_server_ = std::make_unique<nbd::Server>(
      environment_, *this, nbd::ServerLimits{},
      [this](const std::string& event, const std::string& fields) { log_(event, fields); },
      configuration_.nbd_tls);
}

Node::~Node() {
  tasks_.cancel_all();
  // A scrub may hold a group, as connections and pairs do; groups hold the pool.
  storage_.abandon();
  nbd_server_ = nullptr;
  pairs_ = nullptr;
  journal_exports_.clear();
  rehearsals_.clear();
  groups_.clear();
}

io::Task<Result<std::unique_ptr<Node>>> Node::start(io::Environment environment,
                                                    NodeConfiguration configuration,
                                                    group::IndexFactory make_index, OpenCatalog open_catalog,
                                                    Log log) {
  TM_CO_TRY(validate_name("node name", configuration.name));
  if (configuration.cache_size_bytes < kCacheSizeBytesMin) {
    co_return fail(ErrorCode::kInvalid, "a cache of " + format_size(configuration.cache_size_bytes) +
                                            " is too small; at least " + format_size(kCacheSizeBytesMin) +
                                            " are needed");
  }
  std::unique_ptr<Node> node(
      new Node(environment, std::move(configuration), std::move(make_index), std::move(log)));
  TM_CO_TRY(co_await node->storage_.open());
  co_await node->remove_scratch_units();
  co_await node->open_groups();
  if (open_catalog) {
    auto opened = open_catalog();
    if (opened.ok()) {
      node->catalog_ = std::move(opened).value();
    } else {
      node->log_("catalogue-unavailable", log_field("reason", opened.error().message));
    }
  }
  if (node->catalog_ != nullptr) node->tasks_.spawn(node->project());
  node->tasks_.spawn(node->watch_clock());
  co_return node;
}

void Node::set_addresses(std::vector<std::string> nbd, std::vector<std::string> control,
                         std::vector<std::string> replication) {
  configuration_.nbd_addresses = std::move(nbd);
  configuration_.control_addresses = std::move(control);
  pairs_->set_addresses(replication);
  configuration_.replication_addresses = std::move(replication);
}

bool Node::base_is_settled(LuNumber unit) const {
  const pool::DataVolume* base = storage_.pools().data_volume(unit);
  if (base == nullptr) return false;
  return std::ranges::any_of(groups_, [&](const auto& at) {
    return at.second->identity() == base->record().group && at.second->base_is_settled();
  });
}

io::Task<std::unique_ptr<pool::LogVolumeSurvey>> Node::survey_log_volume(LuNumber number, DiskOffset begin,
                                                                         DiskOffset end) {
  for (const auto& [name, group] : groups_) {
    if (!group->has_log_volume(number)) continue;
    const GroupHandle held = group;
    co_return co_await held->survey_log_volume(number, begin, end);
  }
  co_return nullptr;
}

io::Task<Result<void>> Node::stop() {
  stopping_ = true;
  stop_wanted_.wake_all();
  {
    io::TaskScope hurried(environment_.scheduler);
    for (const auto& [name, group] : groups_) {
      hurried.spawn(hurry_flushes(group, fail(ErrorCode::kShutdown,
                                              "the node is stopping; what was written is "
                                              "durable here, and its peer lacks it")));
    }
    co_await nbd_server_->stop();
  }
  co_await pairs_->stop();
  while (!rehearsals_.empty()) end_rehearsal(rehearsals_.begin()->first);
  co_await tasks_.join();
  co_await storage_.stop();
  journal_exports_.clear();
  if (catalog_ != nullptr) {
    auto written = co_await write_rows();
    if (!written.ok()) log_("catalogue-behind", log_field("reason", written.error().message));
  }
  Result<void> outcome;
  for (auto& [name, group] : groups_) {
    auto closed = co_await group->close();
    if (!closed.ok()) {
      log_("group-close-failed",
           log_field("group", name) + " " + log_field("reason", closed.error().message));
      outcome = closed;
    }
  }
  co_return outcome;
}

group::GroupContext Node::group_context() {
  journal::JournalOptions journal_options;
  journal_options.segment_size_bytes = configuration_.journal_segment_size_bytes;
  journal_options.recent_bytes_max = recent_bytes_max(configuration_);
  journal_options.recent_memory = &recent_memory_;
  return {.environment = environment_,
          .pools = storage_.pools(),
          .cache = *cache_,
          .make_index = make_index_,
          .journal_options = journal_options,
          .log = [this](const std::string& event, const std::string& group, const std::string& fields) {
            log(event, group, fields);
          }};
}

// What a crash left of writable views.
io::Task<void> Node::remove_scratch_units() {
  for (const pool::LuRecord& unit : storage_.pools().units()) {
    if (unit.kind != pool::LuKind::kData || !unit.group.is_zero()) continue;
    auto removed = co_await storage_.pools().remove(unit.number);
    log_("unit-leftover", log_field("unit", unit.number.value) + outcome_field(removed));
  }
}

// Volumes without a journal. A group's first log volume is made first and goes last, so they are what is here
// of a group whose journal lies on disks that were not named: nobody but a person can say that it is gone.
std::vector<control::Problem> Node::orphan_problems() const {
  std::set<GroupIdentity> groups;
  std::map<GroupIdentity, std::uint32_t> orphans;
  const std::vector<pool::LuRecord> units = storage_.pools().units();
  for (const pool::LuRecord& unit : units) {
    if (unit.is_first_log()) groups.insert(unit.group);
  }
  for (const pool::LuRecord& unit : units) {
    if (!unit.group.is_zero() && !groups.contains(unit.group)) ++orphans[unit.group];
  }
  std::vector<control::Problem> out;
  for (const auto& [group, count] : orphans) {
    const std::string volumes = std::to_string(count) + (count == 1 ? " volume" : " volumes");
    out.push_back(
        {{},
         volumes + " of group " + group.to_string() +
             " lie here, and its journal is on none of the disks: name all disks that the node had, "
             "also those that were added by command; if they are lost, delete what is left",
         started_,
         "tidemark group delete " + group.to_string() + " --force"});
  }
  return out;
}

std::optional<GroupIdentity> Node::find_unserved(const std::string& identity) const {
  if (groups_.contains(identity)) return std::nullopt;
  for (const BrokenGroup& broken : broken_) {
    if (broken.identity.to_string() == identity) return broken.identity;
  }
  // One that is being made or deleted has its journal.
  std::optional<GroupIdentity> orphan;
  for (const pool::LuRecord& unit : storage_.pools().units()) {
    if (unit.group.is_zero() || unit.group.to_string() != identity) continue;
    if (unit.is_first_log()) return std::nullopt;
    orphan = unit.group;
  }
  return orphan;
}

io::Task<void> Node::watch_clock() {
  constexpr Duration kLookInterval = Duration::seconds(1);
  while (!stopping_) {
    if (const auto jump = clock_watch_.look(); jump.has_value())
      log_("clock-jump", log_field("notice", describe_jump(*jump)));
    (void)co_await stop_wanted_.wait_until(environment_.scheduler.now() + kLookInterval);
  }
}

io::Task<void> Node::open_groups() {
  const std::vector<pool::LuRecord> units = storage_.pools().units();
  std::map<GroupIdentity, std::uint32_t> journals;
  for (const pool::LuRecord& unit : units) {
    if (unit.is_first_log() && !unit.forming) ++journals[unit.group];
  }
  for (const pool::LuRecord& unit : units) {
    if (!unit.is_first_log()) continue;
    // One was made while the pool of the other was missing; they would share volumes.
    if (journals[unit.group] > 1) {
      note_broken(unit, "it has two journals; this one is logical unit " + std::to_string(unit.number.value));
      continue;
    }
    if (unit.forming && journals[unit.group] == 1) {
      auto removed = co_await storage_.pools().remove(unit.number);
      log_("unit-leftover", log_field("unit", unit.number.value) + outcome_field(removed));
      continue;
    }
    if (unit.forming) {
      auto destroyed = co_await group::Group::destroy(storage_.pools(), unit.group);
      log_("group-unfinished", log_field("identity", unit.group.to_string()) + outcome_field(destroyed));
      continue;
    }
    const group::GroupContext context = group_context();
    auto group = co_await group::Group::open(context, unit.number);
    if (group.ok() && *group == nullptr) {
      auto destroyed = co_await group::Group::destroy(storage_.pools(), unit.group);
      log_("group-delete", log_field("identity", unit.group.to_string()) + outcome_field(destroyed));
      continue;
    }
    if (!group.ok()) {
      note_broken(unit, group.error().message);
      continue;
    }
    const std::string name = (*group)->name();
    // Made while the pool of the other one was missing.
    if (groups_.contains(name)) {
      (void)co_await (*group)->close();
      note_broken(unit, "its name is '" + name +
                            "', and so is that of the group that is served; delete that one, " +
                            "and this one is served at the next start");
      continue;
    }
    groups_[name] = std::move(group).value();
    log_("group-open", log_field("group", name) + " " + log_field("head", groups_[name]->head().to_string()));
    auto adopted = co_await pairs_->adopt(name);
    if (!adopted.ok())
      log_("pair-broken", log_field("group", name) + " " + log_field("reason", adopted.error().message));
  }
}

void Node::note_broken(const pool::LuRecord& unit, const std::string& reason) {
  log_("group-broken", log_field("identity", unit.group.to_string()) + " " + log_field("reason", reason));
  BrokenGroup broken;
  broken.identity = unit.group;
  broken.log_volume = unit.number;
  broken.reason = reason;
  broken.since = environment_.clock.now();
  broken_.push_back(std::move(broken));
}

GroupHandle Node::hold_group(const std::string& name) const {
  const auto found = groups_.find(name);
  return found == groups_.end() ? nullptr : found->second;
}

group::Group* Node::find_group(const std::string& name) {
  const auto at = groups_.find(name);
  return at == groups_.end() ? nullptr : at->second.get();
}

Result<GroupHandle> Node::require_group(const std::string& name) {
  TM_TRY(validate_name("group name", name));
  if (const auto at = groups_.find(name); at != groups_.end()) return at->second;
  return fail(ErrorCode::kNotFound,
              "there is no group '" + name + "' on " + configuration_.name + "; see `tidemark group list`");
}

Result<group::VolumeShape> Node::require_volume(group::Group& group, const std::string& name) {
  TM_TRY(validate_name("volume name", name));
  for (const group::VolumeShape& shape : group.volumes()) {
    if (shape.name == name) return shape;
  }
  return fail(ErrorCode::kNotFound, "group '" + group.name() + "' has no volume '" + name +
                                        "'; see `tidemark volume list " + group.name() + "`");
}

std::vector<std::string> Node::writers_of(const std::string& group) const {
  std::vector<std::string> out;
  for (const OpenExport& open : open_exports_) {
    if (open.group == group && open.writable && !open.view)
      out.push_back(open.client + " on " + group + "/" + open.volume);
  }
  return out;
}

Result<std::string> Node::place_for(const format::Hello& hello) const {
  // What is not here may hold a copy of that group already.
  TM_TRY(storage_.pools().check_whole());
  const GroupHandle replaced = hold_group(hello.group_name);
  std::optional<std::string> raid;
  if (!hello.raid.empty()) {
    raid = hello.raid;
  } else if (replaced != nullptr) {
    raid = storage_.name_of(replaced->local().data_pool);
  }
  TM_TRY_ASSIGN(const PoolNumber number, storage_.find_pool(raid));
  std::uint64_t room_bytes = storage_.pools().find(number)->status().free_bytes;
  for (const pool::LuRecord& unit : storage_.pools().find(number)->units()) {
    if (replaced != nullptr && unit.group == replaced->identity() && unit.kind == pool::LuKind::kLog) {
      room_bytes += unit.size_bytes;  // given back before the new one is made
    }
  }
  if (room_bytes < hello.journal_size_bytes) {
    return fail(ErrorCode::kNoSpace, "a log volume of " + format_size(hello.journal_size_bytes) +
                                         ", as large as the other node's, does not fit into " +
                                         storage_.name_of(number) + ", where " + format_size(room_bytes) +
                                         " are free; add a disk there, or name another RAID group");
  }
  return storage_.name_of(number);
}

io::Task<Result<group::Group*>> Node::create_secondary(format::Hello hello, group::GroupState state) {
  auto guard = co_await registry_mutex_.lock();
  TM_CO_TRY_ASSIGN(const std::string raid, place_for(hello));
  if (find_group(hello.group_name) != nullptr) {
    co_return fail(ErrorCode::kExists, "there is a group '" + hello.group_name + "' already");
  }
  for (const pool::LuRecord& unit : storage_.pools().units()) {
    if (unit.group == hello.group) {
      co_return fail(ErrorCode::kExists, "this node holds a copy of that group already, under another name");
    }
  }
  group::NewGroup what;
  what.name = hello.group_name;
  what.settings.retain = Duration{hello.retain_ns};
  what.journal_size_bytes = hello.journal_size_bytes;
  TM_CO_TRY_ASSIGN(what.data_pool, storage_.find_pool(raid));
  what.log_pool = what.data_pool;
  what.identity = hello.group;
  group::SecondaryStart from;
  from.state = std::move(state);
  from.start = hello.start;
  from.start_checksum = hello.start_checksum;
  from.parity = hello.parity;
  const group::GroupContext context = group_context();
  auto made = co_await group::Group::create_secondary(context, std::move(what), std::move(from));
  if (!made.ok()) co_return std::move(made).error();
  group::Group* group = made->get();
  groups_[hello.group_name] = std::move(made).value();
  co_return group;
}

io::Task<Result<void>> Node::drop_group(std::string name) {
  GroupHandle group = unregister_group(name);
  if (group == nullptr) co_return Result<void>{};
  co_return co_await destroy_group(std::move(group));
}

// Nobody finds it any more; who has it at hand goes on until its handle goes.
GroupHandle Node::unregister_group(const std::string& name) {
  const auto at = groups_.find(name);
  if (at == groups_.end()) return nullptr;
  GroupHandle group = std::move(at->second);
  groups_.erase(at);
  projected_.erase(name);
  projected_epochs_.erase(name);
  unprojected_.insert(name);
  out_of_space_.erase(name);
  stopped_.erase(name);
  std::erase_if(journal_exports_, [&](const auto& entry) { return entry.second->group == group; });
  end_rehearsal(name);
  return group;
}

io::Task<Result<void>> Node::destroy_group(GroupHandle group) {
  auto marked = co_await group->mark_dropped();
  const std::string prefix = group->name() + "/";
  std::function<bool(const std::string&)> matches = [prefix](const std::string& export_name) {
    return export_name.starts_with(prefix);
  };
  co_await nbd_server_->disconnect(std::move(matches));
  const GroupIdentity identity = group->identity();
  (void)co_await group->close();
  // Operations under way end by themselves now that the group is closed.
  constexpr Duration kHandleInterval = Duration::milliseconds(5);
  while (group.use_count() > 1) co_await environment_.scheduler.sleep_for(kHandleInterval);
  group = nullptr;
  TM_CO_TRY(marked);
  co_return co_await group::Group::destroy(storage_.pools(), identity);
}

io::Task<void> Node::disconnect_exports(std::string name) {
  const std::string prefix = name + "/";
  std::function<bool(const std::string&)> matches = [prefix](const std::string& export_name) {
    return export_name.starts_with(prefix) && !is_view(export_name) && !is_command_export(export_name);
  };
  const GroupHandle group = hold_group(name);
  {
    io::TaskScope hurried(environment_.scheduler);
    if (group != nullptr) {
      hurried.spawn(hurry_flushes(group, fail(ErrorCode::kClosed,
                                              "the connection is to end; what was written "
                                              "is durable here, and its peer lacks it")));
    }
    co_await nbd_server_->disconnect(std::move(matches));
  }
  if (group != nullptr && !stopping_) group->peer_gate().settle();
}

io::Task<void> Node::hurry_flushes(GroupHandle group, Error reason) {
  co_await environment_.scheduler.sleep_for(kFlushGrace);
  group->peer_gate().hurry(std::move(reason));
}

void Node::log(const std::string& event, const std::string& group, const std::string& text) {
  log_(event, group.empty() ? text : log_field("group", group) + (text.empty() ? "" : " " + text));
}

}  // namespace tidemark::node
