#include "sim/network.h"

#include <gtest/gtest.h>

#include <bit>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace tidemark::sim {
namespace {

using StreamPointer = std::unique_ptr<io::Stream>;

io::Address address_of(const std::string& text) {
  return io::Address::parse(text).value();
}

std::string pattern(std::size_t length) {
  std::string text(length, '\0');
  for (std::size_t i = 0; i < length; ++i) text[i] = static_cast<char>('a' + i * 7 % 23);
  return text;
}

io::Task<Result<void>> send(io::Stream& stream, std::string text) {
  std::vector<Buffer> pieces{Buffer::copy_of(as_bytes(text))};
  co_return co_await stream.write(std::move(pieces));
}

struct Received {
  std::string text;
  std::size_t reads = 0;
  std::optional<Error> error;  // none: the peer ended in order
  bool ended = false;
};

io::Task<void> receive_all(io::Stream& stream, Received* out) {
  for (;;) {
    Buffer buffer = Buffer::allocate(1000);
    const Result<std::size_t> got = co_await stream.read_some(buffer);
    if (!got.ok()) {
      out->error = got.error();
      break;
    }
    if (*got == 0) break;
    out->text.append(reinterpret_cast<const char*>(buffer.data()), *got);
    ++out->reads;
  }
  out->ended = true;
}

io::Task<void> send_and_note(io::Stream& stream, std::string text, std::optional<Result<void>>* out) {
  Result<void> sent = co_await send(stream, std::move(text));
  out->emplace(std::move(sent));
}

struct Ends {
  StreamPointer client;
  StreamPointer server;
  std::unique_ptr<io::Listener> listener;
};

Ends connected(World& world, Network& network, const std::string& address) {
  Ends ends;
  ends.listener = std::move(world.run(network.listen(address_of(address)))).value();
  ends.client = std::move(world.run(network.connect(ends.listener->address(), Duration::seconds(1)))).value();
  ends.server = std::move(world.run(ends.listener->accept())).value();
  return ends;
}

TEST(Network, BytesArriveInOrderInPiecesOfAnySize) {
  std::set<std::size_t> reads;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    World world(seed);
    auto [left, right] = make_stream_pair(world);
    const std::string text = pattern(5000);
    Received received;
    io::TaskScope scope(world);
    scope.spawn(receive_all(*right, &received));
    ASSERT_TRUE(world.run(send(*left, text.substr(0, 3000))).ok());
    ASSERT_TRUE(world.run(send(*left, text.substr(3000))).ok());
    left->close();
    world.run(scope.join());
    EXPECT_EQ(received.text, text);
    EXPECT_FALSE(received.error.has_value());
    reads.insert(received.reads);
  }
  EXPECT_GT(reads.size(), 3u);
}

TEST(Network, WithoutSplittingAReadGivesAllThatHasArrived) {
  World world(1);
  auto [left, right] = make_stream_pair(world, LinkOptions{.split_reads = false});
  ASSERT_TRUE(world.run(send(*left, pattern(900))).ok());
  world.run_for(Duration::seconds(1));
  Buffer buffer = Buffer::allocate(1000);
  EXPECT_EQ(*world.run(right->read_some(buffer)), 900u);
}

TEST(Network, BytesTakeTheLatencyOfTheLink) {
  World world(1);
  auto [left, right] = make_stream_pair(
      world, LinkOptions{.latency_min = Duration::seconds(2), .latency_max = Duration::seconds(2)});
  ASSERT_TRUE(world.run(send(*left, "x")).ok());
  Buffer buffer = Buffer::allocate(16);
  EXPECT_EQ(*world.run(right->read_some(buffer)), 1u);
  EXPECT_EQ(world.now(), MonotonicTime{} + Duration::seconds(2));
}

TEST(Network, AWriterWaitsWhenTheWindowIsFull) {
  World world(1);
  auto [left, right] = make_stream_pair(world, LinkOptions{.window_bytes = 1000});
  std::optional<Result<void>> sent;
  io::TaskScope scope(world);
  scope.spawn(send_and_note(*left, pattern(2500), &sent));
  world.run_for(Duration::seconds(10));
  EXPECT_FALSE(sent.has_value());
  Received received;
  scope.spawn(receive_all(*right, &received));
  world.run_for(Duration::seconds(10));
  ASSERT_TRUE(sent.has_value());
  EXPECT_TRUE(sent->ok());
  EXPECT_EQ(received.text, pattern(2500));
}

