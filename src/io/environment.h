#pragma once

#include <array>
#include <cstdint>
#include <functional>

#include "base/ids.h"
#include "base/time.h"
#include "io/scheduler.h"
#include "io/stream.h"
#include "io/task.h"

namespace tidemark::io {

// The clock on the wall: it may jump, both ways. Ages are measured on Scheduler::now().
class WallClock {
 public:
  virtual ~WallClock() = default;
  virtual WallTime now() const = 0;
};

class Random {
 public:
  virtual ~Random() = default;
  virtual std::uint64_t next() = 0;
  // Uniform in [0, bound); bound > 0.
  std::uint64_t below(std::uint64_t bound) { return next() % bound; }
  template <typename IdentityType>
  IdentityType identity() {
    IdentityType id;
    for (std::size_t half = 0; half < 2; ++half) {
      const std::uint64_t bits = next();
      for (std::size_t i = 0; i < 8; ++i) id.bytes[half * 8 + i] = static_cast<std::uint8_t>(bits >> (8 * i));
    }
    return id;
  }
};

// Runs what may block (SQLite, index files, names) or works for long (compression) away from the reactor
// thread. In simulation it
// runs at once, on the same thread.
class Offload {
 public:
  virtual ~Offload() = default;
  // Resumes the caller on its scheduler when `work` has run. `work` must own all it touches: when the
  // Task is destroyed first, it still runs to its end. Works handed in by one caller may run at once
  // with those of another, in any order.
  virtual Task<void> run(std::function<void()> work) = 0;
};

// Everything an engine folder may know of the outside world. The references outlive the node.
struct Environment {
  Scheduler& scheduler;
  WallClock& clock;
  Random& random;
  Network& network;
  Offload& offload;
};

}  // namespace tidemark::io
