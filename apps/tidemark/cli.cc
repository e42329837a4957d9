#include "cli.h"

#include <algorithm>
#include <cstdlib>

#include "base/names.h"

namespace tidemark::cli {
namespace {

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

}  // namespace

Result<control::ApiClient> Cli::connect() {
  std::string where = node;
  if (where.empty()) {
    if (const char* variable = std::getenv("TIDEMARK_NODE"); variable != nullptr) where = variable;
  }
  if (where.empty()) {
    TM_TRY_ASSIGN(const control::ControlAddress here, control::find_node("."));
    if (control::find_node("control.sock").ok()) return control::ApiClient(here);
    return usage_error(
        "which node? Give --node ADDRESS or a data folder, set TIDEMARK_NODE, or run in a data folder");
  }
  Result<control::ControlAddress> address = control::find_node(where);
  if (!address.ok()) return usage_error(address.error().message);
  return control::ApiClient(std::move(address).value());
}

Result<std::chrono::seconds> Cli::time_limit_seconds() const {
  TM_TRY_ASSIGN(const Duration duration, parse_duration(time_limit));
  // Whole seconds, at least one.
  return std::chrono::seconds((duration.ns + 999'999'999) / 1'000'000'000);
}

CLI::App* add_command(CLI::App& parent, const std::string& name, const std::string& summary,
                      const std::string& explanation, const std::string& example) {
  CLI::App* const command = parent.add_subcommand(name, summary);
  command->footer(wrapped(explanation) + "\n\nExample:\n  " + example + "\n");
  return command;
}

CLI::App* add_family(CLI::App& parent, const std::string& name, const std::string& summary) {
  CLI::App* const family = parent.add_subcommand(name, summary);
  family->require_subcommand(1);
  family->footer("");
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

CLI::Option* add_group(CLI::App* command, std::string& group) {
  return command
      ->add_option_function<std::string>(
          "GROUP",
          [&group](const std::string& text) {
            const Result<void> valid = validate_name("group name", text);
            if (!valid.ok()) throw CLI::ValidationError("GROUP", valid.error().message);
            group = text;
          },
          "The group")
      ->required()
      ->type_name("");
}

CLI::Option* add_volume(CLI::App* command, VolumeTarget& target, bool point_allowed) {
  const std::string name = point_allowed ? "GROUP/VOLUME[@POINT]" : "GROUP/VOLUME";
  return command
      ->add_option_function<std::string>(
          "VOLUME",
          [&target, name, point_allowed](const std::string& text) {
            Result<VolumeTarget> parsed = parse_volume_target(text);
            if (!parsed.ok()) throw CLI::ValidationError(name, parsed.error().message);
            if (!point_allowed && !parsed->point.empty()) {
              throw CLI::ValidationError(name, "a point is not allowed here; write " + name);
            }
            target = std::move(parsed).value();
          },
          "The volume, as " + name)
      ->required()
      ->type_name("");
}

CLI::Option* add_size(CLI::App* command, const std::string& name, std::optional<std::uint64_t>& bytes,
                      const std::string& help) {
  auto* option = command->add_option_function<std::string>(
      name,
      [&bytes, name](const std::string& text) {
        const Result<std::uint64_t> parsed = parse_size(text);
        if (!parsed.ok()) throw CLI::ValidationError(name, parsed.error().message);
        bytes = parsed.value();
      },
      help);
  return option->type_name("SIZE");
}

CLI::Option* add_duration(CLI::App* command, const std::string& name, std::optional<Duration>& duration,
                          const std::string& help) {
  auto* option = command->add_option_function<std::string>(
      name,
      [&duration, name](const std::string& text) {
        const Result<Duration> parsed = parse_duration(text);
        if (!parsed.ok()) throw CLI::ValidationError(name, parsed.error().message);
        duration = parsed.value();
      },
      help);
  return option->type_name("TIME");
}

CLI::Option* add_limit(CLI::App* command, std::uint32_t& limit, const std::string& what) {
  return command
      ->add_option("--limit", limit, "Show at most this many " + what + " (" + std::to_string(limit) + ")")
      ->check(CLI::Range(1u, control::kPageLimitMax).description(""))
      ->type_name("N");
}

}  // namespace tidemark::cli
