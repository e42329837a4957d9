#pragma once

#include <cstdint>
#include <list>
#include <utility>

#include "io/scheduler.h"
#include "io/task.h"

namespace tidemark::io {

// Coroutines on one Scheduler wait for each other with these. None of them takes a lock; all of them
// wake waiters through Scheduler::post, so a notifier runs on before anybody it woke. Every waiter
// re-checks what it waited for. Each must outlive the coroutines that wait in it, or be destroyed after
// they were.

// Waiters that are woken all together, or one at a time in order of arrival.
//   while (!condition) co_await queue.wait();
class WaitQueue {
 public:
  explicit WaitQueue(Scheduler& scheduler) : scheduler_(scheduler) {}

  struct Awaiter {
    WaitQueue& queue;
    Waiter waiter{};
    explicit Awaiter(WaitQueue& q) : queue(q) {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) {
      waiter.handle = handle;
      queue.waiters_.push_back(waiter);
    }
    void await_resume() const noexcept {}
  };
  Awaiter wait() { return Awaiter(*this); }

  // As wait(), but no longer than until `due`; false when the time came first.
  struct TimedAwaiter {
    WaitQueue& queue;
    MonotonicTime due;
    Waiter waiter{};
    Waiter timer{};
    TimedAwaiter(WaitQueue& q, MonotonicTime t) : queue(q), due(t) {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) {
      waiter.handle = timer.handle = handle;
      queue.waiters_.push_back(waiter);
      queue.scheduler_.post_at(timer, due);
    }
    // Both may have been made ready in one pass; whichever resumed us, the other is withdrawn.
    bool await_resume() {
      const bool in_time = timer.linked();
      waiter.unlink();
      timer.unlink();
      return in_time;
    }
  };
  TimedAwaiter wait_until(MonotonicTime due) { return TimedAwaiter(*this, due); }
  void wake_all();
  void wake_one();
  bool empty() const { return waiters_.empty(); }

 private:
  Scheduler& scheduler_;
  WaiterList waiters_;
};

// A flag that, once set, stays set until reset.
class Event {
 public:
  explicit Event(Scheduler& scheduler) : queue_(scheduler) {}
  bool is_set() const { return set_; }
  void set() {
    set_ = true;
    queue_.wake_all();
  }
  void reset() { set_ = false; }
  Task<void> wait() {
    while (!set_) co_await queue_.wait();
  }

 private:
  WaitQueue queue_;
  bool set_ = false;
};

// A mutual exclusion between coroutines, granted in order of arrival.
//   auto guard = co_await mutex.lock();
class Mutex {
 public:
  explicit Mutex(Scheduler& scheduler) : scheduler_(scheduler) {}

  class [[nodiscard]] Guard {
   public:
    explicit Guard(Mutex* mutex) : mutex_(mutex) {}
    Guard(Guard&& other) noexcept : mutex_(std::exchange(other.mutex_, nullptr)) {}
    Guard& operator=(Guard&&) = delete;
    ~Guard() {
      if (mutex_ != nullptr) mutex_->unlock();
    }

   private:
    Mutex* mutex_;
  };

  struct Awaiter {
    Mutex& mutex;
    Waiter waiter{};
    bool waiting = false;
    bool granted = false;
    explicit Awaiter(Mutex& m) : mutex(m) {}
    // Destroyed between grant and resumption: the next in line gets it.
    ~Awaiter() {
      if (waiting) mutex.line_.remove(this);
      if (granted) mutex.unlock();
    }
    bool await_ready() noexcept {
      if (mutex.held_) return false;
      mutex.held_ = true;
      granted = true;
      return true;
    }
    void await_suspend(std::coroutine_handle<> handle) {
      waiter.handle = handle;
      waiting = true;
      mutex.line_.push_back(this);
    }
    Guard await_resume() noexcept {
      granted = false;
      return Guard(&mutex);
    }
  };
  Awaiter lock() { return Awaiter(*this); }

 private:
  void unlock();
  Scheduler& scheduler_;
  std::list<Awaiter*> line_;
  bool held_ = false;
};

// Owns tasks that run on their own. Destroying the scope destroys those still suspended (cancels
// them); join() waits until all have ended. A task must not destroy the scope it runs in.
class TaskScope {
 public:
  explicit TaskScope(Scheduler& scheduler) : scheduler_(scheduler), ended_(scheduler) {}
  TaskScope(const TaskScope&) = delete;
  TaskScope& operator=(const TaskScope&) = delete;
  ~TaskScope() { cancel_all(); }

  // Starts `task` in the next pass of the scheduler.
  void spawn(Task<void> task);
  std::size_t running() const { return roots_.size(); }
  // Waits until no task of the scope is left, those spawned meanwhile included.
  Task<void> join();
  // Waits until some task of the scope ends.
  WaitQueue::Awaiter one_ended() { return ended_.wait(); }
  // Destroys every task that is still suspended. Not from inside one of them.
  void cancel_all();

 private:
  struct Root;
  static Root run(TaskScope& scope, Task<void> task);
  Scheduler& scheduler_;
  WaitQueue ended_;
  std::list<std::coroutine_handle<>> roots_;
};

}  // namespace tidemark::io
