#include "replication/compression.h"

#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <string>
#include <utility>

#include "base/ids.h"

namespace tidemark::replication {
namespace {

// The fastest of the levels that search for long matches: rows of a table shrink to a quarter where the
// levels below zero leave two fifths, for a third more time.
constexpr int kLevel = 1;

}  // namespace

struct ZstdCompressor::Context {
  Context() : zstd(ZSTD_createCCtx()) {
    TM_ASSERT(zstd != nullptr);
    TM_ASSERT(ZSTD_isError(ZSTD_CCtx_setParameter(zstd, ZSTD_c_compressionLevel, kLevel)) == 0);
  }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  ~Context() { ZSTD_freeCCtx(zstd); }
  ZSTD_CCtx* const zstd;
};

ZstdCompressor::ZstdCompressor() : context_(std::make_unique<Context>()) {}
ZstdCompressor::~ZstdCompressor() = default;

std::optional<Buffer> ZstdCompressor::compress(Bytes bytes) {
  Buffer out = Buffer::allocate(worthwhile_bytes(bytes.size()));
  const std::size_t size = ZSTD_compress2(context_->zstd, out.data(), out.size(), bytes.data(), bytes.size());
  // It does not fit. What else can go wrong costs the same: the payload goes as it is.
  if (ZSTD_isError(size) != 0) return std::nullopt;
  return out.slice(0, size);
}

struct ZstdDecompressor::Context {
  Context() : zstd(ZSTD_createDCtx()) { TM_ASSERT(zstd != nullptr); }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  ~Context() { ZSTD_freeDCtx(zstd); }
  ZSTD_DCtx* const zstd;
};

ZstdDecompressor::ZstdDecompressor() : context_(std::make_unique<Context>()) {}
ZstdDecompressor::~ZstdDecompressor() = default;

// The library takes more than that: several frames, skippable ones, those of versions before 1.0. None of
// them comes from a node; refused before anything is allocated.
bool ZstdDecompressor::is_one_frame(Bytes bytes) {
  std::uint32_t magic = 0;
  if (bytes.size() < sizeof magic) return false;
  std::memcpy(&magic, bytes.data(), sizeof magic);
  return magic == ZSTD_MAGICNUMBER &&
         ZSTD_findFrameCompressedSize(bytes.data(), bytes.size()) == bytes.size();
}

Result<Buffer> ZstdDecompressor::decompress(Bytes frame, std::size_t size_bytes) {
  if (!is_one_frame(frame)) {
    return fail(ErrorCode::kDamaged, "a compressed payload came damaged: it is not one frame of zstd");
  }
  Buffer out = Buffer::allocate(size_bytes);
  const std::size_t size =
      ZSTD_decompressDCtx(context_->zstd, out.data(), out.size(), frame.data(), frame.size());
  if (ZSTD_isError(size) != 0) {
    return fail(ErrorCode::kDamaged,
                std::string("a compressed payload came damaged: ") + ZSTD_getErrorName(size));
  }
  if (size != size_bytes) {
    return fail(ErrorCode::kDamaged, "a compressed payload holds " + std::to_string(size) +
                                         " bytes and not " + std::to_string(size_bytes));
  }
  return out;
}

bool CompressionTrials::is_due() {
  if (left_to_pass_over_ == 0) return true;
  --left_to_pass_over_;
  return false;
}

void CompressionTrials::note(bool shrank) {
  last_shrank_ = shrank;
  passes_over_ = shrank ? 0 : std::min(2 * passes_over_ + 1, kPassedOverMax);
  left_to_pass_over_ = passes_over_;
}

// A few blocks, spread over the payload and others each time.
bool PayloadCompression::sample_shrinks(Bytes payload) {
  const std::size_t blocks = payload.size() / kBlockSizeBytes;
  const std::size_t distance = blocks / kSampleBlocks;
  const std::size_t first = samples_taken_++ % distance;
  const Buffer sample = Buffer::allocate(kSampleBlocks * kBlockSizeBytes);
  for (std::size_t i = 0; i < kSampleBlocks; ++i) {
    std::memcpy(sample.data() + i * kBlockSizeBytes,
                payload.data() + (first + i * distance) * kBlockSizeBytes, kBlockSizeBytes);
  }
  return compressor_->compress(sample).has_value();
}

io::Task<std::optional<Buffer>> PayloadCompression::compress(Buffer payload) {
  if (!trials_.is_due()) co_return std::nullopt;
  if (compressor_ == nullptr) compressor_ = std::make_unique<ZstdCompressor>();
  const bool samples = !trials_.last_shrank() && payload.size() > kSampleBlocks * kBlockSizeBytes;
  if (samples && !sample_shrinks(payload)) {
    trials_.note(false);
    co_return std::nullopt;
  }
  std::optional<Buffer> compressed = co_await compress_all(std::move(payload));
  trials_.note(compressed.has_value());
  co_return compressed;
}

io::Task<std::optional<Buffer>> PayloadCompression::compress_all(Buffer payload) {
  if (payload.size() <= kCompressedOnTheSpotBytesMax) co_return compressor_->compress(payload);
  struct Job {
    std::unique_ptr<ZstdCompressor> compressor;
    Buffer payload;
    std::optional<Buffer> compressed;
  };
  auto job = std::make_shared<Job>();
  job->compressor = std::move(compressor_);
  job->payload = std::move(payload);
  std::function<void()> work = [job] { job->compressed = job->compressor->compress(job->payload); };
  co_await offload_.run(std::move(work));
  compressor_ = std::move(job->compressor);
  co_return std::move(job->compressed);
}

io::Task<Result<Buffer>> PayloadCompression::decompress(Buffer compressed, std::size_t size_bytes) {
  if (decompressor_ == nullptr) decompressor_ = std::make_unique<ZstdDecompressor>();
  if (size_bytes <= kDecompressedOnTheSpotBytesMax)
    co_return decompressor_->decompress(compressed, size_bytes);
  struct Job {
    std::unique_ptr<ZstdDecompressor> decompressor;
    Buffer compressed;
    std::size_t size_bytes = 0;
    Result<Buffer> payload = Buffer();
  };
  auto job = std::make_shared<Job>();
  job->decompressor = std::move(decompressor_);
  job->compressed = std::move(compressed);
  job->size_bytes = size_bytes;
  std::function<void()> work = [job] {
    job->payload = job->decompressor->decompress(job->compressed, job->size_bytes);
  };
  co_await offload_.run(std::move(work));
  decompressor_ = std::move(job->decompressor);
  co_return std::move(job->payload);
}

}  // namespace tidemark::replication
