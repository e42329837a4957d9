#include "control/http_dispatcher.h"

#include <utility>

namespace tidemark::control {

// The outermost coroutine of a call. It destroys itself when it ends; until then its handle is in `roots_`.
struct Dispatcher::Root {
  struct promise_type {
    Root get_return_object() { return Root{std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_always initial_suspend() const noexcept { return {}; }
    std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    void unhandled_exception() const noexcept { std::terminate(); }
  };
  std::coroutine_handle<promise_type> handle;
};

Dispatcher::Dispatcher(NodeOperations& operations, PostToReactor post)
    : operations_(operations), post_(std::move(post)) {}

Dispatcher::~Dispatcher() {
  TM_ASSERT(roots_.empty());
}

Result<void> Dispatcher::run(const std::shared_ptr<Call>& call, std::chrono::milliseconds time_limit) {
  const auto deadline = std::chrono::steady_clock::now() + time_limit;
  {
    std::unique_lock lock(mutex_);
    if (closed_) return fail(ErrorCode::kShutdown, "the node is stopping");
    if (in_flight_ >= kRequestsInFlightMax) {
      return fail(ErrorCode::kBusy, std::to_string(kRequestsInFlightMax) +
                                        " requests are under way already; try again in a moment");
    }
    ++in_flight_;
  }
  post_([self = shared_from_this(), call] { self->begin(call); });
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, deadline, [&] { return call->finished_ || closed_; });
  if (call->finished_) return Result<void>{};
  if (closed_)
    return fail(ErrorCode::kShutdown, "the node is stopping; what was asked for may not have been done");
  // Nobody waits for it any more: it takes no place of those that somebody waits for.
  if (abandoned_ < kRequestsAbandonedMax) {
    call->abandoned_ = true;
    ++abandoned_;
    --in_flight_;
  }
  return fail(ErrorCode::kTimeout, "not finished within the time limit; it goes on, see `tidemark status`");
}

void Dispatcher::begin(std::shared_ptr<Call> call) {
  {
    std::unique_lock lock(mutex_);
    if (closed_) return;
  }
  const Root root = drive(*this, std::move(call));
  roots_.push_back(root.handle);
  root.handle.resume();
}

Dispatcher::Root Dispatcher::drive(Dispatcher& dispatcher, std::shared_ptr<Call> call) {
  const std::list<std::coroutine_handle<>>::iterator place = std::prev(dispatcher.roots_.end());
  {
    io::Task<void> task = call->run(dispatcher.operations_);
    co_await task;
  }
  dispatcher.roots_.erase(place);
  std::unique_lock lock(dispatcher.mutex_);
  call->finished_ = true;
  --(call->abandoned_ ? dispatcher.abandoned_ : dispatcher.in_flight_);
  dispatcher.changed_.notify_all();
}

void Dispatcher::close() {
  {
    std::unique_lock lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }
  while (!roots_.empty()) {
    const std::coroutine_handle<> root = roots_.front();
    roots_.pop_front();
    root.destroy();
  }
}

}  // namespace tidemark::control
