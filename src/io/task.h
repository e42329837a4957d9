#pragma once

#include <coroutine>
#include <cstddef>
#include <exception>
#include <optional>
#include <utility>

#include "base/assert.h"

namespace tidemark::io {

namespace detail {

// Coroutine frames come from per-thread free lists by size class, so that a request in steady state
// allocates nothing.
void* allocate_frame(std::size_t size_bytes);
void free_frame(void* frame, std::size_t size_bytes) noexcept;

struct TaskPromiseBase {
  enum class State { kFresh, kStarting, kSuspended, kFinished };

  std::coroutine_handle<> continuation = std::noop_coroutine();
  State state = State::kFresh;

  static void* operator new(std::size_t size) { return allocate_frame(size); }
  static void operator delete(void* frame, std::size_t size) noexcept { free_frame(frame, size); }

  struct FinalAwaiter {
    bool await_ready() const noexcept { return false; }
    template <typename Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> self) const noexcept {
      auto& promise = self.promise();
      const bool awaiter_is_still_starting_us = promise.state == State::kStarting;
      promise.state = State::kFinished;
      if (awaiter_is_still_starting_us) return std::noop_coroutine();
      return promise.continuation;
    }
    void await_resume() const noexcept {}
  };

  std::suspend_always initial_suspend() const noexcept { return {}; }
  FinalAwaiter final_suspend() const noexcept { return {}; }
  // Expected failures travel as Result; anything thrown is a bug or exhausted memory.
  void unhandled_exception() const noexcept { std::terminate(); }
};

template <typename T>
struct TaskPromise;

}  // namespace detail

// A lazily started coroutine: it runs when awaited, and resumes its awaiter when it has finished.
// Whoever holds the Task owns the frame: destroying a suspended Task destroys its locals and, through
// them, every Task it awaits. Awaiters therefore unlink themselves when destroyed (see Waiter), and
// cancelling means destroying. A Task is awaited once. Single-threaded: it is resumed by the Scheduler
// on which it waits.
//
// A task that completes without waiting is resumed by a plain return, not by a tail call, so a loop
// over such tasks uses constant stack in every build.
template <typename T = void>
class [[nodiscard]] Task {
 public:
  using promise_type = detail::TaskPromise<T>;
  using Handle = std::coroutine_handle<promise_type>;

  Task() = default;
  explicit Task(Handle handle) : handle_(handle) {}
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      destroy();
      handle_ = std::exchange(other.handle_, nullptr);
    }
    return *this;
  }
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;
  ~Task() { destroy(); }

  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> awaiter) {
    using State = detail::TaskPromiseBase::State;
    auto& promise = handle_.promise();
    TM_ASSERT(promise.state == State::kFresh);
    promise.continuation = awaiter;
    promise.state = State::kStarting;
    handle_.resume();
    if (promise.state == State::kFinished) return false;
    promise.state = State::kSuspended;
    return true;
  }
  T await_resume() { return handle_.promise().take(); }

 private:
  void destroy() {
    if (handle_) handle_.destroy();
    handle_ = nullptr;
  }
  Handle handle_ = nullptr;
};

namespace detail {

template <typename T>
struct TaskPromise : TaskPromiseBase {
  std::optional<T> result;
  Task<T> get_return_object() { return Task<T>(std::coroutine_handle<TaskPromise>::from_promise(*this)); }
  template <typename U>
  void return_value(U&& value) {
    result.emplace(std::forward<U>(value));
  }
  T take() {
    TM_ASSERT(result.has_value());
    return std::move(*result);
  }
};

template <>
struct TaskPromise<void> : TaskPromiseBase {
  Task<void> get_return_object() {
    return Task<void>(std::coroutine_handle<TaskPromise>::from_promise(*this));
  }
  void return_void() {}
  void take() const {}
};

}  // namespace detail

}  // namespace tidemark::io
