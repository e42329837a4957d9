// Entries with their data before and after, in pages.

#include <algorithm>
#include <map>

#include "group_bench.h"

namespace tidemark::group {
namespace {

constexpr std::uint64_t kBlocks = 64;
using Contents = std::vector<int>;  // the byte of each block

// All of an export, in pages of `bytes_max`, the records of one entry joined.
std::vector<ExportItem> read_all(GroupBench& bench, JournalExport& entries, std::uint64_t bytes_max,
                                 std::size_t* pages = nullptr) {
  std::vector<ExportItem> out;
  LogId after = entries.from().at;
  std::uint64_t within = 0;
  for (std::size_t count = 1;; ++count) {
    auto page = bench.run(entries.read(after, within, bytes_max, 1000));
    EXPECT_TRUE(page.ok()) << page.error().message;
    if (!page.ok()) return out;
    for (ExportItem& item : page->items) {
      EXPECT_EQ(item.continued, !out.empty() && out.back().id == item.id);
      if (!item.continued) {
        out.push_back(std::move(item));
        continue;
      }
      for (ExportPiece& piece : item.pieces) out.back().pieces.push_back(std::move(piece));
    }
    if (pages != nullptr) *pages = count;
    if (page->done) return out;
    EXPECT_TRUE(page->next_after != after || page->next_within_blocks > within) << "a page gets on";
    after = page->next_after;
    within = page->next_within_blocks;
  }
}

std::unique_ptr<JournalExport> begin(GroupBench& bench, const std::string& from, const std::string& to,
                                     const std::string& volume = "", ExportSides sides = {}) {
  auto begun = bench.run(bench.group->begin_export(from, to, volume, sides));
  EXPECT_TRUE(begun.ok()) << begun.error().message;
  return begun.ok() ? std::move(begun).value() : nullptr;
}

// One side of an entry, put where it belongs.
void apply(const ExportItem& item, bool before, Contents& contents) {
  if (item.entry.blocks.empty()) return;
  for (std::uint64_t block = item.entry.blocks.begin; block < item.entry.blocks.end; ++block)
    contents[block] = 0;
  for (const ExportPiece& piece : item.pieces) {
    if (piece.before != before) continue;
    const Contents bytes = GroupBench::bytes_of_blocks(piece.bytes);
    std::copy(bytes.begin(), bytes.end(), contents.begin() + static_cast<std::ptrdiff_t>(piece.blocks.begin));
  }
}

void scribble(GroupBench& bench, VolumeId volume, int count) {
  for (int i = 0; i < count; ++i) {
    const std::uint64_t first = bench.environment.random.below(kBlocks);
    const std::uint64_t end =
        first + 1 + bench.environment.random.below(std::min<std::uint64_t>(kBlocks - first, 24));
    const auto byte = static_cast<std::uint8_t>(bench.environment.random.below(250));
    if (i % 4 == 3) {
      const bool discard = i % 8 == 3;
      ASSERT_TRUE(bench
                      .run(bench.group->data().zero(volume, first * kBlockSizeBytes,
                                                    (end - first) * kBlockSizeBytes, discard, false))
                      .ok());
    } else {
      ASSERT_TRUE(bench.fill(volume, {first, end}, byte).ok());
    }
  }
}

TEST(JournalExport, TakesOnePointToTheOtherAndBackWhateverTheSizeOfItsPages) {
  GroupBench bench(1);
  const VolumeShape volume = bench.make_volume("data", kBlocks);
  ASSERT_NO_FATAL_FAILURE(scribble(bench, volume.id, 20));
  ASSERT_TRUE(bench.mark("a").ok());
  ASSERT_NO_FATAL_FAILURE(scribble(bench, volume.id, 60));
  ASSERT_TRUE(bench.mark("b").ok());
  ASSERT_NO_FATAL_FAILURE(scribble(bench, volume.id, 5));
  const Contents a = bench.at("data", "a");
  const Contents b = bench.at("data", "b");
  const auto entries = begin(bench, "a", "b");
  ASSERT_NE(entries, nullptr);
  EXPECT_EQ(entries->entries_up_to(entries->to().at), 61u);
  for (const std::uint64_t bytes_max :
       {std::uint64_t{1}, std::uint64_t{3 * kBlockSizeBytes}, std::uint64_t{8 << 20}}) {
    std::size_t pages = 0;
    const std::vector<ExportItem> items = read_all(bench, *entries, bytes_max, &pages);
    EXPECT_EQ(pages > 1, bytes_max < 1 << 20);
    ASSERT_EQ(items.size(), 61u);
    for (std::size_t i = 0; i < items.size(); ++i) {
      EXPECT_EQ(items[i].id, LogId::from_raw(entries->from().at.raw() + 1 + i));
    }
    EXPECT_EQ(items.back().entry.kind, format::EntryKind::kMark);
    Contents contents = a;
    for (const ExportItem& item : items) apply(item, false, contents);
    EXPECT_EQ(contents, b);
    for (auto item = items.rbegin(); item != items.rend(); ++item) apply(*item, true, contents);
    EXPECT_EQ(contents, a);
  }
}

TEST(JournalExport, HoldsTheSidesAndTheVolumeThatWereAskedForAndEveryMark) {
  GroupBench bench(2);
  const VolumeShape data = bench.make_volume("data", kBlocks);
  const VolumeShape other = bench.make_volume("other", kBlocks);
  ASSERT_TRUE(bench.fill(data.id, {0, 4}, 1).ok());
  ASSERT_TRUE(bench.mark("a").ok());
  ASSERT_TRUE(bench.fill(other.id, {0, 4}, 2).ok());
  ASSERT_TRUE(bench.fill(data.id, {0, 4}, 3).ok());
  ASSERT_TRUE(bench.mark("b").ok());
  const auto after = begin(bench, "a", "b", "data", {.before = false, .after = true});
  std::vector<ExportItem> items = read_all(bench, *after, 1 << 20);
  ASSERT_EQ(items.size(), 2u);
  EXPECT_EQ(items[0].entry.volume, data.id);
  ASSERT_EQ(items[0].pieces.size(), 1u);
  EXPECT_FALSE(items[0].pieces[0].before);
  EXPECT_EQ(items[1].entry.kind, format::EntryKind::kMark);
  const auto before = begin(bench, "a", "b", "", {.before = true, .after = false});
  items = read_all(bench, *before, 1 << 20);
  ASSERT_EQ(items.size(), 3u);
  EXPECT_TRUE(items[0].pieces.empty()) << "zeroes need no bytes";
  ASSERT_EQ(items[1].pieces.size(), 1u);
  EXPECT_TRUE(items[1].pieces[0].before);
  EXPECT_EQ(GroupBench::bytes_of_blocks(items[1].pieces[0].bytes), Contents(4, 1));
}

TEST(JournalExport, ADeadBranchIsExportedOnItsOwnWay) {
  GroupBench bench(3);
  const VolumeShape volume = bench.make_volume("data", kBlocks);
  ASSERT_TRUE(bench.fill(volume.id, {0, 4}, 1).ok());
  ASSERT_TRUE(bench.mark("a").ok());
  ASSERT_TRUE(bench.fill(volume.id, {0, 4}, 2).ok());
  ASSERT_TRUE(bench.mark("left").ok());
  ASSERT_TRUE(bench.restore("a").ok());
  ASSERT_TRUE(bench.fill(volume.id, {0, 4}, 3).ok());
  ASSERT_TRUE(bench.flush().ok());
  const auto dead = begin(bench, "a", "left");
  EXPECT_EQ(read_all(bench, *dead, 1 << 20).size(), 2u);
  const auto live = begin(bench, "a", "head");
  const std::vector<ExportItem> items = read_all(bench, *live, 1 << 20);
  ASSERT_EQ(items.size(), 2u);
  EXPECT_EQ(items[0].entry.kind, format::EntryKind::kControl);
  EXPECT_EQ(GroupBench::bytes_of_blocks(items[1].pieces[0].bytes), Contents(4, 1))
      << "before: as of the restore";
  const auto none = bench.run(bench.group->begin_export("left", "head", "", {}));
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.error().code, ErrorCode::kInvalid);
  EXPECT_NE(none.error().message.find("log:" + bench.group->state().find_mark("a")->at.to_string()),
            std::string::npos)
      << "names the last point in common: " << none.error().message;
  EXPECT_EQ(bench.run(bench.group->begin_export("a", "head", "nothing", {})).error().code,
            ErrorCode::kNotFound);
}

TEST(JournalExport, TheDataBeforeALongDiscardComeInPartsAndWithoutItsHoles) {
  GroupBench bench(4);
  const std::uint64_t blocks = (1ull << 40) / kBlockSizeBytes;
  const VolumeShape volume = bench.make_volume("data", blocks);
  ASSERT_TRUE(bench.fill(volume.id, {5, 25}, 1).ok());
  ASSERT_TRUE(bench.fill(volume.id, {blocks - 30, blocks}, 2).ok());
  ASSERT_TRUE(bench.mark("a").ok());
  ASSERT_TRUE(bench.run(bench.group->data().zero(volume.id, 0, blocks * kBlockSizeBytes, true, false)).ok());
  ASSERT_TRUE(bench.mark("b").ok());
  const auto entries = begin(bench, "a", "b");
  for (const std::uint64_t bytes_max : {std::uint64_t{2 * kBlockSizeBytes}, std::uint64_t{8 << 20}}) {
    const std::vector<ExportItem> items = read_all(bench, *entries, bytes_max);
    ASSERT_EQ(items.size(), 2u);
    std::map<std::uint64_t, int> found;
    for (const ExportPiece& piece : items[0].pieces) {
      EXPECT_TRUE(piece.before);
      const Contents bytes = GroupBench::bytes_of_blocks(piece.bytes);
      for (std::uint64_t i = 0; i < piece.blocks.count(); ++i) found[piece.blocks.begin + i] = bytes[i];
    }
    EXPECT_EQ(found.size(), 50u);
    EXPECT_EQ(found[5], 1);
    EXPECT_EQ(found[blocks - 1], 2);
  }
}

TEST(JournalExport, KeepsItsPointsReadableUntilItEnds) {
  GroupBench bench(5);
  const VolumeShape volume = bench.make_volume("data", kBlocks);
  ASSERT_TRUE(bench.run(bench.group->set_settings({.retain = Duration{}})).ok());
  ASSERT_TRUE(bench.mark("a").ok());
  ASSERT_TRUE(bench.fill(volume.id, {0, 4}, 1).ok());
  ASSERT_TRUE(bench.mark("b").ok());
  auto entries = begin(bench, "a", "b");
  ASSERT_TRUE(bench.run(bench.group->destage_now(true)).ok());
  EXPECT_EQ(read_all(bench, *entries, 1 << 20).size(), 2u);
  entries = nullptr;
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(bench.fill(volume.id, {0, 32}, 2).ok());
  ASSERT_TRUE(bench.flush().ok());
  ASSERT_TRUE(bench.run(bench.group->destage_now(true)).ok());
  EXPECT_EQ(bench.view_error("data", "a"), ErrorCode::kExpired);
}

TEST(JournalExport, YieldsBeforeWritesFailAndSaysSoInsteadOfLeavingAnythingOut) {
  GroupBench bench(6);
  const VolumeShape volume = bench.make_volume("data", kBlocks);
  ASSERT_TRUE(bench.mark("a").ok());
  ASSERT_TRUE(bench.fill(volume.id, {0, 32}, 1).ok());
  ASSERT_TRUE(bench.fill(volume.id, {0, 32}, 2).ok());
  ASSERT_TRUE(bench.mark("b").ok());
  const auto entries = begin(bench, "a", "b");
  auto page = bench.run(entries->read(entries->from().at, 0, 1, 1000));
  ASSERT_TRUE(page.ok());
  ASSERT_FALSE(page->done);
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(bench.fill(volume.id, {0, 32}, 3).ok()) << i;
  page = bench.run(entries->read(page->next_after, 0, 1, 1000));
  ASSERT_FALSE(page.ok());
  EXPECT_EQ(page.error().code, ErrorCode::kExpired);
  EXPECT_NE(page.error().message.find("given up"), std::string::npos) << page.error().message;
}

TEST(JournalExport, APlaceOutsideOfItIsRefused) {
  GroupBench bench(7);
  bench.make_volume("data", kBlocks);
  ASSERT_TRUE(bench.mark("a").ok());
  ASSERT_TRUE(bench.mark("b").ok());
  ASSERT_TRUE(bench.mark("c").ok());
  const auto entries = begin(bench, "a", "b");
  for (const LogId after : {LogId(Epoch{1}, 1), bench.group->head(), LogId(Epoch{9}, 1), LogId{}}) {
    EXPECT_EQ(bench.run(entries->read(after, 0, 1, 10)).error().code, ErrorCode::kInvalid)
        << after.to_string();
  }
}

}  // namespace
}  // namespace tidemark::group
