// The same story again and again in a process of its own, each time with one allocation more to the right
// that fails: of `new`, of coroutine frames, of buffers, and of the C libraries below. The process ends by
// itself with the line that says why, or it goes on and does what is right; and what it had acknowledged is
// there when the node is opened again.

#include <gtest/gtest.h>
#include <link.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <system_error>
#include <thread>

#include "base/out_of_memory.h"
#include "child.h"
#include "rounds.h"
#include "story.h"
#include "temporary_folder.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TIDEMARK_OWN_MALLOC 0  // the sanitizers have one of their own
#else
#define TIDEMARK_OWN_MALLOC 1
#endif

namespace tidemark {
namespace {

// Allocations of this process since begin_counting(), and those that fail.
std::atomic<bool> counting{false};
std::atomic<std::uint64_t> allocations{0};
std::atomic<std::uint64_t> failing_from{0};
std::atomic<std::uint64_t> failing_to{0};

// Where RocksDB's code lies. What it asks of malloc() itself, not through `new`, it uses without a look.
std::atomic<std::uintptr_t> rocksdb_begin{0};
std::atomic<std::uintptr_t> rocksdb_end{0};

int find_rocksdb(dl_phdr_info* object, std::size_t, void*) {
  if (std::strstr(object->dlpi_name, "librocksdb") == nullptr) return 0;
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    const auto& part = object->dlpi_phdr[i];
    if (part.p_type != PT_LOAD || (part.p_flags & PF_X) == 0) continue;
    rocksdb_begin.store(object->dlpi_addr + part.p_vaddr);
    rocksdb_end.store(object->dlpi_addr + part.p_vaddr + part.p_memsz);
  }
  return 1;
}

[[maybe_unused]] bool fails_now(const void* caller) {
  if (!counting.load(std::memory_order_relaxed)) return false;
  const auto at = reinterpret_cast<std::uintptr_t>(caller);
  if (at >= rocksdb_begin.load(std::memory_order_relaxed) &&
      at < rocksdb_end.load(std::memory_order_relaxed)) {
    return false;
  }
  const std::uint64_t number = allocations.fetch_add(1, std::memory_order_relaxed) + 1;
  if (number < failing_from.load(std::memory_order_relaxed) ||
      number >= failing_to.load(std::memory_order_relaxed)) {
    return false;
  }
  errno = ENOMEM;
  return true;
}

}  // namespace
}  // namespace tidemark

#if TIDEMARK_OWN_MALLOC
// Instead of the C library's; what they give is freed by its free(). Not posix_memalign(), which RocksDB
// alone calls.
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);

void* malloc(std::size_t size) {
  return tidemark::fails_now(__builtin_return_address(0)) ? nullptr : __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) {
  return tidemark::fails_now(__builtin_return_address(0)) ? nullptr : __libc_calloc(count, size);
}
void* realloc(void* memory, std::size_t size) {
  return tidemark::fails_now(__builtin_return_address(0)) ? nullptr : __libc_realloc(memory, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  return tidemark::fails_now(__builtin_return_address(0)) ? nullptr : __libc_memalign(alignment, size);
}
}
#endif

