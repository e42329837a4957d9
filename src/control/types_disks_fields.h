#pragma once

// The members of types_disks.h: part of types_fields.h, which includes it.
namespace tidemark::control {

inline constexpr Rule kDiskRule = Rule::token("disk", 1024);

TM_WORDS(RaidLevel, 5) {
  return {{{RaidLevel::k0, "0"},
           {RaidLevel::k1, "1"},
           {RaidLevel::k5, "5"},
           {RaidLevel::k6, "6"},
           {RaidLevel::k10, "10"}}};
}
TM_WORDS(RaidHealth, 4) {
  return {{{RaidHealth::kOptimal, "optimal"},
           {RaidHealth::kDegraded, "degraded"},
           {RaidHealth::kFailed, "failed"},
           {RaidHealth::kMissing, "missing"}}};
}
TM_WORDS(DiskState, 7) {
  return {{{DiskState::kAlone, "alone"},
           {DiskState::kInSync, "in-sync"},
           {DiskState::kRebuilding, "rebuilding"},
           {DiskState::kFailed, "failed"},
           {DiskState::kMissing, "missing"},
           {DiskState::kSpare, "spare"},
           {DiskState::kRefused, "refused"}}};
}
TM_WORDS(PlaceKind, 3) {
  return {{{PlaceKind::kData, "data"}, {PlaceKind::kParityP, "parity-p"}, {PlaceKind::kParityQ, "parity-q"}}};
}

TM_FIELDS(DiskInfo) {
  v.field("disk", r.disk);
  v.field("raid", r.raid);
  v.field("state", r.state);
  v.field("member", r.member);
  v.field("identity", r.identity);
  v.field("size_bytes", r.size_bytes);
  v.field("rebuilt_bytes", r.rebuilt_bytes);
  v.field("reads", r.reads);
  v.field("writes", r.writes);
  v.field("read_bytes", r.read_bytes);
  v.field("written_bytes", r.written_bytes);
  v.field("read_errors", r.read_errors);
  v.field("write_errors", r.write_errors);
  v.field("repaired_blocks", r.repaired_blocks);
  v.field("latency_mean_ns", r.latency_mean);
  v.field("latency_max_ns", r.latency_max);
  v.field("slow", r.slow);
  v.field("explanation", r.explanation);
}
TM_FIELDS(ScrubInfo) {
  v.field("running", r.running);
  v.field("started", r.started);
  v.field("ended", r.ended);
  v.field("repairs", r.repairs);
  v.field("bytes_total", r.bytes_total);
  v.field("bytes_done", r.bytes_done);
  v.field("mismatches", r.mismatches);
  v.field("repaired", r.repaired);
  v.field("repairable", r.repairable);
  v.field("undecided", r.undecided);
  v.field("findings", r.findings);
  v.field("reason", r.reason);
}
TM_FIELDS(RaidInfo) {
  v.field("name", r.name);
  v.field("identity", r.identity);
  v.field("level", r.level);
  v.field("unit_bytes", r.unit_bytes);
  v.field("size_bytes", r.size_bytes);
  v.field("member_bytes", r.member_bytes);
  v.field("health", r.health);
  v.field("losses_left", r.losses_left);
  v.field("disks", r.disks);
  v.field("rebuild_problem", r.rebuild_problem);
  v.field("replayed_entries", r.replayed_entries);
  v.field("resynced_bytes", r.resynced_bytes);
  v.field("notices", r.notices);
  v.field("scrub", r.scrub);
}
TM_FIELDS(RaidSummary) {
  v.field("name", r.name);
  v.field("level", r.level);
  v.field("health", r.health);
  v.field("pool_number", r.pool_number);
  v.field("capacity_bytes", r.capacity_bytes);
  v.field("used_bytes", r.used_bytes);
  v.field("journals_bytes", r.journals_bytes);
  v.field("disks", r.disks);
  v.field("explanation", r.explanation);
}
TM_FIELDS(RaidListRequest) {}
TM_FIELDS(RaidListReply) {
  v.field("raids", r.raids);
}
TM_FIELDS(RaidCreateRequest) {
  v.required("name", r.name, kRaidRule);
  v.required("level", r.level);
  v.required("disks", r.disks, kDiskRule);
  v.field("unit_bytes", r.unit_bytes, Rule::number(kBlockSizeBytes, 1 << 20));
}
TM_FIELDS(RaidForgetRequest) {
  v.required("name", r.name, kRaidRule);
}
TM_FIELDS(DiskListRequest) {}
TM_FIELDS(DiskListReply) {
  v.field("disks", r.disks);
}
TM_FIELDS(DiskAddRequest) {
  v.required("disk", r.disk, kDiskRule);
  v.field("raid", r.raid, kRaidRule);
}
TM_FIELDS(DiskReplaceRequest) {
  v.required("disk", r.disk, kDiskRule);
  v.required("by", r.by, kDiskRule);
  v.field("raid", r.raid, kRaidRule);
}
TM_FIELDS(DiskRemoveRequest) {
  v.required("disk", r.disk, kDiskRule);
  v.field("raid", r.raid, kRaidRule);
}
TM_FIELDS(RaidStatusRequest) {
  v.field("raid", r.raid, kRaidRule);
}
TM_FIELDS(RaidScrubRequest) {
  v.field("raid", r.raid, kRaidRule);
  v.field("report_only", r.report_only);
  v.field("bytes_per_second_max", r.bytes_per_second_max);
}
TM_FIELDS(RaidScrubStopRequest) {
  v.field("raid", r.raid, kRaidRule);
}
TM_FIELDS(DiskPlace) {
  v.field("kind", r.kind);
  v.field("disk", r.disk);
  v.field("address_bytes", r.address_bytes);
}
TM_FIELDS(VolumeAddressRequest) {
  v.required("group", r.group, kGroupRule);
  v.required("volume", r.volume, kVolumeRule);
  v.required("offset_bytes", r.offset_bytes);
}
TM_FIELDS(VolumeAddress) {
  v.field("group", r.group);
  v.field("volume", r.volume);
  v.field("offset_bytes", r.offset_bytes);
  v.field("lu_number", r.lu_number);
  v.field("lu_address_bytes", r.lu_address_bytes);
  v.field("allocated", r.allocated);
  v.field("raid_group", r.raid_group);
  v.field("raid_address_bytes", r.raid_address_bytes);
  v.field("places", r.places);
}

}  // namespace tidemark::control
