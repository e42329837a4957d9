#include "control/http_server.h"

#include <httplib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <thread>

#include "base/log_field.h"
#include "base/names.h"
#include "base/threads.h"
#include "control/address.h"
#include "control/http_access.h"
#include "control/http_lobby.h"
#include "control/http_pool.h"
#include "control/metrics.h"
#include "control/router.h"
#include "io/stream.h"

#ifndef CPPHTTPLIB_OPENSSL_SUPPORT
#error "compile with what `pkg-config --cflags cpp-httplib` says: the library's classes are laid out by it"
#endif

namespace tidemark::control {
namespace {

constexpr std::chrono::seconds kReadPatience{5};   // for the next bytes of a request
constexpr std::chrono::seconds kWritePatience{5};  // for a client to take the next bytes of its answer
constexpr std::chrono::seconds kBodyTimeMax{30};   // for all of a request's bytes
constexpr std::size_t kKeepAliveRequestsMax = 1000;
constexpr std::chrono::seconds kHealthTimeLimit{5};
constexpr std::size_t kRequestBytesMax = kHeaderBytesMax + kRequestBodyBytesMax;

// One request while it is answered, on its client's thread.
struct Visit {
  Guest& guest;
  Identity identity{};
  bool must_end = false;  // the connection, after the answer
};
// The library has no place for it in what it hands on.
thread_local Visit* visit_of_thread = nullptr;

Visit& this_visit() {
  TM_ASSERT(visit_of_thread != nullptr);
  return *visit_of_thread;
}

// A guest's connection during one request, as the library reads and writes it.
class Connection final : public httplib::Stream {
 public:
  explicit Connection(Guest& guest) : guest_(guest) {}
  bool is_readable() const override { return true; }
  bool is_writable() const override { return true; }
  ssize_t read(char* out, std::size_t size) override {
    if (bytes_left_ == 0) return -1;
    const Deadline deadline = std::min(std::chrono::steady_clock::now() + kReadPatience, end_);
    const ssize_t got = guest_.channel->read(out, std::min(size, bytes_left_), deadline);
    if (got > 0) bytes_left_ -= static_cast<std::size_t>(got);
    return got;
  }
  ssize_t write(const char* data, std::size_t size) override {
    return guest_.channel->write(data, size, kWritePatience) ? static_cast<ssize_t>(size) : -1;
  }
  void get_remote_ip_and_port(std::string& address, int& port) const override {
    address = guest_.client;
    port = 0;
  }
  void get_local_ip_and_port(std::string& address, int& port) const override {
    address.clear();
    port = 0;
  }
  socket_t socket() const override { return guest_.channel->socket(); }

 private:
  Guest& guest_;
  const Deadline end_ = std::chrono::steady_clock::now() + kBodyTimeMax;
  std::size_t bytes_left_ = kRequestBytesMax;
};

// Runs what the library asks for at once: handing a socket on takes no time.
class AtOnce final : public httplib::TaskQueue {
 public:
  void enqueue(std::function<void()> job) override { job(); }
  void shutdown() override {}
};

// The library's server accepts connections and answers requests; what is between, clients that wait and
// threads that work, is ours. And it listens with room for five clients; on a unix socket the sixth would be
// turned away at once.
class LibraryServer final : public httplib::Server {
 public:
  void raise_backlog() { ::listen(svr_sock_, kBacklog); }
  void on_accept(std::function<void(socket_t)> handler) { on_accept_ = std::move(handler); }

  // Answers the request whose headers are here. True: the next may come on the same connection.
  bool answer(Guest& guest) {
    Connection connection(guest);
    Visit visit{guest};
    visit_of_thread = &visit;
    bool closed = false;
    const bool last = guest.requests + 1 >= kKeepAliveRequestsMax;
    // Whole answers only: the library would put the body together once for each range that is asked for.
    const auto without_ranges = [](httplib::Request& request) { request.ranges.clear(); };
    const bool served = process_request(connection, last, closed, without_ranges);
    visit_of_thread = nullptr;
    ++guest.requests;
    return served && !closed && !last && !visit.must_end;
  }

