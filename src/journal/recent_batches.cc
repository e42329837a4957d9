#include "journal/recent_batches.h"

#include <algorithm>
#include <cstring>

#include "base/ids.h"

namespace tidemark::journal {
namespace {

std::size_t batch_bytes(const RecentBatch& batch) {
  return batch.payload_blocks * kBlockSizeBytes + batch.encoded_meta.size();
}

}  // namespace

Buffer RecentBatch::slice(std::uint32_t block, std::uint32_t blocks) const {
  auto piece = std::upper_bound(pieces.begin(), pieces.end(), block,
                                [](std::uint32_t at, const Piece& p) { return at < p.block; });
  TM_ASSERT(piece != pieces.begin());
  --piece;
  if (block + blocks <= piece->block + piece->blocks) {
    return piece->memory.slice(piece->begin + (block - piece->block) * kBlockSizeBytes,
                               blocks * kBlockSizeBytes);
  }
  Buffer whole = Buffer::allocate(blocks * kBlockSizeBytes);
  std::uint32_t done = 0;
  while (done < blocks) {
    const std::uint32_t skip = block + done - piece->block;
    const std::uint32_t step = std::min(blocks - done, piece->blocks - skip);
    std::memcpy(whole.data() + done * kBlockSizeBytes,
                piece->memory.data() + piece->begin + skip * kBlockSizeBytes, step * kBlockSizeBytes);
    done += step;
    ++piece;
  }
  return whole;
}

std::vector<Buffer> RecentBatch::payload() const {
  std::vector<Buffer> out;
  for (const Piece& piece : pieces) {
    out.push_back(piece.memory.slice(piece.begin, piece.blocks * kBlockSizeBytes));
  }
  return out;
}

RecentBatch& RecentBatches::add(Place frame, std::uint64_t ticket) {
  batches_.push_back(std::make_unique<RecentBatch>());
  batches_.back()->frame = frame;
  batches_.back()->ticket = ticket;
  return *batches_.back();
}

RecentBatches::RecentBatches(std::uint64_t bytes_max, RecentMemory* memory)
    : bytes_max_(bytes_max), memory_(memory) {
  if (memory_ != nullptr) memory_->journals_.push_back(this);
}

RecentBatches::~RecentBatches() {
  if (memory_ == nullptr) return;
  std::erase(memory_->journals_, this);
  memory_->bytes_ -= bytes_;
}

void RecentBatches::grew(std::size_t bytes) {
  bytes_ += bytes;
  if (memory_ != nullptr) memory_->bytes_ += bytes;
}

bool RecentBatches::can_let_go() const {
  return !batches_.empty() && batches_.front()->frame_blocks != 0 &&
         batches_.front()->ticket <= durable_ticket_;
}

void RecentBatches::let_go() {
  const std::size_t bytes = batch_bytes(*batches_.front());
  bytes_ -= bytes;
  if (memory_ != nullptr) memory_->bytes_ -= bytes;
  batches_.pop_front();
}

void RecentBatches::evict(std::uint64_t durable_ticket) {
  durable_ticket_ = durable_ticket;
  while (bytes_ > bytes_max_ && can_let_go()) let_go();
  if (memory_ != nullptr) memory_->shrink();
}

std::uint64_t RecentMemory::pending_bytes_max() const {
  return std::clamp(kPendingBytesMax / std::max<std::size_t>(journals_.size(), 1), kJournalPendingBytesMin,
                    kJournalPendingBytesMax);
}

void RecentMemory::shrink() {
  while (bytes_ > bytes_max_) {
    RecentBatches* largest = nullptr;
    for (RecentBatches* journal : journals_) {
      if (journal->can_let_go() && (largest == nullptr || journal->bytes_ > largest->bytes_))
        largest = journal;
    }
    if (largest == nullptr) return;
    largest->let_go();
  }
}

const RecentBatch* RecentBatches::find(Place payload) const {
  const auto after =
      std::upper_bound(batches_.begin(), batches_.end(), payload,
                       [](Place at, const std::unique_ptr<RecentBatch>& batch) { return at < batch->frame; });
  if (after == batches_.begin()) return nullptr;
  return std::prev(after)->get();
}

const RecentBatch* RecentBatches::find_frame(Place frame) const {
  const RecentBatch* batch = find(frame);
  return batch != nullptr && batch->frame == frame ? batch : nullptr;
}

Buffer RecentBatches::read(Place place, std::uint32_t blocks) const {
  const RecentBatch* batch = find(place);
  if (batch == nullptr || batch->frame.generation() != place.generation()) return {};
  const std::uint32_t block = place.block() - batch->frame.block() - 1;
  if (place.block() <= batch->frame.block() || block + blocks > batch->payload_blocks) return {};
  return batch->slice(block, blocks);
}

}  // namespace tidemark::journal
