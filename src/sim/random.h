#pragma once

#include <array>
#include <cstdint>

#include "io/environment.h"

namespace tidemark::sim {

// Mixes 64 bits; successive calls on a counter give independent-looking seeds (Steele, Lea, Flood:
// "Fast splittable pseudorandom number generators", 2014).
inline std::uint64_t split_mix(std::uint64_t& state) {
  std::uint64_t z = (state += 0x9e3779b97f4a7c15ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

// xoshiro256** (Blackman, Vigna, 2018): the same seed gives the same draws on every platform.
class SeededRandom final : public io::Random {
 public:
  explicit SeededRandom(std::uint64_t seed) {
    for (std::uint64_t& word : words_) word = split_mix(seed);
  }
  std::uint64_t next() override {
    const std::uint64_t out = rotate_left(words_[1] * 5, 7) * 9;
    const std::uint64_t shifted = words_[1] << 17;
    words_[2] ^= words_[0];
    words_[3] ^= words_[1];
    words_[1] ^= words_[2];
    words_[0] ^= words_[3];
    words_[2] ^= shifted;
    words_[3] = rotate_left(words_[3], 45);
    return out;
  }
  bool coin() { return (next() >> 63) != 0; }
  // Uniform in [low, high], both ends included.
  Duration between(Duration low, Duration high) {
    return Duration{low.ns +
                    static_cast<std::int64_t>(below(static_cast<std::uint64_t>(high.ns - low.ns) + 1))};
  }

 private:
  static std::uint64_t rotate_left(std::uint64_t value, int bits) {
    return (value << bits) | (value >> (64 - bits));
  }
  std::array<std::uint64_t, 4> words_{};
};

}  // namespace tidemark::sim
