#pragma once

#include <string>
#include <vector>

#include "group/base_mover.h"
#include "group/core.h"
#include "group/data_path.h"

namespace tidemark::group {

// Raises the floor of a group, moves what the live path holds up to it into the base, and gives the journal's
// segments back. One task per group; it wakes when the journal fills and works in large steps (about a
// quarter of the journal), so that a block overwritten often is written to the base once.
//
// A step, each part durable before the next: the new floor; the base; where changes are kept track of for a
// peer, a snapshot of the group's state with them; `destaged`. Then segments are freed: what the snapshot
// before allows goes first, for a full journal may have no room for a new one until then, and the rest when
// a new snapshot is written. A crash anywhere repeats the rest, which changes nothing twice.
//
// Where nothing is promised of it, the floor goes ahead of what is emptied: as far as pins allow in a group
// without retention, by up to a quarter of the journal where history is given up for space. What lies in
// between stays in the journal, and what it has overwritten is never written to the base.
//
// The floor never passes a pinned point: a held mark, what the peer does not have yet, a branching point
// while its dead branch is within retention or an unreplicated tail. When space runs short, and the group's
// policy lets it, the unpinned window goes first, then dead branches, and then what open views pin (`Need`
// says how far it has come).
class Destager {
 public:
  Destager(Core& core, DataPath& data) : core_(core), mover_(core, data), mutex_(core.scheduler()) {}

  // Runs until the group closes or stops.
  io::Task<void> run();
  // What a step may give up for the space it frees.
  enum class Need : std::uint8_t {
    kNone,   // what is older than the retention
    kSpace,  // the unpinned window, and dead branches
    kViews,  // what views pin, too: nothing else is left, and writes wait
  };
  // One step now, as far as pins allow; true when it freed or moved anything. For tests and orderly
  // shrinking.
  io::Task<Result<bool>> step(Need need);

  // Why the floor stays where it is, oldest first; for `journal status`.
  struct Pin {
    const char* kind;
    std::string text;
    LogId at;
  };
  std::vector<Pin> pins() const;

 private:
  // Of two points of the live path.
  LogId older(LogId a, LogId b) const;
  LogId newer(LogId a, LogId b) const;
  LogId limit_by_pins(Need need) const;
  LogId limit_by_space(Need need) const;
  std::size_t segments_given_up() const;  // at once, for space
  // The newest point of the live path before which the journal holds so many segments, or a little more.
  LogId behind(std::size_t segments) const;
  // The floor of a step that empties the journal up to `target`.
  LogId floor_beyond(LogId target, Need need) const;
  LogId outside_gaps(LogId target, Need need) const;
  io::Task<Result<LogId>> limit_by_retention(LogId limit);
  bool branch_may_go(const index::EpochInfo& info, Need need) const;
  bool promises_history() const;
  bool gives_up_history(Need need) const;
  bool history_has_expired() const;
  // Moves what was written up to `target` and still shows at the floor. False when that may not be by now.
  io::Task<Result<bool>> destage(LogId target, LogId floor, Need need);
  io::Task<Result<void>> keep_map();
  // True when it freed any.
  io::Task<Result<bool>> free_segments();
  std::uint64_t journal_bytes_up_to(LogId target) const;

  Core& core_;
  BaseMover mover_;
  io::Mutex mutex_;  // one step at a time
  MonotonicTime expiry_looked_at_{};
};

}  // namespace tidemark::group
