#include "os/offload.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "io/sync.h"
#include "support.h"

namespace tidemark::os {
namespace {

// Holds works back until it is opened.
class Gate {
 public:
  void pass() {
    std::unique_lock lock(mutex_);
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return open_; });
  }
  void wait_for(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return waiting_ >= count; });
  }
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int waiting_ = 0;
  bool open_ = false;
};

TEST(ThreadOffload, RunsWorkOnAnotherThreadAndResumesOnTheReactors) {
  auto reactor = make_reactor();
  ThreadOffload offload(*reactor);
  std::thread::id worker;
  const auto task = [](ThreadOffload& o, std::thread::id& out) -> io::Task<std::thread::id> {
    std::function<void()> work = [&out] { out = std::this_thread::get_id(); };
    co_await o.run(std::move(work));
    co_return std::this_thread::get_id();
  };
  EXPECT_EQ(reactor->run(task(offload, worker)), std::this_thread::get_id());
  EXPECT_NE(worker, std::this_thread::get_id());
  EXPECT_NE(worker, std::thread::id());
}

TEST(ThreadOffload, RunsAsManyWorksAtOnceAsItHasThreads) {
  auto reactor = make_reactor();
  ThreadOffload offload(*reactor, 3);
  Gate gate;
  const auto task = [](ThreadOffload& o, Gate& g) -> io::Task<void> {
    std::function<void()> work = [&g] { g.pass(); };
    co_await o.run(std::move(work));
  };
  io::TaskScope scope(*reactor);
  for (int i = 0; i < 3; ++i) scope.spawn(task(offload, gate));
  const auto once = [](Reactor& r) -> io::Task<void> { co_await r.yield(); };
  reactor->run(once(*reactor));
  gate.wait_for(3);
  EXPECT_EQ(scope.running(), 3u);
  gate.open();
  reactor->run(scope.join());
}

TEST(ThreadOffload, FinishesThousandsOfWorks) {
  auto reactor = make_reactor();
  ThreadOffload offload(*reactor);
  std::atomic<int> run = 0;
  int resumed = 0;
  const auto task = [](ThreadOffload& o, std::atomic<int>& count, int& after) -> io::Task<void> {
    std::function<void()> work = [&count] { ++count; };
    co_await o.run(std::move(work));
    ++after;
  };
  io::TaskScope scope(*reactor);
  for (int i = 0; i < 5000; ++i) scope.spawn(task(offload, run, resumed));
  reactor->run(scope.join());
  EXPECT_EQ(run, 5000);
  EXPECT_EQ(resumed, 5000);
}

TEST(ThreadOffload, RunsAbandonedWorkToItsEnd) {
  auto reactor = make_reactor();
  Gate gate;
  auto finished = std::make_shared<std::atomic<int>>(0);
  {
    ThreadOffload offload(*reactor, 1);
    const auto task = [](ThreadOffload& o, Gate& g,
                         std::shared_ptr<std::atomic<int>> count) -> io::Task<void> {
      std::function<void()> work = [&g, count] {
        g.pass();
        ++*count;
      };
      co_await o.run(std::move(work));
      ADD_FAILURE() << "an abandoned task was resumed";
    };
    {
      io::TaskScope scope(*reactor);
      for (int i = 0; i < 3; ++i) scope.spawn(task(offload, gate, finished));
      const auto once = [](Reactor& r) -> io::Task<void> { co_await r.yield(); };
      reactor->run(once(*reactor));
      gate.wait_for(1);
    }
    gate.open();
  }
  EXPECT_EQ(*finished, 3);
  // What they owned goes with the reactor at the latest.
  reactor.reset();
  EXPECT_EQ(finished.use_count(), 1);
}

}  // namespace
}  // namespace tidemark::os
