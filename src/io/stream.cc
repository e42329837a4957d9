#include "io/stream.h"

#include <algorithm>
#include <charconv>

#include "base/names.h"

namespace tidemark::io {
namespace {

// "127.0.0.1", but not "127.example.org": what is not four numbers is a name that could lead anywhere.
bool is_loopback_v4(const std::string& host) {
  if (!host.starts_with("127.") || std::count(host.begin(), host.end(), '.') != 3 || host.ends_with(".")) {
    return false;
  }
  return std::all_of(host.begin(), host.end(), [](char c) { return c == '.' || (c >= '0' && c <= '9'); });
}

}  // namespace

std::string Address::to_string() const {
  if (kind == Kind::kUnix) return "unix:" + path;
  const bool is_v6 = host.find(':') != std::string::npos;
  return "tcp:" + (is_v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<Address> Address::parse(const std::string& text) {
  const auto bad = [&](const std::string& why) {
    return fail(ErrorCode::kInvalid,
                "address '" + printable(text, 120) + "' " + why + "; write unix:PATH or tcp:HOST:PORT");
  };
  Address address;
  if (text.starts_with("unix:") || text.starts_with("/") || text.starts_with(".")) {
    address.kind = Kind::kUnix;
    address.path = text.starts_with("unix:") ? text.substr(5) : text;
    if (address.path.empty()) return bad("has no path");
    // sockaddr_un.sun_path holds 108 bytes with its terminator (unix(7)).
    if (address.path.size() > 107) return bad("has a path of more than 107 bytes, the limit of unix sockets");
    if (address.path.find('\0') != std::string::npos) return bad("has a zero byte in its path");
    return address;
  }
  if (!text.starts_with("tcp:")) return bad("has no known kind");
  const std::string rest = text.substr(4);
  const std::size_t colon = rest.rfind(':');
  if (colon == std::string::npos || colon + 1 == rest.size()) return bad("has no port");
  address.kind = Kind::kTcp;
  address.host = rest.substr(0, colon);
  if (address.host.starts_with("[") && address.host.ends_with("]")) {
    address.host = address.host.substr(1, address.host.size() - 2);
  }
  if (address.host.empty()) return bad("has no host");
  // Left over here, a bracket would be taken for the one that to_string() puts around an IPv6 address; and
  // the system would read a name only up to a zero byte.
  const auto is_stray = [](char c) { return c == '[' || c == ']' || (c >= 0 && c <= ' ') || c == '\x7f'; };
  if (std::any_of(address.host.begin(), address.host.end(), is_stray)) return bad("has no valid host");
  const char* begin = rest.data() + colon + 1;
  const char* end = rest.data() + rest.size();
  const auto [at, error] = std::from_chars(begin, end, address.port);
  if (error != std::errc{} || at != end) return bad("has no valid port");
  return address;
}

bool Address::is_local() const {
  if (kind == Kind::kUnix) return true;
  return host == "localhost" || host == "::1" || is_loopback_v4(host);
}

Task<Result<void>> read_exactly(Stream& stream, Buffer out) {
  std::size_t got = 0;
  while (got < out.size()) {
    Buffer rest = out.slice(got, out.size() - got);
    TM_CO_TRY_ASSIGN(const std::size_t n, co_await stream.read_some(std::move(rest)));
    if (n == 0) {
      co_return fail(ErrorCode::kClosed, "the connection ended after " + std::to_string(got) + " of " +
                                             std::to_string(out.size()) + " bytes");
    }
    got += n;
  }
  co_return Result<void>{};
}

}  // namespace tidemark::io
