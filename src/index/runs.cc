#include "index/runs.h"

#include <rocksdb/cache.h>
#include <rocksdb/compaction_filter.h>
#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/slice_transform.h>
#include <rocksdb/sst_file_writer.h>
#include <rocksdb/table.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>
#include <utility>

#include "base/assert.h"

namespace tidemark::index {

namespace {

constexpr std::string_view kRunsPrefix = "runs-";
constexpr std::string_view kIncomingPrefix = "incoming-";
// Up to this many extents of a class are searched one by one through the filters; more are read in key order.
constexpr std::uint64_t kFilteredExtentsMax = 16;
// Versions to step over one by one before searching: a step costs about a tenth of a search.
constexpr int kStepsBeforeSearchMax = 3;

rocksdb::Slice slice_of(std::string_view text) {
  return {text.data(), text.size()};
}
rocksdb::Slice slice_of(const RunKey& key) {
  return {key.data(), key.size()};
}

Error error_of(const rocksdb::Status& status, const std::string& what, const std::string& path) {
  ErrorCode code = ErrorCode::kIo;
  std::string advice = "check the disk and the rights of the folder";
  if (status.IsNoSpace()) {
    code = ErrorCode::kNoSpace;
    advice = "free space on its file system";
  } else if (status.IsCorruption()) {
    code = ErrorCode::kDamaged;
    advice = "the version index has to be rebuilt from the journal";
  }
  return fail(code, "version index " + path + ": " + what + ": " + status.ToString() + "; " + advice);
}

// RocksDB may end the process when a file it writes finds no space (an assertion in Debian's build), so it is
// not asked to write where there is little.
Result<void> check_space(const std::string& folder, std::uint64_t bytes) {
  constexpr std::uint64_t kFreeBytesMin = 8 << 20;
  std::uint64_t free_bytes = 0;
  const rocksdb::Status status = rocksdb::Env::Default()->GetFreeSpace(folder, &free_bytes);
  if (!status.ok() || free_bytes >= bytes + kFreeBytesMin) return {};
  return fail(ErrorCode::kNoSpace, "version index " + folder + ": its file system has only " +
                                       std::to_string(free_bytes >> 20) + " MiB free, and " +
                                       std::to_string((bytes + kFreeBytesMin) >> 20) +
                                       " are needed; free space on it");
}

bool supports(rocksdb::CompressionType wanted) {
  const auto types = rocksdb::GetSupportedCompressions();
  return std::find(types.begin(), types.end(), wanted) != types.end();
}

std::optional<std::uint64_t> number_in(const std::string& name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return std::nullopt;
  std::uint64_t number = 0;
  const char* begin = name.data() + prefix.size();
  const char* end = name.data() + name.size();
  const auto [stopped, error] = std::from_chars(begin, end, number);
  if (error != std::errc() || stopped != end) return std::nullopt;
  return number;
}

// The numbers of the folders of runs among `names`.
std::set<std::uint64_t> numbers_of_runs(const std::vector<std::string>& names) {
  std::set<std::uint64_t> numbers;
  for (const std::string& name : names) {
    if (const auto number = number_in(name, kRunsPrefix)) numbers.insert(*number);
  }
  return numbers;
}

rocksdb::Status make_folders(rocksdb::Env& files, const std::string& folder) {
  for (std::size_t at = folder.find('/', 1); at != std::string::npos; at = folder.find('/', at + 1)) {
    // Folders above may be there without our being allowed to make them; the last one decides.
    files.CreateDirIfMissing(folder.substr(0, at)).PermitUncheckedError();
  }
  return files.CreateDirIfMissing(folder);
}

// Goes forward over the keys of one volume and size class in the runs. Ends at the first key of another, at
// the end, and at a failure, which the iterator's status then tells.
class RunsCursor {
 public:
  RunsCursor(rocksdb::Iterator& iterator, VolumeId volume, unsigned size_class)
      : iterator_(iterator), volume_(volume), size_class_(size_class) {}

