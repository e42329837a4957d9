// The exports of a node: live volumes and views of the past, as the NBD server sees them.

#include <algorithm>

#include "base/log_field.h"
#include "node/node.h"

namespace tidemark::node {

// Keeps an export in the node's list of open ones while a client has it.
class ExportRegistration {
 public:
  ExportRegistration(Node& node, OpenExport open)
      : node_(node), place_(node.open_exports_.insert(node.open_exports_.end(), std::move(open))) {}
  ExportRegistration(const ExportRegistration&) = delete;
  ExportRegistration& operator=(const ExportRegistration&) = delete;
  ~ExportRegistration() { node_.open_exports_.erase(place_); }

 private:
  Node& node_;
  Node::ExportHandle place_;
};

namespace {

// "GROUP/VOLUME", "GROUP/VOLUME@POINT", "GROUP/VOLUME@POINT+rw", "GROUP/VOLUME+rehearsal" or
// "GROUP/.command".
struct ExportName {
  std::string group;
  std::string volume;
  std::string point;  // empty: live
  bool writable_view = false;
  bool rehearsal = false;
  bool command = false;
};

Result<ExportName> parse_export_name(const std::string& text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string::npos) {
    return fail(ErrorCode::kNotFound,
                "there is no export '" + printable(text, 140) +
                    "'; exports are GROUP/VOLUME, GROUP/VOLUME@POINT, GROUP/VOLUME@POINT+rw, "
                    "GROUP/VOLUME+rehearsal, and GROUP/.command for commands");
  }
  ExportName name;
  name.group = text.substr(0, slash);
  name.volume = text.substr(slash + 1);
  if (name.volume == kCommandVolume) {
    name.command = true;
    TM_TRY(validate_name("group name", name.group));
    return name;
  }
  const std::size_t at = name.volume.find('@');
  if (at != std::string::npos) {
    name.point = name.volume.substr(at + 1);
    name.volume.resize(at);
    if (name.point.ends_with("+rw")) {
      name.point.resize(name.point.size() - 3);
      name.writable_view = true;
    }
    if (name.point.empty()) return fail(ErrorCode::kInvalid, "the export name has no point after '@'");
  } else if (name.volume.ends_with(kRehearsalSuffix)) {
    name.volume.resize(name.volume.size() - std::string_view(kRehearsalSuffix).size());
    name.rehearsal = true;
  }
  TM_TRY(validate_name("group name", name.group));
  TM_TRY(validate_name("volume name", name.volume));
  return name;
}

std::vector<nbd::AllocationExtent> to_extents(const std::vector<group::AllocationRun>& runs) {
  std::vector<nbd::AllocationExtent> out;
  out.reserve(runs.size());
  for (const group::AllocationRun& run : runs) out.push_back({run.length_bytes, run.hole, run.zero});
  return out;
}

}  // namespace

// A live volume. A restore or a change of role ends its connections before the state changes under them.
class LiveTarget final : public nbd::BlockTarget {
 public:
  LiveTarget(Node& node, GroupHandle group, group::VolumeShape shape, nbd::ExportInfo info,
             std::string client)
      : node_(node),
        handle_(std::move(group)),
        group_(*handle_),
        shape_(std::move(shape)),
        info_(std::move(info)),
        registration_(node, {group_.name(), shape_.name, std::move(client), !info_.read_only, false}) {}

  const nbd::ExportInfo& info() const override { return info_; }

  io::Task<Result<void>> read(std::uint64_t offset, Buffer out) override {
    co_return co_await group_.data().read(shape_.id, group_.live_path(), offset, out, true);
  }
  io::Task<Result<void>> write(std::uint64_t offset, Buffer data, bool fua) override {
    auto done = co_await group_.data().write(shape_.id, offset, std::move(data), fua);
    node_.note_write(group_.name(), done);
    co_return done;
  }
  bool write_now(std::uint64_t offset, const Buffer& data) override {
    group::Volume* volume = group_.find_volume(shape_.id);
    const bool done = volume != nullptr && group_.data().write_now(*volume, offset, data);
    if (done) node_.note_write(group_.name(), Result<void>{});
    return done;
  }
  io::Task<Result<void>> flush() override {
    auto done = co_await group_.data().flush();
    if (!done.ok()) node_.note_write(group_.name(), done);
    co_return done;
  }
  io::Task<Result<void>> trim(std::uint64_t offset, std::uint64_t length, bool fua) override {
    auto done = co_await group_.data().zero(shape_.id, offset, length, true, fua);
    node_.note_write(group_.name(), done);
    co_return done;
  }
  io::Task<Result<void>> write_zeroes(std::uint64_t offset, std::uint64_t length, bool, bool fua) override {
    auto done = co_await group_.data().zero(shape_.id, offset, length, false, fua);
    node_.note_write(group_.name(), done);
    co_return done;
  }
  io::Task<Result<void>> cache(std::uint64_t offset, std::uint64_t length) override {
    constexpr std::uint64_t kStepBytes = 1 << 20;
    for (std::uint64_t done = 0; done < length;) {
      Buffer scratch = Buffer::allocate(std::min(kStepBytes, length - done));
      TM_CO_TRY(co_await group_.data().read(shape_.id, group_.live_path(), offset + done, scratch, false));
      done += scratch.size();
    }
    co_return Result<void>{};
  }
  io::Task<Result<std::vector<nbd::AllocationExtent>>> block_status(std::uint64_t offset,
                                                                    std::uint64_t length,
                                                                    std::size_t extents_max) override {
    auto runs = co_await group_.data().allocation(shape_.id, group_.live_path(), offset, length, extents_max);
    if (!runs.ok()) co_return std::move(runs).error();
    co_return to_extents(*runs);
  }

