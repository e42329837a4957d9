#include "os/spin_policy.h"

#include <gtest/gtest.h>

namespace tidemark::os {
namespace {

constexpr Duration kMax = Duration::microseconds(160);

struct Spinning {
  SpinPolicy policy{kMax};
  MonotonicTime time{1'000'000'000};

  // A wait begins after `busy` of work.
  Duration next_after(Duration busy) {
    const MonotonicTime since = time;
    time = time + busy;
    return policy.next(time, since);
  }
};

TEST(SpinPolicy, NeverPollsWhenItMayNot) {
  SpinPolicy policy{Duration{}};
  EXPECT_FALSE(policy.enabled());
  EXPECT_EQ(policy.next(MonotonicTime{5000}, MonotonicTime{4000}), Duration{});
}

TEST(SpinPolicy, PollsLessWhereNothingCameAndMoreWhereSomethingDid) {
  Spinning spinning;
  EXPECT_EQ(spinning.next_after(Duration::microseconds(5)), kMax);
  spinning.policy.found_nothing();
  EXPECT_EQ(spinning.next_after(Duration::microseconds(5)), Duration::microseconds(80));
  spinning.policy.found();
  EXPECT_EQ(spinning.next_after(Duration::microseconds(5)), kMax);
  spinning.policy.found();
  EXPECT_EQ(spinning.next_after(Duration::microseconds(5)), kMax);
}

TEST(SpinPolicy, AnIdleThreadPollsForASixteenthAndFindsItsWayBack) {
  Spinning spinning;
  for (int i = 0; i < 100; ++i) spinning.policy.found_nothing();
  const Duration least = spinning.next_after(Duration::microseconds(5));
  EXPECT_GE(least, Duration::microseconds(10));
  EXPECT_LE(least, Duration::microseconds(11));
  for (int i = 0; i < 5; ++i) spinning.policy.found();
  EXPECT_EQ(spinning.next_after(Duration::microseconds(5)), kMax);
}

TEST(SpinPolicy, AThreadWithMuchToDoDoesNotPoll) {
  Spinning spinning;
  for (int i = 0; i < 50; ++i) spinning.next_after(Duration::microseconds(100));
  EXPECT_EQ(spinning.next_after(Duration::microseconds(100)), Duration{});
  for (int i = 0; i < 50; ++i) spinning.next_after(Duration::microseconds(5));
  EXPECT_EQ(spinning.next_after(Duration::microseconds(5)), kMax);
}

TEST(SpinPolicy, OneLongStepIsForgottenSoon) {
  Spinning spinning;
  EXPECT_EQ(spinning.next_after(Duration::seconds(10)), kMax);
  EXPECT_EQ(spinning.next_after(Duration::microseconds(5)), kMax);
}

TEST(SpinPolicy, StandsBackForAWhileWhenAnotherWantedTheCore) {
  Spinning spinning;
  spinning.policy.core_was_wanted(spinning.time);
  EXPECT_EQ(spinning.next_after(Duration::microseconds(5)), Duration{});
  spinning.time = spinning.time + SpinPolicy::kStandBack;
  EXPECT_EQ(spinning.next_after(Duration::microseconds(5)), kMax);
}

}  // namespace
}  // namespace tidemark::os
