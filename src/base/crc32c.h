#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace tidemark {

// CRC-32C (Castagnoli, reflected polynomial 0x82f63b78, initial and final complement) as in RFC 3720
// section B.4: crc32c("123456789") is 0xe3069283.
std::uint32_t crc32c(Bytes bytes);
// The checksum of `a` followed by `bytes`, given crc32c(a).
std::uint32_t crc32c_extend(std::uint32_t crc, Bytes bytes);

}  // namespace tidemark
