#pragma once

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "tls/files.h"
#include "tls/refusal.h"

namespace tidemark::control {

using Deadline = std::chrono::steady_clock::time_point;

// A connected socket, in the clear or inside TLS. Its steps do not block; read() and write() wait for them.
//
// Owned by one thread at a time. Nothing here raises SIGPIPE.
class Channel {
 public:
  enum class Step {
    kDone,
    kWantsRead,   // again, when the socket can be read
    kWantsWrite,  // again, when it can be written
    kEnded,       // the other side has ended its side in order
    kFailed,      // the connection is of no use any more
  };

  // Owns `socket`, which will not block any more.
  explicit Channel(int socket);
  ~Channel();
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  int socket() const { return socket_; }
  bool is_tls() const { return ssl_ != nullptr; }
  SSL* ssl() const { return ssl_.get(); }

  // Before anything is read or written: what follows is inside TLS. `ssl` knows its side.
  void begin_tls(tls::SslPointer ssl);
  // Until it is done, before anything is read or written; in the clear it is done at once. After kFailed
  // refusal() says why.
  Step shake_hands();
  const tls::Refusal& refusal() const { return refusal_; }

  // More bytes into what was received and not read yet.
  Step receive();
  std::string_view unread() const { return std::string_view(received_).substr(read_); }

  // At least one byte, what was received before first; 0 at the end in order, -1 when it failed or the
  // deadline passed.
  ssize_t read(char* out, std::size_t size, Deadline deadline);
  // All of it; each piece that the other side takes gives it `patience` for the next.
  bool write(const char* data, std::size_t size, std::chrono::seconds patience);
  // Until the socket can be read, or written.
  bool wait(Step step, Deadline deadline) const;

  // Says farewell, as far as that needs no waiting: nothing is written after it.
  void end_writing();
  // Takes away what comes, so that the other side reads what was written to it. kDone: there may be more.
  Step discard();
  // Past TLS: for who does not speak it.
  void write_in_the_clear(const std::string& text);

 private:
  Step step_of(int done);

  const int socket_;
  tls::SslPointer ssl_;
  std::string shown_;  // the subject of the certificate that was shown
  tls::Refusal refusal_;
  bool failed_ = false;
  std::string received_;
  std::size_t read_ = 0;  // of `received_`
};

}  // namespace tidemark::control
