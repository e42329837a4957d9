#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "io/stream.h"
#include "sim/world.h"

namespace tidemark::sim {

struct LinkOptions {
  Duration latency_min = Duration::microseconds(10);
  Duration latency_max = Duration::microseconds(200);
  std::uint64_t window_bytes = 256 << 10;  // in flight one way before a writer waits
  bool split_reads = true;                 // read_some gives a piece of random length
};

// Streams between coroutines of one World. Bytes arrive in order, in pieces cut by the seed.
class Network : public io::Network {
 public:
  explicit Network(World& world, LinkOptions options = {});
  ~Network() override;
  // For what is sent from now on.
  void set_options(LinkOptions options);
  io::Task<Result<std::unique_ptr<io::Listener>>> listen(io::Address address) override;
  io::Task<Result<std::unique_ptr<io::Stream>>> connect(io::Address address, Duration timeout) override;

  // No connection is made and no byte moves until the link is healed; what was sent waits.
  void cut();
  // The same for what the ends that connected send, or for what the ends that accepted do; the other way
  // stays open.
  void cut_from_clients();
  void cut_from_servers();
  // The link is whole: nothing is held up or changed any more.
  void heal();
  // Of the next bytes that arrive anywhere, one bit is another.
  void flip_next_bit();
  // What clients have sent on the connection made last, from its beginning: at most 256 KiB.
  std::vector<std::byte> last_session() const;
  // Every open stream breaks: what was in flight is lost, both ends get kClosed.
  void reset_all();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// Two ends of one connection, without a listener.
std::pair<std::unique_ptr<io::Stream>, std::unique_ptr<io::Stream>> make_stream_pair(
    World& world, LinkOptions options = {});

}  // namespace tidemark::sim
