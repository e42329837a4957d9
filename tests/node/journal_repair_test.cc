// Damaged blocks of one node's journal and base, written again as the other node of the pair has them.

#include "format/disk.h"
#include "pair_bench.h"

namespace tidemark::node {
namespace {

using control::Verification;
using control::VerifyState;

class JournalRepair : public testing::Test {
 protected:
  // Block `i` of "data" is 100 + i in the secondary's base and in the primary's journal, 200 + i at the mark
  // "m", which only the journals have, and 300 + i since.
  void begin(std::uint64_t seed) {
    bench = std::make_unique<PairBench>(seed);
    bench->make_group(bench->a, {"data"});
    for (std::uint32_t i = 0; i < 20; ++i) write(i, 100 + i);
    ASSERT_NO_FATAL_FAILURE(bench->pair_up());
    for (std::uint32_t i = 10; i < 20; ++i) write(i, 200 + i);
    ASSERT_TRUE(bench->mark(bench->a, "m", control::WaitFor::kPeer).ok());
    at_mark = *bench->read(bench->a, "data");
    for (std::uint32_t i = 10; i < 15; ++i) write(i, 300 + i);
    ASSERT_TRUE(bench->wait_caught_up());
    live = *bench->read(bench->a, "data");
  }
  void write(std::uint64_t block, std::uint32_t value) {
    const auto written = bench->write(bench->a, "data", block, value);
    ASSERT_TRUE(written.ok()) << written.error().message;
  }
  // What is in memory goes.
  void restart(Machine& machine) {
    machine.stop();
    machine.start();
  }
  Result<Verification> ask(Machine& at, bool repair) {
    control::JournalVerifyRequest request;
    request.group = kGroup;
    request.repair = repair;
    return bench->run(at.node->journal_verify(request));
  }
  Verification now(Machine& at) {
    control::JournalVerifyStatusRequest request;
    request.group = kGroup;
    auto reply = bench->run(at.node->journal_verify_status(request));
    EXPECT_TRUE(reply.ok()) << reply.error().message;
    return reply.ok() ? *reply : Verification();
  }
  Verification verify(Machine& at, bool repair) {
    const auto begun = ask(at, repair);
    EXPECT_TRUE(begun.ok()) << begun.error().message;
    EXPECT_TRUE(
        bench->wait_for([&] { return now(at).state != VerifyState::kRunning; }, Duration::seconds(300)));
    return now(at);
  }
  void expect_whole(Machine& at) {
    bench->expect_image(at, "data", "m", at_mark);
    bench->expect_image(at, "data", {}, live);
  }

