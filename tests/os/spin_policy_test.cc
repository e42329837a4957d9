#include "os/spin_policy.h"

#include <gtest/gtest.h>

namespace tidemark::os {
namespace {

constexpr Duration kMax = Duration::microseconds(160);

struct Spinning {
  SpinPolicy policy{kMax};
  MonotonicTime time{1'000'000'000};
  Duration used{};

  // As many waits as there are between two looks; of the time, so many percent were work.
  void go_on(std::int64_t busy_percent, bool cores_are_wanted = false) {
    bool looked = false;
    for (int i = 0; i < SpinPolicy::kWaitsPerLook; ++i) {
      time = time + Duration::microseconds(100);
      used = used + Duration::microseconds(busy_percent);
      if (!policy.begin_wait()) continue;
      policy.look(time, used, cores_are_wanted);
      looked = true;
    }
    EXPECT_TRUE(looked);
  }
};

TEST(SpinPolicy, LooksAtNothingWhenItMayNotPoll) {
  SpinPolicy policy{Duration{}};
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(policy.begin_wait());
}

TEST(SpinPolicy, PollsLessWhereNothingCameAndMoreWhereSomethingDid) {
  Spinning spinning;
  EXPECT_EQ(spinning.policy.next(spinning.time), kMax);
  spinning.policy.found_nothing(kMax);
  EXPECT_EQ(spinning.policy.next(spinning.time), Duration::microseconds(80));
  spinning.policy.found(Duration::microseconds(7));
  EXPECT_EQ(spinning.policy.next(spinning.time), kMax);
  spinning.policy.found(Duration::microseconds(7));
  EXPECT_EQ(spinning.policy.next(spinning.time), kMax);
}

TEST(SpinPolicy, AnIdleThreadPollsForASixteenthAndFindsItsWayBack) {
  Spinning spinning;
  for (int i = 0; i < 100; ++i) spinning.policy.found_nothing(kMax);
  const Duration least = spinning.policy.next(spinning.time);
  EXPECT_GE(least, Duration::microseconds(10));
  EXPECT_LE(least, Duration::microseconds(11));
  for (int i = 0; i < 5; ++i) spinning.policy.found(Duration{});
  EXPECT_EQ(spinning.policy.next(spinning.time), kMax);
}

TEST(SpinPolicy, AThreadThatWorksMostOfTheTimeDoesNotPoll) {
  Spinning spinning;
  spinning.go_on(50);
  EXPECT_EQ(spinning.policy.next(spinning.time), kMax);
  spinning.go_on(70);
  EXPECT_EQ(spinning.policy.next(spinning.time), Duration{});
  spinning.go_on(50);
  EXPECT_EQ(spinning.policy.next(spinning.time), kMax);
}

TEST(SpinPolicy, PollingIsNoWork) {
  Spinning spinning;
  spinning.go_on(10);
  for (int i = 0; i < SpinPolicy::kWaitsPerLook; ++i) spinning.policy.found(Duration::microseconds(60));
  spinning.go_on(90);
  EXPECT_EQ(spinning.policy.next(spinning.time), kMax);
}

TEST(SpinPolicy, StandsBackForAWhileWhenAnotherHadTheCore) {
  Spinning spinning;
  spinning.policy.core_was_wanted(spinning.time);
  EXPECT_EQ(spinning.policy.next(spinning.time), Duration{});
  EXPECT_EQ(spinning.policy.next(spinning.time + SpinPolicy::kStandBack), kMax);
}

TEST(SpinPolicy, StandsBackWhileMoreThreadsWantToRunThanThereAreCores) {
  Spinning spinning;
  spinning.go_on(10, true);
  EXPECT_EQ(spinning.policy.next(spinning.time), Duration{});
  EXPECT_EQ(spinning.policy.next(spinning.time + SpinPolicy::kStandBack), kMax);
}

}  // namespace
}  // namespace tidemark::os
