#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/place.h"
#include "base/result.h"
#include "io/environment.h"
#include "io/task.h"

namespace tidemark::index {

// Entries of one epoch with sequences in [first_sequence, last_sequence] (both included).
struct PathStep {
  Epoch epoch{};
  std::uint64_t first_sequence = 0;
  std::uint64_t last_sequence = 0;
  bool operator==(const PathStep&) const = default;
};

// What a reader at a point sees above the base: steps newest first, epochs strictly falling. An entry
// not on the path does not exist for the reader. Made by EpochTree.
struct Path {
  std::vector<PathStep> steps;
  // True when `id` lies on the path.
  bool contains(LogId id) const;
  bool operator==(const Path&) const = default;
};

// A maximal run of blocks with one answer.
struct Piece {
  BlockRange blocks{};
  enum class Kind : std::uint8_t {
    kBase,
    kZero,
    kData
  } kind = Kind::kBase;  // kBase: no entry on the path wrote it
  LogId id{};            // kZero, kData: the newest entry on the path that covers it
  Place place{};         // kData: of the first block; the others follow it. kZero: of the entry's batch
  std::vector<std::uint32_t> checksums{};  // kData: one per block
};

struct IndexStatus {
  std::uint64_t keys_in_memory = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t runs_bytes_on_disk = 0;
  std::uint64_t lookups = 0;
  std::uint64_t lookups_beyond_memory = 0;
};

// From (volume, block, path) to the newest log entry on the path that wrote the block.
//
// Ranges are kept as aligned extents of 4 KiB × 16ⁿ, n = 0…7 (1 TiB), and the newest across sizes wins: a
// discard of a terabyte is a handful of keys, an aligned 1 MiB write one key with 256 checksums. The index
// is derived: whoever owns it can rebuild it from the journal, and does when it is missing or damaged. In a
// group that is group::GroupIndex.
//
// Used on the group's reactor thread; what may block goes through offload. Both twins (memory, RocksDB)
// answer alike; a property test holds them together.
class VersionIndex {
 public:
  virtual ~VersionIndex() = default;

  // The entry `id` wrote `blocks` of `volume`: data whose blocks lie at `place`, place + 1, … with
  // these checksums, or zeroes (`checksums` empty, `place` that of the batch). Visible at once. Inserting
  // the same entry again changes nothing, as when a journal is replayed.
  virtual void insert_data(VolumeId volume, BlockRange blocks, LogId id, Place place,
                           const std::vector<std::uint32_t>& checksums) = 0;
  virtual void insert_zero(VolumeId volume, BlockRange blocks, LogId id, Place place) = 0;

  // Pieces that cover `blocks` in order, appended to `out`. The work grows with the number of pieces, not
  // with the length of the range: looking up an empty terabyte is cheap. At most `pieces_max` pieces are
  // given; the last one then ends before blocks.end and the caller asks again from there.
  virtual io::Task<Result<void>> lookup(VolumeId volume, BlockRange blocks, const Path& path,
                                        std::vector<Piece>& out, std::size_t pieces_max = 4096) = 0;
  // The same when it can be answered without waiting for a disk; false leaves `out` as it was.
  virtual bool lookup_now(VolumeId volume, BlockRange blocks, const Path& path, std::vector<Piece>& out) = 0;

  // True when enough is in memory that a run should be written.
  virtual bool wants_persist() const = 0;
  // Writes what is in memory as a finished run, with `resume`: the journal place from which a scan yields
  // every entry that is not in the runs. Everything inserted before the call is in the run; inserts may go on
  // meanwhile. Durable on return, as far as a derived structure must be. A failed call loses nothing and may
  // be repeated; after kDamaged, here or from lookup(), make_successor() and a replay are the way out.
  //
  // `until_durable`, when given, is called once it is settled what the run holds, and awaited before the run
  // counts: log ids of entries that a crash takes back are given out again, and a run must never name one of
  // those.
  using UntilDurable = std::function<io::Task<Result<void>>()>;
  virtual io::Task<Result<void>> persist(Place resume, UntilDurable until_durable = {}) = 0;
  // Of the last finished run; none when there is none and the journal must be scanned from its oldest place.
  virtual Place resume_place() const = 0;
  // Entries at places before `bound` are no longer wanted and may be dropped at leisure; no path given
  // later contains them.
  virtual void drop_before(Place bound) = 0;
  // Forgets all of it.
  virtual io::Task<Result<void>> clear() = 0;
  // An empty index beside this one, which is left as it is and goes on: for a rebuild. Whichever is given up
  // is then retired and closed. After a crash the one made last counts; what it lacks lies behind its resume
  // place. kNoSpace, kIo, kClosed.
  virtual io::Task<Result<std::unique_ptr<VersionIndex>>> make_successor() = 0;
  // What it keeps on disk goes with close().
  virtual void retire() = 0;
  virtual IndexStatus status() const = 0;
  virtual io::Task<void> close() = 0;
};

// The twin in memory: what simulation uses, and what the tests compare with.
std::unique_ptr<VersionIndex> make_memory_index();

struct RocksIndexOptions {
  std::uint64_t memory_bytes_max = 64 << 20;    // the newest entries, before they become a run
  std::uint64_t block_cache_bytes = 32 << 20;   // blocks, filters and indexes of the runs
  std::uint64_t path_map_bytes_max = 32 << 20;  // pages of the newest places of each volume
  std::uint64_t run_block_bytes = 8 << 10;      // of a run: read, checked and kept together
};
// Opens or makes the index in `folder`. A folder that does not open is emptied and made anew (`rebuilt` is
// then set and resume_place() is none); kIo and kNoSpace only when that fails too.
struct OpenedIndex {
  std::unique_ptr<VersionIndex> index;
  bool rebuilt = false;
  std::string why_rebuilt;
};
io::Task<Result<OpenedIndex>> open_rocks_index(io::Environment environment, std::string folder,
                                               RocksIndexOptions options);

}  // namespace tidemark::index
