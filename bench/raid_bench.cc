#include <benchmark/benchmark.h>

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "raid/parity.h"
#include "raid/raid_group.h"
#include "sim/disk.h"
#include "sim/world.h"

// Parity alone, in memory: what a group of RAID 5 or 6 computes for whole rows, for a piece of a row, and to
// make good what is lost. Bytes are those of the data units. Then whole groups on simulated disks: what their
// members read and write for each byte of the host, as counters; their time is that of the simulator.

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

// A group of four members (RAID 1: two) of 64 MiB on simulated disks.
struct SimulatedGroup {
  explicit SimulatedGroup(format::RaidLevel level) : world(1), environment(world.environment()) {
    std::vector<NamedDisk> members(level == format::RaidLevel::k1 ? 2 : 4);
    for (std::size_t i = 0; i < members.size(); ++i) {
      disks.push_back(std::make_unique<sim::Disk>(world, 64 << 20));
      members[i].name = "d" + std::to_string(i);
      members[i].disk = disks.back().get();
    }
    RaidSpec spec;
    spec.name = "bench";
    spec.level = level;
    const auto raid = world.run(RaidGroup::create(environment, members, NodeIdentity{}, spec));
    TM_ASSERT(raid.ok());
    Assembly assembly = world.run(RaidGroup::assemble(environment, members, NodeIdentity{}, *raid, {}));
    TM_ASSERT(assembly.group.ok());
    group = std::move(assembly.group).value();
  }
  std::pair<std::uint64_t, std::uint64_t> moved() const {
    std::pair<std::uint64_t, std::uint64_t> sum;
    for (const MemberStatus& member : group->status().members) {
      sum.first += member.read_bytes;
      sum.second += member.written_bytes;
    }
    return sum;
  }
  sim::World world;
  io::Environment environment;
  std::vector<std::unique_ptr<sim::Disk>> disks;
  std::unique_ptr<RaidGroup> group;
};

// Level, bytes of a request: one after the other, flushed every 16.
void write_group(benchmark::State& state) {
  SimulatedGroup simulated(static_cast<format::RaidLevel>(state.range(0)));
  const auto length = static_cast<std::uint64_t>(state.range(1));
  const std::vector<Buffer> data(1, Buffer::allocate(length));
  std::memset(data[0].data(), 0x5a, length);
  const auto before = simulated.moved();
  std::uint64_t at = 0, requests = 0;
  for (auto step : state) {
    static_cast<void>(step);
    if (at + length > simulated.group->size_bytes()) at = 0;
    const auto done =
        simulated.world.run(simulated.group->write(DiskOffset{at}, data, io::Durability::kVolatile));
    TM_ASSERT(done.ok());
    if (++requests % 16 == 0) TM_ASSERT(simulated.world.run(simulated.group->flush()).ok());
    at += length;
  }
  const auto after = simulated.moved();
  const auto host = static_cast<double>(requests * length);
  state.counters["written_per_byte"] = static_cast<double>(after.second - before.second) / host;
  state.counters["read_per_byte"] = static_cast<double>(after.first - before.first) / host;
  state.SetBytesProcessed(static_cast<std::int64_t>(requests * length));
}
BENCHMARK(write_group)
    ->ArgsProduct({{0, 1, 5, 6, 10}, {4096, 65536, 768 << 10}})
    ->ArgNames({"level", "bytes"});

}  // namespace
}  // namespace tidemark::raid
