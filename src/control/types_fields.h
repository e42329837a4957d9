#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <limits>
#include <string_view>
#include <type_traits>

#include "base/names.h"
#include "control/types.h"

// Names the members of every structure of types.h, once, for whoever walks over them: the JSON writer, the
// JSON reader (types_json.cc) and the generator of docs/openapi.yaml. A visitor `v` has
//   v.field(name, member [, rule])     may be absent in a request; the member keeps its default then
//   v.required(name, member [, rule])  must be present in a request
// Rules bind requests only: an answer is read leniently, since a newer node may know more.
namespace tidemark::control {

// What a request's member must satisfy beyond having the right type.
struct Rule {
  enum class Kind { kAny, kName, kText, kToken, kNumber };
  Kind kind = Kind::kAny;
  std::string_view what;  // begins the error message: "group name"
  std::uint64_t min = 0;
  std::uint64_t max = std::numeric_limits<std::uint64_t>::max();  // of a number, or of a text's bytes
  bool empty_allowed = false;

  static constexpr Rule any() { return {}; }
  static constexpr Rule name(std::string_view what, std::uint64_t length_max = kNameLengthMax) {
    return {Kind::kName, what, 0, length_max, false};
  }
  static constexpr Rule name_or_empty(std::string_view what, std::uint64_t length_max = kNameLengthMax) {
    return {Kind::kName, what, 0, length_max, true};
  }
  // UTF-8 without control characters.
  static constexpr Rule text(std::string_view what, std::uint64_t length_max) {
    return {Kind::kText, what, 0, length_max, true};
  }
  // Printable ASCII without spaces.
  static constexpr Rule token(std::string_view what, std::uint64_t length_max) {
    return {Kind::kToken, what, 0, length_max, false};
  }
  static constexpr Rule token_or_empty(std::string_view what, std::uint64_t length_max) {
    return {Kind::kToken, what, 0, length_max, true};
  }
  static constexpr Rule number(std::uint64_t min, std::uint64_t max) {
    return {Kind::kNumber, "", min, max, false};
  }
};

// A mark taken on a secondary without its primary may be shown as ID~NODE, and is named so.

inline constexpr Rule kGroupRule = Rule::name("group name");
inline constexpr Rule kVolumeRule = Rule::name("volume name");
inline constexpr Rule kRaidRule = Rule::name("RAID group name");
inline constexpr Rule kMarkIdRule = Rule::name("mark id", kMarkIdLengthMax);
inline constexpr Rule kKnownMarkIdRule = Rule::token("mark id", kKnownMarkIdLengthMax);
inline constexpr Rule kPointRule = Rule::token("point", kKnownMarkIdLengthMax + 5);
inline constexpr Rule kNoteRule = Rule::text("note", kNoteLengthMax);
inline constexpr Rule kJournalExportIdRule = Rule::name("export id");
inline constexpr Rule kLimitRule = Rule::number(1, kPageLimitMax);
inline constexpr Rule kVolumeSizeRule = Rule::number(kBlockSizeBytes, 1ull << 60);
inline constexpr Rule kJournalSizeRule = Rule::number(1 << 20, 1ull << 60);
inline constexpr Rule kEpochRule = Rule::number(1, kEpochMax);

// ---- Words

template <typename Enum>
struct Word {
  Enum value;
  std::string_view text;
};

#define TM_WORDS(Enum, count) constexpr std::array<Word<Enum>, count> enum_words(std::type_identity<Enum>)

TM_WORDS(GroupRole, 3) {
  return {
      {{GroupRole::kAlone, "alone"}, {GroupRole::kPrimary, "primary"}, {GroupRole::kSecondary, "secondary"}}};
}
TM_WORDS(GroupState, 4) {
  return {{{GroupState::kOpen, "open"},
           {GroupState::kWaiting, "waiting"},
           {GroupState::kClosed, "closed"},
           {GroupState::kStopped, "stopped"}}};
}
TM_WORDS(OnFull, 2) {
  return {{{OnFull::kDropHistory, "drop-history"}, {OnFull::kStopWrites, "stop-writes"}}};
}
TM_WORDS(PairState, 6) {
  return {{{PairState::kSmpl, "SMPL"},
           {PairState::kCopy, "COPY"},
           {PairState::kPair, "PAIR"},
           {PairState::kPsus, "PSUS"},
           {PairState::kPsue, "PSUE"},
           {PairState::kSsws, "SSWS"}}};
}
TM_WORDS(NbdTls, 3) {
  return {{{NbdTls::kOff, "off"}, {NbdTls::kOffered, "offered"}, {NbdTls::kRequired, "required"}}};
}
TM_WORDS(PairMode, 2) {
  return {{{PairMode::kAsync, "async"}, {PairMode::kSync, "sync"}}};
}
TM_WORDS(PairCompression, 2) {
  return {{{PairCompression::kOff, "off"}, {PairCompression::kZstd, "zstd"}}};
}
TM_WORDS(OnPeerLoss, 3) {
  return {{{OnPeerLoss::kAsync, "async"}, {OnPeerLoss::kWait, "wait"}, {OnPeerLoss::kFail, "fail"}}};
}
TM_WORDS(ResyncFrom, 2) {
  return {{{ResyncFrom::kPrimary, "primary"}, {ResyncFrom::kSecondary, "secondary"}}};
}
TM_WORDS(EntryKind, 12) {
  return {{{EntryKind::kWrite, "write"},
           {EntryKind::kZero, "zero"},
           {EntryKind::kDiscard, "discard"},
           {EntryKind::kMark, "mark"},
           {EntryKind::kName, "name"},
           {EntryKind::kVolumeCreate, "volume-create"},
           {EntryKind::kVolumeResize, "volume-resize"},
           {EntryKind::kVolumeDelete, "volume-delete"},
           {EntryKind::kEpoch, "epoch"},
           {EntryKind::kCopy, "copy"},
           {EntryKind::kLog, "log"},
           {EntryKind::kOther, "other"}}};
}
TM_WORDS(MarkKind, 2) {
  return {{{MarkKind::kMark, "mark"}, {MarkKind::kName, "name"}}};
}
TM_WORDS(WaitFor, 2) {
  return {{{WaitFor::kLocal, "local"}, {WaitFor::kPeer, "peer"}}};
}
TM_WORDS(DataSide, 2) {
  return {{{DataSide::kBefore, "before"}, {DataSide::kAfter, "after"}}};
}
TM_WORDS(ExportedData, 3) {
  return {
      {{ExportedData::kBefore, "before"}, {ExportedData::kAfter, "after"}, {ExportedData::kBoth, "both"}}};
}
TM_WORDS(VerifyState, 7) {
  return {{{VerifyState::kNever, "never"},
           {VerifyState::kRunning, "running"},
           {VerifyState::kGood, "good"},
           {VerifyState::kRepaired, "repaired"},
           {VerifyState::kDamaged, "damaged"},
           {VerifyState::kStopped, "stopped"},
           {VerifyState::kFailed, "failed"}}};
}
TM_WORDS(CompareState, 6) {
  return {{{CompareState::kNever, "never"},
           {CompareState::kRunning, "running"},
           {CompareState::kSame, "same"},
           {CompareState::kDiffering, "differing"},
           {CompareState::kStopped, "stopped"},
           {CompareState::kFailed, "failed"}}};
}
TM_WORDS(RepairFrom, 2) {
  return {{{RepairFrom::kPrimary, "from-primary"}, {RepairFrom::kSecondary, "from-secondary"}}};
}
TM_WORDS(BranchOrigin, 6) {
  return {{{BranchOrigin::kFirst, "first"},
           {BranchOrigin::kRestore, "restore"},
           {BranchOrigin::kTakeover, "takeover"},
           {BranchOrigin::kSequence, "sequence"},
           {BranchOrigin::kResync, "resync"},
           {BranchOrigin::kOther, "other"}}};
}
TM_WORDS(SessionKind, 3) {
  return {
      {{SessionKind::kNbd, "nbd"}, {SessionKind::kApi, "api"}, {SessionKind::kReplication, "replication"}}};
}
// The text of `value` as JSON, tables and the command line write it.
template <typename Enum>
requires std::is_enum_v<Enum>
constexpr std::string_view word(Enum value) {
  for (const auto& entry : enum_words(std::type_identity<Enum>{})) {
    if (entry.value == value) return entry.text;
  }
  return "?";
}

// ---- Members

#define TM_FIELDS(Type)                               \
  template <typename Visitor, typename T>             \
  requires std::same_as<std::remove_const_t<T>, Type> \
  void visit_fields([[maybe_unused]] Visitor& v, [[maybe_unused]] T& r)

TM_FIELDS(PointInfo) {
  v.field("log_id", r.log_id);
  v.field("timer", r.timer);
}
TM_FIELDS(CacheCounters) {
  v.field("read_hits", r.read_hits);
  v.field("read_misses", r.read_misses);
  v.field("write_hits", r.write_hits);
  v.field("write_misses", r.write_misses);
  v.field("dirty_bytes", r.dirty_bytes);
  v.field("written_bytes", r.written_bytes);
  v.field("destaged_bytes", r.destaged_bytes);
}
TM_FIELDS(Problem) {
  v.field("group", r.group);
  v.field("text", r.text);
  v.field("since", r.since);
  v.field("action", r.action);
}
TM_FIELDS(VolumeInfo) {
  v.field("group", r.group);
  v.field("volume", r.volume);
  v.field("number", r.number);
  v.field("lu_number", r.lu_number);
  v.field("raid", r.raid);
  v.field("size_bytes", r.size_bytes);
  v.field("allocated_bytes", r.allocated_bytes);
  v.field("read_only", r.read_only);
  v.field("writers_connected", r.writers_connected);
  v.field("readers_connected", r.readers_connected);
  v.field("cache", r.cache);
}
TM_FIELDS(LoggedVolume) {
  v.field("volume", r.volume);
  v.field("lu_number", r.lu_number);
}
TM_FIELDS(MarkInfo) {
  v.field("group", r.group);
  v.field("id", r.id);
  v.field("kind", r.kind);
  v.field("log_id", r.log_id);
  v.field("timer", r.timer);
  v.field("host", r.host);
  v.field("host_time", r.host_time);
  v.field("note", r.note);
  v.field("held", r.held);
  v.field("live", r.live);
  v.field("provisional", r.provisional);
  v.field("restorable", r.restorable);
  v.field("not_restorable_reason", r.not_restorable_reason);
  v.field("received", r.received);
  v.field("logged_on", r.logged_on);
  v.field("logged_volumes", r.logged_volumes);
  v.field("not_logged_reason", r.not_logged_reason);
}
TM_FIELDS(LogVolumeInfo) {
  v.field("lu_number", r.lu_number);
  v.field("raid", r.raid);
  v.field("capacity_bytes", r.capacity_bytes);
  v.field("used_bytes", r.used_bytes);
  v.field("first", r.first);
  v.field("last", r.last);
  v.field("leaving", r.leaving);
}
TM_FIELDS(PinInfo) {
  v.field("kind", r.kind);
  v.field("text", r.text);
  v.field("log_id", r.log_id);
}
TM_FIELDS(VerifiedInfo) {
  v.field("time", r.time);
  v.field("first", r.first);
  v.field("last", r.last);
  v.field("base", r.base);
  v.field("damages", r.damages);
}
TM_FIELDS(JournalStatus) {
  v.field("group", r.group);
  v.field("capacity_bytes", r.capacity_bytes);
  v.field("used_bytes", r.used_bytes);
  v.field("floor", r.floor);
  v.field("head", r.head);
  v.field("durable", r.durable);
  v.field("destaged", r.destaged);
  v.field("retain_ns", r.retain);
  v.field("on_full", r.on_full);
  v.field("log_volumes", r.log_volumes);
  v.field("pins", r.pins);
  v.field("log_started", r.log_started);
  v.field("log_kept_here", r.log_kept_here);
  v.field("verified", r.verified);
}
TM_FIELDS(ComparedInfo) {
  v.field("time", r.time);
  v.field("point", r.point);
  v.field("differing_bytes", r.differing_bytes);
  v.field("repaired_bytes", r.repaired_bytes);
}
TM_FIELDS(PairWindow) {
  v.field("floor", r.floor);
  v.field("newest", r.newest);
  v.field("journal_capacity_bytes", r.journal_capacity_bytes);
  v.field("journal_used_bytes", r.journal_used_bytes);
  v.field("last_mark", r.last_mark);
  v.field("last_mark_log_id", r.last_mark_log_id);
}
TM_FIELDS(PairStatus) {
  v.field("group", r.group);
  v.field("role", r.role);
  v.field("state", r.state);
  v.field("mode", r.mode);
  v.field("state_reason", r.state_reason);
  v.field("state_since", r.state_since);
  v.field("peer_address", r.peer_address);
  v.field("peer_node", r.peer_node);
  v.field("peer_group", r.peer_group);
  v.field("peer_certificate", r.peer_certificate);
  v.field("link_up", r.link_up);
  v.field("link_since", r.link_since);
  v.field("compress", r.compress);
  v.field("link_sent_bytes", r.link_sent_bytes);
  v.field("link_sent_uncompressed_bytes", r.link_sent_uncompressed_bytes);
  v.field("link_received_bytes", r.link_received_bytes);
  v.field("link_received_uncompressed_bytes", r.link_received_uncompressed_bytes);
  v.field("duplex_suspended_since", r.duplex_suspended_since);
  v.field("sent", r.sent);
  v.field("received", r.received);
  v.field("durable", r.durable);
  v.field("lag_entries", r.lag_entries);
  v.field("lag_bytes", r.lag_bytes);
  v.field("lag_seconds", r.lag_seconds);
  v.field("copy_done_bytes", r.copy_done_bytes);
  v.field("copy_total_bytes", r.copy_total_bytes);
  v.field("copy_rate_bytes", r.copy_rate_bytes);
  v.field("compared", r.compared);
  v.field("on_peer_loss", r.on_peer_loss);
  v.field("peer_loss_after_ns", r.peer_loss_after);
  v.field("in_sync", r.in_sync);
  v.field("sync_since", r.sync_since);
  v.field("sync_reason", r.sync_reason);
  v.field("flushes_waiting", r.flushes_waiting);
  v.field("window", r.window);
  v.field("peer_window", r.peer_window);
  v.field("peer_window_reason", r.peer_window_reason);
}
TM_FIELDS(GroupInfo) {
  v.field("group", r.group);
  v.field("identity", r.identity);
  v.field("role", r.role);
  v.field("state", r.state);
  v.field("state_reason", r.state_reason);
  v.field("epoch", r.epoch);
  v.field("volumes", r.volumes);
  v.field("cache", r.cache);
  v.field("journal", r.journal);
  v.field("marks", r.marks);
  v.field("last_mark", r.last_mark);
  v.field("pair", r.pair);
}
TM_FIELDS(SessionInfo) {
  v.field("kind", r.kind);
  v.field("client", r.client);
  v.field("export_name", r.export_name);
  v.field("writable", r.writable);
  v.field("view", r.view);
  v.field("since", r.since);
  v.field("read_bytes", r.read_bytes);
  v.field("written_bytes", r.written_bytes);
}
TM_FIELDS(Done) {
  v.field("note", r.note);
}

TM_FIELDS(NodeStatusRequest) {}
TM_FIELDS(NodeStatus) {
  v.field("node", r.node);
  v.field("identity", r.identity);
  v.field("node_version", r.version);
  v.field("now", r.now);
  v.field("started", r.started);
  v.field("nbd_addresses", r.nbd_addresses);
  v.field("nbd_tls", r.nbd_tls);
  v.field("control_addresses", r.control_addresses);
  v.field("replication_addresses", r.replication_addresses);
  v.field("pool_capacity_bytes", r.pool_capacity_bytes);
  v.field("pool_used_bytes", r.pool_used_bytes);
  v.field("pool_journals_bytes", r.pool_journals_bytes);
  v.field("cache_capacity_bytes", r.cache_capacity_bytes);
  v.field("problems", r.problems);
  v.field("groups", r.groups);
}
TM_FIELDS(SessionsRequest) {}
TM_FIELDS(SessionsReply) {
  v.field("sessions", r.sessions);
}
TM_FIELDS(TableRequest) {
  v.required("name", r.name, Rule::name("table name"));
  v.field("group", r.group, Rule::name_or_empty("group name"));
  v.field("id", r.id, Rule::token_or_empty("id", kKnownMarkIdLengthMax));
  v.field("time", r.time, Rule::token_or_empty("time", 64));
  v.field("after", r.after);
  v.field("limit", r.limit, kLimitRule);
}
TM_FIELDS(TableReply) {
  v.field("name", r.name);
  v.field("columns", r.columns);
  v.field("rows", r.rows);
  v.field("next", r.next);
}

TM_FIELDS(TableCheckRequest) {}
TM_FIELDS(TableCheckInfo) {
  v.field("name", r.name);
  v.field("rows", r.rows);
  v.field("missing", r.missing);
  v.field("foreign", r.foreign);
  v.field("examples", r.examples);
}
TM_FIELDS(TableCheckReply) {
  v.field("good", r.good);
  v.field("tables", r.tables);
}

TM_FIELDS(GroupCreateRequest) {
  v.required("group", r.group, kGroupRule);
  v.field("raid", r.raid, kRaidRule);
  v.field("log_raid", r.log_raid, kRaidRule);
  v.field("retain_ns", r.retain);
  v.field("journal_size_bytes", r.journal_size_bytes, kJournalSizeRule);
  v.field("on_full", r.on_full);
}
TM_FIELDS(GroupListRequest) {}
TM_FIELDS(GroupListReply) {
  v.field("groups", r.groups);
}
TM_FIELDS(GroupShowRequest) {
  v.required("group", r.group, kGroupRule);
}
TM_FIELDS(GroupSetRequest) {
  v.required("group", r.group, kGroupRule);
  v.field("retain_ns", r.retain);
  v.field("journal_size_bytes", r.journal_size_bytes, kJournalSizeRule);
  v.field("on_full", r.on_full);
}
TM_FIELDS(GroupOpenRequest) {
  v.required("group", r.group, kGroupRule);
}
TM_FIELDS(GroupServeRequest) {
  v.required("group", r.group, kGroupRule);
  v.field("alone", r.alone);
}
TM_FIELDS(RehearsalBeginRequest) {
  v.required("group", r.group, kGroupRule);
  v.field("point", r.point, kPointRule);
}
TM_FIELDS(RehearsalShowRequest) {
  v.required("group", r.group, kGroupRule);
}
TM_FIELDS(RehearsalEndRequest) {
  v.required("group", r.group, kGroupRule);
  v.field("force", r.force);
}
TM_FIELDS(RehearsedVolume) {
  v.field("volume", r.volume);
  v.field("export_name", r.export_name);
  v.field("size_bytes", r.size_bytes);
  v.field("scratch_bytes", r.scratch_bytes);
  v.field("clients", r.clients);
}
TM_FIELDS(RehearsalInfo) {
  v.field("group", r.group);
  v.field("point", r.point);
  v.field("since", r.since);
  v.field("volumes", r.volumes);
}
TM_FIELDS(GroupDeleteRequest) {
  v.required("group", r.group, kGroupRule);
  v.field("force", r.force);
}

TM_FIELDS(VolumeCreateRequest) {
  v.required("group", r.group, kGroupRule);
  v.required("volume", r.volume, kVolumeRule);
  v.required("size_bytes", r.size_bytes, kVolumeSizeRule);
  v.field("raid", r.raid, kRaidRule);
}
TM_FIELDS(VolumeListRequest) {
  v.field("group", r.group, Rule::name_or_empty("group name"));
}
TM_FIELDS(VolumeListReply) {
  v.field("volumes", r.volumes);
}
TM_FIELDS(VolumeShowRequest) {
  v.required("group", r.group, kGroupRule);
  v.required("volume", r.volume, kVolumeRule);
}
TM_FIELDS(VolumeResizeRequest) {
  v.required("group", r.group, kGroupRule);
  v.required("volume", r.volume, kVolumeRule);
  v.required("size_bytes", r.size_bytes, kVolumeSizeRule);
  v.field("shrink", r.shrink);
}
TM_FIELDS(VolumeDeleteRequest) {
  v.required("group", r.group, kGroupRule);
  v.required("volume", r.volume, kVolumeRule);
  v.field("force", r.force);
}

TM_FIELDS(PairCreateRequest) {
  v.required("group", r.group, kGroupRule);
  v.required("peer_address", r.peer_address, Rule{Rule::Kind::kText, "address", 0, 256, false});
  v.field("peer_group", r.peer_group, Rule::name("peer group name"));
  v.field("peer_raid", r.peer_raid, kRaidRule);
  v.field("mode", r.mode);
  v.field("on_peer_loss", r.on_peer_loss);
  v.field("peer_loss_after_ns", r.peer_loss_after);
  v.field("copy_rate_bytes", r.copy_rate_bytes);
  v.field("compress", r.compress);
}
TM_FIELDS(PairSetRequest) {
  v.required("group", r.group, kGroupRule);
  v.field("mode", r.mode);
  v.field("on_peer_loss", r.on_peer_loss);
  v.field("peer_loss_after_ns", r.peer_loss_after);
  v.field("copy_rate_bytes", r.copy_rate_bytes);
  v.field("compress", r.compress);
}
TM_FIELDS(PairStatusRequest) {
  v.required("group", r.group, kGroupRule);
  v.field("peer_window", r.peer_window);
}
TM_FIELDS(PairSuspendRequest) {
  v.required("group", r.group, kGroupRule);
}
TM_FIELDS(PairResyncRequest) {
  v.required("group", r.group, kGroupRule);
  v.field("from", r.from);
  v.field("give_up_window", r.give_up_window);
}
TM_FIELDS(PairTakeoverRequest) {
  v.required("group", r.group, kGroupRule);
  v.field("force", r.force);
}
TM_FIELDS(PairTakeoverReply) {
  v.field("new_epoch", r.new_epoch);
  v.field("point", r.point);
  v.field("primary_head", r.primary_head);
  v.field("may_be_behind", r.may_be_behind);
  v.field("behind_since", r.behind_since);
  v.field("pair", r.pair);
}
TM_FIELDS(PairDeleteRequest) {
  v.required("group", r.group, kGroupRule);
}
TM_FIELDS(PairVerifyRequest) {
  v.required("group", r.group, kGroupRule);
  v.field("rate_bytes", r.rate_bytes);
  v.field("repair", r.repair);
}
TM_FIELDS(PairVerifyStatusRequest) {
  v.required("group", r.group, kGroupRule);
}
TM_FIELDS(PairVerifyStopRequest) {
  v.required("group", r.group, kGroupRule);
}
TM_FIELDS(DifferenceInfo) {
  v.field("volume", r.volume);
  v.field("offset_bytes", r.offset_bytes);
  v.field("length_bytes", r.length_bytes);
  v.field("readable_here", r.readable_here);
  v.field("readable_there", r.readable_there);
  v.field("repaired", r.repaired);
}
TM_FIELDS(PairComparison) {
  v.field("group", r.group);
  v.field("state", r.state);
  v.field("reason", r.reason);
  v.field("peer_node", r.peer_node);
  v.field("begun", r.begun);
  v.field("ended", r.ended);
  v.field("rate_bytes", r.rate_bytes);
  v.field("repair", r.repair);
  v.field("first_point", r.first_point);
  v.field("last_point", r.last_point);
  v.field("done_bytes", r.done_bytes);
  v.field("total_bytes", r.total_bytes);
  v.field("compared_bytes", r.compared_bytes);
  v.field("differing_bytes", r.differing_bytes);
  v.field("repaired_bytes", r.repaired_bytes);
  v.field("differences", r.differences);
}

TM_FIELDS(JournalStartRequest) {
  v.required("group", r.group, kGroupRule);
}
TM_FIELDS(JournalStopRequest) {
  v.required("group", r.group, kGroupRule);
}
TM_FIELDS(JournalStatusRequest) {
  v.required("group", r.group, kGroupRule);
}
TM_FIELDS(JournalVolumeAddRequest) {
  v.required("group", r.group, kGroupRule);
  v.required("size_bytes", r.size_bytes, kJournalSizeRule);
  v.field("raid", r.raid, kRaidRule);
}
TM_FIELDS(JournalVolumeRemoveRequest) {
  v.required("group", r.group, kGroupRule);
  v.required("lu_number", r.lu_number);
}
TM_FIELDS(JournalShowRequest) {
  v.required("group", r.group, kGroupRule);
  v.field("from", r.from, kPointRule);
  v.field("limit", r.limit, kLimitRule);
}
TM_FIELDS(JournalEntry) {
  v.field("log_id", r.log_id);
  v.field("timer", r.timer);
  v.field("kind", r.kind);
  v.field("mark", r.mark);
  v.field("volume", r.volume);
  v.field("offset_bytes", r.offset_bytes);
  v.field("length_bytes", r.length_bytes);
  v.field("mark_id", r.mark_id);
  v.field("note", r.note);
  v.field("host", r.host);
  v.field("host_time", r.host_time);
  v.field("volume_number", r.volume_number);
  v.field("size_bytes", r.size_bytes);
}
TM_FIELDS(JournalShowReply) {
  v.field("entries", r.entries);
  v.field("next", r.next);
}
TM_FIELDS(JournalDataRequest) {
  v.required("group", r.group, kGroupRule);
  v.required("log_id", r.log_id);
  v.field("side", r.side);
  v.field("offset_bytes", r.offset_bytes);
  v.field("length_bytes", r.length_bytes, Rule::number(1, kJournalDataLengthBytesMax));
}
TM_FIELDS(JournalDataReply) {
  v.field("entry", r.entry);
  v.field("offset_bytes", r.offset_bytes);
  v.field("data", r.data);
  v.field("next", r.next);
}
TM_FIELDS(JournalExportBeginRequest) {
  v.required("group", r.group, kGroupRule);
  v.field("from", r.from, kPointRule);
  v.field("to", r.to, kPointRule);
  v.field("volume", r.volume, Rule::name_or_empty("volume name"));
  v.field("data", r.data);
}
TM_FIELDS(ExportedVolume) {
  v.field("volume", r.volume);
  v.field("number", r.number);
  v.field("size_bytes_from", r.size_bytes_from);
  v.field("size_bytes_to", r.size_bytes_to);
}
TM_FIELDS(JournalExportInfo) {
  v.field("id", r.id);
  v.field("group", r.group);
  v.field("identity", r.identity);
  v.field("node", r.node);
  v.field("from", r.from);
  v.field("to", r.to);
  v.field("data", r.data);
  v.field("volume", r.volume);
  v.field("volumes", r.volumes);
  v.field("entries", r.entries);
  v.field("lease_seconds", r.lease_seconds);
}
TM_FIELDS(JournalExportReadRequest) {
  v.required("group", r.group, kGroupRule);
  v.required("id", r.id, kJournalExportIdRule);
  v.field("after", r.after);
  v.field("within_bytes", r.within_bytes);
  v.field("length_bytes", r.length_bytes, Rule::number(1, kJournalExportLengthBytesMax));
}
TM_FIELDS(ExportedPiece) {
  v.field("side", r.side);
  v.field("offset_bytes", r.offset_bytes);
  v.field("length_bytes", r.length_bytes);
}
TM_FIELDS(ExportedEntry) {
  v.field("entry", r.entry);
  v.field("continued", r.continued);
  v.field("pieces", r.pieces);
}
TM_FIELDS(JournalExportPage) {
  v.field("entries", r.entries);
  v.field("data", r.data);
  v.field("entries_done", r.entries_done);
  v.field("next_after", r.next_after);
  v.field("next_within", r.next_within);
}
TM_FIELDS(JournalExportEndRequest) {
  v.required("group", r.group, kGroupRule);
  v.required("id", r.id, kJournalExportIdRule);
}
TM_FIELDS(ExportFileEnd) {
  v.field("records", r.records);
  v.field("entries", r.entries);
  v.field("data_bytes", r.data_bytes);
  v.field("last", r.last);
}
TM_FIELDS(JournalVerifyRequest) {
  v.required("group", r.group, kGroupRule);
  v.field("base", r.base);
  v.field("rate_bytes", r.rate_bytes);
  v.field("repair", r.repair);
}
TM_FIELDS(JournalVerifyStatusRequest) {
  v.required("group", r.group, kGroupRule);
}
TM_FIELDS(JournalVerifyStopRequest) {
  v.required("group", r.group, kGroupRule);
}
TM_FIELDS(DamageInfo) {
  v.field("text", r.text);
  v.field("volume", r.volume);
  v.field("offset_bytes", r.offset_bytes);
  v.field("length_bytes", r.length_bytes);
  v.field("first", r.first);
  v.field("last", r.last);
  v.field("affected_from", r.affected_from);
  v.field("affected_to", r.affected_to);
  v.field("live", r.live);
  v.field("marks", r.marks);
  v.field("traced", r.traced);
  v.field("repaired", r.repaired);
}
TM_FIELDS(Verification) {
  v.field("group", r.group);
  v.field("state", r.state);
  v.field("reason", r.reason);
  v.field("begun", r.begun);
  v.field("ended", r.ended);
  v.field("base", r.base);
  v.field("rate_bytes", r.rate_bytes);
  v.field("first", r.first);
  v.field("last", r.last);
  v.field("batches", r.batches);
  v.field("entries", r.entries);
  v.field("base_bytes", r.base_bytes);
  v.field("done_bytes", r.done_bytes);
  v.field("total_bytes", r.total_bytes);
  v.field("damages", r.damages);
  v.field("repairs", r.repairs);
  v.field("damage", r.damage);
}

TM_FIELDS(MarkCreateRequest) {
  v.required("group", r.group, kGroupRule);
  v.field("id", r.id, kMarkIdRule);
  v.field("note", r.note, kNoteRule);
  v.field("host", r.host, Rule::text("host", 256));
  v.field("host_time", r.host_time);
  v.field("wait", r.wait);
}
TM_FIELDS(MarkListRequest) {
  v.required("group", r.group, kGroupRule);
  v.field("after", r.after, Rule::token_or_empty("mark id", kKnownMarkIdLengthMax));
  v.field("limit", r.limit, kLimitRule);
}
TM_FIELDS(MarkListReply) {
  v.field("marks", r.marks);
  v.field("next", r.next);
}
TM_FIELDS(MarkShowRequest) {
  v.required("group", r.group, kGroupRule);
  v.required("id", r.id, kKnownMarkIdRule);
}
TM_FIELDS(MarkNameRequest) {
  v.required("group", r.group, kGroupRule);
  v.required("id", r.id, kMarkIdRule);
  v.required("point", r.point, kPointRule);
  v.field("note", r.note, kNoteRule);
}
TM_FIELDS(MarkHoldRequest) {
  v.required("group", r.group, kGroupRule);
  v.required("id", r.id, kKnownMarkIdRule);
}
TM_FIELDS(MarkReleaseRequest) {
  v.required("group", r.group, kGroupRule);
  v.required("id", r.id, kKnownMarkIdRule);
}
TM_FIELDS(MarkDeleteRequest) {
  v.required("group", r.group, kGroupRule);
  v.required("id", r.id, kKnownMarkIdRule);
}

TM_FIELDS(RestoreRequest) {
  v.required("group", r.group, kGroupRule);
  v.required("point", r.point, kPointRule);
  v.field("before", r.before);
  v.field("dry_run", r.dry_run);
  v.field("force", r.force);
  v.field("from_peer", r.from_peer);
}
TM_FIELDS(VolumeChange) {
  v.field("volume", r.volume);
  v.field("size_bytes_now", r.size_bytes_now);
  v.field("size_bytes_target", r.size_bytes_target);
  v.field("blocks_differing", r.blocks_differing);
  v.field("bytes_differing", r.bytes_differing);
}
TM_FIELDS(RestoreReply) {
  v.field("dry_run", r.dry_run);
  v.field("from", r.from);
  v.field("target", r.target);
  v.field("new_epoch", r.new_epoch);
  v.field("volumes", r.volumes);
  v.field("entries_left", r.entries_left);
  v.field("marks_left", r.marks_left);
  v.field("marks_left_ids", r.marks_left_ids);
  v.field("writers", r.writers);
  v.field("exports_closed", r.exports_closed);
  v.field("from_peer", r.from_peer);
}
TM_FIELDS(BranchInfo) {
  v.field("group", r.group);
  v.field("epoch", r.epoch);
  v.field("identity", r.identity);
  v.field("live", r.live);
  v.field("origin", r.origin);
  v.field("parent", r.parent);
  v.field("first", r.first);
  v.field("last", r.last);
  v.field("entries", r.entries);
  v.field("data_bytes", r.data_bytes);
  v.field("marks", r.marks);
  v.field("held", r.held);
  v.field("left", r.left);
}
TM_FIELDS(BranchListRequest) {
  v.required("group", r.group, kGroupRule);
}
TM_FIELDS(BranchListReply) {
  v.field("branches", r.branches);
}
TM_FIELDS(BranchShowRequest) {
  v.required("group", r.group, kGroupRule);
  v.required("epoch", r.epoch, kEpochRule);
}
TM_FIELDS(BranchReleaseRequest) {
  v.required("group", r.group, kGroupRule);
  v.required("epoch", r.epoch, kEpochRule);
}
TM_FIELDS(DiffRequest) {
  v.required("group", r.group, kGroupRule);
  v.required("volume", r.volume, kVolumeRule);
  v.required("from", r.from, kPointRule);
  v.field("to", r.to, kPointRule);
  v.field("offset_bytes", r.offset_bytes);
  v.field("limit", r.limit, kLimitRule);
}
TM_FIELDS(ByteRun) {
  v.field("offset_bytes", r.offset_bytes);
  v.field("length_bytes", r.length_bytes);
}
TM_FIELDS(DiffReply) {
  v.field("from", r.from);
  v.field("to", r.to);
  v.field("size_bytes_from", r.size_bytes_from);
  v.field("size_bytes_to", r.size_bytes_to);
  v.field("runs", r.runs);
  v.field("next", r.next);
}

}  // namespace tidemark::control

#include "control/types_disks_fields.h"

#undef TM_FIELDS
#undef TM_WORDS
