#include "sim/network.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <limits>
#include <list>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "sim/random.h"

// Invariants:
//  - the bytes that a pipe holds, sent and arrived together, never exceed the window;
//  - bytes arrive in the order in which they were sent, and the end of the stream behind them all;
//  - both streams of a connection, and each of their operations, own the connection: an operation
//    outlives the stream object that it was asked of, and ends with kClosed.

namespace tidemark::sim {
namespace {

constexpr std::size_t kSegmentBytesMax = 64 << 10;
// Connections that nobody has accepted yet; more are refused, as by a full listen() queue.
constexpr std::size_t kBacklogMax = 128;
constexpr std::uint16_t kFirstFreePort = 40000;

// What all connections of one network share.
struct Link {
  Link(World& w, LinkOptions o)
      : world(w), options(o), random(w.next_stream_seed(RandomStream::kNetwork)), healed(w) {
    TM_ASSERT(o.latency_min <= o.latency_max);
    TM_ASSERT(o.window_bytes > 0);
  }
  // A connection takes both ways.
  bool is_cut() const { return cut_from[0] || cut_from[1]; }
  Duration draw_latency() { return random.between(options.latency_min, options.latency_max); }

  World& world;
  LinkOptions options;
  SeededRandom random;
  std::array<bool, 2> cut_from{};  // by the side that sends: 0 connected, 1 accepted
  bool flips_next_bit = false;
  io::WaitQueue healed;
};
constexpr std::size_t kSessionBytesKept = 256 << 10;

struct Segment {
  MonotonicTime arrival;
  std::vector<std::byte> bytes;
};

// One direction of a connection.
struct Pipe {
  explicit Pipe(io::Scheduler& scheduler)
      : sent_something(scheduler), readable(scheduler), writable(scheduler) {}
  std::deque<Segment> sent;
  std::vector<std::byte> arrived;
  std::size_t taken_bytes = 0;  // of `arrived`, by the reader
  std::size_t held_bytes = 0;
  MonotonicTime last_arrival{};
  bool writer_closed = false;
  bool reader_closed = false;
  bool end_arrived = false;  // the reader's side knows that the writer has closed
  bool being_read = false;
  bool being_written = false;
  io::WaitQueue sent_something;
  io::WaitQueue readable;
  io::WaitQueue writable;

  std::size_t readable_bytes() const { return arrived.size() - taken_bytes; }
  void take(std::byte* to, std::size_t length) {
    std::memcpy(to, arrived.data() + taken_bytes, length);
    taken_bytes += length;
    held_bytes -= length;
    if (taken_bytes * 2 >= arrived.size()) {
      arrived.erase(arrived.begin(), arrived.begin() + static_cast<std::ptrdiff_t>(taken_bytes));
      taken_bytes = 0;
    }
  }
  void drop_arrived() {
    held_bytes -= readable_bytes();
    arrived.clear();
    taken_bytes = 0;
  }
};

struct Connection {
  explicit Connection(std::shared_ptr<Link> l)
      : link(std::move(l)), pipes{Pipe(link->world), Pipe(link->world)}, carriers(link->world) {
    for (Pipe& pipe : pipes) carriers.spawn(carry(pipe));
  }
  // Moves what was sent to where it can be read, when its time has come.
  io::Task<void> carry(Pipe& pipe);
  void close(std::size_t side);
  void reset();

