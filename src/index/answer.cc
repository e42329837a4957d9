#include "index/answer.h"

#include <algorithm>
#include <array>

#include "base/assert.h"

namespace tidemark::index {

void HitSet::clear() {
  hits.clear();
  checksums.clear();
  list_ends.clear();
}

void HitSet::add(const Hit& hit, std::span<const std::uint32_t> extent_checksums,
                 std::uint64_t extent_begin) {
  hits.push_back(hit);
  if (hit.kind != EntryKind::kData) return;
  Hit& added = hits.back();
  const std::uint64_t skipped = hit.blocks.begin - extent_begin;
  added.place_raw += skipped;
  added.first_checksum = checksums.size();
  const auto wanted = extent_checksums.subspan(skipped, hit.blocks.count());
  checksums.insert(checksums.end(), wanted.begin(), wanted.end());
}

bool PieceBuilder::add(Piece::Kind kind, BlockRange blocks, LogId id, Place place,
                       std::span<const std::uint32_t> checksums) {
  if (out_.size() > first_) {
    Piece& last = out_.back();
    TM_ASSERT(last.blocks.end == blocks.begin);
    const bool follows = kind != Piece::Kind::kData || last.place.raw() + last.blocks.count() == place.raw();
    const bool same_place = kind != Piece::Kind::kZero || last.place == place;
    if (last.kind == kind && last.id == id && follows && same_place) {
      last.blocks.end = blocks.end;
      last.checksums.insert(last.checksums.end(), checksums.begin(), checksums.end());
      return true;
    }
  }
  if (out_.size() - first_ == pieces_max_) return false;
  out_.push_back({blocks, kind, id, place, {checksums.begin(), checksums.end()}});
  return true;
}

namespace {

struct List {
  const HitSet* set = nullptr;
  std::size_t next = 0;
  std::size_t end = 0;
};

// Calls take(blocks, set, hit) for stretches with one newest hit (null: none), in order, until it
// returns false. Returns where it stopped.
template <typename Take>
std::uint64_t sweep_stretches(std::span<const HitSet* const> sets, BlockRange blocks, Take take) {
  std::vector<List> lists;
  std::size_t count = 0;
  for (const HitSet* set : sets) count += set->list_ends.size();
  lists.reserve(count);
  for (const HitSet* set : sets) {
    std::size_t begin = 0;
    for (std::size_t end : set->list_ends) {
      if (begin != end) lists.push_back({set, begin, end});
      begin = end;
    }
  }
  std::uint64_t position = blocks.begin;
  while (position < blocks.end) {
    std::uint64_t stretch_end = blocks.end;
    const HitSet* best_set = nullptr;
    const Hit* best = nullptr;
    for (List& list : lists) {
      while (list.next != list.end && list.set->hits[list.next].blocks.end <= position) ++list.next;
      if (list.next == list.end) continue;
      const Hit& hit = list.set->hits[list.next];
      if (hit.blocks.begin > position) {
        stretch_end = std::min(stretch_end, hit.blocks.begin);
        continue;
      }
      stretch_end = std::min(stretch_end, hit.blocks.end);
      if (best == nullptr || hit.id_raw > best->id_raw) {
        best_set = list.set;
        best = &hit;
      }
    }
    if (!take(BlockRange{position, stretch_end}, best_set, best)) return position;
    position = stretch_end;
  }
  return position;
}

}  // namespace

std::uint64_t sweep(std::span<const HitSet* const> sets, BlockRange blocks, PieceBuilder& builder) {
  return sweep_stretches(sets, blocks, [&](BlockRange stretch, const HitSet* set, const Hit* hit) {
    if (hit == nullptr) return builder.add(Piece::Kind::kBase, stretch, LogId{}, Place{}, {});
    const LogId id = LogId::from_raw(hit->id_raw);
    if (hit->kind == EntryKind::kZero) {
      return builder.add(Piece::Kind::kZero, stretch, id, Place::from_raw(hit->place_raw), {});
    }
    const std::uint64_t skipped = stretch.begin - hit->blocks.begin;
    const auto checksums = std::span(set->checksums).subspan(hit->first_checksum + skipped, stretch.count());
    return builder.add(Piece::Kind::kData, stretch, id, Place::from_raw(hit->place_raw + skipped), checksums);
  });
}

BlockRange older_than(const HitSet& set, BlockRange blocks, std::uint64_t id_raw) {
  BlockRange hull{};
  const std::array<const HitSet*, 1> sets{&set};
  sweep_stretches(sets, blocks, [&](BlockRange stretch, const HitSet*, const Hit* hit) {
    if (hit != nullptr && hit->id_raw >= id_raw) return true;
    if (hull.empty()) hull = stretch;
    hull.end = stretch.end;
    return true;
  });
  return hull;
}

std::uint64_t collect_from_table(const MemoryTable& table, VolumeId volume, BlockRange blocks,
                                 const Path& path, std::size_t hits_max, HitSet& out) {
  const MemoryTable::Volume* trees = table.find(volume);
  if (trees == nullptr) return blocks.end;
  std::uint64_t end = blocks.end;
  for (unsigned size_class = 0; size_class < kSizeClassCount; ++size_class) {
    if (!trees->has(size_class)) continue;
    MemoryTable::Cursor cursor = table.cursor(*trees, size_class);
    end = collect(cursor, size_class, BlockRange{blocks.begin, end}, path, hits_max, out);
    out.end_list();
  }
  return end;
}

std::uint64_t newest_on_path_max(const EpochSpans& spans, const Path& path) {
  for (const PathStep& step : path.steps) {
    const auto found = spans.find(step.epoch.value);
    if (found == spans.end()) continue;
    const EpochSpan& span = found->second;
    if (span.first_sequence > step.last_sequence || span.last_sequence < step.first_sequence) continue;
    return LogId(step.epoch, std::min(span.last_sequence, step.last_sequence)).raw();
  }
  return 0;
}

}  // namespace tidemark::index
