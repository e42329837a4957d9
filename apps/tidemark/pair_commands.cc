#include <cstdio>

#include "cli.h"
#include "show.h"
#include "table.h"

namespace tidemark::cli {
namespace {

void add_create(CLI::App& family, Cli& cli) {
  auto request = std::make_shared<control::PairCreateRequest>();
  CLI::App* command = add_command(
      family, "create", "Pair a group with a peer",
      "Makes this node the primary of the group and the peer its secondary, and begins the initial copy "
      "while hosts go on writing. The link is not encrypted in this version, so only unix sockets and "
      "loopback addresses are accepted; a tunnel (for example ssh -L) reaches another machine.",
      "tidemark pair create app --peer unix:/var/lib/tidemark-osaka/replication.sock");
  add_group(command, request->group);
  add_text(command, "--peer", request->peer_address, "The peer's replication address")
      .required()
      .shown_as("ADDRESS");
  add_text(command, "--peer-group", request->peer_group, "The group's name there (the same)");
  on_chosen(cli, command, [&cli, request]() -> Result<void> {
    const Result<control::ControlAddress> peer = control::parse_control_address(request->peer_address);
    if (!peer.ok()) return cli.usage_error(peer.error().message);
    return cli.ask(*request, show_pair);
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
      "the journal no longer holds what the secondary lacks, resync is refused; --give-up-window then copies "
      "the volumes anew, and the secondary's past points go.",
      "tidemark pair resync app --swap");
  add_group(command, request->group);
  add_flag(command, "--swap", *swap, "The secondary's branch continues; the roles are swapped");
  add_text(command, "--from", *from, "Whose branch continues: primary, or secondary (the same as --swap)")
      .shown_as("SIDE");
  add_flag(command, "--give-up-window", request->give_up_window,
           "Copy the volumes anew, and let the secondary's past points go");
  on_chosen(cli, command, [&cli, request, swap, from]() -> Result<void> {
    if (!from->empty() && *from != "primary" && *from != "secondary") {
      return cli.usage_error("--from takes primary or secondary, not '" + printable(*from) + "'");
    }
    if (*swap && *from == "primary")
      return cli.usage_error("--swap and --from primary contradict each other");
    if (*swap || *from == "secondary") request->from = control::ResyncFrom::kSecondary;
    if (*from == "primary") request->from = control::ResyncFrom::kPrimary;
    return cli.ask(*request, show_pair);
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
