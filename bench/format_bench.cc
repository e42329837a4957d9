// What the formats cost on the way of every write: a batch's meta, and the CRC32C of its payload.

#include <benchmark/benchmark.h>

#include <vector>

#include "base/crc32c.h"
#include "format/batch.h"

namespace tidemark::format {
namespace {

// `entries` writes of one block each, as a busy group with random 4 KiB writes closes them.
BatchMeta batch_of(std::uint32_t entries) {
  BatchMeta meta;
  meta.first = LogId(Epoch{1}, 1);
  for (std::uint32_t i = 0; i < entries; ++i) {
    Entry entry;
    entry.volume = VolumeId{1};
    entry.blocks = {i * 7ull, i * 7ull + 1};
    entry.timer = WallTime{1'000'000 + i};
    entry.payload_block = i;
    entry.checksums = {i};
    meta.entries.push_back(std::move(entry));
  }
  meta.payload_blocks = entries;
  return meta;
}

void BM_EncodeBatch(benchmark::State& state) {
  const BatchMeta meta = batch_of(static_cast<std::uint32_t>(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(encode_batch_meta(meta));
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_EncodeBatch)->Arg(1)->Arg(32)->Arg(512);

void BM_DecodeBatch(benchmark::State& state) {
  const std::vector<std::byte> bytes =
      encode_batch_meta(batch_of(static_cast<std::uint32_t>(state.range(0))));
  if (!decode_batch_meta(bytes).ok()) state.SkipWithError("the example does not decode");
  for (auto _ : state) benchmark::DoNotOptimize(decode_batch_meta(bytes));
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_DecodeBatch)->Arg(1)->Arg(32)->Arg(512);

void BM_Crc32c(benchmark::State& state) {
  const std::vector<std::byte> bytes(static_cast<std::size_t>(state.range(0)), std::byte{0x5a});
  for (auto _ : state) benchmark::DoNotOptimize(crc32c(bytes));
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_Crc32c)->Arg(4 << 10)->Arg(1 << 20);

}  // namespace
}  // namespace tidemark::format
