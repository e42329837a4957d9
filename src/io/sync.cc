#include "io/sync.h"

namespace tidemark::io {

void WaitQueue::wake_all() {
  while (Waiter* waiter = waiters_.pop_front()) scheduler_.post(*waiter);
}

void WaitQueue::wake_one() {
  if (Waiter* waiter = waiters_.pop_front()) scheduler_.post(*waiter);
}

void Mutex::unlock() {
  if (line_.empty()) {
    held_ = false;
    return;
  }
  Awaiter* next = line_.front();
  line_.pop_front();
  next->waiting = false;
  next->granted = true;
  scheduler_.post(next->waiter);
}

struct TaskScope::Root {
  struct promise_type {
    TaskScope& scope;
    std::list<std::coroutine_handle<>>::iterator place;

    // The coroutine's own parameters.
    promise_type(TaskScope& s, Task<void>&) : scope(s) {}
    ~promise_type() {
      scope.roots_.erase(place);
      scope.ended_.wake_all();
    }
    Root get_return_object() {
      place =
          scope.roots_.insert(scope.roots_.end(), std::coroutine_handle<promise_type>::from_promise(*this));
      return {};
    }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    std::suspend_never final_suspend() const noexcept { return {}; }
    void unhandled_exception() const noexcept { std::terminate(); }
    void return_void() const noexcept {}
  };
};

TaskScope::Root TaskScope::run(TaskScope& scope, Task<void> task) {
  co_await scope.scheduler_.yield();
  co_await task;
}

void TaskScope::spawn(Task<void> task) {
  run(*this, std::move(task));
}

Task<void> TaskScope::join() {
  while (!roots_.empty()) co_await ended_.wait();
}

void TaskScope::cancel_all() {
  while (!roots_.empty()) roots_.front().destroy();
}

}  // namespace tidemark::io
