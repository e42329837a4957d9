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
// Invariants
//   1. Each entry is in exactly one queue, or on the free list. Those in small and main own a block of
//   memory.
//   2. An entry that is not free is in the table exactly once; the table is at most half full.
//   3. Entries, table, and slabs together never exceed the size.

namespace tidemark::group {

namespace {

constexpr std::uint32_t kNone = UINT32_MAX;
constexpr std::uint64_t kSlabBlocks = 256;  // 1 MiB at a time
constexpr std::uint8_t kFrequencyMax = 3;
constexpr std::uint64_t kSmallShare = 10;  // small holds one block in so many

std::uint64_t hash_of(const CacheKey& key) {
  std::uint64_t h = key.block + 0x9e3779b97f4a7c15ull * (key.space + 1);
  h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9ull;
  h = (h ^ (h >> 27)) * 0x94d049bb133111ebull;
  return h ^ (h >> 31);
}

enum class Queue : std::uint8_t { kFree, kSmall, kMain, kGhost };

struct Entry {
  CacheKey key{};
  std::uint32_t previous = kNone;  // towards the oldest
  std::uint32_t next = kNone;      // towards the newest
  std::uint32_t memory = kNone;    // index of its block in the slabs
  Queue queue = Queue::kFree;
  std::uint8_t frequency = 0;
};
static_assert(sizeof(Entry) == 32);

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

  std::uint32_t find(const CacheKey& key) const;
  void link(std::uint32_t entry);
  void unlink(std::uint32_t entry);
  void push(Queue queue, std::uint32_t entry);
  void remove_from_queue(std::uint32_t entry);
  List& list(Queue queue) { return lists[static_cast<std::size_t>(queue)]; }
  const List& list(Queue queue) const { return lists[static_cast<std::size_t>(queue)]; }

  std::uint64_t resident() const { return list(Queue::kSmall).count + list(Queue::kMain).count; }
  void forget(std::uint32_t entry);
  void evict();
  bool evict_from_small();
  void evict_from_main();
  std::uint32_t take_entry();
  std::uint32_t take_memory();
  std::byte* memory_of(std::uint32_t index) {
    return slabs[index / kSlabBlocks].get() + index % kSlabBlocks * kBlockSizeBytes;
  }
  void erase_small_range(std::uint64_t space, std::uint64_t begin, std::uint64_t end);
  void erase_large_range(std::uint64_t space, std::uint64_t begin, std::uint64_t end);

  const std::uint64_t size_bytes;
  std::uint64_t blocks_max = 0;
  std::uint64_t small_max = 0;
  std::vector<Entry> entries;        // grows to 2 × blocks_max
  std::vector<std::uint32_t> table;  // indexes of entries, kNone where free; linear probing
  std::vector<std::unique_ptr<std::byte[]>> slabs;
  std::uint64_t memory_used = 0;  // blocks handed out of the slabs so far
  std::vector<std::uint32_t> memory_free;
  List lists[4];  // by Queue
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

std::uint32_t BlockCache::State::find(const CacheKey& key) const {
  if (table.empty()) return kNone;
  const std::uint64_t mask = table.size() - 1;
  for (std::uint64_t i = hash_of(key) & mask;; i = (i + 1) & mask) {
    const std::uint32_t entry = table[i];
    if (entry == kNone || entries[entry].key == key) return entry;
  }
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
    remove_from_queue(index);
    if (entry.frequency > 0) {
      entry.frequency = 0;
      push(Queue::kMain, index);
      continue;
    }
    memory_free.push_back(entry.memory);
    entry.memory = kNone;
    push(Queue::kGhost, index);
    if (list(Queue::kGhost).count > blocks_max) forget(list(Queue::kGhost).oldest);
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

// ---- Ranges ----

void BlockCache::State::erase_small_range(std::uint64_t space, std::uint64_t begin, std::uint64_t end) {
  for (std::uint64_t block = begin; block < end; ++block) {
    const std::uint32_t index = find(CacheKey{space, block});
    if (index != kNone) forget(index);
  }
}

void BlockCache::State::erase_large_range(std::uint64_t space, std::uint64_t begin, std::uint64_t end) {
  for (std::uint32_t index = 0; index < entries.size(); ++index) {
    const Entry& entry = entries[index];
    if (entry.queue == Queue::kFree || entry.key.space != space) continue;
    if (entry.key.block >= begin && entry.key.block < end) forget(index);
  }
}

// ---- The interface ----

BlockCache::BlockCache(std::uint64_t size_bytes) : state_(std::make_unique<State>(size_bytes)) {}
BlockCache::~BlockCache() = default;

bool BlockCache::read(CacheKey key, MutableBytes out) {
  TM_ASSERT(out.size() == kBlockSizeBytes);
  State& state = *state_;
  const std::uint32_t index = state.find(key);
  if (index == kNone || state.entries[index].memory == kNone) {
    ++state.status.misses;
    return false;
  }
  Entry& entry = state.entries[index];
  entry.frequency = std::min<std::uint8_t>(kFrequencyMax, static_cast<std::uint8_t>(entry.frequency + 1));
  std::memcpy(out.data(), state.memory_of(entry.memory), kBlockSizeBytes);
  ++state.status.hits;
  return true;
}

bool BlockCache::contains(CacheKey key) const {
  const std::uint32_t index = state_->find(key);
  return index != kNone && state_->entries[index].memory != kNone;
}

void BlockCache::insert(CacheKey key, Bytes block) {
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
  std::uint32_t index = state.find(key);
  if (index != kNone && state.entries[index].memory != kNone) {
    std::memcpy(state.memory_of(state.entries[index].memory), block.data(), kBlockSizeBytes);
    return;
  }
  const bool was_ghost = index != kNone;
  if (was_ghost) state.forget(index);
  if (state.resident() >= state.blocks_max) state.evict();
  index = state.take_entry();
  Entry& entry = state.entries[index];
  entry.key = key;
  entry.frequency = 0;
  entry.memory = state.take_memory();
  std::memcpy(state.memory_of(entry.memory), block.data(), kBlockSizeBytes);
  state.link(index);
  state.push(was_ghost ? Queue::kMain : Queue::kSmall, index);
}

void BlockCache::erase(CacheKey key) {
  const std::uint32_t index = state_->find(key);
  if (index != kNone) state_->forget(index);
}

void BlockCache::erase_range(std::uint64_t space, std::uint64_t begin, std::uint64_t end) {
  if (begin >= end || state_->table.empty()) return;
  // One look-up per block, or one look at every entry, whichever is less.
  if (end - begin <= state_->entries.size()) {
    state_->erase_small_range(space, begin, end);
  } else {
    state_->erase_large_range(space, begin, end);
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