TEST(Network, CloseEndsOwnOperationsAndLetsThePeerReadToTheEnd) {
  World world(1);
  auto [left, right] = make_stream_pair(world, LinkOptions{.window_bytes = 1000});
  Received own;
  std::optional<Result<void>> own_write;
  io::TaskScope scope(world);
  scope.spawn(receive_all(*left, &own));
  scope.spawn(send_and_note(*left, pattern(1500), &own_write));
  world.run_for(Duration::seconds(1));
  left->close();
  left->close();
  world.run_ready_only();
  ASSERT_TRUE(own.ended);
  ASSERT_TRUE(own.error.has_value());
  EXPECT_EQ(own.error->code, ErrorCode::kClosed);
  ASSERT_TRUE(own_write.has_value());
  EXPECT_EQ(own_write->error().code, ErrorCode::kClosed);
  const Result<void> late = world.run(send(*left, "late"));
  EXPECT_EQ(late.error().code, ErrorCode::kClosed);

  Received received;
  scope.spawn(receive_all(*right, &received));
  world.run_for(Duration::seconds(1));
  EXPECT_EQ(received.text, pattern(1500).substr(0, 1000));
  EXPECT_TRUE(received.ended);
  EXPECT_FALSE(received.error.has_value());
  EXPECT_EQ(world.run(send(*right, "x")).error().code, ErrorCode::kClosed);
}

TEST(Network, AWriterThatWaitsLearnsThatThePeerHasGone) {
  World world(1);
  auto [left, right] = make_stream_pair(world, LinkOptions{.window_bytes = 1000});
  std::optional<Result<void>> sent;
  io::TaskScope scope(world);
  scope.spawn(send_and_note(*left, pattern(1 << 20), &sent));
  world.run_for(Duration::seconds(1));
  EXPECT_FALSE(sent.has_value());
  right.reset();
  world.run_for(Duration::seconds(1));
  ASSERT_TRUE(sent.has_value());
  EXPECT_EQ(sent->error().code, ErrorCode::kClosed);
}

TEST(Network, AnOperationOutlivesTheStreamItWasAskedOf) {
  World world(1);
  auto [left, right] = make_stream_pair(world);
  Received received;
  io::TaskScope scope(world);
  scope.spawn([](io::Stream& stream, Received* out) -> io::Task<void> {
    Buffer buffer = Buffer::allocate(16);
    const Result<std::size_t> got = co_await stream.read_some(buffer);
    if (!got.ok()) out->error = got.error();
  }(*left, &received));
  world.run_for(Duration::seconds(1));
  left.reset();
  right.reset();
  world.run(scope.join());
  ASSERT_TRUE(received.error.has_value());
  EXPECT_EQ(received.error->code, ErrorCode::kClosed);
}

TEST(Network, AReadThatWasDestroyedTakesNoBytes) {
  World world(1);
  auto [left, right] = make_stream_pair(world);
  {
    Received received;
    io::TaskScope scope(world);
    scope.spawn(receive_all(*right, &received));
    world.run_for(Duration::seconds(1));
  }
  ASSERT_TRUE(world.run(send(*left, "all of it")).ok());
  Buffer out = Buffer::allocate(9);
  ASSERT_TRUE(world.run(io::read_exactly(*right, out)).ok());
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(out.data()), 9), "all of it");
}

TEST(Network, ConnectsToWhoeverListens) {
  World world(1);
  Network network(world);
  Ends ends = connected(world, network, "tcp:127.0.0.1:0");
  EXPECT_NE(ends.listener->address().port, 0);
  EXPECT_EQ(ends.client->peer_name(), "127.0.0.1:" + std::to_string(ends.listener->address().port));
  EXPECT_NE(ends.server->peer_name(), ends.client->peer_name());
  ASSERT_TRUE(world.run(send(*ends.client, "hello")).ok());
  Buffer out = Buffer::allocate(5);
  ASSERT_TRUE(world.run(io::read_exactly(*ends.server, out)).ok());
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(out.data()), 5), "hello");
}

TEST(Network, TwoMayNotListenAtOneAddressUntilTheFirstHasGone) {
  World world(1);
  const io::Address address = address_of("unix:/run/a.sock");
  auto first = std::move(world.run(world.network().listen(address))).value();
  EXPECT_EQ(world.run(world.network().listen(address)).error().code, ErrorCode::kBusy);
  first.reset();
  EXPECT_TRUE(world.run(world.network().listen(address)).ok());
}

TEST(Network, ConnectingToNobodyIsRefused) {
  World world(1);
  const io::Address address = address_of("unix:/run/a.sock");
  const auto nobody = world.run(world.network().connect(address, Duration::seconds(1)));
  EXPECT_EQ(nobody.error().code, ErrorCode::kClosed);
  EXPECT_NE(nobody.error().message.find("refused"), std::string::npos);
  auto listener = std::move(world.run(world.network().listen(address))).value();
  listener->close();
  EXPECT_EQ(world.run(world.network().connect(address, Duration::seconds(1))).error().code,
            ErrorCode::kClosed);
  EXPECT_EQ(world.run(listener->accept()).error().code, ErrorCode::kClosed);
}

TEST(Network, ClosingAListenerEndsAnAcceptThatWaits) {
  World world(1);
  auto listener = std::move(world.run(world.network().listen(address_of("unix:/run/a.sock")))).value();
  std::optional<ErrorCode> code;
  io::TaskScope scope(world);
  scope.spawn([](io::Listener& l, std::optional<ErrorCode>* out) -> io::Task<void> {
    const Result<StreamPointer> accepted = co_await l.accept();
    *out = accepted.error().code;
  }(*listener, &code));
  world.run_for(Duration::seconds(1));
  listener.reset();
  world.run(scope.join());
  EXPECT_EQ(code, ErrorCode::kClosed);
}

