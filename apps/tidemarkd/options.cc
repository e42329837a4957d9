#include "options.h"

#include <unistd.h>

namespace tidemark {
struct TomlAssertion {};
[[noreturn]] static void toml_assertion_failed() {
  throw TomlAssertion{};
}
}  // namespace tidemark
// What the parser asserts, a file can break ("[=]"): then it throws, and the file is refused as any other.
#define TOML_ASSERT(condition) ((condition) ? static_cast<void>(0) : ::tidemark::toml_assertion_failed())
#include <toml++/toml.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "base/names.h"
#include "base/time.h"
#include "io/stream.h"
#include "node/node.h"
#include "os/spin_policy.h"

namespace tidemark {
namespace {

constexpr const char* kDescription =
    "Tidemark node: serves volumes over NBD, keeps every write in a journal, and pairs with other nodes.\n"
    "With --data DIR alone it runs on defaults: DIR/nbd.sock, DIR/control.sock, DIR/replication.sock, one "
    "thin\n"
    "file-backed disk, the name of the machine. It prints `ready` when it serves; SIGTERM is an orderly "
    "stop.\n\n"
    "Example:\n"
    "  tidemarkd --data /var/lib/tidemark &\n"
    "  tidemark --node /var/lib/tidemark group create app";

std::string machine_name() {
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) return "node";
  std::string name(host.data());
  name = name.substr(0, name.find('.'));
  return validate_name("node name", name).ok() ? name : "node";
}

Error bad_key(const std::string& path, const toml::node& node, const std::string& what) {
  return fail(ErrorCode::kInvalid, path + " line " + std::to_string(node.source().begin.line) + ": " + what);
}

Result<void> read_addresses(const std::string& path, const std::string& key, const toml::node& node,
                            std::vector<std::string>& out) {
  out.clear();
  if (const auto* one = node.as_string()) {
    out.push_back(one->get());
    return {};
  }
  const auto* many = node.as_array();
  if (many == nullptr) return bad_key(path, node, "'" + key + "' must be an address or a list of addresses");
  for (const toml::node& element : *many) {
    const auto* text = element.as_string();
    if (text == nullptr) return bad_key(path, element, "'" + key + "' must be a list of addresses");
    out.push_back(text->get());
  }
  return {};
}

Result<void> read_text(const std::string& path, const std::string& key, const toml::node& node,
                       std::string& out) {
  const auto* text = node.as_string();
  if (text == nullptr) return bad_key(path, node, "'" + key + "' must be a text in quotes");
  out = text->get();
  return {};
}

Result<void> read_size(const std::string& path, const std::string& key, const toml::node& node,
                       std::uint64_t& out) {
  std::string text;
  TM_TRY(read_text(path, key, node, text));
  const auto size = parse_size(text);
  if (!size.ok()) return bad_key(path, node, "'" + key + "': " + size.error().message);
  out = *size;
  return {};
}

Result<void> read_flag(const std::string& path, const std::string& key, const toml::node& node, bool& out) {
  const auto* flag = node.as_boolean();
  if (flag == nullptr) return bad_key(path, node, "'" + key + "' must be true or false");
  out = flag->get();
  return {};
}

Result<std::string> read_file(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "rb");
  std::string content;
  int error = file == nullptr ? errno : 0;
  if (file != nullptr) {
    std::array<char, 4096> part{};
    while (const std::size_t got = std::fread(part.data(), 1, part.size(), file))
      content.append(part.data(), got);
    if (std::ferror(file) != 0) error = errno;
    (void)std::fclose(file);
  }
  if (error == 0) return content;
  return fail(ErrorCode::kNotFound, "configuration file '" + printable(path, 300) +
                                        "' cannot be read: " + std::generic_category().message(error));
}

