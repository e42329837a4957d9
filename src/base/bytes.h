#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/assert.h"

namespace tidemark {

using Bytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

inline Bytes as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

// A slice of a reference-counted allocation. Memory is aligned to 4096 bytes at the start of the
// allocation, so a slice at a multiple of 4096 can go to a disk opened with O_DIRECT. Copies share;
// the memory goes when the last slice goes. Contents may be written only by whoever knows that no
// other slice of the same bytes is being read. Slices may be dropped on any thread.
class Buffer {
 public:
  Buffer() = default;
  // Uninitialised memory of `size_bytes`. Allocation failure ends the process.
  static Buffer allocate(std::size_t size_bytes);
  static Buffer copy_of(Bytes bytes);

  Buffer(const Buffer& other);
  Buffer(Buffer&& other) noexcept
      : control_(std::exchange(other.control_, nullptr)),
        data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)) {}
  Buffer& operator=(Buffer other) noexcept {
    std::swap(control_, other.control_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Buffer();

  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  operator Bytes() const { return {data_, size_}; }
  MutableBytes writable() const { return {data_, size_}; }
  // The slice [begin, begin + length) of this slice.
  Buffer slice(std::size_t begin, std::size_t length) const;
  // True when no other slice of the allocation exists: its owner may write over it.
  bool unique() const;

 private:
  struct Control;
  Control* control_ = nullptr;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

bool all_zero(Bytes bytes);

inline constexpr std::size_t kZeroesBytesMax = 1 << 20;
// `size_bytes` of zeroes to write from, at most kZeroesBytesMax. All that are asked for are slices of the
// same memory, which nobody may write to.
Buffer zeroes(std::size_t size_bytes);

}  // namespace tidemark
