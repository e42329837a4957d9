#include "journal/sequential_reader.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/crc32c.h"
#include "journal/state.h"

namespace tidemark::journal {

SequentialReader::SequentialReader(io::Scheduler& scheduler, Journal& journal)
    : journal_(journal), state_(*journal.state_), loaded_(scheduler), reading_(scheduler) {}

io::Task<void> SequentialReader::load(std::shared_ptr<Chunk> chunk) {
  if (state_.find_segment(chunk->begin.generation()) == nullptr) {
    chunk->outcome.emplace(tidemark::fail(ErrorCode::kExpired, "the segment has been freed"));
  } else {
    auto read = co_await state_.disk.read(state_.disk_offset(chunk->begin), chunk->bytes);
    const bool is_there = state_.find_segment(chunk->begin.generation()) != nullptr;
    chunk->outcome.emplace(is_there ? std::move(read)
                                    : tidemark::fail(ErrorCode::kExpired, "the segment has been freed"));
  }
  loaded_.wake_all();
}

// False when there is nothing more that is durable.
bool SequentialReader::read_next_chunk() {
  std::uint32_t blocks = state_.durable_blocks(next_);
  if (blocks == 0) {
    // What is left of this one may become durable later.
    const std::optional<Place> following = state_.next_segment(next_);
    blocks = following.has_value() ? state_.durable_blocks(*following) : 0;
    if (blocks == 0) return false;
    next_ = *following;
  }
  auto chunk = std::make_shared<Chunk>();
  chunk->begin = next_;
  chunk->blocks = std::min(blocks, kChunkBlocks);
  chunk->bytes = Buffer::allocate(std::size_t{chunk->blocks} * kBlockSizeBytes);
  next_ = next_.plus(chunk->blocks);
  chunks_.push_back(chunk);
  reading_.spawn(load(std::move(chunk)));
  return true;
}

io::Task<Result<Buffer>> SequentialReader::read_blocks(Place place, std::uint32_t blocks) {
  const auto holds_place = [place](const std::shared_ptr<Chunk>& chunk) {
    return chunk->begin <= place && place < chunk->begin.plus(chunk->blocks);
  };
  if (place != next_ && std::none_of(chunks_.begin(), chunks_.end(), holds_place)) {
    chunks_.clear();
    next_ = place;
  }
  const Place end = place.plus(blocks);
  while ((next_ < end || chunks_.size() < kChunksAhead) && read_next_chunk()) {
  }
  std::vector<std::shared_ptr<Chunk>> parts;
  std::uint32_t found = 0;
  for (const std::shared_ptr<Chunk>& chunk : chunks_) {
    const Place chunk_end = chunk->begin.plus(chunk->blocks);
    if (chunk_end <= place || chunk->begin >= end) continue;
    parts.push_back(chunk);
    found += std::min(chunk_end, end).block() - std::max(chunk->begin, place).block();
  }
  if (found < blocks) co_return tidemark::fail(ErrorCode::kInvalid, "a read beyond the end of a segment");
  for (const std::shared_ptr<Chunk>& chunk : parts) {
    while (!chunk->outcome.has_value()) co_await loaded_.wait();
    if (chunk->outcome->ok()) continue;
    // What can be read of it is not to wait for what cannot.
    chunks_.clear();
    co_return co_await state_.read_blocks(place, blocks, state_.durable_end);
  }
  const std::size_t bytes = std::size_t{blocks} * kBlockSizeBytes;
  if (parts.size() == 1) {
    const std::size_t at = (place.block() - parts.front()->begin.block()) * kBlockSizeBytes;
    co_return parts.front()->bytes.slice(at, bytes);
  }
  Buffer joined = Buffer::allocate(bytes);
  std::size_t filled = 0;
  for (const std::shared_ptr<Chunk>& chunk : parts) {
    const std::size_t skipped = filled > 0 ? 0 : (place.block() - chunk->begin.block()) * kBlockSizeBytes;
    const std::size_t part = std::min(chunk->bytes.size() - skipped, bytes - filled);
    std::memcpy(joined.data() + filled, chunk->bytes.data() + skipped, part);
    filled += part;
  }
  co_return joined;
}

io::Task<Result<Buffer>> SequentialReader::payload_of(const StoredBatch& batch) {
  const std::uint32_t blocks = batch.meta.payload_blocks;
  if (blocks == 0) co_return Buffer();
  if (Buffer recent = journal_.recent(batch.payload_place, blocks); !recent.empty()) co_return recent;
  const auto read = co_await read_blocks(batch.payload_place, blocks);
  const auto matches = [&read](const format::Entry& entry) {
    for (std::size_t i = 0; i < entry.checksums.size(); ++i) {
      const std::size_t at = (entry.payload_block + i) * kBlockSizeBytes;
      if (crc32c(Bytes(*read).subspan(at, kBlockSizeBytes)) != entry.checksums[i]) return false;
    }
    return true;
  };
  const std::vector<format::Entry>& entries = batch.meta.entries;
  if (read.ok() && std::all_of(entries.begin(), entries.end(), matches)) co_return *read;
  // Block by block, with what a RAID group has in their place, and with words for what is wrong.
  co_return co_await journal_.read_payload(batch);
}

io::Task<Result<std::optional<SequentialReader::Loaded>>> SequentialReader::read(Place from) {
  while (!chunks_.empty() && chunks_.front()->begin.plus(chunks_.front()->blocks) <= from)
    chunks_.pop_front();
  auto scanned = co_await state_.scan(from, this);
  // What is wrong is looked for on the disk again the next time; what is behind the end may be written then.
  if (!scanned.ok() || !scanned->has_value()) chunks_.clear();
  if (!scanned.ok()) co_return std::move(scanned).error();
  if (!scanned->has_value()) co_return std::optional<Loaded>();
  std::optional<Loaded> loaded;
  loaded.emplace();
  loaded->batch = std::move(**scanned);
  auto payload = co_await payload_of(loaded->batch);
  if (!payload.ok()) {
    chunks_.clear();
    co_return std::move(payload).error();
  }
  loaded->payload = std::move(payload).value();
  co_return loaded;
}

}  // namespace tidemark::journal
