// A scrub of the RAID group that a node lies on: what the journals on it say of their blocks.

#include <algorithm>
#include <map>

#include "format/journal_frame.h"
#include "pair_bench.h"
#include "rounds.h"

namespace tidemark::node {
namespace {

constexpr std::uint64_t kMemberBytes = 96 << 20;

struct Shape {
  format::RaidLevel level;
  std::uint32_t members;
};

std::string name_of(Shape shape) {
  return "RAID " + std::to_string(static_cast<int>(shape.level)) + " of " + std::to_string(shape.members);
}

class JournalScrub : public testing::Test {
 protected:
  ~JournalScrub() override {
    target.reset();
    node.reset();
    raid.reset();
  }
  void start(std::uint64_t seed, Shape shape) {
    target.reset();
    node.reset();
    raid.reset();
    disks.clear();
    world = std::make_unique<sim::World>(seed);
    environment = std::make_unique<io::Environment>(world->environment());
    identity.bytes.fill(7);
    for (std::uint32_t i = 0; i < shape.members; ++i)
      disks.push_back(std::make_unique<sim::Disk>(*world, kMemberBytes));
    raid::RaidSpec spec;
    spec.name = "raid";
    spec.level = shape.level;
    auto made = world->run(raid::RaidGroup::create(*environment, named_disks(), identity, spec));
    ASSERT_TRUE(made.ok()) << made.error().message;
    auto assembled = world->run(
        raid::RaidGroup::assemble(*environment, named_disks(), identity, *made, raid::RaidOptions()));
    ASSERT_TRUE(assembled.group.ok()) << assembled.group.error().message;
    raid = std::move(assembled.group).value();
    NodeConfiguration configuration;
    configuration.identity = identity;
    configuration.name = "kyoto";
    configuration.disks = one_disk(*raid);
    configuration.disks.pools.front().name = "raid";
    configuration.disks.pools.front().raid = raid.get();
    configuration.cache_size_bytes = kCacheSizeBytesMin;
    configuration.recent_size_bytes = 1 << 20;
    group::IndexFactory make_index = [](GroupIdentity) { return open_memory_index(); };
    auto started = world->run(Node::start(*environment, std::move(configuration), std::move(make_index),
                                          OpenCatalog(), [](const std::string&, const std::string&) {}));
    ASSERT_TRUE(started.ok()) << started.error().message;
    node = std::move(started).value();
    control::GroupCreateRequest group;
    group.group = kGroup;
    group.journal_size_bytes = kJournalBytes;
    ASSERT_TRUE(world->run(node->group_create(group)).ok());
    control::VolumeCreateRequest volume;
    volume.group = kGroup;
    volume.volume = "data";
    volume.size_bytes = kVolumeBlocks * kBlockSizeBytes;
    ASSERT_TRUE(world->run(node->volume_create(volume)).ok());
    auto opened = world->run(node->open("app/data", "test"));
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    target = std::move(opened).value();
    image.assign(kVolumeBlocks, 0);
    log_begin = looked_at = 0;
  }
  std::vector<raid::NamedDisk> named_disks() const {
    std::vector<raid::NamedDisk> out(disks.size());
    for (std::size_t i = 0; i < disks.size(); ++i) {
      out[i].name = "d" + std::to_string(i);
      out[i].disk = disks[i].get();
    }
    return out;
  }
  group::Group& group() { return *node->find_group(kGroup); }
  io::Task<Result<void>> write(std::uint64_t block, std::uint32_t value) {
    image[block] = value;
    co_return co_await target->write(block * kBlockSizeBytes, block_of(value), false);
  }
  void fill(int writes) {
    for (int i = 0; i < writes; ++i)
      ASSERT_TRUE(world->run(write(world->random().below(kVolumeBlocks), next_value++)).ok());
    ASSERT_TRUE(world->run(group().snapshot()).ok());
    ASSERT_TRUE(world->run(write(3, next_value++)).ok());
    settle();
  }
  void settle() {
    ASSERT_TRUE(world->run(target->flush()).ok());
    world->run_for(Duration::milliseconds(100));
  }
  void expect_image() {
    Buffer out = Buffer::allocate(kVolumeBlocks * kBlockSizeBytes);
    const auto read = world->run(target->read(0, out));
    ASSERT_TRUE(read.ok()) << read.error().message;
    EXPECT_EQ(image_of(out), image);
  }
  control::ScrubInfo scrub(bool report_only = false) {
    control::RaidScrubRequest request;
    request.report_only = report_only;
    EXPECT_TRUE(world->run(node->raid_scrub(request)).ok());
    for (;;) {
      auto now = world->run(node->raid_status(control::RaidStatusRequest{}));
      EXPECT_TRUE(now.ok());
      if (!now.ok() || !now->scrub.has_value()) return {};
      if (!now->scrub->running) {
        EXPECT_EQ(now->scrub->reason, "");
        return *now->scrub;
      }
      world->run_for(Duration::milliseconds(5));
    }
  }
  std::string first_finding(const control::ScrubInfo& info) {
    return info.findings.empty() ? "" : info.findings.front();
  }
  // Where a byte of the log volume lies in the RAID group.
  DiskOffset log_offset(std::uint64_t on_volume) {
    Buffer block = Buffer::allocate(kBlockSizeBytes);
    while (log_begin == 0) {
      EXPECT_TRUE(world->run(raid->peek(DiskOffset{looked_at}, block)).ok());
      if (format::decode_journal_superblock(block).ok()) log_begin = looked_at;
      looked_at += kBlockSizeBytes;
    }
    return DiskOffset{log_begin + on_volume};
  }
  // Of the log volume: the blocks that its journal says are right.
  std::vector<std::uint64_t> known_blocks() {
    const auto survey =
        world->run(group().survey_log_volume(group().log_volume(), DiskOffset{0}, DiskOffset{kJournalBytes}));
    std::vector<std::uint64_t> out;
    Buffer block = Buffer::allocate(kBlockSizeBytes);
    for (std::uint64_t at = 0; at < kJournalBytes; at += kBlockSizeBytes) {
      const raid::RaidAddress::Place place = place_of(at, 0);
      disks[place.member]->peek(place.offset.value, block.writable());
      if (survey->look(DiskOffset{at}, block) == pool::Knowledge::kRight) out.push_back(at);
    }
    return out;
  }
  raid::RaidAddress::Place place_of(std::uint64_t on_volume, std::uint32_t copy) {
    const raid::RaidAddress address = raid->translate(log_offset(on_volume));
    return address.data[copy % address.data.size()];
  }
  std::vector<std::map<std::uint64_t, std::uint32_t>> checksums_of_members() const {
    std::vector<std::map<std::uint64_t, std::uint32_t>> out;
    for (const auto& disk : disks) out.push_back(disk->page_checksums());
    return out;
  }
  io::Task<void> write_until(const bool* stops) {
    while (!*stops) {
      const auto done = co_await write(world->random().below(kVolumeBlocks), next_value++);
      EXPECT_TRUE(done.ok()) << done.error().message;
      if (!done.ok()) co_return;
      co_await world->sleep_for(Duration::milliseconds(2));
    }
  }
  io::Task<void> destage_until(const bool* stops) {
    while (!*stops) {
      const auto done = co_await group().destage_now(true);
      EXPECT_TRUE(done.ok()) << done.error().message;
      if (!done.ok()) co_return;
      co_await world->sleep_for(Duration::milliseconds(700));
    }
  }

