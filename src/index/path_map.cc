#include "index/path_map.h"

#include <algorithm>

#include "base/assert.h"

namespace tidemark::index {
namespace {

// `now` is `before` with a later beginning.
bool is_shortened(const Path& now, const Path& before) {
  const std::size_t steps = now.steps.size();
  if (steps == 0 || steps > before.steps.size()) return false;
  if (!std::equal(now.steps.begin(), now.steps.end() - 1, before.steps.begin())) return false;
  const PathStep& last = now.steps.back();
  const PathStep& same = before.steps[steps - 1];
  return last.epoch == same.epoch && last.last_sequence == same.last_sequence &&
         last.first_sequence >= same.first_sequence;
}

}  // namespace

PathMap::PathMap(std::uint64_t bytes_max) : pages_max_(bytes_max / kPageCostBytes) {}

bool PathMap::knows(const Path& path) const {
  return path == path_ || is_shortened(path, path_);
}

bool PathMap::adopt(const Path& path) {
  if (pages_max_ == 0 || path.steps.empty()) return false;
  if (path == path_) return true;
  if (!is_shortened(path, path_)) clear();
  path_ = path;
  oldest_raw_ = LogId(path.steps.back().epoch, path.steps.back().first_sequence).raw();
  return true;
}

void PathMap::clear() {
  path_ = {};
  by_key_.clear();
  pages_.clear();
  hand_ = 0;
  for (Pending* pending : pending_) pending->stale_ = true;
}

PathMap::Page* PathMap::find(PageKey key) {
  const auto found = by_key_.find(key);
  return found == by_key_.end() ? nullptr : pages_[found->second].get();
}

PathMap::Page& PathMap::make(PageKey key) {
  std::size_t slot = pages_.size();
  if (pages_.size() < pages_max_) {
    pages_.push_back(std::make_unique<Page>());
  } else {
    while (pages_[hand_]->referenced) {
      pages_[hand_]->referenced = false;
      hand_ = (hand_ + 1) % pages_.size();
    }
    slot = hand_;
    hand_ = (hand_ + 1) % pages_.size();
    by_key_.erase(pages_[slot]->key);
  }
  Page& page = *pages_[slot];
  page.key = key;
  page.referenced = false;
  page.known = 0;
  page.data = 0;
  by_key_[key] = slot;
  return page;
}

bool PathMap::read(VolumeId volume, BlockRange blocks, PieceBuilder& builder) {
  if (blocks.count() > kRangeBlocksMax || by_key_.empty()) return false;
  for (std::uint64_t block = blocks.begin; block < blocks.end;) {
    const std::uint64_t number = block / kPageBlocks;
    const std::uint64_t end = std::min(blocks.end, (number + 1) * kPageBlocks);
    Page* page = find({volume.value, number});
    if (page == nullptr) return false;
    page->referenced = true;
    for (; block < end; ++block) {
      if ((page->known >> (block % kPageBlocks) & 1) == 0) return false;
    }
  }
  const Page* page_of_block = nullptr;
  for (std::uint64_t block = blocks.begin; block < blocks.end; ++block) {
    const std::size_t at = block % kPageBlocks;
    if (page_of_block == nullptr || at == 0) page_of_block = find({volume.value, block / kPageBlocks});
    const Page& page = *page_of_block;
    const BlockRange one{block, block + 1};
    const LogId id = LogId::from_raw(page.ids[at]);
    bool taken = false;
    if (id.is_none() || id.raw() < oldest_raw_) {
      taken = builder.add(Piece::Kind::kBase, one, LogId{}, Place{}, {});
    } else {
      const bool data = (page.data >> at & 1) != 0;
      const auto checksums = std::span(page.checksums).subspan(at, data ? 1 : 0);
      taken = builder.add(data ? Piece::Kind::kData : Piece::Kind::kZero, one, id,
                          Place::from_raw(page.places[at]), checksums);
    }
    if (!taken) break;  // as many pieces as were wanted
  }
  return true;
}

// Sets the known blocks of `page` in `blocks` that are older; those not known may have something newer.
void PathMap::write(Page& page, BlockRange blocks, std::uint64_t range_begin, LogId id, Place place,
                    EntryKind kind, std::span<const std::uint32_t> checksums) {
  for (std::uint64_t block = blocks.begin; block < blocks.end; ++block) {
    const std::size_t at = block % kPageBlocks;
    const std::uint64_t bit = 1ull << at;
    if ((page.known & bit) == 0 || page.ids[at] > id.raw()) continue;
    page.ids[at] = id.raw();
    page.data &= ~bit;
    page.places[at] = place.raw();
    if (kind != EntryKind::kData) continue;
    page.data |= bit;
    page.places[at] = place.raw() + (block - range_begin);
    page.checksums[at] = checksums[block - range_begin];
  }
}

void PathMap::insert(VolumeId volume, BlockRange blocks, LogId id, Place place, EntryKind kind,
                     std::span<const std::uint32_t> checksums) {
  if (path_.steps.empty() || !path_.contains(id)) return;
  for (Pending* pending : pending_) {
    if (pending->volume_ == volume && pending->blocks_.overlaps(blocks)) pending->stale_ = true;
  }
  const auto write_page = [&](Page& page) {
    const std::uint64_t page_begin = page.key.number * kPageBlocks;
    const BlockRange part{std::max(blocks.begin, page_begin), std::min(blocks.end, page_begin + kPageBlocks)};
    if (!part.empty()) write(page, part, blocks.begin, id, place, kind, checksums);
  };
  const std::uint64_t first = blocks.begin / kPageBlocks;
  const std::uint64_t last = (blocks.end - 1) / kPageBlocks;
  if (last - first < by_key_.size()) {
    for (std::uint64_t number = first; number <= last; ++number) {
      if (Page* page = find({volume.value, number})) write_page(*page);
    }
    return;
  }
  for (const auto& [key, slot] : by_key_) {
    if (key.volume == volume.value) write_page(*pages_[slot]);
  }
}

void PathMap::fill(VolumeId volume, const Piece& piece) {
  for (std::uint64_t block = piece.blocks.begin; block < piece.blocks.end; ++block) {
    const PageKey key{volume.value, block / kPageBlocks};
    Page* page = find(key);
    if (page == nullptr) page = &make(key);
    const std::size_t at = block % kPageBlocks;
    const std::uint64_t bit = 1ull << at;
    const std::uint64_t skipped = block - piece.blocks.begin;
    page->known |= bit;
    page->data &= ~bit;
    page->ids[at] = piece.id.raw();
    page->places[at] = piece.place.raw();
    if (piece.kind != Piece::Kind::kData) continue;
    page->data |= bit;
    page->places[at] += skipped;
    page->checksums[at] = piece.checksums[skipped];
  }
}

PathMap::Pending::Pending(PathMap& map, VolumeId volume, BlockRange blocks)
    : map_(map), volume_(volume), blocks_(blocks) {
  self_ = map_.pending_.insert(map_.pending_.end(), this);
}

PathMap::Pending::~Pending() {
  map_.pending_.erase(self_);
}

void PathMap::Pending::fill(std::span<const Piece> pieces) {
  if (stale_ || map_.path_.steps.empty()) return;
  for (const Piece& piece : pieces) map_.fill(volume_, piece);
}

}  // namespace tidemark::index
