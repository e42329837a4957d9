#include "os/signals.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

#include "os/request.h"

namespace tidemark::os {

struct SignalWatch::Mask {
  sigset_t watched{};
  sigset_t before{};
};

Result<std::unique_ptr<SignalWatch>> SignalWatch::create(Reactor& reactor, const std::vector<int>& signals,
                                                         std::function<void(int signal)> on_signal) {
  auto mask = std::make_unique<Mask>();
  ::sigemptyset(&mask->watched);
  for (const int signal : signals) TM_ASSERT(::sigaddset(&mask->watched, signal) == 0);
  Descriptor descriptor(::signalfd(-1, &mask->watched, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!descriptor.valid()) {
    return fail(ErrorCode::kIo, "signals cannot be watched: " + errno_text(errno) +
                                    "; raise the limit of open files (ulimit -n)");
  }
  ::pthread_sigmask(SIG_BLOCK, &mask->watched, &mask->before);
  std::unique_ptr<SignalWatch> watch(new SignalWatch(reactor, std::move(mask), std::move(descriptor)));
  watch->scope_.spawn(SignalWatch::watch(reactor, watch->descriptor_, std::move(on_signal)));
  return watch;
}

SignalWatch::SignalWatch(Reactor& reactor, std::unique_ptr<Mask> mask, Descriptor descriptor)
    : mask_(std::move(mask)),
      descriptor_(std::make_shared<const Descriptor>(std::move(descriptor))),
      scope_(reactor) {}

SignalWatch::~SignalWatch() {
  // What came too late to be seen would otherwise end the process as soon as it is let through.
  const timespec at_once{};
  while (::sigtimedwait(&mask_->watched, nullptr, &at_once) > 0) {
  }
  ::pthread_sigmask(SIG_SETMASK, &mask_->before, nullptr);
}

io::Task<void> SignalWatch::watch(Reactor& reactor, SharedDescriptor descriptor,
                                  std::function<void(int signal)> on_signal) {
  bool called = false;
  while (true) {
    Request request(reactor);
    request->descriptor = descriptor;
    request->cancel_when_abandoned = true;
    // Polled in the ring and read here: a signalfd gives a reader the signals of the reader's own thread.
    ::io_uring_prep_poll_add(request.entry(), descriptor->get(), POLLIN);
    const std::int32_t result = co_await request.submit();
    if (result < 0 && result != -EINTR) co_return;
    signalfd_siginfo info{};
    if (::read(descriptor->get(), &info, sizeof info) != sizeof info) continue;
    if (!called) on_signal(static_cast<int>(info.ssi_signo));
    called = true;
  }
}

void ignore_io_signals() {
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);
}

}  // namespace tidemark::os
