#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

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
  // is to say of who it is, or kDenied.
  std::function<Result<std::string>(const std::string& client, const std::string& token, control::Role least,
                                    std::string_view operation)>
      admit{};
  // One line for the audit log.
  std::function<void(const std::string& line)> audit{};
};

nbd::ExportInfo command_export_info(const std::string& group);

// The command export of `group`, for one connection: a block that is written to its begin is carried out as a
// command before the write is answered, and what is read afterwards is the answer. `operations`, `rules` and
// `scheduler` outlive it.
std::unique_ptr<nbd::BlockTarget> make_command_target(control::NodeOperations& operations,
                                                      const CommandRules& rules, io::Scheduler& scheduler,
                                                      std::string group, std::string client);

}  // namespace tidemark::node
