#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "io/environment.h"

namespace tidemark::os {

class SystemClock final : public io::WallClock {
 public:
  WallTime now() const override;
};

// The kernel's random bits, good enough for identities and keys. Used on one thread.
class SystemRandom final : public io::Random {
 public:
  std::uint64_t next() override;

 private:
  std::array<std::uint64_t, 32> pool_{};
  std::size_t left_ = 0;
};

}  // namespace tidemark::os