  void seek(std::uint64_t extent, std::uint64_t id_raw) {
    if (positioned_) {
      for (int step = 0; step < kStepsBeforeSearchMax; ++step) {
        if (!valid_ || reached(extent, id_raw)) return;
        iterator_.Next();
        load();
      }
      if (!valid_ || reached(extent, id_raw)) return;
    }
    positioned_ = true;
    const RunKey key = encode_run_key(volume_, size_class_, extent, id_raw);
    iterator_.Seek(slice_of(key));
    load();
  }
  bool valid() const { return valid_; }
  std::uint64_t extent() const { return key_.extent; }
  std::uint64_t id_raw() const { return key_.id_raw; }
  EntryKind kind() {
    decode();
    return value_.kind;
  }
  std::uint64_t place_raw() {
    decode();
    return value_.place_raw;
  }
  std::span<const std::uint32_t> checksums() {
    decode();
    return value_.checksums;
  }
  // A value was met that cannot be one.
  bool damaged() const { return damaged_; }

 private:
  bool reached(std::uint64_t extent, std::uint64_t id_raw) const {
    return std::pair(key_.extent, ~key_.id_raw) >= std::pair(extent, ~id_raw);
  }
  void load() {
    decoded_ = false;
    valid_ = iterator_.Valid() && decode_run_key(iterator_.key().ToStringView(), key_) &&
             key_.volume == volume_ && key_.size_class == size_class_;
  }
  void decode() {
    if (decoded_) return;
    decoded_ = true;
    if (decode_run_value(iterator_.value().ToStringView(), size_class_, value_)) return;
    damaged_ = true;
    value_ = {};
  }

  rocksdb::Iterator& iterator_;
  VolumeId volume_;
  unsigned size_class_;
  bool positioned_ = false;
  bool valid_ = false;
  bool decoded_ = false;
  bool damaged_ = false;
  DecodedRunKey key_{};
  DecodedRunValue value_{};
};

}  // namespace

class Runs::DropFilter : public rocksdb::CompactionFilter {
 public:
  const char* Name() const override { return "tidemark.drop-before-place"; }
  bool Filter(int, const rocksdb::Slice& key, const rocksdb::Slice& value, std::string*,
              bool*) const override {
    if (key.size() != kRunKeySize) return false;
    const std::uint64_t place = place_of_run_value(value.ToStringView());
    return place != 0 && place < bound_.load(std::memory_order_relaxed);
  }
  void raise(std::uint64_t bound) {
    std::uint64_t now = bound_.load(std::memory_order_relaxed);
    while (now < bound && !bound_.compare_exchange_weak(now, bound, std::memory_order_relaxed)) {
    }
  }
  std::uint64_t bound() const { return bound_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> bound_{0};
};

// Outlives the DB, which keeps a pointer to the filter.
struct Runs::Settings {
  DropFilter filter;
  rocksdb::Options options;

