#include "nbd/options.h"

#include <algorithm>

#include "nbd/wire.h"

namespace tidemark::nbd {

namespace {

Result<std::string> decode_export_name(WireDecoder& in) {
  const std::uint32_t length = in.u32();
  if (in.failed()) return fail(ErrorCode::kInvalid, "the option is too short for the length of a name");
  if (length > kStringBytesMax) {
    return fail(ErrorCode::kInvalid,
                "an export name of " + std::to_string(length) + " bytes, where at most 4096 are allowed");
  }
  std::string name = in.text(length);
  if (in.failed()) {
    return fail(ErrorCode::kInvalid, "the export name is said to have " + std::to_string(length) +
                                         " bytes, which is more than the option holds");
  }
  TM_TRY(validate_export_name(name));
  return name;
}

}  // namespace

Result<void> validate_export_name(const std::string& name) {
  if (name.size() > kStringBytesMax) {
    return fail(ErrorCode::kInvalid, "an export name of " + std::to_string(name.size()) +
                                         " bytes, where at most 4096 are allowed");
  }
  if (name.find('\0') != std::string::npos) {
    return fail(ErrorCode::kInvalid, "an export name with a zero byte in it");
  }
  return {};
}

bool InfoOption::asks_for(std::uint16_t information) const {
  return std::find(requests.begin(), requests.end(), information) != requests.end();
}

Result<InfoOption> InfoOption::decode(Bytes data) {
  WireDecoder in(data);
  InfoOption option;
  TM_TRY_ASSIGN(option.export_name, decode_export_name(in));
  const std::uint16_t count = in.u16();
  if (in.failed() || in.remaining() != std::size_t{2} * count) {
    return fail(ErrorCode::kInvalid, "the list of information requests is not as long as the option says");
  }
  option.requests.reserve(count);
  for (std::uint16_t i = 0; i < count; ++i) option.requests.push_back(in.u16());
  return option;
}

Result<MetaContextOption> MetaContextOption::decode(Bytes data) {
  WireDecoder in(data);
  MetaContextOption option;
  TM_TRY_ASSIGN(option.export_name, decode_export_name(in));
  const std::uint32_t count = in.u32();
  // Each query takes at least the four bytes of its length.
  if (in.failed() || count > in.remaining() / 4) {
    return fail(ErrorCode::kInvalid, "more metadata queries are announced than the option holds");
  }
  option.queries.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint32_t length = in.u32();
    if (length > kStringBytesMax) {
      return fail(ErrorCode::kInvalid, "a metadata query of more than 4096 bytes");
    }
    option.queries.push_back(in.text(length));
  }
  if (!in.done()) {
    return fail(ErrorCode::kInvalid, "the metadata queries are not as long as the option says");
  }
  return option;
}

}  // namespace tidemark::nbd
