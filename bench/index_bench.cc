// What one key of the version index costs: insertion, look-ups, runs. Numbers go to docs/formats/index.md.

#include <benchmark/benchmark.h>
#include <unistd.h>

#include <filesystem>
#include <random>
#include <string>

#include "index/answer.h"
#include "index/memory_table.h"
#include "index/version_index.h"
#include "sim/world.h"

namespace tidemark::index {
namespace {

constexpr VolumeId kVolume{1};
constexpr std::uint64_t kVolumeBlocks = 1 << 22;  // 16 GiB

Path live_path() {
  return {{{Epoch{1}, 1, kSequenceMax}}};
}
Place place_of(std::uint64_t number) {
  return Place(1 + (number >> 16), static_cast<std::uint32_t>(number & 0xffff));
}

struct Folder {
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tidemark-bench-XXXXXX").string();
    path = ::mkdtemp(pattern.data());
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string path;
};

void insert_random_4k(VersionIndex& index, std::mt19937_64& random, std::uint64_t from, std::uint64_t count) {
  const std::vector<std::uint32_t> checksums{42};
  for (std::uint64_t i = from; i < from + count; ++i) {
    const std::uint64_t block = random() % kVolumeBlocks;
    index.insert_data(kVolume, {block, block + 1}, LogId(Epoch{1}, i), place_of(i), checksums);
  }
}

void BM_InsertRandom4K(benchmark::State& state) {
  std::mt19937_64 random(1);
  const auto keys = static_cast<std::uint64_t>(state.range(0));
  std::uint64_t memory_bytes = 0;
  for (auto _ : state) {
    auto index = make_memory_index();
    insert_random_4k(*index, random, 1, keys);
    memory_bytes = index->status().memory_bytes;
    benchmark::DoNotOptimize(index.get());
    state.PauseTiming();
    index.reset();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
  state.counters["bytes_per_key"] = static_cast<double>(memory_bytes) / static_cast<double>(keys);
}
BENCHMARK(BM_InsertRandom4K)->Arg(100'000)->Arg(1'000'000)->Unit(benchmark::kMillisecond);

void BM_InsertAscending4K(benchmark::State& state) {
  const std::vector<std::uint32_t> checksums{42};
  const auto keys = static_cast<std::uint64_t>(state.range(0));
  std::uint64_t memory_bytes = 0;
  for (auto _ : state) {
    auto index = make_memory_index();
    for (std::uint64_t i = 1; i <= keys; ++i) {
      index->insert_data(kVolume, {i, i + 1}, LogId(Epoch{1}, i), place_of(i), checksums);
    }
    memory_bytes = index->status().memory_bytes;
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
  state.counters["bytes_per_key"] = static_cast<double>(memory_bytes) / static_cast<double>(keys);
}
BENCHMARK(BM_InsertAscending4K)->Arg(1'000'000)->Unit(benchmark::kMillisecond);

// One block of the live volume, its newest entry in memory.
void BM_LookupInMemory4K(benchmark::State& state) {
  std::mt19937_64 random(1);
  auto index = make_memory_index();
  insert_random_4k(*index, random, 1, static_cast<std::uint64_t>(state.range(0)));
  const Path path = live_path();
  std::vector<Piece> out;
  for (auto _ : state) {
    const std::uint64_t block = random() % kVolumeBlocks;
    out.clear();
    benchmark::DoNotOptimize(index->lookup_now(kVolume, {block, block + 1}, path, out));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_LookupInMemory4K)->Arg(100'000)->Arg(1'000'000);

// A view of the beginning, while five million newer entries lie on top of the same few blocks.
void BM_LookupBehindNewer4K(benchmark::State& state) {
  auto index = make_memory_index();
  const std::vector<std::uint32_t> checksums{42};
  constexpr std::uint64_t kHotBlocks = 64;
  for (std::uint64_t i = 1; i <= 5'000'000; ++i) {
    const std::uint64_t block = i % kHotBlocks;
    index->insert_data(kVolume, {block, block + 1}, LogId(Epoch{1}, i), place_of(i), checksums);
  }
  const Path path{{{Epoch{1}, 1, 1000}}};
  std::mt19937_64 random(1);
  std::vector<Piece> out;
  for (auto _ : state) {
    const std::uint64_t block = random() % kHotBlocks;
    out.clear();
    benchmark::DoNotOptimize(index->lookup_now(kVolume, {block, block + 1}, path, out));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_LookupBehindNewer4K);

// An index whose keys are all in runs, in `runs` of them.
struct InRuns {
  InRuns(std::uint64_t keys, std::uint64_t runs, RocksIndexOptions options) : world(1) {
    auto opened = world.run(open_rocks_index(world.environment(), folder.path, options));
    index = std::move(opened.value().index);
    std::mt19937_64 random(1);
    for (std::uint64_t run = 0; run < runs; ++run) {
      insert_random_4k(*index, random, 1 + run * (keys / runs), keys / runs);
      world.run(index->persist(place_of((run + 1) * (keys / runs)))).value();
    }
  }
  ~InRuns() { world.run(index->close()); }
  Folder folder;
  sim::World world;
  std::unique_ptr<VersionIndex> index;
};

void BM_Persist(benchmark::State& state) {
  const auto keys = static_cast<std::uint64_t>(state.range(0));
  std::mt19937_64 random(1);
  std::uint64_t next = 1;
  Folder folder;
  sim::World world(1);
  auto opened = world.run(open_rocks_index(world.environment(), folder.path, {}));
  auto index = std::move(opened.value().index);
  for (auto _ : state) {
    state.PauseTiming();
    insert_random_4k(*index, random, next, keys);
    next += keys;
    state.ResumeTiming();
    world.run(index->persist(place_of(next))).value();
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
  world.run(index->close());
}
BENCHMARK(BM_Persist)->Arg(65'536)->Arg(1'000'000)->Unit(benchmark::kMillisecond)->Iterations(5);

// One block of a point in the past, from the runs: no map of its path, a block cache that holds everything or
// little.
void BM_LookupInRuns4K(benchmark::State& state) {
  RocksIndexOptions options;
  options.path_map_bytes_max = 0;
  options.block_cache_bytes = static_cast<std::uint64_t>(state.range(1)) << 20;
  InRuns in_runs(static_cast<std::uint64_t>(state.range(0)), 6, options);
  const Path path{{{Epoch{1}, 1, static_cast<std::uint64_t>(state.range(0)) / 2}}};
  std::mt19937_64 random(2);
  std::vector<Piece> out;
  for (auto _ : state) {
    const std::uint64_t block = random() % kVolumeBlocks;
    out.clear();
    in_runs.world.run(in_runs.index->lookup(kVolume, {block, block + 1}, path, out, 4096)).value();
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_LookupInRuns4K)
    ->Args({3'000'000, 256})
    ->Args({3'000'000, 8})
    ->Unit(benchmark::kMicrosecond)
    ->MinTime(1.0);

// The same for the live volume and a working set of 64 MiB, through the map of its path.
void BM_LookupInPathMap4K(benchmark::State& state) {
  InRuns in_runs(1'000'000, 4, {});
  const Path path = live_path();
  std::mt19937_64 random(2);
  std::vector<Piece> out;
  constexpr std::uint64_t kWorkingSetBlocks = 1 << 14;
  for (std::uint64_t block = 0; block < kWorkingSetBlocks; block += 64) {
    out.clear();
    in_runs.world.run(in_runs.index->lookup(kVolume, {block, block + 64}, path, out, 4096)).value();
  }
  for (auto _ : state) {
    const std::uint64_t block = random() % kWorkingSetBlocks;
    out.clear();
    benchmark::DoNotOptimize(in_runs.index->lookup_now(kVolume, {block, block + 1}, path, out));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_LookupInPathMap4K);

void BM_LookupEmptyTebibyte(benchmark::State& state) {
  InRuns in_runs(100'000, 2, {});
  const Path path = live_path();
  std::vector<Piece> out;
  for (auto _ : state) {
    out.clear();
    in_runs.world.run(in_runs.index->lookup(kVolume, {1ull << 28, 1ull << 29}, path, out, 4096)).value();
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_LookupEmptyTebibyte)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace tidemark::index
