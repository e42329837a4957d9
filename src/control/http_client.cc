#include "control/http_client.h"

#include <httplib.h>
#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <optional>

#include "base/names.h"
#include "control/http_channel.h"
#include "io/stream.h"
#include "tls/files.h"
#include "tls/refusal.h"

#ifndef CPPHTTPLIB_OPENSSL_SUPPORT
#error "compile with what `pkg-config --cflags cpp-httplib` says: the library's classes are laid out by it"
#endif

namespace tidemark::control {
namespace {

constexpr time_t kConnectTimeoutSeconds = 5;
constexpr std::chrono::seconds kHandshakeTime{10};
constexpr std::chrono::seconds kWritePatience{5};
constexpr time_t kAnswerGraceSeconds = 5;  // for the node's own time limit to reach us as an answer

// What the library reads an answer from, inside TLS.
class TlsAnswer final : public httplib::Stream {
 public:
  TlsAnswer(Channel& channel, std::chrono::seconds patience) : channel_(channel), patience_(patience) {}
  bool is_readable() const override { return true; }
  bool is_writable() const override { return true; }
  ssize_t read(char* out, std::size_t size) override {
    return channel_.read(out, size, std::chrono::steady_clock::now() + patience_);
  }
  ssize_t write(const char* data, std::size_t size) override {
    return channel_.write(data, size, kWritePatience) ? static_cast<ssize_t>(size) : -1;
  }
  void get_remote_ip_and_port(std::string&, int&) const override {}
  void get_local_ip_and_port(std::string&, int&) const override {}
  socket_t socket() const override { return channel_.socket(); }

 private:
  Channel& channel_;
  const std::chrono::seconds patience_;
};

// The library's own client with TLS keeps to itself why a handshake failed.
class TlsClient final : public httplib::ClientImpl {
 public:
  // `context` outlives it.
  TlsClient(const ControlAddress& address, SSL_CTX* context)
      : ClientImpl(address.host, address.port), address_(address), context_(context) {}

  // Why there is no answer, when it was for TLS.
  const std::optional<tidemark::Error>& failure() const { return failure_; }

 private:
  bool create_and_connect_socket(Socket& socket, httplib::Error& error) override {
    if (!ClientImpl::create_and_connect_socket(socket, error)) return false;
    // The library closes its socket when it likes.
    const int own = ::dup(socket.sock);
    if (own < 0) return false;
    channel_ = std::make_unique<Channel>(own);
    channel_->begin_tls(new_ssl());
    failure_ = shake_hands();
    if (!failure_.has_value()) return true;
    error = httplib::Error::SSLConnection;
    close_socket(socket);
    return false;
  }

  bool process_socket(const Socket&, std::function<bool(httplib::Stream&)> callback) override {
    TlsAnswer stream(*channel_, std::chrono::seconds(read_timeout_sec_));
    const bool done = callback(stream);
    channel_->end_writing();
    return done;
  }

