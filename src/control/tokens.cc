#include "control/tokens.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>

#include "base/names.h"

namespace tidemark::control {
namespace {

constexpr std::string_view kSecretPrefix = "tidemark-";
constexpr std::string_view kExpires = "expires=";
constexpr std::string_view kBlanks = " \t";
constexpr std::string_view kDigits = "0123456789abcdef";

std::string hex(const std::array<std::uint8_t, 32>& bytes) {
  std::string out;
  for (const std::uint8_t byte : bytes) {
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

std::optional<SecretHash> parse_hash(std::string_view text) {
  SecretHash hash{};
  if (text.size() != 2 * hash.size()) return std::nullopt;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const char lower = c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
    const std::size_t digit = kDigits.find(lower);
    if (digit == std::string_view::npos) return std::nullopt;
    hash[i / 2] = static_cast<std::uint8_t>(hash[i / 2] << 4 | digit);
  }
  return hash;
}

std::vector<std::string_view> fields_of(std::string_view line) {
  std::vector<std::string_view> fields;
  for (std::size_t at = line.find_first_not_of(kBlanks); at != std::string_view::npos;
       at = line.find_first_not_of(kBlanks, at)) {
    const std::size_t end = std::min(line.find_first_of(kBlanks, at), line.size());
    fields.push_back(line.substr(at, end - at));
    at = end;
  }
  return fields;
}

Result<Token> parse_line(std::string_view line) {
  const std::vector<std::string_view> fields = fields_of(line);
  if (fields.size() < 3 || fields.size() > 4) {
    return fail(ErrorCode::kInvalid, "write NAME ROLE SHA-256 [expires=TIME]");
  }
  Token token;
  token.name = fields[0];
  TM_TRY(validate_name("token name", token.name));
  const std::optional<Role> role = parse_role(fields[1]);
  if (!role.has_value()) {
    return fail(ErrorCode::kInvalid,
                "'" + printable(fields[1]) + "' is no role; one of viewer, operator and administrator");
  }
  token.role = *role;
  const std::optional<SecretHash> hash = parse_hash(fields[2]);
  if (!hash.has_value()) {
    return fail(ErrorCode::kInvalid,
                "the third field must be the SHA-256 of the secret, 64 hexadecimal digits, never the secret");
  }
  token.hash = *hash;
  if (fields.size() == 4) {
    if (!fields[3].starts_with(kExpires)) {
      return fail(ErrorCode::kInvalid, "'" + printable(fields[3]) + "' is not expires=TIME");
    }
    TM_TRY_ASSIGN(token.expires, parse_time(std::string(fields[3].substr(kExpires.size()))));
  }
  return token;
}

Result<void> check_new(const std::vector<Token>& tokens, const Token& added) {
  if (tokens.size() == kTokensMax) {
    return fail(ErrorCode::kInvalid, "there are more than " + std::to_string(kTokensMax) + " tokens");
  }
  for (const Token& token : tokens) {
    if (token.name == added.name) {
      return fail(ErrorCode::kInvalid, "there is a token '" + token.name + "' already");
    }
    if (token.hash == added.hash) {
      return fail(ErrorCode::kInvalid, "'" + added.name + "' has the secret of '" + token.name + "'");
    }
  }
  return Result<void>{};
}

}  // namespace

std::string_view role_word(Role role) {
  switch (role) {
    case Role::kViewer:
      return "viewer";
    case Role::kOperator:
      return "operator";
    case Role::kAdministrator:
      return "administrator";
  }
  return "";
}

std::optional<Role> parse_role(std::string_view word) {
  for (const Role role : kRoles) {
    if (role_word(role) == word) return role;
  }
  return std::nullopt;
}

SecretHash hash_secret(std::string_view secret) {
  SecretHash hash{};
  unsigned int length = 0;
  const int done = ::EVP_Digest(secret.data(), secret.size(), hash.data(), &length, ::EVP_sha256(), nullptr);
  TM_ASSERT(done == 1 && length == hash.size());
  return hash;
}

std::string secret_text(const std::array<std::uint8_t, 32>& random) {
  return std::string(kSecretPrefix) + hex(random);
}

std::string token_line(const Token& token) {
  std::string line = token.name + " " + std::string(role_word(token.role)) + " " + hex(token.hash);
  if (token.expires.has_value()) line += " " + std::string(kExpires) + format_time(*token.expires);
  return line;
}

Result<TokenTable> TokenTable::parse(std::string_view text) {
  if (text.size() > kTokenFileBytesMax) {
    return fail(ErrorCode::kInvalid, "it is longer than " + format_size(kTokenFileBytesMax));
  }
  TokenTable table;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    const std::size_t begin = line.find_first_not_of(kBlanks);
    if (begin == std::string_view::npos || line[begin] == '#') continue;
    Result<Token> token = parse_line(line);
    Result<void> fits = token.ok() ? check_new(table.tokens_, *token) : Result<void>{};
    if (!token.ok() || !fits.ok()) {
      const Error& error = token.ok() ? fits.error() : token.error();
      return fail(ErrorCode::kInvalid, "line " + std::to_string(number) + ": " + error.message);
    }
    table.tokens_.push_back(std::move(token).value());
  }
  return table;
}

const Token* TokenTable::find(std::string_view secret) const {
  if (secret.empty() || secret.size() > kSecretBytesMax) return nullptr;
  const SecretHash hash = hash_secret(secret);
  const Token* found = nullptr;
  for (const Token& token : tokens_) {
    if (::CRYPTO_memcmp(token.hash.data(), hash.data(), hash.size()) == 0) found = &token;
  }
  return found;
}

}  // namespace tidemark::control
