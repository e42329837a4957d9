#pragma once

#include <string_view>
#include <type_traits>

#include "control/operations.h"
#include "control/tokens.h"

// Which HTTP method and path stands for which operation: one table for the server, the client and
// docs/openapi.yaml. A part of a path in braces is a member of the request. The other members travel in the
// query (GET, DELETE) or in a JSON body (POST, PATCH).
namespace tidemark::control {

inline constexpr int kApiVersion = 1;  // the "version" member of every answer

// X(operation, Request, Reply, role, method, path, summary); `role` is the least that may ask for it.
#define TM_CONTROL_OPERATIONS(X)                                                                            \
  X(node_status, NodeStatusRequest, NodeStatus, kViewer, "GET", "/v1/status",                               \
    "What the node is, what it serves, and what is wrong")                                                  \
  X(sessions, SessionsRequest, SessionsReply, kViewer, "GET", "/v1/sessions", "Who is connected")           \
  X(table, TableRequest, TableReply, kViewer, "GET", "/v1/tables/{name}", "A page of a management table")   \
  X(table_check, TableCheckRequest, TableCheckReply, kOperator, "POST", "/v1/tables/check",                 \
    "Compare the tables with the journal and the disks, and write them again")                              \
  X(disk_list, DiskListRequest, DiskListReply, kViewer, "GET", "/v1/disks", "The node's disks")             \
  X(disk_add, DiskAddRequest, DiskListReply, kAdministrator, "POST", "/v1/disks",                           \
    "Make a blank disk a spare of a RAID group")                                                            \
  X(disk_replace, DiskReplaceRequest, DiskListReply, kAdministrator, "POST", "/v1/disks/replace",           \
    "Put a blank disk in the place of a member")                                                            \
  X(disk_remove, DiskRemoveRequest, DiskListReply, kAdministrator, "POST", "/v1/disks/remove",              \
    "Fail a member out")                                                                                    \
  X(raid_list, RaidListRequest, RaidListReply, kViewer, "GET", "/v1/raids",                                 \
    "The node's RAID groups, and the space on them")                                                        \
  X(raid_create, RaidCreateRequest, RaidInfo, kAdministrator, "POST", "/v1/raids",                          \
    "Make blank disks into one more RAID group")                                                            \
  X(raid_forget, RaidForgetRequest, RaidListReply, kAdministrator, "DELETE", "/v1/raids/{name}",            \
    "Stop missing a RAID group that is lost")                                                               \
  X(raid_status, RaidStatusRequest, RaidInfo, kViewer, "GET", "/v1/raid", "One RAID group with its disks")  \
  X(raid_scrub, RaidScrubRequest, RaidInfo, kOperator, "POST", "/v1/raid/scrub",                            \
    "Begin to compare copies, or data with parity")                                                         \
  X(raid_scrub_stop, RaidScrubStopRequest, Done, kOperator, "DELETE", "/v1/raid/scrub", "Stop a scrub")     \
  X(group_create, GroupCreateRequest, GroupInfo, kAdministrator, "POST", "/v1/groups", "Create a group")    \
  X(group_list, GroupListRequest, GroupListReply, kViewer, "GET", "/v1/groups", "All groups")               \
  X(group_show, GroupShowRequest, GroupInfo, kViewer, "GET", "/v1/groups/{group}", "One group")             \
  X(group_set, GroupSetRequest, GroupInfo, kAdministrator, "PATCH", "/v1/groups/{group}",                   \
    "Change a group's settings")                                                                            \
  X(group_open, GroupOpenRequest, GroupInfo, kAdministrator, "POST", "/v1/groups/{group}/open",             \
    "Open the exports that a forced restore closed")                                                        \
  X(group_serve, GroupServeRequest, GroupInfo, kAdministrator, "POST", "/v1/groups/{group}/serve",          \
    "Let a waiting primary accept writes")                                                                  \
  X(rehearsal_begin, RehearsalBeginRequest, RehearsalInfo, kOperator, "POST",                               \
    "/v1/groups/{group}/rehearsal", "Make all volumes of a group writable at one point, beside the group")  \
  X(rehearsal_show, RehearsalShowRequest, RehearsalInfo, kViewer, "GET", "/v1/groups/{group}/rehearsal",    \
    "The rehearsal of a group")                                                                             \
  X(rehearsal_end, RehearsalEndRequest, Done, kOperator, "DELETE", "/v1/groups/{group}/rehearsal",          \
    "End a rehearsal and what was written in it")                                                           \
  X(group_delete, GroupDeleteRequest, Done, kAdministrator, "DELETE", "/v1/groups/{group}",                 \
    "Delete a group with its journal")                                                                      \
  X(volume_create, VolumeCreateRequest, VolumeInfo, kAdministrator, "POST", "/v1/groups/{group}/volumes",   \
    "Create a volume")                                                                                      \
  X(volume_list, VolumeListRequest, VolumeListReply, kViewer, "GET", "/v1/volumes",                         \
    "The volumes of one group or of all")                                                                   \
  X(volume_show, VolumeShowRequest, VolumeInfo, kViewer, "GET", "/v1/groups/{group}/volumes/{volume}",      \
    "One volume")                                                                                           \
  X(volume_resize, VolumeResizeRequest, VolumeInfo, kAdministrator, "PATCH",                                \
    "/v1/groups/{group}/volumes/{volume}", "Change a volume's size")                                        \
  X(volume_delete, VolumeDeleteRequest, Done, kAdministrator, "DELETE",                                     \
    "/v1/groups/{group}/volumes/{volume}", "Delete a volume")                                               \
  X(volume_address, VolumeAddressRequest, VolumeAddress, kViewer, "GET",                                    \
    "/v1/groups/{group}/volumes/{volume}/address", "Where a byte of a volume's base lies on the disks")     \
  X(diff, DiffRequest, DiffReply, kViewer, "GET", "/v1/groups/{group}/volumes/{volume}/diff",               \
    "The bytes of a volume that differ between two points")                                                 \
  X(pair_create, PairCreateRequest, PairStatus, kAdministrator, "POST", "/v1/groups/{group}/pair",          \
    "Pair a group with a peer and begin the initial copy")                                                  \
  X(pair_set, PairSetRequest, PairStatus, kAdministrator, "PATCH", "/v1/groups/{group}/pair",               \
    "Change a pair's mode")                                                                                 \
  X(pair_status, PairStatusRequest, PairStatus, kViewer, "GET", "/v1/groups/{group}/pair",                  \
    "The state of a pair")                                                                                  \
  X(pair_suspend, PairSuspendRequest, PairStatus, kOperator, "POST", "/v1/groups/{group}/pair/suspend",     \
    "Suspend a pair")                                                                                       \
  X(pair_resync, PairResyncRequest, PairStatus, kOperator, "POST", "/v1/groups/{group}/pair/resync",        \
    "Join a suspended pair again")                                                                          \
  X(pair_takeover, PairTakeoverRequest, PairTakeoverReply, kAdministrator, "POST",                          \
    "/v1/groups/{group}/pair/takeover", "Let the secondary serve")                                          \
  X(pair_delete, PairDeleteRequest, Done, kAdministrator, "DELETE", "/v1/groups/{group}/pair",              \
    "Dissolve a pair")                                                                                      \
  X(pair_verify, PairVerifyRequest, PairComparison, kOperator, "POST", "/v1/groups/{group}/pair/verify",    \
    "Begin to compare what the two nodes of a pair hold")                                                   \
  X(pair_verify_status, PairVerifyStatusRequest, PairComparison, kViewer, "GET",                            \
    "/v1/groups/{group}/pair/verify", "How far a comparison is, and what it found")                         \
  X(pair_verify_stop, PairVerifyStopRequest, Done, kOperator, "DELETE", "/v1/groups/{group}/pair/verify",   \
    "Stop a comparison")                                                                                    \
  X(journal_start, JournalStartRequest, JournalStatus, kOperator, "POST",                                   \
    "/v1/groups/{group}/journal/start", "Acquire the log, and suspend the duplex")                          \
  X(journal_stop, JournalStopRequest, JournalStatus, kOperator, "POST", "/v1/groups/{group}/journal/stop",  \
    "Cease to acquire the log")                                                                             \
  X(journal_status, JournalStatusRequest, JournalStatus, kViewer, "GET", "/v1/groups/{group}/journal",      \
    "The extent and use of a journal")                                                                      \
  X(journal_volume_add, JournalVolumeAddRequest, JournalStatus, kAdministrator, "POST",                     \
    "/v1/groups/{group}/journal/volumes", "Add a log volume to a journal")                                  \
  X(journal_volume_remove, JournalVolumeRemoveRequest, JournalStatus, kAdministrator, "DELETE",             \
    "/v1/groups/{group}/journal/volumes/{lu_number}",                                                       \
    "Remove a log volume when what it holds is out of the window")                                          \
  X(journal_show, JournalShowRequest, JournalShowReply, kViewer, "GET",                                     \
    "/v1/groups/{group}/journal/entries", "Log entries from a point on")                                    \
  X(journal_data, JournalDataRequest, JournalDataReply, kOperator, "GET",                                   \
    "/v1/groups/{group}/journal/entries/{log_id}/data", "The bytes before or after one log entry")          \
  X(journal_export_begin, JournalExportBeginRequest, JournalExportInfo, kOperator, "POST",                  \
    "/v1/groups/{group}/journal/exports", "Begin to read log entries with their data in bulk")              \
  X(journal_export_read, JournalExportReadRequest, JournalExportPage, kOperator, "GET",                     \
    "/v1/groups/{group}/journal/exports/{id}", "The next log entries of an export, with their data")        \
  X(journal_export_end, JournalExportEndRequest, Done, kOperator, "DELETE",                                 \
    "/v1/groups/{group}/journal/exports/{id}",                                                              \
    "End an export: its points need not stay readable any longer")                                          \
  X(journal_verify, JournalVerifyRequest, Verification, kOperator, "POST",                                  \
    "/v1/groups/{group}/journal/verify", "Begin to prove what a group has on its disk")                     \
  X(journal_verify_status, JournalVerifyStatusRequest, Verification, kViewer, "GET",                        \
    "/v1/groups/{group}/journal/verify", "How far a verification is, and what it found")                    \
  X(journal_verify_stop, JournalVerifyStopRequest, Done, kOperator, "DELETE",                               \
    "/v1/groups/{group}/journal/verify", "Stop a verification")                                             \
  X(mark_create, MarkCreateRequest, MarkInfo, kOperator, "POST", "/v1/groups/{group}/marks", "Take a mark") \
  X(mark_list, MarkListRequest, MarkListReply, kViewer, "GET", "/v1/groups/{group}/marks",                  \
    "Marks, page by page")                                                                                  \
  X(mark_show, MarkShowRequest, MarkInfo, kViewer, "GET", "/v1/groups/{group}/marks/{id}", "One mark")      \
  X(mark_name, MarkNameRequest, MarkInfo, kOperator, "POST", "/v1/groups/{group}/marks/{id}/name",          \
    "Give a name to a past point")                                                                          \
  X(mark_hold, MarkHoldRequest, MarkInfo, kOperator, "POST", "/v1/groups/{group}/marks/{id}/hold",          \
    "Keep a mark restorable whatever the retention")                                                        \
  X(mark_release, MarkReleaseRequest, MarkInfo, kOperator, "POST", "/v1/groups/{group}/marks/{id}/release", \
    "End a hold")                                                                                           \
  X(mark_delete, MarkDeleteRequest, Done, kAdministrator, "DELETE", "/v1/groups/{group}/marks/{id}",        \
    "Forget a mark and free its id")                                                                        \
  X(restore, RestoreRequest, RestoreReply, kAdministrator, "POST", "/v1/groups/{group}/restore",            \
    "Bring a group back to a point, or say what that would do")                                             \
  X(branch_list, BranchListRequest, BranchListReply, kViewer, "GET", "/v1/groups/{group}/branches",         \
    "The branches of a group")                                                                              \
  X(branch_show, BranchShowRequest, BranchInfo, kViewer, "GET", "/v1/groups/{group}/branches/{epoch}",      \
    "One branch")                                                                                           \
  X(branch_release, BranchReleaseRequest, Done, kAdministrator, "POST",                                     \
    "/v1/groups/{group}/branches/{epoch}/release", "Let retention expire a dead branch")

struct RouteInfo {
  std::string_view operation;  // the method of NodeOperations
  std::string_view method;     // of HTTP
  std::string_view path;
  Role role = Role::kAdministrator;  // the least that may ask for it
  std::string_view summary;
};

// OperationOf<Request>: what belongs to a request.
template <typename Request>
struct OperationOf;

#define TM_CONTROL_OPERATION_OF(operation, RequestType, ReplyType, role, method, path, summary) \
  template <>                                                                                   \
  struct OperationOf<RequestType> {                                                             \
    using Reply = ReplyType;                                                                    \
    static constexpr RouteInfo kRoute{#operation, method, path, Role::role, summary};           \
    static constexpr auto kCall = &NodeOperations::operation;                                   \
  };
TM_CONTROL_OPERATIONS(TM_CONTROL_OPERATION_OF)
#undef TM_CONTROL_OPERATION_OF

// The least role that may ask for just this: that of its route, or a higher one for what cannot be taken
// back.
template <typename Request>
Role role_of(const Request&) {
  return OperationOf<Request>::kRoute.role;
}
// The secondary's branch instead of the primary's, or a readable window written over.
inline Role role_of(const PairResyncRequest& request) {
  const bool gives_up = request.give_up_window || request.from.has_value();
  return gives_up ? Role::kAdministrator : OperationOf<PairResyncRequest>::kRoute.role;
}
// Blocks written over with those of the other node.
inline Role role_of(const PairVerifyRequest& request) {
  return request.repair.has_value() ? Role::kAdministrator : OperationOf<PairVerifyRequest>::kRoute.role;
}

}  // namespace tidemark::control
