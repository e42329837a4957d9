#include "base/threads.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>

#include "base/out_of_memory.h"

namespace tidemark {
namespace {

TEST(StartThread, DoesTheWork) {
  std::atomic<bool> done{false};
  start_thread([&done] { done = true; }).join();
  EXPECT_TRUE(done);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(StartThread, WithoutRoomForAStackTheProcessSaysSoAndEnds) {
  const auto starve = [] {
    const rlimit little{.rlim_cur = 64 << 20, .rlim_max = 64 << 20};
    ASSERT_EQ(::setrlimit(RLIMIT_AS, &little), 0);
    for (int i = 0; i < 1000; ++i) start_thread([] { ::sleep(60); }).detach();
  };
  EXPECT_EXIT(starve(), testing::ExitedWithCode(kOutOfMemoryStatus),
              "tidemark: out of memory: the system gives no further thread; raise its limit");
}
#endif

}  // namespace
}  // namespace tidemark
