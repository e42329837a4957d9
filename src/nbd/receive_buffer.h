#pragma once

#include <vector>

#include "base/bytes.h"

namespace tidemark::nbd {

// What one connection has received and not yet used. The connection reads large pieces into it, takes apart
// in place all requests they hold, and hands small payloads on as slices, without a copy.
//
// A slice that somebody keeps pins its whole block of kBlockBytes, whoever drops it and whenever. So the
// blocks are counted: at most kBlocksMax exist. While all the others are pinned, payloads are copied out of
// the last one, which therefore always comes free again. Memory is bounded by kBlocksMax * kBlockBytes plus
// the copies, which the caller counts.
//
// Owned by the session, used on its thread alone; slices may outlive it and be dropped on any thread.
//
// Invariants: 0 <= begin_ <= end_ <= kBlockBytes; [begin_, end_) of block_ is unread; bytes before begin_ may
// be shared with slices, bytes from begin_ on never are.
class ReceiveBuffer {
 public:
  static constexpr std::size_t kBlockBytes = 128 << 10;
  static constexpr std::size_t kBlocksMax = 2;
  // A read into less than this is not worth its cost: the unread bytes move to a fresh block instead.
  static constexpr std::size_t kReadBytesMin = 16 << 10;

  ReceiveBuffer();

  Bytes unread() const { return {block_.data() + begin_, end_ - begin_}; }
  void consume(std::size_t count);
  // The next `count` unread bytes as a buffer of their own.
  Buffer take(std::size_t count);

  // Where the next bytes from the stream go: space behind the unread ones, such that `message_bytes`
  // from the first unread byte on (at most kBlockBytes) will lie in one piece. Followed by received().
  Buffer space_for(std::size_t message_bytes);
  void received(std::size_t count);

  // Blocks that exist now, for the bound.
  std::size_t blocks() const { return retired_.size() + 1 + (spare_.empty() ? 0 : 1); }

 private:
  bool is_last_block() const { return retired_.size() + 1 == kBlocksMax; }
  void move_unread_to_front(bool block_is_shared);
  void reclaim();

  Buffer block_;
  Buffer spare_;                 // one block that came free, kept for the next change
  std::vector<Buffer> retired_;  // pinned by slices when they were last looked at
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace tidemark::nbd
