#pragma once

#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"

namespace tidemark::group {

// What happens when the journal is full of history that is still within retention.
enum class OnFull : std::uint8_t {
  kDropHistory = 1,  // the oldest unpinned history goes, with an alarm
  kStopWrites = 2,   // writes fail with ENOSPC until there is room
};

struct GroupSettings {
  Duration retain = Duration::seconds(24 * 3600);
  OnFull on_full = OnFull::kDropHistory;
};

enum class Role : std::uint8_t { kPrimary = 1, kSecondary = 2 };

// What one node alone knows of a group and keeps in the journal's superblock, replaced as a whole.
struct LocalRecord {
  std::string name{};
  GroupSettings settings{};
  Role role = Role::kPrimary;
  std::uint32_t parity = 1;             // of the epoch numbers that this node draws
  LogId floor{};                        // the oldest readable point
  WallTime floor_timer{};               // of that entry
  LogId destaged{};                     // the base holds everything up to here that the floor still shows
  std::uint32_t destaged_checksum = 0;  // of the batch that held that entry, which may be freed
  WallTime destaged_timer{};            // of that entry
  bool base_settled = true;  // no step of destaging is under way or was cut short, nor a copy of the peer's
  bool window_open = true;   // false on a secondary while the first copy runs: nothing is readable
  LogId window_start{};      // where the window of a secondary opened: nothing before it was ever held
                             // here; none where the group began
  WallTime window_start_timer{};  // of that entry
  bool window_shortened = false;  // the floor last rose over history within the retention, for want of space
  bool exports_closed = false;    // after a forced restore, until `group open`
  bool dropped = false;           // it is being deleted: a start finishes that
  LogId log_kept_from{};          // the log is acquired here since this entry; none where it is not
  // The last verification that came to its end: when, over which entries, with the base or without, and how
  // many damages it found.
  WallTime verified_at{};  // 0: never
  LogId verified_first{};
  LogId verified_last{};
  bool verified_base = false;
  std::uint32_t verified_damages = 0;
  // The last comparison with the peer that came to its end: when, at which entry, how many bytes differed and
  // how many of them were written again.
  WallTime compared_at{};  // 0: never
  LogId compared_point{};
  std::uint64_t compared_differing_bytes = 0;
  std::uint64_t compared_repaired_bytes = 0;
  // Where a secondary went on behind a gap: the newest entry of the primary's order then, whose batch never
  // came, and that batch's checksum.
  LogId skipped_to{};
  std::uint32_t skipped_to_checksum = 0;
  // The same of the gap before: for a start that finds the state of before the newest one, and for the floor,
  // which may come to lie between the two.
  LogId skipped_before{};
  std::uint32_t skipped_before_checksum = 0;
  // While the first copy runs on a secondary: up to where it is durable in the bases, in the order of the
  // volumes' numbers.
  VolumeId copied_volume{};
  std::uint64_t copied_bytes = 0;  // of that volume
  // While the peer was let go of: what was destaged after this point is in the map of changes. None: no map.
  LogId changes_from{};
  PoolNumber data_pool{};  // where the group's volumes lie that were not created elsewhere
  LogId peer_has{};  // newest entry of the live path that the peer is known to hold; none without a pair
  std::vector<std::byte> pair{};  // the replication layer's own record; empty without a pair

  std::vector<std::byte> encode() const;
  static Result<LocalRecord> decode(Bytes bytes);
};
inline constexpr std::size_t kPairRecordBytesMax = 2048;

}  // namespace tidemark::group
