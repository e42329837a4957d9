#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/crc32c.h"
#include "format/disk.h"
#include "pool/pool.h"
#include "sim/disk.h"
#include "sim/world.h"

namespace tidemark::pool {

inline constexpr std::uint64_t kMiB = 1 << 20;
inline constexpr std::uint64_t kExtent = format::kExtentBlocks;

template <typename IdentityType>
IdentityType identity_of(std::uint8_t seed) {
  IdentityType id;
  for (std::size_t i = 0; i < 16; ++i) id.bytes[i] = static_cast<std::uint8_t>(seed + i);
  return id;
}

// A block that can be told from any other, in each of its sectors: 0 is zeroes.
inline void fill_block(std::uint64_t stamp, MutableBytes block) {
  std::memset(block.data(), static_cast<int>(stamp & 0xff), block.size());
  for (std::size_t i = 0; i < block.size(); i += 256) std::memcpy(block.data() + i, &stamp, 8);
}

inline bool is_block(std::uint64_t stamp, Bytes block) {
  std::array<std::byte, kBlockSizeBytes> expected;
  fill_block(stamp, expected);
  return std::memcmp(expected.data(), block.data(), kBlockSizeBytes) == 0;
}

// One simulated disk and a pool on it, which can be crashed and opened again.
class PoolFixture : public testing::Test {
 protected:
  void start(std::uint64_t seed, std::uint64_t disk_bytes, sim::DiskOptions disk_options = {}) {
    stop();
    world = std::make_unique<sim::World>(seed);
    disk = std::make_unique<sim::Disk>(*world, disk_bytes, disk_options);
    environment = std::make_unique<io::Environment>(world->environment());
    ASSERT_TRUE(world->run(Pool::format(*environment, *disk, node)).ok());
    ASSERT_NO_FATAL_FAILURE(open());
  }
  void stop() {
    pool.reset();
    disk.reset();
    environment.reset();
    world.reset();
  }
  Result<void> try_open() {
    pool.reset();
    auto opened = world->run(Pool::open(*environment, *disk, node, options));
    if (!opened.ok()) return opened.error();
    pool = std::move(opened).value();
    return {};
  }
  void open() {
    const auto opened = try_open();
    ASSERT_TRUE(opened.ok()) << opened.error().message;
  }
  void crash() {
    pool.reset();
    disk->crash();
  }
  LuNumber make_volume(std::uint64_t size_bytes, std::uint32_t id = 7) {
    auto made = world->run(pool->create_data_volume(group, VolumeId{id}, size_bytes));
    EXPECT_TRUE(made.ok()) << made.error().message;
    return made.ok() ? *made : LuNumber{};
  }
  DataVolume& volume(LuNumber number) {
    DataVolume* found = pool->data_volume(number);
    TM_ASSERT(found != nullptr);
    return *found;
  }
  // Stamps each block of the range with stamp, stamp + 1, …
  Result<void> write(LuNumber number, BlockRange blocks, std::uint64_t stamp) {
    DataVolume& target = volume(number);
    auto reserved = world->run(target.reserve(blocks));
    if (!reserved.ok()) return reserved;
    Buffer data = Buffer::allocate(blocks.count() * kBlockSizeBytes);
    std::vector<std::uint32_t> checksums;
    for (std::uint64_t i = 0; i < blocks.count(); ++i) {
      const MutableBytes block = data.writable().subspan(i * kBlockSizeBytes, kBlockSizeBytes);
      fill_block(stamp + i, block);
      checksums.push_back(crc32c(block));
    }
    return world->run(target.write(blocks, data, checksums));
  }
  Result<void> flush(LuNumber number) { return world->run(volume(number).flush()); }
  Result<Buffer> read(LuNumber number, BlockRange blocks) {
    Buffer out = Buffer::allocate(blocks.count() * kBlockSizeBytes);
    std::memset(out.data(), 0xee, out.size());
    auto done = world->run(volume(number).read(blocks, out));
    if (!done.ok()) return done.error();
    return out;
  }
  void expect_stamps(LuNumber number, BlockRange blocks, std::uint64_t stamp) {
    auto out = read(number, blocks);
    ASSERT_TRUE(out.ok()) << out.error().message;
    for (std::uint64_t i = 0; i < blocks.count(); ++i) {
      const Bytes block = Bytes(*out).subspan(i * kBlockSizeBytes, kBlockSizeBytes);
      ASSERT_TRUE(is_block(stamp == 0 ? 0 : stamp + i, block)) << "block " << blocks.begin + i;
    }
  }
  void expect_zeroes(LuNumber number, BlockRange blocks) { expect_stamps(number, blocks, 0); }
  std::uint64_t disk_offset(LuNumber number, std::uint64_t block) {
    const auto translation = volume(number).translate(block * kBlockSizeBytes);
    EXPECT_TRUE(translation.allocated);
    return translation.disk_offset.value;
  }

  NodeIdentity node = identity_of<NodeIdentity>(0x10);
  GroupIdentity group = identity_of<GroupIdentity>(0x40);
  PoolOptions options;
  std::unique_ptr<sim::World> world;
  std::unique_ptr<sim::Disk> disk;
  std::unique_ptr<io::Environment> environment;
  std::unique_ptr<Pool> pool;
};

}  // namespace tidemark::pool
