#pragma once

#include <sys/types.h>

#include <string>
#include <utility>

#include "base/result.h"
#include "base/time.h"
#include "host/file_events.h"

namespace tidemark::host {

// A file system that takes no writes for a while: what was written is on its volume, and its journal is
// empty.
//
// It has a dead man's switch: a process of its own that thaws the file system when the time limit is over,
// and at once when it gets SIGTERM, or when the one that froze it ends, in whatever way, without having
// thawed it. Only the switch thaws, unless it is killed: then whoever froze does. When both are killed at
// once, the file system stays frozen. Between freeze() and thaw() whoever froze must write nothing to it, not
// even a message.
class Freeze {
 public:
  // `mount` is a mount point or a path below it. kDenied: it takes CAP_SYS_ADMIN. kRefused: it is frozen
  // already, or is the root file system, which this program itself lives on. kUnsupported.
  static Result<Freeze> begin(const std::string& mount, Duration time_limit);
  Freeze(Freeze&& other) noexcept
      : mount_(std::move(other.mount_)),
        folder_(std::move(other.folder_)),
        line_(std::move(other.line_)),
        keeper_(std::exchange(other.keeper_, 0)) {}
  Freeze& operator=(Freeze&&) = delete;
  // Thaws what thaw() did not.
  ~Freeze();

  // kTimeout: the switch was faster, or somebody else thawed it, so that it was not frozen all the time until
  // now.
  Result<void> thaw();

 private:
  Freeze(std::string mount, OwnedDescriptor folder, OwnedDescriptor line, pid_t keeper)
      : mount_(std::move(mount)), folder_(std::move(folder)), line_(std::move(line)), keeper_(keeper) {}

  std::string mount_;
  OwnedDescriptor folder_;
  OwnedDescriptor line_;  // to the switch; closed, it thaws
  pid_t keeper_ = 0;
};

}  // namespace tidemark::host
