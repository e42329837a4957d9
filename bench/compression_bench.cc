// What compression costs a payload of the link: one that does not shrink, which is passed over or sampled,
// and ones that do.

#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstring>
#include <string>

#include "base/ids.h"
#include "replication/compression.h"
#include "sim/random.h"
#include "sim/world.h"

namespace tidemark::replication {
namespace {

Buffer random_payload(std::size_t size_bytes) {
  sim::SeededRandom random(1);
  Buffer payload = Buffer::allocate(size_bytes);
  for (std::size_t at = 0; at < size_bytes; at += sizeof(std::uint64_t)) {
    const std::uint64_t word = random.next();
    std::memcpy(payload.data() + at, &word, sizeof word);
  }
  return payload;
}

// Rows of a table.
Buffer rows_payload(std::size_t size_bytes) {
  sim::SeededRandom random(2);
  std::string rows;
  for (unsigned number = 0; rows.size() < size_bytes; ++number) {
    char row[160];
    std::snprintf(row, sizeof row, "order %08u customer %06llu amount %4llu.%02llu state paid note %016llx;",
                  number, static_cast<unsigned long long>(random.below(100'000)),
                  static_cast<unsigned long long>(random.below(10'000)),
                  static_cast<unsigned long long>(random.below(100)),
                  static_cast<unsigned long long>(random.next()));
    rows += row;
  }
  return Buffer::copy_of(as_bytes(std::string_view(rows).substr(0, size_bytes)));
}

void compress(benchmark::State& state, const Buffer& payload) {
  sim::World world(1);
  PayloadCompression compression(world.environment().offload);
  std::size_t sent_bytes = 0;
  for (auto _ : state) {
    const auto compressed = world.run(compression.compress(payload));
    sent_bytes += compressed.has_value() ? compressed->size() : payload.size();
  }
  const std::int64_t bytes = state.iterations() * static_cast<std::int64_t>(payload.size());
  state.SetBytesProcessed(bytes);
  state.counters["left"] = static_cast<double>(sent_bytes) / static_cast<double>(bytes);
}

void BM_CompressRandom(benchmark::State& state) {
  compress(state, random_payload(static_cast<std::size_t>(state.range(0))));
}
BENCHMARK(BM_CompressRandom)->Arg(4 << 10)->Arg(64 << 10)->Arg(512 << 10)->Arg(4 << 20);

void BM_CompressRows(benchmark::State& state) {
  compress(state, rows_payload(static_cast<std::size_t>(state.range(0))));
}
BENCHMARK(BM_CompressRows)->Arg(4 << 10)->Arg(64 << 10)->Arg(512 << 10)->Arg(4 << 20);

void BM_DecompressRows(benchmark::State& state) {
  const Buffer payload = rows_payload(static_cast<std::size_t>(state.range(0)));
  const std::optional<Buffer> compressed = ZstdCompressor().compress(payload);
  ZstdDecompressor decompressor;
  for (auto _ : state) benchmark::DoNotOptimize(decompressor.decompress(*compressed, payload.size()));
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_DecompressRows)->Arg(4 << 10)->Arg(64 << 10)->Arg(512 << 10)->Arg(4 << 20);

}  // namespace
}  // namespace tidemark::replication
