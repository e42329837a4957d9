#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "control/http_access.h"
#include "control/http_dispatcher.h"
#include "control/operations.h"
#include "tls/files.h"

namespace tidemark::control {

struct ApiServerOptions {
  std::vector<std::string> addresses;        // "unix:PATH", "tcp:HOST:PORT"; port 0: any
  std::size_t threads_per_address = 8;       // requests of one address that are answered at once
  std::size_t connections_waiting_max = 64;  // whose request is here, and that wait for a thread
  std::string token_file{};                  // empty: TCP, on loopback then, asks for no token
  tls::Files certificate{};                  // empty: TCP, on loopback then, is in the clear
  Audit audit{};                             // may be empty
  tls::Log log{};                            // may be empty
};

// How long a request is waited for unless it says `timeout_seconds` itself, and the most that it may say.
inline constexpr int kTimeLimitSecondsDefault = 60;
inline constexpr int kTimeLimitSecondsMax = 600;

// The control API over HTTP: every operation of routes.h under /v1, `/metrics` for Prometheus, and
// `/healthz`, which answers 200 while the reactor turns.
//
// Made, stopped and destroyed on the reactor thread (or after the reactor has ended). Connections are served
// by threads of its own; they meet the engine only in Dispatcher. A unix socket is made with mode 0600:
// whoever may open it may do everything. TCP asks for a token where there is a file of tokens (TokenFile),
// and speaks TLS 1.3 and nothing else where there is a certificate too. Without both it is for loopback
// addresses. What a token may do is its role against that of the request (routes.h).
//
// The HTTP library sets SIGPIPE to be ignored, for the whole process.
class ApiServer {
 public:
  // Listens when it returns. kInvalid: an address, or one that other machines reach without tokens and TLS;
  // kNotFound, kInvalid: the files; kBusy: somebody listens there already; kIo.
  // `operations` must outlive stop(). `post` may be called until stop() returns; what it was given may be run
  // or dropped at any later time.
  static Result<std::unique_ptr<ApiServer>> start(NodeOperations& operations, PostToReactor post,
                                                  const ApiServerOptions& options);
  ~ApiServer();

  // The addresses it listens on, with the real ports.
  const std::vector<std::string>& addresses() const { return addresses_; }

  // Ends orderly: clients that wait are answered "shutdown", calls under way are destroyed, threads joined,
  // sockets removed. Takes up to about five seconds when a client holds a connection open half way through
  // the body of a request. Not from inside an operation. Again: nothing.
  void stop();

 private:
  class Listener;
  explicit ApiServer(std::shared_ptr<Dispatcher> dispatcher);

  std::shared_ptr<Dispatcher> dispatcher_;
  std::vector<std::unique_ptr<Listener>> listeners_;
  std::vector<std::string> addresses_;
};

}  // namespace tidemark::control
