#include <map>
#include <set>

#include "base/crc32c.h"
#include "format/disk.h"
#include "pool/pool.h"
#include "raid_fixture.h"
#include "rounds.h"

namespace tidemark::raid {
namespace {

// What a volume's writer knows, as a journal would: what it changed since the last flush, to be repeated
// after a crash.
struct Writer {
  std::map<std::uint64_t, std::uint64_t> durable;              // block → stamp
  std::map<std::uint64_t, std::uint64_t> intended;             // since the last flush
  std::map<std::uint64_t, std::set<std::uint64_t>> in_flight;  // what a block may show besides
};

class PoolOnRaid : public RaidFixture {
 protected:
  void open_pool() {
    pool.reset();
    auto opened = world->run(pool::Pool::open(*environment, *group, node));
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    pool = std::move(opened).value();
  }
  void make_pool(std::uint64_t seed, const Shape& shape) {
    pool.reset();
    ASSERT_NO_FATAL_FAILURE(start(seed, shape, 24 * kMiB));
    ASSERT_TRUE(world->run(pool::Pool::format(*environment, *group, node)).ok());
    ASSERT_NO_FATAL_FAILURE(open_pool());
    const auto made = world->run(
        pool->create_data_volume(identity_of<GroupIdentity>(0x40), VolumeId{1}, kBlocks * kBlockSizeBytes));
    ASSERT_TRUE(made.ok()) << made.error().message;
    number = *made;
    writer = Writer{};
  }
  ~PoolOnRaid() override {
    scope.reset();
    pool.reset();
  }
  io::Task<Result<void>> write_volume(BlockRange range, std::uint64_t stamp) {
    pool::DataVolume* volume = pool->data_volume(number);
    const Buffer data = make_data(range, stamp);
    std::vector<std::uint32_t> checksums;
    for (std::uint64_t i = range.begin; i < range.end; ++i) {
      checksums.push_back(crc32c(Bytes(data).subspan((i - range.begin) * kBlockSizeBytes, kBlockSizeBytes)));
      auto& possible = writer.in_flight[i];
      possible.insert(writer.durable.contains(i) ? writer.durable[i] : 0);
      possible.insert(stamp);
      writer.intended[i] = stamp;
    }
    TM_CO_TRY(co_await volume->reserve(range));
    co_return co_await volume->write(range, data, std::move(checksums));
  }
  io::Task<Result<void>> flush_volume() {
    auto done = co_await pool->data_volume(number)->flush();
    if (!done.ok()) co_return done;
    for (const auto& [block, stamp] : writer.intended) writer.durable[block] = stamp;
    writer.intended.clear();
    writer.in_flight.clear();
    co_return done;
  }
  io::Task<void> run_writer() {
    io::Random* random = &world->random();
    for (;;) {
      const std::uint64_t begin = random->below(kBlocks);
      const std::uint64_t length = 1 + random->below(random->below(4) == 0 ? 300 : 20);
      Result<void> done;
      if (random->below(6) == 0) {
        done = co_await flush_volume();
      } else {
        done = co_await write_volume({begin, std::min(kBlocks, begin + length)}, next_stamp++);
      }
      EXPECT_TRUE(done.ok()) << done.error().message;
      if (!done.ok()) co_return;
    }
  }
  io::Task<void> write_until(const bool* stops) {
    io::Random* random = &world->random();
    while (!*stops) {
      const std::uint64_t begin = random->below(kBlocks - 40);
      const auto done = co_await write_volume({begin, begin + 1 + random->below(40)}, next_stamp++);
      EXPECT_TRUE(done.ok()) << done.error().message;
      if (!done.ok()) co_return;
    }
  }
  Result<Buffer> read_volume(std::uint64_t block) {
    Buffer out = Buffer::allocate(kBlockSizeBytes);
    auto done = world->run(pool->data_volume(number)->read({block, block + 1}, out));
    if (!done.ok()) return done.error();
    return out;
  }
  static bool holds(std::uint64_t block, std::uint64_t stamp, Bytes bytes) {
    const Buffer expected = make_data({block, block + 1}, stamp);
    return std::memcmp(expected.data(), bytes.data(), kBlockSizeBytes) == 0;
  }
  void expect_volume(const std::string& what) {
    for (std::uint64_t block = 0; block < kBlocks; ++block) {
      const auto out = read_volume(block);
      const auto flight = writer.in_flight.find(block);
      if (flight != writer.in_flight.end()) {
        if (!out.ok()) {
          ASSERT_EQ(out.error().code, ErrorCode::kDamaged) << what;
          continue;
        }
        ASSERT_TRUE(std::ranges::any_of(flight->second,
                                        [&](std::uint64_t stamp) { return holds(block, stamp, *out); }))
            << what << " block " << block;
        continue;
      }
      ASSERT_TRUE(out.ok()) << what << ", block " << block << " was durable: " << out.error().message;
      const auto kept = writer.durable.find(block);
      ASSERT_TRUE(holds(block, kept == writer.durable.end() ? 0 : kept->second, *out))
          << what << " block " << block;
    }
  }

