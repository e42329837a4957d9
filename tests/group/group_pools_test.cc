// A group whose journal and volumes lie in several pools.

#include <gtest/gtest.h>

#include <array>
#include <optional>

#include "base/crc32c.h"
#include "group_bench.h"

namespace tidemark::group {
namespace {

constexpr PoolNumber kOwn{0};
constexpr PoolNumber kOther{1};
constexpr std::uint64_t kVolumeBytes = 64 * kBlockSizeBytes;

class GroupPools : public testing::Test {
 protected:
  // The group with its journal in the first pool, and its volumes in the second unless they are told.
  void start(std::uint64_t seed) {
    process = nullptr;
    world = std::make_unique<sim::World>(seed);
    environment = std::make_unique<io::Environment>(world->environment());
    for (std::uint32_t i = 0; i < 2; ++i) {
      disks[i] = std::make_unique<sim::Disk>(*world, kBenchDiskBytes, sim::DiskOptions{});
      ASSERT_TRUE(world->run(pool::Pool::format(*environment, *disks[i], bench_node(), PoolNumber{i})).ok());
    }
    ASSERT_NO_FATAL_FAILURE(open_pools({0, 1}));
    NewGroup what;
    what.name = "orders";
    what.journal_size_bytes = 4 << 20;
    what.data_pool = kOther;
    auto made = world->run(Group::create(context(), std::move(what)));
    ASSERT_TRUE(made.ok()) << made.error().message;
    log_volume = (*made)->log_volume();
    group = &process->own(std::move(made).value());
  }
  void open_pools(const std::vector<std::size_t>& here) {
    process = std::make_unique<sim::SimulatedProcess>(*world);
    pools = &process->own(std::make_unique<pool::Pools>());
    cache = &process->own(std::make_unique<BlockCache>(1 << 20));
    for (const auto& disk : disks) process->use(*disk);
    for (const std::size_t i : here) {
      auto opened = world->run(pool::Pool::open(*environment, *disks[i], bench_node()));
      ASSERT_TRUE(opened.ok()) << opened.error().message;
      pools->add(std::move(opened).value());
    }
    if (here.size() == disks.size()) return;
    pool::MissingPool missing;
    missing.number = kOther;
    missing.name = "fast";
    missing.reason = "its disk is gone";
    pools->add_missing(std::move(missing));
  }
  GroupContext context() {
    return {.environment = *environment,
            .pools = *pools,
            .cache = *cache,
            .make_index =
                [this](GroupIdentity) {
                  return open_fragile_index(world.get(), std::make_shared<IndexFate>(1), &opened_index);
                },
            .journal_options = {.segment_size_bytes = 128 << 10, .recent_bytes_max = 256 << 10}};
  }
  Result<void> open_group() {
    auto opened = world->run(Group::open(context(), log_volume));
    if (!opened.ok()) return opened.error();
    group = &process->own(std::move(opened).value());
    return {};
  }
  void restart() {
    process->power_cut();
    ASSERT_NO_FATAL_FAILURE(open_pools({0, 1}));
    const auto opened = open_group();
    ASSERT_TRUE(opened.ok()) << opened.error().message;
  }
  PoolNumber pool_of_volume(const std::string& name) {
    const auto shape = group->state().find_volume(name, group->head());
    EXPECT_TRUE(shape.has_value());
    return shape.has_value() ? pool::pool_of(group->volume_status(*shape).lu) : PoolNumber{99};
  }

