#include "host/reconcile.h"

#include <limits>
#include <map>
#include <set>
#include <utility>

#include "host/host_marks.h"
#include "host/local.h"

namespace tidemark::host {
namespace {

using control::Finding;
using control::HostMark;
using control::HostMarkState;
using control::MarkInfo;

// Of one group on one node: the marks that name this host, and any that has an id of its table.
class NodeMarks {
 public:
  NodeMarks(control::ApiClient& node, std::string group, std::chrono::seconds time_limit)
      : node_(node), group_(std::move(group)), time_limit_(time_limit) {}

  Result<void> fetch() {
    control::MarkListRequest request;
    request.group = group_;
    request.limit = control::kPageLimitMax;
    do {
      TM_TRY_ASSIGN(control::MarkListReply page, node_.call(request, time_limit_));
      request.after = page.next.value_or("");
      for (MarkInfo& mark : page.marks) marks_.emplace(mark.id, std::move(mark));
    } while (!request.after.empty());
    return {};
  }

  const std::map<std::string, MarkInfo>& marks() const { return marks_; }

  // The mark of this row, under its id or as ID~NODE; null: there is none.
  const MarkInfo* find(const HostMark& row) const {
    const auto same = [&row](const MarkInfo& mark) {
      return mark.host == row.host && mark.host_time == row.host_time;
    };
    const auto at = marks_.find(row.id);
    if (at != marks_.end() && same(at->second)) return &at->second;
    for (auto next = marks_.lower_bound(row.id + "~");
         next != marks_.end() && next->first.starts_with(row.id + "~"); ++next) {
      if (same(next->second)) return &next->second;
    }
    return nullptr;
  }

  // How the node answers when it is asked for the place where the host was told that its mark is.
  Result<void> look_for(LogId place) {
    control::JournalShowRequest request;
    request.group = group_;
    request.from = "log:" + place.to_string();
    request.limit = 1;
    const auto shown = node_.call(request, time_limit_);
    if (!shown.ok()) return shown.error();
    return {};
  }

 private:
  control::ApiClient& node_;
  const std::string group_;
  const std::chrono::seconds time_limit_;
  std::map<std::string, MarkInfo> marks_;
};

// Only that command knows its row again, and with --freeze it is better made anew.
std::string retry_hint(const HostMark& row) {
  if (row.program != kMarkCreateProgram || !row.path.empty()) return "";
  return ": `tidemark mark create " + row.group + " " + row.id + "` asks again";
}

void compare_present(const HostMark& row, const MarkInfo& mark, control::ReconciledMark& out) {
  out.log_id = mark.log_id;
  if (mark.id != row.id) {
    out.finding = Finding::kRenamed;
    out.reason = "it is '" + mark.id + "' there: another mark of this id became known first";
  } else if (mark.provisional) {
    out.finding = Finding::kProvisional;
    out.reason = "taken without the primary, which does not know it yet";
  } else if (!mark.restorable) {
    out.finding = Finding::kNotRestorable;
    out.reason = mark.not_restorable_reason;
  } else if (!mark.live) {
    out.finding = Finding::kOtherBranch;
    out.reason = "it lies on a branch that a restore or a takeover has left; it can be viewed and restored";
  }
}

void compare_absent(const HostMark& row, const MarkInfo* other, NodeMarks& node,
                    control::ReconciledMark& out) {
  out.log_id = row.log_id;
  if (row.state == HostMarkState::kFailed) {
    out.finding = Finding::kNotMade;
    out.reason = row.outcome;
    return;
  }
  if (other != nullptr) {
    out.finding = Finding::kDifferent;
    out.log_id = other->log_id;
    out.reason = "the mark of this id there is of host '" + other->host + "', at " +
                 (other->host_time ? format_time(*other->host_time) : format_time(other->timer));
    return;
  }
  if (row.state != HostMarkState::kMade || !row.log_id) {
    out.finding = Finding::kNeverArrived;
    out.reason = "it never arrived, or its answer is lost with it" + retry_hint(row);
    return;
  }
  const Result<void> place = node.look_for(*row.log_id);
  const ErrorCode code = place.ok() ? ErrorCode::kExists : place.error().code;
  if (code == ErrorCode::kExists || code == ErrorCode::kExpired) {
    out.finding = Finding::kDeleted;
    out.reason = "the node is past log:" + row.log_id->to_string() +
                 " and has no such mark: it was deleted, or the group was made anew";
  } else {
    out.finding = Finding::kNotYetReceived;
    out.reason = "the node has not got log:" + row.log_id->to_string() + ": " + place.error().message;
  }
}

// What has gone wrong, as opposed to what only has happened since.
bool disagrees(Finding finding) {
  switch (finding) {
    case Finding::kDifferent:
    case Finding::kNeverArrived:
    case Finding::kNotYetReceived:
    case Finding::kDeleted:
    case Finding::kOnlyOnNode:
    case Finding::kGroupMissing:
      return true;
    default:
      return false;
  }
}

class Comparison {
 public:
  Comparison(MarkTable* table, std::chrono::seconds time_limit) : table_(table), time_limit_(time_limit) {
    out_.host = host_name();
    if (table != nullptr) out_.table = table->path();
  }

