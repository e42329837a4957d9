// Operations of the control API on pairs.

#include "node/node.h"

namespace tidemark::node {
namespace {

control::PairStatus no_pair(const std::string& group) {
  control::PairStatus status;
  status.group = group;
  return status;
}

template <typename Request>
replication::PairChange change_of(const Request& request, std::optional<control::PairMode> mode) {
  replication::PairChange change;
  if (mode.has_value()) change.sync = *mode == control::PairMode::kSync;
  change.loss_after = request.peer_loss_after;
  change.copy_rate_bytes = request.copy_rate_bytes;
  if (request.compress.has_value()) {
    const bool compresses = *request.compress == control::PairCompression::kZstd;
    change.compression = compresses ? format::Compression::kZstd : format::Compression::kOff;
  }
  if (!request.on_peer_loss.has_value()) return change;
  switch (*request.on_peer_loss) {
    case control::OnPeerLoss::kAsync:
      change.on_loss = format::PeerLoss::kAsync;
      break;
    case control::OnPeerLoss::kWait:
      change.on_loss = format::PeerLoss::kWait;
      break;
    case control::OnPeerLoss::kFail:
      change.on_loss = format::PeerLoss::kFail;
      break;
  }
  return change;
}

replication::PeerPlace peer_place(const control::PairCreateRequest& request) {
  replication::PeerPlace place;
  place.group = request.peer_group.value_or(request.group);
  place.raid = request.peer_raid.value_or("");
  return place;
}

}  // namespace

// A command of a pair waits for the ones before it. Meanwhile it must not have the group at hand: a copy that
// begins anew is one of them, and waits until nobody has.

io::Task<Result<control::PairStatus>> Node::pair_create(control::PairCreateRequest request) {
  TM_CO_TRY_ASSIGN(GroupHandle group, require_group(request.group));
  const replication::PairChange terms = change_of(request, request.mode);
  replication::PeerPlace place = peer_place(request);
  group = nullptr;
  TM_CO_TRY(co_await pairs_->create(request.group, request.peer_address, std::move(place), terms));
  TM_CO_TRY_ASSIGN(group, require_group(request.group));
  co_return pair_info(*group).value_or(no_pair(request.group));
}

io::Task<Result<control::PairStatus>> Node::pair_set(control::PairSetRequest request) {
  TM_CO_TRY_ASSIGN(GroupHandle group, require_group(request.group));
  group = nullptr;
  const replication::PairChange change = change_of(request, request.mode);
  TM_CO_TRY(co_await pairs_->change(request.group, change));
  TM_CO_TRY_ASSIGN(group, require_group(request.group));
  co_return pair_info(*group).value_or(no_pair(request.group));
}

io::Task<Result<control::PairStatus>> Node::pair_status(control::PairStatusRequest request) {
  TM_CO_TRY_ASSIGN(GroupHandle group, require_group(request.group));
  std::optional<control::PairStatus> info = pair_info(*group);
  if (!info.has_value()) co_return no_pair(request.group);
  if (!request.peer_window) co_return *info;
  group = nullptr;
  const auto window = co_await pairs_->peer_window(request.group);
  if (window.ok()) {
    info->peer_window = window_info(*window);
  } else {
    info->peer_window_reason = window.error().message;
  }
  co_return *info;
}

io::Task<Result<control::PairStatus>> Node::pair_suspend(control::PairSuspendRequest request) {
  TM_CO_TRY_ASSIGN(GroupHandle group, require_group(request.group));
  group = nullptr;
  TM_CO_TRY(co_await pairs_->suspend(request.group));
  TM_CO_TRY_ASSIGN(group, require_group(request.group));
  co_return pair_info(*group).value_or(no_pair(request.group));
}

io::Task<Result<control::PairStatus>> Node::pair_resync(control::PairResyncRequest request) {
  TM_CO_TRY_ASSIGN(GroupHandle group, require_group(request.group));
  group = nullptr;
  if (request.from == control::ResyncFrom::kSecondary) {
    TM_CO_TRY(co_await pairs_->swap(request.group, request.give_up_window));
  } else {
    const bool said = request.from == control::ResyncFrom::kPrimary;
    TM_CO_TRY(co_await pairs_->resync(
        request.group, said ? replication::Continues::kPrimary : replication::Continues::kWhoeverWroteAlone,
        request.give_up_window));
  }
  TM_CO_TRY_ASSIGN(group, require_group(request.group));
  co_return pair_info(*group).value_or(no_pair(request.group));
}

io::Task<Result<control::PairTakeoverReply>> Node::pair_takeover(control::PairTakeoverRequest request) {
  TM_CO_TRY_ASSIGN(GroupHandle group, require_group(request.group));
  group = nullptr;
  TM_CO_TRY_ASSIGN(const replication::Takeover taken,
                   co_await pairs_->take_over(request.group, request.force));
  TM_CO_TRY_ASSIGN(group, require_group(request.group));
  control::PairTakeoverReply reply;
  reply.new_epoch = taken.epoch.value;
  reply.point.log_id = taken.point.at;
  reply.point.timer = taken.point.timer;
  if (!taken.primary_head.is_none()) reply.primary_head = taken.primary_head;
  reply.may_be_behind = taken.may_be_behind;
  if (taken.may_be_behind) reply.behind_since = taken.behind_since;
  reply.pair = pair_info(*group).value_or(no_pair(request.group));
  co_return reply;
}

io::Task<Result<control::Done>> Node::pair_delete(control::PairDeleteRequest request) {
  TM_CO_TRY_ASSIGN(GroupHandle group, require_group(request.group));
  const bool follows = group->local().role == group::Role::kSecondary;
  group = nullptr;
  // A secondary turns into a volume to write to; what was opened read-only does not follow that.
  if (follows) co_await disconnect_exports(request.group);
  TM_CO_TRY(co_await pairs_->dissolve(request.group));
  co_return control::Done();
}

}  // namespace tidemark::node
