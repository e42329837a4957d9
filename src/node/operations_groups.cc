// Operations of the control API on the node, its groups and volumes.

#include <algorithm>

#include "base/log_field.h"
#include "control/types_fields.h"
#include "node/node.h"

namespace tidemark::node {
namespace {

template <typename Request>
std::string volume_field(const Request& request) {
  return log_field("volume", request.group + "/" + request.volume);
}

}  // namespace

// What is built of many parts is built in plain functions: see CONTRIBUTING.md on aggregates in coroutines.

control::NodeStatus Node::node_info() const {
  const pool::PoolStatus pool = storage_.pools().status();
  control::NodeStatus status{.node = configuration_.name,
                             .identity = configuration_.identity.to_string(),
                             .version = configuration_.version,
                             .now = environment_.clock.now(),
                             .started = started_,
                             .nbd_addresses = configuration_.nbd_addresses,
                             .nbd_tls = configuration_.nbd_tls.upgrade == nullptr ? control::NbdTls::kOff
                                        : configuration_.nbd_tls.required         ? control::NbdTls::kRequired
                                                                                  : control::NbdTls::kOffered,
                             .control_addresses = configuration_.control_addresses,
                             .replication_addresses = configuration_.replication_addresses,
                             .pool_capacity_bytes = pool.size_bytes,
                             .pool_used_bytes = pool.allocated_bytes,
                             .pool_journals_bytes = storage_.journals_bytes(),
                             .cache_capacity_bytes = configuration_.cache_size_bytes,
                             .problems = problems(),
                             .groups = {}};
  for (const auto& [name, group] : groups_) status.groups.push_back(group_info(*group));
  return status;
}

control::SessionsReply Node::sessions_info() const {
  control::SessionsReply reply;
  for (const nbd::SessionStatus& session : nbd_server_->sessions()) {
    const bool view = is_view(session.export_name);
    reply.sessions.push_back({.kind = control::SessionKind::kNbd,
                              .client = session.client,
                              .export_name = printable(session.export_name, 256),
                              .writable = !session.read_only && !session.export_name.empty(),
                              .view = view,
                              .since = session.since,
                              .read_bytes = session.counters.bytes_read,
                              .written_bytes = session.counters.bytes_written});
  }
  return reply;
}

io::Task<Result<control::NodeStatus>> Node::node_status(control::NodeStatusRequest) {
  co_return node_info();
}

io::Task<Result<control::SessionsReply>> Node::sessions(control::SessionsRequest) {
  co_return sessions_info();
}

io::Task<Result<control::GroupInfo>> Node::group_create(control::GroupCreateRequest request) {
  TM_CO_TRY(validate_name("group name", request.group));
  auto guard = co_await registry_mutex_.lock();
  if (stopping_) co_return fail(ErrorCode::kShutdown, "the node is stopping");
  if (find_group(request.group) != nullptr) {
    co_return fail(ErrorCode::kExists, "there is a group '" + request.group + "' already");
  }
  group::NewGroup what;
  what.name = request.group;
  TM_CO_TRY_ASSIGN(what.data_pool, storage_.find_pool(request.raid));
  what.log_pool = what.data_pool;
  if (request.log_raid.has_value()) {
    TM_CO_TRY_ASSIGN(what.log_pool, storage_.find_pool(request.log_raid));
  }
  if (request.retain.has_value()) what.settings.retain = *request.retain;
  if (request.on_full == control::OnFull::kStopWrites) what.settings.on_full = group::OnFull::kStopWrites;
  const std::uint64_t journal_size_bytes = request.journal_size_bytes.value_or(kJournalSizeBytesDefault);
  what.journal_size_bytes = journal_size_bytes;
  const group::GroupContext context = group_context();
  auto group = co_await group::Group::create(context, std::move(what));
  if (!group.ok()) co_return std::move(group).error();
  GroupHandle created = std::move(group).value();
  groups_[request.group] = created;
  log_("group-create",
       log_field("group", request.group) + " " + log_field("journal_size_bytes", journal_size_bytes));
  co_return group_info(*created);
}

io::Task<Result<control::GroupListReply>> Node::group_list(control::GroupListRequest) {
  control::GroupListReply reply;
  for (const auto& [name, group] : groups_) reply.groups.push_back(group_info(*group));
  co_return reply;
}

io::Task<Result<control::GroupInfo>> Node::group_show(control::GroupShowRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  co_return group_info(*group);
}

io::Task<Result<control::GroupInfo>> Node::group_set(control::GroupSetRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  if (request.journal_size_bytes.has_value()) {
    co_return fail(ErrorCode::kUnsupported, "a log volume keeps its size; `tidemark journal add-volume " +
                                                request.group + " --size SIZE` adds another one");
  }
  group::GroupSettings settings = group->local().settings;
  if (request.retain.has_value()) settings.retain = *request.retain;
  if (request.on_full.has_value()) {
    settings.on_full = *request.on_full == control::OnFull::kStopWrites ? group::OnFull::kStopWrites
                                                                        : group::OnFull::kDropHistory;
  }
  TM_CO_TRY(co_await group->set_settings(settings));
  co_return group_info(*group);
}

io::Task<Result<control::GroupInfo>> Node::group_open(control::GroupOpenRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  if (group->local().exports_closed) TM_CO_TRY(co_await group->set_exports_closed(false));
  co_return group_info(*group);
}

io::Task<Result<control::GroupInfo>> Node::group_serve(control::GroupServeRequest request) {
  TM_CO_TRY_ASSIGN(GroupHandle group, require_group(request.group));
  group = nullptr;
  TM_CO_TRY(co_await pairs_->serve(request.group, request.alone));
  TM_CO_TRY_ASSIGN(group, require_group(request.group));
  co_return group_info(*group);
}

// Everything in the way of a deletion at once, so that whoever says --force knows what it will do.
Result<void> Node::check_disposable(const group::Group& group) const {
  std::vector<std::string> has;
  std::string force;
  const auto and_then = [&force](const std::string& what) { force += (force.empty() ? "" : ", ") + what; };
  if (const std::vector<std::string> writers = writers_of(group.name()); !writers.empty()) {
    has.push_back(writers.size() == 1 ? "a client that writes (" + writers.front() + ")"
                                      : std::to_string(writers.size()) + " clients that write (" +
                                            writers.front() + " and others)");
    and_then("disconnects the clients");
  }
  if (const auto pair = pair_info(group); pair.has_value()) {
    const std::string peer = pair->peer_node.empty() ? pair->peer_address : pair->peer_node;
    const std::string state(control::word(pair->state));
    has.push_back("a pair with " + peer + " in state " + state + (pair->link_up ? "" : ", link down"));
    and_then("dissolves the pair as `tidemark pair delete` does (" + peer + " keeps its copy" +
             (pair->link_up ? ")" : ", and is not told while the link is down)"));
  }
  const std::size_t volumes = group.volumes().size();
  if (volumes != 0) has.push_back(std::to_string(volumes) + (volumes == 1 ? " volume" : " volumes"));
  if (has.empty()) return {};
  and_then("deletes the group with its volumes and its whole history");
  std::string things;
  for (std::size_t i = 0; i < has.size(); ++i) {
    things += (i == 0 ? "" : i + 1 == has.size() ? " and " : ", ") + has[i];
  }
  return fail(ErrorCode::kRefused, "group '" + group.name() + "' has " + things + "; --force " + force);
}

// A secondary takes no changes of its own. The sentence says where to make them.
io::Task<Result<void>> Node::wait_for_changes(group::Group& group) const {
  co_await group.wait_while_busy(kReadyTimeout);
  if (group.local().role != group::Role::kSecondary) {
    co_return group.held_back().has_value() ? Result<void>(*group.held_back()) : Result<void>{};
  }
  const auto pair = pair_info(group);
  co_return fail(ErrorCode::kRefused, "group '" + group.name() +
                                          "' is the secondary of its pair here; say it on the primary" +
                                          (pair.has_value() ? ", " + pair->peer_node : std::string()));
}

// Of a group that is not served, named by its identity.
io::Task<Result<control::Done>> Node::delete_unserved(GroupIdentity identity) {
  auto guard = co_await registry_mutex_.lock();
  if (!find_unserved(identity.to_string()).has_value()) co_return control::Done();
  TM_CO_TRY(storage_.pools().check_whole());
  TM_CO_TRY(co_await group::Group::destroy(storage_.pools(), identity));
  std::erase_if(broken_, [&](const BrokenGroup& broken) { return broken.identity == identity; });
  log_("group-delete", log_field("identity", identity.to_string()));
  co_return control::Done();
}

io::Task<Result<control::Done>> Node::group_delete(control::GroupDeleteRequest request) {
  if (const auto identity = find_unserved(request.group); identity.has_value()) {
    if (request.force) co_return co_await delete_unserved(*identity);
    co_return fail(ErrorCode::kRefused,
                   "group " + request.group +
                       " is not served, so nobody can say what it holds; --force deletes what "
                       "is left of it");
  }
  TM_CO_TRY_ASSIGN(GroupHandle group, require_group(request.group));
  // What lies in a pool that is missing would stay.
  TM_CO_TRY(storage_.pools().check_whole());
  if (!request.force) TM_CO_TRY(check_disposable(*group));
  group = nullptr;
  if (pairs_->status(request.group).has_value()) (void)co_await pairs_->dissolve(request.group);
  GroupHandle gone = unregister_group(request.group);
  if (gone == nullptr) co_return fail(ErrorCode::kNotFound, "group '" + request.group + "' is gone already");
  co_await pairs_->forget(request.group);
  TM_CO_TRY(co_await destroy_group(std::move(gone)));
  log_("group-delete", log_field("group", request.group));
  co_return control::Done();
}

io::Task<Result<control::VolumeInfo>> Node::volume_create(control::VolumeCreateRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  TM_CO_TRY(co_await wait_for_changes(*group));
  std::optional<PoolNumber> pool;
  if (request.raid.has_value()) {
    TM_CO_TRY_ASSIGN(pool, storage_.find_pool(request.raid));
  }
  auto created = co_await group->create_volume(request.volume, request.size_bytes, pool);
  if (!created.ok()) co_return std::move(created).error();
  log_("volume-create", volume_field(request) + " " + log_field("size_bytes", created->size_bytes));
  co_return volume_info(*group, *created);
}

io::Task<Result<control::VolumeListReply>> Node::volume_list(control::VolumeListRequest request) {
  control::VolumeListReply reply;
  if (!request.group.empty()) {
    TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
    for (const group::VolumeShape& shape : group->volumes())
      reply.volumes.push_back(volume_info(*group, shape));
    co_return reply;
  }
  for (const auto& [name, group] : groups_) {
    for (const group::VolumeShape& shape : group->volumes())
      reply.volumes.push_back(volume_info(*group, shape));
  }
  co_return reply;
}

io::Task<Result<control::VolumeInfo>> Node::volume_show(control::VolumeShowRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  TM_CO_TRY_ASSIGN(const group::VolumeShape shape, require_volume(*group, request.volume));
  co_return volume_info(*group, shape);
}

io::Task<Result<control::VolumeInfo>> Node::volume_resize(control::VolumeResizeRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  TM_CO_TRY(co_await wait_for_changes(*group));
  TM_CO_TRY_ASSIGN(const group::VolumeShape shape, require_volume(*group, request.volume));
  if (request.size_bytes < shape.size_bytes) {
    if (!request.shrink) {
      co_return fail(ErrorCode::kRefused,
                     "volume '" + request.group + "/" + request.volume + "' has " +
                         format_size(shape.size_bytes) +
                         "; to make it smaller say --shrink, what lies beyond is discarded");
    }
    const control::VolumeInfo info = volume_info(*group, shape);
    if (info.writers_connected + info.readers_connected > 0) {
      co_return fail(ErrorCode::kBusy, "volume '" + request.group + "/" + request.volume +
                                           "' is in use; disconnect its clients before it is made smaller");
    }
  }
  auto resized = co_await group->resize_volume(request.volume, request.size_bytes);
  if (!resized.ok()) co_return std::move(resized).error();
  log_("volume-resize", volume_field(request) + " " + log_field("size_bytes", resized->size_bytes));
  co_return volume_info(*group, *resized);
}

io::Task<Result<control::Done>> Node::volume_delete(control::VolumeDeleteRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  TM_CO_TRY(co_await wait_for_changes(*group));
  TM_CO_TRY_ASSIGN(const group::VolumeShape shape, require_volume(*group, request.volume));
  const control::VolumeInfo info = volume_info(*group, shape);
  if (info.writers_connected > 0 && !request.force) {
    co_return fail(ErrorCode::kBusy, "a client writes to '" + request.group + "/" + request.volume +
                                         "'; disconnect it, or say --force");
  }
  const std::string name = request.group + "/" + request.volume;
  std::function<bool(const std::string&)> matches = [name](const std::string& export_name) {
    return export_name == name;
  };
  co_await nbd_server_->disconnect(std::move(matches));
  TM_CO_TRY(co_await group->delete_volume(request.volume));
  log_("volume-delete", volume_field(request));
  control::Done done;
  done.note = "its past can be read until it expires";
  co_return done;
}

}  // namespace tidemark::node
