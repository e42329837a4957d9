#include <algorithm>
#include <cstdio>

#include "base/names.h"
#include "cli.h"
#include "show.h"
#include "table.h"

namespace tidemark::cli {
namespace {

std::string duration_since(WallTime since, WallTime now) {
  constexpr std::int64_t kSecond = 1'000'000'000;
  const std::int64_t seconds = std::max<std::int64_t>(0, (now.ns - since.ns) / kSecond);
  if (seconds >= 2 * 86'400) return std::to_string(seconds / 86'400) + " days";
  if (seconds >= 2 * 3'600) return std::to_string(seconds / 3'600) + " hours";
  if (seconds >= 2 * 60) return std::to_string(seconds / 60) + " minutes";
  return std::to_string(seconds) + " seconds";
}

void show_problems(const control::NodeStatus& status) {
  if (status.problems.empty()) {
    std::printf("no problems\n");
    return;
  }
  for (const control::Problem& problem : status.problems) {
    std::string line = "! ";
    if (!problem.group.empty()) line += problem.group + ": ";
    line += problem.text;
    if (problem.since) {
      line +=
          " (since " + short_time(*problem.since) + ", " + duration_since(*problem.since, status.now) + ")";
    }
    std::printf("%s\n", printable(line, 500).c_str());
    if (!problem.action.empty()) std::printf("  type: %s\n", printable(problem.action, 500).c_str());
  }
}

void show_group_status(const control::GroupInfo& group) {
  std::string head = group.group + "  " + std::string(control::word(group.role)) + ", " +
                     std::string(control::word(group.state));
  if (!group.state_reason.empty()) head += " (" + group.state_reason + ")";
  std::printf("\n%s\n", printable(head, 300).c_str());
  const control::JournalStatus& journal = group.journal;
  std::printf("  restorable  %s (%s) .. %s (%s)\n", short_time(journal.floor.timer).c_str(),
              journal.floor.log_id.to_string().c_str(), short_time(journal.head.timer).c_str(),
              journal.head.log_id.to_string().c_str());
  std::printf("  journal     %s of %s (%s), retain %s\n", format_size(journal.used_bytes).c_str(),
              format_size(journal.capacity_bytes).c_str(),
              percent(journal.used_bytes, journal.capacity_bytes).c_str(),
              format_duration(journal.retain).c_str());
  if (group.last_mark) {
    std::printf("  last mark   %s at %s, %llu in all\n", printable(group.last_mark->id, 128).c_str(),
                short_time(group.last_mark->timer).c_str(), static_cast<unsigned long long>(group.marks));
  } else {
    std::printf("  last mark   none; take one with: tidemark mark create %s\n",
                printable(group.group).c_str());
  }
  if (group.pair) std::printf("  pair        %s\n", printable(pair_line(*group.pair), 300).c_str());
  if (!group.volumes.empty()) show_volume_table(group.volumes, "  ");
}

void show_status(const control::NodeStatus& status) {
  std::printf("node %s, tidemarkd %s", printable(status.node).c_str(), printable(status.version).c_str());
  if (status.started) std::printf(", up %s", duration_since(*status.started, status.now).c_str());
  std::printf(", pool %s of %s used (%s), journals %s of it\n", format_size(status.pool_used_bytes).c_str(),
              format_size(status.pool_capacity_bytes).c_str(),
              percent(status.pool_used_bytes, status.pool_capacity_bytes).c_str(),
              format_size(status.pool_journals_bytes).c_str());
  show_problems(status);
  if (status.groups.empty()) std::printf("\nno groups yet; type: tidemark group create NAME\n");
  for (const control::GroupInfo& group : status.groups) show_group_status(group);
}

void add_status(CLI::App& app, Cli& cli) {
  CLI::App* command = add_command(
      app, "status", "What is wrong, since when, what is restorable, what to type",
      "Shows the node on one screen: problems first, each with the command that helps; then every group with "
      "its role and state, its window of restorable points, its journal, last mark, pair, and its volumes "
      "with cache hits (reads and writes apart) and dirty bytes.",
      "tidemark --node /var/lib/tidemark status");
  on_chosen(cli, command, [&cli] { return cli.ask(control::NodeStatusRequest{}, show_status); });
}

void show_sessions(const control::SessionsReply& reply) {
  Table table({"KIND", "CLIENT", "EXPORT", "ACCESS", "SINCE", ">READ", ">WRITTEN"});
  for (const control::SessionInfo& session : reply.sessions) {
    table.row({std::string(control::word(session.kind)), session.client, session.export_name,
               std::string(session.writable ? "write" : "read") + (session.view ? ", view" : ""),
               session.since ? short_time(*session.since) : "-", format_size(session.read_bytes),
               format_size(session.written_bytes)});
  }
  table.print();
}

void add_sessions(CLI::App& app, Cli& cli) {
  CLI::App* command =
      add_command(app, "sessions", "Who is connected",
                  "Lists the connections to the node: hosts on exports and views, and what each "
                  "may do. A restore waits for writers to leave.",
                  "tidemark sessions");
  on_chosen(cli, command, [&cli] { return cli.ask(control::SessionsRequest{}, show_sessions); });
}

std::string cell_text(const control::TableCell& cell) {
  if (const auto* text = std::get_if<std::string>(&cell)) return *text;
  if (const auto* number = std::get_if<std::int64_t>(&cell)) return std::to_string(*number);
  if (const auto* real = std::get_if<double>(&cell)) {
    char text[40];
    std::snprintf(text, sizeof text, "%g", *real);
    return text;
  }
  return "-";
}

void show_table(const control::TableReply& reply) {
  Table table(reply.columns);
  for (const auto& row : reply.rows) {
    std::vector<std::string> cells;
    cells.reserve(row.size());
    for (const control::TableCell& cell : row) cells.push_back(cell_text(cell));
    table.row(std::move(cells));
  }
  table.print();
  if (reply.next)
    std::fprintf(stderr, "there is more: --after %llu\n", static_cast<unsigned long long>(*reply.next));
}

void show_check(const control::TableCheckReply& reply) {
  Table table({"TABLE", ">ROWS", ">MISSING", ">FOREIGN"});
  for (const control::TableCheckInfo& check : reply.tables) {
    table.row({check.name, std::to_string(check.rows), std::to_string(check.missing),
               std::to_string(check.foreign)});
  }
  table.print();
  for (const control::TableCheckInfo& check : reply.tables) {
    for (const std::string& example : check.examples) {
      std::printf("%s: %s\n", check.name.c_str(), printable(example, 400).c_str());
    }
  }
  std::printf(reply.good ? "every table is as the journal and the disks say\n"
                         : "what differed was written again\n");
}

Result<void> check_tables(Cli& cli) {
  TM_TRY_ASSIGN(const control::TableCheckReply reply, cli.call(control::TableCheckRequest{}));
  if (!reply.good) cli.exit_code = kExitFailed;
  if (cli.json()) {
    cli.print_json(reply);
  } else {
    show_check(reply);
  }
  return {};
}

void add_table(CLI::App& app, Cli& cli) {
  auto request = std::make_shared<control::TableRequest>();
  CLI::App* command = add_command(
      app, "table", "A management table",
      "Prints one of the node's management tables, row by row: node, device_address, raid_address, volume, "
      "pair, log_volume_group, log_id, mark_id. --id and --time look up one log id, mark id or moment in "
      "log_id and mark_id. `tidemark table check` compares all of them with the journal and the disks, which "
      "are the "
      "truth, "
      "and writes again what differs; exit code 1 when something did.",
      "tidemark table mark_id --group app");
  add_text(command, "NAME", request->name, "The table, or check").required().shown_as("");
  add_text(command, "--group", request->group, "Only the rows of this group");
  add_text(command, "--id", request->id, "Only the row of this log id (EPOCH.SEQ) or mark id");
  add_text(command, "--time", request->time, "Only the row of this moment, as RFC 3339");
  add_number(command, "--after", request->after, "Skip this many rows");
  add_limit(command, request->limit, "rows");
  on_chosen(cli, command, [&cli, request] {
    return request->name == "check" ? check_tables(cli) : cli.ask(*request, show_table);
  });
}

}  // namespace

void add_status_commands(CLI::App& app, Cli& cli) {
  add_status(app, cli);
  add_sessions(app, cli);
  add_table(app, cli);
}

}  // namespace tidemark::cli
