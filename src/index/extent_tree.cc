#include "index/extent_tree.h"

#include <algorithm>
#include <new>
#include <type_traits>

#include "base/assert.h"

namespace tidemark::index {

namespace {
constexpr std::size_t kChunkBytesMin = 16 << 10;
constexpr std::size_t kChunkBytesMax = 1 << 20;
constexpr std::size_t kAlignment = 16;
}  // namespace

void* Arena::allocate(std::size_t size_bytes) {
  size_bytes = (size_bytes + kAlignment - 1) / kAlignment * kAlignment;
  TM_ASSERT(size_bytes <= kChunkBytesMin);
  if (chunks_.empty() || used_bytes_ + size_bytes > chunk_bytes_) {
    chunk_bytes_ = chunks_.empty() ? kChunkBytesMin : std::min(chunk_bytes_ * 2, kChunkBytesMax);
    chunks_.push_back(std::unique_ptr<std::byte[]>(new std::byte[chunk_bytes_]));
    used_bytes_ = 0;
    memory_bytes_ += chunk_bytes_;
  }
  void* memory = chunks_.back().get() + used_bytes_;
  used_bytes_ += size_bytes;
  return memory;
}

ExtentTree::Leaf* ExtentTree::make_leaf() {
  static_assert(std::is_trivially_destructible_v<Leaf>);
  return new (arena_.allocate(sizeof(Leaf))) Leaf;
}

ExtentTree::Inner* ExtentTree::make_inner() {
  static_assert(std::is_trivially_destructible_v<Inner>);
  return new (arena_.allocate(sizeof(Inner))) Inner;
}

bool ExtentTree::is_full(const Node* node, unsigned height) {
  return node->count == (height == 0 ? kLeafMax : kInnerMax);
}

unsigned ExtentTree::child_index(const Inner& inner, Key key) {
  return static_cast<unsigned>(std::upper_bound(inner.keys, inner.keys + inner.count, key) - inner.keys);
}

unsigned ExtentTree::entry_index(const Leaf& leaf, Key key) {
  const Entry* found = std::lower_bound(leaf.entries, leaf.entries + leaf.count, key,
                                        [](const Entry& entry, Key k) { return entry.key < k; });
  return static_cast<unsigned>(found - leaf.entries);
}

// Splits the full child `at`, on the way down to insert `key`. A key behind all of the child's begins an
// empty right half, so that ascending insertion leaves full nodes behind.
void ExtentTree::split_child(Inner& parent, unsigned at, unsigned child_height, Key key) {
  Key separator{};
  Node* right_node = nullptr;
  if (child_height == 0) {
    auto* left = static_cast<Leaf*>(parent.children[at]);
    Leaf* right = make_leaf();
    const bool appends = left->entries[left->count - 1].key < key;
    const unsigned keep = appends ? left->count : left->count / 2;
    std::copy(left->entries + keep, left->entries + left->count, right->entries);
    right->count = left->count - keep;
    left->count = keep;
    right->next = left->next;
    left->next = right;
    separator = appends ? key : right->entries[0].key;
    right_node = right;
  } else {
    auto* left = static_cast<Inner*>(parent.children[at]);
    Inner* right = make_inner();
    const bool appends = left->keys[left->count - 1] < key;
    const unsigned keep = appends ? left->count - 1 : left->count / 2;  // keys; keys[keep] moves up
    separator = left->keys[keep];
    std::copy(left->keys + keep + 1, left->keys + left->count, right->keys);
    std::copy(left->children + keep + 1, left->children + left->count + 1, right->children);
    right->count = left->count - keep - 1;
    left->count = keep;
    right_node = right;
  }
  std::copy_backward(parent.keys + at, parent.keys + parent.count, parent.keys + parent.count + 1);
  std::copy_backward(parent.children + at + 1, parent.children + parent.count + 1,
                     parent.children + parent.count + 2);
  parent.keys[at] = separator;
  parent.children[at + 1] = right_node;
  ++parent.count;
}

ExtentTree::Inserted ExtentTree::insert(Key key) {
  if (root_ == nullptr) root_ = make_leaf();
  if (is_full(root_, height_)) {
    Inner* root = make_inner();
    root->children[0] = root_;
    root_ = root;
    ++height_;
    split_child(*root, 0, height_ - 1, key);
  }
  Node* node = root_;
  for (unsigned height = height_; height > 0; --height) {
    auto* inner = static_cast<Inner*>(node);
    unsigned at = child_index(*inner, key);
    if (is_full(inner->children[at], height - 1)) {
      split_child(*inner, at, height - 1, key);
      if (!(key < inner->keys[at])) ++at;
    }
    node = inner->children[at];
  }
  auto* leaf = static_cast<Leaf*>(node);
  const unsigned at = entry_index(*leaf, key);
  if (at < leaf->count && leaf->entries[at].key == key) return {leaf->entries[at], false};
  std::copy_backward(leaf->entries + at, leaf->entries + leaf->count, leaf->entries + leaf->count + 1);
  ++leaf->count;
  leaf->entries[at] = Entry{.key = key};
  return {leaf->entries[at], true};
}

ExtentTree::Position ExtentTree::seek(Key key) const {
  if (root_ == nullptr) return {};
  const Node* node = root_;
  for (unsigned height = height_; height > 0; --height) {
    const auto* inner = static_cast<const Inner*>(node);
    node = inner->children[child_index(*inner, key)];
  }
  const auto* leaf = static_cast<const Leaf*>(node);
  const unsigned at = entry_index(*leaf, key);
  // The first key of the next leaf is above every separator that led here.
  if (at == leaf->count) return {leaf->next, 0};
  return {leaf, at};
}

}  // namespace tidemark::index
