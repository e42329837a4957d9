// What the host's own table says, and how it compares with the nodes'.

#include <cstdio>
#include <limits>

#include "base/names.h"
#include "cli.h"
#include "host/local.h"
#include "host/mark_table.h"
#include "host/reconcile.h"
#include "table.h"

namespace tidemark::cli {
namespace {

std::string log_id_text(const std::optional<LogId>& log_id) {
  return log_id ? log_id->to_string() : "-";
}

void show_host_marks(const control::HostMarkList& list) {
  Table table({"GROUP", "MARK", "STATE", ">LOG ID", "HOST TIME", "PROGRAM", "PATH", "NOTE"});
  for (const control::HostMark& mark : list.marks) {
    const std::string state = mark.outcome.empty() ? "" : " (" + mark.outcome + ")";
    table.row({mark.group, mark.id, std::string(control::word(mark.state)) + state, log_id_text(mark.log_id),
               short_time(mark.host_time), mark.program, mark.path, mark.note});
  }
  table.print();
}

void show_reconciliation(const control::Reconciliation& outcome) {
  Facts facts;
  facts.add("host", outcome.host);
  facts.add("table", outcome.table.empty() ? "there is none" : outcome.table);
  for (const control::ReconciledNode& node : outcome.nodes) {
    if (!node.failure.empty()) {
      facts.add("node", node.address + " could not be asked: " + node.failure);
    } else {
      facts.add("node",
                node.node + " (" + node.address + "): " + std::to_string(node.agreeing) +
                    " marks on both sides, " + std::to_string(node.of_other_hosts) + " of other hosts" +
                    (node.pruned == 0 ? "" : ", " + std::to_string(node.pruned) + " older than the rows"));
    }
  }
  facts.print();
  Table table({"GROUP", "MARK", "FINDING", ">LOG ID", "NODE", "WHY"});
  for (const control::ReconciledMark& mark : outcome.marks) {
    if (mark.finding == control::Finding::kBoth) continue;
    table.row({mark.group, mark.id, std::string(control::word(mark.finding)), log_id_text(mark.log_id),
               mark.node, mark.reason});
  }
  if (table.empty()) return;
  std::printf("\n");
  table.print();
}

void show_pruning(const control::HostPruning& pruning) {
  const std::string which =
      std::to_string(pruning.removed) + " rows from before " + short_time(pruning.before);
  Facts facts;
  facts.add("table", pruning.table);
  facts.add(pruning.dry_run ? "would remove" : "removed", which);
  if (pruning.kept_open > 0) {
    facts.add("kept",
              std::to_string(pruning.kept_open) +
                  " rows as old, whose marks had no answer: `tidemark mark reconcile` completes them, "
                  "--open removes them");
  }
  facts.print();
}

struct PruneOptions {
  std::string group;
  std::optional<Duration> older_than;
  bool open = false;
  bool dry_run = false;
};

Result<void> prune_marks(Cli& cli, const PruneOptions& options) {
  control::HostPruning pruning;
  TM_TRY_ASSIGN(pruning.table, cli.host_table_path());
  pruning.group = options.group;
  pruning.before = WallTime{host::wall_now().ns - options.older_than->ns};
  pruning.dry_run = options.dry_run;
  TM_TRY_ASSIGN(std::optional<host::MarkTable> table, host::MarkTable::open_existing(pruning.table));
  if (table) {
    TM_TRY_ASSIGN(const host::MarkTable::OldRows old, table->count_before(options.group, pruning.before));
    pruning.kept_open = options.open ? 0 : old.open;
    pruning.removed = old.answered + (options.open ? old.open : 0);
    if (!options.dry_run) {
      TM_TRY_ASSIGN(pruning.removed, table->prune(options.group, pruning.before, options.open));
    }
  }
  if (cli.json()) {
    cli.print_json(pruning);
  } else {
    show_pruning(pruning);
  }
  return {};
}

struct ReconcileOptions {
  std::string group;
  std::vector<std::string> others;
};

Result<void> reconcile_marks(Cli& cli, const ReconcileOptions& options) {
  TM_TRY_ASSIGN(const std::string path, cli.host_table_path());
  TM_TRY_ASSIGN(const std::chrono::seconds limit, cli.time_limit_seconds());
  std::vector<control::ApiClient> nodes;
  TM_TRY_ASSIGN(control::ApiClient first, cli.connect());
  nodes.push_back(std::move(first));
  for (const std::string& address : options.others) {
    TM_TRY_ASSIGN(control::ApiClient other, cli.connect_to(address));
    nodes.push_back(std::move(other));
  }
  TM_TRY_ASSIGN(std::optional<host::MarkTable> table, host::MarkTable::open_existing(path));
  TM_TRY_ASSIGN(const control::Reconciliation outcome,
                host::reconcile(table ? &*table : nullptr, options.group, nodes, limit));
  if (cli.json()) {
    cli.print_json(outcome);
  } else {
    show_reconciliation(outcome);
  }
  if (!outcome.agrees) cli.exit_code = kExitFailed;
  return {};
}

}  // namespace

Result<void> list_host_marks(Cli& cli, const std::string& group, std::optional<std::uint32_t> limit) {
  control::HostMarkList list;
  TM_TRY_ASSIGN(list.table, cli.host_table_path());
  TM_TRY_ASSIGN(std::optional<host::MarkTable> table, host::MarkTable::open_existing(list.table));
  if (table) {
    TM_TRY_ASSIGN(list.marks, table->list(group, limit ? *limit : std::numeric_limits<std::uint64_t>::max()));
  } else {
    say("there is no table yet: no mark was made here that went into " + list.table);
  }
  if (cli.json()) {
    cli.print_json(list);
  } else {
    show_host_marks(list);
  }
  return {};
}

void add_prune(CLI::App& family, Cli& cli) {
  auto options = std::make_shared<PruneOptions>();
  CLI::App* command = add_command(
      family, "prune", "Remove old rows from this host's own table of marks",
      "Removes the rows of marks that were asked for longer ago than --older-than, by this host's clock, of "
      "GROUP "
      "or of all groups. No node is asked, and no mark is deleted there. Rows without an answer (unknown, "
      "pending) stay, as their marks may have been made: --open removes them too. `mark reconcile` counts "
      "the "
      "marks from before that time apart and does not miss their rows. The file keeps its size, and new rows "
      "use the room.",
      "tidemark mark prune --older-than 90d --dry-run");
  const auto valid = [](const std::string& text) { return validate_name("group name", text); };
  add_checked_text(command, "GROUP", options->group, valid, "The group (all in the table)").shown_as("");
  add_duration(command, "--older-than", options->older_than, "Keep what is younger").required();
  add_flag(command, "--open", options->open, "Rows without an answer as well");
  add_flag(command, "--dry-run", options->dry_run, "Only say how many rows it would be");
  on_chosen(cli, command, [&cli, options] { return prune_marks(cli, *options); });
}

void add_reconcile(CLI::App& family, Cli& cli) {
  auto options = std::make_shared<ReconcileOptions>();
  CLI::App* command = add_command(
      family, "reconcile", "Compare this host's own table of marks with the nodes'",
      "Compares the marks that this host noted with those of the node, and of each further node that --with "
      "names: the secondary too, also when the primary is gone. Each mark that is not on both sides as it "
      "should be is listed with why: not-restorable (expired, in a gap), other-branch (a restore or takeover "
      "left it), provisional (the primary does not know it yet), renamed (it gave way to another mark of its "
      "id), different (the id is another mark's there), never-arrived, not-yet-received, deleted, not-made "
      "(the node had refused it), only-on-node (it names this host, and the table does not know it), "
      "group-missing. A row that had no answer, and whose mark a node has, is completed. The exit code is 1 "
      "when a side lacks something or a node could not be asked.",
      "tidemark mark reconcile app --with tcp:127.0.0.1:7091");
  const auto valid = [](const std::string& text) { return validate_name("group name", text); };
  add_checked_text(command, "GROUP", options->group, valid, "The group (all in the table)").shown_as("");
  add_texts(command, "--with", options->others, "Further nodes, as --node names one").shown_as("ADDRESS");
  on_chosen(cli, command, [&cli, options] { return reconcile_marks(cli, *options); });
}

}  // namespace tidemark::cli
