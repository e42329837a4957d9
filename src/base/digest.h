#pragma once

#include <array>
#include <cstdint>

#include "base/bytes.h"

namespace tidemark {

// The first 128 bits of a SHA-256 (FIPS 180-4), as big-endian words. Two contents with the same digest are
// taken to be the same: nobody has found two, by chance or on purpose.
using Digest = std::array<std::uint32_t, 4>;
Digest digest_of(Bytes bytes);

}  // namespace tidemark
