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

class RecentBatches;

// Memory for the newest batches of all journals of a node. When they hold more than `bytes_max` together, the
// one that holds the most lets go of its oldest. What is not durable yet cannot go; so that this is bounded
// too, each journal may have its part of kPendingBytesMax of it.
//
// Owned by the node, used on its reactor thread; outlives the journals.
class RecentMemory {
 public:
  // Appended and not durable: of all journals of a node together, and of each.
  static constexpr std::uint64_t kPendingBytesMax = 96 << 20;
  static constexpr std::uint64_t kJournalPendingBytesMax = 32 << 20;
  static constexpr std::uint64_t kJournalPendingBytesMin = 2 << 20;

  explicit RecentMemory(std::uint64_t bytes_max) : bytes_max_(bytes_max) {}
  RecentMemory(const RecentMemory&) = delete;
  RecentMemory& operator=(const RecentMemory&) = delete;

  std::uint64_t bytes() const { return bytes_; }
  // What one journal may have appended and not durable; beyond it, its appends wait for the disk.
  std::uint64_t pending_bytes_max() const;

 private:
  friend class RecentBatches;
  void shrink();
  std::uint64_t bytes_max_;
  std::uint64_t bytes_ = 0;
  std::vector<RecentBatches*> journals_;
};

// Batches by place, newest last. Only durable ones are ever let go, oldest first, when the bytes held exceed
// the bound; so what was acknowledged and is not on disk yet can always be read.
class RecentBatches {
 public:
  // `memory` may be null: then it is alone.
  RecentBatches(std::uint64_t bytes_max, RecentMemory* memory);
  ~RecentBatches();
  RecentBatches(const RecentBatches&) = delete;
  RecentBatches& operator=(const RecentBatches&) = delete;
  RecentBatch& add(Place frame, std::uint64_t ticket);
  void grew(std::size_t bytes);
  void evict(std::uint64_t durable_ticket);
  const RecentBatch* find(Place payload) const;
  const RecentBatch* find_frame(Place frame) const;
  // `blocks` of payload from `place`; empty when they are not in memory.
  Buffer read(Place place, std::uint32_t blocks) const;

 private:
  friend class RecentMemory;
  bool can_let_go() const;
  void let_go();

  std::uint64_t bytes_max_;
  RecentMemory* memory_;
  std::uint64_t bytes_ = 0;
  std::uint64_t durable_ticket_ = 0;
  std::deque<std::unique_ptr<RecentBatch>> batches_;
};

}  // namespace tidemark::journal
