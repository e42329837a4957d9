#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "base/result.h"
#include "io/sync.h"
#include "os/descriptor.h"
#include "os/reactor.h"

namespace tidemark::os {

// Turns the first of some signals (SIGTERM, SIGINT) into a call on the reactor thread; later ones are
// swallowed, so that an orderly stop is not cut short by an impatient supervisor. Made on the main
// thread before any other thread is started, because threads inherit that the signals are blocked; so do
// child processes. Destroying it puts the mask back.
class SignalWatch {
 public:
  static Result<std::unique_ptr<SignalWatch>> create(Reactor& reactor, const std::vector<int>& signals,
                                                     std::function<void(int signal)> on_signal);
  ~SignalWatch();

 private:
  struct Mask;
  SignalWatch(Reactor& reactor, std::unique_ptr<Mask> mask, Descriptor descriptor);
  static io::Task<void> watch(Reactor& reactor, SharedDescriptor descriptor,
                              std::function<void(int signal)> on_signal);
  std::unique_ptr<Mask> mask_;
  SharedDescriptor descriptor_;
  io::TaskScope scope_;
};

// A peer that went away (SIGPIPE) and a file that may not grow (SIGXFSZ) are errors of one operation, not
// the end of the process. For main(), at its start.
void ignore_io_signals();

}  // namespace tidemark::os
