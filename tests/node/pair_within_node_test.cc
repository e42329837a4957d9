// A pair whose two sides are groups of one node; and a node that meets a copy of itself.

#include "pair_bench.h"

namespace tidemark::node {
namespace {

using control::PairState;

constexpr const char* kCopy = "copy";

class PairWithinNode : public testing::Test {
 protected:
  void begin(std::uint64_t seed) {
    bench = std::make_unique<PairBench>(seed);
    bench->make_group(bench->a, {"data", "wal"});
    for (std::uint64_t i = 0; i < 20; ++i) write(i, 100 + static_cast<std::uint32_t>(i));
    const auto paired = pair_with(kCopy, "self");
    ASSERT_TRUE(paired.ok()) << paired.error().message;
    ASSERT_TRUE(caught_up());
  }
  void write(std::uint64_t block, std::uint32_t value) {
    const auto written = bench->write(bench->a, "data", block, value, true);
    ASSERT_TRUE(written.ok()) << written.error().message;
  }
  Result<control::PairStatus> pair_with(const std::string& copy, const std::string& address) {
    control::PairCreateRequest request;
    request.group = kGroup;
    request.peer_address = address;
    request.peer_group = copy;
    return bench->run(bench->a.node->pair_create(request));
  }
  control::PairStatus status(const std::string& group) {
    control::PairStatusRequest request;
    request.group = group;
    auto reply = bench->run(bench->a.node->pair_status(request));
    return reply.ok() ? *reply : control::PairStatus();
  }
  bool caught_up(const std::string& primary = kGroup, const std::string& secondary = kCopy) {
    return bench->wait_for([&] {
      const control::PairStatus now = status(primary);
      const group::Group* from = bench->a.node->find_group(primary);
      const group::Group* to = bench->a.node->find_group(secondary);
      return now.role == control::GroupRole::kPrimary && now.state == PairState::kPair && now.link_up &&
             from != nullptr && to != nullptr && from->journal().durable() == from->head() &&
             to->head() == from->head() && now.lag_entries == 0;
    });
  }
  Result<Image> read(const std::string& name) {
    auto target = bench->run(bench->a.node->open(name, "test"));
    if (!target.ok()) return target.error();
    Buffer out = Buffer::allocate((*target)->info().size_bytes);
    const auto read = bench->run((*target)->read(0, out));
    if (!read.ok()) return read.error();
    return image_of(out);
  }
  void expect_same() {
    const auto original = read("app/data");
    const auto copy = read("copy/data");
    ASSERT_TRUE(original.ok()) << original.error().message;
    ASSERT_TRUE(copy.ok()) << copy.error().message;
    EXPECT_EQ(*original, *copy);
  }

