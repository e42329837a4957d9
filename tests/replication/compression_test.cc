#include "replication/compression.h"

#include <gtest/gtest.h>

#include <cstring>
#include <span>
#include <vector>

#include "base/crc32c.h"
#include "base/ids.h"
#include "rounds.h"
#include "sim/random.h"
#include "sim/world.h"

namespace tidemark::replication {
namespace {

void fill_randomly(Buffer bytes, sim::SeededRandom& random) {
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(std::uint64_t)) {
    const std::uint64_t word = random.next();
    std::memcpy(bytes.data() + at, &word, sizeof word);
  }
}

Buffer random_payload(std::size_t blocks, sim::SeededRandom& random) {
  Buffer payload = Buffer::allocate(blocks * kBlockSizeBytes);
  fill_randomly(payload, random);
  return payload;
}

Buffer even_payload(std::size_t blocks, int value) {
  Buffer payload = Buffer::allocate(blocks * kBlockSizeBytes);
  std::memset(payload.data(), value, payload.size());
  return payload;
}

// Some blocks of one value, some of a few words, some that cannot be compressed, some half and half.
Buffer mixed_payload(sim::SeededRandom& random) {
  const Buffer payload = Buffer::allocate((1 + random.below(64)) * kBlockSizeBytes);
  const std::uint64_t kinds = 1 + random.below(4);
  for (std::size_t at = 0; at < payload.size(); at += kBlockSizeBytes) {
    const Buffer block = payload.slice(at, kBlockSizeBytes);
    std::memset(block.data(), static_cast<int>(random.below(256)), block.size());
    switch (random.below(kinds)) {
      case 0:
        break;
      case 1:
        fill_randomly(block, random);
        break;
      case 2:
        fill_randomly(block.slice(0, kBlockSizeBytes / 2), random);
        break;
      default:
        for (std::size_t i = 0; i < block.size(); ++i) {
          block.data()[i] = static_cast<std::byte>("log entry "[random.below(10)]);
        }
    }
  }
  return payload;
}

bool same(Bytes a, Bytes b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size()) == 0;
}

TEST(Compression, WhatShrinksComesBackAsItWas) {
  ZstdCompressor compressor;
  ZstdDecompressor decompressor;
  std::size_t shrank = 0;
  std::size_t stayed = 0;
  const std::uint64_t seeds = rounds(400, 40);
  for (std::uint64_t seed = first_seed(); seed < first_seed() + seeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    sim::SeededRandom random(seed);
    const Buffer payload = mixed_payload(random);
    const std::optional<Buffer> compressed = compressor.compress(payload);
    if (!compressed.has_value()) {
      ++stayed;
      continue;
    }
    ++shrank;
    EXPECT_LE(compressed->size(), worthwhile_bytes(payload.size()));
    const auto back = decompressor.decompress(*compressed, payload.size());
    ASSERT_TRUE(back.ok()) << back.error().message;
    EXPECT_TRUE(same(*back, payload));
  }
  EXPECT_GT(shrank, seeds / 2);
  EXPECT_GT(stayed, 0u);
}

TEST(Compression, TheLargestPayloadComesBackAsItWas) {
  ZstdCompressor compressor;
  const Buffer payload = even_payload(1024, 0);
  const std::optional<Buffer> compressed = compressor.compress(payload);
  ASSERT_TRUE(compressed.has_value());
  EXPECT_LT(compressed->size(), 1000u);
  const auto back = ZstdDecompressor().decompress(*compressed, payload.size());
  ASSERT_TRUE(back.ok()) << back.error().message;
  EXPECT_TRUE(same(*back, payload));
}

// docs/formats/link.md: whatever makes frames later, this one is read.
TEST(Compression, TheFrameOfThePageIsRead) {
  constexpr unsigned char kFrame[] = {0x28, 0xb5, 0x2f, 0xfd, 0x60, 0x00, 0x0f, 0x4d, 0x00, 0x00,
                                      0x10, 0x77, 0x77, 0x01, 0x00, 0xfb, 0xf7, 0x01, 0x16};
  const auto block = ZstdDecompressor().decompress(std::as_bytes(std::span(kFrame)), kBlockSizeBytes);
  ASSERT_TRUE(block.ok()) << block.error().message;
  EXPECT_TRUE(same(*block, even_payload(1, 0x77)));
  EXPECT_EQ(crc32c(*block), 0x6075eaa9u);
}

