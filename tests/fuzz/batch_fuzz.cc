// The meta of a batch. A checksum stands at its end, so that chance never gets past it: each input is tried
// as it is and again with its checksum set right.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/assert.h"
#include "base/crc32c.h"
#include "format/batch.h"

namespace {

void try_decode(tidemark::Bytes bytes) {
  const auto decoded = tidemark::format::decode_batch_meta(bytes);
  if (decoded.ok()) TM_ASSERT(std::ranges::equal(tidemark::format::encode_batch_meta(decoded->meta), bytes));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::byte> bytes(size);
  std::transform(data, data + size, bytes.begin(), [](std::uint8_t byte) { return std::byte{byte}; });
  try_decode(bytes);
  if (size < 4) return 0;
  const std::uint32_t checksum = tidemark::crc32c(tidemark::Bytes(bytes).first(size - 4));
  for (std::size_t i = 0; i < 4; ++i) bytes[size - 4 + i] = std::byte(checksum >> (8 * i));
  try_decode(bytes);
  return 0;
}
