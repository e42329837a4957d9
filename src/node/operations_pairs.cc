// Operations of the control API on pairs.

#include "node/node.h"

namespace tidemark::node {
namespace {

control::PairStatus no_pair(const std::string& group) {
  control::PairStatus status;
  status.group = group;
  return status;
}

}  // namespace

// A command of a pair waits for the ones before it. Meanwhile it must not have the group at hand: a copy that
// begins anew is one of them, and waits until nobody has.

io::Task<Result<control::PairStatus>> Node::pair_create(control::PairCreateRequest request) {
  TM_CO_TRY_ASSIGN(GroupHandle group, require_group(request.group));
  if (request.mode == control::PairMode::kSync) {
    co_return fail(ErrorCode::kUnsupported, "only --mode async is built in this version");
  }
  group = nullptr;
  TM_CO_TRY(co_await pairs_->create(request.group, request.peer_address,
                                    request.peer_group.value_or(request.group)));
  TM_CO_TRY_ASSIGN(group, require_group(request.group));
  co_return pair_info(*group).value_or(no_pair(request.group));
}

io::Task<Result<control::PairStatus>> Node::pair_status(control::PairStatusRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  std::optional<control::PairStatus> info = pair_info(*group);
  if (!info.has_value()) co_return no_pair(request.group);
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
  if (request.from == control::ResyncFrom::kSecondary) {
    co_return fail(ErrorCode::kUnsupported,
                   "resync --swap is not built in this version; resync continues the "
                   "primary's branch, the secondary's stays readable");
  }
  group = nullptr;
  TM_CO_TRY(co_await pairs_->resync(request.group, request.give_up_window));
  TM_CO_TRY_ASSIGN(group, require_group(request.group));
  co_return pair_info(*group).value_or(no_pair(request.group));
}

io::Task<Result<control::PairTakeoverReply>> Node::pair_takeover(control::PairTakeoverRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  (void)group;
  co_return fail(ErrorCode::kUnsupported,
                 "takeover is not built in this version; suspend the pair and restore to "
                 "'head' on the secondary, which opens an epoch there that takes writes");
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
