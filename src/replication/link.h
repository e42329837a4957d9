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

// Both sides say something at least this often; who is not heard for the longer time is taken for lost.
inline constexpr Duration kHeartbeatInterval = Duration::seconds(1);
inline constexpr Duration kSilenceMax = Duration::seconds(10);
// How long whoever says hello waits for the welcome: making a group, over an old one perhaps, takes its time.
inline constexpr Duration kWelcomeTimeout = Duration::seconds(30);

// One connection between two nodes, as messages. One coroutine receives; several may send, whole messages one
// after the other. A message that does not check out is kInvalid or kDamaged, after which the link is of no
// use.
class Link {
 public:
  Link(io::Scheduler& scheduler, std::unique_ptr<io::Stream> stream)
      : scheduler_(scheduler), stream_(std::move(stream)), heard_(scheduler.now()), sending_(scheduler) {}

  io::Task<Result<void>> send(format::LinkMessage type, std::vector<std::byte> body, Buffer payload = {});
  // The next message. `body_bytes_max` bounds what is taken into memory; it is taken as it arrives, so that a
  // length alone costs nothing.
  io::Task<Result<Message>> receive(std::size_t body_bytes_max = format::kLinkBodyBytesMax);
  // The same; the link is closed when it has not come within `limit`.
  io::Task<Result<Message>> receive_within(Duration limit, std::size_t body_bytes_max);
  // The same; and closed, too, when the peer falls silent.
  io::Task<Result<Message>> receive_while_heard(Duration limit, std::size_t body_bytes_max);
  // Sends a last message, if that can be done without waiting long for the peer, and closes the link.
  io::Task<void> send_last(format::LinkMessage type, std::vector<std::byte> body);
  // Closes the link when the peer falls silent. Runs as long as its user lets it.
  io::Task<void> watch_silence();
  void close() { stream_->close(); }
  std::string peer_name() const { return stream_->peer_name(); }
  std::string peer_identity() const { return stream_->peer_identity(); }

 private:
  io::Task<void> close_after(Duration limit);

  io::Scheduler& scheduler_;
  std::unique_ptr<io::Stream> stream_;
  MonotonicTime heard_;
  bool listening_ = false;  // a silence while nobody listens is not the peer's
  io::Mutex sending_;
};

}  // namespace tidemark::replication
