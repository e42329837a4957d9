#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "base/bytes.h"
#include "base/result.h"
#include "io/environment.h"

namespace tidemark::replication {

// The largest size to which `size_bytes` must shrink to be worth what it costs the other side to unpack them.
constexpr std::size_t worthwhile_bytes(std::size_t size_bytes) {
  return size_bytes - size_bytes / 8;
}

// Makes zstd frames. Keeps its working memory, about a megabyte, from one to the next. On any thread, but for
// one caller at a time.
class ZstdCompressor {
 public:
  ZstdCompressor();
  ~ZstdCompressor();
  ZstdCompressor(const ZstdCompressor&) = delete;
  ZstdCompressor& operator=(const ZstdCompressor&) = delete;
  // One frame of at most worthwhile_bytes(); nothing when `bytes` do not shrink as far as that.
  std::optional<Buffer> compress(Bytes bytes);

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

// Reads zstd frames; as above.
class ZstdDecompressor {
 public:
  ZstdDecompressor();
  ~ZstdDecompressor();
  ZstdDecompressor(const ZstdDecompressor&) = delete;
  ZstdDecompressor& operator=(const ZstdDecompressor&) = delete;
  // kDamaged unless `frame` is a frame of exactly `size_bytes`; no more memory than that is taken for it.
  Result<Buffer> decompress(Bytes frame, std::size_t size_bytes);

 private:
  static bool is_one_frame(Bytes bytes);

  struct Context;
  std::unique_ptr<Context> context_;
};

// Which payloads are looked at: all while the last one shrank; and when it did not, the second after it, then
// the fourth, and so on up to the sixteenth, so that data that cannot be compressed are hardly touched.
class CompressionTrials {
 public:
  static constexpr std::uint32_t kPassedOverMax = 15;
  // Of the next payload; once for each.
  bool is_due();
  // The outcome of one that was due.
  void note(bool shrank);
  bool last_shrank() const { return last_shrank_; }

 private:
  bool last_shrank_ = false;
  std::uint32_t passes_over_ = 0;
  std::uint32_t left_to_pass_over_ = 0;
};

// What a connection does with its payloads, in each of its directions for one payload at a time. A small one
// is done on the spot, a larger one by offload, so that the reactor goes on meanwhile. Owned by the link; the
// offload outlives it.
class PayloadCompression {
 public:
  // Worked on at once, by the reactor: a tenth of a millisecond at most, of the decompressed size.
  static constexpr std::size_t kCompressedOnTheSpotBytesMax = 32 << 10;
  static constexpr std::size_t kDecompressedOnTheSpotBytesMax = 128 << 10;
  // Blocks that stand for a larger payload while the one before did not shrink.
  static constexpr std::size_t kSampleBlocks = 4;

  explicit PayloadCompression(io::Offload& offload) : offload_(offload) {}

  // The payload compressed; nothing when it is to go as it is.
  io::Task<std::optional<Buffer>> compress(Buffer payload);
  // As ZstdDecompressor::decompress().
  io::Task<Result<Buffer>> decompress(Buffer compressed, std::size_t size_bytes);

 private:
  bool sample_shrinks(Bytes payload);
  io::Task<std::optional<Buffer>> compress_all(Buffer payload);

  io::Offload& offload_;
  CompressionTrials trials_;
  std::size_t samples_taken_ = 0;
  // Away while offload works with it. A caller who goes leaves it there, and the next one makes another.
  std::unique_ptr<ZstdCompressor> compressor_;
  std::unique_ptr<ZstdDecompressor> decompressor_;
};

}  // namespace tidemark::replication
