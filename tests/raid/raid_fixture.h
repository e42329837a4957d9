#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "raid/geometry.h"
#include "raid/raid_group.h"
#include "sim/disk.h"
#include "sim/random.h"
#include "sim/world.h"

namespace tidemark::raid {

inline constexpr std::uint64_t kKiB = 1024;
inline constexpr std::uint64_t kMiB = 1 << 20;

template <typename IdentityType>
IdentityType identity_of(std::uint8_t seed) {
  IdentityType id;
  for (std::size_t i = 0; i < 16; ++i) id.bytes[i] = static_cast<std::uint8_t>(seed + i);
  return id;
}

// What a sector of a block holds after the write number `stamp`: told from every other sector, block and
// write. 0 is zeroes.
inline void fill_block(std::uint64_t block, std::uint64_t stamp, MutableBytes out) {
  for (std::uint64_t word = 0; word < kBlockSizeBytes / 8; ++word) {
    std::uint64_t state = stamp * 1000003 + block * 8 + word / 64;
    const std::uint64_t value = stamp == 0 ? 0 : sim::split_mix(state) + word % 64;
    std::memcpy(out.data() + word * 8, &value, 8);
  }
}

inline bool is_sector(std::uint64_t block, std::uint64_t sector, std::uint64_t stamp, Bytes bytes) {
  std::uint64_t state = stamp * 1000003 + block * 8 + sector;
  const std::uint64_t first = stamp == 0 ? 0 : sim::split_mix(state);
  for (std::uint64_t word = 0; word < 64; ++word) {
    const std::uint64_t expected = stamp == 0 ? 0 : first + word;
    if (std::memcmp(bytes.data() + word * 8, &expected, 8) != 0) return false;
  }
  return true;
}

// What an io::Disk may show, sector by sector.
class Model {
 public:
  explicit Model(std::uint64_t blocks) : blocks_(blocks) {}
  struct Version {
    std::uint64_t id = 0;
    std::uint64_t stamp = 0;
    bool is_complete = false;
    bool whole_rows = false;
  };
  struct Block {
    std::uint64_t durable = 0;
    std::vector<Version> pending;
    bool in_flight = false;
  };
  std::uint64_t size() const { return blocks_.size(); }
  Block& at(std::uint64_t block) { return blocks_[block]; }
  bool is_free(BlockRange range) const {
    for (std::uint64_t i = range.begin; i < range.end; ++i) {
      if (blocks_[i].in_flight) return false;
    }
    return true;
  }
  // Stamps are those of the block at range.begin and the ones after it; 0 is zeroes for all.
  std::uint64_t begin_write(BlockRange range, std::uint64_t stamp, BlockRange whole) {
    const std::uint64_t id = next_id_++;
    for (std::uint64_t i = range.begin; i < range.end; ++i) {
      blocks_[i].in_flight = true;
      blocks_[i].pending.push_back(Version{id, stamp, false, i >= whole.begin && i < whole.end});
    }
    return id;
  }
  void end_write(BlockRange range, bool durable) {
    for (std::uint64_t i = range.begin; i < range.end; ++i) {
      Block& block = blocks_[i];
      block.in_flight = false;
      block.pending.back().is_complete = true;
      if (!durable) continue;
      block.durable = block.pending.back().stamp;
      block.pending.clear();
    }
  }
  // What a flush that begins now covers.
  std::uint64_t next_id() const { return next_id_; }
  std::vector<std::uint64_t> covered() const {
    std::vector<std::uint64_t> ids(blocks_.size(), 0);
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      for (const Version& version : blocks_[i].pending) {
        if (version.is_complete) ids[i] = version.id;
      }
    }
    return ids;
  }
  void flushed(const std::vector<std::uint64_t>& ids) {
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      auto& pending = blocks_[i].pending;
      while (!pending.empty() && pending.front().id <= ids[i]) {
        blocks_[i].durable = pending.front().stamp;
        pending.erase(pending.begin());
      }
    }
  }
  // The newest content of a block that nothing is written to.
  std::uint64_t newest(std::uint64_t block) const {
    const Block& b = blocks_[block];
    return b.pending.empty() ? b.durable : b.pending.back().stamp;
  }
  // Whether each sector is one that a crash may have left. `with_loss`: members were lost at the same time.
  bool may_be(std::uint64_t block, Bytes bytes, bool with_loss) const {
    const Block& b = blocks_[block];
    if (with_loss && std::ranges::any_of(b.pending, &Version::whole_rows)) return true;
    for (std::uint64_t sector = 0; sector < 8; ++sector) {
      const Bytes part = bytes.subspan(sector * 512, 512);
      const bool known =
          is_sector(block, sector, b.durable, part) || std::ranges::any_of(b.pending, [&](const Version& v) {
            return is_sector(block, sector, v.stamp, part);
          });
      if (!known) return false;
    }
    return true;
  }
  // Takes what is there for what was written, after a crash: every block then holds one thing or is unknown.
  void forget_pending() {
    for (Block& block : blocks_) {
      block.in_flight = false;
      block.pending.clear();
    }
  }

 private:
  std::vector<Block> blocks_;
  std::uint64_t next_id_ = 1;
};

