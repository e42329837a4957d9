#include "os/space_reserve.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

namespace tidemark::os {

void SpaceReserve::release() {
  (void)::unlink(path_.c_str());
}

std::uint64_t SpaceReserve::renew() {
  constexpr std::uint64_t kStepBytes = 1ull << 20;
  const int descriptor = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (descriptor < 0) return 0;
  std::uint64_t bytes = kBytes;
  while (bytes > 0 && ::fallocate(descriptor, 0, 0, static_cast<off_t>(bytes)) != 0) bytes -= kStepBytes;
  ::close(descriptor);
  if (bytes == 0) release();
  return bytes;
}

std::optional<std::uint64_t> free_bytes_at(const std::string& path) {
  struct statvfs status {};
  if (::statvfs(path.c_str(), &status) != 0) return std::nullopt;
  const std::uint64_t blocks = ::geteuid() == 0 ? status.f_bfree : status.f_bavail;
  return blocks * status.f_frsize;
}

}  // namespace tidemark::os
