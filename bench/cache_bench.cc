#include <benchmark/benchmark.h>

#include <cstring>
#include <random>
#include <vector>

#include "base/ids.h"
#include "group/block_cache.h"

// What the block cache costs per block: a hit (look-up and copy), a miss, an insert that evicts, and the
// erasing that destage does before it writes a range.

namespace tidemark::group {
namespace {

constexpr std::uint64_t kCacheBytes = 256 << 20;
constexpr std::uint64_t kBlocks = kCacheBytes / 4500;

void fill(BlockCache& cache) {
  const std::vector<std::byte> block(kBlockSizeBytes, std::byte{1});
  for (std::uint64_t i = 0; i < kBlocks; ++i) cache.insert({1, i}, block);
}

void BM_CacheHit(benchmark::State& state) {
  BlockCache cache(kCacheBytes);
  fill(cache);
  std::vector<std::byte> out(kBlockSizeBytes);
  std::mt19937_64 random(1);
  for (auto _ : state) benchmark::DoNotOptimize(cache.read({1, random() % kBlocks}, out));
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(kBlockSizeBytes));
}
BENCHMARK(BM_CacheHit);

void BM_CacheMiss(benchmark::State& state) {
  BlockCache cache(kCacheBytes);
  fill(cache);
  std::vector<std::byte> out(kBlockSizeBytes);
  std::mt19937_64 random(1);
  for (auto _ : state) benchmark::DoNotOptimize(cache.read({2, random()}, out));
}
BENCHMARK(BM_CacheMiss);

void BM_CacheInsertAndEvict(benchmark::State& state) {
  BlockCache cache(kCacheBytes);
  fill(cache);
  const std::vector<std::byte> block(kBlockSizeBytes, std::byte{2});
  std::uint64_t next = 0;
  for (auto _ : state) cache.insert({3, next++}, block);
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(kBlockSizeBytes));
}
BENCHMARK(BM_CacheInsertAndEvict);

void BM_CacheEraseRange(benchmark::State& state) {
  BlockCache cache(kCacheBytes);
  fill(cache);
  const auto length = static_cast<std::uint64_t>(state.range(0));
  std::uint64_t at = 0;
  for (auto _ : state) {
    cache.erase_range(4, at, at + length);
    at += length;
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_CacheEraseRange)->Arg(1)->Arg(64)->Arg(1024);

}  // namespace
}  // namespace tidemark::group
