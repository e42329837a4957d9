#include "cli.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <cstdlib>

#include "base/names.h"
#include "host/local.h"

namespace tidemark::cli {
namespace {

constexpr char kVersion[] = "0.1.0";
constexpr std::size_t kHelpWidth = 80;

// Lines of at most kHelpWidth characters, broken at spaces.
std::string wrapped(const std::string& text) {
  std::string out;
  std::size_t line_length = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    const std::size_t word_length = end - at;
    if (line_length != 0) {
      const bool fits = line_length + 1 + word_length <= kHelpWidth;
      out.push_back(fits ? ' ' : '\n');
      line_length = fits ? line_length + 1 : 0;
    }
    out.append(text, at, word_length);
    line_length += word_length;
    at = end + 1;
  }
  return out;
}

// `read` takes the text, or says what is wrong with it, which is then a mistake of usage about `where`.
CLI::Option* add_read(CLI::App* command, const std::string& name, const std::string& where,
                      std::function<Result<void>(const std::string&)> read, const std::string& help) {
  return command->add_option_function<std::string>(
      name,
      [where, read = std::move(read)](const std::string& text) {
        const Result<void> done = read(text);
        if (!done.ok()) throw CLI::ValidationError(where, done.error().message);
      },
      help);
}

std::string environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

void add_global_options(CLI::App& app, Cli& cli) {
  app.add_option("--node", cli.node,
                 "The node to ask: unix:PATH, tcp:HOST:PORT, https://HOST:PORT, or its data folder (default: "
                 "$TIDEMARK_NODE, else this folder)")
      ->type_name("ADDRESS");
  app.add_option(
         "--token-file", cli.token_file,
         "Over TCP, the file with the secret of the token to show (default: $TIDEMARK_TOKEN, a secret, "
         "else $TIDEMARK_TOKEN_FILE)")
      ->type_name("FILE");
  app.add_option("--ca", cli.authorities_file,
                 "Over TLS, the CAs of which the node must have its certificate, PEM (default: $TIDEMARK_CA, "
                 "else the system's)")
      ->type_name("FILE");
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
  app.add_option(
         "--host-table", cli.host_table,
         "The file of this host's own table of marks (default: $TIDEMARK_HOST_TABLE, else marks.db in "
         "/var/lib/tidemark-host for root, in ~/.local/state/tidemark for others)")
      ->type_name("FILE");
  app.set_version_flag("--version", std::string("tidemark ") + kVersion);
}

}  // namespace

Result<control::ApiClient> Cli::connect() {
  TM_TRY_ASSIGN(const control::ControlAddress address, find_address());
  return connect_to(address);
}

Result<control::ApiClient> Cli::connect_to(const std::string& text) {
  const Result<control::ControlAddress> address = control::find_node(text);
  if (!address.ok()) return usage_error(address.error().message);
  return connect_to(*address);
}

Result<control::ApiClient> Cli::connect_to(control::ControlAddress address) {
  // Who asks a unix socket is known by that.
  if (address.is_unix) return control::ApiClient(std::move(address));
  Result<control::Credentials> credentials = find_credentials();
  if (!credentials.ok()) return usage_error(credentials.error().message);
  return control::ApiClient(std::move(address), std::move(credentials).value());
}

Result<control::ControlAddress> Cli::find_address() {
  const std::string where = node.empty() ? environment("TIDEMARK_NODE") : node;
  if (where.empty()) {
    TM_TRY_ASSIGN(control::ControlAddress here, control::find_node("."));
    if (control::find_node("control.sock").ok()) return here;
    return usage_error(
        "which node? Give --node ADDRESS or a data folder, set TIDEMARK_NODE, or run in a data folder");
  }
  Result<control::ControlAddress> address = control::find_node(where);
  if (!address.ok()) return usage_error(address.error().message);
  return address;
}

