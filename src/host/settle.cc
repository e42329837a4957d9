#include "host/settle.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <set>

#include "base/names.h"

namespace tidemark::host {
namespace {

Error not_written(const std::string& path) {
  return fail(ErrorCode::kIo, "'" + printable(path, 200) + "' could not be brought to its volume: " +
                                  std::strerror(errno) + "; no mark is made, as it would not hold it");
}

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

Result<void> sync_file_system(const std::string& path) {
  const OwnedDescriptor open(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!open.valid() || ::syncfs(open.get()) != 0) return not_written(path);
  return {};
}

Result<void> sync_folder(const std::string& folder) {
  const OwnedDescriptor open(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!open.valid()) {
    if (errno == ENOENT) return {};
    return errno == EACCES ? Result<void>{} : not_written(folder);
  }
  // EINVAL: a file system whose folders are not written by themselves.
  if (::fsync(open.get()) != 0 && errno != EINVAL) return not_written(folder);
  return {};
}

}  // namespace

Result<Settled> settle(const Burst& burst, const std::vector<std::string>& roots) {
  Settled out;
  bool everything = burst.lost || burst.files_unnamed > 0 || burst.files.size() > kFilesSyncedMax;
  std::set<std::string> folders;
  for (const std::string& file : burst.files) {
    if (everything) break;
    folders.insert(folder_of(file));
    // What else has a name, a pipe or a link, is in its folder, and opening it may disturb somebody.
    struct stat info {};
    if (::lstat(file.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) continue;
    const OwnedDescriptor open(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW));
    if (open.valid()) {
      if (::fsync(open.get()) != 0) return not_written(file);
    } else if (errno == ENOENT || errno == ENOTDIR) {
      out.vanished.push_back(file);
    } else {
      everything = true;  // it may not be read by us, or is no file any more
    }
  }
  if (everything) {
    for (const std::string& root : roots) TM_TRY(sync_file_system(root));
    return out;
  }
  for (const std::string& folder : folders) TM_TRY(sync_folder(folder));
  return out;
}

}  // namespace tidemark::host
