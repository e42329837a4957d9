#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"

// The numbers and the byte order of the NBD protocol, and nothing else. Names follow the specification
// (doc/proto.md of the NetworkBlockDevice project); docs/nbd-protocol.md says which test holds which rule.

namespace tidemark::nbd {

// --- Handshake ---
inline constexpr std::uint64_t kServerMagic = 0x4e42444d41474943;  // "NBDMAGIC"
inline constexpr std::uint64_t kOptionMagic = 0x49484156454f5054;  // "IHAVEOPT"
inline constexpr std::uint64_t kOptionReplyMagic = 0x0003e889045565a9;

inline constexpr std::uint16_t kFlagFixedNewstyle = 1 << 0;
inline constexpr std::uint16_t kFlagNoZeroes = 1 << 1;
inline constexpr std::uint32_t kClientFlagFixedNewstyle = 1 << 0;
inline constexpr std::uint32_t kClientFlagNoZeroes = 1 << 1;

inline constexpr std::uint32_t kOptionExportName = 1;
inline constexpr std::uint32_t kOptionAbort = 2;
inline constexpr std::uint32_t kOptionList = 3;
inline constexpr std::uint32_t kOptionStartTls = 5;
inline constexpr std::uint32_t kOptionInfo = 6;
inline constexpr std::uint32_t kOptionGo = 7;
inline constexpr std::uint32_t kOptionStructuredReply = 8;
inline constexpr std::uint32_t kOptionListMetaContext = 9;
inline constexpr std::uint32_t kOptionSetMetaContext = 10;

inline constexpr std::uint32_t kReplyAck = 1;
inline constexpr std::uint32_t kReplyServer = 2;
inline constexpr std::uint32_t kReplyInfo = 3;
inline constexpr std::uint32_t kReplyMetaContext = 4;
inline constexpr std::uint32_t kReplyErrorBit = 1u << 31;
inline constexpr std::uint32_t kReplyErrorUnsupported = kReplyErrorBit + 1;
inline constexpr std::uint32_t kReplyErrorPolicy = kReplyErrorBit + 2;
inline constexpr std::uint32_t kReplyErrorInvalid = kReplyErrorBit + 3;
inline constexpr std::uint32_t kReplyErrorTlsRequired = kReplyErrorBit + 5;
inline constexpr std::uint32_t kReplyErrorUnknown = kReplyErrorBit + 6;
inline constexpr std::uint32_t kReplyErrorShutdown = kReplyErrorBit + 7;
inline constexpr std::uint32_t kReplyErrorTooBig = kReplyErrorBit + 9;

inline constexpr std::uint16_t kInfoExport = 0;
inline constexpr std::uint16_t kInfoName = 1;
inline constexpr std::uint16_t kInfoDescription = 2;
inline constexpr std::uint16_t kInfoBlockSize = 3;

inline constexpr std::uint32_t kBlockSizeMinimum = 1;
inline constexpr std::uint32_t kBlockSizePreferred = 4096;
// The longest READ answered and the longest WRITE payload taken. The specification asks that anything below
// 2^25 bytes is not held to be an attack.
inline constexpr std::uint32_t kPayloadBytesMax = 32u << 20;

// --- Transmission ---
inline constexpr std::uint16_t kTransmissionHasFlags = 1 << 0;
inline constexpr std::uint16_t kTransmissionReadOnly = 1 << 1;
inline constexpr std::uint16_t kTransmissionSendFlush = 1 << 2;
inline constexpr std::uint16_t kTransmissionSendFua = 1 << 3;
inline constexpr std::uint16_t kTransmissionSendTrim = 1 << 5;
inline constexpr std::uint16_t kTransmissionSendWriteZeroes = 1 << 6;
inline constexpr std::uint16_t kTransmissionSendDf = 1 << 7;
inline constexpr std::uint16_t kTransmissionCanMultiConn = 1 << 8;
inline constexpr std::uint16_t kTransmissionSendCache = 1 << 10;
inline constexpr std::uint16_t kTransmissionSendFastZero = 1 << 11;

inline constexpr std::uint32_t kRequestMagic = 0x25609513;
inline constexpr std::uint32_t kSimpleReplyMagic = 0x67446698;
inline constexpr std::uint32_t kStructuredReplyMagic = 0x668e33ef;
inline constexpr std::size_t kRequestHeaderBytes = 28;
inline constexpr std::size_t kSimpleReplyBytes = 16;
inline constexpr std::size_t kChunkHeaderBytes = 20;

inline constexpr std::uint16_t kCommandRead = 0;
inline constexpr std::uint16_t kCommandWrite = 1;
inline constexpr std::uint16_t kCommandDisconnect = 2;
inline constexpr std::uint16_t kCommandFlush = 3;
inline constexpr std::uint16_t kCommandTrim = 4;
inline constexpr std::uint16_t kCommandCache = 5;
inline constexpr std::uint16_t kCommandWriteZeroes = 6;
inline constexpr std::uint16_t kCommandBlockStatus = 7;

inline constexpr std::uint16_t kCommandFlagFua = 1 << 0;
inline constexpr std::uint16_t kCommandFlagNoHole = 1 << 1;
inline constexpr std::uint16_t kCommandFlagDf = 1 << 2;
inline constexpr std::uint16_t kCommandFlagReqOne = 1 << 3;
inline constexpr std::uint16_t kCommandFlagFastZero = 1 << 4;

inline constexpr std::uint16_t kChunkFlagDone = 1 << 0;
inline constexpr std::uint16_t kChunkNone = 0;
inline constexpr std::uint16_t kChunkOffsetData = 1;
inline constexpr std::uint16_t kChunkBlockStatus = 5;
inline constexpr std::uint16_t kChunkError = (1 << 15) + 1;

inline constexpr std::uint32_t kStateHole = 1 << 0;
inline constexpr std::uint32_t kStateZero = 1 << 1;

inline constexpr std::string_view kAllocationContext = "base:allocation";
inline constexpr std::uint32_t kAllocationContextId = 1;

// The limit that the specification sets on every string: names, queries, messages.
inline constexpr std::size_t kStringBytesMax = 4096;

// The error values of the specification; they are not the errno values of this machine.
enum class WireError : std::uint32_t {
  kNone = 0,
  kPermission = 1,
  kIo = 5,
  kInvalid = 22,
  kNoSpace = 28,
  kNotSupported = 95,
  kShutdown = 108,
};

// Appends fields in network byte order.
class WireEncoder {
 public:
  void u16(std::uint16_t v) { put(v, 2); }
  void u32(std::uint32_t v) { put(v, 4); }
  void u64(std::uint64_t v) { put(v, 8); }
  void raw(Bytes bytes) { out_.insert(out_.end(), bytes.begin(), bytes.end()); }
  void text(std::string_view text) { raw(as_bytes(text)); }
  void zeroes(std::size_t count) { out_.insert(out_.end(), count, std::byte{0}); }
  std::size_t size() const { return out_.size(); }
  Bytes bytes() const { return out_; }
  void clear() { out_.clear(); }

