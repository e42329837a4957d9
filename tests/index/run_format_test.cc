#include "index/run_format.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace tidemark::index::test {
namespace {

std::string hex(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (char c : bytes) {
    text.push_back(kDigits[static_cast<unsigned char>(c) >> 4]);
    text.push_back(kDigits[static_cast<unsigned char>(c) & 15]);
  }
  return text;
}
std::string text_of(const RunKey& key) {
  return {key.data(), key.size()};
}

RunMeta example_meta() {
  RunMeta meta;
  meta.resume = Place(5, 6);
  meta.epochs = {{1, {1, 900, Place(4, 9).raw()}}, {4, {1, 17, Place(5, 5).raw()}}};
  meta.size_classes = {{1, 0b101}, {9, 0b1}};
  return meta;
}

// The bytes of docs/formats/index.md.
TEST(RunFormatTest, AKeyAndItsValueHaveTheDocumentedBytes) {
  const LogId id(Epoch{2}, 0x10);
  EXPECT_EQ(hex(text_of(encode_run_key(VolumeId{3}, 0, 0x1234, id.raw()))),
            "00000003"
            "00"
            "0000000000001234"
            "fffffdffffffffef");
  std::string value;
  encode_run_value(EntryKind::kData, Place(7, 0x21).raw(), std::vector<std::uint32_t>{0xe3069283}, value);
  EXPECT_EQ(hex(value),
            "02"
            "2100000700000000"
            "839206e3");
  encode_run_value(EntryKind::kZero, Place(7, 0x21).raw(), {}, value);
  EXPECT_EQ(hex(value),
            "01"
            "2100000700000000");
}

TEST(RunFormatTest, KeysSortByVolumeClassExtentThenNewestFirst) {
  const auto key = [](std::uint32_t volume, unsigned size_class, std::uint64_t extent, LogId id) {
    return text_of(encode_run_key(VolumeId{volume}, size_class, extent, id.raw()));
  };
  const std::vector<std::string> sorted{
      std::string(kRunMetaKey),         key(0, 0, 0, LogId(Epoch{kEpochMax}, kSequenceMax)),
      key(1, 0, 5, LogId(Epoch{2}, 1)), key(1, 0, 5, LogId(Epoch{1}, 900)),
      key(1, 0, 5, LogId(Epoch{1}, 1)), key(1, 0, 256, LogId(Epoch{9}, 1)),
      key(1, 1, 0, LogId(Epoch{1}, 1)), key(256, 0, 0, LogId(Epoch{1}, 1)),
  };
  for (std::size_t i = 1; i < sorted.size(); ++i) EXPECT_LT(sorted[i - 1], sorted[i]) << i;
}

TEST(RunFormatTest, KeysAndValuesComeBack) {
  const LogId id(Epoch{77}, 123456789);
  DecodedRunKey key;
  ASSERT_TRUE(decode_run_key(text_of(encode_run_key(VolumeId{8}, 2, 1ull << 40, id.raw())), key));
  EXPECT_EQ(key.volume, VolumeId{8});
  EXPECT_EQ(key.size_class, 2u);
  EXPECT_EQ(key.extent, 1ull << 40);
  EXPECT_EQ(key.id_raw, id.raw());
  std::string value;
  std::vector<std::uint32_t> checksums(16);
  for (std::uint32_t i = 0; i < 16; ++i) checksums[i] = i * 77777777u;
  encode_run_value(EntryKind::kData, 99, checksums, value);
  DecodedRunValue decoded;
  ASSERT_TRUE(decode_run_value(value, 1, decoded));
  EXPECT_EQ(decoded.kind, EntryKind::kData);
  EXPECT_EQ(decoded.place_raw, 99u);
  EXPECT_EQ(decoded.checksums, checksums);
}

TEST(RunFormatTest, KeysAndValuesOfAWrongSizeAreRefused) {
  const std::string key = text_of(encode_run_key(VolumeId{8}, 2, 1, 1));
  DecodedRunKey decoded_key;
  for (std::size_t size = 0; size < key.size(); ++size) {
    EXPECT_FALSE(decode_run_key(std::string_view(key).substr(0, size), decoded_key));
  }
  EXPECT_FALSE(decode_run_key(text_of(encode_run_key(VolumeId{8}, kSizeClassCount, 1, 1)), decoded_key));
  std::string value;
  encode_run_value(EntryKind::kData, 99, std::vector<std::uint32_t>(16, 1), value);
  DecodedRunValue decoded;
  for (std::size_t size = 0; size < value.size(); ++size) {
    EXPECT_FALSE(decode_run_value(std::string_view(value).substr(0, size), 1, decoded)) << size;
  }
  EXPECT_FALSE(decode_run_value(value, 0, decoded));
  EXPECT_FALSE(decode_run_value(value, 2, decoded));
  EXPECT_FALSE(decode_run_value(value, 3, decoded));
  value[0] = 3;
  EXPECT_FALSE(decode_run_value(value, 1, decoded));
}

TEST(RunFormatTest, TheDescriptionComesBack) {
  for (const RunMeta& meta : {RunMeta{}, example_meta()}) {
    auto decoded = decode_run_meta(encode_run_meta(meta));
    ASSERT_TRUE(decoded.ok());
    EXPECT_EQ(*decoded, meta);
  }
}

TEST(RunFormatTest, ADescriptionWithAnyByteChangedOrMissingIsRefused) {
  const std::string good = encode_run_meta(example_meta());
  for (std::size_t i = 0; i < good.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ 1 << bit);
      EXPECT_FALSE(decode_run_meta(bad).ok()) << i;
    }
    EXPECT_FALSE(decode_run_meta(std::string_view(good).substr(0, i)).ok()) << i;
  }
  EXPECT_FALSE(decode_run_meta(good + '\0').ok());
}

}  // namespace
}  // namespace tidemark::index::test
