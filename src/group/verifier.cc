#include "group/verifier.h"

#include <algorithm>

#include "base/names.h"

namespace tidemark::group {
namespace {

constexpr std::uint64_t kBaseBlocksMax = 256;     // read at once: 1 MiB
constexpr std::size_t kMarksMissingMax = 10'000;  // remembered until their deletion is met
constexpr std::size_t kMarksPerPass = 4096;       // looked at before others get their turn
constexpr std::size_t kMarksTold = 20;            // of those that a damage affects
constexpr std::uint64_t kBlocksTracedMax = 64;    // of a damage, for which the affected points are looked for
constexpr std::uint64_t kDamagesTracedMax = 100;  // damages for which they are
constexpr Duration kPaceStep = Duration::milliseconds(100);

std::string range_text(BlockRange blocks) {
  return std::to_string(blocks.begin * kBlockSizeBytes) + "+" +
         std::to_string(blocks.count() * kBlockSizeBytes);
}

std::string entries_text(LogId first, LogId last) {
  return first == last ? "log:" + first.to_string()
                       : "log:" + first.to_string() + " to log:" + last.to_string();
}

}  // namespace

Result<void> Verifier::begin(VerifyOptions options) {
  if (!core_.local.window_open) {
    return fail(ErrorCode::kBusy, "the first copy of group '" + core_.name() +
                                      "' is not complete; see `tidemark pair status " + core_.name() + "`");
  }
  progress_ = VerifyProgress();
  progress_.state = VerifyState::kRunning;
  progress_.options = options;
  progress_.begun = core_.context.environment.clock.now();
  begun_ = core_.scheduler().now();
  stop_wanted_ = false;
  chains_.clear();
  marks_seen_.clear();
  marks_missing_.clear();
  unreadable_.reset();
  return {};
}

void Verifier::stop() {
  stop_wanted_ = true;
  if (progress_.options.repair != nullptr) progress_.options.repair->end();
}

Result<void> Verifier::check_going_on() const {
  if (core_.closing) return fail(ErrorCode::kShutdown, "the group was closed");
  if (stop_wanted_) return fail(ErrorCode::kClosed, "it was stopped by request");
  if (core_.failure.has_value()) return *core_.failure;
  return {};
}

io::Task<void> Verifier::run() {
  auto worked = co_await work();
  progress_.options.repair = nullptr;
  progress_.ended = core_.context.environment.clock.now();
  chains_.clear();
  marks_seen_ = {};
  marks_missing_.clear();
  if (!worked.ok()) {
    const bool stopped =
        worked.error().code == ErrorCode::kShutdown || worked.error().code == ErrorCode::kClosed;
    progress_.state = stopped ? VerifyState::kStopped : VerifyState::kFailed;
    progress_.reason = worked.error().message;
    co_return;
  }
  const std::uint64_t left = progress_.damages - progress_.repairs;
  progress_.state = progress_.damages == 0 ? VerifyState::kGood
                    : left == 0            ? VerifyState::kRepaired
                                           : VerifyState::kDamaged;
  core_.local.verified_at = progress_.ended;
  core_.local.verified_first = progress_.first;
  core_.local.verified_last = progress_.last;
  core_.local.verified_base = progress_.options.base;
  core_.local.verified_damages = static_cast<std::uint32_t>(std::min<std::uint64_t>(left, UINT32_MAX));
  (void)co_await core_.save_local();
  core_.changed.wake_all();
}

io::Task<Result<void>> Verifier::work() {
  const std::string superblock = co_await core_.journal->check_superblock();
  if (!superblock.empty()) {
    Damage damage;
    damage.text = superblock;
    add(std::move(damage));
  }
  TM_CO_TRY(co_await walk_journal());
  TM_CO_TRY(co_await check_marks());
  if (progress_.options.base) TM_CO_TRY(co_await walk_base());
  progress_.bytes_total = progress_.bytes_done;
  co_return Result<void>{};
}

void Verifier::add(Damage damage) {
  ++progress_.damages;
  if (damage.repaired) ++progress_.repairs;
  if (progress_.damage.size() < kDamagesKeptMax) progress_.damage.push_back(std::move(damage));
}

std::string Verifier::name_of(VolumeId id, LogId point) const {
  for (const VolumeShape& shape : core_.state.shape_at(point)) {
    if (shape.id == id) return shape.name;
  }
  return "volume number " + std::to_string(id.value);
}

// The disk is left alone between pieces, and whatever else is ready runs first.
io::Task<void> Verifier::pace(std::uint64_t bytes) {
  progress_.bytes_done += bytes;
  co_await core_.scheduler().yield();
  const std::uint64_t rate = progress_.options.bytes_per_second_max;
  if (rate == 0) co_return;
  const double due_seconds = static_cast<double>(progress_.bytes_done) / static_cast<double>(rate);
  const MonotonicTime due = begun_ + Duration{static_cast<std::int64_t>(due_seconds * 1e9)};
  while (core_.scheduler().now() < due && check_going_on().ok()) {
    co_await core_.scheduler().sleep_until(std::min(due, core_.scheduler().now() + kPaceStep));
  }
}

// ---- The journal

io::Task<Result<void>> Verifier::walk_journal() {
  journal::Journal& journal = *core_.journal;
  journal::CheckWindow window;
  Place at;
  // To what is durable now: a group that writes faster than it is verified would never be done.
  Place end = journal.durable_end();
  const std::map<Epoch, LogId> ends = durable_ends();
  bool looks_for_deletions = false;
  while (true) {
    TM_CO_TRY(check_going_on());
    if (at >= end) {
      // The deletion of a mark whose entry was met had been appended by now, and may lie behind the end.
      if (marks_missing_.empty() || looks_for_deletions) break;
      TM_CO_TRY(co_await journal.wait_durable(journal.last_ticket()));
      end = journal.durable_end();
      looks_for_deletions = true;
      continue;
    }
    auto checked = co_await journal.check(at, &window);
    if (!checked.ok() && checked.error().code == ErrorCode::kExpired) {
      if (looks_for_deletions) {
        marks_missing_.clear();
        break;
      }
      // It passed out of the window: what is kept begins later now.
      at = Place{};
      chains_.clear();
      unreadable_.reset();
      marks_missing_.clear();  // what deletes them may have passed too
      progress_.first = LogId{};
      continue;
    }
    if (!checked.ok()) co_return std::move(checked).error();
    if (!checked->has_value()) break;
    const journal::CheckedFrame& frame = **checked;
    if (frame.unreadable.has_value()) {
      if (!unreadable_.has_value()) unreadable_ = frame.unreadable->message;
    } else if (frame.is_batch) {
      TM_CO_TRY(co_await look_at_batch(&frame, looks_for_deletions));
    }
    at = frame.next;
    std::uint64_t base_bytes = 0;
    if (progress_.options.base) {
      for (const auto& [id, volume] : core_.volumes) base_bytes += volume->base->allocated_bytes();
    }
    const std::uint64_t behind = journal.bytes_before(at);
    const std::uint64_t all = std::max(behind, journal.bytes_before(end));
    progress_.bytes_total = progress_.bytes_done + frame.bytes + (all - behind) + base_bytes;
    co_await pace(frame.bytes);
  }
  // What the group knows to be there and the walk did not meet.
  for (const auto& [epoch, last] : ends) {
    const auto chain = chains_.find(epoch);
    // Of an epoch of which nothing was met, what can be read must lie in the journal, but for what the base
    // has.
    const bool is_needed =
        chain != chains_.end() || core_.waits_to_be_destaged(last) ||
        (core_.check_readable(last).ok() && !core_.state.epochs().is_ancestor(last, core_.local.destaged));
    const LogId after = chain == chains_.end() ? LogId(epoch, 0) : chain->second.last;
    if (!is_needed || after >= last || core_.is_skipped(last)) continue;
    report_gap(after.next(), last, unreadable_.value_or("no frame holds them"));
    unreadable_.reset();
  }
  if (unreadable_.has_value()) {
    Damage damage;
    damage.text = *unreadable_ + "; no entry is known to lie there";
    add(std::move(damage));
    unreadable_.reset();
  }
  co_return Result<void>{};
}

void Verifier::report_gap(LogId first, LogId last, const std::string& why) {
  Damage damage;
  damage.text = "entries " + entries_text(first, last) + " cannot be read: " + why;
  damage.first = first;
  damage.last = last;
  // What they changed is not known, so every point that has them behind it may be concerned.
  const index::EpochTree& epochs = core_.state.epochs();
  if (core_.check_readable(last).ok() || core_.waits_to_be_destaged(last)) {
    damage.affected_from = core_.check_readable(first).ok() ? first : core_.local.floor;
    damage.live = epochs.is_ancestor(first, core_.head());
    damage.affected_to = damage.live ? core_.head() : epochs.find(last.epoch())->last;
    for (const auto& [id, mark] : core_.state.marks()) {
      if (damage.marks.size() == kMarksTold) break;
      if (epochs.is_ancestor(first, mark.at) && core_.check_readable(mark.at).ok())
        damage.marks.push_back(id);
    }
  }
  add(std::move(damage));
}

// The newest entry of each epoch that is durable now.
std::map<Epoch, LogId> Verifier::durable_ends() const {
  const LogId durable = core_.journal->durable();
  std::map<Epoch, LogId> ends;
  for (const auto& [epoch, info] : core_.state.epochs().all()) {
    if (epoch == core_.live_epoch && epoch != durable.epoch()) continue;  // its first entry is on its way
    ends[epoch] = epoch == durable.epoch() ? std::min(info.last, durable) : info.last;
  }
  return ends;
}

io::Task<Result<void>> Verifier::look_at_batch(const journal::CheckedFrame* frame, bool for_deletions) {
  if (for_deletions) {
    check_entries(*frame, true);
    co_return Result<void>{};
  }
  const format::BatchMeta& meta = frame->meta;
  const index::EpochInfo* info = core_.state.epochs().find(meta.first.epoch());
  if (info == nullptr || info->identity != meta.epoch_identity) {
    Damage damage;
    damage.text =
        "entries " + entries_text(meta.first, meta.last()) + " are of an epoch that the group does not know";
    damage.first = meta.first;
    damage.last = meta.last();
    add(std::move(damage));
    co_return Result<void>{};
  }
  if (progress_.first.is_none()) progress_.first = meta.first;
  progress_.last = meta.last();
  TM_CO_TRY(co_await check_parent(frame));
  check_entries(*frame, false);
  Chain& chain = chains_[meta.first.epoch()];
  if (chain.last.is_none()) chain.first = meta.first;
  chain.last = meta.last();
  chain.checksum = frame->checksum;
  chain.timer = meta.entries.back().timer;
  ++progress_.batches;
  progress_.entries += meta.entries.size();
  if (!frame->damaged.empty()) TM_CO_TRY(co_await report_payload(frame));
  co_return Result<void>{};
}

// How the batch goes on from what lies before it on its branch.
io::Task<Result<void>> Verifier::check_parent(const journal::CheckedFrame* frame) {
  const format::BatchMeta& meta = frame->meta;
  const auto found = chains_.find(meta.first.epoch());
  std::string unreadable = unreadable_.value_or("");
  unreadable_.reset();
  std::optional<std::uint32_t> parent;
  std::string parent_name;
  if (found != chains_.end()) {
    const Chain chain = found->second;
    if (meta.first > chain.last.next()) {
      report_gap(chain.last.next(), meta.first.previous(),
                 unreadable.empty() ? "no frame holds them" : unreadable);
      co_return Result<void>{};
    }
    if (meta.first == chain.last.next()) parent = chain.checksum;
    parent_name = "log:" + chain.last.to_string();
    Damage damage;
    damage.first = meta.first;
    damage.last = meta.last();
    if (meta.first < chain.last.next()) {
      damage.text =
          "the batch of log:" + meta.first.to_string() + " comes after log:" + chain.last.to_string();
      add(damage);
    } else if (meta.entries.front().timer < chain.timer) {
      damage.text =
          "the timer of log:" + meta.first.to_string() + " lies before that of log:" + chain.last.to_string();
      add(damage);
    }
  } else if (meta.first.sequence() == 1) {
    const index::EpochInfo* info = core_.state.epochs().find(meta.first.epoch());
    if (info->reason != format::EpochReason::kCreate) {
      parent_name = "log:" + info->parent.to_string();
      auto checksum = co_await core_.checksum_at(info->parent);
      // What the epoch continues may have passed out of the window.
      if (checksum.ok()) parent = *checksum;
    }
  }
  if (!unreadable.empty() && found == chains_.end()) {
    // Nothing was met before it; the segment tells with which entry it began.
    LogId began = meta.first;
    for (const journal::SegmentInfo& segment : core_.journal->segments()) {
      if (segment.generation <= frame->place.generation() && segment.first.epoch() == meta.first.epoch()) {
        began = segment.first;
      }
    }
    if (began < meta.first) {
      report_gap(began, meta.first.previous(), unreadable);
      unreadable.clear();
    }
  }
  if (!unreadable.empty()) {
    Damage damage;
    damage.text = unreadable + "; no entry is known to lie there";
    add(std::move(damage));
  }
  if (parent.has_value() && *parent != meta.parent_checksum) {
    Damage damage;
    damage.text = "the batch of log:" + meta.first.to_string() +
                  " names another batch before it than that of " + parent_name +
                  ": the chain of checksums is broken";
    damage.first = meta.first;
    damage.last = meta.last();
    add(std::move(damage));
  }
  co_return Result<void>{};
}

void Verifier::check_entries(const journal::CheckedFrame& frame, bool for_deletions) {
  for (std::size_t i = 0; i < frame.meta.entries.size(); ++i) {
    const format::Entry& entry = frame.meta.entries[i];
    const LogId id = LogId::from_raw(frame.meta.first.raw() + i);
    if (entry.kind == format::EntryKind::kMark && !for_deletions) {
      const auto record = format::decode_mark(entry.body);
      // A body is covered by its batch's checksum; one that does not decode was not read by anybody.
      if (record.ok()) check_mark(id, entry.timer, *record, false);
    } else if (entry.kind == format::EntryKind::kControl) {
      const auto record = format::decode_control(entry.body);
      if (!record.ok()) continue;
      if (const auto* named = std::get_if<format::PointNamed>(&*record); named != nullptr && !for_deletions) {
        check_mark(id, entry.timer, named->mark, true);
      } else if (const auto* changed = std::get_if<format::MarkChanged>(&*record);
                 changed != nullptr && changed->action == format::MarkAction::kDelete) {
        marks_missing_.erase(changed->id);
        marks_missing_.erase(changed->id.substr(0, changed->id.rfind('~')));
      }
    }
  }
}

void Verifier::check_mark(LogId entry, WallTime timer, const format::MarkRecord& record, bool named) {
  marks_seen_.push_back(entry.raw());
  const Mark* mark = core_.state.find_mark(record.id);
  if (mark == nullptr || mark->entry != entry) {
    mark = core_.state.find_mark(record.id + "~" + std::to_string(entry.epoch().value));
  }
  if (mark == nullptr || mark->entry != entry) {
    if (marks_missing_.size() < kMarksMissingMax) marks_missing_[record.id] = entry;
    return;
  }
  const bool same = mark->note == record.note && mark->host == record.host &&
                    mark->host_time == record.host_time &&
                    (named || (mark->timer == timer && mark->at == entry));
  if (same) return;
  Damage damage;
  damage.text = "mark '" + printable(mark->id, 140) +
                "' is not in the table as its entry log:" + entry.to_string() + " says";
  damage.first = damage.last = entry;
  add(std::move(damage));
}

io::Task<Result<void>> Verifier::check_marks() {
  for (const auto& [id, entry] : marks_missing_) {
    Damage damage;
    damage.text = "mark '" + printable(id, 140) + "' of log:" + entry.to_string() +
                  " is not in the table, and no entry deletes it";
    damage.first = damage.last = entry;
    add(std::move(damage));
  }
  std::sort(marks_seen_.begin(), marks_seen_.end());
  std::string after;
  while (true) {
    TM_CO_TRY(check_going_on());
    auto at = core_.state.marks().upper_bound(after);
    std::size_t count = 0;
    for (; at != core_.state.marks().end() && count < kMarksPerPass; ++at, ++count) {
      const Mark& mark = at->second;
      after = at->first;
      if (mark.provisional) continue;  // no entry records it yet
      const auto chain = chains_.find(mark.entry.epoch());
      if (chain == chains_.end() || mark.entry < chain->second.first || mark.entry > chain->second.last)
        continue;
      if (std::binary_search(marks_seen_.begin(), marks_seen_.end(), mark.entry.raw())) continue;
      const bool in_gap = std::any_of(
          progress_.damage.begin(), progress_.damage.end(),
          [&](const Damage& known) { return known.first <= mark.entry && mark.entry <= known.last; });
      if (in_gap) continue;
      Damage damage;
      damage.text = "mark '" + printable(mark.id, 140) +
                    "' is in the table, but its entry log:" + mark.entry.to_string() + " is none of it";
      damage.first = damage.last = mark.entry;
      add(std::move(damage));
    }
    if (at == core_.state.marks().end()) co_return Result<void>{};
    co_await core_.scheduler().yield();
  }
}

// The damaged blocks of a batch, those of one entry that touch each other and have the same fate together.
io::Task<Result<void>> Verifier::report_payload(const journal::CheckedFrame* frame) {
  std::vector<bool> repaired;
  std::vector<std::string> why;
  // What ends the run ends no report of what was found and done until then.
  Result<void> going_on;
  for (const journal::CheckedFrame::Block& block : frame->damaged) {
    bool is_right_now = false;
    if (going_on.ok()) {
      const Result<bool> tried = co_await repair_payload(frame, block);
      if (tried.ok()) is_right_now = *tried;
      if (!tried.ok()) going_on = tried.error();
    }
    repaired.push_back(is_right_now);
    why.push_back(not_repaired_);
  }
  std::size_t i = 0;
  while (i < frame->damaged.size()) {
    const journal::CheckedFrame::Block first = frame->damaged[i];
    const bool is_right_now = repaired[i];
    const std::string because = why[i];
    std::uint32_t count = 1;
    while (i + count < frame->damaged.size() && frame->damaged[i + count].entry == first.entry &&
           frame->damaged[i + count].block == first.block + count && repaired[i + count] == is_right_now) {
      ++count;
    }
    i += count;
    const format::Entry& entry = frame->meta.entries[first.entry];
    const LogId id = LogId::from_raw(frame->meta.first.raw() + first.entry);
    Damage damage;
    damage.volume = entry.volume;
    damage.volume_name = name_of(entry.volume, id);
    damage.blocks = {entry.blocks.begin + first.block, entry.blocks.begin + first.block + count};
    damage.first = damage.last = id;
    damage.text = core_.name() + "/" + damage.volume_name + " " + range_text(damage.blocks) +
                  ": what log:" + id.to_string() + " wrote does not match its checksum (segment " +
                  std::to_string(frame->place.generation()) + " block " +
                  std::to_string(frame->place.block() + 1 + entry.payload_block + first.block) +
                  " of the journal)" + because;
    damage.repaired = is_right_now;
    damage.traced = is_right_now || going_on.ok();
    if (!is_right_now && going_on.ok()) {
      going_on = co_await find_affected(entry.volume, damage.blocks, id, &damage);
    }
    add(std::move(damage));
  }
  co_return going_on;
}

// ---- The base

io::Task<Result<void>> Verifier::walk_base() {
  std::vector<VolumeId> ids;
  for (const auto& [id, volume] : core_.volumes) ids.push_back(id);
  for (const VolumeId id : ids) {
    std::uint64_t at = 0;
    while (true) {
      TM_CO_TRY(check_going_on());
      Volume* const volume = core_.find_volume(id);
      if (volume == nullptr) break;
      const std::uint64_t end = volume->base->record().size_bytes / kBlockSizeBytes;
      const std::optional<BlockRange> allocated = at < end ? volume->base->next_allocated(at) : std::nullopt;
      if (!allocated.has_value() || allocated->begin >= end) break;
      at = std::max(at, allocated->begin);
      const BlockRange blocks{at, std::min({at + kBaseBlocksMax, allocated->end, end})};
      TM_CO_TRY(co_await check_base(id, blocks));
      at = blocks.end;
      co_await pace(blocks.count() * kBlockSizeBytes);
      progress_.bytes_total = std::max(progress_.bytes_total, progress_.bytes_done);
    }
  }
  co_return Result<void>{};
}

// Only what a reader may be given: blocks that entries between *destaged* and the floor cover are being
// moved, or will be again after a crash.
io::Task<Result<void>> Verifier::check_base(VolumeId id, BlockRange blocks) {
  struct Found {
    BlockRange blocks{};
    std::string why{};
    bool repaired = false;
  };
  std::vector<std::pair<std::uint64_t, std::string>> damaged;
  {
    auto guard = co_await core_.base_mutex.lock();
    const Core::ReadGuard reading(&core_);
    Volume* const volume = core_.find_volume(id);
    if (volume == nullptr || !core_.state.volume_may_be_read(id, core_.local.floor)) co_return Result<void>{};
    const std::shared_ptr<const index::Path> path = core_.path_to(core_.local.floor);
    std::vector<Piece> pieces;
    TM_CO_TRY(co_await core_.index->lookup(id, blocks, *path, pieces, blocks.count() + 1));
    for (const Piece& piece : pieces) {
      if (piece.kind != Piece::Kind::kBase) continue;
      const BlockRange run = piece.blocks;
      Buffer bytes = Buffer::allocate(run.count() * kBlockSizeBytes);
      auto read = co_await volume->base->read(run, bytes);
      progress_.base_blocks += run.count();
      if (read.ok()) continue;
      for (std::uint64_t block = run.begin; block < run.end; ++block) {
        const BlockRange one{block, block + 1};
        read = co_await volume->base->read(one, bytes.slice(0, kBlockSizeBytes));
        if (!read.ok()) damaged.emplace_back(block, read.error().message);
      }
    }
  }
  std::vector<Found> found;
  Result<void> going_on;
  for (const auto& [block, why] : damaged) {
    bool repaired = false;
    if (going_on.ok()) {
      const Result<bool> tried = co_await repair_base(id, block);
      if (tried.ok()) repaired = *tried;
      if (!tried.ok()) going_on = tried.error();
    }
    if (!found.empty() && found.back().blocks.end == block && found.back().repaired == repaired) {
      found.back().blocks.end = block + 1;
    } else {
      found.push_back({{block, block + 1}, why + not_repaired_, repaired});
    }
  }
  for (const Found& run : found) {
    const bool traces = going_on.ok();
    const Result<void> reported = co_await report_base(id, run.blocks, run.repaired, run.why, traces);
    if (going_on.ok()) going_on = reported;
  }
  co_return going_on;
}

io::Task<Result<void>> Verifier::report_base(VolumeId id, BlockRange blocks, bool repaired, std::string why,
                                             bool traces) {
  Damage damage;
  damage.volume = id;
  damage.volume_name = name_of(id, core_.head());
  damage.blocks = blocks;
  damage.text = core_.name() + "/" + damage.volume_name + " " + range_text(blocks) + " in the base: " + why;
  damage.repaired = repaired;
  damage.traced = repaired || traces;
  Result<void> going_on;
  if (!repaired && traces) going_on = co_await find_affected(id, blocks, std::nullopt, &damage);
  add(std::move(damage));
  co_return going_on;
}

// ---- Who would see it

io::Task<Result<bool>> Verifier::shows(VolumeId id, std::uint64_t block, LogId point,
                                       std::optional<LogId> source) {
  const Core::ReadGuard reading(&core_);
  if (!core_.check_readable(point).ok()) co_return false;
  const std::shared_ptr<const index::Path> path = core_.path_to(point);
  std::vector<Piece> pieces;
  const BlockRange one{block, block + 1};
  TM_CO_TRY(co_await core_.index->lookup(id, one, *path, pieces, 1));
  if (pieces.empty()) co_return false;
  if (!source.has_value()) co_return pieces.front().kind == Piece::Kind::kBase;
  co_return pieces.front().kind == Piece::Kind::kData&& pieces.front().id == *source;
}

io::Task<Result<std::optional<Verifier::Shown>>> Verifier::find_shown(VolumeId id, BlockRange blocks,
                                                                      std::optional<LogId> source) {
  const index::EpochTree& epochs = core_.state.epochs();
  const LogId head = core_.head();
  LogId begin = source.value_or(core_.local.floor);
  LogId end = head;
  if (!epochs.is_ancestor(begin, head)) end = epochs.find(begin.epoch())->last;
  if (epochs.is_ancestor(begin, core_.local.floor)) begin = core_.local.floor;
  if (!core_.check_readable(begin).ok()) co_return std::nullopt;
  // The points after `begin` on the way to `end`, by number.
  std::vector<index::PathStep> steps = epochs.path(end, begin).steps;
  std::reverse(steps.begin(), steps.end());
  std::uint64_t points = 0;
  for (const index::PathStep& step : steps) points += step.last_sequence - step.first_sequence + 1;
  const auto point = [&](std::uint64_t number) {
    if (number == 0) return begin;
    for (const index::PathStep& step : steps) {
      const std::uint64_t count = step.last_sequence - step.first_sequence + 1;
      if (number <= count) return LogId(step.epoch, step.first_sequence + number - 1);
      number -= count;
    }
    return end;
  };
  std::optional<std::uint64_t> last;
  for (std::uint64_t block = blocks.begin; block < blocks.end; ++block) {
    TM_CO_TRY(check_going_on());
    TM_CO_TRY_ASSIGN(const bool at_begin, co_await shows(id, block, begin, source));
    if (!at_begin) continue;
    std::uint64_t low = std::max<std::uint64_t>(last.value_or(0), 0);
    std::uint64_t high = points;
    // A block that is overwritten no later than those before it adds nothing.
    if (low > 0) {
      TM_CO_TRY_ASSIGN(const bool as_far, co_await shows(id, block, point(low), source));
      if (!as_far) continue;
    }
    while (low < high) {
      const std::uint64_t middle = low + (high - low + 1) / 2;
      TM_CO_TRY_ASSIGN(const bool there, co_await shows(id, block, point(middle), source));
      (there ? low : high) = there ? middle : middle - 1;
    }
    last = low;
  }
  if (!last.has_value()) co_return std::nullopt;
  Shown shown;
  shown.from = begin;
  shown.to = point(*last);
  shown.live = *last == points && end == head;
  co_return shown;
}

io::Task<Result<void>> Verifier::find_affected(VolumeId id, BlockRange blocks, std::optional<LogId> source,
                                               Damage* damage) {
  damage->traced = progress_.damages < kDamagesTracedMax && blocks.count() <= kBlocksTracedMax;
  if (progress_.damages >= kDamagesTracedMax) co_return Result<void>{};
  const BlockRange traced{blocks.begin, std::min(blocks.end, blocks.begin + kBlocksTracedMax)};
  TM_CO_TRY_ASSIGN(const std::optional<Shown> shown, co_await find_shown(id, traced, source));
  if (!shown.has_value()) co_return Result<void>{};
  const index::EpochTree& epochs = core_.state.epochs();
  const LogId begin = shown->from;
  damage->affected_from = shown->from;
  damage->affected_to = shown->to;
  damage->live = shown->live;
  std::string after;
  while (damage->marks.size() < kMarksTold) {
    auto at = core_.state.marks().upper_bound(after);
    for (std::size_t count = 0; at != core_.state.marks().end() && count < kMarksPerPass; ++at, ++count) {
      after = at->first;
      if (damage->marks.size() < kMarksTold && epochs.is_ancestor(begin, at->second.at) &&
          epochs.is_ancestor(at->second.at, damage->affected_to)) {
        damage->marks.push_back(at->first);
      }
    }
    if (at == core_.state.marks().end()) break;
    co_await core_.scheduler().yield();
  }
  co_return Result<void>{};
}

}  // namespace tidemark::group
