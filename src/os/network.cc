#include "os/network.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <optional>

#include "io/sync.h"
#include "os/request.h"

namespace tidemark::os {
namespace {

// Connections that wait to be accepted; the system cuts it to net.core.somaxconn.
constexpr int kBacklogMax = 4096;
// Room for a few large requests each way, so that a sender seldom waits for its receiver to wake. The
// system cuts it to net.core.wmem_max and rmem_max. TCP sizes its own.
constexpr int kUnixBufferBytes = 1 << 20;
constexpr int kKeepAliveIdleSeconds = 30;
constexpr int kKeepAliveIntervalSeconds = 15;
constexpr int kKeepAliveProbesMax = 6;
// While no descriptor is to be had, accept() tries again this often.
constexpr Duration kAcceptRetryPause = Duration::milliseconds(100);

Descriptor make_socket(int family) {
  // Blocking mode: io_uring answers a non-blocking socket with EAGAIN instead of waiting.
  return Descriptor(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

void set_option(int fd, int level, int option, int value) {
  // All that is set through here is an improvement only; a socket that refuses it works.
  static_cast<void>(::setsockopt(fd, level, option, &value, sizeof value));
}

void tune(int fd, int family) {
  if (family == AF_UNIX) {
    set_option(fd, SOL_SOCKET, SO_SNDBUF, kUnixBufferBytes);
    set_option(fd, SOL_SOCKET, SO_RCVBUF, kUnixBufferBytes);
    return;
  }
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, kKeepAliveIdleSeconds);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, kKeepAliveIntervalSeconds);
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, kKeepAliveProbesMax);
}

// Which file a unix socket's path names.
struct FileIdentity {
  dev_t device = 0;
  ino_t inode = 0;
  bool operator==(const FileIdentity&) const = default;
};

std::optional<FileIdentity> socket_at(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0 || !S_ISSOCK(status.st_mode)) return std::nullopt;
  return FileIdentity{status.st_dev, status.st_ino};
}

Error listen_failure(const io::Address& address, int error) {
  const std::string text = "listening on '" + address.to_string() + "' failed: " + errno_text(error);
  switch (error) {
    case EADDRINUSE:
      return fail(ErrorCode::kBusy, text + "; stop what listens there, or choose another address");
    case EADDRNOTAVAIL:
      return fail(ErrorCode::kNotFound, text + "; this machine does not have that address");
    case ENOENT:
    case ENOTDIR:
      return fail(ErrorCode::kNotFound, text + "; create the folder first");
    case EACCES:
    case EPERM:
    case EROFS:
      return fail(ErrorCode::kRefused, text + "; choose an address that this user may use");
    default:
      return fail(ErrorCode::kIo, text);
  }
}

Error connect_failure(const io::Address& address, int error) {
  const std::string text = "connecting to '" + address.to_string() + "' failed: " + errno_text(error);
  switch (error) {
    case ECONNREFUSED:
    case ENOENT:
      return fail(ErrorCode::kClosed, text + "; nobody listens there");
    case ECONNRESET:
    case EHOSTUNREACH:
    case ENETUNREACH:
      return fail(ErrorCode::kClosed, text);
    case ETIMEDOUT:
      return fail(ErrorCode::kTimeout, text);
    default:
      return fail(ErrorCode::kIo, text);
  }
}

Error connect_timed_out(const io::Address& address) {
  return fail(ErrorCode::kTimeout, "connecting to '" + address.to_string() + "' took too long");
}

struct ListenerState {
  SharedDescriptor descriptor;
  io::Address address;
  bool closed = false;
  Request* accepting = nullptr;
};

class SocketListener final : public io::Listener {
 public:
  SocketListener(Reactor& reactor, Descriptor descriptor, io::Address address)
      : reactor_(reactor), state_(std::make_shared<ListenerState>()) {
    state_->descriptor = std::make_shared<const Descriptor>(std::move(descriptor));
    state_->address = std::move(address);
    if (state_->address.kind == io::Address::Kind::kUnix) file_ = socket_at(state_->address.path);
  }
  ~SocketListener() override { close(); }

  io::Task<Result<std::unique_ptr<io::Stream>>> accept() override { return accept(reactor_, state_); }
  void close() override;
  io::Address address() const override { return state_->address; }

 private:
  static io::Task<Result<std::unique_ptr<io::Stream>>> accept(Reactor& reactor,
                                                              std::shared_ptr<ListenerState> state);
  Reactor& reactor_;
  std::shared_ptr<ListenerState> state_;
  std::optional<FileIdentity> file_;
};

// The result of one accept in the ring.
struct Accepted {
  int error = 0;
  Descriptor descriptor;
  SocketAddress peer;
};

