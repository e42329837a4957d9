#include "nbd/request.h"

#include "base/names.h"

namespace tidemark::nbd {

namespace {

// Long enough for any sentence of ours; with every byte escaped as \xNN still a string of the protocol.
constexpr std::size_t kMessageLengthMax = 1000;
static_assert(4 * kMessageLengthMax + 3 <= kStringBytesMax);

struct CommandRule {
  const char* name;
  std::uint16_t flags;  // accepted ones, beside FUA, which is accepted everywhere
  bool has_range;       // offset and length name bytes of the export
  bool changes;         // refused on a read-only export
  WireError beyond_end;
};

// One row per command. FUA: "the server MUST accept all commands with this bit set (even by ignoring
// the bit)". Beyond the end: ENOSPC for what writes, EINVAL for the others, as the specification asks.
const CommandRule* rule_of(std::uint16_t type) {
  static constexpr CommandRule kRead{"READ", kCommandFlagDf, true, false, WireError::kInvalid};
  static constexpr CommandRule kWrite{"WRITE", 0, true, true, WireError::kNoSpace};
  static constexpr CommandRule kFlush{"FLUSH", 0, false, false, WireError::kInvalid};
  static constexpr CommandRule kTrim{"TRIM", 0, true, true, WireError::kInvalid};
  static constexpr CommandRule kCache{"CACHE", 0, true, false, WireError::kInvalid};
  static constexpr CommandRule kWriteZeroes{"WRITE_ZEROES", kCommandFlagNoHole | kCommandFlagFastZero, true,
                                            true, WireError::kNoSpace};
  static constexpr CommandRule kBlockStatus{"BLOCK_STATUS", kCommandFlagReqOne, true, false,
                                            WireError::kInvalid};
  switch (type) {
    case kCommandRead:
      return &kRead;
    case kCommandWrite:
      return &kWrite;
    case kCommandFlush:
      return &kFlush;
    case kCommandTrim:
      return &kTrim;
    case kCommandCache:
      return &kCache;
    case kCommandWriteZeroes:
      return &kWriteZeroes;
    case kCommandBlockStatus:
      return &kBlockStatus;
    default:
      return nullptr;
  }
}

std::optional<Refusal> refuse(WireError error, std::string message) {
  return Refusal{error, std::move(message)};
}

std::optional<Refusal> validate_range(const Request& request, const CommandRule& rule,
                                      const Agreement& agreement) {
  const std::string name = rule.name;
  if (request.length == 0) return refuse(WireError::kInvalid, name + " of 0 bytes");
  // Written so that offset + length is never formed and cannot wrap.
  if (request.offset > agreement.size_bytes || request.length > agreement.size_bytes - request.offset) {
    return refuse(rule.beyond_end, name + " of " + std::to_string(request.length) + " bytes at offset " +
                                       std::to_string(request.offset) +
                                       " reaches beyond the end of the export at " +
                                       std::to_string(agreement.size_bytes));
  }
  if (request.type == kCommandRead && request.length > kPayloadBytesMax) {
    return refuse(WireError::kInvalid, "READ of " + std::to_string(request.length) +
                                           " bytes, where at most " + std::to_string(kPayloadBytesMax) +
                                           " are read at once");
  }
  return std::nullopt;
}

}  // namespace

std::uint16_t transmission_flags(const Agreement& agreement) {
  unsigned flags =
      kTransmissionHasFlags | kTransmissionSendFlush | kTransmissionSendFua | kTransmissionSendCache;
  if (agreement.read_only) {
    flags |= kTransmissionReadOnly;
  } else {
    flags |= kTransmissionSendTrim | kTransmissionSendWriteZeroes | kTransmissionSendFastZero;
  }
  if (agreement.structured_replies) flags |= kTransmissionSendDf;
  if (agreement.multi_conn) flags |= kTransmissionCanMultiConn;
  return static_cast<std::uint16_t>(flags);
}

std::optional<Refusal> validate(const Request& request, const Agreement& agreement) {
  const CommandRule* rule = rule_of(request.type);
  if (rule == nullptr) {
    return refuse(WireError::kInvalid, "command " + std::to_string(request.type) + " is not known here");
  }
  unsigned accepted = rule->flags | kCommandFlagFua;
  // DF may be used only where NBD_FLAG_SEND_DF was shown, which needs structured replies.
  if (!agreement.structured_replies) accepted &= ~unsigned{kCommandFlagDf};
  if ((request.flags & ~accepted) != 0) {
    return refuse(WireError::kInvalid, std::string(rule->name) + " with flags " +
                                           std::to_string(request.flags) +
                                           ", some of which it does not take here");
  }
  if (rule->changes && agreement.read_only) {
    return refuse(WireError::kPermission, std::string(rule->name) + " on an export that is read-only");
  }
  if (request.type == kCommandBlockStatus && !agreement.allocation_context) {
    return refuse(WireError::kInvalid, "BLOCK_STATUS without a metadata context selected for this export");
  }
  if (!rule->has_range) {
    if (request.offset != 0 || request.length != 0) {
      return refuse(WireError::kInvalid, std::string(rule->name) + " with an offset or a length");
    }
    return std::nullopt;
  }
  return validate_range(request, *rule, agreement);
}

WireError wire_error(ErrorCode code, const Request& request) {
  switch (code) {
    case ErrorCode::kNoSpace:
      return WireError::kNoSpace;
    case ErrorCode::kReadOnly:
      return WireError::kPermission;
    case ErrorCode::kShutdown:
      return WireError::kShutdown;
    case ErrorCode::kInvalid:
      return WireError::kInvalid;
    case ErrorCode::kUnsupported:
      // ENOTSUP says "not fast" and nothing else; a WRITE_ZEROES without FAST_ZERO must not fail with it.
      return request.type == kCommandWriteZeroes && request.has(kCommandFlagFastZero)
                 ? WireError::kNotSupported
                 : WireError::kInvalid;
    default:
      return WireError::kIo;
  }
}

std::uint32_t option_error(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalid:
      return kReplyErrorInvalid;
    case ErrorCode::kRefused:
    case ErrorCode::kBusy:
    case ErrorCode::kReadOnly:
    case ErrorCode::kUnsupported:  // ERR_UNSUP would say that the option is unknown
      return kReplyErrorPolicy;
    case ErrorCode::kShutdown:
      return kReplyErrorShutdown;
    default:
      return kReplyErrorUnknown;  // "the requested export is not available"
  }
}

std::string displayable(std::string_view message) {
  return printable(message, kMessageLengthMax);
}

}  // namespace tidemark::nbd
