#include "nbd/wire.h"

namespace tidemark::nbd {

OptionHeader OptionHeader::decode(Bytes bytes) {
  WireDecoder in(bytes);
  OptionHeader header;
  header.magic = in.u64();
  header.option = in.u32();
  header.length = in.u32();
  TM_ASSERT(!in.failed());
  return header;
}

Request Request::decode(Bytes bytes) {
  WireDecoder in(bytes);
  Request request;
  request.magic = in.u32();
  request.flags = in.u16();
  request.type = in.u16();
  request.cookie = in.u64();
  request.offset = in.u64();
  request.length = in.u32();
  TM_ASSERT(!in.failed());
  return request;
}

void encode_greeting(WireEncoder& out) {
  out.u64(kServerMagic);
  out.u64(kOptionMagic);
  out.u16(kFlagFixedNewstyle | kFlagNoZeroes);
}

void encode_option_reply(WireEncoder& out, std::uint32_t option, std::uint32_t type, Bytes data) {
  out.u64(kOptionReplyMagic);
  out.u32(option);
  out.u32(type);
  out.u32(static_cast<std::uint32_t>(data.size()));
  out.raw(data);
}

void encode_simple_reply(WireEncoder& out, std::uint64_t cookie, WireError error) {
  out.u32(kSimpleReplyMagic);
  out.u32(static_cast<std::uint32_t>(error));
  out.u64(cookie);
}

void encode_chunk_header(WireEncoder& out, std::uint16_t flags, std::uint16_t type, std::uint64_t cookie,
                         std::uint32_t payload_bytes) {
  out.u32(kStructuredReplyMagic);
  out.u16(flags);
  out.u16(type);
  out.u64(cookie);
  out.u32(payload_bytes);
}

void encode_error_chunk(WireEncoder& out, std::uint64_t cookie, WireError error, std::string_view message) {
  message = message.substr(0, kStringBytesMax);
  encode_chunk_header(out, kChunkFlagDone, kChunkError, cookie,
                      static_cast<std::uint32_t>(6 + message.size()));
  out.u32(static_cast<std::uint32_t>(error));
  out.u16(static_cast<std::uint16_t>(message.size()));
  out.text(message);
}

}  // namespace tidemark::nbd
