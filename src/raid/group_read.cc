#include <algorithm>
#include <cstring>
#include <map>

#include "raid/group.h"
#include "raid/parity.h"

namespace tidemark::raid {

// Pieces that lie one after the other on one member, read with one operation.
struct Group::Run {
  std::uint32_t member = 0;
  std::uint64_t member_offset = 0;
  std::uint64_t length_bytes = 0;
  std::vector<Piece> pieces;
};

namespace {

constexpr std::int32_t kNoMember = -1;

}  // namespace

std::optional<std::uint32_t> Group::choose_member(const Piece& piece) const {
  const std::uint32_t first = geometry_.first_member(piece.row, piece.cell);
  std::optional<std::uint32_t> best;
  for (std::uint32_t i = first; i < first + geometry_.copies(); ++i) {
    if (!members_.readable(i, piece.member_offset, piece.member_offset + piece.length_bytes)) continue;
    const auto load = [this](std::uint32_t member) {
      return std::pair(members_.operations_in_flight(member), members_.all()[member].reads);
    };
    if (!best.has_value() || load(i) < load(*best)) best = i;
  }
  return best;
}

io::Task<Result<void>> Group::read(DiskOffset offset, Buffer out) {
  return read_pieces(offset, std::move(out), true);
}

io::Task<Result<void>> Group::peek(DiskOffset offset, Buffer out) {
  return read_pieces(offset, std::move(out), false);
}

io::Task<Result<void>> Group::read_pieces(DiskOffset offset, Buffer out, bool repair) {
  TM_CO_TRY(check_range("a read", offset, out.size()));
  std::vector<Run> runs;
  std::vector<Piece> lost_pieces;
  std::map<std::uint32_t, std::size_t> last_run;                 // by member
  std::map<std::uint32_t, std::optional<std::uint32_t>> chosen;  // by cell; one copy for all of a read
  for (const Piece& piece : geometry_.split(offset.value, out.size())) {
    std::optional<std::uint32_t> member;
    if (geometry_.has_parity()) {
      member = choose_member(piece);
    } else {
      const auto known = chosen.find(piece.cell);
      const std::uint64_t end = piece.member_offset + piece.length_bytes;
      member = known != chosen.end() && known->second.has_value() &&
                       members_.readable(*known->second, piece.member_offset, end)
                   ? known->second
                   : choose_member(piece);
      chosen[piece.cell] = member;
    }
    if (!member.has_value()) {
      lost_pieces.push_back(piece);
      continue;
    }
    const auto found = last_run.find(*member);
    if (found != last_run.end() &&
        runs[found->second].member_offset + runs[found->second].length_bytes == piece.member_offset) {
      runs[found->second].length_bytes += piece.length_bytes;
      runs[found->second].pieces.push_back(piece);
      continue;
    }
    Run& run = runs.emplace_back();
    run.member = *member;
    run.member_offset = piece.member_offset;
    run.length_bytes = piece.length_bytes;
    run.pieces.push_back(piece);
    last_run[*member] = runs.size() - 1;
  }
  std::vector<Result<void>> results(runs.size() + lost_pieces.size());
  std::vector<io::Task<void>> tasks;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    tasks.push_back(read_run(&runs[i], offset.value, out, repair, &results[i]));
  }
  for (std::size_t i = 0; i < lost_pieces.size(); ++i) {
    const Piece& piece = lost_pieces[i];
    Buffer target = out.slice(piece.group_offset - offset.value, piece.length_bytes);
    tasks.push_back(store_result(run_to_end(rescue(piece, kNoMember, std::move(target), repair)),
                                 &results[runs.size() + i]));
  }
  co_await run_all(environment_.scheduler, std::move(tasks));
  for (Result<void>& result : results) {
    if (!result.ok()) co_return std::move(result);
  }
  co_return Result<void>{};
}

