#include "format/link.h"

#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "damage.h"

namespace tidemark::format {
namespace {

template <typename Identity>
Identity identity_of(std::uint8_t first) {
  Identity identity;
  for (std::uint8_t& byte : identity.bytes) byte = first++;
  return identity;
}

// The examples of docs/formats/link.md.
Hello example_hello() {
  Hello hello;
  hello.intent = HelloIntent::kReplace;
  hello.node = identity_of<NodeIdentity>(0x10);
  hello.instance = 9;
  hello.node_name = "kyoto";
  hello.group = identity_of<GroupIdentity>(0x20);
  hello.group_name = "app";
  hello.primary_group = "app";
  hello.addresses = {"unix:/a", "unix:/b"};
  hello.start = LogId(Epoch{1}, 42);
  hello.start_checksum = 0xdeadbeef;
  hello.parity = 2;
  hello.journal_size_bytes = 1 << 30;
  hello.retain_ns = Duration::seconds(86400).ns;
  hello.state = {std::byte{1}, std::byte{2}, std::byte{3}};
  return hello;
}

Welcome example_welcome() {
  Welcome welcome;
  welcome.accepted = true;
  welcome.node = identity_of<NodeIdentity>(0x30);
  welcome.node_name = "osaka";
  welcome.received = LogId(Epoch{1}, 42);
  welcome.floor = LogId(Epoch{1}, 7);
  return welcome;
}

Welcome example_refusal() {
  Welcome welcome = example_welcome();
  welcome.accepted = false;
  welcome.error_code = static_cast<std::uint16_t>(ErrorCode::kRefused);
  welcome.error_message = "no";
  welcome.taken_over = true;
  welcome.received = LogId();
  welcome.floor = LogId();
  return welcome;
}

Chunk example_chunk() {
  return {.volume = VolumeId{3}, .begin_block = 256, .checksum = 0xcafef00d};
}

Ack example_ack() {
  return {.durable = LogId(Epoch{1}, 42), .floor = LogId(Epoch{1}, 7), .window_open = true};
}

Suspend example_suspend() {
  return {.cause = SuspendCause::kError, .reason = "full"};
}

LinkHeader header_of(LinkMessage type, Bytes body, std::uint32_t payload_bytes) {
  return {.type = type,
          .body_bytes = static_cast<std::uint32_t>(body.size()),
          .payload_bytes = payload_bytes,
          .body_checksum = crc32c(body)};
}

TEST(Link, MessagesHaveTheBytesOfTheirPage) {
  EXPECT_EQ(
      hex(encode_hello(example_hello())),
      "020000000200101112131415161718191a1b1c1d1e1f0900000000000000050000006b796f746f202122232425262728292a2b"
      "2c2d2e2f030000"
      "00617070030000006170700200000007000000756e69783a2f6107000000756e69783a2f622a00000000010000efbeadde0200"
      "0000000000400000000000004f91944e0000030000000102"
      "03");
  EXPECT_EQ(
      hex(encode_welcome(example_welcome())),
      "01000000000000303132333435363738393a3b3c3d3e3f050000006f73616b612a00000000010000070000000001000000");
  EXPECT_EQ(
      hex(encode_welcome(example_refusal())),
      "000300020000006e6f303132333435363738393a3b3c3d3e3f050000006f73616b61000000000000000000000000000000"
      "0001");
  EXPECT_EQ(hex(encode_chunk(example_chunk())), "0300000000010000000000000df0feca");
  EXPECT_EQ(hex(encode_ack(example_ack())), "2a00000000010000070000000001000001");
  EXPECT_EQ(hex(encode_suspend(example_suspend())), "010400000066756c6c");
  EXPECT_EQ(hex(encode_log_id(LogId(Epoch{3}, 77))), "4d00000000030000");
  const std::vector<std::byte> ack = encode_ack(example_ack());
  EXPECT_EQ(hex(encode_link_header(header_of(LinkMessage::kAck, ack, 0))),
            "544d4c31070000001100000000000000a7802995000000000000000097616675");
  const std::vector<std::byte> chunk = encode_chunk(example_chunk());
  EXPECT_EQ(hex(encode_link_header(header_of(LinkMessage::kChunk, chunk, 4096))),
            "544d4c310400000010000000001000007936505300000000000000003571a06b");
  Chunk of_sevens = example_chunk();
  of_sevens.checksum = 0x6075eaa9;
  const std::vector<std::byte> sevens = encode_chunk(of_sevens);
  EXPECT_EQ(hex(sevens), "030000000001000000000000a9ea7560");
  LinkHeader compressed = header_of(LinkMessage::kChunk, sevens, 19);
  compressed.uncompressed_bytes = 4096;
  EXPECT_EQ(hex(encode_link_header(compressed)),
            "544d4c310400000010000000130000003ac7f231001000000000000074783965");
}

TEST(Link, AHelloReadsBackEveryField) {
  const Hello hello = example_hello();
  const auto decoded = decode_hello(encode_hello(hello));
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_EQ(decoded->version(), kLinkVersion);
  EXPECT_EQ(decoded->intent, hello.intent);
  EXPECT_EQ(decoded->node, hello.node);
  EXPECT_EQ(decoded->instance, hello.instance);
  EXPECT_EQ(decoded->node_name, hello.node_name);
  EXPECT_EQ(decoded->group, hello.group);
  EXPECT_EQ(decoded->group_name, hello.group_name);
  EXPECT_EQ(decoded->primary_group, hello.primary_group);
  EXPECT_EQ(decoded->addresses, hello.addresses);
  EXPECT_EQ(decoded->overrules, hello.overrules);
  EXPECT_EQ(decoded->start, hello.start);
  EXPECT_EQ(decoded->start_checksum, hello.start_checksum);
  EXPECT_EQ(decoded->parity, hello.parity);
  EXPECT_EQ(decoded->journal_size_bytes, hello.journal_size_bytes);
  EXPECT_EQ(decoded->retain_ns, hello.retain_ns);
  EXPECT_EQ(decoded->state, hello.state);
}

TEST(Link, TheOtherMessagesReadBackEveryField) {
  const auto welcome = decode_welcome(encode_welcome(example_welcome()));
  ASSERT_TRUE(welcome.ok());
  EXPECT_TRUE(welcome->accepted);
  EXPECT_EQ(welcome->node_name, "osaka");
  EXPECT_EQ(welcome->received, LogId(Epoch{1}, 42));
  EXPECT_EQ(welcome->floor, LogId(Epoch{1}, 7));
  const auto refusal = decode_welcome(encode_welcome(example_refusal()));
  ASSERT_TRUE(refusal.ok());
  EXPECT_FALSE(refusal->accepted);
  EXPECT_EQ(refusal->error_code, static_cast<std::uint16_t>(ErrorCode::kRefused));
  EXPECT_EQ(refusal->error_message, "no");
  const auto chunk = decode_chunk(encode_chunk(example_chunk()));
  ASSERT_TRUE(chunk.ok());
  EXPECT_EQ(chunk->volume, VolumeId{3});
  EXPECT_EQ(chunk->begin_block, 256u);
  EXPECT_EQ(chunk->checksum, 0xcafef00du);
  const auto ack = decode_ack(encode_ack(example_ack()));
  ASSERT_TRUE(ack.ok());
  EXPECT_EQ(ack->durable, LogId(Epoch{1}, 42));
  EXPECT_EQ(ack->floor, LogId(Epoch{1}, 7));
  EXPECT_TRUE(ack->window_open);
  const auto suspend = decode_suspend(encode_suspend(example_suspend()));
  ASSERT_TRUE(suspend.ok());
  EXPECT_EQ(suspend->cause, SuspendCause::kError);
  EXPECT_EQ(suspend->reason, "full");
  const auto id = decode_log_id(encode_log_id(LogId(Epoch{3}, 77)));
  ASSERT_TRUE(id.ok());
  EXPECT_EQ(*id, LogId(Epoch{3}, 77));
}

TEST(Link, AnAsynchronousPairIsIntroducedInTheVersionBefore) {
  Hello hello = example_hello();
  EXPECT_EQ(encode_hello(hello)[0], std::byte{kLinkVersion});
  hello.sync = SyncTerms();
  EXPECT_EQ(encode_hello(hello)[0], std::byte{kLinkVersionSync});
}

TEST(Link, ANamedPlaceForTheCopyTakesTheNewestVersion) {
  for (const bool sync : {false, true}) {
    Hello hello = example_hello();
    hello.raid = "slow";
    if (sync) hello.sync = SyncTerms{PeerLoss::kWait, Duration::seconds(9)};
    const std::vector<std::byte> bytes = encode_hello(hello);
    EXPECT_EQ(bytes[0], std::byte{kLinkVersionPlaced});
    const auto decoded = decode_hello(bytes);
    ASSERT_TRUE(decoded.ok()) << decoded.error().message;
    EXPECT_EQ(decoded->raid, "slow");
    EXPECT_EQ(decoded->sync, hello.sync);
    EXPECT_EQ(decoded->version(), kLinkVersionPlaced);
  }
}

TEST(Link, APairThatCompressesTakesAVersionOfItsOwn) {
  for (const bool sync : {false, true}) {
    for (const char* raid : {"", "slow"}) {
      Hello hello = example_hello();
      hello.compression = Compression::kZstd;
      hello.raid = raid;
      if (sync) hello.sync = SyncTerms{PeerLoss::kWait, Duration::seconds(9)};
      const std::vector<std::byte> bytes = encode_hello(hello);
      EXPECT_EQ(bytes[0], std::byte{kLinkVersionCompressed});
      const auto decoded = decode_hello(bytes);
      ASSERT_TRUE(decoded.ok()) << decoded.error().message;
      EXPECT_EQ(decoded->compression, Compression::kZstd);
      EXPECT_EQ(decoded->raid, raid);
      EXPECT_EQ(decoded->sync, hello.sync);
      EXPECT_EQ(decoded->version(), kLinkVersionCompressed);
    }
  }
}

TEST(Link, AHelloWithACompressionThatIsNoneIsRefused) {
  Hello hello = example_hello();
  hello.compression = Compression::kZstd;
  std::vector<std::byte> bytes = encode_hello(hello);
  for (const int wrong : {0, 2, 255}) {
    bytes.back() = static_cast<std::byte>(wrong);
    EXPECT_EQ(decode_hello(bytes).error().code, ErrorCode::kInvalid) << wrong;
  }
}

TEST(Link, TheTermsOfASynchronousPairReadBackEveryField) {
  Hello hello = example_hello();
  hello.sync = SyncTerms{PeerLoss::kFail, Duration::seconds(7)};
  hello.not_in_sync = NotInSync::kNoProgress;
  const auto decoded = decode_hello(encode_hello(hello));
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_EQ(decoded->sync, hello.sync);
  EXPECT_EQ(decoded->not_in_sync, hello.not_in_sync);
  for (const Duration wrong : {Duration::seconds(0), Duration::seconds(3601)}) {
    hello.sync->loss_after = wrong;
    EXPECT_FALSE(decode_hello(encode_hello(hello)).ok());
  }
  Ack ack = example_ack();
  ack.sent_ns = 123'456;
  const std::vector<std::byte> bytes = encode_ack(ack);
  EXPECT_EQ(decode_ack(bytes)->sent_ns, ack.sent_ns);
  EXPECT_EQ(hex(encode_ack(*decode_ack(bytes))), hex(bytes));
  EXPECT_FALSE(decode_ack(Bytes(bytes).first(bytes.size() - 1)).ok());
}

TEST(Link, WhatASecondaryMayCountOnReadsBackEveryField) {
  const InSync word{NotInSync::kLinkDown, WallTime{1000}, 77, Duration::seconds(-3)};
  EXPECT_EQ(hex(encode_in_sync(word)), "02e8030000000000004d0000000000000000a22f4dffffffff");
  const auto decoded = decode_in_sync(encode_in_sync(word));
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_EQ(decoded->why, word.why);
  EXPECT_EQ(decoded->since, word.since);
  EXPECT_EQ(decoded->heard_ns, word.heard_ns);
  EXPECT_EQ(decoded->holds_for, word.holds_for);
  EXPECT_FALSE(decode_in_sync(encode_in_sync({NotInSync::kNone, {}, -1, {}})).ok());
  EXPECT_FALSE(decode_in_sync(encode_in_sync({NotInSync::kNone, {}, 0, Duration::seconds(3601)})).ok());
}

TEST(Link, AMarkAskedForAndItsAnswerReadBackEveryField) {
  MarkRequest request;
  request.number = 7;
  request.at = LogId(Epoch{1}, 42);
  request.mark.id = "order-4711~1";
  request.mark.host_time = WallTime{5};
  request.mark.host = "db1";
  request.mark.note = "paid";
  const std::vector<std::byte> asked = encode_mark_request(request);
  const auto decoded = decode_mark_request(asked);
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_EQ(decoded->number, request.number);
  EXPECT_EQ(decoded->at, request.at);
  EXPECT_EQ(decoded->mark, request.mark);
  MarkReply reply;
  reply.number = 7;
  reply.error_code = static_cast<std::uint16_t>(ErrorCode::kExists);
  reply.error_message = "taken";
  reply.id = "order-4711";
  reply.entry = LogId(Epoch{1}, 43);
  const std::vector<std::byte> answered = encode_mark_reply(reply);
  const auto back = decode_mark_reply(answered);
  ASSERT_TRUE(back.ok()) << back.error().message;
  EXPECT_EQ(back->number, reply.number);
  EXPECT_FALSE(back->done);
  EXPECT_EQ(back->error_code, reply.error_code);
  EXPECT_EQ(back->error_message, reply.error_message);
  EXPECT_EQ(back->id, reply.id);
  EXPECT_EQ(back->entry, reply.entry);
  for (std::size_t size = 0; size < asked.size(); ++size) {
    EXPECT_FALSE(decode_mark_request(Bytes(asked).first(size)).ok()) << size;
  }
  for (std::size_t size = 0; size < answered.size(); ++size) {
    EXPECT_FALSE(decode_mark_reply(Bytes(answered).first(size)).ok()) << size;
  }
  for (const char* id : {"", "a~", "a~b", "~1", "a b", "a~1/2"}) {
    request.mark.id = id;
    EXPECT_FALSE(decode_mark_request(encode_mark_request(request)).ok()) << id;
  }
}

TEST(Link, AReasonThatIsTooLongIsCutRatherThanRefusedByThePeer) {
  Suspend suspend;
  suspend.reason.assign(100'000, 'x');
  EXPECT_TRUE(decode_suspend(encode_suspend(suspend)).ok());
  Welcome welcome = example_refusal();
  welcome.error_message.assign(100'000, 'x');
  EXPECT_TRUE(decode_welcome(encode_welcome(welcome)).ok());
}

TEST(Link, EveryFlippedBitOfAMessageIsNoticed) {
  const std::vector<std::byte> body = encode_hello(example_hello());
  const std::vector<std::byte> head = encode_link_header(header_of(LinkMessage::kHello, body, 0));
  for_each_flip(head, [](Bytes bytes, std::size_t at) {
    const auto header = decode_link_header(bytes);
    ASSERT_FALSE(header.ok()) << at;
    EXPECT_EQ(header.error().code, ErrorCode::kInvalid);
  });
  const auto header = decode_link_header(head);
  ASSERT_TRUE(header.ok());
  for_each_flip(body,
                [&](Bytes bytes, std::size_t at) { EXPECT_NE(crc32c(bytes), header->body_checksum) << at; });
}

// A body whose checksum was made for it can still hold anything: it decodes to what encodes to the same
// bytes, or it does not decode.
template <typename Decode, typename Encode>
void expect_canonical(const std::vector<std::byte>& example, Decode decode, Encode encode) {
  for_each_flip(example, [&](Bytes bytes, std::size_t at) {
    const auto decoded = decode(bytes);
    if (!decoded.ok()) return;
    EXPECT_EQ(hex(encode(*decoded)), hex(bytes)) << at;
  });
  for_each_truncation(example, [&](Bytes bytes) { EXPECT_FALSE(decode(bytes).ok()) << hex(bytes); });
  std::vector<std::byte> longer = example;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(decode(Bytes(longer)).ok());
}

TEST(Link, BodiesWithFlippedBitsAndTruncationsAreRefusedOrMeanWhatTheySay) {
  expect_canonical(encode_hello(example_hello()), decode_hello, encode_hello);
  Hello synchronous = example_hello();
  synchronous.sync = SyncTerms();
  expect_canonical(encode_hello(synchronous), decode_hello, encode_hello);
  synchronous.raid = "slow";
  expect_canonical(encode_hello(synchronous), decode_hello, encode_hello);
  expect_canonical(encode_in_sync(InSync{NotInSync::kNone, WallTime{1}, 2, Duration{3}}), decode_in_sync,
                   encode_in_sync);
  expect_canonical(encode_welcome(example_welcome()), decode_welcome, encode_welcome);
  expect_canonical(encode_welcome(example_refusal()), decode_welcome, encode_welcome);
  expect_canonical(encode_chunk(example_chunk()), decode_chunk, encode_chunk);
  expect_canonical(encode_ack(example_ack()), decode_ack, encode_ack);
  expect_canonical(encode_suspend(example_suspend()), decode_suspend, encode_suspend);
  expect_canonical(encode_log_id(LogId(Epoch{3}, 77)), decode_log_id, encode_log_id);
}

TEST(Link, UnitsAreWhatTheyWereAndBounded) {
  const std::vector<UnitOfVolume> units{{VolumeId{1}, LuNumber{2}}, {VolumeId{2}, LuNumber{5}}};
  expect_canonical(encode_units(units), decode_units, encode_units);
  const auto decoded = decode_units(encode_units(units));
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(*decoded, units);
  std::vector<std::byte> too_many = encode_units({});
  too_many[1] = std::byte{0x7f};
  EXPECT_FALSE(decode_units(too_many).ok());
}

TEST(Link, EveryTruncationOfAHeaderIsRefused) {
  const std::vector<std::byte> head = encode_link_header(LinkHeader());
  for_each_truncation(head, [](Bytes bytes) { EXPECT_FALSE(decode_link_header(bytes).ok()); });
}

TEST(Link, AHeaderWithAFieldOutOfBoundsIsRefused) {
  LinkHeader header;
  header.body_bytes = kLinkBodyBytesMax + 1;
  EXPECT_FALSE(decode_link_header(encode_link_header(header)).ok());
  header = LinkHeader();
  header.payload_bytes = kLinkPayloadBytesMax + 4096;
  EXPECT_FALSE(decode_link_header(encode_link_header(header)).ok());
  header.payload_bytes = 4095;
  EXPECT_FALSE(decode_link_header(encode_link_header(header)).ok());
  // Of a compressed payload: smaller than what it is, which is whole blocks of 4 MiB at most.
  const auto is_taken = [](std::uint32_t payload_bytes, std::uint32_t uncompressed_bytes) {
    LinkHeader compressed;
    compressed.payload_bytes = payload_bytes;
    compressed.uncompressed_bytes = uncompressed_bytes;
    return decode_link_header(encode_link_header(compressed)).ok();
  };
  EXPECT_TRUE(is_taken(1, 4096));
  EXPECT_TRUE(is_taken(4095, 4096));
  EXPECT_TRUE(is_taken(kLinkPayloadBytesMax - 1, kLinkPayloadBytesMax));
  EXPECT_FALSE(is_taken(0, 4096));
  EXPECT_FALSE(is_taken(4096, 4096));
  EXPECT_FALSE(is_taken(8192, 4096));
  EXPECT_FALSE(is_taken(100, 4095));
  EXPECT_FALSE(is_taken(100, kLinkPayloadBytesMax + 4096));
  header = LinkHeader();
  header.type = static_cast<LinkMessage>(16);
  EXPECT_FALSE(decode_link_header(encode_link_header(header)).ok());
}

TEST(Link, ANewerVersionIsToldFromGarbage) {
  std::vector<std::byte> bytes = encode_hello(example_hello());
  bytes[0] = std::byte{kLinkVersionCompressed + 1};
  EXPECT_EQ(decode_hello(bytes).error().code, ErrorCode::kUnsupported);
}

TEST(Link, AHelloWithNamesThatAreNoneIsRefused) {
  Hello hello = example_hello();
  hello.group_name = "../etc";
  EXPECT_FALSE(decode_hello(encode_hello(hello)).ok());
  hello = example_hello();
  hello.node_name = "";
  EXPECT_FALSE(decode_hello(encode_hello(hello)).ok());
  hello = example_hello();
  hello.raid = "a b";
  EXPECT_FALSE(decode_hello(encode_hello(hello)).ok());
}

}  // namespace
}  // namespace tidemark::format
