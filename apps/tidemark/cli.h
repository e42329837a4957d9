#pragma once

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "control/http_client.h"
#include "control/types_fields.h"

namespace tidemark::cli {

// Exit codes; docs/cli.md tells them.
inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitTimedOut = 3;

// What the commands share: the global options and the talk with the node. Lives in main() while a command
// runs.
class Cli {
 public:
  std::string node;                // --node; empty: $TIDEMARK_NODE, else this folder
  std::string output = "table";    // --output
  std::string time_limit = "60s";  // --timeout

  bool json() const { return output == "json"; }

  // Asks the node.
  template <typename Request>
  Result<typename control::OperationOf<Request>::Reply> call(const Request& request) {
    TM_TRY_ASSIGN(control::ApiClient client, connect());
    TM_TRY_ASSIGN(const std::chrono::seconds limit, time_limit_seconds());
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

  // A mistake in the command line that only the command itself can see; its exit code is that of usage.
  Error usage_error(std::string message) {
    usage_failed_ = true;
    return fail(ErrorCode::kInvalid, std::move(message));
  }
  bool usage_failed() const { return usage_failed_; }

  // The work of the chosen command; main() runs it when the command line has been read.
  std::function<Result<void>()> work;

 private:
  Result<control::ApiClient> connect();
  Result<std::chrono::seconds> time_limit_seconds() const;

  bool usage_failed_ = false;
};

// A command: `summary` is its line in the help of the command above it; `explanation` and `example` stand in
// its own help.
CLI::App* add_command(CLI::App& parent, const std::string& name, const std::string& summary,
                      const std::string& explanation, const std::string& example);
// A command that only holds others.
CLI::App* add_family(CLI::App& parent, const std::string& name, const std::string& summary);

// `work` runs when `command` was chosen.
void on_chosen(Cli& cli, CLI::App* command, std::function<Result<void>()> work);

// GROUP/VOLUME, or GROUP/VOLUME@POINT where a point is allowed.
struct VolumeTarget {
  std::string group;
  std::string volume;
  std::string point;  // empty: live
};
Result<VolumeTarget> parse_volume_target(const std::string& text);

// Options whose text is checked while the command line is read, so that a mistake is one of usage (exit code
// 2).
CLI::Option* add_group(CLI::App* command, std::string& group);
CLI::Option* add_volume(CLI::App* command, VolumeTarget& target, bool point_allowed = false);
CLI::Option* add_size(CLI::App* command, const std::string& name, std::optional<std::uint64_t>& bytes,
                      const std::string& help);
CLI::Option* add_duration(CLI::App* command, const std::string& name, std::optional<Duration>& duration,
                          const std::string& help);
CLI::Option* add_limit(CLI::App* command, std::uint32_t& limit, const std::string& what);

// One of the words of `Enum`.
template <typename Enum>
CLI::Option* add_word(CLI::App* command, const std::string& name, std::optional<Enum>& value,
                      std::string help) {
  std::string words;
  for (const auto& entry : control::enum_words(std::type_identity<Enum>{})) {
    words += (words.empty() ? "" : "|") + std::string(entry.text);
  }
  auto* option = command->add_option_function<std::string>(
      name,
      [&value, name, words](const std::string& text) {
        for (const auto& entry : control::enum_words(std::type_identity<Enum>{})) {
          if (entry.text == text) {
            value = entry.value;
            return;
          }
        }
        throw CLI::ValidationError(name, "must be one of " + words);
      },
      std::move(help));
  return option->type_name(words);
}

// ---- One file each.
void add_status_commands(CLI::App& app, Cli& cli);
void add_group_commands(CLI::App& app, Cli& cli);
void add_volume_commands(CLI::App& app, Cli& cli);
void add_pair_commands(CLI::App& app, Cli& cli);
void add_journal_commands(CLI::App& app, Cli& cli);
void add_mark_commands(CLI::App& app, Cli& cli);
void add_restore_commands(CLI::App& app, Cli& cli);
void add_branch_commands(CLI::App& app, Cli& cli);
void add_export_commands(CLI::App& app, Cli& cli);

}  // namespace tidemark::cli
