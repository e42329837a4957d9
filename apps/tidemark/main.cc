#include <signal.h>

#include <cstdio>

#include "base/names.h"
#include "cli.h"

namespace tidemark::cli {
namespace {

int exit_code_of(ErrorCode code) {
  return code == ErrorCode::kTimeout ? kExitTimedOut : kExitFailed;
}

int run(int argc, char** argv) {
  Cli cli;
  const std::optional<int> ended = read_command_line(argc, argv, cli);
  if (ended) return *ended;
  const Result<void> result = cli.work();
  if (result.ok() && cli.end) cli.end();
  if (result.ok()) return std::fflush(stdout) == 0 ? cli.exit_code : kExitFailed;
  if (cli.json()) std::printf("%s\n", control::error_json(result.error(), 2).c_str());
  std::fprintf(stderr, "tidemark: %s\n", printable(result.error().message, kMessageLengthMax).c_str());
  return cli.usage_failed() ? kExitUsage : exit_code_of(result.error().code);
}

}  // namespace
}  // namespace tidemark::cli

int main(int argc, char** argv) {
  // A pipe that is broken is an error of whoever writes to it: what was begun is ended in order. And whoever
  // started this may ignore its children; then there would be no way to learn how ours end.
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGCHLD, SIG_DFL);
  return tidemark::cli::run(argc, argv);
}
