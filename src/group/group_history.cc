// Looking back: entries with their data before and after, and what differs between two points.

#include <algorithm>
#include <cstring>

#include "base/names.h"
#include "group/group.h"

namespace tidemark::group {
namespace {

constexpr std::uint64_t kCompareBlocksMax = 256;  // compared at once: 1 MiB a side

bool same_without_reading(const index::Piece& a, const index::Piece& b) {
  if (a.kind != b.kind) return false;
  if (a.kind != index::Piece::Kind::kData) return true;
  return a.id == b.id && a.place == b.place;
}

// Walks two covers of the same range side by side: `visit(range, index in a, index in b)`.
template <typename Visit>
void walk_together(const std::vector<index::Piece>& a, const std::vector<index::Piece>& b, Visit visit) {
  std::size_t i = 0;
  std::size_t j = 0;
  std::uint64_t at = a.empty() ? 0 : a.front().blocks.begin;
  while (i < a.size() && j < b.size()) {
    const std::uint64_t end = std::min(a[i].blocks.end, b[j].blocks.end);
    visit(BlockRange{at, end}, i, j);
    at = end;
    if (a[i].blocks.end == end) ++i;
    if (b[j].blocks.end == end) ++j;
  }
}

// The part of a piece that covers `blocks`, for comparing where data lie.
index::Piece part_of(const index::Piece& piece, BlockRange blocks) {
  index::Piece part = piece;
  part.blocks = blocks;
  if (piece.kind == index::Piece::Kind::kData) {
    part.place = piece.place.plus(static_cast<std::uint32_t>(blocks.begin - piece.blocks.begin));
  }
  return part;
}

}  // namespace

io::Task<Result<std::vector<ShownEntry>>> Group::show_entries(LogId after, std::size_t entries_max) {
  const index::EpochTree& epochs = core_.state.epochs();
  const bool on_live = epochs.is_ancestor(after, core_.head());
  const LogId end = on_live ? core_.head() : epochs.find(after.epoch())->last;
  std::vector<ShownEntry> out;
  std::vector<index::PathStep> steps = epochs.path(end, after).steps;
  std::reverse(steps.begin(), steps.end());
  for (const index::PathStep& step : steps) {
    std::uint64_t sequence = step.first_sequence;
    Place at;
    while (sequence <= step.last_sequence && out.size() < entries_max) {
      journal::StoredBatch stored;
      if (at.is_none()) {
        auto found = co_await core_.find_batch(LogId(step.epoch, sequence));
        if (!found.ok()) co_return std::move(found).error();
        stored = std::move(found).value();
      } else {
        auto scanned = co_await core_.journal->scan(at);
        if (!scanned.ok()) co_return std::move(scanned).error();
        if (!scanned->has_value()) co_return out;
        stored = std::move(**scanned);
      }
      at = stored.next;
      if (stored.meta.first.epoch() != step.epoch) continue;
      for (std::size_t i = 0; i < stored.meta.entries.size() && out.size() < entries_max; ++i) {
        const LogId id = LogId::from_raw(stored.meta.first.raw() + i);
        if (id.sequence() < sequence || id.sequence() > step.last_sequence) continue;
        const Place payload = stored.payload_place.plus(stored.meta.entries[i].payload_block);
        ShownEntry& shown = out.emplace_back();
        shown.id = id;
        shown.entry = stored.meta.entries[i];
        shown.payload_place = payload;
        sequence = id.sequence() + 1;
      }
    }
  }
  co_return out;
}

io::Task<Result<Buffer>> Group::entry_data(LogId id, VolumeId volume, BlockRange blocks, bool before) {
  LogId point = id;
  if (before) {
    point = id.previous();
    if (point.sequence() == 0) point = core_.state.epochs().find(id.epoch())->parent;
  }
  TM_CO_TRY(core_.check_readable(point));
  const PointPin pin(&core_, point);
  Buffer out = Buffer::allocate(blocks.count() * kBlockSizeBytes);
  TM_CO_TRY(co_await data_.read(volume, core_.path_to(point), blocks.begin * kBlockSizeBytes, out, false));
  co_return out;
}

io::Task<Result<std::unique_ptr<JournalExport>>> Group::begin_export(std::string from, std::string to,
                                                                     std::string volume, ExportSides sides) {
  TM_CO_TRY_ASSIGN(const ResolvedPoint end, co_await points_.resolve(to, false));
  const PointPin pin_end = PointPin::of_view(&core_, end.at);
  TM_CO_TRY_ASSIGN(const ResolvedPoint begin, co_await points_.resolve(from, false));
  const index::EpochTree& epochs = core_.state.epochs();
  if (!epochs.is_ancestor(begin.at, end.at)) {
    co_return fail(ErrorCode::kInvalid, "log:" + begin.at.to_string() + " (" + printable(from, 140) +
                                            ") is not on the way to log:" + end.at.to_string() + " (" +
                                            printable(to, 140) +
                                            "); the last point that both have behind them is log:" +
                                            epochs.common_ancestor(begin.at, end.at).to_string());
  }
  std::optional<VolumeId> only;
  if (!volume.empty()) {
    TM_CO_TRY(validate_name("volume name", volume));
    auto shape = core_.state.find_volume(volume, end.at);
    if (!shape.has_value()) shape = core_.state.find_volume(volume, begin.at);
    if (!shape.has_value()) {
      co_return fail(ErrorCode::kNotFound,
                     "group '" + core_.name() + "' had no volume '" + volume + "' at either point");
    }
    only = shape->id;
  }
  co_return std::make_unique<JournalExport>(core_, data_, begin, end, only, sides);
}

namespace {

// What two points of a volume show differently as far as the index tells, of the first of some blocks.
struct Differing {
  std::vector<BlockRange> blocks;
  std::uint64_t end = 0;  // where those begin that were not looked at
};

// Registers as a reader for a page alone: destaging waits for whoever reads. The caller pins the points.
io::Task<Result<Differing>> look_for_differences(Core* core, VolumeId volume, LogId from, LogId to,
                                                 BlockRange blocks) {
  const Core::ReadGuard guard(core);
  const std::shared_ptr<const index::Path> path_from = core->path_to(from);
  const std::shared_ptr<const index::Path> path_to = core->path_to(to);
  std::vector<index::Piece> a;
  std::vector<index::Piece> b;
  TM_CO_TRY(co_await core->index->lookup(volume, blocks, *path_from, a, 4096));
  const BlockRange same_range{blocks.begin, a.back().blocks.end};
  TM_CO_TRY(co_await core->index->lookup(volume, same_range, *path_to, b, 4096));
  Differing found;
  walk_together(a, b, [&](BlockRange range, std::size_t i, std::size_t j) {
    if (!same_without_reading(part_of(a[i], range), part_of(b[j], range))) found.blocks.push_back(range);
  });
  found.end = std::min(a.back().blocks.end, b.back().blocks.end);
  co_return found;
}

}  // namespace

io::Task<Result<std::uint64_t>> Group::count_differing(VolumeId volume, LogId from, LogId to,
                                                       BlockRange blocks) {
  TM_CO_TRY(core_.check_readable(from));
  TM_CO_TRY(core_.check_readable(to));
  if (core_.find_volume(volume) == nullptr) co_return std::uint64_t{0};
  const PointPin pin_from(&core_, from);
  const PointPin pin_to(&core_, to);
  std::uint64_t count = 0;
  std::uint64_t at = blocks.begin;
  while (at < blocks.end) {
    const BlockRange rest{at, blocks.end};
    TM_CO_TRY_ASSIGN(const Differing page, co_await look_for_differences(&core_, volume, from, to, rest));
    for (const BlockRange& range : page.blocks) count += range.count();
    at = page.end;
  }
  co_return count;
}

io::Task<Result<std::vector<ChangedRun>>> Group::diff(VolumeId volume, LogId from, LogId to,
                                                      BlockRange blocks, std::size_t runs_max) {
  TM_CO_TRY(core_.check_readable(from));
  TM_CO_TRY(core_.check_readable(to));
  std::vector<ChangedRun> runs;
  if (core_.find_volume(volume) == nullptr) co_return runs;
  const PointPin pin_from(&core_, from);
  const PointPin pin_to(&core_, to);
  std::uint64_t at = blocks.begin;
  while (at < blocks.end) {
    const BlockRange rest{at, blocks.end};
    TM_CO_TRY_ASSIGN(const Differing page, co_await look_for_differences(&core_, volume, from, to, rest));
    at = page.end;
    for (const BlockRange& candidate : page.blocks) {
      for (std::uint64_t begin = candidate.begin; begin < candidate.end; begin += kCompareBlocksMax) {
        const BlockRange part{begin, std::min(candidate.end, begin + kCompareBlocksMax)};
        Buffer left = Buffer::allocate(part.count() * kBlockSizeBytes);
        Buffer right = Buffer::allocate(part.count() * kBlockSizeBytes);
        {
          // Not for longer than this part, as above.
          const Core::ReadGuard guard(&core_);
          const std::shared_ptr<const index::Path> path_from = core_.path_to(from);
          const std::shared_ptr<const index::Path> path_to = core_.path_to(to);
          TM_CO_TRY(co_await data_.read(volume, path_from, begin * kBlockSizeBytes, left, false));
          TM_CO_TRY(co_await data_.read(volume, path_to, begin * kBlockSizeBytes, right, false));
        }
        for (std::uint64_t i = 0; i < part.count(); ++i) {
          if (std::memcmp(left.data() + i * kBlockSizeBytes, right.data() + i * kBlockSizeBytes,
                          kBlockSizeBytes) == 0) {
            continue;
          }
          const std::uint64_t block = begin + i;
          if (!runs.empty() && runs.back().blocks.end == block) {
            runs.back().blocks.end = block + 1;
            continue;
          }
          if (runs.size() == runs_max) co_return runs;
          runs.push_back({{block, block + 1}});
        }
      }
    }
  }
  co_return runs;
}

}  // namespace tidemark::group
