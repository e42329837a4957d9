#include "format/records.h"

#include <gtest/gtest.h>

#include "base/codec.h"
#include "base/names.h"
#include "damage.h"

namespace tidemark::format {
namespace {

EpochIdentity identity_of(std::uint8_t first) {
  EpochIdentity identity;
  for (std::uint8_t& byte : identity.bytes) byte = first++;
  return identity;
}

MarkRecord example_mark() {
  return {.id = "order-4711", .host_time = WallTime{-5}, .host = "db1", .note = "paid \xc3\xa9"};
}

// One of each; the page of the format shows these bytes.
std::vector<std::pair<ControlRecord, std::string>> examples() {
  return {
      {EpochOpened{identity_of(0x30), LogId(Epoch{1}, 42), EpochReason::kRestore},
       "01303132333435363738393a3b3c3d3e3f2a0000000001000002"},
      {VolumeCreated{VolumeId{3}, "data", 1 << 30}, "020300000004000000646174610000004000000000"},
      {VolumeResized{VolumeId{3}, 8192}, "03030000000020000000000000"},
      {VolumeDeleted{VolumeId{3}}, "0403000000"},
      {PointNamed{example_mark(), LogId(Epoch{1}, 7), WallTime{9}},
       "050a0000006f726465722d34373131fbffffffffffffff03000000646231070000007061696420c3a9070000"
       "00000100000900000000000000"},
      {MarkChanged{"order-4711", MarkAction::kDelete}, "060a0000006f726465722d3437313103"},
      {BranchReleased{Epoch{5}}, "0705000000"},
  };
}

TEST(Records, AMarkReadsBackEveryField) {
  const auto decoded = decode_mark(encode_mark(example_mark()));
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(*decoded, example_mark());
}

TEST(Records, AMarkHasTheBytesOfItsPage) {
  EXPECT_EQ(hex(encode_mark(example_mark())),
            "0a0000006f726465722d34373131fbffffffffffffff03000000646231070000007061696420c3a9");
}

TEST(Records, EveryControlRecordReadsBackAndHasTheBytesOfItsPage) {
  for (const auto& [record, bytes] : examples()) {
    const std::vector<std::byte> encoded = encode_control(record);
    EXPECT_EQ(hex(encoded), bytes) << "alternative " << record.index();
    const auto decoded = decode_control(encoded);
    ASSERT_TRUE(decoded.ok()) << decoded.error().message;
    EXPECT_EQ(*decoded, record);
  }
}

TEST(Records, EveryTruncationIsRefused) {
  for_each_truncation(encode_mark(example_mark()),
                      [](Bytes bytes) { EXPECT_FALSE(decode_mark(bytes).ok()); });
  for (const auto& [record, unused] : examples()) {
    for_each_truncation(encode_control(record), [](Bytes bytes) {
      const auto decoded = decode_control(bytes);
      ASSERT_FALSE(decoded.ok()) << hex(bytes);
      EXPECT_EQ(decoded.error().code, ErrorCode::kInvalid);
    });
  }
}

TEST(Records, BytesLeftOverAreRefused) {
  std::vector<std::byte> mark = encode_mark(example_mark());
  mark.push_back(std::byte{0});
  EXPECT_FALSE(decode_mark(mark).ok());
  for (const auto& [record, unused] : examples()) {
    std::vector<std::byte> bytes = encode_control(record);
    bytes.push_back(std::byte{0});
    EXPECT_FALSE(decode_control(bytes).ok()) << "alternative " << record.index();
  }
}

// Records carry no checksum of their own (the batch has one), so a changed byte may give another record,
// which must then be well-formed: it encodes to just these bytes.
TEST(Records, AnyFlippedByteIsRefusedOrAWellFormedRecord) {
  for (const auto& [record, unused] : examples()) {
    for_each_flip(encode_control(record), [](Bytes bytes, std::size_t at) {
      const auto decoded = decode_control(bytes);
      if (!decoded.ok()) return;
      EXPECT_EQ(hex(encode_control(*decoded)), hex(bytes)) << "byte " << at;
    });
  }
  for_each_flip(encode_mark(example_mark()), [](Bytes bytes, std::size_t at) {
    const auto decoded = decode_mark(bytes);
    if (!decoded.ok()) return;
    EXPECT_EQ(hex(encode_mark(*decoded)), hex(bytes)) << "byte " << at;
    EXPECT_TRUE(validate_name("mark id", decoded->id, kMarkIdLengthMax).ok());
  });
}

TEST(Records, AnUnknownTagIsUnsupported) {
  for (const unsigned tag : {0u, 10u, 255u}) {
    const std::vector<std::byte> bytes{std::byte(tag)};
    EXPECT_EQ(decode_control(bytes).error().code, ErrorCode::kUnsupported) << tag;
  }
}

TEST(Records, FieldsOutOfBoundsAreInvalid) {
  const auto control_code = [](const ControlRecord& record) {
    const auto decoded = decode_control(encode_control(record));
    return decoded.ok() ? ErrorCode::kShutdown : decoded.error().code;
  };
  EXPECT_EQ(control_code(VolumeCreated{VolumeId{0}, "data", 4096}), ErrorCode::kInvalid);
  EXPECT_EQ(control_code(VolumeCreated{VolumeId{1}, "../data", 4096}), ErrorCode::kInvalid);
  EXPECT_EQ(control_code(VolumeCreated{VolumeId{1}, "", 4096}), ErrorCode::kInvalid);
  EXPECT_EQ(control_code(VolumeCreated{VolumeId{1}, std::string(65, 'a'), 4096}), ErrorCode::kInvalid);
  EXPECT_EQ(control_code(VolumeCreated{VolumeId{1}, "data", 4095}), ErrorCode::kInvalid);
  EXPECT_EQ(control_code(VolumeResized{VolumeId{1}, 512}), ErrorCode::kInvalid);
  EXPECT_EQ(control_code(EpochOpened{{}, {}, EpochReason{0}}), ErrorCode::kInvalid);
  EXPECT_EQ(control_code(EpochOpened{{}, {}, EpochReason{7}}), ErrorCode::kInvalid);
  EXPECT_EQ(control_code(MarkChanged{"m", MarkAction{0}}), ErrorCode::kInvalid);
  EXPECT_EQ(control_code(MarkChanged{"m", MarkAction{4}}), ErrorCode::kInvalid);
  EXPECT_EQ(control_code(PointNamed{{.id = "head"}, LogId(Epoch{1}, 1)}), ErrorCode::kInvalid);

  const auto mark_ok = [](MarkRecord mark) { return decode_mark(encode_mark(mark)).ok(); };
  EXPECT_TRUE(mark_ok({.id = std::string(kMarkIdLengthMax, 'm')}));
  EXPECT_FALSE(mark_ok({.id = std::string(kMarkIdLengthMax + 1, 'm')}));
  EXPECT_FALSE(mark_ok({.id = ""}));
  EXPECT_FALSE(mark_ok({.id = "floor"}));
  EXPECT_TRUE(mark_ok({.id = "m", .host = std::string(kHostNameBytesMax, 'h')}));
  EXPECT_FALSE(mark_ok({.id = "m", .host = std::string(kHostNameBytesMax + 1, 'h')}));
  EXPECT_TRUE(mark_ok({.id = "m", .note = std::string(kMarkNoteBytesMax, 'n')}));
  EXPECT_FALSE(mark_ok({.id = "m", .note = std::string(kMarkNoteBytesMax + 1, 'n')}));
}

}  // namespace
}  // namespace tidemark::format