 private:
  Node& node_;
  GroupHandle handle_;
  group::Group& group_;
  group::VolumeShape shape_;
  nbd::ExportInfo info_;
  ExportRegistration registration_;
};

namespace {

// The group stays until the view has gone: `group` is kept for nothing else.
io::Task<void> close_view(std::shared_ptr<group::View> view, GroupHandle) {
  co_await view->close();
  view = nullptr;
}

class ViewTarget final : public nbd::BlockTarget {
 public:
  ViewTarget(Node& node, const std::string& group, std::shared_ptr<group::View> view, nbd::ExportInfo info,
             std::string client, std::function<void(std::shared_ptr<group::View>)> release)
      : view_(std::move(view)),
        info_(std::move(info)),
        registration_(node, {group, view_->shape().name, std::move(client), !info_.read_only, true}),
        release_(std::move(release)) {}
  ~ViewTarget() override { release_(std::move(view_)); }

  const nbd::ExportInfo& info() const override { return info_; }
  io::Task<Result<void>> read(std::uint64_t offset, Buffer out) override {
    co_return co_await view_->read(offset, out);
  }
  io::Task<Result<void>> write(std::uint64_t offset, Buffer data, bool) override {
    co_return co_await view_->write(offset, std::move(data));
  }
  bool write_now(std::uint64_t, const Buffer&) override { return false; }
  io::Task<Result<void>> flush() override { co_return co_await view_->flush(); }
  io::Task<Result<void>> trim(std::uint64_t offset, std::uint64_t length, bool) override {
    co_return co_await view_->zero(offset, length);
  }
  io::Task<Result<void>> write_zeroes(std::uint64_t offset, std::uint64_t length, bool, bool) override {
    co_return co_await view_->zero(offset, length);
  }
  io::Task<Result<void>> cache(std::uint64_t, std::uint64_t) override { co_return Result<void>{}; }
  io::Task<Result<std::vector<nbd::AllocationExtent>>> block_status(std::uint64_t offset,
                                                                    std::uint64_t length,
                                                                    std::size_t extents_max) override {
    auto runs = co_await view_->allocation(offset, length, extents_max);
    if (!runs.ok()) co_return std::move(runs).error();
    co_return to_extents(*runs);
  }

 private:
  std::shared_ptr<group::View> view_;
  nbd::ExportInfo info_;
  ExportRegistration registration_;
  std::function<void(std::shared_ptr<group::View>)> release_;
};

// While the first copy runs, the base mixes the moments at which its chunks were read; behind a gap that is
// not whole, so does the live state.
Result<void> check_live(const group::Group& group) {
  if (group.is_behind_gap()) {
    return fail(ErrorCode::kBusy, "group '" + group.name() +
                                      "' is being brought up to date behind a gap; what was before it can be "
                                      "read, see `tidemark pair status " +
                                      group.name() + "`");
  }
  if (group.local().window_open) return {};
  return fail(ErrorCode::kBusy, "the first copy of group '" + group.name() +
                                    "' is not complete; see `tidemark pair status " + group.name() + "`");
}

nbd::ExportInfo live_info(const group::Group& group, const group::VolumeShape& shape) {
  const bool secondary = group.local().role == group::Role::kSecondary;
  // A primary whose secondary has taken over.
  const bool taken_over = group.held_back().has_value() && group.held_back()->code == ErrorCode::kReadOnly;
  return {.name = group.name() + "/" + shape.name,
          .description = secondary    ? "secondary of its pair, read-only"
                         : taken_over ? "taken over by the secondary of its pair, read-only"
                                      : "live volume",
          .size_bytes = shape.size_bytes,
          .read_only = secondary || taken_over || group.failure().has_value(),
          .multi_conn = true};
}

nbd::ExportInfo view_info(const group::View& view, const std::string& name, bool writable) {
  return {.name = name,
          .description = "as of " + format_time(view.point().timer),
          .size_bytes = view.shape().size_bytes,
          .read_only = !writable,
          .multi_conn = !writable};
}

// Its clients share one overlay.
nbd::ExportInfo rehearsal_export_info(const group::View& view, const std::string& name) {
  nbd::ExportInfo info = view_info(view, name, true);
  info.description = "rehearsal, " + info.description;
  info.multi_conn = true;
  return info;
}

}  // namespace

