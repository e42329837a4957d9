#include "pool/slot_map.h"

#include <bit>

namespace tidemark::pool {

std::optional<std::uint64_t> SlotMap::first_free() {
  for (std::uint64_t word = first_free_hint_ / 64; word < used_.size(); ++word) {
    if (used_[word] == ~std::uint64_t{0}) continue;
    const std::uint64_t slot = word * 64 + static_cast<std::uint64_t>(std::countr_one(used_[word]));
    if (slot >= slot_count_) break;
    first_free_hint_ = slot;
    return slot;
  }
  first_free_hint_ = slot_count_;
  return std::nullopt;
}

std::optional<std::uint64_t> SlotMap::first_free_backed() const {
  for (std::uint64_t slot = 0; slot < slot_count_; ++slot) {
    if (!is_used(slot) && is_backed(slot)) return slot;
  }
  return std::nullopt;
}

std::uint64_t SlotMap::unbacked_run(std::uint64_t slot, std::uint64_t length_max) const {
  std::uint64_t length = 0;
  while (length < length_max && slot + length < slot_count_ && !is_used(slot + length) &&
         !is_backed(slot + length)) {
    ++length;
  }
  return length;
}

std::optional<std::uint64_t> SlotMap::last_free_run(std::uint64_t length) const {
  if (length == 0 || length > slot_count_) return std::nullopt;
  std::uint64_t run = 0;
  for (std::uint64_t slot = slot_count_; slot-- > 0;) {
    // A full word breaks any run and is passed over at once.
    if (slot % 64 == 63 && used_[slot / 64] == ~std::uint64_t{0}) {
      run = 0;
      slot -= 63;
      continue;
    }
    run = is_used(slot) ? 0 : run + 1;
    if (run == length) return slot;
  }
  return std::nullopt;
}

}  // namespace tidemark::pool
