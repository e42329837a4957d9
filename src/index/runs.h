#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/place.h"
#include "base/result.h"
#include "index/answer.h"
#include "index/memory_table.h"
#include "index/run_format.h"
#include "index/version_index.h"

namespace rocksdb {
class DB;
class Status;
}  // namespace rocksdb

namespace tidemark::index {

// The finished runs, in RocksDB: one folder "runs-N", of which the highest N counts.
//
// Every function may block and is called on offload threads, several at once except write_run(), which
// its caller serialises. Shared: the folder is closed with the last holder, so a look-up that outlived its
// Task keeps what it reads. Nothing goes through RocksDB's write buffer or its write-ahead log: a run is
// written beside it, synced, and taken in with one record in its manifest, so a crash leaves all of a run or
// none.
class Runs {
 public:
  struct Opened {
    std::shared_ptr<Runs> runs;
    RunMeta meta;
    bool rebuilt = false;  // what was there did not open, or was not ours, and is gone
    std::string why_rebuilt;
  };
  // Opens or makes `folder`/runs-N. kIo, kNoSpace when neither works.
  static Result<Opened> open(const std::string& folder, const RocksIndexOptions& options);
  // Empty runs beside `old`, in a folder with a higher number.
  static Result<std::shared_ptr<Runs>> make_successor(const std::shared_ptr<Runs>& old);
  // The same, and the files of `old` go with its last holder.
  static Result<std::shared_ptr<Runs>> replace(const std::shared_ptr<Runs>& old);
  // The folder goes with the last holder. Any thread.
  void destroy_when_closed() { destroy_when_closed_.store(true); }
  ~Runs();
  Runs(const Runs&) = delete;
  Runs& operator=(const Runs&) = delete;

  // Writes all keys of `tables` (newest first: of equal keys the first counts) that are not below the
  // drop bound as one run, together with `meta`. kNoSpace, kIo, kDamaged; nothing is changed then.
  Result<void> write_run(const std::vector<std::shared_ptr<const MemoryTable>>& tables, const RunMeta& meta);

  struct Found {
    Result<void> result;
    std::uint64_t end = 0;  // how far all lists go
  };
  // The hits of the size classes in `classes` (bit n: class n). kDamaged when what is read is not whole.
  Found find(VolumeId volume, BlockRange blocks, const Path& path, std::uint8_t classes, std::size_t hits_max,
             HitSet& out) const;

  // Keys at places before `bound` may go when RocksDB merges runs. Any thread.
  void drop_before(Place bound);
  std::uint64_t bytes_on_disk() const { return bytes_on_disk_.load(std::memory_order_relaxed); }

 private:
  class DropFilter;
  struct Settings;
  Runs() = default;
  static Result<std::shared_ptr<Runs>> open_numbered(const std::string& folder, std::uint64_t number,
                                                     const RocksIndexOptions& options);
  Result<RunMeta> read_meta() const;
  void count_bytes();

  std::string folder_;  // the one that holds runs-N
  std::string path_;    // folder_/runs-N
  std::uint64_t number_ = 0;
  std::uint64_t next_file_ = 1;
  RocksIndexOptions options_;
  std::unique_ptr<Settings> settings_;
  std::unique_ptr<rocksdb::DB> db_;
  std::atomic<std::uint64_t> bytes_on_disk_{0};
  std::atomic<bool> destroy_when_closed_{false};
};

}  // namespace tidemark::index
