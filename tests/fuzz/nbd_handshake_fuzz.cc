// A handshake of well-formed options: each record of the input is one, with data of its kind that is whole,
// cut, or has something behind it. Chance seldom spells the magic of an option (nbd_session tries it
// nevertheless). The session must answer or hang up, in time, also when the server stops meanwhile.
#include <array>
#include <string>

#include "fuzz/fuzz.h"
#include "fuzz/nbd_session.h"
#include "nbd/handshake.h"

namespace tidemark::nbd::test {
namespace {

constexpr std::uint64_t kSizeBytes = 64 << 10;
constexpr std::size_t kRecordBytes = 5;  // the option, its name, what is asked (2), what is done to it
constexpr std::size_t kOptionsMax = 200;
constexpr std::size_t kSaidBytesMax = 256 << 10;  // read byte by byte that takes a second
constexpr std::array<std::uint32_t, 10> kOptions = {
    kOptionGo,   kOptionInfo,     kOptionSetMetaContext, kOptionListMetaContext, kOptionStructuredReply,
    kOptionList, kOptionStartTls, kOptionExportName,     kOptionAbort,           77};
constexpr std::array<ErrorCode, 7> kErrors = {
    ErrorCode::kInvalid,  ErrorCode::kRefused,  ErrorCode::kBusy, ErrorCode::kUnsupported,
    ErrorCode::kShutdown, ErrorCode::kReadOnly, ErrorCode::kIo};

// TLS that changes nothing, or is not accepted.
class PlainUpgrade final : public io::StreamUpgrade {
 public:
  explicit PlainUpgrade(bool accepts) : accepts_(accepts) {}
  io::Task<Result<std::unique_ptr<io::Stream>>> upgrade(std::unique_ptr<io::Stream> stream) override {
    if (!accepts_) co_return fail(ErrorCode::kRefused, "its certificate is not accepted");
    co_return stream;
  }

 private:
  bool accepts_;
};

std::string name_of(unsigned drawn) {
  static const std::array<std::string, 6> names = {
      "disk", "disk", "", "nothing", std::string("a\0b", 3), std::string(kStringBytesMax + 1, 'x')};
  return names[drawn % names.size()];
}

WireEncoder data_of(std::uint32_t option, unsigned name, unsigned asked, unsigned count) {
  static const std::array<std::string, 5> queries = {std::string(kAllocationContext), "base:", "other:thing",
                                                     "", std::string(kStringBytesMax + 1, 'q')};
  WireEncoder data;
  switch (option) {
    case kOptionGo:
    case kOptionInfo: {
      std::vector<std::uint16_t> items;
      for (unsigned i = 0; i < count % 6; ++i) items.push_back(static_cast<std::uint16_t>((asked >> i) % 5));
      return RawClient::info_data(name_of(name), items);
    }
    case kOptionSetMetaContext:
    case kOptionListMetaContext: {
      std::vector<std::string> wanted;
      for (unsigned i = 0; i < count % 4; ++i) wanted.push_back(queries[(asked + i) % queries.size()]);
      return RawClient::meta_data(name_of(name), wanted);
    }
    case kOptionExportName:
      data.text(name_of(name));
      return data;
    default:
      if (count % 4 == 3) data.zeroes(asked);
      return data;
  }
}

void say_record(Script& script, Bytes record) {
  const auto byte = [&record](std::size_t i) { return static_cast<unsigned>(record[i]); };
  const std::uint32_t option = kOptions[byte(0) % kOptions.size()];
  const WireEncoder data = data_of(option, byte(1), byte(2), byte(3));
  const unsigned done = byte(4);
  std::uint32_t length = static_cast<std::uint32_t>(data.size());
  if (done % 8 == 5) length -= std::min(length, 1 + (done >> 3) % 8);         // cut
  if (done % 8 == 6) length += 1 + (done >> 3) % 8;                           // something behind it
  if (done % 32 == 7) length = Handshake::kOptionBytesMax + 1 + (done >> 5);  // longer than any may be
  if (done % 32 == 15) length = UINT32_MAX - done;
  WireEncoder out;
  out.u64(kOptionMagic);
  out.u32(option);
  out.u32(length);
  script.say(out);
  const std::size_t begin = script.input.size();
  script.input.insert(script.input.end(), data.bytes().begin(), data.bytes().end());
  script.input.resize(begin + std::min<std::size_t>(length, 2 * Handshake::kOptionBytesMax));
}

void run_handshake(Bytes input) {
  if (input.size() < 2) return;
  const auto mode = static_cast<unsigned>(input[0]);
  const auto more = static_cast<unsigned>(input[1]);
  input = input.subspan(2);
  sim::World world(mode);
  MemoryDirectory directory(world);
  MemoryExport& disk = directory.add("disk", kSizeBytes);
  disk.info.read_only = (mode & 4) != 0;
  disk.info.description = "what it is";
  if (more % 8 == 7) directory.failure = fail(kErrors[(more >> 3) % kErrors.size()], "not now");
  Script script(world);
  WireEncoder flags;
  flags.u32((mode & 48) == 48 ? mode : mode & 3);
  script.say(flags);
  if ((mode & 8) != 0) script.piece_bytes_max = 1 + (more >> 2);
  for (std::size_t n = 0;
       input.size() >= kRecordBytes && n < kOptionsMax && script.input.size() < kSaidBytesMax;
       input = input.subspan(kRecordBytes), ++n) {
    say_record(script, input.first(kRecordBytes));
  }
  const auto stop_perhaps = [&](Session& session) {
    if ((mode & 64) == 0) return;
    world.run_for(Duration::nanoseconds(100 * static_cast<std::int64_t>(more)));
    session.begin_stop();
  };
  PlainUpgrade upgrade(more % 16 != 3);
  TlsMode tls;
  if ((mode & 128) != 0) tls.upgrade = &upgrade;
  tls.required = (mode & 128) != 0 && more % 2 == 0;
  hear_out(world, directory, disk, script, stop_perhaps, tls);
}

}  // namespace
}  // namespace tidemark::nbd::test

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tidemark::nbd::test::run_handshake({reinterpret_cast<const std::byte*>(data), size});
  return 0;
}