TEST(Network, ConnectingOverACutLinkTimesOutOrWaitsUntilItIsHealed) {
  World world(1);
  Network network(world);
  const io::Address address = address_of("tcp:far:1");
  auto listener = std::move(world.run(network.listen(address))).value();
  network.cut();
  const MonotonicTime start = world.now();
  EXPECT_EQ(world.run(network.connect(address, Duration::seconds(3))).error().code, ErrorCode::kTimeout);
  EXPECT_EQ(world.now() - start, Duration::seconds(3));

  bool connected_after_all = false;
  io::TaskScope scope(world);
  scope.spawn([](Network& n, io::Address a, bool* out) -> io::Task<void> {
    const Result<StreamPointer> stream = co_await n.connect(a, Duration::seconds(3));
    *out = stream.ok();
  }(network, address, &connected_after_all));
  world.run_for(Duration::seconds(2));
  network.heal();
  world.run(scope.join());
  EXPECT_TRUE(connected_after_all);
}

TEST(Network, WhatWasSentOverACutLinkWaitsAndArrivesWhenHealed) {
  World world(1);
  Network network(world);
  Ends ends = connected(world, network, "tcp:far:1");
  Received received;
  io::TaskScope scope(world);
  scope.spawn(receive_all(*ends.server, &received));
  network.cut();
  ASSERT_TRUE(world.run(send(*ends.client, pattern(3000))).ok());
  ends.client->close();
  world.run_for(Duration::seconds(3600));
  EXPECT_EQ(received.text, "");
  EXPECT_FALSE(received.ended);
  network.heal();
  world.run(scope.join());
  EXPECT_EQ(received.text, pattern(3000));
  EXPECT_FALSE(received.error.has_value());
}

TEST(Network, AResetLosesWhatWasInFlightAndBreaksBothEnds) {
  World world(1);
  Network network(world);
  Ends ends = connected(world, network, "tcp:far:1");
  Received at_client, at_server;
  io::TaskScope scope(world);
  scope.spawn(receive_all(*ends.client, &at_client));
  scope.spawn(receive_all(*ends.server, &at_server));
  ASSERT_TRUE(world.run(send(*ends.client, "lost")).ok());
  network.reset_all();
  world.run(scope.join());
  EXPECT_EQ(at_server.text, "");
  for (const Received* received : {&at_client, &at_server}) {
    ASSERT_TRUE(received->error.has_value());
    EXPECT_EQ(received->error->code, ErrorCode::kClosed);
  }
  EXPECT_EQ(world.run(send(*ends.server, "x")).error().code, ErrorCode::kClosed);
  // Listeners live on, and new connections are made.
  const Result<StreamPointer> again =
      world.run(network.connect(ends.listener->address(), Duration::seconds(1)));
  EXPECT_TRUE(again.ok());
}

TEST(Network, ALinkCutInOneDirectionCarriesTheOther) {
  World world(31);
  Network network(world);
  Ends ends = connected(world, network, "unix:/one-way");
  network.cut_from_clients();
  Received at_server, at_client;
  io::TaskScope scope(world);
  scope.spawn(receive_all(*ends.server, &at_server));
  scope.spawn(receive_all(*ends.client, &at_client));
  std::optional<Result<void>> up, down;
  scope.spawn(send_and_note(*ends.client, "up", &up));
  scope.spawn(send_and_note(*ends.server, "down", &down));
  world.run_for(Duration::seconds(1));
  EXPECT_EQ(at_client.text, "down");
  EXPECT_EQ(at_server.text, "");
  EXPECT_FALSE(world.run(network.connect(ends.listener->address(), Duration::seconds(1))).ok());
  network.heal();
  world.run_for(Duration::seconds(1));
  EXPECT_EQ(at_server.text, "up");
}

TEST(Network, ABitTurnsOnceAndTheSessionIsRemembered) {
  World world(32);
  Network network(world);
  Ends ends = connected(world, network, "unix:/bit");
  Received received;
  io::TaskScope scope(world);
  scope.spawn(receive_all(*ends.server, &received));
  std::optional<Result<void>> sent;
  network.flip_next_bit();
  scope.spawn(send_and_note(*ends.client, pattern(100), &sent));
  world.run_for(Duration::seconds(1));
  ASSERT_EQ(received.text.size(), 100u);
  int bits = 0;
  for (std::size_t i = 0; i < 100; ++i)
    bits += std::popcount(static_cast<unsigned char>(received.text[i] ^ pattern(100)[i]));
  EXPECT_EQ(bits, 1);
  const std::vector<std::byte> session = network.last_session();
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(session.data()), session.size()), pattern(100));
}

}  // namespace
}  // namespace tidemark::sim
