#include "replication/pair_record.h"

#include <gtest/gtest.h>

#include "group/local_record.h"

namespace tidemark::replication {
namespace {

PairRecord sample() {
  PairRecord record;
  record.side = Side::kSecondary;
  record.state = PairState::kPsue;
  record.peer_address = "unix:/var/lib/tidemark/replication.sock";
  record.peer_group = "app";
  record.peer_node.bytes.fill(7);
  record.peer_name = "osaka";
  record.reason = "the journal filled up";
  record.since = WallTime{123456789};
  record.fork = LogId(Epoch{3}, 77);
  record.needs_copy = true;
  record.epoch_left = Epoch{2};
  record.alone = true;
  return record;
}

TEST(PairRecord, ComesBackAsItWas) {
  const PairRecord record = sample();
  const auto decoded = PairRecord::decode(record.encode());
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_EQ(decoded->side, record.side);
  EXPECT_EQ(decoded->state, record.state);
  EXPECT_EQ(decoded->peer_address, record.peer_address);
  EXPECT_EQ(decoded->peer_group, record.peer_group);
  EXPECT_EQ(decoded->peer_node, record.peer_node);
  EXPECT_EQ(decoded->peer_name, record.peer_name);
  EXPECT_EQ(decoded->reason, record.reason);
  EXPECT_EQ(decoded->since.ns, record.since.ns);
  EXPECT_EQ(decoded->fork, record.fork);
  EXPECT_EQ(decoded->needs_copy, record.needs_copy);
  EXPECT_EQ(decoded->epoch_left, record.epoch_left);
  EXPECT_EQ(decoded->alone, record.alone);
}

TEST(PairRecord, OfVersion1LeftTheEpochOfItsFork) {
  std::vector<std::byte> bytes = sample().encode();
  bytes[0] = std::byte{1};
  bytes.resize(bytes.size() - 5);
  const auto decoded = PairRecord::decode(bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_EQ(decoded->epoch_left, Epoch{3});
  EXPECT_FALSE(decoded->alone);
}

TEST(PairRecord, TheLongestFitsTheLocalRecord) {
  PairRecord record = sample();
  record.peer_address.assign(10'000, 'a');
  record.reason.assign(10'000, 'r');
  const auto bytes = record.encode();
  EXPECT_LE(bytes.size(), group::kPairRecordBytesMax);
  EXPECT_TRUE(PairRecord::decode(bytes).ok());
}

TEST(PairRecord, CutShortItIsRefused) {
  const auto bytes = sample().encode();
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(PairRecord::decode(Bytes(bytes).first(size)).ok()) << size;
  }
}

}  // namespace
}  // namespace tidemark::replication
