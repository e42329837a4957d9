#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/assert.h"

namespace tidemark::pool {

enum class ExtentState : std::uint8_t {
  kNone,      // thin: no space taken
  kReserved,  // a slot in memory only; a crash gives it back
  kNew,       // written to; its sectors are in the cache or on the disk; the next flush records it
  kRecorded,  // its record is durable
};

struct Extent {
  std::uint64_t generation = 0;
  std::uint32_t slot = 0;
  ExtentState state = ExtentState::kNone;
};
static_assert(sizeof(Extent) == 16);

// The extents of one data volume by their index. Pages of 512 extents (2 GiB of address space) exist only
// where something was mapped: 16 bytes per mapped extent when the volume is full, 8 bytes per 2 GiB when it
// is empty.
class ExtentMap {
 public:
  static constexpr std::uint64_t kPageExtents = 512;

  Extent get(std::uint64_t index) const {
    const std::uint64_t page = index / kPageExtents;
    if (page >= pages_.size() || pages_[page] == nullptr) return {};
    return (*pages_[page])[index % kPageExtents];
  }
  void set(std::uint64_t index, Extent extent) {
    const std::uint64_t page = index / kPageExtents;
    if (page >= pages_.size()) pages_.resize(page + 1);
    if (pages_[page] == nullptr) pages_[page] = std::make_unique<Page>();
    Extent& place = (*pages_[page])[index % kPageExtents];
    if (place.state != ExtentState::kNone) --mapped_count_;
    if (extent.state != ExtentState::kNone) ++mapped_count_;
    place = extent;
  }
  // The first index at or after `from` whose extent was written to.
  std::optional<std::uint64_t> next_written(std::uint64_t from) const {
    return next(from, ExtentState::kNew);
  }
  // The first index at or after `from` that has a slot.
  std::optional<std::uint64_t> next_mapped(std::uint64_t from) const {
    return next(from, ExtentState::kReserved);
  }
  std::uint64_t mapped_count() const { return mapped_count_; }

 private:
  using Page = std::array<Extent, kPageExtents>;
  std::optional<std::uint64_t> next(std::uint64_t from, ExtentState state_min) const {
    std::uint64_t index = from;
    while (index / kPageExtents < pages_.size()) {
      const Page* page = pages_[index / kPageExtents].get();
      if (page == nullptr) {
        index = (index / kPageExtents + 1) * kPageExtents;
        continue;
      }
      if ((*page)[index % kPageExtents].state >= state_min) return index;
      ++index;
    }
    return std::nullopt;
  }
  std::vector<std::unique_ptr<Page>> pages_;
  std::uint64_t mapped_count_ = 0;
};

}  // namespace tidemark::pool
