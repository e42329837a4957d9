#include "sim/disk.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/crc32c.h"
#include "sim/page_ranges.h"
#include "sim/random.h"

// Invariants:
//  - what a reader sees of a page is its newest unflushed version, or else the media;
//  - the versions of a page lie in the order in which their writes completed;
//  - a version leaves `unflushed` only when it, or a newer one, has reached the media, or at a crash;
//  - an operation is in `in_flight` from the call until it completes, whoever waits for it.

namespace tidemark::sim {
namespace {

constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kSectorBytes = 512;
constexpr std::size_t kSectorsPerPage = kPageBytes / kSectorBytes;
// Of a page that is written over and over without a flush only so many versions are kept as possible
// outcomes of a crash.
constexpr std::size_t kVersionsPerPageMax = 8;

using Page = std::array<std::byte, kPageBytes>;
// Null stands for zeroes.
using PagePointer = std::shared_ptr<const Page>;

void copy_page(const PagePointer& page, std::byte* to) {
  if (page == nullptr) {
    std::memset(to, 0, kPageBytes);
  } else {
    std::memcpy(to, page->data(), kPageBytes);
  }
}

PagePointer page_from(const std::byte* bytes) {
  if (all_zero(Bytes(bytes, kPageBytes))) return nullptr;
  auto page = std::make_shared<Page>();
  std::memcpy(page->data(), bytes, kPageBytes);
  return page;
}

struct Version {
  std::uint64_t write_number;  // grows with each completed write; its pages share it
  PagePointer page;
  // A flush that failed had this version to write. The cache takes it for clean since; a later flush
  // that succeeds says nothing about it (Linux drops the dirty bit the same way, see fault-model.md).
  bool forgotten_by_flush = false;
};

enum class Kind { kRead, kWrite, kFlush, kAllocate, kDiscard };

struct Operation {
  explicit Operation(io::Scheduler& scheduler) : ended(scheduler) {}
  Kind kind = Kind::kRead;
  std::uint64_t begin = 0;  // pages [begin, end)
  std::uint64_t end = 0;
  std::vector<Buffer> pieces;
  bool durable = false;
  std::optional<DiskFault> fault;
  bool suffers(DiskFault which) const { return fault == which; }
  std::uint64_t covers_writes_until = 0;  // kFlush
  Duration latency{};
  Result<void> result;
  bool done = false;
  io::WaitQueue ended;

  // The bytes that this operation writes to its i-th page; null for zeroes.
  const std::byte* page_bytes(std::uint64_t index) const {
    if (kind == Kind::kDiscard) return nullptr;
    std::uint64_t at = index * kPageBytes;
    for (const Buffer& piece : pieces) {
      if (at < piece.size()) return piece.data() + at;
      at -= piece.size();
    }
    TM_ASSERT(false);
    return nullptr;
  }
};

using OperationPointer = std::shared_ptr<Operation>;

}  // namespace

struct Disk::State {
  State(World& w, std::uint64_t size, DiskOptions o)
      : world(w), options(o), random(w.next_stream_seed(RandomStream::kDisk)), size_bytes(size), device(w) {}

  World& world;
  const DiskOptions options;
  SeededRandom random;
  std::uint64_t size_bytes;
  std::unordered_map<std::uint64_t, PagePointer> media;
  std::map<std::uint64_t, std::vector<Version>> unflushed;
  PageRanges allocated;
  std::map<std::uint64_t, OperationPointer> in_flight;
  std::uint64_t next_operation_number = 0;
  std::uint64_t writes_completed = 0;
  std::uint64_t reads_started = 0, writes_started = 0, flushes_started = 0, bytes_written = 0;
  std::map<std::uint64_t, DiskFault> planned_reads, planned_writes, planned_flushes;  // by operation
  std::vector<DiskFaultHit> hits;
  std::set<std::uint64_t> bad_pages;
  std::unordered_map<std::uint64_t, PagePointer> older;  // before the last write; options.remembers_older
  MonotonicTime hung_until{};
  Duration slowed_by{};
  io::TaskScope device;  // goes first: its tasks use the rest

