#include "io/sync.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "sim/world.h"

namespace tidemark::io {
namespace {

Task<void> wait_and_note(WaitQueue& queue, std::vector<int>* out, int value) {
  co_await queue.wait();
  out->push_back(value);
}

Task<void> wait_for_event(Event& event, std::vector<int>* out, int value) {
  co_await event.wait();
  out->push_back(value);
}

// Takes the mutex, notes `value`, keeps it for `hold` and notes the negative.
Task<void> lock_and_note(Scheduler& scheduler, Mutex& mutex, std::vector<int>* out, int value,
                         Duration hold) {
  const Mutex::Guard guard = co_await mutex.lock();
  out->push_back(value);
  co_await scheduler.sleep_for(hold);
  out->push_back(-value);
}

Task<void> sleep(Scheduler& scheduler, Duration duration) {
  co_await scheduler.sleep_for(duration);
}

TEST(WaitQueue, WakesOneByOneInOrderOfArrivalOrAllTogether) {
  sim::World world(1);
  WaitQueue queue(world);
  std::vector<int> order;
  TaskScope scope(world);
  for (int i = 1; i <= 4; ++i) scope.spawn(wait_and_note(queue, &order, i));
  world.run_ready_only();
  EXPECT_FALSE(queue.empty());
  queue.wake_one();
  EXPECT_TRUE(order.empty()) << "whoever wakes runs on first";
  world.run_ready_only();
  EXPECT_EQ(order, (std::vector<int>{1}));
  queue.wake_all();
  world.run_ready_only();
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3, 4}));
  EXPECT_TRUE(queue.empty());
  queue.wake_one();
  queue.wake_all();
}

TEST(WaitQueue, AWaiterThatWasDestroyedIsSkipped) {
  sim::World world(1);
  WaitQueue queue(world);
  std::vector<int> order;
  TaskScope scope(world);
  auto cancelled = std::make_unique<TaskScope>(world);
  scope.spawn(wait_and_note(queue, &order, 1));
  cancelled->spawn(wait_and_note(queue, &order, 2));
  scope.spawn(wait_and_note(queue, &order, 3));
  world.run_ready_only();
  cancelled.reset();
  queue.wake_one();
  queue.wake_one();
  world.run_ready_only();
  EXPECT_EQ(order, (std::vector<int>{1, 3}));
}

TEST(WaitQueue, AWaiterDestroyedAfterItWasWokenIsNotResumed) {
  sim::World world(1);
  WaitQueue queue(world);
  std::vector<int> order;
  {
    TaskScope scope(world);
    scope.spawn(wait_and_note(queue, &order, 1));
    world.run_ready_only();
    queue.wake_all();
  }
  world.run_ready_only();
  EXPECT_TRUE(order.empty());
}

TEST(WaitQueue, MayGoBeforeThoseWhoWaitInIt) {
  sim::World world(1);
  auto queue = std::make_unique<WaitQueue>(world);
  std::vector<int> order;
  TaskScope scope(world);
  scope.spawn(wait_and_note(*queue, &order, 1));
  world.run_ready_only();
  queue.reset();
  world.run_for(Duration::seconds(1));
  EXPECT_EQ(scope.running(), 1u);
}

TEST(Event, LetsEverybodyPassOnceSetUntilReset) {
  sim::World world(1);
  Event event(world);
  std::vector<int> order;
  TaskScope scope(world);
  scope.spawn(wait_for_event(event, &order, 1));
  scope.spawn(wait_for_event(event, &order, 2));
  world.run_ready_only();
  EXPECT_TRUE(order.empty());
  event.set();
  world.run_ready_only();
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
  scope.spawn(wait_for_event(event, &order, 3));
  world.run_ready_only();
  EXPECT_EQ(order.size(), 3u);
  event.reset();
  EXPECT_FALSE(event.is_set());
  scope.spawn(wait_for_event(event, &order, 4));
  world.run_ready_only();
  EXPECT_EQ(order.size(), 3u);
}

TEST(Event, AWaiterThatFindsItResetAgainWaitsOn) {
  sim::World world(1);
  Event event(world);
  std::vector<int> order;
  TaskScope scope(world);
  scope.spawn(wait_for_event(event, &order, 1));
  world.run_ready_only();
  event.set();
  event.reset();
  world.run_ready_only();
  EXPECT_TRUE(order.empty());
  event.set();
  world.run_ready_only();
  EXPECT_EQ(order, (std::vector<int>{1}));
}

TEST(Mutex, LetsInOneAtATimeInOrderOfArrival) {
  sim::World world(1);
  Mutex mutex(world);
  std::vector<int> order;
  TaskScope scope(world);
  for (int i = 1; i <= 3; ++i) {
    scope.spawn(lock_and_note(world, mutex, &order, i, Duration::seconds(4 - i)));
  }
  world.run(scope.join());
  EXPECT_EQ(order, (std::vector<int>{1, -1, 2, -2, 3, -3}));
}