 private:
  static constexpr int kBacklog = 128;
  bool process_and_close_socket(socket_t socket) override {
    on_accept_(socket);
    return true;
  }
  std::function<void(socket_t)> on_accept_;
};

class StatusCall final : public Call {
 public:
  io::Task<void> run(NodeOperations& operations) override {
    io::Task<Result<NodeStatus>> task = operations.node_status(NodeStatusRequest{});
    Result<NodeStatus> result = co_await task;
    result_.emplace(std::move(result));
  }
  const Result<NodeStatus>& result() const { return *result_; }

 private:
  std::optional<Result<NodeStatus>> result_;
};

class HealthCall final : public Call {
 public:
  io::Task<void> run(NodeOperations&) override { co_return; }
};

void answer(httplib::Response& response, int status, std::string json) {
  response.status = status;
  response.set_content(json + "\n", "application/json");
}

void answer_error(httplib::Response& response, const Error& error) {
  answer(response, http_status(error.code), error_json(error));
}

bool only_reads(const httplib::Request& request) {
  return request.method == "GET" || request.method == "HEAD" || request.method == "OPTIONS";
}

std::string request_line(const httplib::Request& request) {
  return request.method + " " + request.target;
}

// One line for what was asked to change; nothing for a question.
void note_act(const Access& access, const httplib::Request& request, std::string_view operation,
              const Error* error) {
  if (only_reads(request)) return;
  std::string line = request.remote_addr + this_visit().identity.fields() + " " +
                     log_field("operation", operation) + " " + log_field("request", request_line(request));
  if (!request.body.empty()) line += " " + log_field("body", request.body);
  line += " " + log_field("outcome", error == nullptr ? "done" : error_code_name(error->code));
  if (error != nullptr) line += " " + log_field("reason", error->message);
  access.note_act(line);
}

// A HEAD is a GET whose body stays away.
std::string routed_method(const httplib::Request& request) {
  return request.method == "HEAD" ? "GET" : request.method;
}

// As it was sent: the library's `path` is decoded, and what was a slash in a name divides it.
std::string_view encoded_path(const httplib::Request& request) {
  return std::string_view(request.target).substr(0, request.target.find('?'));
}

bool is_get_of(const httplib::Request& request, std::string_view path) {
  return request.path == path && (request.method == "GET" || request.method == "HEAD");
}

void answer_denial(httplib::Response& response, const Denial& denial) {
  answer(response, denial.status, error_json(denial.error));
  if (!denial.challenge.empty()) response.set_header("WWW-Authenticate", denial.challenge);
}

// Whether the request's sender may make it, as far as its method and path tell. False: it has its answer.
// `/healthz` is for everybody: it says nothing but that the node works.
bool let_in(Access& access, bool asks_for_tokens, const httplib::Request& request,
            httplib::Response& response) {
  if (!asks_for_tokens || is_get_of(request, "/healthz")) return true;
  std::vector<std::string> headers;
  const auto [begin, end] = request.headers.equal_range("Authorization");
  for (auto header = begin; header != end; ++header) headers.push_back(header->second);
  std::variant<Identity, Denial> who = access.identify(headers);
  if (const auto* denial = std::get_if<Denial>(&who); denial != nullptr) {
    access.note_unknown(request.remote_addr, request_line(request), denial->error, !only_reads(request));
    answer_denial(response, *denial);
    return false;
  }
  this_visit().identity = std::get<Identity>(std::move(who));
  const RouteMatch match = match_route(routed_method(request), encoded_path(request));
  if (match.route == nullptr) return true;  // it is told so, or it is /metrics, which every role may read
  const RouteInfo& route = match.route->info;
  const std::optional<Denial> denial = access.deny(this_visit().identity, route.role, route.operation);
  if (!denial.has_value()) return true;
  note_act(access, request, route.operation, &denial->error);
  answer_denial(response, *denial);
  return false;
}

// What is not worth reading further, told in JSON. Runs before the body is read.
std::optional<Error> refuse_early(const httplib::Request& request, httplib::Response& response) {
  const bool has_body_method =
      request.method == "POST" || request.method == "PUT" || request.method == "PATCH";
  const auto refuse = [&response](int status, const std::string& why) {
    Error error = fail(ErrorCode::kInvalid, why);
    answer(response, status, error_json(error));
    return error;
  };
  if (request.has_header("Content-Encoding")) {
    return refuse(415, "a compressed body is not understood; send plain JSON");
  }
  // Without a length the HTTP library would read without a limit.
  if (request.has_header("Transfer-Encoding") || (has_body_method && !request.has_header("Content-Length"))) {
    return refuse(411, "the body needs the header Content-Length");
  }
  // The library leaves such a body where it would read the next request.
  const bool reads_body = has_body_method || request.method == "DELETE";
  if (!reads_body && request.has_header("Content-Length") &&
      request.get_header_value("Content-Length") != "0") {
    return refuse(400, "a " + printable(request.method) + " request has no body");
  }
  // A web page of another origin can post forms and plain text to loopback, but not JSON.
  if (has_body_method && !request.get_header_value("Content-Type").starts_with("application/json")) {
    return refuse(415, "a body needs the header Content-Type: application/json");
  }
  return std::nullopt;
}

// Moves the query into `parts`, `timeout_seconds` into `time_limit`.
Result<void> read_query(const httplib::Request& request, RequestParts& parts,
                        std::chrono::seconds& time_limit) {
  for (const auto& [key, value] : request.params) {
    if (key == "timeout_seconds") {
      int seconds = 0;
      const char* const end = value.data() + value.size();
      const auto [after, error] = std::from_chars(value.data(), end, seconds);
      if (error != std::errc() || after != end || seconds < 1 || seconds > kTimeLimitSecondsMax) {
        return fail(ErrorCode::kInvalid,
                    "'timeout_seconds' must be from 1 to " + std::to_string(kTimeLimitSecondsMax));
      }
      time_limit = std::chrono::seconds(seconds);
    } else if (!parts.texts.emplace(key, value).second) {
      return fail(ErrorCode::kInvalid, "'" + printable(key) + "' is given twice in the path or query");
    }
  }
  return Result<void>{};
}

struct OperationAnswer {
  std::string text;
  bool octets = false;
};

Result<OperationAnswer> run_operation(Dispatcher& dispatcher, Access& access, const httplib::Request& request,
                                      RouteMatch match) {
  RequestParts parts{std::move(match.texts), request.body};
  std::chrono::seconds time_limit{kTimeLimitSecondsDefault};
  TM_TRY(read_query(request, parts, time_limit));
  TM_TRY_ASSIGN(const std::shared_ptr<JsonCall> call, match.route->make_call(parts));
  const std::optional<Denial> denial = access.deny(
      this_visit().identity, call->role(), std::string(match.route->info.operation) + " as it is asked for");
  if (denial.has_value()) return denial->error;
  TM_TRY(dispatcher.run(call, time_limit));
  OperationAnswer result;
  result.octets = call->has_octets() && request.get_header_value("Accept") == kOctets;
  TM_TRY_ASSIGN(result.text, result.octets ? call->octets() : call->answer());
  return result;
}

void serve_operation(Dispatcher& dispatcher, Access& access, const httplib::Request& request,
                     httplib::Response& response) {
  RouteMatch match = match_route(routed_method(request), encoded_path(request));
  if (match.route == nullptr && !match.allowed_methods.empty()) {
    response.set_header("Allow", match.allowed_methods);
    const Error error = fail(ErrorCode::kInvalid, "this path takes " + match.allowed_methods);
    answer(response, 405, error_json(error));
    note_act(access, request, "", &error);
    return;
  }
  if (match.route == nullptr) {
    const Error error = fail(ErrorCode::kNotFound, "there is no '" + printable(request.path) +
                                                       "' in this API; see docs/openapi.yaml");
    answer_error(response, error);
    note_act(access, request, "", &error);
    return;
  }
  const std::string_view operation = match.route->info.operation;
  Result<OperationAnswer> result = run_operation(dispatcher, access, request, std::move(match));
  note_act(access, request, operation, result.ok() ? nullptr : &result.error());
  if (!result.ok()) {
    answer_error(response, result.error());
  } else if (result->octets) {
    response.status = 200;
    response.body = std::move(result->text);
    response.set_header("Content-Type", std::string(kOctets));
  } else {
    answer(response, 200, std::move(result->text));
  }
}

void serve_metrics(Dispatcher& dispatcher, const Access& access, httplib::Response& response) {
  const auto call = std::make_shared<StatusCall>();
  const Result<void> ran = dispatcher.run(call, std::chrono::seconds(kTimeLimitSecondsDefault));
  if (!ran.ok()) {
    answer_error(response, ran.error());
  } else if (!call->result().ok()) {
    answer_error(response, call->result().error());
  } else {
    response.set_content(metrics_text(call->result().value(), access.counters()),
                         "text/plain; version=0.0.4");
  }
}

void serve_health(Dispatcher& dispatcher, httplib::Response& response) {
  const Result<void> ran = dispatcher.run(std::make_shared<HealthCall>(), kHealthTimeLimit);
  if (ran.ok()) {
    answer(response, 200, "{\"version\":1,\"healthy\":true}");
  } else {
    answer(response, 503, error_json(ran.error()));
  }
}

void serve(Dispatcher& dispatcher, Access& access, const httplib::Request& request,
           httplib::Response& response) {
  if (is_get_of(request, "/metrics")) {
    serve_metrics(dispatcher, access, response);
  } else if (is_get_of(request, "/healthz")) {
    serve_health(dispatcher, response);
  } else {
    serve_operation(dispatcher, access, request, response);
  }
}

// The request was not read to its end: what follows it on the connection is none.
void end_connection(httplib::Response& response) {
  this_visit().must_end = true;
  response.set_header("Connection", "close");
}

// Gives the library's own refusals the shape of ours.
void fill_in_error(const httplib::Request&, httplib::Response& response) {
  if (!response.body.empty()) return;
  end_connection(response);
  const int status = response.status;
  std::string message = "the request is malformed";
  if (status == 413) message = "the body is larger than " + format_size(kRequestBodyBytesMax);
  if (status == 414) message = "the path and query are too long";
  if (status == 404) message = "there is no such path, or no such method for it";
  if (status >= 500) message = "the request could not be served";
  const ErrorCode code = status == 404   ? ErrorCode::kNotFound
                         : status >= 500 ? ErrorCode::kIo
                                         : ErrorCode::kInvalid;
  answer(response, status, error_json(fail(code, message)));
}

Error system_error(const std::string& what) {
  return fail(ErrorCode::kIo, what + ": " + std::strerror(errno));
}

// Removes a socket that a dead node left behind; refuses anything that is alive or not a socket.
Result<void> remove_stale_socket(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) {
    return errno == ENOENT ? Result<void>{} : system_error("cannot look at '" + printable(path) + "'");
  }
  if (!S_ISSOCK(info.st_mode)) {
    return fail(ErrorCode::kInvalid,
                "'" + printable(path) + "' exists and is not a socket; choose another path");
  }
  const int probe = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (probe < 0) return system_error("cannot make a socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  const bool refused = ::connect(probe, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
                       errno == ECONNREFUSED;
  ::close(probe);
  if (!refused) {
    return fail(ErrorCode::kBusy,
                "a node listens on '" + printable(path) + "' already; is another tidemarkd running?");
  }
  if (::unlink(path.c_str()) != 0)
    return system_error("cannot remove the stale socket '" + printable(path) + "'");
  return Result<void>{};
}

bool is_loopback(const ControlAddress& address) {
  io::Address tcp;
  tcp.kind = io::Address::Kind::kTcp;
  tcp.host = address.host;
  return tcp.is_local();
}

Result<void> check_address(const ControlAddress& address, bool has_certificate, bool has_tokens) {
  if (address.is_unix || is_loopback(address) || (has_certificate && has_tokens)) return Result<void>{};
  std::string missing;
  if (!has_certificate) missing = "a certificate (--tls-cert, --tls-key, --tls-ca)";
  if (!has_tokens) {
    missing += std::string(missing.empty() ? "" : " and ") + "a file of tokens (--control-tokens)";
  }
  return fail(ErrorCode::kInvalid, "--control: '" + address.to_string() +
                                       "' is reached by other machines, and for that the node needs " +
                                       missing + "; or use a unix socket or a loopback address");
}

// What is said, in the clear, to who speaks HTTP to an address that speaks TLS, or the other way round.
std::string wrong_protocol_answer(bool is_tls) {
  const std::string why =
      is_tls ? "this address speaks TLS 1.3 and nothing else: use https://, and with tidemark --ca FILE"
             : "this address does not speak TLS";
  const std::string body = error_json(fail(ErrorCode::kInvalid, why)) + "\n";
  return "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: "
         "application/json\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\n\r\n" + body;
}

}  // namespace

// One address: a server of the HTTP library with its accepting thread, the lobby and the threads that work.
class ApiServer::Listener {
 public:
  // `certificate` null: it speaks in the clear.
  Listener(std::shared_ptr<Dispatcher> dispatcher, std::shared_ptr<Access> access, bool asks_for_tokens,
           std::unique_ptr<tls::ContextOfFiles> certificate, const ApiServerOptions& options)
      : dispatcher_(std::move(dispatcher)),
        access_(std::move(access)),
        asks_for_tokens_(asks_for_tokens),
        certificate_(std::move(certificate)),
        lobby_(lobby_callbacks()),
        pool_(options.threads_per_address, options.connections_waiting_max, [this] { lobby_.wake(); }) {
    server_.new_task_queue = [] { return new AtOnce; };  // the library owns it
    server_.on_accept([this](socket_t socket) { lobby_.admit(socket); });
    server_.set_tcp_nodelay(true);  // an answer is written in two pieces
    server_.set_payload_max_length(kRequestBodyBytesMax);
    // For what it tells clients; the lobby keeps to them.
    server_.set_keep_alive_timeout(kSilenceTimeMax.count());
    server_.set_keep_alive_max_count(kKeepAliveRequestsMax);
    server_.set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& response) {
      return go_on_with(request, response) ? httplib::Server::HandlerResponse::Unhandled
                                           : httplib::Server::HandlerResponse::Handled;
    });
    server_.set_error_handler(httplib::Server::Handler(fill_in_error));
    const httplib::Server::Handler handler = [this](const httplib::Request& request,
                                                    httplib::Response& response) {
      serve(*dispatcher_, *access_, request, response);
    };
    const std::string everything = "/.*";
    server_.Get(everything, handler);
    server_.Post(everything, handler);
    server_.Put(everything, handler);
    server_.Patch(everything, handler);
    server_.Delete(everything, handler);
  }

  ~Listener() { stop(); }

  // Listens when it returns.
  Result<void> start(ControlAddress& address) {
    TM_TRY(address.is_unix ? bind_unix(address) : bind_tcp(address));
    server_.raise_backlog();
    thread_ = start_thread([this] {
      server_.listen_after_bind();
      ended_ = true;
    });
    // stop() has no effect on a server that does not run yet.
    while (!server_.is_running() && !ended_) std::this_thread::yield();
    if (ended_) return fail(ErrorCode::kIo, "cannot listen on " + address.to_string());
    return Result<void>{};
  }

  void stop() {
    if (thread_.joinable()) {
      server_.stop();
      thread_.join();
    }
    stopping_ = true;
    lobby_.stop();
    pool_.stop();
    if (!socket_path_.empty()) ::unlink(socket_path_.c_str());
    socket_path_.clear();
  }

 private:
  Lobby::Callbacks lobby_callbacks() {
    Lobby::Callbacks callbacks;
    callbacks.make_ssl = [this]() -> tls::SslPointer {
      if (certificate_ == nullptr) return nullptr;
      tls::SslPointer ssl(::SSL_new(certificate_->current()));
      TM_ASSERT(ssl != nullptr);
      ::SSL_set_accept_state(ssl.get());
      return ssl;
    };
    callbacks.serve = [this](std::unique_ptr<Guest>& guest) {
      // A function must be one that can be copied, and so does not own what it is about.
      std::function<void()> job = [this, taken = guest.get()] { work(std::unique_ptr<Guest>(taken)); };
      if (!pool_.try_add(job)) return false;
      (void)guest.release();
      return true;
    };
    callbacks.on_refused = [this](const Guest& guest, const tls::Refusal& refusal) {
      access_->note_refused_handshake(guest.client, refusal.why);
    };
    callbacks.on_dropped = [this](const Guest&) { access_->note_dropped(); };
    callbacks.wrong_protocol_answer = wrong_protocol_answer(certificate_ != nullptr);
    return callbacks;
  }

  // On a thread of the pool.
  void work(std::unique_ptr<Guest> guest) {
    if (stopping_) return;
    if (server_.answer(*guest)) {
      lobby_.readmit(std::move(guest));
    } else {
      lobby_.see_off(std::move(guest));
    }
  }

  // Before the body is read. False: it has its answer.
  bool go_on_with(const httplib::Request& request, httplib::Response& response) {
    bool goes_on = let_in(*access_, asks_for_tokens_, request, response);
    if (goes_on) {
      const std::optional<Error> refused = refuse_early(request, response);
      if (refused.has_value()) note_act(*access_, request, "", &*refused);
      goes_on = !refused.has_value();
    }
    if (!goes_on) end_connection(response);
    return goes_on;
  }

  Result<void> bind_unix(const ControlAddress& address) {
    TM_TRY(remove_stale_socket(address.path));
    server_.set_address_family(AF_UNIX);
    // Linux gives the file the mode of the descriptor that is bound, so nobody else can ever open it.
    server_.set_socket_options([](socket_t descriptor) { ::fchmod(descriptor, 0600); });
    constexpr int kAnyPort = 80;  // not used for a unix socket, but must not be 0
    if (!server_.bind_to_port(address.path, kAnyPort)) {
      return system_error("cannot listen on " + address.to_string());
    }
    socket_path_ = address.path;
    return Result<void>{};
  }

  Result<void> bind_tcp(ControlAddress& address) {
    server_.set_socket_options([](socket_t descriptor) {
      const int on = 1;
      ::setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    });
    bool bound = false;
    if (address.port == 0) {
      const int port = server_.bind_to_any_port(address.host);
      bound = port > 0;
      if (bound) address.port = static_cast<std::uint16_t>(port);
    } else {
      bound = server_.bind_to_port(address.host, address.port);
    }
    if (bound) return Result<void>{};
    return fail(ErrorCode::kBusy, "cannot listen on " + address.to_string() +
                                      "; is the port taken, or the host another machine's?");
  }

  const std::shared_ptr<Dispatcher> dispatcher_;
  const std::shared_ptr<Access> access_;
  const bool asks_for_tokens_;
  const std::unique_ptr<tls::ContextOfFiles> certificate_;  // on the lobby's thread
  LibraryServer server_;
  Lobby lobby_;
  ThreadPool pool_;
  std::thread thread_;
  std::atomic<bool> ended_ = false;
  std::atomic<bool> stopping_ = false;
  std::string socket_path_;
};