  std::unique_ptr<PairBench> bench;
  Image at_mark;
  Image live;
};

TEST_F(JournalRepair, DamagedBlocksOfEitherNodeAreTakenFromTheOther) {
  for (const bool here : {true, false}) {
    SCOPED_TRACE(here ? "primary" : "secondary");
    ASSERT_NO_FATAL_FAILURE(begin(1));
    Machine& at = here ? bench->a : bench->b;
    for (const std::uint32_t value : {103u, 104u, 105u, 109u, 211u, 216u, 312u}) {
      ASSERT_NO_FATAL_FAILURE(damage(at, value));
    }
    ASSERT_NO_FATAL_FAILURE(restart(at));
    ASSERT_TRUE(bench->wait_caught_up());
    EXPECT_FALSE(bench->read(at, "data", "m").ok()) << "what is damaged is refused";

    const Verification told = verify(at, false);
    EXPECT_EQ(told.state, VerifyState::kDamaged) << told.reason;
    EXPECT_EQ(told.repairs, 0u);
    const LogId head = at.group().head();

    const Verification repaired = verify(at, true);
    EXPECT_EQ(repaired.state, VerifyState::kRepaired) << repaired.reason;
    EXPECT_EQ(repaired.repairs, repaired.damages);
    std::uint64_t repaired_bytes = 0;
    for (const control::DamageInfo& damage : repaired.damage) {
      EXPECT_TRUE(damage.repaired) << damage.text;
      EXPECT_FALSE(damage.affected_from.has_value()) << "no point shows it any more";
      repaired_bytes += damage.length_bytes;
    }
    EXPECT_EQ(repaired_bytes, 7 * kBlockSizeBytes);
    EXPECT_EQ(at.group().head(), head) << "a repair is no entry";
    EXPECT_EQ(at.group().local().verified_damages, 0u);
    expect_whole(at);

    ASSERT_NO_FATAL_FAILURE(restart(at));
    expect_whole(at);
    EXPECT_EQ(verify(at, false).state, VerifyState::kGood);
  }
}

TEST_F(JournalRepair, BlocksThatLostTheirChecksumsAreTakenFromTheOtherNode) {
  ASSERT_NO_FATAL_FAILURE(begin(2));
  Machine& b = bench->b;
  control::VolumeAddressRequest request;
  request.group = kGroup;
  request.volume = "data";
  const auto address = bench->run(b.node->volume_address(request));
  ASSERT_TRUE(address.ok() && address->raid_address_bytes.has_value());
  b.disk.flip_bit(*address->raid_address_bytes - format::kExtentHeadBytes + 300, 2);
  ASSERT_NO_FATAL_FAILURE(restart(b));
  ASSERT_TRUE(bench->wait_caught_up());
  EXPECT_FALSE(bench->read(b, "data").ok());
  const Verification repaired = verify(b, true);
  EXPECT_EQ(repaired.state, VerifyState::kRepaired)
      << repaired.reason << (repaired.damage.empty() ? "" : repaired.damage.front().text);
  expect_whole(b);
  ASSERT_NO_FATAL_FAILURE(restart(b));
  expect_whole(b);
  EXPECT_EQ(verify(b, false).state, VerifyState::kGood);
}

TEST_F(JournalRepair, WhatThePeerCannotGiveStaysRefusedAndIsNamed) {
  ASSERT_NO_FATAL_FAILURE(begin(3));
  Machine& b = bench->b;
  ASSERT_NO_FATAL_FAILURE(damage(b, 216));
  ASSERT_NO_FATAL_FAILURE(damage(bench->a, 216));
  ASSERT_NO_FATAL_FAILURE(damage(b, 211));
  ASSERT_NO_FATAL_FAILURE(restart(bench->a));
  ASSERT_NO_FATAL_FAILURE(restart(b));
  ASSERT_TRUE(bench->wait_caught_up());
  const Verification part = verify(b, true);
  EXPECT_EQ(part.state, VerifyState::kDamaged) << part.reason;
  EXPECT_EQ(part.damages, 2u);
  EXPECT_EQ(part.repairs, 1u);
  for (const control::DamageInfo& damage : part.damage) {
    EXPECT_EQ(damage.repaired, damage.offset_bytes == 11 * kBlockSizeBytes) << damage.text;
    if (damage.repaired) continue;
    EXPECT_NE(damage.text.find("kyoto cannot give it at log:"), std::string::npos) << damage.text;
    EXPECT_TRUE(damage.affected_from.has_value());
  }
  EXPECT_EQ(b.group().local().verified_damages, 1u);
  EXPECT_FALSE(bench->read(b, "data", "m").ok());
}

TEST_F(JournalRepair, WhatThePeerHasInsteadIsNotTakenWhenItDoesNotMatch) {
  for (const bool in_base : {false, true}) {
    SCOPED_TRACE(in_base ? "base" : "journal");
    ASSERT_NO_FATAL_FAILURE(begin(4));
    Machine& a = bench->a;
    Machine& b = bench->b;
    if (in_base) {
      control::GroupSetRequest request;
      request.group = kGroup;
      request.retain = Duration{};
      ASSERT_TRUE(bench->run(a.node->group_set(request)).ok());
      ASSERT_TRUE(bench->wait_for([&] {
        (void)bench->run(a.group().destage_now(true));
        return a.group().local().destaged == a.group().head();
      }));
    }
    // The secondary's base holds something else, with checksums of its own.
    ASSERT_TRUE(bench->run(b.group().write_copy(b.group().volumes().front().id, {3, 4}, block_of(7))).ok());
    ASSERT_NO_FATAL_FAILURE(damage(a, 103));
    ASSERT_NO_FATAL_FAILURE(restart(a));
    ASSERT_TRUE(bench->wait_caught_up());
    const Verification left = verify(a, true);
    EXPECT_EQ(left.state, VerifyState::kDamaged);
    bool told_of_base = false;
    for (const control::DamageInfo& damage : left.damage) {
      EXPECT_FALSE(damage.repaired) << damage.text;
      told_of_base = told_of_base || damage.text.find("in the base") != std::string::npos;
    }
    EXPECT_EQ(told_of_base, in_base);
    EXPECT_FALSE(bench->read(a, "data").ok());
  }
}

TEST_F(JournalRepair, WithoutAPeerThatAnswersNothingIsChanged) {
  ASSERT_NO_FATAL_FAILURE(begin(5));
  Machine& b = bench->b;
  ASSERT_NO_FATAL_FAILURE(damage(b, 216));
  ASSERT_NO_FATAL_FAILURE(restart(b));
  ASSERT_TRUE(bench->wait_caught_up());
  bench->a.stop();
  const Verification left = verify(b, true);
  EXPECT_EQ(left.state, VerifyState::kDamaged) << left.reason;
  ASSERT_EQ(left.damage.size(), 1u);
  EXPECT_NE(left.damage.front().text.find("cannot be reached"), std::string::npos)
      << left.damage.front().text;
  bench->a.start();
  ASSERT_TRUE(bench->wait_caught_up());
  EXPECT_EQ(verify(b, true).state, VerifyState::kRepaired);
  ASSERT_TRUE(bench->pair_delete(bench->a).ok());
  EXPECT_FALSE(ask(bench->a, true).ok()) << "there is nobody to ask";
}

TEST_F(JournalRepair, ANodeStopsWhileItWaitsForItsPeer) {
  ASSERT_NO_FATAL_FAILURE(begin(6));
  Machine& b = bench->b;
  ASSERT_NO_FATAL_FAILURE(damage(b, 216));
  ASSERT_NO_FATAL_FAILURE(restart(b));
  ASSERT_TRUE(bench->wait_caught_up());
  bench->world.network().cut();
  ASSERT_TRUE(ask(b, true).ok());
  bench->world.run_for(Duration::milliseconds(100));
  const MonotonicTime before = bench->world.now();
  b.stop();
  EXPECT_LT((bench->world.now() - before).to_seconds(), 10.0);
}

TEST_F(JournalRepair, APowerCutAnywhereInARepairLeavesWhatIsWholeWhole) {
  for (std::uint64_t moment = 0; moment < 24; ++moment) {
    SCOPED_TRACE(moment);
    ASSERT_NO_FATAL_FAILURE(begin(700));
    Machine& b = bench->b;
    for (const std::uint32_t value : {103u, 104u, 105u, 211u, 216u, 312u}) {
      ASSERT_NO_FATAL_FAILURE(damage(b, value));
    }
    ASSERT_NO_FATAL_FAILURE(restart(b));
    ASSERT_TRUE(bench->wait_caught_up());
    ASSERT_TRUE(ask(b, true).ok());
    bench->world.run_for(Duration::microseconds(static_cast<std::int64_t>(moment * moment * 40)));
    b.power_cut();
    b.start();
    ASSERT_TRUE(bench->wait_caught_up());
    const Verification rest = verify(b, true);
    EXPECT_TRUE(rest.state == VerifyState::kRepaired || rest.state == VerifyState::kGood) << rest.reason;
    expect_whole(b);
    EXPECT_EQ(verify(b, false).state, VerifyState::kGood);
  }
}

}  // namespace
}  // namespace tidemark::node
