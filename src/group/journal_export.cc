#include "group/journal_export.h"

#include <algorithm>
#include <memory>
#include <utility>

namespace tidemark::group {
namespace {

constexpr std::size_t kReadsInFlightMax = 32;
// Of a long range, looked at in one page for data that are not zeroes.
constexpr std::uint64_t kLookedAtBlocksMax = (64 << 20) / kBlockSizeBytes;
constexpr std::uint64_t kReadBlocksMax = 256;  // 1 MiB
constexpr std::size_t kRunsMax = 64;
// Of the journal, walked for one page; nothing of what is walked may be wanted.
constexpr std::size_t kBatchesMax = 1024;

// The runs of blocks that are not all zeroes, as slices of `bytes`.
void add_pieces(ExportItem& item, bool before, BlockRange blocks, const Buffer& bytes) {
  const auto zero = [&](std::uint64_t block) {
    return all_zero(Bytes(bytes).subspan((block - blocks.begin) * kBlockSizeBytes, kBlockSizeBytes));
  };
  std::uint64_t at = blocks.begin;
  while (at < blocks.end) {
    if (zero(at)) {
      ++at;
      continue;
    }
    std::uint64_t end = at + 1;
    while (end < blocks.end && !zero(end)) ++end;
    item.pieces.push_back({before,
                           {at, end},
                           bytes.slice((at - blocks.begin) * kBlockSizeBytes, (end - at) * kBlockSizeBytes)});
    at = end;
  }
}

std::uint64_t piece_bytes(const ExportItem& item) {
  std::uint64_t sum = 0;
  for (const ExportPiece& piece : item.pieces) sum += piece.bytes.size();
  return sum;
}

bool places_data(const format::Entry& entry) {
  return entry.kind == format::EntryKind::kWrite || entry.kind == format::EntryKind::kZero ||
         entry.kind == format::EntryKind::kDiscard;
}

// The volume that an entry concerns; none for marks, epochs and the like.
std::optional<VolumeId> volume_of(const format::Entry& entry) {
  if (places_data(entry)) return entry.volume;
  if (entry.kind != format::EntryKind::kControl) return std::nullopt;
  const auto record = format::decode_control(entry.body);
  if (!record.ok()) return std::nullopt;
  if (const auto* created = std::get_if<format::VolumeCreated>(&*record)) return created->volume;
  if (const auto* resized = std::get_if<format::VolumeResized>(&*record)) return resized->volume;
  if (const auto* deleted = std::get_if<format::VolumeDeleted>(&*record)) return deleted->volume;
  return std::nullopt;
}

}  // namespace

// The data before one write of a page, read while those of others are.
struct JournalExport::Before {
  LogId id{};
  VolumeId volume{};
  BlockRange blocks{};
  Buffer bytes{};
  std::size_t item = 0;  // of the page
  Result<void> outcome{};
};

// A page on its way.
struct JournalExport::Reading {
  explicit Reading(io::Scheduler& scheduler) : scope(scheduler) {}
  bool full() const { return budget == 0 || page.items.size() >= items_max; }
  void take(std::uint64_t bytes) { budget -= std::min(budget, bytes); }

