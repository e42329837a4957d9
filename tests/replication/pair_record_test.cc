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
  record.peer_certificate = "CN=osaka,O=Example";
  record.sync = format::SyncTerms{format::PeerLoss::kWait, Duration::seconds(30)};
  record.not_in_sync = format::NotInSync::kLinkDown;
  record.sync_since = WallTime{88};
  record.resyncs = true;
  record.copy_rate_bytes = 12'345'678;
  record.peer_raid = "slow";
  return record;
}

PairRecord asynchronous() {
  PairRecord record = sample();
  record.sync.reset();
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
  EXPECT_EQ(decoded->peer_certificate, record.peer_certificate);
  EXPECT_EQ(decoded->sync, record.sync);
  EXPECT_EQ(decoded->not_in_sync, record.not_in_sync);
  EXPECT_EQ(decoded->sync_since, record.sync_since);
  EXPECT_EQ(decoded->resyncs, record.resyncs);
  EXPECT_EQ(decoded->copy_rate_bytes, record.copy_rate_bytes);
  EXPECT_EQ(decoded->peer_raid, record.peer_raid);
}

// At the end of an asynchronous record: the certificate and the mode, then the rate of copies.
constexpr std::size_t kAddedInVersion4Bytes = 8;
constexpr std::size_t kAddedInVersion5Bytes = 4;
std::size_t added_since_version_5_bytes() {
  return 4 + sample().peer_raid.size();
}
std::size_t added_since_version_4_bytes() {
  return kAddedInVersion5Bytes + added_since_version_5_bytes();
}
std::size_t added_since_version_3_bytes() {
  return kAddedInVersion4Bytes + added_since_version_4_bytes();
}
std::size_t added_since_version_2_bytes() {
  return 4 + sample().peer_certificate.size() + 1 + added_since_version_3_bytes();
}

TEST(PairRecord, IsOfTheVersionBeforeUnlessThePairCompresses) {
  PairRecord record = sample();
  EXPECT_EQ(record.encode()[0], std::byte{6});
  EXPECT_EQ(PairRecord::decode(record.encode())->compression, format::Compression::kOff);
  const std::size_t size_bytes = record.encode().size();
  record.compression = format::Compression::kZstd;
  EXPECT_EQ(record.encode()[0], std::byte{7});
  EXPECT_EQ(record.encode().size(), size_bytes + 1);
  const auto decoded = PairRecord::decode(record.encode());
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_EQ(decoded->compression, format::Compression::kZstd);
  EXPECT_EQ(decoded->peer_raid, record.peer_raid);
  std::vector<std::byte> bytes = record.encode();
  bytes.back() = std::byte{2};
  EXPECT_EQ(PairRecord::decode(bytes).error().code, ErrorCode::kInvalid);
  bytes[0] = std::byte{8};
  EXPECT_EQ(PairRecord::decode(bytes).error().code, ErrorCode::kUnsupported);
}

TEST(PairRecord, OfVersion5LeavesThePlaceToThePeer) {
  std::vector<std::byte> bytes = sample().encode();
  bytes[0] = std::byte{5};
  bytes.resize(bytes.size() - added_since_version_5_bytes());
  const auto decoded = PairRecord::decode(bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_EQ(decoded->peer_raid, "");
  EXPECT_EQ(decoded->copy_rate_bytes, sample().copy_rate_bytes);
}

TEST(PairRecord, OfVersion4HasLetGoOfNoPrimary) {
  std::vector<std::byte> bytes = sample().encode();
  bytes[0] = std::byte{4};
  bytes.resize(bytes.size() - added_since_version_4_bytes());
  const auto decoded = PairRecord::decode(bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_EQ(decoded->fork_checksum, 0u);
  EXPECT_EQ(decoded->copy_rate_bytes, sample().copy_rate_bytes);
}

TEST(PairRecord, OfVersion3HasNoRate) {
  std::vector<std::byte> bytes = sample().encode();
  bytes[0] = std::byte{3};
  bytes.resize(bytes.size() - added_since_version_3_bytes());
  const auto decoded = PairRecord::decode(bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_EQ(decoded->copy_rate_bytes, 0u);
  EXPECT_EQ(decoded->sync, sample().sync);
}

TEST(PairRecord, OfVersion2HasNoCertificateAndIsAsynchronous) {
  std::vector<std::byte> bytes = asynchronous().encode();
  bytes[0] = std::byte{2};
  bytes.resize(bytes.size() - added_since_version_2_bytes());
  const auto decoded = PairRecord::decode(bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_TRUE(decoded->alone);
  EXPECT_FALSE(decoded->sync.has_value());
  EXPECT_FALSE(decoded->in_sync());
  EXPECT_EQ(decoded->peer_certificate, "");
  EXPECT_TRUE(decoded->check_peer("CN=anybody").ok());
}

TEST(PairRecord, TheStatesInWhichAFlushDoesNotWaitEndBeingInSync) {
  using format::NotInSync;
  PairRecord record = sample();
  record.side = Side::kPrimary;
  record.state = PairState::kPair;
  record.not_in_sync = NotInSync::kNone;
  PairRecord at = record;
  for (const PairState state : {PairState::kPair, PairState::kPsue, PairState::kPair}) {
    at.enter(state, WallTime{99});
    EXPECT_TRUE(at.in_sync());
  }
  for (const PairState state : {PairState::kCopy, PairState::kPsus}) {
    at = record;
    at.enter(state, WallTime{102});
    EXPECT_FALSE(at.in_sync());
    EXPECT_EQ(at.sync_since, WallTime{102});
    at.enter(PairState::kPair, WallTime{103});
    EXPECT_EQ(at.not_in_sync, NotInSync::kCatchingUp);
    EXPECT_EQ(at.sync_since, WallTime{102});
  }
  // A secondary counts on what it is told from then on.
  at = record;
  at.side = Side::kSecondary;
  at.enter(PairState::kPsue, WallTime{104});
  at.enter(PairState::kPair, WallTime{105});
  EXPECT_FALSE(at.in_sync());
}

TEST(PairRecord, OfVersion1LeftTheEpochOfItsFork) {
  std::vector<std::byte> bytes = asynchronous().encode();
  bytes[0] = std::byte{1};
  bytes.resize(bytes.size() - added_since_version_2_bytes() - 5);
  const auto decoded = PairRecord::decode(bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_EQ(decoded->epoch_left, Epoch{3});
  EXPECT_FALSE(decoded->alone);
}

TEST(PairRecord, KnowsItsPeerByTheCertificate) {
  const PairRecord record = sample();
  EXPECT_TRUE(record.check_peer("CN=osaka,O=Example").ok());
  for (const char* other : {"", "CN=osaka", "CN=mallory,O=Example"}) {
    const auto checked = record.check_peer(other);
    ASSERT_FALSE(checked.ok()) << other;
    EXPECT_EQ(checked.error().code, ErrorCode::kRefused);
    EXPECT_NE(checked.error().message.find("CN=osaka,O=Example"), std::string::npos);
  }
}

TEST(PairRecord, TheLongestFitsTheLocalRecord) {
  PairRecord record = sample();
  record.peer_address.assign(10'000, 'a');
  record.reason.assign(10'000, 'r');
  record.peer_certificate.assign(512, 'c');
  record.compression = format::Compression::kZstd;
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
