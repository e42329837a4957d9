// `mark create`: the mark, this host's own record of it, and what is to happen around it.

#include <cstdio>

#include "base/names.h"
#include "cli.h"
#include "host/host_marks.h"

namespace tidemark::cli {
namespace {

constexpr char kProgram[] = "tidemark mark create";

struct Options {
  host::MarkWish wish;
  std::optional<control::WaitFor> wait;
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

Result<void> create(Cli& cli, Options& options) {
  host::MarkWish& wish = options.wish;
  wish.program = kProgram;
  wish.wait = options.wait.value_or(control::WaitFor::kLocal);
  TM_TRY_ASSIGN(control::ApiClient node, cli.connect());
  TM_TRY_ASSIGN(const std::chrono::seconds limit, cli.time_limit_seconds());
  TM_TRY_ASSIGN(std::string table, cli.host_table_path());
  host::HostMarks marks(node, std::move(table), say);
  const Result<host::MadeMark> made = marks.make(wish, limit);
  if (!made.ok() && made.error().code == ErrorCode::kTimeout) return not_in_time(cli, wish);
  if (!made.ok() && host::HostMarks::leaves_open(made.error().code)) {
    return fail(made.error().code, made.error().message + "; whether mark '" + wish.id +
                                       "' was made is not known: " + retry_command(wish) +
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
      "the command and nothing acknowledged after it returns, so settle the application first (sync, flush, "
      "freeze). Without an ID one is generated and printed. --wait peer waits until the secondary has "
      "received the mark. It is noted in this host's own table before the node is asked, and its outcome "
      "afterwards (`mark list --here`). When no answer comes, the same command with the same ID asks again: "
      "however often, there is one mark, with the host time of the first try.",
      "tidemark mark create app before-upgrade --note \"release 7\"");
  add_group(command, options->wish.group);
  const auto valid = [](const std::string& text) { return validate_name("mark id", text, kMarkIdLengthMax); };
  add_checked_text(command, "ID", options->wish.id, valid, "The mark's id (generated)").shown_as("");
  add_text(command, "--note", options->wish.note, "A line about it for people");
  add_word(command, "--wait", options->wait,
           "Return when it is durable on this node, or received by its peer (local)");
  on_chosen(cli, command, [&cli, options] { return create(cli, *options); });
}

}  // namespace tidemark::cli
