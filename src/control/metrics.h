#pragma once

#include <cstdint>
#include <string>

#include "control/types.h"

namespace tidemark::control {

// What the control API has counted since the node started.
struct ApiCounters {
  std::uint64_t denied_without_token = 0;
  std::uint64_t denied_unknown_token = 0;
  std::uint64_t denied_expired_token = 0;
  std::uint64_t denied_role_too_low = 0;
  std::uint64_t handshakes_refused = 0;
  std::uint64_t connections_dropped = 0;  // that were too slow, or too many, to say what they want
};

// The Prometheus text format, version 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/),
// of what `status` and the control API itself tell. Counters begin at zero when the node starts.
std::string metrics_text(const NodeStatus& status, const ApiCounters& api);

}  // namespace tidemark::control
