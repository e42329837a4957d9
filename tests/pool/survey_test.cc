// What a pool says of the blocks of its disk to whoever compares copies below it.

#include "pool_fixture.h"

namespace tidemark::pool {
namespace {

constexpr std::uint64_t kBlocks = 3 * kExtent;

class PoolSurvey : public PoolFixture {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(start(1, 64 * kMiB));
    number = make_volume(kBlocks * kBlockSizeBytes);
    ASSERT_TRUE(write(number, {10, 20}, 100).ok());
    ASSERT_TRUE(flush(number).ok());
  }
  std::unique_ptr<Survey> survey() {
    return world->run(pool->survey(DiskOffset{0}, DiskOffset{disk->size_bytes()}, {}));
  }
  static Buffer block_of(std::uint64_t stamp) {
    Buffer block = Buffer::allocate(kBlockSizeBytes);
    fill_block(stamp, block.writable());
    return block;
  }
  Survey::Answer look(const Survey& at, std::uint64_t block, std::uint64_t stamp) {
    return at.look(DiskOffset{disk_offset(number, block)}, block_of(stamp));
  }
  Buffer on_disk(std::uint64_t offset) {
    Buffer out = Buffer::allocate(kBlockSizeBytes);
    EXPECT_TRUE(world->run(disk->read(DiskOffset{offset}, out)).ok());
    return out;
  }

  io::Task<void> write_one(std::uint64_t at, std::uint64_t stamp, Result<void>* done) {
    const Buffer block = block_of(stamp);
    std::vector<std::uint32_t> checksums{crc32c(block)};
    *done = co_await volume(number).write({at, at + 1}, block, std::move(checksums));
  }

  io::Task<void> write_many(std::uint64_t count, std::uint64_t stamp, Result<void>* done) {
    Buffer data = Buffer::allocate(count * kBlockSizeBytes);
    std::vector<std::uint32_t> checksums;
    for (std::uint64_t i = 0; i < count; ++i) {
      const MutableBytes block = data.writable().subspan(i * kBlockSizeBytes, kBlockSizeBytes);
      fill_block(stamp + i, block);
      checksums.push_back(crc32c(block));
    }
    *done = co_await volume(number).write({0, count}, data, std::move(checksums));
  }

