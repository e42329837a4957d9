#include "base/crc32c.h"

#include <isa-l/crc.h>

namespace tidemark {

std::uint32_t crc32c(Bytes bytes) {
  return crc32c_extend(0, bytes);
}

std::uint32_t crc32c_extend(std::uint32_t crc, Bytes bytes) {
  // ISA-L takes an int length and computes the raw register, without the two complements.
  std::uint32_t state = ~crc;
  auto* at = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(bytes.data()));
  std::size_t left = bytes.size();
  constexpr std::size_t kStepBytesMax = 1u << 30;
  while (left > 0) {
    const std::size_t step = left < kStepBytesMax ? left : kStepBytesMax;
    state = crc32_iscsi(at, static_cast<int>(step), state);
    at += step;
    left -= step;
  }
  return ~state;
}

}  // namespace tidemark
