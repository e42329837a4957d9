#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"

// A node's disks, and the RAID groups that are made of them: part of types.h.
namespace tidemark::control {

enum class RaidLevel { k0, k1, k5, k6, k10 };
enum class RaidHealth {
  kOptimal,   // every member is in sync
  kDegraded,  // all data are there, with less redundancy than the level gives
  kFailed,    // more is lost than the level tolerates
  kMissing,   // the node has it, and it could not be put together at the start
};
enum class DiskState {
  kAlone,       // used as it is, without a RAID group
  kInSync,      // a member that holds everything
  kRebuilding,  // a member that is being filled
  kFailed,      // was a member; not used
  kMissing,     // a member that was not there at the start
  kSpare,       // waits to take a member's place
  kRefused,     // found at the start and not used; the explanation says why
};

struct DiskInfo {
  std::string disk;  // its path; empty when it is missing
  std::string raid;  // the RAID group that it is of; empty when it is of none
  DiskState state = DiskState::kAlone;
  std::optional<std::uint32_t> member;  // its place in the RAID group
  std::string identity;                 // empty when it carries no label
  std::uint64_t size_bytes = 0;         // 0: not known
  std::uint64_t rebuilt_bytes = 0;      // of RaidInfo::member_bytes
  // Since the node started.
  std::uint64_t reads = 0;
  std::uint64_t writes = 0;
  std::uint64_t read_bytes = 0;
  std::uint64_t written_bytes = 0;
  std::uint64_t read_errors = 0;
  std::uint64_t write_errors = 0;
  std::uint64_t repaired_blocks = 0;  // of 4 KiB, written again from the other members
  std::optional<Duration> latency_mean;
  std::optional<Duration> latency_max;
  bool slow = false;
  std::string explanation;  // what is wrong and what to do
};

struct ScrubInfo {
  bool running = false;
  WallTime started;
  std::optional<WallTime> ended;
  bool repairs = true;
  std::uint64_t bytes_total = 0;
  std::uint64_t bytes_done = 0;
  std::uint64_t mismatches = 0;       // blocks or columns that did not fit together
  std::uint64_t repaired = 0;         // of these
  std::uint64_t repairable = 0;       // of these, where nothing is repaired: what would be
  std::uint64_t undecided = 0;        // of these: nobody could say which was right; left as they are
  std::vector<std::string> findings;  // the first ones
  std::string reason;                 // why it stopped before its end
};

struct RaidInfo {
  std::string name;
  std::string identity;
  RaidLevel level = RaidLevel::k1;
  std::uint64_t unit_bytes = 0;  // stripe unit
  std::uint64_t size_bytes = 0;
  std::uint64_t member_bytes = 0;
  RaidHealth health = RaidHealth::kOptimal;
  std::uint32_t losses_left = 0;  // members that may still be lost, whichever they are
  std::vector<DiskInfo> disks;
  std::string rebuild_problem;         // why a rebuild does not go on
  std::uint64_t replayed_entries = 0;  // of the stripe journal, at the start
  std::uint64_t resynced_bytes = 0;    // of each member, at the start
  std::vector<std::string> notices;
  std::optional<ScrubInfo> scrub;  // that runs or ran last since the start
};

// One of the node's RAID groups, or the disk that it uses as it is, and the space on it.
struct RaidSummary {
  std::string name;
  std::optional<RaidLevel> level;  // absent: one disk, as it is, or missing
  RaidHealth health = RaidHealth::kOptimal;
  std::optional<std::uint32_t> pool_number;  // its logical units have numbers by it; absent: not known
  std::uint64_t capacity_bytes = 0;
  std::uint64_t used_bytes = 0;
  std::uint64_t journals_bytes = 0;  // of that, what journals take
  std::uint32_t disks = 0;
  std::string explanation;  // why it is missing
};
struct RaidListRequest {};
struct RaidListReply {
  std::vector<RaidSummary> raids;
};
struct RaidCreateRequest {
  std::string name;
  RaidLevel level = RaidLevel::k1;
  std::vector<std::string> disks;           // paths of blank disks
  std::optional<std::uint64_t> unit_bytes;  // stripe unit; default 64 KiB
};

// One that is missing and does not come back.
struct RaidForgetRequest {
  std::string name;
};

struct DiskListRequest {};
struct DiskListReply {
  std::vector<DiskInfo> disks;
};
// A blank disk becomes a spare.
struct DiskAddRequest {
  std::string disk;
  std::optional<std::string> raid;  // the RAID group; needed where the node has several
};
// A blank disk takes the place of a member.
struct DiskReplaceRequest {
  std::string disk;  // a path, or the member's number
  std::string by;
  std::optional<std::string> raid;  // of that member; a path names it too
};
// A member is failed out.
struct DiskRemoveRequest {
  std::string disk;                 // a path, or the member's number
  std::optional<std::string> raid;  // of that member; a path names it too
};
struct RaidStatusRequest {
  std::optional<std::string> raid;  // needed where the node has several
};
struct RaidScrubRequest {
  std::optional<std::string> raid;  // the same
  bool report_only = false;
  std::uint64_t bytes_per_second_max = 0;  // of the group's address space; 0: as fast as the disks go
};
struct RaidScrubStopRequest {
  std::optional<std::string> raid;  // the same
};

enum class PlaceKind { kData, kParityP, kParityQ };
struct DiskPlace {
  PlaceKind kind = PlaceKind::kData;
  std::string disk;
  std::uint64_t address_bytes = 0;
};
struct VolumeAddressRequest {
  std::string group;
  std::string volume;
  std::uint64_t offset_bytes = 0;
};
// The road of one byte of a volume's base; what was written lately lies in the journal and not there yet.
struct VolumeAddress {
  std::string group;
  std::string volume;
  std::uint64_t offset_bytes = 0;
  std::uint32_t lu_number = 0;
  std::uint64_t lu_address_bytes = 0;
  bool allocated = false;  // else nothing was destaged there, and the rest is absent
  std::string raid_group;
  std::optional<std::uint64_t> raid_address_bytes;
  std::vector<DiskPlace> places;  // data, one for each copy; then parity
};

}  // namespace tidemark::control
