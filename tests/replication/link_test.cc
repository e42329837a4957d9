#include "replication/link.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/crc32c.h"
#include "sim/network.h"
#include "sim/world.h"

namespace tidemark::replication {
namespace {

class LinkTest : public testing::Test {
 protected:
  LinkTest() : world(1) {
    auto [here, there] = sim::make_stream_pair(world);
    link = std::make_unique<Link>(world, std::move(here));
    far_stream = std::move(there);
  }
  Result<void> send_bytes(std::vector<std::byte> bytes) {
    std::vector<Buffer> pieces;
    pieces.push_back(Buffer::copy_of(bytes));
    return world.run(far_stream->write(std::move(pieces)));
  }
  static std::vector<std::byte> whole_message(std::size_t body_bytes) {
    const std::vector<std::byte> body(body_bytes, std::byte{5});
    format::LinkHeader header;
    header.type = format::LinkMessage::kAck;
    header.body_bytes = static_cast<std::uint32_t>(body.size());
    header.body_checksum = crc32c(body);
    std::vector<std::byte> bytes = format::encode_link_header(header);
    bytes.insert(bytes.end(), body.begin(), body.end());
    return bytes;
  }

  sim::World world;
  std::unique_ptr<Link> link;
  std::unique_ptr<io::Stream> far_stream;
};

TEST_F(LinkTest, WhatIsSentArrivesWhole) {
  Link far(world, std::move(far_stream));
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{5000}, std::size_t{3} << 20}) {
    std::vector<std::byte> body(size, std::byte{0x5a});
    Buffer payload = Buffer::allocate(2 * kBlockSizeBytes);
    std::memset(payload.data(), 0x77, payload.size());
    io::TaskScope sending(world);
    sending.spawn([](Link* sender, std::vector<std::byte> bytes, Buffer data) -> io::Task<void> {
      const auto sent = co_await sender->send(format::LinkMessage::kBatch, std::move(bytes), data);
      EXPECT_TRUE(sent.ok());
    }(link.get(), body, payload));
    const auto received = world.run(far.receive());
    ASSERT_TRUE(received.ok()) << received.error().message;
    EXPECT_EQ(received->type, format::LinkMessage::kBatch);
    EXPECT_EQ(received->body, body);
    ASSERT_EQ(received->payload.size(), payload.size());
    EXPECT_EQ(std::memcmp(received->payload.data(), payload.data(), payload.size()), 0);
  }
}

// A link on which compressed payloads were agreed on, and what it counts.
class CompressedLinkTest : public LinkTest {
 protected:
  CompressedLinkTest() : offload(world.environment().offload) {
    link->agree_on(format::Compression::kZstd, offload);
    link->count_in(traffic);
  }
  static Buffer even_payload(std::size_t blocks) {
    Buffer payload = Buffer::allocate(blocks * kBlockSizeBytes);
    std::memset(payload.data(), 0x77, payload.size());
    return payload;
  }
  // A message as it would come whose payload is these bytes.
  static std::vector<std::byte> message_of(Bytes payload, std::size_t uncompressed_bytes) {
    format::LinkHeader header;
    header.type = format::LinkMessage::kBatch;
    header.payload_bytes = static_cast<std::uint32_t>(payload.size());
    header.uncompressed_bytes = static_cast<std::uint32_t>(uncompressed_bytes);
    std::vector<std::byte> bytes = format::encode_link_header(header);
    bytes.insert(bytes.end(), payload.begin(), payload.end());
    return bytes;
  }

  io::Offload& offload;
  std::shared_ptr<LinkTraffic> traffic = std::make_shared<LinkTraffic>();
};

TEST_F(CompressedLinkTest, PayloadsThatShrinkTakeLessOfTheLinkAndArriveWhole) {
  Link far(world, std::move(far_stream));
  far.agree_on(format::Compression::kZstd, offload);
  const auto far_traffic = std::make_shared<LinkTraffic>();
  far.count_in(far_traffic);
  std::uint64_t uncompressed_bytes = 0;
  for (const std::size_t blocks : {1, 8, 9, 128, 1024}) {
    const Buffer payload = even_payload(blocks);
    io::TaskScope sending(world);
    sending.spawn([](Link* sender, Buffer data) -> io::Task<void> {
      const auto sent = co_await sender->send(format::LinkMessage::kBatch, {}, data);
      EXPECT_TRUE(sent.ok());
    }(link.get(), payload));
    const auto received = world.run(far.receive());
    ASSERT_TRUE(received.ok()) << received.error().message;
    ASSERT_EQ(received->payload.size(), payload.size());
    EXPECT_EQ(std::memcmp(received->payload.data(), payload.data(), payload.size()), 0);
    uncompressed_bytes += format::kLinkHeaderBytes + payload.size();
  }
  EXPECT_EQ(traffic->sent_uncompressed_bytes, uncompressed_bytes);
  EXPECT_LT(traffic->sent_bytes, uncompressed_bytes / 100);
  EXPECT_EQ(far_traffic->received_bytes, traffic->sent_bytes);
  EXPECT_EQ(far_traffic->received_uncompressed_bytes, uncompressed_bytes);
  EXPECT_EQ(traffic->received_bytes, 0u);
}