io::Task<Accepted> accept_once(Reactor& reactor, std::shared_ptr<ListenerState> state) {
  Request request(reactor);
  TM_ASSERT(state->accepting == nullptr);  // two acceptors at once
  struct Guard {
    Request*& slot;
    ~Guard() { slot = nullptr; }
  } const guard{state->accepting};
  state->accepting = &request;
  request->descriptor = state->descriptor;
  request->cancel_when_abandoned = true;
  request->result_is_descriptor = true;
  request->address_length = sizeof request->address;
  ::io_uring_prep_accept(request.entry(), state->descriptor->get(),
                         reinterpret_cast<sockaddr*>(&request->address), &request->address_length,
                         SOCK_CLOEXEC);
  const std::int32_t result = co_await request.submit();
  Accepted accepted;
  if (result < 0) {
    accepted.error = -result;
    co_return accepted;
  }
  accepted.descriptor = request.take_descriptor();
  accepted.peer.storage = request->address;
  accepted.peer.length = request->address_length;
  co_return accepted;
}

io::Task<Result<std::unique_ptr<io::Stream>>> SocketListener::accept(Reactor& reactor,
                                                                     std::shared_ptr<ListenerState> state) {
  while (!state->closed) {
    Accepted accepted = co_await accept_once(reactor, state);
    if (state->closed) break;
    switch (accepted.error) {
      case 0: {
        tune(accepted.descriptor.get(), accepted.peer.family());
        co_return make_stream(reactor, std::move(accepted.descriptor), accepted.peer.to_string());
      }
      // Of this one connection, not of the listener (accept(2)).
      case ECONNABORTED:
      case EINTR:
      case EPROTO:
      case ENETDOWN:
      case ENOPROTOOPT:
      case EHOSTDOWN:
      case ENONET:
      case EHOSTUNREACH:
      case ENETUNREACH:
      case EPERM:
        continue;
      case EMFILE:
      case ENFILE:
      case ENOBUFS:
      case ENOMEM:
        co_await reactor.sleep_for(kAcceptRetryPause);
        continue;
      default:
        co_return fail(ErrorCode::kIo, "accepting on '" + state->address.to_string() +
                                           "' failed: " + errno_text(accepted.error));
    }
  }
  co_return fail(ErrorCode::kClosed, "listening on '" + state->address.to_string() + "' was ended here");
}

void SocketListener::close() {
  if (state_->closed) return;
  state_->closed = true;
  if (file_.has_value() && socket_at(state_->address.path) == file_) ::unlink(state_->address.path.c_str());
  ::shutdown(state_->descriptor->get(), SHUT_RDWR);
  if (state_->accepting != nullptr) state_->accepting->cancel();
  state_->descriptor.reset();
}

// Whether somebody serves the unix socket, tried without waiting. The socket of a process that was killed
// takes connections for a moment longer: the kernel takes its io_uring down after it has ended.
bool somebody_listens(const SocketAddress& address) {
  const Descriptor probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (::connect(probe.get(), address.get(), address.length) == 0) {
    ucred listener{};
    socklen_t length = sizeof listener;
    const bool known =
        ::getsockopt(probe.get(), SOL_SOCKET, SO_PEERCRED, &listener, &length) == 0 && listener.pid > 0;
    return !known || ::kill(listener.pid, 0) == 0 || errno != ESRCH;
  }
  return errno != ECONNREFUSED && errno != ENOENT;
}

Result<Descriptor> bind_unix(const io::Address& address, const SocketAddress& where) {
  Descriptor descriptor = make_socket(AF_UNIX);
  // The socket's file takes its mode from the socket, so it never exists with a wider one.
  if (!descriptor.valid() || ::fchmod(descriptor.get(), 0600) != 0) return listen_failure(address, errno);
  if (::bind(descriptor.get(), where.get(), where.length) == 0) return descriptor;
  if (errno != EADDRINUSE) return listen_failure(address, errno);
  if (!socket_at(address.path).has_value()) {
    return fail(ErrorCode::kBusy,
                "listening on '" + address.to_string() +
                    "' failed: the path is taken by something that is not a socket; remove it, "
                    "or choose another path");
  }
  if (somebody_listens(where)) return listen_failure(address, EADDRINUSE);
  ::unlink(address.path.c_str());
  if (::bind(descriptor.get(), where.get(), where.length) != 0) return listen_failure(address, errno);
  return descriptor;
}

Result<Descriptor> bind_tcp(const io::Address& address, const std::vector<SocketAddress>& candidates) {
  int error = EADDRNOTAVAIL;
  for (const SocketAddress& candidate : candidates) {
    Descriptor descriptor = make_socket(candidate.family());
    if (!descriptor.valid()) {
      error = errno;
      continue;
    }
    set_option(descriptor.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    if (::bind(descriptor.get(), candidate.get(), candidate.length) == 0) return descriptor;
    error = errno;
  }
  return listen_failure(address, error);
}

// What a thread that looks up a name fills in, while the one who asked may be gone.
struct PendingLookUp {
  Result<std::vector<SocketAddress>> addresses = fail(ErrorCode::kTimeout, "");
  bool finished = false;  // reactor thread only
  std::atomic<bool> abandoned{false};
};

// Lets a look-up that still waits for its thread be left out when nobody wants it any more: of those behind a
// name server that is silent there may be many.
struct AbandonsLookUp {
  std::shared_ptr<PendingLookUp> pending;
  ~AbandonsLookUp() { pending->abandoned = true; }
};

io::Task<void> look_up_elsewhere(io::Offload& offload, io::Address address, bool to_listen,
                                 std::shared_ptr<PendingLookUp> pending, io::Event& done) {
  std::function<void()> work = [address, to_listen, pending] {
    if (!pending->abandoned) pending->addresses = look_up(address, to_listen, LookUp::kNames);
  };
  co_await offload.run(std::move(work));
  pending->finished = true;
  done.set();
}

io::Task<void> set_at(Reactor& reactor, MonotonicTime deadline, io::Event& event) {
  co_await reactor.sleep_until(deadline);
  event.set();
}

io::Task<void> cancel_at(Reactor& reactor, MonotonicTime deadline, Request& request, bool& timed_out) {
  co_await reactor.sleep_until(deadline);
  timed_out = true;
  request.cancel();
}

}  // namespace

