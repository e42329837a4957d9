#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>

#include "io/sync.h"
#include "journal/journal.h"

namespace tidemark::replication {

// Reads batches of a journal one after the other, and from disk several ahead of whoever asks for them. What
// is durable stays as it is, so nothing that was read ahead is ever out of date; that it may be freed is the
// caller's to prevent, or to hear as kExpired.
//
// Owned by whoever asks, one call at a time; the journal outlives it.
class BatchReader {
 public:
  // Of payload, at most this and a batch.
  static constexpr std::uint64_t kAheadBytesMax = 8 << 20;

  BatchReader(io::Scheduler& scheduler, journal::Journal& journal)
      : journal_(journal), loaded_(scheduler), reading_(scheduler) {}
  BatchReader(const BatchReader&) = delete;
  BatchReader& operator=(const BatchReader&) = delete;
  ~BatchReader() { reading_.cancel_all(); }

  struct Loaded {
    journal::StoredBatch batch{};
    Buffer payload{};
  };
  // As Journal::scan() and read_payload(): the first durable batch at or after `from`, or nothing.
  io::Task<Result<std::optional<Loaded>>> read(Place from);

 private:
  struct Ahead {
    Place from{};  // what was asked for it
    journal::StoredBatch batch{};
    std::optional<Result<Buffer>> payload{};  // once it is read
  };
  static std::uint64_t bytes_of(const Ahead& ahead);
  io::Task<Result<void>> read_ahead(Place from);
  io::Task<void> load(std::shared_ptr<Ahead> ahead);

  journal::Journal& journal_;
  std::deque<std::shared_ptr<Ahead>> ahead_;  // each begins where the one before it ends
  std::uint64_t ahead_bytes_ = 0;
  io::WaitQueue loaded_;
  io::TaskScope reading_;
};

}  // namespace tidemark::replication
