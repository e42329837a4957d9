// Destaging keeps step with what is appended.

#include "group/destage_pace.h"

#include <gtest/gtest.h>

namespace tidemark::group {
namespace {

constexpr std::uint64_t kSegmentBytes = 1 << 20;

// A hundred segments.
journal::JournalStatus journal_with(std::uint32_t segments_free, std::uint64_t written_bytes) {
  return {.segment_size_bytes = kSegmentBytes,
          .segments_total = 100,
          .segments_free = segments_free,
          .written_bytes = written_bytes};
}

TEST(DestagePace, IsOnTimeAsLongAsItMovesWhatTheFreeHalfTakesIn) {
  DestagePace pace;
  const std::uint64_t before = 7 * kSegmentBytes;
  pace.begin(journal_with(40, before), 10 * kSegmentBytes);  // to be done when 20 more are written
  EXPECT_EQ(pace.behind(journal_with(40, before)), 0);
  for (std::uint64_t moved = 1; moved <= 10; ++moved) {
    pace.moved(kSegmentBytes);
    EXPECT_EQ(pace.behind(journal_with(40, before + 2 * moved * kSegmentBytes)), 0) << moved;
    EXPECT_EQ(pace.behind(journal_with(40, before + moved * kSegmentBytes)), 0) << "early " << moved;
  }
}

TEST(DestagePace, IsBehindByWhatItHasNotMoved) {
  DestagePace pace;
  pace.begin(journal_with(40, 0), 10 * kSegmentBytes);
  EXPECT_DOUBLE_EQ(pace.behind(journal_with(35, 5 * kSegmentBytes)), 0.25);
  pace.moved(kSegmentBytes);
  EXPECT_DOUBLE_EQ(pace.behind(journal_with(30, 10 * kSegmentBytes)), 0.4);
  // Beyond the time at which it was to be done, too.
  EXPECT_DOUBLE_EQ(pace.behind(journal_with(5, 35 * kSegmentBytes)), 0.9);
}

TEST(DestagePace, HasNoTimeInAFullJournal) {
  DestagePace pace;
  EXPECT_EQ(pace.behind(journal_with(0, 0)), 0);
  pace.begin(journal_with(0, 0), 10 * kSegmentBytes);
  EXPECT_EQ(pace.behind(journal_with(0, 0)), 1);
}

// What lies in segments that begin on another branch is not counted, and is to be moved all the same.
TEST(DestagePace, TakesAStepForASegmentAtLeast) {
  DestagePace pace;
  pace.begin(journal_with(40, 0), 0);
  EXPECT_EQ(pace.behind(journal_with(40, 0)), 0);
  EXPECT_DOUBLE_EQ(pace.behind(journal_with(30, 10 * kSegmentBytes)), 0.5);
}

}  // namespace
}  // namespace tidemark::group