TEST(Mutex, SomebodyWhoComesWhileItIsHandedOverDoesNotOvertake) {
  sim::World world(1);
  Mutex mutex(world);
  std::vector<int> order;
  TaskScope scope(world);
  scope.spawn([](Scheduler& s, Mutex& m, TaskScope& sc, std::vector<int>* out) -> Task<void> {
    {
      const Mutex::Guard guard = co_await m.lock();
      co_await s.sleep_for(Duration::seconds(1));
    }
    // The second has been granted it but not resumed yet; the first wants it back at once.
    const Mutex::Guard again = co_await m.lock();
    out->push_back(1);
    (void)sc;
  }(world, mutex, scope, &order));
  scope.spawn(lock_and_note(world, mutex, &order, 2, Duration{}));
  world.run(scope.join());
  EXPECT_EQ(order, (std::vector<int>{2, -2, 1}));
}

TEST(Mutex, AWaiterThatWasDestroyedLosesItsPlace) {
  sim::World world(1);
  Mutex mutex(world);
  std::vector<int> order;
  TaskScope scope(world);
  auto cancelled = std::make_unique<TaskScope>(world);
  scope.spawn(lock_and_note(world, mutex, &order, 1, Duration::seconds(1)));
  cancelled->spawn(lock_and_note(world, mutex, &order, 2, Duration::seconds(1)));
  scope.spawn(lock_and_note(world, mutex, &order, 3, Duration::seconds(1)));
  world.run_ready_only();
  cancelled.reset();
  world.run(scope.join());
  EXPECT_EQ(order, (std::vector<int>{1, -1, 3, -3}));
}

TEST(Mutex, AWaiterDestroyedBetweenGrantAndResumptionHandsItOn) {
  sim::World world(1);
  Mutex mutex(world);
  std::vector<int> order;
  TaskScope scope(world);
  auto cancelled = std::make_unique<TaskScope>(world);
  auto holder = std::make_unique<TaskScope>(world);
  holder->spawn(lock_and_note(world, mutex, &order, 1, Duration::seconds(1)));
  cancelled->spawn(lock_and_note(world, mutex, &order, 2, Duration::seconds(1)));
  world.run_ready_only();
  scope.spawn(lock_and_note(world, mutex, &order, 3, Duration::seconds(1)));
  world.run_ready_only();
  holder.reset();     // grants it to 2, who is now ready
  cancelled.reset();  // and goes before it runs
  world.run(scope.join());
  EXPECT_EQ(order, (std::vector<int>{1, 3, -3}));
}

TEST(Mutex, IsFreeAgainWhenTheLastGrantedWaiterWasDestroyed) {
  sim::World world(1);
  Mutex mutex(world);
  std::vector<int> order;
  auto holder = std::make_unique<TaskScope>(world);
  auto cancelled = std::make_unique<TaskScope>(world);
  holder->spawn(lock_and_note(world, mutex, &order, 1, Duration::seconds(1)));
  cancelled->spawn(lock_and_note(world, mutex, &order, 2, Duration::seconds(1)));
  world.run_ready_only();
  holder.reset();
  cancelled.reset();
  world.run(lock_and_note(world, mutex, &order, 3, Duration{}));
  EXPECT_EQ(order, (std::vector<int>{1, 3, -3}));
}

TEST(TaskScope, JoinWaitsForAllThoseSpawnedMeanwhileIncluded) {
  sim::World world(1);
  TaskScope scope(world);
  EXPECT_EQ(scope.running(), 0u);
  scope.spawn([](Scheduler& s, TaskScope& sc) -> Task<void> {
    co_await s.sleep_for(Duration::seconds(1));
    sc.spawn(sleep(s, Duration::seconds(5)));
  }(world, scope));
  scope.spawn(sleep(world, Duration::seconds(2)));
  EXPECT_EQ(scope.running(), 2u);
  world.run(scope.join());
  EXPECT_EQ(world.now(), MonotonicTime{} + Duration::seconds(6));
  EXPECT_EQ(scope.running(), 0u);
  world.run(scope.join());
}

TEST(TaskScope, SpawnedTasksStartInTheNextPassAndNotBefore) {
  sim::World world(1);
  std::vector<int> order;
  TaskScope scope(world);
  scope.spawn([](std::vector<int>* out) -> Task<void> {
    out->push_back(1);
    co_return;
  }(&order));
  EXPECT_TRUE(order.empty());
  world.run_ready_only();
  EXPECT_EQ(order, (std::vector<int>{1}));
  EXPECT_EQ(scope.running(), 0u);
}

TEST(TaskScope, CancellingDestroysAllAndWakesWhoeverJoins) {
  sim::World world(1);
  std::vector<int> order;
  WaitQueue queue(world);
  TaskScope inner(world);
  TaskScope outer(world);
  inner.spawn(wait_and_note(queue, &order, 1));
  inner.spawn(sleep(world, Duration::seconds(100)));
  outer.spawn([](TaskScope& joined, std::vector<int>* out) -> Task<void> {
    co_await joined.join();
    out->push_back(2);
  }(inner, &order));
  world.run_ready_only();
  inner.spawn(sleep(world, Duration::seconds(100)));  // not started yet
  inner.cancel_all();
  EXPECT_EQ(inner.running(), 0u);
  EXPECT_TRUE(queue.empty());
  world.run_ready_only();
  EXPECT_EQ(order, (std::vector<int>{2}));
  EXPECT_EQ(world.now(), MonotonicTime{});
}

}  // namespace
}  // namespace tidemark::io