namespace tidemark {
namespace {

constexpr std::size_t kRounds = 4;

// What a child tells, in memory that outlives it.
struct Told {
  std::atomic<bool> group_made{false};
  std::atomic<std::uint32_t> sent{0};          // deeds begun
  std::atomic<std::uint32_t> acknowledged{0};  // deeds done
  std::atomic<std::uint32_t> durable{0};       // of these, up to the last that a flush covers
  std::atomic<bool> ended{false};
  std::atomic<std::uint64_t> allocations{0};
  std::array<char, 2000> complaint{};
};

void begin_counting(std::uint64_t from, std::uint64_t to) {
  (void)::dl_iterate_phdr(find_rocksdb, nullptr);
  failing_from.store(from);
  failing_to.store(to);
  allocations.store(0);
  counting.store(true);
}

// One life of the node after the other, until something is refused.
Result<void> tell_story(const std::string& folder, const std::vector<Deed>& deeds, Told& told) {
  const std::size_t half = deeds.size() / 2;
  for (const std::size_t end : {half, deeds.size()}) {
    RealNode node(folder, 64 << 10);
    TM_TRY(node.start());
    if (!told.group_made.load()) {
      TM_TRY(node.make_group({kVolumes[0], kVolumes[1]}));
      told.group_made.store(true);
    }
    if (node.group() == nullptr) return fail(ErrorCode::kIo, node.told());
    {
      TM_TRY_ASSIGN(Targets targets, open_volumes(node));
      while (told.sent.load() < end) {
        const std::uint32_t number = told.sent.fetch_add(1) + 1;
        const Deed& deed = deeds[number - 1];
        TM_TRY(carry_out(node, targets, number, deed));
        told.acknowledged.store(number);
        const bool is_write = deed.kind == Deed::Kind::kWrite || deed.kind == Deed::Kind::kZero;
        if (deed.durable || !is_write) told.durable.store(number);
      }
      TM_TRY(node.run(targets[0]->flush()));
      told.durable.store(told.acknowledged.load());
      TM_TRY(look_at(node));
    }
    control::TableRequest request;
    request.name = "mark_id";
    (void)node.run(node.node().table(request));
    (void)node.run(node.group()->destage_now(true));
    TM_TRY(node.stop());
  }
  return {};
}

// What is wrong with what the story left; empty when nothing is.
std::string judge(const std::string& folder, const std::vector<Deed>& deeds, const Told& told) {
  RealNode node(folder);
  const auto started = node.start();
  if (!started.ok()) return "does not start: " + started.error().message;
  if (node.group() == nullptr) {
    return told.group_made.load() ? "the group is not there: " + node.told() : std::string();
  }
  if (!told.group_made.load()) return {};
  for (std::uint32_t i = 0; i < told.acknowledged.load(); ++i) {
    if (deeds[i].kind != Deed::Kind::kMark || i >= told.durable.load()) continue;
    if (node.group()->state().find_mark(deeds[i].mark) == nullptr)
      return "mark " + deeds[i].mark + " is lost";
    const auto image = look_at(node, "@" + deeds[i].mark);
    if (!image.ok() && image.error().code == ErrorCode::kExpired) continue;
    if (!image.ok()) return "mark " + deeds[i].mark + ": " + image.error().message;
    if (*image != deeds[i].after) return "mark " + deeds[i].mark + " shows something else";
  }
  const auto live = look_at(node);
  if (!live.ok()) return "cannot be read: " + live.error().message;
  for (std::uint32_t done = told.durable.load(); done <= told.sent.load(); ++done) {
    if (*live == (done == 0 ? Image{} : deeds[done - 1].after)) return {};
  }
  return "not what " + std::to_string(told.durable.load()) + " to " + std::to_string(told.sent.load()) +
         " deeds leave";
}

struct Outcome {
  bool out_of_memory = false;
  bool hit = false;  // an allocation did fail
  std::uint64_t allocations = 0;
};

Outcome tell_with_failing(std::uint64_t from, std::uint64_t to) {
  const std::vector<Deed> deeds = story_of(kRounds);
  const TemporaryFolder folder;
  Shared<Told> told;
  const std::string said = folder.file("said");
  const std::string home = folder.file("node");
  std::filesystem::create_directory(home);
  const int status = in_a_child(said, [&] {
    end_process_when_out_of_memory();
    begin_counting(from, to);
    const auto ended = tell_story(home, deeds, *told);
    counting.store(false);
    told->allocations.store(allocations.load());
    told->ended.store(ended.ok());
    if (!ended.ok()) std::fprintf(stderr, "refused: %s\n", ended.error().message.c_str());
  });
  Outcome outcome;
  // The C library ends the process by itself where it cannot go on.
  const bool by_glibc = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT &&
                        content_of(said).find("Fatal glibc error") != std::string::npos;
  outcome.out_of_memory = (WIFEXITED(status) && WEXITSTATUS(status) == kOutOfMemoryStatus) || by_glibc;
  outcome.allocations = told->allocations.load();
  outcome.hit = outcome.out_of_memory || outcome.allocations >= from;
  EXPECT_TRUE(status == 0 || outcome.out_of_memory) << "wait status " << status << ": " << content_of(said);
  if (outcome.out_of_memory) {
    EXPECT_NE(content_of(said).find(": out of memory"), std::string::npos) << content_of(said);
  } else if (!outcome.hit) {
    EXPECT_TRUE(told->ended.load()) << content_of(said);
  }
  const int judged = in_a_child(folder.file("judged"), [&] {
    const std::string complaint = judge(home, deeds, *told);
    std::snprintf(told->complaint.data(), told->complaint.size(), "%s", complaint.c_str());
  });
  EXPECT_EQ(judged, 0) << content_of(folder.file("judged"));
  EXPECT_STREQ(told->complaint.data(), "") << content_of(said);
  return outcome;
}

TEST(OutOfMemory, TheProcessEndsWithOneLineThatSaysWhy) {
  EXPECT_EXIT(end_out_of_memory(), testing::ExitedWithCode(kOutOfMemoryStatus),
              "^tidemark: out of memory: .*\n$");
#if TIDEMARK_OWN_MALLOC
  EXPECT_EXIT(
      {
        end_process_when_out_of_memory();
        std::vector<std::byte> more_than_there_is(std::size_t{1} << 62);
      },
      testing::ExitedWithCode(kOutOfMemoryStatus), "tidemark: out of memory");
  EXPECT_EXIT(Buffer::allocate(std::size_t{1} << 62), testing::ExitedWithCode(kOutOfMemoryStatus),
              "tidemark: out of memory");
#endif
}

TEST(OutOfMemory, AThreadThatALibraryIsNotGivenEndsTheProcessWithOneLine) {
  const auto nobody_catches = [](std::errc code) {
    end_process_when_out_of_memory();
    std::thread([code] { throw std::system_error(std::make_error_code(code)); }).join();
  };
  EXPECT_EXIT(nobody_catches(std::errc::resource_unavailable_try_again),
              testing::ExitedWithCode(kOutOfMemoryStatus),
              "^tidemark: out of memory: the system gives no further thread");
  EXPECT_EXIT(nobody_catches(std::errc::io_error), testing::KilledBySignal(SIGABRT), "terminate called.*");
}

TEST(OutOfMemory, TheNthAllocationFailsAndNothingAcknowledgedIsLost) {
  if (!TIDEMARK_OWN_MALLOC) GTEST_SKIP() << "a sanitizer's build has the sanitizer's allocator";
  ASSERT_NE(::dl_iterate_phdr(find_rocksdb, nullptr), 0) << "RocksDB is no shared library any more";
  const Outcome undisturbed = tell_with_failing(UINT64_MAX, UINT64_MAX);
  ASSERT_GT(undisturbed.allocations, 1000u);
  // The index has threads of its own: the number differs a little from one run to the next.
  const std::uint64_t cases = long_run() ? undisturbed.allocations : rounds(40, 10);
  const std::uint64_t step = std::max<std::uint64_t>(undisturbed.allocations / cases, 1);
  std::uint64_t ended = 0;
  std::uint64_t went_on = 0;
  std::uint64_t tried = 0;
  for (std::uint64_t n = 1 + first_seed(0) % step;; n += step) {
    // One that fails alone, or all from then on.
    const Outcome outcome = tell_with_failing(n, tried % 4 == 3 ? UINT64_MAX : n + 1);
    ASSERT_FALSE(testing::Test::HasFailure()) << "allocation " << n;
    if (!outcome.hit) break;
    ++tried;
    ++(outcome.out_of_memory ? ended : went_on);
  }
  std::printf("%llu allocations; of %llu that failed %llu ended the process\n",
              static_cast<unsigned long long>(undisturbed.allocations),
              static_cast<unsigned long long>(tried), static_cast<unsigned long long>(ended));
  EXPECT_GT(ended, went_on);
}

}  // namespace
}  // namespace tidemark
