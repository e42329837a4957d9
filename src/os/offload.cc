#include "os/offload.h"

#include <pthread.h>
#include <signal.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "base/assert.h"
#include "base/threads.h"

namespace tidemark::os {

// Shared by the awaiting coroutine, the queue, and the function that is posted back.
struct ThreadOffload::Job {
  std::function<void()> work;
  io::Waiter* waiter = nullptr;  // reactor thread only
  bool done = false;             // reactor thread only
};

struct ThreadOffload::JobAwaiter {
  Job& job;
  io::Waiter waiter{};
  explicit JobAwaiter(Job& j) : job(j) {}
  ~JobAwaiter() { job.waiter = nullptr; }
  bool await_ready() const noexcept { return job.done; }
  void await_suspend(std::coroutine_handle<> handle) {
    waiter.handle = handle;
    job.waiter = &waiter;
  }
  void await_resume() const noexcept {}
};

struct ThreadOffload::State {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::shared_ptr<Job>> queue;  // guarded by mutex
  bool closing = false;                    // guarded by mutex
  std::vector<std::thread> threads;
};

ThreadOffload::ThreadOffload(Reactor& reactor, std::size_t thread_count)
    : reactor_(reactor), state_(std::make_unique<State>()) {
  TM_ASSERT(thread_count > 0);
  // A thread inherits the mask: signals are for the thread that waits for them.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  for (std::size_t i = 0; i < thread_count; ++i) {
    std::thread& thread = state_->threads.emplace_back(start_thread([this] { work_through(); }));
    ::pthread_setname_np(thread.native_handle(), "tidemark-work");
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

ThreadOffload::~ThreadOffload() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->closing = true;
  }
  state_->changed.notify_all();
  for (std::thread& thread : state_->threads) thread.join();
}

io::Task<void> ThreadOffload::run(std::function<void()> work) {
  auto job = std::make_shared<Job>();
  job->work = std::move(work);
  {
    const std::lock_guard lock(state_->mutex);
    state_->queue.push_back(job);
  }
  state_->changed.notify_one();
  JobAwaiter awaiter(*job);
  co_await awaiter;
}

void ThreadOffload::work_through() {
  std::unique_lock lock(state_->mutex);
  while (true) {
    state_->changed.wait(lock, [&] { return state_->closing || !state_->queue.empty(); });
    if (state_->queue.empty()) return;
    std::shared_ptr<Job> job = std::move(state_->queue.front());
    state_->queue.pop_front();
    lock.unlock();
    job->work();
    io::Scheduler* const scheduler = &reactor_;
    reactor_.post_from_thread([scheduler, job = std::move(job)] {
      job->done = true;
      if (job->waiter != nullptr) scheduler->post(*job->waiter);
    });
    lock.lock();
  }
}

}  // namespace tidemark::os
