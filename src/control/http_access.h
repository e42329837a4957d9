#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <variant>
#include <vector>

#include "control/http_tokens.h"
#include "control/metrics.h"
#include "control/rate_limit.h"
#include "control/routes.h"

namespace tidemark::control {

// Takes one line for each request that changes something, or would have: who, what, and how it ended.
// Called on the clients' threads, several at once.
using Audit = std::function<void(const std::string& line)>;

// Who asks.
struct Identity {
  std::string token;  // its name; empty where an address takes whoever may open it
  Role role = Role::kAdministrator;

  // " token=alice role=operator" for a line, or nothing.
  std::string fields() const;
};

// What a request is answered that its sender may not make.
struct Denial {
  int status = 401;       // or 403: it is known who asks, and that is not enough
  std::string challenge;  // the header WWW-Authenticate of a 401 (RFC 6750, section 3)
  Error error;
};

// What the addresses of a server have in common: whom they let in, what they count, and what they write down.
//
// What anybody on the network can cause, without a token, is written down only so often: kLinesBurst lines
// at once, then one each kLineInterval for each kind. The others are counted, in the next line and in the
// metrics. Any thread.
class Access {
 public:
  // `tokens` null: there are none, and nobody is asked for one. `audit` may be empty.
  Access(std::shared_ptr<TokenFile> tokens, Audit audit, tls::Log log);

  bool has_tokens() const { return tokens_ != nullptr; }
  // Whose request it is that has these headers `Authorization`. Only where has_tokens().
  std::variant<Identity, Denial> identify(const std::vector<std::string>& authorizations);
  // Whether `identity` may do what needs the role `least`; `what` is for the reason. nullopt: it may.
  std::optional<Denial> deny(const Identity& identity, Role least, std::string_view what);

  // One line for the audit log.
  void note_act(const std::string& line) const;
  // Of somebody who is not known. `act`: it was to change something.
  void note_unknown(const std::string& client, const std::string& request, const Error& error, bool act);
  void note_refused_handshake(const std::string& client, const std::string& why);
  void note_dropped();

  ApiCounters counters() const;

 private:
  static constexpr std::uint32_t kLinesBurst = 20;
  static constexpr Duration kLineInterval = Duration::seconds(60);
  // `line`, and what was left out before it, to `write`, when it is its turn.
  void write_sometimes(RateLimit& limit, std::string line, const std::function<void(std::string)>& write);

  const std::shared_ptr<TokenFile> tokens_;
  const Audit audit_;
  const tls::Log log_;
  std::mutex mutex_;  // of the limits
  RateLimit acts_{kLinesBurst, kLineInterval};
  RateLimit denials_{kLinesBurst, kLineInterval};
  RateLimit handshakes_{kLinesBurst, kLineInterval};

  std::atomic<std::uint64_t> without_token_ = 0;
  std::atomic<std::uint64_t> unknown_token_ = 0;
  std::atomic<std::uint64_t> expired_token_ = 0;
  std::atomic<std::uint64_t> role_too_low_ = 0;
  std::atomic<std::uint64_t> handshakes_refused_ = 0;
  std::atomic<std::uint64_t> dropped_ = 0;
};

}  // namespace tidemark::control
