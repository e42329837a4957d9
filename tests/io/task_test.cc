#include "io/task.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "io/stream.h"
#include "io/sync.h"
#include "sim/network.h"
#include "sim/world.h"

namespace tidemark::io {
namespace {

Task<int> number(int n) {
  co_return n;
}

Task<void> nothing() {
  co_return;
}

Task<std::unique_ptr<int>> only_moved() {
  co_return std::make_unique<int>(5);
}

Task<Result<int>> half_of(int n) {
  if (n % 2 != 0) co_return fail(ErrorCode::kInvalid, std::to_string(n) + " is odd");
  co_return n / 2;
}

Task<Result<int>> quarter_of(int n) {
  TM_CO_TRY_ASSIGN(const int half, co_await half_of(n));
  TM_CO_TRY_ASSIGN(const int quarter, co_await half_of(half));
  co_return quarter;
}

// Counts the live objects of its kind.
struct Witness {
  explicit Witness(int* c) : count(c) { ++*count; }
  Witness(const Witness&) = delete;
  Witness& operator=(const Witness&) = delete;
  ~Witness() { --*count; }
  int* count;
};

TEST(Task, GivesItsValue) {
  sim::World world(1);
  EXPECT_EQ(world.run(number(7)), 7);
  EXPECT_EQ(*world.run(only_moved()), 5);
  world.run(nothing());
}

TEST(Task, CarriesResultsAndTheirErrors) {
  sim::World world(1);
  EXPECT_EQ(*world.run(quarter_of(8)), 2);
  EXPECT_EQ(world.run(quarter_of(6)).error().message, "3 is odd");
}

TEST(Task, IsLazy) {
  sim::World world(1);
  bool ran = false;
  const auto set = [](bool* out) -> Task<void> {
    *out = true;
    co_return;
  };
  { Task<void> dropped = set(&ran); }
  EXPECT_FALSE(ran);
  Task<void> task = set(&ran);
  Task<void> moved = std::move(task);
  EXPECT_FALSE(ran);
  world.run(std::move(moved));
  EXPECT_TRUE(ran);
}

TEST(Task, ALoopOverTasksThatDoNotWaitUsesConstantStack) {
  sim::World world(1);
  // The address of a local of the innermost call says how deep the stack is.
  struct Depth {
    std::uintptr_t lowest = UINTPTR_MAX;
    std::uintptr_t highest = 0;
  };
  Depth depth;
  const auto leaf = [](Depth* d, int n) -> Task<int> {
    const volatile char here = 0;
    (void)here;
    const auto address = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
    d->lowest = std::min(d->lowest, address);
    d->highest = std::max(d->highest, address);
    co_return n;
  };
  const auto middle = [&leaf](Depth* d, int n) -> Task<int> { co_return co_await leaf(d, n); };
  const auto loop = [&middle](Depth* d) -> Task<std::int64_t> {
    std::int64_t sum = 0;
    for (int i = 0; i < 1'000'000; ++i) sum += co_await middle(d, i);
    co_return sum;
  };
  EXPECT_EQ(world.run(loop(&depth)), 499'999'500'000);
  EXPECT_LT(depth.highest - depth.lowest, 4096u);
}

TEST(Task, ALoopOverTasksThatWaitUsesConstantStack) {
  sim::World world(1);
  const auto leaf = [](Scheduler& scheduler, int n) -> Task<int> {
    if (n % 2 == 0) co_await scheduler.yield();
    co_return n;
  };
  const auto loop = [&leaf](Scheduler& scheduler) -> Task<std::int64_t> {
    std::int64_t sum = 0;
    for (int i = 0; i < 200'000; ++i) sum += co_await leaf(scheduler, i);
    co_return sum;
  };
  EXPECT_EQ(world.run(loop(world)), 19'999'900'000);
}

TEST(Task, DestroyingASuspendedTaskDestroysAllThatItAwaits) {
  sim::World world(1);
  int alive = 0;
  bool resumed = false;
  const auto inner = [](Scheduler& scheduler, int* count, bool* out) -> Task<void> {
    const Witness witness(count);
    co_await scheduler.sleep_for(Duration::seconds(1));
    *out = true;
  };
  const auto outer = [&inner](Scheduler& scheduler, int* count, bool* out) -> Task<void> {
    const Witness witness(count);
    co_await inner(scheduler, count, out);
    *out = true;
  };
  {
    TaskScope scope(world);
    scope.spawn(outer(world, &alive, &resumed));
    world.run_ready_only();
    EXPECT_EQ(alive, 2);
  }
  EXPECT_EQ(alive, 0);
  world.run_for(Duration::seconds(10));
  EXPECT_FALSE(resumed);
}

TEST(Task, DestroyingATaskThatNeverRanDestroysItsParameters) {
  const auto shared = std::make_shared<int>(1);
  {
    const auto hold = [](std::shared_ptr<int> pointer) -> Task<int> { co_return *pointer; };
    Task<int> task = hold(shared);
    EXPECT_EQ(shared.use_count(), 2);
  }
  EXPECT_EQ(shared.use_count(), 1);
}

TEST(TaskDeathTest, IsAwaitedOnlyOnce) {
  EXPECT_DEATH(
      {
        sim::World world(1);
        const auto twice = []() -> Task<void> {
          Task<int> task = number(1);
          co_await task;
          co_await task;
        };
        world.run(twice());
      },
      "assertion failed");
}

TEST(ReadExactly, GathersPiecesAndNamesHowManyCame) {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    sim::World world(seed);
    auto [left, right] = sim::make_stream_pair(world);
    const auto send = [](Stream& stream) -> Task<Result<void>> {
      std::vector<Buffer> pieces{Buffer::copy_of(as_bytes("0123456789")), Buffer::copy_of(as_bytes("abc"))};
      co_return co_await stream.write(std::move(pieces));
    };
    ASSERT_TRUE(world.run(send(*left)).ok());
    left->close();
    const Buffer first = Buffer::allocate(8);
    ASSERT_TRUE(world.run(read_exactly(*right, first)).ok());
    EXPECT_EQ(std::memcmp(first.data(), "01234567", 8), 0);
    const Buffer second = Buffer::allocate(8);
    const Result<void> short_read = world.run(read_exactly(*right, second));
    ASSERT_FALSE(short_read.ok());
    EXPECT_EQ(short_read.error().code, ErrorCode::kClosed);
    EXPECT_NE(short_read.error().message.find("5 of 8"), std::string::npos) << short_read.error().message;
  }
}

TEST(ReadExactly, OfNothingSucceedsOnAnEndedStream) {
  sim::World world(1);
  auto [left, right] = sim::make_stream_pair(world);
  left->close();
  EXPECT_TRUE(world.run(read_exactly(*right, Buffer{})).ok());
}

}  // namespace
}  // namespace tidemark::io