Result<toml::table> parse_toml(const std::string& path, std::string_view content) {
  try {
    return toml::parse(content, path);
  } catch (const toml::parse_error& error) {
    return fail(ErrorCode::kInvalid, path + " line " + std::to_string(error.source().begin.line) + ": " +
                                         std::string(error.description()));
  } catch (const TomlAssertion&) {
    return fail(ErrorCode::kInvalid, path + ": not TOML: a table's name, in brackets, is none");
  }
}

// "80" or "80%".
Result<std::uint32_t> parse_percent(const std::string& text) {
  const std::string digits = text.ends_with('%') ? text.substr(0, text.size() - 1) : text;
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size() || value > 100) {
    return fail(ErrorCode::kInvalid, "'" + printable(text) + "' is not a percentage from 0 to 100");
  }
  return value;
}

// In microseconds.
Result<std::int64_t> parse_spin(const std::string& text) {
  TM_TRY_ASSIGN(const Duration longest, parse_duration(text));
  if (longest > os::SpinPolicy::kSpinMax) {
    return fail(ErrorCode::kInvalid, "'" + printable(text) + "' is longer than 10ms, the most that pays");
  }
  return longest.ns / 1000;
}

// A configuration file: the long options as keys, and nothing else.
Result<void> read_configuration(const std::string& path, DaemonOptions& options) {
  TM_TRY_ASSIGN(const std::string content, read_file(path));
  TM_TRY_ASSIGN(const toml::table table, parse_toml(path, content));
  for (const auto& [key_view, node] : table) {
    const std::string key(key_view.str());
    std::string text;
    if (key == "data") {
      TM_TRY(read_text(path, key, node, options.data_folder));
    } else if (key == "name") {
      TM_TRY(read_text(path, key, node, options.name));
    } else if (key == "nbd") {
      TM_TRY(read_addresses(path, key, node, options.nbd));
    } else if (key == "control") {
      TM_TRY(read_addresses(path, key, node, options.control));
    } else if (key == "control-tokens") {
      TM_TRY(read_text(path, key, node, options.control_tokens));
    } else if (key == "replication") {
      TM_TRY(read_addresses(path, key, node, options.replication));
    } else if (key == "cache-size") {
      TM_TRY(read_size(path, key, node, options.cache_size_bytes));
    } else if (key == "disk-size") {
      TM_TRY(read_size(path, key, node, options.disk_size_bytes));
    } else if (key == "disk") {
      TM_TRY(read_addresses(path, key, node, options.disks));
    } else if (key == "raid") {
      TM_TRY(read_text(path, key, node, options.raid));
    } else if (key == "stripe-unit") {
      TM_TRY(read_size(path, key, node, options.stripe_unit_bytes));
    } else if (key == "rebuild-rate") {
      TM_TRY(read_size(path, key, node, options.rebuild_rate_bytes));
    } else if (key == "pool-alarm") {
      TM_TRY(read_text(path, key, node, text));
      auto percent = parse_percent(text);
      if (!percent.ok()) return bad_key(path, node, "'" + key + "': " + percent.error().message);
      options.pool_alarm_percent = *percent;
    } else if (key == "spin") {
      TM_TRY(read_text(path, key, node, text));
      auto spin = parse_spin(text);
      if (!spin.ok()) return bad_key(path, node, "'" + key + "': " + spin.error().message);
      options.spin_max_us = *spin;
    } else if (key == "tls-cert") {
      TM_TRY(read_text(path, key, node, options.tls_certificate));
    } else if (key == "tls-key") {
      TM_TRY(read_text(path, key, node, options.tls_key));
    } else if (key == "tls-ca") {
      TM_TRY(read_text(path, key, node, options.tls_authorities));
    } else if (key == "nbd-tls") {
      TM_TRY(read_text(path, key, node, options.nbd_tls));
    } else if (key == "nbd-tls-ca") {
      TM_TRY(read_text(path, key, node, options.nbd_tls_authorities));
    } else if (key == "replication-plaintext") {
      TM_TRY(read_flag(path, key, node, options.replication_plaintext));
    } else {
      return bad_key(
          path, node,
          "unknown key '" + printable(key) +
              "'; known are data, name, nbd, control, control-tokens, replication, cache-size, disk, raid, "
              "stripe-unit, rebuild-rate, disk-size, pool-alarm, spin, tls-cert, tls-key, tls-ca, "
              "replication-plaintext, "
              "nbd-tls, nbd-tls-ca");
    }
  }
  return {};
}

