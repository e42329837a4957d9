#include "host/stop_signals.h"

#include <sys/signalfd.h>
#include <unistd.h>

namespace tidemark::host {

StopSignals::StopSignals() {
  sigset_t taken;
  ::sigemptyset(&taken);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaddset(&taken, signal);
  ::sigprocmask(SIG_BLOCK, &taken, &before_);
  queue_ = OwnedDescriptor(::signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK));
}

StopSignals::~StopSignals() {
  while (take() != 0) {
  }
  ::sigprocmask(SIG_SETMASK, &before_, nullptr);
}

int StopSignals::take() {
  signalfd_siginfo info{};
  return ::read(queue_.get(), &info, sizeof info) == sizeof info ? static_cast<int>(info.ssi_signo) : 0;
}

void StopSignals::restore_in_child() const {
  ::sigprocmask(SIG_SETMASK, &before_, nullptr);
}

}  // namespace tidemark::host
