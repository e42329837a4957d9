#include "host/place.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "base/crc32c.h"
#include "base/names.h"

namespace tidemark::host {
namespace {

constexpr std::array kInMemory = {"tmpfs",   "ramfs",     "proc",     "sysfs",      "devtmpfs", "devpts",
                                  "cgroup2", "debugfs",   "tracefs",  "securityfs", "pstore",   "bpf",
                                  "mqueue",  "hugetlbfs", "efivarfs", "configfs"};

// Of mountinfo (proc_pid_mountinfo(5)): blanks in paths are octal escapes.
std::string unescaped(const std::string& text) {
  std::string out;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '\\' && at + 3 < text.size()) {
      out.push_back(static_cast<char>(std::strtol(text.substr(at + 1, 3).c_str(), nullptr, 8)));
      at += 3;
    } else {
      out.push_back(text[at]);
    }
  }
  return out;
}

std::string hex(std::uint32_t value) {
  char text[12];
  std::snprintf(text, sizeof text, "%08x", value);
  return text;
}

std::string lock_name(const std::string& what) {
  return "watch-" + hex(crc32c(as_bytes(what))) + ".lock";
}

}  // namespace

Result<Mounted> find_mount(const std::string& path) {
  std::ifstream file("/proc/self/mountinfo");
  Mounted found;
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    std::string number, parent, device, root, mount_point, word;
    fields >> number >> parent >> device >> root >> mount_point;
    mount_point = unescaped(mount_point);
    // Of two at one place the later one covers the other.
    if (!lies_below(path, mount_point) || mount_point.size() < found.mount_point.size()) continue;
    while (fields >> word && word != "-") {
    }
    found.mount_point = mount_point;
    fields >> found.type >> found.source;
    found.source = unescaped(found.source);
  }
  if (found.mount_point.empty()) {
    return fail(ErrorCode::kNotFound, "'" + printable(path, 200) + "' lies on no mount that can be seen");
  }
  return found;
}

Result<void> check_on_volume(const std::string& path, const std::string& group, control::ApiClient& node,
                             std::chrono::seconds time_limit) {
  const Result<Mounted> mount = find_mount(path);
  if (mount.ok() && std::ranges::find(kInMemory, mount->type) != kInMemory.end()) {
    return fail(ErrorCode::kRefused,
                "'" + printable(path, 200) + "' is not on a Tidemark volume: it lies on " +
                    printable(mount->mount_point, 200) + ", a " + mount->type +
                    ", which is in memory; name a path on the volume, or say --anywhere");
  }
  const Result<control::SessionsReply> sessions = node.call(control::SessionsRequest{}, time_limit);
  if (!sessions.ok()) return {};
  const bool open = std::ranges::any_of(sessions->sessions, [&group](const control::SessionInfo& session) {
    return session.kind == control::SessionKind::kNbd && session.writable && !session.view &&
           session.export_name.starts_with(group + "/") && !session.export_name.ends_with("/.command");
  });
  if (open) return {};
  return fail(
      ErrorCode::kRefused,
      "'" + printable(path, 200) + "' is not on a volume of group '" + group +
          "': nobody has one of its volumes open for writing at the node; connect and mount the volume "
          "first, look with `tidemark volume list " +
          group + "`, or say --anywhere");
}

Result<WatchLock> WatchLock::take(const std::string& table_path, const std::string& node,
                                  const std::string& group, const std::string& path) {
  const std::size_t slash = table_path.rfind('/');
  const std::string folder =
      slash == std::string::npos ? "." : table_path.substr(0, std::max<std::size_t>(slash, 1));
  TM_TRY(make_folders(folder));
  const std::string what = group + "\n" + path + "\n" + node + "\n";
  const std::string file = folder + "/" + lock_name(what);
  OwnedDescriptor open(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!open.valid()) return system_error("the lock file '" + printable(file, 200) + "'");
  if (::flock(open.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return system_error("the lock file '" + printable(file, 200) + "'");
    char process[32] = {};
    const ssize_t length = ::pread(open.get(), process, sizeof process - 1, 0);
    return fail(ErrorCode::kBusy, "'" + printable(path, 200) + "' is watched for group '" + group +
                                      "' already" +
                                      (length > 0 ? ", by process " + printable(process) : std::string()));
  }
  const std::string process = std::to_string(::getpid());
  // For a person; the lock holds without it.
  if (::ftruncate(open.get(), 0) == 0) {
    static_cast<void>(::pwrite(open.get(), process.data(), process.size(), 0) > 0);
  }
  return WatchLock(std::move(open));
}

}  // namespace tidemark::host
