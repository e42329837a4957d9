#include "os/spin_policy.h"

#include <algorithm>

namespace tidemark::os {
namespace {

constexpr std::int64_t kSpinMinShare = 16;

}  // namespace

bool SpinPolicy::begin_wait() {
  if (spin_max_.ns == 0 || ++waits_ < kWaitsPerLook) return false;
  waits_ = 0;
  return true;
}

void SpinPolicy::look(MonotonicTime now, Duration used, bool cores_are_wanted) {
  const std::int64_t worked_ns = (used - used_then_ - polled_).ns;
  is_busy_ = worked_ns / kBusyPercentMax > (now - looked_at_).ns / 100;
  looked_at_ = now;
  used_then_ = used;
  polled_ = Duration{};
  if (cores_are_wanted) core_was_wanted(now);
}

Duration SpinPolicy::next(MonotonicTime now) const {
  return is_busy_ || now < stand_back_until_ ? Duration{} : spin_;
}

void SpinPolicy::found(Duration polled) {
  polled_ = polled_ + polled;
  spin_ = std::min(spin_max_, Duration{spin_.ns * 2});
}

void SpinPolicy::found_nothing(Duration polled) {
  polled_ = polled_ + polled;
  spin_ = std::max(Duration{spin_.ns / 2}, Duration{spin_max_.ns / kSpinMinShare + 1});
}

void SpinPolicy::core_was_wanted(MonotonicTime now) {
  stand_back_until_ = now + kStandBack;
}

}  // namespace tidemark::os
