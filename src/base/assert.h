#pragma once

// Assertions for our own mistakes. They stay on in release builds: a storage engine that goes on
// after a broken invariant writes wrong data. Bytes from outside never reach an assertion; they are
// validated and answered with an Error.

namespace tidemark {

[[noreturn]] void assertion_failed(const char* condition, const char* file, int line) noexcept;

}  // namespace tidemark

#define TM_ASSERT(condition) \
  ((condition) ? static_cast<void>(0) : ::tidemark::assertion_failed(#condition, __FILE__, __LINE__))
