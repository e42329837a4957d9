#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/bytes.h"

namespace tidemark::raid::parity {

// P is the sum of the data units and Q the sum of g^i times unit i, byte by byte in GF(2^8) with the
// polynomial x^8 + x^4 + x^3 + x^2 + 1 (0x11d) and g = 2: what ISA-L and Linux md use (H. P. Anvin, "The
// mathematics of RAID-6"). All memory is aligned to 32 bytes and all lengths are multiples of 512.

// `roles` are the data units, then P, then Q where there is one. Makes the parities; 2 data units at least.
void generate(std::span<std::byte* const> roles, std::uint32_t parities, std::size_t length_bytes);

// Makes good what the roles in `missing` (ascending, at most `parities` of them) should hold, from the
// others.
void recover(std::span<std::byte* const> roles, std::uint32_t parities,
             const std::vector<std::uint32_t>& missing, std::size_t length_bytes);

// to ^= from.
void add(std::byte* to, const std::byte* from, std::size_t length_bytes);
// to ^= g^power · from.
void add_scaled(std::byte* to, const std::byte* from, std::uint32_t power, std::size_t length_bytes);

}  // namespace tidemark::raid::parity