  std::unique_ptr<sim::World> world;
  std::unique_ptr<io::Environment> environment;
  std::array<std::unique_ptr<sim::Disk>, 2> disks;
  std::unique_ptr<sim::SimulatedProcess> process;
  pool::Pools* pools = nullptr;
  BlockCache* cache = nullptr;
  FragileIndex* opened_index = nullptr;
  Group* group = nullptr;
  LuNumber log_volume{};
};

io::Task<void> create(Group* group, PoolNumber pool, std::optional<Result<VolumeShape>>* outcome) {
  outcome->emplace(co_await group->create_volume("data", kVolumeBytes, pool));
}

TEST_F(GroupPools, VolumesLieWhereTheyWereCreated) {
  ASSERT_NO_FATAL_FAILURE(start(1));
  ASSERT_TRUE(world->run(group->create_volume("data", kVolumeBytes)).ok());
  ASSERT_TRUE(world->run(group->create_volume("logs", kVolumeBytes, kOwn)).ok());
  for (int turn = 0; turn < 2; ++turn) {
    EXPECT_EQ(pool::pool_of(log_volume), kOwn);
    EXPECT_EQ(pool_of_volume("data"), kOther);
    EXPECT_EQ(pool_of_volume("logs"), kOwn);
    EXPECT_EQ(pools->units().size(), 3u);
    ASSERT_NO_FATAL_FAILURE(restart());
  }
  ASSERT_TRUE(world->run(group->create_volume("more", kVolumeBytes)).ok());
  EXPECT_EQ(pool_of_volume("more"), kOther) << "where new ones lie is kept";
}

TEST_F(GroupPools, ACreationThatIsCutOffLeavesTheVolumeThereOrNone) {
  bool was_there = false;
  bool was_not = false;
  for (std::uint64_t steps = 0;; ++steps) {
    ASSERT_NO_FATAL_FAILURE(start(steps + 1));
    std::optional<Result<VolumeShape>> outcome;
    io::TaskScope scope(*world);
    scope.spawn(create(group, kOwn, &outcome));
    (void)world->run_steps(steps);
    const bool acknowledged = outcome.has_value() && outcome->ok();
    scope.cancel_all();
    ASSERT_NO_FATAL_FAILURE(restart());
    const bool is_there = group->state().find_volume("data", group->head()).has_value();
    EXPECT_TRUE(is_there || !acknowledged) << steps;
    (is_there ? was_there : was_not) = true;
    if (!is_there) {
      // In another place now: what was left is not taken for it.
      ASSERT_TRUE(world->run(group->create_volume("data", kVolumeBytes)).ok()) << steps;
    }
    EXPECT_EQ(pool_of_volume("data"), is_there ? kOwn : kOther) << steps;
    EXPECT_EQ(pools->units().size(), 2u) << steps;
    if (acknowledged) break;
    ASSERT_LT(steps, 1000u);
  }
  EXPECT_TRUE(was_there);
  EXPECT_TRUE(was_not);
}

TEST_F(GroupPools, AVolumeOfAMissingPoolIsNotMadeASecondTime) {
  ASSERT_NO_FATAL_FAILURE(start(3));
  const auto made = world->run(group->create_volume("data", kVolumeBytes));
  ASSERT_TRUE(made.ok());
  Buffer data = Buffer::allocate(kBlockSizeBytes);
  std::memset(data.data(), 7, data.size());
  ASSERT_TRUE(world->run(group->data().write(made->id, 0, data, true)).ok());
  process->power_cut();
  ASSERT_NO_FATAL_FAILURE(open_pools({0}));
  const auto refused = open_group();
  EXPECT_EQ(refused.error().code, ErrorCode::kIo);
  EXPECT_NE(refused.error().message.find("RAID group fast is not here"), std::string::npos);
  EXPECT_EQ(pools->units().size(), 1u);
  ASSERT_NO_FATAL_FAILURE(restart());
  EXPECT_EQ(pools->units().size(), 2u);
  Buffer out = Buffer::allocate(kBlockSizeBytes);
  ASSERT_TRUE(world->run(group->data().read(made->id, group->live_path(), 0, out, true)).ok());
  EXPECT_EQ(GroupBench::bytes_of_blocks(out), std::vector<int>{7});
}

TEST_F(GroupPools, AVolumeWhoseBaseIsLostIsDamageAndOneThatIsWholeInTheJournalIsMadeAgain) {
  ASSERT_NO_FATAL_FAILURE(start(4));
  const auto made = world->run(group->create_volume("data", kVolumeBytes));
  ASSERT_TRUE(made.ok());
  Buffer data = Buffer::allocate(kBlockSizeBytes);
  std::memset(data.data(), 7, data.size());
  for (const bool destaged : {false, true}) {
    ASSERT_TRUE(world->run(group->data().write(made->id, 0, data, true)).ok());
    if (destaged) {
      ASSERT_TRUE(world->run(group->destage_now(true)).ok());
    }
    const LuNumber unit = group->volume_status(*made).lu;
    process->power_cut();
    // Nobody misses the pool, and its unit is gone all the same.
    ASSERT_NO_FATAL_FAILURE(open_pools({0, 1}));
    ASSERT_TRUE(world->run(pools->remove(unit)).ok());
    const auto opened = open_group();
    ASSERT_EQ(opened.ok(), !destaged);
    if (destaged) {
      EXPECT_EQ(opened.error().code, ErrorCode::kDamaged);
      EXPECT_NE(opened.error().message.find("is on none of this node's disks"), std::string::npos);
      EXPECT_EQ(pools->units().size(), 1u);
      break;
    }
    Buffer out = Buffer::allocate(kBlockSizeBytes);
    ASSERT_TRUE(world->run(group->data().read(made->id, group->live_path(), 0, out, true)).ok());
    EXPECT_EQ(GroupBench::bytes_of_blocks(out), std::vector<int>{7});
  }
}

TEST_F(GroupPools, OfTwoUnitsOfAVolumeTheEmptyOneGoesAndTwoThatHoldSomethingAreDamage) {
  ASSERT_NO_FATAL_FAILURE(start(5));
  const auto made = world->run(group->create_volume("data", kVolumeBytes));
  ASSERT_TRUE(made.ok());
  Buffer data = Buffer::allocate(kBlockSizeBytes);
  std::memset(data.data(), 7, data.size());
  ASSERT_TRUE(world->run(group->data().write(made->id, 0, data, true)).ok());
  ASSERT_TRUE(world->run(group->destage_now(true)).ok());
  const GroupIdentity identity = group->identity();
  for (const bool is_empty : {true, false}) {
    process->power_cut();
    ASSERT_NO_FATAL_FAILURE(open_pools({0, 1}));
    // With a lower number than the right one.
    const auto other = world->run(pools->create_data_volume(kOwn, identity, made->id, kVolumeBytes));
    ASSERT_TRUE(other.ok());
    if (!is_empty) {
      pool::DataVolume* unit = pools->data_volume(*other);
      const BlockRange block{3, 4};
      ASSERT_TRUE(world->run(unit->reserve(block)).ok());
      ASSERT_TRUE(world->run(unit->write(block, data, {crc32c(Bytes(data))})).ok());
      ASSERT_TRUE(world->run(unit->flush()).ok());
    }
    const auto opened = open_group();
    ASSERT_EQ(opened.ok(), is_empty);
    EXPECT_EQ(pools->units().size(), is_empty ? 2u : 3u);
    if (!is_empty) {
      EXPECT_EQ(opened.error().code, ErrorCode::kDamaged);
      EXPECT_NE(opened.error().message.find("both hold something"), std::string::npos);
      break;
    }
    Buffer out = Buffer::allocate(kBlockSizeBytes);
    ASSERT_TRUE(world->run(group->data().read(made->id, group->live_path(), 0, out, true)).ok());
    EXPECT_EQ(GroupBench::bytes_of_blocks(out), std::vector<int>{7});
  }
}

TEST_F(GroupPools, WithoutOneOfItsLogVolumesAGroupIsNotOpenedAndLosesNothing) {
  ASSERT_NO_FATAL_FAILURE(start(5));
  ASSERT_TRUE(world->run(group->create_volume("data", kVolumeBytes, kOwn)).ok());
  const auto added = world->run(group->add_log_volume(kOther, 1 << 20));
  ASSERT_TRUE(added.ok()) << added.error().message;
  EXPECT_EQ(pool::pool_of(*added), kOther);
  process->power_cut();
  ASSERT_NO_FATAL_FAILURE(open_pools({0}));
  const auto opened = open_group();
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code, ErrorCode::kIo);
  EXPECT_NE(opened.error().message.find("log volume " + std::to_string(added->value) + " is not here: "),
            std::string::npos)
      << opened.error().message;
  EXPECT_NE(opened.error().message.find("fast"), std::string::npos) << opened.error().message;
  ASSERT_NO_FATAL_FAILURE(restart());
  EXPECT_EQ(group->log_volumes().size(), 2u);
  EXPECT_EQ(group->log_volumes().back().number, *added);
}

}  // namespace
}  // namespace tidemark::group
