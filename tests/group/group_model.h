#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "format/batch.h"
#include "group/state.h"
#include "sim/random.h"

namespace tidemark::group {

// What a group must be, said in the plainest way: the whole contents of every volume at every point of the
// order. Blocks are shared between points, so that a point costs a few pointers.
class GroupModel {
 public:
  using Block = std::array<std::byte, kBlockSizeBytes>;
  using BlockPointer = std::shared_ptr<const Block>;  // null: zeroes
  using Content = std::vector<BlockPointer>;

  struct VolumeState {
    std::string name;
    std::shared_ptr<const Content> content;
    std::uint64_t size_bytes() const { return content->size() * kBlockSizeBytes; }
  };
  using Shape = std::map<VolumeId, VolumeState>;

  // One entry of the order, in the order of appending.
  struct Point {
    LogId id{};
    format::EntryKind kind = format::EntryKind::kControl;
    VolumeId volume{};
    BlockRange blocks{};
    Shape shape{};  // after it
    std::optional<WallTime> timer{};
    // What it does beside the contents; each as the record says.
    std::optional<LogId> epoch_parent{};
    std::string mark{};
    LogId mark_at{};
    enum class MarkChange { kNone, kMake, kHold, kRelease, kDelete } mark_change = MarkChange::kNone;
    Epoch released{};
  };
  struct MarkState {
    LogId at{};
    bool held = false;
  };

  GroupModel() = default;

  const std::vector<Point>& order() const { return order_; }
  std::size_t durable = 0;  // so many points were said to be durable

  LogId head() const { return order_.back().id; }
  const Shape& shape_at(LogId id) const {
    static const Shape kEmpty;
    const auto at = index_.find(id);
    return at == index_.end() ? kEmpty : order_[at->second].shape;
  }
  const Shape& shape() const { return order_.back().shape; }
  const Point* find(LogId id) const {
    const auto at = index_.find(id);
    return at == index_.end() ? nullptr : &order_[at->second];
  }
  void set_timer(LogId id, WallTime timer) { order_[index_.at(id)].timer = timer; }

  // The next point, which begins as a copy of what is live; the caller changes it.
  Point next() const {
    Point point;
    point.id = head().next();
    point.shape = shape();
    return point;
  }
  void push(Point point) {
    index_[point.id] = order_.size();
    order_.push_back(std::move(point));
    replay_from(order_.size() - 1);
  }
  // Forgets what lies after `id` in the order of appending.
  void truncate_to(LogId id) {
    const std::size_t size = index_.at(id) + 1;
    for (std::size_t i = size; i < order_.size(); ++i) index_.erase(order_[i].id);
    order_.resize(size);
    marks_.clear();
    parents_.clear();
    released_.clear();
    last_.clear();
    for (std::size_t i = 0; i < size; ++i) replay_from(i);
  }
  std::optional<std::size_t> position(LogId id) const {
    const auto at = index_.find(id);
    return at == index_.end() ? std::nullopt : std::optional(at->second);
  }

  // ---- The tree ----
  LogId parent(LogId id) const { return id.sequence() > 1 ? id.previous() : parents_.at(id.epoch()); }
  bool is_ancestor(LogId ancestor, LogId id) const {
    while (true) {
      if (ancestor.epoch() == id.epoch()) return ancestor.sequence() <= id.sequence();
      if (id.epoch() < ancestor.epoch()) return false;
      const auto up = parents_.find(id.epoch());
      if (up == parents_.end()) return false;
      if (up->second.epoch() == id.epoch()) return false;
      id = up->second;
    }
  }
  const std::map<Epoch, LogId>& parents() const { return parents_; }
  const std::map<std::string, MarkState>& marks() const { return marks_; }
  bool released(Epoch epoch) const { return released_.contains(epoch); }
  std::optional<LogId> last_of(Epoch epoch) const {
    const auto at = last_.find(epoch);
    return at == last_.end() ? std::nullopt : std::optional(at->second);
  }

  // ---- Contents ----
  static void overlay(Shape& shape, VolumeId volume, std::uint64_t offset, Bytes data) {
    VolumeState& state = shape.at(volume);
    auto content = std::make_shared<Content>(*state.content);
    std::uint64_t done = 0;
    while (done < data.size()) {
      const std::uint64_t block = (offset + done) / kBlockSizeBytes;
      const std::uint64_t in_block = (offset + done) % kBlockSizeBytes;
      const std::uint64_t length = std::min<std::uint64_t>(kBlockSizeBytes - in_block, data.size() - done);
      auto fresh = std::make_shared<Block>();
      if ((*content)[block] != nullptr) {
        *fresh = *(*content)[block];
      } else {
        fresh->fill(std::byte{0});
      }
      std::memcpy(fresh->data() + in_block, data.data() + done, length);
      (*content)[block] = std::move(fresh);
      done += length;
    }
    state.content = std::move(content);
  }
  static void zero_blocks(Shape& shape, VolumeId volume, BlockRange blocks) {
    VolumeState& state = shape.at(volume);
    auto content = std::make_shared<Content>(*state.content);
    for (std::uint64_t block = blocks.begin; block < blocks.end; ++block) (*content)[block] = nullptr;
    state.content = std::move(content);
  }
  static void resize(Shape& shape, VolumeId volume, std::uint64_t blocks) {
    VolumeState& state = shape.at(volume);
    auto content = std::make_shared<Content>(*state.content);
    content->resize(blocks);
    state.content = std::move(content);
  }
  static bool same_block(const BlockPointer& expected, Bytes got) {
    return expected == nullptr ? all_zero(got)
                               : std::memcmp(expected->data(), got.data(), kBlockSizeBytes) == 0;
  }
  static bool same_content(const BlockPointer& a, const BlockPointer& b) {
    if (a == b) return true;
    if (a == nullptr) return all_zero(Bytes(*b));
    if (b == nullptr) return all_zero(Bytes(*a));
    return *a == *b;
  }
  // The first block of `got` that is not as expected.
  static std::optional<std::uint64_t> first_difference(const Content& expected, Bytes got) {
    for (std::uint64_t block = 0; block < expected.size(); ++block) {
      if (!same_block(expected[block], got.subspan(block * kBlockSizeBytes, kBlockSizeBytes))) return block;
    }
    return std::nullopt;
  }

 private:
  void replay_from(std::size_t at) {
    const Point& point = order_[at];
    last_[point.id.epoch()] = point.id;
    if (point.epoch_parent.has_value()) parents_[point.id.epoch()] = *point.epoch_parent;
    if (point.released.value != 0) released_[point.released] = true;
    switch (point.mark_change) {
      case Point::MarkChange::kNone:
        break;
      case Point::MarkChange::kMake:
        marks_.try_emplace(point.mark, MarkState{point.mark_at, false});
        break;
      case Point::MarkChange::kHold:
        marks_.at(point.mark).held = true;
        break;
      case Point::MarkChange::kRelease:
        marks_.at(point.mark).held = false;
        break;
      case Point::MarkChange::kDelete:
        marks_.erase(point.mark);
        break;
    }
  }

  std::vector<Point> order_;
  std::map<LogId, std::size_t> index_;
  std::map<Epoch, LogId> parents_;
  std::map<Epoch, LogId> last_;
  std::map<Epoch, bool> released_;
  std::map<std::string, MarkState> marks_;
};

}  // namespace tidemark::group