TEST_F(CompressedLinkTest, MessagesArriveInTheOrderInWhichTheyWereHandedIn) {
  Link far(world, std::move(far_stream));
  far.agree_on(format::Compression::kZstd, offload);
  io::TaskScope sending(world);
  for (std::size_t i = 0; i < 40; ++i) {
    sending.spawn([](Link* sender, std::size_t number) -> io::Task<void> {
      Buffer payload = number % 3 == 0 ? Buffer() : even_payload(number % 3 == 1 ? 1 : 64);
      std::vector<std::byte> body(1, static_cast<std::byte>(number));
      EXPECT_TRUE((co_await sender->send(format::LinkMessage::kBatch, std::move(body), payload)).ok());
    }(link.get(), i));
  }
  for (std::size_t i = 0; i < 40; ++i) {
    const auto received = world.run(far.receive());
    ASSERT_TRUE(received.ok()) << received.error().message;
    EXPECT_EQ(received->body.front(), static_cast<std::byte>(i));
  }
}

TEST_F(CompressedLinkTest, ACompressedPayloadThatWasNotAgreedOnEndsTheLink) {
  Link far(world, std::move(far_stream));
  ASSERT_TRUE(world.run(link->send(format::LinkMessage::kBatch, {}, even_payload(2))).ok());
  EXPECT_EQ(world.run(far.receive()).error().code, ErrorCode::kInvalid);
}

TEST_F(CompressedLinkTest, ACompressedPayloadThatIsNotWhatItsHeaderSaysIsDamaged) {
  const std::optional<Buffer> frame = ZstdCompressor().compress(even_payload(2));
  ASSERT_TRUE(frame.has_value());
  const auto outcome_of = [&](Bytes payload, std::size_t blocks) {
    const auto sent = send_bytes(message_of(payload, blocks * kBlockSizeBytes));
    EXPECT_TRUE(sent.ok());
    const auto received = world.run(link->receive());
    return received.ok() ? std::string("taken") : std::string(error_code_name(received.error().code));
  };
  EXPECT_EQ(outcome_of(*frame, 2), "taken");
  EXPECT_EQ(outcome_of(*frame, 1), "damaged");
  EXPECT_EQ(outcome_of(*frame, 3), "damaged");
  EXPECT_EQ(outcome_of(*frame, 1024), "damaged");
  EXPECT_EQ(outcome_of(Bytes(*frame).first(frame->size() - 1), 2), "damaged");
  EXPECT_EQ(outcome_of(std::vector<std::byte>(100), 2), "damaged");
  EXPECT_EQ(outcome_of(*frame, 2), "taken");
}

TEST_F(LinkTest, ABodyLongerThanAllowedIsRefusedBeforeItIsRead) {
  ASSERT_TRUE(send_bytes(whole_message(100)).ok());
  EXPECT_EQ(world.run(link->receive(99)).error().code, ErrorCode::kInvalid);
}

TEST_F(LinkTest, ADamagedBodyIsNoticed) {
  std::vector<std::byte> bytes = whole_message(100);
  bytes[format::kLinkHeaderBytes + 40] ^= std::byte{1};
  ASSERT_TRUE(send_bytes(bytes).ok());
  EXPECT_EQ(world.run(link->receive()).error().code, ErrorCode::kDamaged);
}

TEST_F(LinkTest, WaitingForAMessageEndsInTime) {
  const MonotonicTime before = world.now();
  EXPECT_EQ(world.run(link->receive_within(Duration::seconds(3), 100)).error().code, ErrorCode::kClosed);
  EXPECT_EQ((world.now() - before).ns, Duration::seconds(3).ns);
}

TEST_F(LinkTest, ALastMessageArrivesBeforeTheEnd) {
  Link far(world, std::move(far_stream));
  world.run(link->send_last(format::LinkMessage::kDelete, std::vector<std::byte>()));
  const auto received = world.run(far.receive());
  ASSERT_TRUE(received.ok()) << received.error().message;
  EXPECT_EQ(received->type, format::LinkMessage::kDelete);
  EXPECT_FALSE(world.run(far.receive()).ok());
}

TEST_F(LinkTest, ALastMessageDoesNotWaitLongForAPeerThatDoesNotRead) {
  io::TaskScope sending(world);
  sending.spawn([](Link* sender) -> io::Task<void> {
    Buffer payload = Buffer::allocate(1 << 20);
    const auto sent = co_await sender->send(format::LinkMessage::kBatch, std::vector<std::byte>(), payload);
    EXPECT_FALSE(sent.ok());
  }(link.get()));
  world.run_for(Duration::milliseconds(100));
  const MonotonicTime before = world.now();
  world.run(link->send_last(format::LinkMessage::kSuspend, std::vector<std::byte>()));
  EXPECT_LE((world.now() - before).to_seconds(), 2.0);
  world.run(sending.join());
}

TEST_F(LinkTest, ASilentPeerIsHungUpOnWhileOneThatSpeaksIsNot) {
  Link far(world, std::move(far_stream));
  io::TaskScope tasks(world);
  tasks.spawn(link->watch_silence());
  Result<Message> last = fail(ErrorCode::kInvalid, "");
  int received = 0;
  tasks.spawn([](Link* listener, Result<Message>* out, int* count) -> io::Task<void> {
    do {
      *out = co_await listener->receive(100);
      if (out->ok()) ++*count;
    } while (out->ok());
  }(link.get(), &last, &received));
  for (int i = 0; i < 5; ++i) {
    world.run_for(Duration::seconds(6));
    ASSERT_TRUE(world.run(far.send(format::LinkMessage::kPing, std::vector<std::byte>())).ok());
  }
  world.run_for(Duration::seconds(6));
  EXPECT_EQ(received, 5);
  EXPECT_TRUE(last.ok());
  world.run_for(Duration::seconds(7));
  EXPECT_EQ(last.error().code, ErrorCode::kClosed);
  tasks.cancel_all();
}

}  // namespace
}  // namespace tidemark::replication
