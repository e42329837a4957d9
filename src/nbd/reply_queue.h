#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "base/bytes.h"

namespace tidemark::nbd {

// Replies that wait to be sent, as pieces for one gathered send. Small ones are packed into a block one
// after the other, so that a hundred replies are one piece; read data is queued as it is, uncopied.
//
// Owned by the session, used on its thread. It has no limit of its own: the session stops taking requests
// when plain_bytes() or its own count of payload says so.
class ReplyQueue {
 public:
  static constexpr std::size_t kBlockBytes = 64 << 10;
  static constexpr std::size_t kPiecesMax = 512;  // of one send; below IOV_MAX of Linux, 1024

  struct Batch {
    std::vector<Buffer> pieces;
    std::uint64_t plain_bytes = 0;
    std::uint64_t payload_bytes = 0;  // added with add_payload()
  };

  // At most kBlockBytes.
  void add(Bytes bytes);
  void add_payload(Buffer data);
  bool empty() const { return pieces_.empty(); }
  // Queued and not yet taken, without payload.
  std::uint64_t plain_bytes() const { return plain_bytes_; }
  // The oldest pieces, as many as one send takes.
  Batch take();

 private:
  struct Piece {
    Buffer buffer;
    bool is_payload = false;
  };
  std::deque<Piece> pieces_;
  std::uint64_t plain_bytes_ = 0;
  Buffer block_;  // [block_begin_, block_end_) of it is the last piece, when last_is_open_
  std::size_t block_begin_ = 0;
  std::size_t block_end_ = 0;
  bool last_is_open_ = false;
};

}  // namespace tidemark::nbd
