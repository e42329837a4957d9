#include "os/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <memory>

#include "base/log_field.h"
#include "base/names.h"
#include "os/descriptor.h"
#include "os/tls_stream.h"

namespace tidemark::os {
namespace {

constexpr Duration kHandshakeTimeout = Duration::seconds(10);

// What tells that a file is not the one that was read.
struct FileStamp {
  dev_t device = 0;
  ino_t inode = 0;
  off_t size = 0;
  std::int64_t changed_ns = 0;
  bool operator==(const FileStamp&) const = default;
};
using FileStamps = std::array<FileStamp, 3>;

FileStamp stamp_of(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return {};
  return {status.st_dev, status.st_ino, status.st_size,
          std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec};
}

FileStamps stamps_of(const TlsFiles& files) {
  return {stamp_of(files.certificate), stamp_of(files.key), stamp_of(files.authorities)};
}

Error unusable(const char* option, const std::string& path, const std::string& what) {
  struct stat status {};
  const bool missing = ::stat(path.c_str(), &status) != 0;
  const std::string why = missing ? errno_text(errno) : what + " (" + take_ssl_reasons() + ")";
  ::ERR_clear_error();
  return fail(missing ? ErrorCode::kNotFound : ErrorCode::kInvalid,
              std::string(option) + " '" + printable(path, 300) + "': " + why);
}

// A key with a passphrase would ask for it on the terminal.
int no_passphrase(char*, int, int, void*) {
  return 0;
}

Result<SslContext> read_context(const TlsFiles& files) {
  ::ERR_clear_error();
  SslContext context(::SSL_CTX_new(::TLS_method()));
  TM_ASSERT(context != nullptr);
  SSL_CTX* const raw = context.get();
  TM_ASSERT(SSL_CTX_set_min_proto_version(raw, TLS1_3_VERSION) == 1);
  TM_ASSERT(SSL_CTX_set_max_proto_version(raw, TLS1_3_VERSION) == 1);
  // Keys of less than 112 bits of security are refused, whatever the machine's configuration says.
  ::SSL_CTX_set_security_level(raw, 2);
  // No connection goes on with what an earlier one proved: the certificates are looked at each time.
  ::SSL_CTX_set_num_tickets(raw, 0);
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
  ::SSL_CTX_set_options(raw, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_mode(raw, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  ::SSL_CTX_set_default_passwd_cb(raw, no_passphrase);
  ::SSL_CTX_set_verify(raw, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, note_certificate);
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
  if (::SSL_CTX_load_verify_file(raw, files.authorities.c_str()) != 1) {
    return unusable(files.authorities_option, files.authorities, "no certificate of a CA in PEM");
  }
  // No list of accepted CAs for clients: some show nothing when theirs is not on it, and then the refusal
  // could not say what is wrong.
  ::ERR_clear_error();
  return context;
}

void warn_of_exposed_key(const TlsFiles& files, const TlsLog& log) {
  struct stat status {};
  if (::stat(files.key.c_str(), &status) != 0 || (status.st_mode & (S_IRWXG | S_IRWXO)) == 0) return;
  log("tls-key-exposed",
      log_field("file", files.key) + " " +
          log_field("notice", "others than its owner may read the private key; chmod 600 it"));
}

}  // namespace

struct Tls::State {
  explicit State(io::Scheduler& s) : scheduler(s), farewells(s) {}
  io::Scheduler& scheduler;
  TlsFiles files;
  TlsLog log;
  FileStamps looked_at{};  // of the files that were read last, with success or not
  SslContext context;      // an SSL that was made from it holds it
  io::TaskScope farewells;

  std::unique_ptr<TlsStream> wrap(std::unique_ptr<io::Stream> stream, TlsSide side, Duration timeout) {
    return std::make_unique<TlsStream>(scheduler, farewells, context.get(), std::move(stream), side, timeout);
  }
};

Tls::Tls(std::unique_ptr<State> state) : state_(std::move(state)) {}

Tls::~Tls() = default;

Result<std::unique_ptr<Tls>> Tls::create(io::Scheduler& scheduler, TlsFiles files, TlsLog log) {
  auto state = std::make_unique<State>(scheduler);
  // Before they are read: a change meanwhile is seen as one.
  state->looked_at = stamps_of(files);
  TM_TRY_ASSIGN(state->context, read_context(files));
  warn_of_exposed_key(files, log);
  state->files = std::move(files);
  state->log = std::move(log);
  return std::unique_ptr<Tls>(new Tls(std::move(state)));
}

void Tls::renew() {
  const FileStamps now = stamps_of(state_->files);
  if (now == state_->looked_at) return;
  state_->looked_at = now;
  auto context = read_context(state_->files);
  if (!context.ok()) {
    state_->log("tls-files-unusable", log_field("reason", context.error().message) + " " +
                                          log_field("notice", "those read before stay in use"));
    return;
  }
  state_->context = std::move(context).value();
  state_->log("tls-files-read", log_field("certificate", state_->files.certificate));
  warn_of_exposed_key(state_->files, state_->log);
}

std::unique_ptr<io::Stream> Tls::serve(std::unique_ptr<io::Stream> stream) {
  renew();
  return state_->wrap(std::move(stream), TlsSide::kServer, kHandshakeTimeout);
}

io::Task<Result<std::unique_ptr<io::Stream>>> Tls::connect(std::unique_ptr<io::Stream> stream,
                                                           Duration timeout) {
  renew();
  std::unique_ptr<TlsStream> client = state_->wrap(std::move(stream), TlsSide::kClient, timeout);
  TM_CO_TRY(co_await client->handshake());
  co_return std::unique_ptr<io::Stream>(std::move(client));
}

io::Task<Result<std::unique_ptr<io::Stream>>> Tls::upgrade(std::unique_ptr<io::Stream> stream) {
  renew();
  std::unique_ptr<TlsStream> server = state_->wrap(std::move(stream), TlsSide::kServer, kHandshakeTimeout);
  TM_CO_TRY(co_await server->handshake());
  co_return std::unique_ptr<io::Stream>(std::move(server));
}

}  // namespace tidemark::os
