#include "sim/world.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "sim/disk.h"
#include "sim/network.h"

namespace tidemark::sim {
namespace {

io::Task<void> sleep_and_note(World& world, Duration duration, std::string name,
                              std::vector<std::string>* notes) {
  co_await world.sleep_for(duration);
  notes->push_back(name + "@" + std::to_string(world.now().ns));
}

TEST(World, JumpsToTheNextTimerWhenNothingIsReady) {
  World world(1);
  std::vector<std::string> notes;
  io::TaskScope scope(world);
  scope.spawn(sleep_and_note(world, Duration::seconds(86'400), "late", &notes));
  scope.spawn(sleep_and_note(world, Duration::seconds(2), "early", &notes));
  world.run(scope.join());
  EXPECT_EQ(notes, (std::vector<std::string>{"early@2000000000", "late@86400000000000"}));
  EXPECT_EQ(world.now(), MonotonicTime{} + Duration::seconds(86'400));
}

TEST(World, RunForStopsAtItsEndAndKeepsLaterTimers) {
  World world(1);
  std::vector<std::string> notes;
  io::TaskScope scope(world);
  scope.spawn(sleep_and_note(world, Duration::seconds(1), "a", &notes));
  scope.spawn(sleep_and_note(world, Duration::seconds(3), "b", &notes));
  world.run_for(Duration::seconds(2));
  EXPECT_EQ(notes.size(), 1u);
  EXPECT_EQ(world.now(), MonotonicTime{} + Duration::seconds(2));
  EXPECT_EQ(scope.running(), 1u);
  // Includes what is due at the very end.
  world.run_for(Duration::seconds(1));
  EXPECT_EQ(notes.size(), 2u);
  // Time passes even when nothing happens.
  world.run_for(Duration::seconds(10));
  EXPECT_EQ(world.now(), MonotonicTime{} + Duration::seconds(13));
}

TEST(World, RunReadyOnlyLeavesTimersAlone) {
  World world(1);
  std::vector<std::string> notes;
  io::TaskScope scope(world);
  scope.spawn(sleep_and_note(world, Duration{0}, "now", &notes));
  scope.spawn(sleep_and_note(world, Duration::nanoseconds(1), "then", &notes));
  world.run_ready_only();
  world.run_ready_only();
  EXPECT_EQ(notes, (std::vector<std::string>{"now@0"}));
  EXPECT_EQ(world.now(), MonotonicTime{});
}

TEST(World, RunGivesTheResultOfItsTask) {
  World world(1);
  const int answer = world.run([](World& w) -> io::Task<int> {
    co_await w.sleep_for(Duration::seconds(1));
    co_return 42;
  }(world));
  EXPECT_EQ(answer, 42);
}

TEST(WorldDeathTest, SaysThatNothingCanHappenAnyMore) {
  EXPECT_DEATH(
      {
        World world(7);
        io::Event never(world);
        world.run(never.wait());
      },
      "seed 7: stuck at 0.0+ s of virtual time: nothing is ready");
}

TEST(World, EnvironmentsHaveClocksThatDisagreeWithinTheSkew) {
  World world(5);
  const io::Environment first = world.environment();
  EXPECT_EQ(first.clock.now(), world.wall_now());
  bool disagreed = false;
  for (int i = 0; i < 8; ++i) {
    const Duration skew = world.environment().clock.now() - world.wall_now();
    EXPECT_LE(skew, Duration::milliseconds(100));
    EXPECT_GE(skew, Duration::milliseconds(-100));
    disagreed = disagreed || skew != Duration{};
  }
  EXPECT_TRUE(disagreed);
}

TEST(World, WallClockJumpsBothWaysAndMonotonicTimeDoesNot) {
  World world(5);
  const io::Environment node = world.environment();
  const WallTime start = node.clock.now();
  world.jump_wall_clock(Duration::seconds(-3600));
  EXPECT_EQ(node.clock.now() - start, Duration::seconds(-3600));
  world.jump_wall_clock(Duration::seconds(7200));
  EXPECT_EQ(node.clock.now() - start, Duration::seconds(3600));
  EXPECT_EQ(world.now(), MonotonicTime{});
}

TEST(World, ARandomStreamDoesNotShiftWhenAnotherIsDrawnFrom) {
  World quiet(9);
  World busy(9);
  for (int i = 0; i < 100; ++i) busy.random().next();
  Disk disk(busy, 1 << 20);
  EXPECT_EQ(quiet.environment().random.next(), busy.environment().random.next());
  // Two nodes, and two seeds, draw differently.
  World world(9);
  EXPECT_NE(world.environment().random.next(), world.environment().random.next());
  EXPECT_NE(World(1).random().next(), World(2).random().next());
}

TEST(World, OffloadRunsTheWorkAndResumesBehindTheOthers) {
  World world(1);
  const io::Environment node = world.environment();
  std::vector<int> order;
  io::TaskScope scope(world);
  scope.spawn([](io::Offload& offload, std::vector<int>* out) -> io::Task<void> {
    std::function<void()> work = [out] { out->push_back(1); };
    co_await offload.run(work);
    out->push_back(3);
  }(node.offload, &order));
  scope.spawn([](std::vector<int>* out) -> io::Task<void> {
    out->push_back(2);
    co_return;
  }(&order));
  world.run(scope.join());
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
}

// A little of everything; the trace is what the seed decides.
std::vector<std::string> trace_of(std::uint64_t seed) {
  World world(seed);
  Disk disk(world, 1 << 20);
  std::vector<std::string> trace;
  io::TaskScope scope(world);
  for (std::uint64_t i = 0; i < 20; ++i) {
    scope.spawn([](World& w, Disk& d, std::uint64_t number, std::vector<std::string>* out) -> io::Task<void> {
      std::vector<Buffer> pieces{Buffer::allocate(4096)};
      std::memset(pieces[0].data(), static_cast<int>(number), 4096);
      const Result<void> written =
          co_await d.write(DiskOffset{number % 4 * 4096}, std::move(pieces), io::Durability::kVolatile);
      out->push_back("w" + std::to_string(number) + (written.ok() ? "+" : "-") + std::to_string(w.now().ns));
    }(world, disk, i, &trace));
  }
  auto [left, right] = make_stream_pair(world);
  scope.spawn([](io::Stream& stream) -> io::Task<void> {
    std::vector<Buffer> pieces{Buffer::copy_of(as_bytes("a message that may come in pieces"))};
    const Result<void> sent = co_await stream.write(std::move(pieces));
    EXPECT_TRUE(sent.ok());
    stream.close();
  }(*left));
  scope.spawn([](World& w, io::Stream& stream, std::vector<std::string>* out) -> io::Task<void> {
    for (;;) {
      Buffer buffer = Buffer::allocate(64);
      const Result<std::size_t> got = co_await stream.read_some(buffer);
      if (!got.ok() || *got == 0) break;
      out->push_back("r" + std::to_string(*got) + "@" + std::to_string(w.now().ns));
    }
  }(world, *right, &trace));
  world.run(scope.join());
  disk.crash();
  std::vector<std::byte> left_over(4 * 4096);
  disk.peek(0, left_over);
  for (std::size_t i = 0; i < left_over.size(); i += 512) {
    trace.push_back(std::to_string(static_cast<int>(left_over[i])));
  }
  return trace;
}

TEST(World, TheSameSeedGivesTheSameRun) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) EXPECT_EQ(trace_of(seed), trace_of(seed));
  EXPECT_NE(trace_of(1), trace_of(2));
}

}  // namespace
}  // namespace tidemark::sim
