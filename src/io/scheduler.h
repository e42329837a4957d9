#pragma once

#include <coroutine>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>

#include "base/time.h"
#include "io/task.h"

namespace tidemark::io {

class WaiterList;
class Waiter;

// Timers by time, then by order of request: equal times fire in a fixed order.
using TimerQueue = std::map<std::pair<MonotonicTime, std::uint64_t>, Waiter*>;

// One suspended coroutine, waiting in exactly one list or timer. It lives in the awaiter, inside the
// coroutine's frame, and takes itself out of whatever it waits in when it is destroyed; so destroying
// a suspended Task leaves nothing behind that could resume it.
class Waiter {
 public:
  Waiter() = default;
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;
  ~Waiter() { unlink(); }

  void unlink();
  bool linked() const { return list_ != nullptr || timer_queue_ != nullptr; }

  std::coroutine_handle<> handle;

 private:
  friend class WaiterList;
  friend class Scheduler;
  Waiter* next_ = nullptr;
  Waiter* previous_ = nullptr;
  WaiterList* list_ = nullptr;
  TimerQueue* timer_queue_ = nullptr;
  TimerQueue::iterator timer_{};
};

// Waiters in order of arrival. Unlinks those that are left when it is destroyed.
class WaiterList {
 public:
  WaiterList() = default;
  WaiterList(const WaiterList&) = delete;
  WaiterList& operator=(const WaiterList&) = delete;
  ~WaiterList();
  bool empty() const { return first_ == nullptr; }
  void push_back(Waiter& waiter);
  Waiter* pop_front();
  void remove(Waiter& waiter);

 private:
  Waiter* first_ = nullptr;
  Waiter* last_ = nullptr;
};

// Runs coroutines on one thread, in a fixed order: whatever was made ready first runs first. The real
// twin (os::Reactor) and the simulated one (sim::World) drive it; engine code only awaits.
class Scheduler {
 public:
  Scheduler() = default;
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;
  // Tasks that still wait here are left suspended for ever; their owners destroy them.
  virtual ~Scheduler();

  virtual MonotonicTime now() const = 0;

  // Resumes `waiter` in this pass or the next, after all that were posted before it.
  void post(Waiter& waiter);
  // Resumes `waiter` no earlier than `due`.
  void post_at(Waiter& waiter, MonotonicTime due);

  struct YieldAwaiter {
    Scheduler& scheduler;
    Waiter waiter{};
    explicit YieldAwaiter(Scheduler& s) : scheduler(s) {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) {
      waiter.handle = handle;
      scheduler.post(waiter);
    }
    void await_resume() const noexcept {}
  };
  // Lets everything else that is ready run first.
  YieldAwaiter yield() { return YieldAwaiter(*this); }

  struct SleepAwaiter {
    Scheduler& scheduler;
    MonotonicTime due;
    Waiter waiter{};
    SleepAwaiter(Scheduler& s, MonotonicTime t) : scheduler(s), due(t) {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) {
      waiter.handle = handle;
      scheduler.post_at(waiter, due);
    }
    void await_resume() const noexcept {}
  };
  SleepAwaiter sleep_until(MonotonicTime due) { return SleepAwaiter(*this, due); }
  SleepAwaiter sleep_for(Duration duration) { return SleepAwaiter(*this, now() + duration); }

 protected:
  // For the twin that drives. Resumes what is ready now; what that makes ready waits for the next
  // call. Returns how many were resumed.
  std::size_t run_ready();
  bool has_ready() const { return !ready_.empty(); }
  std::optional<MonotonicTime> next_timer() const;
  // Moves waiters whose time has come to the ready queue.
  void fire_timers(MonotonicTime now);

 private:
  WaiterList ready_;
  TimerQueue timers_;
  std::uint64_t next_timer_number_ = 0;
};

}  // namespace tidemark::io
