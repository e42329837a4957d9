#include <sys/socket.h>

#include <cerrno>
#include <memory>

#include "os/network.h"
#include "os/request.h"

namespace tidemark::os {
namespace {

// Shared by the stream and its operations' coroutines, so that close() reaches those under way.
struct SocketState {
  SharedDescriptor descriptor;
  std::string peer_name;
  bool closed = false;
  Request* reading = nullptr;
  Request* writing = nullptr;
};

// Enters a request in the slot where close() finds it, for as long as its coroutine lives.
class InSlot {
 public:
  InSlot(Request*& slot, Request& request) : slot_(slot) {
    TM_ASSERT(slot == nullptr);  // two readers, or two writers, at once
    slot = &request;
  }
  InSlot(const InSlot&) = delete;
  InSlot& operator=(const InSlot&) = delete;
  ~InSlot() { slot_ = nullptr; }

 private:
  Request*& slot_;
};

Error socket_failure(const char* what, const SocketState& state, int error) {
  const std::string where = std::string(what) + " " + state.peer_name;
  if (state.closed || error == ECANCELED)
    return fail(ErrorCode::kClosed, where + ": the connection was closed here");
  const std::string text = where + " failed: " + errno_text(error);
  switch (error) {
    case ECONNRESET:
    case EPIPE:
    case ENOTCONN:
    case ECONNABORTED:
    case ESHUTDOWN:
      return fail(ErrorCode::kClosed, text);
    case ETIMEDOUT:
    case EHOSTUNREACH:
    case ENETUNREACH:
      return fail(ErrorCode::kTimeout, text);
    default:
      return fail(ErrorCode::kIo, text);
  }
}

class SocketStream final : public io::Stream {
 public:
  SocketStream(Reactor& reactor, Descriptor descriptor, std::string peer_name)
      : reactor_(reactor), state_(std::make_shared<SocketState>()) {
    state_->descriptor = std::make_shared<const Descriptor>(std::move(descriptor));
    state_->peer_name = std::move(peer_name);
  }
  ~SocketStream() override { close(); }

  io::Task<Result<std::size_t>> read_some(Buffer out) override {
    return read_some(reactor_, state_, std::move(out));
  }
  io::Task<Result<void>> write(std::vector<Buffer> pieces) override {
    return write(reactor_, state_, std::move(pieces));
  }
  void close() override;
  std::string peer_name() const override { return state_->peer_name; }

 private:
  static io::Task<Result<std::size_t>> read_some(Reactor& reactor, std::shared_ptr<SocketState> state,
                                                 Buffer out);
  static io::Task<Result<void>> write(Reactor& reactor, std::shared_ptr<SocketState> state,
                                      std::vector<Buffer> pieces);
  Reactor& reactor_;
  std::shared_ptr<SocketState> state_;
};

io::Task<Result<std::size_t>> SocketStream::read_some(Reactor& reactor, std::shared_ptr<SocketState> state,
                                                      Buffer out) {
  TM_ASSERT(!out.empty());
  if (state->closed) co_return socket_failure("reading from", *state, ECANCELED);
  Request request(reactor);
  const InSlot slot(state->reading, request);
  request->descriptor = state->descriptor;
  request->cancel_when_abandoned = true;
  const std::size_t length = std::min(out.size(), kTransferBytesMax);
  std::byte* const memory = out.data();
  request->pieces.push_back(std::move(out));
  while (true) {
    ::io_uring_prep_recv(request.entry(), state->descriptor->get(), memory, length, 0);
    const std::int32_t result = co_await request.submit();
    if (state->closed) co_return socket_failure("reading from", *state, ECANCELED);
    if (result == -EINTR) continue;
    if (result < 0) co_return socket_failure("reading from", *state, -result);
    co_return static_cast<std::size_t>(result);
  }
}

io::Task<Result<void>> SocketStream::write(Reactor& reactor, std::shared_ptr<SocketState> state,
                                           std::vector<Buffer> pieces) {
  if (state->closed) co_return socket_failure("writing to", *state, ECANCELED);
  Request request(reactor);
  const InSlot slot(state->writing, request);
  request->descriptor = state->descriptor;
  request->cancel_when_abandoned = true;
  request->pieces = std::move(pieces);
  const int fd = state->descriptor->get();
  // MSG_WAITALL lets the kernel (5.19) go on with a short send by itself; an older one ignores it.
  constexpr int kFlags = MSG_NOSIGNAL | MSG_WAITALL;
  while (request->gather()) {
    const std::vector<iovec>& vectors = request->vectors;
    if (vectors.size() == 1) {
      ::io_uring_prep_send(request.entry(), fd, vectors[0].iov_base, vectors[0].iov_len, kFlags);
    } else {
      request->message = msghdr{};
      request->message.msg_iov = request->vectors.data();
      request->message.msg_iovlen = request->vectors.size();
      ::io_uring_prep_sendmsg(request.entry(), fd, &request->message, kFlags);
    }
    const std::int32_t result = co_await request.submit();
    if (state->closed) co_return socket_failure("writing to", *state, ECANCELED);
    if (result == -EINTR) continue;
    if (result < 0) co_return socket_failure("writing to", *state, -result);
    request->advance(static_cast<std::size_t>(result));
  }
  co_return Result<void>{};
}

void SocketStream::close() {
  if (state_->closed) return;
  state_->closed = true;
  ::shutdown(state_->descriptor->get(), SHUT_RDWR);
  if (state_->reading != nullptr) state_->reading->cancel();
  if (state_->writing != nullptr) state_->writing->cancel();
  // An operation in flight has its own hold on the descriptor, which is closed with the last of them.
  state_->descriptor.reset();
}

}  // namespace

std::unique_ptr<io::Stream> make_stream(Reactor& reactor, Descriptor descriptor, std::string peer_name) {
  return std::make_unique<SocketStream>(reactor, std::move(descriptor), std::move(peer_name));
}

}  // namespace tidemark::os