// Before anything is made: what is wrong here leaves nothing behind. `not_elsewhere`, when it is not empty,
// says why addresses that other machines reach are refused.
Result<void> check_addresses(const std::string& option, const std::vector<std::string>& addresses,
                             const std::string& not_elsewhere) {
  for (const std::string& text : addresses) {
    auto address = io::Address::parse(text);
    if (!address.ok()) return fail(ErrorCode::kInvalid, option + ": " + address.error().message);
    if (!not_elsewhere.empty() && !address->is_local()) {
      return fail(ErrorCode::kInvalid, option +
                                           ": only unix sockets and loopback addresses are accepted, not " +
                                           printable(text, 120) + ": " + not_elsewhere);
    }
  }
  return {};
}

Result<void> check_tls(const DaemonOptions& options) {
  const bool any = options.has_tls() || !options.tls_key.empty() || !options.tls_authorities.empty();
  const bool all = options.has_tls() && !options.tls_key.empty() && !options.tls_authorities.empty();
  if (any != all) {
    return fail(ErrorCode::kInvalid,
                "TLS needs all of --tls-cert, --tls-key and --tls-ca; leave all of them out to do without");
  }
  const std::string& mode = options.nbd_tls;
  if (mode != "off" && mode != "offered" && mode != "required") {
    return fail(ErrorCode::kInvalid,
                "--nbd-tls: one of off, offered and required, not '" + printable(mode) + "'");
  }
  if (!all && (mode != "off" || !options.nbd_tls_authorities.empty())) {
    return fail(ErrorCode::kInvalid,
                "--nbd-tls and --nbd-tls-ca need a certificate: say --tls-cert, --tls-key and --tls-ca");
  }
  return {};
}

// What the control API needs for other machines; empty: it has it.
std::string what_control_lacks(const DaemonOptions& options) {
  std::string lacks;
  if (!options.has_tls()) lacks = "a certificate (--tls-cert, --tls-key and --tls-ca)";
  if (options.control_tokens.empty()) {
    lacks += std::string(lacks.empty() ? "" : " and ") +
             "a file of tokens (--control-tokens; see tidemark token create)";
  }
  return lacks.empty() ? "" : "for other machines the control API needs " + lacks;
}

// Named by their whole paths, as other commands name them, and each once.
Result<void> check_disks(DaemonOptions& options) {
  for (std::string& path : options.disks) {
    std::error_code error;
    path = std::filesystem::absolute(path, error).lexically_normal().string();
    if (error || path.empty() || path.find('\n') != std::string::npos) {
      return fail(ErrorCode::kInvalid, "--disk: '" + printable(path, 300) + "' is not a path");
    }
    if (std::count(options.disks.begin(), options.disks.end(), path) > 1) {
      return fail(ErrorCode::kInvalid, "--disk: " + printable(path, 300) + " is named twice");
    }
  }
  const std::string& level = options.raid;
  const bool known = level == "0" || level == "1" || level == "5" || level == "6" || level == "10";
  if (!level.empty() && !known) {
    return fail(ErrorCode::kInvalid, "--raid: one of 0, 1, 5, 6 and 10, not '" + printable(level) + "'");
  }
  if (!level.empty() && options.disks.empty()) {
    return fail(ErrorCode::kInvalid, "--raid needs its disks: say --disk for each");
  }
  if (options.stripe_unit_bytes < 4096 || options.stripe_unit_bytes > 1 << 20 ||
      options.stripe_unit_bytes % 4096 != 0) {
    return fail(ErrorCode::kInvalid, "--stripe-unit: from 4 KiB to 1 MiB, a multiple of 4 KiB");
  }
  return {};
}