  LuNumber number{};
};

TEST_F(PoolSurvey, KnowsTheBlocksOfDataVolumesByTheirChecksums) {
  const auto at = survey();
  EXPECT_EQ(look(*at, 12, 102).knowledge, Knowledge::kRight);
  EXPECT_EQ(look(*at, 12, 102).unit, number);
  EXPECT_EQ(look(*at, 12, 103).knowledge, Knowledge::kWrong);
  EXPECT_EQ(look(*at, 12, 103).unit, number);
  EXPECT_EQ(look(*at, 9, 77).knowledge, Knowledge::kNobodys) << "never written";
  const DiskOffset empty{disk_offset(number, 0) + 4 * format::kSlotSizeBytes};
  EXPECT_EQ(at->look(empty, block_of(5)).knowledge, Knowledge::kNobodys);
  EXPECT_EQ(at->look(DiskOffset{0}, block_of(5)).knowledge, Knowledge::kUnknown) << "the label";
  // The sectors that describe the extent: as they are in memory, or nothing is known.
  const std::uint64_t head = disk_offset(number, 0) - format::kExtentHeadBytes;
  EXPECT_EQ(at->look(DiskOffset{head}, on_disk(head)).knowledge, Knowledge::kRight);
  EXPECT_EQ(at->look(DiskOffset{head}, block_of(5)).knowledge, Knowledge::kUnknown);
}

TEST_F(PoolSurvey, KnowsAfterAStartWhatItReadsOfTheDisk) {
  ASSERT_NO_FATAL_FAILURE(open());
  const auto at = survey();
  EXPECT_EQ(look(*at, 19, 109).knowledge, Knowledge::kRight);
  EXPECT_EQ(look(*at, 19, 110).knowledge, Knowledge::kWrong);
}

TEST_F(PoolSurvey, KnowsNothingOfWhatIsWrittenMeanwhile) {
  const auto at = survey();
  const std::uint64_t offset = disk_offset(number, 12);
  ASSERT_TRUE(write(number, {500, 501}, 7).ok());
  EXPECT_EQ(look(*at, 12, 102).knowledge, Knowledge::kUnknown) << "the same extent";
  EXPECT_EQ(look(*survey(), 500, 7).knowledge, Knowledge::kRight) << "a new look does";
  EXPECT_EQ(look(*survey(), 12, 102).knowledge, Knowledge::kRight);
  // While the disk is at it, also for one who looks only then.
  io::TaskScope scope(*world);
  Result<void> written = fail(ErrorCode::kTimeout, "");
  scope.spawn(write_one(12, 8, &written));
  bool seen = false;
  while (!written.ok()) {
    const auto now = survey();
    if (written.ok()) break;
    seen = true;
    EXPECT_EQ(look(*now, 12, 102).knowledge, Knowledge::kUnknown);
    EXPECT_EQ(look(*now, 12, 8).knowledge, Knowledge::kUnknown);
    world->run_for(Duration::microseconds(1));
  }
  EXPECT_TRUE(seen);
  EXPECT_EQ(look(*survey(), 12, 8).knowledge, Knowledge::kRight);
  EXPECT_EQ(at->look(DiskOffset{offset}, block_of(8)).knowledge, Knowledge::kUnknown);
}

// One that covers a page of checksums does not read it, and makes a new one.
TEST_F(PoolSurvey, KnowsNothingOfAWriteThatBeganBeforeItAndEndedWhileItLooked) {
  constexpr std::uint64_t kPageBlocks = kExtent / 2;
  ASSERT_TRUE(write(number, {0, kPageBlocks}, 100).ok());
  ASSERT_TRUE(flush(number).ok());
  for (int delay = 0; delay < 40; ++delay) {
    ASSERT_NO_FATAL_FAILURE(open());  // nothing is in memory
    io::TaskScope scope(*world);
    Result<void> written = fail(ErrorCode::kTimeout, "");
    const std::uint64_t stamp = 1000 + static_cast<std::uint64_t>(delay) * 1000;
    scope.spawn(write_many(kPageBlocks, stamp, &written));
    world->run_for(Duration::microseconds(delay * 10));
    const auto at = survey();
    while (!written.ok()) world->run_for(Duration::microseconds(50));
    EXPECT_NE(look(*at, 12, stamp + 12).knowledge, Knowledge::kWrong) << delay;
    ASSERT_TRUE(flush(number).ok());
  }
}

TEST_F(PoolSurvey, ForgetsWhatIsGivenBackAndMayBeSomebodyElses) {
  const auto at = survey();
  const std::uint64_t offset = disk_offset(number, 12);
  ASSERT_TRUE(world->run(volume(number).discard({0, kExtent})).ok());
  EXPECT_EQ(at->look(DiskOffset{offset}, block_of(1)).knowledge, Knowledge::kUnknown) << "not yet durable";
  ASSERT_TRUE(flush(number).ok());
  EXPECT_EQ(at->look(DiskOffset{offset}, block_of(1)).knowledge, Knowledge::kNobodys);
  const LuNumber other = make_volume(kBlocks * kBlockSizeBytes, 8);
  ASSERT_TRUE(write(other, {12, 13}, 5).ok());
  ASSERT_EQ(disk_offset(other, 12), offset) << "the slot was taken again";
  EXPECT_EQ(at->look(DiskOffset{offset}, block_of(1)).knowledge, Knowledge::kUnknown);
}

// What lies on a log volume is answered by whoever keeps something there, by its offset on the volume.
TEST_F(PoolSurvey, AsksOfALogVolumeWhoeverKeepsSomethingThere) {
  class Word final : public LogVolumeSurvey {
   public:
    Knowledge look(DiskOffset offset, Bytes block) const override {
      if (offset.value == 8 * kBlockSizeBytes) return Knowledge::kNobodys;
      return is_block(offset.value, block) ? Knowledge::kRight : Knowledge::kWrong;
    }
  };
  struct Asked {
    LuNumber number{};
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
  };
  const auto log = world->run(pool->create_log_volume(identity_of<GroupIdentity>(0x60), 5 * kMiB));
  ASSERT_TRUE(log.ok()) << log.error().message;
  std::vector<Asked> asked;
  const auto word = [&asked](LuNumber volume, DiskOffset begin,
                             DiskOffset end) -> io::Task<std::unique_ptr<LogVolumeSurvey>> {
    asked.push_back({volume, begin.value, end.value});
    co_return std::make_unique<Word>();
  };
  const std::uint64_t begin = pool->log_volume_offset(*log).value;
  const auto at = world->run(pool->survey(DiskOffset{0}, DiskOffset{disk->size_bytes()}, word));
  const auto part = world->run(
      pool->survey(DiskOffset{begin + 2 * kBlockSizeBytes}, DiskOffset{begin + 4 * kBlockSizeBytes}, word));
  ASSERT_EQ(asked.size(), 2u);
  EXPECT_EQ(asked[0].number, *log);
  EXPECT_EQ(asked[0].begin, 0u);
  EXPECT_EQ(asked[0].end, 5 * kMiB);
  EXPECT_EQ(asked[1].begin, 2 * kBlockSizeBytes);
  EXPECT_EQ(asked[1].end, 4 * kBlockSizeBytes);
  const auto knows = [&](const Survey& survey, std::uint64_t offset, const Buffer& block) {
    const Survey::Answer answer = survey.look(DiskOffset{offset}, block);
    EXPECT_EQ(answer.unit.value, 0u);
    return answer.knowledge;
  };
  EXPECT_EQ(knows(*at, begin + 3 * kBlockSizeBytes, block_of(3 * kBlockSizeBytes)), Knowledge::kRight);
  EXPECT_EQ(knows(*at, begin + 3 * kBlockSizeBytes, block_of(4)), Knowledge::kWrong);
  EXPECT_EQ(knows(*at, begin + 8 * kBlockSizeBytes, block_of(4)), Knowledge::kNobodys);
  EXPECT_EQ(knows(*at, begin + 5 * kMiB, block_of(4)), Knowledge::kNobodys) << "behind its end";
  // Its head, which the pool knows itself.
  for (const std::uint64_t head : {begin - 2 * kBlockSizeBytes, begin - kBlockSizeBytes}) {
    EXPECT_EQ(knows(*at, head, on_disk(head)), Knowledge::kRight);
    EXPECT_EQ(knows(*at, head, block_of(4)), Knowledge::kUnknown);
  }
  EXPECT_EQ(knows(*survey(), begin, block_of(0)), Knowledge::kUnknown) << "nobody was to be asked";
  ASSERT_TRUE(world->run(pool->remove(*log)).ok());
  EXPECT_EQ(knows(*at, begin + 3 * kBlockSizeBytes, block_of(4)), Knowledge::kNobodys);
}

TEST_F(PoolSurvey, OutlivesThePoolAndItsVolumes) {
  const auto of_pool = survey();
  const auto of_volume = survey();
  const std::uint64_t offset = disk_offset(number, 12);
  ASSERT_TRUE(world->run(pool->remove(number)).ok());
  EXPECT_EQ(of_volume->look(DiskOffset{offset}, block_of(102)).knowledge, Knowledge::kNobodys);
  pool.reset();
  EXPECT_EQ(of_pool->look(DiskOffset{offset}, block_of(102)).knowledge, Knowledge::kUnknown);
}

}  // namespace
}  // namespace tidemark::pool
