#pragma once

#include <memory>

#include "io/environment.h"
#include "os/reactor.h"

namespace tidemark::os {

// Threads for work that may block. Lives on the reactor thread and is destroyed before the reactor;
// its destructor waits until every work handed in has run. Signals are blocked in its threads. A
// work that throws ends the process. The queue has no limit of its own: each caller waits for what it
// handed in.
class ThreadOffload final : public io::Offload {
 public:
  explicit ThreadOffload(Reactor& reactor, std::size_t thread_count = 2);
  ~ThreadOffload() override;
  // `work` is destroyed on the reactor thread, also when nobody waits for it any more.
  io::Task<void> run(std::function<void()> work) override;

 private:
  struct Job;
  struct JobAwaiter;
  struct State;
  void work_through();
  Reactor& reactor_;
  std::unique_ptr<State> state_;
};

}  // namespace tidemark::os
