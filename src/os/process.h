#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace tidemark::os {

// Tells the service manager (systemd's sd_notify protocol) about this process: "READY=1", "STOPPING=1",
// "STATUS=...". Success, and nothing sent, when no NOTIFY_SOCKET is in the environment.
Result<void> notify_service_manager(const std::string& state);

struct ProcessUsage {
  std::uint64_t resident_bytes = 0;
  std::uint64_t open_files_max = 0;  // the soft limit
  std::uint64_t cpu_ns = 0;          // user and system, all threads
};
ProcessUsage process_usage();

// Raises the soft limit of open files to the hard one, and gives what it then is. Each connection and each
// disk takes one.
std::uint64_t raise_open_files_limit();

}  // namespace tidemark::os
