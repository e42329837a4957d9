// `mark create`: the mark, this host's own record of it, and what is to happen around it.

#include <cstdio>

#include "base/names.h"
#include "cli.h"
#include "host/freeze.h"
#include "host/hook.h"
#include "host/host_marks.h"
#include "host/local.h"

namespace tidemark::cli {
namespace {

constexpr Duration kFreezeLimit = Duration::seconds(10);
constexpr Duration kFreezeLimitMax = Duration::seconds(600);
constexpr Duration kHookLimit = Duration::seconds(60);

struct Options {
  host::MarkWish wish;
  std::optional<control::WaitFor> wait;
  std::string freeze;  // a mount; empty: none is frozen
  std::optional<Duration> freeze_limit;
  std::string before;  // commands; empty: none
  std::string after;
  std::optional<Duration> hook_limit;
};

// How this command is typed again for the same mark.
std::string retry_command(const host::MarkWish& wish) {
  std::string text = "tidemark mark create " + wish.group + " " + wish.id;
  if (wish.wait == control::WaitFor::kPeer) text += " --wait peer";
  return "`" + text + "`";
}

// Whoever waited in vain wants to know what there is: the mark may be durable here and on its way to the
// peer.
Error not_in_time(Cli& cli, const host::MarkWish& wish) {
  constexpr std::chrono::seconds kLookTime{2};
  control::MarkShowRequest show;
  show.group = wish.group;
  show.id = wish.id;
  const std::string look = "; look with `tidemark mark show " + wish.group + " " + wish.id + "`";
  const Result<control::MarkInfo> mark = cli.call_within(show, kLookTime);
  bool durable = false;
  if (mark.ok()) {
    control::JournalStatusRequest journal;
    journal.group = wish.group;
    const Result<control::JournalStatus> status = cli.call_within(journal, kLookTime);
    durable = status.ok() && status->durable && status->durable->log_id.raw() >= mark->log_id.raw();
  }
  if (!durable) {
    return fail(ErrorCode::kTimeout, "mark '" + wish.id + "' was not made within " + cli.time_limit +
                                         "; it may be made yet" + look +
                                         ", or ask again: " + retry_command(wish) + " makes it once");
  }
  return fail(ErrorCode::kTimeout, "mark '" + wish.id +
                                       "' is durable here at log:" + mark->log_id.to_string() +
                                       ", but the peer has not received it within " + cli.time_limit +
                                       "; it goes over when the link is there" + look);
}

// What happens around the mark, from inside to outside: the freeze, and the commands of the user. Signals
// wait meanwhile, so that whatever was begun is ended.
class Surroundings {
 public:
  explicit Surroundings(const Options& options) : options_(options) {}

  // Asks for the mark with all that is to happen before and after it.
  Result<host::MadeMark> make(host::HostMarks& marks, host::MarkWish& wish, std::chrono::seconds limit) {
    if (!options_.before.empty()) {
      Result<void> done = hook("--before", options_.before, wish, "", false);
      if (!done.ok()) {
        done = fail(done.error().code, done.error().message + "; no mark was made");
        static_cast<void>(after(wish, "failed").ok());  // it has said why by itself
        return done.error();
      }
    }
    Result<host::MadeMark> made = frozen(marks, wish, limit);
    if (made.ok() && made->by_earlier_try) {
      made = fail(ErrorCode::kRefused, "mark '" + wish.id +
                                           "' was made by an earlier try, and not with what this one did "
                                           "before it; make another one, under another id");
    }
    const Result<void> ended = after(wish, made.ok() ? "made" : "failed");
    if (made.ok() && !ended.ok()) {
      return fail(ended.error().code, "mark '" + wish.id + "' was made, but " + ended.error().message);
    }
    return made;
  }

 private:
  Result<host::MadeMark> frozen(host::HostMarks& marks, host::MarkWish& wish, std::chrono::seconds limit) {
    if (options_.freeze.empty()) return marks.make(wish, limit);
    Result<void> thawed;
    Result<host::MadeMark> made =
        marks.make(wish, limit, [&](const host::HostMarks::Ask& ask) -> Result<control::MarkInfo> {
          TM_TRY_ASSIGN(host::Freeze freeze,
                        host::Freeze::begin(options_.freeze, options_.freeze_limit.value_or(kFreezeLimit)));
          Result<control::MarkInfo> asked = ask();
          thawed = freeze.thaw();
          return asked;
        });
    if (made.ok() && !thawed.ok()) {
      return fail(thawed.error().code, "mark '" + wish.id + "' was made, but not of a frozen file system: " +
                                           thawed.error().message +
                                           "; make another one, perhaps with a longer --freeze-limit");
    }
    return made;
  }

  Result<void> after(const host::MarkWish& wish, const std::string& result) {
    if (options_.after.empty()) return {};
    const Result<void> done = hook("--after", options_.after, wish, result, true);
    if (!done.ok() && result == "failed") say(done.error().message);
    return done;
  }

  Result<void> hook(const std::string& name, const std::string& command, const host::MarkWish& wish,
                    const std::string& result, bool to_the_end) {
    host::Hook hook;
    hook.to_the_end = to_the_end;
    hook.command = command;
    hook.time_limit = options_.hook_limit.value_or(kHookLimit);
    hook.environment = {
        {"TIDEMARK_GROUP", wish.group}, {"TIDEMARK_MARK", wish.id}, {"TIDEMARK_RESULT", result}};
    return host::run_hook(hook, name, signals_);
  }

