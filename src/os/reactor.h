#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "base/result.h"
#include "base/time.h"
#include "io/scheduler.h"
#include "io/sync.h"
#include "io/task.h"

struct io_uring_sqe;

namespace tidemark::os {

struct Operation;

struct ReactorOptions {
  // Submissions per system call. The completion queue holds four times as many; more than that in
  // flight is kept by the kernel.
  std::uint32_t ring_entries = 1024;
  // The longest that the reactor polls for completions before it sleeps, up to SpinPolicy::kSpinMax; 0 never
  // polls. Polling trades processor time for the latency of a wake-up; SpinPolicy decides when.
  Duration spin_max{};
  // Sets the ring up as on a kernel that knows none of the newer flags. For tests.
  bool plain_setup = false;
};

// What a reactor has done since it was made.
struct ReactorStatistics {
  std::uint64_t enters = 0;       // system calls into the ring
  std::uint64_t sleeps = 0;       // those that were allowed to wait
  std::uint64_t completions = 0;  // operations done
  std::uint64_t operations = 0;   // operation objects ever made; in steady state it stands still
};

// The real twin of the simulator's World: one io_uring, one thread. Each step takes the completions
// there are in bulk, runs what they and the timers made ready, and hands everything that this submitted
// to the kernel in one system call, in which it also sleeps when nothing is ready.
//
// Made, run and destroyed on one thread; only post_from_thread() may be called from others. It
// outlives every Task, disk, stream and offload that uses it. Its destructor waits until the kernel is done
// with all memory of abandoned operations.
class Reactor final : public io::Scheduler {
 public:
  // kUnsupported or kRefused, saying what to do, when the kernel or the container has no io_uring for us.
  static Result<std::unique_ptr<Reactor>> create(const ReactorOptions& options = {});
  ~Reactor() override;

  MonotonicTime now() const override;

  // Runs everything until `stop`, which is changed on this thread only, is true.
  void run_until(const bool& stop);
  // Runs everything until stop() is called.
  void run_until_stopped();
  // On the reactor thread; from another: post_from_thread([&] { reactor.stop(); }).
  void stop() { stopping_ = true; }
  // Runs everything until `task` has ended, and gives its result. Not from inside a task.
  template <typename T>
  T run(io::Task<T> task);

  // Any thread. Runs `function` on the reactor thread soon, in order of arrival; it must not throw. What is
  // still waiting when the reactor is destroyed is dropped there without being run. The queue has no limit of
  // its own: each caller bounds what it has under way.
  void post_from_thread(std::function<void()> function);

  ReactorStatistics statistics() const;

  // For the other twins in this folder, through Request (os/request.h).
  Operation& take_operation();
  void submit(Operation& operation);
  void cancel(const Operation& operation);
  // The holder's last use. An operation in flight stays, with all that it pins, until it completes.
  void give_back(Operation& operation);

 private:
  struct State;
  explicit Reactor(std::unique_ptr<State> state);
  void step();
  void enter(bool may_sleep);
  void drain_backlog();
  bool spin(std::optional<MonotonicTime> until);
  void sleep(std::optional<MonotonicTime> until);
  void reap();
  void complete(std::uint64_t user_data, std::int32_t result);
  void recycle(Operation& operation);
  void push(const io_uring_sqe& entry);
  void arm_wake();
  void run_posted();

  std::unique_ptr<State> state_;
  bool stopping_ = false;
};

template <typename T>
T Reactor::run(io::Task<T> task) {
  std::optional<T> result;
  bool done = false;
  io::TaskScope scope(*this);
  scope.spawn([](io::Task<T> inner, std::optional<T>* out, bool* ended) -> io::Task<void> {
    out->emplace(co_await inner);
    *ended = true;
  }(std::move(task), &result, &done));
  run_until(done);
  return std::move(*result);
}

template <>
inline void Reactor::run(io::Task<void> task) {
  bool done = false;
  io::TaskScope scope(*this);
  scope.spawn([](io::Task<void> inner, bool* ended) -> io::Task<void> {
    co_await inner;
    *ended = true;
  }(std::move(task), &done));
  run_until(done);
}

}  // namespace tidemark::os
