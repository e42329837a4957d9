#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "control/http_client.h"
#include "control/types_fields.h"

// CLI11 costs every file that includes it several seconds; only cli.cc does.
namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace tidemark::cli {

// Exit codes; docs/cli.md tells them.
inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitTimedOut = 3;

// Of what standard error says about a failure, in bytes.
inline constexpr std::size_t kMessageLengthMax = 2000;

// What the commands share: the global options and the talk with the node. Lives in main() while a command
// runs.
class Cli {
 public:
  std::string node;                // --node; empty: $TIDEMARK_NODE, else this folder
  std::string token_file;          // --token-file; empty: $TIDEMARK_TOKEN, else $TIDEMARK_TOKEN_FILE
  std::string authorities_file;    // --ca; empty: $TIDEMARK_CA
  std::string output = "table";    // --output
  std::string time_limit = "60s";  // --timeout
  std::string host_table;          // --host-table; empty: host::find_table_path()

  bool json() const { return output == "json"; }

  // Asks the node.
  template <typename Request>
  Result<typename control::OperationOf<Request>::Reply> call(const Request& request) {
    TM_TRY_ASSIGN(const std::chrono::seconds limit, time_limit_seconds());
    return call_within(request, limit);
  }
  template <typename Request>
  Result<typename control::OperationOf<Request>::Reply> call_within(const Request& request,
                                                                    std::chrono::seconds limit) {
    TM_TRY_ASSIGN(control::ApiClient client, connect());
    return client.call(request, limit);
  }

  // Asks the node and prints the answer: as JSON, or with `show`.
  template <typename Request, typename Show>
  Result<void> ask(const Request& request, Show show) {
    TM_TRY_ASSIGN(const auto reply, call(request));
    if (json()) {
      print_json(reply);
    } else {
      show(reply);
    }
    return Result<void>{};
  }

  template <typename Reply>
  void print_json(const Reply& reply) const {
    std::printf("%s\n", control::answer_json(reply, 2).c_str());
  }

  Result<control::ApiClient> connect();
  // To another node than --node; the same token and CAs are shown.
  Result<control::ApiClient> connect_to(const std::string& address);
  Result<std::chrono::seconds> time_limit_seconds() const;
  // The file of the host's own table of marks.
  Result<std::string> host_table_path();

  // A mistake in the command line that only the command itself can see; its exit code is that of usage.
  Error usage_error(std::string message) {
    usage_failed_ = true;
    return fail(ErrorCode::kInvalid, std::move(message));
  }
  bool usage_failed() const { return usage_failed_; }

  // For a command that did its work and found what it looked for to be bad: main() ends with it.
  int exit_code = kExitDone;
  // Set by a command that ran a program: called last of all, and ends as that did.
  std::function<void()> end;

  // The work of the chosen command, set by read_command_line().
  std::function<Result<void>()> work;

 private:
  Result<control::ApiClient> connect_to(control::ControlAddress address);
  Result<control::ControlAddress> find_address();
  Result<control::Credentials> find_credentials();

  bool usage_failed_ = false;
};

// Sets the global options and the work in `cli`. The exit code, when that was all: the line is wrong, which
// standard error says, or it asks for help.
std::optional<int> read_command_line(int argc, char** argv, Cli& cli);

// A command: `summary` is its line in the help of the command above it; `explanation` and `example` stand in
// its own help.
CLI::App* add_command(CLI::App& parent, const std::string& name, const std::string& summary,
                      const std::string& explanation, const std::string& example);
// A command that only holds others.
CLI::App* add_family(CLI::App& parent, const std::string& name, const std::string& summary,
                     const std::string& example);

// `work` runs when `command` was chosen.
void on_chosen(Cli& cli, CLI::App* command, std::function<Result<void>()> work);

// GROUP/VOLUME, or GROUP/VOLUME@POINT where a point is allowed.
struct VolumeTarget {
  std::string group;
  std::string volume;
  std::string point;  // empty: live
};
Result<VolumeTarget> parse_volume_target(const std::string& text);

// An argument or option of a command, for what else is to be said about it.
class Argument {
 public:
  explicit Argument(CLI::Option* option) : option_(option) {}

  Argument required() const;
  // How the help writes its value: "POINT". The name of an argument without dashes says enough: "".
  Argument shown_as(const std::string& value) const;
  // Neither is taken without the other.
  void goes_with(Argument other) const;

 private:
  CLI::Option* option_;  // of the command's
};

// What a command takes: an option when `name` begins with dashes, else an argument. The text is checked, and
// the value written, while the command line is read, so that a mistake is one of usage (exit code 2).
Argument add_flag(CLI::App* command, const std::string& name, bool& value, const std::string& help);
Argument add_text(CLI::App* command, const std::string& name, std::string& value, const std::string& help);
Argument add_text(CLI::App* command, const std::string& name, std::optional<std::string>& value,
                  const std::string& help);
// `valid` says what is wrong with the text.
Argument add_checked_text(CLI::App* command, const std::string& name, std::string& value,
                          std::function<Result<void>(const std::string&)> valid, const std::string& help);
Argument add_existing_path(CLI::App* command, const std::string& name, std::string& path,
                           const std::string& help);
// One of `words`.
Argument add_choice(CLI::App* command, const std::string& name, std::vector<std::string> words,
                    std::function<void(const std::string&)> chosen, const std::string& help);
// An option as often as it is given; an argument takes all words.
Argument add_texts(CLI::App* command, const std::string& name, std::vector<std::string>& values,
                   const std::string& help);
Argument add_number(CLI::App* command, const std::string& name, std::uint64_t& value,
                    const std::string& help);
// From `min` to `max`.
Argument add_number(CLI::App* command, const std::string& name, std::uint32_t& value, std::uint32_t min,
                    std::uint32_t max, const std::string& help);
Argument add_number(CLI::App* command, const std::string& name, std::optional<std::uint32_t>& value,
                    std::uint32_t min, std::uint32_t max, const std::string& help);
// Within `rule`.
Argument add_size(CLI::App* command, const std::string& name, std::optional<std::uint64_t>& bytes,
                  const std::string& help, const control::Rule& rule = {});
Argument add_duration(CLI::App* command, const std::string& name, std::optional<Duration>& duration,
                      const std::string& help);

// What several commands take.
Argument add_group(CLI::App* command, std::string& group);
Argument add_volume(CLI::App* command, VolumeTarget& target, bool point_allowed = false);
// --limit of a list of `what`; without it as many as `limit` holds now.
Argument add_limit(CLI::App* command, std::uint32_t& limit, const std::string& what);

// One of the words of `Enum`.
template <typename Enum>
Argument add_word(CLI::App* command, const std::string& name, std::optional<Enum>& value,
                  const std::string& help) {
  std::vector<std::string> words;
  for (const auto& entry : control::enum_words(std::type_identity<Enum>{})) words.emplace_back(entry.text);
  const auto chosen = [&value](const std::string& text) {
    for (const auto& entry : control::enum_words(std::type_identity<Enum>{})) {
      if (entry.text == text) value = entry.value;
    }
  };
  return add_choice(command, name, std::move(words), chosen, help);
}

// ---- One file each.
void add_status_commands(CLI::App& app, Cli& cli);
void add_group_commands(CLI::App& app, Cli& cli);
void add_disk_commands(CLI::App& app, Cli& cli);
void add_volume_commands(CLI::App& app, Cli& cli);
void add_pair_commands(CLI::App& app, Cli& cli);
void add_journal_commands(CLI::App& app, Cli& cli);
void add_mark_commands(CLI::App& app, Cli& cli);
void add_mark_create(CLI::App& family, Cli& cli);
void add_reconcile(CLI::App& family, Cli& cli);
void add_prune(CLI::App& family, Cli& cli);
void add_restore_commands(CLI::App& app, Cli& cli);
void add_branch_commands(CLI::App& app, Cli& cli);
void add_export_commands(CLI::App& app, Cli& cli);
void add_token_commands(CLI::App& app, Cli& cli);
void add_watch_commands(CLI::App& app, Cli& cli);
void add_run_command(CLI::App& app, Cli& cli);

// A sentence on standard error.
void say(const std::string& sentence);
// The secret of a token that a file holds, and nothing else. Says on standard error when others may read it.
Result<std::string> read_secret(const std::string& path);
// The rows of the host's own table, of `group` or of all.
Result<void> list_host_marks(Cli& cli, const std::string& group, std::optional<std::uint32_t> limit);
// Whether `secret`, which came from `where`, can be one. kInvalid.
Result<void> check_secret(const std::string& secret, const std::string& where);

}  // namespace tidemark::cli
