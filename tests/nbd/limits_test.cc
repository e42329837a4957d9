#include <gtest/gtest.h>

#include "nbd/nbd_fixture.h"
#include "nbd/scripted_stream.h"

namespace tidemark::nbd::test {
namespace {

class LimitsTest : public NbdTest {
 protected:
  // Sends `message` again and again without reading, until the server takes no more. How often it went.
  int flood(RawClient& client, const WireEncoder& message, int times_max) {
    io::TaskScope scope(world);
    int sent = 0;
    scope.spawn(flood_task(client.stream(), Buffer::copy_of(message.bytes()), times_max, &sent));
    world.run_for(Duration::seconds(5));
    return sent;
  }
  static io::Task<void> flood_task(io::Stream& stream, Buffer message, int times_max, int* sent) {
    for (; *sent < times_max; ++*sent) {
      std::vector<Buffer> pieces(1, message);
      const Result<void> written = co_await stream.write(std::move(pieces));
      if (!written.ok()) co_return;
    }
  }
  std::uint64_t memory() const { return server.sessions().at(0).memory_bytes; }
  static constexpr std::uint64_t kReceiveBytesMax = ReceiveBuffer::kBlocksMax * ReceiveBuffer::kBlockBytes;
};

TEST_F(LimitsTest, RequestsInFlightAreBounded) {
  RawClient client = attach();
  disk.gate_closed = true;
  WireEncoder out;
  for (std::uint64_t i = 0; i < 1000; ++i) RawClient::encode(out, kCommandTrim, 0, i, 0, 512);
  client.send(out);
  world.run_for(Duration::seconds(1));
  EXPECT_EQ(disk.running, 128u);
  disk.open_gate();
  for (int i = 0; i < 1000; ++i) ASSERT_FALSE(client.reply().closed);
  EXPECT_EQ(disk.running_max, 128u);
}

TEST_F(LimitsTest, AClientThatNeverReadsItsRepliesIsNotReadFromAndHoldsUpNobody) {
  MemoryExport& large = directory.add("large", 32 << 20);
  RawClient deaf = attach("large");
  RawClient other = attach();
  WireEncoder read;
  RawClient::encode(read, kCommandRead, 0, 1, 0, 8 << 20);
  flood(deaf, read, 100000);
  EXPECT_LE(memory(), (64u << 20) + (2u << 20) + kReceiveBytesMax);
  EXPECT_EQ(large.running, 0u);
  EXPECT_LE(server.sessions().at(0).counters.reads, 9u);
  EXPECT_EQ(other.error_of(kCommandRead, 0, 4096), 0u);
}

TEST_F(LimitsTest, RepliesWithoutPayloadAreBoundedToo) {
  for (const bool structured : {false, true}) {
    RawClient deaf = structured ? attach_structured() : attach();
    WireEncoder requests;
    for (std::uint64_t i = 0; i < 1000; ++i) {
      RawClient::encode(requests, kCommandWrite, 0, i, 0, 1);
      requests.text("x");
      RawClient::encode(requests, 99, 0, i, 0, 1);
    }
    const int sent = flood(deaf, requests, 1000);
    EXPECT_LT(sent, 1000);
    EXPECT_LE(memory(), (2u << 20) + kReceiveBytesMax);
    deaf.close();
    world.run_for(Duration::seconds(10));
    EXPECT_TRUE(server.sessions().empty());
  }
}

TEST_F(LimitsTest, BlockStatusRepliesNobodyReadsAreBounded) {
  for (int i = 0; i < 1 << 16; ++i) disk.map.push_back({1, i % 2 == 0, false});
  RawClient deaf = attach_structured();
  WireEncoder requests;
  for (std::uint64_t i = 0; i < 100; ++i)
    RawClient::encode(requests, kCommandBlockStatus, 0, i, 0, kSizeBytes);
  flood(deaf, requests, 1000);
  // The limit, and what the requests in flight added when it was reached.
  const std::uint64_t overshoot = 128 * (kChunkHeaderBytes + 4 + 8 * Session::kExtentsMax);
  EXPECT_LE(memory(), 2 * ((1u << 20) + overshoot) + kReceiveBytesMax);
}

TEST_F(LimitsTest, ADeafClientThatWakesUpGetsEverything) {
  RawClient client = attach();
  WireEncoder read;
  for (std::uint64_t i = 0; i < 20; ++i) RawClient::encode(read, kCommandRead, 0, i, 0, 100000);
  flood(client, read, 1);
  for (std::uint64_t i = 0; i < 20; ++i) {
    const Reply reply = client.reply(100000);
    ASSERT_EQ(reply.cookie, i);
    ASSERT_EQ(reply.data.size(), 100000u);
  }
}

TEST_F(LimitsTest, PayloadOfWritesInFlightIsBounded) {
  MemoryExport& large = directory.add("large", 32 << 20);
  large.takes_writes_at_once = false;
  for (const std::size_t length : {4096u, 60000u, 1u << 20, 30u << 20}) {
    large.gate_closed = true;
    const std::string data(length, 'd');
    Script script(world);
    script.ends = false;
    script.say_handshake("large");
    for (std::uint64_t sent = 0; sent < (100u << 20) && sent < 400 * length; sent += length) {
      script.say_write(1, 0, data);
    }
    Session session(environment, std::make_unique<ScriptedStream>(script), directory, SessionLimits{});
    io::TaskScope scope(world);
    scope.spawn(session.run());
    world.run_for(Duration::seconds(1));
    EXPECT_LT(script.position, script.input.size()) << length;
    EXPECT_LE(session.memory_bytes(), (64u << 20) + kReceiveBytesMax) << length;
    EXPECT_LE(session.requests_in_flight(), 128u);
    // What was held back is taken up again.
    large.open_gate();
    world.run_for(Duration::seconds(1));
    EXPECT_EQ(script.position, script.input.size());
    EXPECT_EQ(session.requests_in_flight(), 0u);
    script.closed = true;
    script.changed.wake_all();
    world.run(scope.join());
  }
}

TEST_F(LimitsTest, ADeafClientThatDisconnectsIsLetGoAfterTheFlushTimeout) {
  RawClient deaf = attach();
  WireEncoder requests;
  for (int i = 0; i < 4; ++i) RawClient::encode(requests, kCommandRead, 0, 1, 0, kSizeBytes);
  RawClient::encode(requests, kCommandDisconnect, 0, 2, 0, 0);
  flood(deaf, requests, 1);
  world.run_for(Duration::seconds(6));
  EXPECT_TRUE(server.sessions().empty());
  EXPECT_EQ(disk.closed, 1u);
}

}  // namespace
}  // namespace tidemark::nbd::test