  std::shared_ptr<Link> link;
  std::array<Pipe, 2> pipes;              // pipes[side] is written by that side
  std::vector<std::byte> sent_by_client;  // the first of it
  bool was_reset = false;
  io::TaskScope carriers;
};

io::Task<void> Connection::carry(Pipe& pipe) {
  const std::size_t side = &pipe == &pipes[0] ? 0 : 1;
  for (;;) {
    while (pipe.sent.empty() && !pipe.writer_closed) co_await pipe.sent_something.wait();
    const MonotonicTime due = pipe.sent.empty()
                                  ? std::max(pipe.last_arrival, link->world.now() + link->draw_latency())
                                  : pipe.sent.front().arrival;
    co_await link->world.sleep_until(due);
    // What a cut held up sets out again when the link is healed.
    while (link->cut_from[side]) {
      co_await link->healed.wait();
      co_await link->world.sleep_for(link->draw_latency());
    }
    if (pipe.sent.empty()) break;
    std::vector<std::byte>& bytes = pipe.sent.front().bytes;
    if (std::exchange(link->flips_next_bit, false)) {
      const std::uint64_t bit = link->random.below(bytes.size() * 8);
      bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    }
    if (pipe.reader_closed) {
      pipe.held_bytes -= bytes.size();
      pipe.writable.wake_all();
    } else {
      pipe.arrived.insert(pipe.arrived.end(), bytes.begin(), bytes.end());
    }
    pipe.sent.pop_front();
    pipe.readable.wake_all();
  }
  pipe.end_arrived = true;
  pipe.readable.wake_all();
  // The side that was told writes no more either: nobody would read it.
  pipes[1 - side].writable.wake_all();
}

void Connection::close(std::size_t side) {
  Pipe& out = pipes[side];
  Pipe& in = pipes[1 - side];
  if (out.writer_closed) return;
  out.writer_closed = true;
  in.reader_closed = true;
  in.drop_arrived();
  out.sent_something.wake_all();
  out.writable.wake_all();
  in.readable.wake_all();
  in.writable.wake_all();
}

void Connection::reset() {
  if (was_reset) return;
  was_reset = true;
  carriers.cancel_all();
  for (Pipe& pipe : pipes) {
    pipe.sent.clear();
    pipe.drop_arrived();
    pipe.held_bytes = 0;
    pipe.readable.wake_all();
    pipe.writable.wake_all();
  }
}

// Marks a direction as in use for as long as the operation's frame lives.
class BusyMark {
 public:
  explicit BusyMark(bool& flag) : flag_(flag) {
    TM_ASSERT(!flag_);
    flag_ = true;
  }
  BusyMark(const BusyMark&) = delete;
  BusyMark& operator=(const BusyMark&) = delete;
  ~BusyMark() { flag_ = false; }

 private:
  bool& flag_;
};

Error closed_error(const Connection& connection, bool closed_here) {
  if (connection.was_reset) return fail(ErrorCode::kClosed, "the connection was reset");
  return fail(ErrorCode::kClosed,
              closed_here ? "the stream is closed" : "the other end has closed the connection");
}

io::Task<Result<std::size_t>> read_from(std::shared_ptr<Connection> connection, std::size_t side,
                                        Buffer out) {
  TM_ASSERT(!out.empty());
  Pipe& pipe = connection->pipes[1 - side];
  const BusyMark busy(pipe.being_read);
  while (!connection->was_reset && !pipe.reader_closed && pipe.readable_bytes() == 0 && !pipe.end_arrived) {
    co_await pipe.readable.wait();
  }
  if (connection->was_reset || pipe.reader_closed) co_return closed_error(*connection, pipe.reader_closed);
  if (pipe.readable_bytes() == 0) co_return std::size_t{0};
  std::size_t length = std::min(out.size(), pipe.readable_bytes());
  Link& link = *connection->link;
  if (link.options.split_reads && link.random.coin()) length = 1 + link.random.below(length);
  pipe.take(out.data(), length);
  pipe.writable.wake_all();
  co_return length;
}

io::Task<Result<void>> write_to(std::shared_ptr<Connection> connection, std::size_t side,
                                std::vector<Buffer> pieces) {
  Pipe& pipe = connection->pipes[side];
  const Pipe& back = connection->pipes[1 - side];
  const BusyMark busy(pipe.being_written);
  Link& link = *connection->link;
  for (const Buffer& piece : pieces) {
    for (std::size_t done = 0; done < piece.size();) {
      const bool open = !connection->was_reset && !pipe.writer_closed && !back.end_arrived;
      if (!open) co_return closed_error(*connection, pipe.writer_closed);
      if (pipe.held_bytes >= link.options.window_bytes) {
        co_await pipe.writable.wait();
        continue;
      }
      std::size_t length = std::min(piece.size() - done, link.options.window_bytes - pipe.held_bytes);
      length = std::min(length, kSegmentBytesMax);
      if (link.options.split_reads && link.random.coin()) length = 1 + link.random.below(length);
      pipe.last_arrival = std::max(pipe.last_arrival, link.world.now() + link.draw_latency());
      const std::byte* from = piece.data() + done;
      pipe.sent.push_back(Segment{pipe.last_arrival, std::vector<std::byte>(from, from + length)});
      if (side == 0 && connection->sent_by_client.size() < kSessionBytesKept) {
        connection->sent_by_client.insert(connection->sent_by_client.end(), from, from + length);
      }
      pipe.held_bytes += length;
      pipe.sent_something.wake_all();
      done += length;
    }
  }
  if (connection->was_reset || pipe.writer_closed) co_return closed_error(*connection, pipe.writer_closed);
  co_return Result<void>{};
}

class SimulatedStream final : public io::Stream {
 public:
  SimulatedStream(std::shared_ptr<Connection> connection, std::size_t side, std::string peer)
      : connection_(std::move(connection)), side_(side), peer_(std::move(peer)) {}
  ~SimulatedStream() override { connection_->close(side_); }
  io::Task<Result<std::size_t>> read_some(Buffer out) override {
    return read_from(connection_, side_, std::move(out));
  }
  io::Task<Result<void>> write(std::vector<Buffer> pieces) override {
    return write_to(connection_, side_, std::move(pieces));
  }
  void close() override { connection_->close(side_); }
  std::string peer_name() const override { return peer_; }