  PagePointer media_page(std::uint64_t page) const {
    const auto found = media.find(page);
    return found == media.end() ? nullptr : found->second;
  }
  void set_media_page(std::uint64_t page, PagePointer bytes) {
    if (bytes == nullptr) {
      media.erase(page);
    } else {
      media[page] = std::move(bytes);
    }
  }
  PagePointer seen_page(std::uint64_t page) const {
    const auto found = unflushed.find(page);
    return found == unflushed.end() ? media_page(page) : found->second.back().page;
  }
  bool flush_in_flight() const {
    return std::any_of(in_flight.begin(), in_flight.end(),
                       [](const auto& entry) { return entry.second->kind == Kind::kFlush; });
  }

  OperationPointer start(Kind kind, DiskOffset offset, std::uint64_t length_bytes);
  void redirect(Operation& operation);
  io::Task<void> perform(std::uint64_t number, OperationPointer operation);
  Result<void> complete(Operation& operation);
  Result<void> complete_read(Operation& operation);
  Result<void> complete_write(Operation& operation);
  Result<void> complete_flush(Operation& operation);
  void add_version(std::uint64_t page, PagePointer bytes);
  // Of each sector the new bytes or the present ones, by the seed.
  PagePointer mixed_page(const PagePointer& present, const std::byte* fresh);
  void lose_unflushed();
  void leave_traces_of(const Operation& operation);
  void rewrite(std::uint64_t page, const std::function<void(Page&)>& change);
  Error broken(const Operation& operation, const char* what) const;
};

OperationPointer Disk::State::start(Kind kind, DiskOffset offset, std::uint64_t length_bytes) {
  TM_ASSERT(offset.value % kPageBytes == 0);
  TM_ASSERT(length_bytes % kPageBytes == 0);
  TM_ASSERT(offset.value <= UINT64_MAX - length_bytes);
  auto operation = std::make_shared<Operation>(world);
  operation->kind = kind;
  operation->begin = offset.value / kPageBytes;
  operation->end = operation->begin + length_bytes / kPageBytes;
  operation->covers_writes_until = writes_completed;
  operation->latency = random.between(options.latency_min, options.latency_max) + slowed_by;
  const auto take_planned = [&](std::map<std::uint64_t, DiskFault>& planned, std::uint64_t operation_number) {
    const auto found = planned.find(operation_number);
    if (found == planned.end()) return;
    operation->fault = found->second;
    planned.erase(found);
    hits.push_back(DiskFaultHit{*operation->fault, offset.value, length_bytes});
  };
  if (kind == Kind::kRead) take_planned(planned_reads, ++reads_started);
  if (kind == Kind::kFlush) take_planned(planned_flushes, ++flushes_started);
  if (kind == Kind::kWrite) {
    take_planned(planned_writes, ++writes_started);
    bytes_written += length_bytes;
  }
  if (operation->suffers(DiskFault::kMisdirectedWrite) || operation->suffers(DiskFault::kMisdirectedRead)) {
    redirect(*operation);
  }
  const std::uint64_t number = next_operation_number++;
  in_flight.emplace(number, operation);
  device.spawn(perform(number, operation));
  return operation;
}

// One to sixteen pages away, within the disk.
void Disk::State::redirect(Operation& operation) {
  const std::uint64_t pages = size_bytes / kPageBytes;
  const std::uint64_t length = operation.end - operation.begin;
  const std::uint64_t by = 1 + random.below(16);
  const bool back = operation.begin >= by && random.coin();
  if (!back && operation.end + by > pages) return;
  operation.begin = back ? operation.begin - by : operation.begin + by;
  operation.end = operation.begin + length;
  hits.back().offset_bytes = operation.begin * kPageBytes;
}

io::Task<void> Disk::State::perform(std::uint64_t number, OperationPointer operation) {
  co_await world.sleep_for(operation->latency);
  while (hung_until > world.now()) co_await world.sleep_until(hung_until);
  operation->result = complete(*operation);
  operation->pieces.clear();
  operation->done = true;
  in_flight.erase(number);
  operation->ended.wake_all();
}

Error Disk::State::broken(const Operation& operation, const char* what) const {
  return fail(ErrorCode::kIo, std::string("simulated disk: ") + what + " at byte " +
                                  std::to_string(operation.begin * kPageBytes) + ", " +
                                  std::to_string((operation.end - operation.begin) * kPageBytes) + " bytes");
}

Result<void> Disk::State::complete(Operation& operation) {
  if (operation.kind == Kind::kFlush) return complete_flush(operation);
  if (operation.end > size_bytes / kPageBytes) return broken(operation, "beyond the end of the disk");
  switch (operation.kind) {
    case Kind::kRead:
      return complete_read(operation);
    case Kind::kWrite:
      return complete_write(operation);
    case Kind::kAllocate:
      if (allocated.pages_missing(operation.begin, operation.end) >
          options.space_bytes_max / kPageBytes -
              std::min(options.space_bytes_max / kPageBytes, allocated.pages())) {
        return fail(ErrorCode::kNoSpace, "simulated disk: no space left to promise");
      }
      allocated.insert(operation.begin, operation.end);
      return {};
    default:
      break;
  }
  ++writes_completed;
  // Only pages that hold something need a version of zeroes: a terabyte is discarded at the cost of
  // what was written in it.
  std::vector<std::uint64_t> held;
  if (operation.end - operation.begin > media.size()) {
    for (const auto& [page, bytes] : media) {
      if (page >= operation.begin && page < operation.end) held.push_back(page);
    }
  } else {
    for (std::uint64_t page = operation.begin; page < operation.end; ++page) {
      if (media.contains(page)) held.push_back(page);
    }
  }
  for (auto at = unflushed.lower_bound(operation.begin); at != unflushed.end() && at->first < operation.end;
       ++at) {
    held.push_back(at->first);
  }
  std::sort(held.begin(), held.end());
  held.erase(std::unique(held.begin(), held.end()), held.end());
  for (const std::uint64_t page : held) add_version(page, nullptr);
  allocated.erase(operation.begin, operation.end);
  return {};
}

Result<void> Disk::State::complete_read(Operation& operation) {
  if (operation.suffers(DiskFault::kReadFails)) return broken(operation, "read failed as the test asked");
  if (operation.suffers(DiskFault::kBadSector)) bad_pages.insert(operation.begin);
  const auto bad = bad_pages.lower_bound(operation.begin);
  if (bad != bad_pages.end() && *bad < operation.end) return broken(operation, "sector not readable");
  if (operation.suffers(DiskFault::kFlippedBit)) {
    const std::uint64_t page = operation.begin + random.below(operation.end - operation.begin);
    const std::uint64_t bit = random.below(kPageBytes * 8);
    rewrite(page, [bit](Page& bytes) { bytes[bit / 8] ^= std::byte{1} << (bit % 8); });
    hits.push_back(DiskFaultHit{DiskFault::kFlippedBit, page * kPageBytes + bit / 8, 1});
  }
  for (std::uint64_t page = operation.begin; page < operation.end; ++page) {
    const auto earlier = older.find(page);
    const bool stale = operation.suffers(DiskFault::kStaleRead) && earlier != older.end();
    copy_page(stale ? earlier->second : seen_page(page),
              operation.pieces[0].data() + (page - operation.begin) * kPageBytes);
  }
  return {};
}

Result<void> Disk::State::complete_write(Operation& operation) {
  ++writes_completed;
  if (operation.suffers(DiskFault::kLostWrite)) return {};
  const std::uint64_t pages_max = options.space_bytes_max / kPageBytes;
  const std::uint64_t half = operation.begin + (operation.end - operation.begin) / 2;
  for (std::uint64_t page = operation.begin; page < operation.end; ++page) {
    const std::byte* bytes = operation.page_bytes(page - operation.begin);
    if (allocated.pages_missing(page, page + 1) != 0) {
      if (allocated.pages() >= pages_max) {
        return fail(ErrorCode::kNoSpace, "simulated disk: no space left for the write at byte " +
                                             std::to_string(page * kPageBytes));
      }
      allocated.insert(page, page + 1);
    }
    if (options.remembers_older) older[page] = seen_page(page);
    bad_pages.erase(page);
    if (operation.suffers(DiskFault::kShortWrite) && page >= half) break;
    if (operation.suffers(DiskFault::kWriteFails)) {
      add_version(page, mixed_page(seen_page(page), bytes));
    } else if (operation.durable && !operation.suffers(DiskFault::kShortWrite)) {
      set_media_page(page, page_from(bytes));
      unflushed.erase(page);
    } else {
      add_version(page, page_from(bytes));
    }
  }
  if (operation.suffers(DiskFault::kWriteFails) || operation.suffers(DiskFault::kShortWrite)) {
    return broken(operation, "write failed as the test asked");
  }
  return {};
}

Result<void> Disk::State::complete_flush(Operation& operation) {
  if (operation.suffers(DiskFault::kFlushLies)) return {};
  const bool fails = operation.suffers(DiskFault::kFlushFails);
  for (auto at = unflushed.begin(); at != unflushed.end();) {
    std::vector<Version>& versions = at->second;
    const auto covered_end = std::find_if(versions.begin(), versions.end(), [&](const Version& version) {
      return version.write_number > operation.covers_writes_until;
    });
    if (fails) {
      for (auto version = versions.begin(); version != covered_end; ++version)
        version->forgotten_by_flush = true;
    } else if (covered_end != versions.begin() && !std::prev(covered_end)->forgotten_by_flush) {
      set_media_page(at->first, std::prev(covered_end)->page);
      versions.erase(versions.begin(), covered_end);
    }
    at = versions.empty() ? unflushed.erase(at) : std::next(at);
  }
  if (fails) return broken(operation, "flush failed as the test asked");
  return {};
}

void Disk::State::add_version(std::uint64_t page, PagePointer bytes) {
  std::vector<Version>& versions = unflushed[page];
  versions.push_back(Version{writes_completed, std::move(bytes)});
  // A flush in flight may still have to write an old version, so none goes then.
  if (versions.size() > kVersionsPerPageMax && !flush_in_flight()) versions.erase(versions.begin());
}

PagePointer Disk::State::mixed_page(const PagePointer& present, const std::byte* fresh) {
  Page mixed;
  copy_page(present, mixed.data());
  for (std::size_t sector = 0; sector < kSectorsPerPage; ++sector) {
    if (!random.coin()) continue;
    std::byte* to = mixed.data() + sector * kSectorBytes;
    if (fresh == nullptr) {
      std::memset(to, 0, kSectorBytes);
    } else {
      std::memcpy(to, fresh + sector * kSectorBytes, kSectorBytes);
    }
  }
  return page_from(mixed.data());
}

// Which unflushed sectors a power cut keeps. Pure coin tosses by sector would almost never show the
// simple cases (all lost, all kept, one whole write missing in the middle), which find bugs too.
void Disk::State::lose_unflushed() {
  enum class Pattern : std::uint8_t { kAllLost, kAllKept, kByWrite, kBySector };
  const auto pattern = static_cast<Pattern>(random.below(4));
  std::map<std::uint64_t, bool> write_kept;
  for (auto& [page, versions] : unflushed) {
    Page left;
    copy_page(media_page(page), left.data());
    std::size_t kept_whole = 0;  // how many of the versions count, for the patterns by write
    if (pattern == Pattern::kAllKept) kept_whole = versions.size();
    if (pattern == Pattern::kByWrite) {
      for (std::size_t i = 0; i < versions.size(); ++i) {
        const auto [found, is_new] = write_kept.try_emplace(versions[i].write_number, false);
        if (is_new) found->second = random.coin();
        if (found->second) kept_whole = i + 1;
      }
    }
    for (std::size_t sector = 0; sector < kSectorsPerPage; ++sector) {
      const std::size_t kept = pattern == Pattern::kBySector ? random.below(versions.size() + 1) : kept_whole;
      if (kept == 0) continue;
      const PagePointer& bytes = versions[kept - 1].page;
      std::byte* to = left.data() + sector * kSectorBytes;
      if (bytes == nullptr) {
        std::memset(to, 0, kSectorBytes);
      } else {
        std::memcpy(to, bytes->data() + sector * kSectorBytes, kSectorBytes);
      }
    }
    set_media_page(page, page_from(left.data()));
    // A discard that was lost takes its space again.
    if (media.contains(page)) allocated.insert(page, page + 1);
  }
  unflushed.clear();
}

// What an operation in flight at a power cut leaves: nothing, all, or any of its sectors.
void Disk::State::leave_traces_of(const Operation& operation) {
  if (operation.kind != Kind::kWrite && operation.kind != Kind::kDiscard) return;
  const std::uint64_t end = std::min(operation.end, size_bytes / kPageBytes);
  const std::uint64_t outcome = random.below(3);
  if (outcome == 0) return;
  for (std::uint64_t page = operation.begin; page < end; ++page) {
    if (operation.kind == Kind::kDiscard && !media.contains(page)) continue;
    if (operation.kind == Kind::kWrite && allocated.pages_missing(page, page + 1) != 0) {
      if (allocated.pages() >= options.space_bytes_max / kPageBytes) return;
      allocated.insert(page, page + 1);
    }
    const std::byte* bytes = operation.page_bytes(page - operation.begin);
    if (outcome == 1) {
      set_media_page(page, bytes == nullptr ? nullptr : page_from(bytes));
    } else {
      set_media_page(page, mixed_page(media_page(page), bytes));
    }
  }
}

void Disk::State::rewrite(std::uint64_t page, const std::function<void(Page&)>& change) {
  Page bytes;
  copy_page(media_page(page), bytes.data());
  change(bytes);
  set_media_page(page, page_from(bytes.data()));
  if (media.contains(page)) allocated.insert(page, page + 1);
  const auto found = unflushed.find(page);
  if (found == unflushed.end()) return;
  for (Version& version : found->second) {
    copy_page(version.page, bytes.data());
    change(bytes);
    version.page = page_from(bytes.data());
  }
}

const char* disk_fault_name(DiskFault fault) {
  switch (fault) {
    case DiskFault::kReadFails:
      return "read-fails";
    case DiskFault::kBadSector:
      return "bad-sector";
    case DiskFault::kFlippedBit:
      return "flipped-bit";
    case DiskFault::kStaleRead:
      return "stale-read";
    case DiskFault::kMisdirectedRead:
      return "misdirected-read";
    case DiskFault::kWriteFails:
      return "write-fails";
    case DiskFault::kShortWrite:
      return "short-write";
    case DiskFault::kLostWrite:
      return "lost-write";
    case DiskFault::kMisdirectedWrite:
      return "misdirected-write";
    case DiskFault::kFlushFails:
      return "flush-fails";
    case DiskFault::kFlushLies:
      return "flush-lies";
  }
  return "";
}

class Disk::Stored {
 public:
  std::unordered_map<std::uint64_t, PagePointer> media;
  PageRanges allocated;
};

Disk::Disk(World& world, std::uint64_t size_bytes, DiskOptions options)
    : state_(std::make_shared<State>(world, size_bytes, options)) {
  TM_ASSERT(size_bytes % kPageBytes == 0);
  TM_ASSERT(options.latency_min <= options.latency_max);
}

Disk::~Disk() = default;

std::uint64_t Disk::size_bytes() const {
  return state_->size_bytes;
}

namespace {

io::Task<Result<void>> wait_for(OperationPointer operation) {
  while (!operation->done) co_await operation->ended.wait();
  co_return operation->result;
}

void assert_aligned(const Buffer& buffer) {
  TM_ASSERT(buffer.size() % kPageBytes == 0);
  TM_ASSERT(reinterpret_cast<std::uintptr_t>(buffer.data()) % kPageBytes == 0);
}

}  // namespace

io::Task<Result<void>> Disk::read(DiskOffset offset, Buffer out) {
  assert_aligned(out);
  OperationPointer operation = state_->start(Kind::kRead, offset, out.size());
  operation->pieces.push_back(std::move(out));
  co_return co_await wait_for(operation);
}

io::Task<Result<void>> Disk::write(DiskOffset offset, std::vector<Buffer> pieces, io::Durability durability) {
  std::uint64_t length_bytes = 0;
  for (const Buffer& piece : pieces) {
    assert_aligned(piece);
    length_bytes += piece.size();
  }
  OperationPointer operation = state_->start(Kind::kWrite, offset, length_bytes);
  operation->pieces = std::move(pieces);
  operation->durable = durability == io::Durability::kDurable;
  co_return co_await wait_for(operation);
}

io::Task<Result<void>> Disk::flush() {
  OperationPointer operation = state_->start(Kind::kFlush, DiskOffset{0}, 0);
  co_return co_await wait_for(operation);
}

io::Task<Result<void>> Disk::allocate(DiskOffset offset, std::uint64_t length_bytes) {
  OperationPointer operation = state_->start(Kind::kAllocate, offset, length_bytes);
  co_return co_await wait_for(operation);
}

io::Task<Result<void>> Disk::discard(DiskOffset offset, std::uint64_t length_bytes) {
  OperationPointer operation = state_->start(Kind::kDiscard, offset, length_bytes);
  co_return co_await wait_for(operation);
}

void Disk::crash() {
  State& state = *state_;
  state.device.cancel_all();
  std::vector<OperationPointer> in_flight;
  for (auto& [number, operation] : state.in_flight) in_flight.push_back(std::move(operation));
  state.in_flight.clear();
  state.lose_unflushed();
  // In any order: where two overlap, either may lie on top.
  for (std::size_t i = in_flight.size(); i > 1; --i)
    std::swap(in_flight[i - 1], in_flight[state.random.below(i)]);
  for (const OperationPointer& operation : in_flight) state.leave_traces_of(*operation);
}

Disk::StoredPointer Disk::stored() const {
  auto stored = std::make_shared<Stored>();
  stored->media = state_->media;
  stored->allocated = state_->allocated;
  return stored;
}

void Disk::put_back(const StoredPointer& stored) {
  TM_ASSERT(state_->in_flight.empty());
  state_->unflushed.clear();
  state_->media = stored->media;
  state_->allocated = stored->allocated;
}

std::vector<Disk::StoredPointer> Disk::crash_outcomes(std::size_t outcomes_max) {
  State& state = *state_;
  state.device.cancel_all();
  // Each write that may be kept or lost, as its pages, in order.
  std::map<std::uint64_t, std::vector<std::pair<std::uint64_t, PagePointer>>> unflushed;
  for (const auto& [page, versions] : state.unflushed) {
    for (const Version& version : versions) unflushed[version.write_number].emplace_back(page, version.page);
  }
  std::vector<std::vector<std::pair<std::uint64_t, PagePointer>>> writes;
  for (auto& [number, pages] : unflushed) writes.push_back(std::move(pages));
  for (const auto& [number, operation] : state.in_flight) {
    if (operation->kind != Kind::kWrite) continue;
    auto& pages = writes.emplace_back();
    for (std::uint64_t page = operation->begin; page < operation->end; ++page) {
      pages.emplace_back(page, page_from(operation->page_bytes(page - operation->begin)));
    }
  }
  state.in_flight.clear();
  state.unflushed.clear();
  const auto outcome = [&](const std::function<bool(std::size_t)>& kept) {
    auto stored = std::make_shared<Stored>();
    stored->media = state.media;
    stored->allocated = state.allocated;
    for (std::size_t i = 0; i < writes.size(); ++i) {
      if (!kept(i)) continue;
      for (const auto& [page, bytes] : writes[i]) {
        stored->media[page] = bytes;
        stored->allocated.insert(page, page + 1);
      }
    }
    return stored;
  };
  std::vector<StoredPointer> outcomes;
  if (writes.size() < 20 && (std::size_t{1} << writes.size()) <= outcomes_max) {
    for (std::size_t subset = 0; subset < std::size_t{1} << writes.size(); ++subset) {
      outcomes.push_back(outcome([subset](std::size_t i) { return (subset >> i & 1) != 0; }));
    }
    return outcomes;
  }
  for (std::size_t n = 0; n <= writes.size(); ++n) {
    outcomes.push_back(outcome([n](std::size_t i) { return i < n; }));
    if (n == writes.size()) break;
    outcomes.push_back(outcome([n](std::size_t i) { return i == n; }));
    outcomes.push_back(outcome([n](std::size_t i) { return i != n; }));
  }
  return outcomes;
}

void Disk::inject(DiskFault fault, std::uint64_t operations) {
  TM_ASSERT(operations > 0);
  switch (fault) {
    case DiskFault::kReadFails:
    case DiskFault::kBadSector:
    case DiskFault::kFlippedBit:
    case DiskFault::kStaleRead:
    case DiskFault::kMisdirectedRead:
      state_->planned_reads[state_->reads_started + operations] = fault;
      break;
    case DiskFault::kWriteFails:
    case DiskFault::kShortWrite:
    case DiskFault::kLostWrite:
    case DiskFault::kMisdirectedWrite:
      state_->planned_writes[state_->writes_started + operations] = fault;
      break;
    case DiskFault::kFlushFails:
    case DiskFault::kFlushLies:
      state_->planned_flushes[state_->flushes_started + operations] = fault;
      break;
  }
}

const std::vector<DiskFaultHit>& Disk::fault_hits() const {
  return state_->hits;
}

void Disk::forget_planned_faults() {
  state_->planned_reads.clear();
  state_->planned_writes.clear();
  state_->planned_flushes.clear();
}

std::vector<std::uint64_t> Disk::stored_pages() const {
  std::vector<std::uint64_t> offsets;
  for (const auto& [page, bytes] : state_->media) {
    if (bytes != nullptr) offsets.push_back(page * kPageBytes);
  }
  std::sort(offsets.begin(), offsets.end());
  return offsets;
}

std::map<std::uint64_t, std::uint32_t> Disk::page_checksums() const {
  std::map<std::uint64_t, std::uint32_t> checksums;
  const auto add = [&](std::uint64_t page) {
    const PagePointer bytes = state_->seen_page(page);
    if (bytes != nullptr) checksums[page * kPageBytes] = crc32c(*bytes);
  };
  for (const auto& [page, bytes] : state_->media) add(page);
  for (const auto& [page, versions] : state_->unflushed) add(page);
  return checksums;
}

void Disk::hang_until(MonotonicTime due) {
  state_->hung_until = due;
}

void Disk::slow_down(Duration by) {
  state_->slowed_by = by;
}

void Disk::make_unreadable(std::uint64_t byte_offset) {
  TM_ASSERT(byte_offset < state_->size_bytes);
  state_->bad_pages.insert(byte_offset / kPageBytes);
}

void Disk::make_readable(std::uint64_t byte_offset) {
  state_->bad_pages.erase(byte_offset / kPageBytes);
}

void Disk::flip_bit(std::uint64_t byte_offset, unsigned bit) {
  TM_ASSERT(byte_offset < state_->size_bytes);
  TM_ASSERT(bit < 8);
  state_->rewrite(byte_offset / kPageBytes,
                  [&](Page& page) { page[byte_offset % kPageBytes] ^= std::byte{1} << bit; });
}

void Disk::peek(std::uint64_t offset, MutableBytes out) const {
  TM_ASSERT(offset <= state_->size_bytes && out.size() <= state_->size_bytes - offset);
  Page bytes;
  for (std::size_t done = 0; done < out.size();) {
    const std::uint64_t at = offset + done;
    const std::size_t step = std::min(out.size() - done, kPageBytes - at % kPageBytes);
    copy_page(state_->seen_page(at / kPageBytes), bytes.data());
    std::memcpy(out.data() + done, bytes.data() + at % kPageBytes, step);
    done += step;
  }
}

void Disk::poke(std::uint64_t offset, Bytes bytes) {
  TM_ASSERT(offset <= state_->size_bytes && bytes.size() <= state_->size_bytes - offset);
  for (std::size_t done = 0; done < bytes.size();) {
    const std::uint64_t at = offset + done;
    const std::size_t step = std::min(bytes.size() - done, kPageBytes - at % kPageBytes);
    state_->rewrite(at / kPageBytes, [&](Page& page) {
      std::memcpy(page.data() + at % kPageBytes, bytes.data() + done, step);
    });
    done += step;
  }
}

void Disk::shrink(std::uint64_t size_bytes) {
  TM_ASSERT(size_bytes % kPageBytes == 0);
  TM_ASSERT(size_bytes <= state_->size_bytes);
  const std::uint64_t pages = size_bytes / kPageBytes;
  state_->size_bytes = size_bytes;
  std::erase_if(state_->media, [&](const auto& entry) { return entry.first >= pages; });
  state_->unflushed.erase(state_->unflushed.lower_bound(pages), state_->unflushed.end());
  state_->allocated.erase(pages, UINT64_MAX);
}

std::uint64_t Disk::reads() const {
  return state_->reads_started;
}

std::uint64_t Disk::writes() const {
  return state_->writes_started;
}

std::uint64_t Disk::flushes() const {
  return state_->flushes_started;
}

std::uint64_t Disk::bytes_written() const {
  return state_->bytes_written;
}

}  // namespace tidemark::sim