  std::unique_ptr<sim::World> world;
  std::unique_ptr<io::Environment> environment;
  NodeIdentity identity{};
  std::vector<std::unique_ptr<sim::Disk>> disks;
  std::unique_ptr<raid::RaidGroup> raid;
  std::uint64_t log_begin = 0;
  std::uint64_t looked_at = 0;
  std::unique_ptr<Node> node;
  std::unique_ptr<nbd::BlockTarget> target;
  Image image;
  std::uint32_t next_value = 1;
};

constexpr Shape kShapes[] = {{format::RaidLevel::k1, 2},
                             {format::RaidLevel::k10, 4},
                             {format::RaidLevel::k5, 3},
                             {format::RaidLevel::k6, 4}};

TEST_F(JournalScrub, WhatOneMemberHasWrongOfAJournalIsWrittenAgain) {
  for (const Shape& shape : kShapes) {
    SCOPED_TRACE(name_of(shape));
    ASSERT_NO_FATAL_FAILURE(start(1, shape));
    ASSERT_NO_FATAL_FAILURE(fill(300));
    EXPECT_EQ(scrub().mismatches, 0u);
    const std::vector<std::uint64_t> known = known_blocks();
    ASSERT_GT(known.size(), 300u);
    const auto before = checksums_of_members();
    // Superblocks, the first blocks of segments, metas, payload; each alone in its column of a row.
    std::uint32_t damaged = 0;
    for (std::size_t i = 0; i < known.size(); i += i < 4 ? 1 : 37) {
      const raid::RaidAddress::Place place = place_of(known[i], damaged);
      disks[place.member]->flip_bit(place.offset.value + 50 + 13 * damaged, 3);
      ++damaged;
    }
    const auto spoilt = checksums_of_members();
    const control::ScrubInfo told = scrub(true);
    EXPECT_EQ(checksums_of_members(), spoilt) << "nothing was to be written";
    EXPECT_EQ(told.repairable, damaged) << first_finding(told);
    EXPECT_EQ(told.repaired, 0u);
    EXPECT_EQ(told.undecided, 0u) << first_finding(told);
    const control::ScrubInfo done = scrub();
    EXPECT_EQ(done.repaired, damaged);
    EXPECT_EQ(done.undecided, 0u);
    EXPECT_EQ(checksums_of_members(), before) << "every byte is what it was";
    EXPECT_EQ(scrub().mismatches, 0u);
    ASSERT_NO_FATAL_FAILURE(expect_image());
  }
}

// With parity the journal's word lets it be told whether the data or the parity is wrong.
TEST_F(JournalScrub, WrongParityOverAJournalIsWrittenAgain) {
  for (const Shape& shape : {Shape{format::RaidLevel::k5, 3}, Shape{format::RaidLevel::k6, 4}}) {
    SCOPED_TRACE(name_of(shape));
    ASSERT_NO_FATAL_FAILURE(start(1, shape));
    ASSERT_NO_FATAL_FAILURE(fill(300));
    const std::vector<std::uint64_t> known = known_blocks();
    const auto before = checksums_of_members();
    const raid::RaidAddress address = raid->translate(log_offset(known[known.size() / 2]));
    disks[address.parity[0].member]->flip_bit(address.parity[0].offset.value + 9, 1);
    const control::ScrubInfo done = scrub();
    EXPECT_EQ(done.repaired, 1u) << first_finding(done);
    EXPECT_EQ(checksums_of_members(), before);
  }
}

TEST_F(JournalScrub, WhatIsNobodysInAJournalIsMadeEqualAndNoLoss) {
  ASSERT_NO_FATAL_FAILURE(start(1, {format::RaidLevel::k1, 2}));
  ASSERT_NO_FATAL_FAILURE(fill(50));
  const raid::RaidAddress::Place place = place_of(kJournalBytes - (2 << 20), 1);
  disks[place.member]->flip_bit(place.offset.value + 9, 1);
  const control::ScrubInfo done = scrub();
  EXPECT_EQ(done.repaired, 1u);
  EXPECT_EQ(done.undecided, 0u);
  EXPECT_EQ(scrub().mismatches, 0u);
}

// Segments are written, freed and taken again under it.
TEST_F(JournalScrub, BesideAWriterItNeverTakesWrongBytesForRightOnes) {
  for (std::uint64_t seed = 1; seed <= rounds(2, 1); ++seed) {
    for (const Shape& shape : {Shape{format::RaidLevel::k1, 2}, Shape{format::RaidLevel::k5, 3}}) {
      SCOPED_TRACE(name_of(shape) + " " + std::to_string(seed));
      ASSERT_NO_FATAL_FAILURE(start(seed, shape));
      ASSERT_NO_FATAL_FAILURE(fill(50));
      io::TaskScope tasks(*world);
      bool stops = false;
      for (int i = 0; i < 3; ++i) tasks.spawn(write_until(&stops));
      tasks.spawn(destage_until(&stops));
      std::uint64_t repaired = 0;
      for (int i = 0; i < 5; ++i) {
        world->run_for(Duration::milliseconds(100));
        const std::vector<std::uint64_t> known = known_blocks();
        ASSERT_FALSE(known.empty());
        for (int flips = 0; flips < 30; ++flips) {
          // One member alone: what the other has, or what it is made from, is right.
          const raid::RaidAddress::Place place = place_of(known[world->random().below(known.size())], 0);
          if (shape.level == format::RaidLevel::k5 && place.member != 0) continue;
          disks[place.member]->flip_bit(place.offset.value + world->random().below(kBlockSizeBytes), 2);
        }
        const control::ScrubInfo done = scrub();
        repaired += done.repaired;
      }
      stops = true;
      world->run(tasks.join());
      EXPECT_GT(repaired, 20u) << "of what was damaged some was there still";
      ASSERT_NO_FATAL_FAILURE(settle());
      const control::ScrubInfo last = scrub();
      EXPECT_EQ(last.undecided, 0u) << first_finding(last);
      control::JournalVerifyRequest request;
      request.group = kGroup;
      ASSERT_TRUE(world->run(node->journal_verify(request)).ok());
      control::JournalVerifyStatusRequest ask;
      ask.group = kGroup;
      auto verified = world->run(node->journal_verify_status(ask));
      while (verified.ok() && verified->state == control::VerifyState::kRunning) {
        world->run_for(Duration::milliseconds(10));
        verified = world->run(node->journal_verify_status(ask));
      }
      ASSERT_TRUE(verified.ok());
      EXPECT_EQ(verified->state, control::VerifyState::kGood) << verified->reason;
      ASSERT_NO_FATAL_FAILURE(expect_image());
    }
  }
}

// The node goes while it runs, as in a crash, and the group is deleted while it runs.
TEST_F(JournalScrub, ItMayBeCutOffAtAnyTime) {
  for (int delay = 0; delay < 30; ++delay) {
    ASSERT_NO_FATAL_FAILURE(start(1, {format::RaidLevel::k1, 2}));
    ASSERT_NO_FATAL_FAILURE(fill(20));
    ASSERT_TRUE(world->run(node->raid_scrub(control::RaidScrubRequest{})).ok());
    world->run_for(Duration::microseconds(delay * 400));
    target.reset();
    if (delay % 2 == 0) {
      node.reset();
      continue;
    }
    control::GroupDeleteRequest request;
    request.group = kGroup;
    request.force = true;
    const auto deleted = world->run(node->group_delete(request));
    ASSERT_TRUE(deleted.ok()) << deleted.error().message;
    EXPECT_EQ(scrub().undecided, 0u);
  }
}

}  // namespace
}  // namespace tidemark::node
