#include "os/tls_stream.h"

#include <openssl/err.h>

#include <algorithm>
#include <array>
#include <optional>

#include "tls/files.h"
#include "tls/refusal.h"

namespace tidemark::os {
namespace {

constexpr std::size_t kReceiveBytes = 64 << 10;  // taken from the stream below at once
constexpr std::size_t kSendBytes = 256 << 10;    // encrypted before it is sent
constexpr Duration kFarewellTime = Duration::seconds(1);
// What a client sent before it knew that it was refused is read away, so that it hears the reason.
constexpr std::size_t kDrainBytesMax = 1 << 20;

// Of the first thing that went wrong; what came of it is behind it.
Error ssl_failure(SSL* ssl, const std::string& shown, const std::string& peer) {
  tls::Refusal refusal = tls::take_refusal(ssl, shown);
  if (refusal.kind == tls::Refusal::Kind::kCertificate) {
    refusal.why += "; it must be valid now and come from a CA that this side accepts";
  } else if (refusal.kind == tls::Refusal::Kind::kNoCertificate) {
    refusal.why += "; it needs one from a CA that this side accepts";
  } else if (refusal.kind == tls::Refusal::Kind::kNotTls) {
    refusal.why += " (a peer needs --tls-cert)";
  }
  return fail(ErrorCode::kRefused, "TLS with " + peer + ": " + refusal.why);
}

}  // namespace

// Shared by the stream and its operations' coroutines, so that close() reaches those under way.
struct TlsState {
  TlsState(io::Scheduler& s, io::TaskScope& scope) : scheduler(s), farewells(scope), shaking(s), sending(s) {}

  io::Scheduler& scheduler;
  io::TaskScope& farewells;
  std::unique_ptr<io::Stream> inner;
  tls::SslPointer ssl;
  BIO* received = nullptr;  // of `ssl`: what came and is not decrypted
  BIO* to_send = nullptr;   // of `ssl`: what is encrypted and not sent
  TlsSide side = TlsSide::kClient;
  Duration handshake_timeout{};
  std::string shown;     // subject of the certificate that was shown last
  std::string identity;  // of the one that was accepted
  bool established = false;
  bool closed = false;
  bool write_under_way = false;
  bool write_cut_off = false;  // what follows would make no sense to the other side
  std::optional<Error> failed;
  io::Mutex shaking;
  io::Mutex sending;

