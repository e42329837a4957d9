#pragma once

#include <cstdint>
#include <list>
#include <utility>

#include "io/sync.h"

namespace tidemark::raid {

// Whoever changes bytes, or makes them from those of other members, holds their range. Granted in order of
// arrival among those that overlap, so nobody starves, and whoever holds one range at most cannot be part of
// a deadlock. Reactor thread only; outlives those who wait and hold.
class RangeLock {
  struct Range {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
  };

 public:
  explicit RangeLock(io::Scheduler& scheduler) : released_(scheduler) {}

  class [[nodiscard]] Guard {
   public:
    Guard(RangeLock* lock, std::list<Range>::iterator place) : lock_(lock), place_(place) {}
    Guard(Guard&& other) noexcept : lock_(std::exchange(other.lock_, nullptr)), place_(other.place_) {}
    Guard& operator=(Guard&&) = delete;
    ~Guard() {
      if (lock_ == nullptr) return;
      lock_->ranges_.erase(place_);
      lock_->released_.wake_all();
    }

   private:
    RangeLock* lock_;
    std::list<Range>::iterator place_;
  };

  // [begin, end)
  io::Task<Guard> lock(std::uint64_t begin, std::uint64_t end) {
    Range range;
    range.begin = begin;
    range.end = end;
    const auto place = ranges_.insert(ranges_.end(), range);
    Guard guard(this, place);
    while (is_behind_another(place)) co_await released_.wait();
    co_return std::move(guard);
  }

 private:
  bool is_behind_another(std::list<Range>::const_iterator place) const {
    for (auto at = ranges_.begin(); at != place; ++at) {
      if (at->begin < place->end && place->begin < at->end) return true;
    }
    return false;
  }
  std::list<Range> ranges_;  // held, and waiting behind them
  io::WaitQueue released_;
};

}  // namespace tidemark::raid