 private:
  const std::shared_ptr<Connection> connection_;
  const std::size_t side_;
  const std::string peer_;
};

struct ListenerState {
  ListenerState(io::Scheduler& scheduler, io::Address a) : address(std::move(a)), changed(scheduler) {}
  const io::Address address;
  std::deque<std::unique_ptr<io::Stream>> waiting;
  bool closed = false;
  io::WaitQueue changed;
};

io::Task<Result<std::unique_ptr<io::Stream>>> accept_from(std::shared_ptr<ListenerState> state) {
  while (!state->closed && state->waiting.empty()) co_await state->changed.wait();
  if (state->closed)
    co_return fail(ErrorCode::kClosed, state->address.to_string() + ": the listener is closed");
  std::unique_ptr<io::Stream> stream = std::move(state->waiting.front());
  state->waiting.pop_front();
  co_return std::move(stream);
}

class SimulatedListener final : public io::Listener {
 public:
  explicit SimulatedListener(std::shared_ptr<ListenerState> state) : state_(std::move(state)) {}
  ~SimulatedListener() override { close(); }
  io::Task<Result<std::unique_ptr<io::Stream>>> accept() override { return accept_from(state_); }
  void close() override {
    state_->closed = true;
    state_->waiting.clear();
    state_->changed.wake_all();
  }
  io::Address address() const override { return state_->address; }

 private:
  const std::shared_ptr<ListenerState> state_;
};

}  // namespace

struct Network::State {
  State(World& world, LinkOptions options) : link(std::make_shared<Link>(world, options)) {}
  std::shared_ptr<Link> link;
  std::map<std::string, std::shared_ptr<ListenerState>> listeners;
  std::list<std::weak_ptr<Connection>> connections;
  std::shared_ptr<Connection> last_session;  // kept for what was sent on it
  std::uint16_t next_port = kFirstFreePort;

