#include "os/data_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace tidemark::os {
namespace {

Error folder_failure(const std::string& path, const char* what, int error) {
  const std::string text = "data folder '" + path + "' " + what + ": " + errno_text(error);
  if (error == ENOENT) return fail(ErrorCode::kNotFound, text + "; create its parent folder first");
  if (error == ENOSPC || error == EDQUOT) return fail(ErrorCode::kNoSpace, text);
  return fail(ErrorCode::kIo, text);
}

// The digits at the start of the lock file; the rest is not trusted.
std::string holder_of(int lock) {
  std::array<char, 24> text{};
  const ssize_t length = ::pread(lock, text.data(), text.size() - 1, 0);
  std::string holder;
  for (ssize_t i = 0; i < length; ++i) {
    const char digit = text[static_cast<std::size_t>(i)];
    if (digit < '0' || digit > '9') break;
    holder.push_back(digit);
  }
  return holder.empty() ? "another process" : "process " + holder;
}

}  // namespace

Result<DataFolder> DataFolder::open(const std::string& path) {
  if (path.empty() || path.find('\0') != std::string::npos) {
    return fail(ErrorCode::kInvalid, "a data folder needs a path; give one with --data");
  }
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return folder_failure(path, "could not be created", errno);
  }
  const Descriptor folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.valid()) return folder_failure(path, "could not be opened", errno);
  Descriptor lock(::openat(folder.get(), "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!lock.valid()) return folder_failure(path, "could not be locked", errno);
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return folder_failure(path, "could not be locked", errno);
    return fail(ErrorCode::kBusy, "data folder '" + path + "' is already in use by " + holder_of(lock.get()) +
                                      "; stop it, or give another folder with --data");
  }
  const std::string holder = std::to_string(::getpid()) + "\n";
  // Written over, then cut: on a full file system there may be no space for a file that was emptied first.
  if (::pwrite(lock.get(), holder.data(), holder.size(), 0) != static_cast<ssize_t>(holder.size()) ||
      ::ftruncate(lock.get(), static_cast<off_t>(holder.size())) != 0) {
    return folder_failure(path, "could not be marked as in use", errno);
  }
  return DataFolder(path, std::move(lock));
}

}  // namespace tidemark::os
