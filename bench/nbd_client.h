#pragma once

// What the load generators have in common: a client of NBD on a unix socket, up to where requests begin, as
// the NetworkBlockDevice project's doc/proto.md says: fixed newstyle, NBD_OPT_GO, no structured replies. What
// goes wrong is told on standard error, and ends the program with status 1.

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

namespace load {

extern const char* const program;  // its name, for what it says

// The specification's names and numbers.
inline constexpr std::uint64_t kGreeting = 0x4e42444d41474943;     // NBDMAGIC
inline constexpr std::uint64_t kOptionMagic = 0x49484156454f5054;  // IHAVEOPT
inline constexpr std::uint64_t kOptionReplyMagic = 0x3e889045565a9;
inline constexpr std::uint32_t kRequestMagic = 0x25609513;
inline constexpr std::uint32_t kSimpleReplyMagic = 0x67446698;
inline constexpr std::uint16_t kFixedNewstyle = 1;  // of the server's and of the client's flags
inline constexpr std::uint16_t kNoZeroes = 2;
inline constexpr std::uint32_t kOptionGo = 7;
inline constexpr std::uint32_t kReplyAck = 1;
inline constexpr std::uint32_t kReplyInfo = 3;
inline constexpr std::uint32_t kReplyErrorBit = 1u << 31;
inline constexpr std::uint32_t kReplyErrorUnsupported = kReplyErrorBit | 1;
inline constexpr std::uint32_t kReplyErrorPolicy = kReplyErrorBit | 2;
inline constexpr std::uint32_t kReplyErrorTlsRequired = kReplyErrorBit | 5;
inline constexpr std::uint32_t kReplyErrorUnknown = kReplyErrorBit | 6;
inline constexpr std::uint16_t kInfoExport = 0;
inline constexpr std::uint16_t kReadOnly = 1 << 1;  // of the export's flags
inline constexpr std::uint16_t kSendFlush = 1 << 2;
enum class Command : std::uint16_t { kRead = 0, kWrite = 1, kDisconnect = 2, kFlush = 3 };

inline constexpr std::uint64_t kRequestLengthBytes = 28;
inline constexpr std::uint64_t kReplyLengthBytes = 16;
inline constexpr std::uint64_t kOptionReplyLengthBytesMax = 64u << 10;
inline constexpr int kSilenceSecondsMax = 60;  // a server that says nothing for so long has failed

[[noreturn]] inline void fail(const std::string& sentence) {
  std::fprintf(stderr, "%s: %s\n", program, sentence.c_str());
  std::exit(1);
}

[[noreturn]] inline void fail_with_errno(const std::string& what, int error) {
  fail(what + ": " + std::strerror(error));
}

// Numbers on the wire: big-endian.

template <typename Integer>
void put(std::uint8_t* at, Integer value) {
  for (std::size_t i = 0; i < sizeof(Integer); ++i) {
    at[i] = static_cast<std::uint8_t>(value >> (8 * (sizeof(Integer) - 1 - i)));
  }
}

template <typename Integer>
Integer get(const std::uint8_t* at) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof(Integer); ++i) value = value << 8 | at[i];
  return static_cast<Integer>(value);
}

template <typename Integer>
void append(std::vector<std::uint8_t>& bytes, Integer value) {
  bytes.resize(bytes.size() + sizeof(Integer));
  put(bytes.data() + bytes.size() - sizeof(Integer), value);
}

struct Export {
  std::uint64_t size_bytes = 0;
  std::uint16_t flags = 0;
};

inline int connect_to(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    fail("the name of the socket has more than " + std::to_string(sizeof address.sun_path - 1) +
         " bytes: " + path);
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const int descriptor = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) fail_with_errno("no socket", errno);
  if (::connect(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    fail_with_errno("cannot connect to " + path, errno);
  }
  const timeval silence = {.tv_sec = kSilenceSecondsMax, .tv_usec = 0};
  if (::setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence) != 0 ||
      ::setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &silence, sizeof silence) != 0) {
    fail_with_errno("no limit for how long the server may be silent", errno);
  }
  return descriptor;
}

