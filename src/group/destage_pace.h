#pragma once

#include <cstdint>

#include "journal/journal.h"

namespace tidemark::group {

// How fast a step of destaging has to go: as the journal fills, and no faster, so that the disk which hosts
// and peers wait for has an even load instead of bursts.
//
// A step that begins while F of the journal's bytes are free is done when half of them are taken: a step from
// a half free ends at a quarter free, where space runs short. What it moved is to keep up with that.
class DestagePace {
 public:
  // A step begins that moves at most `work_bytes` from the journal to the base; blocks written several times
  // are moved once, and the step is done early.
  void begin(const journal::JournalStatus& journal, std::uint64_t work_bytes);
  void moved(std::uint64_t bytes) { moved_bytes_ += bytes; }

  // By which share of the step it is behind, from 0, on time or early, to 1: nothing done and no time left.
  // 0 before the first step.
  double behind(const journal::JournalStatus& journal) const;

 private:
  std::uint64_t work_bytes_ = 0;
  std::uint64_t moved_bytes_ = 0;
  std::uint64_t room_bytes_ = 0;        // that may be appended until the step is to be done
  std::uint64_t written_at_begin_ = 0;  // JournalStatus::written_bytes
};

}  // namespace tidemark::group