ApiServer::ApiServer(std::shared_ptr<Dispatcher> dispatcher) : dispatcher_(std::move(dispatcher)) {}

ApiServer::~ApiServer() {
  stop();
}

Result<std::unique_ptr<ApiServer>> ApiServer::start(NodeOperations& operations, PostToReactor post,
                                                    const ApiServerOptions& options) {
  auto dispatcher = std::make_shared<Dispatcher>(operations, std::move(post));
  std::unique_ptr<ApiServer> server(new ApiServer(dispatcher));
  const bool has_certificate = !options.certificate.certificate.empty();
  const tls::Log log = options.log ? options.log : [](const std::string&, const std::string&) {};
  std::shared_ptr<TokenFile> tokens;
  if (!options.token_file.empty()) {
    TM_TRY_ASSIGN(tokens, TokenFile::read(options.token_file, log));
  }
  const auto access = std::make_shared<Access>(tokens, options.audit, log);
  for (const std::string& text : options.addresses) {
    TM_TRY_ASSIGN(ControlAddress address, parse_control_address(text));
    TM_TRY(check_address(address, has_certificate, tokens != nullptr));
    // Who may open a unix socket may do everything.
    const bool asks_for_tokens = !address.is_unix && tokens != nullptr;
    std::unique_ptr<tls::ContextOfFiles> certificate;
    if (asks_for_tokens && has_certificate) {
      TM_TRY_ASSIGN(certificate, tls::ContextOfFiles::read(options.certificate, log));
    }
    auto listener =
        std::make_unique<Listener>(dispatcher, access, asks_for_tokens, std::move(certificate), options);
    TM_TRY(listener->start(address));
    server->listeners_.push_back(std::move(listener));
    server->addresses_.push_back(address.to_string());
  }
  return server;
}

void ApiServer::stop() {
  dispatcher_->close();
  for (const auto& listener : listeners_) listener->stop();
  listeners_.clear();
}

}  // namespace tidemark::control