 private:
  void put(std::uint64_t v, int size) {
    for (int i = size - 1; i >= 0; --i) out_.push_back(std::byte(v >> (8 * i)));
  }
  std::vector<std::byte> out_;
};

// Reads fields in network byte order from bytes that may be anything. A read past the end yields zeroes
// and sets failed(), which the caller checks after the last field.
class WireDecoder {
 public:
  explicit WireDecoder(Bytes bytes) : rest_(bytes) {}
  std::uint16_t u16() { return static_cast<std::uint16_t>(get(2)); }
  std::uint32_t u32() { return static_cast<std::uint32_t>(get(4)); }
  std::uint64_t u64() { return get(8); }
  // `size` may be any number that came from outside.
  std::string text(std::uint64_t size) {
    const Bytes bytes = raw(size);
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  Bytes raw(std::uint64_t size) {
    if (size > rest_.size()) {
      failed_ = true;
      rest_ = {};
      return {};
    }
    const Bytes out = rest_.first(static_cast<std::size_t>(size));
    rest_ = rest_.subspan(static_cast<std::size_t>(size));
    return out;
  }
  std::size_t remaining() const { return rest_.size(); }
  bool failed() const { return failed_; }
  // Every field was there and nothing is left over.
  bool done() const { return !failed_ && rest_.empty(); }

 private:
  std::uint64_t get(std::size_t size) {
    std::uint64_t v = 0;
    for (const std::byte byte : raw(size)) v = v << 8 | static_cast<std::uint64_t>(byte);
    return v;
  }
  Bytes rest_;
  bool failed_ = false;
};

struct OptionHeader {
  static constexpr std::size_t kBytes = 16;
  std::uint64_t magic = 0;
  std::uint32_t option = 0;
  std::uint32_t length = 0;  // bytes of data that follow
  static OptionHeader decode(Bytes bytes);
};

// Every field as the client sent it; request.h says what is acceptable.
struct Request {
  std::uint32_t magic = 0;
  std::uint16_t flags = 0;
  std::uint16_t type = 0;
  std::uint64_t cookie = 0;  // echoed in the reply; opaque, need not be unique
  std::uint64_t offset = 0;
  std::uint32_t length = 0;
  // `bytes` holds at least kRequestHeaderBytes.
  static Request decode(Bytes bytes);
  bool has(std::uint16_t flag) const { return (flags & flag) != 0; }
  // Bytes of payload that follow the header on the wire.
  std::uint32_t payload_bytes() const { return type == kCommandWrite ? length : 0; }
};

// The greeting: magics and handshake flags.
void encode_greeting(WireEncoder& out);
void encode_option_reply(WireEncoder& out, std::uint32_t option, std::uint32_t type, Bytes data);
void encode_simple_reply(WireEncoder& out, std::uint64_t cookie, WireError error);
void encode_chunk_header(WireEncoder& out, std::uint16_t flags, std::uint16_t type, std::uint64_t cookie,
                         std::uint32_t payload_bytes);
// The only and last chunk of a reply that failed; `message` is cut to the limit of strings.
void encode_error_chunk(WireEncoder& out, std::uint64_t cookie, WireError error, std::string_view message);

}  // namespace tidemark::nbd
