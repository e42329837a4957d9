#pragma once

#include <optional>
#include <vector>

#include "group/core.h"
#include "group/data_path.h"
#include "group/points.h"

namespace tidemark::group {

// Which data of the entries are wanted.
struct ExportSides {
  bool before = true;
  bool after = true;
};

// Blocks with their bytes just before or just after an entry.
struct ExportPiece {
  bool before = false;
  BlockRange blocks{};
  Buffer bytes{};
};

// One entry of a page, or more of one that a page before it began.
struct ExportItem {
  LogId id{};
  format::Entry entry{};
  bool continued = false;
  std::vector<ExportPiece> pieces{};  // what none of them gives is zeroes
};

struct ExportPage {
  std::vector<ExportItem> items{};
  bool done = false;
  LogId next_after{};                    // unless done: go on with the entry after this one,
  std::uint64_t next_within_blocks = 0;  // behind so many blocks of it
};

// The entries between two points with their data before and after, in pages: after `from`, up to and
// including `to`, on the way to `to`, which may lie on a dead branch. While it lives it pins `from` as a view
// does: the floor does not pass it unless the journal is full and nothing else can be given up. The pages
// fail with kExpired from then on; they never leave anything out.
//
// Owned by whoever reads it, ends before its Group. Reactor thread only; pages may be asked for in any order
// and at once.
class JournalExport {
 public:
  // `from` lies on the way to `to`, and both are readable. `only`: entries that concern another volume are
  // left out.
  JournalExport(Core& core, DataPath& data, ResolvedPoint from, ResolvedPoint to,
                std::optional<VolumeId> only, ExportSides sides);

  const ResolvedPoint& from() const { return from_; }
  const ResolvedPoint& to() const { return to_; }
  std::optional<VolumeId> only() const { return only_; }
  // From `from` up to and including `id`, those of other volumes included.
  std::uint64_t entries_up_to(LogId id) const;

  // About `bytes_max` of data, and at least something unless the export is at its end. kInvalid when `after`
  // does not lie between the points; kExpired, kDamaged, kIo.
  io::Task<Result<ExportPage>> read(LogId after, std::uint64_t within_blocks, std::uint64_t bytes_max,
                                    std::size_t items_max);

 private:
  struct Before;
  struct Reading;
  Result<void> check_alive() const;
  bool wanted(const format::Entry& entry) const;
  LogId point_before(LogId id) const;
  io::Task<Result<void>> read_entries(LogId after, Reading* reading);
  io::Task<Result<journal::CheckedFrame>> next_batch(LogId id, Reading* reading);
  io::Task<Result<void>> read_batch(const journal::CheckedFrame* batch, index::PathStep step,
                                    std::uint64_t* sequence, Reading* reading);
  // How many of its blocks were looked at, from `begin` on.
  io::Task<Result<std::uint64_t>> read_before_range(LogId id, VolumeId volume, BlockRange blocks,
                                                    std::uint64_t* budget, ExportItem* item);
  io::Task<void> read_before(Before* job);
  io::Task<Result<void>> read_write(const journal::CheckedFrame* batch, std::size_t index, Reading* reading);

  Core& core_;
  DataPath& data_;
  ResolvedPoint from_;
  ResolvedPoint to_;
  std::optional<VolumeId> only_;
  ExportSides sides_;
  PointPin pin_;
};

}  // namespace tidemark::group