// Told when writes begin to be refused for want of space, when they are taken again, and when a group has
// stopped.
void Node::note_write(const std::string& group, const Result<void>& done) {
  if (done.ok()) {
    if (!out_of_space_.empty() && out_of_space_.erase(group) > 0)
      log_("writes-accepted", log_field("group", group));
    return;
  }
  const auto at = groups_.find(group);
  if (at != groups_.end() && at->second->failure().has_value()) {
    if (stopped_.insert(group).second)
      log_("group-stopped",
           log_field("group", group) + " " + log_field("reason", at->second->failure()->message));
    return;
  }
  if (done.error().code != ErrorCode::kNoSpace || !out_of_space_.insert(group).second) return;
  log_("writes-refused", log_field("group", group) + " " + log_field("reason", done.error().message));
}

io::Task<Result<std::vector<std::string>>> Node::list() {
  std::vector<std::string> out;
  for (const auto& [name, group] : groups_) {
    for (const group::VolumeShape& shape : group->volumes()) out.push_back(name + "/" + shape.name);
  }
  for (const auto& [name, rehearsal] : rehearsals_) {
    if (!rehearsal->begun) continue;
    for (const auto& [volume, view] : rehearsal->views) out.push_back(name + "/" + volume + kRehearsalSuffix);
  }
  co_return out;
}

io::Task<Result<nbd::ExportInfo>> Node::describe(std::string text) {
  TM_CO_TRY_ASSIGN(const ExportName name, parse_export_name(text));
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(name.group));
  if (name.command) co_return command_export_info(name.group);
  if (name.rehearsal) {
    TM_CO_TRY_ASSIGN(const std::shared_ptr<group::View> view, rehearsed(name.group, name.volume));
    co_return rehearsal_export_info(*view, text);
  }
  if (name.point.empty()) {
    TM_CO_TRY(check_live(*group));
    TM_CO_TRY_ASSIGN(const group::VolumeShape shape, require_volume(*group, name.volume));
    co_return live_info(*group, shape);
  }
  auto view = co_await group->open_view(name.volume, name.point);
  if (!view.ok()) co_return std::move(view).error();
  co_return view_info(**view, text, name.writable_view);
}

io::Task<Result<std::unique_ptr<nbd::BlockTarget>>> Node::open(std::string text, std::string client) {
  TM_CO_TRY_ASSIGN(const ExportName name, parse_export_name(text));
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(name.group));
  if (stopping_) co_return fail(ErrorCode::kShutdown, "the node is stopping");
  if (name.command) {
    co_return make_command_target(*this, configuration_.command_rules, tasks_, environment_.scheduler,
                                  name.group, client);
  }
  if (name.rehearsal) {
    TM_CO_TRY_ASSIGN(std::shared_ptr<group::View> view, rehearsed(name.group, name.volume));
    nbd::ExportInfo info = rehearsal_export_info(*view, text);
    std::function<void(std::shared_ptr<group::View>)> keep = [group](std::shared_ptr<group::View>) {};
    std::unique_ptr<nbd::BlockTarget> target = std::make_unique<ViewTarget>(
        *this, name.group, std::move(view), std::move(info), client, std::move(keep));
    co_return target;
  }
  if (name.point.empty()) {
    TM_CO_TRY(check_live(*group));
    if (group->local().exports_closed) {
      co_return fail(ErrorCode::kRefused, "the exports of group '" + name.group +
                                              "' are closed after a forced restore; `tidemark group open " +
                                              name.group + "` opens them");
    }
    co_await group->wait_while_busy(kReadyTimeout);
    if (group->held_back().has_value() && group->held_back()->code == ErrorCode::kBusy) {
      co_return *group->held_back();
    }
    if (stopping_) co_return fail(ErrorCode::kShutdown, "the node is stopping");
    TM_CO_TRY(check_live(*group));
    TM_CO_TRY_ASSIGN(const group::VolumeShape shape, require_volume(*group, name.volume));
    std::unique_ptr<nbd::BlockTarget> target =
        std::make_unique<LiveTarget>(*this, group, shape, live_info(*group, shape), client);
    co_return target;
  }
  auto opened = co_await group->open_view(name.volume, name.point);
  if (!opened.ok()) co_return std::move(opened).error();
  std::shared_ptr<group::View> view = std::move(opened).value();
  if (name.writable_view) TM_CO_TRY(co_await view->make_writable());
  nbd::ExportInfo info = view_info(*view, text, name.writable_view);
  // The scratch unit of a view is given back after its connection has ended.
  std::function<void(std::shared_ptr<group::View>)> release = [this,
                                                               group](std::shared_ptr<group::View> gone) {
    if (gone != nullptr && gone->writable()) tasks_.spawn(close_view(std::move(gone), group));
  };
  std::unique_ptr<nbd::BlockTarget> target =
      std::make_unique<ViewTarget>(*this, name.group, std::move(view), std::move(info), client, release);
  co_return target;
}

}  // namespace tidemark::node
