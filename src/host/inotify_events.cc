// File events by inotify: for whoever has no right to fanotify. Each folder is watched by itself.

#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <map>

#include "base/names.h"
#include "host/file_events.h"

namespace tidemark::host {
namespace {

constexpr std::uint32_t kEvents = IN_CLOSE_WRITE | IN_MODIFY | IN_MOVED_TO | IN_CREATE | IN_MOVE_SELF;
constexpr std::size_t kReadBytes = 64 << 10;

class InotifyEvents final : public FileEvents {
 public:
  InotifyEvents(OwnedDescriptor queue, std::vector<std::string> roots)
      : queue_(std::move(queue)), roots_(std::move(roots)) {}

  int descriptor() const override { return queue_.get(); }
  bool knows_processes() const override { return false; }
  std::string name() const override { return "inotify"; }

  Result<void> add_root(const std::string& root) {
    struct stat info {};
    if (::stat(root.c_str(), &info) != 0) return system_error("'" + printable(root, 200) + "'");
    if (!S_ISDIR(info.st_mode)) {
      const std::size_t slash = root.rfind('/');
      return add_own_folder(slash == 0 ? "/" : root.substr(0, slash));
    }
    TM_TRY(add_own_folder(root));
    const Result<Tree> tree = watch_below(root);
    if (!tree.ok()) return tree.error();
    return {};
  }

  Result<std::vector<FileEvent>> read() override {
    std::vector<FileEvent> events;
    alignas(inotify_event) std::array<char, kReadBytes> buffer;
    while (true) {
      const ssize_t got = ::read(queue_.get(), buffer.data(), buffer.size());
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) return events;
      if (got < 0) return system_error("the events of inotify cannot be read");
      for (std::size_t at = 0; at + sizeof(inotify_event) <= static_cast<std::size_t>(got);) {
        const auto* event = reinterpret_cast<const inotify_event*>(buffer.data() + at);
        TM_TRY(take(*event, events));
        at += sizeof(inotify_event) + event->len;
      }
    }
  }

 private:
  Result<Tree> watch_below(const std::string& folder) {
    return watch_tree(folder, [this](const std::string& each) -> Result<void> {
      const Result<int> added = add_folder(each);
      // It may have vanished meanwhile.
      if (!added.ok() && added.error().code != ErrorCode::kNotFound) return added.error();
      return {};
    });
  }

  Result<void> add_own_folder(const std::string& folder) {
    TM_TRY_ASSIGN(const int number, add_folder(folder));
    own_folders_[number] = folder;
    return {};
  }

  Result<int> add_folder(const std::string& folder) {
    const int number = ::inotify_add_watch(queue_.get(), folder.c_str(), kEvents | IN_ONLYDIR);
    if (number >= 0) {
      folders_[number] = folder;
      return number;
    }
    Error error = system_error("inotify cannot watch '" + printable(folder, 200) + "'");
    if (error.code == ErrorCode::kNoSpace) {
      error.message = "inotify watches no further folder, '" + printable(folder, 200) +
                      "': the user's limit is reached; raise fs.inotify.max_user_watches (sysctl)";
    }
    return error;
  }

  Result<void> take(const inotify_event& event, std::vector<FileEvent>& events) {
    FileEvent out;
    if ((event.mask & IN_Q_OVERFLOW) != 0) {
      out.kind = FileEvent::Kind::kLost;
      events.push_back(std::move(out));
      // Folders that were made may be among what was lost.
      for (const std::string& root : roots_) TM_TRY(add_root(root));
      return {};
    }
    if ((event.mask & (IN_IGNORED | IN_UNMOUNT)) != 0) {
      const auto own = own_folders_.find(event.wd);
      if (own != own_folders_.end()) return fail(ErrorCode::kClosed, folder_is_gone(own->second));
      folders_.erase(event.wd);
      return {};
    }
    const auto folder = folders_.find(event.wd);
    if (folder == folders_.end() || event.len == 0) return {};
    const std::string path = (folder->second == "/" ? "" : folder->second) + "/" + event.name;
    if (!is_watched(path)) return {};
    if ((event.mask & IN_ISDIR) != 0) return take_folder(path, events);
    if ((event.mask & (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MODIFY)) == 0) return {};
    out.kind = (event.mask & IN_MODIFY) != 0 ? FileEvent::Kind::kModified : FileEvent::Kind::kSaved;
    out.path = path;
    events.push_back(std::move(out));
    return {};
  }

  // A folder that is new here, or moved: then its watches get their new names. What was put into it before it
  // was watched is found by looking.
  Result<void> take_folder(const std::string& path, std::vector<FileEvent>& events) {
    TM_TRY_ASSIGN(Tree tree, watch_below(path));
    for (std::string& file : tree.files) {
      FileEvent out;
      out.path = std::move(file);
      events.push_back(std::move(out));
    }
    return {};
  }

  bool is_watched(const std::string& path) const {
    for (const std::string& root : roots_) {
      if (lies_below(path, root)) return true;
    }
    return false;
  }

  OwnedDescriptor queue_;
  const std::vector<std::string> roots_;
  std::map<int, std::string> folders_;      // by watch
  std::map<int, std::string> own_folders_;  // those without which a root is not watched
};

}  // namespace

Result<std::unique_ptr<FileEvents>> watch_with_inotify(const std::vector<std::string>& paths) {
  OwnedDescriptor queue(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!queue.valid()) {
    Error error = system_error("inotify cannot be used");
    if (errno == EMFILE) error.message += "; raise fs.inotify.max_user_instances (sysctl)";
    return error;
  }
  auto events = std::make_unique<InotifyEvents>(std::move(queue), paths);
  for (const std::string& path : paths) TM_TRY(events->add_root(path));
  return std::unique_ptr<FileEvents>(std::move(events));
}

}  // namespace tidemark::host
