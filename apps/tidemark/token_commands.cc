#include <fcntl.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <system_error>

#include "base/names.h"
#include "cli.h"
#include "control/tokens.h"

namespace tidemark::cli {
namespace {

Error file_error(const std::string& path, int error) {
  return fail(ErrorCode::kIo, "'" + printable(path, 300) + "': " + std::generic_category().message(error));
}

// A file's bytes, at most one more than `size_max`.
Result<std::string> read_all(int descriptor, const std::string& path, std::size_t size_max) {
  std::string text;
  std::array<char, 4096> part{};
  while (text.size() <= size_max) {
    const ssize_t got = ::read(descriptor, part.data(), part.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return file_error(path, errno);
    if (got == 0) break;
    text.append(part.data(), static_cast<std::size_t>(got));
  }
  return text;
}

// Adds the token's line to a file of tokens, which is made, for its owner alone, when it is not there. What
// stands in it must be right, and have neither the name nor the secret.
Result<void> add_to_file(int descriptor, const std::string& path, const control::Token& token) {
  TM_TRY_ASSIGN(const std::string before, read_all(descriptor, path, control::kTokenFileBytesMax));
  const bool whole = before.empty() || before.ends_with('\n');
  const std::string added = (whole ? "" : "\n") + control::token_line(token) + "\n";
  const Result<control::TokenTable> after = control::TokenTable::parse(before + added);
  if (!after.ok()) {
    return fail(ErrorCode::kInvalid,
                "'" + printable(path, 300) + "', nothing was added: " + after.error().message);
  }
  // In one piece: the node may read it at any moment.
  const ssize_t written = ::write(descriptor, added.data(), added.size());
  if (written < 0) return file_error(path, errno);
  if (static_cast<std::size_t>(written) != added.size()) return file_error(path, ENOSPC);
  return ::fsync(descriptor) == 0 ? Result<void>{} : file_error(path, errno);
}

Result<void> add_to_file(const std::string& path, const control::Token& token) {
  const int descriptor = ::open(path.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
  if (descriptor < 0) return file_error(path, errno);
  Result<void> added = add_to_file(descriptor, path, token);
  ::close(descriptor);
  return added;
}

WallTime now() {
  const auto since = std::chrono::system_clock::now().time_since_epoch();
  return {std::chrono::duration_cast<std::chrono::nanoseconds>(since).count()};
}

// "90d" from now on, or a moment. In whole seconds.
Result<WallTime> parse_expiry(const std::string& text) {
  const Result<Duration> duration = parse_duration(text);
  const Result<WallTime> moment = duration.ok() ? now() + duration.value() : parse_time(text);
  if (!moment.ok()) {
    return fail(ErrorCode::kInvalid, "'" + printable(text) +
                                         "' is neither a time from now on, as 90d, nor a moment, "
                                         "as 2027-01-01T00:00:00Z");
  }
  constexpr std::int64_t kSecond = 1'000'000'000;
  const WallTime expires{moment->ns / kSecond * kSecond};
  if (expires <= now()) return fail(ErrorCode::kInvalid, format_time(expires) + " is over");
  return expires;
}

struct TokenOptions {
  control::Token token;
  std::string expires;  // as it was written
  std::optional<std::string> file;
};

Result<void> create_token(const Cli& cli, TokenOptions& options) {
  std::array<std::uint8_t, 32> random{};
  if (::RAND_bytes(random.data(), random.size()) != 1) {
    return fail(ErrorCode::kIo, "this machine gives no random bytes");
  }
  const std::string secret = control::secret_text(random);
  control::Token& token = options.token;
  token.hash = control::hash_secret(secret);
  if (options.file.has_value()) TM_TRY(add_to_file(*options.file, token));
  const std::string line = control::token_line(token);
  if (cli.json()) {
    control::TableReply reply{"token", {"name", "role", "secret", "line"}, {}, {}};
    reply.rows.push_back({token.name, std::string(control::role_word(token.role)), secret, line});
    cli.print_json(reply);
    return Result<void>{};
  }
  std::printf("%s\n", secret.c_str());
  if (options.file.has_value()) {
    std::fprintf(stderr, "added to %s; the secret is nowhere else\n", printable(*options.file, 300).c_str());
  } else {
    std::printf("%s\n", line.c_str());
  }
  return Result<void>{};
}

void add_create(CLI::App& family, Cli& cli) {
  auto options = std::make_shared<TokenOptions>();
  CLI::App* command = add_command(
      family, "create", "Make a token for the control API over TCP",
      "Makes a random secret and prints it, this once, and then the line that the node's file of tokens "
      "(tidemarkd --control-tokens) needs: the token's name, its role and the SHA-256 of the secret. With "
      "--file "
      "the line is added there. The bearer gives the secret to tidemark with --token-file. A viewer looks at "
      "everything but the contents of volumes; an operator works with points and protection; an "
      "administrator "
      "does everything. No node is asked; one that runs reads its file again when it has changed.",
      "tidemark token create grafana --role viewer --expires 90d --file /etc/tidemark/tokens");
  const auto valid = [](const std::string& text) { return validate_name("token name", text); };
  add_checked_text(command, "NAME", options->token.name, valid, "What the token is called in the audit log")
      .required()
      .shown_as("");
  std::vector<std::string> roles;
  roles.reserve(control::kRoles.size());
  for (const control::Role role : control::kRoles) roles.emplace_back(control::role_word(role));
  const auto chosen = [options](const std::string& word) {
    options->token.role = *control::parse_role(word);
  };
  add_choice(command, "--role", std::move(roles), chosen, "What its bearer may do").required();
  const auto read_expiry = [options](const std::string& text) -> Result<void> {
    TM_TRY_ASSIGN(options->token.expires, parse_expiry(text));
    return Result<void>{};
  };
  add_checked_text(command, "--expires", options->expires, read_expiry,
                   "When it ends: 90d from now, or RFC 3339 (never)")
      .shown_as("TIME");
  add_text(command, "--file", options->file, "Add the line to this file of tokens").shown_as("FILE");
  on_chosen(cli, command, [&cli, options] { return create_token(cli, *options); });
}

}  // namespace

void add_token_commands(CLI::App& app, Cli& cli) {
  CLI::App* family = add_family(app, "token", "Tokens for the control API over TCP",
                                "tidemark token create grafana --role viewer --file /etc/tidemark/tokens");
  add_create(*family, cli);
}

Result<std::string> read_secret(const std::string& path) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY);
  if (descriptor < 0) return file_error(path, errno);
  struct stat status {};
  const bool exposed = ::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) &&
                       (status.st_mode & (S_IRWXG | S_IRWXO)) != 0;
  const Result<std::string> text = read_all(descriptor, path, control::kSecretBytesMax);
  ::close(descriptor);
  if (!text.ok()) return text.error();
  const std::size_t begin = text->find_first_not_of(kBlanks);
  const std::string secret =
      begin == std::string::npos ? "" : text->substr(begin, text->find_last_not_of(kBlanks) + 1 - begin);
  TM_TRY(check_secret(secret, "'" + printable(path, 300) + "'"));
  if (exposed) {
    std::fprintf(stderr, "tidemark: others than its owner may read %s; chmod 600 it\n",
                 printable(path, 300).c_str());
  }
  return secret;
}

Result<void> check_secret(const std::string& secret, const std::string& where) {
  const bool good = !secret.empty() && secret.size() <= control::kSecretBytesMax &&
                    std::all_of(secret.begin(), secret.end(), [](char c) { return c > ' ' && c < 0x7f; });
  if (good) return Result<void>{};
  return fail(ErrorCode::kInvalid,
              where + " holds no secret of a token: one word, as `tidemark token create` prints it");
}

}  // namespace tidemark::cli
