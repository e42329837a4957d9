// What the server's side of NBD costs for each request: taking its header apart and checking it, and a whole
// session over a stream in memory, with a target that does nothing. The simulated scheduler under it is part
// of the figure; system calls are not.

#include <benchmark/benchmark.h>

#include <memory>
#include <string>
#include <vector>

#include "nbd/request.h"
#include "nbd/scripted_stream.h"
#include "nbd/session.h"
#include "sim/world.h"

namespace tidemark::nbd {
namespace {

constexpr std::uint64_t kDiskBytes = 1ull << 40;
constexpr std::uint64_t kRequests = 4096;  // of one session

// Takes everything and keeps nothing.
class NowhereTarget final : public BlockTarget {
 public:
  NowhereTarget() {
    info_.name = "disk";
    info_.size_bytes = kDiskBytes;
  }
  const ExportInfo& info() const override { return info_; }
  io::Task<Result<void>> read(std::uint64_t, Buffer) override { co_return Result<void>{}; }
  io::Task<Result<void>> write(std::uint64_t, Buffer, bool) override { co_return Result<void>{}; }
  bool write_now(std::uint64_t, const Buffer&) override { return true; }
  io::Task<Result<void>> flush() override { co_return Result<void>{}; }
  io::Task<Result<void>> trim(std::uint64_t, std::uint64_t, bool) override { co_return Result<void>{}; }
  io::Task<Result<void>> write_zeroes(std::uint64_t, std::uint64_t, bool, bool) override {
    co_return Result<void>{};
  }
  io::Task<Result<void>> cache(std::uint64_t, std::uint64_t) override { co_return Result<void>{}; }
  io::Task<Result<std::vector<AllocationExtent>>> block_status(std::uint64_t, std::uint64_t length,
                                                               std::size_t) override {
    co_return std::vector<AllocationExtent>(1, {length, false, false});
  }

 private:
  ExportInfo info_;
};

class NowhereDirectory final : public ExportDirectory {
 public:
  io::Task<Result<std::vector<std::string>>> list() override {
    co_return std::vector<std::string>(1, "disk");
  }
  io::Task<Result<ExportInfo>> describe(std::string) override { co_return NowhereTarget().info(); }
  io::Task<Result<std::unique_ptr<BlockTarget>>> open(std::string, std::string) override {
    std::unique_ptr<BlockTarget> target = std::make_unique<NowhereTarget>();
    co_return std::move(target);
  }
};

void BM_DecodeAndValidate(benchmark::State& state) {
  WireEncoder out;
  test::RawClient::encode(out, kCommandWrite, 0, 1, 4096, 4096);
  const std::vector<std::byte> header(out.bytes().begin(), out.bytes().end());
  const Agreement agreement{.size_bytes = kDiskBytes, .structured_replies = true};
  for (auto _ : state) {
    const Request request = Request::decode(header);
    benchmark::DoNotOptimize(validate(request, agreement));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_DecodeAndValidate);

// The requests of one connection, all of one kind, behind each other: as fast as the session takes them.
std::vector<std::byte> conversation(std::uint16_t command, std::uint32_t length) {
  sim::World world(1);
  test::Script script(world);
  script.say_handshake("disk");
  const std::string data(command == kCommandWrite ? length : 0, 'x');
  for (std::uint64_t i = 0; i < kRequests; ++i) {
    script.say_request(command, i, i * 8 * length % kDiskBytes, command == kCommandFlush ? 0 : length);
    const Bytes bytes = as_bytes(data);
    script.input.insert(script.input.end(), bytes.begin(), bytes.end());
  }
  return std::move(script.input);
}

void run_session(benchmark::State& state, std::uint16_t command) {
  const auto length = static_cast<std::uint32_t>(state.range(0));
  const std::vector<std::byte> input = conversation(command, length);
  for (auto _ : state) {
    state.PauseTiming();
    sim::World world(1);
    NowhereDirectory directory;
    test::Script script(world);
    script.input = input;
    script.keep_output = false;
    PayloadBudgets budgets{{128 << 10, 32 << 20}, {0, 64 << 20}};
    Session session(world.environment(), std::make_unique<test::ScriptedStream>(script), directory, budgets,
                    SessionLimits{});
    state.ResumeTiming();
    world.run(session.run());
    const SessionCounters& counters = session.counters();
    if (counters.reads + counters.writes + counters.flushes != kRequests || counters.failed != 0) {
      state.SkipWithError("the session did not do what it was asked");
      break;
    }
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kRequests));
  if (length > 0) {
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(kRequests) * state.range(0));
  }
}

void BM_SessionWrites(benchmark::State& state) {
  run_session(state, kCommandWrite);
}
BENCHMARK(BM_SessionWrites)->ArgName("bytes")->Arg(4 << 10)->Arg(64 << 10)->Unit(benchmark::kMillisecond);

void BM_SessionReads(benchmark::State& state) {
  run_session(state, kCommandRead);
}
BENCHMARK(BM_SessionReads)->ArgName("bytes")->Arg(4 << 10)->Arg(64 << 10)->Unit(benchmark::kMillisecond);

void BM_SessionFlushes(benchmark::State& state) {
  run_session(state, kCommandFlush);
}
BENCHMARK(BM_SessionFlushes)->ArgName("bytes")->Arg(0)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace tidemark::nbd
