#pragma once

#include <signal.h>

#include <initializer_list>

#include "host/file_events.h"

namespace tidemark::host {

// While it lives, signals (SIGINT, SIGTERM and SIGHUP) wait to be taken, so that the work ends in order. In
// the main thread, before others are made; a child process gets back what was before with restore_in_child().
class StopSignals {
 public:
  explicit StopSignals(std::initializer_list<int> signals = {SIGINT, SIGTERM, SIGHUP});
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  ~StopSignals();

  int descriptor() const { return queue_.get(); }
  // The next one; 0: none has come.
  int take();
  // Whether the last one that was taken came from a terminal, which sends it to all of its foreground.
  bool from_terminal() const { return from_terminal_; }
  void restore_in_child() const;

 private:
  sigset_t before_{};
  OwnedDescriptor queue_;
  bool from_terminal_ = false;
};

}  // namespace tidemark::host
