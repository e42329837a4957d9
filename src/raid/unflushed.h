#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace tidemark::raid {

// Ranges of the members that were written in place without an entry of the stripe journal, and that no flush
// has covered since: a crash may take any of it back. It may name more than there is, never less.
class UnflushedRanges {
 public:
  // The write of [begin, end) has ended, well or not. Whoever calls holds that range.
  void add(std::uint64_t begin, std::uint64_t end) {
    ++clock_;
    Range range;
    range.begin = begin;
    range.end = end;
    range.ended_at = clock_;
    // Those it touches become one with it; and the last one, when they are too many.
    std::erase_if(ranges_, [&range](const Range& other) {
      const bool touches = other.begin <= range.end && range.begin <= other.end;
      if (touches) range.grow(other);
      return touches;
    });
    if (ranges_.size() == kRangesMax) {
      range.grow(ranges_.back());
      ranges_.pop_back();
    }
    ranges_.push_back(range);
  }
  bool overlaps(std::uint64_t begin, std::uint64_t end) const {
    return std::ranges::any_of(
        ranges_, [begin, end](const Range& range) { return range.begin < end && begin < range.end; });
  }
  // All writes that ended before mark() was called are durable.
  std::uint64_t mark() const { return clock_; }
  void flushed(std::uint64_t mark) {
    std::erase_if(ranges_, [mark](const Range& range) { return range.ended_at <= mark; });
  }

 private:
  static constexpr std::size_t kRangesMax = 256;
  struct Range {
    std::uint64_t begin = 0, end = 0;
    std::uint64_t ended_at = 0;  // clock_ at the last of its writes
    void grow(const Range& other) {
      begin = std::min(begin, other.begin);
      end = std::max(end, other.end);
    }
  };
  std::vector<Range> ranges_;
  std::uint64_t clock_ = 0;
};

}  // namespace tidemark::raid
