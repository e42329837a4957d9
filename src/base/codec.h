#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace tidemark {

// Appends fields to a byte string, one by one, little-endian.
class Encoder {
 public:
  void u8(std::uint8_t v) { put(v, 1); }
  void u16(std::uint16_t v) { put(v, 2); }
  void u32(std::uint32_t v) { put(v, 4); }
  void u64(std::uint64_t v) { put(v, 8); }
  void i64(std::int64_t v) { put(static_cast<std::uint64_t>(v), 8); }
  void raw(Bytes bytes) { out_.insert(out_.end(), bytes.begin(), bytes.end()); }
  template <std::size_t N>
  void raw(const std::array<std::uint8_t, N>& bytes) {
    for (std::uint8_t byte : bytes) u8(byte);
  }
  // A length in 32 bits, then the bytes.
  void text(std::string_view text) {
    u32(static_cast<std::uint32_t>(text.size()));
    raw(as_bytes(text));
  }
  // Zeroes up to the next multiple of `alignment_bytes`.
  void pad_to(std::size_t alignment_bytes) {
    while (out_.size() % alignment_bytes != 0) u8(0);
  }
  std::size_t size() const { return out_.size(); }
  // Overwrites four bytes written before, as for a checksum that comes last.
  void patch_u32(std::size_t at, std::uint32_t v) {
    TM_ASSERT(at + 4 <= out_.size());
    for (int i = 0; i < 4; ++i) out_[at + static_cast<std::size_t>(i)] = std::byte(v >> (8 * i));
  }
  Bytes bytes() const { return out_; }
  std::vector<std::byte> take() { return std::move(out_); }

 private:
  void put(std::uint64_t v, int size) {
    for (int i = 0; i < size; ++i) out_.push_back(std::byte(v >> (8 * i)));
  }
  std::vector<std::byte> out_;
};

// Reads fields from bytes that may be anything. A read past the end yields zeroes and sets failed();
// the caller checks once, after the last field, and never uses a length it has not bounded.
class Decoder {
 public:
  explicit Decoder(Bytes bytes) : rest_(bytes) {}
  std::uint8_t u8() { return static_cast<std::uint8_t>(get(1)); }
  std::uint16_t u16() { return static_cast<std::uint16_t>(get(2)); }
  std::uint32_t u32() { return static_cast<std::uint32_t>(get(4)); }
  std::uint64_t u64() { return get(8); }
  std::int64_t i64() { return static_cast<std::int64_t>(get(8)); }
  Bytes raw(std::size_t size) {
    if (size > rest_.size()) {
      failed_ = true;
      rest_ = {};
      return {};
    }
    Bytes out = rest_.first(size);
    rest_ = rest_.subspan(size);
    return out;
  }
  template <std::size_t N>
  std::array<std::uint8_t, N> array() {
    std::array<std::uint8_t, N> out{};
    Bytes bytes = raw(N);
    for (std::size_t i = 0; i < bytes.size(); ++i) out[i] = static_cast<std::uint8_t>(bytes[i]);
    return out;
  }
  std::string text(std::size_t length_max) {
    const std::uint32_t length = u32();
    if (length > length_max) {
      failed_ = true;
      rest_ = {};
      return {};
    }
    Bytes bytes = raw(length);
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  bool failed() const { return failed_; }
  std::size_t remaining() const { return rest_.size(); }
  // True when every field was there and nothing is left over.
  bool done() const { return !failed_ && rest_.empty(); }

 private:
  std::uint64_t get(std::size_t size) {
    Bytes bytes = raw(size);
    std::uint64_t v = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      v |= static_cast<std::uint64_t>(bytes[i]) << (8 * i);
    }
    return v;
  }
  Bytes rest_;
  bool failed_ = false;
};

}  // namespace tidemark
