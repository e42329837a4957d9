#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/time.h"
#include "host/file_events.h"

namespace tidemark::host {

// When a burst of events is one mark.
struct BurstRule {
  Duration quiet = Duration::seconds(1);      // a mark comes when nothing has happened for so long ...
  Duration wait_max = Duration::seconds(30);  // ... or so long after the first event, whatever happens
  Duration interval = Duration{};             // from one mark to the next at least
};

// Files named one by one; more are only counted, and the whole file system is brought to the volume.
inline constexpr std::size_t kBurstFilesMax = 1000;

struct Burst {
  std::vector<std::string> files;  // in the order in which they were first seen
  std::uint64_t files_unnamed = 0;
  std::vector<std::string> programs;
  bool lost = false;  // events were lost: any file may be meant

  bool empty() const { return files.empty() && files_unnamed == 0 && !lost; }
};

// Joins events to bursts. Knows no clock: times come with the calls.
class Bursts {
 public:
  explicit Bursts(BurstRule rule) : rule_(rule) {}

  void note(const FileEvent& event, MonotonicTime now);
  // When the mark of what was noted is to be made; nullopt: nothing was.
  std::optional<MonotonicTime> due() const;
  // What was noted, at the moment of its mark.
  Burst take(MonotonicTime now);

 private:
  const BurstRule rule_;
  Burst burst_;
  std::set<std::string> seen_;
  MonotonicTime first_;
  MonotonicTime last_;
  std::optional<MonotonicTime> marked_;
};

// "orders.db, log/today and 3 more (vi)": for a mark's note, at most `length_max` bytes. Paths are shown
// relative to the root that they lie below.
std::string describe(const Burst& burst, const std::vector<std::string>& roots, std::size_t length_max);
// `path` without the root that it lies below; the last part of its name when it is the root itself.
std::string relative_path(const std::string& path, const std::vector<std::string>& roots);

}  // namespace tidemark::host
