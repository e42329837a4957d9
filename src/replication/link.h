#pragma once

#include <memory>
#include <vector>

#include "format/link.h"
#include "io/environment.h"
#include "io/sync.h"

namespace tidemark::replication {

struct Message {
  format::LinkMessage type = format::LinkMessage::kPing;
  std::vector<std::byte> body{};
  Buffer payload{};
};

// One connection between two nodes, as messages. One coroutine receives; several may send, whole messages one
// after the other. A message that does not check out is kInvalid or kDamaged, after which the link is of no
// use.
class Link {
 public:
  Link(io::Scheduler& scheduler, std::unique_ptr<io::Stream> stream)
      : stream_(std::move(stream)), sending_(scheduler) {}

  io::Task<Result<void>> send(format::LinkMessage type, std::vector<std::byte> body, Buffer payload = {});
  // The next message. `body_bytes_max` bounds what is taken into memory before the peer is known.
  io::Task<Result<Message>> receive(std::size_t body_bytes_max = format::kLinkBodyBytesMax);
  void close() { stream_->close(); }
  std::string peer_name() const { return stream_->peer_name(); }

 private:
  std::unique_ptr<io::Stream> stream_;
  io::Mutex sending_;
};

}  // namespace tidemark::replication
