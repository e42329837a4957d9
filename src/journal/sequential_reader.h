#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>

#include "io/sync.h"
#include "journal/journal.h"

namespace tidemark::journal {

struct State;

// Reads the batches of a journal one after the other, as fast as its disk gives them: what is no longer in
// memory is read in chunks of a megabyte, several at once and ahead of whoever asks, frames and payload
// alike. What is durable stays as it is, so nothing that was read ahead is ever out of date; that it may be
// freed is the caller's to prevent, or to hear as kExpired.
//
// Owned by whoever asks, one call at a time; the journal outlives it.
class SequentialReader {
 public:
  static constexpr std::uint32_t kChunkBlocks = 256;
  static constexpr std::size_t kChunksAhead = 8;  // what a reader that lags holds in memory, at most

  SequentialReader(io::Scheduler& scheduler, Journal& journal);
  SequentialReader(const SequentialReader&) = delete;
  SequentialReader& operator=(const SequentialReader&) = delete;
  ~SequentialReader() { reading_.cancel_all(); }

  struct Loaded {
    StoredBatch batch{};
    Buffer payload{};
  };
  // As Journal::scan() and read_payload(): the first durable batch at or after `from`, or nothing.
  io::Task<Result<std::optional<Loaded>>> read(Place from);

 private:
  friend struct State;
  struct Chunk {
    Place begin{};
    std::uint32_t blocks = 0;
    Buffer bytes{};
    std::optional<Result<void>> outcome{};  // once it is read
  };
  // Of one segment, in front of the durable end. kInvalid when there is no so much of it.
  io::Task<Result<Buffer>> read_blocks(Place place, std::uint32_t blocks);
  bool read_next_chunk();
  io::Task<void> load(std::shared_ptr<Chunk> chunk);
  io::Task<Result<Buffer>> payload_of(const StoredBatch& batch);

  Journal& journal_;
  State& state_;
  std::deque<std::shared_ptr<Chunk>> chunks_;  // each begins where the one before it, or its segment, ends
  Place next_{};                               // where the one after them begins
  io::WaitQueue loaded_;
  io::TaskScope reading_;
};

}  // namespace tidemark::journal
