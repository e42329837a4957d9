#include <cstdio>

#include "cli.h"
#include "show.h"
#include "table.h"

namespace tidemark::cli {
namespace {

// The settings that `create` and `set` take.
template <typename Request>
void add_settings(CLI::App* command, Request& request) {
  add_duration(
      command, "--retain", request.retain,
      "How long past points are kept if the journal has room for them, for example 24h or 7d; 0 promises no "
      "history");
  add_word(command, "--on-full", request.on_full,
           "When the journal is full: give up the oldest points, also within the retention, or let writes "
           "fail with ENOSPC");
}

void add_create(CLI::App& family, Cli& cli) {
  auto request = std::make_shared<control::GroupCreateRequest>();
  CLI::App* command =
      add_command(family, "create", "Create a group",
                  "Creates a group: volumes that share one order of writes and one journal, and are "
                  "marked and restored together. It logs from the beginning.",
                  "tidemark group create app --retain 24h --journal-size 8G");
  add_group(command, request->group);
  add_settings(command, *request);
  add_size(command, "--journal-size", request->journal_size_bytes,
           "Size of the journal's first log volume, for example 16G (8G); it stays what it is, and `journal "
           "add-volume` adds more",
           control::kJournalSizeRule);
  add_text(command, "--raid", request->raid, "The RAID group for its volumes (the node's first)")
      .shown_as("NAME");
  add_text(command, "--log-raid", request->log_raid, "The RAID group for its journal (that of its volumes)")
      .shown_as("NAME");
  on_chosen(cli, command, [&cli, request] { return cli.ask(*request, show_group); });
}

void add_list(CLI::App& family, Cli& cli) {
  CLI::App* command =
      add_command(family, "list", "List the groups",
                  "Lists the groups of the node with their role, state and the use of their journal.",
                  "tidemark group list");
  on_chosen(cli, command, [&cli] {
    return cli.ask(control::GroupListRequest{},
                   [](const control::GroupListReply& reply) { show_group_table(reply.groups); });
  });
}

void add_show(CLI::App& family, Cli& cli) {
  auto request = std::make_shared<control::GroupShowRequest>();
  CLI::App* command =
      add_command(family, "show", "Show one group",
                  "Shows a group in full: its volumes with cache hits and misses, its window of "
                  "readable points, its marks and its pair.",
                  "tidemark group show app");
  add_group(command, request->group);
  on_chosen(cli, command, [&cli, request] { return cli.ask(*request, show_group); });
}

void add_set(CLI::App& family, Cli& cli) {
  auto request = std::make_shared<control::GroupSetRequest>();
  CLI::App* command =
      add_command(family, "set", "Change a group's settings",
                  "Changes the settings that are named and leaves the others. A shorter retention lets "
                  "old points expire; held marks stay. The settings are those of this node: the group's copy "
                  "on a peer has its own.",
                  "tidemark group set app --retain 7d");
  add_group(command, request->group);
  add_settings(command, *request);
  on_chosen(cli, command, [&cli, request]() -> Result<void> {
    if (!request->retain && !request->on_full) {
      return cli.usage_error("nothing to change; give --retain or --on-full");
    }
    return cli.ask(*request, show_group);
  });
}

void add_open(CLI::App& family, Cli& cli) {
  auto request = std::make_shared<control::GroupOpenRequest>();
  CLI::App* command =
      add_command(family, "open", "Open the exports that a forced restore closed",
                  "After `restore --force` the exports stay closed, so that a host with old data in its "
                  "cache cannot write it into the restored volume. Unmount there, then open the group.",
                  "tidemark group open app");
  add_group(command, request->group);
  on_chosen(cli, command, [&cli, request] { return cli.ask(*request, show_group); });
}

void add_serve(CLI::App& family, Cli& cli) {
  auto request = std::make_shared<control::GroupServeRequest>();
  CLI::App* command = add_command(
      family, "serve", "Let a primary that waits for its peer take writes",
      "A primary that starts in PAIR takes no writes before it has heard its peer, which may have taken over "
      "meanwhile. When you know that it has not, and the peer cannot be reached, --alone lets this node go "
      "on; "
      "what it writes goes over when the link is back.",
      "tidemark group serve app --alone");
  add_group(command, request->group);
  add_flag(command, "--alone", request->alone, "Without having heard the peer");
  on_chosen(cli, command, [&cli, request] { return cli.ask(*request, show_group); });
}

void show_rehearsal(const control::RehearsalInfo& info) {
  std::printf("%s at log:%s (%s), since %s\n", printable(info.group).c_str(),
              info.point.log_id.to_string().c_str(), format_time(info.point.timer).c_str(),
              format_time(info.since).c_str());
  Table table({"EXPORT", ">SIZE", ">WRITTEN", ">CLIENTS"});
  for (const control::RehearsedVolume& volume : info.volumes) {
    table.row({volume.export_name, format_size(volume.size_bytes), format_size(volume.scratch_bytes),
               std::to_string(volume.clients)});
  }
  table.print();
}

void add_rehearse(CLI::App& family, Cli& cli) {
  struct Options {
    std::string group;
    std::optional<std::string> at;
    bool ends = false;
    bool force = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(
      family, "rehearse", "Try something out on all volumes of a group at one point",
      "With --at makes every volume of the group, as it was at the point, an export to write to: "
      "GROUP/VOLUME+rehearsal. What is written lies in an overlay that its clients share and that stays "
      "while they come and go; the group itself goes on, and so does its pair, so that on a secondary a "
      "takeover can be rehearsed while it receives. It ends with --end, and with the node; what was written "
      "goes. Its point can be given up like that of any view when the journal is full. Without either option "
      "the rehearsal is shown.",
      "tidemark group rehearse app --at before-upgrade");
  add_group(command, options->group);
  add_text(command, "--at", options->at, "Begin one, at this point").shown_as("POINT");
  add_flag(command, "--end", options->ends, "End it, and what was written in it");
  add_flag(command, "--force", options->force, "With --end: disconnect who has it open");
  on_chosen(cli, command, [&cli, options]() -> Result<void> {
    if (options->ends && options->at) return cli.usage_error("--at and --end contradict each other");
    if (options->force && !options->ends) return cli.usage_error("--force goes with --end");
    if (options->ends) {
      return cli.ask(control::RehearsalEndRequest{options->group, options->force}, show_done("ended"));
    }
    if (options->at)
      return cli.ask(control::RehearsalBeginRequest{options->group, *options->at}, show_rehearsal);
    return cli.ask(control::RehearsalShowRequest{options->group}, show_rehearsal);
  });
}

void add_delete(CLI::App& family, Cli& cli) {
  auto request = std::make_shared<control::GroupDeleteRequest>();
  CLI::App* command =
      add_command(family, "delete", "Delete a group",
                  "Deletes a group with its journal, its marks and all past points. A group that still "
                  "has volumes, connected writers or a pair is refused without --force; the refusal says "
                  "what it has. A group that is not served is named by its identity, which `tidemark status` "
                  "tells; --force deletes what is left of it. This cannot be undone.",
                  "tidemark group delete app");
  add_group(command, request->group);
  add_flag(command, "--force", request->force, "Disconnect clients, dissolve its pair, delete its volumes");
  on_chosen(cli, command, [&cli, request] { return cli.ask(*request, show_done("deleted")); });
}

}  // namespace

void add_group_commands(CLI::App& app, Cli& cli) {
  CLI::App* family = add_family(app, "group", "Groups: volumes with one order of writes and one journal",
                                "tidemark group create app --retain 24h");
  add_create(*family, cli);
  add_list(*family, cli);
  add_show(*family, cli);
  add_set(*family, cli);
  add_open(*family, cli);
  add_serve(*family, cli);
  add_rehearse(*family, cli);
  add_delete(*family, cli);
}

}  // namespace tidemark::cli
