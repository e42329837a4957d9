#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/codec.h"
#include "base/crc32c.h"
#include "base/ids.h"
#include "base/result.h"

namespace tidemark::format {

// What the structures of a disk have in common: a magic of eight bytes and a version of four first, the
// CRC32C of all before it last. A newer version keeps these three where they are, so that it is told apart
// from damage.
inline constexpr std::size_t kMagicSizeBytes = 8;

// Writes fields into memory of a fixed size, little-endian; what is left over is zeroed.
class FieldWriter {
 public:
  explicit FieldWriter(MutableBytes out) : out_(out) { std::fill(out.begin(), out.end(), std::byte{0}); }
  void u8(std::uint8_t v) { put(v, 1); }
  void u16(std::uint16_t v) { put(v, 2); }
  void u32(std::uint32_t v) { put(v, 4); }
  void u64(std::uint64_t v) { put(v, 8); }
  void text(std::string_view text) {
    for (char c : text) u8(static_cast<std::uint8_t>(c));
  }
  template <typename Tag>
  void identity(const Identity<Tag>& id) {
    for (std::uint8_t byte : id.bytes) u8(byte);
  }
  void seal(std::size_t crc_offset) {
    TM_ASSERT(at_ <= crc_offset);
    at_ = crc_offset;
    u32(crc32c(out_.first(crc_offset)));
    TM_ASSERT(at_ == out_.size());
  }

 private:
  void put(std::uint64_t v, std::size_t size) {
    TM_ASSERT(at_ + size <= out_.size());
    for (std::size_t i = 0; i < size; ++i) out_[at_ + i] = std::byte(v >> (8 * i));
    at_ += size;
  }
  MutableBytes out_;
  std::size_t at_ = 0;
};

template <typename IdentityType>
IdentityType read_identity(Decoder& decoder) {
  IdentityType id;
  id.bytes = decoder.array<16>();
  return id;
}

inline std::uint32_t stored_crc(Bytes bytes, std::size_t at) {
  return Decoder(bytes.subspan(at, 4)).u32();
}

}  // namespace tidemark::format
