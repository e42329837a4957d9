#include "os/spin_policy.h"

#include <algorithm>

namespace tidemark::os {
namespace {

// Weight of the newest among the times between two waits: one in so many.
constexpr std::int64_t kBusyShare = 8;
constexpr std::int64_t kSpinMinShare = 16;

}  // namespace

Duration SpinPolicy::next(MonotonicTime now, MonotonicTime busy_since) {
  if (!enabled()) return Duration{};
  // One long step, such as opening a group, counts as no more than a few of those that matter.
  const std::int64_t busy_ns = std::min((now - busy_since).ns, 4 * kBusyMax.ns);
  busy_.ns += (busy_ns - busy_.ns) / kBusyShare;
  if (busy_ > kBusyMax || now < stand_back_until_) return Duration{};
  return spin_;
}

void SpinPolicy::found() {
  spin_ = std::min(spin_max_, Duration{spin_.ns * 2});
}

void SpinPolicy::found_nothing() {
  spin_ = std::max(Duration{spin_.ns / 2}, Duration{spin_max_.ns / kSpinMinShare + 1});
}

void SpinPolicy::core_was_wanted(MonotonicTime now) {
  stand_back_until_ = now + kStandBack;
}

}  // namespace tidemark::os
