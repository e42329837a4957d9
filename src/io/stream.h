#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "base/time.h"
#include "io/task.h"

namespace tidemark::io {

// Where a server listens or a client connects: "unix:PATH" or "tcp:HOST:PORT" (an IPv6 host in
// brackets; port 0 asks the system for a free one when listening).
struct Address {
  enum class Kind { kUnix, kTcp };
  Kind kind = Kind::kUnix;
  std::string path;  // kUnix
  std::string host;  // kTcp
  std::uint16_t port = 0;

  std::string to_string() const;
  // A bare path that begins with '/' or '.' is taken as a unix socket.
  static Result<Address> parse(const std::string& text);
  // A unix socket, or TCP on 127.0.0.0/8, [::1] or "localhost".
  bool is_local() const;
  bool operator==(const Address&) const = default;
};

// A connected, reliable, ordered byte stream. One coroutine may read while another writes; two must
// not read, nor two write, at once. A destroyed Task abandons its operation: the stream pins
// the memory until the operation is done. Destroying the stream closes it.
class Stream {
 public:
  virtual ~Stream() = default;
  // At least one byte into `out`, or 0 when the peer has ended its side in order. kClosed after
  // close() here or a reset there.
  virtual Task<Result<std::size_t>> read_some(Buffer out) = 0;
  // All of `pieces` as one gathered send. They stay alive until it completes.
  virtual Task<Result<void>> write(std::vector<Buffer> pieces) = 0;
  // Ends both directions; operations in flight complete with kClosed. May be called again.
  virtual void close() = 0;
  // The other end, for logs: "unix" or "127.0.0.1:51234".
  virtual std::string peer_name() const = 0;
  // Who the other end has proved to be, by a certificate. Empty when nothing was proved, and on an encrypted
  // stream until something was read or written.
  virtual std::string peer_identity() const { return {}; }
};

// Takes a connection that began in the clear into TLS, as the server of it. Outlives the streams it made.
class StreamUpgrade {
 public:
  virtual ~StreamUpgrade() = default;
  // When the handshake is done. kRefused: the client's certificate is not accepted, or it does not speak TLS;
  // kTimeout; kClosed. Nothing may have been read from `stream` that belongs to the handshake.
  virtual Task<Result<std::unique_ptr<Stream>>> upgrade(std::unique_ptr<Stream> stream) = 0;
};

// Exactly `out.size()` bytes; kClosed, naming how many had come, when the stream ends first.
Task<Result<void>> read_exactly(Stream& stream, Buffer out);

class Listener {
 public:
  virtual ~Listener() = default;
  // The next connection; kClosed after close().
  virtual Task<Result<std::unique_ptr<Stream>>> accept() = 0;
  virtual void close() = 0;
  // As bound: with the port that the system chose.
  virtual Address address() const = 0;
};

// Opens streams. Owned by the twin; outlives every stream and listener it made.
class Network {
 public:
  virtual ~Network() = default;
  // kBusy when somebody listens there; a unix socket that nobody serves any more is replaced.
  virtual Task<Result<std::unique_ptr<Listener>>> listen(Address address) = 0;
  // kClosed when nobody listens, kTimeout after `timeout`.
  virtual Task<Result<std::unique_ptr<Stream>>> connect(Address address, Duration timeout) = 0;
};

}  // namespace tidemark::io
