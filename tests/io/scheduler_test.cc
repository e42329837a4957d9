#include "io/scheduler.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "io/sync.h"
#include "sim/world.h"

namespace tidemark::io {
namespace {

// A twin whose time the test sets.
class ManualScheduler final : public Scheduler {
 public:
  MonotonicTime now() const override { return time; }
  using Scheduler::fire_timers;
  using Scheduler::has_ready;
  using Scheduler::next_timer;
  using Scheduler::run_ready;
  MonotonicTime time{};
};

Task<void> note(std::vector<int>* out, int value) {
  out->push_back(value);
  co_return;
}

Task<void> note_after(Scheduler& scheduler, MonotonicTime due, std::vector<int>* out, int value) {
  co_await scheduler.sleep_until(due);
  out->push_back(value);
}

TEST(Scheduler, ResumesInTheOrderInWhichTheyWereMadeReady) {
  ManualScheduler scheduler;
  std::vector<int> order;
  TaskScope scope(scheduler);
  for (int i = 0; i < 5; ++i) scope.spawn(note(&order, i));
  EXPECT_EQ(scheduler.run_ready(), 5u);
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4}));
  EXPECT_FALSE(scheduler.has_ready());
  EXPECT_EQ(scheduler.run_ready(), 0u);
}

TEST(Scheduler, ACoroutineThatYieldsForEverDoesNotKeepThePassFromEnding) {
  ManualScheduler scheduler;
  std::uint64_t turns = 0;
  TaskScope scope(scheduler);
  scope.spawn([](Scheduler& s, std::uint64_t* count) -> Task<void> {
    for (;;) {
      ++*count;
      co_await s.yield();
    }
  }(scheduler, &turns));
  for (int pass = 1; pass <= 3; ++pass) {
    EXPECT_EQ(scheduler.run_ready(), 1u);
    EXPECT_EQ(turns, static_cast<std::uint64_t>(pass));
  }
  EXPECT_TRUE(scheduler.has_ready());
}

TEST(Scheduler, FiresTimersByTimeAndEqualOnesByOrderOfRequest) {
  ManualScheduler scheduler;
  std::vector<int> order;
  TaskScope scope(scheduler);
  scope.spawn(note_after(scheduler, MonotonicTime{20}, &order, 3));
  scope.spawn(note_after(scheduler, MonotonicTime{10}, &order, 1));
  scope.spawn(note_after(scheduler, MonotonicTime{10}, &order, 2));
  scope.spawn(note_after(scheduler, MonotonicTime{30}, &order, 4));
  scheduler.run_ready();
  EXPECT_EQ(scheduler.next_timer(), MonotonicTime{10});
  scheduler.fire_timers(MonotonicTime{9});
  EXPECT_FALSE(scheduler.has_ready());
  scheduler.fire_timers(MonotonicTime{20});
  scheduler.run_ready();
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(scheduler.next_timer(), MonotonicTime{30});
}

TEST(Scheduler, ForgetsATimerWhoseTaskWasDestroyed) {
  ManualScheduler scheduler;
  std::vector<int> order;
  {
    TaskScope scope(scheduler);
    scope.spawn(note_after(scheduler, MonotonicTime{10}, &order, 1));
    scheduler.run_ready();
    EXPECT_TRUE(scheduler.next_timer().has_value());
  }
  EXPECT_FALSE(scheduler.next_timer().has_value());
}

TEST(Scheduler, DoesNotResumeAReadyTaskThatAnotherDestroyedInTheSamePass) {
  ManualScheduler scheduler;
  std::vector<int> order;
  auto victim = std::make_unique<TaskScope>(scheduler);
  TaskScope scope(scheduler);
  scope.spawn([](std::unique_ptr<TaskScope>* other, std::vector<int>* out) -> Task<void> {
    other->reset();
    out->push_back(1);
    co_return;
  }(&victim, &order));
  victim->spawn(note(&order, 2));
  scope.spawn(note(&order, 3));
  scheduler.run_ready();
  EXPECT_EQ(order, (std::vector<int>{1, 3}));
}

TEST(Scheduler, MayGoBeforeTasksThatSleepOnIt) {
  std::vector<int> order;
  auto scheduler = std::make_unique<ManualScheduler>();
  TaskScope scope(*scheduler);
  scope.spawn(note_after(*scheduler, MonotonicTime{10}, &order, 1));
  scheduler->run_ready();
  scope.spawn(note(&order, 2));
  scheduler.reset();
  EXPECT_EQ(scope.running(), 2u);
  scope.cancel_all();
  EXPECT_TRUE(order.empty());
}

}  // namespace
}  // namespace tidemark::io
