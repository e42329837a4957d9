// File events by fanotify: they name the process, and a whole file system is one mark.

#include <fcntl.h>
#include <sys/fanotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <map>

#include "base/names.h"
#include "host/file_events.h"

namespace tidemark::host {
namespace {

constexpr std::uint64_t kFileEvents = FAN_CLOSE_WRITE | FAN_MODIFY | FAN_MOVED_TO;
constexpr std::uint64_t kFolderEvents = FAN_CREATE | FAN_ONDIR | FAN_EVENT_ON_CHILD;
constexpr std::size_t kReadBytes = 64 << 10;
constexpr std::size_t kNamesMax = 1024;  // programs remembered; one is needed after its process has gone

Error not_permitted(const std::string& what) {
  Error error = system_error(what);
  if (error.code == ErrorCode::kDenied) error.message += "; it takes CAP_SYS_ADMIN (root)";
  if (error.code == ErrorCode::kIo) error.code = ErrorCode::kUnsupported;
  return error;
}

class FanotifyEvents final : public FileEvents {
 public:
  FanotifyEvents(OwnedDescriptor queue, std::vector<std::string> roots)
      : queue_(std::move(queue)), roots_(std::move(roots)) {}

  int descriptor() const override { return queue_.get(); }
  bool knows_processes() const override { return true; }
  std::string name() const override { return "fanotify"; }

  Result<void> add_root(const std::string& root) {
    struct stat info {};
    struct stat above {};
    if (::stat(root.c_str(), &info) != 0) return system_error("'" + printable(root, 200) + "'");
    const std::string folder = S_ISDIR(info.st_mode) ? root : parent(root);
    OwnedDescriptor mount(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!mount.valid()) return system_error("'" + printable(folder, 200) + "'");
    TM_TRY(check_handles(mount.get(), folder));
    mounts_.insert_or_assign(info.st_dev, std::move(mount));
    const bool whole = S_ISDIR(info.st_mode) && (::stat(parent(root).c_str(), &above) != 0 ||
                                                 above.st_dev != info.st_dev || root == "/");
    if (whole) return mark(root, FAN_MARK_FILESYSTEM, kFileEvents);
    if (!S_ISDIR(info.st_mode)) return mark(folder, 0, kFileEvents | FAN_EVENT_ON_CHILD);
    const Result<Tree> tree = watch_below(root);
    if (!tree.ok()) return tree.error();
    return {};
  }

  Result<std::vector<FileEvent>> read() override {
    std::vector<FileEvent> events;
    alignas(fanotify_event_metadata) std::array<char, kReadBytes> buffer;
    while (true) {
      const ssize_t got = ::read(queue_.get(), buffer.data(), buffer.size());
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) return events;
      if (got < 0) return system_error("the events of fanotify cannot be read");
      std::size_t left = static_cast<std::size_t>(got);
      const auto* metadata = reinterpret_cast<const fanotify_event_metadata*>(buffer.data());
      for (; left >= FAN_EVENT_METADATA_LEN && metadata->event_len <= left;
           left -= metadata->event_len, metadata = reinterpret_cast<const fanotify_event_metadata*>(
                                            reinterpret_cast<const char*>(metadata) + metadata->event_len)) {
        if (metadata->vers != FANOTIFY_METADATA_VERSION) {
          return fail(ErrorCode::kUnsupported, "the kernel speaks another version of fanotify");
        }
        TM_TRY(take(*metadata, events));
      }
    }
  }

 private:
  static std::string parent(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
  }

  // Events name folders by handles. Without the right to open these every event would be dropped.
  static Result<void> check_handles(int folder, const std::string& path) {
    alignas(file_handle) std::array<unsigned char, sizeof(file_handle) + MAX_HANDLE_SZ> bytes{};
    auto* const handle = reinterpret_cast<file_handle*>(bytes.data());
    handle->handle_bytes = MAX_HANDLE_SZ;
    int mount = 0;
    if (::name_to_handle_at(folder, "", handle, &mount, AT_EMPTY_PATH) != 0) {
      return not_permitted("fanotify cannot name '" + printable(path, 200) + "'");
    }
    const OwnedDescriptor opened(::open_by_handle_at(folder, handle, O_PATH | O_CLOEXEC));
    if (opened.valid() || errno != EPERM) return {};
    Error error = system_error("fanotify's events of '" + printable(path, 200) + "' cannot be followed");
    error.message += "; it takes CAP_DAC_READ_SEARCH (root)";
    return error;
  }

  Result<Tree> watch_below(const std::string& folder) {
    return watch_tree(folder, [this](const std::string& each) -> Result<void> {
      const Result<void> marked = mark(each, 0, kFileEvents | kFolderEvents);
      // It may have vanished meanwhile.
      if (!marked.ok() && marked.error().code != ErrorCode::kNotFound) return marked;
      return {};
    });
  }

