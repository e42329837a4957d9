#pragma once

#include <cstdint>

#include "base/time.h"

namespace tidemark::control {

// Says which of the lines that anybody can cause are written: `burst` at once, then one each `interval`.
// The others are counted, and the next line that is written tells how many they were.
class RateLimit {
 public:
  RateLimit(std::uint32_t burst, Duration interval) : burst_(burst), interval_(interval), left_(burst) {}

  // Whether a line at `now` is written. Used by one thread at a time.
  bool take(MonotonicTime now) {
    if (left_ == burst_) {
      since_ = now;
    } else if (const std::int64_t gained = (now - since_).ns / interval_.ns; gained > 0) {
      left_ = gained >= burst_ - left_ ? burst_ : left_ + static_cast<std::uint32_t>(gained);
      since_ = left_ == burst_ ? now : since_ + Duration{gained * interval_.ns};
    }
    if (left_ == 0) {
      ++left_out_;
      return false;
    }
    --left_;
    return true;
  }

  // Lines that were not written since this was asked last.
  std::uint64_t take_left_out() {
    const std::uint64_t count = left_out_;
    left_out_ = 0;
    return count;
  }

 private:
  const std::uint32_t burst_;
  const Duration interval_;
  std::uint32_t left_;
  MonotonicTime since_;  // from when on the time counts for the next line
  std::uint64_t left_out_ = 0;
};

}  // namespace tidemark::control
