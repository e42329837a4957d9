#include "raid/intent_map.h"

#include <set>

#include "raid_fixture.h"

namespace tidemark::raid {
namespace {

constexpr std::uint64_t kRegion = 4096;
constexpr std::uint64_t kRegions = 600;

// Two mirrors with many small regions.
class IntentMapTest : public testing::Test {
 protected:
  IntentMapTest() : world(5), environment(world.environment()), geometry(shape()) {
    std::vector<Member> members(2);
    for (int i = 0; i < 2; ++i) {
      disks.push_back(std::make_unique<sim::Disk>(world, 8 * kMiB));
      members[static_cast<std::size_t>(i)].disk.name = "d" + std::to_string(i);
      members[static_cast<std::size_t>(i)].disk.disk = disks.back().get();
    }
    set = std::make_unique<MemberSet>(environment, identity_of<RaidIdentity>(1), "r", geometry, members);
    map = std::make_unique<IntentMap>(*set);
    EXPECT_TRUE(world.run(map->write_all()).ok());
  }
  static format::RaidShape shape() {
    format::RaidShape shape = format::make_raid_shape(format::RaidLevel::k1, 2, 4096, 8 * kMiB).value();
    shape.region_bytes = kRegion;
    shape.member_bytes = kRegions * kRegion;
    return shape;
  }
  void touch(std::uint64_t region) {
    const auto hold = world.run(map->hold(region * kRegion, region * kRegion + kRegion));
    EXPECT_TRUE(hold.ok());
    EXPECT_TRUE(on_disk().contains(region));
  }
  // What an assembly would find now.
  std::set<std::uint64_t> on_disk() {
    const auto found = world.run(IntentMap(*set).load());
    EXPECT_TRUE(found.ok());
    return {found->begin(), found->end()};
  }
  void flush() {
    const std::uint64_t mark = map->mark();
    ASSERT_TRUE(world.run(set->flush()).ok());
    map->flushed(mark);
  }

  sim::World world;
  io::Environment environment;
  Geometry geometry;
  std::vector<std::unique_ptr<sim::Disk>> disks;
  std::unique_ptr<MemberSet> set;
  std::unique_ptr<IntentMap> map;
};

TEST_F(IntentMapTest, ABitIsOnEveryMemberBeforeTheWriteAndIsKeptUntilTheWriteWasFlushed) {
  EXPECT_TRUE(on_disk().empty());
  touch(7);
  ASSERT_TRUE(world.run(map->clear()).ok());
  EXPECT_TRUE(on_disk().contains(7));
  flush();
  EXPECT_TRUE(on_disk().contains(7));
  ASSERT_TRUE(world.run(map->clear()).ok());
  EXPECT_TRUE(on_disk().empty());
}

TEST_F(IntentMapTest, AFlushThatBeganBeforeTheWriteEndedDoesNotClearItsBit) {
  touch(7);
  const std::uint64_t mark = map->mark();
  touch(7);
  map->flushed(mark);
  ASSERT_TRUE(world.run(map->clear()).ok());
  EXPECT_TRUE(on_disk().contains(7));
}

TEST_F(IntentMapTest, ARegionThatIsHeldStaysMarked) {
  {
    const auto hold = world.run(map->hold(0, 3 * kRegion));
    flush();
    ASSERT_TRUE(world.run(map->clear()).ok());
    EXPECT_EQ(on_disk(), (std::set<std::uint64_t>{0, 1, 2}));
  }
  flush();
  ASSERT_TRUE(world.run(map->clear()).ok());
  EXPECT_TRUE(on_disk().empty());
}

TEST_F(IntentMapTest, NoMoreRegionsAreMarkedThanIsPromised) {
  for (std::uint64_t region = 0; region < kRegions; ++region) {
    touch(region);
    ASSERT_LE(on_disk().size(), IntentMap::kRegionsMax + 1);
  }
}

TEST_F(IntentMapTest, AMapThatOneMemberCannotShowIsTakenFromTheOther) {
  touch(7);
  disks[0]->flip_bit(format::kRaidIntentOffset + 100, 1);
  EXPECT_EQ(on_disk(), (std::set<std::uint64_t>{7}));
  // When no member can, every region counts.
  disks[1]->flip_bit(format::kRaidIntentOffset + 100, 1);
  EXPECT_EQ(on_disk().size(), kRegions);
}

TEST_F(IntentMapTest, AMemberThatMissedABitIsOutvoted) {
  const auto before = disks[0]->stored();
  touch(7);
  disks[0]->put_back(before);
  EXPECT_EQ(on_disk(), (std::set<std::uint64_t>{7}));
}

TEST_F(IntentMapTest, ManyWhoWaitForBitsShareAWriteOfTheMap) {
  const std::uint64_t writes = disks[0]->writes();
  io::TaskScope scope(world);
  const auto one = [](IntentMap* target, std::uint64_t region) -> io::Task<void> {
    const auto hold = co_await target->hold(region * kRegion, region * kRegion + kRegion);
    EXPECT_TRUE(hold.ok());
  };
  for (std::uint64_t region = 0; region < 20; ++region) scope.spawn(one(map.get(), region));
  world.run(scope.join());
  EXPECT_EQ(on_disk().size(), 20u);
  EXPECT_LE(disks[0]->writes() - writes, 2u);
}

}  // namespace
}  // namespace tidemark::raid
