#pragma once

#include <compare>
#include <cstdint>

#include "base/assert.h"

namespace tidemark {

// Where a 4 KiB block lies in a group's journal: the generation of the segment (a number that grows
// with every segment taken into use and is never used twice in a journal's life) and the block
// within the segment. Places grow in the order in which this node appended. A place whose segment
// was freed never becomes valid again. 0 is no place.
class Place {
 public:
  static constexpr std::uint64_t kGenerationMax = (1ull << 40) - 1;
  static constexpr std::uint32_t kBlockMax = (1u << 24) - 1;  // segments of up to 64 GiB

  constexpr Place() = default;
  constexpr Place(std::uint64_t generation, std::uint32_t block) : raw_(generation << 24 | block) {}
  static constexpr Place from_raw(std::uint64_t raw) {
    Place place;
    place.raw_ = raw;
    return place;
  }
  constexpr std::uint64_t generation() const { return raw_ >> 24; }
  constexpr std::uint32_t block() const { return static_cast<std::uint32_t>(raw_) & kBlockMax; }
  constexpr std::uint64_t raw() const { return raw_; }
  constexpr bool is_none() const { return raw_ == 0; }
  // `blocks` further on in the same segment.
  constexpr Place plus(std::uint32_t blocks) const { return from_raw(raw_ + blocks); }
  constexpr auto operator<=>(const Place&) const = default;

 private:
  std::uint64_t raw_ = 0;
};

}  // namespace tidemark
