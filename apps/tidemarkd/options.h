#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace tidemark {

// What `tidemarkd` was asked to do, from the configuration file and the command line, which wins.
struct DaemonOptions {
  std::string data_folder;
  std::string name;                      // default: the machine's
  std::vector<std::string> nbd;          // default: unix:DATA/nbd.sock
  std::vector<std::string> control;      // default: unix:DATA/control.sock
  std::string control_tokens;            // a file; empty: TCP asks for none
  std::vector<std::string> replication;  // default: unix:DATA/replication.sock
  std::uint64_t cache_size_bytes = 512ull << 20;
  std::vector<std::string> disks;  // whole paths; default: the file `disk` in the data folder
  std::string raid;                // level of the RAID group that is made of several: 0, 1, 5, 6, 10
  std::uint64_t stripe_unit_bytes = 64 << 10;
  std::uint64_t rebuild_rate_bytes = 0;        // in a second, from each member; 0: no limit
  std::uint64_t disk_size_bytes = 1ull << 40;  // of a thin disk file, when it is made
  std::uint32_t pool_alarm_percent = 80;       // 0: none
  bool recover = false;                        // the folder is new, the disks are a node's
  std::optional<std::int64_t> spin_max_us{};   // none: what suits the machine
  std::string tls_certificate;                 // all three, or none: then nothing is encrypted
  std::string tls_key;
  std::string tls_authorities;
  std::string nbd_tls;                 // off, offered or required; default: offered where there is TLS
  std::string nbd_tls_authorities;     // of NBD clients; default: tls_authorities
  bool replication_plaintext = false;  // TCP to other machines without TLS

  bool has_tls() const { return !tls_certificate.empty(); }
};

// Either options, or what to print and the status to end with.
struct ParsedCommandLine {
  DaemonOptions options;
  bool done = false;  // --help, --version: `text` goes to standard output
  std::string text;
};
Result<ParsedCommandLine> parse_command_line(int argc, char** argv);

inline constexpr const char* kVersion = "0.1.0";

}  // namespace tidemark
