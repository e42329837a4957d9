#include "base/digest.h"

#include <gtest/gtest.h>

#include <string_view>

namespace tidemark {
namespace {

Digest digest_of_text(std::string_view text) {
  return digest_of(std::as_bytes(std::span(text.data(), text.size())));
}

// FIPS 180-4 examples: SHA-256 of "abc" begins ba7816bf 8f01cfea 414140de 5dae2223, of nothing e3b0c442
// 98fc1c14 9afbf4c8 996fb924.
TEST(Digest, IsTheFirstHalfOfASha256) {
  EXPECT_EQ(digest_of_text("abc"), (Digest{0xba7816bf, 0x8f01cfea, 0x414140de, 0x5dae2223}));
  EXPECT_EQ(digest_of_text(""), (Digest{0xe3b0c442, 0x98fc1c14, 0x9afbf4c8, 0x996fb924}));
}

TEST(Digest, OneBitMakesAnother) {
  std::string block(4096, '\0');
  const Digest before = digest_of_text(block);
  block[4095] = 1;
  EXPECT_NE(digest_of_text(block), before);
}

}  // namespace
}  // namespace tidemark
