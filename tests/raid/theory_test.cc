#include "raid_fixture.h"

namespace tidemark::raid {
namespace {

struct Moved {
  std::uint64_t reads = 0, writes = 0, read_bytes = 0, written_bytes = 0;
};

// What the members move for a host's request, against what each level has to.
class RaidTheory : public RaidFixture {
 protected:
  Moved total() const {
    Moved sum;
    for (const MemberStatus& member : group->status().members) {
      sum.reads += member.reads;
      sum.writes += member.writes;
      sum.read_bytes += member.read_bytes;
      sum.written_bytes += member.written_bytes;
    }
    return sum;
  }
  Moved of_write(BlockRange range) {
    const Moved before = total();
    EXPECT_TRUE(world->run(write_blocks(range, next_stamp++, false)).ok());
    return since(before);
  }
  Moved since(const Moved& before) const {
    Moved moved = total();
    moved.reads -= before.reads;
    moved.writes -= before.writes;
    moved.read_bytes -= before.read_bytes;
    moved.written_bytes -= before.written_bytes;
    return moved;
  }
  // A write of the same region, so that the intent map has its bit.
  void mark_region() {
    const std::uint64_t row = geometry->row_bytes() / kBlockSizeBytes;
    of_write({0, std::max<std::uint64_t>(row, 16) * 2 / row * row});
    EXPECT_TRUE(world->run(flush_all()).ok());
  }
};

TEST_F(RaidTheory, WholeRowsWriteTheirDataAndParityOrCopiesInOneWriteForEachMemberAndReadNothing) {
  for (const Shape& shape : all_shapes()) {
    ASSERT_NO_FATAL_FAILURE(start(1, shape, 512 * kKiB));
    mark_region();
    const std::uint64_t row = geometry->row_bytes();
    const std::uint64_t rows = (64 * kKiB + row - 1) / row;
    const Moved moved = of_write({0, rows * row / kBlockSizeBytes});
    EXPECT_EQ(moved.read_bytes, 0u) << level_name(shape.level);
    const std::uint64_t parity = rows * shape.unit * geometry->parities();
    EXPECT_EQ(moved.written_bytes, rows * row * geometry->copies() + parity) << level_name(shape.level);
    EXPECT_EQ(moved.writes, shape.members) << level_name(shape.level);
  }
}

TEST_F(RaidTheory, ReadsMoveWhatWasAskedForWithOneReadForEachMemberAndRow) {
  for (const Shape& shape : all_shapes()) {
    ASSERT_NO_FATAL_FAILURE(start(1, shape, 512 * kKiB));
    const Moved before = total();
    const std::uint64_t blocks = 8 * geometry->row_bytes() / kBlockSizeBytes;
    const std::uint64_t length = std::min(model->size(), blocks);
    ASSERT_TRUE(read({0, length}).ok());
    const Moved moved = since(before);
    EXPECT_EQ(moved.read_bytes, length * kBlockSizeBytes) << level_name(shape.level);
    EXPECT_EQ(moved.written_bytes, 0u);
    // Without parity what is asked of a member lies together.
    EXPECT_TRUE(geometry->has_parity() || moved.reads == geometry->cells()) << level_name(shape.level);
  }
}

TEST_F(RaidTheory, ABlockOfParityReadsTheLesserSideAndWritesDataParityAndTheirJournal) {
  struct Case {
    Shape shape;
    BlockRange range;
    std::uint64_t reads;
    std::uint64_t cells;  // written
  };
  const std::uint32_t unit = 16384;
  const std::vector<Case> cases = {
      // RAID 5 of 3: the other unit is one block, the old data and parity two.
      {{format::RaidLevel::k5, 3, unit, 1}, {0, 1}, 1, 1},
      // RAID 5 of 6: old data and parity, 2, against the 4 others.
      {{format::RaidLevel::k5, 6, unit, 1}, {0, 1}, 2, 1},
      // RAID 6 of 7: old data, P and Q, 3, against 4.
      {{format::RaidLevel::k6, 7, unit, 2}, {0, 1}, 3, 1},
      // RAID 6 of 5: the 2 others, against 3.
      {{format::RaidLevel::k6, 5, unit, 2}, {0, 1}, 2, 1},
      // Two units of RAID 5 of 5, in the same column: the 2 others, against 3.
      {{format::RaidLevel::k5, 5, unit, 1}, {0, 8}, 8, 8},
  };
  for (const Case& one : cases) {
    ASSERT_NO_FATAL_FAILURE(start(1, one.shape, 512 * kKiB));
    const Moved moved = of_write(one.range);
    const std::string name =
        std::string(level_name(one.shape.level)) + " of " + std::to_string(one.shape.members);
    EXPECT_EQ(moved.read_bytes, one.reads * kBlockSizeBytes) << name;
    const std::uint64_t columns = std::min<std::uint64_t>(4, one.range.count());
    const std::uint64_t in_place = one.cells + columns * geometry->parities();
    const std::uint64_t copies = geometry->parities() + 1;
    EXPECT_EQ(moved.written_bytes, (in_place + copies * (in_place + 1)) * kBlockSizeBytes) << name;
  }
}

TEST_F(RaidTheory, ADegradedReadOfABlockReadsItOnceFromEachOther) {
  ASSERT_NO_FATAL_FAILURE(start(1, {format::RaidLevel::k5, 4, 32768, 1}));
  ASSERT_TRUE(world->run(group->fail_out(0)).ok());
  const Moved before = total();
  ASSERT_TRUE(read({0, 1}).ok());
  EXPECT_EQ(since(before).read_bytes, 3 * kBlockSizeBytes);
}

TEST_F(RaidTheory, ReadsOfMirrorsAreSharedAmongTheCopies) {
  ASSERT_NO_FATAL_FAILURE(start(1, {format::RaidLevel::k1, 3, 65536, 2}));
  const auto before = group->status();
  for (std::uint64_t i = 0; i < 30; ++i) ASSERT_TRUE(read({i, i + 1}).ok());
  const auto after = group->status();
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(after.members[i].reads - before.members[i].reads, 10u);
}

// The map is written for regions, not for writes; an idle group's next start has nothing to do.
TEST_F(RaidTheory, TheIntentMapIsWrittenOncePerRegion) {
  ASSERT_NO_FATAL_FAILURE(start(1, {format::RaidLevel::k1, 2, 65536, 1}));
  of_write({0, 1});
  for (std::uint64_t i = 0; i < 20; ++i) {
    const Moved moved = of_write({i, i + 1});
    EXPECT_EQ(moved.writes, 2u);
    EXPECT_EQ(moved.written_bytes, 2 * kBlockSizeBytes);
  }
}

}  // namespace
}  // namespace tidemark::raid
