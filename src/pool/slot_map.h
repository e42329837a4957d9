#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/assert.h"

namespace tidemark::pool {

// Which slots of a disk are taken, and which free ones the disk has promised space for already. Two bits a
// slot; derived from the tables at open. Owned by the pool; says nothing of what is durable.
class SlotMap {
 public:
  explicit SlotMap(std::uint64_t slot_count)
      : slot_count_(slot_count), used_((slot_count + 63) / 64), backed_((slot_count + 63) / 64) {}

  std::uint64_t slot_count() const { return slot_count_; }
  std::uint64_t used_count() const { return used_count_; }
  bool is_used(std::uint64_t slot) const { return test(used_, slot); }
  bool is_backed(std::uint64_t slot) const { return test(backed_, slot); }

  void take(std::uint64_t slot) {
    TM_ASSERT(!is_used(slot));
    used_[slot / 64] |= bit(slot);
    ++used_count_;
  }
  // `keeps_space`: the disk still holds its space, nothing has to be promised when it is taken again.
  void release(std::uint64_t slot, bool keeps_space) {
    TM_ASSERT(is_used(slot));
    used_[slot / 64] &= ~bit(slot);
    set_backed(slot, keeps_space);
    --used_count_;
    if (slot < first_free_hint_) first_free_hint_ = slot;
  }
  void set_backed(std::uint64_t slot, bool backed) {
    if (backed) {
      backed_[slot / 64] |= bit(slot);
    } else {
      backed_[slot / 64] &= ~bit(slot);
    }
  }

  // The lowest free slot: data extents fill the disk from its start.
  std::optional<std::uint64_t> first_free();
  // The lowest slot that is free and has its space.
  std::optional<std::uint64_t> first_free_backed() const;
  // How many slots from `slot` on are free and not backed, `length_max` at most.
  std::uint64_t unbacked_run(std::uint64_t slot, std::uint64_t length_max) const;
  // The highest run of `length` free slots: log volumes lie towards the end, where extents come last.
  std::optional<std::uint64_t> last_free_run(std::uint64_t length) const;

 private:
  static std::uint64_t bit(std::uint64_t slot) { return std::uint64_t{1} << (slot % 64); }
  bool test(const std::vector<std::uint64_t>& words, std::uint64_t slot) const {
    TM_ASSERT(slot < slot_count_);
    return (words[slot / 64] & bit(slot)) != 0;
  }
  std::uint64_t slot_count_;
  std::uint64_t used_count_ = 0;
  std::uint64_t first_free_hint_ = 0;  // every slot below it is used
  std::vector<std::uint64_t> used_;
  std::vector<std::uint64_t> backed_;
};

}  // namespace tidemark::pool
