#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "host/local.h"

namespace tidemark::host {

// A descriptor that is closed with its owner.
class OwnedDescriptor {
 public:
  explicit OwnedDescriptor(int descriptor = -1) : descriptor_(descriptor) {}
  OwnedDescriptor(OwnedDescriptor&& other) noexcept : descriptor_(other.release()) {}
  OwnedDescriptor& operator=(OwnedDescriptor&& other) noexcept;
  ~OwnedDescriptor();
  int get() const { return descriptor_; }
  bool valid() const { return descriptor_ >= 0; }
  int release() {
    const int descriptor = descriptor_;
    descriptor_ = -1;
    return descriptor;
  }

 private:
  int descriptor_;
};

struct FileEvent {
  enum class Kind {
    kSaved,     // closed after it was written, or moved to its name
    kModified,  // written, and still open
    kLost,      // the kernel had to drop events: anything may have happened
  };
  Kind kind = Kind::kSaved;
  std::string path;     // empty: kLost
  pid_t process = 0;    // 0: not known
  std::string program;  // its name; empty: not known, or it has ended before it could be looked at
};

// What happens to the files below some paths, as the kernel tells it. Folders that are made or moved there
// later are watched too, and the files that they come with count as saved.
//
// Not seen: what is written through a shared memory mapping (until the file is closed), and what other hosts
// write to a file system that both have mounted. Used by one thread.
class FileEvents {
 public:
  virtual ~FileEvents() = default;
  // Readable when there is something to read.
  virtual int descriptor() const = 0;
  // What has happened since the last call; does not wait. kClosed: what was to be watched is gone.
  virtual Result<std::vector<FileEvent>> read() = 0;
  // Whether an event says which process it is of.
  virtual bool knows_processes() const = 0;
  virtual std::string name() const = 0;  // "fanotify", "inotify"
};

enum class EventSource { kAny, kFanotify, kInotify };

// Watches what lies below `paths`, folders or single files, which are absolute. kAny: with fanotify where it
// is permitted and the file system can do it, else with inotify. kDenied, kUnsupported: the one that was
// asked for cannot be had. kNoSpace: more folders than the user may watch.
Result<std::unique_ptr<FileEvents>> watch_files(const std::vector<std::string>& paths, EventSource source);
Result<std::unique_ptr<FileEvents>> watch_with_fanotify(const std::vector<std::string>& paths);
Result<std::unique_ptr<FileEvents>> watch_with_inotify(const std::vector<std::string>& paths);

// Whether `path` is `root` or lies below it.
bool lies_below(const std::string& path, const std::string& root);
// The folders at and below `folder`, not across mounts nor symbolic links, and the plain files in them. What
// vanishes meanwhile is left out.
struct Tree {
  std::vector<std::string> folders;
  std::vector<std::string> files;
};
Tree list_tree(const std::string& folder);
// Calls `watch` for each of these folders, and lists again until there is no new one: what is made in a
// folder before it is watched is found by looking, and what is made later is told by its events.
Result<Tree> watch_tree(const std::string& folder,
                        const std::function<Result<void>(const std::string& folder)>& watch);
// What to say when `folder` itself has been removed, moved, covered or unmounted.
std::string folder_is_gone(const std::string& folder);

// Of a running process, or one that has ended and is not reaped; empty: it is gone.
std::string program_of(pid_t process);
// Whether `process` is `ancestor` or was started below it. What is gone belongs to nobody: false.
bool descends_from(pid_t process, pid_t ancestor);

}  // namespace tidemark::host
