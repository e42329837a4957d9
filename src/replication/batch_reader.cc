#include "replication/batch_reader.h"

#include <utility>

namespace tidemark::replication {

std::uint64_t BatchReader::bytes_of(const Ahead& ahead) {
  return std::uint64_t{ahead.batch.meta.payload_blocks} * kBlockSizeBytes + ahead.batch.encoded_meta.size();
}

io::Task<void> BatchReader::load(std::shared_ptr<Ahead> ahead) {
  auto payload = co_await journal_.read_payload(ahead->batch);
  ahead->payload.emplace(std::move(payload));
  loaded_.wake_all();
}

// Until the first of them is there, or enough is on its way: what lies in memory goes out at once.
io::Task<Result<void>> BatchReader::read_ahead(Place from) {
  while (ahead_bytes_ < kAheadBytesMax && (ahead_.empty() || !ahead_.front()->payload.has_value())) {
    const Place at = ahead_.empty() ? from : ahead_.back()->batch.next;
    auto scanned = co_await journal_.scan(at);
    // What is wrong further on is told when it has its turn.
    if (!scanned.ok() && !ahead_.empty()) break;
    if (!scanned.ok()) co_return std::move(scanned).error();
    if (!scanned->has_value()) break;
    auto ahead = std::make_shared<Ahead>();
    ahead->from = at;
    ahead->batch = std::move(**scanned);
    ahead_bytes_ += bytes_of(*ahead);
    ahead_.push_back(ahead);
    reading_.spawn(load(std::move(ahead)));
  }
  co_return Result<void>{};
}

io::Task<Result<std::optional<BatchReader::Loaded>>> BatchReader::read(Place from) {
  if (!ahead_.empty() && ahead_.front()->from != from) {
    ahead_.clear();
    ahead_bytes_ = 0;
  }
  TM_CO_TRY(co_await read_ahead(from));
  if (ahead_.empty()) co_return std::optional<Loaded>();
  const std::shared_ptr<Ahead> first = ahead_.front();
  while (!first->payload.has_value()) co_await loaded_.wait();
  ahead_.pop_front();
  ahead_bytes_ -= bytes_of(*first);
  if (!first->payload->ok()) co_return first->payload->error();
  std::optional<Loaded> loaded;
  loaded.emplace();
  loaded->batch = std::move(first->batch);
  loaded->payload = std::move(*first->payload).value();
  co_return loaded;
}

}  // namespace tidemark::replication
