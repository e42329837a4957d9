#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "index/extent.h"
#include "index/memory_table.h"
#include "index/version_index.h"

// How a look-up is answered, the same for every source of keys: collect() finds, for one size class, the
// newest entry on the path of each extent in the range; sweep() goes over the lists of all size classes and
// sources at once and says for each block which is the newest; PieceBuilder joins neighbours.
//
// Epochs fall strictly along a path, so of two entries on the same path the newer is the one with the
// greater raw log id.

namespace tidemark::index {

// The newest entry on the path of one extent, cut to the range asked for.
struct Hit {
  BlockRange blocks{};
  std::uint64_t id_raw = 0;
  std::uint64_t place_raw = 0;     // kData: of blocks.begin
  std::size_t first_checksum = 0;  // kData: in HitSet::checksums
  EntryKind kind = EntryKind::kZero;
};

// Lists of hits, one for each source and size class, each in order of blocks and without overlaps. Of two
// hits with one log id the earlier list wins, so sources come newest first.
struct HitSet {
  std::vector<Hit> hits;
  std::vector<std::uint32_t> checksums;
  std::vector<std::size_t> list_ends;  // indexes into hits
  std::uint64_t seeks = 0;             // how often collect() searched, for tests and benchmarks

  void clear();
  void end_list() { list_ends.push_back(hits.size()); }
  void add(const Hit& hit, std::span<const std::uint32_t> extent_checksums, std::uint64_t extent_begin);
};

namespace detail {

// Moves `cursor`, which is at a key of `extent`, to the newest key of it on the path. False when there is
// none; the cursor is then at a later extent, at the end, or at a key below the path.
template <typename Cursor>
bool seek_on_path(Cursor& cursor, std::uint64_t extent, const Path& path, HitSet& out) {
  auto step = path.steps.begin();
  while (cursor.valid() && cursor.extent() == extent) {
    const LogId id = LogId::from_raw(cursor.id_raw());
    while (step != path.steps.end() && step->epoch > id.epoch()) ++step;
    if (step == path.steps.end()) return false;
    if (step->epoch == id.epoch() && id.sequence() <= step->last_sequence) {
      if (id.sequence() >= step->first_sequence) return true;
      if (++step == path.steps.end()) return false;
    }
    ++out.seeks;
    cursor.seek(extent, LogId(step->epoch, step->last_sequence).raw());
  }
  return false;
}

}  // namespace detail

// Appends to `out` the hits of one size class in `blocks`, at most `hits_max`. Returns where it stopped:
// blocks.end, or the begin of the first hit that found no room. The work grows with the extents that have
// keys, and with the branches that wrote them.
template <typename Cursor>
std::uint64_t collect(Cursor& cursor, unsigned size_class, BlockRange blocks, const Path& path,
                      std::size_t hits_max, HitSet& out) {
  if (blocks.empty() || path.steps.empty()) return blocks.end;
  const std::uint64_t head = LogId(path.steps.front().epoch, path.steps.front().last_sequence).raw();
  const std::uint64_t last_extent = extent_of(blocks.end - 1, size_class);
  std::size_t hits = 0;
  ++out.seeks;
  cursor.seek(extent_of(blocks.begin, size_class), head);
  while (cursor.valid() && cursor.extent() <= last_extent) {
    const std::uint64_t extent = cursor.extent();
    if (detail::seek_on_path(cursor, extent, path, out)) {
      const BlockRange all = blocks_of_extent(extent, size_class);
      const BlockRange cut{std::max(all.begin, blocks.begin), std::min(all.end, blocks.end)};
      if (hits == hits_max) return cut.begin;
      ++hits;
      out.add({cut, cursor.id_raw(), cursor.place_raw(), 0, cursor.kind()}, cursor.checksums(), all.begin);
    }
    if (extent == last_extent) break;
    if (cursor.valid() && cursor.extent() == extent) {
      ++out.seeks;
      cursor.seek(extent + 1, head);
    }
  }
  return blocks.end;
}

// Joins what it is given, in order and without gaps, into the pieces of one look-up.
class PieceBuilder {
 public:
  PieceBuilder(std::vector<Piece>& out, std::size_t pieces_max)
      : out_(out), first_(out.size()), pieces_max_(pieces_max) {}
  // False, and nothing taken, when it would be one piece too many. `checksums`: kData: one a block.
  bool add(Piece::Kind kind, BlockRange blocks, LogId id, Place place,
           std::span<const std::uint32_t> checksums);
  // The pieces of this look-up.
  std::span<const Piece> pieces() const { return std::span(out_).subspan(first_); }
  // Takes them all back.
  void clear() { out_.resize(first_); }

 private:
  std::vector<Piece>& out_;
  std::size_t first_;
  std::size_t pieces_max_;
};

// Answers `blocks` from the hits of `sets`, earlier sets winning at equal log ids. Returns where it stopped,
// blocks.end unless the builder was full.
std::uint64_t sweep(std::span<const HitSet* const> sets, BlockRange blocks, PieceBuilder& builder);

// The hull of the blocks whose newest entry in `set` is older than `id_raw` (or none at all); empty when
// there is none.
BlockRange older_than(const HitSet& set, BlockRange blocks, std::uint64_t id_raw);

// The hits of `table`, one list a size class. Returns how far all lists go.
std::uint64_t collect_from_table(const MemoryTable& table, VolumeId volume, BlockRange blocks,
                                 const Path& path, std::size_t hits_max, HitSet& out);

// Hits of one size class that one round of a look-up holds at most, whatever the caller asks for.
inline constexpr std::size_t kHitsPerRoundMax = 4096;

// No entry on `path` among those of `spans` has a greater raw log id; 0 when none can be on it.
std::uint64_t newest_on_path_max(const EpochSpans& spans, const Path& path);

}  // namespace tidemark::index
