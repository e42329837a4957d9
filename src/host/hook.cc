#include "host/hook.h"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>

#include "base/names.h"
#include "host/child.h"

namespace tidemark::host {
namespace {

[[noreturn]] void become(const Hook& hook, const StopSignals& signals) {
  ::setpgid(0, 0);
  restore_signals_in_child(&signals);
  ::dup2(STDERR_FILENO, STDOUT_FILENO);
  for (const auto& [name, value] : hook.environment) ::setenv(name.c_str(), value.c_str(), 1);
  ::execl("/bin/sh", "sh", "-c", hook.command.c_str(), static_cast<char*>(nullptr));
  ::_exit(127);
}

}  // namespace

Result<void> run_hook(const Hook& hook, const std::string& name, StopSignals& signals) {
  const std::string what = name + " '" + printable(hook.command, 200) + "'";
  const pid_t process = ::fork();
  if (process < 0) return system_error("no process can be had for " + what);
  if (process == 0) become(hook, signals);
  ::setpgid(process, process);  // whoever is first
  const OwnedDescriptor ended(static_cast<int>(::syscall(SYS_pidfd_open, process, 0)));
  const MonotonicTime due = monotonic_now() + hook.time_limit;
  while (true) {
    pollfd ready[2] = {{ended.get(), POLLIN, 0}, {hook.to_the_end ? -1 : signals.descriptor(), POLLIN, 0}};
    const Duration left = due - monotonic_now();
    if (ended.valid() && left.ns > 0) ::poll(ready, 2, static_cast<int>(left.ns / 1'000'000 + 1));
    if ((ready[0].revents & POLLIN) != 0) break;
    const bool stopped = !hook.to_the_end && signals.take() != 0;
    if (!stopped && ended.valid() && monotonic_now() < due) continue;
    ::kill(-process, SIGKILL);
    wait_for(process);
    if (stopped) return fail(ErrorCode::kClosed, what + " was ended by a signal");
    return fail(ErrorCode::kTimeout, what + " did not end within " + format_duration(hook.time_limit) +
                                         " and was killed; --hook-limit gives it more time");
  }
  const Ending ending = wait_for(process);
  if (ending.good()) return {};
  return fail(ErrorCode::kRefused, what + " " + ending.to_string());
}

}  // namespace tidemark::host
