#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "format/link.h"
#include "sim/disk.h"
#include "sim/network.h"
#include "simulation/part.h"

namespace tidemark::simulation {

// What a run may do, one at a time. kStepNames has them in the same order.
enum class Step : std::uint8_t {
  kRequests,  // some writes, zeroes, flushes and marks at once
  kRestore,
  kReadPoint,
  kEntryData,
  kOpenView,
  kChangeMark,  // hold, release, delete
  kNamePoint,
  kReleaseBranch,
  kSettings,
  kDestage,
  kWait,
  kCrashInside,  // the power goes, or the process dies, in the middle of requests
  kRestart,      // in order, by a kill or by a power cut
  kDiskError,    // an operation fails, and says so
  kDiskHangs,
  kClockJump,
  kLinkReset,
  kLinkCut,
  kLinkHeal,
  kLinkBit,  // a bit turns on the way
  kReplaySession,
  kSuspend,
  kResync,
  kGoAlone,  // the suspended secondary is restored and takes writes
  kLoseSecondary,
  kVerify,       // compares the two nodes in the background
  kIndexDamage,  // of what a version index holds, nothing can be read any more
  kLogVolume,    // the journal of a node gets one more, or loses one
  kLoseMember,   // as many disks of a RAID group as it may lose are gone, and blank ones take their place
  kPullDisks,    // disks are not there at a start, also too many for their RAID group, and come back later
};
inline constexpr std::array kStepNames = {
    "requests",       "restore",    "read-point",   "entry-data", "view",        "change-mark",
    "name-point",     "release",    "settings",     "destage",    "wait",        "crash",
    "restart",        "disk-error", "disk-hangs",   "clock",      "link-reset",  "link-cut",
    "link-heal",      "link-bit",   "replay",       "suspend",    "resync",      "go-alone",
    "lose-secondary", "verify",     "index-damage", "log-volume", "lose-member", "pull-disks"};
inline constexpr std::size_t kStepCount = kStepNames.size();

// What a seed decides before anything happens. Each run has some of the faults and not others, and sizes down
// to the smallest ("swarm testing": Groce and others, ISSTA 2012): a bug that needs many of one thing is not
// drowned in all the others.
struct Options {
  std::uint64_t seed = 0;
  bool pair = true;                         // else a node alone
  std::optional<format::SyncTerms> sync{};  // of a pair that is synchronous
  bool compresses = false;                  // the link of a pair
  std::uint32_t steps = 0;
  std::uint64_t volume_blocks = 0;  // of each of the two volumes
  std::uint64_t journal_bytes = 0;
  std::uint64_t segment_bytes = 0;  // of the journal; 0: as a node chooses it
  std::uint64_t recent_bytes = 0;   // batches kept in memory; 0: as a node chooses it
  Duration retain{};
  bool stop_writes_when_full = false;
  std::uint64_t request_blocks_max = 0;
  std::uint32_t requests_at_once_max = 0;
  std::uint32_t zeroes_percent = 0;  // of the requests, as the next two
  std::uint32_t flushes_percent = 0;
  std::uint32_t marks_percent = 0;
  std::uint32_t fua_percent = 0;      // of the writes and zeroes
  std::uint32_t partial_percent = 0;  // of the writes: they begin or end in the middle of a block
  sim::DiskOptions disk{};
  // What the pools of each node lie on; one disk, where nothing else is said.
  std::vector<PartLevel> parts{PartLevel()};
  sim::LinkOptions link{};
  bool clock_goes_back = false;  // when the wall clocks jump
  double clock_drift_ppm = 0;    // of the second node
  std::uint32_t damages = 0;     // faults that damage one of the disks, at the end
  std::uint32_t role_steps = 0;  // of a pair: after the others, in which roles are swapped
  std::array<std::uint32_t, kStepCount> weights{};

  bool has_several_parts() const { return parts.size() > 1; }
  std::uint32_t weight(Step step) const { return weights[static_cast<std::size_t>(step)]; }
};

Options draw_options(std::uint64_t seed);
// On one line, for whoever reads a failure.
std::string describe(const Options& options);

}  // namespace tidemark::simulation
