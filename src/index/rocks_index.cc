#include <algorithm>
#include <array>
#include <functional>
#include <iterator>
#include <list>
#include <optional>
#include <utility>

#include "base/assert.h"
#include "index/answer.h"
#include "index/memory_table.h"
#include "index/path_map.h"
#include "index/runs.h"
#include "index/version_index.h"
#include "io/sync.h"

// Invariants:
//   - Every key is in active_, in a table of frozen_, or in the runs; a frozen table goes only after its
//     run was taken in. So a look-up that first reads the tables, here, and then the runs, on another thread,
//     misses nothing, whatever happens between.
//   - meta_ covers all keys of the runs that no table in memory has.

namespace tidemark::index {
namespace {

using Tables = std::vector<std::shared_ptr<const MemoryTable>>;

class RocksIndex final : public VersionIndex {
 public:
  RocksIndex(io::Environment environment, RocksIndexOptions options, Runs::Opened opened)
      : environment_(environment),
        options_(options),
        runs_(std::move(opened.runs)),
        meta_(std::move(opened.meta)),
        head_map_(options.path_map_bytes_max),
        writing_(environment.scheduler) {}

  void insert_data(VolumeId volume, BlockRange blocks, LogId id, Place place,
                   const std::vector<std::uint32_t>& checksums) override {
    active_->insert_data(volume, blocks, id, place, checksums);
    for_each_map([&](PathMap& map) { map.insert(volume, blocks, id, place, EntryKind::kData, checksums); });
  }

  void insert_zero(VolumeId volume, BlockRange blocks, LogId id, Place place) override {
    active_->insert_zero(volume, blocks, id, place);
    for_each_map([&](PathMap& map) { map.insert(volume, blocks, id, place, EntryKind::kZero, {}); });
  }

  io::Task<Result<void>> lookup(VolumeId volume, BlockRange blocks, const Path& path, std::vector<Piece>& out,
                                std::size_t pieces_max) override;
  bool lookup_now(VolumeId volume, BlockRange blocks, const Path& path, std::vector<Piece>& out) override;

  // Half, as the table that becomes a run stays in memory while the next one fills.
  bool wants_persist() const override { return active_->memory_bytes() >= options_.memory_bytes_max / 2; }
  io::Task<Result<void>> persist(Place resume, UntilDurable until_durable) override;
  Place resume_place() const override { return meta_.resume; }
  void drop_before(Place bound) override {
    bound_ = std::max(bound_, bound);
    if (runs_ != nullptr) runs_->drop_before(bound_);
  }
  io::Task<Result<void>> clear() override;
  io::Task<Result<std::unique_ptr<VersionIndex>>> make_successor() override;
  void retire() override {
    if (runs_ != nullptr) runs_->destroy_when_closed();
  }
  IndexStatus status() const override;
  io::Task<void> close() override;

 private:
  struct FindJob;
  struct PersistJob;

  // Views that are read at the same time, each with so large a part of what the live path has.
  static constexpr std::size_t kViewMapsMax = 4;
  static constexpr std::uint64_t kViewMapShare = 8;

  static Error closed() { return fail(ErrorCode::kClosed, "the version index is closed"); }
  std::uint64_t collect_from_memory(VolumeId volume, BlockRange blocks, const Path& path,
                                    std::size_t hits_max, HitSet& out) const;
  template <typename Act>
  void for_each_map(const Act& act) {
    act(head_map_);
    for (PathMap& map : view_maps_) act(map);
  }
  PathMap* map_of(BlockRange blocks, const Path& path);
  bool answer_now(VolumeId volume, BlockRange blocks, const Path& path, PieceBuilder& builder,
                  std::size_t pieces_max);
  std::uint8_t classes_in_runs(VolumeId volume) const;
  struct Reached {
    std::uint64_t block = 0;
    bool full = false;  // the builder takes no more
  };
  io::Task<Result<Reached>> answer_from_runs(VolumeId volume, BlockRange blocks, const Path& path,
                                             PieceBuilder& builder, std::size_t hits_max);
  RunMeta next_meta(Place resume) const;
  void thaw();

