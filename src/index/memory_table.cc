#include "index/memory_table.h"

#include <algorithm>

#include "base/assert.h"

namespace tidemark::index {

void extend_span(EpochSpans& spans, LogId id, Place place) {
  const std::uint64_t sequence = id.sequence();
  const auto [at, fresh] = spans.try_emplace(id.epoch().value, EpochSpan{sequence, sequence, place.raw()});
  if (fresh) return;
  EpochSpan& span = at->second;
  span.first_sequence = std::min(span.first_sequence, sequence);
  span.last_sequence = std::max(span.last_sequence, sequence);
  span.place_max = std::max(span.place_max, place.raw());
}

void merge_spans(EpochSpans& into, const EpochSpans& from) {
  for (const auto& [epoch, span] : from) {
    const auto [at, fresh] = into.try_emplace(epoch, span);
    if (fresh) continue;
    at->second.first_sequence = std::min(at->second.first_sequence, span.first_sequence);
    at->second.last_sequence = std::max(at->second.last_sequence, span.last_sequence);
    at->second.place_max = std::max(at->second.place_max, span.place_max);
  }
}

std::uint32_t MemoryTable::ChecksumSlots::take() {
  const std::uint64_t slots_per_chunk = kChunkChecksums / slot_size_;
  if (used_ == chunks_.size() * slots_per_chunk) {
    chunks_.push_back(std::unique_ptr<std::uint32_t[]>(new std::uint32_t[kChunkChecksums]));
  }
  return used_++;
}

std::span<std::uint32_t> MemoryTable::ChecksumSlots::at(std::uint32_t slot) const {
  const std::uint64_t slots_per_chunk = kChunkChecksums / slot_size_;
  return {chunks_[slot / slots_per_chunk].get() + slot % slots_per_chunk * slot_size_, slot_size_};
}

ExtentTree& MemoryTable::tree(VolumeId volume, unsigned size_class) {
  auto& slot = volumes_[volume.value].trees_[size_class];
  if (slot == nullptr) slot = std::make_unique<ExtentTree>(arena_);
  return *slot;
}

void MemoryTable::insert_key(VolumeId volume, unsigned size_class, ExtentTree::Key key, EntryKind kind,
                             std::uint64_t place, std::span<const std::uint32_t> checksums, bool overwrite) {
  const auto inserted = tree(volume, size_class).insert(key);
  ExtentTree::Entry& entry = inserted.entry;
  if (inserted.fresh) {
    ++keys_;
  } else if (!overwrite) {
    return;
  }
  const bool has_slot = !inserted.fresh && entry.kind == static_cast<std::uint32_t>(EntryKind::kData);
  entry.place = place;
  entry.kind = static_cast<std::uint32_t>(kind);
  if (kind != EntryKind::kData) return;
  if (size_class == 0) {
    entry.checksum = checksums.front();
    return;
  }
  ChecksumSlots& slots = slots_[size_class - 1];
  if (!has_slot) entry.checksum = slots.take();
  std::copy(checksums.begin(), checksums.end(), slots.at(entry.checksum).begin());
}

void MemoryTable::insert_data(VolumeId volume, BlockRange blocks, LogId id, Place place,
                              std::span<const std::uint32_t> checksums) {
  TM_ASSERT(!blocks.empty());
  TM_ASSERT(checksums.size() == blocks.count());
  extend_span(epochs_, id, place.plus(static_cast<std::uint32_t>(blocks.count() - 1)));
  for_each_extent(blocks, kDataSizeClassMax, [&](unsigned size_class, std::uint64_t extent) {
    const std::uint64_t skipped = blocks_of_extent(extent, size_class).begin - blocks.begin;
    insert_key(volume, size_class, {extent, ~id.raw()}, EntryKind::kData,
               place.plus(static_cast<std::uint32_t>(skipped)).raw(),
               checksums.subspan(skipped, extent_blocks(size_class)), true);
  });
}

void MemoryTable::insert_zero(VolumeId volume, BlockRange blocks, LogId id, Place place) {
  TM_ASSERT(!blocks.empty());
  extend_span(epochs_, id, place);
  for_each_extent(blocks, kSizeClassMax, [&](unsigned size_class, std::uint64_t extent) {
    insert_key(volume, size_class, {extent, ~id.raw()}, EntryKind::kZero, place.raw(), {}, true);
  });
}

void MemoryTable::insert_all(const MemoryTable& other, Place bound, bool other_wins) {
  for (const auto& [number, volume] : other.volumes_) {
    for (unsigned size_class = 0; size_class < kSizeClassCount; ++size_class) {
      if (!volume.has(size_class)) continue;
      Cursor cursor = other.cursor(volume, size_class);
      for (cursor.seek(0, ~0ull); cursor.valid(); cursor.next()) {
        if (cursor.place_raw() < bound.raw()) continue;
        const bool data = cursor.kind() == EntryKind::kData;
        const std::uint64_t last_block = data ? extent_blocks(size_class) - 1 : 0;
        extend_span(epochs_, LogId::from_raw(cursor.id_raw()),
                    Place::from_raw(cursor.place_raw() + last_block));
        insert_key(VolumeId{number}, size_class, cursor.key(), cursor.kind(), cursor.place_raw(),
                   cursor.checksums(), other_wins);
      }
    }
  }
}

std::uint64_t MemoryTable::memory_bytes() const {
  std::uint64_t bytes = arena_.memory_bytes();
  for (const ChecksumSlots& slots : slots_) bytes += slots.memory_bytes();
  return bytes;
}

const MemoryTable::Volume* MemoryTable::find(VolumeId volume) const {
  const auto found = volumes_.find(volume.value);
  return found == volumes_.end() ? nullptr : &found->second;
}

MemoryTable::Cursor MemoryTable::cursor(const Volume& volume, unsigned size_class) const {
  Cursor cursor;
  cursor.table_ = this;
  cursor.tree_ = volume.trees_[size_class].get();
  cursor.size_class_ = size_class;
  return cursor;
}

void MemoryTable::Cursor::seek(std::uint64_t extent, std::uint64_t id_raw) {
  const ExtentTree::Key target{extent, ~id_raw};
  if (positioned_) {
    // The key looked for is most often the next one.
    if (!valid() || key() >= target) return;
    position_.next();
    if (!valid() || key() >= target) return;
  }
  positioned_ = true;
  position_ = tree_->seek(target);
}

std::span<const std::uint32_t> MemoryTable::Cursor::checksums() const {
  const ExtentTree::Entry& entry = position_.entry();
  if (kind() != EntryKind::kData) return {};
  if (size_class_ == 0) return {&entry.checksum, 1};
  return table_->slots_[size_class_ - 1].at(entry.checksum);
}

}  // namespace tidemark::index
