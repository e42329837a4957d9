#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "base/bytes.h"
#include "nbd/payload_budget.h"

namespace tidemark::nbd {

// Replies that wait to be sent, as pieces for one gathered send. Small ones are packed into a block one
// after the other, so that a hundred replies are one piece; read data is queued as it is, uncopied.
//
// Owned by the session, used on its thread. It has no limit of its own: the session stops taking requests
// when plain_bytes() or its own count of payload says so. One send takes a little of a large payload, so that
// a client that reads slowly is told from one that does not read.
class ReplyQueue {
 public:
  static constexpr std::size_t kBlockBytes = 64 << 10;
  static constexpr std::size_t kPiecesMax = 512;  // of one send; below IOV_MAX of Linux, 1024
  static constexpr std::size_t kSendPayloadBytesMax = 256 << 10;

  struct Batch {
    std::vector<Buffer> pieces;
    std::uint64_t plain_bytes = 0;
    // Charges of the payloads that end in it.
    std::uint64_t ordinary_charge_bytes = 0;
    std::uint64_t large_charge_bytes = 0;
  };

  // At most kBlockBytes.
  void add(Bytes bytes);
  // `charge_bytes` is what take() tells when the last of `data` goes, as large or ordinary by its size
  // (PayloadBudgets).
  void add_payload(Buffer data, std::uint64_t charge_bytes);
  bool empty() const { return pieces_.empty(); }
  // Queued and not yet taken, without payload.
  std::uint64_t plain_bytes() const { return plain_bytes_; }
  // The oldest pieces, as many as one send takes.
  Batch take();

 private:
  struct Piece {
    Buffer buffer;
    bool is_payload = false;
    std::uint64_t charge_bytes = 0;
  };
  std::deque<Piece> pieces_;
  std::uint64_t plain_bytes_ = 0;
  Buffer block_;  // [block_begin_, block_end_) of it is the last piece, when last_is_open_
  std::size_t block_begin_ = 0;
  std::size_t block_end_ = 0;
  bool last_is_open_ = false;
};

}  // namespace tidemark::nbd
