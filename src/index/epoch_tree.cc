#include "index/epoch_tree.h"

#include <algorithm>

namespace tidemark::index {

Result<void> EpochTree::add(const EpochInfo& info) {
  const std::string name = "epoch " + std::to_string(info.number.value);
  if (info.number.value == 0 || info.number.value > kEpochMax) {
    return fail(ErrorCode::kInvalid, name + " has a number out of bounds");
  }
  if (const EpochInfo* known = find(info.number)) {
    if (known->identity == info.identity && known->parent == info.parent) return {};
    return fail(ErrorCode::kInvalid, name + " is known with another identity");
  }
  if (!epochs_.empty()) {
    if (info.parent.epoch() >= info.number || find(info.parent.epoch()) == nullptr) {
      return fail(ErrorCode::kInvalid, name + " continues after " + info.parent.to_string() +
                                           ", which is not in an earlier known epoch");
    }
  } else if (info.parent > LogId(info.number, 0)) {
    // Every way back must end: at the root, or where the tree was cut.
    return fail(ErrorCode::kInvalid,
                name + " continues after " + info.parent.to_string() + ", which is not before it");
  }
  epochs_[info.number] = info;
  return {};
}

const EpochInfo* EpochTree::find(Epoch number) const {
  const auto at = epochs_.find(number);
  return at == epochs_.end() ? nullptr : &at->second;
}

EpochInfo* EpochTree::find(Epoch number) {
  const auto at = epochs_.find(number);
  return at == epochs_.end() ? nullptr : &at->second;
}

void EpochTree::extend(LogId id, WallTime timer) {
  EpochInfo* info = find(id.epoch());
  TM_ASSERT(info != nullptr);
  if (info->last < id) {
    info->last = id;
    info->last_timer = timer;
  }
}

std::optional<Epoch> EpochTree::next_number(std::uint32_t parity) const {
  std::uint32_t number = epochs_.empty() ? 1 : epochs_.rbegin()->first.value + 1;
  if (number % 2 != parity % 2) ++number;
  if (number > kEpochMax) return std::nullopt;
  return Epoch{number};
}

bool EpochTree::is_ancestor(LogId ancestor, LogId id) const {
  while (id.epoch() > ancestor.epoch()) {
    const EpochInfo* info = find(id.epoch());
    // The root lies in the epoch that continues it: there is nothing before it.
    if (info == nullptr || info->parent.epoch() == id.epoch()) return false;
    id = info->parent;
  }
  return id.epoch() == ancestor.epoch() && ancestor.sequence() <= id.sequence();
}

LogId EpochTree::newest_whole(LogId point, LogId oldest) const {
  LogId whole = point;
  LogId at = point;
  while (at.epoch() >= oldest.epoch() && !(at.epoch() == oldest.epoch() && at <= oldest)) {
    const EpochInfo* info = find(at.epoch());
    if (info == nullptr) break;
    if (at > info->last) {
      // Never received. Nothing at all of this epoch leaves the one that it continues.
      whole = at = info->last.sequence() > 0 ? info->last : info->parent;
    } else if (at.sequence() < info->complete_from) {
      whole = at = info->parent;
    } else if (info->complete_from > 0 || info->parent.epoch() == at.epoch()) {
      break;
    } else {
      at = info->parent;
    }
  }
  return whole;
}

bool EpochTree::has_gap_after(Epoch number) const {
  const EpochInfo* info = find(number);
  if (info == nullptr || info->cut) return info != nullptr;
  return std::any_of(epochs_.begin(), epochs_.end(), [&](const auto& other) {
    return other.second.parent.epoch() == number && other.second.parent > info->last && other.first != number;
  });
}

LogId EpochTree::common_ancestor(LogId a, LogId b) const {
  while (a.epoch() != b.epoch()) {
    LogId& younger = a.epoch() > b.epoch() ? a : b;
    const EpochInfo* info = find(younger.epoch());
    // A tree that was cut below this point: the older side is as far as anybody can tell. Or the root.
    if (info == nullptr || info->parent.epoch() == younger.epoch()) return LogId{};
    younger = info->parent;
  }
  return a.sequence() < b.sequence() ? a : b;
}

Path EpochTree::path(LogId point, LogId above, bool open_ended) const {
  TM_ASSERT(is_ancestor(above, point));
  Path path;
  std::uint64_t last = open_ended ? kSequenceMax : point.sequence();
  LogId at = point;
  while (at.epoch() != above.epoch()) {
    if (last >= 1) path.steps.push_back({at.epoch(), 1, last});
    at = find(at.epoch())->parent;
    last = at.sequence();
  }
  if (last > above.sequence()) path.steps.push_back({at.epoch(), above.sequence() + 1, last});
  return path;
}

std::vector<EpochTree::Branch> EpochTree::branches(LogId head) const {
  std::vector<Branch> out;
  for (const auto& [number, info] : epochs_) {
    if (is_ancestor(LogId(number, 1), head)) {
      // On the way to the head, but perhaps left before its end.
      const LogId left_at = common_ancestor(info.last, head);
      if (left_at != info.last && number != head.epoch()) out.push_back({number, left_at});
      continue;
    }
    out.push_back({number, common_ancestor(info.last, head)});
  }
  return out;
}

}  // namespace tidemark::index