  ExportPage page{};
  std::uint64_t budget = 0;  // bytes
  std::size_t items_max = 0;
  std::uint64_t within_blocks = 0;  // of the next entry
  Place at{};                       // of the next frame
  journal::CheckWindow window{};
  std::vector<std::unique_ptr<Before>> jobs{};
  io::TaskScope scope;  // last: its tasks use the jobs
};

JournalExport::JournalExport(Core& core, DataPath& data, ResolvedPoint from, ResolvedPoint to,
                             std::optional<VolumeId> only, ExportSides sides)
    : core_(core),
      data_(data),
      from_(from),
      to_(to),
      only_(only),
      sides_(sides),
      pin_(PointPin::of_view(&core, from.at)) {}

std::uint64_t JournalExport::entries_up_to(LogId id) const {
  std::uint64_t count = 0;
  for (const index::PathStep& step : core_.state.epochs().path(id, from_.at).steps) {
    count += step.last_sequence - step.first_sequence + 1;
  }
  return count;
}

Result<void> JournalExport::check_alive() const {
  if (core_.closing) {
    return fail(ErrorCode::kShutdown,
                "the export of group '" + core_.name() + "' ended: the node stops, or the group is given up");
  }
  if (core_.state.epochs().is_ancestor(core_.local.floor, from_.at)) return {};
  return fail(ErrorCode::kExpired,
              "the export after log:" + from_.at.to_string() + " of group '" + core_.name() +
                  "' was given up: the journal is full and nothing else in it could go; the oldest readable "
                  "point is now log:" +
                  core_.local.floor.to_string());
}

bool JournalExport::wanted(const format::Entry& entry) const {
  if (!only_.has_value()) return true;
  const std::optional<VolumeId> volume = volume_of(entry);
  return !volume.has_value() || *volume == *only_;
}

LogId JournalExport::point_before(LogId id) const {
  const LogId point = id.previous();
  return point.sequence() == 0 ? core_.state.epochs().find(id.epoch())->parent : point;
}

io::Task<void> JournalExport::read_before(Before* job) {
  job->outcome = check_alive();
  if (!job->outcome.ok()) co_return;
  const std::shared_ptr<const index::Path> path = core_.path_to(point_before(job->id));
  job->outcome =
      co_await data_.read(job->volume, path, job->blocks.begin * kBlockSizeBytes, job->bytes, false);
}

io::Task<Result<std::uint64_t>> JournalExport::read_before_range(LogId id, VolumeId volume, BlockRange blocks,
                                                                 std::uint64_t* budget, ExportItem* item) {
  std::uint64_t at = blocks.begin;
  std::uint64_t looked_at = 0;
  while (at<blocks.end&& * budget> 0 && looked_at < kLookedAtBlocksMax) {
    TM_CO_TRY(check_alive());
    const std::shared_ptr<const index::Path> path = core_.path_to(point_before(id));
    auto runs = co_await data_.allocation(volume, path, at * kBlockSizeBytes,
                                          (blocks.end - at) * kBlockSizeBytes, kRunsMax);
    if (!runs.ok()) co_return std::move(runs).error();
    for (const AllocationRun& run : *runs) {
      const std::uint64_t run_end = at + run.length_bytes / kBlockSizeBytes;
      if (run.zero) at = run_end;
      while (at<run_end&& * budget> 0 && looked_at < kLookedAtBlocksMax) {
        Before job;
        job.id = id;
        job.volume = volume;
        job.blocks = {at, std::min(run_end, at + kReadBlocksMax)};
        job.bytes = Buffer::allocate(job.blocks.count() * kBlockSizeBytes);
        co_await read_before(&job);
        TM_CO_TRY(job.outcome);
        const std::uint64_t had = piece_bytes(*item);
        add_pieces(*item, true, job.blocks, job.bytes);
        *budget -= std::min(*budget, piece_bytes(*item) - had);
        looked_at += job.blocks.count();
        at = job.blocks.end;
      }
      if (at < run_end) break;
    }
  }
  co_return at - blocks.begin;
}

// One write: its data after come with the batch; those before are read while the walk goes on.
io::Task<Result<void>> JournalExport::read_write(const journal::CheckedFrame* batch, std::size_t index,
                                                 Reading* reading) {
  ExportPage& page = reading->page;
  const format::Entry& entry = batch->meta.entries[index];
  const LogId id = page.items.back().id;
  const std::uint64_t bytes = entry.blocks.count() * kBlockSizeBytes;
  if (sides_.after) {
    for (const journal::CheckedFrame::Block& block : batch->damaged) {
      if (block.entry != index) continue;
      co_return fail(ErrorCode::kDamaged, "what log:" + id.to_string() +
                                              " wrote does not match its checksum; `tidemark "
                                              "journal verify " +
                                              core_.name() + "` tells what else is damaged");
    }
    // A copy: a slice would keep the megabyte that was read with it for as long as the page.
    const Buffer data =
        Buffer::copy_of(Bytes(batch->payload).subspan(entry.payload_block * kBlockSizeBytes, bytes));
    add_pieces(page.items.back(), false, entry.blocks, data);
    reading->take(bytes);
  }
  if (sides_.before) {
    auto job = std::make_unique<Before>();
    job->id = id;
    job->volume = entry.volume;
    job->blocks = entry.blocks;
    job->bytes = Buffer::allocate(bytes);
    job->item = page.items.size() - 1;
    Before* const started = job.get();
    reading->jobs.push_back(std::move(job));
    while (reading->scope.running() >= kReadsInFlightMax) co_await reading->scope.one_ended();
    reading->scope.spawn(read_before(started));
    reading->take(bytes);
  }
  co_return Result<void>{};
}

// What lies at and after `*sequence` in the batch, as far as the page has room; it then says where to go on.
io::Task<Result<void>> JournalExport::read_batch(const journal::CheckedFrame* batch, index::PathStep step,
                                                 std::uint64_t* sequence, Reading* reading) {
  for (std::size_t i = 0; i < batch->meta.entries.size(); ++i) {
    const LogId id = LogId::from_raw(batch->meta.first.raw() + i);
    if (id.sequence() < *sequence) continue;
    if (id.sequence() > step.last_sequence) break;
    const format::Entry& entry = batch->meta.entries[i];
    if (wanted(entry)) {
      if (reading->full()) break;
      ExportItem& item = reading->page.items.emplace_back();
      item.id = id;
      item.entry = entry;
      if (entry.kind == format::EntryKind::kWrite) {
        TM_CO_TRY(co_await read_write(batch, i, reading));
      } else if (places_data(entry) && sides_.before) {
        item.continued = reading->within_blocks > 0;
        const BlockRange rest{std::min(entry.blocks.begin + reading->within_blocks, entry.blocks.end),
                              entry.blocks.end};
        TM_CO_TRY_ASSIGN(const std::uint64_t looked_at,
                         co_await read_before_range(id, entry.volume, rest, &reading->budget, &item));
        if (looked_at < rest.count()) {
          reading->within_blocks += looked_at;
          reading->budget = 0;
          break;
        }
      }
    }
    reading->within_blocks = 0;
    *sequence = id.sequence() + 1;
  }
  co_return Result<void>{};
}

// The batch that comes next where the walk is, or that holds `id` where it begins.
io::Task<Result<journal::CheckedFrame>> JournalExport::next_batch(LogId id, Reading* reading) {
  while (true) {
    if (reading->at.is_none()) {
      auto found = co_await core_.find_batch(id);
      TM_CO_TRY(check_alive());
      if (!found.ok()) co_return std::move(found).error();
      reading->at = found->place;
    }
    auto checked = co_await core_.journal->check(reading->at, &reading->window);
    TM_CO_TRY(check_alive());
    if (!checked.ok()) co_return std::move(checked).error();
    if (!checked->has_value()) {
      // What comes next is not durable yet: it is waited for where it is looked up.
      reading->at = Place{};
      continue;
    }
    journal::CheckedFrame frame = std::move(**checked);
    if (frame.unreadable.has_value()) co_return *frame.unreadable;
    reading->at = frame.next;
    if (frame.is_batch) co_return frame;
  }
}

io::Task<Result<void>> JournalExport::read_entries(LogId after, Reading* reading) {
  const index::EpochTree& epochs = core_.state.epochs();
  std::vector<index::PathStep> steps = epochs.path(to_.at, after).steps;
  std::reverse(steps.begin(), steps.end());
  std::size_t batches = 0;
  ExportPage& page = reading->page;
  for (const index::PathStep& step : steps) {
    std::uint64_t sequence = step.first_sequence;
    reading->at = Place{};
    while (sequence <= step.last_sequence) {
      TM_CO_TRY_ASSIGN(const journal::CheckedFrame batch,
                       co_await next_batch(LogId(step.epoch, sequence), reading));
      if (batch.meta.first.epoch() == step.epoch) {
        if (batch.meta.first.sequence() > sequence) {
          co_return fail(ErrorCode::kDamaged,
                         "the journal lacks log:" + LogId(step.epoch, sequence).to_string());
        }
        TM_CO_TRY(co_await read_batch(&batch, step, &sequence, reading));
      }
      if (reading->full() || ++batches == kBatchesMax) {
        page.next_after = sequence == 1 ? epochs.find(step.epoch)->parent : LogId(step.epoch, sequence - 1);
        page.next_within_blocks = reading->within_blocks;
        page.done = page.next_after == to_.at;
        co_return Result<void>{};
      }
    }
  }
  page.done = true;
  page.next_after = to_.at;
  co_return Result<void>{};
}

io::Task<Result<ExportPage>> JournalExport::read(LogId after, std::uint64_t within_blocks,
                                                 std::uint64_t bytes_max, std::size_t items_max) {
  TM_CO_TRY(check_alive());
  const index::EpochTree& epochs = core_.state.epochs();
  if (epochs.find(after.epoch()) == nullptr || !epochs.is_ancestor(from_.at, after) ||
      !epochs.is_ancestor(after, to_.at)) {
    co_return fail(ErrorCode::kInvalid, "log:" + after.to_string() +
                                            " does not lie between the points of the export, log:" +
                                            from_.at.to_string() + " and log:" + to_.at.to_string());
  }
  Reading reading(core_.scheduler());
  reading.within_blocks = within_blocks;
  reading.budget = bytes_max;
  reading.items_max = items_max;
  auto walked = co_await read_entries(after, &reading);
  co_await reading.scope.join();
  TM_CO_TRY(walked);
  for (const std::unique_ptr<Before>& job : reading.jobs) {
    TM_CO_TRY(job->outcome);
    ExportItem& item = reading.page.items[job->item];
    std::vector<ExportPiece> after_pieces = std::exchange(item.pieces, {});
    add_pieces(item, true, job->blocks, job->bytes);
    for (ExportPiece& piece : after_pieces) item.pieces.push_back(std::move(piece));
  }
  co_return std::move(reading.page);
}

}  // namespace tidemark::group
