#include <cstdio>

#include "cli.h"
#include "show.h"
#include "table.h"

namespace tidemark::cli {
namespace {

void show_branches(const control::BranchListReply& reply) {
  Table table({">EPOCH", "STATE", "ORIGIN", ">PARENT", ">LAST", "UNTIL", ">ENTRIES", ">MARKS", "HELD"});
  for (const control::BranchInfo& branch : reply.branches) {
    table.row({std::to_string(branch.epoch), branch.live ? "live" : "dead",
               std::string(control::word(branch.origin)), branch.parent ? branch.parent->to_string() : "-",
               branch.last.log_id.to_string(), branch.live ? "now" : short_time(branch.last.timer),
               std::to_string(branch.entries), std::to_string(branch.marks), yes_no(branch.held)});
  }
  table.print();
}

void show_branch(const control::BranchInfo& branch) {
  Facts facts;
  facts.add("epoch", std::to_string(branch.epoch));
  facts.add_known("identity", branch.identity);
  facts.add("state", branch.live ? "live" : "dead");
  facts.add("origin", std::string(control::word(branch.origin)));
  if (branch.parent) facts.add("continues from", branch.parent->to_string());
  facts.add("first", point_text(branch.first));
  facts.add("last", point_text(branch.last));
  if (branch.left) facts.add("left", format_time(*branch.left));
  facts.add("entries", std::to_string(branch.entries));
  facts.add("marks", std::to_string(branch.marks));
  facts.add("held", yes_no(branch.held));
  facts.print();
}

Argument add_epoch(CLI::App* command, std::uint32_t& epoch) {
  return add_number(command, "EPOCH", epoch, 1, kEpochMax, "The branch's epoch number")
      .required()
      .shown_as("");
}

}  // namespace

void add_branch_commands(CLI::App& app, Cli& cli) {
  CLI::App* family = add_family(app, "branch", "Branches: what restores and takeovers left behind",
                                "tidemark branch list app");

  auto list = std::make_shared<control::BranchListRequest>();
  CLI::App* command =
      add_command(*family, "list", "List the branches of a group",
                  "Lists every epoch of a group: the live ones and the dead branches, which stay readable "
                  "until their retention ends. Held ones are an old primary's tail that no peer received.",
                  "tidemark branch list app");
  add_group(command, list->group);
  on_chosen(cli, command, [&cli, list] { return cli.ask(*list, show_branches); });

  auto show = std::make_shared<control::BranchShowRequest>();
  command =
      add_command(*family, "show", "Show one branch",
                  "Shows where a branch begins and ends, how it came about and what it holds. Read it with "
                  "`export GROUP/VOLUME@log:EPOCH.SEQ`.",
                  "tidemark branch show app 3");
  add_group(command, show->group);
  add_epoch(command, show->epoch);
  on_chosen(cli, command, [&cli, show] { return cli.ask(*show, show_branch); });

  auto release = std::make_shared<control::BranchReleaseRequest>();
  command = add_command(
      *family, "release", "Let retention expire a dead branch",
      "Gives up the hold on an unreplicated tail, so that its space can be used again when its retention "
      "has passed. Export what you need from it first.",
      "tidemark branch release app 3");
  add_group(command, release->group);
  add_epoch(command, release->epoch);
  on_chosen(cli, command, [&cli, release] { return cli.ask(*release, show_done("released")); });
}

}  // namespace tidemark::cli
