#include <csignal>
#include <cstdio>

#include "base/names.h"
#include "cli.h"

namespace tidemark::cli {
namespace {

constexpr char kVersion[] = "0.1.0";
constexpr std::size_t kMessageLengthMax = 2000;

int exit_code_of(ErrorCode code) {
  return code == ErrorCode::kTimeout ? kExitTimedOut : kExitFailed;
}

void add_global_options(CLI::App& app, Cli& cli) {
  app.add_option(
         "--node", cli.node,
         "The node to ask: unix:PATH, tcp:HOST:PORT, or its data folder (default: $TIDEMARK_NODE, else "
         "this folder)")
      ->type_name("ADDRESS");
  app.add_option("-o,--output", cli.output, "How to show results (table)")
      ->check(CLI::IsMember({"table", "json"}).description(""))
      ->type_name("table|json");
  app.add_option("--timeout", cli.time_limit, "How long to wait for the node, 1s to 10m (60s)")
      ->type_name("TIME")
      ->check([](const std::string& text) {
        const Result<Duration> parsed = parse_duration(text);
        if (!parsed.ok()) return parsed.error().message;
        const bool good = parsed->ns > 0 && parsed.value() <= Duration::seconds(600);
        return std::string(good ? "" : "must be from 1s to 10m");
      });
  app.set_version_flag("--version", std::string("tidemark ") + kVersion);
}

int run(int argc, char** argv) {
  CLI::App app{"Continuous data protection for block volumes: marks, restores and views of any past point."};
  app.name("tidemark");
  app.set_help_all_flag("--help-all", "The help of every command");
  app.require_subcommand(1);
  app.fallthrough();
  app.footer(
      "POINT is a mark id, time:RFC3339, log:EPOCH.SEQ, head or floor.\n"
      "Exit codes: 0 done, 1 refused or failed, 2 usage, 3 timed out waiting.\n\n"
      "Example:\n  tidemark --node /var/lib/tidemark status\n");
  Cli cli;
  add_global_options(app, cli);
  add_status_commands(app, cli);
  add_group_commands(app, cli);
  add_volume_commands(app, cli);
  add_pair_commands(app, cli);
  add_journal_commands(app, cli);
  add_mark_commands(app, cli);
  add_restore_commands(app, cli);
  add_branch_commands(app, cli);
  add_export_commands(app, cli);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& asked_for_help) {
    app.exit(asked_for_help);
    return kExitDone;
  } catch (const CLI::ParseError& error) {
    const std::vector<std::string> unknown = app.remaining(true);
    if (!unknown.empty()) {
      std::fprintf(stderr, "tidemark: there is no '%s' here\n", printable(unknown.front()).c_str());
    } else {
      std::fprintf(stderr, "tidemark: %s\n", printable(error.what(), kMessageLengthMax).c_str());
    }
    std::fprintf(stderr, "Add --help to any command to see what it takes.\n");
    return kExitUsage;
  }
  const Result<void> result = cli.work();
  if (result.ok()) return std::fflush(stdout) == 0 ? kExitDone : kExitFailed;
  if (cli.json()) std::printf("%s\n", control::error_json(result.error(), 2).c_str());
  std::fprintf(stderr, "tidemark: %s\n", printable(result.error().message, kMessageLengthMax).c_str());
  return cli.usage_failed() ? kExitUsage : exit_code_of(result.error().code);
}

}  // namespace
}  // namespace tidemark::cli

int main(int argc, char** argv) {
  return tidemark::cli::run(argc, argv);
}
