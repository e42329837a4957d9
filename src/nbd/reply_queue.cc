#include "nbd/reply_queue.h"

#include <algorithm>
#include <cstring>

namespace tidemark::nbd {

void ReplyQueue::add(Bytes bytes) {
  TM_ASSERT(bytes.size() <= kBlockBytes);
  if (!last_is_open_ && block_.unique()) block_end_ = 0;  // all that was in it has been sent
  if (block_.empty() || bytes.size() > kBlockBytes - block_end_) {
    block_ = Buffer::allocate(kBlockBytes);
    block_end_ = 0;
    last_is_open_ = false;
  }
  if (!last_is_open_) block_begin_ = block_end_;
  std::memcpy(block_.data() + block_end_, bytes.data(), bytes.size());
  block_end_ += bytes.size();
  plain_bytes_ += bytes.size();
  Buffer piece = block_.slice(block_begin_, block_end_ - block_begin_);
  if (last_is_open_) {
    pieces_.back().buffer = std::move(piece);
  } else {
    pieces_.push_back({std::move(piece), false});
    last_is_open_ = true;
  }
}

void ReplyQueue::add_payload(Buffer data) {
  pieces_.push_back({std::move(data), true});
  last_is_open_ = false;
}

ReplyQueue::Batch ReplyQueue::take() {
  Batch batch;
  const std::size_t count = std::min(pieces_.size(), kPiecesMax);
  batch.pieces.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    Piece& piece = pieces_.front();
    (piece.is_payload ? batch.payload_bytes : batch.plain_bytes) += piece.buffer.size();
    batch.pieces.push_back(std::move(piece.buffer));
    pieces_.pop_front();
  }
  plain_bytes_ -= batch.plain_bytes;
  if (pieces_.empty()) last_is_open_ = false;
  return batch;
}

}  // namespace tidemark::nbd
