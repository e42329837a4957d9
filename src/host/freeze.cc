#include "host/freeze.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/names.h"

namespace tidemark::host {
namespace {

constexpr char kFrozen = 'f';
constexpr char kThaw = 't';

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

// How the switch ends.
enum KeeperStatus : int {
  kThawedAsTold = 0,
  kThawedByItself = 1,
  kWasNotFrozen = 2,  // somebody else had thawed it
  kCannotThaw = 3,
  kNothingToDo = 4,  // it was asked to end before anything was frozen
};

// What the other end of the line says; 0 when it is gone, when SIGTERM comes, or when nothing was said for so
// long (in ms; -1: ever).
char hear(int line, int terminated, int patience_ms) {
  pollfd ready[2] = {{line, POLLIN, 0}, {terminated, POLLIN, 0}};
  while (true) {
    const int got = ::poll(ready, 2, patience_ms);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0 || ready[1].revents != 0) return '\0';
    char word = 0;
    return ::read(line, &word, 1) == 1 ? word : '\0';
  }
}

// The switch. It keeps off the terminal's signals, holds no stream of ours, and touches nothing but the
// descriptor.
[[noreturn]] void keep_watch(int line, int folder, int terminated, int time_limit_ms) {
  ::setsid();
  for (const int signal : {SIGINT, SIGHUP, SIGQUIT, SIGPIPE}) ::signal(signal, SIG_IGN);
  for (int descriptor = 0; descriptor < 3; ++descriptor) {
    if (descriptor != line && descriptor != folder && descriptor != terminated) ::close(descriptor);
  }
  // The time begins with the freeze; who ends while it comes about ends here too.
  const bool frozen = hear(line, terminated, -1) == kFrozen;
  const bool told = frozen && hear(line, terminated, time_limit_ms) == kThaw;
  if (::ioctl(folder, FITHAW, 0) == 0) ::_exit(told ? kThawedAsTold : kThawedByItself);
  if (errno != EINVAL) ::_exit(kCannotThaw);
  ::_exit(frozen ? kWasNotFrozen : kNothingToDo);
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
  // Blocked here while the switch is made, so that none is lost that comes before it looks.
  sigset_t terminate;
  sigset_t before;
  ::sigemptyset(&terminate);
  ::sigaddset(&terminate, SIGTERM);
  const OwnedDescriptor terminated(::signalfd(-1, &terminate, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!terminated.valid()) return system_error("no dead man's switch can be had");
  ::sigprocmask(SIG_BLOCK, &terminate, &before);
  const pid_t keeper = ::fork();
  if (keeper != 0) ::sigprocmask(SIG_SETMASK, &before, nullptr);
  if (keeper < 0) return system_error("no process can be had for the dead man's switch");
  if (keeper == 0) {
    ::close(line.release());
    keep_watch(hearing.get(), folder.get(), terminated.get(), static_cast<int>(time_limit.ns / 1'000'000));
  }
  Freeze freeze(mount, std::move(folder), std::move(line), keeper);
  if (::ioctl(freeze.folder_.get(), FIFREEZE, 0) != 0) {
    const Error error = freeze_error(mount);
    ::kill(keeper, SIGKILL);  // so that it does not thaw what somebody else froze
    ::waitpid(std::exchange(freeze.keeper_, 0), nullptr, 0);
    return error;
  }
  if (::write(freeze.line_.get(), &kFrozen, 1) != 1) {
    const Error gone = fail(ErrorCode::kIo, "the dead man's switch is gone; '" + printable(mount, 200) +
                                                "' is thawed, and nothing was made");
    static_cast<void>(freeze.thaw().ok());
    return gone;
  }
  return freeze;
}

Result<void> Freeze::thaw() {
  if (keeper_ == 0) return {};
  static_cast<void>(::write(line_.get(), &kThaw, 1) == 1);
  line_ = OwnedDescriptor();
  int status = 0;
  pid_t ended = -1;
  const pid_t keeper = std::exchange(keeper_, 0);
  while ((ended = ::waitpid(keeper, &status, 0)) < 0 && errno == EINTR) {
  }
  const std::string what = "'" + printable(mount_, 200) + "'";
  const int end = ended > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : kNothingToDo;
  switch (end) {
    case kThawedAsTold:
      return {};
    case kThawedByItself:
      return fail(ErrorCode::kTimeout,
                  what + " was thawed by the dead man's switch before the mark was made");
    case kWasNotFrozen:
      return fail(ErrorCode::kTimeout, what + " was thawed by somebody else before the mark was made");
    default:
      // It was killed, ended before the freeze, or could not do it.
      if (::ioctl(folder_.get(), FITHAW, 0) == 0) return {};
      if (errno == EINVAL) {
        return fail(ErrorCode::kTimeout, what + " was thawed by somebody else before the mark was made");
      }
      return system_error(what + " cannot be thawed; `fsfreeze -u` does it");
  }
}

Freeze::~Freeze() {
  if (keeper_ != 0) static_cast<void>(thaw().ok());
}

}  // namespace tidemark::host
