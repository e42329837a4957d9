#pragma once

#include "base/result.h"
#include "control/types.h"
#include "io/task.h"

namespace tidemark::control {

// Everything a node can be asked for, whatever road the question took. The node implements it; ApiServer and
// the command export call it.
//
// Methods run on the reactor thread and may be in flight together. Requests arrive with the right types,
// names that are well-formed, and numbers within the limits of types.h; whether what they name exists is the
// node's to say. A Task may be destroyed before it has finished, only when the node stops. A mutating method
// that answers ok has made its effect durable here.
class NodeOperations {
 public:
  virtual ~NodeOperations() = default;

  virtual io::Task<Result<NodeStatus>> node_status(NodeStatusRequest request) = 0;
  virtual io::Task<Result<SessionsReply>> sessions(SessionsRequest request) = 0;
  virtual io::Task<Result<TableReply>> table(TableRequest request) = 0;
  virtual io::Task<Result<TableCheckReply>> table_check(TableCheckRequest request) = 0;

  virtual io::Task<Result<DiskListReply>> disk_list(DiskListRequest request) = 0;
  virtual io::Task<Result<DiskListReply>> disk_add(DiskAddRequest request) = 0;
  virtual io::Task<Result<DiskListReply>> disk_replace(DiskReplaceRequest request) = 0;
  virtual io::Task<Result<DiskListReply>> disk_remove(DiskRemoveRequest request) = 0;
  virtual io::Task<Result<RaidListReply>> raid_list(RaidListRequest request) = 0;
  virtual io::Task<Result<RaidInfo>> raid_create(RaidCreateRequest request) = 0;
  virtual io::Task<Result<RaidListReply>> raid_forget(RaidForgetRequest request) = 0;
  virtual io::Task<Result<RaidInfo>> raid_status(RaidStatusRequest request) = 0;
  virtual io::Task<Result<RaidInfo>> raid_scrub(RaidScrubRequest request) = 0;
  virtual io::Task<Result<Done>> raid_scrub_stop(RaidScrubStopRequest request) = 0;

  virtual io::Task<Result<GroupInfo>> group_create(GroupCreateRequest request) = 0;
  virtual io::Task<Result<GroupListReply>> group_list(GroupListRequest request) = 0;
  virtual io::Task<Result<GroupInfo>> group_show(GroupShowRequest request) = 0;
  virtual io::Task<Result<GroupInfo>> group_set(GroupSetRequest request) = 0;
  virtual io::Task<Result<GroupInfo>> group_open(GroupOpenRequest request) = 0;
  virtual io::Task<Result<GroupInfo>> group_serve(GroupServeRequest request) = 0;
  virtual io::Task<Result<RehearsalInfo>> rehearsal_begin(RehearsalBeginRequest request) = 0;
  virtual io::Task<Result<RehearsalInfo>> rehearsal_show(RehearsalShowRequest request) = 0;
  virtual io::Task<Result<Done>> rehearsal_end(RehearsalEndRequest request) = 0;
  virtual io::Task<Result<Done>> group_delete(GroupDeleteRequest request) = 0;

  virtual io::Task<Result<VolumeInfo>> volume_create(VolumeCreateRequest request) = 0;
  virtual io::Task<Result<VolumeListReply>> volume_list(VolumeListRequest request) = 0;
  virtual io::Task<Result<VolumeInfo>> volume_show(VolumeShowRequest request) = 0;
  virtual io::Task<Result<VolumeInfo>> volume_resize(VolumeResizeRequest request) = 0;
  virtual io::Task<Result<Done>> volume_delete(VolumeDeleteRequest request) = 0;
  virtual io::Task<Result<VolumeAddress>> volume_address(VolumeAddressRequest request) = 0;

  virtual io::Task<Result<PairStatus>> pair_create(PairCreateRequest request) = 0;
  virtual io::Task<Result<PairStatus>> pair_set(PairSetRequest request) = 0;
  virtual io::Task<Result<PairStatus>> pair_status(PairStatusRequest request) = 0;
  virtual io::Task<Result<PairStatus>> pair_suspend(PairSuspendRequest request) = 0;
  virtual io::Task<Result<PairStatus>> pair_resync(PairResyncRequest request) = 0;
  virtual io::Task<Result<PairTakeoverReply>> pair_takeover(PairTakeoverRequest request) = 0;
  virtual io::Task<Result<Done>> pair_delete(PairDeleteRequest request) = 0;
  virtual io::Task<Result<PairComparison>> pair_verify(PairVerifyRequest request) = 0;
  virtual io::Task<Result<PairComparison>> pair_verify_status(PairVerifyStatusRequest request) = 0;
  virtual io::Task<Result<Done>> pair_verify_stop(PairVerifyStopRequest request) = 0;

  virtual io::Task<Result<JournalStatus>> journal_volume_add(JournalVolumeAddRequest request) = 0;
  virtual io::Task<Result<JournalStatus>> journal_volume_remove(JournalVolumeRemoveRequest request) = 0;
  virtual io::Task<Result<JournalStatus>> journal_start(JournalStartRequest request) = 0;
  virtual io::Task<Result<JournalStatus>> journal_stop(JournalStopRequest request) = 0;
  virtual io::Task<Result<JournalStatus>> journal_status(JournalStatusRequest request) = 0;
  virtual io::Task<Result<JournalShowReply>> journal_show(JournalShowRequest request) = 0;
  virtual io::Task<Result<JournalDataReply>> journal_data(JournalDataRequest request) = 0;
  virtual io::Task<Result<JournalExportInfo>> journal_export_begin(JournalExportBeginRequest request) = 0;
  virtual io::Task<Result<JournalExportPage>> journal_export_read(JournalExportReadRequest request) = 0;
  virtual io::Task<Result<Done>> journal_export_end(JournalExportEndRequest request) = 0;
  virtual io::Task<Result<Verification>> journal_verify(JournalVerifyRequest request) = 0;
  virtual io::Task<Result<Verification>> journal_verify_status(JournalVerifyStatusRequest request) = 0;
  virtual io::Task<Result<Done>> journal_verify_stop(JournalVerifyStopRequest request) = 0;

  virtual io::Task<Result<MarkInfo>> mark_create(MarkCreateRequest request) = 0;
  virtual io::Task<Result<MarkListReply>> mark_list(MarkListRequest request) = 0;
  virtual io::Task<Result<MarkInfo>> mark_show(MarkShowRequest request) = 0;
  virtual io::Task<Result<MarkInfo>> mark_name(MarkNameRequest request) = 0;
  virtual io::Task<Result<MarkInfo>> mark_hold(MarkHoldRequest request) = 0;
  virtual io::Task<Result<MarkInfo>> mark_release(MarkReleaseRequest request) = 0;
  virtual io::Task<Result<Done>> mark_delete(MarkDeleteRequest request) = 0;

  virtual io::Task<Result<RestoreReply>> restore(RestoreRequest request) = 0;
  virtual io::Task<Result<BranchListReply>> branch_list(BranchListRequest request) = 0;
  virtual io::Task<Result<BranchInfo>> branch_show(BranchShowRequest request) = 0;
  virtual io::Task<Result<Done>> branch_release(BranchReleaseRequest request) = 0;
  virtual io::Task<Result<DiffReply>> diff(DiffRequest request) = 0;
};

}  // namespace tidemark::control
