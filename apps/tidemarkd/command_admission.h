#pragma once

#include "control/http_access.h"
#include "node/command_export.h"
#include "options.h"

namespace tidemark {

// Who may give commands over NBD: whoever may open the unix socket, and over TCP whoever may give them over
// the control API: with a token of its file when there is one, else from this machine only. kNotFound,
// kInvalid: the file of tokens.
Result<node::CommandRules> command_rules(const DaemonOptions& options, const control::Audit& audit,
                                         const tls::Log& log);

}  // namespace tidemark
