#include <unistd.h>

#include <cstdio>

#include "cli.h"
#include "output_file.h"
#include "pair_watch.h"
#include "progress.h"
#include "show.h"
#include "table.h"

namespace tidemark::cli {
namespace {

// Asks; with `wait`, stays until the secondary has everything.
template <typename Request>
Result<void> ask_and_wait(Cli& cli, const Request& request, bool wait) {
  if (!wait) return cli.ask(request, show_pair);
  TM_TRY_ASSIGN(control::PairStatus status, cli.call(request));
  TM_TRY_ASSIGN(status, wait_for_secondary(cli, std::move(status)));
  if (cli.json()) {
    cli.print_json(status);
  } else {
    show_pair(status);
  }
  return {};
}

// The mode that `create` and `set` take.
template <typename Request>
void add_mode(CLI::App* command, std::optional<control::PairMode>& mode, Request& request) {
  add_word(command, "--mode", mode,
           "async, or sync: FLUSH and FUA also wait until the secondary has what they cover");
  add_word(command, "--on-peer-loss", request.on_peer_loss,
           "Once a synchronous pair has lost its secondary, FLUSH and FUA go on without it (async), wait, or "
           "fail");
  add_duration(command, "--peer-loss-after", request.peer_loss_after,
               "How long without link, or without progress, makes a secondary lost; 10s unless said");
}

void add_copy_rate(CLI::App* command, std::optional<std::uint64_t>& rate) {
  add_size(command, "--copy-rate", rate,
           "Read and send at most so much in a second while the volumes are copied; 0: no limit");
}

void add_compress(CLI::App* command, std::optional<control::PairCompression>& compress) {
  add_word(
      command, "--compress", compress,
      "zstd: blocks go over the link compressed where that makes them notably smaller; off: as they are");
}

void add_create(CLI::App& family, Cli& cli) {
  auto request = std::make_shared<control::PairCreateRequest>();
  CLI::App* command = add_command(
      family, "create", "Pair a group with a peer",
      "Makes this node the primary of the group and the peer its secondary, and begins the initial copy "
      "while hosts go on writing. A peer on another machine needs TLS on both nodes (tidemarkd --tls-cert); "
      "the pair is then bound to the name in the peer's certificate, which `pair status` shows. A copy "
      "within "
      "one node has a name of its own, and may lie on disks of its own: --peer self --peer-group app-copy "
      "--raid backup.",
      "tidemark pair create app --peer tcp:osaka.example.org:7083");
  add_group(command, request->group);
  add_text(command, "--peer", request->peer_address,
           "The peer's replication address; self: a copy on this node")
      .required()
      .shown_as("ADDRESS");
  add_text(command, "--peer-group", request->peer_group, "The group's name there (the same)");
  add_text(command, "--raid", request->peer_raid, "The RAID group there for the copy (the peer's first)")
      .shown_as("NAME");
  auto mode = std::make_shared<std::optional<control::PairMode>>();
  add_mode(command, *mode, *request);
  auto wait = std::make_shared<bool>(false);
  add_copy_rate(command, request->copy_rate_bytes);
  add_compress(command, request->compress);
  add_flag(command, "--wait", *wait, "Stay until the copy is complete");
  on_chosen(cli, command, [&cli, request, mode, wait]() -> Result<void> {
    request->mode = mode->value_or(control::PairMode::kAsync);
    const bool within = request->peer_address == "self";
    const Result<control::ControlAddress> peer = control::parse_control_address(request->peer_address);
    if (!within && !peer.ok()) return cli.usage_error(peer.error().message);
    if (within && request->peer_group.value_or(request->group) == request->group) {
      return cli.usage_error("a group cannot be the copy of itself; name another with --peer-group");
    }
    return ask_and_wait(cli, *request, *wait);
  });
}

void add_set(CLI::App& family, Cli& cli) {
  auto request = std::make_shared<control::PairSetRequest>();
  CLI::App* command = add_command(
      family, "set", "Change the mode of a pair, the rate of its copies, or its compression",
      "On the primary: makes a pair synchronous or asynchronous, or says what a synchronous one does once "
      "its "
      "secondary is lost. In a synchronous pair a FLUSH or FUA is answered when what it covers is durable "
      "here "
      "and on the secondary; plain writes do not wait. It becomes synchronous when the secondary has caught "
      "up. "
      "A pair that went on without its secondary (--on-peer-loss async) is in sync again by itself once that "
      "has caught up. Waiting FLUSHes go on when the mode becomes async. The rate holds for copies and "
      "resyncs "
      "from now on, also for one that runs. Compression saves bytes on the link and costs processor time on "
      "both "
      "nodes; blocks that do not shrink go as they are. A change of mode or compression makes the link anew, "
      "which "
      "takes a moment.",
      "tidemark pair set app --mode sync --on-peer-loss async --peer-loss-after 10s");
  add_group(command, request->group);
  add_mode(command, request->mode, *request);
  add_copy_rate(command, request->copy_rate_bytes);
  add_compress(command, request->compress);
  on_chosen(cli, command, [&cli, request] { return cli.ask(*request, show_pair); });
}

template <typename Request>
void add_simple(CLI::App& family, Cli& cli, const char* name, const char* summary, const char* explanation,
                const char* example) {
  auto request = std::make_shared<Request>();
  CLI::App* command = add_command(family, name, summary, explanation, example);
  add_group(command, request->group);
  on_chosen(cli, command, [&cli, request] { return cli.ask(*request, show_pair); });
}

void add_status(CLI::App& family, Cli& cli) {
  auto request = std::make_shared<control::PairStatusRequest>();
  request->peer_window = true;
  auto watch = std::make_shared<bool>(false);
  auto interval = std::make_shared<std::optional<Duration>>();
  CLI::App* command = add_command(
      family, "status", "Show the state of a pair",
      "Shows the role, the state (SMPL, COPY, PAIR, PSUS, PSUE, SSWS), the mode and whether it "
      "is in sync, the "
      "link, how far the secondary is behind in entries, bytes and seconds, and what either node can "
      "show: from its floor to its newest point, its journal and its last mark. --watch shows it "
      "again and again "
      "until it is interrupted: on a terminal in place, else one block after the other.",
      "tidemark pair status app --watch");
  add_group(command, request->group);
  add_flag(command, "--watch", *watch, "Show it again and again, until ^C");
  add_duration(command, "--interval", *interval, "With --watch: how often; 1s unless said");
  on_chosen(cli, command, [&cli, request, watch, interval]() -> Result<void> {
    if (!*watch && interval->has_value()) return cli.usage_error("--interval goes with --watch");
    if (!*watch) return cli.ask(*request, show_pair);
    const Duration every = interval->value_or(Duration::seconds(1));
    if (every < kWatchIntervalMin || every > kWatchIntervalMax) {
      return cli.usage_error("--interval takes from " + format_duration(kWatchIntervalMin) + " to " +
                             format_duration(kWatchIntervalMax));
    }
    return watch_pair(cli, *request, every);
  });
}

void add_resync(CLI::App& family, Cli& cli) {
  auto request = std::make_shared<control::PairResyncRequest>();
  auto swap = std::make_shared<bool>(false);
  auto from = std::make_shared<std::string>();
  CLI::App* command = add_command(
      family, "resync", "Join a suspended pair again, or swap its roles",
      "On the primary: sends what the secondary lacks and joins the pair again. When the secondary has "
      "written "
      "alone, say which branch continues: --from primary, and what the secondary wrote stays readable there "
      "as "
      "a branch; or --swap, and the secondary becomes the primary, this node follows it, and what only this "
      "node has stays readable here as a branch. In PAIR, --swap hands over: writes wait until the secondary "
      "has everything, then the roles are swapped. After a takeover, --swap can be said on either node. When "
      "the journal no longer holds what the secondary lacks, it goes on behind a gap: its past points stay "
      "readable there, the two nodes are compared, and only what differs goes over. --give-up-window copies "
      "the volumes anew instead, and the secondary's past points go; with --swap, on the node that has "
      "taken over, those of an old primary that no longer holds the last entry that both have.",
      "tidemark pair resync app --swap");
  add_group(command, request->group);
  add_flag(command, "--swap", *swap, "The secondary's branch continues; the roles are swapped");
  add_text(command, "--from", *from, "Whose branch continues: primary, or secondary (the same as --swap)")
      .shown_as("SIDE");
  add_flag(command, "--give-up-window", request->give_up_window,
           "Copy the volumes anew, and let the past points of who receives them go");
  auto wait = std::make_shared<bool>(false);
  add_flag(command, "--wait", *wait, "Stay until the secondary has everything, a copy included");
  on_chosen(cli, command, [&cli, request, swap, from, wait]() -> Result<void> {
    if (!from->empty() && *from != "primary" && *from != "secondary") {
      return cli.usage_error("--from takes primary or secondary, not '" + printable(*from) + "'");
    }
    if (*swap && *from == "primary")
      return cli.usage_error("--swap and --from primary contradict each other");
    if (*swap || *from == "secondary") request->from = control::ResyncFrom::kSecondary;
    if (*from == "primary") request->from = control::ResyncFrom::kPrimary;
    // A swap waits by itself, and then another node is the primary.
    return ask_and_wait(cli, *request, *wait && request->from != control::ResyncFrom::kSecondary);
  });
}

void add_takeover(CLI::App& family, Cli& cli) {
  auto request = std::make_shared<control::PairTakeoverRequest>();
  CLI::App* command = add_command(
      family, "takeover", "Let the secondary take writes",
      "On the secondary, when its primary is lost: it goes on in an epoch of its own with exactly what it "
      "has "
      "received, and takes writes at once. The primary, when it comes back, takes none; `tidemark pair "
      "resync "
      "--swap` on either node makes it the secondary, and what it had not sent stays readable there as a "
      "branch. While the link is up, --swap on the primary is the way that loses nothing; --force takes over "
      "nonetheless.",
      "tidemark pair takeover app");
  add_group(command, request->group);
  add_flag(command, "--force", request->force, "Also while the primary is there");
  on_chosen(cli, command, [&cli, request] { return cli.ask(*request, show_takeover); });
}

std::string difference_text(const control::DifferenceInfo& difference, const std::string& peer) {
  std::string text = difference.volume + " at " + std::to_string(difference.offset_bytes) + ", " +
                     format_size(difference.length_bytes) + ": ";
  if (!difference.readable_here && !difference.readable_there) {
    text += "cannot be read on either node";
  } else if (!difference.readable_here) {
    text += "cannot be read here";
  } else if (!difference.readable_there) {
    text += "cannot be read on " + peer;
  } else {
    text += "differs";
  }
  return text + (difference.repaired ? "; repaired" : "");
}

void show_comparison(const control::PairComparison& info) {
  if (info.state == control::CompareState::kNever) {
    std::printf("%s was not compared with its peer since the node started\n", info.group.c_str());
    return;
  }
  std::uint64_t told = 0;
  for (const control::DifferenceInfo& difference : info.differences) {
    std::printf("%s\n", printable(difference_text(difference, info.peer_node), 600).c_str());
    told += difference.length_bytes;
  }
  if (told < info.differing_bytes)
    std::printf("and %s more\n", format_size(info.differing_bytes - told).c_str());
  std::string text = info.group + ": " + std::string(control::word(info.state));
  if (info.state == control::CompareState::kSame) text += " on both nodes";
  if (!info.reason.empty()) text += " (" + info.reason + ")";
  if (info.differing_bytes > 0) text += ", " + format_size(info.differing_bytes) + " differ";
  if (info.repaired_bytes > 0) text += ", " + format_size(info.repaired_bytes) + " repaired";
  text += "; compared " + format_size(info.compared_bytes) + " of data in volumes of " +
          format_size(info.total_bytes) + " with " + info.peer_node;
  if (info.first_point && info.last_point) {
    text += " at log:" + info.first_point->to_string();
    if (*info.first_point != *info.last_point) text += " to log:" + info.last_point->to_string();
  }
  if (info.begun && info.ended) {
    char seconds[32];
    std::snprintf(seconds, sizeof seconds, " in %.1f s", (*info.ended - *info.begun).to_seconds());
    text += seconds;
  }
  std::printf("%s\n", printable(text, 2000).c_str());
}

Result<control::PairComparison> wait_for_comparison(Cli& cli, control::PairComparison info) {
  const InterruptsNoted interrupts;
  Progress progress("comparing");
  while (info.state == control::CompareState::kRunning) {
    progress.show(info.done_bytes, info.total_bytes, info.compared_bytes,
                  info.differing_bytes == 0 ? "" : format_size(info.differing_bytes) + " differ");
    ::usleep(200'000);
    if (InterruptsNoted::interrupted()) {
      return fail(ErrorCode::kClosed,
                  "no longer waited for: the comparison goes on in the node; `tidemark pair verify " +
                      info.group + " --status` shows it, --stop ends it");
    }
    TM_TRY_ASSIGN(info, cli.call(control::PairVerifyStatusRequest{info.group}));
  }
  return info;
}

void add_verify(CLI::App& family, Cli& cli) {
  struct Options {
    control::PairVerifyRequest request;
    std::optional<std::uint64_t> rate;
    bool status = false;
    bool stop = false;
    bool no_wait = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(
      family, "verify", "Compare what the two nodes of a pair hold",
      "Compares every block of the group's volumes on the two nodes as it is at one log id that both have, "
      "while both serve. Checksums cross the link, and nothing for what is not allocated on either. "
      "Differences are told by volume and range, and so is what a node cannot read; exit code 1 when there "
      "are any. --repair, on the primary in PAIR, writes what differs again, from the node whose blocks are "
      "right: as updates in order, which both nodes receive and which can be gone back from; what hosts have "
      "written since is left alone, and past points stay as they are. `pair status` shows when it was done "
      "last. What lies on one node's disk is proved by `tidemark journal verify`.",
      "tidemark pair verify app --rate 100M");
  add_group(command, options->request.group);
  add_size(command, "--rate", options->rate, "Read at most so much in a second on each node");
  add_word(command, "--repair", options->request.repair, "Write what differs again, and from which node");
  add_flag(command, "--no-wait", options->no_wait, "Begin it, and leave it to the node");
  add_flag(command, "--status", options->status,
           "Show the one that runs, or the last since the node started");
  add_flag(command, "--stop", options->stop, "Stop the one that runs");
  on_chosen(cli, command, [&cli, options]() -> Result<void> {
    const std::string& group = options->request.group;
    if (options->stop) return cli.ask(control::PairVerifyStopRequest{group}, show_done("stopped"));
    control::PairComparison info;
    if (options->status) {
      TM_TRY_ASSIGN(info, cli.call(control::PairVerifyStatusRequest{group}));
    } else {
      options->request.rate_bytes = options->rate.value_or(0);
      TM_TRY_ASSIGN(info, cli.call(options->request));
      if (!options->no_wait) {
        TM_TRY_ASSIGN(info, wait_for_comparison(cli, info));
      }
    }
    // Of one that was begun here, `never` says that the node has been started anew since.
    const bool ended_well = info.state == control::CompareState::kSame ||
                            info.state == control::CompareState::kRunning ||
                            (info.state == control::CompareState::kNever && options->status);
    const bool all_repaired =
        info.state == control::CompareState::kDiffering && info.repaired_bytes == info.differing_bytes;
    if (!ended_well && !all_repaired) cli.exit_code = kExitFailed;
    if (cli.json()) {
      cli.print_json(info);
    } else {
      show_comparison(info);
    }
    return {};
  });
}

void add_delete(CLI::App& family, Cli& cli) {
  auto request = std::make_shared<control::PairDeleteRequest>();
  CLI::App* command =
      add_command(family, "delete", "Dissolve a pair",
                  "Dissolves the pair. Both groups stay, with their data and past points, each on its own.",
                  "tidemark pair delete app");
  add_group(command, request->group);
  on_chosen(cli, command, [&cli, request] { return cli.ask(*request, show_done("deleted")); });
}

}  // namespace

void add_pair_commands(CLI::App& app, Cli& cli) {
  CLI::App* family =
      add_family(app, "pair", "Pairs: a group's copy on another node", "tidemark pair status app");
  add_create(*family, cli);
  add_set(*family, cli);
  add_status(*family, cli);
  add_simple<control::PairSuspendRequest>(
      *family, cli, "suspend", "Suspend a pair",
      "Stops sending. The secondary stays as it is and can be read; the primary goes on "
      "and remembers what it owes.",
      "tidemark pair suspend app");
  add_resync(*family, cli);
  add_takeover(*family, cli);
  add_verify(*family, cli);
  add_delete(*family, cli);
}

}  // namespace tidemark::cli