  io::Environment environment_;
  RocksIndexOptions options_;
  std::shared_ptr<Runs> runs_;  // null once closed
  RunMeta meta_;
  std::shared_ptr<MemoryTable> active_ = std::make_shared<MemoryTable>();
  std::vector<std::shared_ptr<MemoryTable>> frozen_;  // on their way into a run, newest first
  PathMap head_map_;                                  // of the path that goes on
  std::list<PathMap> view_maps_;                      // of others, the last used first
  HitSet scratch_;
  io::Mutex writing_;  // held while a run is written, and while the runs are replaced or closed
  Place bound_{};
  std::uint64_t lookups_ = 0;
  std::uint64_t lookups_beyond_memory_ = 0;
};

std::size_t hits_per_round(std::size_t pieces_max) {
  return std::max<std::size_t>(std::min(pieces_max, kHitsPerRoundMax), 1);
}

std::uint64_t RocksIndex::collect_from_memory(VolumeId volume, BlockRange blocks, const Path& path,
                                              std::size_t hits_max, HitSet& out) const {
  out.clear();
  std::uint64_t end = collect_from_table(*active_, volume, blocks, path, hits_max, out);
  for (const auto& table : frozen_) {
    end = collect_from_table(*table, volume, BlockRange{blocks.begin, end}, path, hits_max, out);
  }
  return end;
}

std::uint8_t RocksIndex::classes_in_runs(VolumeId volume) const {
  const auto found = meta_.size_classes.find(volume.value);
  return found == meta_.size_classes.end() ? std::uint8_t{0} : found->second;
}

// The map of the path, made when there is none; null where none is wanted: ranges are long, or it has no
// memory. Valid until the next call.
PathMap* RocksIndex::map_of(BlockRange blocks, const Path& path) {
  if (blocks.count() > PathMap::kRangeBlocksMax || path.steps.empty()) return nullptr;
  if (path.steps.front().last_sequence == kSequenceMax) return head_map_.adopt(path) ? &head_map_ : nullptr;
  auto map = std::ranges::find_if(view_maps_, [&](const PathMap& one) { return one.knows(path); });
  if (map == view_maps_.end() && view_maps_.size() < kViewMapsMax) {
    map = view_maps_.emplace(map, options_.path_map_bytes_max / kViewMapShare);
  }
  if (map == view_maps_.end()) map = std::prev(map);
  view_maps_.splice(view_maps_.begin(), view_maps_, map);
  return view_maps_.front().adopt(path) ? &view_maps_.front() : nullptr;
}

// The map of the path, then the tables in memory as far as no run can have anything newer.
bool RocksIndex::answer_now(VolumeId volume, BlockRange blocks, const Path& path, PieceBuilder& builder,
                            std::size_t pieces_max) {
  PathMap* const map = map_of(blocks, path);
  if (map != nullptr && map->read(volume, blocks, builder)) return true;
  const BlockRange asked = blocks;
  const std::uint64_t in_runs = classes_in_runs(volume) == 0 ? 0 : newest_on_path_max(meta_.epochs, path);
  const std::array<const HitSet*, 1> sets{&scratch_};
  while (!blocks.empty()) {
    const std::uint64_t end = collect_from_memory(volume, blocks, path, hits_per_round(pieces_max), scratch_);
    const BlockRange round{blocks.begin, end};
    if (in_runs != 0 && !older_than(scratch_, round, in_runs).empty()) {
      builder.clear();
      return false;
    }
    blocks.begin = sweep(sets, round, builder);
    if (blocks.begin < end) break;  // as many pieces as were wanted
  }
  // What is in memory of the live path is found quickly; an old point has the newer versions to pass over.
  if (map != nullptr && map != &head_map_) PathMap::Pending(*map, volume, asked).fill(builder.pieces());
  return true;
}

bool RocksIndex::lookup_now(VolumeId volume, BlockRange blocks, const Path& path, std::vector<Piece>& out) {
  if (runs_ == nullptr) return false;
  PieceBuilder builder(out, SIZE_MAX);
  if (!answer_now(volume, blocks, path, builder, SIZE_MAX)) return false;
  ++lookups_;
  return true;
}

// What a search in the runs needs and finds; shared with the offloaded work, which may outlive the Task.
struct RocksIndex::FindJob {
  std::shared_ptr<const Runs> runs;
  VolumeId volume;
  BlockRange blocks;
  Path path;
  std::uint8_t classes = 0;
  std::size_t hits_max = 0;
  HitSet hits;
  Runs::Found found;
};

// One round: the tables in memory and the runs together. The caller outlives the Task with all it gives.
io::Task<Result<RocksIndex::Reached>> RocksIndex::answer_from_runs(VolumeId volume, BlockRange blocks,
                                                                   const Path& path, PieceBuilder& builder,
                                                                   std::size_t hits_max) {
  HitSet in_memory;
  std::uint64_t end = collect_from_memory(volume, blocks, path, hits_max, in_memory);
  const std::uint8_t classes = classes_in_runs(volume);
  const std::uint64_t in_runs = classes == 0 ? 0 : newest_on_path_max(meta_.epochs, path);
  BlockRange wanted{};
  if (in_runs != 0) wanted = older_than(in_memory, BlockRange{blocks.begin, end}, in_runs);
  auto job = std::make_shared<FindJob>();
  if (!wanted.empty()) {
    *job = FindJob{runs_, volume, wanted, path, classes, hits_max, {}, {{}, wanted.end}};
    std::function<void()> work = [job] {
      job->found =
          job->runs->find(job->volume, job->blocks, job->path, job->classes, job->hits_max, job->hits);
      job->runs.reset();
    };
    co_await environment_.offload.run(std::move(work));
    if (!job->found.result.ok()) co_return std::move(job->found.result).error();
    if (job->found.end < wanted.end) end = job->found.end;
  }
  const std::array<const HitSet*, 2> sets{&in_memory, &job->hits};
  const BlockRange answered{blocks.begin, end};
  const std::uint64_t reached = sweep(sets, answered, builder);
  co_return Reached{reached, reached < end};
}

io::Task<Result<void>> RocksIndex::lookup(VolumeId volume, BlockRange blocks, const Path& path,
                                          std::vector<Piece>& out, std::size_t pieces_max) {
  if (runs_ == nullptr) co_return closed();
  ++lookups_;
  PieceBuilder builder(out, pieces_max);
  if (answer_now(volume, blocks, path, builder, pieces_max)) co_return Result<void>{};
  ++lookups_beyond_memory_;
  std::optional<PathMap::Pending> pending;
  if (PathMap* const map = map_of(blocks, path)) pending.emplace(*map, volume, blocks);
  BlockRange rest = blocks;
  while (!rest.empty()) {
    if (runs_ == nullptr) co_return closed();
    auto reached = co_await answer_from_runs(volume, rest, path, builder, hits_per_round(pieces_max));
    if (!reached.ok()) {
      builder.clear();
      co_return std::move(reached).error();
    }
    if (reached->full) break;
    rest.begin = reached->block;
  }
  if (pending.has_value()) pending->fill(builder.pieces());
  co_return Result<void>{};
}

RunMeta RocksIndex::next_meta(Place resume) const {
  RunMeta meta = meta_;
  meta.resume = resume;
  for (const auto& table : frozen_) {
    merge_spans(meta.epochs, table->epochs());
    for (const auto& [volume, trees] : table->volumes()) {
      for (unsigned size_class = 0; size_class < kSizeClassCount; ++size_class) {
        if (!trees.has(size_class)) continue;
        meta.size_classes[volume] = static_cast<std::uint8_t>(meta.size_classes[volume] | 1u << size_class);
      }
    }
  }
  // Epochs whose last entry is dropped are on no path any more.
  std::erase_if(meta.epochs, [this](const auto& span) { return span.second.place_max < bound_.raw(); });
  return meta;
}

// A run could not be written: its tables become the active one again, so that tries do not pile up
// tables. The newer ones hold what came in meanwhile, little, and are added to the oldest.
void RocksIndex::thaw() {
  for (const auto& table : frozen_) {
    if (table.use_count() > 1) return;  // work of a cancelled persist() may still be reading it
  }
  frozen_.insert(frozen_.begin(), std::move(active_));
  active_ = std::move(frozen_.back());
  frozen_.pop_back();
  for (auto newer = frozen_.rbegin(); newer != frozen_.rend(); ++newer) {
    active_->insert_all(**newer, Place{}, true);
  }
  frozen_.clear();
}

struct RocksIndex::PersistJob {
  std::shared_ptr<Runs> runs;
  Tables tables;
  RunMeta meta;
  Result<void> result;
};

io::Task<Result<void>> RocksIndex::persist(Place resume, UntilDurable until_durable) {
  auto guard = co_await writing_.lock();
  if (runs_ == nullptr) co_return closed();
  if (active_->keys() > 0) {
    frozen_.insert(frozen_.begin(), std::move(active_));
    active_ = std::make_shared<MemoryTable>();
  }
  if (until_durable) {
    auto durable = co_await until_durable();
    if (!durable.ok()) {
      thaw();
      co_return durable;
    }
  }
  auto job = std::make_shared<PersistJob>();
  job->runs = runs_;
  job->tables.assign(frozen_.begin(), frozen_.end());
  job->meta = next_meta(resume);
  std::function<void()> write = [job] { job->result = job->runs->write_run(job->tables, job->meta); };
  co_await environment_.offload.run(std::move(write));
  if (!job->result.ok()) {
    job->tables.clear();
    thaw();
    co_return std::move(job->result).error();
  }
  meta_ = std::move(job->meta);
  frozen_.clear();
  // Tens of megabytes are given back to the system away from the reactor.
  std::function<void()> release = [job] { job->tables.clear(); };
  co_await environment_.offload.run(std::move(release));
  co_return Result<void>{};
}

io::Task<Result<void>> RocksIndex::clear() {
  auto guard = co_await writing_.lock();
  if (runs_ == nullptr) co_return closed();
  struct Job {
    std::shared_ptr<Runs> old;
    std::optional<Result<std::shared_ptr<Runs>>> fresh;
  };
  // Should the runs not be replaced, everything stays as it was; what is inserted meanwhile stays in any
  // case.
  frozen_.insert(frozen_.begin(), std::move(active_));
  active_ = std::make_shared<MemoryTable>();
  auto job = std::make_shared<Job>();
  job->old = runs_;
  std::function<void()> replace = [job] { job->fresh.emplace(Runs::replace(job->old)); };
  co_await environment_.offload.run(std::move(replace));
  if (!job->fresh->ok()) co_return std::move(*job->fresh).error();
  runs_ = std::move(*job->fresh).value();
  meta_ = {};
  frozen_.clear();
  for_each_map([](PathMap& map) { map.clear(); });
  std::function<void()> release = [job] { job->old.reset(); };
  co_await environment_.offload.run(std::move(release));
  co_return Result<void>{};
}

io::Task<Result<std::unique_ptr<VersionIndex>>> RocksIndex::make_successor() {
  if (runs_ == nullptr) co_return closed();
  struct Job {
    std::shared_ptr<Runs> old;
    std::optional<Result<std::shared_ptr<Runs>>> fresh;
  };
  auto job = std::make_shared<Job>();
  job->old = runs_;
  std::function<void()> make = [job] {
    job->fresh.emplace(Runs::make_successor(job->old));
    job->old.reset();
  };
  co_await environment_.offload.run(std::move(make));
  if (!job->fresh->ok()) co_return std::move(*job->fresh).error();
  Runs::Opened opened;
  opened.runs = std::move(*job->fresh).value();
  auto successor = std::make_unique<RocksIndex>(environment_, options_, std::move(opened));
  successor->drop_before(bound_);
  co_return successor;
}

IndexStatus RocksIndex::status() const {
  IndexStatus status;
  status.keys_in_memory = active_->keys();
  status.memory_bytes = active_->memory_bytes() + head_map_.memory_bytes();
  for (const PathMap& map : view_maps_) status.memory_bytes += map.memory_bytes();
  for (const auto& table : frozen_) {
    status.keys_in_memory += table->keys();
    status.memory_bytes += table->memory_bytes();
  }
  status.runs_bytes_on_disk = runs_ == nullptr ? 0 : runs_->bytes_on_disk();
  status.lookups = lookups_;
  status.lookups_beyond_memory = lookups_beyond_memory_;
  return status;
}

io::Task<void> RocksIndex::close() {
  auto guard = co_await writing_.lock();
  auto held = std::make_shared<std::shared_ptr<Runs>>(std::move(runs_));
  runs_ = nullptr;
  std::function<void()> release = [held] { held->reset(); };
  co_await environment_.offload.run(std::move(release));
}

}  // namespace

io::Task<Result<OpenedIndex>> open_rocks_index(io::Environment environment, std::string folder,
                                               RocksIndexOptions options) {
  auto opened = std::make_shared<std::optional<Result<Runs::Opened>>>();
  std::function<void()> open = [opened, folder, options] { opened->emplace(Runs::open(folder, options)); };
  co_await environment.offload.run(std::move(open));
  if (!(*opened)->ok()) co_return std::move(**opened).error();
  OpenedIndex index;
  index.rebuilt = (**opened)->rebuilt;
  index.why_rebuilt = (**opened)->why_rebuilt;
  index.index = std::make_unique<RocksIndex>(environment, options, std::move(**opened).value());
  co_return index;
}

}  // namespace tidemark::index
