#include <benchmark/benchmark.h>

#include <cstring>
#include <random>
#include <vector>

#include "base/ids.h"
#include "base/place.h"
#include "group/block_cache.h"

// What the block cache costs per block: a hit (look-up and copy), a miss, an insert that evicts, a
// hit and then a write that replaces the block, a write of a block that is not there, and the erasing that
// destage does before it writes a range.

namespace tidemark::group {
namespace {

constexpr std::uint64_t kCacheBytes = 256 << 20;
constexpr std::uint64_t kBlocks = kCacheBytes / 4500;

void fill(BlockCache& cache) {
  const std::vector<std::byte> block(kBlockSizeBytes, std::byte{1});
  for (std::uint64_t i = 0; i < kBlocks; ++i) cache.insert({1, i}, Place(), block);
}

void BM_CacheHit(benchmark::State& state) {
  BlockCache cache(kCacheBytes);
  fill(cache);
  std::vector<std::byte> out(kBlockSizeBytes);
  std::mt19937_64 random(1);
  for (auto _ : state) benchmark::DoNotOptimize(cache.read({1, random() % kBlocks}, Place(), out));
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(kBlockSizeBytes));
}
BENCHMARK(BM_CacheHit);

void BM_CacheMiss(benchmark::State& state) {
  BlockCache cache(kCacheBytes);
  fill(cache);
  std::vector<std::byte> out(kBlockSizeBytes);
  std::mt19937_64 random(1);
  for (auto _ : state) benchmark::DoNotOptimize(cache.read({2, random()}, Place(), out));
}
BENCHMARK(BM_CacheMiss);

void BM_CacheInsertAndEvict(benchmark::State& state) {
  BlockCache cache(kCacheBytes);
  fill(cache);
  const std::vector<std::byte> block(kBlockSizeBytes, std::byte{2});
  std::uint64_t next = 0;
  for (auto _ : state) cache.insert({3, next++}, Place(), block);
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(kBlockSizeBytes));
}
BENCHMARK(BM_CacheInsertAndEvict);

void BM_CacheHitAndWrite(benchmark::State& state) {
  BlockCache cache(kCacheBytes);
  fill(cache);
  std::vector<Place> versions(kBlocks);
  const std::vector<std::byte> block(kBlockSizeBytes, std::byte{2});
  std::vector<std::byte> out(kBlockSizeBytes);
  std::mt19937_64 random(1);
  std::uint64_t generation = 0;
  for (auto _ : state) {
    const std::uint64_t at = random() % kBlocks;
    benchmark::DoNotOptimize(cache.read({1, at}, versions[at], out));
    versions[at] = Place(++generation, 0);
    cache.note_write({1, at}, versions[at], block);
  }
}
BENCHMARK(BM_CacheHitAndWrite);

void BM_CacheWriteElsewhere(benchmark::State& state) {
  BlockCache cache(kCacheBytes);
  fill(cache);
  const std::vector<std::byte> block(kBlockSizeBytes, std::byte{2});
  std::mt19937_64 random(1);
  for (auto _ : state) cache.note_write({2, random() % kBlocks}, Place(1, 0), block);
}
BENCHMARK(BM_CacheWriteElsewhere);

void BM_CacheEraseBase(benchmark::State& state) {
  BlockCache cache(kCacheBytes);
  fill(cache);
  const auto length = static_cast<std::uint64_t>(state.range(0));
  std::uint64_t at = 0;
  for (auto _ : state) {
    cache.erase_base(4, at, at + length);
    at += length;
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_CacheEraseBase)->Arg(1)->Arg(64)->Arg(1024);

}  // namespace
}  // namespace tidemark::group