Result<control::Credentials> Cli::find_credentials() {
  control::Credentials credentials;
  credentials.authorities_file = authorities_file.empty() ? environment("TIDEMARK_CA") : authorities_file;
  const std::string secret = environment("TIDEMARK_TOKEN");
  if (token_file.empty() && !secret.empty()) {
    TM_TRY(check_secret(secret, "TIDEMARK_TOKEN"));
    credentials.secret = secret;
    return credentials;
  }
  const std::string path = token_file.empty() ? environment("TIDEMARK_TOKEN_FILE") : token_file;
  if (!path.empty()) {
    TM_TRY_ASSIGN(credentials.secret, read_secret(path));
  }
  return credentials;
}

Result<std::chrono::seconds> Cli::time_limit_seconds() const {
  TM_TRY_ASSIGN(const Duration duration, parse_duration(time_limit));
  // Whole seconds, at least one.
  return std::chrono::seconds((duration.ns + 999'999'999) / 1'000'000'000);
}

Result<std::string> Cli::host_table_path() {
  if (!host_table.empty()) return host_table;
  Result<std::string> path = host::find_table_path();
  if (!path.ok()) return usage_error(path.error().message);
  return path;
}

namespace {

// CLI11 takes "[a,b]" for two arguments where several may stand, and a second "--" for none. A mark in front
// of such a word lets it be the one that it is. Whether it is an argument, or the value of an option, is not
// known before the line is read: so whatever takes a text takes the mark away again.
constexpr char kWordMark = '\x01';

std::vector<std::string> marked_words(int argc, char** argv) {
  std::vector<std::string> words(argv, argv + argc);
  bool is_behind = false;  // "--"
  for (std::size_t i = 1; i < words.size(); ++i) {
    std::string& word = words[i];
    const bool is_list = word.size() >= 2 && word.starts_with("[") && word.ends_with("]");
    if (is_list || (is_behind && word == "--")) {
      word.insert(word.begin(), kWordMark);
    } else if (word == "--") {
      is_behind = true;
    }
  }
  return words;
}

std::string unmark(std::string& word) {
  if (word.starts_with(kWordMark)) word.erase(0, 1);
  return "";
}

void take_marked_words(CLI::App& app) {
  for (CLI::Option* const option : app.get_options()) {
    if (option->get_items_expected_max() > 0) option->transform(CLI::Validator(&unmark, ""));
  }
  for (CLI::App* const command : app.get_subcommands({})) take_marked_words(*command);
}

}  // namespace

std::optional<int> read_command_line(int argc, char** argv, Cli& cli) {
  CLI::App app{"Continuous data protection for block volumes: marks, restores and views of any past point."};
  app.name("tidemark");
  app.set_help_all_flag("--help-all", "The help of every command");
  app.require_subcommand(1);
  app.fallthrough();
  app.footer(
      "POINT is a mark id, time:RFC3339, log:EPOCH.SEQ, head or floor.\n"
      "Exit codes: 0 done, 1 refused or failed, 2 usage, 3 timed out waiting.\n\n"
      "Example:\n  tidemark --node /var/lib/tidemark status\n");
  add_global_options(app, cli);
  add_status_commands(app, cli);
  add_disk_commands(app, cli);
  add_group_commands(app, cli);
  add_volume_commands(app, cli);
  add_pair_commands(app, cli);
  add_journal_commands(app, cli);
  add_mark_commands(app, cli);
  add_restore_commands(app, cli);
  add_branch_commands(app, cli);
  add_export_commands(app, cli);
  add_watch_commands(app, cli);
  add_run_command(app, cli);
  add_token_commands(app, cli);
  take_marked_words(app);
  try {
    std::vector<std::string> words = marked_words(argc, argv);
    std::vector<char*> pointers;
    pointers.reserve(words.size());
    for (std::string& word : words) pointers.push_back(word.data());
    app.parse(static_cast<int>(pointers.size()), pointers.data());
  } catch (const CLI::Success& asked_for_help) {
    app.exit(asked_for_help);
    return kExitDone;
  } catch (const CLI::ParseError& error) {
    std::vector<std::string> unknown = app.remaining(true);
    const bool ended_early = !unknown.empty() && unknown.front() == "--";
    std::erase(unknown, "--");  // says where the options end, and is no argument itself
    if (ended_early && app.get_subcommands().empty()) {
      std::fprintf(stderr, "tidemark: '--' stands behind the command, before its arguments\n");
    } else if (!unknown.empty()) {
      unmark(unknown.front());
      std::fprintf(stderr, "tidemark: there is no '%s' here\n", printable(unknown.front()).c_str());
    } else {
      std::fprintf(stderr, "tidemark: %s\n", printable(error.what(), kMessageLengthMax).c_str());
    }
    std::fprintf(stderr, "Add --help to any command to see what it takes.\n");
    return kExitUsage;
  }
  return std::nullopt;
}

CLI::App* add_command(CLI::App& parent, const std::string& name, const std::string& summary,
                      const std::string& explanation, const std::string& example) {
  CLI::App* const command = parent.add_subcommand(name, summary);
  command->footer(wrapped(explanation) + "\n\nExample:\n  " + example + "\n");
  return command;
}

CLI::App* add_family(CLI::App& parent, const std::string& name, const std::string& summary,
                     const std::string& example) {
  CLI::App* const family = parent.add_subcommand(name, summary);
  family->require_subcommand(1);
  family->footer("Example:\n  " + example + "\n");
  return family;
}

void on_chosen(Cli& cli, CLI::App* command, std::function<Result<void>()> work) {
  command->callback([&cli, work = std::move(work)] { cli.work = work; });
}

Result<VolumeTarget> parse_volume_target(const std::string& text) {
  VolumeTarget target;
  const std::size_t at = text.find('@');
  const std::string name = text.substr(0, at);
  const std::size_t slash = name.find('/');
  if (slash == std::string::npos) {
    return fail(ErrorCode::kInvalid, "'" + printable(text) + "' names no volume; write GROUP/VOLUME");
  }
  target.group = name.substr(0, slash);
  target.volume = name.substr(slash + 1);
  TM_TRY(validate_name("group name", target.group));
  TM_TRY(validate_name("volume name", target.volume));
  if (at != std::string::npos) {
    target.point = text.substr(at + 1);
    if (target.point.empty())
      return fail(ErrorCode::kInvalid, "'" + printable(text) + "' has no point after '@'");
  }
  return target;
}

Argument Argument::required() const {
  option_->required();
  return *this;
}

Argument Argument::shown_as(const std::string& value) const {
  option_->type_name(value);
  return *this;
}

void Argument::goes_with(Argument other) const {
  option_->needs(other.option_);
  other.option_->needs(option_);
}

Argument add_flag(CLI::App* command, const std::string& name, bool& value, const std::string& help) {
  return Argument(command->add_flag(name, value, help));
}

Argument add_text(CLI::App* command, const std::string& name, std::string& value, const std::string& help) {
  return Argument(command->add_option(name, value, help));
}

Argument add_text(CLI::App* command, const std::string& name, std::optional<std::string>& value,
                  const std::string& help) {
  return Argument(command->add_option(name, value, help));
}

Argument add_checked_text(CLI::App* command, const std::string& name, std::string& value,
                          std::function<Result<void>(const std::string&)> valid, const std::string& help) {
  const auto read = [&value, valid = std::move(valid)](const std::string& text) -> Result<void> {
    TM_TRY(valid(text));
    value = text;
    return {};
  };
  return Argument(add_read(command, name, name, read, help));
}

Argument add_existing_path(CLI::App* command, const std::string& name, std::string& path,
                           const std::string& help) {
  return Argument(command->add_option(name, path, help)->check(CLI::ExistingPath.description("")));
}

Argument add_choice(CLI::App* command, const std::string& name, std::vector<std::string> words,
                    std::function<void(const std::string&)> chosen, const std::string& help) {
  std::string listed;
  for (const std::string& word : words) listed += (listed.empty() ? "" : "|") + word;
  const auto read = [words = std::move(words), listed,
                     chosen = std::move(chosen)](const std::string& text) -> Result<void> {
    if (std::find(words.begin(), words.end(), text) == words.end()) {
      return fail(ErrorCode::kInvalid, "must be one of " + listed);
    }
    chosen(text);
    return {};
  };
  return Argument(add_read(command, name, name, read, help)->type_name(listed));
}

Argument add_texts(CLI::App* command, const std::string& name, std::vector<std::string>& values,
                   const std::string& help) {
  CLI::Option* const option = command->add_option(name, values, help);
  // What follows the value of an option is not its second one.
  if (name.starts_with("-")) option->allow_extra_args(false);
  return Argument(option);
}

Argument add_number(CLI::App* command, const std::string& name, std::uint64_t& value,
                    const std::string& help) {
  return Argument(command->add_option(name, value, help)->type_name("N"));
}

Argument add_number(CLI::App* command, const std::string& name, std::uint32_t& value, std::uint32_t min,
                    std::uint32_t max, const std::string& help) {
  return Argument(
      command->add_option(name, value, help)->check(CLI::Range(min, max).description(""))->type_name("N"));
}

Argument add_number(CLI::App* command, const std::string& name, std::optional<std::uint32_t>& value,
                    std::uint32_t min, std::uint32_t max, const std::string& help) {
  return Argument(
      command->add_option(name, value, help)->check(CLI::Range(min, max).description(""))->type_name("N"));
}

Argument add_size(CLI::App* command, const std::string& name, std::optional<std::uint64_t>& bytes,
                  const std::string& help, const control::Rule& rule) {
  const auto read = [&bytes, rule](const std::string& text) -> Result<void> {
    TM_TRY_ASSIGN(const std::uint64_t parsed, parse_size(text));
    if (parsed < rule.min || parsed > rule.max) {
      return fail(ErrorCode::kInvalid, "must be from " + format_size(rule.min) + " to " +
                                           format_size(rule.max) + ", not " + format_size(parsed));
    }
    bytes = parsed;
    return {};
  };
  return Argument(add_read(command, name, name, read, help)->type_name("SIZE"));
}

Argument add_duration(CLI::App* command, const std::string& name, std::optional<Duration>& duration,
                      const std::string& help) {
  const auto read = [&duration](const std::string& text) -> Result<void> {
    TM_TRY_ASSIGN(duration, parse_duration(text));
    return {};
  };
  return Argument(add_read(command, name, name, read, help)->type_name("TIME"));
}

Argument add_group(CLI::App* command, std::string& group) {
  const auto valid = [](const std::string& text) { return validate_name("group name", text); };
  return add_checked_text(command, "GROUP", group, valid, "The group").required().shown_as("");
}

Argument add_volume(CLI::App* command, VolumeTarget& target, bool point_allowed) {
  const std::string form = point_allowed ? "GROUP/VOLUME[@POINT]" : "GROUP/VOLUME";
  const auto read = [&target, form, point_allowed](const std::string& text) -> Result<void> {
    TM_TRY_ASSIGN(VolumeTarget parsed, parse_volume_target(text));
    if (!point_allowed && !parsed.point.empty()) {
      return fail(ErrorCode::kInvalid, "a point is not allowed here; write " + form);
    }
    target = std::move(parsed);
    return {};
  };
  return Argument(
      add_read(command, "VOLUME", form, read, "The volume, as " + form)->required()->type_name(""));
}

Argument add_limit(CLI::App* command, std::uint32_t& limit, const std::string& what) {
  return add_number(command, "--limit", limit, 1, control::kPageLimitMax,
                    "Show at most this many " + what + " (" + std::to_string(limit) + ")");
}

}  // namespace tidemark::cli
