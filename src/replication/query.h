#pragma once

#include <memory>
#include <string>

#include "group/group.h"
#include "replication/link.h"

namespace tidemark::replication {

inline constexpr std::uint64_t kQueryBlocksMax = (1u << 20) / kBlockSizeBytes;
// Of a volume in one question about runs: bounded, so that an answer comes in time.
inline constexpr std::uint64_t kQueryStepBlocks = (1ull << 30) / kBlockSizeBytes;

// What a node's blocks are, without the blocks.
enum class BlockHash : std::uint8_t {
  kCrc32c,  // tells of a difference; two blocks have it in common by chance once in 2^32
  kDigest,  // that two blocks have in common only when they are the same
};
// How many words a block has of it.
constexpr std::uint64_t words_of(BlockHash hash) {
  return hash == BlockHash::kCrc32c ? 1 : format::kDigestWords;
}
struct BlockChecksums {
  std::vector<std::uint32_t> checksums{};  // words_of() each; of a block that cannot be read, 0
  std::vector<BlockRange> unreadable{};    // damaged, or the disk gives an error
};
// At a log id; what reads fail with for another reason than the blocks themselves. kExpired when the point is
// no longer readable.
io::Task<Result<BlockChecksums>> checksums_at(group::Group& group, VolumeId volume, LogId at,
                                              BlockRange blocks, BlockHash hash);
// The runs of `blocks` that may hold anything but zeroes at a log id; at most format::kQueryRunsMax of them:
// as many, and there may be more.
io::Task<Result<std::vector<BlockRange>>> allocated_at(group::Group& group, VolumeId volume, LogId at,
                                                       BlockRange blocks);

format::GroupWindow window_of(const group::Group& group);

// One side of a connection that carries questions about what the other node has at a point, and their
// answers. Nothing changes there. Who asks waits for each answer before the next question.
class PeerQuery {
 public:
  // While an answer is worked on: one a second, so this long is the longest.
  static constexpr int kPingsMax = 600;
  // The link has been welcomed.
  explicit PeerQuery(std::shared_ptr<Link> link) : link_(std::move(link)) {}

  // Each answers, or gives the error of the other node or of the link.
  // Which entry the point is there, and the volumes at it. It stays readable as long as this lives, unless it
  // gives way when space can be had from nothing else.
  io::Task<Result<format::Answer>> resolve(std::string point, bool before, bool gives_way);
  // The runs of `blocks` that differ between two log ids, at most kQueryRunsMax: as many, and there may be
  // more.
  io::Task<Result<std::vector<BlockRange>>> differing(VolumeId volume, LogId from, LogId at,
                                                      BlockRange blocks);
  // At most kQueryBlocksMax blocks, as they are at the log id; checked.
  io::Task<Result<Buffer>> blocks(VolumeId volume, LogId at, BlockRange blocks);
  // As allocated_at() and, for at most format::kQueryChecksumsMax words, checksums_at() say there.
  io::Task<Result<std::vector<BlockRange>>> allocated(VolumeId volume, LogId at, BlockRange blocks);
  io::Task<Result<BlockChecksums>> checksums(VolumeId volume, LogId at, BlockRange blocks, BlockHash hash);
  // As window_of() says there.
  io::Task<Result<format::GroupWindow>> window();

 private:
  io::Task<Result<Message>> ask(format::Query query, int pings_max = kPingsMax);
  io::Task<Result<format::Answer>> ask_for_runs(format::Query query);

  std::shared_ptr<Link> link_;
};

}  // namespace tidemark::replication
