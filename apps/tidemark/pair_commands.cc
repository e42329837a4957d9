#include <cstdio>

#include "cli.h"
#include "show.h"
#include "table.h"

namespace tidemark::cli {
namespace {

void add_create(CLI::App& family, Cli& cli) {
  struct Options {
    control::PairCreateRequest request;
    std::optional<control::PairMode> mode;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(
      family, "create", "Pair a group with a peer",
      "Makes this node the primary of the group and the peer its secondary, and begins the initial copy "
      "while hosts go on "
      "writing. With --mode sync, FLUSH and FUA also wait until the secondary has received what they cover.",
      "tidemark pair create app --peer tcp:backup.example:7083");
  add_group(command, options->request.group);
  command->add_option("--peer", options->request.peer_address, "The peer's replication address")
      ->required()
      ->type_name("ADDRESS");
  command->add_option("--peer-group", options->request.peer_group, "The group's name there (the same)");
  add_word(command, "--mode", options->mode, "Whether a flush waits for the secondary (async)");
  on_chosen(cli, command, [&cli, options]() -> Result<void> {
    const Result<control::ControlAddress> peer =
        control::parse_control_address(options->request.peer_address);
    if (!peer.ok()) return cli.usage_error(peer.error().message);
    options->request.mode = options->mode.value_or(control::PairMode::kAsync);
    return cli.ask(options->request, show_pair);
  });
}

template <typename Request>
void add_simple(CLI::App& family, Cli& cli, const char* name, const char* summary, const char* explanation,
                const char* example) {
  auto request = std::make_shared<Request>();
  CLI::App* command = add_command(family, name, summary, explanation, example);
  add_group(command, request->group);
  on_chosen(cli, command, [&cli, request] { return cli.ask(*request, show_pair); });
}

void add_resync(CLI::App& family, Cli& cli) {
  auto request = std::make_shared<control::PairResyncRequest>();
  auto swap = std::make_shared<bool>(false);
  CLI::App* command = add_command(family, "resync", "Join a suspended pair again",
                                  "Sends what the other side lacks and joins the pair again. Without --swap "
                                  "the primary's branch continues; with it the "
                                  "secondary's does, and the roles change. The branch that does not continue "
                                  "is kept until it is released. If the copy "
                                  "does not fit beside the secondary's readable window it stops; "
                                  "--give-up-window lets it write over the window.",
                                  "tidemark pair resync app --swap");
  add_group(command, request->group);
  command->add_flag("--swap", *swap, "Let the secondary's branch continue, and swap the roles");
  command->add_flag("--give-up-window", request->give_up_window,
                    "Let the secondary's past points go if need be");
  on_chosen(cli, command, [&cli, request, swap] {
    request->from = *swap ? control::ResyncFrom::kSecondary : control::ResyncFrom::kPrimary;
    return cli.ask(*request, show_pair);
  });
}

void show_takeover(const control::PairTakeoverReply& reply) {
  Facts facts;
  facts.add("new epoch", std::to_string(reply.new_epoch));
  facts.add("continues at", point_text(reply.point));
  std::string behind = reply.may_be_behind ? "maybe" : "no";
  if (reply.may_be_behind && reply.behind_since) behind += ", since " + format_time(*reply.behind_since);
  facts.add("behind the primary", behind);
  facts.print();
  std::printf("\n");
  show_pair(reply.pair);
}

void add_takeover(CLI::App& family, Cli& cli) {
  auto request = std::make_shared<control::PairTakeoverRequest>();
  CLI::App* command = add_command(family, "takeover", "Let the secondary serve",
                                  "Run on the secondary when the primary is lost: it continues at the last "
                                  "entry it holds and accepts writes. It says "
                                  "whether, and since when, it may be behind. What the old primary wrote "
                                  "alone becomes a branch there, not lost.",
                                  "tidemark --node tcp:127.0.0.1:7081 pair takeover app");
  add_group(command, request->group);
  command->add_flag("--force", request->force, "Even while the primary is connected");
  on_chosen(cli, command, [&cli, request] { return cli.ask(*request, show_takeover); });
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
  CLI::App* family = add_family(app, "pair", "Pairs: a group's copy on another node");
  add_create(*family, cli);
  add_simple<control::PairStatusRequest>(
      *family, cli, "status", "Show the state of a pair",
      "Shows the role, the state (SMPL, COPY, PAIR, PSUS, PSUE, SSWS), the link, and "
      "how far the secondary is behind in entries, bytes and seconds.",
      "tidemark pair status app");
  add_simple<control::PairSuspendRequest>(
      *family, cli, "suspend", "Suspend a pair",
      "Stops sending. The secondary stays as it is and can be read; the primary goes on "
      "and remembers what it owes.",
      "tidemark pair suspend app");
  add_resync(*family, cli);
  add_takeover(*family, cli);
  add_delete(*family, cli);
}

}  // namespace tidemark::cli
