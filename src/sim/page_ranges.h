#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>

namespace tidemark::sim {

// A set of pages, kept as disjoint half-open ranges, so that promising a terabyte costs one entry.
class PageRanges {
 public:
  std::uint64_t pages() const { return pages_; }

  // How many of [begin, end) are not in the set.
  std::uint64_t pages_missing(std::uint64_t begin, std::uint64_t end) const {
    if (begin >= end) return 0;
    std::uint64_t held = 0;
    auto at = ranges_.upper_bound(begin);
    if (at != ranges_.begin()) --at;
    for (; at != ranges_.end() && at->first < end; ++at) {
      const std::uint64_t from = std::max(begin, at->first);
      const std::uint64_t to = std::min(end, at->second);
      if (from < to) held += to - from;
    }
    return end - begin - held;
  }

  void insert(std::uint64_t begin, std::uint64_t end) {
    if (begin >= end) return;
    auto at = ranges_.upper_bound(begin);
    if (at != ranges_.begin() && std::prev(at)->second >= begin) --at;
    while (at != ranges_.end() && at->first <= end) {
      begin = std::min(begin, at->first);
      end = std::max(end, at->second);
      pages_ -= at->second - at->first;
      at = ranges_.erase(at);
    }
    ranges_.emplace(begin, end);
    pages_ += end - begin;
  }

  void erase(std::uint64_t begin, std::uint64_t end) {
    if (begin >= end) return;
    auto at = ranges_.upper_bound(begin);
    if (at != ranges_.begin()) --at;
    while (at != ranges_.end() && at->first < end) {
      const auto [first, last] = *at;
      if (last <= begin) {
        ++at;
        continue;
      }
      pages_ -= last - first;
      at = ranges_.erase(at);
      if (first < begin) {
        ranges_.emplace(first, begin);
        pages_ += begin - first;
      }
      if (end < last) {
        ranges_.emplace(end, last);
        pages_ += last - end;
        break;
      }
    }
  }

 private:
  std::map<std::uint64_t, std::uint64_t> ranges_;  // begin -> end
  std::uint64_t pages_ = 0;
};

}  // namespace tidemark::sim
