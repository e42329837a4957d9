#pragma once

#include <memory>

#include "io/environment.h"
#include "io/stream.h"
#include "os/tls.h"

namespace tidemark::os {

// The network of the replication service. With `tls` every TCP stream is TLS, whichever side began it; unix
// sockets stay as they are, guarded by the permissions of their files. Without it, TCP is for loopback
// addresses only, unless `plaintext` says that any will do.
//
// All three outlive it, and it outlives the streams and listeners it made.
class TlsNetwork final : public io::Network {
 public:
  TlsNetwork(io::Scheduler& scheduler, io::Network& below, Tls* tls, bool plaintext)
      : scheduler_(scheduler), below_(below), tls_(tls), plaintext_(plaintext) {}

  // As the network below, and kRefused for an address that would need TLS. The handshake of an accepted
  // stream is part of its first read.
  io::Task<Result<std::unique_ptr<io::Listener>>> listen(io::Address address) override;
  // The time-out covers the handshake.
  io::Task<Result<std::unique_ptr<io::Stream>>> connect(io::Address address, Duration timeout) override;

 private:
  Result<void> check(const io::Address& address) const;
  io::Scheduler& scheduler_;
  io::Network& below_;
  Tls* tls_;
  bool plaintext_;
};

}  // namespace tidemark::os
