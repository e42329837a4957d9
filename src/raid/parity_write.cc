#include <algorithm>
#include <cstring>

#include "raid/group.h"
#include "raid/parity.h"

namespace tidemark::raid {

namespace {

// Of a member, written at once: bounds the memory for parity.
constexpr std::uint64_t kRowsMemberBytesMax = 4 << 20;
// Parts of one write that are on their way at once.
constexpr std::size_t kPartsMax = 4;

// Appends bytes for a member; what continues its last run there makes it longer.
void add_bytes(std::vector<MemberBytes>* writes, std::uint32_t member, std::uint64_t offset,
               std::vector<Buffer> pieces, std::uint64_t length_bytes) {
  for (MemberBytes& write : *writes) {
    if (write.member != member || write.offset + write.length_bytes != offset) continue;
    write.length_bytes += length_bytes;
    for (Buffer& piece : pieces) write.pieces.push_back(std::move(piece));
    return;
  }
  MemberBytes& write = writes->emplace_back();
  write.member = member;
  write.offset = offset;
  write.length_bytes = length_bytes;
  write.pieces = std::move(pieces);
}

}  // namespace

io::Task<Result<void>> Group::write_parity(std::uint64_t offset, Gather data, io::Durability durability) {
  const std::uint64_t row_bytes = geometry_.row_bytes();
  const std::uint64_t end = offset + data.size_bytes();
  const std::uint64_t rows_max = std::max<std::uint64_t>(1, kRowsMemberBytesMax / geometry_.unit());
  std::vector<Operation> parts;
  for (std::uint64_t at = offset; at < end;) {
    const std::uint64_t row = at / row_bytes;
    const std::uint64_t rows = at % row_bytes == 0 ? std::min((end - at) / row_bytes, rows_max) : 0;
    if (rows * row_bytes >= kInPlaceBytesMin) {
      parts.push_back(write_rows(row, rows, &data, at - offset, durability));
      at += rows * row_bytes;
    } else {
      const std::uint64_t length = std::min((row + 1) * row_bytes, end) - at;
      parts.push_back(write_partial_row(at, length, &data, at - offset, durability));
      at += length;
    }
  }
  for (std::size_t next = 0; next < parts.size();) {
    const std::size_t count = std::min(kPartsMax, parts.size() - next);
    std::vector<Result<void>> results(count);
    std::vector<io::Task<void>> tasks;
    for (std::size_t i = 0; i < count; ++i) {
      tasks.push_back(store_result(std::move(parts[next + i]), &results[i]));
    }
    co_await run_all(environment_.scheduler, std::move(tasks));
    for (Result<void>& result : results) {
      if (!result.ok()) co_return std::move(result);
    }
    next += count;
  }
  start_rebuild();
  co_return Result<void>{};
}

// Whole rows: nothing is read, and each member gets one write.
io::Task<Result<void>> Group::write_rows(std::uint64_t first_row, std::uint64_t rows, const Gather* data,
                                         std::uint64_t at, io::Durability durability) {
  const std::uint64_t unit = geometry_.unit();
  const std::uint64_t begin = first_row * unit;
  const std::uint64_t end = begin + rows * unit;
  const auto guard = co_await locks_.lock(begin, end);
  TM_CO_TRY(co_await journal_.retire(begin, end));
  TM_CO_TRY_ASSIGN(const auto hold, co_await intents_.hold(begin, end));
  std::vector<MemberBytes> writes;
  for (std::uint32_t i = 0; i < members_.count(); ++i) {
    if (!members_.writable(i, begin, end)) continue;
    MemberBytes& write = writes.emplace_back();
    write.member = i;
    write.offset = begin;
    write.length_bytes = end - begin;
  }
  for (std::uint64_t row = 0; row < rows; ++row) {
    const std::uint64_t row_at = at + row * geometry_.row_bytes();
    std::vector<Buffer> parities;
    for (std::uint32_t i = 0; i < geometry_.parities(); ++i) parities.push_back(Buffer::allocate(unit));
    for (std::uint64_t column = 0; column < unit;) {
      std::uint64_t step = unit - column;
      std::vector<std::byte*> pointers;
      for (std::uint32_t cell = 0; cell < geometry_.cells(); ++cell) {
        const auto [pointer, together] = data->at(row_at + cell * unit + column);
        pointers.push_back(pointer);
        step = std::min(step, together);
      }
      for (const Buffer& parity : parities) pointers.push_back(parity.data() + column);
      parity::generate(pointers, geometry_.parities(), step);
      column += step;
    }
    for (MemberBytes& write : writes) {
      const std::uint32_t role = geometry_.role_of(first_row + row, write.member);
      if (role < geometry_.cells()) {
        data->slice(row_at + role * unit, unit, &write.pieces);
      } else {
        write.pieces.push_back(parities[role - geometry_.cells()]);
      }
    }
  }
  auto written = co_await write_members(std::move(writes), durability, "a write");
  if (!written.ok() || durability == io::Durability::kVolatile) unflushed_.add(begin, end);
  co_return written;
}

// [offset, offset + length) of one row, by the columns that the same cells are written in:
//
//   unit 16 KiB, bytes 12 to 36 KiB of a row of three cells:   columns 0-4 of cells 1 and 2, 4-12 of
//   cell 1, 12-16 of cells 0 and 1
io::Task<Result<void>> Group::write_partial_row(std::uint64_t offset, std::uint64_t length_bytes,
                                                const Gather* data, std::uint64_t at,
                                                io::Durability durability) {
  const std::uint64_t unit = geometry_.unit();
  const std::uint64_t row = offset / geometry_.row_bytes();
  const std::uint64_t begin = offset % geometry_.row_bytes();
  const std::uint64_t end = begin + length_bytes;
  const auto first = static_cast<std::uint32_t>(begin / unit);
  const auto last = static_cast<std::uint32_t>((end - 1) / unit);
  const std::uint64_t head = begin - first * unit;
  const std::uint64_t tail = end - last * unit;
  std::vector<std::uint64_t> cuts{0, head, tail, unit};
  std::ranges::sort(cuts);
  std::vector<Segment> segments;
  std::uint64_t payload = 0;
  for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
    Segment segment;
    segment.begin = cuts[i];
    segment.end = cuts[i + 1];
    if (segment.begin == segment.end) continue;
    segment.first_cell = segment.begin >= head ? first : first + 1;
    const bool last_has_it = segment.end <= tail;
    if (!last_has_it && last == 0) continue;
    segment.last_cell = last_has_it ? last : last - 1;
    if (segment.first_cell > segment.last_cell) continue;
    const std::uint64_t roles = segment.last_cell - segment.first_cell + 1 + geometry_.parities();
    payload += roles * (segment.end - segment.begin);
    segments.push_back(segment);
  }
  if (payload <= format::kStripePayloadBytesMax) {
    co_return co_await write_segments(row, std::move(segments), data, at - begin, durability);
  }
  // More than one entry of the journal holds: as many columns at a time as fit.
  for (const Segment& whole : segments) {
    const std::uint64_t roles = whole.last_cell - whole.first_cell + 1 + geometry_.parities();
    const std::uint64_t step = format::kStripePayloadBytesMax / roles / kBlockSizeBytes * kBlockSizeBytes;
    for (std::uint64_t column = whole.begin; column < whole.end; column += step) {
      Segment part = whole;
      part.begin = column;
      part.end = std::min(whole.end, column + step);
      std::vector<Segment> one(1, part);
      TM_CO_TRY(co_await write_segments(row, std::move(one), data, at - begin, durability));
    }
  }
  co_return Result<void>{};
}

