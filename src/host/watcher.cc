#include "host/watcher.h"

#include <fnmatch.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>

#include "base/names.h"
#include "host/id_template.h"
#include "host/settle.h"

namespace tidemark::host {
namespace {

constexpr Duration kPauseMin = Duration::seconds(1);
constexpr Duration kPauseMax = Duration::seconds(30);
constexpr Duration kCheckInterval = Duration::seconds(5);
constexpr std::size_t kTakenMax = 1000;
constexpr int kIdTriesMax = 40;
// Names that editors give to files of their own: vi's and emacs's beside the one that is edited.
constexpr std::array kEditorFiles = {".*.sw?", ".*.swpx", "4913", "*~", ".#*", "#*#"};

bool matches(const std::string& pattern, const std::string& path, const std::string& name) {
  return ::fnmatch(pattern.c_str(), path.c_str(), 0) == 0 || ::fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
}

std::string name_of(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

// Of the folder that is watched for `path`: itself, or the one that it lies in.
Result<std::pair<std::string, FileIdentity>> watched_folder(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return system_error("'" + printable(path, 200) + "'");
  std::string folder = path;
  if (!S_ISDIR(info.st_mode)) {
    folder = path.substr(0, std::max<std::size_t>(path.rfind('/'), 1));
    if (::stat(folder.c_str(), &info) != 0) return system_error("'" + printable(folder, 200) + "'");
  }
  return std::pair(folder, FileIdentity(info.st_dev, info.st_ino));
}

}  // namespace

Result<std::unique_ptr<Watcher>> Watcher::start(WatchOptions options, HostMarks& marks, WatchReport report) {
  std::unique_ptr<Watcher> watcher(new Watcher(std::move(options), marks, std::move(report)));
  // As events name it, however it was named here.
  Result<std::string> table = real_path(watcher->options_.table_path);  // also when it is a link itself
  if (!table.ok()) table = real_place(watcher->options_.table_path);
  if (table.ok()) watcher->options_.table_path = *table;
  for (const std::string& path : watcher->options_.paths) {
    TM_TRY_ASSIGN(auto folder, watched_folder(path));
    watcher->folders_.insert(std::move(folder));
  }
  watcher->next_check_ = monotonic_now() + kCheckInterval;
  TM_TRY_ASSIGN(watcher->events_, watch_files(watcher->options_.paths, watcher->options_.source));
  if (!watcher->options_.programs.empty() && !watcher->events_->knows_processes()) {
    return fail(ErrorCode::kDenied,
                "inotify does not tell which program it was, which --program needs; fanotify does, and takes "
                "CAP_SYS_ADMIN (root)");
  }
  return watcher;
}

bool Watcher::is_meant(const FileEvent& event) const {
  if (event.kind == FileEvent::Kind::kLost) return true;
  if (!options_.table_path.empty() && event.path.starts_with(options_.table_path)) return false;
  const std::string path = relative_path(event.path, options_.paths);
  const std::string name = name_of(event.path);
  const auto is_match = [&](const auto& pattern) { return matches(pattern, path, name); };
  if (std::ranges::any_of(options_.exclude, is_match)) return false;
  if (options_.match.empty()) {
    if (std::ranges::any_of(kEditorFiles, is_match)) return false;
  } else if (!std::ranges::any_of(options_.match, is_match)) {
    return false;
  }
  // Of a program that has ended before it could be looked at, a mark too many is the smaller harm.
  const bool known = events_->knows_processes() && !event.program.empty();
  if (!known) return true;
  if (options_.ancestor != 0 && !descends_from(event.process, options_.ancestor) &&
      !program_of(event.process).empty()) {
    return false;
  }
  return options_.programs.empty() ||
         std::ranges::find(options_.programs, event.program) != options_.programs.end();
}

Result<void> Watcher::read_events() {
  TM_TRY_ASSIGN(const std::vector<FileEvent> events, events_->read());
  const MonotonicTime now = monotonic_now();
  for (const FileEvent& event : events) {
    if (event.kind == FileEvent::Kind::kLost) {
      report_.say("the kernel's queue of file events has overflowed: a mark is made for whatever was saved");
    }
    if (is_meant(event)) bursts_.note(event, now);
  }
  return {};
}

std::optional<Duration> Watcher::wait() const {
  std::optional<MonotonicTime> due = bursts_.due();
  if (outstanding_) due = outstanding_->retry;  // what came since waits for it
  if (!blind_) due = due ? std::min(*due, next_check_) : next_check_;
  if (!due) return std::nullopt;
  return std::max(*due - monotonic_now(), Duration{});
}

// Of a folder that is gone, or whose file system is no longer mounted, nothing is heard any more.
Result<void> Watcher::check_folders() {
  if (monotonic_now() < next_check_) return {};
  next_check_ = monotonic_now() + kCheckInterval;
  for (const auto& [folder, identity] : folders_) {
    struct stat info {};
    if (::stat(folder.c_str(), &info) == 0 && FileIdentity(info.st_dev, info.st_ino) == identity) continue;
    return fail(ErrorCode::kClosed, folder_is_gone(folder));
  }
  return {};
}

Result<void> Watcher::step() {
  if (!blind_) {
    Result<void> seen = read_events();
    if (seen.ok()) seen = check_folders();
    blind_ = !seen.ok();
    TM_TRY(seen);
  }
  const MonotonicTime now = monotonic_now();
  if (!outstanding_ && bursts_.due() && *bursts_.due() <= now) begin_mark();
  if (outstanding_ && outstanding_->retry <= now) try_mark();
  return {};
}

Result<bool> Watcher::finish() {
  if (!blind_) {
    const Result<void> seen = read_events();
    if (!seen.ok()) report_.say(seen.error().message);
  }
  if (outstanding_ && !try_mark()) return false;
  if (!bursts_.due()) return true;
  if (!begin_mark()) return false;
  return !outstanding_ || try_mark();
}

// The files are on the volume when this is done, so that a mark at any later moment holds them.
bool Watcher::begin_mark() {
  const Burst burst = bursts_.take(monotonic_now());
  const Result<Settled> settled = settle(burst, options_.paths);
  if (!settled.ok()) {
    report_.say(settled.error().message);
    return false;
  }
  Outstanding next;
  MarkWish& wish = next.wish;
  wish.group = options_.group;
  wish.wait = options_.wait;
  wish.program = burst.programs.empty() ? "" : burst.programs.front();
  wish.path = burst.files.empty() ? options_.paths.front() : burst.files.front();
  std::string vanished;
  if (!settled->vanished.empty()) {
    vanished = "; gone since: " + std::to_string(settled->vanished.size());
  }
  wish.note = describe(burst, options_.paths, control::kNoteLengthMax - vanished.size()) + vanished;
  IdParts parts;
  parts.path = burst.files.empty() ? "lost-events" : relative_path(burst.files.front(), options_.paths);
  parts.time = wall_now();
  parts.program = wish.program;
  parts.number = ++number_;
  next.first_id = expand_id(options_.id_template, parts);
  const auto taken = taken_.find(next.first_id);
  if (taken != taken_.end()) next.attempt = taken->second + 1;
  wish.id = next.attempt == 1 ? next.first_id : next_id(next.first_id, next.attempt);
  next.pause = kPauseMin;
  next.retry = monotonic_now();
  if (options_.dry_run) {
    if (report_.would_mark) report_.would_mark(wish.id, wish.note);
    return true;
  }
  outstanding_ = std::move(next);
  return true;
}

bool Watcher::try_mark() {
  Outstanding& mark = *outstanding_;
  Result<MadeMark> made = marks_.make(mark.wish, options_.time_limit);
  while (!made.ok() && made.error().code == ErrorCode::kExists && mark.attempt < kIdTriesMax) {
    mark.wish.id = next_id(mark.first_id, ++mark.attempt);
    made = marks_.make(mark.wish, options_.time_limit);
  }
  if (made.ok()) {
    if (!mark.told.empty()) report_.say("the node answers again");
    if (taken_.size() >= kTakenMax) taken_.clear();
    taken_[mark.first_id] = mark.attempt;
    ++made_;
    outstanding_.reset();
    if (report_.marked) report_.marked(made->mark);
    return true;
  }
  if (made.error().message != mark.told) {
    report_.say(made.error().message + "; mark '" + mark.wish.id + "' is asked for again, under the same id");
  }
  mark.told = made.error().message;
  mark.retry = monotonic_now() + mark.pause;
  mark.pause = std::min(mark.pause + mark.pause, kPauseMax);
  return false;
}

}  // namespace tidemark::host
