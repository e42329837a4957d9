#pragma once

#include <string>

#include "base/result.h"
#include "control/http_client.h"
#include "host/file_events.h"

namespace tidemark::host {

// Where a path lies, as far as this machine can tell.
struct Mounted {
  std::string mount_point;
  std::string type;    // "ext4"
  std::string source;  // "/dev/loop3"
};
Result<Mounted> find_mount(const std::string& path);

// kRefused: `path` can lie on no volume of `group`, and why: its file system lives in memory, or nobody has a
// volume of the group open for writing at the node. What is behind a disk cannot be seen from here (a guest's
// disk may well be a volume), so that nothing is said of others.
Result<void> check_on_volume(const std::string& path, const std::string& group, control::ApiClient& node,
                             std::chrono::seconds time_limit);

// Keeps a second watch of the same group and path on this node from starting, as long as it lives: a lock
// file beside the host's table, which the kernel lets go of with the process.
class WatchLock {
 public:
  // kBusy: there is one, and its process.
  static Result<WatchLock> take(const std::string& table_path, const std::string& node,
                                const std::string& group, const std::string& path);

 private:
  explicit WatchLock(OwnedDescriptor file) : file_(std::move(file)) {}
  OwnedDescriptor file_;
};

}  // namespace tidemark::host
