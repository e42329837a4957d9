#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/result.h"
#include "host/file_events.h"
#include "host/stop_signals.h"

namespace tidemark::host {

// How a program ended.
struct Ending {
  int status = 0;  // of exit(); 0 when a signal ended it
  int signal = 0;  // that ended it; 0: none

  bool good() const { return status == 0 && signal == 0; }
  std::string to_string() const;  // "exited with status 3", "was ended by signal 9 (Killed)"
};

// Waits for a child process; one that cannot be waited for has not ended well.
Ending wait_for(pid_t process);
// In a child process before it becomes another program: signals as this program found them, and a broken pipe
// ends it as it does everywhere else.
void restore_signals_in_child(const StopSignals* signals);

// A program that runs with our standard streams, in our process group. Whoever makes one waits for it.
class Child {
 public:
  // Looks the program up in PATH. kNotFound, kDenied: it cannot be run, and nothing was. `signals` are given
  // back to it as they were before they were taken.
  static Result<Child> start(const std::vector<std::string>& words, const StopSignals* signals);

  pid_t process() const { return process_; }
  int descriptor() const { return descriptor_.get(); }  // readable when it has ended
  void send(int signal) const;
  // Blocks until it has ended.
  Ending wait();

 private:
  Child(pid_t process, OwnedDescriptor descriptor) : process_(process), descriptor_(std::move(descriptor)) {}
  pid_t process_;
  OwnedDescriptor descriptor_;
};

// Ends this process as the program ended: with its status, or by its signal. For the end of main().
[[noreturn]] void end_as(const Ending& ending);

}  // namespace tidemark::host
