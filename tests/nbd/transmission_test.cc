#include <gtest/gtest.h>

#include "nbd/nbd_fixture.h"
#include "nbd/scripted_stream.h"

namespace tidemark::nbd::test {
namespace {

class TransmissionTest : public NbdTest {
 protected:
  static std::string pattern(std::size_t length, unsigned seed) {
    std::string text(length, '\0');
    for (std::size_t i = 0; i < length; ++i)
      text[i] = static_cast<char>((i * 31 + seed * 7 + i / 251) & 0xff);
    return text;
  }
  bool logged(const std::string& what) const {
    return std::find(disk.log.begin(), disk.log.end(), what) != disk.log.end();
  }
};

TEST_F(TransmissionTest, WritesOfEverySizeReadBack) {
  RawClient client = attach();
  unsigned seed = 0;
  for (const bool at_once : {true, false}) {
    disk.takes_writes_at_once = at_once;
    for (const std::size_t length :
         {1u, 511u, 4096u, 4097u, 65535u, 65536u, 65537u, 262144u, 300001u, 1u << 20}) {
      const std::string data = pattern(length, ++seed);
      const std::uint64_t offset = kSizeBytes - length;
      ASSERT_TRUE(client.write(seed, offset, data));
      const Reply written = client.reply();
      EXPECT_EQ(written.cookie, seed);
      EXPECT_EQ(written.error, 0u);
      EXPECT_EQ(content(offset, length), data);
      client.request(kCommandRead, seed + 1000, offset, static_cast<std::uint32_t>(length));
      const Reply read = client.reply(length);
      EXPECT_EQ(read.cookie, seed + 1000);
      EXPECT_FALSE(read.structured);
      EXPECT_EQ(read.data, data);
    }
  }
  EXPECT_TRUE(disk.large_payload_aligned);
  const SessionCounters counters = server.sessions().at(0).counters;
  EXPECT_EQ(counters.writes, 20u);
  EXPECT_EQ(counters.reads, 20u);
  EXPECT_EQ(counters.bytes_read, counters.bytes_written);
  EXPECT_EQ(counters.refused, 0u);
}

TEST_F(TransmissionTest, TheLongestPayloadGoesThrough) {
  MemoryExport& large = directory.add("large", 40 << 20);
  std::string data(kPayloadBytesMax, '\0');
  for (std::size_t i = 0; i < data.size(); i += 1009) data[i] = static_cast<char>(i / 1009);
  Script script(world);
  script.piece_bytes_max = 1000003;
  script.say_handshake("large");
  script.say_write(1, 4096, data);
  script.say_request(kCommandFlush, 2, 0, 0);
  script.say_request(kCommandRead, 3, 4096, kPayloadBytesMax);
  script.say_request(kCommandDisconnect, 4, 0, 0);
  PayloadBudgets budgets{{128 << 10, 32 << 20}, {0, 64 << 20}};
  Session session(environment, std::make_unique<ScriptedStream>(script), directory, budgets, SessionLimits{});
  world.run(session.run());
  EXPECT_EQ(std::memcmp(large.content.data() + 4096, data.data(), data.size()), 0);
  ASSERT_GT(script.output.size(), data.size());
  EXPECT_TRUE(script.output.ends_with(data));
}

TEST_F(TransmissionTest, LargePayloadsAreReadToWhereTheyStayAndSmallOnesMuchAtATime) {
  MemoryExport& large = directory.add("large", 4 << 20);
  constexpr std::size_t kBytes = 128 << 10;
  Script script(world);
  script.say_handshake("large");
  for (std::uint64_t i = 0; i < 8; ++i) {
    script.say_write(i, i * kBytes, std::string(kBytes, static_cast<char>('a' + i)));
  }
  for (std::uint64_t i = 0; i < 8; ++i) script.say_write(i, i * 4096, std::string(4096, 'z'));
  PayloadBudgets budgets{{128 << 10, 32 << 20}, {0, 64 << 20}};
  Session session(environment, std::make_unique<ScriptedStream>(script), directory, budgets, SessionLimits{});
  world.run(session.run());
  EXPECT_EQ(std::string(8 * 4096, 'z') + std::string(kBytes - 8 * 4096, 'a'),
            std::string(reinterpret_cast<const char*>(large.content.data()), kBytes));
  EXPECT_EQ(std::string(kBytes, 'h'),
            std::string(reinterpret_cast<const char*>(large.content.data()) + 7 * kBytes, kBytes));
  // The first one comes with all that the client says at once. Of those that follow, a read brings the header
  // and little more, and another all the rest. Then the small ones: the first still with a little, seven
  // together.
  const std::size_t rest = kRequestHeaderBytes + kBytes - Session::kReadAfterLargeBytes;
  const std::size_t small = kRequestHeaderBytes + 4096;
  std::vector<std::size_t> expected;
  for (int i = 0; i < 7; ++i) expected.insert(expected.end(), {Session::kReadAfterLargeBytes, rest});
  expected.insert(expected.end(), {Session::kReadAfterLargeBytes, 8 * small - Session::kReadAfterLargeBytes});
  ASSERT_GE(script.reads.size(), expected.size());
  EXPECT_EQ(std::vector<std::size_t>(script.reads.end() - static_cast<std::ptrdiff_t>(expected.size()),
                                     script.reads.end()),
            expected);
}

TEST_F(TransmissionTest, AWritePayloadOfMoreThan32MiBEndsTheConnection) {
  for (const std::uint32_t length : {kPayloadBytesMax + 1, 0xffffffffu}) {
    RawClient client = attach();
    client.request(kCommandWrite, 1, 0, length);
    EXPECT_TRUE(client.at_end());
  }
  EXPECT_EQ(server.counters().violations, 2u);
  EXPECT_EQ(disk.requests, 0u);
}

TEST_F(TransmissionTest, ARequestWithoutItsMagicEndsTheConnection) {
  RawClient client = attach();
  WireEncoder out;
  out.u32(kRequestMagic + 1);
  out.zeroes(24);
  client.send(out);
  EXPECT_TRUE(client.at_end());
  EXPECT_EQ(server.counters().violations, 1u);
}

TEST_F(TransmissionTest, RefusedRequestsDoNotReachTheTargetAndTheConnectionGoesOn) {
  RawClient client = attach();
  EXPECT_EQ(client.error_of(kCommandRead, kSizeBytes, 1), 22u);
  EXPECT_EQ(client.error_of(kCommandRead, UINT64_MAX - 511, 1024), 22u);
  EXPECT_EQ(client.error_of(kCommandRead, 0, kPayloadBytesMax + 1), 22u);
  EXPECT_EQ(client.error_of(kCommandRead, 0, 0), 22u);
  EXPECT_EQ(client.error_of(kCommandRead, 0, 512, kCommandFlagDf), 22u);
  EXPECT_EQ(client.error_of(kCommandTrim, kSizeBytes - 1, 2), 22u);
  EXPECT_EQ(client.error_of(kCommandWriteZeroes, 0, kSizeBytes + 1), 28u);
  EXPECT_EQ(client.error_of(kCommandFlush, 0, 1), 22u);
  EXPECT_EQ(client.error_of(kCommandCache, 0, 0), 22u);
  EXPECT_EQ(client.error_of(kCommandBlockStatus, 0, 512), 22u);
  EXPECT_EQ(client.error_of(8, 0, 512), 22u);
  EXPECT_EQ(client.error_of(0xffff, 0, 0), 22u);
  EXPECT_EQ(client.error_of(kCommandFlush, 0, 0, 1 << 15), 22u);
  EXPECT_EQ(disk.requests, 0u);
  EXPECT_EQ(client.error_of(kCommandFlush, 0, 0), 0u);
  EXPECT_EQ(server.sessions().at(0).counters.refused, 13u);
}

TEST_F(TransmissionTest, ThePayloadOfARefusedWriteIsSkipped) {
  RawClient client = attach();
  for (const std::size_t length : {1u, 4096u, 70000u, 500000u}) {
    client.write(1, UINT64_MAX - 100, pattern(length, 1));  // wraps
    EXPECT_EQ(client.reply().error, 28u);
    client.write(2, 0, pattern(length, 1), kCommandFlagDf);
    EXPECT_EQ(client.reply().error, 22u);
  }
  EXPECT_EQ(client.error_of(kCommandFlush, 0, 0), 0u);
  EXPECT_EQ(disk.requests, 1u);
}

TEST_F(TransmissionTest, AReadOnlyExportRefusesEveryChange) {
  disk.info.read_only = true;
  RawClient client = attach_structured();
  client.write(1, 0, pattern(5000, 1));
  const Reply refused = client.reply();
  EXPECT_EQ(refused.error, 1u);
  EXPECT_EQ(refused.message, "WRITE on an export that is read-only");
  EXPECT_EQ(client.error_of(kCommandTrim, 0, 512), 1u);
  EXPECT_EQ(client.error_of(kCommandWriteZeroes, 0, 512), 1u);
  EXPECT_EQ(disk.requests, 0u);
  EXPECT_EQ(client.error_of(kCommandRead, 0, 512), 0u);
  EXPECT_EQ(client.error_of(kCommandFlush, 0, 0), 0u);
}

TEST_F(TransmissionTest, FlagsReachTheTarget) {
  RawClient client = attach();
  client.write(1, 0, "abc", kCommandFlagFua);
  EXPECT_EQ(client.reply().error, 0u);
  EXPECT_EQ(client.error_of(kCommandTrim, 0, 512, kCommandFlagFua), 0u);
  EXPECT_EQ(client.error_of(kCommandTrim, 0, 512), 0u);
  EXPECT_EQ(client.error_of(kCommandWriteZeroes, 0, 512, kCommandFlagNoHole | kCommandFlagFua), 0u);
  EXPECT_EQ(client.error_of(kCommandWriteZeroes, 0, 512, kCommandFlagFastZero), 0u);
  EXPECT_EQ(client.error_of(kCommandCache, 0, 512, kCommandFlagFua), 0u);
  EXPECT_EQ(client.error_of(kCommandRead, 0, 512, kCommandFlagFua), 0u);
  EXPECT_EQ(client.error_of(kCommandFlush, 0, 0, kCommandFlagFua), 0u);
  EXPECT_EQ(disk.log, (std::vector<std::string>{"write fua", "trim fua", "trim", "write_zeroes no_hole fua",
                                                "write_zeroes", "cache", "read", "flush"}));
}

TEST_F(TransmissionTest, AFuaWriteIsNotAnsweredBeforeTheTargetSaysSo) {
  disk.gate_closed = true;
  RawClient client = attach();
  client.write(1, 0, "abc", kCommandFlagFua);
  client.request(kCommandFlush, 2);
  world.run_for(Duration::seconds(5));
  EXPECT_EQ(disk.running, 2u);
  client.write(3, 0, "def");
  EXPECT_EQ(client.reply().cookie, 3u);  // the first reply of all
  disk.open_gate();
  const std::uint64_t first = client.reply().cookie;
  const std::uint64_t second = client.reply().cookie;
  EXPECT_EQ(first + second, 3u);
}

TEST_F(TransmissionTest, RepliesComeInTheOrderOfCompletion) {
  RawClient client = attach();
  disk.gate_closed = true;
  client.request(kCommandRead, 1, 0, 4096);
  client.write(2, 0, "x");
  EXPECT_EQ(client.reply().cookie, 2u);
  disk.open_gate();
  EXPECT_EQ(client.reply(4096).cookie, 1u);
}

TEST_F(TransmissionTest, DuplicateCookiesAreEachAnswered) {
  RawClient client = attach();
  disk.gate_closed = true;
  for (int i = 0; i < 5; ++i) client.request(kCommandTrim, 42, 0, 512);
  world.run_for(Duration::seconds(1));
  EXPECT_EQ(disk.running, 5u);
  disk.open_gate();
  for (int i = 0; i < 5; ++i) EXPECT_EQ(client.reply().cookie, 42u);
}

TEST_F(TransmissionTest, EveryCookieComesBackAsItWas) {
  RawClient client = attach_structured();
  for (const std::uint64_t cookie : {std::uint64_t{0}, UINT64_MAX, std::uint64_t{0x0102030405060708}}) {
    client.request(kCommandFlush, cookie);
    EXPECT_EQ(client.reply().cookie, cookie);
    client.request(kCommandRead, cookie, 0, 1);
    EXPECT_EQ(client.reply().cookie, cookie);
    client.request(kCommandRead, cookie, kSizeBytes, 1);
    EXPECT_EQ(client.reply().cookie, cookie);
  }
}

TEST_F(TransmissionTest, AStructuredReadIsOneChunk) {
  RawClient client = attach_structured();
  client.write(1, 100, pattern(70000, 9));
  EXPECT_FALSE(client.reply().structured);  // no payload: a simple reply is allowed
  for (const std::uint16_t flags : {std::uint16_t{0}, kCommandFlagDf}) {
    client.request(kCommandRead, 2, 100, 70000, flags);
    const Reply read = client.reply();
    EXPECT_TRUE(read.structured);
    EXPECT_EQ(read.flags, kChunkFlagDone);
    EXPECT_EQ(read.type, kChunkOffsetData);
    EXPECT_EQ(read.offset, 100u);
    EXPECT_EQ(read.data, pattern(70000, 9));
  }
}

TEST_F(TransmissionTest, StructuredErrorsCarryTheMessageMadePrintable) {
  RawClient client = attach_structured();
  disk.failure = fail(ErrorCode::kExpired, "mark 'noon\x1b[31m' expired; ask for a later point");
  for (const std::uint16_t type :
       {kCommandRead, kCommandTrim, kCommandWriteZeroes, kCommandCache, kCommandBlockStatus}) {
    client.request(type, 7, 0, 4096);
    const Reply failed = client.reply();
    EXPECT_TRUE(failed.structured);
    EXPECT_EQ(failed.flags, kChunkFlagDone);
    EXPECT_EQ(failed.type, kChunkError);
    EXPECT_EQ(failed.error, 5u);
    EXPECT_EQ(failed.message, "mark 'noon\\x1b[31m' expired; ask for a later point");
  }
  client.request(kCommandRead, 8, kSizeBytes, 1);  // refused by validation: structured as well
  const Reply refused = client.reply();
  EXPECT_TRUE(refused.structured);
  EXPECT_EQ(refused.error, 22u);
  EXPECT_FALSE(refused.message.empty());
  EXPECT_EQ(server.sessions().at(0).counters.failed, 5u);
}

TEST_F(TransmissionTest, AFailedSimpleReadSendsNoPayload) {
  RawClient client = attach();
  disk.failure = fail(ErrorCode::kIo, "the disk failed");
  client.request(kCommandRead, 1, 0, 4096);
  EXPECT_EQ(client.reply(4096).error, 5u);
  disk.failure.reset();
  EXPECT_EQ(client.error_of(kCommandFlush, 0, 0), 0u);
}

TEST_F(TransmissionTest, TargetFailuresMapToErrorValues) {
  RawClient client = attach();
  disk.takes_writes_at_once = false;
  const std::vector<std::pair<ErrorCode, std::uint32_t>> table = {{ErrorCode::kNoSpace, 28},
                                                                  {ErrorCode::kReadOnly, 1},
                                                                  {ErrorCode::kShutdown, 108},
                                                                  {ErrorCode::kInvalid, 22},
                                                                  {ErrorCode::kDamaged, 5}};
  for (const auto& [code, error] : table) {
    disk.failure = fail(code, "no");
    client.write(1, 0, "data");
    EXPECT_EQ(client.reply().error, error);
  }
  disk.failure = fail(ErrorCode::kUnsupported, "slow");
  EXPECT_EQ(client.error_of(kCommandWriteZeroes, 0, 512, kCommandFlagFastZero), 95u);
  EXPECT_EQ(client.error_of(kCommandWriteZeroes, 0, 512), 22u);
}

struct Descriptor {
  std::uint32_t length;
  std::uint32_t state;
  bool operator==(const Descriptor&) const = default;
};

std::vector<Descriptor> descriptors_of(const Reply& reply) {
  EXPECT_TRUE(reply.structured);
  EXPECT_EQ(reply.type, kChunkBlockStatus);
  EXPECT_EQ(reply.flags, kChunkFlagDone);
  WireDecoder in(as_bytes(reply.data));
  EXPECT_EQ(in.u32(), kAllocationContextId);
  std::vector<Descriptor> all;
  while (in.remaining() > 0) {
    const std::uint32_t length = in.u32();
    all.push_back({length, in.u32()});
  }
  EXPECT_FALSE(in.failed());
  return all;
}

TEST_F(TransmissionTest, BlockStatusTellsHolesAndZeroes) {
  disk.map = {{4096, false, false}, {4096, true, true}, {4096, false, true}, {8192, false, false}};
  RawClient client = attach_structured();
  client.request(kCommandBlockStatus, 1, 0, 20480);
  EXPECT_EQ(descriptors_of(client.reply()),
            (std::vector<Descriptor>{{4096, 0}, {4096, 3}, {4096, 2}, {8192, 0}}));
  client.request(kCommandBlockStatus, 1, 0, 20480, kCommandFlagReqOne);
  EXPECT_EQ(descriptors_of(client.reply()), (std::vector<Descriptor>{{4096, 0}}));
  EXPECT_EQ(disk.extents_max_asked, 1u);
}

TEST_F(TransmissionTest, BlockStatusHoldsTheTargetToTheProtocol) {
  RawClient client = attach_structured();
  disk.map = {
      {0, true, true}, {4096, true, true}, {4096, true, true}, {0, false, false}, {UINT64_MAX, false, false}};
  client.request(kCommandBlockStatus, 1, 0, 10000);
  EXPECT_EQ(descriptors_of(client.reply()), (std::vector<Descriptor>{{8192, 3}, {1808, 0}}));
  disk.map = {};
  client.request(kCommandBlockStatus, 1, 0, 10000);
  EXPECT_EQ(descriptors_of(client.reply()), (std::vector<Descriptor>{{10000, 0}}));
  disk.map = {{UINT64_MAX, true, true}};
  client.request(kCommandBlockStatus, 1, 100, 10000, kCommandFlagReqOne);
  EXPECT_EQ(descriptors_of(client.reply()), (std::vector<Descriptor>{{10000, 3}}));
}

TEST_F(TransmissionTest, BlockStatusOfAMaximallyFragmentedMapIsBounded) {
  for (int i = 0; i < 1 << 20; ++i) disk.map.push_back({1, i % 2 == 0, i % 2 == 0});
  RawClient client = attach_structured();
  client.request(kCommandBlockStatus, 1, 0, kSizeBytes);
  const auto descriptors = descriptors_of(client.reply());
  EXPECT_EQ(descriptors.size(), Session::kExtentsMax);
  EXPECT_EQ(descriptors.front(), (Descriptor{1, 3}));
  EXPECT_EQ(descriptors.back(), (Descriptor{1, 0}));
  EXPECT_EQ(disk.extents_max_asked, Session::kExtentsMax);
}

TEST_F(TransmissionTest, BlockStatusOfNearly4GiBDoesNotOverflow) {
  MemoryExport& sparse = directory.add("sparse", 4096);
  sparse.info.size_bytes = 1ull << 40;
  RawClient client = attach_structured("sparse");
  for (const std::uint32_t length : {0xffffffffu, 0xfffffffeu, 0xfffff000u, 0x80000000u}) {
    sparse.map = {{1ull << 33, true, true}};
    client.request(kCommandBlockStatus, 1, (1ull << 40) - 0xffffffffull, length);
    EXPECT_EQ(descriptors_of(client.reply()), (std::vector<Descriptor>{{length, 3}}));
    sparse.map = {{length - 1, true, true}, {1ull << 40, false, false}};
    client.request(kCommandBlockStatus, 1, 5, length);
    EXPECT_EQ(descriptors_of(client.reply()), (std::vector<Descriptor>{{length - 1, 3}, {1, 0}}));
  }
}

TEST_F(TransmissionTest, TrimAndZeroesOfNearly4GiBReachTheTargetWhole) {
  MemoryExport& sparse = directory.add("sparse", 4096);
  sparse.info.size_bytes = 1ull << 40;
  RawClient client = attach("sparse");
  EXPECT_EQ(client.error_of(kCommandTrim, 1, 0xffffffff), 0u);
  EXPECT_EQ(sparse.log, std::vector<std::string>{"trim"});
}

TEST_F(TransmissionTest, DisconnectLetsRequestsInFlightFinishAndTheirRepliesLeave) {
  RawClient client = attach();
  disk.gate_closed = true;
  disk.takes_writes_at_once = false;
  client.write(1, 0, "data");
  client.request(kCommandRead, 2, 0, 100000);
  client.request(kCommandDisconnect, 3);
  world.run_for(Duration::seconds(20));
  EXPECT_EQ(disk.running, 2u);
  disk.open_gate();
  EXPECT_EQ(client.reply().cookie, 1u);
  EXPECT_EQ(client.reply(100000).cookie, 2u);
  EXPECT_TRUE(client.at_end());
  EXPECT_EQ(content(0, 4), "data");
  EXPECT_EQ(disk.closed, 1u);
  EXPECT_TRUE(server.sessions().empty());
}

TEST_F(TransmissionTest, NothingAfterADisconnectIsLookedAt) {
  RawClient client = attach();
  WireEncoder out;
  RawClient::encode(out, kCommandDisconnect, 0, 1, 0, 0);
  RawClient::encode(out, kCommandTrim, 0, 2, 0, 512);
  client.send(out);
  EXPECT_TRUE(client.at_end());
  EXPECT_EQ(disk.requests, 0u);
}

TEST_F(TransmissionTest, AClientThatBreaksOffInThePayloadWritesNothing) {
  for (const std::uint32_t length : {4096u, 500000u}) {
    for (const std::size_t sent : {std::size_t{0}, std::size_t{1}, std::size_t{length - 1}}) {
      RawClient client = attach();
      WireEncoder out;
      RawClient::encode(out, kCommandWrite, 0, 1, 0, length);
      out.text(std::string(sent, 'x'));
      client.send(out);
      client.close();
      world.run_for(Duration::seconds(1));
      EXPECT_TRUE(server.sessions().empty());
    }
  }
  EXPECT_EQ(disk.requests, 0u);
  EXPECT_EQ(disk.opened, disk.closed);
}

TEST_F(TransmissionTest, ManySmallRequestsInOneSendAreAllAnswered) {
  RawClient client = attach();
  WireEncoder out;
  for (std::uint64_t i = 0; i < 3000; ++i) {
    const std::string data = pattern(300, static_cast<unsigned>(i));
    RawClient::encode(out, kCommandWrite, 0, i, i * 300, 300);
    out.text(data);
  }
  client.send(out);
  for (std::uint64_t i = 0; i < 3000; ++i) ASSERT_EQ(client.reply().cookie, i);
  for (std::uint64_t i = 0; i < 3000; ++i) {
    ASSERT_EQ(content(i * 300, 300), pattern(300, static_cast<unsigned>(i)));
  }
}

TEST_F(TransmissionTest, SlicesThatTheTargetKeepsStayAsTheyWereAndPinABoundedNumberOfBlocks) {
  std::vector<Buffer> kept;
  disk.keep_payloads_in = &kept;
  RawClient client = attach();
  for (std::uint64_t i = 0; i < 1000; ++i) {
    client.write(i, 0, pattern(4000, static_cast<unsigned>(i)));
    ASSERT_EQ(client.reply().cookie, i);
  }
  for (std::size_t i = 0; i < kept.size(); ++i) {
    const std::string text(reinterpret_cast<const char*>(kept[i].data()), kept[i].size());
    ASSERT_EQ(text, pattern(4000, static_cast<unsigned>(i)));
  }
  EXPECT_LE(server.sessions().at(0).memory_bytes, ReceiveBuffer::kBlocksMax * ReceiveBuffer::kBlockBytes);
}

}  // namespace
}  // namespace tidemark::nbd::test
