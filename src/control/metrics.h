#pragma once

#include <string>

#include "control/types.h"

namespace tidemark::control {

// The Prometheus text format, version 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/),
// of what `status` tells. Counters begin at zero when the node starts.
std::string metrics_text(const NodeStatus& status);

}  // namespace tidemark::control
