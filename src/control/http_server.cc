#include "control/http_server.h"

#include <arpa/inet.h>
#include <httplib.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <deque>
#include <thread>

#include "base/log_field.h"
#include "base/names.h"
#include "control/address.h"
#include "control/metrics.h"
#include "control/router.h"

#ifndef CPPHTTPLIB_OPENSSL_SUPPORT
#error "compile with what `pkg-config --cflags cpp-httplib` says: the library's classes are laid out by it"
#endif

namespace tidemark::control {
namespace {

constexpr time_t kReadTimeoutSeconds = 5;   // for the next bytes of a request
constexpr time_t kWriteTimeoutSeconds = 5;  // for a client to take its answer
constexpr time_t kKeepAliveSeconds = 1;     // an idle connection holds a thread no longer
constexpr std::size_t kKeepAliveRequestsMax = 1000;
constexpr std::chrono::seconds kHealthTimeLimit{5};

// A fixed number of threads before a bounded queue. When the queue is full the accepting thread waits, and
// further clients wait in the kernel's backlog.
class BoundedThreadPool final : public httplib::TaskQueue {
 public:
  BoundedThreadPool(std::size_t thread_count, std::size_t waiting_max) : waiting_max_(waiting_max) {
    for (std::size_t i = 0; i < thread_count; ++i) threads_.emplace_back([this] { work(); });
  }

  void enqueue(std::function<void()> job) override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return jobs_.size() < waiting_max_; });
    jobs_.push_back(std::move(job));
    changed_.notify_all();
  }

  void shutdown() override {
    {
      std::unique_lock lock(mutex_);
      stopping_ = true;
      changed_.notify_all();
    }
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  void work() {
    for (;;) {
      std::function<void()> job;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
        if (jobs_.empty()) return;
        job = std::move(jobs_.front());
        jobs_.pop_front();
        changed_.notify_all();
      }
      job();
    }
  }

  const std::size_t waiting_max_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

// Who is at the other end, as fields of a line: the user and process that made the connection to a unix
// socket, which the kernel vouches for, or an address.
std::string client_fields(int socket) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (::getpeername(socket, generic, &length) != 0) return log_field("client", "unknown");
  if (address.ss_family == AF_UNIX) {
    ucred peer{};
    socklen_t size = sizeof peer;
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return log_field("client", "unix");
    return log_field("client", "unix") + " " + log_field("uid", peer.uid) + " " +
           log_field("pid", static_cast<std::uint64_t>(peer.pid));
  }
  std::array<char, NI_MAXHOST> host{};
  std::array<char, NI_MAXSERV> port{};
  if (::getnameinfo(generic, length, host.data(), host.size(), port.data(), port.size(),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return log_field("client", "unknown");
  }
  const std::string text(host.data());
  const bool is_v6 = text.find(':') != std::string::npos;
  return log_field("client", (is_v6 ? "[" + text + "]" : text) + ":" + port.data());
}

// A connection as the library reads it, with `client_fields` for the address of the client.
class Connection final : public httplib::Stream {
 public:
  explicit Connection(socket_t socket) : socket_(socket) {}
  bool is_readable() const override { return ready(POLLIN, kReadTimeoutSeconds); }
  bool is_writable() const override { return ready(POLLOUT, kWriteTimeoutSeconds); }
  // The library asks for single bytes.
  ssize_t read(char* out, std::size_t size) override {
    if (begin_ == end_) {
      if (!is_readable()) return -1;
      const ssize_t got = ::recv(socket_, buffer_.data(), buffer_.size(), 0);
      if (got <= 0) return got;
      begin_ = 0;
      end_ = static_cast<std::size_t>(got);
    }
    const std::size_t count = std::min(size, end_ - begin_);
    std::memcpy(out, buffer_.data() + begin_, count);
    begin_ += count;
    return static_cast<ssize_t>(count);
  }
  ssize_t write(const char* data, std::size_t size) override {
    return is_writable() ? ::send(socket_, data, size, MSG_NOSIGNAL) : -1;
  }
  void get_remote_ip_and_port(std::string& address, int& port) const override {
    address = client_fields(socket_);
    port = 0;
  }
  void get_local_ip_and_port(std::string& address, int& port) const override {
    address.clear();
    port = 0;
  }
  socket_t socket() const override { return socket_; }
  bool has_more() const { return begin_ != end_ || ready(POLLIN, kKeepAliveSeconds); }

