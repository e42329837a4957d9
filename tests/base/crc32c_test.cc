#include "base/crc32c.h"

#include <gtest/gtest.h>

#include <vector>

namespace tidemark {
namespace {

TEST(Crc32c, AgreesWithTheKnownVectors) {
  EXPECT_EQ(crc32c(as_bytes("123456789")), 0xe3069283u);
  EXPECT_EQ(crc32c({}), 0u);
  // RFC 3720 section B.4.
  std::vector<std::byte> bytes(32, std::byte{0});
  EXPECT_EQ(crc32c(bytes), 0x8a9136aau);
  bytes.assign(32, std::byte{0xff});
  EXPECT_EQ(crc32c(bytes), 0x62a8ab43u);
  for (std::size_t i = 0; i < 32; ++i) bytes[i] = std::byte(i);
  EXPECT_EQ(crc32c(bytes), 0x46dd794eu);
  for (std::size_t i = 0; i < 32; ++i) bytes[i] = std::byte(31 - i);
  EXPECT_EQ(crc32c(bytes), 0x113fdb5cu);
}

TEST(Crc32c, ExtendsOverAnySplit) {
  const Bytes text = as_bytes("the checksum of a followed by b, given that of a");
  for (std::size_t split = 0; split <= text.size(); ++split) {
    EXPECT_EQ(crc32c_extend(crc32c(text.first(split)), text.subspan(split)), crc32c(text));
  }
}

}  // namespace
}  // namespace tidemark