Result<void> finish(DaemonOptions& options) {
  if (options.data_folder.empty()) {
    return fail(ErrorCode::kInvalid,
                "no data folder: say --data DIR, or `data = \"DIR\"` in the configuration file");
  }
  if (options.name.empty()) options.name = machine_name();
  TM_TRY(validate_name("node name", options.name));
  const std::string unix_prefix = "unix:" + options.data_folder + "/";
  if (options.nbd.empty()) options.nbd = {unix_prefix + "nbd.sock"};
  if (options.control.empty()) options.control = {unix_prefix + "control.sock"};
  if (options.replication.empty()) options.replication = {unix_prefix + "replication.sock"};
  if (options.nbd_tls.empty()) options.nbd_tls = options.has_tls() ? "offered" : "off";
  TM_TRY(check_tls(options));
  const bool replicates_anywhere = options.has_tls() || options.replication_plaintext;
  TM_TRY(check_addresses("--nbd", options.nbd, ""));
  TM_TRY(check_addresses("--control", options.control, what_control_lacks(options)));
  TM_TRY(check_addresses("--replication", options.replication,
                         replicates_anywhere
                             ? ""
                             : "other machines need TLS: say --tls-cert, --tls-key and --tls-ca, "
                               "or, where the network itself is trusted, "
                               "--replication-plaintext"));
  if (options.cache_size_bytes < node::kCacheSizeBytesMin) {
    return fail(ErrorCode::kInvalid, "--cache-size: a cache of " + format_size(options.cache_size_bytes) +
                                         " is too small; at least " + format_size(node::kCacheSizeBytesMin) +
                                         " are needed");
  }
  constexpr std::uint64_t kDiskSizeBytesMin = 64 << 20;
  if (options.disk_size_bytes < kDiskSizeBytesMin || options.disk_size_bytes % 4096 != 0) {
    return fail(ErrorCode::kInvalid, "--disk-size: a disk of " + format_size(options.disk_size_bytes) +
                                         " is not possible: at least 64 MiB, a multiple of 4 KiB");
  }
  return check_disks(options);
}

}  // namespace

