#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "base/crc32c.h"
#include "format/raid.h"

namespace tidemark::format {
namespace {

template <typename IdentityType>
IdentityType identity_of(std::uint8_t seed) {
  IdentityType id;
  for (std::size_t i = 0; i < 16; ++i) id.bytes[i] = static_cast<std::uint8_t>(seed + i);
  return id;
}

const RaidIdentity kRaid = identity_of<RaidIdentity>(0xa0);
constexpr std::uint64_t kPosition = 8192;

RaidShape sample_shape() {
  return *make_raid_shape(RaidLevel::k6, 5, 65536, 1ull << 30);
}

RaidLabel sample_label() {
  RaidLabel label;
  label.disk = identity_of<DiskIdentity>(0x80);
  label.node = identity_of<NodeIdentity>(0x10);
  label.raid = kRaid;
  label.size_bytes = 1ull << 30;
  label.generation = 2;
  label.index = 4;
  label.name = "archive";
  label.shape = sample_shape();
  return label;
}

RaidState sample_state() {
  RaidState state;
  state.raid = kRaid;
  state.event = 9;
  state.settled = 8;
  state.clean = true;
  for (std::uint8_t i = 0; i < 5; ++i) {
    RaidMemberRecord& member = state.members.emplace_back();
    member.disk = identity_of<DiskIdentity>(static_cast<std::uint8_t>(i * 16));
  }
  state.members[1].state = RaidMemberState::kFailed;
  state.members[2].state = RaidMemberState::kRebuilding;
  state.members[2].rebuilt_bytes = 1 << 20;
  return state;
}

StripeEntry sample_entry() {
  StripeEntry entry;
  entry.sequence = 77;
  entry.position = kPosition;
  entry.payload_crc = 0x12345678;
  for (std::uint16_t i = 0; i < 3; ++i) {
    JournalExtent& extent = entry.extents.emplace_back();
    extent.member = i;
    extent.length_bytes = 4096;
    extent.offset = 65536u * i;
  }
  return entry;
}

struct Structure {
  const char* name;
  std::vector<std::byte> bytes;
  std::function<Result<void>(Bytes)> decode;
};

std::vector<std::byte> encoded(std::size_t size, const std::function<void(MutableBytes)>& encode) {
  std::vector<std::byte> bytes(size, std::byte{0xcc});
  encode(bytes);
  return bytes;
}

template <typename T>
Result<void> only_error(Result<T> result) {
  if (!result.ok()) return result.error();
  return {};
}

std::vector<Structure> all_structures() {
  std::vector<Structure> all;
  all.push_back({"label", encoded(512, [](MutableBytes out) { encode_raid_label(sample_label(), 1, out); }),
                 [](Bytes bytes) { return only_error(decode_raid_label(bytes, 1)); }});
  all.push_back({"state", encoded(4096, [](MutableBytes out) { encode_raid_state(sample_state(), 1, out); }),
                 [](Bytes bytes) { return only_error(decode_raid_state(bytes, kRaid, 1)); }});
  auto map = encoded(4096, [](MutableBytes out) { encode_intent_map(kRaid, {0, 3807, 3808, 30463}, out); });
  map.resize(512);
  all.push_back(
      {"intent sector", map, [](Bytes bytes) { return only_error(decode_intent_sector(bytes, kRaid, 0)); }});
  all.push_back({"begin", encoded(512, [](MutableBytes out) { encode_journal_trim(kRaid, 258, out); }),
                 [](Bytes bytes) { return only_error(decode_journal_trim(bytes, kRaid)); }});
  all.push_back(
      {"entry", encoded(4096, [](MutableBytes out) { encode_stripe_entry(sample_entry(), kRaid, out); }),
       [](Bytes bytes) { return only_error(decode_stripe_entry(bytes, kRaid, sample_shape(), kPosition)); }});
  return all;
}

TEST(RaidFormat, EverythingThatIsWrittenIsReadAgain) {
  std::vector<std::byte> sector(512);
  std::vector<std::byte> block(4096);
  encode_raid_label(sample_label(), 0, sector);
  EXPECT_EQ(decode_raid_label(sector, 0).value(), sample_label());
  encode_raid_state(sample_state(), 0, block);
  EXPECT_EQ(decode_raid_state(block, kRaid, 0).value(), sample_state());
  encode_journal_trim(kRaid, 258, sector);
  EXPECT_EQ(decode_journal_trim(sector, kRaid).value(), 258u);
  encode_stripe_entry(sample_entry(), kRaid, block);
  EXPECT_EQ(decode_stripe_entry(block, kRaid, sample_shape(), kPosition).value(), sample_entry());
  const std::vector<std::uint64_t> regions = {0, 1, 3807, 3808, 20000, kIntentRegionsMax - 1};
  encode_intent_map(kRaid, regions, block);
  std::vector<std::uint64_t> found;
  for (std::uint32_t i = 0; i < kIntentSectors; ++i) {
    const auto part = decode_intent_sector(Bytes(block).subspan(i * 512, 512), kRaid, i);
    ASSERT_TRUE(part.ok());
    found.insert(found.end(), part->begin(), part->end());
  }
  EXPECT_EQ(found, regions);
}

TEST(RaidFormat, EveryFlippedBitIsSeen) {
  for (Structure& structure : all_structures()) {
    ASSERT_TRUE(structure.decode(structure.bytes).ok()) << structure.name;
    for (std::size_t bit = 0; bit < structure.bytes.size() * 8; ++bit) {
      structure.bytes[bit / 8] ^= std::byte{1} << (bit % 8);
      ASSERT_EQ(structure.decode(structure.bytes).error().code, ErrorCode::kDamaged)
          << structure.name << " bit " << bit;
      structure.bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    }
  }
}

TEST(RaidFormat, ZeroesAreNothingAndANewerVersionIsNotDamage) {
  for (Structure& structure : all_structures()) {
    structure.bytes[8] = std::byte{2};
    const std::uint32_t crc = crc32c(Bytes(structure.bytes).first(structure.bytes.size() - 4));
    for (std::size_t i = 0; i < 4; ++i)
      structure.bytes[structure.bytes.size() - 4 + i] = std::byte(crc >> (8 * i));
    EXPECT_EQ(structure.decode(structure.bytes).error().code, ErrorCode::kUnsupported) << structure.name;
    std::ranges::fill(structure.bytes, std::byte{0});
    EXPECT_EQ(structure.decode(structure.bytes).error().code, ErrorCode::kNotFound) << structure.name;
  }
}

TEST(RaidFormat, WhatLiesInAnotherPlaceIsDamage) {
  std::vector<std::byte> sector(512);
  std::vector<std::byte> block(4096);
  const auto other = identity_of<RaidIdentity>(0xb0);
  encode_raid_label(sample_label(), 0, sector);
  EXPECT_EQ(decode_raid_label(sector, 1).error().code, ErrorCode::kDamaged);
  encode_raid_state(sample_state(), 0, block);
  EXPECT_EQ(decode_raid_state(block, kRaid, 1).error().code, ErrorCode::kDamaged);
  EXPECT_EQ(decode_raid_state(block, other, 0).error().code, ErrorCode::kDamaged);
  encode_stripe_entry(sample_entry(), kRaid, block);
  EXPECT_EQ(decode_stripe_entry(block, kRaid, sample_shape(), 4096).error().code, ErrorCode::kDamaged);
  EXPECT_EQ(decode_stripe_entry(block, other, sample_shape(), kPosition).error().code, ErrorCode::kDamaged);
  encode_intent_map(kRaid, {}, block);
  EXPECT_EQ(decode_intent_sector(Bytes(block).first(512), kRaid, 1).error().code, ErrorCode::kDamaged);
}

TEST(RaidFormat, ExtentsThatLeaveTheirMemberAreDamage) {
  std::vector<std::byte> block(4096);
  const RaidShape shape = sample_shape();
  const auto refused = [&](const std::function<void(JournalExtent*)>& change) {
    StripeEntry entry = sample_entry();
    change(&entry.extents[1]);
    encode_stripe_entry(entry, kRaid, block);
    return !decode_stripe_entry(block, kRaid, shape, kPosition).ok();
  };
  EXPECT_FALSE(refused([](JournalExtent*) {}));
  EXPECT_TRUE(refused([](JournalExtent* extent) { extent->member = 5; }));
  EXPECT_TRUE(refused([&](JournalExtent* extent) { extent->offset = shape.member_bytes; }));
  EXPECT_TRUE(refused([](JournalExtent* extent) { extent->offset = UINT64_MAX - 4095; }));
  EXPECT_TRUE(refused([](JournalExtent* extent) { extent->offset = 512; }));
  EXPECT_TRUE(refused([](JournalExtent* extent) { extent->length_bytes = 0; }));
  EXPECT_TRUE(refused([](JournalExtent* extent) { extent->length_bytes = 1 << 20; }));
}

// The bytes of the example in docs/formats/raid.md.
TEST(RaidFormat, TheBeginOfAJournalHasTheBytesOfThePage) {
  std::vector<std::byte> sector(512);
  encode_journal_trim(kRaid, 258, sector);
  const std::vector<std::uint8_t> head = {0x54, 0x4d, 0x52, 0x41, 0x49, 0x44, 0x54, 0x0a,
                                          1,    0,    0,    0,    0,    0,    0,    0};
  for (std::size_t i = 0; i < head.size(); ++i) EXPECT_EQ(sector[i], std::byte{head[i]}) << i;
  for (std::size_t i = 0; i < 16; ++i) EXPECT_EQ(sector[16 + i], std::byte(0xa0 + i));
  EXPECT_EQ(sector[32], std::byte{2});
  EXPECT_EQ(sector[33], std::byte{1});
  const std::vector<std::uint8_t> crc = {0x1f, 0x06, 0x70, 0x6b};
  for (std::size_t i = 0; i < crc.size(); ++i) EXPECT_EQ(sector[508 + i], std::byte{crc[i]}) << i;
}

}  // namespace
}  // namespace tidemark::format
