#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"

namespace tidemark::simulation {

// What the two volumes hold, one number for each half of a block, the first volume's first. Every write has
// numbers of its own, so content tells which write made it. The smallest write is half a block.
using Image = std::vector<std::uint32_t>;
inline constexpr std::size_t kHalves = 2;
inline constexpr std::size_t kHalfBytes = kBlockSizeBytes / kHalves;

// The group as it should be, whoever holds it: after each entry of every branch, what the volumes hold; and
// where the marks are. Log ids are the group's own, so one model serves both nodes of a pair.
class Model {
 public:
  explicit Model(std::size_t blocks) : blank_(std::make_shared<Image>(blocks * kHalves, 0)) {}

  std::shared_ptr<const Image> blank() const { return blank_; }
  void add(LogId id, std::shared_ptr<const Image> image) { images_[id.raw()] = std::move(image); }
  // Null when nobody was seen to append it, or a crash took it.
  std::shared_ptr<const Image> find(LogId id) const {
    const auto at = images_.find(id.raw());
    return at == images_.end() ? nullptr : at->second;
  }
  void forget(LogId id) {
    images_.erase(id.raw());
    std::erase_if(marks, [id](const auto& mark) { return mark.second == id; });
  }
  // In the order of epochs and sequences.
  const std::map<std::uint64_t, std::shared_ptr<const Image>>& images() const { return images_; }

  std::map<std::string, LogId> marks{};  // the point that each names

 private:
  std::shared_ptr<const Image> blank_;
  std::map<std::uint64_t, std::shared_ptr<const Image>> images_;
};

// What one node appended as the writer, in the order in which it did. A crash takes entries from the end
// alone.
struct Appended {
  std::vector<LogId> order{};
  // Entries before this position survive any crash: a FLUSH, a FUA, a mark or a restore was acknowledged
  // after them.
  std::size_t durable_count = 0;
  // Of these, those that a FLUSH or FUA covered: in sync, the other node has them too.
  std::size_t flushed_count = 0;

  std::optional<std::size_t> position(LogId id) const {
    for (std::size_t i = order.size(); i-- > 0;) {
      if (order[i] == id) return i;
    }
    return std::nullopt;
  }
};

}  // namespace tidemark::simulation
