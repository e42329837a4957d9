#include "os/reactor.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <thread>
#include <vector>

#include "io/sync.h"
#include "os/request.h"
#include "support.h"

namespace tidemark::os {
namespace {

io::Task<int> add_later(Reactor& reactor, int a, int b) {
  co_await reactor.yield();
  co_return a + b;
}

// Every kind of set-up that create() may end up with.
class EveryReactor : public testing::TestWithParam<ReactorOptions> {
 protected:
  std::unique_ptr<Reactor> reactor = make_reactor(GetParam());
};
INSTANTIATE_TEST_SUITE_P(Setups, EveryReactor,
                         testing::Values(ReactorOptions{}, ReactorOptions{.plain_setup = true},
                                         ReactorOptions{.ring_entries = 1},
                                         ReactorOptions{.spin_max = Duration::microseconds(200)}));

TEST_P(EveryReactor, RunsATaskAndGivesItsResult) {
  EXPECT_EQ(reactor->run(add_later(*reactor, 2, 3)), 5);
}

TEST_P(EveryReactor, FiresTimersInOrderOfTimeThenOfRequest) {
  std::vector<int> order;
  const auto note = [](Reactor& r, std::vector<int>& out, MonotonicTime due, int number) -> io::Task<void> {
    co_await r.sleep_until(due);
    EXPECT_GE(r.now(), due);
    out.push_back(number);
  };
  const MonotonicTime start = reactor->now();
  const auto all = [&](io::TaskScope& scope) -> io::Task<void> {
    scope.spawn(note(*reactor, order, start + Duration::milliseconds(4), 3));
    scope.spawn(note(*reactor, order, start + Duration::milliseconds(2), 1));
    scope.spawn(note(*reactor, order, start + Duration::milliseconds(2), 2));
    scope.spawn(note(*reactor, order, start, 0));
    co_await scope.join();
  };
  io::TaskScope scope(*reactor);
  reactor->run(all(scope));
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3}));
  EXPECT_GE(reactor->now() - start, Duration::milliseconds(4));
}

TEST_P(EveryReactor, RunsPostsOfManyThreadsEachInItsOrder) {
  constexpr int kThreads = 4;
  constexpr int kPosts = 2000;
  std::vector<int> last(kThreads, -1);
  int count = 0;
  bool ordered = true;
  bool done = false;
  const std::thread::id home = std::this_thread::get_id();
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kPosts; ++i) {
        reactor->post_from_thread([&, t, i] {
          ordered =
              ordered && std::this_thread::get_id() == home && last[static_cast<std::size_t>(t)] == i - 1;
          last[static_cast<std::size_t>(t)] = i;
          done = ++count == kThreads * kPosts;
        });
      }
    });
  }
  reactor->run_until(done);
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(ordered);
  EXPECT_EQ(count, kThreads * kPosts);
}

TEST_P(EveryReactor, AnotherThreadEndsItsSleep) {
  std::thread other([&] { reactor->post_from_thread([&] { reactor->stop(); }); });
  reactor->run_until_stopped();
  other.join();
  // It can be run again.
  EXPECT_EQ(reactor->run(add_later(*reactor, 1, 1)), 2);
}

TEST_P(EveryReactor, CarriesMoreOperationsThanItsQueuesHold) {
  constexpr int kOperations = 5000;
  int done = 0;
  const auto one = [](Reactor& r, int& count) -> io::Task<void> {
    Request request(r);
    ::io_uring_prep_nop(request.entry());
    const std::int32_t result = co_await request.submit();
    count += result == 0 ? 1 : 0;
  };
  io::TaskScope scope(*reactor);
  for (int i = 0; i < kOperations; ++i) scope.spawn(one(*reactor, done));
  reactor->run(scope.join());
  EXPECT_EQ(done, kOperations);
}

TEST(Reactor, AYieldingTaskDoesNotKeepOthersFromTheirCompletions) {
  auto reactor = make_reactor();
  bool done = false;
  const auto yields = [](Reactor& r, const bool& stop) -> io::Task<void> {
    while (!stop) co_await r.yield();
  };
  const auto submits = [](Reactor& r, bool& stop) -> io::Task<void> {
    for (int i = 0; i < 3; ++i) {
      Request request(r);
      ::io_uring_prep_nop(request.entry());
      static_cast<void>(co_await request.submit());
    }
    stop = true;
  };
  io::TaskScope scope(*reactor);
  scope.spawn(yields(*reactor, done));
  scope.spawn(submits(*reactor, done));
  reactor->run(scope.join());
  EXPECT_TRUE(done);
}

