#include "host/local.h"

#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <random>

#include "base/names.h"

namespace tidemark::host {
namespace {

constexpr char kSystemTable[] = "/var/lib/tidemark-host/marks.db";
constexpr char kUserTable[] = "/tidemark/marks.db";

std::string environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string home() {
  std::string folder = environment("HOME");
  if (!folder.empty()) return folder;
  const passwd* const user = ::getpwuid(::getuid());
  return user == nullptr || user->pw_dir == nullptr ? "" : user->pw_dir;
}

}  // namespace

WallTime wall_now() {
  const auto since_1970 = std::chrono::system_clock::now().time_since_epoch();
  return WallTime{std::chrono::duration_cast<std::chrono::nanoseconds>(since_1970).count()};
}

MonotonicTime monotonic_now() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return {std::chrono::duration_cast<std::chrono::nanoseconds>(since).count()};
}

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "";
}

std::string time_stamp(WallTime time) {
  std::string digits;
  for (const char c : format_time(time).substr(0, 19)) {
    if (c >= '0' && c <= '9') digits.push_back(c);
  }
  return digits.substr(0, 8) + "-" + digits.substr(8);
}

std::string random_letters(std::size_t count) {
  constexpr char kLetters[] = "abcdefghijkmnpqrstuvwxyz23456789";
  std::random_device random;
  std::string out;
  for (std::size_t i = 0; i < count; ++i) out.push_back(kLetters[random() % 32]);
  return out;
}

std::string generate_mark_id(WallTime time) {
  // 40 bits: several hosts and programs may ask in the same second, many times.
  return "m-" + time_stamp(time) + "-" + random_letters(8);
}

Result<std::string> find_table_path() {
  const std::string named = environment("TIDEMARK_HOST_TABLE");
  if (!named.empty()) return named;
  if (::geteuid() == 0) return std::string(kSystemTable);
  const std::string state = environment("XDG_STATE_HOME");
  if (state.starts_with("/")) return state + kUserTable;  // relative ones are to be ignored
  const std::string folder = home();
  if (!folder.empty()) return folder + "/.local/state" + kUserTable;
  return fail(
      ErrorCode::kInvalid,
      "where is the host's own table of marks? Set TIDEMARK_HOST_TABLE or HOME, or give --host-table");
}

Error system_error(const std::string& what) {
  const int number = errno;
  ErrorCode code = ErrorCode::kIo;
  if (number == ENOENT || number == ENOTDIR) code = ErrorCode::kNotFound;
  if (number == EACCES || number == EPERM) code = ErrorCode::kDenied;
  if (number == ENOSPC || number == EDQUOT) code = ErrorCode::kNoSpace;
  if (number == EROFS) code = ErrorCode::kReadOnly;
  return fail(code, what + ": " + std::strerror(number));
}

Result<std::string> real_path(const std::string& path) {
  char* const real = ::realpath(path.c_str(), nullptr);
  if (real == nullptr) return system_error("'" + printable(path, 200) + "'");
  std::string out = real;
  std::free(real);
  return out;
}

Result<std::string> real_place(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return real_place("./" + path);
  TM_TRY_ASSIGN(const std::string folder, real_path(slash == 0 ? "/" : path.substr(0, slash)));
  return (folder == "/" ? "" : folder) + path.substr(slash);
}

Result<void> make_folders(const std::string& folder) {
  for (std::size_t end = 1; end != std::string::npos;) {
    end = folder.find('/', end);
    const std::string part = folder.substr(0, end);
    if (end != std::string::npos) ++end;
    if (::mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) {
      struct stat info {};
      const Error error = system_error("cannot make the folder '" + printable(part, 200) + "'");
      if (::stat(part.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) return error;
    }
  }
  return {};
}

}  // namespace tidemark::host
