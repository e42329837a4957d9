#include "format/batch.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "base/codec.h"
#include "base/crc32c.h"
#include "damage.h"

namespace tidemark::format {
namespace {

bool same(const Entry& a, const Entry& b) {
  return a.kind == b.kind && a.volume == b.volume && a.blocks == b.blocks && a.timer == b.timer &&
         a.payload_block == b.payload_block && a.checksums == b.checksums && a.body == b.body;
}

bool same(const BatchMeta& a, const BatchMeta& b) {
  if (a.entries.size() != b.entries.size()) return false;
  for (std::size_t i = 0; i < a.entries.size(); ++i) {
    if (!same(a.entries[i], b.entries[i])) return false;
  }
  return a.group == b.group && a.epoch_identity == b.epoch_identity && a.first == b.first &&
         a.parent_checksum == b.parent_checksum && a.durable_through == b.durable_through &&
         a.payload_blocks == b.payload_blocks;
}

template <typename IdentityType>
IdentityType identity_of(std::uint8_t first) {
  IdentityType identity;
  for (std::uint8_t& byte : identity.bytes) byte = first++;
  return identity;
}

// One entry of each kind. The page of the format shows these bytes.
BatchMeta example() {
  BatchMeta meta;
  meta.group = identity_of<GroupIdentity>(0x10);
  meta.epoch_identity = identity_of<EpochIdentity>(0x20);
  meta.first = LogId(Epoch{3}, 41);
  meta.parent_checksum = 0xa1b2c3d4;
  meta.durable_through = LogId(Epoch{3}, 40);
  meta.payload_blocks = 3;
  meta.entries.push_back({.kind = EntryKind::kWrite,
                          .volume = VolumeId{2},
                          .blocks = {7, 9},
                          .timer = WallTime{1'000'000'000},
                          .payload_block = 1,
                          .checksums = {0x11111111, 0x22222222}});
  meta.entries.push_back({.kind = EntryKind::kZero,
                          .volume = VolumeId{2},
                          .blocks = {100, 200},
                          .timer = WallTime{1'000'000'000}});
  meta.entries.push_back({.kind = EntryKind::kDiscard,
                          .volume = VolumeId{1},
                          .blocks = {0, 0xffffffff},
                          .timer = WallTime{1'000'000'001}});
  meta.entries.push_back(
      {.kind = EntryKind::kMark, .timer = WallTime{1'000'000'002}, .body = {std::byte{'m'}, std::byte{'k'}}});
  meta.entries.push_back(
      {.kind = EntryKind::kControl, .timer = WallTime{1'000'000'003}, .body = {std::byte{7}}});
  return meta;
}

// Writes a right checksum over bytes that were changed, so that the checks behind it are reached.
std::vector<std::byte> with_checksum(std::vector<std::byte> bytes) {
  const std::uint32_t checksum = crc32c(Bytes(bytes).first(bytes.size() - 4));
  for (std::size_t i = 0; i < 4; ++i) bytes[bytes.size() - 4 + i] = std::byte(checksum >> (8 * i));
  return bytes;
}

ErrorCode code_after(const std::function<void(std::vector<std::byte>&)>& change) {
  std::vector<std::byte> bytes = encode_batch_meta(example());
  change(bytes);
  const auto decoded = decode_batch_meta(with_checksum(bytes));
  EXPECT_FALSE(decoded.ok());
  return decoded.ok() ? ErrorCode::kShutdown : decoded.error().code;
}

TEST(BatchMeta, ReadsBackEveryField) {
  const BatchMeta meta = example();
  const std::vector<std::byte> bytes = encode_batch_meta(meta);
  const auto decoded = decode_batch_meta(bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_TRUE(same(decoded->meta, meta));
  EXPECT_EQ(decoded->meta.last(), LogId(Epoch{3}, 45));
  EXPECT_EQ(decoded->checksum, crc32c(Bytes(bytes).first(bytes.size() - 4)));
}

TEST(BatchMeta, HasTheBytesOfItsPage) {
  EXPECT_EQ(hex(encode_batch_meta(example())),
            "544d423101004800101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f29000000"
            "00030000d4c3b2a128000000000300000500000003000000ab00000001000000020000000700000000000000"
            "020000000100000000ca9a3b0000000011111111222222220200000002000000640000000000000064000000"
            "0000000000ca9a3b0000000003000000010000000000000000000000ffffffff0000000001ca9a3b00000000"
            "04010200000000000000000000000000000000000000000002ca9a3b000000006d6b05000100000000000000"
            "000000000000000000000000000003ca9a3b0000000007ad264eb2");
}

TEST(BatchMeta, ReadsBackRandomBatches) {
  for (std::uint32_t seed = 0; seed < 300; ++seed) {
    std::mt19937 generator(seed);
    const auto random = [&generator] { return static_cast<std::uint32_t>(generator()); };
    BatchMeta meta;
    meta.group = identity_of<GroupIdentity>(static_cast<std::uint8_t>(random()));
    meta.epoch_identity = identity_of<EpochIdentity>(static_cast<std::uint8_t>(random()));
    meta.first = LogId(Epoch{1 + random() % kEpochMax}, 1 + random());
    meta.parent_checksum = random();
    meta.durable_through = LogId::from_raw(random());
    std::int64_t timer = 0;
    const std::size_t count = 1 + random() % (seed % 50 == 0 ? kBatchEntriesMax : 40);
    for (std::size_t i = 0; i < count; ++i) {
      Entry entry;
      entry.kind = static_cast<EntryKind>(1 + random() % 5);
      entry.timer.ns = timer += random() % 3;
      if (entry.kind == EntryKind::kMark || entry.kind == EntryKind::kControl) {
        entry.body.assign(random() % 400, std::byte(random()));
      } else {
        entry.volume.value = 1 + random();
        entry.blocks.begin = random();
        entry.blocks.end = entry.blocks.begin + 1 + random() % 5;
        if (entry.kind == EntryKind::kWrite) {
          const auto blocks = static_cast<std::uint32_t>(entry.blocks.count());
          if (meta.payload_blocks + blocks > kBatchPayloadBlocksMax) continue;
          entry.payload_block = meta.payload_blocks;
          meta.payload_blocks += blocks;
          for (std::uint32_t b = 0; b < blocks; ++b) entry.checksums.push_back(random());
        }
      }
      meta.entries.push_back(entry);
    }
    if (meta.entries.empty()) continue;
    std::size_t expected_bytes = encoded_batch_bytes_least();
    for (const Entry& entry : meta.entries) {
      expected_bytes += encoded_entry_bytes(entry.checksums.size(), entry.body.size());
    }
    const std::vector<std::byte> bytes = encode_batch_meta(meta);
    EXPECT_EQ(bytes.size(), expected_bytes) << "seed " << seed;
    const auto decoded = decode_batch_meta(bytes);
    ASSERT_TRUE(decoded.ok()) << "seed " << seed << ": " << decoded.error().message;
    EXPECT_TRUE(same(decoded->meta, meta)) << "seed " << seed;
    EXPECT_EQ(encode_batch_meta(decoded->meta), bytes) << "seed " << seed;
  }
}

TEST(BatchMeta, EveryFlippedBitIsDamage) {
  for_each_flip(encode_batch_meta(example()), [](Bytes bytes, std::size_t at) {
    const auto decoded = decode_batch_meta(bytes);
    ASSERT_FALSE(decoded.ok()) << "byte " << at;
    EXPECT_EQ(decoded.error().code, ErrorCode::kDamaged) << "byte " << at;
  });
}

TEST(BatchMeta, EveryTruncationIsRefused) {
  for_each_truncation(encode_batch_meta(example()), [](Bytes bytes) {
    EXPECT_FALSE(decode_batch_meta(bytes).ok()) << bytes.size() << " bytes";
  });
  std::vector<std::byte> longer = encode_batch_meta(example());
  longer.push_back(std::byte{0});
  EXPECT_FALSE(decode_batch_meta(longer).ok());
}

// A field that is wrong under a right checksum comes from a broken or hostile writer: it must be an error or
// a batch that is within all bounds, never a crash.
TEST(BatchMeta, AnyByteUnderARightChecksumIsRefusedOrWithinBounds) {
  const std::vector<std::byte> good = encode_batch_meta(example());
  for (std::size_t at = 0; at + 4 < good.size(); ++at) {
    for (const unsigned value : {0u, 1u, 0x7fu, 0x80u, 0xffu}) {
      std::vector<std::byte> bytes = good;
      bytes[at] = std::byte(value);
      const auto decoded = decode_batch_meta(with_checksum(bytes));
      if (!decoded.ok()) continue;
      EXPECT_EQ(encode_batch_meta(decoded->meta), with_checksum(bytes))
          << "byte " << at << " is read twice alike";
      for (const Entry& entry : decoded->meta.entries) {
        EXPECT_LE(entry.blocks.begin, entry.blocks.end);
        EXPECT_LE(entry.payload_block + entry.checksums.size(), decoded->meta.payload_blocks);
      }
    }
  }
}

TEST(BatchMeta, ANewerVersionOrKindIsUnsupported) {
  EXPECT_EQ(code_after([](auto& bytes) { bytes[4] = std::byte{2}; }), ErrorCode::kUnsupported);
  EXPECT_EQ(code_after([](auto& bytes) { bytes[72] = std::byte{6}; }), ErrorCode::kUnsupported);
}

TEST(BatchMeta, FieldsOutOfBoundsAreInvalid) {
  const std::size_t kFirstEntry = 72;
  EXPECT_EQ(code_after([](auto& bytes) { bytes[0] = std::byte{0}; }), ErrorCode::kInvalid) << "magic";
  EXPECT_EQ(code_after([](auto& bytes) { bytes[6] = std::byte{80}; }), ErrorCode::kInvalid) << "header size";
  EXPECT_EQ(code_after([](auto& bytes) { bytes[45] = std::byte{0}; }), ErrorCode::kInvalid) << "epoch 0";
  EXPECT_EQ(code_after([](auto& bytes) { bytes[40] = std::byte{0}; }), ErrorCode::kInvalid) << "sequence 0";
  EXPECT_EQ(code_after([](auto& bytes) { bytes[60] = std::byte{4}; }), ErrorCode::kInvalid) << "entries";
  EXPECT_EQ(code_after([](auto& bytes) { bytes[60] = std::byte{6}; }), ErrorCode::kInvalid) << "entries";
  EXPECT_EQ(code_after([](auto& bytes) { bytes[64] = std::byte{2}; }), ErrorCode::kInvalid)
      << "payload blocks";
  EXPECT_EQ(code_after([](auto& bytes) { bytes[66] = std::byte{1}; }), ErrorCode::kInvalid)
      << "payload blocks";
  EXPECT_EQ(code_after([](auto& bytes) { bytes[68] = std::byte{1}; }), ErrorCode::kInvalid)
      << "descriptor bytes";
  EXPECT_EQ(code_after([=](auto& bytes) { bytes[kFirstEntry + 1] = std::byte{1}; }), ErrorCode::kInvalid)
      << "a mark flag on a write";
  EXPECT_EQ(code_after([=](auto& bytes) { bytes[kFirstEntry + 4] = std::byte{0}; }), ErrorCode::kInvalid)
      << "volume 0";
  EXPECT_EQ(code_after([=](auto& bytes) { bytes[kFirstEntry + 16] = std::byte{0}; }), ErrorCode::kInvalid)
      << "no blocks";
  EXPECT_EQ(code_after([=](auto& bytes) { bytes[kFirstEntry + 20] = std::byte{2}; }), ErrorCode::kInvalid)
      << "payload beyond the batch";
  EXPECT_EQ(code_after([=](auto& bytes) { bytes[kFirstEntry + 15] = std::byte{1}; }), ErrorCode::kInvalid)
      << "a block beyond any volume";
  EXPECT_EQ(code_after([=](auto& bytes) { bytes[kFirstEntry + 31] = std::byte{0x7f}; }), ErrorCode::kInvalid)
      << "a timer that goes back after this";
}

TEST(BatchMeta, TheLargestBatchFits) {
  BatchMeta meta = example();
  meta.entries.clear();
  for (std::uint32_t i = 0; i < kBatchEntriesMax; ++i) {
    meta.entries.push_back({.kind = EntryKind::kZero, .volume = VolumeId{1}, .blocks = {i, i + 1}});
  }
  EXPECT_TRUE(decode_batch_meta(encode_batch_meta(meta)).ok());
  meta.entries.push_back(meta.entries.back());
  EXPECT_EQ(decode_batch_meta(encode_batch_meta(meta)).error().code, ErrorCode::kInvalid);
  meta.entries.resize(1);
  meta.entries[0].body.clear();
  meta.entries[0] = {.kind = EntryKind::kControl, .body = std::vector<std::byte>(kEntryBodyBytesMax)};
  EXPECT_TRUE(decode_batch_meta(encode_batch_meta(meta)).ok());
}

}  // namespace
}  // namespace tidemark::format
