#include <gtest/gtest.h>

#include "nbd/nbd_fixture.h"

namespace tidemark::nbd::test {
namespace {

// In the place of TLS: every byte masked, so that what goes around it makes no sense.
class MaskedStream final : public io::Stream {
 public:
  explicit MaskedStream(std::unique_ptr<io::Stream> below) : below_(std::move(below)) {}
  io::Task<Result<std::size_t>> read_some(Buffer out) override {
    auto got = co_await below_->read_some(out);
    if (got.ok()) mask(out.data(), *got);
    co_return got;
  }
  io::Task<Result<void>> write(std::vector<Buffer> pieces) override {
    std::vector<Buffer> masked;
    for (const Buffer& piece : pieces) {
      masked.push_back(Buffer::copy_of(piece));
      mask(masked.back().data(), piece.size());
    }
    return below_->write(std::move(masked));
  }
  void close() override { below_->close(); }
  std::string peer_name() const override { return below_->peer_name(); }

 private:
  static void mask(std::byte* bytes, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) bytes[i] ^= std::byte{0x5a};
  }
  std::unique_ptr<io::Stream> below_;
};

class MaskedUpgrade final : public io::StreamUpgrade {
 public:
  io::Task<Result<std::unique_ptr<io::Stream>>> upgrade(std::unique_ptr<io::Stream> stream) override {
    ++upgrades;
    if (failure.has_value()) co_return *failure;
    if (waits_for_ever) {
      const auto got = co_await stream->read_some(Buffer::allocate(1));
      if (!got.ok() || *got == 0) co_return fail(ErrorCode::kClosed, "the client left");
    }
    co_return std::unique_ptr<io::Stream>(std::make_unique<MaskedStream>(std::move(stream)));
  }
  int upgrades = 0;
  bool waits_for_ever = false;
  std::optional<Error> failure;
};

struct UpgradeHolder {
  MaskedUpgrade upgrade;
};

class OfferedTlsTest : private UpgradeHolder, public NbdTest {
 protected:
  explicit OfferedTlsTest(bool required = false) : NbdTest({}, {&upgrade, required}), tls(upgrade) {}
  RawClient greeted(std::uint32_t flags = kClientFlagFixedNewstyle | kClientFlagNoZeroes) {
    RawClient client = connect();
    EXPECT_TRUE(client.greet(flags));
    return client;
  }
  RawClient inside(RawClient client) {
    client.option(kOptionStartTls);
    EXPECT_EQ(client.final_reply(), kReplyAck);
    return RawClient(world, std::make_unique<MaskedStream>(client.take_stream()));
  }
  MaskedUpgrade& tls;
};

class RequiredTlsTest : public OfferedTlsTest {
 protected:
  RequiredTlsTest() : OfferedTlsTest(true) {}
};

TEST_F(OfferedTlsTest, TheHandshakeAndTheRequestsGoOnInside) {
  RawClient client = inside(greeted());
  EXPECT_EQ(client.structured(), kReplyAck);
  EXPECT_EQ(client.set_context("disk"), kReplyAck);
  EXPECT_EQ(client.go("disk"), kReplyAck);
  EXPECT_TRUE(client.write(1, 4096, std::string(4096, 'x')));
  EXPECT_EQ(client.reply().error, 0u);
  client.request(kCommandRead, 2, 4096, 4096);
  EXPECT_EQ(client.reply(4096).data, std::string(4096, 'x'));
  EXPECT_EQ(tls.upgrades, 1);
}

TEST_F(OfferedTlsTest, WithoutItAllIsAsBefore) {
  RawClient client = attach();
  EXPECT_EQ(client.error_of(kCommandFlush, 0, 0), 0u);
  EXPECT_EQ(tls.upgrades, 0);
}

TEST_F(OfferedTlsTest, WhatWasAgreedInTheClearIsForgotten) {
  RawClient before = greeted();
  EXPECT_EQ(before.structured(), kReplyAck);
  EXPECT_EQ(before.set_context("disk"), kReplyAck);
  RawClient client = inside(std::move(before));
  EXPECT_EQ(client.set_context("disk"), kReplyErrorInvalid) << "structured replies are agreed still";
  EXPECT_EQ(client.go("disk"), kReplyAck);
  client.request(kCommandRead, 1, 0, 512);
  EXPECT_FALSE(client.reply(512).structured);
  EXPECT_EQ(client.error_of(kCommandBlockStatus, 0, 4096), static_cast<std::uint32_t>(WireError::kInvalid));
}

TEST_F(OfferedTlsTest, AContextFromBeforeIsNotInForceAfterStructuredRepliesWereAgreedAgain) {
  RawClient before = greeted();
  EXPECT_EQ(before.structured(), kReplyAck);
  EXPECT_EQ(before.set_context("disk"), kReplyAck);
  RawClient client = inside(std::move(before));
  EXPECT_EQ(client.structured(), kReplyAck);
  EXPECT_EQ(client.go("disk"), kReplyAck);
  EXPECT_EQ(client.error_of(kCommandBlockStatus, 0, 4096), static_cast<std::uint32_t>(WireError::kInvalid));
}

TEST_F(OfferedTlsTest, MoreBehindStartTlsInTheClearEndsTheConnection) {
  // From one byte to a whole option that would be answered inside.
  for (const std::size_t bytes : {1u, 15u, 16u}) {
    RawClient client = greeted();
    WireEncoder out;
    out.u64(kOptionMagic);
    out.u32(kOptionStartTls);
    out.u32(0);
    WireEncoder list;
    list.u64(kOptionMagic);
    list.u32(kOptionList);
    list.u32(0);
    out.raw(list.bytes().first(bytes));
    client.send(out);
    // It may have been acknowledged before the rest arrived, and is not understood then.
    std::string said;
    while (const auto byte = client.receive(1)) said += *byte;
    EXPECT_LE(said.size(), 20u);
  }
  EXPECT_EQ(server.sessions().size(), 0u);
}

TEST_F(OfferedTlsTest, InASingleReadItIsNotEvenAcknowledged) {
  sim::LinkOptions whole;
  whole.split_reads = false;
  world.network().set_options(whole);
  RawClient client = greeted();
  WireEncoder out;
  for (const std::uint32_t option : {kOptionStartTls, kOptionList}) {
    out.u64(kOptionMagic);
    out.u32(option);
    out.u32(0);
  }
  client.send(out);
  EXPECT_TRUE(client.at_end());
  EXPECT_EQ(tls.upgrades, 0);
  EXPECT_EQ(server.counters().violations, 1u);
}

TEST_F(OfferedTlsTest, WhatComesInTheClearAfterTheAcknowledgementIsNotUnderstood) {
  RawClient client = greeted();
  client.option(kOptionStartTls);
  EXPECT_EQ(client.final_reply(), kReplyAck);
  client.option(kOptionList);
  EXPECT_TRUE(client.at_end());
}

TEST_F(OfferedTlsTest, StartTlsTakesNoDataAndComesOnce) {
  RawClient client = greeted();
  for (const std::size_t length : {1u, 65536u, 65537u}) {
    WireEncoder data;
    data.zeroes(length);
    client.option(kOptionStartTls, data);
    EXPECT_EQ(client.final_reply(), kReplyErrorInvalid) << length;
  }
  RawClient encrypted = inside(std::move(client));
  encrypted.option(kOptionStartTls);
  EXPECT_EQ(encrypted.final_reply(), kReplyErrorInvalid);
  EXPECT_EQ(encrypted.go("disk"), kReplyAck);
}

TEST_F(OfferedTlsTest, AClientOfPlainNewstyleIsNotGivenTls) {
  RawClient client = greeted(0);
  client.option(kOptionStartTls);
  EXPECT_EQ(client.final_reply(), kReplyErrorPolicy);
}

TEST_F(OfferedTlsTest, AHandshakeThatFailsEndsTheConnectionAndIsTold) {
  tls.failure = fail(ErrorCode::kRefused, "no certificate");
  RawClient client = greeted();
  client.option(kOptionStartTls);
  EXPECT_EQ(client.final_reply(), kReplyAck);
  EXPECT_TRUE(client.at_end());
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_NE(reports[0].find("no certificate"), std::string::npos) << reports[0];
}

TEST_F(OfferedTlsTest, TheLimitOfTheHandshakeCountsThatOfTlsToo) {
  tls.waits_for_ever = true;
  RawClient client = greeted();
  client.option(kOptionStartTls);
  EXPECT_EQ(client.final_reply(), kReplyAck);
  world.run_for(Duration::seconds(11));
  EXPECT_TRUE(client.at_end());
  EXPECT_EQ(server.counters().handshake_timeouts, 1u);
}

TEST_F(OfferedTlsTest, AStopDoesNotWaitForAClientThatDoesNotShakeHands) {
  tls.waits_for_ever = true;
  RawClient client = greeted();
  client.option(kOptionStartTls);
  EXPECT_EQ(client.final_reply(), kReplyAck);
  world.run_for(Duration::milliseconds(10));
  const MonotonicTime begin = world.now();
  world.run(server.stop());
  EXPECT_LT((world.now() - begin).ns, Duration::seconds(1).ns);
}

TEST_F(RequiredTlsTest, EveryOtherOptionIsRefusedUntilItIsThere) {
  RawClient client = greeted();
  for (const std::uint32_t option : {kOptionList, kOptionInfo, kOptionGo, kOptionStructuredReply,
                                     kOptionListMetaContext, kOptionSetMetaContext, 4711u}) {
    for (const std::size_t length : {0u, 10u, 65537u}) {
      WireEncoder data;
      data.zeroes(length);
      client.option(option, data);
      const auto reply = client.option_reply();
      ASSERT_TRUE(reply.has_value());
      EXPECT_EQ(reply->type, kReplyErrorTlsRequired) << option;
      EXPECT_EQ(reply->option, option);
    }
  }
  EXPECT_EQ(client.go("disk"), kReplyErrorTlsRequired);
  RawClient encrypted = inside(std::move(client));
  EXPECT_EQ(encrypted.structured(), kReplyAck);
  EXPECT_EQ(encrypted.go("disk"), kReplyAck);
  EXPECT_EQ(encrypted.error_of(kCommandFlush, 0, 0), 0u);
}

TEST_F(RequiredTlsTest, ExportNameHasNoAnswerAndEndsTheConnection) {
  RawClient client = greeted();
  WireEncoder name;
  name.text("disk");
  client.option(kOptionExportName, name);
  EXPECT_TRUE(client.at_end());
  EXPECT_EQ(server.counters().violations, 1u);
}

TEST_F(RequiredTlsTest, AnAbortIsAcknowledged) {
  RawClient client = greeted();
  client.option(kOptionAbort);
  EXPECT_EQ(client.final_reply(), kReplyAck);
  EXPECT_TRUE(client.at_end());
}

TEST_F(RequiredTlsTest, AUnixSocketIsGuardedByItsFileAndOnlyOffersIt) {
  const io::Address address{io::Address::Kind::kUnix, "/nbd.sock", "", 0};
  tasks.spawn(server.serve(world.run(world.network().listen(address)).value()));
  for (const bool encrypts : {false, true}) {
    RawClient plain(world, world.run(world.network().connect(address, Duration::seconds(5))).value());
    EXPECT_TRUE(plain.greet());
    RawClient client = encrypts ? inside(std::move(plain)) : std::move(plain);
    EXPECT_EQ(client.go("disk"), kReplyAck);
  }
  EXPECT_EQ(tls.upgrades, 1);
}

}  // namespace
}  // namespace tidemark::nbd::test
