#pragma once

#include <memory>
#include <string>

#include "replication/link.h"

namespace tidemark::replication {

// One side of a connection that carries questions about what the other node has at a point, and their
// answers. Nothing changes there. Who asks waits for each answer before the next question.
class PeerQuery {
 public:
  // The link has been welcomed.
  explicit PeerQuery(std::shared_ptr<Link> link) : link_(std::move(link)) {}

  struct Reply {
    format::Answer answer{};
    Buffer blocks{};  // kBlocks
  };
  // The answer, checked; the error of the other node, or of the link.
  io::Task<Result<Reply>> ask(format::Query query);

 private:
  std::shared_ptr<Link> link_;
};

}  // namespace tidemark::replication