// `at`, which may be "negative", is where the row's first byte would be in `data`.
io::Task<Result<void>> Group::write_segments(std::uint64_t row, std::vector<Segment> segments,
                                             const Gather* data, std::uint64_t at,
                                             io::Durability durability) {
  const std::uint64_t unit = geometry_.unit();
  const std::uint64_t lock_begin = row * unit + segments.front().begin;
  const std::uint64_t lock_end = row * unit + segments.back().end;
  const auto guard = co_await locks_.lock(lock_begin, lock_end);
  if (members_.broken().has_value()) co_return *members_.broken();
  // The parity is made from what the other cells hold now. Of a whole row that was not flushed a crash may
  // take that back, and then the parity would be no help for a block of ours whose member is lost.
  if (durability == io::Durability::kDurable && unflushed_.overlaps(lock_begin, lock_end)) {
    TM_CO_TRY(co_await do_flush());
  }
  std::vector<MemberBytes> writes;
  for (const Segment& segment : segments) {
    const std::uint64_t begin = row * unit + segment.begin;
    const std::uint64_t length = segment.end - segment.begin;
    TM_CO_TRY_ASSIGN(std::vector<Buffer> parities, co_await make_parity(row, segment, data, at));
    for (std::uint32_t cell = segment.first_cell; cell <= segment.last_cell; ++cell) {
      const std::uint32_t member = geometry_.member_of(row, cell);
      if (!members_.writable(member, begin, begin + length)) continue;
      std::vector<Buffer> pieces;
      data->slice(at + cell * unit + segment.begin, length, &pieces);
      add_bytes(&writes, member, begin, std::move(pieces), length);
    }
    for (std::uint32_t i = 0; i < geometry_.parities(); ++i) {
      const std::uint32_t member = geometry_.member_of(row, geometry_.cells() + i);
      if (parities[i].empty() || !members_.writable(member, begin, begin + length)) continue;
      std::vector<Buffer> pieces(1, parities[i]);
      add_bytes(&writes, member, begin, std::move(pieces), length);
    }
  }
  auto logged = co_await journal_.append(writes);
  if (!logged.ok()) co_return logged.error();
  auto written = co_await write_members(std::move(writes), io::Durability::kVolatile, "a write");
  if (!written.ok()) {
    journal_.wake();
    co_return written;
  }
  journal_.in_place(*logged);
  co_return Result<void>{};
}