io::Task<Result<std::vector<SocketAddress>>> Network::resolve(io::Address address, bool to_listen,
                                                              MonotonicTime deadline) {
  auto numeric = look_up(address, to_listen, LookUp::kNumericOnly);
  if (numeric.ok()) co_return numeric;
  auto pending = std::make_shared<PendingLookUp>();
  const AbandonsLookUp at_the_end{pending};
  io::Event done(reactor_);
  io::TaskScope scope(reactor_);
  scope.spawn(look_up_elsewhere(offload_, address, to_listen, pending, done));
  scope.spawn(set_at(reactor_, deadline, done));
  co_await done.wait();
  if (!pending->finished) {
    co_return fail(ErrorCode::kTimeout, "looking up the host of '" + address.to_string() + "' took too long");
  }
  co_return std::move(pending->addresses);
}

io::Task<Result<std::unique_ptr<io::Listener>>> Network::listen(io::Address address) {
  // Long enough for the system's own limits on name servers to end the look-up.
  constexpr Duration kListenLookUpTimeout = Duration::seconds(60);
  Descriptor descriptor;
  if (address.kind == io::Address::Kind::kUnix) {
    TM_CO_TRY_ASSIGN(const SocketAddress where, unix_socket_address(address.path));
    TM_CO_TRY_ASSIGN(descriptor, bind_unix(address, where));
  } else {
    const MonotonicTime deadline = reactor_.now() + kListenLookUpTimeout;
    TM_CO_TRY_ASSIGN(const std::vector<SocketAddress> candidates, co_await resolve(address, true, deadline));
    TM_CO_TRY_ASSIGN(descriptor, bind_tcp(address, candidates));
    SocketAddress bound;
    bound.length = sizeof bound.storage;
    if (::getsockname(descriptor.get(), bound.get(), &bound.length) != 0) {
      co_return listen_failure(address, errno);
    }
    address.port = bound.port();
  }
  if (::listen(descriptor.get(), kBacklogMax) != 0) co_return listen_failure(address, errno);
  std::unique_ptr<io::Listener> listener =
      std::make_unique<SocketListener>(reactor_, std::move(descriptor), std::move(address));
  co_return listener;
}

io::Task<Result<std::unique_ptr<io::Stream>>> Network::connect(io::Address address, Duration timeout) {
  const MonotonicTime deadline = reactor_.now() + timeout;
  if (address.kind == io::Address::Kind::kUnix) {
    TM_CO_TRY_ASSIGN(const SocketAddress where, unix_socket_address(address.path));
    co_return co_await connect_to(address, where, deadline);
  }
  TM_CO_TRY_ASSIGN(const std::vector<SocketAddress> candidates, co_await resolve(address, false, deadline));
  for (std::size_t i = 0; i + 1 < candidates.size(); ++i) {
    auto stream = co_await connect_to(address, candidates[i], deadline);
    if (stream.ok() || reactor_.now() >= deadline) co_return stream;
  }
  co_return co_await connect_to(address, candidates.back(), deadline);
}

io::Task<Result<std::unique_ptr<io::Stream>>> Network::connect_to(io::Address name, SocketAddress address,
                                                                  MonotonicTime deadline) {
  Descriptor descriptor = make_socket(address.family());
  if (!descriptor.valid()) co_return connect_failure(name, errno);
  tune(descriptor.get(), address.family());
  auto shared = std::make_shared<Descriptor>(std::move(descriptor));
  Request request(reactor_);
  request->descriptor = shared;
  request->cancel_when_abandoned = true;
  request->address = address.storage;
  ::io_uring_prep_connect(request.entry(), shared->get(), reinterpret_cast<sockaddr*>(&request->address),
                          address.length);
  bool timed_out = false;
  std::int32_t result = 0;
  {
    io::TaskScope timer(reactor_);
    timer.spawn(cancel_at(reactor_, deadline, request, timed_out));
    result = co_await request.submit();
  }
  if (result < 0 && timed_out) co_return connect_timed_out(name);
  if (result < 0) co_return connect_failure(name, -result);
  // The operation is done: what it pinned is the stream's alone now.
  co_return make_stream(reactor_, std::move(*shared), address.to_string());
}

}  // namespace tidemark::os
