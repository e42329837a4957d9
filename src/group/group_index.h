#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/ids.h"
#include "base/place.h"
#include "base/result.h"
#include "base/time.h"
#include "format/batch.h"
#include "index/version_index.h"
#include "io/sync.h"
#include "io/task.h"

namespace tidemark::group {

struct Core;

// The version index of a group, which is made again from the journal when it turns out to be damaged.
//
// A look-up, or the writing of a run, that meets damage of the index waits until the index has been rebuilt;
// a look-up is then made once more. One rebuild runs at a time, for all who wait. It fills an empty successor
// beside the damaged index, which goes on answering what it can:
//
//   entries        1 ... 800 | 801 ... 950 | 951 ...
//   come from      the scan of the journal | both: the scan stops at some batch ... and the writer, at once
//                            ^ the successor was made when 800 was the newest appended
//
// Invariants
//   1. What is inserted goes into the index in use, and into the successor from the moment there is one.
//   2. The successor answers nobody until it holds every entry of the journal, dead branches included.
//   3. A look-up gets all of its answer from one index. One that was replaced is closed when the last look-up
//      in it has ended.
//
// An attempt that fails (no space, a disk error, a damaged journal) leaves the index in use as it was: what
// it can read it answers, what it cannot fails with the reason. The next look-up that needs it tries again,
// not before kPause has passed.
//
// Owned by Core, which outlives it; reactor thread only. close() ends a rebuild under way.
class GroupIndex {
 public:
  // Between the end of an attempt that failed and the next: each may read the whole journal.
  static constexpr Duration kPause = Duration::seconds(1);
  // The same for runs that cannot be written, which are tried all the time, also after a success.
  static constexpr Duration kPersistPause = Duration::seconds(60);

  GroupIndex(Core* core, std::unique_ptr<index::VersionIndex> opened);
  ~GroupIndex();
  GroupIndex(const GroupIndex&) = delete;
  GroupIndex& operator=(const GroupIndex&) = delete;

  // As the functions of index::VersionIndex of these names.
  void insert_data(VolumeId volume, BlockRange blocks, LogId id, Place place,
                   const std::vector<std::uint32_t>& checksums);
  void insert_zero(VolumeId volume, BlockRange blocks, LogId id, Place place);
  // The writes, zeroes and discards of a batch.
  void insert_batch(const format::BatchMeta& meta, Place payload_place);
  // kDamaged when it was rebuilt and is damaged once more, or when the journal is damaged; kShutdown when the
  // group closes meanwhile; else what keeps it from being rebuilt.
  io::Task<Result<void>> lookup(VolumeId volume, BlockRange blocks, const index::Path& path,
                                std::vector<index::Piece>& out, std::size_t pieces_max = 4096);
  bool lookup_now(VolumeId volume, BlockRange blocks, const index::Path& path,
                  std::vector<index::Piece>& out) {
    return in_use_->index->lookup_now(volume, blocks, path, out);
  }
  bool wants_persist() const { return in_use_->index->wants_persist(); }
  io::Task<Result<void>> persist(Place resume, index::VersionIndex::UntilDurable until_durable);
  Place resume_place() const { return in_use_->index->resume_place(); }
  void drop_before(Place bound);
  io::Task<Result<void>> clear() { return in_use_->index->clear(); }
  // A successor under way included.
  index::IndexStatus status() const;
  io::Task<void> close();

  bool rebuilding() const { return rebuilding_; }
  // The latest rebuild that succeeded; none since the group was opened.
  std::optional<MonotonicTime> rebuilt_at() const { return rebuilt_at_; }

 private:
  struct Held {
    explicit Held(std::unique_ptr<index::VersionIndex> what) : index(std::move(what)) {}
    std::unique_ptr<index::VersionIndex> index;
    std::uint32_t users = 0;  // look-ups and persists under way
  };
  class User;
  struct Scanned {
    std::uint64_t batches = 0;
  };
  static void insert(index::VersionIndex& index, const format::BatchMeta& meta, Place payload_place);

  // Until an index other than `damaged` is in use; why none is.
  io::Task<Result<void>> mend(std::shared_ptr<Held> damaged, Error damage);
  io::Task<void> rebuild(Error damage);
  io::Task<Result<void>> make_successor();
  io::Task<Result<void>> fill_successor(Scanned* scanned);
  io::Task<Result<void>> persist_successor(Place resume);
  Result<void> check_going_on() const;
  Error why_not(const Error& damage, const Error& reason) const;
  // For good, what it keeps on disk included, once nobody uses it.
  io::Task<void> put_away(std::shared_ptr<Held> old);
  void tell(const char* event, const Error& damage, const Scanned& scanned, MonotonicTime begun,
            const std::string& reason) const;

  Core* core_;
  std::shared_ptr<Held> in_use_;
  std::shared_ptr<Held> successor_;  // while one is filled
  Place bound_{};                    // the highest given to drop_before()
  bool rebuilding_ = false;
  std::uint64_t attempts_ended_ = 0;
  std::optional<Error> last_failure_;  // of the last attempt; none when it succeeded
  std::optional<MonotonicTime> last_ended_at_;
  std::optional<MonotonicTime> rebuilt_at_;
  std::uint64_t lookups_before_ = 0;  // in indexes that were replaced
  std::uint64_t lookups_beyond_memory_before_ = 0;
  io::WaitQueue attempt_ended_;
  io::WaitQueue users_ended_;
  io::TaskScope tasks_;
};

}  // namespace tidemark::group
