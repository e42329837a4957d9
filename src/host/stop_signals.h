#pragma once

#include <signal.h>

#include "host/file_events.h"

namespace tidemark::host {

// While it lives, SIGINT, SIGTERM and SIGHUP wait to be taken, so that the work ends in order. In the main
// thread, before others are made; a child process gets back what was before with restore_in_child().
class StopSignals {
 public:
  StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  ~StopSignals();

  int descriptor() const { return queue_.get(); }
  // The next one; 0: none has come.
  int take();
  void restore_in_child() const;

 private:
  sigset_t before_{};
  OwnedDescriptor queue_;
};

}  // namespace tidemark::host
