// `run`: a program between two marks, and a mark whenever it saves a file.

#include <poll.h>

#include <cstdio>

#include "base/names.h"
#include "cli.h"
#include "host/child.h"
#include "host/id_template.h"
#include "host/place.h"
#include "watching.h"

namespace tidemark::cli {
namespace {

constexpr char kIdTemplate[] = "{program}-{time}";
constexpr Duration kNapMax = Duration::seconds(3600);
constexpr int kStatusNotRun = 126;
constexpr int kStatusNotFound = 127;

struct Options {
  host::WatchOptions watch;
  std::vector<std::string> words;  // of the program
  std::string id_template = kIdTemplate;
  std::optional<Duration> quiet;
  bool anywhere = false;
  bool anyway = false;
};

std::string command_line(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return printable(text, 400);
}

// Everything between the start mark and the end mark. The program's signals are passed on; those of a
// terminal have reached it by themselves.
Result<host::Ending> follow(host::Child& child, host::Watcher& watcher, host::StopSignals& signals) {
  bool watching = true;
  while (true) {
    const Duration nap = watching ? std::min(watcher.wait().value_or(kNapMax), kNapMax) : kNapMax;
    pollfd ready[3] = {{watching ? watcher.descriptor() : -1, POLLIN, 0},
                       {signals.descriptor(), POLLIN, 0},
                       {child.descriptor(), POLLIN, 0}};
    ::poll(ready, 3, static_cast<int>((nap.ns + 999'999) / 1'000'000));
    for (int signal = signals.take(); signal != 0; signal = signals.take()) {
      if (!signals.from_terminal()) child.send(signal);
    }
    const Result<void> stepped = watching ? watcher.step() : Result<void>{};
    if (!stepped.ok()) say(stepped.error().message + "; no further marks for saved files");
    watching = watching && stepped.ok();
    if ((ready[2].revents & POLLIN) != 0) return child.wait();
  }
}

class Run {
 public:
  Run(Cli& cli, Options& options, control::ApiClient& node)
      : cli_(cli), options_(options), marks_(node, options.watch.table_path, say) {}

  Result<void> work() {
    host::IdParts parts;
    parts.time = host::wall_now();
    parts.program = options_.words[0].substr(options_.words[0].rfind('/') + 1);
    base_ = host::expand_id(options_.id_template, parts).substr(0, kBaseLengthMax);
    program_ = parts.program;
    // Signals are taken before the first mark, so that none of them leaves a program without its end mark.
    host::StopSignals signals{SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2};
    TM_TRY_ASSIGN(const std::unique_ptr<host::Watcher> watcher, start_watcher());
    const Result<std::string> start = mark("start", "before: " + command_line(options_.words));
    if (!start.ok()) {
      if (!options_.anyway) {
        return fail(start.error().code, start.error().message + "; '" + printable(program_) +
                                            "' was not run (--anyway runs it without its start mark)");
      }
      say(start.error().message + "; it is run all the same");
    }
    host::Ending stopped;
    stopped.signal = signals.take();
    if (stopped.signal != 0) {
      not_run("'" + printable(program_) + "' was not run: a signal came before it", stopped, start.ok());
      return {};
    }
    Result<host::Child> started = host::Child::start(options_.words, &signals);
    if (!started.ok()) {
      host::Ending none;
      none.status = started.error().code == ErrorCode::kNotFound ? kStatusNotFound : kStatusNotRun;
      not_run(started.error().message, none, start.ok());
      return {};
    }
    host::Child child = std::move(started).value();
    watcher->set_ancestor(child.process());
    TM_TRY_ASSIGN(const host::Ending ending, follow(child, *watcher, signals));
    finish(*watcher, ending, start.ok() ? *start : "");
    cli_.end = [ending] { host::end_as(ending); };
    return {};
  }

 private:
  static constexpr std::size_t kBaseLengthMax = kMarkIdLengthMax - 24;  // room for what is put behind it

  Result<std::unique_ptr<host::Watcher>> start_watcher() {
    host::WatchOptions watch = options_.watch;
    watch.id_template = base_ + "-{n}";
    watch.rule.quiet = options_.quiet.value_or(watch.rule.quiet);
    host::WatchReport report;
    report.say = say;
    report.marked = [](const control::MarkInfo& mark) { say("mark " + mark.id + ": " + mark.note); };
    return host::Watcher::start(std::move(watch), marks_, std::move(report));
  }

  Result<std::string> mark(const std::string& which, const std::string& note) {
    host::MarkWish wish;
    wish.group = options_.watch.group;
    wish.id = base_ + "-" + which;
    wish.note = note;
    wish.program = program_;
    wish.path = options_.watch.paths.front();
    for (int attempt = 2;; ++attempt) {
      const Result<host::MadeMark> made = marks_.make(wish, options_.watch.time_limit);
      if (made.ok()) break;
      if (made.error().code != ErrorCode::kExists || attempt > host::kNumberedTriesMax + 1) {
        return fail(made.error().code, "the " + which + " mark could not be made: " + made.error().message);
      }
      wish.id = host::next_id(base_ + "-" + which, attempt);
    }
    say("mark " + wish.id);
    return wish.id;
  }

  // Ends as a shell does with a program that it cannot run. A start mark has its end mark all the same.
  void not_run(const std::string& why, const host::Ending& ending, bool is_marked) {
    say(why);
    if (is_marked) {
      const Result<std::string> end = mark("end", why);
      if (!end.ok()) say(end.error().message);
    }
    cli_.end = [ending] { host::end_as(ending); };
  }

  // The exit status is the program's whatever becomes of the marks.
  void finish(host::Watcher& watcher, const host::Ending& ending, const std::string& start) {
    const Result<bool> finished = watcher.finish();
    if (!finished.ok()) say(finished.error().message);
    if (finished.ok() && !*finished) say("what was saved last has no mark of its own");
    const std::string outcome = "'" + printable(program_) + "' " + ending.to_string();
    const Result<std::string> end = mark("end", outcome);
    if (!end.ok()) say(end.error().message);
    if (ending.good() || start.empty()) return;
    say(outcome + "; to go back to before it: tidemark restore " + options_.watch.group + " --to " + start);
  }

  Cli& cli_;
  Options& options_;
  host::HostMarks marks_;
  std::string base_;
  std::string program_;
};

Result<void> run(Cli& cli, Options& options) {
  if (options.watch.paths.empty()) options.watch.paths.emplace_back(".");
  TM_TRY_ASSIGN(options.watch.table_path, cli.host_table_path());
  TM_TRY_ASSIGN(control::ApiClient node, cli.connect());
  TM_TRY_ASSIGN(const std::chrono::seconds limit, cli.time_limit_seconds());
  options.watch.time_limit = std::min(limit, options.watch.time_limit);
  if (!options.anyway) TM_TRY(check_group(node, options.watch.group, limit));
  TM_TRY(check_paths(node, options.watch, options.anywhere || options.anyway, limit));
  return Run(cli, options, node).work();
}

}  // namespace

void add_run_command(CLI::App& app, Cli& cli) {
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(
      app, "run", "Run a program between two marks, with one whenever it saves a file",
      "Makes a mark, runs PROGRAM, makes a mark whenever it saves files below --path, as `tidemark watch` "
      "does, "
      "and one at its end, whose note says how it ended. Where fanotify is permitted only what the program "
      "and "
      "those that it starts save counts; else what anybody saves there meanwhile. The program has the "
      "standard "
      "streams and gets the signals, and its exit status is that of this command; what is said of marks goes "
      "to "
      "standard error. When it fails, the way back is printed: its start mark. Without its start mark it is "
      "not run, unless with --anyway; nor is it when a signal comes before it. One that is not found ends "
      "with "
      "status 127, one that cannot be run with 126. A mark at the end that cannot be made is said and "
      "changes nothing of "
      "the "
      "exit status. Before the program ends, the files that it keeps open are as in `tidemark watch`: a mark "
      "comes after a quiet time.",
      "tidemark run --group app --path /srv/db -- ./migrate --to 7");
  const auto valid_group = [](const std::string& text) { return validate_name("group name", text); };
  add_checked_text(command, "--group", options->watch.group, valid_group, "The group of the volume")
      .required()
      .shown_as("GROUP");
  add_texts(command, "PROGRAM", options->words, "The program and its arguments, behind --")
      .required()
      .shown_as("");
  add_texts(command, "--path", options->watch.paths, "Where it saves files (the current folder)")
      .shown_as("PATH");
  add_texts(command, "--match", options->watch.match, "Only these files").shown_as("PATTERN");
  add_texts(command, "--exclude", options->watch.exclude, "Not these files").shown_as("PATTERN");
  add_duration(command, "--quiet", options->quiet, "A mark comes when nothing was saved for so long (1s)");
  const auto valid_template = [](const std::string& text) { return host::check_id_template(text); };
  add_checked_text(command, "--id", options->id_template, valid_template,
                   "What the ids begin with, from {program} and {time}; -start, -1, -2 and so on, and -end "
                   "stand behind it ({program}-{time})")
      .shown_as("TEMPLATE");
  add_flag(command, "--anywhere", options->anywhere, "Also where --path can be on no volume of the group");
  add_flag(command, "--anyway", options->anyway, "Run it also when the node makes no mark");
  on_chosen(cli, command, [&cli, options] { return run(cli, *options); });
}

}  // namespace tidemark::cli
