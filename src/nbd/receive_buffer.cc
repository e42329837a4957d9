#include "nbd/receive_buffer.h"

#include <cstring>

namespace tidemark::nbd {

ReceiveBuffer::ReceiveBuffer() : block_(Buffer::allocate(kBlockBytes)) {
  retired_.reserve(kBlocksMax - 1);
}

void ReceiveBuffer::consume(std::size_t count) {
  TM_ASSERT(count <= end_ - begin_);
  begin_ += count;
}

Buffer ReceiveBuffer::take(std::size_t count) {
  TM_ASSERT(count <= end_ - begin_);
  Buffer part = is_last_block() ? Buffer::copy_of(unread().first(count)) : block_.slice(begin_, count);
  begin_ += count;
  return part;
}

Buffer ReceiveBuffer::space_for(std::size_t message_bytes) {
  TM_ASSERT(message_bytes <= kBlockBytes);
  if (is_last_block()) reclaim();
  const bool is_empty = begin_ == end_;
  const bool block_is_shared = !block_.unique();
  const bool message_fits = begin_ + message_bytes <= kBlockBytes && kBlockBytes - end_ >= kReadBytesMin;
  if (!message_fits || (is_empty && !block_is_shared)) move_unread_to_front(block_is_shared);
  return block_.slice(end_, kBlockBytes - end_);
}

void ReceiveBuffer::received(std::size_t count) {
  TM_ASSERT(count <= kBlockBytes - end_);
  end_ += count;
}

void ReceiveBuffer::move_unread_to_front(bool block_is_shared) {
  const std::size_t count = end_ - begin_;
  if (!block_is_shared) {
    if (count != 0 && begin_ != 0) std::memmove(block_.data(), block_.data() + begin_, count);
  } else {
    reclaim();
    // The last block is never shared, because take() copies from it; so it never comes here.
    TM_ASSERT(!is_last_block());
    Buffer next = spare_.empty() ? Buffer::allocate(kBlockBytes) : std::exchange(spare_, Buffer());
    if (count != 0) std::memcpy(next.data(), block_.data() + begin_, count);
    retired_.push_back(std::move(block_));
    block_ = std::move(next);
  }
  begin_ = 0;
  end_ = count;
}

void ReceiveBuffer::reclaim() {
  std::erase_if(retired_, [&](Buffer& retired) {
    if (!retired.unique()) return false;
    if (spare_.empty()) spare_ = std::move(retired);
    return true;
  });
}

}  // namespace tidemark::nbd
