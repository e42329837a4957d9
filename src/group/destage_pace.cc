#include "group/destage_pace.h"

#include <algorithm>

namespace tidemark::group {

void DestagePace::begin(const journal::JournalStatus& journal, std::uint64_t work_bytes) {
  work_bytes_ = std::max(work_bytes, journal.segment_size_bytes);
  moved_bytes_ = 0;
  room_bytes_ = journal.segments_free * journal.segment_size_bytes / 2;
  written_at_begin_ = journal.written_bytes;
}

double DestagePace::behind(const journal::JournalStatus& journal) const {
  if (work_bytes_ == 0) return 0;
  if (room_bytes_ == 0) return 1;
  const auto share = [](std::uint64_t part, std::uint64_t whole) {
    return static_cast<double>(part) / static_cast<double>(whole);
  };
  const double due = std::min(share(journal.written_bytes - written_at_begin_, room_bytes_), 1.0);
  return std::clamp(due - share(moved_bytes_, work_bytes_), 0.0, 1.0);
}

}  // namespace tidemark::group