TEST(Compression, WhatDoesNotShrinkIsLeftAsItIs) {
  sim::SeededRandom random(1);
  ZstdCompressor compressor;
  for (const std::size_t blocks : {1, 2, 7, 64, 1024}) {
    EXPECT_FALSE(compressor.compress(random_payload(blocks, random)).has_value()) << blocks;
  }
}

TEST(Compression, AFrameOfAnotherSizeIsRefused) {
  const std::optional<Buffer> compressed = ZstdCompressor().compress(even_payload(4, 7));
  ASSERT_TRUE(compressed.has_value());
  ZstdDecompressor decompressor;
  for (const std::size_t blocks : {1, 3, 5, 1024}) {
    EXPECT_EQ(decompressor.decompress(*compressed, blocks * kBlockSizeBytes).error().code,
              ErrorCode::kDamaged);
  }
  EXPECT_TRUE(decompressor.decompress(*compressed, 4 * kBlockSizeBytes).ok());
}

TEST(Compression, ACutFrameIsRefused) {
  sim::SeededRandom random(3);
  const Buffer payload = Buffer::allocate(4 * kBlockSizeBytes);
  std::memset(payload.data(), 0, payload.size());
  fill_randomly(payload.slice(0, kBlockSizeBytes), random);
  const std::optional<Buffer> compressed = ZstdCompressor().compress(payload);
  ASSERT_TRUE(compressed.has_value());
  ZstdDecompressor decompressor;
  for (std::size_t size = 0; size < compressed->size(); size += size < 64 ? 1 : 61) {
    EXPECT_EQ(decompressor.decompress(Bytes(*compressed).first(size), payload.size()).error().code,
              ErrorCode::kDamaged)
        << size;
  }
  std::vector<std::byte> longer(compressed->data(), compressed->data() + compressed->size());
  longer.push_back(std::byte{0});
  EXPECT_EQ(decompressor.decompress(longer, payload.size()).error().code, ErrorCode::kDamaged);
}

// The library would take them, and work through any number of empty ones.
TEST(Compression, WhatIsNotOneFrameIsRefused) {
  const Buffer payload = even_payload(4, 7);
  const std::optional<Buffer> compressed = ZstdCompressor().compress(payload);
  ASSERT_TRUE(compressed.has_value());
  const std::vector<std::byte> frame(compressed->data(), compressed->data() + compressed->size());
  ZstdDecompressor decompressor;
  ASSERT_TRUE(decompressor.decompress(frame, payload.size()).ok());
  std::vector<std::byte> skipping{std::byte{0x50}, std::byte{0x2a}, std::byte{0x4d}, std::byte{0x18},
                                  std::byte{0},    std::byte{0},    std::byte{0},    std::byte{0}};
  skipping.insert(skipping.end(), frame.begin(), frame.end());
  std::vector<std::byte> twice = frame;
  twice.insert(twice.end(), frame.begin(), frame.end());
  std::vector<std::byte> legacy = frame;
  legacy[0] = std::byte{0x27};  // of version 0.7
  EXPECT_EQ(decompressor.decompress(skipping, payload.size()).error().code, ErrorCode::kDamaged);
  EXPECT_EQ(decompressor.decompress(twice, 2 * payload.size()).error().code, ErrorCode::kDamaged);
  EXPECT_EQ(decompressor.decompress(legacy, payload.size()).error().code, ErrorCode::kDamaged);
}

// What a bit makes of a frame is refused, or has the size that was said: the checksums of the blocks, which
// come after it, tell the rest.
TEST(Compression, ADamagedFrameNeverGivesMoreThanWasSaid) {
  sim::SeededRandom random(4);
  const Buffer payload = mixed_payload(random);
  const std::optional<Buffer> compressed = ZstdCompressor().compress(payload);
  ASSERT_TRUE(compressed.has_value());
  ZstdDecompressor decompressor;
  std::size_t refused = 0;
  for (std::uint64_t round = 0; round < rounds(4000, 200); ++round) {
    std::vector<std::byte> frame(compressed->data(), compressed->data() + compressed->size());
    frame[random.below(frame.size())] ^= static_cast<std::byte>(1u << random.below(8));
    const auto back = decompressor.decompress(frame, payload.size());
    if (back.ok()) {
      EXPECT_EQ(back->size(), payload.size());
    } else {
      EXPECT_EQ(back.error().code, ErrorCode::kDamaged);
      ++refused;
    }
  }
  EXPECT_GT(refused, 0u);
  EXPECT_TRUE(decompressor.decompress(*compressed, payload.size()).ok());  // as good as new
}

