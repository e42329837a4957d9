// What changed while the peer was let go of: so much, and no more, is compared when it comes back.

#include "group/group.h"

namespace tidemark::group {

void Group::keep_changes() {
  if (!core_.local.changes_from.is_none()) return;
  // A step of the destager that is under way goes as far as the floor and is not in the map.
  core_.local.changes_from = core_.local.floor;
  core_.changes.begin(core_.local.floor);
}

void Group::forget_changes() {
  core_.local.changes_from = LogId();
  core_.changes.end();
}

io::Task<Result<std::vector<BlockRange>>> Group::changed_blocks(VolumeId volume, LogId since, LogId at,
                                                                BlockRange asked) {
  TM_CO_TRY(core_.check_readable(at));
  const PointPin pin(&core_, at);
  const Core::ReadGuard guard(&core_);
  // The journal first: what is destaged meanwhile is in the map before it is gone from there.
  const std::shared_ptr<const index::Path> path = core_.path_to(at);
  std::vector<BlockRange> written;
  for (std::uint64_t begin = asked.begin; begin < asked.end;) {
    constexpr std::size_t kPiecesMax = 4096;
    std::vector<index::Piece> page;
    TM_CO_TRY(co_await core_.index->lookup(volume, BlockRange{begin, asked.end}, *path, page, kPiecesMax));
    for (const index::Piece& piece : page) {
      if (piece.kind == index::Piece::Kind::kBase) continue;
      if (!written.empty() && written.back().end == piece.blocks.begin) {
        written.back().end = piece.blocks.end;
      } else {
        written.push_back(piece.blocks);
      }
    }
    begin = page.back().blocks.end;
  }
  const LogId from = core_.local.changes_from;
  const bool known = !from.is_none() && core_.state.epochs().is_ancestor(from, since);
  if (!known) co_return std::vector<BlockRange>{asked};
  co_return joined(written, core_.changes.changed(volume, asked));
}

}  // namespace tidemark::group
