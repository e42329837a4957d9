#include "base/assert.h"

#include <cstdio>
#include <cstdlib>

namespace tidemark {

void assertion_failed(const char* condition, const char* file, int line) noexcept {
  std::fprintf(stderr, "tidemark: assertion failed at %s:%d: %s\n", file, line, condition);
  std::fflush(stderr);
  std::abort();
}

}  // namespace tidemark
