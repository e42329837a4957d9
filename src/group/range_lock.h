#pragma once

#include <list>
#include <utility>

#include "base/ids.h"
#include "io/sync.h"

namespace tidemark::group {

// Blocks of one volume that somebody owns between reading them and appending them (a write that covers a
// block in part), or while their space is given back. Whoever writes waits for owners of blocks it touches.
// Held by a volume; reactor thread only.
class RangeLock {
 public:
  explicit RangeLock(io::Scheduler& scheduler) : released_(scheduler) {}

  class [[nodiscard]] Guard {
   public:
    Guard() = default;
    Guard(RangeLock* lock, std::list<BlockRange>::iterator place) : lock_(lock), place_(place) {}
    Guard(Guard&& other) noexcept : lock_(std::exchange(other.lock_, nullptr)), place_(other.place_) {}
    Guard& operator=(Guard&& other) noexcept {
      if (this != &other) {
        release();
        lock_ = std::exchange(other.lock_, nullptr);
        place_ = other.place_;
      }
      return *this;
    }
    ~Guard() { release(); }

   private:
    void release() {
      if (lock_ == nullptr) return;
      lock_->held_.erase(place_);
      lock_->released_.wake_all();
      lock_ = nullptr;
    }
    RangeLock* lock_ = nullptr;
    std::list<BlockRange>::iterator place_{};
  };

  bool is_free(BlockRange blocks) const {
    for (const BlockRange& held : held_) {
      if (held.overlaps(blocks)) return false;
    }
    return true;
  }
  // The first of what is held of them, as its owner holds it; empty when they are free.
  BlockRange first_held(BlockRange blocks) const {
    BlockRange first{};
    for (const BlockRange& held : held_) {
      if (held.overlaps(blocks) && (first.empty() || held.begin < first.begin)) first = held;
    }
    return first;
  }
  // The caller saw is_free() with no await in between.
  Guard take(BlockRange blocks) { return Guard(this, held_.insert(held_.end(), blocks)); }
  io::Task<Guard> lock(BlockRange blocks) {
    while (!is_free(blocks)) co_await released_.wait();
    co_return take(blocks);
  }

 private:
  std::list<BlockRange> held_;
  io::WaitQueue released_;
};

}  // namespace tidemark::group