  tls::SslPointer new_ssl() const {
    tls::SslPointer ssl(::SSL_new(context_));
    TM_ASSERT(ssl != nullptr);
    X509_VERIFY_PARAM* const wanted = ::SSL_get0_param(ssl.get());
    if (::X509_VERIFY_PARAM_set1_ip_asc(wanted, address_.host.c_str()) != 1) {
      ::ERR_clear_error();
      // A certificate for "*.example.org" is not one for "a.b.example.org", nor "f*.example.org" for
      // anything.
      ::SSL_set_hostflags(ssl.get(), X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
      TM_ASSERT(::SSL_set1_host(ssl.get(), address_.host.c_str()) == 1);
      SSL_set_tlsext_host_name(ssl.get(), address_.host.c_str());
    }
    ::SSL_set_connect_state(ssl.get());
    return ssl;
  }

  std::optional<tidemark::Error> shake_hands() {
    const Deadline deadline = std::chrono::steady_clock::now() + kHandshakeTime;
    while (true) {
      const Channel::Step step = channel_->shake_hands();
      if (step == Channel::Step::kDone) return std::nullopt;
      if (step == Channel::Step::kFailed || step == Channel::Step::kEnded) return failure_of_handshake();
      if (!channel_->wait(step, deadline)) {
        return fail(ErrorCode::kTimeout, "TLS with the node at " + address_.to_string() +
                                             " does not come about: it does not answer the handshake");
      }
    }
  }

  tidemark::Error failure_of_handshake() const {
    const tls::Refusal& refusal = channel_->refusal();
    std::string hint;
    if (refusal.kind == tls::Refusal::Kind::kNotTls) {
      hint =
          "; on loopback a node without --control-tokens and a certificate speaks in the clear: leave "
          "https:// "
          "and --ca (TIDEMARK_CA) away there";
    } else if (refusal.kind == tls::Refusal::Kind::kCertificate) {
      hint = hint_about_certificate(::SSL_get_verify_result(channel_->ssl()));
    }
    return fail(ErrorCode::kRefused,
                "TLS with the node at " + address_.to_string() + ": " + refusal.why + hint);
  }

  std::string hint_about_certificate(long verified) const {
    switch (verified) {
      case X509_V_ERR_HOSTNAME_MISMATCH:
      case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return "; it is for other names than '" + printable(address_.host) +
               "': use one of those, or give the node a certificate with this one (subjectAltName)";
      case X509_V_ERR_CERT_HAS_EXPIRED:
      case X509_V_ERR_CERT_NOT_YET_VALID:
        return "; give the node a new one, or set this machine's clock";
      default:
        return "; --ca FILE (or TIDEMARK_CA) names the CA that it must come from";
    }
  }

  const ControlAddress& address_;
  SSL_CTX* const context_;
  std::unique_ptr<Channel> channel_;
  std::optional<tidemark::Error> failure_;
};

// Accepts certificates of the CAs in `authorities_file`, or of the system's.
Result<tls::SslContext> client_context(const std::string& authorities_file) {
  tls::SslContext context = tls::new_context();
  ::SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, tls::note_certificate);
  ::ERR_clear_error();
  if (authorities_file.empty()) {
    ::SSL_CTX_set_default_verify_paths(context.get());
  } else if (::SSL_CTX_load_verify_file(context.get(), authorities_file.c_str()) != 1) {
    return fail(ErrorCode::kInvalid, "--ca '" + printable(authorities_file, 300) +
                                         "': no file with a certificate of a CA in PEM (" +
                                         tls::take_ssl_reasons() + ")");
  }
  ::ERR_clear_error();
  return context;
}

// `result` of asking the node at `where` without an answer.
// `in_time`: before the time was up.
tidemark::Error no_answer(httplib::Error error, const std::string& where, bool in_time) {
  switch (error) {
    case httplib::Error::Connection:
    case httplib::Error::ConnectionTimeout:
      return fail(ErrorCode::kClosed, "no node answers at " + where + "; is tidemarkd running?");
    case httplib::Error::Read:
      if (in_time) {
        return fail(ErrorCode::kClosed,
                    "the node at " + where + " ended before it answered; what was asked may be done");
      }
      return fail(ErrorCode::kTimeout,
                  "the node at " + where + " stopped answering; what was asked may be done");
    default:
      return fail(ErrorCode::kClosed, "the talk with the node at " + where + " broke off (" +
                                          httplib::to_string(error) + "); what was asked may be done");
  }
}

}  // namespace

Result<ControlAddress> find_node(const std::string& text) {
  constexpr std::string_view kHttps = "https://";
  if (text.starts_with("unix:") || text.starts_with("tcp:")) return parse_control_address(text);
  if (text.starts_with(kHttps)) {
    std::string place = text.substr(kHttps.size());
    if (place.ends_with('/')) place.pop_back();
    Result<ControlAddress> address = parse_control_address("tcp:" + place);
    if (!address.ok()) {
      return fail(ErrorCode::kInvalid,
                  "'" + printable(text) + "' is not an address; write https://HOST:PORT");
    }
    address->needs_tls = true;
    return address;
  }
  struct stat info {};
  if (::stat(text.c_str(), &info) != 0) {
    return fail(ErrorCode::kInvalid,
                "'" + printable(text) +
                    "' is neither an address (unix:PATH, tcp:HOST:PORT, https://HOST:PORT) nor a node's data "
                    "folder");
  }
  if (S_ISDIR(info.st_mode)) return parse_control_address("unix:" + text + "/control.sock");
  if (S_ISSOCK(info.st_mode)) return parse_control_address("unix:" + text);
  return fail(ErrorCode::kInvalid,
              "'" + printable(text) + "' is a file; name a node's data folder or its address");
}

bool ApiClient::uses_tls() const {
  if (address_.is_unix) return false;
  io::Address place;
  place.kind = io::Address::Kind::kTcp;
  place.host = address_.host;
  return address_.needs_tls || !credentials_.authorities_file.empty() || !place.is_local();
}

Result<ApiClient::Answer> ApiClient::exchange(HttpRequest request, std::chrono::seconds time_limit,
                                              bool octets_wanted) {
  tls::SslContext context;
  if (uses_tls()) {
    TM_TRY_ASSIGN(context, client_context(credentials_.authorities_file));
  }
  httplib::Request message;
  message.method = request.method;
  message.path = request.target + (request.target.find('?') == std::string::npos ? "?" : "&") +
                 "timeout_seconds=" + std::to_string(time_limit.count());
  message.headers = {{"Host", "tidemark"}, {"Connection", "close"}};
  if (octets_wanted) message.headers.emplace("Accept", kOctets);
  if (request.method == "POST" || request.method == "PATCH") {
    message.headers.emplace("Content-Type", "application/json");
    message.body = std::move(request.body);
  }
  if (!address_.is_unix && !credentials_.secret.empty()) {
    message.headers.emplace("Authorization", "Bearer " + credentials_.secret);
  }
  const auto send = [&](auto& client) {
    client.set_connection_timeout(kConnectTimeoutSeconds);
    client.set_read_timeout(static_cast<time_t>(time_limit.count()) + kAnswerGraceSeconds);
    client.set_tcp_nodelay(!address_.is_unix);
    return client.send(message);
  };
  std::optional<tidemark::Error> tls_failure;
  const auto asked_at = std::chrono::steady_clock::now();
  const httplib::Result result = [&] {
    if (uses_tls()) {
      TlsClient client(address_, context.get());
      httplib::Result answer = send(client);
      tls_failure = client.failure();
      return answer;
    }
    constexpr int kAnyPort = 80;  // not used for a unix socket
    httplib::Client client(address_.is_unix ? address_.path : address_.host,
                           address_.is_unix ? kAnyPort : address_.port);
    if (address_.is_unix) client.set_address_family(AF_UNIX);
    return send(client);
  }();
  if (tls_failure.has_value()) return *tls_failure;
  const bool in_time = std::chrono::steady_clock::now() - asked_at < time_limit;
  if (!result) return no_answer(result.error(), address_.to_string(), in_time);
  if (result->status != 200) return parse_error(result->body);
  Answer answer;
  answer.octets = result->get_header_value("Content-Type") == kOctets;
  answer.text = result->body;
  return answer;
}

}  // namespace tidemark::control
