#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/place.h"
#include "index/extent.h"
#include "index/extent_tree.h"

namespace tidemark::index {

// What a key says about its extent. Numbers are on disk (docs/formats/index.md).
enum class EntryKind : std::uint8_t { kZero = 1, kData = 2 };

// What is known of the entries of one epoch in a table or in the runs.
struct EpochSpan {
  std::uint64_t first_sequence = 0;
  std::uint64_t last_sequence = 0;
  std::uint64_t place_max = 0;  // raw
  bool operator==(const EpochSpan&) const = default;
};
using EpochSpans = std::map<std::uint32_t, EpochSpan>;
void extend_span(EpochSpans& spans, LogId id, Place place);
void merge_spans(EpochSpans& into, const EpochSpans& from);

// The newest entries in memory, by (volume, size class, extent, log id descending), shared by both twins.
//
// Cost: 32 bytes a key in tree nodes that are between half full and full, so 35 (ascending) to 50 bytes for
// a 4 KiB write; a key of 64 KiB has 64 bytes of checksums beside it, one of 1 MiB 1 KiB. Measured
// figures are those of bench/index_bench.cc.
//
// Owned by an index. One writer, on the reactor thread; once nothing is inserted any more, any thread
// may read. Cursors are valid until the next insert. Nothing is removed: a table is dropped as a whole.
class MemoryTable {
 public:
  MemoryTable() = default;
  MemoryTable(const MemoryTable&) = delete;
  MemoryTable& operator=(const MemoryTable&) = delete;

  // One checksum a block. A key that exists gets the values given last, which for a replayed entry are its
  // own.
  void insert_data(VolumeId volume, BlockRange blocks, LogId id, Place place,
                   std::span<const std::uint32_t> checksums);
  void insert_zero(VolumeId volume, BlockRange blocks, LogId id, Place place);
  // All of `other`'s keys at places from `bound` on. `other_wins` decides about keys that both have: true
  // takes those of `other`.
  void insert_all(const MemoryTable& other, Place bound, bool other_wins);

  std::uint64_t keys() const { return keys_; }
  std::uint64_t memory_bytes() const;
  const EpochSpans& epochs() const { return epochs_; }

  // Goes forward over the keys of one volume and size class.
  class Cursor {
   public:
    Cursor() = default;
    // To the first key at or after (extent, id), never back.
    void seek(std::uint64_t extent, std::uint64_t id_raw);
    void next() { position_.next(); }
    bool valid() const { return position_.valid(); }
    std::uint64_t extent() const { return position_.entry().key.extent; }
    std::uint64_t id_raw() const { return ~position_.entry().key.inverse_id; }
    EntryKind kind() const { return static_cast<EntryKind>(position_.entry().kind); }
    std::uint64_t place_raw() const { return position_.entry().place; }
    // kData: one a block of the extent.
    std::span<const std::uint32_t> checksums() const;
    ExtentTree::Key key() const { return position_.entry().key; }

   private:
    friend class MemoryTable;
    const MemoryTable* table_ = nullptr;
    const ExtentTree* tree_ = nullptr;
    unsigned size_class_ = 0;
    bool positioned_ = false;
    ExtentTree::Position position_;
  };

  // The trees of one volume, to look up several size classes without searching for the volume again.
  class Volume {
   public:
    bool has(unsigned size_class) const { return trees_[size_class] != nullptr; }

   private:
    friend class MemoryTable;
    std::array<std::unique_ptr<ExtentTree>, kSizeClassCount> trees_{};
  };
  const Volume* find(VolumeId volume) const;
  const std::map<std::uint32_t, Volume>& volumes() const { return volumes_; }
  // Not yet at a key: seek first.
  Cursor cursor(const Volume& volume, unsigned size_class) const;

 private:
  // Checksums of keys of 16 or 256 blocks, in slots that are taken one after another.
  class ChecksumSlots {
   public:
    explicit ChecksumSlots(unsigned size_class) : slot_size_(extent_blocks(size_class)) {}
    std::uint32_t take();
    std::span<std::uint32_t> at(std::uint32_t slot) const;
    std::uint64_t memory_bytes() const { return chunks_.size() * kChunkChecksums * 4; }

   private:
    static constexpr std::uint64_t kChunkChecksums = 4096;
    std::uint64_t slot_size_;
    std::uint32_t used_ = 0;
    std::vector<std::unique_ptr<std::uint32_t[]>> chunks_;
  };

  ExtentTree& tree(VolumeId volume, unsigned size_class);
  void insert_key(VolumeId volume, unsigned size_class, ExtentTree::Key key, EntryKind kind,
                  std::uint64_t place, std::span<const std::uint32_t> checksums, bool overwrite);

  Arena arena_;
  std::map<std::uint32_t, Volume> volumes_;
  std::array<ChecksumSlots, kDataSizeClassMax> slots_{ChecksumSlots(1), ChecksumSlots(2)};
  EpochSpans epochs_;
  std::uint64_t keys_ = 0;
};

}  // namespace tidemark::index
