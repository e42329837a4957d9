#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"

// Who may use the control API over TCP: tokens, each with a role. docs/tls.md is the page.
namespace tidemark::control {

// What its bearer may do. Each may do what those before it may.
enum class Role {
  kViewer,         // look at everything but the contents of volumes
  kOperator,       // work with points and protection, read the contents of past points
  kAdministrator,  // everything
};
inline constexpr std::array kRoles = {Role::kViewer, Role::kOperator, Role::kAdministrator};
std::string_view role_word(Role role);  // "viewer", "operator", "administrator"
std::optional<Role> parse_role(std::string_view word);

// The SHA-256 of a secret, which is what a node keeps of it. There is neither salt nor stretching: a secret
// is 256 random bits, of which nobody makes a table.
using SecretHash = std::array<std::uint8_t, 32>;
SecretHash hash_secret(std::string_view secret);

// "tidemark-" and 64 hexadecimal digits.
std::string secret_text(const std::array<std::uint8_t, 32>& random);
// Longest secret that is looked at, in bytes.
inline constexpr std::size_t kSecretBytesMax = 256;

struct Token {
  std::string name;  // in the audit log; a name like those of groups
  Role role = Role::kViewer;
  SecretHash hash{};
  std::optional<WallTime> expires;

  bool has_expired(WallTime now) const { return expires.has_value() && *expires <= now; }
};

inline constexpr std::size_t kTokensMax = 1000;  // each request is compared with all of them
inline constexpr std::size_t kTokenFileBytesMax = 256 << 10;

// The line of a token in the file, without its end:
// "grafana viewer 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
// expires=2027-01-01T00:00:00Z".
std::string token_line(const Token& token);

// The tokens of a file.
class TokenTable {
 public:
  // One token a line, fields with blanks between them; empty lines and those that begin with '#' say nothing.
  // kInvalid: names the first line that is wrong, and how: a name, hash or role that is none, a name or a
  // secret twice, more than kTokensMax.
  static Result<TokenTable> parse(std::string_view text);

  // The token with this secret, an expired one too; null: none. Takes as long whatever the secret is.
  const Token* find(std::string_view secret) const;
  const std::vector<Token>& tokens() const { return tokens_; }

 private:
  std::vector<Token> tokens_;
};

}  // namespace tidemark::control
