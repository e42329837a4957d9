// The same story again and again, each time with one fault more to the right: the n-th disk operation fails,
// for every n; one bit of every byte that is stored is another.

#include "rounds.h"
#include "small_world.h"

namespace tidemark::simulation {
namespace {

// Writes, zeroes, a mark, a restore, what is destaged; then the node is looked at from outside.
void tell_story(SmallWorld& world, std::size_t rounds_told) {
  Machine& node = world.node();
  for (std::size_t i = 0; i < rounds_told && !world.stage.failed(); ++i) {
    Request requests[4];
    requests[0].blocks = {0, 3};
    requests[0].first_value = static_cast<std::uint32_t>(1000 * (i + 1));
    requests[1].kind = Request::Kind::kMark;
    requests[1].text = "m" + std::to_string(i);
    requests[2].volume = 1;
    requests[2].blocks = {1, 4};
    requests[2].first_value = static_cast<std::uint32_t>(1000 * (i + 1) + 500);
    requests[2].fua = true;
    requests[3].kind = i % 2 == 0 ? Request::Kind::kWriteZeroes : Request::Kind::kRestore;
    requests[3].blocks = {2, 3};
    requests[3].text = "m0";
    for (Request& request : requests) {
      if (node.group() == nullptr || node.group()->failure().has_value()) return;
      world.ask(request, nullptr);
      world.chronicle.account(node, false, false);
      if (world.chronicle.has_pending(node)) return;  // it stopped: a restart tells
    }
  }
  if (node.group() != nullptr) {
    (void)world.stage.ask(node, holding(node.hold_group(), node.group()->destage_now(true)));
  }
}

class EveryFault : public testing::TestWithParam<sim::DiskFault> {};

TEST_P(EveryFault, TheNthOperationFails) {
  SmallWorld world;
  bool hit = true;
  std::uint64_t n = 1;
  for (; hit && !testing::Test::HasFailure(); ++n) {
    world.begin();
    const std::size_t hits_before = world.node().disk().fault_hits().size();
    world.node().disk_may_fail = true;
    world.node().disk().inject(GetParam(), n);
    tell_story(world, 3);
    hit = world.node().disk().fault_hits().size() != hits_before;
    world.node().disk().forget_planned_faults();
    world.stage.crash(world.node(), true);
    const auto started = world.start();
    ASSERT_TRUE(started.ok() && world.node().group() != nullptr) << n;
    world.node().disk_may_fail = false;
    world.chronicle.account(world.node(), true, false);
    world.read_all(Reader::Damage::kNone);
    world.expect_held("operation " + std::to_string(n));
  }
  EXPECT_GT(n, 3u);
}

INSTANTIATE_TEST_SUITE_P(OfADisk, EveryFault,
                         testing::Values(sim::DiskFault::kReadFails, sim::DiskFault::kWriteFails,
                                         sim::DiskFault::kShortWrite, sim::DiskFault::kFlushFails),
                         [](const auto& fault) {
                           std::string name = sim::disk_fault_name(fault.param);
                           name.erase(name.find('-'), 1);
                           return name;
                         });

TEST(EveryByte, ABitThatTurnsIsNeverServed) {
  SmallWorld world;
  world.begin();
  tell_story(world, 2);
  const auto stopped = world.stage.ask(world.node(), world.node().stop_task());
  ASSERT_TRUE(stopped.has_value() && stopped->ok());
  const LogId head = world.node().group()->head();
  world.node().kill();
  const Chronicle told(world.chronicle);
  const auto stored = world.node().disk().stored();
  std::uint64_t refused = 0;
  std::uint64_t tried = 0;
  const std::uint64_t stride = long_run() ? 1 : rounds(61, 1021);
  std::uint64_t at = 0;
  for (const std::uint64_t page : world.node().disk().stored_pages()) {
    for (; at < 4096; at += stride) {
      world.put_back(stored);
      world.adopt(told);
      world.node().disk().flip_bit(page + at, static_cast<unsigned>(at % 8));
      const auto started = world.start();
      ++tried;
      if (!started.ok() || world.node().group() == nullptr) {
        ++refused;
      } else {
        EXPECT_EQ(world.node().group()->head(), head) << "byte " << page + at << ": entries were cut";
        world.read_all(Reader::Damage::kErrorsAllowed);
        world.expect_held("byte " + std::to_string(page + at));
      }
      world.node().kill();
      if (testing::Test::HasFailure()) return;
    }
    at -= 4096;
  }
  std::printf("%llu bytes, %llu of them kept the group from opening\n",
              static_cast<unsigned long long>(tried), static_cast<unsigned long long>(refused));
  EXPECT_GT(tried, 100u);
  EXPECT_LT(refused, tried);
}

}  // namespace
}  // namespace tidemark::simulation
