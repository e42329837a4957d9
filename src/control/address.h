#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace tidemark::control {

// Where a control API listens: "unix:PATH" or "tcp:HOST:PORT" ("tcp:[::1]:7080" for IPv6). A client may also
// write "https://HOST:PORT" (see find_node).
struct ControlAddress {
  bool is_unix = true;
  std::string path;  // of the socket
  std::string host;
  std::uint16_t port = 0;
  bool needs_tls = false;  // of TCP, for a client: it was written https://

  std::string to_string() const;
};

// Longest path that fits in a sockaddr_un with its final zero.
inline constexpr std::size_t kSocketPathLengthMax = 107;

Result<ControlAddress> parse_control_address(const std::string& text);

}  // namespace tidemark::control
