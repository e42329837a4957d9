#include <algorithm>
#include <cstring>

#include "raid/group.h"
#include "raid/parity.h"

namespace tidemark::raid {

namespace {

bool equal(const Buffer& a, const Buffer& b) {
  return std::memcmp(a.data(), b.data(), a.size()) == 0;
}

Buffer copy_of(const Buffer& from) {
  return Buffer::copy_of(from);
}

Verdict ask(const ScrubRequest& request, std::uint64_t group_offset, Bytes block) {
  return request.judge ? request.judge(DiskOffset{group_offset}, block) : Verdict::kUnknown;
}

// What became of a mismatch, or would have.
enum class Outcome : std::uint8_t { kUndecided, kRepaired, kRepairable };

Outcome decided(const ScrubRequest& request) {
  return request.repair ? Outcome::kRepaired : Outcome::kRepairable;
}

void tell(ScrubReport* report, std::uint64_t group_offset, std::optional<std::uint32_t> member,
          Outcome outcome, std::string explanation) {
  ++report->mismatches;
  report->repaired += outcome == Outcome::kRepaired ? 1 : 0;
  report->repairable += outcome == Outcome::kRepairable ? 1 : 0;
  report->undecided += outcome == Outcome::kUndecided ? 1 : 0;
  if (report->findings.size() >= ScrubReport::kFindingsMax) return;
  ScrubFinding& finding = report->findings.emplace_back();
  finding.offset = DiskOffset{group_offset};
  finding.member = member;
  finding.repaired = outcome == Outcome::kRepaired;
  finding.repairable = outcome == Outcome::kRepairable;
  finding.explanation = std::move(explanation);
}

// Ends the mark that a scrub is running, also when its task is destroyed.
class Running {
 public:
  explicit Running(bool* flag) : flag_(flag) { *flag_ = true; }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  ~Running() { *flag_ = false; }

