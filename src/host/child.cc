#include "host/child.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/names.h"

namespace tidemark::host {
namespace {

constexpr int kStatusUnknown = 255;

}  // namespace

std::string Ending::to_string() const {
  if (signal == 0) return "exited with status " + std::to_string(status);
  return "was ended by signal " + std::to_string(signal) + " (" + ::strsignal(signal) + ")";
}

Ending wait_for(pid_t process) {
  int status = 0;
  pid_t ended = -1;
  while ((ended = ::waitpid(process, &status, 0)) < 0 && errno == EINTR) {
  }
  Ending ending;
  if (ended < 0) {
    ending.status = kStatusUnknown;
  } else if (WIFSIGNALED(status)) {
    ending.signal = WTERMSIG(status);
  } else if (WIFEXITED(status)) {
    ending.status = WEXITSTATUS(status);
  }
  return ending;
}

void restore_signals_in_child(const StopSignals* signals) {
  ::signal(SIGPIPE, SIG_DFL);
  if (signals != nullptr) signals->restore_in_child();
}

Result<Child> Child::start(const std::vector<std::string>& words, const StopSignals* signals) {
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) return system_error("no pipe to a program can be had");
  const OwnedDescriptor reading(ends[0]);
  OwnedDescriptor writing(ends[1]);
  const pid_t process = ::fork();
  if (process < 0) return system_error("no process can be had for '" + printable(words[0]) + "'");
  if (process == 0) {
    restore_signals_in_child(signals);
    ::execvp(arguments[0], arguments.data());
    const int number = errno;
    static_cast<void>(::write(ends[1], &number, sizeof number) == sizeof number);
    ::_exit(127);
  }
  writing = OwnedDescriptor();
  int number = 0;
  if (::read(reading.get(), &number, sizeof number) == sizeof number) {
    ::waitpid(process, nullptr, 0);
    errno = number;
    return system_error("'" + printable(words[0]) + "' cannot be run");
  }
  OwnedDescriptor descriptor(static_cast<int>(::syscall(SYS_pidfd_open, process, 0)));
  if (!descriptor.valid()) {
    const Error error = system_error("'" + printable(words[0]) + "' cannot be waited for");
    ::kill(process, SIGKILL);
    ::waitpid(process, nullptr, 0);
    return error;
  }
  return Child(process, std::move(descriptor));
}

void Child::send(int signal) const {
  ::kill(process_, signal);
}

Ending Child::wait() {
  return wait_for(process_);
}

void end_as(const Ending& ending) {
  if (ending.signal != 0) {
    const rlimit none{0, 0};  // the program's core file is the one that matters
    ::setrlimit(RLIMIT_CORE, &none);
    ::signal(ending.signal, SIG_DFL);
    sigset_t one;
    ::sigemptyset(&one);
    ::sigaddset(&one, ending.signal);
    ::sigprocmask(SIG_UNBLOCK, &one, nullptr);
    ::raise(ending.signal);
  }
  std::exit(ending.signal != 0 ? 128 + ending.signal : ending.status);
}

}  // namespace tidemark::host
