#include "host/file_events.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <set>
#include <utility>

#include "base/names.h"

namespace tidemark::host {
namespace {

constexpr int kAncestorsMax = 256;  // a chain of processes is no longer in practice, and a race makes no loop

// The fields of /proc/PID/stat behind the name, which is in parentheses and may hold anything.
pid_t parent_of(pid_t process) {
  std::ifstream file("/proc/" + std::to_string(process) + "/stat");
  std::string text;
  std::getline(file, text, '\0');
  const std::size_t end = text.rfind(')');
  if (end == std::string::npos) return 0;
  int parent = 0;
  char state = 0;
  return std::sscanf(text.c_str() + end + 1, " %c %d", &state, &parent) == 2 ? parent : 0;
}

void list_into(const std::string& folder, dev_t device, Tree& tree) {
  DIR* const open = ::opendir(folder.c_str());
  if (open == nullptr) return;
  tree.folders.push_back(folder);
  while (const dirent* entry = ::readdir(open)) {
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    const std::string path = (folder == "/" ? "" : folder) + "/" + name;
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0 || info.st_dev != device) continue;
    if (S_ISDIR(info.st_mode)) list_into(path, device, tree);
    if (S_ISREG(info.st_mode)) tree.files.push_back(path);
  }
  ::closedir(open);
}

}  // namespace

OwnedDescriptor& OwnedDescriptor::operator=(OwnedDescriptor&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

OwnedDescriptor::~OwnedDescriptor() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

bool lies_below(const std::string& path, const std::string& root) {
  if (root == "/") return true;
  return path.starts_with(root) && (path.size() == root.size() || path[root.size()] == '/');
}

Tree list_tree(const std::string& folder) {
  Tree tree;
  struct stat info {};
  if (::stat(folder.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) list_into(folder, info.st_dev, tree);
  return tree;
}

Result<Tree> watch_tree(const std::string& folder,
                        const std::function<Result<void>(const std::string& folder)>& watch) {
  std::set<std::string> watched;
  while (true) {
    Tree tree = list_tree(folder);
    bool is_complete = true;
    for (const std::string& each : tree.folders) {
      if (!watched.insert(each).second) continue;
      is_complete = false;
      TM_TRY(watch(each));
    }
    if (is_complete) return tree;
  }
}

std::string folder_is_gone(const std::string& folder) {
  return "'" + printable(folder, 200) +
         "' is not what was watched any more: it was removed, moved, covered or unmounted, and what is saved "
         "there now is not seen; start the watch again when it is back";
}

std::string program_of(pid_t process) {
  std::ifstream file("/proc/" + std::to_string(process) + "/comm");
  std::string name;
  std::getline(file, name);
  return name;
}

bool descends_from(pid_t process, pid_t ancestor) {
  for (int step = 0; process > 1 && step < kAncestorsMax; ++step) {
    if (process == ancestor) return true;
    process = parent_of(process);
  }
  return false;
}

Result<std::unique_ptr<FileEvents>> watch_files(const std::vector<std::string>& paths, EventSource source) {
  if (source == EventSource::kInotify) return watch_with_inotify(paths);
  Result<std::unique_ptr<FileEvents>> events = watch_with_fanotify(paths);
  if (events.ok() || source == EventSource::kFanotify) return events;
  return watch_with_inotify(paths);
}

}  // namespace tidemark::host
