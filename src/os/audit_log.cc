#include "os/audit_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "base/time.h"
#include "os/descriptor.h"
#include "os/environment.h"

namespace tidemark::os {
namespace {

Error failure(const std::string& path, int error) {
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  return fail(full ? ErrorCode::kNoSpace : ErrorCode::kIo,
              "'" + path + "' cannot be written: " + errno_text(error));
}

Descriptor open_to_append(const std::string& path) {
  return Descriptor(::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
}

}  // namespace

Result<void> AuditLog::append(const std::string& line) {
  const std::string text = format_time(SystemClock().now()) + " " + line + "\n";
  const std::lock_guard lock(mutex_);
  Descriptor file = open_to_append(path_);
  struct stat status {};
  if (!file.valid() || ::fstat(file.get(), &status) != 0) return failure(path_, errno);
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size > 0 && size + text.size() > size_bytes_max_) {
    if (std::rename(path_.c_str(), (path_ + ".1").c_str()) != 0) return failure(path_, errno);
    file = open_to_append(path_);
    if (!file.valid()) return failure(path_, errno);
  }
  const ssize_t written = ::write(file.get(), text.data(), text.size());
  if (written < 0) return failure(path_, errno);
  // The end of a file system: half a line stays, and the next one shall not go on in it.
  if (static_cast<std::size_t>(written) != text.size()) return failure(path_, ENOSPC);
  return {};
}

}  // namespace tidemark::os
