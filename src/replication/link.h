#pragma once

#include <memory>
#include <vector>

#include "format/link.h"
#include "io/environment.h"
#include "io/sync.h"
#include "replication/compression.h"

namespace tidemark::replication {

struct Message {
  format::LinkMessage type = format::LinkMessage::kPing;
  std::vector<std::byte> body{};
  Buffer payload{};
};

// What has gone over the links of a pair, whole messages; and what they would have been with every payload as
// it is.
struct LinkTraffic {
  std::uint64_t sent_bytes = 0;
  std::uint64_t sent_uncompressed_bytes = 0;
  std::uint64_t received_bytes = 0;
  std::uint64_t received_uncompressed_bytes = 0;
};

// Both sides say something at least this often; who is not heard for the longer time is taken for lost.
inline constexpr Duration kHeartbeatInterval = Duration::seconds(1);
inline constexpr Duration kSilenceMax = Duration::seconds(10);
// How long whoever says hello waits for the welcome: making a group, over an old one perhaps, takes its time.
inline constexpr Duration kWelcomeTimeout = Duration::seconds(30);

// How long a hello may take to go over: with the state of a group that has many marks it is large.
inline constexpr Duration kHelloTimeout = Duration::seconds(120);

// One connection between two nodes, as messages. One coroutine receives; several may send, whole messages one
// after the other. A message that does not check out is kInvalid or kDamaged, after which the link is of no
// use.
class Link {
 public:
  Link(io::Scheduler& scheduler, std::unique_ptr<io::Stream> stream)
      : scheduler_(scheduler), stream_(std::move(stream)), heard_(scheduler.now()), sending_(scheduler) {}

  // As the hello of this connection has it, once that is accepted: with zstd a payload goes compressed where
  // it gets notably smaller, and one that comes so is taken. `offload` outlives the link.
  void agree_on(format::Compression compression, io::Offload& offload);
  // From here on.
  void count_in(std::shared_ptr<LinkTraffic> traffic) { traffic_ = std::move(traffic); }

  io::Task<Result<void>> send(format::LinkMessage type, std::vector<std::byte> body, Buffer payload = {});
  // The next message. `body_bytes_max` bounds what is taken into memory; it is taken as it arrives, so that a
  // length alone costs nothing.
  io::Task<Result<Message>> receive(std::size_t body_bytes_max = format::kLinkBodyBytesMax);
  // The same; the link is closed when it has not come within `limit`.
  io::Task<Result<Message>> receive_within(Duration limit, std::size_t body_bytes_max);
  // The same; and closed, too, when the peer falls silent.
  io::Task<Result<Message>> receive_while_heard(Duration limit, std::size_t body_bytes_max);
  // As send(); the link is closed when the message has not gone out within `limit`.
  io::Task<Result<void>> send_within(Duration limit, format::LinkMessage type, std::vector<std::byte> body);
  // Sends a last message, if that can be done without waiting long for the peer, and closes the link.
  io::Task<void> send_last(format::LinkMessage type, std::vector<std::byte> body);
  // Closes the link when the peer falls silent. Runs as long as its user lets it.
  io::Task<void> watch_silence();
  void close() { stream_->close(); }
  std::string peer_name() const { return stream_->peer_name(); }
  std::string peer_identity() const { return stream_->peer_identity(); }

 private:
  io::Task<void> close_after(Duration limit);
  io::Task<Result<Buffer>> receive_payload(format::LinkHeader header);

  io::Scheduler& scheduler_;
  std::unique_ptr<io::Stream> stream_;
  MonotonicTime heard_;
  bool listening_ = false;  // a silence while nobody listens is not the peer's
  io::Mutex sending_;
  std::unique_ptr<PayloadCompression> compression_;  // null: every payload goes as it is
  std::shared_ptr<LinkTraffic> traffic_;
};

}  // namespace tidemark::replication
