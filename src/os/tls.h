#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "io/stream.h"
#include "io/sync.h"
#include "tls/files.h"

namespace tidemark::os {

using TlsFiles = tls::Files;
using TlsLog = tls::Log;

// TLS 1.3 with certificates of both sides, and nothing less: who shows no certificate, or one that does not
// chain to the authorities, is refused, on either side.
//
// The files are looked at when a connection begins, and read again when one has changed, so that a renewed
// certificate is used without a restart. Files that cannot be used then are told in the log, and those read
// before stay in use.
//
// Lives on the reactor thread; the scheduler outlives it, and it outlives the streams it made. Their failures
// are those of the stream below, and kRefused when the handshake failed, with the reason in words.
class Tls final : public io::StreamUpgrade {
 public:
  // `files` has authorities. kNotFound, kInvalid: a file that cannot be read, or does not hold what it
  // should.
  static Result<std::unique_ptr<Tls>> create(io::Scheduler& scheduler, TlsFiles files, TlsLog log);
  ~Tls() override;

  // The server's side. The handshake is part of the first read or write, which fails when it does, so that
  // who accepts connections does not wait for one of them.
  std::unique_ptr<io::Stream> serve(std::unique_ptr<io::Stream> stream);
  // The client's side, when the handshake is done here. The server may refuse our certificate after that,
  // which the first read then tells.
  io::Task<Result<std::unique_ptr<io::Stream>>> connect(std::unique_ptr<io::Stream> stream, Duration timeout);
  io::Task<Result<std::unique_ptr<io::Stream>>> upgrade(std::unique_ptr<io::Stream> stream) override;

 private:
  struct State;
  explicit Tls(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace tidemark::os