// P and Q of a segment's columns as they will be; empty ones where the member takes no write. Reads what is
// overwritten and the old parity, or what is not overwritten, whichever is less; and all there is when
// members are missing that either way would need.
io::Task<Result<std::vector<Buffer>>> Group::make_parity(std::uint64_t row, Segment segment,
                                                         const Gather* data, std::uint64_t at) {
  const std::uint64_t unit = geometry_.unit();
  const std::uint64_t begin = row * unit + segment.begin;
  const std::uint64_t length = segment.end - segment.begin;
  const std::uint32_t cells = geometry_.cells();
  const auto is_written = [&segment](std::uint32_t cell) {
    return cell >= segment.first_cell && cell <= segment.last_cell;
  };
  std::vector<std::uint32_t> parities;  // that take a write
  for (std::uint32_t role = cells; role < geometry_.roles(); ++role) {
    if (members_.writable(geometry_.member_of(row, role), begin, begin + length)) parities.push_back(role);
  }
  std::vector<Buffer> out(geometry_.parities());
  if (parities.empty()) co_return std::move(out);

  const auto all_readable = [&](const std::vector<std::uint32_t>& roles) {
    return std::ranges::all_of(roles, [&](std::uint32_t role) {
      return members_.readable(geometry_.member_of(row, role), begin, begin + length);
    });
  };
  std::vector<std::uint32_t> changed, kept;
  for (std::uint32_t cell = 0; cell < cells; ++cell) (is_written(cell) ? changed : kept).push_back(cell);
  changed.insert(changed.end(), parities.begin(), parities.end());
  const bool can_modify = all_readable(changed);
  const bool can_construct = all_readable(kept);
  const bool modifies = can_modify && (!can_construct || changed.size() < kept.size());
  const std::vector<std::uint32_t> wanted = modifies ? changed : kept;

  std::vector<Buffer> old(geometry_.roles());
  bool all_read = can_modify || can_construct;
  if (all_read) {
    std::vector<Result<void>> results(wanted.size());
    std::vector<io::Task<void>> tasks;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      old[wanted[i]] = Buffer::allocate(length);
      tasks.push_back(store_result(members_.read(geometry_.member_of(row, wanted[i]), begin, old[wanted[i]]),
                                   &results[i]));
    }
    if (!tasks.empty()) co_await run_all(environment_.scheduler, std::move(tasks));
    all_read = std::ranges::all_of(results, [](const auto& result) { return result.ok(); });
  }
  if (!all_read) {
    TM_CO_TRY_ASSIGN(Strip strip, co_await load_row(row, segment.begin, length, {}));
    old = std::move(strip.roles);
  }
  // New bytes of a written cell, in one piece.
  const auto fresh = [&](std::uint32_t cell) {
    std::vector<Buffer> pieces;
    data->slice(at + cell * unit + segment.begin, length, &pieces);
    if (pieces.size() == 1) return pieces[0];
    Buffer joined = Buffer::allocate(length);
    std::size_t done = 0;
    for (const Buffer& piece : pieces) {
      std::memcpy(joined.data() + done, piece.data(), piece.size());
      done += piece.size();
    }
    return joined;
  };
  if (modifies && all_read) {
    for (std::uint32_t cell = segment.first_cell; cell <= segment.last_cell; ++cell) {
      // The difference that the write makes to the cell is that to P, and scaled to Q.
      parity::add(old[cell].data(), fresh(cell).data(), length);
      for (const std::uint32_t role : parities) {
        if (role == cells) parity::add(old[role].data(), old[cell].data(), length);
        if (role == cells + 1) parity::add_scaled(old[role].data(), old[cell].data(), cell, length);
      }
    }
  } else {
    std::vector<Buffer> pins;
    std::vector<std::byte*> pointers;
    for (std::uint32_t role = 0; role < geometry_.roles(); ++role) {
      if (role < cells && is_written(role)) old[role] = fresh(role);
      if (role >= cells) old[role] = Buffer::allocate(length);
      pointers.push_back(old[role].data());
    }
    parity::generate(pointers, geometry_.parities(), length);
  }
  for (const std::uint32_t role : parities) out[role - cells] = old[role];
  co_return std::move(out);
}

