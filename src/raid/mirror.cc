#include <algorithm>
#include <cstring>
#include <map>

#include "raid/group.h"

namespace tidemark::raid {

// What a write puts on a cell is one run on each of its members, whatever number of rows it covers.
io::Task<Result<void>> Group::write_mirrored(std::uint64_t offset, Gather data, io::Durability durability) {
  const std::uint64_t end = offset + data.size_bytes();
  const auto guard = co_await locks_.lock(offset, end);
  std::map<std::uint32_t, MemberBytes> runs;  // by cell
  std::uint64_t begin = UINT64_MAX;
  std::uint64_t last = 0;
  for (const Piece& piece : geometry_.split(offset, data.size_bytes())) {
    MemberBytes& run = runs[piece.cell];
    if (run.length_bytes == 0) run.offset = piece.member_offset;
    run.length_bytes += piece.length_bytes;
    data.slice(piece.group_offset - offset, piece.length_bytes, &run.pieces);
    begin = std::min(begin, piece.member_offset);
    last = std::max(last, piece.member_offset + piece.length_bytes);
  }
  TM_CO_TRY_ASSIGN(const auto hold, co_await intents_.hold(begin, last));
  std::vector<MemberBytes> writes;
  for (const auto& [cell, run] : runs) {
    const std::uint32_t first = geometry_.first_member(0, cell);
    for (std::uint32_t i = first; i < first + geometry_.copies(); ++i) {
      if (!members_.writable(i, run.offset, run.offset + run.length_bytes)) continue;
      writes.push_back(run);
      writes.back().member = i;
    }
  }
  auto written = co_await write_members(std::move(writes), durability, "a write");
  start_rebuild();
  co_return written;
}

// Makes the copies of a range equal to the first that is in sync.
io::Task<Result<void>> Group::resync_mirror(std::uint32_t first_member, std::uint64_t begin,
                                            std::uint64_t length_bytes) {
  Piece piece;
  piece.cell = first_member / geometry_.copies();
  piece.member_offset = begin;
  piece.group_offset = geometry_.offset_of(piece.cell, begin);
  piece.length_bytes = length_bytes;
  Buffer right = Buffer::allocate(length_bytes);
  TM_CO_TRY(co_await read_any_copy(piece, -1, right, true));
  std::vector<MemberBytes> writes;
  for (std::uint32_t i = first_member; i < first_member + geometry_.copies(); ++i) {
    if (!members_.writable(i, begin, begin + length_bytes)) continue;
    Buffer now = Buffer::allocate(length_bytes);
    const auto read = co_await members_.read(i, begin, now);
    if (read.ok() && std::memcmp(now.data(), right.data(), length_bytes) == 0) continue;
    MemberBytes& write = writes.emplace_back();
    write.member = i;
    write.offset = begin;
    write.length_bytes = length_bytes;
    write.pieces.push_back(right);
  }
  co_return co_await write_members(std::move(writes), io::Durability::kVolatile,
                                   "a write that makes copies equal");
}

}  // namespace tidemark::raid
