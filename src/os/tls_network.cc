#include "os/tls_network.h"

#include <algorithm>

namespace tidemark::os {
namespace {

class TlsListener final : public io::Listener {
 public:
  TlsListener(std::unique_ptr<io::Listener> below, Tls& tls) : below_(std::move(below)), tls_(tls) {}
  io::Task<Result<std::unique_ptr<io::Stream>>> accept() override { return accept(below_->accept(), tls_); }
  void close() override { below_->close(); }
  io::Address address() const override { return below_->address(); }

 private:
  // The listener may go while it waits.
  static io::Task<Result<std::unique_ptr<io::Stream>>> accept(
      io::Task<Result<std::unique_ptr<io::Stream>>> below, Tls& tls) {
    TM_CO_TRY_ASSIGN(std::unique_ptr<io::Stream> stream, co_await below);
    co_return tls.serve(std::move(stream));
  }
  std::unique_ptr<io::Listener> below_;
  Tls& tls_;
};

}  // namespace

Result<void> TlsNetwork::check(const io::Address& address) const {
  if (tls_ != nullptr || plaintext_ || address.is_local()) return {};
  return fail(
      ErrorCode::kRefused,
      "'" + address.to_string() +
          "' leads to another machine, and this node has no TLS: start it with --tls-cert, --tls-key and "
          "--tls-ca (or, where the network itself is trusted, with --replication-plaintext)");
}

io::Task<Result<std::unique_ptr<io::Listener>>> TlsNetwork::listen(io::Address address) {
  TM_CO_TRY(check(address));
  TM_CO_TRY_ASSIGN(std::unique_ptr<io::Listener> listener, co_await below_.listen(address));
  if (tls_ == nullptr || address.kind == io::Address::Kind::kUnix) co_return listener;
  co_return std::unique_ptr<io::Listener>(std::make_unique<TlsListener>(std::move(listener), *tls_));
}

io::Task<Result<std::unique_ptr<io::Stream>>> TlsNetwork::connect(io::Address address, Duration timeout) {
  TM_CO_TRY(check(address));
  const MonotonicTime deadline = scheduler_.now() + timeout;
  TM_CO_TRY_ASSIGN(std::unique_ptr<io::Stream> stream, co_await below_.connect(address, timeout));
  if (tls_ == nullptr || address.kind == io::Address::Kind::kUnix) co_return stream;
  const Duration left{std::max<std::int64_t>(0, (deadline - scheduler_.now()).ns)};
  co_return co_await tls_->connect(std::move(stream), left);
}

}  // namespace tidemark::os
