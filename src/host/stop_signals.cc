#include "host/stop_signals.h"

#include <sys/signalfd.h>
#include <unistd.h>

namespace tidemark::host {

StopSignals::StopSignals(std::initializer_list<int> signals) {
  sigset_t taken;
  ::sigemptyset(&taken);
  for (const int signal : signals) ::sigaddset(&taken, signal);
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
  if (::read(queue_.get(), &info, sizeof info) != sizeof info) return 0;
  from_terminal_ = info.ssi_code == SI_KERNEL;
  return static_cast<int>(info.ssi_signo);
}

void StopSignals::restore_in_child() const {
  ::sigprocmask(SIG_SETMASK, &before_, nullptr);
}

}  // namespace tidemark::host