// Makes the parity of a row that of its data; the data that a missing member held are what the others say.
io::Task<Result<void>> Group::resync_row(std::uint64_t row) {
  const std::uint64_t unit = geometry_.unit();
  TM_CO_TRY_ASSIGN(const Strip strip, co_await load_row(row, 0, unit, {}));
  std::vector<Buffer> parities;
  std::vector<std::byte*> pointers;
  for (std::uint32_t cell = 0; cell < geometry_.cells(); ++cell) pointers.push_back(strip.roles[cell].data());
  for (std::uint32_t i = 0; i < geometry_.parities(); ++i) {
    parities.push_back(Buffer::allocate(unit));
    pointers.push_back(parities[i].data());
  }
  parity::generate(pointers, geometry_.parities(), unit);
  std::vector<MemberBytes> writes;
  for (std::uint32_t role = 0; role < geometry_.roles(); ++role) {
    const std::uint32_t member = geometry_.member_of(row, role);
    const bool is_parity = role >= geometry_.cells();
    if (!members_.writable(member, row * unit, (row + 1) * unit)) continue;
    const bool can_read = members_.readable(member, row * unit, (row + 1) * unit);
    const Buffer right = is_parity ? parities[role - geometry_.cells()] : strip.roles[role];
    if (can_read && std::memcmp(right.data(), strip.roles[role].data(), unit) == 0) continue;
    std::vector<Buffer> pieces(1, right);
    add_bytes(&writes, member, row * unit, std::move(pieces), unit);
  }
  co_return co_await write_members(std::move(writes), io::Durability::kVolatile, "a write of parity");
}

}  // namespace tidemark::raid
