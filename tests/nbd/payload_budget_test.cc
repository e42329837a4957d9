#include "nbd/payload_budget.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace tidemark::nbd {
namespace {

constexpr std::uint64_t kShare = 10;
constexpr std::uint64_t kShared = 100;

struct Client final : PayloadBudget::Holder {
  explicit Client(PayloadBudget& budget) : account(std::make_unique<PayloadBudget::Account>(budget, *this)) {}
  void room_may_have_come() override { ++woken; }
  bool is_stalled() const override { return stalled; }
  void give_up() override {
    ++given_up;
    account->give_back(account->held());
  }
  bool take(std::uint64_t bytes) {
    if (!account->may_take(bytes)) return false;
    account->take(bytes);
    account->leave_line();
    return true;
  }
  // So that it counts as one that gives back.
  void prove() {
    for (int i = 0; i < 100; ++i) {
      ASSERT_TRUE(take(kShare));
      account->give_back(kShare);
    }
  }
  void take_all_it_may(std::uint64_t bytes) {
    while (take(bytes)) continue;
  }

  int woken = 0;
  int given_up = 0;
  bool stalled = false;
  std::unique_ptr<PayloadBudget::Account> account;
};

class PayloadBudgetTest : public ::testing::Test {
 protected:
  PayloadBudget budget{kShare, kShared};
  Client a{budget};
  Client b{budget};
  Client c{budget};
};

TEST_F(PayloadBudgetTest, OneAloneMayHaveAThirdOfTheSharedPart) {
  a.prove();
  a.take_all_it_may(1);
  EXPECT_EQ(a.account->held(), kShare + 33);
  EXPECT_EQ(budget.shared_bytes_used(), 33u);
}

TEST_F(PayloadBudgetTest, OneThatHasGivenNothingBackHoldsItsShareAndOneRequest) {
  ASSERT_TRUE(a.take(kShare));
  ASSERT_TRUE(a.take(5));
  EXPECT_FALSE(a.take(5));
  a.account->give_back(5);
  EXPECT_TRUE(a.take(5));
  EXPECT_FALSE(a.take(1));  // it has shown 5
}

TEST_F(PayloadBudgetTest, EachThatLetsNothingGoLeavesTwoThirdsForTheNext) {
  std::uint64_t left = kShared;
  for (Client* client : {&a, &b, &c}) {
    client->prove();
    client->take_all_it_may(1);
    EXPECT_LE(client->account->held(), kShare + left / 3 + 1);
    left = kShared - budget.shared_bytes_used();
  }
  EXPECT_GE(left, 28u);
}

TEST_F(PayloadBudgetTest, OneThatHoldsNothingMayTakeTheLongestRequest) {
  EXPECT_TRUE(a.take(kShare + kShared));
  EXPECT_FALSE(b.account->may_take(kShare + 1));
}

TEST_F(PayloadBudgetTest, TheOwnShareIsThereWhoeverWaits) {
  ASSERT_TRUE(a.take(kShare + kShared));
  ASSERT_FALSE(b.take(50));
  b.account->stand_in_line(50);
  EXPECT_TRUE(c.take(kShare));
  EXPECT_FALSE(c.take(1));
}

TEST_F(PayloadBudgetTest, ThoseThatWaitAreServedInOrderAndNobodyPasses) {
  ASSERT_TRUE(a.take(kShare + kShared));
  b.account->stand_in_line(kShare + 60);
  c.account->stand_in_line(kShare + 30);
  a.account->give_back(40);
  EXPECT_EQ(b.woken + c.woken, 0);
  EXPECT_FALSE(c.account->may_take(kShare + 30));  // it would fit, but b was first
  Client newcomer(budget);
  EXPECT_FALSE(newcomer.account->may_take(kShare + 1));
  a.account->give_back(30);
  EXPECT_EQ(b.woken, 1);
  EXPECT_EQ(c.woken, 0);
  EXPECT_TRUE(b.take(kShare + 60));
  a.account->give_back(30);
  EXPECT_EQ(c.woken, 1);
  EXPECT_TRUE(c.take(kShare + 30));
}

TEST_F(PayloadBudgetTest, OneThatHoldsTooMuchKeepsNobodyWaiting) {
  a.prove();
  a.take_all_it_may(1);
  ASSERT_FALSE(a.account->may_take(20));
  a.account->stand_in_line(20);
  EXPECT_TRUE(b.take(kShare + 30));
}

TEST_F(PayloadBudgetTest, OneThatLeavesTheLineLetsTheNextGo) {
  ASSERT_TRUE(a.take(kShare + 50));
  b.account->stand_in_line(kShare + 60);
  c.account->stand_in_line(kShare + 50);
  ASSERT_FALSE(c.account->may_take(kShare + 50));
  b.account->leave_line();
  EXPECT_EQ(c.woken, 1);
  EXPECT_TRUE(c.take(kShare + 50));
}

TEST_F(PayloadBudgetTest, AnAccountThatEndsGivesBackWhatItHeldAndItsPlaceInLine) {
  ASSERT_TRUE(a.take(kShare + kShared));
  b.account->stand_in_line(kShare + 60);
  c.account->stand_in_line(kShare + 60);
  b.account.reset();
  a.account.reset();
  EXPECT_EQ(budget.shared_bytes_used(), 0u);
  EXPECT_EQ(c.woken, 1);
  EXPECT_TRUE(c.take(kShare + 60));
}

TEST_F(PayloadBudgetTest, TheLargestStalledHolderIsEndedForOneThatLacksSpaceAndForNoOther) {
  Client busy(budget);
  ASSERT_TRUE(a.take(kShare + 20));
  ASSERT_TRUE(b.take(kShare + 30));
  ASSERT_TRUE(busy.take(kShare + 50));
  a.stalled = b.stalled = true;
  busy.account->stand_in_line(10);
  busy.account->end_a_stalled_one();  // it holds too much itself
  EXPECT_EQ(a.given_up + b.given_up, 0);
  c.account->stand_in_line(kShare + 25);
  c.account->end_a_stalled_one();
  EXPECT_EQ(b.given_up, 1);
  EXPECT_EQ(a.given_up + busy.given_up, 0);
  EXPECT_TRUE(c.take(kShare + 25));
}

}  // namespace
}  // namespace tidemark::nbd
