#include "os/environment.h"

#include <sys/random.h>

#include <ctime>

#include "base/assert.h"

namespace tidemark::os {

WallTime SystemClock::now() const {
  timespec time{};
  ::clock_gettime(CLOCK_REALTIME, &time);
  return WallTime{std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec};
}

std::uint64_t SystemRandom::next() {
  if (left_ == 0) {
    // Up to 256 bytes come whole and are never interrupted (getrandom(2)).
    static_assert(sizeof pool_ <= 256);
    TM_ASSERT(::getrandom(pool_.data(), sizeof pool_, 0) == sizeof pool_);
    left_ = pool_.size();
  }
  --left_;
  const std::uint64_t value = pool_[left_];
  pool_[left_] = 0;  // nothing that was given out stays in memory
  return value;
}

}  // namespace tidemark::os