  Result<void> compare(const std::string& group, control::ApiClient& client, control::ReconciledNode& node) {
    std::vector<HostMark> rows;
    if (table_ != nullptr) {
      TM_TRY_ASSIGN(rows, table_->list(group, std::numeric_limits<std::uint64_t>::max()));
    }
    std::optional<WallTime> pruned;  // until when rows are missing for that reason
    if (table_ != nullptr) {
      TM_TRY_ASSIGN(pruned, table_->pruned_before(group));
    }
    NodeMarks marks(client, group, time_limit_);
    const Result<void> fetched = marks.fetch();
    if (!fetched.ok() && fetched.error().code == ErrorCode::kNotFound) {
      add_missing_group(group, node, rows.size(), fetched.error());
      return {};
    }
    if (!fetched.ok()) {
      node.failure = fetched.error().message;
      out_.agrees = false;
      return {};
    }
    std::set<std::string> known;  // marks of the node that some row tells of
    std::map<std::string, const HostMark*> newest;
    for (const HostMark& row : rows) newest[row.id] = &row;
    for (const HostMark& row : rows) {
      const MarkInfo* const mark = marks.find(row);
      if (mark != nullptr) known.insert(mark->id);
      // An earlier try that the node refused is no news once a later one has come through.
      if (mark == nullptr && newest[row.id] != &row && row.state == HostMarkState::kFailed) continue;
      add_row(row, mark, marks, node);
    }
    for (const auto& [id, mark] : marks.marks()) {
      if (known.contains(id)) continue;
      if (mark.host == out_.host && pruned && mark.host_time && *mark.host_time < *pruned) {
        ++node.pruned;
      } else if (mark.host == out_.host) {
        add_only_on_node(group, mark, node);
      } else {
        ++node.of_other_hosts;
      }
    }
    return {};
  }

  control::Reconciliation take(std::vector<control::ReconciledNode> nodes) {
    out_.nodes = std::move(nodes);
    return std::move(out_);
  }
  void note_failure() { out_.agrees = false; }

 private:
  void add_row(const HostMark& row, const MarkInfo* mark, NodeMarks& marks, control::ReconciledNode& node) {
    control::ReconciledMark found;
    found.group = row.group;
    found.id = row.id;
    found.node = node.address;
    found.host_time = row.host_time;
    if (mark != nullptr) {
      compare_present(row, *mark, found);
      const Result<void> settled = settle(row, *mark);
      if (!settled.ok()) {
        found.reason += (found.reason.empty() ? "" : "; ") +
                        ("its row has no answer and cannot be given it: " + settled.error().message);
      }
    } else {
      const auto same_id = marks.marks().find(row.id);
      compare_absent(row, same_id == marks.marks().end() ? nullptr : &same_id->second, marks, found);
    }
    add(std::move(found), node);
  }

  // The answer that the host never had.
  Result<void> settle(const HostMark& row, const MarkInfo& mark) {
    if (row.state == HostMarkState::kMade) return {};
    HostMark settled = row;
    settled.state = HostMarkState::kMade;
    settled.log_id = mark.log_id;
    settled.timer = mark.timer;
    settled.outcome.clear();
    return table_->settle(settled);
  }

  void add_only_on_node(const std::string& group, const MarkInfo& mark, control::ReconciledNode& node) {
    control::ReconciledMark found;
    found.group = group;
    found.id = mark.id;
    found.node = node.address;
    found.host_time = mark.host_time;
    found.log_id = mark.log_id;
    found.finding = Finding::kOnlyOnNode;
    found.reason =
        "it names this host, and this table has no row of it: made by another user or program, or "
        "while the table could not be written";
    add(std::move(found), node);
  }

  void add_missing_group(const std::string& group, control::ReconciledNode& node, std::size_t rows,
                         const Error& error) {
    control::ReconciledMark found;
    found.group = group;
    found.node = node.address;
    found.finding = Finding::kGroupMissing;
    found.reason = error.message + "; this host's table has " + std::to_string(rows) + " marks of it";
    add(std::move(found), node);
  }

  void add(control::ReconciledMark found, control::ReconciledNode& node) {
    if (disagrees(found.finding)) out_.agrees = false;
    if (found.finding == Finding::kBoth) ++node.agreeing;
    out_.marks.push_back(std::move(found));
  }

  MarkTable* table_;
  std::chrono::seconds time_limit_;
  control::Reconciliation out_;
};

}  // namespace

Result<control::Reconciliation> reconcile(MarkTable* table, const std::string& group,
                                          std::vector<control::ApiClient>& nodes,
                                          std::chrono::seconds time_limit) {
  std::vector<std::string> groups{group};
  if (group.empty()) {
    groups.clear();
    if (table != nullptr) {
      TM_TRY_ASSIGN(groups, table->groups());
    }
  }
  Comparison comparison(table, time_limit);
  std::vector<control::ReconciledNode> outcome;
  for (control::ApiClient& client : nodes) {
    control::ReconciledNode& node = outcome.emplace_back();
    node.address = lasting_address(client.address());
    const Result<control::NodeStatus> status = client.call(control::NodeStatusRequest{}, time_limit);
    if (!status.ok()) {
      node.failure = status.error().message;
      comparison.note_failure();
      continue;
    }
    node.node = status->node;
    for (const std::string& name : groups) {
      TM_TRY(comparison.compare(name, client, node));
      if (!node.failure.empty()) break;
    }
  }
  return comparison.take(std::move(outcome));
}

}  // namespace tidemark::host
