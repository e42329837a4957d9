#include <gtest/gtest.h>

#include <list>
#include <memory>
#include <vector>

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
    EXPECT_LE(memory(), (256u << 10) + kReceiveBytesMax);
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
  EXPECT_LE(memory(), (11u << 20) + kReceiveBytesMax);  // a third of what all connections share
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
    PayloadBudgets budgets{{128 << 10, 32 << 20}, {0, 64 << 20}};
    Session session(environment, std::make_unique<ScriptedStream>(script), directory, budgets,
                    SessionLimits{});
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
  RawClient::encode(requests, kCommandRead, 0, 1, 0, kSizeBytes);
  RawClient::encode(requests, kCommandDisconnect, 0, 2, 0, 0);
  flood(deaf, requests, 1);
  world.run_for(Duration::seconds(6));
  EXPECT_TRUE(server.sessions().empty());
  EXPECT_EQ(disk.closed, 1u);
}

// Under the limits of a whole server: 128 MiB, of which 96 MiB are shared.
class SharedLimitsTest : public LimitsTest {
 protected:
  static constexpr std::uint32_t kMiB = 1 << 20;
  SharedLimitsTest() : large(directory.add("large", 32 * kMiB)) {}

  // A client that asks for reads of `length` and takes no reply.
  RawClient& add_deaf(std::uint32_t length) {
    deaf.push_back(std::make_unique<RawClient>(attach("large")));
    WireEncoder read;
    RawClient::encode(read, kCommandRead, 0, 1, 0, length);
    tasks.spawn(flood_task(deaf.back()->stream(), Buffer::copy_of(read.bytes()), 1000, &sent.emplace_back()));
    world.run_for(Duration::milliseconds(100));
    return *deaf.back();
  }
  // A client that announces a write of 32 MiB and sends none of it.
  void add_silent() {
    deaf.push_back(std::make_unique<RawClient>(attach("large")));
    WireEncoder write;
    RawClient::encode(write, kCommandWrite, 0, 1, 0, 32 * kMiB);
    deaf.back()->send(write);
    world.run_for(Duration::milliseconds(100));
  }
  std::uint64_t memory_of_all() const {
    std::uint64_t bytes = 0;
    for (const SessionStatus& session : server.sessions()) bytes += session.memory_bytes;
    return bytes;
  }

  MemoryExport& large;
  std::vector<std::unique_ptr<RawClient>> deaf;
  std::list<int> sent;
};

TEST_F(SharedLimitsTest, AllConnectionsTogetherStayWithinTheBudget) {
  for (int i = 0; i < 40; ++i) add_deaf(i % 2 == 0 ? kMiB : 32 * kMiB);
  EXPECT_LE(memory_of_all(), 96u * kMiB + 40 * (128u << 10) + 40 * (kReceiveBytesMax + (128u << 10)));
  EXPECT_GE(memory_of_all(), 64u * kMiB);
}

TEST_F(SharedLimitsTest, ReadsCountAsTheMemoryTheyNeed) {
  Script script(world);
  script.ends = false;
  script.deaf_after_bytes = 1000;
  script.say_handshake("large");
  for (int i = 0; i < 5000; ++i) script.say_request(kCommandRead, 1, 0, 1);
  for (int i = 0; i < 5000; ++i) script.say_request(kCommandBlockStatus, 1, 0, 32 * kMiB);
  PayloadBudgets budgets{{128 << 10, 1 << 20}, {0, 64 << 20}};
  Session session(environment, std::make_unique<ScriptedStream>(script), directory, budgets, SessionLimits{});
  io::TaskScope scope(world);
  scope.spawn(session.run());
  world.run_for(Duration::seconds(1));
  // What it could hold, and the few that went out before it was deaf: not more pages than that were used.
  EXPECT_LE(session.counters().reads * 4096, (1u << 20) + (128u << 10));
  EXPECT_GT(session.counters().reads, 30u);
  script.closed = true;
  script.changed.wake_all();
  world.run(scope.join());
  EXPECT_EQ(budgets.ordinary.shared_bytes_used(), 0u);
}

TEST_F(SharedLimitsTest, DeafClientsDelayNobodyWhoseRequestsAreOrdinary) {
  for (int i = 0; i < 24; ++i) add_deaf(kMiB);
  RawClient other = attach("large");
  const MonotonicTime begin = world.now();
  for (const std::uint32_t length : {4096u, 128u << 10, 1u << 20}) {
    ASSERT_EQ(other.error_of(kCommandRead, 0, length), 0u) << length;
  }
  EXPECT_LT(world.now() - begin, Duration::seconds(1));
  EXPECT_EQ(server.counters().stalled, 0u);
}

TEST_F(SharedLimitsTest, AClientThatTakesNoRepliesIsEndedWhenOthersNeedItsMemory) {
  for (int i = 0; i < 2; ++i) add_deaf(32 * kMiB);
  world.run_for(Duration::seconds(9));
  EXPECT_EQ(server.counters().stalled, 0u);
  RawClient other = attach("large");
  EXPECT_EQ(other.error_of(kCommandRead, 0, 2 * kMiB), 0u);
  EXPECT_GE(server.counters().stalled, 1u);
  ASSERT_FALSE(reports.empty());
  EXPECT_NE(reports.back().find("others waited for memory while the client took no replies"),
            std::string::npos)
      << reports.back();
}

TEST_F(SharedLimitsTest, AClientThatDoesNotSendWhatItAnnouncedIsEndedWhenOthersNeedItsMemory) {
  for (int i = 0; i < 2; ++i) add_silent();
  RawClient other = attach("large");
  EXPECT_EQ(other.error_of(kCommandRead, 0, 2 * kMiB), 0u);
  EXPECT_GE(server.counters().stalled, 1u);
  ASSERT_FALSE(reports.empty());
  EXPECT_NE(reports.back().find("did not send the payload it had announced"), std::string::npos)
      << reports.back();
}

TEST_F(SharedLimitsTest, AClientThatTakesNoRepliesIsLeftAloneWhileNobodyWaits) {
  add_deaf(kMiB);
  RawClient other = attach("large");
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(other.error_of(kCommandRead, 0, kMiB), 0u);
    world.run_for(Duration::seconds(10));
  }
  EXPECT_EQ(server.counters().stalled, 0u);
  EXPECT_EQ(server.sessions().size(), 2u);
}

TEST_F(SharedLimitsTest, AClientThatReadsSlowlyIsNotTakenForOneThatDoesNotRead) {
  for (int i = 0; i < 2; ++i) add_deaf(32 * kMiB);
  RawClient other = attach("large");
  WireEncoder read;
  RawClient::encode(read, kCommandRead, 0, 1, 0, 2 * kMiB);
  other.send(read);
  // A little more than one send every few seconds, while another waits.
  for (int i = 0; i < 20; ++i) {
    world.run_for(Duration::seconds(3));
    for (auto& slow : deaf) {
      for (std::size_t taken = 0; taken < 300u << 10;) {
        const Result<std::size_t> got = world.run(slow->stream().read_some(Buffer::allocate(64 << 10)));
        ASSERT_TRUE(got.ok());
        ASSERT_NE(*got, 0u);
        taken += *got;
      }
    }
  }
  EXPECT_EQ(server.counters().stalled, 0u);
  EXPECT_EQ(server.sessions().back().counters.reads, 0u);
  EXPECT_FALSE(other.reply(2 * kMiB).closed);  // when they are deaf again
}

}  // namespace
}  // namespace tidemark::nbd::test
