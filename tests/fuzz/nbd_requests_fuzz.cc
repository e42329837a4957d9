// A conversation of well-formed NBD requests: each record of the input is one, of any type, flags, place and
// length, with its payload. Chance seldom spells the magic of a second request, so the session target
// (nbd_session) stays with the first. The session must end in time.

#include "fuzz/fuzz.h"
#include "fuzz/nbd_session.h"

namespace tidemark::nbd::test {
namespace {

constexpr std::uint64_t kSizeBytes = 256 << 10;
constexpr std::size_t kRecordBytes = 12;
constexpr std::size_t kRequestsMax = 400;
constexpr std::uint32_t kPayloadBytesUsualMax = 64 << 10;
// Now and then so large that a length of which nobody may read so much at once lies within it.
constexpr std::uint64_t kLargeSizeBytes = 33 << 20;

std::uint32_t u32_at(Bytes bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) value |= static_cast<std::uint32_t>(bytes[at + i]) << (8 * i);
  return value;
}

// Usually within the export; with the topmost bits set, anywhere.
std::uint64_t place_of(std::uint32_t drawn) {
  if (drawn >> 30 == 3) return (static_cast<std::uint64_t>(drawn) << 34) | drawn;
  return drawn % (kSizeBytes + 2 * kBlockSizeBytes);
}

void say_record(Script& script, Bytes record, std::uint64_t cookie) {
  const auto type = static_cast<std::uint16_t>(static_cast<unsigned>(record[0]) % 10);
  const auto flags = static_cast<std::uint16_t>(static_cast<unsigned>(record[1]) & 0x3f);
  const std::uint64_t offset = place_of(u32_at(record, 2));
  const std::uint32_t drawn = u32_at(record, 6);
  const auto how_long = static_cast<unsigned>(record[10]);
  std::uint32_t length = drawn % (kPayloadBytesUsualMax + 1);
  if (how_long > 240) length = kPayloadBytesMax + drawn % kBlockSizeBytes;
  if (how_long > 248) length = drawn;
  script.say_request(type, cookie, offset, length, flags);
  if (type != kCommandWrite) return;
  // Of a length that nobody may send only the beginning comes.
  script.input.insert(script.input.end(), std::min(length, kPayloadBytesUsualMax), record[11]);
}

void run_conversation(Bytes input) {
  // Drawn anew by every change near the beginning: what the export cannot do is a part of it.
  const std::uint32_t mode = crc32c(input.first(std::min(input.size(), kRecordBytes))) & 0xff;
  sim::World world(mode);
  MemoryDirectory directory(world);
  const std::uint64_t size_bytes = mode >> 4 == 15 ? kLargeSizeBytes : kSizeBytes;
  MemoryExport& disk = directory.add("disk", size_bytes);
  disk.map = {{4096, true, true}, {size_bytes, false, false}};
  disk.takes_writes_at_once = (mode & 1) != 0;
  disk.info.read_only = (mode & 6) == 6;
  Script script(world);
  if ((mode & 6) == 2) {  // without structured replies and contexts
    WireEncoder client_flags;
    client_flags.u32(kClientFlagFixedNewstyle);
    script.say(client_flags);
    script.say_option(kOptionGo, RawClient::info_data("disk"));
  } else {
    script.say_handshake("disk");
  }
  // What the export cannot do, each kind of it.
  static constexpr ErrorCode kErrors[] = {ErrorCode::kNoSpace, ErrorCode::kReadOnly,    ErrorCode::kShutdown,
                                          ErrorCode::kInvalid, ErrorCode::kUnsupported, ErrorCode::kIo};
  if ((mode & 6) == 4) disk.failure = fail(kErrors[(mode >> 4) % std::size(kErrors)], "not now");
  if ((mode & 8) != 0) script.piece_bytes_max = 1 + (mode >> 4) * 100;
  std::uint64_t cookie = 0;
  for (; input.size() >= kRecordBytes && cookie < kRequestsMax; input = input.subspan(kRecordBytes)) {
    say_record(script, input.first(kRecordBytes), ++cookie);
  }
  hear_out(world, directory, disk, script);
}

}  // namespace
}  // namespace tidemark::nbd::test

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tidemark::nbd::test::run_conversation({reinterpret_cast<const std::byte*>(data), size});
  return 0;
}