TEST(Compression, WhatDoesNotShrinkIsLookedAtLessAndLess) {
  CompressionTrials trials;
  std::vector<int> passed_over;
  for (int trial = 0; trial < 6; ++trial) {
    int passed = 0;
    while (!trials.is_due()) ++passed;
    passed_over.push_back(passed);
    trials.note(false);
  }
  EXPECT_EQ(passed_over, (std::vector<int>{0, 1, 3, 7, 15, 15}));
  while (!trials.is_due()) continue;
  trials.note(true);
  EXPECT_TRUE(trials.last_shrank());
  EXPECT_TRUE(trials.is_due());
}

class PayloadCompressionTest : public testing::Test {
 protected:
  bool shrinks(Buffer payload) { return world.run(compression.compress(std::move(payload))).has_value(); }
  void expect_round_trip(const Buffer& payload) {
    std::optional<Buffer> compressed = world.run(compression.compress(payload));
    ASSERT_TRUE(compressed.has_value());
    const auto back = world.run(compression.decompress(std::move(*compressed), payload.size()));
    ASSERT_TRUE(back.ok()) << back.error().message;
    EXPECT_TRUE(same(*back, payload));
  }

  sim::World world{1};
  sim::SeededRandom random{1};
  PayloadCompression compression{world.environment().offload};
};

TEST_F(PayloadCompressionTest, PayloadsOfAllSizesComeBackAsTheyWere) {
  for (const std::size_t blocks : {1, 4, 5, 8, 9, 32, 33, 128, 1024}) {
    SCOPED_TRACE(blocks);
    expect_round_trip(even_payload(blocks, static_cast<int>(blocks)));
  }
}

TEST_F(PayloadCompressionTest, ALoadThatBeginsToShrinkIsNoticedWithinSixteenPayloads) {
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(shrinks(random_payload(16, random)));
  int missed = 0;
  while (!shrinks(even_payload(16, 1))) ++missed;
  EXPECT_LE(missed, 15);
  EXPECT_TRUE(shrinks(even_payload(16, 2)));
}

// Blocks that all shrink but for those of the sample of one payload: the next samples are others.
TEST_F(PayloadCompressionTest, TheSampleIsOfOtherBlocksEachTime) {
  const Buffer payload = even_payload(64, 0);
  for (std::size_t block = 0; block < 64; block += 16) {
    fill_randomly(payload.slice(block * kBlockSizeBytes, kBlockSizeBytes), random);
  }
  EXPECT_FALSE(shrinks(payload));
  EXPECT_FALSE(shrinks(payload));  // passed over
  EXPECT_TRUE(shrinks(payload));
}

TEST_F(PayloadCompressionTest, ADamagedPayloadIsRefusedAndTheNextOneTaken) {
  for (const std::size_t blocks : {2, 128}) {
    auto damaged = world.run(compression.decompress(random_payload(1, random), blocks * kBlockSizeBytes));
    EXPECT_EQ(damaged.error().code, ErrorCode::kDamaged);
    expect_round_trip(even_payload(blocks, 9));
  }
}

// Whoever gives up while offload is at work leaves it what it works with.
TEST_F(PayloadCompressionTest, OneThatIsGivenUpHarmsNoOther) {
  {
    io::TaskScope tasks(world);
    tasks.spawn([](PayloadCompression* all) -> io::Task<void> {
      (void)co_await all->compress(even_payload(128, 1));
      ADD_FAILURE() << "it was given up";
    }(&compression));
    world.run_steps(1);
  }
  expect_round_trip(even_payload(128, 2));
}

}  // namespace
}  // namespace tidemark::replication
