#include "index/harness.h"

#include <algorithm>
#include <set>
#include <sstream>

namespace tidemark::index::test {

std::vector<Piece> Model::lookup(VolumeId volume, BlockRange blocks, const Path& path) const {
  // Between two neighbouring bounds every block has the same newest entry.
  std::set<std::uint64_t> bounds{blocks.begin, blocks.end};
  std::vector<const Entry*> seen;
  for (const Entry& entry : entries_) {
    if (entry.volume != volume || !entry.blocks.overlaps(blocks)) continue;
    bool on_path = false;
    for (const PathStep& step : path.steps) {
      on_path = on_path || (step.epoch == entry.id.epoch() && step.first_sequence <= entry.id.sequence() &&
                            entry.id.sequence() <= step.last_sequence);
    }
    if (!on_path) continue;
    seen.push_back(&entry);
    bounds.insert(std::max(entry.blocks.begin, blocks.begin));
    bounds.insert(std::min(entry.blocks.end, blocks.end));
  }
  const auto step_of = [&path](LogId id) {
    std::size_t i = 0;
    while (path.steps[i].epoch != id.epoch()) ++i;
    return i;
  };
  std::vector<Piece> out;
  for (auto at = bounds.begin(); std::next(at) != bounds.end(); ++at) {
    const BlockRange stretch{*at, *std::next(at)};
    const Entry* best = nullptr;
    for (const Entry* entry : seen) {
      if (!entry->blocks.overlaps(stretch)) continue;
      if (best == nullptr || step_of(entry->id) < step_of(best->id) ||
          (step_of(entry->id) == step_of(best->id) && entry->id.sequence() > best->id.sequence())) {
        best = entry;
      }
    }
    Piece piece;
    piece.blocks = stretch;
    if (best != nullptr) {
      piece.kind = best->zero ? Piece::Kind::kZero : Piece::Kind::kData;
      piece.id = best->id;
      piece.place = best->place;
      if (!best->zero) {
        piece.place = best->place.plus(static_cast<std::uint32_t>(stretch.begin - best->blocks.begin));
        piece.checksums = checksums_from(piece.place, stretch.count());
      }
    }
    if (!out.empty() && out.back().kind == piece.kind && out.back().id == piece.id) {
      out.back().blocks.end = stretch.end;
      out.back().checksums.insert(out.back().checksums.end(), piece.checksums.begin(), piece.checksums.end());
      continue;
    }
    out.push_back(piece);
  }
  return out;
}

std::string to_string(const std::vector<Piece>& pieces) {
  static constexpr const char* kKinds[] = {"base", "zero", "data"};
  std::ostringstream out;
  for (const Piece& piece : pieces) {
    out << "[" << piece.blocks.begin << ", " << piece.blocks.end << ") "
        << kKinds[static_cast<std::size_t>(piece.kind)] << " " << piece.id.to_string() << " at "
        << piece.place.generation() << ":" << piece.place.block() << "; ";
  }
  return out.str();
}

bool same(const std::vector<Piece>& a, const std::vector<Piece>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Piece& x, const Piece& y) {
    return x.blocks == y.blocks && x.kind == y.kind && x.id == y.id && x.place == y.place &&
           x.checksums == y.checksums;
  });
}

}  // namespace tidemark::index::test
