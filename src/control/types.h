#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/ids.h"
#include "base/time.h"
#include "control/types_disks.h"

// What is asked of a node and what it answers: plain data, shared by the API server, its clients and the
// node. types_fields.h names the members as they appear in JSON; types_json.h converts.
//
// A POINT is text (a mark id, "time:RFC3339", "log:EPOCH.SEQ", "head", "floor") that the node resolves.
// An absent std::optional means "not known" or "does not apply" in an answer, "leave it" or "the default" in
// a request. Structures only ever gain members.
namespace tidemark::control {

inline constexpr std::uint32_t kPageLimitDefault = 100;  // rows, entries, marks or runs in one answer
inline constexpr std::uint32_t kPageLimitMax = 10'000;
inline constexpr std::uint64_t kJournalDataLengthBytesMax = 1 << 20;    // in one answer of journal_data
inline constexpr std::uint64_t kJournalExportLengthBytesMax = 8 << 20;  // asked of one page of an export
inline constexpr std::size_t kNoteLengthMax = 1024;                     // of a mark's note, in bytes

// ---- Words that have a fixed set of values. Their text is in types_fields.h.

enum class GroupRole { kAlone, kPrimary, kSecondary };
enum class GroupState {
  kOpen,     // serving
  kWaiting,  // paired primary after a restart that has not heard its peer; see `group serve --alone`
  kClosed,   // its exports are closed until `group open`, after a forced restore
  kStopped,  // an error stopped it; `state_reason` says which
};
enum class OnFull { kDropHistory, kStopWrites };
enum class PairState { kSmpl, kCopy, kPair, kPsus, kPsue, kSsws };
enum class NbdTls { kOff, kOffered, kRequired };
enum class PairMode { kAsync, kSync };
enum class PairCompression { kOff, kZstd };
// What FLUSH and FUA of a synchronous pair do once its secondary is lost: go on without it, wait, or fail.
enum class OnPeerLoss { kAsync, kWait, kFail };
enum class ResyncFrom { kPrimary, kSecondary };
enum class EntryKind {
  kWrite,
  kZero,
  kDiscard,
  kMark,
  kName,
  kVolumeCreate,
  kVolumeResize,
  kVolumeDelete,
  kEpoch,
  kCopy,   // a chunk of an initial copy or a resync
  kLog,    // the log is started or stopped
  kOther,  // a kind that this version of the API has no word for
};
enum class MarkKind { kMark, kName };  // made at its moment, or given to a past point afterwards
enum class WaitFor { kLocal, kPeer };  // durable here, or received by the peer
enum class DataSide { kBefore, kAfter };
enum class ExportedData { kBefore, kAfter, kBoth };
enum class VerifyState {
  kNever,  // since the node started
  kRunning,
  kGood,
  kRepaired,  // all that was found is as it was written again
  kDamaged,
  kStopped,  // before its end; what was found until then counts
  kFailed,   // something else was in the way
};
enum class CompareState {
  kNever,  // since the node started
  kRunning,
  kSame,
  kDiffering,
  kStopped,  // before its end; what was found until then counts
  kFailed,   // something else was in the way
};
enum class RepairFrom { kPrimary, kSecondary };  // whose blocks are right
enum class BranchOrigin { kFirst, kRestore, kTakeover, kSequence, kResync, kOther };
enum class SessionKind { kNbd, kApi, kReplication };

// ---- Shared parts

// A point that has been resolved to a log entry.
struct PointInfo {
  LogId log_id;
  WallTime timer;
};

// Accesses and bytes are counted since the node started.
struct CacheCounters {
  std::uint64_t read_hits = 0;
  std::uint64_t read_misses = 0;
  std::uint64_t write_hits = 0;
  std::uint64_t write_misses = 0;
  std::uint64_t dirty_bytes = 0;     // acknowledged, not yet in the base
  std::uint64_t written_bytes = 0;   // to the journal
  std::uint64_t destaged_bytes = 0;  // moved from there to the base
};

// Something a person should know of. `action` is what to type, empty when there is nothing to do.
struct Problem {
  std::string group;  // empty: the node itself
  std::string text;
  std::optional<WallTime> since;
  std::string action;
};

struct VolumeInfo {
  std::string group;
  std::string volume;
  std::uint32_t number = 0;  // VolumeId within the group
  std::uint32_t lu_number = 0;
  std::string raid;  // the RAID group that its base lies on
  std::uint64_t size_bytes = 0;
  std::uint64_t allocated_bytes = 0;  // of the base
  bool read_only = false;
  std::uint32_t writers_connected = 0;
  std::uint32_t readers_connected = 0;
  CacheCounters cache;
};

// A volume that acquires a log, and the logical unit that holds it on the node that does.
struct LoggedVolume {
  std::string volume;
  std::optional<std::uint32_t> lu_number;
};

struct MarkInfo {
  std::string group;
  std::string id;
  MarkKind kind = MarkKind::kMark;
  LogId log_id;    // the point it names
  WallTime timer;  // of that point, at the storage
  std::string host;
  std::optional<WallTime> host_time;  // as the host gave it
  std::string note;
  bool held = false;
  bool live = true;          // on the live path; else on a dead branch
  bool provisional = false;  // taken on a secondary without its primary
  bool restorable = true;
  std::string not_restorable_reason;  // "expired", "in a gap, ..." when it is not
  std::optional<bool> received;       // by the peer; absent without a pair
  // Which volumes acquire a log at that place, on the secondary of a pair, else on the node itself; or why
  // none does.
  std::string logged_on;
  std::vector<LoggedVolume> logged_volumes;
  std::string not_logged_reason;
};

struct LogVolumeInfo {
  std::uint32_t lu_number = 0;
  std::string raid;  // the RAID group that it lies on
  std::uint64_t capacity_bytes = 0;
  std::uint64_t used_bytes = 0;
  std::optional<LogId> first;  // oldest entry on it
  std::optional<LogId> last;   // newest
  bool leaving = false;        // it takes no more, and goes when its entries have left the window
};

// What keeps the floor from rising.
struct PinInfo {
  std::string kind;  // "held-mark", "log", "tail", "peer", "view"
  std::string text;
  LogId log_id;
};

// The last verification that came to its end, whether or not the node was restarted since.
struct VerifiedInfo {
  WallTime time;
  std::optional<LogId> first;  // over the entries from this one
  std::optional<LogId> last;   // to this one, in the order in which they were written here
  bool base = false;           // the base too
  std::uint64_t damages = 0;
};

struct JournalStatus {
  std::string group;
  std::uint64_t capacity_bytes = 0;
  std::uint64_t used_bytes = 0;
  PointInfo floor;
  PointInfo head;
  std::optional<PointInfo> durable;  // the newest entry on stable storage here
  std::optional<LogId> destaged;
  Duration retain;
  OnFull on_full = OnFull::kDropHistory;
  std::vector<LogVolumeInfo> log_volumes;
  std::vector<PinInfo> pins;
  std::optional<LogId> log_started;      // by `journal start`, until `journal stop`
  bool log_kept_here = false;            // everything since then is kept on this node
  std::optional<VerifiedInfo> verified;  // absent: never
};

// The last comparison of the two nodes that came to its end on this one.
struct ComparedInfo {
  WallTime time;
  LogId point;
  std::uint64_t differing_bytes = 0;
  std::uint64_t repaired_bytes = 0;
};

// What one node of a pair can show, and what its journal holds.
struct PairWindow {
  PointInfo floor;
  PointInfo newest;  // the newest point that can be shown
  std::uint64_t journal_capacity_bytes = 0;
  std::uint64_t journal_used_bytes = 0;
  std::string last_mark;  // empty: no marks
  std::optional<LogId> last_mark_log_id;
};

struct PairStatus {
  std::string group;
  GroupRole role = GroupRole::kAlone;
  PairState state = PairState::kSmpl;
  PairMode mode = PairMode::kAsync;
  std::string state_reason;  // why suspended, in words
  std::optional<WallTime> state_since;
  std::string peer_address;
  std::string peer_node;
  std::string peer_group;
  std::string peer_certificate;  // whose certificate the peer must show; empty: it has never shown one
  bool link_up = false;
  std::optional<WallTime> link_since;  // up or down since
  PairCompression compress = PairCompression::kOff;
  // Over all links of the pair since this node started, headers and all; and what that would have been
  // without compression.
  std::uint64_t link_sent_bytes = 0;
  std::uint64_t link_sent_uncompressed_bytes = 0;
  std::uint64_t link_received_bytes = 0;
  std::uint64_t link_received_uncompressed_bytes = 0;
  std::optional<LogId> duplex_suspended_since;
  LogId sent;
  LogId received;  // by the secondary
  LogId durable;   // on this node
  std::uint64_t lag_entries = 0;
  std::uint64_t lag_bytes = 0;
  double lag_seconds = 0;
  std::uint64_t copy_done_bytes = 0;  // of an initial copy or resync under way
  std::uint64_t copy_total_bytes = 0;
  std::uint64_t copy_rate_bytes = 0;     // on the primary: in a second at most; 0: no limit
  std::optional<ComparedInfo> compared;  // absent: never
  // Of a synchronous pair, else absent. In sync: nothing that was acknowledged to a FLUSH or FUA is missing
  // on the secondary.
  std::optional<OnPeerLoss> on_peer_loss;
  std::optional<Duration> peer_loss_after;
  std::optional<bool> in_sync;
  std::optional<WallTime> sync_since;  // in sync or not
  std::string sync_reason;             // why not, or what its FLUSHes wait for
  std::uint64_t flushes_waiting = 0;   // for the secondary, just now
  PairWindow window;                   // of this node
  // Of the other one, when it was asked for and could be had; else why not.
  std::optional<PairWindow> peer_window;
  std::string peer_window_reason;
};

struct GroupInfo {
  std::string group;
  std::string identity;
  GroupRole role = GroupRole::kAlone;
  GroupState state = GroupState::kOpen;
  std::string state_reason;
  std::uint32_t epoch = 0;
  std::vector<VolumeInfo> volumes;
  CacheCounters cache;  // the sum over the volumes
  JournalStatus journal;
  std::uint64_t marks = 0;
  std::optional<MarkInfo> last_mark;
  std::optional<PairStatus> pair;
};

struct SessionInfo {
  SessionKind kind = SessionKind::kNbd;
  std::string client;
  std::string export_name;
  bool writable = false;
  bool view = false;  // of a past point
  std::optional<WallTime> since;
  std::uint64_t read_bytes = 0;
  std::uint64_t written_bytes = 0;
};

// The answer where nothing needs to be told; `note` may add a sentence for a person.
struct Done {
  std::string note;
};

// ---- node

struct NodeStatusRequest {};
struct NodeStatus {
  std::string node;
  std::string identity;
  std::string version;
  WallTime now;
  std::optional<WallTime> started;
  std::vector<std::string> nbd_addresses;  // "unix:PATH" or "tcp:HOST:PORT", preferred first
  NbdTls nbd_tls = NbdTls::kOff;           // on TCP; on unix sockets it is never required
  std::vector<std::string> control_addresses;
  std::vector<std::string> replication_addresses;
  std::uint64_t pool_capacity_bytes = 0;
  std::uint64_t pool_used_bytes = 0;
  std::uint64_t pool_journals_bytes = 0;  // of that, what journals take
  std::uint64_t cache_capacity_bytes = 0;
  std::vector<Problem> problems;
  std::vector<GroupInfo> groups;
};

struct SessionsRequest {};
struct SessionsReply {
  std::vector<SessionInfo> sessions;
};

// A management table. Cells are in the order of `columns`.
using TableCell = std::variant<std::monostate, std::int64_t, double, std::string>;
struct TableRequest {
  std::string name;         // "mark_id", "log_id", "volume", ...
  std::string group;        // only its rows; empty: all
  std::string id;           // log_id, mark_id: the row for this log id or mark id
  std::string time;         // log_id: the row for this RFC 3339 time
  std::uint64_t after = 0;  // skip this many rows
  std::uint32_t limit = kPageLimitDefault;
};
struct TableReply {
  std::string name;
  std::vector<std::string> columns;
  std::vector<std::vector<TableCell>> rows;
  std::optional<std::uint64_t> next;  // `after` for the next page
};

struct TableCheckRequest {};
// How one table compared with the journal and the disks.
struct TableCheckInfo {
  std::string name;
  std::uint64_t rows = 0;             // that should be there
  std::uint64_t missing = 0;          // of these
  std::uint64_t foreign = 0;          // rows that should not be there; a row that was changed is both
  std::vector<std::string> examples;  // of either, the first 20
};
struct TableCheckReply {
  bool good = true;
  std::vector<TableCheckInfo> tables;
};

// ---- groups

struct GroupCreateRequest {
  std::string group;
  std::optional<std::string> raid;      // RAID group of its volumes; default: the node's first
  std::optional<std::string> log_raid;  // of its journal; default: that of its volumes
  std::optional<Duration> retain;
  std::optional<std::uint64_t> journal_size_bytes;
  std::optional<OnFull> on_full;
};
struct GroupListRequest {};
struct GroupListReply {
  std::vector<GroupInfo> groups;
};
struct GroupShowRequest {
  std::string group;
};
struct GroupSetRequest {
  std::string group;
  std::optional<Duration> retain;
  std::optional<std::uint64_t> journal_size_bytes;
  std::optional<OnFull> on_full;
};
// Opens the exports that a forced restore closed.
struct GroupOpenRequest {
  std::string group;
};
// Lets a waiting primary accept writes; `alone`: without having heard its peer.
struct GroupServeRequest {
  std::string group;
  bool alone = false;
};
// Makes all volumes of a group writable at one point, under an overlay that stays while clients come and go,
// until it is ended or the node stops. The group goes on, and so does its pair.
struct RehearsalBeginRequest {
  std::string group;
  std::string point = "head";
};
struct RehearsalShowRequest {
  std::string group;
};
// What was written in it goes. Refused while clients have it open, unless forced.
struct RehearsalEndRequest {
  std::string group;
  bool force = false;
};
struct RehearsedVolume {
  std::string volume;
  std::string export_name;
  std::uint64_t size_bytes = 0;
  std::uint64_t scratch_bytes = 0;  // on the disk, for what was written in it
  std::uint32_t clients = 0;
};
struct RehearsalInfo {
  std::string group;
  PointInfo point;
  WallTime since;
  std::vector<RehearsedVolume> volumes;
};
// Refused while the group has volumes, unless forced.
struct GroupDeleteRequest {
  std::string group;
  bool force = false;
};

// ---- volumes

struct VolumeCreateRequest {
  std::string group;
  std::string volume;
  std::uint64_t size_bytes = 0;
  std::optional<std::string> raid;  // RAID group; default: that of the group's volumes
};
struct VolumeListRequest {
  std::string group;  // empty: of all groups
};
struct VolumeListReply {
  std::vector<VolumeInfo> volumes;
};
struct VolumeShowRequest {
  std::string group;
  std::string volume;
};
struct VolumeResizeRequest {
  std::string group;
  std::string volume;
  std::uint64_t size_bytes = 0;
  bool shrink = false;  // must be set to make it smaller
};
// Refused while a writer is connected, unless forced.
struct VolumeDeleteRequest {
  std::string group;
  std::string volume;
  bool force = false;
};

// ---- pairs

struct PairCreateRequest {
  std::string group;
  // "unix:PATH" or "tcp:HOST:PORT", of the peer's replication service; "self": a copy on this node, under
  // another name
  std::string peer_address;
  std::optional<std::string> peer_group;  // default: the same name
  std::optional<std::string> peer_raid;   // the peer's RAID group that takes the copy; default: its first
  PairMode mode = PairMode::kAsync;
  std::optional<OnPeerLoss> on_peer_loss;        // of a synchronous pair; default: async
  std::optional<Duration> peer_loss_after;       // the same; default: 10 s
  std::optional<std::uint64_t> copy_rate_bytes;  // of a copy, in a second at most; 0 or absent: no limit
  std::optional<PairCompression> compress;       // of what goes over the link; default: off
};
// On the primary. What is absent stays.
struct PairSetRequest {
  std::string group;
  std::optional<PairMode> mode;
  std::optional<OnPeerLoss> on_peer_loss;
  std::optional<Duration> peer_loss_after;
  std::optional<std::uint64_t> copy_rate_bytes;  // 0: no limit
  std::optional<PairCompression> compress;
};
struct PairStatusRequest {
  std::string group;
  bool peer_window = false;  // ask the other node, which may take two seconds
};
struct PairSuspendRequest {
  std::string group;
};
struct PairResyncRequest {
  std::string group;
  // Whose branch continues; kSecondary swaps the roles. Absent: the primary's, refused when the secondary has
  // written alone.
  std::optional<ResyncFrom> from;
  bool give_up_window = false;  // let a copy write over the window of the one that is to be the secondary
};
struct PairTakeoverRequest {
  std::string group;
  bool force = false;  // even while the link is up
};
struct PairTakeoverReply {
  std::uint32_t new_epoch = 0;
  PointInfo point;                    // the last entry held here, where the new epoch continues
  std::optional<LogId> primary_head;  // the primary's newest entry, as it told last
  // The primary may have acknowledged writes that are not here; in a synchronous pair, to a FLUSH or FUA.
  bool may_be_behind = false;
  std::optional<WallTime> behind_since;
  PairStatus pair;
};
struct PairDeleteRequest {
  std::string group;
};

// Begins to compare what the two nodes hold, in the background; answers how far one that runs already is.
struct PairVerifyRequest {
  std::string group;
  std::uint64_t rate_bytes = 0;      // read on this node in a second at most; 0: no limit
  std::optional<RepairFrom> repair;  // write what differs again; absent: only tell it
};
struct PairVerifyStatusRequest {
  std::string group;
};
struct PairVerifyStopRequest {
  std::string group;
};
struct DifferenceInfo {
  std::string volume;
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;
  bool readable_here = true;   // false: damaged here, or the disk gives an error
  bool readable_there = true;  // the same on the other node
  bool repaired = false;       // written again; in order with what hosts write
};
struct PairComparison {
  std::string group;
  CompareState state = CompareState::kNever;
  std::string reason;  // why it was stopped, or failed; what was left out
  std::string peer_node;
  std::optional<WallTime> begun;
  std::optional<WallTime> ended;
  std::uint64_t rate_bytes = 0;
  std::optional<RepairFrom> repair;
  // The entry at which both were read: one, or from the first to the last, when a node needed the space.
  std::optional<LogId> first_point;
  std::optional<LogId> last_point;
  std::uint64_t done_bytes = 0;      // of the volumes' sizes
  std::uint64_t total_bytes = 0;     // the same
  std::uint64_t compared_bytes = 0;  // what is not known to be zeroes on both
  std::uint64_t differing_bytes = 0;
  std::uint64_t repaired_bytes = 0;
  std::vector<DifferenceInfo> differences;  // the first 1000
};

// ---- the journal

// Acquires the log from here on: nothing since is given up until it is stopped. On the primary of a pair in
// PAIR the secondary acquires it, and its base stays as it is.
struct JournalStartRequest {
  std::string group;
};
struct JournalStopRequest {
  std::string group;
};
struct JournalStatusRequest {
  std::string group;
};
struct JournalVolumeAddRequest {
  std::string group;
  std::uint64_t size_bytes = 0;     // rounded up to whole segments
  std::optional<std::string> raid;  // RAID group; default: that of the group's first log volume
};
struct JournalVolumeRemoveRequest {
  std::string group;
  std::uint32_t lu_number = 0;
};
struct JournalShowRequest {
  std::string group;
  std::string from = "floor";  // POINT: entries after it; along the live path, or the branch that it lies on
  std::uint32_t limit = kPageLimitDefault;
};
struct JournalEntry {
  LogId log_id;
  WallTime timer;
  EntryKind kind = EntryKind::kWrite;
  bool mark = false;
  std::string volume;
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;
  std::string mark_id;
  std::string note;
  std::string host;
  std::optional<WallTime> host_time;
  std::optional<std::uint32_t> volume_number;  // VolumeId within the group, where a volume is concerned
  std::optional<std::uint64_t> size_bytes;     // volume-create, volume-resize: the volume's from here on
};
struct JournalShowReply {
  std::vector<JournalEntry> entries;
  std::optional<LogId> next;  // there is more: ask again from "log:NEXT"
};
// The bytes at the place of one entry, just before or just after it.
struct JournalDataRequest {
  std::string group;
  LogId log_id;
  DataSide side = DataSide::kAfter;
  std::uint64_t offset_bytes = 0;  // within the entry
  std::uint64_t length_bytes = kJournalDataLengthBytesMax;
};
struct BinaryData {
  std::string bytes;  // base64 in JSON
};
struct JournalDataReply {
  JournalEntry entry;
  std::uint64_t offset_bytes = 0;  // within the entry
  BinaryData data;
  std::optional<std::uint64_t> next;  // `offset_bytes` of the rest
};

// Entries with their data, many in one answer. The points between `from` and `to` stay readable until the
// export is ended, nothing has been asked of it for `lease_seconds`, or the journal is full and nothing else
// in it can go: the next page is refused then, with the reason.
struct JournalExportBeginRequest {
  std::string group;
  std::string from = "floor";  // POINT: entries after it ...
  std::string to = "head";     // ... up to this one, on the way to it, whatever branch it lies on
  std::string volume;          // only the changes of this one, and what concerns no volume; empty: of all
  ExportedData data = ExportedData::kBoth;
};
// A volume that exists at one of the two points.
struct ExportedVolume {
  std::string volume;
  std::uint32_t number = 0;
  std::optional<std::uint64_t> size_bytes_from;  // absent: it does not exist there
  std::optional<std::uint64_t> size_bytes_to;
};
struct JournalExportInfo {
  std::string id;
  std::string group;
  std::string identity;  // of the group
  std::string node;
  PointInfo from;
  PointInfo to;
  ExportedData data = ExportedData::kBoth;
  std::string volume;                   // the one that was asked for
  std::vector<ExportedVolume> volumes;  // at the two points
  std::uint64_t entries = 0;            // between the points, those of other volumes included
  std::uint32_t lease_seconds = 0;
};
struct JournalExportReadRequest {
  std::string group;
  std::string id;
  std::optional<LogId> after;            // entries after this one; default: from the first on
  std::uint64_t within_bytes = 0;        // so much of the first one's range has been had
  std::uint64_t length_bytes = 4 << 20;  // about so many bytes of data; at least one entry comes
};
// Bytes of an entry's range just before or just after it.
struct ExportedPiece {
  DataSide side = DataSide::kBefore;
  std::uint64_t offset_bytes = 0;  // in the volume
  std::uint64_t length_bytes = 0;
};
struct ExportedEntry {
  JournalEntry entry;
  bool continued = false;  // the entry was begun before; these are more of its pieces
  // In the order of their bytes in the page. What no piece of a side gives is zeroes.
  std::vector<ExportedPiece> pieces;
};
struct JournalExportPage {
  std::vector<ExportedEntry> entries;
  BinaryData data;                  // the bytes of all pieces, one after the other
  std::uint64_t entries_done = 0;   // of `entries` of JournalExportInfo
  std::optional<LogId> next_after;  // there is more: ask again with these two
  std::optional<std::uint64_t> next_within;
};
struct JournalExportEndRequest {
  std::string group;
  std::string id;
};
// The last record of a file that holds an export: see docs/formats/journal-export.md.
struct ExportFileEnd {
  std::uint64_t records = 0;  // of entries, those that continue one included
  std::uint64_t entries = 0;
  std::uint64_t data_bytes = 0;
  std::optional<LogId> last;  // the last entry in the file
};

// Begins to prove what lies on the disk, in the background; answers how far one that runs already is.
struct JournalVerifyRequest {
  std::string group;
  bool base = true;              // the allocated blocks of the base too
  std::uint64_t rate_bytes = 0;  // read in a second at most; 0: no limit
  bool repair = false;           // damaged blocks are written again as the peer has them
};
struct JournalVerifyStatusRequest {
  std::string group;
};
struct JournalVerifyStopRequest {
  std::string group;
};
// Something that is not as it was written.
struct DamageInfo {
  std::string text;
  std::string volume;              // empty: it is no block of a volume
  std::uint64_t offset_bytes = 0;  // in the volume
  std::uint64_t length_bytes = 0;
  std::optional<LogId> first;  // the entries concerned
  std::optional<LogId> last;
  std::optional<LogId>
      affected_from;  // the readable points that would show it, for which reads fail; absent: none
  std::optional<LogId> affected_to;
  bool live = false;               // the live volume too
  std::vector<std::string> marks;  // that name such points, the first ones
  bool traced = true;              // false: there may be more such points than these
  bool repaired = false;           // it is as it was written again
};
struct Verification {
  std::string group;
  VerifyState state = VerifyState::kNever;
  std::string reason;  // why it was stopped, or failed
  std::optional<WallTime> begun;
  std::optional<WallTime> ended;
  bool base = true;
  std::uint64_t rate_bytes = 0;
  std::optional<LogId> first;  // of the entries proved
  std::optional<LogId> last;
  std::uint64_t batches = 0;
  std::uint64_t entries = 0;
  std::uint64_t base_bytes = 0;
  std::uint64_t done_bytes = 0;
  std::uint64_t total_bytes = 0;  // an estimate; what is written meanwhile is proved too
  std::uint64_t damages = 0;
  std::uint64_t repairs = 0;       // of these
  std::vector<DamageInfo> damage;  // the first 1000
};

// ---- marks

struct MarkCreateRequest {
  std::string group;
  std::optional<std::string> id;  // default: generated by the node
  std::string note;
  std::string host;
  std::optional<WallTime> host_time;
  WaitFor wait = WaitFor::kLocal;
};
struct MarkListRequest {
  std::string group;
  std::string after;  // a mark id: those after it; empty: from the first
  std::uint32_t limit = kPageLimitDefault;
};
struct MarkListReply {
  std::vector<MarkInfo> marks;      // in the order in which the node keeps them
  std::optional<std::string> next;  // `after` for the next page
};
struct MarkShowRequest {
  std::string group;
  std::string id;
};
struct MarkNameRequest {
  std::string group;
  std::string id;
  std::string point;
  std::string note;
};
struct MarkHoldRequest {
  std::string group;
  std::string id;
};
struct MarkReleaseRequest {
  std::string group;
  std::string id;
};
struct MarkDeleteRequest {
  std::string group;
  std::string id;
};

// ---- restore, branches, differences

struct RestoreRequest {
  std::string group;
  std::string point;
  bool before = false;   // the state just before that entry
  bool dry_run = false;  // only say what would happen
  bool force = false;    // disconnect writers; exports stay closed until `group open`
  // True: with the blocks of the other node, though this one could show the point. False: never so. Absent:
  // where this node cannot show it.
  std::optional<bool> from_peer;
};
struct VolumeChange {
  std::string volume;
  std::optional<std::uint64_t> size_bytes_now;     // absent: does not exist now
  std::optional<std::uint64_t> size_bytes_target;  // absent: does not exist at the point
  std::optional<std::uint64_t> blocks_differing;   // counted only for a dry run
  std::optional<std::uint64_t> bytes_differing;
};
struct RestoreReply {
  bool dry_run = false;
  PointInfo from;  // the head that is left
  PointInfo target;
  std::optional<std::uint32_t> new_epoch;  // absent in a dry run
  std::vector<VolumeChange> volumes;
  std::uint64_t entries_left = 0;  // on the branch that is left
  std::uint64_t marks_left = 0;
  std::vector<std::string> marks_left_ids;  // the newest of them, at most kPageLimitDefault
  std::vector<std::string> writers;         // connected clients that can write
  bool exports_closed = false;              // until `group open`
  bool from_peer = false;                   // the blocks that differ come, or came, from the other node
};

struct BranchInfo {
  std::string group;
  std::uint32_t epoch = 0;
  std::string identity;
  bool live = false;
  BranchOrigin origin = BranchOrigin::kFirst;
  std::optional<LogId> parent;  // absent for the first epoch
  PointInfo first;
  PointInfo last;
  std::uint64_t entries = 0;
  std::uint64_t data_bytes = 0;
  std::uint64_t marks = 0;
  bool held = false;             // an unreplicated tail: kept until `branch release`
  std::optional<WallTime> left;  // when it ceased to be live
};
struct BranchListRequest {
  std::string group;
};
struct BranchListReply {
  std::vector<BranchInfo> branches;
};
struct BranchShowRequest {
  std::string group;
  std::uint32_t epoch = 0;
};
struct BranchReleaseRequest {
  std::string group;
  std::uint32_t epoch = 0;
};

struct DiffRequest {
  std::string group;
  std::string volume;
  std::string from;
  std::string to = "head";
  std::uint64_t offset_bytes = 0;  // begin here
  std::uint32_t limit = kPageLimitDefault;
};
struct ByteRun {
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;
};
struct DiffReply {
  PointInfo from;
  PointInfo to;
  std::uint64_t size_bytes_from = 0;
  std::uint64_t size_bytes_to = 0;
  std::vector<ByteRun> runs;          // in order, not touching each other
  std::optional<std::uint64_t> next;  // `offset_bytes` for the next page
};

}  // namespace tidemark::control
