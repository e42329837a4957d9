// `watch`: marks that make themselves when files are saved.

#include <poll.h>

#include <algorithm>
#include <cstdio>

#include "base/names.h"
#include "cli.h"
#include "host/id_template.h"
#include "host/place.h"
#include "host/stop_signals.h"
#include "host/watcher.h"
#include "watching.h"

namespace tidemark::cli {
namespace {

constexpr Duration kNapMax = Duration::seconds(3600);

struct Options {
  host::WatchOptions watch;
  std::optional<Duration> quiet;
  std::optional<Duration> wait_max;
  std::optional<Duration> interval;
  std::optional<control::WaitFor> wait;
  bool anywhere = false;
};

void show_marked(const Cli& cli, const control::MarkInfo& mark) {
  if (cli.json()) {
    std::printf("%s\n", control::answer_json(mark).c_str());
  } else {
    std::printf("%s  %s  %s  %s\n", printable(mark.id, 200).c_str(), mark.log_id.to_string().c_str(),
                format_time(mark.timer).c_str(), mark.note.c_str());
  }
  std::fflush(stdout);
}

Result<void> watch_until_stopped(host::Watcher& watcher, host::StopSignals& signals) {
  while (true) {
    const Duration nap = std::min(watcher.wait().value_or(kNapMax), kNapMax);
    pollfd ready[2] = {{watcher.descriptor(), POLLIN, 0}, {signals.descriptor(), POLLIN, 0}};
    ::poll(ready, 2, static_cast<int>((nap.ns + 999'999) / 1'000'000));
    if (signals.take() != 0) return {};
    Result<void> stepped = watcher.step();
    if (stepped.ok()) continue;
    // What was seen until now gets its mark first.
    const Result<bool> finished = watcher.finish();
    if (!finished.ok() || !*finished) say("what was saved last has no mark of its own");
    return stepped;
  }
}

Result<void> watch(Cli& cli, Options& options) {
  host::WatchOptions& watch = options.watch;
  if (options.quiet) watch.rule.quiet = *options.quiet;
  if (options.wait_max) watch.rule.wait_max = *options.wait_max;
  if (options.interval) watch.rule.interval = *options.interval;
  watch.wait = options.wait.value_or(control::WaitFor::kLocal);
  TM_TRY_ASSIGN(watch.table_path, cli.host_table_path());
  TM_TRY_ASSIGN(control::ApiClient node, cli.connect());
  TM_TRY_ASSIGN(const std::chrono::seconds limit, cli.time_limit_seconds());
  watch.time_limit = std::min(limit, watch.time_limit);
  TM_TRY(check_group(node, watch.group, limit));
  TM_TRY(check_paths(node, watch, options.anywhere, limit));
  std::vector<host::WatchLock> locks;
  for (const std::string& path : watch.paths) {
    Result<host::WatchLock> lock =
        host::WatchLock::take(watch.table_path, host::lasting_address(node.address()), watch.group, path);
    if (lock.ok()) {
      locks.push_back(std::move(lock).value());
    } else if (lock.error().code == ErrorCode::kNoSpace || lock.error().code == ErrorCode::kReadOnly) {
      say("warning: " + lock.error().message + "; a second watch of the same would not be noticed");
    } else {
      return lock.error();
    }
  }
  host::StopSignals signals;
  host::HostMarks marks(node, watch.table_path, say);
  host::WatchReport report;
  report.say = say;
  report.marked = [&cli](const control::MarkInfo& mark) { show_marked(cli, mark); };
  report.would_mark = [](const std::string& id, const std::string& note) {
    std::printf("would mark %s  %s\n", id.c_str(), note.c_str());
    std::fflush(stdout);
  };
  const bool dry_run = watch.dry_run;
  const std::string group = watch.group;
  TM_TRY_ASSIGN(const std::unique_ptr<host::Watcher> watcher,
                host::Watcher::start(std::move(watch), marks, std::move(report)));
  say("watching with " + watcher->source() + " for group '" + group + "'" + (dry_run ? ", dry run" : ""));
  TM_TRY(watch_until_stopped(*watcher, signals));
  TM_TRY_ASSIGN(const bool finished, watcher->finish());
  if (!finished) {
    return fail(ErrorCode::kClosed,
                "stopped with a mark that could not be made; see `tidemark mark list " + group + " --here`");
  }
  return {};
}

Result<void> check_template(const std::string& text) {
  return host::check_id_template(text);
}

}  // namespace

Result<void> check_group(control::ApiClient& node, const std::string& group, std::chrono::seconds limit) {
  control::GroupShowRequest request;
  request.group = group;
  TM_TRY_ASSIGN(const control::GroupInfo info, node.call(request, limit));
  if (info.journal.retain.ns == 0 && !info.journal.log_started) {
    say("warning: group '" + group +
        "' keeps no history (--retain 0) and its log is not started: a mark can "
        "be restored only until its point is let go; see `tidemark group set " +
        group + " --retain` and `tidemark journal start " + group + "`");
  }
  return {};
}

Result<void> check_paths(control::ApiClient& node, host::WatchOptions& watch, bool anywhere,
                         std::chrono::seconds limit) {
  for (std::string& path : watch.paths) {
    TM_TRY_ASSIGN(path, host::real_path(path));
    if (!anywhere) TM_TRY(host::check_on_volume(path, watch.group, node, limit));
  }
  std::vector<std::string> once;
  for (std::string& path : watch.paths) {
    if (std::ranges::find(once, path) == once.end()) once.push_back(std::move(path));
  }
  watch.paths = std::move(once);
  return {};
}

void add_watch_commands(CLI::App& app, Cli& cli) {
  auto options = std::make_shared<Options>();
  options->watch.id_template = host::kIdTemplateDefault;
  CLI::App* command = add_command(
      app, "watch", "Make a mark whenever a file is saved",
      "Watches what lies below each PATH, a folder, a mount or a file on a volume of GROUP. When a file that "
      "was written is closed, or is put in place by a rename as editors save, or was modified and stays "
      "open, "
      "it waits until nothing more happens for the quiet time, brings the files and their folders to the "
      "volume (fsync; syncfs when they are many), and makes one mark whose note lists them: the files as "
      "saved "
      "are inside it. Each mark is printed, and noted in this host's own table. It needs no rights but to "
      "read "
      "the files (inotify); with CAP_SYS_ADMIN it uses fanotify, which also tells the program. What is "
      "written "
      "through a shared memory mapping is seen when the file is closed; what another host writes is not "
      "seen. "
      "Files that editors keep for themselves (.NAME.swp, NAME~, #NAME#) count only where --match names "
      "them. "
      "When the node does not answer, the mark is asked for again under the same id until it does, and what "
      "is "
      "saved meanwhile goes into the next. When the kernel loses events, that is said, and a mark is made. "
      "SIGTERM or SIGINT ends it in order, with a mark for what has none yet. When what lies at PATH is "
      "removed, moved, covered or unmounted, it ends with status 1, as nothing there would be seen any "
      "more; a service with Restart=on-failure takes it up again. With fanotify it holds the mount: stop "
      "it before you unmount. PATTERN is of the shell's kind and is held against a file's name and its "
      "path below PATH.",
      "tidemark watch /srv/db --group app --match '*.db' --quiet 2s");
  add_texts(command, "PATH", options->watch.paths, "Folders, mounts or files").required().shown_as("");
  const auto valid_group = [](const std::string& text) { return validate_name("group name", text); };
  add_checked_text(command, "--group", options->watch.group, valid_group, "The group of the volume")
      .required()
      .shown_as("GROUP");
  add_texts(command, "--match", options->watch.match, "Only these files").shown_as("PATTERN");
  add_texts(command, "--exclude", options->watch.exclude, "Not these files").shown_as("PATTERN");
  add_texts(command, "--program", options->watch.programs,
            "Only what programs of this name save (comm; needs fanotify)")
      .shown_as("NAME");
  add_duration(command, "--quiet", options->quiet, "A mark comes when nothing was saved for so long (1s)");
  add_duration(command, "--at-most", options->wait_max,
               "... or so long after the first file, when it never becomes quiet (30s)");
  add_duration(command, "--interval", options->interval, "From one mark to the next at least (0)");
  add_checked_text(
      command, "--id", options->watch.id_template, check_template,
      "Ids from {path}, {time}, {program} and {n}, a count; one that is taken gets a number at its "
      "end ({path}-{time})")
      .shown_as("TEMPLATE");
  add_word(command, "--wait", options->wait,
           "A mark is made when it is durable on the node, or received by its peer (local)");
  add_choice(
      command, "--events", {"fanotify", "inotify"},
      [options](const std::string& text) {
        options->watch.source =
            text == "fanotify" ? host::EventSource::kFanotify : host::EventSource::kInotify;
      },
      "Where events come from (fanotify where it is permitted, else inotify)");
  add_flag(command, "--anywhere", options->anywhere, "Also where PATH can be on no volume of the group");
  add_flag(command, "--dry-run", options->watch.dry_run, "Only say which marks would be made");
  on_chosen(cli, command, [&cli, options] { return watch(cli, *options); });
}

}  // namespace tidemark::cli
