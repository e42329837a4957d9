// What FLUSHes of a synchronous pair wait in.

#include "group/peer_gate.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <vector>

#include "sim/world.h"

namespace tidemark::group {
namespace {

constexpr LogId entry(std::uint64_t sequence) {
  return {Epoch{1}, sequence};
}

class PeerGateTest : public testing::Test {
 protected:
  using Answer = std::shared_ptr<std::optional<Result<void>>>;
  Answer begin(LogId newest) {
    auto answer = std::make_shared<std::optional<Result<void>>>();
    hosts.spawn([](PeerGate* at, LogId wanted, Answer out) -> io::Task<void> {
      out->emplace(co_await at->pass(wanted));
    }(&gate, newest, answer));
    return answer;
  }
  Answer ask(LogId newest) {
    Answer answer = begin(newest);
    settle();
    return answer;
  }
  void settle() { world.run_for(Duration::milliseconds(1)); }

  sim::World world{1};
  PeerGate gate{world};
  io::TaskScope hosts{world};
};

TEST_F(PeerGateTest, OpenItLetsEverybodyPass) {
  EXPECT_TRUE(ask(entry(5))->has_value());
  gate.shut();
  const Answer waits = ask(entry(5));
  EXPECT_FALSE(waits->has_value());
  gate.open();
  settle();
  EXPECT_TRUE((**waits).ok());
}

TEST_F(PeerGateTest, WhatThePeerHasPassesAndTheRestWaits) {
  gate.shut();
  const Answer late = ask(entry(9));
  const Answer early = ask(entry(3));
  const Answer same = ask(entry(3));
  EXPECT_EQ(gate.waiting(), 3u);
  gate.set_received(entry(4));
  settle();
  EXPECT_TRUE(early->has_value());
  EXPECT_TRUE(same->has_value());
  EXPECT_FALSE(late->has_value());
  EXPECT_EQ(gate.waiting(), 1u);
  // A later epoch is later, whatever its sequence.
  gate.set_received(LogId(Epoch{2}, 1));
  settle();
  EXPECT_TRUE(late->has_value());
  EXPECT_FALSE(gate.waiting_since().has_value());
}

TEST_F(PeerGateTest, RefusedIsWhoWaitsAndWhoComesButNotWhatThePeerHas) {
  gate.shut();
  gate.set_received(entry(2));
  const Answer waits = ask(entry(3));
  gate.refuse(fail(ErrorCode::kIo, "lost"));
  settle();
  EXPECT_EQ((**waits).error().code, ErrorCode::kIo);
  EXPECT_EQ((**ask(entry(4))).error().code, ErrorCode::kIo);
  EXPECT_TRUE((**ask(entry(2))).ok());
  gate.shut();
  EXPECT_FALSE(ask(entry(4))->has_value());
}

TEST_F(PeerGateTest, WhoMustNotWaitIsToldWhyForAWhileOrForGood) {
  gate.shut();
  const Answer waits = ask(entry(1));
  gate.hurry(fail(ErrorCode::kClosed, "ends"));
  settle();
  EXPECT_EQ((**waits).error().code, ErrorCode::kClosed);
  gate.settle();
  const Answer again = ask(entry(1));
  EXPECT_FALSE(again->has_value());
  gate.end(fail(ErrorCode::kShutdown, "closing"));
  settle();
  EXPECT_EQ((**again).error().code, ErrorCode::kShutdown);
  gate.settle();
  EXPECT_EQ((**ask(entry(1))).error().code, ErrorCode::kShutdown);
}

TEST_F(PeerGateTest, TheFirstThatWaitsIsTold) {
  int told = 0;
  gate.on_first_wait([&told] { ++told; });
  (void)ask(entry(1));
  gate.shut();
  const MonotonicTime before = world.now();
  (void)ask(entry(1));
  (void)ask(entry(2));
  EXPECT_EQ(told, 1);
  EXPECT_EQ(gate.waiting_since(), before);
  // Also while those before it have not left yet.
  (void)begin(entry(3));
  gate.set_received(entry(2));
  settle();
  EXPECT_EQ(told, 2);
}

TEST_F(PeerGateTest, WhoIsGivenUpLeavesItsPlace) {
  gate.shut();
  (void)ask(entry(1));
  (void)ask(entry(2));
  hosts.cancel_all();
  EXPECT_EQ(gate.waiting(), 0u);
  EXPECT_FALSE(gate.waiting_since().has_value());
  gate.set_received(entry(2));
  settle();
}

}  // namespace
}  // namespace tidemark::group
