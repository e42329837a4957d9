#pragma once

#include <algorithm>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "base/assert.h"

namespace tidemark::pool {

// Is told of each slot whose content, or whose checksums, are about to change.
class SlotObserver {
 public:
  virtual void slot_changes(std::uint64_t slot) = 0;
  virtual void pool_ends() = 0;

 protected:
  ~SlotObserver() = default;
};

// Which slots are being written to, and who wants to know. Owned by the pool.
class SlotWatch {
 public:
  SlotWatch() = default;
  SlotWatch(const SlotWatch&) = delete;
  SlotWatch& operator=(const SlotWatch&) = delete;
  ~SlotWatch() {
    for (SlotObserver* observer : observers_) observer->pool_ends();
  }

  // Held from before a write to blocks of a slot until their checksums are what was written.
  class Writing {
   public:
    Writing(SlotWatch& watch, std::uint64_t slot) : watch_(watch), slot_(slot) {
      ++watch_.writes_[slot_];
      watch_.changes(slot_);
    }
    Writing(const Writing&) = delete;
    Writing& operator=(const Writing&) = delete;
    ~Writing() {
      const auto at = watch_.writes_.find(slot_);
      TM_ASSERT(at != watch_.writes_.end());
      if (--at->second == 0) watch_.writes_.erase(at);
      watch_.changes(slot_);
    }

   private:
    SlotWatch& watch_;
    const std::uint64_t slot_;
  };

  void changes(std::uint64_t slot) {
    for (SlotObserver* observer : observers_) observer->slot_changes(slot);
  }
  bool is_being_written(std::uint64_t slot) const { return writes_.contains(slot); }
  void add(SlotObserver& observer) { observers_.push_back(&observer); }
  void remove(SlotObserver& observer) { std::erase(observers_, &observer); }

 private:
  std::unordered_map<std::uint64_t, std::uint32_t> writes_;  // how many at once
  std::vector<SlotObserver*> observers_;
};

}  // namespace tidemark::pool