 private:
  bool* flag_;
};

}  // namespace

io::Task<Result<ScrubReport>> Group::scrub(ScrubRequest request) {
  TM_CO_TRY(check_range("a scrub", DiskOffset{0}, 0));
  if (scrubbing_)
    co_return fail(ErrorCode::kBusy, "RAID group '" + label_.name + "' is being scrubbed already");
  const Running running(&scrubbing_);
  ScrubReport report;
  const std::uint64_t row_bytes = geometry_.row_bytes();
  const std::uint64_t end = std::min(request.end, size_bytes());
  const MonotonicTime began = environment_.scheduler.now();
  for (std::uint64_t row = request.begin / row_bytes; row * row_bytes < end; ++row) {
    // A row runs to its end whatever becomes of us, so it owns what it works with.
    auto shared_request = std::make_shared<ScrubRequest>(request);
    auto shared_report = std::make_shared<ScrubReport>(std::move(report));
    const auto one_row = [](Group* group, std::uint64_t which, std::shared_ptr<ScrubRequest> asked,
                            std::shared_ptr<ScrubReport> told) -> Operation {
      if (group->geometry_.has_parity())
        co_return co_await group->scrub_parity(asked.get(), which, told.get());
      co_return co_await group->scrub_mirror(asked.get(), which, told.get());
    };
    TM_CO_TRY(co_await run_to_end(one_row(this, row, shared_request, shared_report)));
    report = std::move(*shared_report);
    report.checked_bytes += row_bytes;
    if (request.bytes_per_second_max > 0) {
      const double seconds =
          static_cast<double>(report.checked_bytes) / static_cast<double>(request.bytes_per_second_max);
      co_await environment_.scheduler.sleep_until(
          began + Duration::nanoseconds(static_cast<std::int64_t>(seconds * 1e9)));
    }
  }
  if (request.repair && !halted_.empty() && !rebuilding_) resume_rebuild();
  co_return std::move(report);
}

// ---- Copies ----

io::Task<Result<void>> Group::scrub_mirror(const ScrubRequest* request, std::uint64_t row,
                                           ScrubReport* report) {
  const std::uint64_t begin = row * geometry_.row_bytes();
  const auto guard = co_await locks_.lock(begin, begin + geometry_.row_bytes());
  for (const Piece& piece : geometry_.split(begin, geometry_.row_bytes())) {
    TM_CO_TRY(co_await scrub_cell(request, piece, report));
  }
  co_return Result<void>{};
}

// A copy that cannot be read as a whole is read block by block: what it has counts.
io::Task<Group::Copy> Group::read_copy(std::uint32_t member, Piece piece) {
  Copy copy;
  copy.member = member;
  copy.bytes = Buffer::allocate(piece.length_bytes);
  const auto read = co_await members_.read(member, piece.member_offset, copy.bytes);
  if (read.ok()) co_return std::move(copy);
  copy.why = read.error().message;
  for (std::uint64_t at = 0; at < piece.length_bytes; at += kBlockSizeBytes) {
    const auto block = co_await members_.read(member, piece.member_offset + at, copy.block(at));
    copy.unreadable.push_back(!block.ok());
  }
  co_return std::move(copy);
}

io::Task<Result<void>> Group::scrub_cell(const ScrubRequest* request, Piece piece, ScrubReport* report) {
  std::vector<Copy> copies;
  const std::uint32_t first = geometry_.first_member(piece.row, piece.cell);
  for (std::uint32_t i = first; i < first + geometry_.copies(); ++i) {
    if (!members_.readable(i, piece.member_offset, piece.member_offset + piece.length_bytes)) continue;
    copies.push_back(co_await read_copy(i, piece));
  }
  std::vector<bool> made_good(copies.size(), true);  // of what could not be read
  for (std::uint64_t at = 0; at < piece.length_bytes; at += kBlockSizeBytes) {
    const std::uint64_t group_offset = piece.group_offset + at;
    std::vector<std::size_t> there;  // the copies whose block could be read: they are the witnesses
    for (std::size_t i = 0; i < copies.size(); ++i) {
      if (copies[i].could_read(at)) there.push_back(i);
    }
    std::optional<std::size_t> right;
    bool all_equal = true;
    bool any_wrong = false;
    for (const std::size_t i : there) {
      const bool same = equal(copies[i].block(at), copies[there[0]].block(at));
      if (i != there[0] && same) continue;
      all_equal = all_equal && same;
      const Verdict verdict = ask(*request, group_offset, copies[i].block(at));
      any_wrong = any_wrong || verdict == Verdict::kWrong;
      const bool will_do = verdict == Verdict::kRight || verdict == Verdict::kAny;
      if (will_do && !right.has_value()) right = i;
    }
    // Without anybody who knows, more than half of the copies do.
    for (const std::size_t i : there) {
      if (right.has_value() || any_wrong) break;
      const auto same = std::ranges::count_if(
          there, [&](std::size_t other) { return equal(copies[other].block(at), copies[i].block(at)); });
      if (static_cast<std::size_t>(same) * 2 > there.size()) right = i;
    }
    for (std::size_t i = 0; i < copies.size(); ++i) {
      if (copies[i].could_read(at)) continue;
      if (!right.has_value()) {
        made_good[i] = false;
      } else if (request->repair) {
        co_await rewrite(copies[i].member, piece.member_offset + at, copies[*right].block(at));
      }
    }
    if (all_equal && !any_wrong) continue;
    if (!right.has_value()) {
      tell(report, group_offset, std::nullopt, Outcome::kUndecided,
           all_equal ? "every copy is wrong" : "the copies differ, and none is known to be right");
      continue;
    }
    for (const std::size_t i : there) {
      if (equal(copies[i].block(at), copies[*right].block(at))) continue;
      if (request->repair)
        co_await rewrite(copies[i].member, piece.member_offset + at, copies[*right].block(at));
      tell(report, group_offset, copies[i].member, decided(*request),
           members_.describe(copies[i].member) + " had another content");
    }
  }
  for (std::size_t i = 0; i < copies.size(); ++i) {
    if (copies[i].unreadable.empty()) continue;
    tell(report, piece.group_offset, copies[i].member, made_good[i] ? decided(*request) : Outcome::kUndecided,
         members_.describe(copies[i].member) + " could not be read: " + copies[i].why);
  }
  co_return Result<void>{};
}

io::Task<Result<void>> Group::other_mirrors(Piece piece, Buffer out, std::function<bool(Bytes)> is_right,
                                            bool repair) {
  const auto guard = co_await locks_.lock(piece.group_offset, piece.group_offset + piece.length_bytes);
  const std::uint32_t first = geometry_.first_member(piece.row, piece.cell);
  std::vector<std::uint32_t> wrong;
  bool found = false;
  for (std::uint32_t i = first; i < first + geometry_.copies(); ++i) {
    if (!members_.readable(i, piece.member_offset, piece.member_offset + piece.length_bytes)) continue;
    Buffer copy = Buffer::allocate(out.size());
    const auto read = co_await members_.read(i, piece.member_offset, copy);
    if (!read.ok() || !is_right(copy)) {
      wrong.push_back(i);
    } else if (!found) {
      found = true;
      std::memcpy(out.data(), copy.data(), out.size());
    }
  }
  if (!found) {
    co_return fail(ErrorCode::kDamaged, "no copy of the block at byte " + std::to_string(piece.group_offset) +
                                            " of RAID group '" + label_.name + "' is right");
  }
  if (!repair) co_return Result<void>{};
  // A buffer of our own: the caller may take theirs back.
  const Buffer right = copy_of(out);
  for (const std::uint32_t member : wrong) co_await rewrite(member, piece.member_offset, right);
  co_return Result<void>{};
}

// ---- Parity ----

std::optional<Group::Strip> Group::suppose(const Strip& now, const std::vector<std::uint32_t>& wrong) const {
  const std::size_t length = now.roles[0].size();
  Strip strip;
  std::vector<std::byte*> pointers;
  for (const Buffer& role : now.roles) {
    strip.roles.push_back(copy_of(role));
    pointers.push_back(strip.roles.back().data());
  }
  parity::recover(pointers, geometry_.parities(), wrong, length);
  parity::generate(pointers, geometry_.parities(), length);
  for (std::uint32_t role = geometry_.cells(); role < geometry_.roles(); ++role) {
    const bool is_wrong = std::ranges::find(wrong, role) != wrong.end();
    if (!is_wrong && !equal(strip.roles[role], now.roles[role])) return std::nullopt;
  }
  return strip;
}

io::Task<Result<void>> Group::write_right(std::uint64_t row, std::uint64_t column, const Strip* now,
                                          const Strip* right) {
  for (std::uint32_t role = 0; role < geometry_.roles(); ++role) {
    if (equal(now->roles[role], right->roles[role])) continue;
    co_await rewrite(geometry_.member_of(row, role), row * geometry_.unit() + column, right->roles[role]);
  }
  co_return Result<void>{};
}

io::Task<Result<void>> Group::scrub_parity(const ScrubRequest* request, std::uint64_t row,
                                           ScrubReport* report) {
  const std::uint64_t unit = geometry_.unit();
  const auto guard = co_await locks_.lock(row * unit, (row + 1) * unit);
  std::uint64_t repaired_before = 0;
  for (const Member& member : members_.all()) repaired_before += member.repaired_blocks;
  auto whole = co_await load_row(row, 0, unit, {}, request->repair);
  if (!whole.ok()) {
    tell(report, row * geometry_.row_bytes(), std::nullopt, Outcome::kUndecided, whole.error().message);
    co_return Result<void>{};
  }
  std::uint64_t repaired_after = 0;
  for (const Member& member : members_.all()) repaired_after += member.repaired_blocks;
  if (whole->read_failed) {
    const bool repaired = repaired_after != repaired_before;
    const Outcome outcome = request->repair && !repaired ? Outcome::kUndecided : decided(*request);
    tell(report, row * geometry_.row_bytes(), std::nullopt, outcome,
         repaired ? "blocks that could not be read were written again" : "blocks could not be read");
  }
  for (std::uint64_t column = 0; column < unit; column += kBlockSizeBytes) {
    Strip strip;
    for (const Buffer& role : whole->roles) strip.roles.push_back(role.slice(column, kBlockSizeBytes));
    strip.made = whole->made;
    const std::vector<std::uint32_t> nothing;
    bool fits = suppose(strip, nothing).has_value();
    for (std::uint32_t cell = 0; cell < geometry_.cells() && fits; ++cell) {
      const std::uint64_t offset = row * geometry_.row_bytes() + cell * unit + column;
      fits = ask(*request, offset, strip.roles[cell]) != Verdict::kWrong;
    }
    if (!fits) TM_CO_TRY(co_await scrub_column(request, row, column, std::move(strip), report));
  }
  co_return Result<void>{};
}

// Each set of roles that may be wrong is tried. Those count that leave parities in agreement and no block
// that is known to be wrong, and of which either the parity (RAID 6) or the owner's word speaks for the
// others. What was made from the others is no witness for them: it is in every set.
io::Task<Result<void>> Group::scrub_column(const ScrubRequest* request, std::uint64_t row,
                                           std::uint64_t column, Strip strip, ScrubReport* report) {
  const std::uint64_t first_offset = row * geometry_.row_bytes() + column;
  const auto offset_of = [&](std::uint32_t cell) { return first_offset + cell * geometry_.unit(); };
  std::vector<std::vector<std::uint32_t>> sets;
  const auto add_set = [&](std::uint32_t a, std::uint32_t b) {
    std::vector<std::uint32_t> set = strip.made;
    for (const std::uint32_t role : {a, b}) {
      if (std::ranges::find(set, role) == set.end()) set.push_back(role);
    }
    std::ranges::sort(set);
    if (set.size() > geometry_.parities() || std::ranges::find(sets, set) != sets.end()) return;
    sets.push_back(std::move(set));
  };
  for (std::uint32_t a = 0; a < geometry_.roles(); ++a) {
    for (std::uint32_t b = a; b < geometry_.roles(); ++b) add_set(a, b);
  }
  std::ranges::stable_sort(sets, {}, [](const auto& set) { return set.size(); });
  std::optional<Strip> answer;
  std::vector<std::uint32_t> wrong;
  bool ambiguous = false;
  for (const std::vector<std::uint32_t>& set : sets) {
    if (answer.has_value() && set.size() > wrong.size()) break;
    auto supposed = suppose(strip, set);
    if (!supposed.has_value()) continue;
    bool all_known = true;
    bool any_wrong = false;
    for (std::uint32_t cell = 0; cell < geometry_.cells(); ++cell) {
      const Verdict verdict = ask(*request, offset_of(cell), supposed->roles[cell]);
      any_wrong = any_wrong || verdict == Verdict::kWrong;
      // A block that is made anew must be known; the others may be what they are.
      const bool is_made = std::ranges::find(set, cell) != set.end();
      const bool parity_is_made = set.back() >= geometry_.cells();
      const bool is_known = verdict == Verdict::kRight || (verdict == Verdict::kAny && !is_made);
      if (!is_known && (is_made || parity_is_made)) all_known = false;
    }
    const bool parity_agrees = set.size() < geometry_.parities();
    if (any_wrong || (!all_known && !parity_agrees)) continue;
    ambiguous = ambiguous || answer.has_value();
    answer = std::move(supposed);
    wrong = set;
  }
  if (!answer.has_value() || ambiguous) {
    tell(report, first_offset, std::nullopt, Outcome::kUndecided,
         "data and parity do not fit together, and it is not known which of them is right");
    co_return Result<void>{};
  }
  if (request->repair) TM_CO_TRY(co_await write_right(row, column, &strip, &*answer));
  for (const std::uint32_t role : wrong) {
    const std::uint32_t member = geometry_.member_of(row, role);
    if (equal(strip.roles[role], answer->roles[role])) continue;
    if (!members_.readable(member, row * geometry_.unit() + column,
                           row * geometry_.unit() + column + kBlockSizeBytes)) {
      continue;
    }
    tell(report, role < geometry_.cells() ? offset_of(role) : first_offset, member, decided(*request),
         members_.describe(member) +
             (role < geometry_.cells() ? " had another content" : " had another parity"));
  }
  co_return Result<void>{};
}

io::Task<Result<void>> Group::other_parities(Piece piece, Buffer out, std::function<bool(Bytes)> is_right,
                                             bool repair) {
  const std::uint64_t column = piece.member_offset % geometry_.unit();
  const std::uint64_t end = piece.member_offset + kBlockSizeBytes;
  const auto guard = co_await locks_.lock(piece.member_offset, end);
  Strip strip;
  std::vector<std::uint32_t> missing;
  for (std::uint32_t role = 0; role < geometry_.roles(); ++role) {
    const std::uint32_t member = geometry_.member_of(piece.row, role);
    Buffer block = Buffer::allocate(kBlockSizeBytes);
    std::ranges::fill(block.writable(), std::byte{0});
    strip.roles.push_back(block);
    Result<void> read = fail(ErrorCode::kIo, "");
    if (members_.readable(member, piece.member_offset, end)) {
      read = co_await members_.read(member, piece.member_offset, block);
    }
    if (!read.ok()) missing.push_back(role);
  }
  const bool cell_is_missing = std::ranges::find(missing, piece.cell) != missing.end();
  if (!cell_is_missing && is_right(strip.roles[piece.cell])) {
    std::memcpy(out.data(), strip.roles[piece.cell].data(), out.size());
    co_return Result<void>{};
  }
  // The block is wrong, with whatever is missing; then each other role besides.
  if (!cell_is_missing) missing.push_back(piece.cell);
  for (std::uint32_t extra = 0; extra <= geometry_.roles(); ++extra) {
    std::vector<std::uint32_t> wrong = missing;
    const bool has_extra = extra > 0;
    if (has_extra && std::ranges::find(missing, extra - 1) != missing.end()) continue;
    if (has_extra) wrong.push_back(extra - 1);
    if (wrong.size() > geometry_.parities()) continue;
    std::ranges::sort(wrong);
    Strip supposed;
    std::vector<std::byte*> pointers;
    for (const Buffer& role : strip.roles) {
      supposed.roles.push_back(copy_of(role));
      pointers.push_back(supposed.roles.back().data());
    }
    parity::recover(pointers, geometry_.parities(), wrong, kBlockSizeBytes);
    if (!is_right(supposed.roles[piece.cell])) continue;
    std::memcpy(out.data(), supposed.roles[piece.cell].data(), out.size());
    if (!repair) co_return Result<void>{};
    // The other data are as they are, or made from the same; the parities follow.
    parity::generate(pointers, geometry_.parities(), kBlockSizeBytes);
    co_return co_await write_right(piece.row, column, &strip, &supposed);
  }
  co_return fail(ErrorCode::kDamaged, "no reconstruction of the block at byte " +
                                          std::to_string(piece.group_offset) + " of RAID group '" +
                                          label_.name + "' is right");
}

io::Task<Result<void>> Group::read_other_copies(DiskOffset offset, Buffer out,
                                                std::function<bool(Bytes)> is_right) {
  return find_copy(offset, std::move(out), std::move(is_right), true);
}

io::Task<Result<void>> Group::peek_other_copies(DiskOffset offset, Buffer out,
                                                std::function<bool(Bytes)> is_right) {
  return find_copy(offset, std::move(out), std::move(is_right), false);
}

io::Task<Result<void>> Group::find_copy(DiskOffset offset, Buffer out, std::function<bool(Bytes)> is_right,
                                        bool repair) {
  TM_ASSERT(out.size() == kBlockSizeBytes);
  TM_CO_TRY(check_range("a read", offset, out.size()));
  Piece piece = geometry_.piece_at(offset.value);
  piece.length_bytes = kBlockSizeBytes;
  if (geometry_.has_parity()) {
    co_return co_await run_to_end(other_parities(piece, std::move(out), std::move(is_right), repair));
  }
  co_return co_await run_to_end(other_mirrors(piece, std::move(out), std::move(is_right), repair));
}

}  // namespace tidemark::raid