  const Options& options_;
  host::StopSignals signals_;
};

Result<void> create(Cli& cli, Options& options) {
  host::MarkWish& wish = options.wish;
  wish.program = host::kMarkCreateProgram;
  wish.resumes = true;
  if (!options.freeze.empty()) {
    TM_TRY_ASSIGN(wish.path, host::real_path(options.freeze));
  }
  wish.wait = options.wait.value_or(control::WaitFor::kLocal);
  if (wish.id.empty()) wish.id = host::generate_mark_id(host::wall_now());
  if (options.freeze_limit && (options.freeze_limit->ns <= 0 || *options.freeze_limit > kFreezeLimitMax)) {
    return cli.usage_error("--freeze-limit must be more than 0 and at most " +
                           format_duration(kFreezeLimitMax));
  }
  if (!options.freeze.empty() && wish.wait == control::WaitFor::kPeer) {
    return cli.usage_error(
        "--freeze and --wait peer do not go together: the file system would stand still until the peer "
        "answers; "
        "make the mark, then look with `tidemark mark show`");
  }
  TM_TRY_ASSIGN(control::ApiClient node, cli.connect());
  TM_TRY_ASSIGN(std::chrono::seconds limit, cli.time_limit_seconds());
  if (!options.freeze.empty()) {
    const std::int64_t most = options.freeze_limit.value_or(kFreezeLimit).ns / 1'000'000'000;
    limit = std::min(limit, std::chrono::seconds(std::max<std::int64_t>(most, 1)));
  }
  TM_TRY_ASSIGN(std::string table, cli.host_table_path());
  host::HostMarks marks(node, std::move(table), say);
  const bool plain = options.freeze.empty() && options.before.empty() && options.after.empty();
  const Result<host::MadeMark> made =
      plain ? marks.make(wish, limit) : Surroundings(options).make(marks, wish, limit);
  if (!made.ok() && made.error().code == ErrorCode::kTimeout && plain) return not_in_time(cli, wish);
  if (!made.ok() && wish.open_try && plain) {
    return fail(made.error().code, "it is not known whether mark '" + wish.id +
                                       "' was made: " + made.error().message + " -- " + retry_command(wish) +
                                       " asks again, and makes it only once");
  }
  if (!made.ok()) return made.error();
  if (made->by_earlier_try) say("an earlier try had made it");
  if (cli.json()) {
    cli.print_json(made->mark);
  } else {
    std::printf("%s  %s  %s\n", printable(made->mark.id, 200).c_str(), made->mark.log_id.to_string().c_str(),
                format_time(made->mark.timer).c_str());
  }
  return {};
}

}  // namespace

void say(const std::string& sentence) {
  std::fprintf(stderr, "tidemark: %s\n", printable(sentence, kMessageLengthMax).c_str());
}

void add_mark_create(CLI::App& family, Cli& cli) {
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(
      family, "create", "Take a mark now",
      "Names this moment in the order of writes. The mark covers every write that was acknowledged before "
      "the command and nothing acknowledged after it returns, so settle the application first (sync, "
      "flush, freeze). Without an ID one is generated and printed. --wait peer waits until the secondary "
      "has received the mark. It is noted in this host's own table before the node is asked, and its "
      "outcome afterwards (`mark list --here`). When no answer comes, the same command with the same ID, "
      "and the same note or none, asks again: however often, there is one mark, with the host time of the "
      "first try. --freeze lets the file system of MOUNT come to rest first: what was written is on the "
      "volume, its journal is empty, and writers wait until the mark is made. It is thawed whatever "
      "becomes of this command: a process of its own does it when this one ends, when the limit is over or "
      "when it gets SIGTERM, and then the mark does not count as one of a frozen file system. Only when "
      "both are killed with SIGKILL at once it stays frozen; `fsfreeze -u MOUNT` thaws it. --before and "
      "--after run a command of yours on either side of all that, with TIDEMARK_GROUP, TIDEMARK_MARK and, "
      "after, TIDEMARK_RESULT (made, failed) in its environment; a --before that fails makes no mark, and "
      "--after runs in any case, also after a signal. Around a freeze or such commands a mark that an "
      "earlier try made does not count: make another one, under another ID.",
      "tidemark mark create app before-upgrade --note \"release 7\" --freeze /srv/db");
  add_group(command, options->wish.group);
  const auto valid = [](const std::string& text) { return validate_name("mark id", text, kMarkIdLengthMax); };
  add_checked_text(command, "ID", options->wish.id, valid, "The mark's id (generated)").shown_as("");
  add_text(command, "--note", options->wish.note, "A line about it for people");
  add_word(command, "--wait", options->wait,
           "Return when it is durable on this node, or received by its peer (local)");
  add_text(command, "--freeze", options->freeze, "Freeze this file system meanwhile (root)")
      .shown_as("MOUNT");
  add_duration(command, "--freeze-limit", options->freeze_limit, "Thaw after so long in any case (10s)");
  add_text(command, "--before", options->before, "A shell command to run first").shown_as("COMMAND");
  add_text(command, "--after", options->after, "A shell command to run last").shown_as("COMMAND");
  add_duration(command, "--hook-limit", options->hook_limit, "Kill such a command after so long (60s)");
  on_chosen(cli, command, [&cli, options] { return create(cli, *options); });
}

}  // namespace tidemark::cli