  // A look at all of it, with the pool's word where it has one.
  ScrubReport scrub(bool repair = true) {
    std::shared_ptr<pool::Survey> survey =
        world->run(pool->survey(DiskOffset{0}, DiskOffset{group->size_bytes()}, {}));
    ScrubRequest request;
    request.repair = repair;
    request.judge = [survey](DiskOffset offset, Bytes block) {
      switch (survey->look(offset, block).knowledge) {
        case pool::Knowledge::kRight:
          return Verdict::kRight;
        case pool::Knowledge::kWrong:
          return Verdict::kWrong;
        case pool::Knowledge::kNobodys:
          return Verdict::kAny;
        case pool::Knowledge::kUnknown:
          break;
      }
      return Verdict::kUnknown;
    };
    auto report = world->run(group->scrub(std::move(request)));
    EXPECT_TRUE(report.ok()) << report.error().message;
    return report.ok() ? *report : ScrubReport();
  }

  static constexpr std::uint64_t kBlocks = 3 * 1024 + 50;
  std::unique_ptr<pool::Pool> pool;
  LuNumber number{};
  Writer writer;
};

// Of two copies, or of data and one parity, nobody could say otherwise which is right.
TEST_F(PoolOnRaid, AScrubTakesTheCopyThatMatchesTheChecksum) {
  const Shape shapes[] = {{format::RaidLevel::k1, 2, 65536, 1},
                          {format::RaidLevel::k10, 4, 65536, 1},
                          {format::RaidLevel::k5, 3, 65536, 1}};
  for (const Shape& shape : shapes) {
    SCOPED_TRACE(level_name(shape.level));
    ASSERT_NO_FATAL_FAILURE(make_pool(1, shape));
    ASSERT_TRUE(world->run(write_volume({0, 2000}, 7)).ok());
    ASSERT_TRUE(world->run(flush_volume()).ok());
    const ScrubReport clean = scrub();
    EXPECT_EQ(clean.mismatches, 0u);
    for (const std::uint64_t block : {std::uint64_t{3}, std::uint64_t{1500}}) {
      // Whichever of the copies.
      const auto place = pool->data_volume(number)->translate(block * kBlockSizeBytes);
      const RaidAddress address = group->translate(place.disk_offset);
      const std::size_t which = block % address.data.size();
      disks[address.data[which].member]->flip_bit(address.data[which].offset.value + 77, 2);
    }
    const ScrubReport report = scrub();
    EXPECT_EQ(report.mismatches, 2u);
    EXPECT_EQ(report.repaired, 2u);
    EXPECT_EQ(report.undecided, 0u);
    ASSERT_NO_FATAL_FAILURE(expect_volume("repaired"));
    EXPECT_EQ(scrub().mismatches, 0u);
  }
}

// Not even the sectors with the checksums, which are read for it.
TEST_F(PoolOnRaid, AScrubThatIsToRepairNothingWritesNothing) {
  const Shape shapes[] = {{format::RaidLevel::k1, 2, 65536, 1},
                          {format::RaidLevel::k5, 3, 65536, 1},
                          {format::RaidLevel::k6, 4, 65536, 2}};
  for (const Shape& shape : shapes) {
    SCOPED_TRACE(level_name(shape.level));
    ASSERT_NO_FATAL_FAILURE(make_pool(1, shape));
    ASSERT_TRUE(world->run(write_volume({0, 2000}, 7)).ok());
    ASSERT_TRUE(world->run(flush_volume()).ok());
    ASSERT_NO_FATAL_FAILURE(open_pool());  // no checksum is in memory
    const DiskOffset block = pool->data_volume(number)->translate(0).disk_offset;
    const DiskOffset head{block.value - format::kExtentHeadBytes};
    for (const DiskOffset offset : {head, DiskOffset{block.value + 10 * kBlockSizeBytes}}) {
      const RaidAddress::Place place = group->translate(offset).data[0];
      disks[place.member]->flip_bit(place.offset.value + 77, 2);
    }
    const auto before = checksums_of_members();
    const ScrubReport told = scrub(false);
    EXPECT_EQ(checksums_of_members(), before);
    EXPECT_EQ(told.mismatches, 2u);
    EXPECT_EQ(told.repairable, 2u);
    EXPECT_EQ(told.repaired, 0u);
    const ScrubReport done = scrub();
    EXPECT_EQ(done.repaired, 2u);
    EXPECT_EQ(done.undecided, 0u);
    EXPECT_EQ(scrub().mismatches, 0u);
    ASSERT_NO_FATAL_FAILURE(expect_volume("repaired"));
  }
}

// A writer's blocks are right before the pool can know of them.
TEST_F(PoolOnRaid, AScrubBesideAWriterHarmsNothing) {
  for (std::uint64_t seed = 1; seed <= rounds(6, 2); ++seed) {
    SCOPED_TRACE(seed);
    const Shape shape =
        seed % 2 == 0 ? Shape{format::RaidLevel::k1, 2, 65536, 1} : Shape{format::RaidLevel::k5, 3, 65536, 1};
    ASSERT_NO_FATAL_FAILURE(make_pool(seed, shape));
    ASSERT_TRUE(world->run(write_volume({0, 2000}, 7)).ok());
    ASSERT_TRUE(world->run(flush_volume()).ok());
    io::TaskScope writing(*world);
    bool stops = false;
    writing.spawn(write_until(&stops));
    for (int i = 0; i < 6; ++i) {
      const bool damages = shape.level == format::RaidLevel::k1 && i % 2 == 1;
      for (int flips = damages ? 100 : 0; flips > 0; --flips) {
        const auto place =
            pool->data_volume(number)->translate(world->random().below(2000) * kBlockSizeBytes);
        const RaidAddress::Place bad = group->translate(place.disk_offset).data[1];
        disks[bad.member]->flip_bit(bad.offset.value + world->random().below(4096), 2);
      }
      const ScrubReport report = scrub();
      // Some are in an extent that is being written: what reads them, or the next scrub, makes them right.
      if (i > 0 && shape.level == format::RaidLevel::k1) continue;
      EXPECT_EQ(report.undecided, 0u) << (report.findings.empty() ? "" : report.findings[0].explanation);
    }
    stops = true;
    world->run(writing.join());
    ASSERT_TRUE(world->run(flush_volume()).ok());
    EXPECT_EQ(scrub().undecided, 0u);
    ASSERT_NO_FATAL_FAILURE(expect_volume("scrubbed"));
  }
}

TEST_F(PoolOnRaid, ACrashWithTheLossOfAMemberKeepsEveryBlockThatWasDurable) {
  for (std::uint64_t seed = 1; seed <= rounds(4, 1); ++seed) {
    ASSERT_NO_FATAL_FAILURE(make_pool(seed, {format::RaidLevel::k5, 3, 65536, 1}));
    for (int round = 0; round < 2; ++round) {
      scope = std::make_unique<io::TaskScope>(*world);
      scope->spawn(run_writer());
      world->run_for(Duration::microseconds(static_cast<std::int64_t>(5000 + world->random().below(40000))));
      scope.reset();
      pool.reset();
      crash();
      const auto left = stored();
      for (const auto& lost : loss_sets(3, 1)) {
        pool.reset();
        put_back(left);
        const std::string what = "seed " + std::to_string(seed) + " without " +
                                 (lost.empty() ? std::string("none") : std::to_string(lost[0]));
        const auto assembled = try_assemble(lost);
        ASSERT_TRUE(assembled.ok()) << what << ": " << assembled.error().message;
        ASSERT_NO_FATAL_FAILURE(open_pool()) << what;
        ASSERT_NO_FATAL_FAILURE(expect_volume(what));
      }
      pool.reset();
      put_back(left);
      ASSERT_NO_FATAL_FAILURE(assemble());
      ASSERT_NO_FATAL_FAILURE(open_pool());
      const auto todo = writer.intended;
      for (const auto& [block, stamp] : todo)
        ASSERT_TRUE(world->run(write_volume({block, block + 1}, stamp)).ok());
      ASSERT_TRUE(world->run(flush_volume()).ok());
      ASSERT_NO_FATAL_FAILURE(expect_volume("repeated"));
    }
  }
}

TEST_F(PoolOnRaid, ABlockThatFailsItsChecksumIsReadFromTheOtherMembersAndRepaired) {
  for (const Shape& shape :
       {Shape{format::RaidLevel::k1, 2, 65536, 1}, Shape{format::RaidLevel::k5, 3, 65536, 1},
        Shape{format::RaidLevel::k6, 4, 65536, 2}, Shape{format::RaidLevel::k10, 4, 65536, 1}}) {
    ASSERT_NO_FATAL_FAILURE(make_pool(1, shape));
    ASSERT_TRUE(world->run(write_volume({0, 200}, 9)).ok());
    ASSERT_TRUE(world->run(flush_volume()).ok());
    std::uint64_t repaired = 0;
    for (std::uint64_t block = 3; block < 200; block += 50) {
      const DiskOffset offset = pool->data_volume(number)->translate(block * kBlockSizeBytes).disk_offset;
      const RaidAddress address = group->translate(offset);
      disks[address.data[0].member]->flip_bit(address.data[0].offset.value + 1000, 4);
    }
    // Until mirrors were asked for both copies of each.
    for (int i = 0; i < 2; ++i) {
      ASSERT_NO_FATAL_FAILURE(expect_volume(level_name(shape.level)));
      ASSERT_TRUE(read_volume(0).ok());
    }
    for (const MemberStatus& member : group->status().members) repaired += member.repaired_blocks;
    EXPECT_GT(repaired, 0u) << level_name(shape.level);
    if (geometry->has_parity()) {
      EXPECT_EQ(repaired, 4u);
      ASSERT_NO_FATAL_FAILURE(expect_consistent(level_name(shape.level)));
    }
  }
}

// The label and the tables, both copies of each, as far as they lie on one member.
TEST_F(PoolOnRaid, WhatAPoolKnowsOfItselfIsReadFromTheOtherMembers) {
  const Shape shapes[] = {{format::RaidLevel::k1, 2, 65536, 1},   {format::RaidLevel::k5, 3, 65536, 1},
                          {format::RaidLevel::k5, 3, 1 << 20, 1}, {format::RaidLevel::k6, 4, 65536, 2},
                          {format::RaidLevel::k6, 4, 1 << 20, 2}, {format::RaidLevel::k10, 4, 65536, 1}};
  for (std::uint64_t round = 0; round < 2 * std::size(shapes); ++round) {
    const Shape& shape = shapes[round / 2];
    const std::uint64_t byte = round % 2 == 0 ? 10 : 40;
    for (std::uint32_t victim = 0; victim < shape.members; ++victim) {
      ASSERT_NO_FATAL_FAILURE(make_pool(1, shape));
      ASSERT_TRUE(world->run(write_volume({0, 200}, 9)).ok());
      ASSERT_TRUE(world->run(flush_volume()).ok());
      const std::uint64_t first_extent = pool->data_volume(number)->translate(0).disk_offset.value - 8192;
      for (std::uint64_t at = 0; at < first_extent; at += kBlockSizeBytes) {
        for (const RaidAddress::Place& place : group->translate(DiskOffset{at}).data) {
          if (place.member == victim) disks[victim]->flip_bit(place.offset.value + byte, 2);
        }
      }
      ASSERT_NO_FATAL_FAILURE(open_pool());
      ASSERT_NO_FATAL_FAILURE(expect_volume(level_name(shape.level)));
    }
  }
}

TEST_F(PoolOnRaid, AnExtentsChecksumsThatAreDamagedAreReadFromTheOtherMembers) {
  ASSERT_NO_FATAL_FAILURE(make_pool(1, {format::RaidLevel::k5, 3, 65536, 1}));
  ASSERT_TRUE(world->run(write_volume({0, 200}, 9)).ok());
  ASSERT_TRUE(world->run(flush_volume()).ok());
  const DiskOffset data = pool->data_volume(number)->translate(0).disk_offset;
  const RaidAddress head = group->translate(DiskOffset{data.value - 8192});
  disks[head.data[0].member]->flip_bit(head.data[0].offset.value + 300, 1);
  ASSERT_NO_FATAL_FAILURE(open_pool());
  ASSERT_NO_FATAL_FAILURE(expect_volume("damaged head"));
  EXPECT_EQ(group->status().members[head.data[0].member].repaired_blocks, 1u);
}

}  // namespace
}  // namespace tidemark::raid
