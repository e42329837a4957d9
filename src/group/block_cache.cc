#include "group/block_cache.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "base/assert.h"
#include "base/ids.h"

// S3-FIFO ("FIFO queues are all you need for cache eviction", SOSP 2023). Three queues, oldest first out:
//   small  a tenth of the blocks; everything new enters here
//   main   blocks that were read again while in small, or came back soon after they left it
//   ghost  the keys alone of what left small unread, as many as there are blocks
// A block leaves small for main when it was read since, else for ghost. A block at the end of main that was
// read since goes round once more for each of its last three reads. So a scan passes through small and pushes
// nothing out of main.
//
// The versions of a block have one hash, so that a look-up meets all of them.
//
// Invariants
//   1. Each entry is in exactly one queue, or on the free list. Those in small and main own a block of
//   memory.
//   2. An entry that is not free is in the table exactly once; the table is at most half full.
//   3. Entries, table, and slabs together never exceed the size.
//   4. Of a block there are at most kVersionsMax entries, each with another place, and at most one of them is
//   the base's. One without a place is.

namespace tidemark::group {

namespace {

constexpr std::uint32_t kNone = UINT32_MAX;
constexpr std::uint64_t kSlabBlocks = 256;  // 1 MiB at a time
constexpr std::uint8_t kFrequencyMax = 3;
constexpr std::uint64_t kSmallShare = 10;  // small holds one block in so many
// Beyond, a client that reads one block at each of its points would make every look-up near it long.
constexpr std::uint32_t kVersionsMax = 8;
// What a larger write replaces is more likely to be read in order, with read-ahead, than to be worth the
// copy.
constexpr std::uint64_t kCopiedBlocksMax = 16;

std::uint64_t hash_of(const CacheKey& key) {
  std::uint64_t h = key.block + 0x9e3779b97f4a7c15ull * (key.volume + 1);
  h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9ull;
  h = (h ^ (h >> 27)) * 0x94d049bb133111ebull;
  return h ^ (h >> 31);
}

enum class Queue : std::uint8_t { kFree, kSmall, kMain, kGhost };

struct Entry {
  CacheKey key{};
  Place place{};                   // of this version; none for what came from the base
  std::uint32_t previous = kNone;  // towards the oldest
  std::uint32_t next = kNone;      // towards the newest
  std::uint32_t memory = kNone;    // index of its block in the slabs
  Queue queue = Queue::kFree;
  std::uint8_t frequency = 0;
  bool is_in_base = false;
  bool is_read = false;  // since it was written last

  bool is(Place version) const { return version.is_none() ? is_in_base : place == version; }
};
static_assert(sizeof(Entry) == 40);

struct List {
  std::uint32_t oldest = kNone;
  std::uint32_t newest = kNone;
  std::uint64_t count = 0;
};

// Each block costs its memory, two entries (one for a ghost), its part of the table, its place in the list of
// free memory, and a byte of the list of slabs.
constexpr std::uint64_t kTableShare = 8;
constexpr std::uint64_t kCostPerBlock =
    kBlockSizeBytes + 2 * sizeof(Entry) + kTableShare * sizeof(std::uint32_t) + sizeof(std::uint32_t) + 1;
constexpr std::uint64_t kCostFixed = sizeof(std::uint64_t);

}  // namespace

struct BlockCache::State {
  explicit State(std::uint64_t bytes);

  // The first for which `match` says so, among the entries of all versions of this block.
  template <typename Match>
  std::uint32_t find_if(const CacheKey& key, Match match) const;
  std::uint32_t find(const CacheKey& key, Place version) const;
  std::uint32_t find_newest(const CacheKey& key) const;
  void limit_versions(const CacheKey& key);
  void forget_base(const CacheKey& key);
  void forget_base(std::uint32_t entry);
  void link(std::uint32_t entry);
  void unlink(std::uint32_t entry);
  void push(Queue queue, std::uint32_t entry);
  void remove_from_queue(std::uint32_t entry);
  List& list(Queue queue) { return lists[static_cast<std::size_t>(queue)]; }
  const List& list(Queue queue) const { return lists[static_cast<std::size_t>(queue)]; }

