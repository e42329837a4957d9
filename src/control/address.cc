#include "control/address.h"

#include <charconv>

#include "base/names.h"

namespace tidemark::control {

std::string ControlAddress::to_string() const {
  if (is_unix) return "unix:" + path;
  const bool needs_brackets = host.find(':') != std::string::npos;
  return (needs_tls ? "https://" : "tcp:") + (needs_brackets ? "[" + host + "]" : host) + ":" +
         std::to_string(port);
}

Result<ControlAddress> parse_control_address(const std::string& text) {
  const Error bad = fail(ErrorCode::kInvalid,
                         "'" + printable(text) + "' is not an address; write unix:PATH or tcp:HOST:PORT");
  if (text.find('\0') != std::string::npos) return bad;
  ControlAddress address;
  if (text.starts_with("unix:")) {
    address.path = text.substr(5);
    if (address.path.empty()) return bad;
    if (address.path.size() > kSocketPathLengthMax) {
      return fail(ErrorCode::kInvalid, "the socket path '" + printable(address.path, 120) +
                                           "' is longer than " + std::to_string(kSocketPathLengthMax) +
                                           " bytes; use a shorter folder, or a relative path");
    }
    return address;
  }
  if (!text.starts_with("tcp:")) return bad;
  const std::size_t colon = text.rfind(':');
  if (colon <= 4) return bad;
  address.is_unix = false;
  address.host = text.substr(4, colon - 4);
  if (address.host.starts_with("[") && address.host.ends_with("]")) {
    address.host = address.host.substr(1, address.host.size() - 2);
  } else if (address.host.find(':') != std::string::npos) {
    return bad;
  }
  // Left over here, a bracket would be taken for the one that to_string() puts around an IPv6 address.
  if (address.host.find_first_of("[]") != std::string::npos) return bad;
  const char* const begin = text.data() + colon + 1;
  const char* const end = text.data() + text.size();
  const auto [after, error] = std::from_chars(begin, end, address.port);
  if (address.host.empty() || begin == end || error != std::errc() || after != end) return bad;
  return address;
}

}  // namespace tidemark::control
