#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "host/burst.h"
#include "host/file_events.h"
#include "host/host_marks.h"

namespace tidemark::host {

struct WatchOptions {
  std::string group;
  std::vector<std::string> paths;     // real ones
  std::vector<std::string> match;     // fnmatch patterns of names or relative paths; empty: every file
  std::vector<std::string> exclude;   // the same; what they say counts more
  std::vector<std::string> programs;  // only what these save; empty: any
  std::string id_template;
  BurstRule rule;
  control::WaitFor wait = control::WaitFor::kLocal;
  std::chrono::seconds time_limit{10};  // for one try at the node
  EventSource source = EventSource::kAny;
  std::string table_path;  // files beside it are never what is meant
  bool dry_run = false;
  pid_t ancestor = 0;  // not 0: only what this process and those below it save, where that is known
};

// Device and number of an inode.
using FileIdentity = std::pair<std::uint64_t, std::uint64_t>;

// What a watch has to tell.
struct WatchReport {
  // A mark was made, or would have been in a dry run.
  std::function<void(const control::MarkInfo& mark)> marked;
  std::function<void(const std::string& id, const std::string& note)> would_mark;
  Say say;
};

// Makes a mark whenever files were saved: events are joined to a burst, the files are brought to the volume,
// and the mark is asked for until the node answers. While it does not, what is saved meanwhile waits for the
// next mark. Used by one thread: step() whenever descriptor() is readable or wait() is over.
class Watcher {
 public:
  static Result<std::unique_ptr<Watcher>> start(WatchOptions options, HostMarks& marks, WatchReport report);

  int descriptor() const { return events_->descriptor(); }
  std::string source() const { return events_->name(); }
  // Until something is due; nullopt: nothing is. Never negative.
  std::optional<Duration> wait() const;
  // Reads events, and makes the mark that is due. Fails only when there are no events to be had any more.
  Result<void> step();
  // Makes the mark of what was saved and has none yet, in one try; also when step() has failed. False: there
  // is one that could not be made.
  Result<bool> finish();
  void set_ancestor(pid_t process) { options_.ancestor = process; }
  std::uint64_t marks_made() const { return made_; }

 private:
  struct Outstanding {
    MarkWish wish;
    std::string first_id;  // before it had to give way
    int attempt = 1;       // at an id that is free
    Duration pause;        // until the next try
    MonotonicTime retry;
    std::string told;  // what was said last of why it is not made
  };

  Watcher(WatchOptions options, HostMarks& marks, WatchReport report)
      : options_(std::move(options)), marks_(marks), report_(std::move(report)), bursts_(options_.rule) {}
  Result<void> read_events();
  bool is_meant(const FileEvent& event) const;
  // False: what was saved could not be brought to the volume.
  bool begin_mark();
  Result<void> check_folders();
  bool try_mark();

  WatchOptions options_;
  HostMarks& marks_;
  WatchReport report_;
  std::unique_ptr<FileEvents> events_;
  Bursts bursts_;
  std::optional<Outstanding> outstanding_;
  std::map<std::string, int> taken_;  // by id: up to which number it is taken
  std::uint64_t number_ = 0;
  std::uint64_t made_ = 0;
  bool blind_ = false;                           // there are no events any more
  std::map<std::string, FileIdentity> folders_;  // of the paths, as they were at the start
  MonotonicTime next_check_;
};

}  // namespace tidemark::host
