#pragma once

#include "base/time.h"

namespace tidemark::os {

// Decides how long a reactor polls for completions before it sleeps. Being woken costs tens of microseconds
// on a core that has gone idle, most of what a request at depth 1 takes; polling spares that and burns the
// core instead. So it is done only where it pays:
//
//   - The time doubles when polling found something, up to the most, and halves when it did not, down to a
//     sixteenth of the most: an idle node burns next to nothing.
//   - A thread that works most of the time gains nothing by looking sooner: it would find less each time, and
//     pay for each look. With more than kBusyPercentMax of work there is no polling.
//   - When more threads of the machine want to run than it has cores, or somebody had the core meanwhile,
//     there is none for kStandBack.
//
// One for each reactor, on its thread. No call fails.
class SpinPolicy {
 public:
  static constexpr int kBusyPercentMax = 60;
  // The machine and how much of the time is work are looked at once in so many waits: they are system calls.
  static constexpr int kWaitsPerLook = 16;
  static constexpr Duration kStandBack = Duration::milliseconds(10);
  // Two looks in a row that lie further apart: another thread had the core in between, with work of its own.
  // The threads of the kernel that finish our own I/O take less.
  static constexpr Duration kGapMax = Duration::microseconds(50);

  // From 0, which never polls, to kSpinMax: what takes longer does not get faster by it.
  static constexpr Duration kSpinMax = Duration::milliseconds(10);
  explicit SpinPolicy(Duration spin_max) : spin_max_(spin_max), spin_(spin_max) {}

  // A wait begins: whether look() is due.
  bool begin_wait();
  // The processor time that the thread has used so far, polling included; whether threads wait for a core.
  void look(MonotonicTime now, Duration used, bool cores_are_wanted);
  // How long to poll now; 0: sleep at once.
  Duration next(MonotonicTime now) const;
  // Polling ended, after so much of processor time.
  void found(Duration polled);
  void found_nothing(Duration polled);
  void core_was_wanted(MonotonicTime now);

 private:
  Duration spin_max_;
  Duration spin_;
  bool is_busy_ = false;
  int waits_ = 0;  // since the last look
  MonotonicTime looked_at_{};
  Duration used_then_{};
  Duration polled_{};  // since the last look
  MonotonicTime stand_back_until_{};
};

}  // namespace tidemark::os
