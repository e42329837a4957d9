#pragma once

#include <cstdlib>
#include <optional>
#include <string>

#include "io/environment.h"

namespace tidemark::node {

// Sees the wall clock jump: it is compared with monotonic time whenever look() is called. Nothing in a group
// depends on the wall clock's going evenly (ages are measured on monotonic time, timer values never go back),
// but whoever names a point by its time should know.
class ClockWatch {
 public:
  struct Jump {
    WallTime at{};  // on the clock after the jump
    Duration by{};  // negative: back
    MonotonicTime seen{};
  };

  // Less is drift, or a clock being set right slowly.
  static constexpr Duration kJumpMin = Duration::seconds(60);
  // So long the latest jump is news.
  static constexpr Duration kNewsFor = Duration::seconds(24 * 3600);

  explicit ClockWatch(const io::Environment& environment) : environment_(environment) {
    distance_ = distance();
  }

  // The jump since the last look, if there was one.
  std::optional<Jump> look() {
    const std::int64_t now = distance();
    const Duration by{now - distance_};
    distance_ = now;
    if (std::abs(by.ns) < kJumpMin.ns) return std::nullopt;
    latest_ = Jump{.at = environment_.clock.now(), .by = by, .seen = environment_.scheduler.now()};
    return latest_;
  }
  // The latest jump, as long as it is news.
  std::optional<Jump> latest() const {
    if (latest_.has_value() && environment_.scheduler.now() - latest_->seen > kNewsFor) return std::nullopt;
    return latest_;
  }

 private:
  std::int64_t distance() const { return environment_.clock.now().ns - environment_.scheduler.now().ns; }

  io::Environment environment_;
  std::int64_t distance_ = 0;
  std::optional<Jump> latest_;
};

inline std::string describe_jump(const ClockWatch::Jump& jump) {
  const Duration size = Duration::seconds((std::abs(jump.by.ns) + 500'000'000) / 1'000'000'000);
  return "the wall clock went " + std::string(jump.by.ns < 0 ? "back" : "forward") + " by " +
         format_duration(size) + " at once (it was set, or the machine slept)";
}

}  // namespace tidemark::node
