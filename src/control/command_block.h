#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

// One command as a host writes it into a command export (docs/command-export.md).
namespace tidemark::control {

inline constexpr std::size_t kCommandBlockBytes = 4096;

struct CommandBlock {
  std::string command;  // "mark", "journal-start", ...
  std::string token;    // the secret of a token; empty: none
  std::string body;     // JSON: the other members, as the request of the control API has them in its body
};

// `text` is the whole block: JSON, then blanks, line feeds and zeroes to its end. kInvalid: says what is
// wrong.
Result<CommandBlock> parse_command_block(std::string_view text);

}  // namespace tidemark::control
