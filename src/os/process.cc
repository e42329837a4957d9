#include "os/process.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/names.h"
#include "os/descriptor.h"

namespace tidemark::os {

Result<void> notify_service_manager(const std::string& state) {
  const char* value = std::getenv("NOTIFY_SOCKET");
  if (value == nullptr || *value == '\0') return {};
  const std::string path = value;
  const auto failure = [&](const std::string& why) {
    return fail(ErrorCode::kIo, "the service manager at '" + printable(path, 120) + "' was not told '" +
                                    printable(state) + "': " + why);
  };
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if ((path[0] != '/' && path[0] != '@') || path.size() >= sizeof address.sun_path) {
    return failure("NOTIFY_SOCKET must be an absolute path or an abstract name");
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  if (path[0] == '@') address.sun_path[0] = '\0';  // an abstract name, which has no terminator
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  const Descriptor descriptor(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!descriptor.valid()) return failure(errno_text(errno));
  const ssize_t sent = ::sendto(descriptor.get(), state.data(), state.size(), MSG_NOSIGNAL,
                                reinterpret_cast<const sockaddr*>(&address), length);
  if (sent != static_cast<ssize_t>(state.size())) return failure(errno_text(errno));
  return {};
}

ProcessUsage process_usage() {
  ProcessUsage usage;
  unsigned long long total_pages = 0;
  unsigned long long resident_pages = 0;
  if (std::FILE* file = std::fopen("/proc/self/statm", "re")) {
    if (std::fscanf(file, "%llu %llu", &total_pages, &resident_pages) == 2) {
      usage.resident_bytes = resident_pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    }
    std::fclose(file);
  }
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) usage.open_files_max = limit.rlim_cur;
  rusage times{};
  if (::getrusage(RUSAGE_SELF, &times) == 0) {
    const auto ns = [](const timeval& t) {
      return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 +
             static_cast<std::uint64_t>(t.tv_usec) * 1'000;
    };
    usage.cpu_ns = ns(times.ru_utime) + ns(times.ru_stime);
  }
  return usage;
}

std::uint64_t raise_open_files_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  const rlimit raised{limit.rlim_max, limit.rlim_max};
  if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) return raised.rlim_cur;
  return limit.rlim_cur;
}

}  // namespace tidemark::os
