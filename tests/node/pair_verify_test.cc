// The two nodes of a pair compared, and what differs written again.

#include "pair_bench.h"

namespace tidemark::node {
namespace {

using control::CompareState;
using control::PairComparison;
using control::RepairFrom;

class PairVerify : public testing::Test {
 protected:
  // What was there before the pair lies in the secondary's base, what came after it in its journal.
  void begin(std::uint64_t seed) {
    bench = std::make_unique<PairBench>(seed);
    bench->make_group(bench->a, {"data", "wal"});
    for (std::uint64_t i = 0; i < 20; ++i) write("data", i, 100 + static_cast<std::uint32_t>(i));
    ASSERT_NO_FATAL_FAILURE(bench->pair_up());
    for (std::uint64_t i = 15; i < 25; ++i) write("data", i, 200 + static_cast<std::uint32_t>(i));
    write("wal", 40, 7);
    ASSERT_TRUE(bench->wait_caught_up());
  }
  void write(const std::string& volume, std::uint64_t block, std::uint32_t value) {
    const auto written = bench->write(bench->a, volume, block, value);
    ASSERT_TRUE(written.ok()) << written.error().message;
  }
  Result<PairComparison> ask(Machine& at, std::optional<RepairFrom> repair = std::nullopt,
                             std::uint64_t rate_bytes = 0) {
    control::PairVerifyRequest request;
    request.group = kGroup;
    request.repair = repair;
    request.rate_bytes = rate_bytes;
    return bench->run(at.node->pair_verify(request));
  }
  PairComparison now(Machine& at) {
    control::PairVerifyStatusRequest request;
    request.group = kGroup;
    auto reply = bench->run(at.node->pair_verify_status(request));
    EXPECT_TRUE(reply.ok()) << reply.error().message;
    return reply.ok() ? *reply : PairComparison();
  }
  PairComparison verify(Machine& at, std::optional<RepairFrom> repair = std::nullopt) {
    const auto begun = ask(at, repair);
    EXPECT_TRUE(begun.ok()) << begun.error().message;
    EXPECT_TRUE(bench->wait_for([&] { return now(at).state != CompareState::kRunning; }));
    return now(at);
  }
  // The secondary's base holds other blocks than it should, with checksums that match them.
  void falsify(Machine& at, BlockRange blocks, std::uint32_t value) {
    Buffer data = Buffer::allocate(blocks.count() * kBlockSizeBytes);
    const Buffer block = block_of(value);
    for (std::uint64_t i = 0; i < blocks.count(); ++i)
      std::memcpy(data.data() + i * kBlockSizeBytes, block.data(), kBlockSizeBytes);
    const VolumeId volume = at.group().volumes().front().id;
    ASSERT_TRUE(bench->run(at.group().write_copy(volume, blocks, std::move(data))).ok());
  }
  void restart(Machine& machine) {
    machine.stop();
    machine.start();
    ASSERT_TRUE(bench->wait_caught_up());
  }

