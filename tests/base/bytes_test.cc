#include "base/bytes.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace tidemark {
namespace {

TEST(Buffer, IsAlignedToABlock) {
  for (std::size_t size : {1u, 512u, 4096u, 4097u, 1u << 20}) {
    const Buffer buffer = Buffer::allocate(size);
    EXPECT_EQ(buffer.size(), size);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % 4096, 0u);
  }
  EXPECT_TRUE(Buffer::allocate(0).empty());
}

TEST(Buffer, SlicesShareTheBytes) {
  const Buffer whole = Buffer::copy_of(as_bytes("0123456789"));
  const Buffer middle = whole.slice(2, 5);
  const Buffer inner = middle.slice(1, 2);
  EXPECT_EQ(inner.size(), 2u);
  EXPECT_EQ(inner.data(), whole.data() + 3);
  inner.writable()[0] = std::byte{'x'};
  EXPECT_EQ(whole.data()[3], std::byte{'x'});
  EXPECT_TRUE(whole.slice(10, 0).empty());
}

TEST(Buffer, LivesAsLongAsItsLastSlice) {
  Buffer tail;
  {
    Buffer whole = Buffer::copy_of(as_bytes("0123456789"));
    EXPECT_TRUE(whole.unique());
    tail = whole.slice(5, 5);
    EXPECT_FALSE(whole.unique());
    EXPECT_FALSE(tail.unique());
  }
  EXPECT_TRUE(tail.unique());
  EXPECT_EQ(tail.data()[0], std::byte{'5'});
}

TEST(Buffer, MovesAndAssignsWithoutLosingCount) {
  Buffer first = Buffer::copy_of(as_bytes("first"));
  Buffer second = std::move(first);
  EXPECT_TRUE(first.empty());
  EXPECT_TRUE(second.unique());
  Buffer third = second;
  EXPECT_FALSE(second.unique());
  third = Buffer::copy_of(as_bytes("third"));
  EXPECT_TRUE(second.unique());
  Buffer& same = second;
  second = same;
  EXPECT_TRUE(second.unique());
  EXPECT_EQ(second.size(), 5u);
  EXPECT_FALSE(Buffer{}.unique());
}

TEST(BufferDeathTest, ASliceBeyondTheEndAborts) {
  const Buffer buffer = Buffer::allocate(10);
  EXPECT_DEATH((void)buffer.slice(11, 0), "assertion failed");
  EXPECT_DEATH((void)buffer.slice(5, 6), "assertion failed");
  EXPECT_DEATH((void)buffer.slice(1, SIZE_MAX), "assertion failed");
}

TEST(AllZero, SeesASingleBitAnywhere) {
  EXPECT_TRUE(all_zero({}));
  for (std::size_t size : {1u, 7u, 64u, 4096u}) {
    const Buffer buffer = Buffer::allocate(size);
    std::memset(buffer.data(), 0, size);
    EXPECT_TRUE(all_zero(buffer));
    for (std::size_t at : {std::size_t{0}, size / 2, size - 1}) {
      buffer.writable()[at] = std::byte{1};
      EXPECT_FALSE(all_zero(buffer)) << at;
      buffer.writable()[at] = std::byte{0};
    }
  }
}

}  // namespace
}  // namespace tidemark
