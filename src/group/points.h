#pragma once

#include <string>

#include "group/core.h"

namespace tidemark::group {

// A point that was found and may be read.
struct ResolvedPoint {
  LogId at{};
  WallTime timer{};  // of the entry at the point
};

// The forms of a POINT: a mark id, "time:RFC3339", "log:EPOCH.SEQ", "head", "floor". A point that cannot be
// had is an error that says which it is (unknown, not yet received, expired, in a gap) and names the nearest
// that can; it never becomes another point.
class Points {
 public:
  explicit Points(Core& core) : core_(core) {}

  // With `before`: the state just before that entry.
  io::Task<Result<ResolvedPoint>> resolve(std::string text, bool before);
  // "log:EPOCH.SEQ", readable or behind a gap: see Core::check_comparable().
  Result<LogId> comparable(const std::string& text) const;
  // The timer value at a readable point; of the group's birth for its root.
  io::Task<Result<WallTime>> timer_at(LogId point);
  // "the floor is …, the head is …, the last mark is …": the end of every message about a point.
  std::string hint() const;

 private:
  io::Task<Result<LogId>> find_time(WallTime time);
  io::Task<Result<LogId>> find(std::string text);

  Core& core_;
};

// "7.42" as a LogId; kInvalid otherwise.
Result<LogId> parse_log_id(const std::string& text);

}  // namespace tidemark::group
