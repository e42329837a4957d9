#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "index/answer.h"
#include "index/version_index.h"

namespace tidemark::index {

// A bounded cache of what a path's newest entries say, block by block, so that reads of live volumes and of
// views mostly need no look-up in the tables and no run. Owned by an index; reactor thread only.
//
// The map is about one path at a time. An *open* path, that of the live head, has a newest step without an
// end (last_sequence == kSequenceMax): entries go on coming on it. On any other, that of a view, none come
// any more.
//
// Invariant: a known block of a page says what a plain look-up on path() would say:
//   - it becomes known by fill(), from a look-up, unless an insert on the path met its range meanwhile;
//   - every insert on the path replaces it where it is newer;
//   - another path empties the map, except when it is the same path with a later beginning (the
//     floor has risen): then an entry below the beginning reads as base, and so does all that it had covered.
class PathMap {
 public:
  explicit PathMap(std::uint64_t bytes_max);
  PathMap(const PathMap&) = delete;
  PathMap& operator=(const PathMap&) = delete;

  // Whether what is known would stay known if the map were about `path`.
  bool knows(const Path& path) const;
  // The map is about `path` from here on. False when it takes none: no memory, or the path has no steps.
  bool adopt(const Path& path);
  // Adds the answer when all of `blocks` is known; otherwise adds nothing. After adopt().
  bool read(VolumeId volume, BlockRange blocks, PieceBuilder& builder);

  void insert(VolumeId volume, BlockRange blocks, LogId id, Place place, EntryKind kind,
              std::span<const std::uint32_t> checksums);

  // A look-up on the way whose answer is to be filled in. Its owner holds it from before it reads
  // anything until fill(); the map outlives it.
  class Pending {
   public:
    Pending(PathMap& map, VolumeId volume, BlockRange blocks);
    ~Pending();
    Pending(const Pending&) = delete;
    Pending& operator=(const Pending&) = delete;
    // Takes in `pieces`, which begin at the pending range's begin, unless they have become stale.
    void fill(std::span<const Piece> pieces);

   private:
    friend class PathMap;
    PathMap& map_;
    VolumeId volume_;
    BlockRange blocks_;
    bool stale_ = false;
    std::list<Pending*>::iterator self_;
  };

  void clear();
  std::uint64_t memory_bytes() const { return pages_.size() * kPageCostBytes; }

  // Ranges longer than this neither read nor fill the map.
  static constexpr std::uint64_t kRangeBlocksMax = 1024;

 private:
  static constexpr std::uint64_t kPageBlocks = 64;
  struct PageKey {
    std::uint32_t volume = 0;
    std::uint64_t number = 0;
    bool operator==(const PageKey&) const = default;
  };
  struct PageKeyHash {
    std::size_t operator()(const PageKey& key) const noexcept {
      std::uint64_t h = (key.number ^ static_cast<std::uint64_t>(key.volume) << 40) * 0x9e3779b97f4a7c15ull;
      return h ^ h >> 32;
    }
  };
  // Bit i of the masks is about block i of the page; what is not known says nothing.
  struct Page {
    PageKey key{};
    bool referenced = false;
    std::uint64_t known = 0;
    std::uint64_t data = 0;  // of the known: data; otherwise zeroes, or base when the id is 0
    std::array<std::uint64_t, kPageBlocks> ids;
    std::array<std::uint64_t, kPageBlocks> places;
    std::array<std::uint32_t, kPageBlocks> checksums;
  };
  static constexpr std::uint64_t kPageCostBytes = sizeof(Page) + 64;  // with its place in the table

  Page* find(PageKey key);
  Page& make(PageKey key);
  void write(Page& page, BlockRange blocks, std::uint64_t range_begin, LogId id, Place place, EntryKind kind,
             std::span<const std::uint32_t> checksums);
  void fill(VolumeId volume, const Piece& piece);

  std::uint64_t pages_max_;
  Path path_;
  std::uint64_t oldest_raw_ = 0;  // ids below it are not on the path any more
  std::unordered_map<PageKey, std::size_t, PageKeyHash> by_key_;
  std::vector<std::unique_ptr<Page>> pages_;
  std::size_t hand_ = 0;  // second chance: pages referenced since it last passed stay
  std::list<Pending*> pending_;
};

}  // namespace tidemark::index
