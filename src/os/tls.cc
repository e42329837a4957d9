#include "os/tls.h"

#include <memory>

#include "os/tls_stream.h"
#include "tls/files.h"

namespace tidemark::os {
namespace {

constexpr Duration kHandshakeTimeout = Duration::seconds(10);

}  // namespace

struct Tls::State {
  explicit State(io::Scheduler& s) : scheduler(s), farewells(s) {}
  io::Scheduler& scheduler;
  std::unique_ptr<tls::ContextOfFiles> context;
  io::TaskScope farewells;

  std::unique_ptr<TlsStream> wrap(std::unique_ptr<io::Stream> stream, TlsSide side, Duration timeout) {
    return std::make_unique<TlsStream>(scheduler, farewells, context->current(), std::move(stream), side,
                                       timeout);
  }
};

Tls::Tls(std::unique_ptr<State> state) : state_(std::move(state)) {}

Tls::~Tls() = default;

Result<std::unique_ptr<Tls>> Tls::create(io::Scheduler& scheduler, TlsFiles files, TlsLog log) {
  // Without them, anybody would be let in.
  TM_ASSERT(!files.authorities.empty());
  auto state = std::make_unique<State>(scheduler);
  TM_TRY_ASSIGN(state->context, tls::ContextOfFiles::read(std::move(files), std::move(log)));
  return std::unique_ptr<Tls>(new Tls(std::move(state)));
}

std::unique_ptr<io::Stream> Tls::serve(std::unique_ptr<io::Stream> stream) {
  return state_->wrap(std::move(stream), TlsSide::kServer, kHandshakeTimeout);
}

io::Task<Result<std::unique_ptr<io::Stream>>> Tls::connect(std::unique_ptr<io::Stream> stream,
                                                           Duration timeout) {
  std::unique_ptr<TlsStream> client = state_->wrap(std::move(stream), TlsSide::kClient, timeout);
  TM_CO_TRY(co_await client->handshake());
  co_return std::unique_ptr<io::Stream>(std::move(client));
}

io::Task<Result<std::unique_ptr<io::Stream>>> Tls::upgrade(std::unique_ptr<io::Stream> stream) {
  std::unique_ptr<TlsStream> server = state_->wrap(std::move(stream), TlsSide::kServer, kHandshakeTimeout);
  TM_CO_TRY(co_await server->handshake());
  co_return std::unique_ptr<io::Stream>(std::move(server));
}

}  // namespace tidemark::os
