#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "node/node.h"
#include "simulation/model.h"

namespace tidemark::simulation {

inline constexpr const char* kVolumes[] = {"data", "wal"};
inline constexpr std::size_t kVolumeCount = 2;

// What a host asks of a node, and what appends at most one entry.
struct Request {
  enum class Kind : std::uint8_t { kWrite, kTrim, kWriteZeroes, kFlush, kMark, kRestore };
  Kind kind = Kind::kWrite;
  std::size_t volume = 0;
  BlockRange blocks{};
  std::uint32_t first_value = 0;  // kWrite: of its first block; the next block gets the next
  // kWrite: the first half of its first block, or the last half of its last, is not written.
  bool skips_first_half = false;
  bool skips_last_half = false;
  bool fua = false;
  std::string text{};      // kMark: the id. kRestore: the point
  bool from_peer = false;  // kRestore: the blocks that differ come from the other node

  bool has_blocks() const { return kind <= Kind::kWriteZeroes; }
  std::string to_string() const;
  // What the volumes hold after it; `before` itself for what changes no block.
  Image applied_to(const Image& before, std::uint64_t volume_blocks) const;
};

// A request that was made, and what became of it. Moments are counted, not timed: issued and ended in the
// same moment of virtual time still have an order.
struct Issued {
  Request request{};
  std::uint64_t issued_at = 0;
  bool to_secondary = false;   // which it was then; it may have turned since
  std::uint64_t ended_at = 0;  // 0: it has not
  Result<void> result{};
  LogId id{};                // of its entry, when one was found
  std::size_t position = 0;  // of that entry in the order of its writer

  bool acknowledged() const { return ended_at != 0 && result.ok(); }
};

// Whether `blocks` of a volume are in `image` what an entry with these checksums wrote, or zero without any.
bool shows(const Image& image, std::size_t volume, std::uint64_t volume_blocks, BlockRange blocks,
           const std::vector<std::uint32_t>& checksums);

// Asks `node`, which outlives the call.
io::Task<Result<void>> carry_out(node::Node* node, Request request);

// Both volumes at a point: "head", or one that names the same moment for both.
io::Task<Result<Image>> read_image(node::Node* node, std::string point);
// What an open export holds.
io::Task<Result<Image>> read_target(nbd::BlockTarget* target);

}  // namespace tidemark::simulation
