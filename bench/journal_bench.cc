// Appending to a journal over a real file: what a group's writes cost below the index and the cache. The file
// is made in TMPDIR (else /tmp) and goes with the program; what the figures say is what that folder's disk
// does, so it should not be a tmpfs.

#include <benchmark/benchmark.h>
#include <stdlib.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>

#include "journal/journal.h"
#include "os/environment.h"
#include "os/file_disk.h"
#include "os/network.h"
#include "os/offload.h"
#include "os/reactor.h"

namespace tidemark::journal {
namespace {

constexpr std::uint64_t kDiskBytes = 512 << 20;
constexpr std::uint64_t kBytesPerPass = 16 << 20;  // of payload in one iteration

template <typename T>
T value_or_exit(Result<T> result) {
  if (result.ok()) return std::move(result).value();
  std::fprintf(stderr, "bench_journal: %s\n", result.error().message.c_str());
  std::exit(1);
}

struct Folder {
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tidemark-bench-XXXXXX").string();
    if (const char* made = ::mkdtemp(pattern.data())) path = made;
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string path;
};

// A machine with one file for a disk, and a journal over all of it. The parts die in the reverse order: the
// reactor outlives all that runs on it.
struct OnFile {
  Folder folder;
  std::unique_ptr<os::Reactor> reactor = value_or_exit(os::Reactor::create());
  os::ThreadOffload offload{*reactor};
  os::SystemClock clock;
  os::SystemRandom random;
  os::Network network{*reactor, offload};
  std::unique_ptr<os::FileDisk> disk = value_or_exit(
      os::FileDisk::open(*reactor, folder.path + "/disk",
                         {.open = os::FileDiskOptions::Open::kCreate, .create_size_bytes = kDiskBytes}));
  std::unique_ptr<Journal> journal =
      value_or_exit(reactor->run(Journal::create({*reactor, clock, random, network, offload}, *disk,
                                                 random.identity<GroupIdentity>(), JournalOptions{})));

  OnFile() { journal->begin_epoch(random.identity<EpochIdentity>(), LogId(Epoch{1}, 1), 0, clock.now()); }
  ~OnFile() { (void)reactor->run(journal->close()); }
};

// Not in the coroutine: GCC 12 destroys the members of aggregates that are brace-initialised there twice.
NewEntry write_of(Buffer payload, std::uint64_t number) {
  const std::uint64_t blocks = payload.size() / kBlockSizeBytes;
  const std::uint64_t begin = number * blocks % (1 << 18);
  return {.kind = format::EntryKind::kWrite,
          .volume = VolumeId{1},
          .blocks = {begin, begin + blocks},
          .payload = std::move(payload)};
}

// As a group does when its history has run out of space: a snapshot takes the place of all before it.
io::Task<Result<void>> start_over(Journal* journal) {
  TM_CO_TRY(co_await journal->save_snapshot(std::vector<std::byte>(64)));
  co_return co_await journal->free_before(journal->snapshot_end());
}

// `count` appends, of which the last of each `wait_every` waits until all before it are durable; 0: none
// waits.
io::Task<Result<void>> append_many(Journal* journal, Buffer payload, std::uint64_t count,
                                   std::uint64_t wait_every) {
  const auto blocks = static_cast<std::uint32_t>(payload.size() / kBlockSizeBytes);
  for (std::uint64_t number = 1; number <= count; ++number) {
    if (!journal->has_room(blocks, 0, Purpose::kData)) {
      auto room = co_await journal->make_room(blocks, 0, Purpose::kData);
      if (!room.ok() && room.error().code == ErrorCode::kNoSpace) {
        TM_CO_TRY(co_await start_over(journal));
        room = co_await journal->make_room(blocks, 0, Purpose::kData);
      }
      TM_CO_TRY(std::move(room));
    }
    const Appended appended = journal->append(write_of(payload, number));
    if (wait_every != 0 && number % wait_every == 0) {
      TM_CO_TRY(co_await journal->wait_durable(appended.ticket));
    }
  }
  co_return Result<void>{};
}

// Arguments: bytes of an append, and how many of them go before each wait. Without waiting, an iteration ends
// when the last append has its place in the order, and the rest of the writing falls into the next one: in
// the long run the disk is what it is.
void BM_Append(benchmark::State& state) {
  OnFile machine;
  const auto bytes = static_cast<std::uint64_t>(state.range(0));
  const auto wait_every = static_cast<std::uint64_t>(state.range(1));
  // Waiting for each takes a flush each: a shorter pass then.
  const std::uint64_t count = kBytesPerPass / bytes / (wait_every == 1 ? 64 : 1);
  // Large payloads are written from where they are, which takes aligned memory; Buffer gives that.
  const Buffer payload = Buffer::allocate(bytes);
  std::memset(payload.data(), 0x5a, payload.size());
  for (auto _ : state) {
    const auto done = machine.reactor->run(append_many(machine.journal.get(), payload, count, wait_every));
    if (!done.ok()) {
      state.SkipWithError(done.error().message.c_str());
      break;
    }
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(count));
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(count * bytes));
  if (!machine.disk->is_direct()) state.SetLabel("without O_DIRECT");
}
BENCHMARK(BM_Append)
    ->ArgNames({"bytes", "wait_every"})
    ->Args({4 << 10, 0})
    ->Args({4 << 10, 32})
    ->Args({4 << 10, 1})
    ->Args({128 << 10, 0})
    ->Args({128 << 10, 8})
    ->Unit(benchmark::kMillisecond)
    ->MinTime(2.0)
    ->UseRealTime();
static_assert(kPayloadAdoptBytesMin <= 128 << 10, "the appends of 128 KiB are adopted without a copy");

}  // namespace
}  // namespace tidemark::journal
