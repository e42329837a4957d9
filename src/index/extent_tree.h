#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace tidemark::index {

// Memory given out in order and freed all at once, in chunks that grow from 16 KiB to 1 MiB.
class Arena {
 public:
  // 16-byte aligned, uninitialised.
  void* allocate(std::size_t size_bytes);
  std::uint64_t memory_bytes() const { return memory_bytes_; }

 private:
  std::vector<std::unique_ptr<std::byte[]>> chunks_;
  std::size_t chunk_bytes_ = 0;
  std::size_t used_bytes_ = 0;
  std::uint64_t memory_bytes_ = 0;
};

// A B+ tree of the entries of one volume and one size class, by (extent, log id descending). It only
// grows: a table is dropped as a whole. 32 bytes an entry; with nodes two thirds full, as random
// insertion leaves them, some 47 bytes with the inner nodes; ascending insertion fills its nodes.
//
// One writer, or any number of readers once it is no longer written. A Position is valid until the next
// insert. The arena outlives the tree.
class ExtentTree {
 public:
  struct Key {
    std::uint64_t extent = 0;
    std::uint64_t inverse_id = 0;  // ~LogId::raw(): newer comes first
    auto operator<=>(const Key&) const = default;
  };
  struct Entry {
    Key key{};
    std::uint64_t place = 0;
    std::uint32_t checksum = 0;  // of one block; for more than one, their slot in the table
    std::uint32_t kind = 0;
  };
  static_assert(sizeof(Entry) == 32);

 private:
  static constexpr unsigned kLeafMax = 64;
  static constexpr unsigned kInnerMax = 63;
  struct Node {
    std::uint32_t count = 0;
  };
  struct Leaf : Node {
    Leaf* next = nullptr;
    Entry entries[kLeafMax];
  };
  // keys[i] is at most the smallest key below children[i + 1], and above all below children[i].
  struct Inner : Node {
    Key keys[kInnerMax];
    Node* children[kInnerMax + 1];
  };

 public:
  class Position {
   public:
    Position() = default;
    bool valid() const { return leaf_ != nullptr; }
    const Entry& entry() const { return leaf_->entries[index_]; }
    void next() {
      if (++index_ == leaf_->count) {
        leaf_ = leaf_->next;
        index_ = 0;
      }
    }

   private:
    friend class ExtentTree;
    Position(const Leaf* leaf, unsigned index) : leaf_(leaf), index_(index) {}
    const Leaf* leaf_ = nullptr;
    unsigned index_ = 0;
  };

  explicit ExtentTree(Arena& arena) : arena_(arena) {}
  ExtentTree(const ExtentTree&) = delete;
  ExtentTree& operator=(const ExtentTree&) = delete;

  struct Inserted {
    Entry& entry;
    bool fresh = false;  // false: the key was there already
  };
  // The entry of `key`, made with empty values when it is new.
  Inserted insert(Key key);
  // The first entry at or after `key`.
  Position seek(Key key) const;

 private:
  static bool is_full(const Node* node, unsigned height);
  static unsigned child_index(const Inner& inner, Key key);
  static unsigned entry_index(const Leaf& leaf, Key key);
  Leaf* make_leaf();
  Inner* make_inner();
  void split_child(Inner& parent, unsigned at, unsigned child_height, Key key);

  Arena& arena_;
  Node* root_ = nullptr;
  unsigned height_ = 0;  // of the root; leaves are at height 0
};

}  // namespace tidemark::index
