// A group rehearsed: all its volumes writable at one point, under an overlay that stays while clients come
// and go.

#include <algorithm>

#include "base/log_field.h"
#include "node/node.h"

namespace tidemark::node {
namespace {

Error no_rehearsal(const std::string& group) {
  return fail(ErrorCode::kNotFound, "group '" + group +
                                        "' is not being rehearsed; `tidemark group rehearse " + group +
                                        " --at POINT` begins it");
}

}  // namespace

// The group stays until the scratch units have gone.
io::Task<void> Node::close_rehearsal(std::shared_ptr<Rehearsal> rehearsal) {
  for (auto& [name, view] : rehearsal->views) {
    // A connection that has just ended lets go of it in a moment.
    constexpr Duration kHandleInterval = Duration::milliseconds(5);
    while (view.use_count() > 1) co_await environment_.scheduler.sleep_for(kHandleInterval);
    co_await view->close();
  }
  rehearsal->views.clear();
  rehearsal->group = nullptr;
}

void Node::end_rehearsal(const std::string& group) {
  const auto at = rehearsals_.find(group);
  if (at == rehearsals_.end()) return;
  std::shared_ptr<Rehearsal> rehearsal = std::move(at->second);
  rehearsals_.erase(at);
  if (rehearsal->begun) tasks_.spawn(close_rehearsal(std::move(rehearsal)));
}

io::Task<Result<void>> Node::open_rehearsal(std::shared_ptr<Rehearsal> rehearsal, std::string point) {
  group::Group& group = *rehearsal->group;
  TM_CO_TRY_ASSIGN(rehearsal->point, co_await group.points().resolve(point, false));
  const group::PointPin pin = group.pin(rehearsal->point.at);
  const std::string at = "log:" + rehearsal->point.at.to_string();
  const std::vector<group::VolumeShape> volumes = group.state().shape_at(rehearsal->point.at);
  if (volumes.empty()) {
    co_return fail(ErrorCode::kNotFound,
                   "group '" + group.name() + "' had no volumes at '" + printable(point, 140) + "'");
  }
  for (const group::VolumeShape& shape : volumes) {
    TM_CO_TRY_ASSIGN(std::unique_ptr<group::View> opened, co_await group.open_view(shape.name, at));
    std::shared_ptr<group::View> view = std::move(opened);
    TM_CO_TRY(co_await view->make_writable());
    rehearsal->views[shape.name] = std::move(view);
  }
  co_return Result<void>{};
}

io::Task<Result<control::RehearsalInfo>> Node::rehearsal_begin(control::RehearsalBeginRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  if (stopping_) co_return fail(ErrorCode::kShutdown, "the node is stopping");
  if (rehearsals_.contains(request.group)) {
    co_return fail(ErrorCode::kExists, "group '" + request.group +
                                           "' is being rehearsed already; `tidemark group rehearse " +
                                           request.group + "` shows it, --end ends it");
  }
  auto rehearsal = std::make_shared<Rehearsal>();
  rehearsal->group = group;
  rehearsal->since = environment_.clock.now();
  rehearsals_[request.group] = rehearsal;
  auto opened = co_await open_rehearsal(rehearsal, request.point);
  const auto known = rehearsals_.find(request.group);
  const bool is_wanted = known != rehearsals_.end() && known->second == rehearsal && !stopping_;
  if (opened.ok() && !is_wanted) opened = fail(ErrorCode::kNotFound, "group '" + request.group + "' is gone");
  if (!opened.ok()) {
    if (known != rehearsals_.end() && known->second == rehearsal) rehearsals_.erase(known);
    co_await close_rehearsal(rehearsal);
    co_return std::move(opened).error();
  }
  rehearsal->begun = true;
  log_("rehearsal-begin",
       log_field("group", request.group) + " " + log_field("at", rehearsal->point.at.to_string()));
  co_return rehearsal_info(request.group, *rehearsal);
}

control::RehearsalInfo Node::rehearsal_info(const std::string& group, const Rehearsal& rehearsal) const {
  control::RehearsalInfo info;
  info.group = group;
  info.point = {rehearsal.point.at, rehearsal.point.timer};
  info.since = rehearsal.since;
  for (const auto& [name, view] : rehearsal.views) {
    control::RehearsedVolume volume;
    volume.volume = name;
    volume.export_name = group + "/" + name + kRehearsalSuffix;
    volume.size_bytes = view->shape().size_bytes;
    volume.scratch_bytes = view->scratch_bytes();
    volume.clients = static_cast<std::uint32_t>(view.use_count() - 1);
    info.volumes.push_back(std::move(volume));
  }
  return info;
}

io::Task<Result<control::RehearsalInfo>> Node::rehearsal_show(control::RehearsalShowRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  const auto at = rehearsals_.find(request.group);
  if (at == rehearsals_.end() || !at->second->begun) co_return no_rehearsal(request.group);
  co_return rehearsal_info(request.group, *at->second);
}

io::Task<Result<control::Done>> Node::rehearsal_end(control::RehearsalEndRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  const auto at = rehearsals_.find(request.group);
  if (at == rehearsals_.end() || !at->second->begun) co_return no_rehearsal(request.group);
  const std::shared_ptr<Rehearsal> rehearsal = at->second;
  std::uint32_t clients = 0;
  for (const control::RehearsedVolume& volume : rehearsal_info(request.group, *rehearsal).volumes)
    clients += volume.clients;
  if (clients > 0 && !request.force) {
    co_return fail(ErrorCode::kBusy,
                   std::to_string(clients) + (clients == 1 ? " client has" : " clients have") +
                       " the rehearsal of group '" + request.group + "' open; --force disconnects them");
  }
  end_rehearsal(request.group);
  const std::string prefix = request.group + "/";
  std::function<bool(const std::string&)> matches = [prefix](const std::string& export_name) {
    return export_name.starts_with(prefix) && export_name.ends_with(kRehearsalSuffix);
  };
  co_await nbd_server_->disconnect(std::move(matches));
  log_("rehearsal-end", log_field("group", request.group));
  co_return control::Done();
}

// The view that the rehearsal's clients share.
Result<std::shared_ptr<group::View>> Node::rehearsed(const std::string& group,
                                                     const std::string& volume) const {
  const auto at = rehearsals_.find(group);
  if (at == rehearsals_.end() || !at->second->begun) return no_rehearsal(group);
  const auto view = at->second->views.find(volume);
  if (view == at->second->views.end()) {
    return fail(ErrorCode::kNotFound,
                "the rehearsal of group '" + group + "' has no volume '" + printable(volume, 80) + "'");
  }
  return view->second;
}

}  // namespace tidemark::node
