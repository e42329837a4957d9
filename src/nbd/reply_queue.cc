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
    pieces_.push_back({std::move(piece), false, 0});
    last_is_open_ = true;
  }
}

void ReplyQueue::add_payload(Buffer data, std::uint64_t charge_bytes) {
  pieces_.push_back({std::move(data), true, charge_bytes});
  last_is_open_ = false;
}

ReplyQueue::Batch ReplyQueue::take() {
  Batch batch;
  batch.pieces.reserve(std::min(pieces_.size(), kPiecesMax));
  std::size_t payload_left = kSendPayloadBytesMax;
  while (!pieces_.empty() && batch.pieces.size() < kPiecesMax) {
    Piece& piece = pieces_.front();
    if (piece.is_payload) {
      if (payload_left == 0) break;
      const std::size_t size = piece.buffer.size();
      if (size > payload_left) {
        batch.pieces.push_back(piece.buffer.slice(0, payload_left));
        piece.buffer = piece.buffer.slice(payload_left, size - payload_left);
        break;
      }
      payload_left -= size;
      const bool is_large = piece.charge_bytes > PayloadBudgets::kOrdinaryBytesMax;
      (is_large ? batch.large_charge_bytes : batch.ordinary_charge_bytes) += piece.charge_bytes;
    } else {
      batch.plain_bytes += piece.buffer.size();
    }
    batch.pieces.push_back(std::move(piece.buffer));
    pieces_.pop_front();
  }
  plain_bytes_ -= batch.plain_bytes;
  if (pieces_.empty()) last_is_open_ = false;
  return batch;
}

}  // namespace tidemark::nbd