inline Buffer make_data(BlockRange range, std::uint64_t stamp) {
  Buffer data = Buffer::allocate((range.end - range.begin) * kBlockSizeBytes);
  for (std::uint64_t i = range.begin; i < range.end; ++i) {
    fill_block(i, stamp, data.writable().subspan((i - range.begin) * kBlockSizeBytes, kBlockSizeBytes));
  }
  return data;
}

struct Shape {
  format::RaidLevel level;
  std::uint32_t members;
  std::uint32_t unit;
  std::uint32_t losses;  // that are always tolerated
};

inline const std::vector<Shape>& all_shapes() {
  static const std::vector<Shape> shapes = {
      {format::RaidLevel::k0, 3, 16384, 0}, {format::RaidLevel::k1, 2, 65536, 1},
      {format::RaidLevel::k1, 3, 8192, 2},  {format::RaidLevel::k5, 3, 16384, 1},
      {format::RaidLevel::k5, 4, 32768, 1}, {format::RaidLevel::k6, 4, 8192, 2},
      {format::RaidLevel::k6, 5, 32768, 2}, {format::RaidLevel::k10, 4, 16384, 1},
  };
  return shapes;
}

// Every set of at most `losses` members.
inline std::vector<std::vector<std::uint32_t>> loss_sets(std::uint32_t members, std::uint32_t losses) {
  std::vector<std::vector<std::uint32_t>> sets(1);
  for (std::uint32_t a = 0; a < members && losses >= 1; ++a) {
    sets.push_back({a});
    for (std::uint32_t b = a + 1; b < members && losses >= 2; ++b) sets.push_back({a, b});
  }
  return sets;
}

// Simulated disks and a group on them, which can be crashed and assembled again.
class RaidFixture : public testing::Test {
 protected:
  void start(std::uint64_t seed, const Shape& shape, std::uint64_t member_bytes = 256 * kKiB) {
    stop();
    world = std::make_unique<sim::World>(seed);
    environment = std::make_unique<io::Environment>(world->environment());
    const bool parity = shape.level == format::RaidLevel::k5 || shape.level == format::RaidLevel::k6;
    disk_bytes = (parity ? 2 * kMiB : kMiB) + member_bytes;
    for (std::uint32_t i = 0; i < shape.members; ++i) add_disk();
    std::vector<NamedDisk> members;
    for (std::uint32_t i = 0; i < shape.members; ++i) members.push_back(named(i));
    RaidSpec spec;
    spec.name = "r1";
    spec.level = shape.level;
    spec.unit_bytes = shape.unit;
    const auto made = world->run(RaidGroup::create(*environment, members, node, spec));
    ASSERT_TRUE(made.ok()) << made.error().message;
    raid = *made;
    ASSERT_NO_FATAL_FAILURE(assemble());
    model = std::make_unique<Model>(group->size_bytes() / kBlockSizeBytes);
    geometry = std::make_unique<Geometry>(
        format::make_raid_shape(shape.level, shape.members, shape.unit, disk_bytes).value());
  }
  void stop() {
    scope.reset();
    group.reset();
    disks.clear();
    environment.reset();
    world.reset();
  }
  ~RaidFixture() override { stop(); }

