#include "output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/names.h"

namespace tidemark::cli {
namespace {

volatile std::sig_atomic_t interrupt_noted = 0;

void note_interrupt(int) {
  interrupt_noted = 1;
}

constexpr std::array<int, 3> kInterrupts{SIGINT, SIGTERM, SIGHUP};

Error system_error(const std::string& what) {
  return fail(ErrorCode::kIo, what + ": " + std::strerror(errno));
}

// The name of a new file is on stable storage when its folder is.
Result<void> sync_folder_of(const std::string& path) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  const int descriptor = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = descriptor >= 0 && ::fsync(descriptor) == 0;
  const Error error = system_error("cannot write to the folder of '" + printable(path) + "'");
  if (descriptor >= 0) ::close(descriptor);
  return synced ? Result<void>{} : error;
}

}  // namespace

Result<OutputFile> OutputFile::create(const std::string& path, bool overwrite) {
  if (path == "-") return OutputFile(path, {}, STDOUT_FILENO, true);
  struct stat info {};
  const bool exists = ::stat(path.c_str(), &info) == 0;
  if (exists && !S_ISREG(info.st_mode)) {
    return fail(ErrorCode::kInvalid, "'" + printable(path) + "' is no plain file; '-' is standard output");
  }
  if (exists && !overwrite) {
    return fail(ErrorCode::kExists, "'" + printable(path) + "' exists; use --force to write over it");
  }
  std::string part = path + ".part-" + std::to_string(::getpid());
  const int descriptor = ::open(part.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor < 0) return system_error("cannot make the file '" + printable(part) + "'");
  return OutputFile(path, std::move(part), descriptor, overwrite);
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)),
      part_(std::exchange(other.part_, {})),
      descriptor_(std::exchange(other.descriptor_, -1)),
      overwrite_(other.overwrite_) {}

OutputFile::~OutputFile() {
  if (part_.empty()) return;
  ::close(descriptor_);
  ::unlink(part_.c_str());
}

Result<void> OutputFile::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(descriptor_, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR && !InterruptsNoted::interrupted()) continue;
    if (count < 0)
      return system_error("cannot write to " +
                          (path_ == "-" ? "standard output" : "'" + printable(part_) + "'"));
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
  return {};
}

Result<void> OutputFile::finish() {
  if (part_.empty()) return {};
  if (::fsync(descriptor_) != 0) return system_error("cannot write to '" + printable(part_) + "'");
  // Not over a file that came meanwhile, unless that was said.
  const unsigned flags = overwrite_ ? 0 : RENAME_NOREPLACE;
  if (::renameat2(AT_FDCWD, part_.c_str(), AT_FDCWD, path_.c_str(), flags) != 0 &&
      !(errno == EINVAL && ::rename(part_.c_str(), path_.c_str()) == 0)) {
    return system_error("cannot name the file '" + printable(path_) + "'");
  }
  part_.clear();
  ::close(descriptor_);
  return sync_folder_of(path_);
}

struct InterruptsNoted::Before {
  std::array<struct sigaction, kInterrupts.size()> actions{};
};

InterruptsNoted::InterruptsNoted() : before_(new Before) {
  interrupt_noted = 0;
  struct sigaction note {};
  note.sa_handler = note_interrupt;  // without SA_RESTART: what waits is woken
  for (std::size_t i = 0; i < kInterrupts.size(); ++i) {
    ::sigaction(kInterrupts[i], &note, &before_->actions[i]);
    // What was to be ignored (nohup) stays so.
    if (before_->actions[i].sa_handler == SIG_IGN) ::sigaction(kInterrupts[i], &before_->actions[i], nullptr);
  }
}

InterruptsNoted::~InterruptsNoted() {
  for (std::size_t i = 0; i < kInterrupts.size(); ++i) {
    ::sigaction(kInterrupts[i], &before_->actions[i], nullptr);
  }
  delete before_;
}

bool InterruptsNoted::interrupted() {
  return interrupt_noted != 0;
}

}  // namespace tidemark::cli