  explicit Settings(const RocksIndexOptions& wanted) {
    rocksdb::BlockBasedTableOptions table;
    table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
    table.whole_key_filtering = false;
    table.block_cache = rocksdb::NewLRUCache(wanted.block_cache_bytes);
    table.cache_index_and_filter_blocks = true;
    table.cache_index_and_filter_blocks_with_high_priority = true;
    table.pin_top_level_index_and_filter = true;
    // Filters and indexes in pieces: a look-up loads the piece it needs, not megabytes of a run's filter.
    table.index_type = rocksdb::BlockBasedTableOptions::kTwoLevelIndexSearch;
    table.partition_filters = true;
    table.metadata_block_size = 8 << 10;
    table.block_size = wanted.run_block_bytes;
    table.format_version = 5;
    table.checksum = rocksdb::kCRC32c;
    options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
    options.prefix_extractor.reset(rocksdb::NewFixedPrefixTransform(kRunKeyPrefixSize));
    options.compression =
        supports(rocksdb::kLZ4Compression) ? rocksdb::kLZ4Compression : rocksdb::kNoCompression;
    options.compaction_filter = &filter;
    // Keys that nothing newer overlaps would otherwise outlive the drop bound for ever.
    options.periodic_compaction_seconds = 24 * 60 * 60;
    options.create_if_missing = true;
    options.paranoid_checks = true;
    options.level_compaction_dynamic_level_bytes = true;
    options.target_file_size_base = 32 << 20;
    options.max_bytes_for_level_base = 128 << 20;
    options.write_buffer_size = 1 << 20;  // never written to
    options.max_background_jobs = 2;
    options.max_open_files = 512;
    options.avoid_unnecessary_blocking_io = true;
    options.info_log_level = rocksdb::WARN_LEVEL;
    options.keep_log_file_num = 2;
    options.max_log_file_size = 1 << 20;
    options.max_manifest_file_size = 4 << 20;
    options.stats_dump_period_sec = 0;
    options.stats_persist_period_sec = 0;
  }
};

Runs::~Runs() {
  db_.reset();
  if (!destroy_when_closed_.load()) return;
  rocksdb::DestroyDB(path_, settings_->options).PermitUncheckedError();
}

Result<std::shared_ptr<Runs>> Runs::open_numbered(const std::string& folder, std::uint64_t number,
                                                  const RocksIndexOptions& options) {
  std::shared_ptr<Runs> runs(new Runs());
  runs->folder_ = folder;
  runs->path_ = folder + "/" + std::string(kRunsPrefix) + std::to_string(number);
  runs->number_ = number;
  runs->options_ = options;
  runs->settings_ = std::make_unique<Settings>(options);
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status = rocksdb::DB::Open(runs->settings_->options, runs->path_, &db);
  if (!status.ok()) return error_of(status, "cannot be opened", runs->path_);
  runs->db_.reset(db);
  runs->count_bytes();
  return runs;
}

Result<Runs::Opened> Runs::open(const std::string& folder, const RocksIndexOptions& options) {
  rocksdb::Env& files = *rocksdb::Env::Default();
  rocksdb::Status status = make_folders(files, folder);
  if (!status.ok()) return error_of(status, "the folder cannot be made", folder);
  TM_TRY(check_space(folder, 0));
  std::vector<std::string> names;
  status = files.GetChildren(folder, &names);
  if (!status.ok()) return error_of(status, "the folder cannot be listed", folder);
  std::set<std::uint64_t> numbers = numbers_of_runs(names);
  for (const std::string& name : names) {
    // A run that a crash stopped halfway; nothing depends on its going.
    if (name.starts_with(kIncomingPrefix)) files.DeleteFile(folder + "/" + name).PermitUncheckedError();
  }

  // All but the highest are on their way out, stopped by a crash.
  const Settings settings(options);
  Opened opened;
  std::uint64_t number = numbers.empty() ? 1 : *numbers.rbegin();
  if (!numbers.empty()) {
    auto runs = open_numbered(folder, number, options);
    if (runs.ok()) {
      auto meta = (*runs)->read_meta();
      if (meta.ok()) {
        opened.runs = *runs;
        opened.meta = *meta;
        numbers.erase(number);
      } else {
        opened.why_rebuilt = meta.error().message;
      }
    } else if (runs.error().code == ErrorCode::kNoSpace) {
      return std::move(runs).error();  // the runs are good; they only cannot be opened now
    } else {
      opened.why_rebuilt = runs.error().message;
    }
    if (opened.runs == nullptr) {
      opened.rebuilt = true;
      ++number;
    }
  }
  for (std::uint64_t old : numbers) {
    const std::string path = folder + "/" + std::string(kRunsPrefix) + std::to_string(old);
    status = rocksdb::DestroyDB(path, settings.options);
    // Fails while another process has it open: then the folder is not ours to empty.
    if (!status.ok()) return error_of(status, "does not open and cannot be emptied", path);
  }
  if (opened.runs == nullptr) {
    TM_TRY_ASSIGN(opened.runs, open_numbered(folder, number, options));
  }
  return opened;
}

Result<std::shared_ptr<Runs>> Runs::make_successor(const std::shared_ptr<Runs>& old) {
  TM_TRY(check_space(old->folder_, 0));
  // Above all there are: a successor that was given up may not be gone yet.
  std::vector<std::string> names;
  const rocksdb::Status status = rocksdb::Env::Default()->GetChildren(old->folder_, &names);
  if (!status.ok()) return error_of(status, "the folder cannot be listed", old->folder_);
  std::set<std::uint64_t> numbers = numbers_of_runs(names);
  numbers.insert(old->number_);
  TM_TRY_ASSIGN(auto runs, open_numbered(old->folder_, *numbers.rbegin() + 1, old->options_));
  runs->drop_before(Place::from_raw(old->settings_->filter.bound()));
  return runs;
}

Result<std::shared_ptr<Runs>> Runs::replace(const std::shared_ptr<Runs>& old) {
  TM_TRY_ASSIGN(auto runs, make_successor(old));
  old->destroy_when_closed();
  return runs;
}

Result<RunMeta> Runs::read_meta() const {
  std::string value;
  const rocksdb::Status status = db_->Get({}, slice_of(kRunMetaKey), &value);
  if (status.ok()) return decode_run_meta(value);
  if (!status.IsNotFound()) return error_of(status, "cannot be read", path_);
  std::vector<rocksdb::LiveFileMetaData> files;
  db_->GetLiveFilesMetaData(&files);
  if (!files.empty())
    return fail(ErrorCode::kDamaged, "version index " + path_ + ": runs without a description");
  return RunMeta{};
}

void Runs::count_bytes() {
  std::uint64_t bytes = 0;
  db_->GetIntProperty(rocksdb::DB::Properties::kTotalSstFilesSize, &bytes);
  bytes_on_disk_.store(bytes, std::memory_order_relaxed);
}

void Runs::drop_before(Place bound) {
  settings_->filter.raise(bound.raw());
}

namespace {

// Calls put(key, value) for the keys of one volume and size class of all tables, in order, each once.
template <typename Put>
rocksdb::Status merge_class(const std::vector<std::shared_ptr<const MemoryTable>>& tables, VolumeId volume,
                            unsigned size_class, std::uint64_t bound, const Put& put) {
  std::vector<MemoryTable::Cursor> cursors;
  for (const auto& table : tables) {
    const MemoryTable::Volume* trees = table->find(volume);
    if (trees == nullptr || !trees->has(size_class)) continue;
    cursors.push_back(table->cursor(*trees, size_class));
    cursors.back().seek(0, ~0ull);
    if (!cursors.back().valid()) cursors.pop_back();
  }
  std::string value;
  while (!cursors.empty()) {
    const auto first = std::min_element(cursors.begin(), cursors.end(),
                                        [](const auto& a, const auto& b) { return a.key() < b.key(); });
    if (first->place_raw() >= bound) {
      const RunKey key = encode_run_key(volume, size_class, first->extent(), first->id_raw());
      encode_run_value(first->kind(), first->place_raw(), first->checksums(), value);
      const rocksdb::Status status = put(slice_of(key), slice_of(std::string_view(value)));
      if (!status.ok()) return status;
    }
    const ExtentTree::Key done = first->key();
    for (auto& cursor : cursors) {
      if (cursor.key() == done) cursor.next();
    }
    std::erase_if(cursors, [](const auto& cursor) { return !cursor.valid(); });
  }
  return rocksdb::Status::OK();
}

}  // namespace

Result<void> Runs::write_run(const std::vector<std::shared_ptr<const MemoryTable>>& tables,
                             const RunMeta& meta) {
  const std::string file = folder_ + "/" + std::string(kIncomingPrefix) + std::to_string(number_) + "-" +
                           std::to_string(next_file_++);
  const auto give_up = [&file](Error error) {
    rocksdb::Env::Default()->DeleteFile(file).PermitUncheckedError();
    return error;
  };
  std::uint64_t bytes_max = 0;
  for (const auto& table : tables) bytes_max += table->memory_bytes();
  TM_TRY(check_space(folder_, bytes_max));
  rocksdb::SstFileWriter writer(rocksdb::EnvOptions(), settings_->options);
  rocksdb::Status status = writer.Open(file);
  if (!status.ok()) return give_up(error_of(status, "a run cannot be made", file));
  const std::string description = encode_run_meta(meta);
  status = writer.Put(slice_of(kRunMetaKey), slice_of(std::string_view(description)));
  std::set<std::uint32_t> volumes;
  for (const auto& table : tables) {
    for (const auto& [volume, trees] : table->volumes()) volumes.insert(volume);
  }
  const auto put = [&writer](const rocksdb::Slice& key, const rocksdb::Slice& value) {
    return writer.Put(key, value);
  };
  const std::uint64_t bound = settings_->filter.bound();
  for (std::uint32_t volume : volumes) {
    for (unsigned size_class = 0; size_class < kSizeClassCount && status.ok(); ++size_class) {
      status = merge_class(tables, VolumeId{volume}, size_class, bound, put);
    }
  }
  if (status.ok()) status = writer.Finish();
  if (!status.ok()) return give_up(error_of(status, "a run cannot be written", file));

  rocksdb::IngestExternalFileOptions ingest;
  ingest.move_files = true;
  ingest.write_global_seqno = false;
  status = db_->IngestExternalFile({file}, ingest);
  if (!status.ok()) return give_up(error_of(status, "a run cannot be taken in", path_));
  count_bytes();
  return {};
}

Runs::Found Runs::find(VolumeId volume, BlockRange blocks, const Path& path, std::uint8_t classes,
                       std::size_t hits_max, HitSet& out) const {
  Found found{{}, blocks.end};
  std::unique_ptr<rocksdb::Iterator> filtered;
  std::unique_ptr<rocksdb::Iterator> ordered;
  bool damaged = false;
  rocksdb::Status status;
  const auto collect_from = [&](rocksdb::Iterator& iterator, unsigned size_class, BlockRange part,
                                std::size_t room) {
    RunsCursor cursor(iterator, volume, size_class);
    const std::uint64_t end = collect(cursor, size_class, part, path, room, out);
    damaged = damaged || cursor.damaged();
    if (status.ok()) status = iterator.status();
    return end;
  };
  for (unsigned size_class = 0; size_class < kSizeClassCount; ++size_class) {
    if ((classes >> size_class & 1) == 0) continue;
    const std::uint64_t first = extent_of(blocks.begin, size_class);
    const std::uint64_t last = extent_of(found.end - 1, size_class);
    if (last - first < kFilteredExtentsMax) {
      if (filtered == nullptr) {
        rocksdb::ReadOptions options;
        options.prefix_same_as_start = true;
        filtered.reset(db_->NewIterator(options));
      }
      std::size_t hits_before = out.hits.size();
      for (std::uint64_t extent = first; extent <= last; ++extent) {
        const BlockRange all = blocks_of_extent(extent, size_class);
        const BlockRange part{std::max(all.begin, blocks.begin), std::min(all.end, found.end)};
        const std::size_t room = hits_max - (out.hits.size() - hits_before);
        const std::uint64_t end = collect_from(*filtered, size_class, part, room);
        if (end == part.end) continue;
        found.end = end;
        break;
      }
    } else {
      if (ordered == nullptr) {
        rocksdb::ReadOptions options;
        options.total_order_seek = true;
        ordered.reset(db_->NewIterator(options));
      }
      found.end = collect_from(*ordered, size_class, BlockRange{blocks.begin, found.end}, hits_max);
    }
    out.end_list();
  }
  if (!status.ok()) {
    found.result = error_of(status, "a look-up failed", path_);
  } else if (damaged) {
    found.result = fail(ErrorCode::kDamaged, "version index " + path_ +
                                                 ": a value is not of its size; the version index has to be "
                                                 "rebuilt from the journal");
  }
  return found;
}

}  // namespace tidemark::index
