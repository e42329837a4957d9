#pragma once

#include <chrono>
#include <string>

#include "control/http_client.h"
#include "host/watcher.h"

// What `watch` and `run` look at before they begin.
namespace tidemark::cli {

// That there is the group; warns of one that keeps no history.
Result<void> check_group(control::ApiClient& node, const std::string& group, std::chrono::seconds limit);
// Makes the paths real ones; unless `anywhere`, refuses one that can be on no volume of the group.
Result<void> check_paths(control::ApiClient& node, host::WatchOptions& watch, bool anywhere,
                         std::chrono::seconds limit);

}  // namespace tidemark::cli
