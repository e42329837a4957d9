#pragma once

#include "base/time.h"

namespace tidemark::os {

// Decides how long a reactor polls for completions before it sleeps. Being woken costs tens of microseconds
// on a core that has gone idle, most of what a request at depth 1 takes; polling spares that and burns the
// core instead. So it is done only where it pays:
//
//   - The time doubles when polling found something, up to the most, and halves when it did not, down to a
//     sixteenth of the most: an idle node burns next to nothing.
//   - A thread with much to do gains nothing by looking sooner: it would find less each time, and pay for
//     each look. With more than kBusyMax of work between two waits there is no polling.
//   - When somebody else wanted the core meanwhile, there is none for kStandBack.
//
// One for each reactor, on its thread. No call fails.
class SpinPolicy {
 public:
  static constexpr Duration kBusyMax = Duration::microseconds(20);
  static constexpr Duration kStandBack = Duration::milliseconds(10);
  // Two looks in a row that lie further apart: another thread had the core in between, with work of its own.
  // The threads of the kernel that finish our own I/O take less.
  static constexpr Duration kGapMax = Duration::microseconds(50);

  // `spin_max` 0: never poll.
  explicit SpinPolicy(Duration spin_max) : spin_max_(spin_max), spin_(spin_max) {}

  bool enabled() const { return spin_max_.ns > 0; }
  // How long to poll now, at `now`, when the last wait ended at `busy_since`; 0: sleep at once.
  Duration next(MonotonicTime now, MonotonicTime busy_since);
  void found();
  void found_nothing();
  void core_was_wanted(MonotonicTime now);

 private:
  Duration spin_max_;
  Duration spin_;
  Duration busy_{};  // between two waits, as a moving average
  MonotonicTime stand_back_until_{};
};

}  // namespace tidemark::os
