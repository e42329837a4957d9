#pragma once

#include <map>
#include <optional>
#include <vector>

#include "base/ids.h"
#include "base/time.h"
#include "format/records.h"
#include "index/version_index.h"

namespace tidemark::index {

// One epoch as this node knows it.
struct EpochInfo {
  Epoch number{};
  EpochIdentity identity{};
  LogId parent{};  // the entry it continues after
  format::EpochReason reason = format::EpochReason::kCreate;
  WallTime opened{};  // timer value of its first entry
  // Its newest entry that this node has. Where the order went on beyond it, in this epoch or in another that
  // continues after a later one, there is a gap: those entries were never received here.
  LogId last{};
  WallTime last_timer{};  // of that entry
  // Its points before this sequence mix two states and cannot be read: those of a refill before its end, and,
  // on a secondary, those behind a gap until what differs has come (kSequenceMax: it has not). What stands
  // on a later one is whole, whatever is missing before it. 0: as whole as what it continues.
  std::uint64_t complete_from = 0;
  bool released = false;      // its readers gave it up: it holds no space any more
  bool unreplicated = false;  // a tail that the peer never had; held until released
  bool abandoned = false;     // another branch was chosen over it at a resync
  bool cut = false;           // more entries of it were written, and never came here
};

// The epochs of a group: who continues whom, and how far each goes. Invariants: a child's number is greater
// than its parent's; every parent point is the root or lies in a known epoch; the root point is sequence 0 of
// the first epoch.
class EpochTree {
 public:
  // kInvalid when the number is known under another identity, or the parent is unknown or not before it.
  Result<void> add(const EpochInfo& info);
  const EpochInfo* find(Epoch number) const;
  EpochInfo* find(Epoch number);
  // An entry of a known epoch was appended.
  void extend(LogId id, WallTime timer);

  // The smallest number greater than all known whose parity (0 or 1) is `parity`; none when exhausted.
  std::optional<Epoch> next_number(std::uint32_t parity) const;

  // True when `ancestor` is on the way from the root to `id`, both ends included.
  bool is_ancestor(LogId ancestor, LogId id) const;
  // The newest point on the way to `point` that mixes nothing and has no gap behind it; `point` itself when
  // it is one. Not older than `oldest`, which is one.
  LogId newest_whole(LogId point, LogId oldest) const;
  // Whether the order goes on after the last entry that is held of the epoch, behind a gap.
  bool has_gap_after(Epoch number) const;
  // The last point that the ways to both have in common.
  LogId common_ancestor(LogId a, LogId b) const;
  // Entries after `above`, which must be an ancestor of `point`, up to and including `point`; newest step
  // first. With `open_ended` the first step has no end: the live head, wherever it moves in its epoch.
  Path path(LogId point, LogId above, bool open_ended = false) const;
  // Every point of the tree where the way to `head` was left by an epoch that is not on it, with that epoch.
  struct Branch {
    Epoch epoch{};
    LogId left_at{};  // last point in common with the way to head
  };
  std::vector<Branch> branches(LogId head) const;

  const std::map<Epoch, EpochInfo>& all() const { return epochs_; }
  // Forgets epochs that neither lead to a point at or after `floor` nor are `keep`.
  void erase(Epoch number) { epochs_.erase(number); }

 private:
  std::map<Epoch, EpochInfo> epochs_;
};

}  // namespace tidemark::index