[[noreturn]] inline void fail_of_connection(ssize_t result, int error) {
  if (result == 0) fail("the server closed the connection");
  if (error == EAGAIN || error == EWOULDBLOCK) {
    fail("the server was silent for " + std::to_string(kSilenceSecondsMax) + " s");
  }
  fail_with_errno("the connection failed", error);
}

inline void send_all(int descriptor, const std::vector<std::uint8_t>& bytes) {
  for (std::size_t sent = 0; sent < bytes.size();) {
    const ssize_t result = ::send(descriptor, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (result < 0 && errno == EINTR) continue;
    if (result < 0) fail_of_connection(result, errno);
    sent += static_cast<std::size_t>(result);
  }
}

inline void receive_all(int descriptor, std::uint8_t* bytes, std::size_t length) {
  while (length > 0) {
    const ssize_t result = ::recv(descriptor, bytes, length, 0);
    if (result < 0 && errno == EINTR) continue;
    if (result <= 0) fail_of_connection(result, errno);
    bytes += result;
    length -= static_cast<std::size_t>(result);
  }
}

[[noreturn]] inline void fail_of_export(std::uint32_t kind, const std::string& name,
                                        const std::string& message) {
  std::string sentence = "the server refused export '" + name + "'";
  if (kind == kReplyErrorUnknown) sentence = "the server has no export '" + name + "'";
  if (kind == kReplyErrorTlsRequired)
    sentence = "the server wants TLS for export '" + name + "', which " + program + " lacks";
  if (kind == kReplyErrorPolicy) sentence = "the server does not allow export '" + name + "'";
  if (kind == kReplyErrorUnsupported) sentence = "the server does not know NBD_OPT_GO";
  if (!message.empty()) sentence += ": " + message;
  char code[32];
  std::snprintf(code, sizeof code, " (error %" PRIu32 ")", kind & ~kReplyErrorBit);
  fail(sentence + code);
}

// Opens the export; requests may follow.
inline Export shake_hands(int descriptor, const std::string& name) {
  std::array<std::uint8_t, 20> head;  // of an option's reply, the longest
  receive_all(descriptor, head.data(), 18);
  if (get<std::uint64_t>(head.data()) != kGreeting) fail("who listens there does not greet as an NBD server");
  const auto flags = get<std::uint16_t>(head.data() + 16);
  if (get<std::uint64_t>(head.data() + 8) != kOptionMagic || (flags & kFixedNewstyle) == 0) {
    fail("the server does not speak fixed newstyle");
  }
  std::vector<std::uint8_t> request;
  append<std::uint32_t>(request, flags & (kFixedNewstyle | kNoZeroes));
  append(request, kOptionMagic);
  append(request, kOptionGo);
  append(request, static_cast<std::uint32_t>(4 + name.size() + 2));
  append(request, static_cast<std::uint32_t>(name.size()));
  request.insert(request.end(), name.begin(), name.end());
  append<std::uint16_t>(request, 0);  // asks for no information but what is always sent
  send_all(descriptor, request);

  std::optional<Export> found;
  while (true) {
    receive_all(descriptor, head.data(), 20);
    const auto kind = get<std::uint32_t>(head.data() + 12);
    const auto length = get<std::uint32_t>(head.data() + 16);
    if (get<std::uint64_t>(head.data()) != kOptionReplyMagic ||
        get<std::uint32_t>(head.data() + 8) != kOptionGo || length > kOptionReplyLengthBytesMax) {
      fail("the server's reply to NBD_OPT_GO is none");
    }
    std::vector<std::uint8_t> data(length);
    receive_all(descriptor, data.data(), data.size());
    if ((kind & kReplyErrorBit) != 0) fail_of_export(kind, name, std::string(data.begin(), data.end()));
    if (kind == kReplyAck) break;
    if (kind == kReplyInfo && length == 12 && get<std::uint16_t>(data.data()) == kInfoExport) {
      found = Export{get<std::uint64_t>(data.data() + 2), get<std::uint16_t>(data.data() + 10)};
    }
  }
  if (!found) fail("the server did not say how large export '" + name + "' is");
  return *found;
}

}  // namespace load
