#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/time.h"
#include "control/operations.h"
#include "control/tokens.h"
#include "io/sync.h"
#include "nbd/target.h"

namespace tidemark::node {

// Of a group: GROUP/.command.
inline constexpr std::string_view kCommandVolume = ".command";
inline bool is_command_export(std::string_view export_name) {
  return export_name.ends_with("/.command");
}

// Who may give commands. Empty members let everybody, and write nothing down.
struct CommandRules {
  // Whether the client with this token, perhaps none, may do what needs the role `least`: what the audit log
  // is to say of who it is, or kDenied; `is_known`: it is known who asks, and that is not enough.
  std::function<Result<std::string>(const std::string& client, const std::string& token, control::Role least,
                                    std::string_view operation, bool& is_known)>
      admit{};
  // One line for the audit log.
  std::function<void(const std::string& line)> audit{};
  // What anybody could cause: of somebody who is not known, or no command at all.
  std::function<void(const std::string& client, const std::string& request, const Error& error)>
      note_unknown{};
};

// A command that takes longer is answered with kTimeout, and goes on.
inline constexpr Duration kCommandTimeLimit = Duration::seconds(60);

nbd::ExportInfo command_export_info(const std::string& group);

// The command export of `group`, for one connection: a block that is written to its begin is carried out as a
// command before the write is answered, and what is read afterwards is the answer. Commands run in `tasks`.
// `operations`, `rules`, `tasks` and `scheduler` outlive it.
std::unique_ptr<nbd::BlockTarget> make_command_target(control::NodeOperations& operations,
                                                      const CommandRules& rules, io::TaskScope& tasks,
                                                      io::Scheduler& scheduler, std::string group,
                                                      std::string client);

}  // namespace tidemark::node