TEST(Reactor, ReusesOperationsInSteadyState) {
  auto reactor = make_reactor();
  const auto many = [](Reactor& r, int count) -> io::Task<void> {
    for (int i = 0; i < count; ++i) {
      Request request(r);
      ::io_uring_prep_nop(request.entry());
      static_cast<void>(co_await request.submit());
    }
  };
  reactor->run(many(*reactor, 1000));
  EXPECT_EQ(reactor->statistics().operations, 1u);
  EXPECT_GE(reactor->statistics().completions, 1000u);
}

TEST(Reactor, SubmitsWhatIsReadyTogetherInOneCall) {
  auto reactor = make_reactor();
  const auto one = [](Reactor& r) -> io::Task<void> {
    Request request(r);
    ::io_uring_prep_nop(request.entry());
    static_cast<void>(co_await request.submit());
  };
  io::TaskScope scope(*reactor);
  const std::uint64_t before = reactor->statistics().enters;
  for (int i = 0; i < 200; ++i) scope.spawn(one(*reactor));
  reactor->run(scope.join());
  EXPECT_LE(reactor->statistics().enters - before, 3u);
}

TEST(Reactor, AbandonsAnOperationWhoseTaskIsDestroyedAndGoesOn) {
  auto reactor = make_reactor();
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  auto read_end = std::make_shared<const Descriptor>(ends[0]);
  const Descriptor write_end(ends[1]);
  Buffer memory = Buffer::allocate(4096);
  const auto reads = [](Reactor& r, SharedDescriptor from, Buffer into) -> io::Task<void> {
    Request request(r);
    request->descriptor = from;
    request->cancel_when_abandoned = true;
    request->pieces.push_back(into);
    ::io_uring_prep_read(request.entry(), from->get(), into.data(), static_cast<unsigned>(into.size()), 0);
    static_cast<void>(co_await request.submit());
    ADD_FAILURE() << "an abandoned task was resumed";
  };
  {
    io::TaskScope scope(*reactor);
    scope.spawn(reads(*reactor, read_end, memory));
    reactor->run(add_later(*reactor, 0, 0));
    EXPECT_EQ(scope.running(), 1u);
  }
  // Pinned until the kernel has given it up, then released.
  EXPECT_FALSE(memory.unique());
  const auto until_released = [](Reactor& r, const Buffer& buffer) -> io::Task<void> {
    while (!buffer.unique()) co_await r.yield();
  };
  reactor->run(until_released(*reactor, memory));
  EXPECT_EQ(read_end.use_count(), 1);
}

TEST(Reactor, IsDestroyedWithAbandonedOperationsInFlight) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  auto read_end = std::make_shared<const Descriptor>(ends[0]);
  const Descriptor write_end(ends[1]);
  Buffer memory = Buffer::allocate(4096);
  {
    auto reactor = make_reactor();
    const auto reads = [](Reactor& r, SharedDescriptor from, Buffer into) -> io::Task<void> {
      Request request(r);
      request->descriptor = from;
      request->cancel_when_abandoned = true;
      request->pieces.push_back(into);
      ::io_uring_prep_read(request.entry(), from->get(), into.data(), static_cast<unsigned>(into.size()), 0);
      static_cast<void>(co_await request.submit());
    };
    io::TaskScope scope(*reactor);
    for (int i = 0; i < 10; ++i) scope.spawn(reads(*reactor, read_end, memory));
    reactor->run(add_later(*reactor, 0, 0));
  }
  EXPECT_TRUE(memory.unique());
  EXPECT_EQ(read_end.use_count(), 1);
}

TEST(Reactor, DropsWhatWasPostedAndNeverRun) {
  auto token = std::make_shared<int>(1);
  {
    auto reactor = make_reactor();
    reactor->post_from_thread([token] { ADD_FAILURE() << "run during destruction"; });
  }
  EXPECT_EQ(token.use_count(), 1);
}

// Makes io_uring_setup() fail in this process from here on, as a container's profile does.
void forbid_ring(int error) {
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(error)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{4, code};
  ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
}

void report_creation(int error) {
  forbid_ring(error);
  const auto reactor = Reactor::create();
  std::fprintf(stderr, "%s", reactor.ok() ? "created" : reactor.error().message.c_str());
  std::_Exit(reactor.ok() ? 0 : 1);
}

TEST(ReactorDeathTest, SaysWhatToDoWhenTheSystemRefusesTheRing) {
  EXPECT_EXIT(report_creation(EPERM), testing::ExitedWithCode(1), "kernel.io_uring_disabled.*seccomp");
  EXPECT_EXIT(report_creation(ENOSYS), testing::ExitedWithCode(1), "no io_uring.*5.15");
}

}  // namespace
}  // namespace tidemark::os
