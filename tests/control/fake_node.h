#pragma once

#include <any>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <typeindex>

#include "control/routes.h"
#include "sample.h"

namespace tidemark::control {

// One thread that runs functions in order: what the reactor is to the control API.
class Executor {
 public:
  Executor() : thread_([this] { work(); }) {}
  ~Executor() {
    {
      std::unique_lock lock(mutex_);
      ended_ = true;
      changed_.notify_all();
    }
    thread_.join();
  }
  std::function<void(std::function<void()>)> poster() {
    return [this](std::function<void()> job) {
      std::unique_lock lock(mutex_);
      jobs_.push_back(std::move(job));
      changed_.notify_all();
    };
  }
  // Runs `job` on the thread and waits for it.
  void run(std::function<void()> job) {
    bool done = false;
    poster()([&] {
      job();
      std::unique_lock lock(mutex_);
      done = true;
      changed_.notify_all();
    });
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return done; });
  }

 private:
  void work() {
    for (;;) {
      std::function<void()> job;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return ended_ || !jobs_.empty(); });
        if (jobs_.empty()) return;
        job = std::move(jobs_.front());
        jobs_.pop_front();
      }
      job();
    }
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  bool ended_ = false;
  std::thread thread_;
};

// Where operations of a FakeNode wait, on the executor's thread, until they are let through.
class Gate {
 public:
  struct Awaiter {
    Gate& gate;
    std::coroutine_handle<> handle{};
    bool await_ready() const noexcept { return gate.open_; }
    void await_suspend(std::coroutine_handle<> waiting) {
      handle = waiting;
      gate.waiting_.push_back(this);
      gate.count_changed();
    }
    void await_resume() const noexcept {}
    ~Awaiter() {
      if (std::erase(gate.waiting_, this) != 0) gate.count_changed();
    }
  };
  Awaiter wait() { return Awaiter{*this}; }
  void close() { open_ = false; }
  void open() {
    open_ = true;
    while (!waiting_.empty()) {
      Awaiter* const first = waiting_.front();
      waiting_.erase(waiting_.begin());
      count_changed();
      first->handle.resume();
    }
  }
  // From another thread: waits until `count` operations stand at the gate.
  void await_waiting(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return count_ == count; });
  }

 private:
  void count_changed() {
    std::unique_lock lock(mutex_);
    count_ = waiting_.size();
    changed_.notify_all();
  }
  bool open_ = true;
  std::vector<Awaiter*> waiting_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t count_ = 0;
};

// A node that answers every request with a sample, or as a test tells it to. Used on the executor's thread;
// answers are set before the first request.
class FakeNode : public NodeOperations {
 public:
  // `handler` answers every `Request` from now on.
  template <typename Request>
  void on(std::function<Result<typename OperationOf<Request>::Reply>(const Request&)> handler) {
    handlers_[typeid(Request)] = std::move(handler);
  }
  // Fails every `Request` from now on.
  template <typename Request>
  void refuse(ErrorCode code, std::string message) {
    on<Request>([=](const Request&) { return fail(code, message); });
  }

#define TM_FAKE(operation, Request, Reply, role, method, path, summary) \
  io::Task<Result<Reply>> operation(Request request) override {         \
    return answer(std::move(request));                                  \
  }
  TM_CONTROL_OPERATIONS(TM_FAKE)
#undef TM_FAKE

  Gate gate;

 private:
  template <typename Request>
  io::Task<Result<typename OperationOf<Request>::Reply>> answer(Request request) {
    using Reply = typename OperationOf<Request>::Reply;
    co_await gate.wait();
    const auto found = handlers_.find(typeid(Request));
    if (found == handlers_.end()) co_return sample<Reply>();
    co_return std::any_cast<const std::function<Result<Reply>(const Request&)>&>(found->second)(request);
  }

  std::map<std::type_index, std::any> handlers_;
};

}  // namespace tidemark::control
