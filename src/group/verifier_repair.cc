// Blocks that a verification found damaged, written again as they are elsewhere.

#include "base/crc32c.h"
#include "group/verifier.h"

namespace tidemark::group {

// The points at which another node may have what `source` is for the block, the likeliest first.
io::Task<Result<std::vector<LogId>>> Verifier::points_with(VolumeId id, std::uint64_t block,
                                                           std::optional<LogId> source) {
  const BlockRange one{block, block + 1};
  TM_CO_TRY_ASSIGN(const std::optional<Shown> shown, co_await find_shown(id, one, source));
  const index::EpochTree& epochs = core_.state.epochs();
  std::vector<LogId> points;
  if (shown.has_value()) {
    const LogId newest = progress_.options.repair->newest();
    const bool lies_between =
        !newest.is_none() && epochs.is_ancestor(shown->from, newest) && epochs.is_ancestor(newest, shown->to);
    if (lies_between) points.push_back(newest);
    points.push_back(shown->to);
    points.push_back(shown->from);
  }
  if (source.has_value()) points.push_back(*source);
  co_return points;
}

io::Task<std::optional<Buffer>> Verifier::other_copy(VolumeId id, LogId at, std::uint64_t block) {
  // It may outlive its place in the options.
  const std::shared_ptr<OtherCopies> copies = progress_.options.repair;
  auto copy = co_await copies->block(id, at, block);
  if (copy.ok()) co_return std::move(copy).value();
  not_repaired_ =
      "; " + copies->owner() + " cannot give it at log:" + at.to_string() + ": " + copy.error().message;
  co_return std::nullopt;
}

io::Task<Result<bool>> Verifier::repair_payload(const journal::CheckedFrame* frame,
                                                journal::CheckedFrame::Block at) {
  not_repaired_.clear();
  if (progress_.options.repair == nullptr) co_return false;
  const format::Entry& entry = frame->meta.entries[at.entry];
  const LogId id = LogId::from_raw(frame->meta.first.raw() + at.entry);
  const std::uint64_t block = entry.blocks.begin + at.block;
  TM_CO_TRY_ASSIGN(const std::vector<LogId> points, co_await points_with(entry.volume, block, id));
  for (const LogId point : points) {
    TM_CO_TRY(check_going_on());
    std::optional<Buffer> copy = co_await other_copy(entry.volume, point, block);
    if (!copy.has_value()) continue;
    if (crc32c(*copy) != entry.checksums[at.block]) {
      not_repaired_ = "; what " + progress_.options.repair->owner() + " has does not match it either";
      continue;
    }
    const Place place = frame->place.plus(1 + entry.payload_block + at.block);
    const Result<void> written = co_await core_.journal->repair(place, *std::move(copy));
    if (!written.ok() && written.error().code == ErrorCode::kExpired) co_return false;
    if (!written.ok()) {
      core_.stop(written.error());
      co_return written.error();
    }
    not_repaired_.clear();
    co_return true;
  }
  co_return false;
}

io::Task<Result<bool>> Verifier::repair_base(VolumeId id, std::uint64_t block) {
  not_repaired_.clear();
  if (progress_.options.repair == nullptr) co_return false;
  const LogId floor = core_.local.floor;
  TM_CO_TRY_ASSIGN(const std::vector<LogId> points, co_await points_with(id, block, std::nullopt));
  for (const LogId point : points) {
    TM_CO_TRY(check_going_on());
    std::optional<Buffer> copy = co_await other_copy(id, point, block);
    if (!copy.has_value()) continue;
    auto guard = co_await core_.base_mutex.lock();
    // The base is the same as when the points were looked for: the destager moves nothing to this block
    // before the floor is another one.
    TM_CO_TRY(check_going_on());
    Volume* const volume = core_.find_volume(id);
    if (volume == nullptr || core_.local.floor != floor) {
      not_repaired_ = "; the floor was raised meanwhile: say it again";
      co_return false;
    }
    TM_CO_TRY_ASSIGN(const bool is_base, co_await shows(id, block, floor, std::nullopt));
    if (!is_base) co_return false;
    const Result<void> written = co_await volume->base->repair(block, *std::move(copy));
    if (written.ok()) {
      not_repaired_.clear();
      co_return true;
    }
    if (written.error().code != ErrorCode::kDamaged) {
      core_.stop(written.error());
      co_return written.error();
    }
    not_repaired_ = "; " + written.error().message;
  }
  co_return false;
}

}  // namespace tidemark::group
