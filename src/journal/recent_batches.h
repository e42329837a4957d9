#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "base/bytes.h"
#include "base/place.h"

namespace tidemark::journal {

// A batch whose bytes are in memory: the open one, those in flight, and the last ones written.
struct RecentBatch {
  struct Piece {
    std::uint32_t block = 0;  // of the payload
    std::uint32_t blocks = 0;
    Buffer memory{};        // whole allocation the piece lies in
    std::size_t begin = 0;  // of the piece within it
  };
  Place frame{};
  std::uint32_t payload_blocks = 0;
  std::vector<Piece> pieces{};
  std::vector<std::byte> encoded_meta{};  // empty while the batch is open
  std::uint32_t frame_blocks = 0;         // 0 while it is open
  std::uint64_t ticket = 0;

  Buffer slice(std::uint32_t block, std::uint32_t blocks) const;
  std::vector<Buffer> payload() const;
};

// Batches by place, newest last. Only durable ones are ever let go, oldest first, when the bytes held exceed
// the bound; so what was acknowledged and is not on disk yet can always be read.
class RecentBatches {
 public:
  explicit RecentBatches(std::uint64_t bytes_max) : bytes_max_(bytes_max) {}
  RecentBatch& add(Place frame, std::uint64_t ticket);
  void grew(std::size_t bytes) { bytes_ += bytes; }
  void evict(std::uint64_t durable_ticket);
  const RecentBatch* find(Place payload) const;
  const RecentBatch* find_frame(Place frame) const;
  // `blocks` of payload from `place`; empty when they are not in memory.
  Buffer read(Place place, std::uint32_t blocks) const;

 private:
  std::uint64_t bytes_max_;
  std::uint64_t bytes_ = 0;
  std::deque<std::unique_ptr<RecentBatch>> batches_;
};

}  // namespace tidemark::journal
