// All volumes of a group writable at one point, beside the group.

#include "pair_bench.h"

namespace tidemark::node {
namespace {

class Rehearsal : public testing::Test {
 protected:
  void begin(std::uint64_t seed) {
    bench = std::make_unique<PairBench>(seed);
    bench->make_group(bench->a, {"data", "wal"});
    ASSERT_NO_FATAL_FAILURE(bench->pair_up());
    for (std::uint64_t i = 0; i < 10; ++i) write("data", i, 100 + static_cast<std::uint32_t>(i));
    write("wal", 3, 7);
    ASSERT_TRUE(bench->mark(bench->a, "before", control::WaitFor::kPeer).ok());
    write("data", 1, 999);
    ASSERT_TRUE(bench->wait_caught_up());
  }
  void write(const std::string& volume, std::uint64_t block, std::uint32_t value) {
    const auto written = bench->write(bench->a, volume, block, value);
    ASSERT_TRUE(written.ok()) << written.error().message;
  }
  Result<control::RehearsalInfo> rehearse(Machine& at, const std::string& point) {
    control::RehearsalBeginRequest request;
    request.group = kGroup;
    request.point = point;
    return bench->run(at.node->rehearsal_begin(request));
  }
  Result<control::RehearsalInfo> show(Machine& at) {
    control::RehearsalShowRequest request;
    request.group = kGroup;
    return bench->run(at.node->rehearsal_show(request));
  }
  Result<control::Done> end(Machine& at, bool force = false) {
    control::RehearsalEndRequest request;
    request.group = kGroup;
    request.force = force;
    return bench->run(at.node->rehearsal_end(request));
  }
  Result<void> write_there(Machine& at, const std::string& volume, std::uint64_t block, std::uint32_t value) {
    return bench->write(at, volume + "+rehearsal", block, value);
  }
  Result<Image> read_there(Machine& at, const std::string& volume) {
    return bench->read(at, volume + "+rehearsal");
  }
  std::uint64_t used(Machine& at) { return bench->run(at.node->node_status({}))->pool_used_bytes; }

  std::unique_ptr<PairBench> bench;
};

TEST_F(Rehearsal, WhatIsWrittenStaysBetweenConnectionsWhileThePairGoesOn) {
  begin(1);
  ASSERT_FALSE(HasFatalFailure());
  for (Machine* at : {&bench->a, &bench->b}) {
    const std::uint64_t before = used(*at);
    EXPECT_EQ(show(*at).error().code, ErrorCode::kNotFound);
    EXPECT_EQ(read_there(*at, "data").error().code, ErrorCode::kNotFound);
    const auto begun = rehearse(*at, "before");
    ASSERT_TRUE(begun.ok()) << begun.error().message;
    ASSERT_EQ(begun->volumes.size(), 2u);
    EXPECT_EQ(begun->volumes[0].export_name, "app/data+rehearsal");
    EXPECT_EQ(rehearse(*at, "head").error().code, ErrorCode::kExists);
    Image data = *bench->read(*at, "data", "before");
    EXPECT_EQ(*read_there(*at, "data"), data);
    ASSERT_TRUE(write_there(*at, "data", 2, 5000).ok());
    ASSERT_TRUE(write_there(*at, "wal", 9, 6000).ok());
    data[2] = 5000;
    for (std::uint32_t i = 0; i < 50; ++i) write("data", i % 20, 300 + i);
    EXPECT_EQ(*read_there(*at, "data"), data) << "another connection finds what was written";
    EXPECT_EQ(read_there(*at, "wal")->at(9), 6000u);
    EXPECT_EQ(bench->read(*at, "wal", "before")->at(9), 0u);
    ASSERT_TRUE(bench->wait_caught_up());
    bench->expect_same({"data", "wal"});
    EXPECT_GT(show(*at)->volumes[0].scratch_bytes, 0u);
    {
      auto client = bench->run(at->node->open("app/data+rehearsal", "host"));
      ASSERT_TRUE(client.ok());
      EXPECT_TRUE((*client)->info().multi_conn);
      EXPECT_EQ(show(*at)->volumes[0].clients, 1u);
      EXPECT_EQ(end(*at).error().code, ErrorCode::kBusy);
    }
    ASSERT_TRUE(end(*at).ok());
    EXPECT_EQ(read_there(*at, "data").error().code, ErrorCode::kNotFound);
    ASSERT_TRUE(bench->wait_for([&] { return used(*at) == before; })) << "its scratch units go";
    ASSERT_TRUE(rehearse(*at, "head").ok()) << "another one begins with nothing of the first";
    EXPECT_EQ(*read_there(*at, "data"), *bench->read(*at, "data"));
    ASSERT_TRUE(end(*at).ok());
  }
}

TEST_F(Rehearsal, ItEndsWithTheNodeAndWithTheGroupAndOutlivesARestore) {
  begin(2);
  ASSERT_FALSE(HasFatalFailure());
  const std::uint64_t before = used(bench->a);
  ASSERT_TRUE(rehearse(bench->a, "before").ok());
  ASSERT_TRUE(write_there(bench->a, "data", 2, 5000).ok());
  ASSERT_TRUE(bench->restore(bench->a, "before").ok());
  EXPECT_EQ(read_there(bench->a, "data")->at(2), 5000u);
  for (const bool crash : {false, true}) {
    if (crash) {
      bench->a.power_cut();
    } else {
      bench->a.stop();
    }
    bench->a.start();
    ASSERT_TRUE(bench->wait_caught_up());
    EXPECT_EQ(show(bench->a).error().code, ErrorCode::kNotFound);
    EXPECT_EQ(used(bench->a), before) << "nothing of it is left";
    ASSERT_TRUE(rehearse(bench->a, "before").ok());
    ASSERT_TRUE(write_there(bench->a, "wal", 1, 1).ok());
  }
  // Of the secondary it is left when its copy begins anew, or its group is deleted.
  ASSERT_TRUE(rehearse(bench->b, "head").ok());
  control::GroupDeleteRequest request;
  request.group = kGroup;
  request.force = true;
  for (Machine* at : {&bench->a, &bench->b}) {
    const auto deleted = bench->run(at->node->group_delete(request));
    ASSERT_TRUE(deleted.ok()) << deleted.error().message;
    EXPECT_EQ(used(*at), 0u);
  }
}

TEST_F(Rehearsal, OneThatCannotBeginLeavesNothing) {
  begin(3);
  ASSERT_FALSE(HasFatalFailure());
  const std::uint64_t before = used(bench->a);
  EXPECT_EQ(rehearse(bench->a, "nonsense").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(rehearse(bench->a, "log:1.0").error().code, ErrorCode::kNotFound) << "there were no volumes";
  EXPECT_EQ(end(bench->a).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(used(bench->a), before);
  EXPECT_TRUE(rehearse(bench->a, "head").ok());
}

}  // namespace
}  // namespace tidemark::node
