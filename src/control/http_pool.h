#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "base/threads.h"

namespace tidemark::control {

// A fixed number of threads behind a bounded queue.
class ThreadPool {
 public:
  // `on_room` is called on a thread of the pool each time that a job leaves the queue.
  ThreadPool(std::size_t thread_count, std::size_t waiting_max, std::function<void()> on_room)
      : waiting_max_(waiting_max), on_room_(std::move(on_room)) {
    for (std::size_t i = 0; i < thread_count; ++i) threads_.push_back(start_thread([this] { work(); }));
  }
  ~ThreadPool() { stop(); }
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // False, and `job` stays as it is: the queue is full. Any thread.
  bool try_add(std::function<void()>& job) {
    const std::lock_guard lock(mutex_);
    if (jobs_.size() >= waiting_max_) return false;
    jobs_.push_back(std::move(job));
    changed_.notify_one();
    return true;
  }

  // When the jobs in the queue have been done. Again: nothing.
  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
      changed_.notify_all();
    }
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

 private:
  void work() {
    for (;;) {
      std::function<void()> job;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
        if (jobs_.empty()) return;
        job = std::move(jobs_.front());
        jobs_.pop_front();
      }
      on_room_();
      job();
    }
  }

  const std::size_t waiting_max_;
  const std::function<void()> on_room_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace tidemark::control
