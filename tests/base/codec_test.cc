#include "base/codec.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

namespace tidemark {
namespace {

Encoder example() {
  Encoder out;
  out.u8(1);
  out.u16(0x0203);
  out.u32(0x04050607);
  out.u64(0x08090a0b0c0d0e0full);
  out.i64(-2);
  out.text("name");
  out.raw(std::array<std::uint8_t, 3>{7, 8, 9});
  out.raw(as_bytes("tail"));
  return out;
}

TEST(Codec, ReadsBackEveryField) {
  const Encoder out = example();
  Decoder in(out.bytes());
  EXPECT_EQ(in.u8(), 1);
  EXPECT_EQ(in.u16(), 0x0203);
  EXPECT_EQ(in.u32(), 0x04050607u);
  EXPECT_EQ(in.u64(), 0x08090a0b0c0d0e0full);
  EXPECT_EQ(in.i64(), -2);
  EXPECT_EQ(in.text(4), "name");
  EXPECT_EQ((in.array<3>()), (std::array<std::uint8_t, 3>{7, 8, 9}));
  EXPECT_FALSE(in.done()) << "the tail is left";
  EXPECT_EQ(in.remaining(), 4u);
  EXPECT_EQ(in.raw(4).size(), 4u);
  EXPECT_TRUE(in.done());
}

TEST(Codec, IsLittleEndian) {
  Encoder out;
  out.u32(0x04050607);
  EXPECT_EQ(out.bytes()[0], std::byte{7});
  EXPECT_EQ(out.bytes()[3], std::byte{4});
}

TEST(Codec, PadsWithZeroesAndPatches) {
  Encoder out;
  out.u32(0);
  out.u8(9);
  out.pad_to(8);
  EXPECT_EQ(out.size(), 8u);
  out.pad_to(8);
  EXPECT_EQ(out.size(), 8u);
  out.patch_u32(0, 0xaabbccdd);
  Decoder in(out.bytes());
  EXPECT_EQ(in.u32(), 0xaabbccddu);
  EXPECT_EQ(in.u8(), 9);
  EXPECT_TRUE(all_zero(in.raw(3)));
}

TEST(Decoder, FailsAtEveryTruncationAndNeverReadsOn) {
  const Encoder whole = example();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    // A copy of exactly this size, so that a sanitizer sees a read past its end.
    const std::vector<std::byte> cut(whole.bytes().begin(),
                                     whole.bytes().begin() + static_cast<std::ptrdiff_t>(size));
    Decoder in(cut);
    in.u8();
    in.u16();
    in.u32();
    in.u64();
    in.i64();
    in.text(4);
    in.array<3>();
    in.raw(4);
    EXPECT_TRUE(in.failed()) << size;
    EXPECT_FALSE(in.done()) << size;
  }
}

TEST(Decoder, GivesZeroesAfterItFailed) {
  const std::array<std::byte, 5> bytes{std::byte{1}, std::byte{1}, std::byte{1}, std::byte{1}, std::byte{1}};
  Decoder in(bytes);
  EXPECT_EQ(in.u64(), 0u);
  EXPECT_TRUE(in.failed());
  EXPECT_EQ(in.u8(), 0u) << "what is left after a failure is not handed out";
  EXPECT_EQ(in.remaining(), 0u);
  EXPECT_TRUE(in.failed());
  EXPECT_EQ(in.raw(SIZE_MAX).size(), 0u);
}

TEST(Decoder, BoundsTheLengthOfATextBeforeItIsUsed) {
  Encoder out;
  out.text("12345");
  Decoder longer(out.bytes());
  EXPECT_EQ(longer.text(4), "");
  EXPECT_TRUE(longer.failed());

  Encoder liar;
  liar.u32(UINT32_MAX);
  Decoder in(liar.bytes());
  EXPECT_EQ(in.text(SIZE_MAX), "");
  EXPECT_TRUE(in.failed());
}

TEST(EncoderDeathTest, PatchingWhatWasNotWrittenAborts) {
  Encoder out;
  out.u32(0);
  EXPECT_DEATH(out.patch_u32(1, 0), "assertion failed");
}

}  // namespace
}  // namespace tidemark
