#include "tls/files.h"

#include <openssl/err.h>
#include <sys/stat.h>

#include <cerrno>
#include <system_error>

#include "base/log_field.h"
#include "base/names.h"
#include "tls/refusal.h"

namespace tidemark::tls {
namespace {

std::int64_t nanoseconds(const timespec& time) {
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

Error unusable(const char* option, const std::string& path, const std::string& what) {
  struct stat status {};
  const bool missing = ::stat(path.c_str(), &status) != 0;
  const std::string why =
      missing ? std::generic_category().message(errno) : what + " (" + take_ssl_reasons() + ")";
  ::ERR_clear_error();
  return fail(missing ? ErrorCode::kNotFound : ErrorCode::kInvalid,
              std::string(option) + " '" + printable(path, 300) + "': " + why);
}

// A key with a passphrase would ask for it on the terminal.
int no_passphrase(char*, int, int, void*) {
  return 0;
}

Result<SslContext> read_context(const Files& files) {
  ::ERR_clear_error();
  SslContext context = new_context();
  SSL_CTX* const raw = context.get();
  if (::SSL_CTX_use_certificate_chain_file(raw, files.certificate.c_str()) != 1) {
    return unusable("--tls-cert", files.certificate, "no certificate in PEM that can be used");
  }
  if (::SSL_CTX_use_PrivateKey_file(raw, files.key.c_str(), SSL_FILETYPE_PEM) != 1) {
    return unusable("--tls-key", files.key,
                    "no private key in PEM, without a passphrase, that belongs to the certificate");
  }
  if (::SSL_CTX_check_private_key(raw) != 1) {
    return unusable("--tls-key", files.key, "the private key does not belong to the certificate");
  }
  if (!files.authorities.empty()) {
    ::SSL_CTX_set_verify(raw, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, note_certificate);
    if (::SSL_CTX_load_verify_file(raw, files.authorities.c_str()) != 1) {
      return unusable(files.authorities_option, files.authorities, "no certificate of a CA in PEM");
    }
  }
  // No list of accepted CAs for clients: some show nothing when theirs is not on it, and then the refusal
  // could not say what is wrong.
  ::ERR_clear_error();
  return context;
}

}  // namespace

FileStamp stamp_of(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return {};
  return {status.st_dev, status.st_ino, status.st_size, nanoseconds(status.st_mtim),
          nanoseconds(status.st_ctim)};
}

SslContext new_context() {
  SslContext context(::SSL_CTX_new(::TLS_method()));
  TM_ASSERT(context != nullptr);
  SSL_CTX* const raw = context.get();
  TM_ASSERT(SSL_CTX_set_min_proto_version(raw, TLS1_3_VERSION) == 1);
  TM_ASSERT(SSL_CTX_set_max_proto_version(raw, TLS1_3_VERSION) == 1);
  // Keys of less than 112 bits of security are refused, whatever the machine's configuration says.
  ::SSL_CTX_set_security_level(raw, 2);
  ::SSL_CTX_set_num_tickets(raw, 0);
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
  ::SSL_CTX_set_options(raw, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_mode(raw, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  ::SSL_CTX_set_default_passwd_cb(raw, no_passphrase);
  ::SSL_CTX_set_verify(raw, SSL_VERIFY_NONE, nullptr);
  return context;
}

Result<std::unique_ptr<ContextOfFiles>> ContextOfFiles::read(Files files, Log log) {
  std::unique_ptr<ContextOfFiles> made(new ContextOfFiles(std::move(files), std::move(log)));
  // Before they are read: a change meanwhile is seen as one.
  made->looked_at_ = made->stamps();
  TM_TRY_ASSIGN(made->context_, read_context(made->files_));
  made->warn_of_exposed_key();
  return made;
}

SSL_CTX* ContextOfFiles::current() {
  const Stamps now = stamps();
  if (now == looked_at_) return context_.get();
  looked_at_ = now;
  Result<SslContext> context = read_context(files_);
  if (!context.ok()) {
    log_("tls-files-unusable", log_field("for", files_.user) + " " +
                                   log_field("reason", context.error().message) + " " +
                                   log_field("notice", "those read before stay in use"));
    return context_.get();
  }
  context_ = std::move(context).value();
  log_("tls-files-read", log_field("for", files_.user) + " " + log_field("certificate", files_.certificate));
  warn_of_exposed_key();
  return context_.get();
}

ContextOfFiles::Stamps ContextOfFiles::stamps() const {
  return {stamp_of(files_.certificate), stamp_of(files_.key), stamp_of(files_.authorities)};
}

void ContextOfFiles::warn_of_exposed_key() const {
  struct stat status {};
  if (::stat(files_.key.c_str(), &status) != 0 || (status.st_mode & (S_IRWXG | S_IRWXO)) == 0) return;
  log_("tls-key-exposed",
       log_field("file", files_.key) + " " +
           log_field("notice", "others than its owner may read the private key; chmod 600 it"));
}

}  // namespace tidemark::tls
