#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>

namespace tidemark {

// How often a test of drawn cases is repeated: `many` times in an optimised build, `few` under a sanitizer or
// in a debug build, which are an order of magnitude slower.
constexpr std::uint64_t rounds([[maybe_unused]] std::uint64_t many, [[maybe_unused]] std::uint64_t few) {
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  return many;
#else
  return few;
#endif
}

// With TIDEMARK_LONG in the environment: what takes an hour is tried in full.
inline bool long_run() {
  return std::getenv("TIDEMARK_LONG") != nullptr;
}

// The first seed of a test: the same each time, and another with --gtest_shuffle --gtest_random_seed=N.
inline std::uint64_t first_seed(std::uint64_t usual = 1) {
  if (!GTEST_FLAG_GET(shuffle)) return usual;
  return usual + 1'000'000 * static_cast<std::uint64_t>(::testing::UnitTest::GetInstance()->random_seed());
}

}  // namespace tidemark
