#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "host/stop_signals.h"

namespace tidemark::host {

// A command of the user's that belongs to a mark.
struct Hook {
  std::string command;  // for the shell
  Duration time_limit;
  std::vector<std::pair<std::string, std::string>> environment;
  bool to_the_end = false;  // signals do not end it: it sets right what was done before
};

// Runs it with `sh -c`, in a process group of its own; what it prints goes to standard error. It and what it
// started is killed when the time is over (kTimeout) or a signal is taken (kClosed); with `to_the_end`
// signals are left for later. kRefused: it failed, and how.
Result<void> run_hook(const Hook& hook, const std::string& name, StopSignals& signals);

}  // namespace tidemark::host
