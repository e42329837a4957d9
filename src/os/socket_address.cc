#include "os/socket_address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/names.h"
#include "os/descriptor.h"

namespace tidemark::os {

std::uint16_t SocketAddress::port() const {
  if (family() == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in*>(&storage)->sin_port);
  if (family() == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_port);
  return 0;
}

std::string SocketAddress::to_string() const {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (family() == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&storage);
    ::inet_ntop(AF_INET, &v4->sin_addr, text.data(), text.size());
    return std::string(text.data()) + ":" + std::to_string(port());
  }
  if (family() == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&storage);
    ::inet_ntop(AF_INET6, &v6->sin6_addr, text.data(), text.size());
    return "[" + std::string(text.data()) + "]:" + std::to_string(port());
  }
  return "unix";
}

Result<SocketAddress> unix_socket_address(const std::string& path) {
  SocketAddress address;
  auto* unix_address = reinterpret_cast<sockaddr_un*>(&address.storage);
  if (path.empty() || path.size() >= sizeof unix_address->sun_path || path.find('\0') != std::string::npos) {
    return fail(ErrorCode::kInvalid,
                "unix socket path '" + printable(path, 120) +
                    "' must have 1 to 107 bytes and no zero byte; choose a shorter path");
  }
  unix_address->sun_family = AF_UNIX;
  std::memcpy(unix_address->sun_path, path.c_str(), path.size() + 1);
  address.length = sizeof(sockaddr_un);
  return address;
}

Result<std::vector<SocketAddress>> look_up(const io::Address& address, bool to_listen, LookUp how) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  if (to_listen) hints.ai_flags |= AI_PASSIVE;
  if (how == LookUp::kNumericOnly) hints.ai_flags |= AI_NUMERICHOST;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found);
  if (error != 0) {
    const std::string why = error == EAI_SYSTEM ? errno_text(errno) : ::gai_strerror(error);
    return fail(ErrorCode::kNotFound, "host '" + printable(address.host) + "' could not be looked up: " +
                                          why + "; check the name, or give a numeric address");
  }
  std::vector<SocketAddress> addresses;
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    if (each->ai_family != AF_INET && each->ai_family != AF_INET6) continue;
    SocketAddress& one = addresses.emplace_back();
    std::memcpy(&one.storage, each->ai_addr, each->ai_addrlen);
    one.length = each->ai_addrlen;
  }
  ::freeaddrinfo(found);
  if (addresses.empty()) {
    return fail(ErrorCode::kNotFound, "host '" + printable(address.host) + "' has no IPv4 or IPv6 address");
  }
  return addresses;
}

}  // namespace tidemark::os
