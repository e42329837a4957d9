#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <random>

#include "base/names.h"
#include "cli.h"
#include "show.h"
#include "table.h"

namespace tidemark::cli {
namespace {

WallTime now() {
  const auto since_1970 = std::chrono::system_clock::now().time_since_epoch();
  return WallTime{std::chrono::duration_cast<std::chrono::nanoseconds>(since_1970).count()};
}

// "m-20260501-120000-abc1": the host's time, and a random end that keeps two marks of one second apart.
std::string generate_mark_id(WallTime time) {
  std::string stamp;
  for (const char c : short_time(time)) {
    if (c >= '0' && c <= '9') stamp.push_back(c);
  }
  constexpr char kLetters[] = "abcdefghijkmnpqrstuvwxyz23456789";
  std::random_device random;
  std::string end;
  for (int i = 0; i < 4; ++i) end.push_back(kLetters[random() % 32]);
  return "m-" + stamp.substr(0, 8) + "-" + stamp.substr(8) + "-" + end;
}

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "";
}

Argument add_mark_id(CLI::App* command, std::string& id) {
  return add_text(command, "ID", id, "The mark's id").required().shown_as("");
}

// Whoever waited in vain wants to know what there is: the mark may be durable here and on its way to the
// peer.
Error not_in_time(Cli& cli, const control::MarkCreateRequest& request) {
  constexpr std::chrono::seconds kLookTime{2};
  control::MarkShowRequest show;
  show.group = request.group;
  show.id = *request.id;
  const std::string look = "; look with `tidemark mark show " + request.group + " " + *request.id + "`";
  const Result<control::MarkInfo> mark = cli.call_within(show, kLookTime);
  bool durable = false;
  if (mark.ok()) {
    control::JournalStatusRequest journal;
    journal.group = request.group;
    const Result<control::JournalStatus> status = cli.call_within(journal, kLookTime);
    durable = status.ok() && status->durable && status->durable->log_id.raw() >= mark->log_id.raw();
  }
  if (!durable) {
    return fail(ErrorCode::kTimeout, "mark '" + *request.id + "' was not made within " + cli.time_limit +
                                         "; it may be made yet" + look);
  }
  return fail(ErrorCode::kTimeout, "mark '" + *request.id +
                                       "' is durable here at log:" + mark->log_id.to_string() +
                                       ", but the peer has not received it within " + cli.time_limit +
                                       "; it goes over when the link is there" + look);
}

void add_create(CLI::App& family, Cli& cli) {
  struct Options {
    control::MarkCreateRequest request;
    std::string id;
    std::optional<control::WaitFor> wait;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(
      family, "create", "Take a mark now",
      "Names this moment in the order of writes. The mark covers every write that was acknowledged before "
      "the command "
      "and nothing acknowledged after it returns, so settle the application first (sync, flush, freeze). "
      "Without an ID "
      "one is generated and printed. --wait peer waits until the secondary has received the mark.",
      "tidemark mark create app before-upgrade --note \"release 7\"");
  add_group(command, options->request.group);
  const auto valid = [](const std::string& text) { return validate_name("mark id", text, kMarkIdLengthMax); };
  add_checked_text(command, "ID", options->id, valid, "The mark's id (generated)").shown_as("");
  add_text(command, "--note", options->request.note, "A line about it for people");
  add_word(command, "--wait", options->wait,
           "Return when it is durable on this node, or received by its peer (local)");
  on_chosen(cli, command, [&cli, options]() -> Result<void> {
    control::MarkCreateRequest& request = options->request;
    request.host_time = now();
    request.host = host_name();
    request.id = options->id.empty() ? generate_mark_id(*request.host_time) : options->id;
    request.wait = options->wait.value_or(control::WaitFor::kLocal);
    Result<void> asked = cli.ask(request, [](const control::MarkInfo& mark) {
      std::printf("%s  %s  %s\n", printable(mark.id, 200).c_str(), mark.log_id.to_string().c_str(),
                  format_time(mark.timer).c_str());
    });
    if (!asked.ok() && asked.error().code == ErrorCode::kTimeout) return not_in_time(cli, request);
    return asked;
  });
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
  };
  auto options = std::make_shared<Options>();
  CLI::App* command =
      add_command(family, "list", "List marks",
                  "Lists the marks of a group with their log id, timer value, and whether they can be "
                  "restored from this node; if not, why.",
                  "tidemark mark list app --limit 20");
  add_group(command, options->request.group);
  add_text(command, "--after", options->request.after, "Begin after this mark id").shown_as("ID");
  add_number(command, "--limit", options->limit, 1, control::kPageLimitMax,
             "Show at most this many marks (all)");
  on_chosen(cli, command, [&cli, options] { return list_marks(cli, options->request, options->limit); });
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
  add_create(*family, cli);
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
}

}  // namespace tidemark::cli