io::Task<void> Group::read_run(const Run* run, std::uint64_t base, Buffer out, bool repair,
                               Result<void>* result) {
  // With mirrors of one cell, and within a unit, what is together on the member is so in memory.
  const bool together = run->pieces.size() == 1 || geometry_.cells() == 1;
  Buffer target = together ? out.slice(run->pieces[0].group_offset - base, run->length_bytes)
                           : Buffer::allocate(run->length_bytes);
  *result = co_await members_.read(run->member, run->member_offset, target);
  if (result->ok() && !together) {
    std::uint64_t at = 0;
    for (const Piece& piece : run->pieces) {
      std::memcpy(out.data() + (piece.group_offset - base), target.data() + at, piece.length_bytes);
      at += piece.length_bytes;
    }
  }
  if (result->ok()) co_return;
  for (const Piece& piece : run->pieces) {
    Buffer part = out.slice(piece.group_offset - base, piece.length_bytes);
    *result =
        co_await run_to_end(rescue(piece, static_cast<std::int32_t>(run->member), std::move(part), repair));
    if (!result->ok()) co_return;
  }
}

// ---- What a member cannot give ----

io::Task<Result<void>> Group::rescue(Piece piece, std::int32_t bad_member, Buffer out, bool repair) {
  if (!geometry_.has_parity()) {
    const auto guard = co_await locks_.lock(piece.group_offset, piece.group_offset + piece.length_bytes);
    co_return co_await read_any_copy(piece, bad_member, out, repair);
  }
  const auto guard = co_await locks_.lock(piece.member_offset, piece.member_offset + piece.length_bytes);
  std::vector<std::uint32_t> without;
  if (bad_member != kNoMember) without.push_back(piece.cell);
  TM_CO_TRY_ASSIGN(const Strip strip, co_await load_row(piece.row, piece.member_offset % geometry_.unit(),
                                                        piece.length_bytes, std::move(without), repair));
  std::memcpy(out.data(), strip.roles[piece.cell].data(), out.size());
  co_return Result<void>{};
}

io::Task<Result<void>> Group::read_any_copy(Piece piece, std::int32_t bad_member, Buffer out, bool repair) {
  const std::uint32_t first = geometry_.first_member(piece.row, piece.cell);
  std::vector<std::uint32_t> bad;
  std::string why;
  if (bad_member != kNoMember) bad.push_back(static_cast<std::uint32_t>(bad_member));
  for (std::uint32_t i = first; i < first + geometry_.copies(); ++i) {
    if (std::ranges::find(bad, i) != bad.end()) continue;
    if (!members_.readable(i, piece.member_offset, piece.member_offset + piece.length_bytes)) continue;
    // What is written again is in a buffer of our own: the caller may take theirs back.
    const bool rewrites = repair && !bad.empty();
    const Buffer copy = rewrites ? Buffer::allocate(out.size()) : out;
    const auto read = co_await members_.read(i, piece.member_offset, copy);
    if (!read.ok()) {
      bad.push_back(i);
      why = members_.describe(i) + ": " + read.error().message;
      continue;
    }
    if (rewrites) {
      std::memcpy(out.data(), copy.data(), out.size());
      for (const std::uint32_t member : bad) co_await rewrite(member, piece.member_offset, copy);
    }
    co_return Result<void>{};
  }
  // Each copy may be bad somewhere else.
  if (piece.length_bytes == kBlockSizeBytes)
    co_return unreadable(geometry_.offset_of(piece.cell, piece.member_offset), why);
  for (std::uint64_t at = 0; at < piece.length_bytes; at += kBlockSizeBytes) {
    Piece block = piece;
    block.member_offset += at;
    block.length_bytes = kBlockSizeBytes;
    TM_CO_TRY(co_await read_any_copy(block, kNoMember, out.slice(at, kBlockSizeBytes), repair));
  }
  co_return Result<void>{};
}

io::Task<void> Group::rewrite(std::uint32_t member, std::uint64_t offset, Buffer bytes) {
  if (!members_.readable(member, offset, offset + bytes.size())) co_return;
  const MemberSet::Place place = members_.place(member);
  std::vector<Buffer> pieces(1, bytes);
  auto done = co_await members_.write(member, offset, std::move(pieces), io::Durability::kDurable);
  if (done.ok()) {
    Buffer again = Buffer::allocate(bytes.size());
    done = co_await members_.read(member, offset, again);
  }
  if (done.ok()) {
    members_.all()[member].repaired_blocks += bytes.size() / kBlockSizeBytes;
    co_return;
  }
  // Where nothing is left to take its place, a member with a bad block is better than none.
  if (!members_.is_there(place) || !members_.may_lose(member)) co_return;
  static_cast<void>(co_await members_.lost(
      place, "a block that could not be read could not be written again: it", done.error()));
  start_rebuild();
}