  Error fail_with(Error error) {
    if (!failed.has_value()) failed = std::move(error);
    return *failed;
  }
  Error closed_here() const {
    return fail(ErrorCode::kClosed, "TLS with " + inner->peer_name() + ": the connection was closed here");
  }
};

namespace {

using StatePointer = std::shared_ptr<TlsState>;

// All that is encrypted so far, in order.
io::Task<Result<void>> send_pending(StatePointer state) {
  auto guard = co_await state->sending.lock();
  while (const std::size_t pending = ::BIO_ctrl_pending(state->to_send)) {
    Buffer out = Buffer::allocate(pending);
    std::size_t taken = 0;
    TM_ASSERT(::BIO_read_ex(state->to_send, out.data(), out.size(), &taken) == 1 && taken == pending);
    std::vector<Buffer> pieces;
    pieces.push_back(std::move(out));
    // Abandoned or failed, it leaves a record half sent.
    struct Mark {
      TlsState& state;
      bool whole = false;
      explicit Mark(TlsState& s) : state(s) { state.write_under_way = true; }
      ~Mark() {
        state.write_under_way = false;
        if (!whole) state.write_cut_off = true;
      }
    } mark(*state);
    auto sent = co_await state->inner->write(std::move(pieces));
    if (state->closed && !sent.ok()) co_return state->closed_here();
    if (!sent.ok()) co_return sent;
    mark.whole = true;
  }
  co_return Result<void>{};
}

// More of what the other side sends; `during` tells in what an end of the stream would cut in.
io::Task<Result<void>> receive_more(StatePointer state, const char* during) {
  Buffer in = Buffer::allocate(kReceiveBytes);
  auto got = co_await state->inner->read_some(in);
  if (state->closed) co_return state->closed_here();
  if (!got.ok()) co_return state->fail_with(got.error());
  if (*got == 0) {
    co_return state->fail_with(fail(ErrorCode::kClosed, "TLS with " + state->inner->peer_name() +
                                                            ": the connection was cut off " + during));
  }
  std::size_t kept = 0;
  TM_ASSERT(::BIO_write_ex(state->received, in.data(), *got, &kept) == 1 && kept == *got);
  co_return Result<void>{};
}

io::Task<void> close_after(StatePointer state, Duration delay, bool* expired) {
  co_await state->scheduler.sleep_for(delay);
  *expired = true;
  state->inner->close();
}

io::Task<void> drain(StatePointer state) {
  bool expired = false;
  io::TaskScope timer(state->scheduler);
  timer.spawn(close_after(state, kFarewellTime, &expired));
  Buffer in = Buffer::allocate(kReceiveBytes);
  for (std::size_t drained = 0; drained < kDrainBytesMax;) {
    const auto got = co_await state->inner->read_some(in);
    if (!got.ok() || *got == 0) co_return;
    drained += *got;
  }
}

io::Task<Result<void>> shake_hands(StatePointer state) {
  while (true) {
    if (state->closed) co_return state->closed_here();
    ::ERR_clear_error();
    const int done = ::SSL_do_handshake(state->ssl.get());
    std::optional<Error> failure;
    if (done != 1 && ::SSL_get_error(state->ssl.get(), done) != SSL_ERROR_WANT_READ) {
      failure = ssl_failure(state->ssl.get(), state->shown, state->inner->peer_name());
    }
    const auto sent = co_await send_pending(state);  // a refusal too: the other side is to hear why
    if (failure.has_value()) {
      if (sent.ok() && state->side == TlsSide::kServer) co_await drain(state);
      co_return *failure;
    }
    if (!sent.ok()) co_return sent;
    if (done == 1) co_return Result<void>{};
    TM_CO_TRY(co_await receive_more(
        state, "during the handshake; does the other side speak TLS, and accept this side's certificate?"));
  }
}

io::Task<Result<void>> establish(StatePointer state) {
  if (state->closed) co_return state->closed_here();
  if (state->failed.has_value()) co_return *state->failed;
  if (state->established) co_return Result<void>{};
  auto guard = co_await state->shaking.lock();
  if (state->failed.has_value()) co_return *state->failed;
  if (state->established) co_return Result<void>{};
  bool expired = false;
  Result<void> shaken;
  {
    io::TaskScope timer(state->scheduler);
    timer.spawn(close_after(state, state->handshake_timeout, &expired));
    shaken = co_await shake_hands(state);
  }
  if (!shaken.ok()) {
    const bool refused = shaken.error().code == ErrorCode::kRefused;
    Error error = shaken.error();
    if (expired && !refused && !state->closed) {
      error = fail(ErrorCode::kTimeout,
                   "TLS with " + state->inner->peer_name() + ": the handshake was not finished in time");
    }
    state->failed = error;
    state->inner->close();
    co_return error;
  }
  state->identity = tls::identity_of(::SSL_get0_peer_certificate(state->ssl.get()));
  state->established = true;
  co_return Result<void>{};
}

// Decrypted bytes; 0 at the end in order; nullopt when more has to come first.
Result<std::optional<std::size_t>> take_decrypted(TlsState& state, Buffer& out) {
  std::size_t got = 0;
  while (got < out.size()) {
    ::ERR_clear_error();
    std::size_t part = 0;
    const int done = ::SSL_read_ex(state.ssl.get(), out.data() + got, out.size() - got, &part);
    if (done == 1) {
      got += part;
      continue;
    }
    const int why = ::SSL_get_error(state.ssl.get(), done);
    if (why == SSL_ERROR_WANT_READ) break;
    if (why == SSL_ERROR_ZERO_RETURN) return std::optional<std::size_t>(got);
    Error error = state.fail_with(ssl_failure(state.ssl.get(), state.shown, state.inner->peer_name()));
    if (got == 0) return error;
    break;
  }
  return got == 0 ? std::nullopt : std::optional<std::size_t>(got);
}

io::Task<Result<std::size_t>> read_decrypted(StatePointer state, Buffer out) {
  TM_ASSERT(!out.empty());
  TM_CO_TRY(co_await establish(state));
  while (true) {
    if (state->closed) co_return state->closed_here();
    if (state->failed.has_value()) co_return *state->failed;
    const Result<std::optional<std::size_t>> got = take_decrypted(*state, out);
    // Answers of TLS itself, as to a new key.
    if (::BIO_ctrl_pending(state->to_send) > 0) TM_CO_TRY(co_await send_pending(state));
    if (!got.ok()) co_return got.error();
    if (got->has_value()) co_return **got;
    TM_CO_TRY(co_await receive_more(state, "without TLS's farewell"));
  }
}

io::Task<Result<void>> write_encrypted(StatePointer state, std::vector<Buffer> pieces) {
  TM_CO_TRY(co_await establish(state));
  for (const Buffer& piece : pieces) {
    for (std::size_t at = 0; at < piece.size();) {
      if (state->closed) co_return state->closed_here();
      const std::size_t part = std::min(kSendBytes, piece.size() - at);
      ::ERR_clear_error();
      std::size_t taken = 0;
      if (::SSL_write_ex(state->ssl.get(), piece.data() + at, part, &taken) != 1) {
        co_return state->fail_with(ssl_failure(state->ssl.get(), state->shown, state->inner->peer_name()));
      }
      at += taken;
      if (::BIO_ctrl_pending(state->to_send) >= kSendBytes) TM_CO_TRY(co_await send_pending(state));
    }
  }
  co_return co_await send_pending(state);
}

io::Task<void> say_farewell(StatePointer state) {
  bool expired = false;
  {
    io::TaskScope timer(state->scheduler);
    timer.spawn(close_after(state, kFarewellTime, &expired));
    const auto sent = co_await send_pending(state);
    static_cast<void>(sent);  // who does not take it is cut off
  }
  state->inner->close();
}

}  // namespace

TlsStream::TlsStream(io::Scheduler& scheduler, io::TaskScope& farewells, SSL_CTX* context,
                     std::unique_ptr<io::Stream> inner, TlsSide side, Duration handshake_timeout)
    : state_(std::make_shared<TlsState>(scheduler, farewells)) {
  state_->inner = std::move(inner);
  state_->side = side;
  state_->handshake_timeout = handshake_timeout;
  state_->ssl.reset(::SSL_new(context));
  state_->received = ::BIO_new(::BIO_s_mem());
  state_->to_send = ::BIO_new(::BIO_s_mem());
  TM_ASSERT(state_->ssl != nullptr && state_->received != nullptr && state_->to_send != nullptr);
  // An empty memory BIO asks for more instead of telling an end.
  BIO_set_mem_eof_return(state_->received, -1);
  BIO_set_mem_eof_return(state_->to_send, -1);
  ::SSL_set_bio(state_->ssl.get(), state_->received, state_->to_send);
  SSL_set_app_data(state_->ssl.get(), &state_->shown);
  if (side == TlsSide::kClient) {
    ::SSL_set_connect_state(state_->ssl.get());
  } else {
    ::SSL_set_accept_state(state_->ssl.get());
  }
}

TlsStream::~TlsStream() {
  close();
}

io::Task<Result<void>> TlsStream::handshake() {
  return establish(state_);
}

io::Task<Result<std::size_t>> TlsStream::read_some(Buffer out) {
  return read_decrypted(state_, std::move(out));
}

io::Task<Result<void>> TlsStream::write(std::vector<Buffer> pieces) {
  return write_encrypted(state_, std::move(pieces));
}

void TlsStream::close() {
  if (state_->closed) return;
  state_->closed = true;
  const bool makes_sense = state_->established && !state_->failed.has_value() && !state_->write_under_way &&
                           !state_->write_cut_off;
  if (!makes_sense) {
    state_->inner->close();
    return;
  }
  ::ERR_clear_error();
  static_cast<void>(::SSL_shutdown(state_->ssl.get()));
  ::ERR_clear_error();
  state_->farewells.spawn(say_farewell(state_));
}

std::string TlsStream::peer_name() const {
  return state_->inner->peer_name();
}

std::string TlsStream::peer_identity() const {
  return state_->identity;
}

}  // namespace tidemark::os
