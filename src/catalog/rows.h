#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/ids.h"
#include "base/time.h"

// The rows of the management tables, and the changes a node makes to them. docs/tables.md says what each
// table and column means. States, roles and modes are the words that `status` shows.
namespace tidemark::catalog {

struct NodeRow {
  NodeIdentity identity{};
  std::string name;
  std::string version;
  WallTime started{};
};

// A range of what a host can address and the LU range behind it.
struct DeviceAddressRow {
  std::string export_name;  // "app/db"
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;
  std::string group;
  std::string volume;
  LuNumber lu_number{};
  std::uint64_t lu_address_bytes = 0;
};

// A range of an LU that lies in one piece in the pool, and the disk that holds its first byte.
struct RaidAddressRow {
  LuNumber lu_number{};
  std::uint64_t lu_address_bytes = 0;
  std::uint64_t length_bytes = 0;
  std::string raid_group;
  std::uint64_t raid_address_bytes = 0;
  std::string disk;
  std::uint64_t disk_address_bytes = 0;
};

enum class VolumeKind { kData, kLog };

struct VolumeRow {
  LuNumber lu_number{};
  VolumeKind kind = VolumeKind::kData;
  std::string group;
  std::string volume;        // empty for a log volume
  VolumeId volume_number{};  // 0 for a log volume
  std::uint64_t size_bytes = 0;
  std::uint64_t allocated_bytes = 0;
  std::string state;
};

// One volume of a pair. Both nodes hold the same rows but for `role`, which is this node's.
struct PairRow {
  std::string group;
  std::string volume;
  std::string primary_node;
  LuNumber primary_lu{};
  std::string secondary_node;
  LuNumber secondary_lu{};
  std::string role;
  std::string state;
  std::string mode;
  std::string peer_address;
};

struct LogVolumeGroupRow {
  std::string group;
  LuNumber lu_number{};
  std::uint64_t capacity_bytes = 0;
  std::uint64_t used_bytes = 0;
  LogId first{};  // none while empty
  LogId last{};
  std::string state;
};

// A run of log ids of one epoch, a batch as a rule, and the timer values of its first and last entry.
struct LogIdRow {
  std::string group;
  LogId first{};
  LogId last{};  // included; same epoch
  WallTime first_timer{};
  WallTime last_timer{};
};

struct MarkIdRow {
  std::string group;
  std::string mark_id;
  LogId log_id{};
  WallTime timer{};                   // at the storage
  std::optional<WallTime> host_time;  // as the host gave it
  std::string host;
  std::string note;
  std::string state;
};

enum class TableName {
  kNode,
  kDeviceAddress,
  kRaidAddress,
  kVolume,
  kPair,
  kLogVolumeGroup,
  kLogId,
  kMarkId
};

// All rows of a table, as when it is filled anew.
struct ClearTable {
  TableName table{};
};
// Whatever names the group, in every table.
struct RemoveGroup {
  std::string group;
};
// The LU's rows in volume, raid_address, device_address and log_volume_group.
struct RemoveUnit {
  LuNumber lu_number{};
};
// The LU's rows in raid_address, as before its extents are written anew.
struct RemoveRaidAddresses {
  LuNumber lu_number{};
};
struct RemovePair {
  std::string group;
};
struct RemoveMark {
  std::string group;
  std::string mark_id;
};
// Rows of `through`'s epoch that end at or before it: they fell below the floor.
struct TrimLogIds {
  std::string group;
  LogId through{};
};
// All of an epoch's: it fell below the floor, or its branch is gone.
struct RemoveLogIds {
  std::string group;
  Epoch epoch{};
};

// A row is inserted, or takes the place of the one with the same key.
using Change = std::variant<NodeRow, DeviceAddressRow, RaidAddressRow, VolumeRow, PairRow, LogVolumeGroupRow,
                            LogIdRow, MarkIdRow, ClearTable, RemoveGroup, RemoveUnit, RemoveRaidAddresses,
                            RemovePair, RemoveMark, TrimLogIds, RemoveLogIds>;
using Changes = std::vector<Change>;

}  // namespace tidemark::catalog
