#include "command_admission.h"

#include <memory>

#include "base/log_field.h"

namespace tidemark {
namespace {

bool is_loopback(const std::string& client) {
  return client.starts_with("127.") || client.starts_with("[::1]:");
}

Result<std::string> admit(control::Access& access, const std::string& client, const std::string& token,
                          control::Role least, std::string_view operation, bool& is_known) {
  is_known = true;
  if (client == "unix") return std::string();
  if (!access.has_tokens()) {
    if (is_loopback(client)) return std::string();
    is_known = false;
    return fail(ErrorCode::kDenied,
                "commands from other machines need a token, and this node has none: start it with "
                "--control-tokens, or use the unix socket");
  }
  if (token.empty()) {
    is_known = false;
    return fail(ErrorCode::kDenied, "over TCP a command needs the secret of a token, as its member 'token'");
  }
  const std::variant<control::Identity, control::Denial> who = access.identify({"Bearer " + token});
  if (const auto* denial = std::get_if<control::Denial>(&who); denial != nullptr) {
    is_known = false;
    return denial->error;
  }
  const control::Identity& identity = std::get<control::Identity>(who);
  const std::optional<control::Denial> denial = access.deny(identity, least, operation);
  if (denial.has_value()) return denial->error;
  return identity.fields();
}

}  // namespace

Result<node::CommandRules> command_rules(const DaemonOptions& options, const control::Audit& audit,
                                         const tls::Log& log) {
  std::shared_ptr<control::TokenFile> tokens;
  if (!options.control_tokens.empty()) {
    TM_TRY_ASSIGN(tokens, control::TokenFile::read(options.control_tokens, log));
  }
  const auto access = std::make_shared<control::Access>(std::move(tokens), audit, log);
  node::CommandRules rules;
  rules.audit = audit;
  rules.admit = [access](const std::string& client, const std::string& token, control::Role least,
                         std::string_view operation, bool& is_known) {
    return admit(*access, client, token, least, operation, is_known);
  };
  rules.note_unknown = [access](const std::string& client, const std::string& request, const Error& error) {
    access->note_unknown("client=" + client, request, error, true);
  };
  return rules;
}

}  // namespace tidemark