  std::unique_ptr<PairBench> bench;
};

TEST_F(PairVerify, TheSameOnBothIsToldByEitherWhileHostsWriteAndRemembered) {
  ASSERT_NO_FATAL_FAILURE(begin(1));
  for (Machine* at : {&bench->a, &bench->b}) {
    ASSERT_TRUE(ask(*at).ok());
    for (std::uint32_t i = 0; i < 30; ++i) write("data", i % 20, 1000 + i);
    ASSERT_TRUE(bench->wait_for([&] { return now(*at).state != CompareState::kRunning; }));
    const PairComparison info = now(*at);
    EXPECT_EQ(info.state, CompareState::kSame) << info.reason;
    EXPECT_EQ(info.peer_node, at == &bench->a ? "osaka" : "kyoto");
    EXPECT_EQ(info.total_bytes, 2 * kVolumeBlocks * kBlockSizeBytes);
    EXPECT_EQ(info.done_bytes, info.total_bytes);
    EXPECT_LE(info.compared_bytes, (kVolumeBlocks + 1) * kBlockSizeBytes)
        << "what neither has is not compared";
    EXPECT_EQ(info.first_point, info.last_point);
    const auto compared = bench->status(*at).compared;
    ASSERT_TRUE(compared.has_value());
    EXPECT_EQ(compared->point, info.last_point);
    EXPECT_EQ(compared->differing_bytes, 0u);
  }
  ASSERT_NO_FATAL_FAILURE(restart(bench->b));
  EXPECT_TRUE(bench->status(bench->b).compared.has_value());
  EXPECT_EQ(now(bench->b).state, CompareState::kNever);
}

TEST_F(PairVerify, DifferencesAreToldByRangeAndRepairedFromTheNodeThatIsNamed) {
  for (const RepairFrom from : {RepairFrom::kPrimary, RepairFrom::kSecondary}) {
    SCOPED_TRACE(static_cast<int>(from));
    ASSERT_NO_FATAL_FAILURE(begin(2));
    const Image before = *bench->read(bench->a, "data");
    ASSERT_NO_FATAL_FAILURE(falsify(bench->b, {3, 5}, 999));
    ASSERT_NO_FATAL_FAILURE(falsify(bench->b, {7, 8}, 0));
    ASSERT_NO_FATAL_FAILURE(falsify(bench->b, {40, 41}, 5));
    const LogId head = bench->a.group().head();
    for (Machine* at : {&bench->b, &bench->a}) {
      const PairComparison told = verify(*at);
      EXPECT_EQ(told.state, CompareState::kDiffering) << told.reason;
      EXPECT_EQ(told.differing_bytes, 4 * kBlockSizeBytes);
      ASSERT_EQ(told.differences.size(), 3u);
      EXPECT_EQ(told.differences[0].volume, "data");
      EXPECT_EQ(told.differences[0].offset_bytes, 3 * kBlockSizeBytes);
      EXPECT_EQ(told.differences[0].length_bytes, 2 * kBlockSizeBytes);
      EXPECT_EQ(told.differences[1].offset_bytes, 7 * kBlockSizeBytes);
      EXPECT_EQ(told.differences[2].offset_bytes, 40 * kBlockSizeBytes);
      EXPECT_FALSE(told.differences[0].repaired);
    }
    EXPECT_EQ(bench->a.group().head(), head) << "nothing is written where nothing is to be repaired";
    EXPECT_EQ(bench->status(bench->a).compared->differing_bytes, 4 * kBlockSizeBytes);
    const PairComparison repaired = verify(bench->a, from);
    EXPECT_EQ(repaired.state, CompareState::kDiffering) << repaired.reason;
    EXPECT_EQ(repaired.repaired_bytes, 4 * kBlockSizeBytes);
    for (const control::DifferenceInfo& difference : repaired.differences) EXPECT_TRUE(difference.repaired);
    ASSERT_TRUE(bench->wait_caught_up());
    Image expected = before;
    if (from == RepairFrom::kSecondary) {
      expected[3] = expected[4] = 999;
      expected[7] = 0;
      expected[40] = 5;
    }
    bench->expect_image(bench->a, "data", {}, expected);
    bench->expect_image(bench->b, "data", {}, expected);
    EXPECT_EQ(verify(bench->b).state, CompareState::kSame);
    // Gone back from like anything else.
    ASSERT_TRUE(bench->restore(bench->a, "log:" + head.to_string()).ok());
    bench->expect_image(bench->a, "data", {}, before);
  }
}

TEST_F(PairVerify, WhatHostsHaveWrittenSinceIsLeftAlone) {
  for (const RepairFrom from : {RepairFrom::kPrimary, RepairFrom::kSecondary}) {
    for (std::uint64_t wait_us = 0; wait_us < 3000; wait_us += 100) {
      SCOPED_TRACE(wait_us);
      ASSERT_NO_FATAL_FAILURE(begin(300 + wait_us));
      ASSERT_NO_FATAL_FAILURE(falsify(bench->b, {3, 5}, 999));
      ASSERT_TRUE(ask(bench->a, from).ok());
      bench->world.run_for(Duration::microseconds(static_cast<std::int64_t>(wait_us)));
      write("data", 3, 4711);
      ASSERT_TRUE(bench->wait_for([&] { return now(bench->a).state != CompareState::kRunning; }));
      ASSERT_TRUE(bench->wait_caught_up());
      const Image a = *bench->read(bench->a, "data");
      EXPECT_EQ(a[3], 4711u);
      EXPECT_EQ(a[4], from == RepairFrom::kPrimary ? 104u : 999u);
      EXPECT_EQ(*bench->read(bench->b, "data"), a);
    }
  }
}

TEST_F(PairVerify, WhatOneNodeCannotReadIsToldAndComesFromTheOther) {
  for (const bool here : {true, false}) {
    SCOPED_TRACE(here);
    ASSERT_NO_FATAL_FAILURE(begin(4));
    const Image expected = *bench->read(bench->a, "data");
    Machine& at = here ? bench->a : bench->b;
    for (int i = 0; i < 4; ++i) (void)bench->run(at.group().destage_now(true));
    at.stop();
    ASSERT_NO_FATAL_FAILURE(damage(at, 105));
    ASSERT_NO_FATAL_FAILURE(damage(at, 217));
    at.start();
    ASSERT_TRUE(bench->wait_caught_up());
    ASSERT_EQ(bench->read(at, "data").error().code, ErrorCode::kDamaged);
    const PairComparison useless = verify(bench->a, here ? RepairFrom::kPrimary : RepairFrom::kSecondary);
    EXPECT_EQ(useless.state, CompareState::kDiffering) << useless.reason;
    EXPECT_EQ(useless.repaired_bytes, 0u) << "the damaged blocks cannot be taken for right";
    const PairComparison repaired = verify(bench->a, here ? RepairFrom::kSecondary : RepairFrom::kPrimary);
    ASSERT_EQ(repaired.differences.size(), 2u) << repaired.reason;
    EXPECT_EQ(repaired.differences[0].readable_here, !here);
    EXPECT_EQ(repaired.differences[0].readable_there, here);
    EXPECT_EQ(repaired.differences[0].offset_bytes, 5 * kBlockSizeBytes);
    EXPECT_EQ(repaired.differences[1].offset_bytes, 17 * kBlockSizeBytes);
    EXPECT_EQ(repaired.repaired_bytes, 2 * kBlockSizeBytes);
    ASSERT_TRUE(bench->wait_caught_up());
    bench->expect_image(bench->a, "data", {}, expected);
    bench->expect_image(bench->b, "data", {}, expected);
    EXPECT_EQ(verify(bench->a).state, CompareState::kSame);
  }
}

TEST_F(PairVerify, ItGoesOnAtANewerPointWhenANodeNeedsTheSpace) {
  ASSERT_NO_FATAL_FAILURE(begin(5));
  control::GroupSetRequest request;
  request.group = kGroup;
  request.retain = Duration{};
  ASSERT_TRUE(bench->run(bench->a.node->group_set(request)).ok());
  // Most of a minute lies between the two volumes.
  ASSERT_TRUE(ask(bench->a, std::nullopt, kBlockSizeBytes).ok());
  bench->world.run_for(Duration::seconds(1));
  EXPECT_EQ(now(bench->a).state, CompareState::kRunning);
  EXPECT_EQ(ask(bench->a, std::nullopt, 1).error().code, ErrorCode::kBusy) << "with other options";
  EXPECT_TRUE(ask(bench->a, std::nullopt, kBlockSizeBytes).ok()) << "asked again it is the same one";
  for (std::uint32_t i = 0; i < 6000; ++i) {
    write("data", i % kVolumeBlocks, i);
    if (i % 100 == 0) bench->world.run_for(Duration::milliseconds(20));
  }
  ASSERT_TRUE(bench->wait_for([&] { return now(bench->a).state != CompareState::kRunning; },
                              Duration::seconds(1000)));
  const PairComparison info = now(bench->a);
  EXPECT_EQ(info.state, CompareState::kSame) << info.reason;
  EXPECT_NE(info.first_point, info.last_point);
}

TEST_F(PairVerify, AnAnswerThatTakesLongIsWaitedForAndALinkThatIsSilentIsNot) {
  ASSERT_NO_FATAL_FAILURE(begin(9));
  ASSERT_NO_FATAL_FAILURE(restart(bench->b));
  bench->b.disk.hang_until(bench->world.now() + Duration::seconds(25));
  const MonotonicTime before = bench->world.now();
  EXPECT_EQ(verify(bench->a).state, CompareState::kSame) << now(bench->a).reason;
  EXPECT_GT((bench->world.now() - before).to_seconds(), 24.0) << "it was the disk that was waited for";
  ASSERT_NO_FATAL_FAILURE(restart(bench->b));
  bench->b.disk.hang_until(bench->world.now() + Duration::seconds(25));
  ASSERT_TRUE(ask(bench->a).ok());
  bench->world.run_for(Duration::seconds(5));
  EXPECT_EQ(now(bench->a).state, CompareState::kRunning);
  bench->world.network().cut();
  const MonotonicTime cut = bench->world.now();
  ASSERT_TRUE(bench->wait_for([&] { return now(bench->a).state == CompareState::kFailed; }));
  EXPECT_LT((bench->world.now() - cut).to_seconds(), 12.0);
}

TEST_F(PairVerify, ItEndsWithWhatItDependsOn) {
  enum class End { kStopped, kLinkCut, kPeerStops, kNodeStops, kGroupDeleted, kPairDeleted, kPowerCut };
  for (const End end : {End::kStopped, End::kLinkCut, End::kPeerStops, End::kNodeStops, End::kGroupDeleted,
                        End::kPairDeleted, End::kPowerCut}) {
    for (const bool resting : {false, true}) {
      SCOPED_TRACE(std::to_string(static_cast<int>(end)) + (resting ? " between two volumes" : " at once"));
      ASSERT_NO_FATAL_FAILURE(begin(600 + static_cast<std::uint64_t>(end)));
      Machine& a = bench->a;
      ASSERT_TRUE(ask(a, std::nullopt, resting ? kBlockSizeBytes : 0).ok());
      if (resting) bench->world.run_for(Duration::seconds(1));
      const MonotonicTime before = bench->world.now();
      switch (end) {
        case End::kStopped: {
          control::PairVerifyStopRequest request;
          request.group = kGroup;
          ASSERT_TRUE(bench->run(a.node->pair_verify_stop(request)).ok());
          ASSERT_TRUE(bench->wait_for([&] { return now(a).state == CompareState::kStopped; }));
          EXPECT_EQ(bench->run(a.node->pair_verify_stop(request)).error().code, ErrorCode::kRefused);
          EXPECT_FALSE(bench->status(a).compared.has_value()) << "only what came to its end is remembered";
          break;
        }
        case End::kLinkCut:
          bench->world.network().cut();
          ASSERT_TRUE(
              bench->wait_for([&] { return now(a).state == CompareState::kFailed; }, Duration::seconds(300)));
          EXPECT_FALSE(now(a).reason.empty());
          EXPECT_EQ(ask(a).ok(), false) << "the peer cannot be reached";
          break;
        case End::kPeerStops:
          bench->b.stop();
          ASSERT_TRUE(
              bench->wait_for([&] { return now(a).state == CompareState::kFailed; }, Duration::seconds(300)));
          break;
        case End::kNodeStops:
          a.stop();
          break;
        case End::kGroupDeleted: {
          control::GroupDeleteRequest request;
          request.group = kGroup;
          request.force = true;
          ASSERT_TRUE(bench->run(a.node->group_delete(request)).ok());
          break;
        }
        case End::kPairDeleted:
          ASSERT_TRUE(bench->pair_delete(a).ok());
          break;
        case End::kPowerCut:
          a.power_cut();
          a.start();
          ASSERT_TRUE(bench->wait_caught_up());
          bench->expect_same({"data", "wal"});
          break;
      }
      const bool waits_for_nobody =
          end == End::kStopped || end == End::kNodeStops || end == End::kGroupDeleted;
      if (waits_for_nobody) {
        EXPECT_LT((bench->world.now() - before).to_seconds(), 5.0);
      }
    }
  }
}

TEST_F(PairVerify, ARepairIsAskedOfAPrimaryInPair) {
  ASSERT_NO_FATAL_FAILURE(begin(7));
  EXPECT_EQ(ask(bench->a, std::nullopt, 1).error().code, ErrorCode::kInvalid) << "too slow";
  EXPECT_EQ(ask(bench->b, RepairFrom::kPrimary).error().code, ErrorCode::kRefused);
  ASSERT_TRUE(bench->suspend(bench->a).ok());
  EXPECT_EQ(ask(bench->a, RepairFrom::kPrimary).error().code, ErrorCode::kRefused);
  // At what both have, whatever the primary has written since.
  write("data", 1, 4711);
  EXPECT_EQ(verify(bench->a).state, CompareState::kSame);
  EXPECT_EQ(verify(bench->b).state, CompareState::kSame);
}

TEST_F(PairVerify, AVolumeThatIsDeletedMeanwhileIsComparedWhileItCanBe) {
  for (const bool expires : {false, true}) {
    SCOPED_TRACE(expires);
    ASSERT_NO_FATAL_FAILURE(begin(8));
    ASSERT_TRUE(ask(bench->a, std::nullopt, kBlockSizeBytes).ok());
    bench->world.run_for(Duration::seconds(1));
    control::VolumeDeleteRequest request;
    request.group = kGroup;
    request.volume = "wal";
    request.force = true;
    ASSERT_TRUE(bench->run(bench->a.node->volume_delete(request)).ok());
    for (std::uint32_t i = 0; expires && i < 8000; ++i) {
      write("data", i % kVolumeBlocks, i);
      if (i % 100 == 0) bench->world.run_for(Duration::milliseconds(20));
    }
    ASSERT_TRUE(bench->wait_for([&] { return now(bench->a).state != CompareState::kRunning; },
                                Duration::seconds(1000)));
    EXPECT_EQ(now(bench->a).state, CompareState::kSame) << now(bench->a).reason;
    EXPECT_EQ(now(bench->a).reason.find("'wal' was deleted") != std::string::npos, expires)
        << now(bench->a).reason;
  }
}

}  // namespace
}  // namespace tidemark::node
