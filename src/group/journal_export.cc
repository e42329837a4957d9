#include "group/journal_export.h"

#include <algorithm>
#include <memory>

namespace tidemark::group {
namespace {

constexpr std::size_t kReadsInFlightMax = 16;
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
  Result<void> outcome{};
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

// What lies at and after `*sequence` and `*within_blocks` in the batch, as far as the budget goes; both then
// say where to go on.
io::Task<Result<void>> JournalExport::read_batch(journal::StoredBatch batch, index::PathStep step,
                                                 std::uint64_t* sequence, std::uint64_t* within_blocks,
                                                 std::uint64_t* budget, std::size_t items_max,
                                                 ExportPage* page) {
  const journal::Journal::Pin kept = core_.journal->pin(batch.place);
  Buffer payload;
  std::vector<std::unique_ptr<Before>> jobs;
  std::vector<std::size_t> job_items;
  io::TaskScope scope(core_.scheduler());
  Result<void> outcome;
  for (std::size_t i = 0; i < batch.meta.entries.size(); ++i) {
    const LogId id = LogId::from_raw(batch.meta.first.raw() + i);
    if (id.sequence() < *sequence) continue;
    if (id.sequence() > step.last_sequence) break;
    const format::Entry& entry = batch.meta.entries[i];
    if (!wanted(entry)) {
      *sequence = id.sequence() + 1;
      continue;
    }
    if (*budget == 0 || page->items.size() >= items_max) break;
    ExportItem& item = page->items.emplace_back();
    item.id = id;
    item.entry = entry;
    if (entry.kind == format::EntryKind::kWrite) {
      const std::uint64_t bytes = entry.blocks.count() * kBlockSizeBytes;
      if (sides_.before) {
        auto job = std::make_unique<Before>();
        job->id = id;
        job->volume = entry.volume;
        job->blocks = entry.blocks;
        job->bytes = Buffer::allocate(bytes);
        while (scope.running() >= kReadsInFlightMax) co_await scope.one_ended();
        scope.spawn(read_before(job.get()));
        jobs.push_back(std::move(job));
        job_items.push_back(page->items.size() - 1);
        *budget -= std::min(*budget, bytes);
      }
      if (sides_.after) {
        if (payload.empty()) {
          auto read = co_await core_.journal->read_payload(batch);
          if (!read.ok()) {
            outcome = std::move(read).error();
            break;
          }
          payload = std::move(read).value();
        }
        ExportItem& filled = page->items.back();
        add_pieces(filled, false, filled.entry.blocks,
                   payload.slice(filled.entry.payload_block * kBlockSizeBytes, bytes));
        *budget -= std::min(*budget, bytes);
      }
    } else if (places_data(entry) && sides_.before) {
      item.continued = *within_blocks > 0;
      const BlockRange rest{entry.blocks.begin + *within_blocks, entry.blocks.end};
      auto looked_at = co_await read_before_range(id, entry.volume, rest, budget, &page->items.back());
      if (!looked_at.ok()) {
        outcome = std::move(looked_at).error();
        break;
      }
      if (*looked_at < rest.count()) {
        *within_blocks += *looked_at;
        *budget = 0;
        break;
      }
    }
    *within_blocks = 0;
    *sequence = id.sequence() + 1;
  }
  co_await scope.join();
  TM_CO_TRY(outcome);
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    TM_CO_TRY(jobs[i]->outcome);
    ExportItem& item = page->items[job_items[i]];
    std::vector<ExportPiece> after = std::move(item.pieces);
    item.pieces.clear();
    add_pieces(item, true, jobs[i]->blocks, jobs[i]->bytes);
    item.pieces.insert(item.pieces.end(), std::make_move_iterator(after.begin()),
                       std::make_move_iterator(after.end()));
  }
  co_return Result<void>{};
}

io::Task<Result<ExportPage>> JournalExport::read(LogId after, std::uint64_t within_blocks,
                                                 std::uint64_t bytes_max, std::size_t items_max) {
  TM_CO_TRY(check_alive());
  const index::EpochTree& epochs = core_.state.epochs();
  if (epochs.find(after.epoch()) == nullptr || !epochs.is_ancestor(from_.at, after) ||
      !epochs.is_ancestor(after, to_.at)) {
    co_return fail(ErrorCode::kInvalid, "log:" + after.to_string() +
                                            " does not lie between the points of the "
                                            "export, log:" +
                                            from_.at.to_string() + " and log:" + to_.at.to_string());
  }
  ExportPage page;
  std::uint64_t budget = bytes_max;
  std::size_t batches = 0;
  std::vector<index::PathStep> steps = epochs.path(to_.at, after).steps;
  std::reverse(steps.begin(), steps.end());
  for (const index::PathStep& step : steps) {
    std::uint64_t sequence = step.first_sequence;
    Place at;
    while (sequence <= step.last_sequence) {
      journal::StoredBatch batch;
      if (at.is_none()) {
        auto found = co_await core_.find_batch(LogId(step.epoch, sequence));
        TM_CO_TRY(check_alive());
        if (!found.ok()) co_return std::move(found).error();
        batch = std::move(found).value();
      } else {
        auto scanned = co_await core_.journal->scan(at);
        TM_CO_TRY(check_alive());
        if (!scanned.ok()) co_return std::move(scanned).error();
        if (!scanned->has_value()) {
          // What comes next is not durable yet: it is waited for where it is looked up.
          at = Place{};
          continue;
        }
        batch = std::move(**scanned);
      }
      at = batch.next;
      if (batch.meta.first.epoch() != step.epoch) continue;
      auto read =
          co_await read_batch(std::move(batch), step, &sequence, &within_blocks, &budget, items_max, &page);
      if (!read.ok()) co_return std::move(read).error();
      if (budget == 0 || page.items.size() >= items_max || ++batches == kBatchesMax) {
        page.next_after = sequence == 1 ? epochs.find(step.epoch)->parent : LogId(step.epoch, sequence - 1);
        page.next_within_blocks = within_blocks;
        page.done = page.next_after == to_.at;
        co_return page;
      }
    }
  }
  page.done = true;
  page.next_after = to_.at;
  co_return page;
}

}  // namespace tidemark::group