io::Task<Result<Group::Strip>> Group::load_row(std::uint64_t row, std::uint64_t column,
                                               std::uint64_t length_bytes, std::vector<std::uint32_t> without,
                                               bool repair, std::optional<std::uint32_t> spare) {
  bool read_failed = false;
  std::vector<std::uint32_t> not_read = without;
  auto strip =
      co_await load_row_at_once(row, column, length_bytes, std::move(not_read), repair, spare, &read_failed);
  if (spare.has_value() && read_failed) {
    // It is needed after all.
    strip = co_await load_row_at_once(row, column, length_bytes, std::move(without), repair, std::nullopt,
                                      &read_failed);
  }
  if (strip.ok() || !read_failed || length_bytes == kBlockSizeBytes) co_return std::move(strip);
  // Members may be bad in different blocks.
  Strip whole;
  for (std::uint32_t role = 0; role < geometry_.roles(); ++role) {
    whole.roles.push_back(Buffer::allocate(length_bytes));
  }
  for (std::uint64_t at = 0; at < length_bytes; at += kBlockSizeBytes) {
    std::vector<std::uint32_t> nobody;
    TM_CO_TRY_ASSIGN(const Strip block,
                     co_await load_row_at_once(row, column + at, kBlockSizeBytes, std::move(nobody), repair,
                                               std::nullopt, &read_failed));
    whole.read_failed = whole.read_failed || block.read_failed;
    for (const std::uint32_t role : block.made) {
      if (std::ranges::find(whole.made, role) == whole.made.end()) whole.made.push_back(role);
    }
    for (std::uint32_t role = 0; role < geometry_.roles(); ++role) {
      std::memcpy(whole.roles[role].data() + at, block.roles[role].data(), kBlockSizeBytes);
    }
  }
  co_return std::move(whole);
}

io::Task<Result<Group::Strip>> Group::load_row_at_once(std::uint64_t row, std::uint64_t column,
                                                       std::uint64_t length_bytes,
                                                       std::vector<std::uint32_t> without, bool repair,
                                                       std::optional<std::uint32_t> spare,
                                                       bool* read_failed) {
  const std::uint64_t begin = row * geometry_.unit() + column;
  const std::uint64_t end = begin + length_bytes;
  Strip strip;
  std::vector<Result<void>> results(geometry_.roles());
  std::vector<io::Task<void>> tasks;
  std::vector<std::uint32_t> missing;
  std::vector<std::uint32_t> bad;  // of these, what can be written again
  for (std::uint32_t role = 0; role < geometry_.roles(); ++role) {
    strip.roles.push_back(Buffer::allocate(length_bytes));
    const std::uint32_t member = geometry_.member_of(row, role);
    const bool can_read = members_.readable(member, begin, end);
    const bool is_out = std::ranges::find(without, role) != without.end();
    if (can_read && is_out) bad.push_back(role);
    if (!can_read || is_out || role == spare) {
      missing.push_back(role);
    } else {
      tasks.push_back(store_result(members_.read(member, begin, strip.roles[role]), &results[role]));
    }
  }
  co_await run_all(environment_.scheduler, std::move(tasks));
  std::string why;
  for (std::uint32_t role = 0; role < geometry_.roles(); ++role) {
    if (results[role].ok()) continue;
    missing.push_back(role);
    bad.push_back(role);
    why += (why.empty() ? "" : "; ") + members_.describe(geometry_.member_of(row, role)) + ": " +
           results[role].error().message;
  }
  if (!bad.empty()) *read_failed = true;
  if (missing.size() > geometry_.parities())
    co_return unreadable(row * geometry_.row_bytes(), std::move(why));
  std::ranges::sort(missing);
  std::vector<std::byte*> pointers;
  for (const Buffer& buffer : strip.roles) pointers.push_back(buffer.data());
  parity::recover(pointers, geometry_.parities(), missing, length_bytes);
  strip.made = missing;
  strip.read_failed = !bad.empty();
  for (const std::uint32_t role : bad) {
    if (!repair) break;
    co_await rewrite(geometry_.member_of(row, role), begin, strip.roles[role]);
  }
  co_return std::move(strip);
}

}  // namespace tidemark::raid
