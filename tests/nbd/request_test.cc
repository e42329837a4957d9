#include "nbd/request.h"

#include <gtest/gtest.h>

#include <vector>

namespace tidemark::nbd {
namespace {

constexpr std::uint64_t kSize = 1 << 20;
constexpr std::uint64_t kHuge = 1ull << 62;

Request make(std::uint16_t type, std::uint64_t offset, std::uint32_t length, int flags = 0) {
  Request request;
  request.type = type;
  request.offset = offset;
  request.length = length;
  request.flags = static_cast<std::uint16_t>(flags);
  return request;
}

Agreement agreement(bool read_only = false, bool structured = true) {
  Agreement agreed;
  agreed.size_bytes = kSize;
  agreed.read_only = read_only;
  agreed.structured_replies = structured;
  agreed.allocation_context = structured;
  return agreed;
}

WireError verdict(const Request& request, const Agreement& agreed) {
  const std::optional<Refusal> refusal = validate(request, agreed);
  if (!refusal.has_value()) return WireError::kNone;
  EXPECT_FALSE(refusal->message.empty());
  EXPECT_NE(refusal->error, WireError::kNone);
  return refusal->error;
}

const std::vector<std::uint16_t> kRanged = {kCommandRead,  kCommandWrite,       kCommandTrim,
                                            kCommandCache, kCommandWriteZeroes, kCommandBlockStatus};

TEST(Validate, AcceptsWhatLiesInside) {
  for (const std::uint16_t type : kRanged) {
    EXPECT_EQ(verdict(make(type, 0, kSize), agreement()), WireError::kNone);
    EXPECT_EQ(verdict(make(type, kSize - 1, 1), agreement()), WireError::kNone);
  }
  EXPECT_EQ(verdict(make(kCommandFlush, 0, 0), agreement()), WireError::kNone);
}

TEST(Validate, BeyondTheEndIsNoSpaceForWritesAndInvalidForTheOthers) {
  struct Range {
    std::uint64_t offset;
    std::uint32_t length;
  };
  // The last three wrap around when offset and length are added.
  const std::vector<Range> ranges = {{kSize, 1},
                                     {kSize - 1, 2},
                                     {0, kSize + 1},
                                     {kSize + 1, 1},
                                     {UINT64_MAX, 1},
                                     {UINT64_MAX - 4095, 4096},
                                     {UINT64_MAX - 10, 0xffffffff}};
  for (const std::uint16_t type : kRanged) {
    const bool writes = type == kCommandWrite || type == kCommandWriteZeroes;
    for (const Range& range : ranges) {
      EXPECT_EQ(verdict(make(type, range.offset, range.length), agreement()),
                writes ? WireError::kNoSpace : WireError::kInvalid)
          << type << " " << range.offset << " " << range.length;
    }
  }
}

TEST(Validate, ZeroLengthIsInvalid) {
  for (const std::uint16_t type : kRanged) {
    EXPECT_EQ(verdict(make(type, 0, 0), agreement()), WireError::kInvalid);
  }
}

TEST(Validate, FlushHasNeitherOffsetNorLength) {
  EXPECT_EQ(verdict(make(kCommandFlush, 1, 0), agreement()), WireError::kInvalid);
  EXPECT_EQ(verdict(make(kCommandFlush, 0, 1), agreement()), WireError::kInvalid);
}

TEST(Validate, EveryCommandTakesFuaAndOnlyTheFlagsDocumentedForIt) {
  for (std::uint16_t type = 0; type < 8; ++type) {
    if (type == kCommandDisconnect) continue;
    unsigned documented = kCommandFlagFua;
    if (type == kCommandRead) documented |= kCommandFlagDf;
    if (type == kCommandWriteZeroes) documented |= kCommandFlagNoHole | kCommandFlagFastZero;
    if (type == kCommandBlockStatus) documented |= kCommandFlagReqOne;
    for (unsigned bit = 0; bit < 16; ++bit) {
      const std::uint32_t length = type == kCommandFlush ? 0 : 512;
      const bool fine = (documented & (1u << bit)) != 0;
      EXPECT_EQ(verdict(make(type, 0, length, 1 << bit), agreement()),
                fine ? WireError::kNone : WireError::kInvalid)
          << type << " bit " << bit;
    }
  }
}

TEST(Validate, DfNeedsStructuredReplies) {
  EXPECT_EQ(verdict(make(kCommandRead, 0, 512, kCommandFlagDf), agreement(false, false)),
            WireError::kInvalid);
}

TEST(Validate, BlockStatusNeedsAContext) {
  EXPECT_EQ(verdict(make(kCommandBlockStatus, 0, 512), agreement(false, false)), WireError::kInvalid);
}

TEST(Validate, NothingChangesAReadOnlyExport) {
  for (const std::uint16_t type : {kCommandWrite, kCommandTrim, kCommandWriteZeroes}) {
    EXPECT_EQ(verdict(make(type, 0, 512), agreement(true)), WireError::kPermission);
    EXPECT_EQ(verdict(make(type, 2 * kSize, 512), agreement(true)), WireError::kPermission);
  }
  for (const std::uint16_t type : {kCommandRead, kCommandCache, kCommandBlockStatus}) {
    EXPECT_EQ(verdict(make(type, 0, 512), agreement(true)), WireError::kNone);
  }
  EXPECT_EQ(verdict(make(kCommandFlush, 0, 0), agreement(true)), WireError::kNone);
}

TEST(Validate, UnknownCommandsAreInvalid) {
  for (const int type : {8, 9, 100, 0xffff}) {
    EXPECT_EQ(verdict(make(static_cast<std::uint16_t>(type), 0, 512), agreement()), WireError::kInvalid);
  }
}

TEST(Validate, OnlyReadsAreBoundedBelowTheSizeOfTheExport) {
  Agreement agreed = agreement();
  agreed.size_bytes = kHuge;
  EXPECT_EQ(verdict(make(kCommandRead, 0, kPayloadBytesMax), agreed), WireError::kNone);
  EXPECT_EQ(verdict(make(kCommandRead, 0, kPayloadBytesMax + 1), agreed), WireError::kInvalid);
  for (const std::uint16_t type : {kCommandTrim, kCommandWriteZeroes, kCommandCache, kCommandBlockStatus}) {
    EXPECT_EQ(verdict(make(type, kHuge - 0xffffffffull, 0xffffffff), agreed), WireError::kNone);
  }
}

TEST(WireErrors, FollowTheTable) {
  const Request plain = make(kCommandWrite, 0, 512);
  EXPECT_EQ(wire_error(ErrorCode::kNoSpace, plain), WireError::kNoSpace);
  EXPECT_EQ(wire_error(ErrorCode::kReadOnly, plain), WireError::kPermission);
  EXPECT_EQ(wire_error(ErrorCode::kShutdown, plain), WireError::kShutdown);
  EXPECT_EQ(wire_error(ErrorCode::kInvalid, plain), WireError::kInvalid);
  for (const ErrorCode code :
       {ErrorCode::kNotFound, ErrorCode::kExists, ErrorCode::kRefused, ErrorCode::kBusy, ErrorCode::kExpired,
        ErrorCode::kNotReceived, ErrorCode::kInGap, ErrorCode::kIo, ErrorCode::kDamaged, ErrorCode::kClosed,
        ErrorCode::kTimeout}) {
    EXPECT_EQ(wire_error(code, plain), WireError::kIo);
  }
}

TEST(WireErrors, NotSupportedIsSaidToFastZeroAlone) {
  const Request fast = make(kCommandWriteZeroes, 0, 512, kCommandFlagFastZero);
  EXPECT_EQ(wire_error(ErrorCode::kUnsupported, fast), WireError::kNotSupported);
  EXPECT_EQ(wire_error(ErrorCode::kUnsupported, make(kCommandWriteZeroes, 0, 512)), WireError::kInvalid);
  EXPECT_EQ(wire_error(ErrorCode::kUnsupported, make(kCommandTrim, 0, 512)), WireError::kInvalid);
}

TEST(WireErrors, MessagesStayStringsOfTheProtocol) {
  const std::string message = displayable(std::string(5000, '\x01'));
  EXPECT_LE(message.size(), kStringBytesMax);
  EXPECT_EQ(message.find('\x01'), std::string::npos);
  WireEncoder out;
  encode_error_chunk(out, 1, WireError::kIo, std::string(100000, 'x'));
  EXPECT_EQ(out.size(), kChunkHeaderBytes + 6 + kStringBytesMax);
}

}  // namespace
}  // namespace tidemark::nbd
