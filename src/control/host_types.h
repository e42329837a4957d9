#pragma once

#include <optional>
#include <string>
#include <vector>

#include "control/types_fields.h"

// What a host keeps of the marks that it asked for, as the command line prints it. No node sends or takes
// these.
namespace tidemark::control {

#define TM_WORDS(Enum, count) constexpr std::array<Word<Enum>, count> enum_words(std::type_identity<Enum>)
#define TM_FIELDS(Type)                               \
  template <typename Visitor, typename T>             \
  requires std::same_as<std::remove_const_t<T>, Type> \
  void visit_fields(Visitor& v, T& r)

enum class HostMarkState {
  kPending,  // asked for, and whoever asked has not written down an answer
  kMade,     // the node has said so
  kUnknown,  // no answer came: it may have been made
  kFailed,   // the node has refused: it was not made
};
TM_WORDS(HostMarkState, 4) {
  return {{{HostMarkState::kPending, "pending"},
           {HostMarkState::kMade, "made"},
           {HostMarkState::kUnknown, "unknown"},
           {HostMarkState::kFailed, "failed"}}};
}

// One row of a host's own table.
struct HostMark {
  std::uint64_t number = 0;  // of the row, in the order in which the marks were asked for
  std::string group;
  std::string id;
  std::string node;  // its address
  HostMarkState state = HostMarkState::kPending;
  WallTime host_time;  // the host's own, when the mark was first asked for
  std::string host;
  std::string program;  // what made it: "tidemark mark create", or whose file was saved
  std::string path;     // of the file that was saved, or of the mount that was frozen
  std::string note;
  std::optional<LogId> log_id;
  std::optional<WallTime> timer;  // at the storage
  std::string outcome;            // the error, unless it was made
};
TM_FIELDS(HostMark) {
  v.field("number", r.number);
  v.field("group", r.group);
  v.field("id", r.id);
  v.field("node", r.node);
  v.field("state", r.state);
  v.field("host_time", r.host_time);
  v.field("host", r.host);
  v.field("program", r.program);
  v.field("path", r.path);
  v.field("note", r.note);
  v.field("log_id", r.log_id);
  v.field("timer", r.timer);
  v.field("outcome", r.outcome);
}

struct HostMarkList {
  std::string table;            // its file
  std::vector<HostMark> marks;  // oldest first
};
TM_FIELDS(HostMarkList) {
  v.field("table", r.table);
  v.field("marks", r.marks);
}

// What was removed from it.
struct HostPruning {
  std::string table;
  std::string group;            // empty: all
  WallTime before;              // rows of marks that were asked for earlier
  bool dry_run = false;         // nothing was removed
  std::uint64_t removed = 0;    // or would be
  std::uint64_t kept_open = 0;  // as old, and without an answer: left alone
};
TM_FIELDS(HostPruning) {
  v.field("table", r.table);
  v.field("group", r.group);
  v.field("before", r.before);
  v.field("dry_run", r.dry_run);
  v.field("removed", r.removed);
  v.field("kept_open", r.kept_open);
}

// Where a mark is, of the host's table and one node's.
enum class Finding {
  kBoth,            // on both sides, and the node can restore it
  kNotRestorable,   // on both sides; the node can not restore it: expired, in a gap
  kOtherBranch,     // on both sides, and left by a restore or a takeover
  kProvisional,     // on both sides, taken without the primary, which does not know it yet
  kRenamed,         // on both sides; on the node it gave way to another one, as ID~NODE
  kDifferent,       // the node's mark of this id is another one
  kNeverArrived,    // only on the host, which had no answer
  kNotYetReceived,  // only on the host: the node is not that far
  kDeleted,         // only on the host: the node has its place in the order, and no such mark
  kNotMade,         // only on the host, where it is noted as refused
  kOnlyOnNode,      // only on the node, which names this host
  kGroupMissing,    // the node has no such group
};
TM_WORDS(Finding, 12) {
  return {{{Finding::kBoth, "both"},
           {Finding::kNotRestorable, "not-restorable"},
           {Finding::kOtherBranch, "other-branch"},
           {Finding::kProvisional, "provisional"},
           {Finding::kRenamed, "renamed"},
           {Finding::kDifferent, "different"},
           {Finding::kNeverArrived, "never-arrived"},
           {Finding::kNotYetReceived, "not-yet-received"},
           {Finding::kDeleted, "deleted"},
           {Finding::kNotMade, "not-made"},
           {Finding::kOnlyOnNode, "only-on-node"},
           {Finding::kGroupMissing, "group-missing"}}};
}

struct ReconciledMark {
  std::string group;
  std::string id;
  std::string node;  // its address
  Finding finding = Finding::kBoth;
  std::string reason;  // in words; empty for kBoth
  std::optional<WallTime> host_time;
  std::optional<LogId> log_id;  // the node's, else the host's
};
TM_FIELDS(ReconciledMark) {
  v.field("group", r.group);
  v.field("id", r.id);
  v.field("node", r.node);
  v.field("finding", r.finding);
  v.field("reason", r.reason);
  v.field("host_time", r.host_time);
  v.field("log_id", r.log_id);
}

struct ReconciledNode {
  std::string address;
  std::string node;                  // its name; empty when it could not be asked
  std::string failure;               // why it could not be
  std::uint64_t agreeing = 0;        // marks on both sides, and as they should be
  std::uint64_t of_other_hosts = 0;  // marks that are no concern of this host's
  std::uint64_t pruned = 0;          // marks of this host from a time whose rows were removed
};
TM_FIELDS(ReconciledNode) {
  v.field("address", r.address);
  v.field("node", r.node);
  v.field("failure", r.failure);
  v.field("agreeing", r.agreeing);
  v.field("of_other_hosts", r.of_other_hosts);
  v.field("pruned", r.pruned);
}

struct Reconciliation {
  std::string table;
  std::string host;
  std::vector<ReconciledNode> nodes;
  std::vector<ReconciledMark> marks;
  bool agrees = true;  // every node was asked, and has what the host has
};
TM_FIELDS(Reconciliation) {
  v.field("table", r.table);
  v.field("host", r.host);
  v.field("nodes", r.nodes);
  v.field("marks", r.marks);
  v.field("agrees", r.agrees);
}
#undef TM_FIELDS
#undef TM_WORDS

}  // namespace tidemark::control