  std::unique_ptr<PairBench> bench;
};

TEST_F(PairWithinNode, TheCopyFollowsAndShowsEveryPoint) {
  begin(1);
  ASSERT_FALSE(HasFatalFailure());
  EXPECT_EQ(status(kGroup).role, control::GroupRole::kPrimary);
  EXPECT_EQ(status(kCopy).role, control::GroupRole::kSecondary);
  EXPECT_EQ(status(kCopy).peer_node, "kyoto");
  EXPECT_EQ(status(kCopy).peer_group, kGroup);
  ASSERT_TRUE(bench->mark(bench->a, "before", control::WaitFor::kPeer).ok());
  const Image before = *read("app/data");
  for (std::uint64_t i = 10; i < 30; ++i) write(i, 200 + static_cast<std::uint32_t>(i));
  ASSERT_TRUE(caught_up());
  expect_same();
  EXPECT_EQ(*read("copy/data@before"), before);
  ASSERT_TRUE(bench->restore(bench->a, "before").ok());
  ASSERT_TRUE(caught_up());
  EXPECT_EQ(*read("copy/data"), before);
  EXPECT_EQ(bench->write(bench->a, "data", 0, 1, true).ok(), true);
  auto target = bench->run(bench->a.node->open("copy/data", "test"));
  ASSERT_TRUE(target.ok());
  EXPECT_TRUE((*target)->info().read_only);
  control::PairVerifyRequest verify;
  verify.group = kGroup;
  ASSERT_TRUE(bench->run(bench->a.node->pair_verify(verify)).ok());
  control::PairVerifyStatusRequest ask;
  ask.group = kGroup;
  ASSERT_TRUE(bench->wait_for([&] {
    return bench->run(bench->a.node->pair_verify_status(ask))->state == control::CompareState::kSame;
  }));
}

TEST_F(PairWithinNode, APowerCutAnywhereLosesNothingOfEither) {
  for (std::uint64_t seed = 10; seed < 40; ++seed) {
    SCOPED_TRACE(seed);
    begin(seed);
    ASSERT_FALSE(HasFatalFailure());
    for (std::uint64_t i = 0; i < 8; ++i) write(i, 300 + static_cast<std::uint32_t>(seed + i));
    const Image expected = *read("app/data");
    bench->world.run_for(Duration::microseconds(static_cast<std::int64_t>(seed - 10) * 50));
    bench->a.power_cut();
    bench->a.start();
    ASSERT_TRUE(caught_up());
    EXPECT_EQ(*read("app/data"), expected);
    expect_same();
  }
}

TEST_F(PairWithinNode, TheRolesAreSwappedAndTheCopyOutlivesTheOriginal) {
  begin(2);
  ASSERT_FALSE(HasFatalFailure());
  ASSERT_TRUE(bench->swap(bench->a).ok());
  ASSERT_TRUE(caught_up(kCopy, kGroup));
  EXPECT_EQ(bench->write(bench->a, "data", 1, 1).error().code, ErrorCode::kReadOnly);
  control::PairResyncRequest back;
  back.group = kCopy;
  back.from = control::ResyncFrom::kSecondary;
  ASSERT_TRUE(bench->run(bench->a.node->pair_resync(back)).ok());
  ASSERT_TRUE(caught_up());
  write(1, 4711);
  ASSERT_TRUE(caught_up());
  // A restart knows both sides again.
  bench->a.stop();
  bench->a.start();
  ASSERT_TRUE(caught_up());
  control::GroupDeleteRequest request;
  request.group = kGroup;
  request.force = true;
  ASSERT_TRUE(bench->run(bench->a.node->group_delete(request)).ok());
  EXPECT_EQ(bench->a.node->find_group(kGroup), nullptr);
  ASSERT_NE(bench->a.node->find_group(kCopy), nullptr);
  ASSERT_TRUE(bench->wait_for([&] { return status(kCopy).state == PairState::kSmpl; }));
  EXPECT_EQ(read("copy/data")->at(1), 4711u);
  bench->a.stop();
  bench->a.start();
  EXPECT_EQ(read("copy/data")->at(1), 4711u);
  request.group = kCopy;
  ASSERT_TRUE(bench->run(bench->a.node->group_delete(request)).ok());
}

TEST_F(PairWithinNode, AGroupIsNotTheCopyOfItselfNorIsAnotherNodeWithItsIdentity) {
  bench = std::make_unique<PairBench>(3);
  bench->make_group(bench->a, {"data", "wal"});
  const auto itself = pair_with(kGroup, "self");
  ASSERT_FALSE(itself.ok());
  EXPECT_NE(itself.error().message.find("--peer-group"), std::string::npos) << itself.error().message;
  Machine clone(bench->world, "kobe", 1);
  clone.start();
  for (const char* name : {kGroup, kCopy}) {
    const auto refused = pair_with(name, clone.address());
    ASSERT_FALSE(refused.ok());
    EXPECT_NE(refused.error().message.find("one is a copy of the other"), std::string::npos)
        << refused.error().message;
    EXPECT_EQ(clone.node->find_group(name), nullptr);
  }
  EXPECT_TRUE(bench->write(bench->a, "data", 1, 1).ok()) << "nothing is left waiting";
}

}  // namespace
}  // namespace tidemark::node