  std::uint32_t add_disk(std::uint64_t bytes = 0) {
    disks.push_back(std::make_unique<sim::Disk>(*world, bytes == 0 ? disk_bytes : bytes));
    return static_cast<std::uint32_t>(disks.size()) - 1;
  }
  NamedDisk named(std::uint32_t i) const {
    NamedDisk disk;
    disk.name = "d" + std::to_string(i);
    disk.disk = disks[i].get();
    return disk;
  }
  // With all disks but those in `without`.
  Result<void> try_assemble(const std::vector<std::uint32_t>& without = {}) {
    group.reset();
    std::vector<NamedDisk> present;
    for (std::uint32_t i = 0; i < disks.size(); ++i) {
      if (std::ranges::find(without, i) == without.end()) present.push_back(named(i));
    }
    Assembly assembly = world->run(RaidGroup::assemble(*environment, present, node, raid, options));
    reports = std::move(assembly.disks);
    if (!assembly.group.ok()) return assembly.group.error();
    group = std::move(assembly.group).value();
    return {};
  }
  void assemble(const std::vector<std::uint32_t>& without = {}) {
    const auto done = try_assemble(without);
    ASSERT_TRUE(done.ok()) << done.error().message;
  }
  void crash() {
    scope.reset();
    group.reset();
    for (auto& disk : disks) disk->crash();
  }
  std::vector<sim::Disk::StoredPointer> stored() const {
    std::vector<sim::Disk::StoredPointer> out;
    for (const auto& disk : disks) out.push_back(disk->stored());
    return out;
  }
  // What a member holds, byte by byte, labels and all.
  std::vector<std::map<std::uint64_t, std::uint32_t>> checksums_of_members() const {
    std::vector<std::map<std::uint64_t, std::uint32_t>> out;
    for (const auto& disk : disks) out.push_back(disk->page_checksums());
    return out;
  }
  void put_back(const std::vector<sim::Disk::StoredPointer>& contents) {
    group.reset();
    for (std::size_t i = 0; i < contents.size(); ++i) {
      disks[i]->crash();
      disks[i]->put_back(contents[i]);
    }
  }
  const DiskReport& report_of(std::uint32_t disk) const {
    for (const DiskReport& report : reports) {
      if (report.name == "d" + std::to_string(disk)) return report;
    }
    TM_ASSERT(false);
    return reports[0];
  }

