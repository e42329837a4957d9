#include <benchmark/benchmark.h>

#include <cstring>
#include <vector>

#include "base/bytes.h"
#include "raid/parity.h"

// Parity alone, in memory: what a group of RAID 5 or 6 computes for whole rows, for a piece of a row, and to
// make good what is lost. Bytes are those of the data units.

namespace tidemark::raid {
namespace {

constexpr std::size_t kUnitBytes = 64 << 10;

std::vector<Buffer> make_units(std::size_t count) {
  std::vector<Buffer> units;
  for (std::size_t i = 0; i < count; ++i) {
    Buffer unit = Buffer::allocate(kUnitBytes);
    for (std::size_t at = 0; at < kUnitBytes; ++at) unit.data()[at] = std::byte(at * 31 + i * 7);
    units.push_back(unit);
  }
  return units;
}

std::vector<std::byte*> pointers_of(const std::vector<Buffer>& units) {
  std::vector<std::byte*> pointers;
  for (const Buffer& unit : units) pointers.push_back(unit.data());
  return pointers;
}

void count_bytes(benchmark::State& state, std::size_t cells) {
  state.SetBytesProcessed(
      static_cast<std::int64_t>(static_cast<std::size_t>(state.iterations()) * cells * kUnitBytes));
}

// Data units, parities.
void generate(benchmark::State& state) {
  const auto cells = static_cast<std::size_t>(state.range(0));
  const auto parities = static_cast<std::uint32_t>(state.range(1));
  const auto units = make_units(cells + parities);
  const auto pointers = pointers_of(units);
  for (auto step : state) {
    static_cast<void>(step);
    parity::generate(pointers, parities, kUnitBytes);
    benchmark::DoNotOptimize(pointers.back()[0]);
  }
  count_bytes(state, cells);
}
BENCHMARK(generate)->ArgsProduct({{2, 4, 8, 16}, {1, 2}})->ArgNames({"units", "parities"});

// Units lost: the first ones.
void recover(benchmark::State& state) {
  const auto cells = static_cast<std::size_t>(state.range(0));
  const auto lost = static_cast<std::uint32_t>(state.range(1));
  const auto units = make_units(cells + 2);
  const auto pointers = pointers_of(units);
  parity::generate(pointers, 2, kUnitBytes);
  std::vector<std::uint32_t> missing;
  for (std::uint32_t i = 0; i < lost; ++i) missing.push_back(i);
  for (auto step : state) {
    static_cast<void>(step);
    parity::recover(pointers, 2, missing, kUnitBytes);
    benchmark::DoNotOptimize(pointers.front()[0]);
  }
  count_bytes(state, cells);
}
BENCHMARK(recover)->ArgsProduct({{4, 8}, {1, 2}})->ArgNames({"units", "lost"});

// A block of one unit, into P and Q.
void modify(benchmark::State& state) {
  const auto units = make_units(4);
  for (auto step : state) {
    static_cast<void>(step);
    parity::add(units[0].data(), units[1].data(), 4096);
    parity::add(units[2].data(), units[0].data(), 4096);
    parity::add_scaled(units[3].data(), units[0].data(), 5, 4096);
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) * 4096);
}
BENCHMARK(modify);

}  // namespace
}  // namespace tidemark::raid