 private:
  bool ready(short event, time_t seconds) const {
    pollfd poll{socket_, event, 0};
    int found = 0;
    do {
      found = ::poll(&poll, 1, static_cast<int>(seconds * 1000));
    } while (found < 0 && errno == EINTR);
    return found > 0;
  }
  const socket_t socket_;
  std::array<char, 4096> buffer_{};
  std::size_t begin_ = 0;  // [begin_, end_) was received and not read
  std::size_t end_ = 0;
};

// The library listens with room for five clients; on a unix socket the sixth would be turned away at once.
// And it does not say who a client on a unix socket is.
class LibraryServer final : public httplib::Server {
 public:
  void raise_backlog() { ::listen(svr_sock_, kBacklog); }

 private:
  static constexpr int kBacklog = 128;
  // Until it is told to stop: it counts as running until its threads have ended.
  bool is_open() const { return svr_sock_.load() != INVALID_SOCKET; }
  bool process_and_close_socket(socket_t socket) override {
    Connection connection(socket);
    bool served = false;
    for (std::size_t left = kKeepAliveRequestsMax; left > 0 && is_open() && connection.has_more(); --left) {
      bool closed = false;
      served = process_request(connection, left == 1, closed, nullptr);
      if (!served || closed) break;
    }
    ::shutdown(socket, SHUT_RDWR);
    ::close(socket);
    return served;
  }
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

// One line for what was asked to change; nothing for a question.
void note_act(const Audit& audit, const httplib::Request& request, std::string_view operation,
              const Error* error) {
  if (!audit || only_reads(request)) return;
  std::string line = request.remote_addr + " " + log_field("operation", operation) + " " +
                     log_field("request", request.method + " " + request.target);
  if (!request.body.empty()) line += " " + log_field("body", request.body);
  line += " " + log_field("outcome", error == nullptr ? "done" : error_code_name(error->code));
  if (error != nullptr) line += " " + log_field("reason", error->message);
  audit(line);
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

Result<OperationAnswer> run_operation(Dispatcher& dispatcher, const httplib::Request& request,
                                      RouteMatch match) {
  RequestParts parts{std::move(match.texts), request.body};
  std::chrono::seconds time_limit{kTimeLimitSecondsDefault};
  TM_TRY(read_query(request, parts, time_limit));
  TM_TRY_ASSIGN(const std::shared_ptr<JsonCall> call, match.route->make_call(parts));
  TM_TRY(dispatcher.run(call, time_limit));
  OperationAnswer result;
  result.octets = call->has_octets() && request.get_header_value("Accept") == kOctets;
  TM_TRY_ASSIGN(result.text, result.octets ? call->octets() : call->answer());
  return result;
}

void serve_operation(Dispatcher& dispatcher, const Audit& audit, const httplib::Request& request,
                     httplib::Response& response) {
  const std::string method = request.method == "HEAD" ? "GET" : request.method;
  RouteMatch match = match_route(method, request.path);
  if (match.route == nullptr && !match.allowed_methods.empty()) {
    response.set_header("Allow", match.allowed_methods);
    const Error error = fail(ErrorCode::kInvalid, "this path takes " + match.allowed_methods);
    answer(response, 405, error_json(error));
    note_act(audit, request, "", &error);
    return;
  }
  if (match.route == nullptr) {
    const Error error = fail(ErrorCode::kNotFound, "there is no '" + printable(request.path) +
                                                       "' in this API; see docs/openapi.yaml");
    answer_error(response, error);
    note_act(audit, request, "", &error);
    return;
  }
  const std::string_view operation = match.route->info.operation;
  Result<OperationAnswer> result = run_operation(dispatcher, request, std::move(match));
  note_act(audit, request, operation, result.ok() ? nullptr : &result.error());
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

void serve_metrics(Dispatcher& dispatcher, httplib::Response& response) {
  const auto call = std::make_shared<StatusCall>();
  const Result<void> ran = dispatcher.run(call, std::chrono::seconds(kTimeLimitSecondsDefault));
  if (!ran.ok()) {
    answer_error(response, ran.error());
  } else if (!call->result().ok()) {
    answer_error(response, call->result().error());
  } else {
    response.set_content(metrics_text(call->result().value()), "text/plain; version=0.0.4");
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

void serve(Dispatcher& dispatcher, const Audit& audit, const httplib::Request& request,
           httplib::Response& response) {
  const bool reads = request.method == "GET" || request.method == "HEAD";
  if (reads && request.path == "/metrics") {
    serve_metrics(dispatcher, response);
  } else if (reads && request.path == "/healthz") {
    serve_health(dispatcher, response);
  } else {
    serve_operation(dispatcher, audit, request, response);
  }
}

// Gives the library's own refusals the shape of ours.
void fill_in_error(const httplib::Request&, httplib::Response& response) {
  if (!response.body.empty()) return;
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

bool is_loopback(const std::string& host) {
  if (host == "localhost" || host == "::1") return true;
  in_addr v4{};
  return ::inet_pton(AF_INET, host.c_str(), &v4) == 1 && (ntohl(v4.s_addr) >> 24) == 127;
}

}  // namespace

// One address: a server of the HTTP library with its accepting thread and its pool.
class ApiServer::Listener {
 public:
  Listener(std::shared_ptr<Dispatcher> dispatcher, const ApiServerOptions& options)
      : dispatcher_(std::move(dispatcher)), audit_(options.audit) {
    server_.new_task_queue = [threads = options.threads_per_address,
                              waiting = options.connections_waiting_max] {
      return new BoundedThreadPool(threads, waiting);  // the library owns it
    };
    server_.set_payload_max_length(kRequestBodyBytesMax);
    // For what it tells clients; Connection and LibraryServer keep to them.
    server_.set_keep_alive_timeout(kKeepAliveSeconds);
    server_.set_keep_alive_max_count(kKeepAliveRequestsMax);
    server_.set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& response) {
      const std::optional<Error> refused = refuse_early(request, response);
      if (!refused.has_value()) return httplib::Server::HandlerResponse::Unhandled;
      note_act(audit_, request, "", &*refused);
      return httplib::Server::HandlerResponse::Handled;
    });
    server_.set_error_handler(httplib::Server::Handler(fill_in_error));
    const httplib::Server::Handler handler = [this](const httplib::Request& request,
                                                    httplib::Response& response) {
      serve(*dispatcher_, audit_, request, response);
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
    thread_ = std::thread([this] {
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
    if (!socket_path_.empty()) ::unlink(socket_path_.c_str());
    socket_path_.clear();
  }

 private:
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
    if (!is_loopback(address.host)) {
      return fail(ErrorCode::kInvalid,
                  "the control API has no authentication and listens on loopback only, not on '" +
                      printable(address.host) + "'; use 127.0.0.1, ::1 or a unix socket");
    }
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
    return fail(ErrorCode::kBusy, "cannot listen on " + address.to_string() + "; is the port taken?");
  }

  const std::shared_ptr<Dispatcher> dispatcher_;
  const Audit audit_;
  LibraryServer server_;
  std::thread thread_;
  std::atomic<bool> ended_ = false;
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
  for (const std::string& text : options.addresses) {
    TM_TRY_ASSIGN(ControlAddress address, parse_control_address(text));
    auto listener = std::make_unique<Listener>(dispatcher, options);
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
