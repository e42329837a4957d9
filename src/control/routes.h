#pragma once

#include <string_view>
#include <type_traits>

#include "control/operations.h"

// Which HTTP method and path stands for which operation: one table for the server, the client and
// docs/openapi.yaml. A part of a path in braces is a member of the request. The other members travel in the
// query (GET, DELETE) or in a JSON body (POST, PATCH).
namespace tidemark::control {

inline constexpr int kApiVersion = 1;  // the "version" member of every answer

// X(operation, Request, Reply, method, path, summary)
#define TM_CONTROL_OPERATIONS(X)                                                                             \
  X(node_status, NodeStatusRequest, NodeStatus, "GET", "/v1/status",                                         \
    "What the node is, what it serves, and what is wrong")                                                   \
  X(sessions, SessionsRequest, SessionsReply, "GET", "/v1/sessions", "Who is connected")                     \
  X(table, TableRequest, TableReply, "GET", "/v1/tables/{name}", "A page of a management table")             \
  X(group_create, GroupCreateRequest, GroupInfo, "POST", "/v1/groups", "Create a group")                     \
  X(group_list, GroupListRequest, GroupListReply, "GET", "/v1/groups", "All groups")                         \
  X(group_show, GroupShowRequest, GroupInfo, "GET", "/v1/groups/{group}", "One group")                       \
  X(group_set, GroupSetRequest, GroupInfo, "PATCH", "/v1/groups/{group}", "Change a group's settings")       \
  X(group_open, GroupOpenRequest, GroupInfo, "POST", "/v1/groups/{group}/open",                              \
    "Open the exports that a forced restore closed")                                                         \
  X(group_serve, GroupServeRequest, GroupInfo, "POST", "/v1/groups/{group}/serve",                           \
    "Let a waiting primary accept writes")                                                                   \
  X(rehearsal_begin, RehearsalBeginRequest, RehearsalInfo, "POST", "/v1/groups/{group}/rehearsal",           \
    "Make all volumes of a group writable at one point, beside the group")                                   \
  X(rehearsal_show, RehearsalShowRequest, RehearsalInfo, "GET", "/v1/groups/{group}/rehearsal",              \
    "The rehearsal of a group")                                                                              \
  X(rehearsal_end, RehearsalEndRequest, Done, "DELETE", "/v1/groups/{group}/rehearsal",                      \
    "End a rehearsal and what was written in it")                                                            \
  X(group_delete, GroupDeleteRequest, Done, "DELETE", "/v1/groups/{group}",                                  \
    "Delete a group with its journal")                                                                       \
  X(volume_create, VolumeCreateRequest, VolumeInfo, "POST", "/v1/groups/{group}/volumes", "Create a volume") \
  X(volume_list, VolumeListRequest, VolumeListReply, "GET", "/v1/volumes",                                   \
    "The volumes of one group or of all")                                                                    \
  X(volume_show, VolumeShowRequest, VolumeInfo, "GET", "/v1/groups/{group}/volumes/{volume}", "One volume")  \
  X(volume_resize, VolumeResizeRequest, VolumeInfo, "PATCH", "/v1/groups/{group}/volumes/{volume}",          \
    "Change a volume's size")                                                                                \
  X(volume_delete, VolumeDeleteRequest, Done, "DELETE", "/v1/groups/{group}/volumes/{volume}",               \
    "Delete a volume")                                                                                       \
  X(diff, DiffRequest, DiffReply, "GET", "/v1/groups/{group}/volumes/{volume}/diff",                         \
    "The bytes of a volume that differ between two points")                                                  \
  X(pair_create, PairCreateRequest, PairStatus, "POST", "/v1/groups/{group}/pair",                           \
    "Pair a group with a peer and begin the initial copy")                                                   \
  X(pair_set, PairSetRequest, PairStatus, "PATCH", "/v1/groups/{group}/pair", "Change a pair's mode")        \
  X(pair_status, PairStatusRequest, PairStatus, "GET", "/v1/groups/{group}/pair", "The state of a pair")     \
  X(pair_suspend, PairSuspendRequest, PairStatus, "POST", "/v1/groups/{group}/pair/suspend",                 \
    "Suspend a pair")                                                                                        \
  X(pair_resync, PairResyncRequest, PairStatus, "POST", "/v1/groups/{group}/pair/resync",                    \
    "Join a suspended pair again")                                                                           \
  X(pair_takeover, PairTakeoverRequest, PairTakeoverReply, "POST", "/v1/groups/{group}/pair/takeover",       \
    "Let the secondary serve")                                                                               \
  X(pair_delete, PairDeleteRequest, Done, "DELETE", "/v1/groups/{group}/pair", "Dissolve a pair")            \
  X(pair_verify, PairVerifyRequest, PairComparison, "POST", "/v1/groups/{group}/pair/verify",                \
    "Begin to compare what the two nodes of a pair hold")                                                    \
  X(pair_verify_status, PairVerifyStatusRequest, PairComparison, "GET", "/v1/groups/{group}/pair/verify",    \
    "How far a comparison is, and what it found")                                                            \
  X(pair_verify_stop, PairVerifyStopRequest, Done, "DELETE", "/v1/groups/{group}/pair/verify",               \
    "Stop a comparison")                                                                                     \
  X(journal_start, JournalStartRequest, JournalStatus, "POST", "/v1/groups/{group}/journal/start",           \
    "Acquire the log, and suspend the duplex")                                                               \
  X(journal_stop, JournalStopRequest, JournalStatus, "POST", "/v1/groups/{group}/journal/stop",              \
    "Cease to acquire the log")                                                                              \
  X(journal_status, JournalStatusRequest, JournalStatus, "GET", "/v1/groups/{group}/journal",                \
    "The extent and use of a journal")                                                                       \
  X(journal_show, JournalShowRequest, JournalShowReply, "GET", "/v1/groups/{group}/journal/entries",         \
    "Log entries from a point on")                                                                           \
  X(journal_data, JournalDataRequest, JournalDataReply, "GET",                                               \
    "/v1/groups/{group}/journal/entries/{log_id}/data", "The bytes before or after one log entry")           \
  X(journal_export_begin, JournalExportBeginRequest, JournalExportInfo, "POST",                              \
    "/v1/groups/{group}/journal/exports", "Begin to read log entries with their data in bulk")               \
  X(journal_export_read, JournalExportReadRequest, JournalExportPage, "GET",                                 \
    "/v1/groups/{group}/journal/exports/{id}", "The next log entries of an export, with their data")         \
  X(journal_export_end, JournalExportEndRequest, Done, "DELETE", "/v1/groups/{group}/journal/exports/{id}",  \
    "End an export: its points need not stay readable any longer")                                           \
  X(journal_verify, JournalVerifyRequest, Verification, "POST", "/v1/groups/{group}/journal/verify",         \
    "Begin to prove what a group has on its disk")                                                           \
  X(journal_verify_status, JournalVerifyStatusRequest, Verification, "GET",                                  \
    "/v1/groups/{group}/journal/verify", "How far a verification is, and what it found")                     \
  X(journal_verify_stop, JournalVerifyStopRequest, Done, "DELETE", "/v1/groups/{group}/journal/verify",      \
    "Stop a verification")                                                                                   \
  X(mark_create, MarkCreateRequest, MarkInfo, "POST", "/v1/groups/{group}/marks", "Take a mark")             \
  X(mark_list, MarkListRequest, MarkListReply, "GET", "/v1/groups/{group}/marks", "Marks, page by page")     \
  X(mark_show, MarkShowRequest, MarkInfo, "GET", "/v1/groups/{group}/marks/{id}", "One mark")                \
  X(mark_name, MarkNameRequest, MarkInfo, "POST", "/v1/groups/{group}/marks/{id}/name",                      \
    "Give a name to a past point")                                                                           \
  X(mark_hold, MarkHoldRequest, MarkInfo, "POST", "/v1/groups/{group}/marks/{id}/hold",                      \
    "Keep a mark restorable whatever the retention")                                                         \
  X(mark_release, MarkReleaseRequest, MarkInfo, "POST", "/v1/groups/{group}/marks/{id}/release",             \
    "End a hold")                                                                                            \
  X(mark_delete, MarkDeleteRequest, Done, "DELETE", "/v1/groups/{group}/marks/{id}",                         \
    "Forget a mark and free its id")                                                                         \
  X(restore, RestoreRequest, RestoreReply, "POST", "/v1/groups/{group}/restore",                             \
    "Bring a group back to a point, or say what that would do")                                              \
  X(branch_list, BranchListRequest, BranchListReply, "GET", "/v1/groups/{group}/branches",                   \
    "The branches of a group")                                                                               \
  X(branch_show, BranchShowRequest, BranchInfo, "GET", "/v1/groups/{group}/branches/{epoch}", "One branch")  \
  X(branch_release, BranchReleaseRequest, Done, "POST", "/v1/groups/{group}/branches/{epoch}/release",       \
    "Let retention expire a dead branch")

struct RouteInfo {
  std::string_view operation;  // the method of NodeOperations
  std::string_view method;     // of HTTP
  std::string_view path;
  std::string_view summary;
};

// OperationOf<Request>: what belongs to a request.
template <typename Request>
struct OperationOf;

#define TM_CONTROL_OPERATION_OF(operation, RequestType, ReplyType, method, path, summary) \
  template <>                                                                             \
  struct OperationOf<RequestType> {                                                       \
    using Reply = ReplyType;                                                              \
    static constexpr RouteInfo kRoute{#operation, method, path, summary};                 \
    static constexpr auto kCall = &NodeOperations::operation;                             \
  };
TM_CONTROL_OPERATIONS(TM_CONTROL_OPERATION_OF)
#undef TM_CONTROL_OPERATION_OF

}  // namespace tidemark::control
