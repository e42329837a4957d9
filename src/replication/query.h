#pragma once

#include <memory>
#include <string>

#include "replication/link.h"

namespace tidemark::replication {

inline constexpr std::uint64_t kQueryBlocksMax = (1u << 20) / kBlockSizeBytes;

// One side of a connection that carries questions about what the other node has at a point, and their
// answers. Nothing changes there. Who asks waits for each answer before the next question.
class PeerQuery {
 public:
  // The link has been welcomed.
  explicit PeerQuery(std::shared_ptr<Link> link) : link_(std::move(link)) {}

  // Each answers, or gives the error of the other node or of the link.
  // Which entry the point is there, and the volumes at it; it stays readable as long as this lives.
  io::Task<Result<format::Answer>> resolve(std::string point, bool before);
  // The runs of `blocks` that differ between two log ids, at most kQueryRunsMax: as many, and there may be
  // more.
  io::Task<Result<std::vector<BlockRange>>> differing(VolumeId volume, LogId from, LogId at,
                                                      BlockRange blocks);
  // At most kQueryBlocksMax blocks, as they are at the log id; checked.
  io::Task<Result<Buffer>> blocks(VolumeId volume, LogId at, BlockRange blocks);

 private:
  io::Task<Result<Message>> ask(format::Query query);

  std::shared_ptr<Link> link_;
};

}  // namespace tidemark::replication
