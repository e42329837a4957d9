#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>

#include "io/stream.h"
#include "io/sync.h"

namespace tidemark::os {

struct TlsState;

enum class TlsSide { kClient, kServer };

// TLS over another stream, through memory: nothing here blocks. What is decrypted and not read yet, and what
// is encrypted and not sent yet, stays below 512 KiB.
//
// An end of the stream below without TLS's own farewell is kClosed, never the end in order that a reader
// could take for it. close() sends the farewell as long as the other side takes it within a second.
class TlsStream final : public io::Stream {
 public:
  // `farewells` outlives the stream; the goodbyes run in it.
  TlsStream(io::Scheduler& scheduler, io::TaskScope& farewells, SSL_CTX* context,
            std::unique_ptr<io::Stream> inner, TlsSide side, Duration handshake_timeout);
  ~TlsStream() override;

  // Once; what reads or writes first does it otherwise. kRefused, kTimeout, kClosed.
  io::Task<Result<void>> handshake();

  io::Task<Result<std::size_t>> read_some(Buffer out) override;
  io::Task<Result<void>> write(std::vector<Buffer> pieces) override;
  void close() override;
  std::string peer_name() const override;
  std::string peer_identity() const override;

 private:
  std::shared_ptr<TlsState> state_;
};

}  // namespace tidemark::os
