#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "io/environment.h"
#include "io/scheduler.h"
#include "io/sync.h"

namespace tidemark::sim {

class Network;

// Who draws. Each has streams of its own, so that a draw more in one does not shift the others.
enum class RandomStream : std::uint8_t { kTest, kNode, kSkew, kDisk, kNetwork };

// The simulated twin of a machine room: virtual time, one thread, one seed. Time stands still while
// anything is ready to run and jumps to the next timer when nothing is, so a test of a day takes no
// longer than what happens in it. The same seed and the same calls give the same run, to the last
// resumption.
class World : public io::Scheduler {
 public:
  explicit World(std::uint64_t seed);
  ~World() override;

  MonotonicTime now() const override;
  // An environment whose clock shows wall_now() plus a skew of its own, so that two nodes can disagree:
  // none for the first environment, up to 100 ms either way for the others. It gains `drift_ppm`
  // microseconds a second on monotonic time. Its parts live as long as the world.
  io::Environment environment(double drift_ppm = 0);
  // For the test itself.
  io::Random& random();
  Network& network();
  WallTime wall_now() const;
  // Moves the wall clock, both ways; monotonic time is not touched.
  void jump_wall_clock(Duration by);

  // Runs everything until `task` has ended, and gives its result. When nothing is ready and no timer is
  // set while it has not ended, the world is stuck: the process ends with a message.
  template <typename T>
  T run(io::Task<T> task);
  // Runs everything that happens within the next `duration` of virtual time; then that much time has
  // passed, even when nothing was left to happen earlier.
  void run_for(Duration duration);
  // Runs until nothing is ready at the present moment; timers stay.
  void run_ready_only();
  // Makes at most `steps` steps and returns how many there were to make: a step resumes everything that
  // is ready, or moves on to the next timer. A test that crashes after 0, 1, 2... steps until fewer
  // were made has crashed at every moment that a run has.
  std::uint64_t run_steps(std::uint64_t steps);
  // Takes the place of ending the process when the world is stuck; must not return.
  void on_stuck(std::function<void(const std::string& why)> handler);
  // The seed for the next user of a stream; for the twins of disks and links.
  std::uint64_t next_stream_seed(RandomStream stream);

 private:
  bool step();
  [[noreturn]] void stuck();
  struct State;
  std::unique_ptr<State> state_;
};

template <typename T>
T World::run(io::Task<T> task) {
  std::optional<T> result;
  {
    io::TaskScope scope(*this);
    scope.spawn([](io::Task<T> inner, std::optional<T>* out) -> io::Task<void> {
      out->emplace(co_await inner);
    }(std::move(task), &result));
    while (!result.has_value()) {
      if (!step()) stuck();
    }
  }
  return std::move(*result);
}

template <>
inline void World::run(io::Task<void> task) {
  bool done = false;
  io::TaskScope scope(*this);
  scope.spawn([](io::Task<void> inner, bool* out) -> io::Task<void> {
    co_await inner;
    *out = true;
  }(std::move(task), &done));
  while (!done) {
    if (!step()) stuck();
  }
}

}  // namespace tidemark::sim
