#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/bytes.h"

namespace tidemark::format {

inline std::string hex(Bytes bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const std::byte byte : bytes) {
    text.push_back(kDigits[static_cast<unsigned>(byte) >> 4]);
    text.push_back(kDigits[static_cast<unsigned>(byte) & 15]);
  }
  return text;
}

// Hands every copy of `bytes` with one bit of one byte flipped to `check(copy, byte position)`.
template <typename Check>
void for_each_flip(Bytes bytes, Check check) {
  std::vector<std::byte> copy(bytes.begin(), bytes.end());
  for (std::size_t at = 0; at < copy.size(); ++at) {
    const std::byte flip{static_cast<unsigned char>(1u << (at % 8))};
    copy[at] ^= flip;
    check(Bytes(copy), at);
    copy[at] ^= flip;
  }
}

// Hands every proper prefix of `bytes` to `check`.
template <typename Check>
void for_each_truncation(Bytes bytes, Check check) {
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    // A copy of its own, so that a sanitizer sees a read past its end.
    const std::vector<std::byte> prefix(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length));
    check(Bytes(prefix));
  }
}

}  // namespace tidemark::format
