#pragma once

#include <openssl/ssl.h>
#include <sys/types.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"

namespace tidemark::tls {

struct SslContextFree {
  void operator()(SSL_CTX* context) const { ::SSL_CTX_free(context); }
};
using SslContext = std::unique_ptr<SSL_CTX, SslContextFree>;

struct SslFree {
  void operator()(SSL* ssl) const { ::SSL_free(ssl); }
};
using SslPointer = std::unique_ptr<SSL, SslFree>;

// One event, one line, as for the node's log.
using Log = std::function<void(const std::string& event, const std::string& text)>;

// What tells that a file is not the one that was read. All zero: there is none.
struct FileStamp {
  dev_t device = 0;
  ino_t inode = 0;
  off_t size = 0;
  std::int64_t written_ns = 0;
  std::int64_t changed_ns = 0;  // mode, owner and name count too
  bool operator==(const FileStamp&) const = default;
};
FileStamp stamp_of(const std::string& path);

// PEM files: a certificate with those between it and its authority, its private key, and the authorities
// whose certificates are accepted from the other side.
struct Files {
  std::string certificate{};
  std::string key{};
  std::string authorities{};                    // empty: the other side shows no certificate
  const char* authorities_option = "--tls-ca";  // for messages
  const char* user = "links";                   // for the log: what they are used for
};

// A context that speaks TLS 1.3 and nothing less, without tickets, resumption and renegotiation: what a
// connection proves is looked at each time. It has no certificate, and accepts none.
SslContext new_context();

// The context that goes with files, which are read again when one of them has changed, so that a renewed
// certificate is used without a restart. Files that cannot be used then are told in the log
// (`tls-files-unusable`), and those read before stay in use. A key that others than its owner may read is
// used and told (`tls-key-exposed`).
//
// Used by one thread at a time.
class ContextOfFiles {
 public:
  // kNotFound, kInvalid: a file that cannot be read, or does not hold what it should.
  static Result<std::unique_ptr<ContextOfFiles>> read(Files files, Log log);

  // Looks at the files. What it returns lives until the next call; an SSL that was made from it holds it.
  SSL_CTX* current();

 private:
  using Stamps = std::array<FileStamp, 3>;
  ContextOfFiles(Files files, Log log) : files_(std::move(files)), log_(std::move(log)) {}
  Stamps stamps() const;
  void warn_of_exposed_key() const;

  const Files files_;
  const Log log_;
  Stamps looked_at_{};  // of the files that were read last, with success or not
  SslContext context_;
};

}  // namespace tidemark::tls
