#include "control/http_tokens.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <system_error>

#include "base/log_field.h"
#include "base/names.h"

namespace tidemark::control {
namespace {

// A file system may give two writes within a tick of its clock the same time; ticks are 10 ms at most.
constexpr std::int64_t kClockTickNs = 1'000'000'000;

std::int64_t now_ns() {
  const auto since = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(since).count();
}

Error unusable(const std::string& path, ErrorCode code, const std::string& why) {
  return fail(code, "--control-tokens '" + printable(path, 300) + "': " + why);
}

Error unreadable(const std::string& path, int error) {
  return unusable(path, ErrorCode::kNotFound, std::generic_category().message(error));
}

}  // namespace

Result<std::shared_ptr<TokenFile>> TokenFile::read(std::string path, tls::Log log) {
  std::shared_ptr<TokenFile> file(new TokenFile(std::move(path), std::move(log)));
  file->looked_at_ = tls::stamp_of(file->path_);
  TM_TRY_ASSIGN(const std::string text, file->read_text());
  TM_TRY(file->take(text));
  file->warn_when_exposed();
  return file;
}

std::shared_ptr<const TokenTable> TokenFile::current() {
  const std::lock_guard lock(mutex_);
  const tls::FileStamp stamp = tls::stamp_of(path_);
  const bool same = stamp == looked_at_;
  if (same && settled_) return table_;
  settled_ = now_ns() - stamp.changed_ns > kClockTickNs;
  looked_at_ = stamp;
  Result<std::string> text = read_text();
  if (!text.ok()) settled_ = false;  // it is tried again, unchanged as it may be
  if (text.ok() && *text == text_) return table_;
  const Result<void> taken = text.ok() ? take(*text) : Result<void>(text.error());
  if (taken.ok()) {
    log_("control-tokens-read",
         log_field("file", path_) + " " + log_field("tokens", std::uint64_t{table_->tokens().size()}));
    warn_when_exposed();
  } else if (!same) {
    log_("control-tokens-unusable", log_field("reason", taken.error().message) + " " +
                                        log_field("notice", "those read before stay in use"));
  }
  return table_;
}

Result<std::string> TokenFile::read_text() const {
  const int descriptor = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (descriptor < 0) return unreadable(path_, errno);
  const auto close_then = [descriptor](auto result) {
    ::close(descriptor);
    return result;
  };
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) return close_then(unreadable(path_, errno));
  if (!S_ISREG(status.st_mode)) {
    return close_then(unusable(path_, ErrorCode::kInvalid, "it is no plain file"));
  }
  if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return close_then(unusable(path_, ErrorCode::kInvalid,
                               "others than its owner may write it, and so give themselves any role; "
                               "chmod 600 it"));
  }
  std::string text;
  std::array<char, 4096> part{};
  // One byte more than may be is enough to see that it is too long.
  while (text.size() <= kTokenFileBytesMax) {
    const ssize_t got = ::read(descriptor, part.data(), part.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return close_then(unreadable(path_, errno));
    if (got == 0) break;
    text.append(part.data(), static_cast<std::size_t>(got));
  }
  return close_then(std::move(text));
}

Result<void> TokenFile::take(const std::string& text) {
  Result<TokenTable> table = TokenTable::parse(text);
  if (!table.ok()) return unusable(path_, ErrorCode::kInvalid, table.error().message);
  table_ = std::make_shared<const TokenTable>(std::move(table).value());
  text_ = text;
  return Result<void>{};
}

void TokenFile::warn_when_exposed() const {
  struct stat status {};
  if (::stat(path_.c_str(), &status) != 0 || (status.st_mode & (S_IRWXG | S_IRWXO)) == 0) return;
  log_("control-tokens-exposed",
       log_field("file", path_) + " " +
           log_field("notice", "others than its owner may read who has which role; chmod 600 it"));
}

}  // namespace tidemark::control