  std::uint64_t resident() const { return list(Queue::kSmall).count + list(Queue::kMain).count; }
  void forget(std::uint32_t entry);
  // Keeps its key alone.
  void make_ghost(std::uint32_t entry);
  void evict();
  bool evict_from_small();
  void evict_from_main();
  std::uint32_t take_entry();
  std::uint32_t take_memory();
  std::byte* memory_of(std::uint32_t index) {
    return slabs[index / kSlabBlocks].get() + index % kSlabBlocks * kBlockSizeBytes;
  }

  const std::uint64_t size_bytes;
  std::uint64_t blocks_max = 0;
  std::uint64_t small_max = 0;
  std::vector<Entry> entries;        // grows to 2 × blocks_max
  std::vector<std::uint32_t> table;  // indexes of entries, kNone where free; linear probing
  std::vector<std::unique_ptr<std::byte[]>> slabs;
  std::uint64_t memory_used = 0;  // blocks handed out of the slabs so far
  std::vector<std::uint32_t> memory_free;
  List lists[4];              // by Queue
  std::uint64_t volumes = 0;  // numbers given so far
  BlockCacheStatus status;
};

BlockCache::State::State(std::uint64_t bytes) : size_bytes(bytes) {
  // Indexes have 32 bits; 4 TiB of cache is not what this is for.
  constexpr std::uint64_t kBlocksMax = 1ull << 30;
  blocks_max = size_bytes < kCostFixed ? 0 : std::min((size_bytes - kCostFixed) / kCostPerBlock, kBlocksMax);
  small_max = std::max<std::uint64_t>(1, blocks_max / kSmallShare);
  status.size_bytes = size_bytes;
}

// ---- The table ----

template <typename Match>
std::uint32_t BlockCache::State::find_if(const CacheKey& key, Match match) const {
  if (table.empty()) return kNone;
  const std::uint64_t mask = table.size() - 1;
  for (std::uint64_t i = hash_of(key) & mask;; i = (i + 1) & mask) {
    const std::uint32_t index = table[i];
    if (index == kNone) return kNone;
    if (entries[index].key == key && match(entries[index])) return index;
  }
}

std::uint32_t BlockCache::State::find(const CacheKey& key, Place version) const {
  return find_if(key, [version](const Entry& entry) { return entry.is(version); });
}

std::uint32_t BlockCache::State::find_newest(const CacheKey& key) const {
  std::uint32_t newest = kNone;
  find_if(key, [&](const Entry& entry) {
    if (newest == kNone || entry.place > entries[newest].place) {
      newest = static_cast<std::uint32_t>(&entry - entries.data());
    }
    return false;
  });
  return newest;
}

void BlockCache::State::link(std::uint32_t entry) {
  const std::uint64_t mask = table.size() - 1;
  std::uint64_t i = hash_of(entries[entry].key) & mask;
  while (table[i] != kNone) i = (i + 1) & mask;
  table[i] = entry;
}

// Takes the entry out and moves up those behind it that it kept from their place, so that no marks of deleted
// entries pile up.
void BlockCache::State::unlink(std::uint32_t entry) {
  const std::uint64_t mask = table.size() - 1;
  std::uint64_t hole = hash_of(entries[entry].key) & mask;
  while (table[hole] != entry) hole = (hole + 1) & mask;
  for (std::uint64_t i = (hole + 1) & mask; table[i] != kNone; i = (i + 1) & mask) {
    const std::uint64_t home = hash_of(entries[table[i]].key) & mask;
    if (((i - home) & mask) < ((i - hole) & mask)) continue;
    table[hole] = table[i];
    hole = i;
  }
  table[hole] = kNone;
}

// ---- The queues ----

void BlockCache::State::push(Queue queue, std::uint32_t index) {
  List& to = list(queue);
  Entry& entry = entries[index];
  entry.queue = queue;
  entry.previous = to.newest;
  entry.next = kNone;
  (to.newest == kNone ? to.oldest : entries[to.newest].next) = index;
  to.newest = index;
  ++to.count;
}

void BlockCache::State::remove_from_queue(std::uint32_t index) {
  Entry& entry = entries[index];
  List& from = list(entry.queue);
  (entry.previous == kNone ? from.oldest : entries[entry.previous].next) = entry.next;
  (entry.next == kNone ? from.newest : entries[entry.next].previous) = entry.previous;
  --from.count;
}

void BlockCache::State::forget(std::uint32_t index) {
  Entry& entry = entries[index];
  if (entry.memory != kNone) memory_free.push_back(entry.memory);
  entry.memory = kNone;
  unlink(index);
  remove_from_queue(index);
  push(Queue::kFree, index);
}

void BlockCache::State::make_ghost(std::uint32_t index) {
  Entry& entry = entries[index];
  memory_free.push_back(entry.memory);
  entry.memory = kNone;
  entry.frequency = 0;
  remove_from_queue(index);
  push(Queue::kGhost, index);
  if (list(Queue::kGhost).count > blocks_max) forget(list(Queue::kGhost).oldest);
}

void BlockCache::State::evict() {
  if (list(Queue::kSmall).count >= small_max || list(Queue::kMain).count == 0) {
    if (evict_from_small()) return;
  }
  evict_from_main();
}

// False when all that was in small was read meanwhile and is in main now.
bool BlockCache::State::evict_from_small() {
  while (list(Queue::kSmall).count > 0) {
    const std::uint32_t index = list(Queue::kSmall).oldest;
    Entry& entry = entries[index];
    if (entry.frequency > 0) {
      entry.frequency = 0;
      remove_from_queue(index);
      push(Queue::kMain, index);
      continue;
    }
    make_ghost(index);
    ++status.evictions;
    return true;
  }
  return false;
}

void BlockCache::State::evict_from_main() {
  // Each round takes one from a frequency, so it ends after three rounds at most.
  for (;;) {
    const std::uint32_t index = list(Queue::kMain).oldest;
    TM_ASSERT(index != kNone);
    Entry& entry = entries[index];
    if (entry.frequency == 0) {
      ++status.evictions;
      forget(index);
      return;
    }
    --entry.frequency;
    remove_from_queue(index);
    push(Queue::kMain, index);
  }
}

// ---- Memory ----

std::uint32_t BlockCache::State::take_entry() {
  if (list(Queue::kFree).count > 0) {
    const std::uint32_t index = list(Queue::kFree).oldest;
    remove_from_queue(index);
    return index;
  }
  TM_ASSERT(entries.size() < 2 * blocks_max);
  entries.emplace_back();
  return static_cast<std::uint32_t>(entries.size() - 1);
}

std::uint32_t BlockCache::State::take_memory() {
  if (!memory_free.empty()) {
    const std::uint32_t index = memory_free.back();
    memory_free.pop_back();
    return index;
  }
  if (memory_used == slabs.size() * kSlabBlocks) {
    const std::uint64_t blocks = std::min(kSlabBlocks, blocks_max - memory_used);
    slabs.push_back(std::make_unique_for_overwrite<std::byte[]>(blocks * kBlockSizeBytes));
  }
  return static_cast<std::uint32_t>(memory_used++);
}

// ---- Versions ----

// Makes room for one more.
void BlockCache::State::limit_versions(const CacheKey& key) {
  std::uint32_t count = 0;
  std::uint32_t oldest = kNone;
  find_if(key, [&](const Entry& entry) {
    ++count;
    if (oldest == kNone || entry.place < entries[oldest].place) {
      oldest = static_cast<std::uint32_t>(&entry - entries.data());
    }
    return false;
  });
  if (count >= kVersionsMax) forget(oldest);
}

void BlockCache::State::forget_base(const CacheKey& key) {
  const std::uint32_t index = find(key, Place());
  if (index != kNone) forget_base(index);
}

void BlockCache::State::forget_base(std::uint32_t index) {
  if (entries[index].place.is_none()) {
    forget(index);
  } else {
    entries[index].is_in_base = false;
  }
}

// ---- The interface ----

BlockCache::BlockCache(std::uint64_t size_bytes) : state_(std::make_unique<State>(size_bytes)) {}
BlockCache::~BlockCache() = default;

std::uint64_t BlockCache::new_volume() {
  return ++state_->volumes;
}

bool BlockCache::read(CacheKey key, Place version, MutableBytes out) {
  TM_ASSERT(out.size() == kBlockSizeBytes);
  State& state = *state_;
  const std::uint32_t index = state.find(key, version);
  if (index == kNone || state.entries[index].memory == kNone) {
    ++state.status.misses;
    return false;
  }
  Entry& entry = state.entries[index];
  entry.frequency = std::min<std::uint8_t>(kFrequencyMax, static_cast<std::uint8_t>(entry.frequency + 1));
  entry.is_read = true;
  std::memcpy(out.data(), state.memory_of(entry.memory), kBlockSizeBytes);
  ++state.status.hits;
  return true;
}

bool BlockCache::contains(CacheKey key, Place version) const {
  const std::uint32_t index = state_->find(key, version);
  return index != kNone && state_->entries[index].memory != kNone;
}

void BlockCache::insert(CacheKey key, Place version, Bytes block) {
  TM_ASSERT(block.size() == kBlockSizeBytes);
  State& state = *state_;
  if (state.blocks_max == 0) return;
  if (state.table.empty()) {
    // All at once: growing them later would need the old and the new together. The pages are touched as
    // they are used.
    state.entries.reserve(2 * state.blocks_max);
    state.memory_free.reserve(state.blocks_max);
    state.slabs.reserve((state.blocks_max + kSlabBlocks - 1) / kSlabBlocks);
    state.table.assign(std::bit_floor(state.blocks_max * kTableShare), kNone);
  }
  std::uint32_t index = state.find(key, version);
  if (index != kNone && state.entries[index].memory != kNone) return;
  const bool was_ghost = index != kNone;
  bool is_in_base = version.is_none();
  if (was_ghost) {
    // By either of its names.
    version = state.entries[index].place;
    is_in_base = state.entries[index].is_in_base;
    state.forget(index);
  }
  state.limit_versions(key);
  if (state.resident() >= state.blocks_max) state.evict();
  index = state.take_entry();
  Entry& entry = state.entries[index];
  entry.key = key;
  entry.place = version;
  entry.is_in_base = is_in_base;
  entry.is_read = true;
  entry.frequency = 0;
  entry.memory = state.take_memory();
  std::memcpy(state.memory_of(entry.memory), block.data(), kBlockSizeBytes);
  state.link(index);
  state.push(was_ghost ? Queue::kMain : Queue::kSmall, index);
}

void BlockCache::note_write(CacheKey first, Place version, Bytes data) {
  State& state = *state_;
  if (state.table.empty()) return;
  const std::uint64_t blocks = data.size() / kBlockSizeBytes;
  const std::uint64_t mask = state.table.size() - 1;
  for (std::uint64_t i = 0; i < blocks; ++i) {
    __builtin_prefetch(&state.table[hash_of({first.volume, first.block + i}) & mask]);
  }
  for (std::uint64_t i = 0; i < blocks; ++i) {
    const std::uint32_t index = state.find_newest({first.volume, first.block + i});
    if (index == kNone) continue;
    Entry& entry = state.entries[index];
    entry.place = version.plus(static_cast<std::uint32_t>(i));
    entry.is_in_base = false;
    if (entry.memory == kNone) continue;
    if (entry.is_read && blocks <= kCopiedBlocksMax) {
      std::memcpy(state.memory_of(entry.memory), data.data() + i * kBlockSizeBytes, kBlockSizeBytes);
      entry.is_read = false;
    } else {
      state.make_ghost(index);
    }
  }
}

void BlockCache::note_destaged(CacheKey key, Place version) {
  State& state = *state_;
  const std::uint32_t index = state.find(key, version);
  if (index == kNone || state.find(key, Place()) != kNone) return;
  state.entries[index].is_in_base = true;
}

void BlockCache::erase_base(std::uint64_t volume, std::uint64_t begin, std::uint64_t end) {
  State& state = *state_;
  if (begin >= end || state.table.empty()) return;
  // One look-up per block, or one look at every entry, whichever is less.
  if (end - begin <= state.entries.size()) {
    for (std::uint64_t block = begin; block < end; ++block) state.forget_base(CacheKey{volume, block});
    return;
  }
  for (std::uint32_t index = 0; index < state.entries.size(); ++index) {
    const Entry& entry = state.entries[index];
    if (entry.queue == Queue::kFree || !entry.is_in_base || entry.key.volume != volume) continue;
    if (entry.key.block >= begin && entry.key.block < end) state.forget_base(index);
  }
}

std::uint64_t BlockCache::size_bytes() const {
  return state_->size_bytes;
}

BlockCacheStatus BlockCache::status() const {
  const State& state = *state_;
  BlockCacheStatus status = state.status;
  const std::uint64_t slab_blocks = std::min(state.slabs.size() * kSlabBlocks, state.blocks_max);
  status.used_bytes = slab_blocks * kBlockSizeBytes + state.entries.capacity() * sizeof(Entry) +
                      (state.table.capacity() + state.memory_free.capacity()) * sizeof(std::uint32_t) +
                      state.slabs.capacity() * sizeof(std::unique_ptr<std::byte[]>);
  return status;
}

}  // namespace tidemark::group
