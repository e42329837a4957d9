// Operations of the control API that prove what a journal and the base hold, and that both nodes hold the
// same.

#include <algorithm>

#include "base/log_field.h"
#include "control/types_fields.h"
#include "node/node.h"

namespace tidemark::node {
namespace {

control::VerifyState to_api(group::VerifyState state) {
  switch (state) {
    case group::VerifyState::kNever:
      return control::VerifyState::kNever;
    case group::VerifyState::kRunning:
      return control::VerifyState::kRunning;
    case group::VerifyState::kGood:
      return control::VerifyState::kGood;
    case group::VerifyState::kRepaired:
      return control::VerifyState::kRepaired;
    case group::VerifyState::kDamaged:
      return control::VerifyState::kDamaged;
    case group::VerifyState::kStopped:
      return control::VerifyState::kStopped;
    case group::VerifyState::kFailed:
      return control::VerifyState::kFailed;
  }
  return control::VerifyState::kFailed;
}

control::CompareState to_api(replication::CompareState state) {
  switch (state) {
    case replication::CompareState::kNever:
      return control::CompareState::kNever;
    case replication::CompareState::kRunning:
      return control::CompareState::kRunning;
    case replication::CompareState::kSame:
      return control::CompareState::kSame;
    case replication::CompareState::kDiffering:
      return control::CompareState::kDiffering;
    case replication::CompareState::kStopped:
      return control::CompareState::kStopped;
    case replication::CompareState::kFailed:
      return control::CompareState::kFailed;
  }
  return control::CompareState::kFailed;
}

replication::RepairFrom from_api(std::optional<control::RepairFrom> from) {
  if (!from.has_value()) return replication::RepairFrom::kNowhere;
  return *from == control::RepairFrom::kPrimary ? replication::RepairFrom::kPrimary
                                                : replication::RepairFrom::kSecondary;
}

std::optional<control::RepairFrom> to_api(replication::RepairFrom from) {
  switch (from) {
    case replication::RepairFrom::kPrimary:
      return control::RepairFrom::kPrimary;
    case replication::RepairFrom::kSecondary:
      return control::RepairFrom::kSecondary;
    case replication::RepairFrom::kNowhere:
      break;
  }
  return std::nullopt;
}

std::optional<LogId> unless_none(LogId id) {
  return id.is_none() ? std::nullopt : std::optional<LogId>(id);
}

control::DamageInfo to_api(const group::Damage& damage) {
  control::DamageInfo info;
  info.text = damage.text;
  info.volume = damage.volume_name;
  info.offset_bytes = damage.blocks.begin * kBlockSizeBytes;
  info.length_bytes = damage.blocks.count() * kBlockSizeBytes;
  info.first = unless_none(damage.first);
  info.last = unless_none(damage.last);
  info.affected_from = unless_none(damage.affected_from);
  info.affected_to = unless_none(damage.affected_to);
  info.live = damage.live;
  info.marks = damage.marks;
  info.traced = damage.traced;
  info.repaired = damage.repaired;
  return info;
}

}  // namespace

control::Verification Node::verification_info(const group::Group& group) const {
  const group::VerifyProgress& progress = group.verification();
  control::Verification info;
  info.group = group.name();
  info.state = to_api(progress.state);
  info.reason = progress.reason;
  if (progress.begun.ns != 0) info.begun = progress.begun;
  if (progress.ended.ns != 0) info.ended = progress.ended;
  info.base = progress.options.base;
  info.rate_bytes = progress.options.bytes_per_second_max;
  info.first = unless_none(progress.first);
  info.last = unless_none(progress.last);
  info.batches = progress.batches;
  info.entries = progress.entries;
  info.base_bytes = progress.base_blocks * kBlockSizeBytes;
  info.done_bytes = progress.bytes_done;
  info.total_bytes = progress.bytes_total;
  info.damages = progress.damages;
  info.repairs = progress.repairs;
  for (const group::Damage& damage : progress.damage) info.damage.push_back(to_api(damage));
  return info;
}

io::Task<Result<control::Verification>> Node::journal_verify(control::JournalVerifyRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  if (stopping_) co_return fail(ErrorCode::kShutdown, "the node is stopping");
  group::VerifyOptions options;
  options.base = request.base;
  options.bytes_per_second_max = request.rate_bytes;
  if (request.repair) {
    TM_CO_TRY_ASSIGN(options.repair, pairs_->other_copies(request.group));
  }
  const group::VerifyOptions& under_way = group->verification().options;
  if (group->verifying() &&
      (under_way.base != options.base || under_way.bytes_per_second_max != options.bytes_per_second_max ||
       (under_way.repair != nullptr) != request.repair)) {
    co_return fail(ErrorCode::kBusy,
                   std::string("a verification ") + (under_way.base ? "with" : "without") + " the base" +
                       (under_way.bytes_per_second_max == 0
                            ? std::string()
                            : ", at " + format_size(under_way.bytes_per_second_max) + " a second at most,") +
                       (under_way.repair == nullptr ? "" : " that repairs") +
                       " runs already; follow it with `tidemark journal verify " + request.group +
                       " --status`, or end it with --stop");
  }
  if (!group->verifying()) {
    TM_CO_TRY(group->verify(options));
    tasks_.spawn(log_verification(request.group));
  }
  co_return verification_info(*group);
}

// Says in the log what came of it.
io::Task<void> Node::log_verification(std::string name) {
  constexpr Duration kLookInterval = Duration::milliseconds(500);
  log_("verify-begin", log_field("group", name));
  while (!stopping_) {
    GroupHandle group = hold_group(name);
    if (group == nullptr) co_return;
    if (!group->verifying()) {
      const control::Verification info = verification_info(*group);
      log_("verify-end", log_field("group", name) + " " +
                             log_field("state", std::string(control::word(info.state))) + " " +
                             log_field("damages", info.damages) + " " + log_field("repairs", info.repairs) +
                             (info.reason.empty() ? "" : " " + log_field("reason", info.reason)));
      for (const control::DamageInfo& damage : info.damage) {
        log_(damage.repaired ? "repaired" : "damage",
             log_field("group", name) + " " + log_field("text", damage.text));
      }
      co_return;
    }
    group = nullptr;
    (void)co_await stop_wanted_.wait_until(environment_.scheduler.now() + kLookInterval);
  }
}

io::Task<Result<control::Verification>> Node::journal_verify_status(
    control::JournalVerifyStatusRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  co_return verification_info(*group);
}

io::Task<Result<control::Done>> Node::journal_verify_stop(control::JournalVerifyStopRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  if (!group->verifying()) {
    co_return fail(ErrorCode::kRefused, "the journal of group '" + request.group +
                                            "' is not being verified; `tidemark journal verify " +
                                            request.group + "` does it");
  }
  group->stop_verifying();
  co_return control::Done();
}

control::PairComparison Node::comparison_info(const std::string& group) const {
  const replication::CompareProgress progress =
      pairs_->comparison(group).value_or(replication::CompareProgress());
  control::PairComparison info;
  info.group = group;
  info.state = to_api(progress.state);
  info.reason = progress.reason;
  info.peer_node = progress.peer_name;
  if (progress.begun.ns != 0) info.begun = progress.begun;
  if (progress.ended.ns != 0) info.ended = progress.ended;
  info.rate_bytes = progress.options.bytes_per_second_max;
  info.repair = to_api(progress.options.repair);
  info.first_point = unless_none(progress.first_point);
  info.last_point = unless_none(progress.last_point);
  info.done_bytes = progress.bytes_done;
  info.total_bytes = progress.bytes_total;
  info.compared_bytes = progress.compared_bytes;
  info.differing_bytes = progress.differing_bytes;
  info.repaired_bytes = progress.repaired_bytes;
  for (const replication::Difference& found : progress.differences) {
    info.differences.push_back({.volume = found.volume_name,
                                .offset_bytes = found.blocks.begin * kBlockSizeBytes,
                                .length_bytes = found.blocks.count() * kBlockSizeBytes,
                                .readable_here = found.readable_here,
                                .readable_there = found.readable_there,
                                .repaired = found.repaired});
  }
  return info;
}

io::Task<Result<control::PairComparison>> Node::pair_verify(control::PairVerifyRequest request) {
  if (hold_group(request.group) == nullptr) co_return require_group(request.group).error();
  if (stopping_) co_return fail(ErrorCode::kShutdown, "the node is stopping");
  replication::CompareOptions options;
  options.bytes_per_second_max = request.rate_bytes;
  options.repair = from_api(request.repair);
  TM_CO_TRY(co_await pairs_->compare(request.group, options));
  co_return comparison_info(request.group);
}

io::Task<Result<control::PairComparison>> Node::pair_verify_status(control::PairVerifyStatusRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  if (!pairs_->comparison(request.group).has_value()) co_return replication::no_pair(request.group);
  co_return comparison_info(request.group);
}

io::Task<Result<control::Done>> Node::pair_verify_stop(control::PairVerifyStopRequest request) {
  TM_CO_TRY_ASSIGN(const GroupHandle group, require_group(request.group));
  TM_CO_TRY(pairs_->stop_comparing(request.group));
  co_return control::Done();
}

}  // namespace tidemark::node
