#include <cstdio>

#include <unistd.h>

#include "base/names.h"
#include "cli.h"
#include "output_file.h"
#include "progress.h"
#include "show.h"
#include "table.h"

namespace tidemark::cli {
namespace {

std::string latency_text(const std::optional<Duration>& latency) {
  if (!latency.has_value()) return "-";
  char text[40];
  std::snprintf(text, sizeof text, "%.2f ms", static_cast<double>(latency->ns) / 1e6);
  return text;
}

void show_disk_table(const std::vector<control::DiskInfo>& disks) {
  Table table(
      {"RAID", "MEMBER", "DISK", "STATE", ">READ", ">WRITTEN", ">ERRORS", ">REPAIRED", ">MEAN", ">MAX"});
  for (const control::DiskInfo& disk : disks) {
    std::string state(control::word(disk.state));
    if (disk.state == control::DiskState::kRebuilding) {
      state += " " + percent(disk.rebuilt_bytes, disk.size_bytes);
    }
    if (disk.slow) state += ", slow";
    table.row({disk.raid.empty() ? "-" : disk.raid, disk.member ? std::to_string(*disk.member) : "-",
               disk.disk.empty() ? "-" : disk.disk, state, format_size(disk.read_bytes),
               format_size(disk.written_bytes), std::to_string(disk.read_errors + disk.write_errors),
               std::to_string(disk.repaired_blocks), latency_text(disk.latency_mean),
               latency_text(disk.latency_max)});
  }
  table.print();
  for (const control::DiskInfo& disk : disks) {
    if (disk.explanation.empty()) continue;
    const std::string name = disk.disk.empty()
                                 ? "member " + std::to_string(disk.member.value_or(0)) + " of " + disk.raid
                                 : disk.disk;
    std::printf("%s: %s\n", printable(name, 300).c_str(), printable(disk.explanation, 500).c_str());
  }
}

void show_disks(const control::DiskListReply& reply) {
  show_disk_table(reply.disks);
}

void show_scrub(const control::ScrubInfo& scrub) {
  std::printf("scrub      %s, begun %s, %s of %s compared\n",
              scrub.running ? "running" : (scrub.reason.empty() ? "complete" : "stopped"),
              short_time(scrub.started).c_str(), format_size(scrub.bytes_done).c_str(),
              format_size(scrub.bytes_total).c_str());
  std::printf("           %llu places did not fit together, %llu %s, %llu undecided\n",
              static_cast<unsigned long long>(scrub.mismatches),
              static_cast<unsigned long long>(scrub.repairs ? scrub.repaired : scrub.repairable),
              scrub.repairs ? "repaired" : "can be repaired (nothing was written)",
              static_cast<unsigned long long>(scrub.undecided));
  if (!scrub.reason.empty()) std::printf("           %s\n", printable(scrub.reason, 500).c_str());
  for (const std::string& finding : scrub.findings) std::printf("  %s\n", printable(finding, 500).c_str());
}

void show_raid(const control::RaidInfo& raid) {
  std::printf("RAID group %s, level %s, stripe unit %s, %s\n", printable(raid.name).c_str(),
              std::string(control::word(raid.level)).c_str(), format_size(raid.unit_bytes).c_str(),
              format_size(raid.size_bytes).c_str());
  std::printf("%s; tolerates the loss of %u more\n", std::string(control::word(raid.health)).c_str(),
              raid.losses_left);
  if (!raid.rebuild_problem.empty()) {
    std::printf("the rebuild does not go on: %s\n", printable(raid.rebuild_problem, 500).c_str());
  }
  for (const std::string& notice : raid.notices) std::printf("! %s\n", printable(notice, 500).c_str());
  show_disk_table(raid.disks);
  if (raid.scrub.has_value()) show_scrub(*raid.scrub);
}

void add_disk_list(CLI::App& family, Cli& cli) {
  CLI::App* command = add_command(
      family, "list", "The node's disks",
      "Lists the node's disks: the RAID group and their place in it, whether they are in sync, rebuilding, "
      "failed or missing, what was read and written, errors, blocks that were written again from the other "
      "members, and how long operations take. Of a disk that is not used it says why.",
      "tidemark disk list");
  on_chosen(cli, command, [&cli] { return cli.ask(control::DiskListRequest{}, show_disks); });
}

// Of a command on one of the node's RAID groups.
void add_raid(CLI::App* command, std::optional<std::string>& raid) {
  add_text(command, "--raid", raid, "The RAID group (the only one)").shown_as("NAME");
}

void add_disk_add(CLI::App& family, Cli& cli) {
  auto request = std::make_shared<control::DiskAddRequest>();
  CLI::App* command = add_command(family, "add", "Make a blank disk a spare",
                                  "Labels a blank disk as a spare of a RAID group. It takes the place of a "
                                  "member that is failed, or will "
                                  "be, by itself. DISK is the whole path of a block device or a file on the "
                                  "node's machine; a file that is not there "
                                  "is made. A disk with anything in its first MiB (a partition table, a file "
                                  "system, a label) is refused; what lies behind that is not looked at and "
                                  "is lost.",
                                  "tidemark disk add /dev/sde");
  add_text(command, "DISK", request->disk, "Its whole path").required().shown_as("");
  add_raid(command, request->raid);
  on_chosen(cli, command, [&cli, request] { return cli.ask(*request, show_disks); });
}

void add_disk_replace(CLI::App& family, Cli& cli) {
  auto request = std::make_shared<control::DiskReplaceRequest>();
  CLI::App* command = add_command(
      family, "replace", "Put a blank disk in the place of a member",
      "Begins to rebuild a member on another disk; a member that is still in sync is failed out first, when "
      "the "
      "group tolerates that. The rebuild goes on by itself, also over restarts; `raid status` shows how far "
      "it is. OLD is the path of a member or its number, NEW the whole path of a blank disk: one with "
      "anything in its first MiB is refused, and what lies behind that is lost.",
      "tidemark disk replace 1 /dev/sde");
  add_text(command, "OLD", request->disk, "A member: its path or its number").required().shown_as("");
  add_text(command, "NEW", request->by, "The blank disk").required().shown_as("");
  add_raid(command, request->raid);
  on_chosen(cli, command, [&cli, request] { return cli.ask(*request, show_disks); });
}

void add_disk_remove(CLI::App& family, Cli& cli) {
  auto request = std::make_shared<control::DiskRemoveRequest>();
  CLI::App* command = add_command(family, "remove", "Fail a member out",
                                  "Stops using a member, when the group tolerates its loss; a spare takes "
                                  "its place. The disk can be pulled "
                                  "then. DISK is its path or its number.",
                                  "tidemark disk remove 2");
  add_text(command, "DISK", request->disk, "A member: its path or its number").required().shown_as("");
  add_raid(command, request->raid);
  on_chosen(cli, command, [&cli, request] { return cli.ask(*request, show_disks); });
}

void show_raids(const control::RaidListReply& reply) {
  Table table({"NAME", "LEVEL", "STATE", ">DISKS", ">SIZE", ">USED", ">JOURNALS"});
  for (const control::RaidSummary& raid : reply.raids) {
    const bool missing = raid.health == control::RaidHealth::kMissing;
    const std::string level = raid.level ? std::string(control::word(*raid.level)) : "-";
    const std::string state =
        missing || raid.level ? std::string(control::word(raid.health)) : "one disk, as it is";
    if (missing) {
      table.row({raid.name, "-", state, "-", "-", "-", "-"});
    } else {
      table.row({raid.name, level, state, std::to_string(raid.disks), format_size(raid.capacity_bytes),
                 format_size(raid.used_bytes), format_size(raid.journals_bytes)});
    }
  }
  table.print();
  for (const control::RaidSummary& raid : reply.raids) {
    if (raid.explanation.empty()) continue;
    std::printf("%s: %s\n", printable(raid.name).c_str(), printable(raid.explanation, 500).c_str());
  }
}

void add_raid_list(CLI::App& family, Cli& cli) {
  CLI::App* command = add_command(
      family, "list", "The node's RAID groups",
      "Lists the RAID groups, and the disk that the node uses as it is, with their health and the space on "
      "them: what is used, and how much of that journals take. One that could not be put together at the "
      "start is missing, and the reason is told.",
      "tidemark raid list");
  on_chosen(cli, command, [&cli] { return cli.ask(control::RaidListRequest{}, show_raids); });
}

void add_raid_create(CLI::App& family, Cli& cli) {
  struct Options {
    control::RaidCreateRequest request;
    std::optional<control::RaidLevel> level;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(
      family, "create", "Make blank disks into a RAID group",
      "Makes one more RAID group of the node, for volumes, journals and copies (`--raid` of `volume create`, "
      "`group create` and `pair create`). Each --disk is the whole path of a block device or a file on the "
      "node's machine; a file that is not there is made. A disk with anything in its first MiB (a partition "
      "table, a file system, a label) is refused; what lies behind that is not looked at and is lost. Level "
      "0 takes 1 to 32 disks, 1 takes 2 to 32, 5 takes 3 to 32, 6 takes 4 to 32, 10 an even number from 4 to "
      "32.",
      "tidemark raid create backup --level 1 --disk /dev/sdd --disk /dev/sde");
  add_text(command, "NAME", options->request.name, "Its name").required().shown_as("");
  add_word(command, "--level", options->level, "Its level").required();
  add_texts(command, "--disk", options->request.disks, "A blank disk; say it for each")
      .required()
      .shown_as("PATH");
  add_size(command, "--stripe-unit", options->request.unit_bytes, "Its stripe unit, 4K to 1M (64K)");
  on_chosen(cli, command, [&cli, options] {
    options->request.level = *options->level;
    return cli.ask(options->request, show_raid);
  });
}

void add_raid_forget(CLI::App& family, Cli& cli) {
  auto request = std::make_shared<control::RaidForgetRequest>();
  CLI::App* command = add_command(
      family, "forget", "Stop missing a RAID group that is lost",
      "For a RAID group that is missing and does not come back: the node stops looking for it, and takes new "
      "volumes and copies again, which it refuses while something of theirs might lie there. Groups that had "
      "a volume or their journal there stay unserved; `tidemark status` names what is left of them and how "
      "to "
      "delete it.",
      "tidemark raid forget fast");
  add_text(command, "NAME", request->name, "Which").required().shown_as("");
  on_chosen(cli, command, [&cli, request] { return cli.ask(*request, show_raids); });
}

void add_raid_status(CLI::App& family, Cli& cli) {
  auto request = std::make_shared<control::RaidStatusRequest>();
  CLI::App* command = add_command(
      family, "status", "One RAID group",
      "Shows level, size, health and members of a RAID group, how far a rebuild is, and the last scrub.",
      "tidemark raid status backup");
  add_text(command, "NAME", request->raid, "Which (the only one)").shown_as("");
  on_chosen(cli, command, [&cli, request] { return cli.ask(*request, show_raid); });
}

Result<control::RaidInfo> wait_for_scrub(Cli& cli, control::RaidInfo info) {
  const InterruptsNoted noted;
  Progress progress("scrubbing");
  while (info.scrub.has_value() && info.scrub->running) {
    progress.show(info.scrub->bytes_done, info.scrub->bytes_total, info.scrub->bytes_done,
                  info.scrub->mismatches == 0 ? "" : std::to_string(info.scrub->mismatches) + " mismatches");
    ::usleep(200'000);
    if (InterruptsNoted::interrupted()) {
      return fail(ErrorCode::kClosed,
                  "no longer waited for: the scrub goes on in the node; `tidemark raid status` "
                  "shows it, `tidemark raid scrub --stop` ends it");
    }
    TM_TRY_ASSIGN(info, cli.call(control::RaidStatusRequest{info.name}));
  }
  return info;
}

void add_raid_scrub(CLI::App& family, Cli& cli) {
  struct Options {
    control::RaidScrubRequest request;
    std::optional<std::uint64_t> rate;
    bool no_wait = false;
    bool stop = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(family, "scrub", "Compare copies, or data with parity",
                                  "Reads every member and compares: the copies of a mirror, or data with "
                                  "their parity. A block that cannot be "
                                  "read is written again from the others. Where two do not fit together, "
                                  "the checksums of the volumes' blocks and of the journals say which is "
                                  "right, and the other is written again; where nobody can say, it is told "
                                  "and left. The group serves meanwhile. Exit code 1 when "
                                  "something did not fit.",
                                  "tidemark raid scrub --rate 200M");
  add_text(command, "NAME", options->request.raid, "Which RAID group (the only one)").shown_as("");
  add_flag(command, "--report-only", options->request.report_only,
           "Write nothing; tell what would be repaired");
  add_size(command, "--rate", options->rate, "Compare at most so much in a second");
  add_flag(command, "--no-wait", options->no_wait, "Begin it, and leave it to the node");
  add_flag(command, "--stop", options->stop, "Stop the one that runs");
  on_chosen(cli, command, [&cli, options]() -> Result<void> {
    if (options->stop)
      return cli.ask(control::RaidScrubStopRequest{options->request.raid}, show_done("stopping"));
    options->request.bytes_per_second_max = options->rate.value_or(0);
    TM_TRY_ASSIGN(control::RaidInfo info, cli.call(options->request));
    if (!options->no_wait) {
      TM_TRY_ASSIGN(info, wait_for_scrub(cli, info));
    }
    const bool good = info.scrub.has_value() && info.scrub->mismatches == 0 && info.scrub->reason.empty();
    if (!good) cli.exit_code = kExitFailed;
    if (cli.json()) {
      cli.print_json(info);
    } else {
      show_raid(info);
    }
    return {};
  });
}

}  // namespace

void add_disk_commands(CLI::App& app, Cli& cli) {
  CLI::App* disks = add_family(app, "disk", "The node's disks", "tidemark disk list");
  add_disk_list(*disks, cli);
  add_disk_add(*disks, cli);
  add_disk_replace(*disks, cli);
  add_disk_remove(*disks, cli);
  CLI::App* raid = add_family(app, "raid", "RAID groups that are made of them", "tidemark raid list");
  add_raid_list(*raid, cli);
  add_raid_create(*raid, cli);
  add_raid_forget(*raid, cli);
  add_raid_status(*raid, cli);
  add_raid_scrub(*raid, cli);
}

}  // namespace tidemark::cli
