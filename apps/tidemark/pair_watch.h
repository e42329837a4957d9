#pragma once

#include "base/time.h"
#include "cli.h"

// Commands on pairs that go on for a while.
namespace tidemark::cli {

inline constexpr Duration kWatchIntervalMin = Duration::milliseconds(100);
inline constexpr Duration kWatchIntervalMax = Duration::seconds(3600);

// Shows a pair again and again until it is interrupted, which is its orderly end: on a terminal in place,
// else one block after the other.
Result<void> watch_pair(Cli& cli, const control::PairStatusRequest& request, Duration interval);

// Waits until the secondary has all that the primary had when `status` was told, copy included. An error when
// the pair is suspended before that.
Result<control::PairStatus> wait_for_secondary(Cli& cli, control::PairStatus status);

}  // namespace tidemark::cli