Result<ParsedCommandLine> parse_command_line(int argc, char** argv) {
  CLI::App app(kDescription);
  app.set_version_flag("--version", std::string("tidemarkd ") + kVersion);
  DaemonOptions given;
  std::string configuration;
  std::string cache_size;
  std::string disk_size;
  std::string stripe_unit;
  std::string rebuild_rate;
  std::string spin;
  std::string pool_alarm;
  app.add_option("--data", given.data_folder, "folder that holds all of the node; made when it is not there");
  app.add_option("--config", configuration, "TOML file with these options as keys");
  app.add_option("--name", given.name, "name of the node (default: the machine's)");
  app.add_option("--nbd", given.nbd,
                 "where NBD clients connect: unix:PATH or tcp:HOST:PORT; may be repeated");
  app.add_option(
      "--control", given.control,
      "where the control API listens; other than loopback and unix sockets with --control-tokens and "
      "TLS only");
  app.add_option("--control-tokens", given.control_tokens,
                 "file of tokens, of which a client of the control API over TCP must have one");
  app.add_option("--replication", given.replication,
                 "where peers connect; other than loopback and unix sockets with TLS only");
  app.add_option("--tls-cert", given.tls_certificate,
                 "this node's certificate, PEM; TCP links are then TLS 1.3");
  app.add_option("--tls-key", given.tls_key, "its private key, PEM");
  app.add_option("--tls-ca", given.tls_authorities, "CA certificates, PEM, of which a peer must have one's");
  app.add_option("--nbd-tls", given.nbd_tls,
                 "TLS for NBD: off, offered (default with --tls-cert), or required on TCP");
  app.add_option("--nbd-tls-ca", given.nbd_tls_authorities,
                 "CA certificates, PEM, of which an NBD client in TLS must have one's (default: --tls-ca)");
  app.add_flag("--replication-plaintext", given.replication_plaintext,
               "without TLS, link to other machines in the clear; for a network that is trusted");
  app.add_option("--cache-size", cache_size,
                 "memory for cached blocks and the newest writes (default 512M, least 16M)");
  app.add_option(
      "--disk", given.disks,
      "a file or block device for the pool; several become a RAID group (default: the file disk in "
      "the data folder)");
  app.add_option("--raid", given.raid,
                 "level of the RAID group that is made of several disks: 0, 1, 5, 6 or 10");
  app.add_option("--stripe-unit", stripe_unit, "of the RAID group when it is made (default 64K)");
  app.add_option("--rebuild-rate", rebuild_rate,
                 "bytes a second that a rebuild reads of each disk at most (default 0: as fast as they go)");
  app.add_option("--disk-size", disk_size, "size of a thin disk file when it is made (default 1T)");
  app.add_option(
      "--pool-alarm", pool_alarm,
      "how full the pool is, in percent, when `status` and the log begin to tell (default 80; 0: never)");
  app.add_flag("--recover", given.recover,
               "the node's data folder was lost: make it again from what lies on its disks");
  app.add_option("--spin", spin,
                 "longest busy wait for the next request before sleeping (default 0.1ms, or 0 on some cores "
                 "of a machine only; 0: never)");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return ParsedCommandLine{{}, true, app.help()};
  } catch (const CLI::CallForVersion&) {
    return ParsedCommandLine{{}, true, std::string("tidemarkd ") + kVersion + "\n"};
  } catch (const CLI::ParseError& error) {
    return fail(ErrorCode::kInvalid, std::string(error.what()) + "; see tidemarkd --help");
  }
  ParsedCommandLine parsed;
  DaemonOptions& options = parsed.options;
  if (!configuration.empty()) TM_TRY(read_configuration(configuration, options));
  if (!given.data_folder.empty()) options.data_folder = given.data_folder;
  if (!given.name.empty()) options.name = given.name;
  if (!given.nbd.empty()) options.nbd = given.nbd;
  if (!given.control.empty()) options.control = given.control;
  if (!given.control_tokens.empty()) options.control_tokens = given.control_tokens;
  if (!given.replication.empty()) options.replication = given.replication;
  if (given.has_tls()) options.tls_certificate = given.tls_certificate;
  if (!given.tls_key.empty()) options.tls_key = given.tls_key;
  if (!given.tls_authorities.empty()) options.tls_authorities = given.tls_authorities;
  if (!given.nbd_tls.empty()) options.nbd_tls = given.nbd_tls;
  if (!given.nbd_tls_authorities.empty()) options.nbd_tls_authorities = given.nbd_tls_authorities;
  options.replication_plaintext |= given.replication_plaintext;
  options.recover = given.recover;
  if (!cache_size.empty()) {
    TM_TRY_ASSIGN(options.cache_size_bytes, parse_size(cache_size));
  }
  if (!disk_size.empty()) {
    TM_TRY_ASSIGN(options.disk_size_bytes, parse_size(disk_size));
  }
  if (!given.disks.empty()) options.disks = given.disks;
  if (!given.raid.empty()) options.raid = given.raid;
  if (!stripe_unit.empty()) {
    TM_TRY_ASSIGN(options.stripe_unit_bytes, parse_size(stripe_unit));
  }
  if (!rebuild_rate.empty()) {
    TM_TRY_ASSIGN(options.rebuild_rate_bytes, parse_size(rebuild_rate));
  }
  if (!pool_alarm.empty()) {
    auto percent = parse_percent(pool_alarm);
    if (!percent.ok()) return fail(percent.error().code, "--pool-alarm: " + percent.error().message);
    options.pool_alarm_percent = *percent;
  }
  if (!spin.empty()) {
    auto longest = parse_spin(spin);
    if (!longest.ok()) return fail(longest.error().code, "--spin: " + longest.error().message);
    options.spin_max_us = *longest;
  }
  TM_TRY(finish(options));
  return parsed;
}

}  // namespace tidemark
