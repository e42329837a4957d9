#include <gtest/gtest.h>

#include "nbd/nbd_fixture.h"

namespace tidemark::nbd::test {
namespace {

class HandshakeTest : public NbdTest {
 protected:
  RawClient greeted() {
    RawClient client = connect();
    EXPECT_TRUE(client.greet());
    return client;
  }
};

constexpr std::uint16_t kFlagsWritable =
    kTransmissionHasFlags | kTransmissionSendFlush | kTransmissionSendFua | kTransmissionSendTrim |
    kTransmissionSendWriteZeroes | kTransmissionSendCache | kTransmissionSendFastZero;

struct Basics {
  std::uint64_t size = 0;
  std::uint16_t flags = 0;
};

Basics basics_of(const std::vector<OptionReply>& replies) {
  for (const OptionReply& reply : replies) {
    WireDecoder in(as_bytes(reply.data));
    if (reply.type != kReplyInfo || in.u16() != kInfoExport) continue;
    Basics basics{in.u64(), in.u16()};
    EXPECT_TRUE(in.done());
    return basics;
  }
  ADD_FAILURE() << "no NBD_INFO_EXPORT";
  return {};
}

TEST_F(HandshakeTest, GreetsWithFixedNewstyleAndNoZeroes) {
  RawClient client = connect();
  EXPECT_TRUE(client.greet());
}

TEST_F(HandshakeTest, DropsAClientWithUnknownFlags) {
  RawClient client = connect();
  client.greet(kClientFlagFixedNewstyle | 1u << 2);
  EXPECT_TRUE(client.at_end());
  EXPECT_EQ(server.counters().violations, 1u);
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_NE(reports[0].find("unknown handshake flags 5"), std::string::npos);
}

TEST_F(HandshakeTest, DropsAnOptionWithoutItsMagic) {
  RawClient client = greeted();
  WireEncoder out;
  out.u64(kOptionMagic + 1);
  out.u32(kOptionList);
  out.u32(0);
  client.send(out);
  EXPECT_TRUE(client.at_end());
}

TEST_F(HandshakeTest, ExportNameAnswersWithZeroesUnlessNoZeroesWasAgreed) {
  for (const std::uint32_t flags :
       {kClientFlagFixedNewstyle, kClientFlagFixedNewstyle | kClientFlagNoZeroes}) {
    RawClient client = connect();
    client.greet(flags);
    WireEncoder name;
    name.text("disk");
    client.option(kOptionExportName, name);
    const bool no_zeroes = (flags & kClientFlagNoZeroes) != 0;
    const auto answer = client.receive(no_zeroes ? 10 : 134);
    ASSERT_TRUE(answer.has_value());
    WireDecoder in(as_bytes(*answer));
    EXPECT_EQ(in.u64(), kSizeBytes);
    EXPECT_EQ(in.u16(), kFlagsWritable);
    EXPECT_TRUE(all_zero(in.raw(in.remaining())));
    // The next bytes are already those of transmission.
    EXPECT_EQ(client.error_of(kCommandFlush, 0, 0), 0u);
  }
}

TEST_F(HandshakeTest, ExportNameWorksForAClientOfPlainNewstyle) {
  RawClient client = connect();
  client.greet(0);
  WireEncoder name;
  name.text("disk");
  client.option(kOptionExportName, name);
  EXPECT_TRUE(client.receive(134).has_value());
}

TEST_F(HandshakeTest, ExportNameOfAnUnknownExportEndsTheConnection) {
  RawClient client = greeted();
  WireEncoder name;
  name.text("nothing\x1b[2J\n");
  client.option(kOptionExportName, name);
  EXPECT_TRUE(client.at_end());
  ASSERT_EQ(reports.size(), 1u);
  // The name came from outside: a report must not carry its control characters to a terminal.
  EXPECT_EQ(reports[0].find('\x1b'), std::string::npos);
  EXPECT_EQ(reports[0].find('\n'), std::string::npos);
  EXPECT_NE(reports[0].find("\\x1b"), std::string::npos);
}

TEST_F(HandshakeTest, ExportNamesOf4096BytesAreTakenAnd4097Refused) {
  const std::string longest(4096, 'n');
  directory.add(longest, kSizeBytes);
  EXPECT_EQ(greeted().go(longest), kReplyAck);
  EXPECT_EQ(greeted().go(longest + "n"), kReplyErrorInvalid);
  RawClient by_name = greeted();
  WireEncoder name;
  name.text(longest);
  by_name.option(kOptionExportName, name);
  EXPECT_TRUE(by_name.receive(10).has_value());
  RawClient too_long = greeted();
  name.text("n");
  too_long.option(kOptionExportName, name);
  EXPECT_TRUE(too_long.at_end());
}

TEST_F(HandshakeTest, ANameWithAZeroByteIsRefused) {
  RawClient client = greeted();
  EXPECT_EQ(client.go(std::string("di\0sk", 5)), kReplyErrorInvalid);
  EXPECT_EQ(client.go("disk"), kReplyAck);
}

TEST_F(HandshakeTest, TheEmptyNameIsTheDefaultExport) {
  EXPECT_EQ(greeted().go(""), kReplyErrorUnknown);
  directory.add("", kSizeBytes);
  EXPECT_EQ(greeted().go(""), kReplyAck);
}

TEST_F(HandshakeTest, AbortIsAcknowledgedAlsoWithData) {
  for (const std::string& data : {std::string(), std::string("bye")}) {
    RawClient client = greeted();
    WireEncoder out;
    out.text(data);
    client.option(kOptionAbort, out);
    EXPECT_EQ(client.final_reply(), kReplyAck);
    EXPECT_TRUE(client.at_end());
  }
  EXPECT_EQ(server.counters().violations, 0u);
}

TEST_F(HandshakeTest, AnAbortWithoutWaitingForTheReplyIsFine) {
  RawClient client = greeted();
  client.option(kOptionAbort);
  client.close();
  world.run_for(Duration::seconds(1));
  EXPECT_TRUE(server.sessions().empty());
  EXPECT_TRUE(reports.empty());
}

TEST_F(HandshakeTest, ListNamesEveryExport) {
  directory.add("another", 4096);
  RawClient client = greeted();
  client.option(kOptionList);
  const auto replies = client.option_replies();
  ASSERT_EQ(replies.size(), 3u);
  std::vector<std::string> names;
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(replies[i].type, kReplyServer);
    EXPECT_EQ(replies[i].option, kOptionList);
    WireDecoder in(as_bytes(replies[i].data));
    names.push_back(in.text(in.u32()));
    EXPECT_TRUE(in.done());
  }
  EXPECT_EQ(names, (std::vector<std::string>{"another", "disk"}));
  EXPECT_EQ(replies[2].type, kReplyAck);
  EXPECT_EQ(replies[2].data, "");
}

TEST_F(HandshakeTest, ListOfThousandsOfExportsArrivesWhole) {
  for (int i = 0; i < 3000; ++i) directory.add(std::string(60, 'x') + std::to_string(i), 4096);
  RawClient client = greeted();
  client.option(kOptionList);
  EXPECT_EQ(client.option_replies().size(), 3002u);
}

TEST_F(HandshakeTest, ListAndStructuredReplyTakeNoData) {
  RawClient client = greeted();
  WireEncoder data;
  data.u32(0);
  client.option(kOptionList, data);
  EXPECT_EQ(client.final_reply(), kReplyErrorInvalid);
  client.option(kOptionStructuredReply, data);
  EXPECT_EQ(client.final_reply(), kReplyErrorInvalid);
  EXPECT_EQ(client.structured(), kReplyAck);
}

TEST_F(HandshakeTest, AListThatFailsSaysWhy) {
  directory.failure = fail(ErrorCode::kShutdown, "the node is stopping");
  RawClient client = greeted();
  client.option(kOptionList);
  const auto replies = client.option_replies();
  ASSERT_EQ(replies.size(), 1u);
  EXPECT_EQ(replies[0].type, kReplyErrorShutdown);
  EXPECT_EQ(replies[0].data, "the node is stopping");
}

TEST_F(HandshakeTest, StartTlsIsUnsupportedAndNothingEverAsksForTls) {
  RawClient client = greeted();
  client.option(kOptionStartTls);
  EXPECT_EQ(client.final_reply(), kReplyErrorUnsupported);
  EXPECT_EQ(client.go("disk"), kReplyAck);
}

TEST_F(HandshakeTest, UnknownOptionsAreSkippedAndTheNextOneIsUnderstood) {
  RawClient client = greeted();
  for (const std::uint32_t option : {0u, 4u, 11u, 12345u, 0xffffffffu}) {
    for (const std::size_t length : {0u, 1u, 1000u, 65536u, 65537u, 1u << 20}) {
      WireEncoder data;
      data.zeroes(length);
      client.option(option, data);
      const auto reply = client.option_reply();
      ASSERT_TRUE(reply.has_value());
      EXPECT_EQ(reply->type, kReplyErrorUnsupported);
      EXPECT_EQ(reply->option, option);
    }
  }
  EXPECT_EQ(client.go("disk"), kReplyAck);
}

TEST_F(HandshakeTest, AnOptionLengthOf0xffffffffEndsTheConnection) {
  for (const std::uint32_t option : {kOptionExportName, kOptionAbort, kOptionList, kOptionInfo, kOptionGo,
                                     kOptionStructuredReply, kOptionSetMetaContext, 4711u}) {
    RawClient client = greeted();
    client.option_announcing(option, 0xffffffff);
    EXPECT_TRUE(client.at_end());
  }
  EXPECT_EQ(directory.opens, 0u);
}

TEST_F(HandshakeTest, KnownOptionsThatAreTooLongAreTooBigAndTheHandshakeGoesOn) {
  RawClient client = greeted();
  EXPECT_EQ(client.structured(), kReplyAck);
  WireEncoder data;
  data.zeroes(65537);
  for (const std::uint32_t option : {kOptionInfo, kOptionGo, kOptionListMetaContext, kOptionSetMetaContext}) {
    client.option(option, data);
    EXPECT_EQ(client.final_reply(), kReplyErrorTooBig);
  }
  client.option(kOptionList, data);
  EXPECT_EQ(client.final_reply(), kReplyErrorInvalid);
  EXPECT_EQ(client.go("disk"), kReplyAck);
}

TEST_F(HandshakeTest, ANameLengthBeyondItsOptionIsInvalid) {
  RawClient client = greeted();
  EXPECT_EQ(client.structured(), kReplyAck);
  for (const std::uint32_t option : {kOptionInfo, kOptionGo, kOptionListMetaContext, kOptionSetMetaContext}) {
    for (const std::uint32_t length : {5u, 6u, 7u, 100u, 4096u, 4097u, 0x7fffffffu, 0xffffffffu}) {
      WireEncoder data;
      data.u32(length);
      data.text("disk");
      client.option(option, data);
      EXPECT_EQ(client.final_reply(), kReplyErrorInvalid) << option << " " << length;
    }
  }
  EXPECT_EQ(client.go("disk"), kReplyAck);
}

TEST_F(HandshakeTest, InfoRequestsThatDoNotFillTheOptionAreInvalid) {
  RawClient client = greeted();
  for (const int announced : {0, 2, 3, 0xffff}) {  // where one is sent
    for (const std::uint32_t option : {kOptionInfo, kOptionGo}) {
      WireEncoder data;
      data.u32(4);
      data.text("disk");
      data.u16(static_cast<std::uint16_t>(announced));
      data.u16(kInfoName);
      client.option(option, data);
      EXPECT_EQ(client.final_reply(), kReplyErrorInvalid);
    }
  }
  for (std::size_t length = 0; length < 10; ++length) {
    WireEncoder data;
    data.raw(RawClient::info_data("disk").bytes().first(length));
    client.option(kOptionGo, data);
    EXPECT_EQ(client.final_reply(), kReplyErrorInvalid) << length;
  }
  EXPECT_EQ(directory.opens, 0u);
}

TEST_F(HandshakeTest, MetaQueriesThatDoNotFillTheOptionAreInvalid) {
  RawClient client = greeted();
  EXPECT_EQ(client.structured(), kReplyAck);
  const WireEncoder whole = RawClient::meta_data("disk", {"base:allocation", "x-y:z"});
  for (std::size_t length = 0; length < whole.size(); ++length) {
    WireEncoder data;
    data.raw(whole.bytes().first(length));
    client.option(kOptionSetMetaContext, data);
    EXPECT_EQ(client.final_reply(), kReplyErrorInvalid) << length;
  }
  WireEncoder longer;
  longer.raw(whole.bytes());
  longer.zeroes(1);
  client.option(kOptionSetMetaContext, longer);
  EXPECT_EQ(client.final_reply(), kReplyErrorInvalid);
  WireEncoder many;
  many.u32(4);
  many.text("disk");
  many.u32(0xffffffff);
  client.option(kOptionSetMetaContext, many);
  EXPECT_EQ(client.final_reply(), kReplyErrorInvalid);
  client.option(kOptionSetMetaContext, RawClient::meta_data("disk", {std::string(4097, 'q')}));
  EXPECT_EQ(client.final_reply(), kReplyErrorInvalid);
}

TEST_F(HandshakeTest, InfoTellsWhatIsAskedForAndOpensNothing) {
  disk.info.description = "a disk\x07";
  RawClient client = greeted();
  client.option(kOptionInfo,
                RawClient::info_data("disk", {kInfoBlockSize, kInfoName, kInfoDescription, 0x7777}));
  const auto replies = client.option_replies();
  ASSERT_EQ(replies.size(), 5u);
  EXPECT_EQ(basics_of(replies).size, kSizeBytes);
  EXPECT_EQ(basics_of(replies).flags, kFlagsWritable);
  WireDecoder sizes(as_bytes(replies[1].data));
  EXPECT_EQ(sizes.u16(), kInfoBlockSize);
  EXPECT_EQ(sizes.u32(), 1u);
  EXPECT_EQ(sizes.u32(), 4096u);
  EXPECT_EQ(sizes.u32(), 32u << 20);
  EXPECT_TRUE(sizes.done());
  EXPECT_EQ(replies[2].data, std::string("\0\1disk", 6));
  EXPECT_EQ(replies[3].data, std::string("\0\2a disk\\x07", 12));
  EXPECT_EQ(replies[4].type, kReplyAck);
  EXPECT_EQ(directory.opens, 0u);
  EXPECT_EQ(disk.opened, 0u);
}

TEST_F(HandshakeTest, GoRepeatsWhatInfoSaidAndSendsNoZeroes) {
  RawClient client = connect();
  client.greet(kClientFlagFixedNewstyle);
  const WireEncoder asked = RawClient::info_data("disk", {kInfoName, kInfoBlockSize, kInfoName});
  client.option(kOptionInfo, asked);
  const auto told = client.option_replies();
  client.option(kOptionGo, asked);
  const auto repeated = client.option_replies();
  ASSERT_EQ(told.size(), 4u);  // asked twice, told once
  ASSERT_EQ(repeated.size(), told.size());
  for (std::size_t i = 0; i < told.size(); ++i) EXPECT_EQ(told[i].data, repeated[i].data);
  EXPECT_EQ(client.error_of(kCommandFlush, 0, 0), 0u);
}

TEST_F(HandshakeTest, FlagsFollowTheExport) {
  disk.info.read_only = true;
  disk.info.multi_conn = true;
  RawClient client = greeted();
  EXPECT_EQ(client.structured(), kReplyAck);
  client.option(kOptionGo, RawClient::info_data("disk"));
  EXPECT_EQ(basics_of(client.option_replies()).flags,
            kTransmissionHasFlags | kTransmissionReadOnly | kTransmissionSendFlush | kTransmissionSendFua |
                kTransmissionSendDf | kTransmissionCanMultiConn | kTransmissionSendCache);
}

TEST_F(HandshakeTest, GoToSomethingThatCannotBeOpenedSaysWhyAndGoesOn) {
  const std::vector<std::pair<ErrorCode, std::uint32_t>> table = {
      {ErrorCode::kNotFound, kReplyErrorUnknown},    {ErrorCode::kExpired, kReplyErrorUnknown},
      {ErrorCode::kNotReceived, kReplyErrorUnknown}, {ErrorCode::kInGap, kReplyErrorUnknown},
      {ErrorCode::kInvalid, kReplyErrorInvalid},     {ErrorCode::kRefused, kReplyErrorPolicy},
      {ErrorCode::kBusy, kReplyErrorPolicy},         {ErrorCode::kShutdown, kReplyErrorShutdown},
      {ErrorCode::kUnsupported, kReplyErrorPolicy}};
  RawClient client = greeted();
  for (const auto& [code, type] : table) {
    directory.failure = fail(code, "mark 'a\x1b' was there until noon");
    for (const std::uint32_t option : {kOptionInfo, kOptionGo}) {
      client.option(option, RawClient::info_data("disk@a"));
      const auto replies = client.option_replies();
      ASSERT_EQ(replies.size(), 1u);
      EXPECT_EQ(replies[0].type, type);
      EXPECT_EQ(replies[0].data, "mark 'a\\x1b' was there until noon");
    }
  }
  directory.failure.reset();
  EXPECT_EQ(client.go("disk"), kReplyAck);
}

TEST_F(HandshakeTest, NothingIsOpenedBeforeNegotiationEnds) {
  RawClient client = greeted();
  client.structured();
  client.set_context("disk");
  client.option(kOptionListMetaContext, RawClient::meta_data("disk", {}));
  client.option_replies();
  client.option(kOptionList);
  client.option_replies();
  client.option(kOptionInfo, RawClient::info_data("disk"));
  client.option_replies();
  EXPECT_EQ(directory.opens, 0u);
  EXPECT_EQ(client.go("disk"), kReplyAck);
  EXPECT_EQ(directory.opens, 1u);
  EXPECT_TRUE(directory.last_client.starts_with("server:"));
}

TEST_F(HandshakeTest, OptionsComeInAnyOrder) {
  RawClient client = greeted();
  EXPECT_EQ(client.set_context("disk"), kReplyErrorInvalid);  // before structured replies
  client.option(kOptionInfo, RawClient::info_data("disk"));
  EXPECT_EQ(basics_of(client.option_replies()).flags & kTransmissionSendDf, 0);
  EXPECT_EQ(client.structured(), kReplyAck);
  EXPECT_EQ(client.structured(), kReplyAck);
  client.option(kOptionInfo, RawClient::info_data("disk"));
  EXPECT_NE(basics_of(client.option_replies()).flags & kTransmissionSendDf, 0);
  EXPECT_EQ(client.set_context("disk"), kReplyAck);
  client.option(kOptionList);
  EXPECT_EQ(client.final_reply(), kReplyAck);
  EXPECT_EQ(client.go("disk"), kReplyAck);
  EXPECT_EQ(client.error_of(kCommandBlockStatus, 0, 4096), 0u);
}

TEST_F(HandshakeTest, OptionsSentAheadAreAnsweredOneByOne) {
  RawClient client = greeted();
  client.option(kOptionStructuredReply);
  client.option(99);
  client.option(kOptionGo, RawClient::info_data("disk"));
  client.request(kCommandFlush, 5);
  EXPECT_EQ(client.final_reply(), kReplyAck);
  EXPECT_EQ(client.final_reply(), kReplyErrorUnsupported);
  EXPECT_EQ(client.final_reply(), kReplyAck);
  EXPECT_EQ(client.reply().cookie, 5u);
}

struct ContextCase {
  std::vector<std::string> queries;
  bool listed;
  bool set;
};

TEST_F(HandshakeTest, MetaContextQueries) {
  const std::vector<ContextCase> cases = {{{}, true, false},
                                          {{"base:"}, true, false},
                                          {{"base:allocation"}, true, true},
                                          {{"base:other"}, false, false},
                                          {{"x-other:thing", "qemu:dirty-bitmap:a"}, false, false},
                                          {{"x-other:thing", "base:allocation"}, true, true},
                                          {{"base:allocation", "base:allocation"}, true, true},
                                          {{"", "nocolon"}, false, false}};
  RawClient client = greeted();
  EXPECT_EQ(client.structured(), kReplyAck);
  for (const ContextCase& one : cases) {
    for (const std::uint32_t option : {kOptionListMetaContext, kOptionSetMetaContext}) {
      client.option(option, RawClient::meta_data("disk", one.queries));
      const auto replies = client.option_replies();
      const bool expected = option == kOptionSetMetaContext ? one.set : one.listed;
      ASSERT_EQ(replies.size(), expected ? 2u : 1u);
      EXPECT_EQ(replies.back().type, kReplyAck);
      if (!expected) continue;
      WireDecoder in(as_bytes(replies[0].data));
      EXPECT_EQ(in.u32(), option == kOptionSetMetaContext ? kAllocationContextId : 0u);
      EXPECT_EQ(in.text(in.remaining()), kAllocationContext);
    }
  }
}

TEST_F(HandshakeTest, MetaContextOfAnUnknownExportIsUnknown) {
  RawClient client = greeted();
  EXPECT_EQ(client.structured(), kReplyAck);
  EXPECT_EQ(client.set_context("nothing"), kReplyErrorUnknown);
}

TEST_F(HandshakeTest, AFailedSetDropsWhatWasSelectedBefore) {
  RawClient client = greeted();
  EXPECT_EQ(client.structured(), kReplyAck);
  EXPECT_EQ(client.set_context("disk"), kReplyAck);
  EXPECT_EQ(client.set_context("nothing"), kReplyErrorUnknown);
  EXPECT_EQ(client.go("disk"), kReplyAck);
  EXPECT_EQ(client.error_of(kCommandBlockStatus, 0, 4096), 22u);
}

TEST_F(HandshakeTest, AContextSelectedForAnotherExportIsNotInForce) {
  directory.add("other", kSizeBytes);
  RawClient client = greeted();
  EXPECT_EQ(client.structured(), kReplyAck);
  EXPECT_EQ(client.set_context("other"), kReplyAck);
  EXPECT_EQ(client.go("disk"), kReplyAck);
  EXPECT_EQ(client.error_of(kCommandBlockStatus, 0, 4096), 22u);
}

TEST_F(HandshakeTest, OneByteASecondRunsIntoTheLimit) {
  RawClient client = connect();
  const MonotonicTime start = world.now();
  client.greet();
  WireEncoder out;
  out.u64(kOptionMagic);
  out.u32(kOptionGo);
  out.u32(60000);
  out.zeroes(60000);
  std::size_t sent = 0;
  while (!server.sessions().empty() && sent < 100) {
    client.send(out.bytes().subspan(sent++, 1));
    world.run_for(Duration::seconds(1));
  }
  EXPECT_TRUE(client.at_end());
  EXPECT_LE(sent, 11u);
  EXPECT_LE((world.now() - start).to_seconds(), 12.0);
  EXPECT_EQ(server.counters().handshake_timeouts, 1u);
}

TEST_F(HandshakeTest, TheLimitCountsAllOptionsTogether) {
  RawClient client = greeted();
  for (int second = 0; second < 12; ++second) {
    client.option(kOptionList);
    world.run_for(Duration::seconds(1));
  }
  EXPECT_EQ(server.counters().handshake_timeouts, 1u);
}

TEST_F(HandshakeTest, TheLimitHoldsWhileTheDirectoryHangs) {
  directory.close_gate();
  RawClient client = greeted();
  client.option(kOptionGo, RawClient::info_data("disk"));
  world.run_for(Duration::seconds(11));
  EXPECT_TRUE(client.at_end());
  EXPECT_TRUE(server.sessions().empty());
  directory.open_gate();
  world.run_for(Duration::seconds(1));
  EXPECT_EQ(disk.opened, disk.closed);
}

TEST_F(HandshakeTest, TheLimitDoesNotOutliveTheHandshake) {
  RawClient client = greeted();
  EXPECT_EQ(client.go("disk"), kReplyAck);
  world.run_for(Duration::seconds(60));
  EXPECT_EQ(client.error_of(kCommandFlush, 0, 0), 0u);
}

}  // namespace
}  // namespace tidemark::nbd::test
