#include "raid/parity.h"

#include <gtest/gtest.h>

#include <cstring>

#include "sim/random.h"

namespace tidemark::raid {
namespace {

constexpr std::size_t kLength = 8192;

struct Roles {
  std::vector<Buffer> buffers;
  std::vector<std::byte*> pointers() const {
    std::vector<std::byte*> out;
    for (const Buffer& buffer : buffers) out.push_back(buffer.data());
    return out;
  }
};

Roles make_roles(std::uint32_t cells, std::uint32_t parities, std::uint64_t seed) {
  sim::SeededRandom random(seed);
  Roles roles;
  for (std::uint32_t i = 0; i < cells + parities; ++i) {
    Buffer buffer = Buffer::allocate(kLength);
    for (std::byte& byte : buffer.writable()) byte = std::byte(random.next());
    roles.buffers.push_back(buffer);
  }
  parity::generate(roles.pointers(), parities, kLength);
  return roles;
}

// g^i · unit by the definition, bit by bit.
std::byte scaled(std::byte value, std::uint32_t power) {
  auto v = std::to_integer<unsigned>(value);
  for (std::uint32_t i = 0; i < power; ++i) v = (v << 1) ^ ((v & 0x80) != 0 ? 0x11d : 0);
  return std::byte(v);
}

TEST(Parity, PAndQAreWhatTheFieldSays) {
  const Roles roles = make_roles(5, 2, 7);
  for (std::size_t at = 0; at < kLength; at += 37) {
    std::byte p{0};
    std::byte q{0};
    for (std::uint32_t i = 0; i < 5; ++i) {
      p ^= roles.buffers[i].data()[at];
      q ^= scaled(roles.buffers[i].data()[at], i);
    }
    ASSERT_EQ(roles.buffers[5].data()[at], p);
    ASSERT_EQ(roles.buffers[6].data()[at], q);
  }
}

TEST(Parity, EveryLossThatIsToleratedIsMadeGood) {
  for (std::uint32_t parities = 1; parities <= 2; ++parities) {
    for (const std::uint32_t cells : {2u, 3u, 7u, 20u}) {
      const Roles right = make_roles(cells, parities, cells);
      for (std::uint32_t a = 0; a < cells + parities; ++a) {
        for (std::uint32_t b = a; b < cells + parities; ++b) {
          std::vector<std::uint32_t> missing(1, a);
          if (b != a) missing.push_back(b);
          if (missing.size() > parities) continue;
          Roles roles;
          for (const Buffer& buffer : right.buffers) roles.buffers.push_back(Buffer::copy_of(buffer));
          for (const std::uint32_t role : missing) std::memset(roles.buffers[role].data(), 0x5a, kLength);
          parity::recover(roles.pointers(), parities, missing, kLength);
          for (std::size_t i = 0; i < roles.buffers.size(); ++i) {
            ASSERT_EQ(std::memcmp(roles.buffers[i].data(), right.buffers[i].data(), kLength), 0)
                << cells << " cells, " << a << " and " << b << " lost, role " << i;
          }
        }
      }
    }
  }
}

TEST(Parity, WhatIsNotMissingIsLeftAlone) {
  for (std::uint32_t missing = 0; missing < 5; ++missing) {
    Roles roles = make_roles(3, 2, 5);
    // Q does not fit, as after a crash.
    const std::uint32_t odd = missing == 4 ? 3 : 4;
    roles.buffers[odd].data()[100] ^= std::byte{1};
    const Buffer before = Buffer::copy_of(roles.buffers[odd]);
    std::vector<std::uint32_t> one(1, missing);
    parity::recover(roles.pointers(), 2, one, kLength);
    EXPECT_EQ(std::memcmp(before.data(), roles.buffers[odd].data(), kLength), 0) << missing;
  }
}

TEST(Parity, ADifferenceOfOneUnitIsCarriedIntoPAndQ) {
  Roles roles = make_roles(6, 2, 3);
  const Roles before = make_roles(6, 2, 3);
  sim::SeededRandom random(9);
  for (std::byte& byte : roles.buffers[4].writable()) byte = std::byte(random.next());
  Buffer difference = Buffer::copy_of(roles.buffers[4]);
  parity::add(difference.data(), before.buffers[4].data(), kLength);
  Buffer p = Buffer::copy_of(before.buffers[6]);
  Buffer q = Buffer::copy_of(before.buffers[7]);
  parity::add(p.data(), difference.data(), kLength);
  parity::add_scaled(q.data(), difference.data(), 4, kLength);
  parity::generate(roles.pointers(), 2, kLength);
  EXPECT_EQ(std::memcmp(p.data(), roles.buffers[6].data(), kLength), 0);
  EXPECT_EQ(std::memcmp(q.data(), roles.buffers[7].data(), kLength), 0);
}

}  // namespace
}  // namespace tidemark::raid