  // ---- What is done with it ----
  // The blocks of a write that go in place with all of their rows, and are not in the stripe journal.
  BlockRange whole_rows(BlockRange range) const {
    if (!geometry->has_parity()) return {};
    const std::uint64_t row = geometry->row_bytes() / kBlockSizeBytes;
    const BlockRange rows{(range.begin + row - 1) / row * row, range.end / row * row};
    if (rows.empty() || rows.count() * kBlockSizeBytes < 64 * kKiB) return {};
    return rows;
  }
  // All tasks below outlive the test's scope no longer than the fixture.
  io::Task<Result<void>> write_blocks(BlockRange range, std::uint64_t stamp, bool durable) {
    model->begin_write(range, stamp, whole_rows(range));
    std::vector<Buffer> pieces(1, make_data(range, stamp));
    // In two pieces, now and then.
    const std::uint64_t blocks = range.end - range.begin;
    if (blocks > 1 && stamp % 3 == 0) {
      const std::size_t cut = (1 + stamp % (blocks - 1)) * kBlockSizeBytes;
      const Buffer whole = pieces[0];
      pieces[0] = whole.slice(0, cut);
      pieces.push_back(whole.slice(cut, whole.size() - cut));
    }
    const auto durability = durable ? io::Durability::kDurable : io::Durability::kVolatile;
    auto done =
        co_await group->write(DiskOffset{range.begin * kBlockSizeBytes}, std::move(pieces), durability);
    if (done.ok()) model->end_write(range, durable);
    co_return done;
  }
  io::Task<Result<void>> discard_blocks(BlockRange range) {
    model->begin_write(range, 0, whole_rows(range));
    auto done = co_await group->discard(DiskOffset{range.begin * kBlockSizeBytes},
                                        (range.end - range.begin) * kBlockSizeBytes);
    if (done.ok()) model->end_write(range, false);
    co_return done;
  }
  io::Task<Result<void>> flush_all() {
    const std::vector<std::uint64_t> covered = model->covered();
    auto done = co_await group->flush();
    if (done.ok()) model->flushed(covered);
    co_return done;
  }
  io::Task<Result<void>> check_blocks(BlockRange range) {
    Buffer out = Buffer::allocate((range.end - range.begin) * kBlockSizeBytes);
    std::memset(out.data(), 0xee, out.size());
    // What may be written meanwhile is not compared.
    std::vector<std::uint64_t> ids;
    for (std::uint64_t i = range.begin; i < range.end; ++i) ids.push_back(version_of(i));
    auto done = co_await group->read(DiskOffset{range.begin * kBlockSizeBytes}, out);
    if (!done.ok()) co_return done;
    for (std::uint64_t i = range.begin; i < range.end; ++i) {
      if (model->at(i).in_flight || version_of(i) != ids[i - range.begin]) continue;
      Buffer expected = make_data({i, i + 1}, model->newest(i));
      const bool same = std::memcmp(expected.data(), out.data() + (i - range.begin) * kBlockSizeBytes,
                                    kBlockSizeBytes) == 0;
      EXPECT_TRUE(same) << "block " << i << " is not what was written last";
      if (!same) ++wrong_blocks;
    }
    co_return done;
  }
  std::uint64_t version_of(std::uint64_t block) {
    const Model::Block& b = model->at(block);
    return b.pending.empty() ? b.durable : b.pending.back().stamp + (b.in_flight ? 1ull << 60 : 0);
  }
  BlockRange random_range(io::Random* random) {
    const std::uint64_t row = std::max<std::uint64_t>(1, geometry->row_bytes() / kBlockSizeBytes);
    std::uint64_t begin = random->below(model->size());
    std::uint64_t length = 1 + random->below(random->below(4) == 0 ? 4 * row : 5);
    if (random->below(4) == 0) {
      begin = begin / row * row;
      length = row * (1 + random->below(3));
    }
    return {begin, std::min(model->size(), begin + length)};
  }
  // Does things at random until something fails or it is destroyed.
  io::Task<void> run_worker(std::uint64_t operations, Result<void>* result) {
    io::Random* random = &world->random();
    for (std::uint64_t i = 0; i < operations; ++i) {
      const BlockRange range = random_range(random);
      const std::uint64_t choice = random->below(20);
      Result<void> done;
      if (choice < 12) {
        if (!model->is_free(range)) continue;
        done = co_await write_blocks(range, next_stamp++, choice == 0);
      } else if (choice < 13) {
        if (!model->is_free(range)) continue;
        done = co_await discard_blocks(range);
      } else if (choice < 15) {
        done = co_await flush_all();
      } else {
        done = co_await check_blocks(range);
      }
      if (!done.ok()) {
        *result = done;
        co_return;
      }
    }
  }
  Result<void> work(std::uint64_t operations, std::size_t workers = 3) {
    std::vector<Result<void>> results(workers);
    std::vector<io::Task<void>> tasks;
    scope = std::make_unique<io::TaskScope>(*world);
    for (std::size_t i = 0; i < workers; ++i) scope->spawn(run_worker(operations, &results[i]));
    world->run(scope->join());
    scope.reset();
    for (auto& result : results) {
      if (!result.ok()) return result;
    }
    return {};
  }
  void expect_model() {
    const auto done = world->run(check_blocks({0, model->size()}));
    ASSERT_TRUE(done.ok()) << done.error().message;
    ASSERT_EQ(wrong_blocks, 0u);
  }
  Result<Buffer> read(BlockRange range) {
    Buffer out = Buffer::allocate((range.end - range.begin) * kBlockSizeBytes);
    std::memset(out.data(), 0xee, out.size());
    auto done = world->run(group->read(DiskOffset{range.begin * kBlockSizeBytes}, out));
    if (!done.ok()) return done.error();
    return out;
  }
  // Every sector is what the contract of a disk permits after a crash.
  void expect_permitted(bool with_loss, const std::string& what) {
    const auto out = read({0, model->size()});
    ASSERT_TRUE(out.ok()) << what << ": " << out.error().message;
    for (std::uint64_t i = 0; i < model->size(); ++i) {
      ASSERT_TRUE(model->may_be(i, Bytes(*out).subspan(i * kBlockSizeBytes, kBlockSizeBytes), with_loss))
          << what << ": block " << i << " holds what it was never given";
    }
    const auto again = read({0, model->size()});
    ASSERT_TRUE(again.ok());
    ASSERT_EQ(std::memcmp(out->data(), again->data(), out->size()), 0) << what << ": two reads differ";
  }
  // Members agree with each other, by a scrub.
  void expect_consistent(const std::string& what) {
    ScrubRequest request;
    request.repair = false;
    const auto report = world->run(group->scrub(request));
    ASSERT_TRUE(report.ok()) << what << ": " << report.error().message;
    ASSERT_EQ(report->mismatches, 0u)
        << what << ": " << report->findings[0].explanation << " at " << report->findings[0].offset.value;
    ASSERT_EQ(report->checked_bytes, group->size_bytes());
  }

  NodeIdentity node = identity_of<NodeIdentity>(0x10);
  RaidIdentity raid{};
  RaidOptions options;
  std::uint64_t disk_bytes = 0;
  std::unique_ptr<sim::World> world;
  std::unique_ptr<io::Environment> environment;
  std::vector<std::unique_ptr<sim::Disk>> disks;
  std::unique_ptr<RaidGroup> group;
  std::unique_ptr<Geometry> geometry;
  std::unique_ptr<Model> model;
  std::vector<DiskReport> reports;
  std::unique_ptr<io::TaskScope> scope;
  std::uint64_t next_stamp = 1;
  std::uint64_t wrong_blocks = 0;
};

}  // namespace tidemark::raid
