#include "host/freeze.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/names.h"

namespace tidemark::host {
namespace {

constexpr char kFrozen = 'f';
constexpr char kThawed = 't';

Error freeze_error(const std::string& mount) {
  const int number = errno;
  Error error = system_error("'" + printable(mount, 200) + "' cannot be frozen");
  if (number == EPERM || number == EACCES) error.message += "; it takes CAP_SYS_ADMIN (root)";
  if (number == EBUSY) {
    error.code = ErrorCode::kRefused;
    error.message += "; it is frozen already: `fsfreeze -u` thaws it";
  }
  if (number == EOPNOTSUPP || number == ENOTTY || number == EINVAL) error.code = ErrorCode::kUnsupported;
  return error;
}

// What the other end of the line says; 0 when it is gone, or nothing was said for so long (in ms; -1: ever).
char hear(int line, int patience_ms) {
  pollfd ready{line, POLLIN, 0};
  while (true) {
    const int got = ::poll(&ready, 1, patience_ms);
    if (got < 0 && errno == EINTR) continue;
    char word = 0;
    return got > 0 && ::read(line, &word, 1) == 1 ? word : '\0';
  }
}

// The switch. It keeps off the terminal's signals, holds no stream of ours, and touches nothing but the
// descriptor.
[[noreturn]] void keep_watch(int line, int folder, int time_limit_ms) {
  ::setsid();
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE}) ::signal(signal, SIG_IGN);
  for (int descriptor = 0; descriptor < 3; ++descriptor) {
    if (descriptor != line && descriptor != folder) ::close(descriptor);
  }
  // The time begins with the freeze; who ends while it comes about ends here too.
  if (hear(line, -1) == kFrozen && hear(line, time_limit_ms) == kThawed) ::_exit(0);
  ::ioctl(folder, FITHAW, 0);
  ::_exit(0);
}

}  // namespace

Result<Freeze> Freeze::begin(const std::string& mount, Duration time_limit) {
  OwnedDescriptor folder(::open(mount.c_str(), O_RDONLY | O_CLOEXEC));
  if (!folder.valid()) return system_error("'" + printable(mount, 200) + "'");
  struct stat info {};
  struct stat root {};
  if (::fstat(folder.get(), &info) == 0 && ::stat("/", &root) == 0 && info.st_dev == root.st_dev) {
    return fail(ErrorCode::kRefused, "'" + printable(mount, 200) +
                                         "' is on the root file system, which is not frozen; name the mount "
                                         "of the volume");
  }
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) return system_error("no pipe to the dead man's switch can be had");
  OwnedDescriptor hearing(ends[0]);
  OwnedDescriptor line(ends[1]);
  const pid_t keeper = ::fork();
  if (keeper < 0) return system_error("no process can be had for the dead man's switch");
  if (keeper == 0) {
    ::close(line.release());
    keep_watch(hearing.get(), folder.get(), static_cast<int>(time_limit.ns / 1'000'000));
  }
  Freeze freeze(mount, std::move(folder), std::move(line), keeper);
  if (::ioctl(freeze.folder_.get(), FIFREEZE, 0) != 0) {
    const Error error = freeze_error(mount);
    ::kill(keeper, SIGKILL);  // so that it does not thaw what somebody else froze
    ::waitpid(std::exchange(freeze.keeper_, 0), nullptr, 0);
    return error;
  }
  if (::write(freeze.line_.get(), &kFrozen, 1) != 1) {
    return fail(ErrorCode::kIo, "the dead man's switch is gone; '" + printable(mount, 200) + "' is thawed");
  }
  return freeze;
}

Result<void> Freeze::thaw() {
  if (keeper_ == 0) return {};
  const bool was_frozen = ::ioctl(folder_.get(), FITHAW, 0) == 0;
  const bool too_late = errno == EINVAL;
  const Error error = system_error("'" + printable(mount_, 200) + "' cannot be thawed");
  if (was_frozen) static_cast<void>(::write(line_.get(), &kThawed, 1) == 1);
  line_ = OwnedDescriptor();
  ::waitpid(std::exchange(keeper_, 0), nullptr, 0);
  if (was_frozen) return {};
  if (!too_late) return error;
  return fail(ErrorCode::kTimeout, "'" + printable(mount_, 200) +
                                       "' was thawed by the dead man's switch before the mark was made");
}

Freeze::~Freeze() {
  if (keeper_ != 0) static_cast<void>(thaw().ok());
}

}  // namespace tidemark::host
