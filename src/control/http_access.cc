#include "control/http_access.h"

#include <chrono>

#include "base/log_field.h"
#include "base/names.h"

namespace tidemark::control {
namespace {

constexpr std::string_view kScheme = "bearer ";
constexpr const char* kChallenge = "Bearer realm=\"tidemark\"";
constexpr const char* kChallengeInvalid = "Bearer realm=\"tidemark\", error=\"invalid_token\"";

WallTime wall_now() {
  const auto since = std::chrono::system_clock::now().time_since_epoch();
  return {std::chrono::duration_cast<std::chrono::nanoseconds>(since).count()};
}

MonotonicTime monotonic_now() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return {std::chrono::duration_cast<std::chrono::nanoseconds>(since).count()};
}

Denial unknown(const char* challenge, std::string message) {
  return {401, challenge, fail(ErrorCode::kDenied, std::move(message))};
}

// The secret in a header "Bearer SECRET"; empty when it is another scheme.
std::string_view secret_in(std::string_view header) {
  if (header.size() < kScheme.size()) return {};
  for (std::size_t i = 0; i < kScheme.size(); ++i) {
    const char c = header[i];
    const char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    if (lower != kScheme[i]) return {};
  }
  const std::size_t begin = header.find_first_not_of(' ', kScheme.size());
  if (begin == std::string_view::npos) return {};
  return header.substr(begin, header.find_last_not_of(' ') + 1 - begin);
}

}  // namespace

std::string Identity::fields() const {
  if (token.empty()) return {};
  return " " + log_field("token", token) + " " + log_field("role", role_word(role));
}

Access::Access(std::shared_ptr<TokenFile> tokens, Audit audit, tls::Log log)
    : tokens_(std::move(tokens)), audit_(std::move(audit)), log_(std::move(log)) {}

std::variant<Identity, Denial> Access::identify(const std::vector<std::string>& authorizations) {
  const std::string_view secret = authorizations.size() == 1 ? secret_in(authorizations[0]) : "";
  if (secret.empty()) {
    ++without_token_;
    return unknown(
        kChallenge,
        "this address wants a token: send the header 'Authorization: Bearer SECRET', once (tidemark "
        "does with --token-file)");
  }
  const std::shared_ptr<const TokenTable> table = tokens_->current();
  const Token* const token = table->find(secret);
  if (token == nullptr) {
    ++unknown_token_;
    return unknown(
        kChallengeInvalid,
        "the token is none of this node's, or no longer; an administrator makes one with `tidemark "
        "token create` and adds its line to the node's file of tokens");
  }
  if (token->has_expired(wall_now())) {
    ++expired_token_;
    return unknown(kChallengeInvalid, "the token '" + token->name + "' expired at " +
                                          format_time(*token->expires) +
                                          "; an administrator makes a new one with `tidemark token create`");
  }
  return Identity{token->name, token->role};
}

std::optional<Denial> Access::deny(const Identity& identity, Role least, std::string_view what) {
  if (identity.role >= least) return std::nullopt;
  ++role_too_low_;
  return Denial{403, "",
                fail(ErrorCode::kDenied, "the token '" + identity.token + "' has the role " +
                                             std::string(role_word(identity.role)) + ", and " +
                                             std::string(what) + " needs " + std::string(role_word(least)))};
}

void Access::note_act(const std::string& line) const {
  if (audit_) audit_(line);
}

void Access::write_sometimes(RateLimit& limit, std::string line,
                             const std::function<void(std::string)>& write) {
  {
    const std::lock_guard lock(mutex_);
    if (!limit.take(monotonic_now())) return;
    const std::uint64_t left_out = limit.take_left_out();
    if (left_out > 0) line += " " + log_field("left_out_before", left_out);
  }
  write(std::move(line));
}

void Access::note_unknown(const std::string& client, const std::string& request, const Error& error,
                          bool act) {
  const std::string line = client + " " + log_field("request", request) + " ";
  const std::string reason = log_field("reason", error.message);
  if (act && audit_) {
    write_sometimes(acts_, line + log_field("outcome", error_code_name(error.code)) + " " + reason, audit_);
  }
  write_sometimes(denials_, line + reason, [this](const std::string& text) { log_("control-denied", text); });
}

void Access::note_refused_handshake(const std::string& client, const std::string& why) {
  ++handshakes_refused_;
  write_sometimes(handshakes_, client + " " + log_field("reason", why),
                  [this](const std::string& text) { log_("control-refused", text); });
}

void Access::note_dropped() {
  ++dropped_;
}

ApiCounters Access::counters() const {
  ApiCounters counters;
  counters.denied_without_token = without_token_;
  counters.denied_unknown_token = unknown_token_;
  counters.denied_expired_token = expired_token_;
  counters.denied_role_too_low = role_too_low_;
  counters.handshakes_refused = handshakes_refused_;
  counters.connections_dropped = dropped_;
  return counters;
}

}  // namespace tidemark::control
