#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/crc32c.h"

// What the fuzz targets share. A target takes its input twice: as the bytes themselves, and laid over a good
// example whose checksum is then set right. The first shows that nothing at all gets past the checks at the
// door; the second reaches what lies behind a magic and a checksum, which chance never does.
namespace tidemark::fuzz {

// `input` XORed over `example`; what is longer goes behind it. So the empty input is the example itself, and
// one byte of input changes one field.
inline std::vector<std::byte> laid_over(Bytes example, Bytes input) {
  std::vector<std::byte> out(example.begin(), example.end());
  out.resize(std::max(example.size(), input.size()));
  for (std::size_t i = 0; i < input.size(); ++i) out[i] ^= input[i];
  return out;
}

// Writes the four bytes at `at`, little-endian.
inline void put_u32(MutableBytes bytes, std::size_t at, std::uint32_t value) {
  for (std::size_t i = 0; i < 4; ++i) bytes[at + i] = std::byte(value >> (8 * i));
}

// Makes the last four bytes the CRC32C of all before them.
inline void seal(MutableBytes bytes) {
  if (bytes.size() < 4) return;
  put_u32(bytes, bytes.size() - 4, crc32c(bytes.first(bytes.size() - 4)));
}

// Whatever decodes is encoded to the same bytes: for formats that have one form for each value.
template <typename Decode, typename Encode>
void check_exact(Bytes bytes, Decode decode, Encode encode) {
  const auto decoded = decode(bytes);
  if (decoded.ok()) TM_ASSERT(std::ranges::equal(Bytes(encode(*decoded)), bytes));
}

// Whatever decodes is encoded to bytes that decode again, to what encodes alike: for formats whose reader
// passes over reserved bits.
template <typename Decode, typename Encode>
void check_stable(Bytes bytes, Decode decode, Encode encode) {
  const auto decoded = decode(bytes);
  if (!decoded.ok()) return;
  const auto encoded = encode(*decoded);
  const auto again = decode(encoded);
  TM_ASSERT(again.ok());
  TM_ASSERT(std::ranges::equal(Bytes(encode(*again)), Bytes(encoded)));
}

// The same where the decoded type can be compared.
template <typename Decode, typename Encode>
void check_same(Bytes bytes, Decode decode, Encode encode) {
  const auto decoded = decode(bytes);
  if (!decoded.ok()) return;
  const auto again = decode(encode(*decoded));
  TM_ASSERT(again.ok());
  TM_ASSERT(*again == *decoded);
}

}  // namespace tidemark::fuzz
