#include "replication/compare.h"

#include <algorithm>

#include "base/log_field.h"
#include "replication/pairs_entry.h"

namespace tidemark::replication {
namespace {

constexpr int kExpiriesMax = 100;  // of points at which not a single part could be compared
constexpr Duration kPaceStep = Duration::milliseconds(100);

// Up to where a list of runs tells, when `asked` was asked for.
std::uint64_t told_until(const std::vector<BlockRange>& runs, BlockRange asked) {
  return runs.size() == format::kQueryRunsMax ? runs.back().end : asked.end;
}

bool is_in(const std::vector<BlockRange>& runs, std::uint64_t block) {
  return std::any_of(runs.begin(), runs.end(),
                     [&](const BlockRange& run) { return run.begin <= block && block < run.end; });
}

bool same_volumes(const std::vector<group::VolumeShape>& here,
                  const std::vector<format::Answer::Volume>& there) {
  return std::equal(here.begin(), here.end(), there.begin(), there.end(),
                    [](const group::VolumeShape& shape, const format::Answer::Volume& volume) {
                      return shape.id == volume.id && shape.name == volume.name &&
                             shape.size_bytes == volume.size_bytes;
                    });
}

const char* compare_state_name(CompareState state) {
  switch (state) {
    case CompareState::kNever:
      return "never";
    case CompareState::kRunning:
      return "running";
    case CompareState::kSame:
      return "same";
    case CompareState::kDiffering:
      return "differing";
    case CompareState::kStopped:
      return "stopped";
    case CompareState::kFailed:
      return "failed";
  }
  return "?";
}

io::Task<void> look_up(group::Group* group, VolumeId volume, LogId at, BlockRange blocks, BlockHash hash,
                       Result<BlockChecksums>* out) {
  *out = co_await checksums_at(*group, volume, at, blocks, hash);
}

}  // namespace

Result<void> check_copy_rate(std::uint64_t bytes_per_second) {
  if (bytes_per_second == 0 || bytes_per_second >= kCompareRateMin) return {};
  return fail(ErrorCode::kInvalid, "the least rate is " + std::to_string(kCompareRateMin) +
                                       " bytes a second, not " + std::to_string(bytes_per_second));
}

Comparison::Comparison(io::Environment environment, std::shared_ptr<group::Group> group,
                       std::shared_ptr<Link> link, std::string peer_name, CompareOptions options,
                       std::function<LogId()> common)
    : environment_(environment),
      group_(std::move(group)),
      link_(link),
      query_(std::move(link)),
      common_(std::move(common)),
      paced_since_(environment.scheduler.now()) {
  progress_.state = CompareState::kRunning;
  progress_.options = options;
  progress_.peer_name = std::move(peer_name);
  progress_.begun = environment.clock.now();
}

void Comparison::stop(std::string reason) {
  if (!running() || stopped_.has_value()) return;
  stopped_ = std::move(reason);
  if (link_ != nullptr) link_->close();
}

Result<void> Comparison::check_going_on() const {
  if (stopped_.has_value()) return fail(ErrorCode::kClosed, *stopped_);
  if (group_->failure().has_value()) return *group_->failure();
  return {};
}

io::Task<void> Comparison::run() {
  Result<void> worked = co_await work();
  // Durable here; of a synchronous pair, whose secondary may be lost by now, no more than that is waited for.
  if (worked.ok() && progress_.repaired_bytes > 0) {
    worked = co_await group_->journal().wait_durable(group_->journal().last_ticket());
  }
  if (worked.ok() && !progress_.options.resyncs) {
    worked = co_await group_->note_comparison(progress_.last_point, progress_.differing_bytes,
                                              progress_.repaired_bytes);
  }
  pin_ = group::PointPin();
  group_ = nullptr;
  link_->close();
  link_ = nullptr;
  progress_.ended = environment_.clock.now();
  if (!worked.ok()) {
    failure_ = worked.error();
    progress_.state = stopped_.has_value() ? CompareState::kStopped : CompareState::kFailed;
    progress_.reason = stopped_.value_or(worked.error().message);
    co_return;
  }
  progress_.bytes_done = progress_.bytes_total;
  progress_.state = progress_.differing_bytes == 0 ? CompareState::kSame : CompareState::kDiffering;
}

io::Task<Result<void>> Comparison::work() {
  TM_CO_TRY(co_await meet());
  if (progress_.options.resyncs) {
    // Unchanged since the newest point that is whole there, a block is the same.
    TM_CO_TRY_ASSIGN(const format::GroupWindow there, co_await query_.window());
    same_until_ = there.newest;
  }
  const std::vector<group::VolumeShape> volumes = volumes_;
  for (const group::VolumeShape& shape : volumes) progress_.bytes_total += shape.size_bytes;
  for (const group::VolumeShape& shape : volumes) {
    TM_CO_TRY_ASSIGN(const bool is_there, co_await compare_volume(shape.id));
    // One that was deleted since is nobody's any more.
    if (!is_there) {
      progress_.reason += (progress_.reason.empty() ? "" : "; ") + std::string("volume '") + shape.name +
                          "' was deleted meanwhile";
    }
  }
  co_return Result<void>{};
}

// Takes the newest entry that both have as the point at which they are compared.
io::Task<Result<void>> Comparison::meet() {
  TM_CO_TRY(check_going_on());
  point_ = common_();
  if (point_.is_none()) {
    co_return fail(ErrorCode::kRefused, "the two nodes have gone their own ways since it began");
  }
  TM_CO_TRY(group_->check_readable(point_));
  pin_ = group_->pin_that_yields(point_);
  TM_CO_TRY_ASSIGN(const format::Answer there,
                   co_await query_.resolve("log:" + point_.to_string(), false, true));
  // The first point of an epoch is the one that it continues.
  if (there.at != point_) {
    point_ = there.at;
    TM_CO_TRY(group_->check_readable(point_));
    pin_ = group_->pin_that_yields(point_);
  }
  if (!progress_.options.resyncs) TM_CO_TRY(co_await check_whole_there());
  volumes_ = group_->state().shape_at(point_);
  if (!same_volumes(volumes_, there.volumes)) {
    co_return fail(ErrorCode::kDamaged,
                   "the nodes do not have the same volumes at log:" + point_.to_string());
  }
  if (progress_.first_point.is_none()) progress_.first_point = point_;
  progress_.last_point = point_;
  co_return Result<void>{};
}

// What a peer lacks behind a gap is no finding.
io::Task<Result<void>> Comparison::check_whole_there() {
  TM_CO_TRY_ASSIGN(const format::GroupWindow there, co_await query_.window());
  const index::EpochTree& epochs = group_->state().epochs();
  const bool is_known = epochs.find(there.newest.epoch()) != nullptr;
  if (!is_known || epochs.is_ancestor(point_, there.newest)) co_return Result<void>{};
  co_return fail(ErrorCode::kInGap, progress_.peer_name +
                                        " follows behind a gap after log:" + there.newest.to_string() +
                                        ", and the resync that is to bring what differs is not complete; "
                                        "`tidemark pair resync " +
                                        group_->name() + "` brings it");
}

// False when the point was lost and the volume is not there at the next one.
io::Task<Result<bool>> Comparison::compare_volume(VolumeId volume) {
  volumes_done_bytes_ = progress_.bytes_done;
  std::uint64_t at = 0;
  std::uint64_t expired_at = 0;
  int expiries = 0;  // there, one after the other
  while (true) {
    // As it is at the point, which may be another one now.
    const auto shape = std::find_if(volumes_.begin(), volumes_.end(),
                                    [&](const group::VolumeShape& known) { return known.id == volume; });
    if (shape == volumes_.end()) co_return false;
    if (at * kBlockSizeBytes >= shape->size_bytes) co_return true;
    const group::VolumeShape now = *shape;
    const Result<void> compared = co_await compare_step(&now, &at);
    progress_.bytes_done = volumes_done_bytes_ + at * kBlockSizeBytes;
    if (compared.ok()) continue;
    expiries = expired_at == at ? expiries + 1 : 1;
    expired_at = at;
    if (compared.error().code != ErrorCode::kExpired || expiries > kExpiriesMax) co_return compared.error();
    TM_CO_TRY(co_await meet());
  }
}

// From `*at` on, as far as both nodes tell at once what they have allocated; `*at` goes along.
io::Task<Result<void>> Comparison::compare_step(const group::VolumeShape* shape, std::uint64_t* at) {
  const BlockRange asked{*at, std::min(shape->size_bytes / kBlockSizeBytes, *at + kQueryStepBlocks)};
  std::vector<BlockRange> changed{asked};
  if (!same_until_.is_none()) {
    TM_CO_TRY_ASSIGN(changed, co_await group_->changed_blocks(shape->id, same_until_, point_, asked));
    if (changed.empty()) {
      *at = asked.end;
      co_return Result<void>{};
    }
  }
  TM_CO_TRY_ASSIGN(const std::vector<BlockRange> there, co_await query_.allocated(shape->id, point_, asked));
  TM_CO_TRY_ASSIGN(const std::vector<BlockRange> here,
                   co_await allocated_at(*group_, shape->id, point_, asked));
  const std::uint64_t until = std::min(told_until(here, asked), told_until(there, asked));
  // No more at once than a second's share.
  const std::uint64_t rate = progress_.options.bytes_per_second_max;
  const std::uint64_t blocks_max = format::kQueryChecksumsMax / words_of(hash());
  const std::uint64_t step =
      rate == 0 ? blocks_max : std::clamp<std::uint64_t>(rate / kBlockSizeBytes, 1, blocks_max);
  const std::vector<BlockRange> told = group::common(group::joined(here, there), {{asked.begin, until}});
  for (const BlockRange& run : group::common(told, changed)) {
    for (*at = run.begin; *at < run.end;) {
      TM_CO_TRY(check_going_on());
      const BlockRange part{*at, std::min(run.end, *at + step)};
      TM_CO_TRY(co_await compare_part(shape, part));
      *at = part.end;
      progress_.bytes_done = volumes_done_bytes_ + *at * kBlockSizeBytes;
      co_await pace();
    }
  }
  *at = until;
  co_return Result<void>{};
}

io::Task<Result<void>> Comparison::compare_part(const group::VolumeShape* shape, BlockRange part) {
  // Both nodes read at once.
  Result<BlockChecksums> here = fail(ErrorCode::kClosed, "");
  io::TaskScope reading(environment_.scheduler);
  reading.spawn(look_up(group_.get(), shape->id, point_, part, hash(), &here));
  auto there = co_await query_.checksums(shape->id, point_, part, hash());
  co_await reading.join();
  TM_CO_TRY(here);
  TM_CO_TRY(there);
  progress_.compared_bytes += part.count() * kBlockSizeBytes;
  std::vector<Difference> found;
  for (std::uint64_t block = part.begin; block < part.end; ++block) {
    const auto words = static_cast<std::ptrdiff_t>(words_of(hash()));
    const auto first = static_cast<std::ptrdiff_t>(block - part.begin) * words;
    const bool same = std::equal(here->checksums.begin() + first, here->checksums.begin() + first + words,
                                 there->checksums.begin() + first);
    const bool readable_here = !is_in(here->unreadable, block);
    const bool readable_there = !is_in(there->unreadable, block);
    if (readable_here && readable_there && same) continue;
    const bool goes_on = !found.empty() && found.back().blocks.end == block &&
                         found.back().readable_here == readable_here &&
                         found.back().readable_there == readable_there;
    if (goes_on) {
      ++found.back().blocks.end;
    } else {
      found.push_back({shape->id, shape->name, {block, block + 1}, readable_here, readable_there, false});
    }
  }
  for (Difference& difference : found) {
    TM_CO_TRY_ASSIGN(difference.repaired, co_await repair(&difference));
    add(std::move(difference));
  }
  co_return Result<void>{};
}

// False when nobody wants it, or the node whose blocks are right cannot read them.
io::Task<Result<bool>> Comparison::repair(const Difference* difference) {
  const RepairFrom from = progress_.options.repair;
  if (from == RepairFrom::kNowhere) co_return false;
  const bool has_it = from == RepairFrom::kPrimary ? difference->readable_here : difference->readable_there;
  if (!has_it) co_return false;
  const BlockRange all = difference->blocks;
  for (std::uint64_t at = all.begin; at < all.end; at += kQueryBlocksMax) {
    const BlockRange part{at, std::min(all.end, at + kQueryBlocksMax)};
    Buffer data;
    if (from == RepairFrom::kSecondary) {
      TM_CO_TRY_ASSIGN(data, co_await query_.blocks(difference->volume, point_, part));
    }
    auto written = co_await group_->write_again(difference->volume, part, std::move(data), point_);
    if (!written.ok() && written.error().code == ErrorCode::kNotFound) co_return false;
    TM_CO_TRY(written);
    progress_.repaired_bytes += part.count() * kBlockSizeBytes;
  }
  co_return true;
}

void Comparison::add(Difference difference) {
  progress_.differing_bytes += difference.blocks.count() * kBlockSizeBytes;
  if (!difference.readable_here) {
    progress_.unreadable_here_bytes += difference.blocks.count() * kBlockSizeBytes;
  }
  std::vector<Difference>& kept = progress_.differences;
  const bool goes_on = !kept.empty() && kept.back().volume == difference.volume &&
                       kept.back().blocks.end == difference.blocks.begin &&
                       kept.back().readable_here == difference.readable_here &&
                       kept.back().readable_there == difference.readable_there &&
                       kept.back().repaired == difference.repaired;
  if (goes_on) {
    kept.back().blocks.end = difference.blocks.end;
  } else if (kept.size() < kDifferencesKeptMax) {
    kept.push_back(std::move(difference));
  }
}

void Comparison::set_rate(std::uint64_t bytes_per_second_max) {
  progress_.options.bytes_per_second_max = bytes_per_second_max;
  paced_since_ = environment_.scheduler.now();
  paced_from_bytes_ = progress_.compared_bytes;
}

// The disks are left alone between parts, as far as they are to be.
io::Task<void> Comparison::pace() {
  const std::uint64_t rate = progress_.options.bytes_per_second_max;
  if (rate == 0) co_return;
  const auto bytes = static_cast<double>(progress_.compared_bytes - paced_from_bytes_);
  const double due_seconds = bytes / static_cast<double>(rate);
  const MonotonicTime since = paced_since_;
  const MonotonicTime due = since + Duration{static_cast<std::int64_t>(due_seconds * 1e9)};
  while (environment_.scheduler.now() < due && check_going_on().ok() && paced_since_ == since) {
    co_await environment_.scheduler.sleep_until(std::min(due, environment_.scheduler.now() + kPaceStep));
  }
}

// ---- Comparisons of the node's pairs

io::Task<Result<void>> Pairs::compare(std::string name, CompareOptions options) {
  auto guard = co_await lock(name);
  Entry* entry = find(name);
  if (entry == nullptr) co_return no_pair(name);
  TM_CO_TRY(check_pair_command(PairCommand::kVerify, entry->record, name));
  if (entry->comparison != nullptr && entry->comparison->running()) {
    if (entry->comparison->progress().options == options) co_return Result<void>{};
    co_return fail(ErrorCode::kBusy, "group '" + name +
                                         "' is being compared already, with other options; follow it with "
                                         "`tidemark pair verify " +
                                         name + " --status`, or end it with --stop");
  }
  TM_CO_TRY(check_copy_rate(options.bytes_per_second_max));
  const bool repairs = options.repair != RepairFrom::kNowhere;
  if (repairs && entry->record.side == Side::kSecondary) {
    co_return fail(ErrorCode::kRefused,
                   "a repair is written on the primary: say it on " + entry->record.peer_name);
  }
  if (repairs && entry->record.state != PairState::kPair) {
    co_return fail(ErrorCode::kRefused, "a repair needs the pair in PAIR; it is in " +
                                            std::string(pair_state_name(entry->record.state)));
  }
  if (repairs) TM_CO_TRY(entry->group->check_accepting());
  TM_CO_TRY(check_not_refilling(*entry));
  TM_CO_TRY_ASSIGN(std::shared_ptr<Link> link,
                   co_await introduce(entry, format::HelloIntent::kQuery, LogId()));
  std::shared_ptr<group::Group> group = host_.hold_group(name);
  if (group == nullptr || stopping_) co_return fail(ErrorCode::kShutdown, "the node is stopping");
  std::function<LogId()> common = [this, name] { return newest_common(name); };
  entry->comparison = std::make_shared<Comparison>(environment_, std::move(group), std::move(link),
                                                   entry->record.peer_name, options, std::move(common));
  comparisons_.spawn(run_comparison(name, entry->comparison));
  co_return Result<void>{};
}

io::Task<void> Pairs::run_comparison(std::string name, std::shared_ptr<Comparison> comparison) {
  host_.log("compare-begin", name, log_field("peer", comparison->progress().peer_name));
  co_await comparison->run();
  const CompareProgress& progress = comparison->progress();
  host_.log("compare-end", name,
            log_field("state", std::string(compare_state_name(progress.state))) + " " +
                log_field("compared_bytes", progress.compared_bytes) + " " +
                log_field("differing_bytes", progress.differing_bytes) + " " +
                log_field("repaired_bytes", progress.repaired_bytes) +
                (progress.reason.empty() ? "" : " " + log_field("reason", progress.reason)));
}

Result<void> Pairs::stop_comparing(const std::string& name) {
  Entry* entry = find(name);
  if (entry == nullptr) return no_pair(name);
  if (entry->comparison == nullptr || !entry->comparison->running()) {
    return fail(ErrorCode::kRefused, "group '" + name +
                                         "' is not being compared with its peer; `tidemark pair verify " +
                                         name + "` does it");
  }
  entry->comparison->stop("it was stopped by request");
  return {};
}

std::optional<CompareProgress> Pairs::comparison(const std::string& name) const {
  const Entry* entry = find(name);
  if (entry == nullptr) return std::nullopt;
  return entry->comparison == nullptr ? CompareProgress() : entry->comparison->progress();
}

}  // namespace tidemark::replication
