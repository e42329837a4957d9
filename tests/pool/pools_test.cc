#include "pool/pools.h"

#include "pool/pool_fixture.h"

namespace tidemark::pool {
namespace {

class PoolsTest : public testing::Test {
 protected:
  std::unique_ptr<Pool> open(sim::Disk& disk) {
    auto opened = world.run(Pool::open(environment, disk, node));
    EXPECT_TRUE(opened.ok()) << opened.error().message;
    return std::move(opened).value();
  }
  std::unique_ptr<Pool> make(sim::Disk& disk, std::uint32_t number) {
    EXPECT_TRUE(world.run(Pool::format(environment, disk, node, PoolNumber{number})).ok());
    return open(disk);
  }
  LuNumber make_volume(std::uint32_t pool) {
    auto made = world.run(pools.create_data_volume(PoolNumber{pool}, group, VolumeId{1}, kMiB));
    EXPECT_TRUE(made.ok()) << made.error().message;
    return made.ok() ? *made : LuNumber{};
  }

  sim::World world{1};
  io::Environment environment = world.environment();
  sim::Disk first{world, 64 * kMiB};
  sim::Disk second{world, 64 * kMiB};
  const NodeIdentity node = identity_of<NodeIdentity>(0x10);
  const GroupIdentity group = identity_of<GroupIdentity>(0x20);
  Pools pools;
};

TEST_F(PoolsTest, TheNumberOfAUnitTellsItsPool) {
  pools.add(make(first, 0));
  pools.add(make(second, 39));
  EXPECT_EQ(make_volume(0), LuNumber{1});
  EXPECT_EQ(make_volume(39), LuNumber{3'900'000'001});
  const auto log = world.run(pools.create_log_volume(PoolNumber{39}, group, kMiB));
  ASSERT_TRUE(log.ok()) << log.error().message;
  EXPECT_EQ(*log, LuNumber{3'900'000'002});
  ASSERT_TRUE(world.run(pools.finish_log_volume(*log)).ok());
  EXPECT_NE(pools.log_volume(*log), nullptr);
  EXPECT_EQ(pools.log_volume_offset(*log), pools.find(PoolNumber{39})->log_volume_offset(*log));
  EXPECT_EQ(pool_of(*log), PoolNumber{39});
  EXPECT_EQ(pools.units().size(), 3u);
  EXPECT_NE(pools.data_volume(LuNumber{1}), nullptr);
  ASSERT_TRUE(world.run(pools.remove(LuNumber{1})).ok());
  EXPECT_EQ(pools.data_volume(LuNumber{1}), nullptr);
  EXPECT_NE(pools.data_volume(LuNumber{3'900'000'001}), nullptr);
  EXPECT_EQ(pools.status().size_bytes, 2 * pools.find(PoolNumber{0})->status().size_bytes);
  EXPECT_TRUE(pools.check_whole().ok());
}

TEST_F(PoolsTest, NumbersGoOnWhereTheyWereAfterAnotherStart) {
  {
    pools.add(make(second, 2));
    EXPECT_EQ(make_volume(2), LuNumber{200'000'001});
    ASSERT_TRUE(world.run(pools.remove(LuNumber{200'000'001})).ok());
    pools = Pools();
  }
  pools.add(open(second));
  EXPECT_EQ(pools.all().front()->number(), PoolNumber{2});
  EXPECT_EQ(make_volume(2), LuNumber{200'000'002});
}

TEST_F(PoolsTest, WhatLiesInAMissingPoolIsToldFromWhatIsNowhere) {
  pools.add(make(first, 0));
  MissingPool missing;
  missing.number = PoolNumber{1};
  missing.name = "fast";
  missing.reason = "its disk is gone";
  pools.add_missing(missing);
  const auto whole = pools.check_whole();
  EXPECT_EQ(whole.error().code, ErrorCode::kIo);
  EXPECT_EQ(whole.error().message, "RAID group fast is not here: its disk is gone");
  EXPECT_EQ(world.run(pools.create_data_volume(PoolNumber{1}, group, VolumeId{1}, kMiB)).error().code,
            ErrorCode::kIo);
  EXPECT_EQ(world.run(pools.create_log_volume(PoolNumber{2}, group, kMiB)).error().code, ErrorCode::kIo);
  EXPECT_EQ(world.run(pools.remove(LuNumber{100'000'001})).error().code, ErrorCode::kIo);
  EXPECT_EQ(world.run(pools.finish_log_volume(LuNumber{100'000'001})).error().code, ErrorCode::kIo);
  EXPECT_EQ(pools.data_volume(LuNumber{100'000'001}), nullptr);
  EXPECT_EQ(pools.log_volume(LuNumber{100'000'001}), nullptr);
}

}  // namespace
}  // namespace tidemark::pool
