#pragma once

#include <sys/socket.h>

#include <string>
#include <vector>

#include "base/result.h"
#include "io/stream.h"

namespace tidemark::os {

// A socket address as the kernel takes it.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;

  int family() const { return storage.ss_family; }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  // "unix", "127.0.0.1:51234", "[::1]:51234".
  std::string to_string() const;
  std::uint16_t port() const;
};

// kInvalid for a path that a socket address cannot hold.
Result<SocketAddress> unix_socket_address(const std::string& path);

enum class LookUp {
  kNumericOnly,  // never blocks; kNotFound for a name
  kNames,        // may ask name servers, for many seconds
};
// The TCP addresses of a host, in the system's order of preference; not empty.
Result<std::vector<SocketAddress>> look_up(const io::Address& address, bool to_listen, LookUp how);

}  // namespace tidemark::os
