#include "control/http_channel.h"

#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>

namespace tidemark::control {
namespace {

constexpr std::size_t kReceiveBytes = 4096;

bool would_block() {
  return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

// OpenSSL's own BIO of a socket writes so that SIGPIPE is raised.
int socket_of(BIO* bio) {
  return static_cast<int>(reinterpret_cast<std::intptr_t>(::BIO_get_data(bio)));
}

int bio_read(BIO* bio, char* out, int size) {
  ::BIO_clear_flags(bio, BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY);
  const ssize_t got = ::recv(socket_of(bio), out, static_cast<std::size_t>(size), 0);
  if (got < 0 && would_block()) BIO_set_retry_read(bio);
  return static_cast<int>(got);
}

int bio_write(BIO* bio, const char* data, int size) {
  ::BIO_clear_flags(bio, BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY);
  const ssize_t sent = ::send(socket_of(bio), data, static_cast<std::size_t>(size), MSG_NOSIGNAL);
  if (sent < 0 && would_block()) BIO_set_retry_write(bio);
  return static_cast<int>(sent);
}

long bio_control(BIO*, int command, long, void*) {
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

BIO* new_socket_bio(int socket) {
  static BIO_METHOD* const kMethod = [] {
    BIO_METHOD* method = ::BIO_meth_new(::BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "tidemark socket");
    TM_ASSERT(method != nullptr);
    ::BIO_meth_set_read(method, bio_read);
    ::BIO_meth_set_write(method, bio_write);
    ::BIO_meth_set_ctrl(method, bio_control);
    return method;
  }();
  BIO* const bio = ::BIO_new(kMethod);
  TM_ASSERT(bio != nullptr);
  ::BIO_set_data(bio, reinterpret_cast<void*>(static_cast<std::intptr_t>(socket)));
  ::BIO_set_init(bio, 1);
  return bio;
}

}  // namespace

Channel::Channel(int socket) : socket_(socket) {
  ::fcntl(socket_, F_SETFL, ::fcntl(socket_, F_GETFL) | O_NONBLOCK);
  ::fcntl(socket_, F_SETFD, FD_CLOEXEC);
}

void Channel::begin_tls(tls::SslPointer ssl) {
  ssl_ = std::move(ssl);
  BIO* const bio = new_socket_bio(socket_);
  ::SSL_set_bio(ssl_.get(), bio, bio);
  SSL_set_app_data(ssl_.get(), &shown_);
}

Channel::~Channel() {
  ::close(socket_);
}

Channel::Step Channel::step_of(int done) {
  switch (::SSL_get_error(ssl_.get(), done)) {
    case SSL_ERROR_WANT_READ:
      return Step::kWantsRead;
    case SSL_ERROR_WANT_WRITE:
      return Step::kWantsWrite;
    case SSL_ERROR_ZERO_RETURN:
      return Step::kEnded;
    case SSL_ERROR_SSL:
      refusal_ = tls::take_refusal(ssl_.get(), shown_);
      break;
    default:
      refusal_ = {tls::Refusal::Kind::kOther, "the connection was cut off"};
  }
  ::ERR_clear_error();
  failed_ = true;
  return Step::kFailed;
}

Channel::Step Channel::shake_hands() {
  if (ssl_ == nullptr) return Step::kDone;
  ::ERR_clear_error();
  const int done = ::SSL_do_handshake(ssl_.get());
  return done == 1 ? Step::kDone : step_of(done);
}

Channel::Step Channel::receive() {
  std::array<char, kReceiveBytes> part{};
  std::size_t count = 0;
  if (ssl_ != nullptr) {
    ::ERR_clear_error();
    const int done = ::SSL_read_ex(ssl_.get(), part.data(), part.size(), &count);
    if (done != 1) return step_of(done);
  } else {
    const ssize_t got = ::recv(socket_, part.data(), part.size(), 0);
    if (got < 0) return would_block() ? Step::kWantsRead : Step::kFailed;
    if (got == 0) return Step::kEnded;
    count = static_cast<std::size_t>(got);
  }
  if (read_ == received_.size()) {
    received_.clear();
    read_ = 0;
  }
  received_.append(part.data(), count);
  return Step::kDone;
}

ssize_t Channel::read(char* out, std::size_t size, Deadline deadline) {
  while (read_ == received_.size()) {
    const Step step = receive();
    if (step == Step::kEnded) return 0;
    if (step == Step::kFailed || (step != Step::kDone && !wait(step, deadline))) return -1;
  }
  const std::size_t count = std::min(size, received_.size() - read_);
  std::memcpy(out, received_.data() + read_, count);
  read_ += count;
  if (read_ == received_.size()) {
    received_.clear();
    read_ = 0;
  }
  return static_cast<ssize_t>(count);
}

bool Channel::write(const char* data, std::size_t size, std::chrono::seconds patience) {
  while (size > 0) {
    const Deadline deadline = std::chrono::steady_clock::now() + patience;
    Step step = Step::kDone;
    std::size_t count = 0;
    if (ssl_ != nullptr) {
      ::ERR_clear_error();
      const int done = ::SSL_write_ex(ssl_.get(), data, size, &count);
      if (done != 1) step = step_of(done);
    } else {
      const ssize_t sent = ::send(socket_, data, size, MSG_NOSIGNAL);
      if (sent < 0) step = would_block() ? Step::kWantsWrite : Step::kFailed;
      count = sent < 0 ? 0 : static_cast<std::size_t>(sent);
    }
    if (step == Step::kFailed || step == Step::kEnded) return false;
    if (step != Step::kDone && !wait(step, deadline)) return false;
    data += count;
    size -= count;
  }
  return true;
}

bool Channel::wait(Step step, Deadline deadline) const {
  const short event = step == Step::kWantsWrite ? POLLOUT : POLLIN;
  while (true) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd poll{socket_, event, 0};
    const int limit = static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, INT_MAX));
    const int found = ::poll(&poll, 1, limit);
    if (found > 0) return true;
    if (found == 0 || errno != EINTR) return false;
  }
}

void Channel::end_writing() {
  if (ssl_ != nullptr && !failed_) {
    ::ERR_clear_error();
    (void)::SSL_shutdown(ssl_.get());
    ::ERR_clear_error();
  }
  ::shutdown(socket_, SHUT_WR);
}

Channel::Step Channel::discard() {
  std::array<char, kReceiveBytes> part{};
  const ssize_t got = ::recv(socket_, part.data(), part.size(), 0);
  if (got > 0) return Step::kDone;
  if (got == 0) return Step::kEnded;
  return would_block() ? Step::kWantsRead : Step::kFailed;
}

void Channel::write_in_the_clear(const std::string& text) {
  (void)::send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
}

}  // namespace tidemark::control