  ListenerState* find(const io::Address& address) {
    const auto found = listeners.find(address.to_string());
    return found == listeners.end() || found->second->closed ? nullptr : found->second.get();
  }
  std::unique_ptr<io::Stream> connect_to(ListenerState& listener);
};

std::unique_ptr<io::Stream> Network::State::connect_to(ListenerState& listener) {
  std::erase_if(connections, [](const auto& connection) { return connection.expired(); });
  auto connection = std::make_shared<Connection>(link);
  connections.push_back(connection);
  last_session = connection;
  const io::Address& address = listener.address;
  const bool is_unix = address.kind == io::Address::Kind::kUnix;
  const std::string server = is_unix ? "unix" : address.host + ":" + std::to_string(address.port);
  const std::string client = is_unix ? "unix" : address.host + ":" + std::to_string(next_port++);
  listener.waiting.push_back(std::make_unique<SimulatedStream>(connection, 1, client));
  listener.changed.wake_all();
  return std::make_unique<SimulatedStream>(connection, 0, server);
}

Network::Network(World& world, LinkOptions options) : state_(std::make_shared<State>(world, options)) {}

Network::~Network() = default;

io::Task<Result<std::unique_ptr<io::Listener>>> Network::listen(io::Address address) {
  const std::shared_ptr<State> state = state_;
  if (address.kind == io::Address::Kind::kTcp && address.port == 0) {
    do {
      address.port = state->next_port++;
    } while (address.port == 0 || state->find(address) != nullptr);
  }
  if (state->find(address) != nullptr) {
    co_return fail(ErrorCode::kBusy, address.to_string() + ": somebody listens there already");
  }
  auto listener = std::make_shared<ListenerState>(state->link->world, address);
  state->listeners[address.to_string()] = listener;
  std::unique_ptr<io::Listener> out = std::make_unique<SimulatedListener>(std::move(listener));
  co_return std::move(out);
}

io::Task<Result<std::unique_ptr<io::Stream>>> Network::connect(io::Address address, Duration timeout) {
  const std::shared_ptr<State> state = state_;
  Link& link = *state->link;
  const MonotonicTime start = link.world.now();
  const MonotonicTime deadline =
      timeout.ns > INT64_MAX - start.ns ? MonotonicTime{INT64_MAX} : start + timeout;
  const std::string name = address.to_string();
  // Wakes us at the deadline when the link is still cut.
  io::TaskScope alarm(link.world);
  if (deadline.ns != INT64_MAX) {
    alarm.spawn([](Link& l, MonotonicTime due) -> io::Task<void> {
      co_await l.world.sleep_until(due);
      l.healed.wake_all();
    }(link, deadline));
  }
  do {
    while (link.is_cut() && link.world.now() < deadline) co_await link.healed.wait();
    const MonotonicTime reached = std::min(deadline, link.world.now() + link.draw_latency());
    if (link.world.now() < deadline) co_await link.world.sleep_until(reached);
    if (link.world.now() >= deadline) {
      co_return fail(ErrorCode::kTimeout, name + ": no answer within " + format_duration(timeout));
    }
  } while (link.is_cut());
  ListenerState* listener = state->find(address);
  if (listener == nullptr || listener->waiting.size() >= kBacklogMax) {
    co_return fail(ErrorCode::kClosed, name + ": connection refused; nobody listens there");
  }
  std::unique_ptr<io::Stream> stream = state->connect_to(*listener);
  co_return std::move(stream);
}

void Network::set_options(LinkOptions options) {
  state_->link->options = options;
}

void Network::cut() {
  state_->link->cut_from = {true, true};
}

void Network::cut_from_clients() {
  state_->link->cut_from[0] = true;
}

void Network::cut_from_servers() {
  state_->link->cut_from[1] = true;
}

void Network::heal() {
  state_->link->cut_from = {};
  state_->link->flips_next_bit = false;
  state_->link->healed.wake_all();
}

void Network::flip_next_bit() {
  state_->link->flips_next_bit = true;
}

std::vector<std::byte> Network::last_session() const {
  return state_->last_session == nullptr ? std::vector<std::byte>() : state_->last_session->sent_by_client;
}

void Network::reset_all() {
  for (const std::weak_ptr<Connection>& weak : state_->connections) {
    if (const std::shared_ptr<Connection> connection = weak.lock()) connection->reset();
  }
  state_->connections.clear();
}

std::pair<std::unique_ptr<io::Stream>, std::unique_ptr<io::Stream>> make_stream_pair(World& world,
                                                                                     LinkOptions options) {
  auto connection = std::make_shared<Connection>(std::make_shared<Link>(world, options));
  return {std::make_unique<SimulatedStream>(connection, 0, "unix"),
          std::make_unique<SimulatedStream>(connection, 1, "unix")};
}

}  // namespace tidemark::sim