  Result<void> mark(const std::string& path, unsigned flags, std::uint64_t mask) {
    if (::fanotify_mark(queue_.get(), FAN_MARK_ADD | flags, mask, AT_FDCWD, path.c_str()) == 0) return {};
    return not_permitted("fanotify cannot watch '" + printable(path, 200) + "'");
  }

  Result<void> take(const fanotify_event_metadata& metadata, std::vector<FileEvent>& events) {
    if ((metadata.mask & FAN_Q_OVERFLOW) != 0) {
      FileEvent lost;
      lost.kind = FileEvent::Kind::kLost;
      events.push_back(std::move(lost));
      // Folders that were made may be among what was lost.
      for (const std::string& root : roots_) TM_TRY(add_root(root));
      return {};
    }
    if (metadata.pid == ::getpid()) return {};
    const std::string path = path_of(metadata);
    if (path.empty()) return {};  // its folder has vanished
    if ((metadata.mask & FAN_ONDIR) != 0) return take_folder(path, metadata.pid, events);
    FileEvent event;
    event.kind = (metadata.mask & (FAN_CLOSE_WRITE | FAN_MOVED_TO)) != 0 ? FileEvent::Kind::kSaved
                                                                         : FileEvent::Kind::kModified;
    event.path = path;
    event.process = metadata.pid;
    event.program = name_of(metadata.pid);
    if (is_watched(path)) events.push_back(std::move(event));
    return {};
  }

  // What was put into it before it was watched is found by looking.
  Result<void> take_folder(const std::string& path, pid_t process, std::vector<FileEvent>& events) {
    if (!is_watched(path)) return {};
    TM_TRY_ASSIGN(const Tree tree, watch_below(path));
    for (const std::string& file : tree.files) {
      FileEvent event;
      event.path = file;
      event.process = process;
      event.program = name_of(process);
      events.push_back(std::move(event));
    }
    return {};
  }

  bool is_watched(const std::string& path) const {
    for (const std::string& root : roots_) {
      if (lies_below(path, root)) return true;
    }
    return false;
  }

  std::string name_of(pid_t process) {
    std::string name = program_of(process);
    const auto known = names_.find(process);
    if (name.empty()) return known == names_.end() ? "" : known->second;
    if (known == names_.end() && names_.size() >= kNamesMax) names_.clear();
    names_[process] = name;
    return name;
  }

  // Where the folder that the event names is now, and the name in it.
  std::string path_of(const fanotify_event_metadata& metadata) {
    const char* const end = reinterpret_cast<const char*>(&metadata) + metadata.event_len;
    const char* at = reinterpret_cast<const char*>(&metadata) + metadata.metadata_len;
    if (at + sizeof(fanotify_event_info_fid) > end) return {};
    const auto* info = reinterpret_cast<const fanotify_event_info_fid*>(at);
    if (info->hdr.info_type != FAN_EVENT_INFO_TYPE_DFID_NAME) return {};
    auto* handle = reinterpret_cast<file_handle*>(const_cast<unsigned char*>(info->handle));
    const std::string name = reinterpret_cast<const char*>(handle->f_handle + handle->handle_bytes);
    for (const auto& [device, mount] : mounts_) {
      const OwnedDescriptor folder(::open_by_handle_at(mount.get(), handle, O_PATH | O_CLOEXEC));
      if (!folder.valid()) continue;
      char text[PATH_MAX] = {};
      const std::string link = "/proc/self/fd/" + std::to_string(folder.get());
      const ssize_t length = ::readlink(link.c_str(), text, sizeof text - 1);
      if (length <= 0) continue;
      std::string path(text, static_cast<std::size_t>(length));
      if (name == ".") return path;
      path = (path == "/" ? "" : path) + "/" + name;
      if (mounts_.size() == 1 || is_watched(path)) return path;
    }
    return {};
  }

  OwnedDescriptor queue_;
  const std::vector<std::string> roots_;
  std::map<dev_t, OwnedDescriptor> mounts_;  // a folder of each file system, to open handles by
  std::map<pid_t, std::string> names_;
};

}  // namespace

Result<std::unique_ptr<FileEvents>> watch_with_fanotify(const std::vector<std::string>& paths) {
  // Without CAP_SYS_ADMIN there would be a queue too, but its events name no process, and what they name
  // could not be opened: unlimited marks are for those who have it.
  OwnedDescriptor queue(::fanotify_init(
      FAN_CLOEXEC | FAN_NONBLOCK | FAN_CLASS_NOTIF | FAN_REPORT_DFID_NAME | FAN_UNLIMITED_MARKS, O_RDONLY));
  if (!queue.valid()) return not_permitted("fanotify cannot be used");
  auto events = std::make_unique<FanotifyEvents>(std::move(queue), paths);
  for (const std::string& path : paths) TM_TRY(events->add_root(path));
  return std::unique_ptr<FileEvents>(std::move(events));
}

}  // namespace tidemark::host
