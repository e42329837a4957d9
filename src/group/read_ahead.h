#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/ids.h"
#include "io/sync.h"
#include "io/task.h"

namespace tidemark::group {

// Finds hosts that read a volume from one block to the next, and says what to bring into the cache before
// they ask. One that has several requests under way at once reads ahead itself: its requests end in any order
// and are not taken for such a host.
//
// What lies in the cache already is not brought again: a stream is followed from the first of its reads that
// the cache did not have, until all of what was brought had been there. Owned by its volume.
class ReadAhead {
 public:
  // In front of a stream at most this, and at most a 128th of the cache.
  static constexpr std::uint64_t kBlocksMax = 256;

  explicit ReadAhead(io::Scheduler& scheduler) : ended_(scheduler) {}

  // Before a read: until nothing of it is being brought any more.
  io::Task<void> wait_for(BlockRange blocks);
  bool is_being_brought(BlockRange blocks) const;
  // After a read of a host, which came from memory or not: what should be brought now, and ended() be told
  // of. Empty: nothing. `end`: of the volume; `cache_blocks`: what the cache holds.
  BlockRange note(BlockRange blocks, bool from_memory, std::uint64_t end, std::uint64_t cache_blocks);
  // `brought`, whose every block was in memory before or not.
  void ended(BlockRange brought, bool from_memory);

 private:
  static constexpr std::size_t kStreams = 4;
  static constexpr std::uint64_t kBlocksMin = 16;
  // How much of a stream has been read in order before it is believed.
  static constexpr std::uint64_t kRunBlocksMin = 4;
  struct Stream {
    std::uint64_t next = 0;   // where its next read begins
    std::uint64_t run = 0;    // blocks read in order so far; 0: no stream
    std::uint64_t ahead = 0;  // brought up to there
    std::uint64_t used = 0;   // when, in reads
    bool is_on = false;
  };
  Stream& stream_at(std::uint64_t begin);

  std::array<Stream, kStreams> streams_{};
  std::uint64_t reads_ = 0;
  std::vector<BlockRange> under_way_;
  io::WaitQueue ended_;
};

}  // namespace tidemark::group
