#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/bytes.h"

namespace tidemark::raid {

// The bytes of a write, in pieces, seen as one run. No byte is copied.
class Gather {
 public:
  Gather() = default;
  explicit Gather(std::vector<Buffer> pieces) : pieces_(std::move(pieces)) {
    for (const Buffer& piece : pieces_) {
      begins_.push_back(size_bytes_);
      size_bytes_ += piece.size();
    }
  }
  std::uint64_t size_bytes() const { return size_bytes_; }
  // Appends the slices that make [begin, begin + length).
  void slice(std::uint64_t begin, std::uint64_t length_bytes, std::vector<Buffer>* out) const {
    for (std::size_t i = find(begin); length_bytes > 0; ++i) {
      const std::uint64_t inside = begin - begins_[i];
      const std::uint64_t step = std::min<std::uint64_t>(length_bytes, pieces_[i].size() - inside);
      if (step > 0) out->push_back(pieces_[i].slice(inside, step));
      begin += step;
      length_bytes -= step;
    }
  }
  // The memory at `begin`, and how many bytes of it lie together.
  std::pair<std::byte*, std::uint64_t> at(std::uint64_t begin) const {
    const std::size_t i = find(begin);
    const std::uint64_t inside = begin - begins_[i];
    return {pieces_[i].data() + inside, pieces_[i].size() - inside};
  }

 private:
  std::size_t find(std::uint64_t at) const {
    TM_ASSERT(at < size_bytes_);
    return static_cast<std::size_t>(std::upper_bound(begins_.begin(), begins_.end(), at) - begins_.begin()) -
           1;
  }
  std::vector<Buffer> pieces_;
  std::vector<std::uint64_t> begins_;
  std::uint64_t size_bytes_ = 0;
};

}  // namespace tidemark::raid
