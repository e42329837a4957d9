#include <algorithm>
#include <cstring>

#include "raid/group.h"
#include "raid/labels.h"

namespace tidemark::raid {

using format::RaidMemberState;

namespace {

constexpr std::uint64_t kResyncBytes = 1 << 20;  // of a member, read and written at once after a crash
constexpr std::size_t kStepsAtOnce = 3;          // one is read while another is written
constexpr std::size_t kResyncRowsAtOnce = 16;
constexpr Duration kRetryAfter = Duration::seconds(600);  // a rebuild that halted

}  // namespace

io::Task<Result<void>> Group::start(std::uint64_t event, std::uint64_t settled) {
  members_.set_event(event, settled);
  // A new event for each start: a disk that was taken back to before it is recognised.
  members_.changed();
  TM_CO_TRY(co_await members_.settle());
  if (geometry_.has_parity()) {
    TM_CO_TRY_ASSIGN(replayed_entries_, co_await journal_.replay());
  }
  TM_CO_TRY(co_await resync_marked());
  start_rebuild();
  co_return Result<void>{};
}

// ---- What a crash left different ----

io::Task<Result<void>> Group::resync_marked() {
  if (!geometry_.has_parity() && geometry_.copies() == 1) co_return Result<void>{};
  TM_CO_TRY_ASSIGN(const std::vector<std::uint64_t> regions, co_await intents_.load());
  const format::RaidShape& shape = geometry_.shape();
  std::vector<std::uint64_t> differing;
  for (const std::uint64_t region : regions) {
    bool all_equal = true;
    const std::uint64_t begin = region * shape.region_bytes;
    const std::uint64_t end = std::min(shape.member_bytes, begin + shape.region_bytes);
    if (geometry_.has_parity()) {
      all_equal =
          co_await resync_rows(begin / geometry_.unit(), (end + geometry_.unit() - 1) / geometry_.unit());
    } else {
      for (std::uint32_t first = 0; first < members_.count(); first += geometry_.copies()) {
        for (std::uint64_t at = begin; at < end; at += kResyncBytes) {
          const auto done = co_await resync_mirror(first, at, std::min(kResyncBytes, end - at));
          if (done.ok()) continue;
          all_equal = false;
          add_notice("not brought in sync after a crash: " + done.error().message);
        }
      }
    }
    if (members_.broken().has_value()) co_return *members_.broken();
    resynced_bytes_ += end - begin;
    if (!all_equal) differing.push_back(region);
  }
  intents_.keep(differing);
  TM_CO_TRY(co_await members_.flush());
  co_return co_await intents_.write_all();
}

io::Task<bool> Group::resync_rows(std::uint64_t first_row, std::uint64_t end_row) {
  bool all_equal = true;
  for (std::uint64_t row = first_row; row < end_row; row += kResyncRowsAtOnce) {
    const std::uint64_t count = std::min<std::uint64_t>(kResyncRowsAtOnce, end_row - row);
    std::vector<Result<void>> results(count);
    std::vector<io::Task<void>> tasks;
    for (std::uint64_t i = 0; i < count; ++i) tasks.push_back(store_result(resync_row(row + i), &results[i]));
    co_await run_all(environment_.scheduler, std::move(tasks));
    for (const auto& result : results) {
      // It stays what it is: unreadable, and says so when it is read.
      if (result.ok()) continue;
      all_equal = false;
      add_notice("not brought in sync after a crash: " + result.error().message);
    }
  }
  co_return all_equal;
}

// ---- Rebuilding ----

void Group::start_rebuild() {
  if (rebuilding_ || members_.broken().has_value()) return;
  bool has_work = false;
  for (std::uint32_t i = 0; i < members_.count(); ++i) {
    has_work = has_work || is_to_be_rebuilt(i) || (is_to_be_replaced(i) && !spares_.empty());
  }
  if (!has_work) return;
  rebuilding_ = true;
  tasks_.spawn(rebuild_all());
}

bool Group::is_to_be_rebuilt(std::uint32_t index) const {
  if (members_.all()[index].record.state != RaidMemberState::kRebuilding) return false;
  return std::ranges::none_of(halted_, [this, index](const MemberSet::Place& place) {
    return place.index == index && members_.is_there(place);
  });
}

bool Group::is_to_be_replaced(std::uint32_t index) const {
  return members_.all()[index].failed() && !replacing_.contains(index);
}

void Group::resume_rebuild() {
  halted_.clear();
  rebuild_problem_.clear();
  start_rebuild();
}

io::Task<void> Group::wait_for_rebuild() {
  while (rebuilding_) co_await rebuild_ended_.wait();
}

io::Task<void> Group::rebuild_all() {
  bool has_halted = false;
  for (bool has_work = true; has_work && !members_.broken().has_value();) {
    const Result<void> taken = co_await take_spares();
    if (!taken.ok()) rebuild_problem_ = taken.error().message;
    has_work = false;
    for (std::uint32_t i = 0; i < members_.count() && taken.ok(); ++i) {
      if (!is_to_be_rebuilt(i)) continue;
      has_work = true;
      const MemberSet::Place place = members_.place(i);
      const Result<void> done = co_await rebuild_member(i);
      if (done.ok()) continue;
      rebuild_problem_ = done.error().message;
      halted_.push_back(place);
      has_halted = true;
    }
  }
  rebuilding_ = false;
  rebuild_ended_.wake_all();
  if (has_halted && !retrying_) {
    retrying_ = true;
    tasks_.spawn(retry_rebuild());
  }
}

// What could not be read may have been written, or repaired, meanwhile.
io::Task<void> Group::retry_rebuild() {
  co_await environment_.scheduler.sleep_until(environment_.scheduler.now() + kRetryAfter);
  retrying_ = false;
  if (!halted_.empty() && !rebuilding_) resume_rebuild();
}

io::Task<Result<void>> Group::rebuild_member(std::uint32_t index) {
  Member& member = members_.all()[index];
  // An entry of the journal from before the member failed has bytes for it that are older than what was
  // written without it since. They would be put on the new disk, over what was rebuilt. And the ring of the
  // new disk has none of the entries that the old one held.
  if (geometry_.has_parity() && member.rebuilt_now == 0) TM_CO_TRY(co_await journal_.retire_all());
  Rebuild run(environment_.scheduler, index, member.record.disk);
  run.began_at = member.rebuilt_now;
  run.began = environment_.scheduler.now();
  while (goes_on(run) && member.rebuilt_now < geometry_.shape().member_bytes) {
    run.ended = false;
    run.next = member.rebuilt_now;
    run.stop =
        std::min(geometry_.shape().member_bytes, member.record.rebuilt_bytes + options_.rebuild_step_bytes);
    run.stop = std::max(run.stop, run.next + 1);
    std::vector<io::Task<void>> workers;
    for (std::size_t i = 0; i < kStepsAtOnce; ++i) workers.push_back(rebuild_some(&run));
    co_await run_all(environment_.scheduler, std::move(workers));
    TM_CO_TRY(run.error);
    if (!goes_on(run)) break;
    const std::uint64_t reached = member.rebuilt_now;
    if (reached == geometry_.shape().member_bytes) break;
    TM_CO_TRY(co_await do_flush());
    if (!goes_on(run)) break;
    member.record.rebuilt_bytes = reached;
    members_.changed();
    TM_CO_TRY(co_await members_.settle());
  }
  if (!goes_on(run)) co_return Result<void>{};
  co_return co_await finish_rebuild(index);
}

bool Group::goes_on(const Rebuild& run) const {
  const format::RaidMemberRecord& record = members_.all()[run.index].record;
  return record.state == RaidMemberState::kRebuilding && record.disk == run.disk;
}

// Steps take their ranges in order, so that one that holds its range while it waits for those before it waits
// for nobody who waits for a range. It holds it until they are done: what hosts write there meanwhile would
// not reach a member that does not count as rebuilt so far.
io::Task<void> Group::rebuild_some(Rebuild* run) {
  const std::uint64_t unit = geometry_.unit();
  const std::uint64_t piece = std::max(unit, options_.rebuild_piece_bytes / unit * unit);
  const std::uint64_t scale = geometry_.has_parity() ? 1 : geometry_.cells();
  const std::uint64_t rate = options_.rebuild_bytes_per_second_max;
  Member& member = members_.all()[run->index];
  const auto has_more = [this, run] { return !run->ended && goes_on(*run) && run->next < run->stop; };
  while (has_more()) {
    std::optional<RangeLock::Guard> guard;
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    {
      const auto turn = co_await run->turns.lock();
      if (rate > 0) {
        const double seconds = static_cast<double>(run->next - run->began_at) / static_cast<double>(rate);
        co_await environment_.scheduler.sleep_until(
            run->began + Duration::nanoseconds(static_cast<std::int64_t>(seconds * 1e9)));
      }
      if (!has_more()) break;
      begin = run->next;
      end = std::min(geometry_.shape().member_bytes, begin + piece);
      run->next = end;
      auto taken = co_await locks_.lock(begin * scale, end * scale);
      guard.emplace(std::move(taken));
    }
    const auto written = co_await rebuild_range(run->index, begin, end);
    if (!written.ok() && run->error.ok()) run->error = written.error();
    while (written.ok() && *written && !run->ended && goes_on(*run) && member.rebuilt_now < begin) {
      co_await run->moved.wait();
    }
    const bool counts = written.ok() && *written && goes_on(*run) && member.rebuilt_now == begin;
    if (counts) member.rebuilt_now = end;
    run->ended = run->ended || !counts;
    guard.reset();
    run->moved.wake_all();
  }
}

// Of a member that is there to be rebuilt; false when it is not any more. The range is held.
io::Task<Result<bool>> Group::rebuild_range(std::uint32_t index, std::uint64_t begin, std::uint64_t end) {
  const std::uint64_t unit = geometry_.unit();
  Buffer bytes = Buffer::allocate(end - begin);
  std::vector<Result<void>> results((end - begin) / unit);
  std::vector<io::Task<void>> tasks;
  for (std::size_t i = 0; i < results.size(); ++i) {
    tasks.push_back(load_for_rebuild(index, begin + i * unit, bytes.slice(i * unit, unit), &results[i]));
  }
  co_await run_all(environment_.scheduler, std::move(tasks));
  for (Result<void>& result : results) {
    if (!result.ok()) co_return std::move(result).error();
  }
  if (!members_.in_use(index) || members_.all()[index].in_sync()) co_return false;
  const MemberSet::Place place = members_.place(index);
  std::vector<Buffer> pieces(1, bytes);
  const auto written = co_await members_.write(index, begin, std::move(pieces), io::Durability::kVolatile);
  if (written.ok()) co_return members_.is_there(place);
  TM_CO_TRY(co_await members_.lost(place, "a write of its rebuild", written.error()));
  co_return false;
}

// With two parities and one member that is not there, one parity need not be read.
std::optional<std::uint32_t> Group::spare_parity(std::uint64_t row, std::uint32_t lost_role) const {
  const std::uint64_t begin = row * geometry_.unit();
  std::uint32_t lost = 0;
  std::optional<std::uint32_t> last_parity;
  for (std::uint32_t role = 0; role < geometry_.roles(); ++role) {
    if (!members_.readable(geometry_.member_of(row, role), begin, begin + geometry_.unit())) {
      ++lost;
    } else if (role >= geometry_.cells() && role != lost_role) {
      last_parity = role;
    }
  }
  return lost < geometry_.parities() ? last_parity : std::nullopt;
}

io::Task<void> Group::load_for_rebuild(std::uint32_t member, std::uint64_t offset, Buffer out,
                                       Result<void>* result) {
  const std::uint64_t row = offset / geometry_.unit();
  if (!geometry_.has_parity()) {
    Piece piece;
    piece.row = row;
    piece.cell = member / geometry_.copies();
    piece.group_offset = row * geometry_.row_bytes() + piece.cell * geometry_.unit();
    piece.member_offset = offset;
    piece.length_bytes = out.size();
    *result = co_await read_any_copy(piece, -1, out, true);
    co_return;
  }
  const std::uint32_t role = geometry_.role_of(row, member);
  std::vector<std::uint32_t> nobody;
  const auto strip =
      co_await load_row(row, 0, geometry_.unit(), std::move(nobody), true, spare_parity(row, role));
  if (strip.ok()) {
    std::memcpy(out.data(), strip->roles[role].data(), out.size());
  } else {
    *result = strip.error();
  }
}

io::Task<Result<void>> Group::finish_rebuild(std::uint32_t index) {
  const MemberSet::Place place = members_.place(index);
  TM_CO_TRY(co_await do_flush());
  // Entries of the journal that lie on too few members for the redundancy that is about to be counted on.
  const auto copies_needed = [this, index] {
    std::size_t copies = geometry_.parities() + 1;
    for (std::uint32_t i = 0; i < members_.count(); ++i) {
      if (i != index && !members_.all()[i].in_sync() && copies > 1) --copies;
    }
    return copies;
  };
  while (geometry_.has_parity() && journal_.has_entries_on_fewer_than(copies_needed())) {
    TM_CO_TRY(co_await journal_.retire_all());
  }
  Member& member = members_.all()[index];
  if (member.record.state != RaidMemberState::kRebuilding || !members_.is_there(place))
    co_return Result<void>{};
  member.record.state = RaidMemberState::kInSync;
  member.record.rebuilt_bytes = 0;
  member.failure.clear();
  members_.changed();
  co_return co_await members_.settle();
}

// ---- Other disks ----

io::Task<Result<format::RaidLabel>> Group::make_label(NamedDisk disk, std::uint16_t index) {
  format::RaidLabel label = label_;
  label.disk = environment_.random.identity<DiskIdentity>();
  label.node = node_;
  label.size_bytes = disk.disk->size_bytes();
  label.generation = 1;
  label.index = index;
  const std::uint64_t least = geometry_.shape().data_offset + geometry_.shape().member_bytes;
  TM_CO_TRY(co_await check_blank(std::move(disk), least));
  co_return std::move(label);
}

io::Task<Result<void>> Group::take_spares() {
  for (std::uint32_t i = 0; i < members_.count() && !spares_.empty(); ++i) {
    if (!is_to_be_replaced(i)) continue;
    const NamedDisk spare = spares_.front();
    spares_.erase(spares_.begin());
    auto label = co_await RaidGroup::inspect(*spare.disk);
    if (!label.ok() || label->raid != label_.raid) {
      add_notice("spare " + spare.name +
                 " is not used: " + (label.ok() ? "it carries another label now" : label.error().message));
      continue;
    }
    label->index = static_cast<std::uint16_t>(i);
    ++label->generation;
    auto put = co_await prepare(spare, *label);
    if (put.ok()) put = co_await put_in_place(i, spare, *label);
    if (!put.ok()) {
      if (members_.broken().has_value()) co_return put;
      add_notice("spare " + spare.name + " is not used: " + put.error().message);
    }
  }
  co_return Result<void>{};
}

// The label first: a crash before the state knows the disk leaves a spare.
io::Task<Result<void>> Group::prepare(NamedDisk disk, format::RaidLabel label) {
  TM_CO_TRY(co_await wipe(disk, geometry_.shape(), false));
  co_return co_await save_label(disk, label);
}

// A disk that prepare() was given, where a member failed.
io::Task<Result<void>> Group::put_in_place(std::uint32_t index, NamedDisk disk, format::RaidLabel label) {
  Member& member = members_.all()[index];
  if (!member.failed()) {
    co_return fail(ErrorCode::kBusy, members_.describe(index) + " has been given another disk meanwhile");
  }
  Member fresh;  // what was counted was the other disk's
  fresh.disk = disk;
  fresh.record.disk = label.disk;
  fresh.record.state = RaidMemberState::kRebuilding;
  member = std::move(fresh);
  members_.changed();
  TM_CO_TRY(co_await members_.settle());
  if (geometry_.has_parity()) TM_CO_TRY(co_await journal_.write_begin());
  co_return co_await intents_.write_all();
}

io::Task<Result<void>> Group::replace(std::uint32_t index, NamedDisk disk) {
  TM_CO_TRY(check_range("a replacement", DiskOffset{0}, 0));
  if (index >= members_.count()) {
    co_return fail(ErrorCode::kInvalid,
                   "RAID group '" + label_.name + "' has no member " + std::to_string(index));
  }
  const auto done = co_await run_at_once(do_replace(index, std::move(disk)));
  if (done.ok()) {
    resume_rebuild();
  } else {
    start_rebuild();  // a spare may take its place
  }
  co_return done;
}

io::Task<Result<void>> Group::do_replace(std::uint32_t index, NamedDisk disk) {
  if (!replacing_.insert(index).second) {
    co_return fail(ErrorCode::kBusy, members_.describe(index) + " is being replaced already");
  }
  auto done = co_await replace_member(index, std::move(disk));
  replacing_.erase(index);
  co_return done;
}

Result<void> Group::check_may_go(std::uint32_t index) const {
  if (members_.all()[index].failed() || members_.may_lose(index)) return {};
  return fail(ErrorCode::kRefused, "RAID group '" + label_.name + "' cannot do without " +
                                       members_.describe(index) +
                                       " while it is replaced; not in sync: " + members_.describe_failed());
}

io::Task<Result<void>> Group::replace_member(std::uint32_t index, NamedDisk disk) {
  TM_CO_TRY_ASSIGN(const format::RaidLabel label,
                   co_await make_label(disk, static_cast<std::uint16_t>(index)));
  TM_CO_TRY(check_may_go(index));
  // Nobody is given up for a disk that cannot be written.
  TM_CO_TRY(co_await prepare(disk, label));
  TM_CO_TRY(check_may_go(index));
  if (!members_.all()[index].failed()) {
    members_.fail_in_memory(index, "replaced by " + disk.name);
    TM_CO_TRY(co_await members_.settle());
  }
  co_return co_await put_in_place(index, std::move(disk), label);
}

io::Task<Result<void>> Group::add_spare(NamedDisk disk) {
  TM_CO_TRY(check_range("a new spare", DiskOffset{0}, 0));
  TM_CO_TRY(co_await run_at_once(do_add_spare(std::move(disk))));
  start_rebuild();
  co_return Result<void>{};
}

io::Task<Result<void>> Group::do_add_spare(NamedDisk disk) {
  if (geometry_.copies() == 1 && !geometry_.has_parity()) {
    co_return fail(ErrorCode::kRefused, "RAID 0 has no redundancy that a spare could be rebuilt from");
  }
  TM_CO_TRY_ASSIGN(const format::RaidLabel label, co_await make_label(disk, format::kRaidSpareIndex));
  TM_CO_TRY(co_await wipe(disk, geometry_.shape(), false));
  TM_CO_TRY(co_await save_label(disk, label));
  spares_.push_back(std::move(disk));
  co_return Result<void>{};
}

}  // namespace tidemark::raid
