#include <cstdio>

#include "base/names.h"
#include "cli.h"
#include "show.h"
#include "table.h"

namespace tidemark::cli {
namespace {

Argument add_mark_id(CLI::App* command, std::string& id) {
  return add_text(command, "ID", id, "The mark's id").required().shown_as("");
}

void show_marks(const control::MarkListReply& reply) {
  Table table({"MARK", ">LOG ID", "TIME", "HELD", "BRANCH", "RESTORABLE", "HOST", "NOTE"});
  for (const control::MarkInfo& mark : reply.marks) {
    table.row({mark.id, mark.log_id.to_string(), short_time(mark.timer), yes_no(mark.held),
               mark.live ? "live" : "dead", mark.restorable ? "yes" : "no: " + mark.not_restorable_reason,
               mark.host, mark.note});
  }
  table.print();
  if (reply.next) std::fprintf(stderr, "there is more: --after %s\n", printable(*reply.next, 200).c_str());
}

// Without a limit, page after page as one answer.
Result<void> list_marks(Cli& cli, control::MarkListRequest request, std::optional<std::uint32_t> limit) {
  request.limit = limit.value_or(control::kPageLimitMax);
  control::MarkListReply answer;
  do {
    TM_TRY_ASSIGN(control::MarkListReply page, cli.call(request));
    answer.marks.insert(answer.marks.end(), page.marks.begin(), page.marks.end());
    answer.next = page.next;
    request.after = page.next.value_or("");
  } while (!limit && answer.next.has_value());
  if (cli.json()) {
    cli.print_json(answer);
  } else {
    show_marks(answer);
  }
  return {};
}

void add_list(CLI::App& family, Cli& cli) {
  struct Options {
    control::MarkListRequest request;
    std::optional<std::uint32_t> limit;
    bool here = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command =
      add_command(family, "list", "List marks",
                  "Lists the marks of a group with their log id, timer value, and whether they can be "
                  "restored from this node; if not, why. With --here no node is asked: it lists what this "
                  "host's own table says of the marks that were asked for here, of GROUP or of all groups, "
                  "each with its outcome: made, failed (the node refused it), unknown (no answer came) or "
                  "pending (the command was cut off). `tidemark mark reconcile` compares the two.",
                  "tidemark mark list app --limit 20");
  const auto valid = [](const std::string& text) { return validate_name("group name", text); };
  add_checked_text(command, "GROUP", options->request.group, valid,
                   "The group; with --here all, if none is given")
      .shown_as("");
  add_flag(command, "--here", options->here, "Of this host's own table");
  add_text(command, "--after", options->request.after, "Begin after this mark id").shown_as("ID");
  add_number(command, "--limit", options->limit, 1, control::kPageLimitMax,
             "Show at most this many marks (all); with --here the newest ones");
  on_chosen(cli, command, [&cli, options]() -> Result<void> {
    if (options->here) {
      if (!options->request.after.empty()) return cli.usage_error("--after is for the marks of a node");
      return list_host_marks(cli, options->request.group, options->limit);
    }
    if (options->request.group.empty()) return cli.usage_error("GROUP is required, unless --here is given");
    return list_marks(cli, options->request, options->limit);
  });
}

void add_name(CLI::App& family, Cli& cli) {
  auto request = std::make_shared<control::MarkNameRequest>();
  CLI::App* command =
      add_command(family, "name", "Give a name to a past point",
                  "Makes a mark for a point that is already past, which can then be held, exported and "
                  "restored like any other.",
                  "tidemark mark name app last-good --at time:2026-05-01T12:00:00Z");
  add_group(command, request->group);
  add_mark_id(command, request->id);
  add_text(command, "--at", request->point, "The point").required().shown_as("POINT");
  add_text(command, "--note", request->note, "A line about it for people");
  on_chosen(cli, command, [&cli, request] { return cli.ask(*request, show_mark); });
}

// show, hold, release: a request with a group and an id that answers a mark.
template <typename Request>
void add_simple(CLI::App& family, Cli& cli, const char* name, const char* summary, const char* explanation,
                const char* example) {
  auto request = std::make_shared<Request>();
  CLI::App* command = add_command(family, name, summary, explanation, example);
  add_group(command, request->group);
  add_mark_id(command, request->id);
  on_chosen(cli, command, [&cli, request] { return cli.ask(*request, show_mark); });
}

void add_delete(CLI::App& family, Cli& cli) {
  auto request = std::make_shared<control::MarkDeleteRequest>();
  CLI::App* command =
      add_command(family, "delete", "Forget a mark",
                  "Forgets a mark and frees its id for another. The data of the point stay as long as the "
                  "retention says; only the name goes. A held mark must be released first.",
                  "tidemark mark delete app before-upgrade");
  add_group(command, request->group);
  add_mark_id(command, request->id);
  on_chosen(cli, command, [&cli, request] { return cli.ask(*request, show_done("deleted")); });
}

}  // namespace

void add_mark_commands(CLI::App& app, Cli& cli) {
  CLI::App* family = add_family(app, "mark", "Marks: names of points in the order of writes",
                                "tidemark mark create app before-upgrade");
  add_mark_create(*family, cli);
  add_list(*family, cli);
  add_simple<control::MarkShowRequest>(
      *family, cli, "show", "Show one mark",
      "Shows a mark: its log id and timer value at the storage, the host's own time and "
      "note, and whether it can be restored from here.",
      "tidemark mark show app before-upgrade");
  add_name(*family, cli);
  add_simple<control::MarkHoldRequest>(
      *family, cli, "hold", "Keep a mark restorable whatever the retention",
      "Holds a mark: its point and everything after it stay readable until it is "
      "released. Held marks never expire silently; they take journal space.",
      "tidemark mark hold app before-upgrade");
  add_simple<control::MarkReleaseRequest>(
      *family, cli, "release", "End a hold",
      "Ends a hold: the mark expires when its retention has passed, perhaps at once.",
      "tidemark mark release app before-upgrade");
  add_delete(*family, cli);
  add_reconcile(*family, cli);
  add_prune(*family, cli);
}

}  // namespace tidemark::cli
