#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "io/stream.h"
#include "nbd/wire.h"
#include "sim/world.h"

namespace tidemark::nbd::test {

struct OptionReply {
  std::uint32_t option = 0;
  std::uint32_t type = 0;
  std::string data;
};

// A simple reply, or one structured chunk.
struct Reply {
  bool closed = false;  // the connection ended instead
  bool structured = false;
  std::uint16_t flags = 0;
  std::uint16_t type = 0;
  std::uint64_t cookie = 0;
  std::uint32_t error = 0;
  std::string message;
  std::uint64_t offset = 0;
  std::string data;  // of a read; of any other chunk the payload as it came
};

// A client that says exactly what it is told to, right or wrong. Each call runs the world until it is done.
class RawClient {
 public:
  RawClient(sim::World& world, std::unique_ptr<io::Stream> stream)
      : world_(world), stream_(std::move(stream)) {}

  io::Stream& stream() { return *stream_; }
  // What was said so far goes on in another stream.
  std::unique_ptr<io::Stream> take_stream() { return std::move(stream_); }
  void close() { stream_->close(); }

  bool send(Bytes bytes) {
    std::vector<Buffer> pieces;
    pieces.push_back(Buffer::copy_of(bytes));
    return world_.run(stream_->write(std::move(pieces))).ok();
  }
  bool send(const WireEncoder& message) { return send(message.bytes()); }

  // Exactly `count` bytes, or nullopt when the connection ends first.
  std::optional<std::string> receive(std::size_t count) {
    if (count == 0) return std::string();
    const Buffer out = Buffer::allocate(count);
    const Result<void> got = world_.run(io::read_exactly(*stream_, out));
    if (!got.ok()) return std::nullopt;
    return std::string(reinterpret_cast<const char*>(out.data()), out.size());
  }
  // The server has closed, and nothing more comes.
  bool at_end() {
    const Result<std::size_t> got = world_.run(stream_->read_some(Buffer::allocate(1)));
    return !got.ok() || *got == 0;
  }

  // ---- handshake ----

  // True when the greeting is the one of fixed newstyle with NO_ZEROES.
  bool greet(std::uint32_t client_flags = kClientFlagFixedNewstyle | kClientFlagNoZeroes) {
    const auto greeting = receive(18);
    if (!greeting.has_value()) return false;
    WireDecoder in(as_bytes(*greeting));
    const bool right = in.u64() == kServerMagic && in.u64() == kOptionMagic &&
                       in.u16() == (kFlagFixedNewstyle | kFlagNoZeroes);
    WireEncoder out;
    out.u32(client_flags);
    return send(out) && right;
  }
  void option(std::uint32_t option, const WireEncoder& data = {}) {
    option_announcing(option, static_cast<std::uint32_t>(data.size()), data);
  }
  // The header says `length`, whatever `data` holds.
  void option_announcing(std::uint32_t option, std::uint32_t length, const WireEncoder& data = {}) {
    WireEncoder out;
    out.u64(kOptionMagic);
    out.u32(option);
    out.u32(length);
    out.raw(data.bytes());
    send(out);
  }
  std::optional<OptionReply> option_reply() {
    const auto header = receive(20);
    if (!header.has_value()) return std::nullopt;
    WireDecoder in(as_bytes(*header));
    if (in.u64() != kOptionReplyMagic) return std::nullopt;
    OptionReply reply;
    reply.option = in.u32();
    reply.type = in.u32();
    const auto data = receive(in.u32());
    if (!data.has_value()) return std::nullopt;
    reply.data = *data;
    return reply;
  }
  // All replies to one option, the final one last.
  std::vector<OptionReply> option_replies() {
    std::vector<OptionReply> all;
    for (;;) {
      const auto reply = option_reply();
      if (!reply.has_value()) return all;
      all.push_back(*reply);
      if (reply->type == kReplyAck || (reply->type & kReplyErrorBit) != 0) return all;
    }
  }
  // The type of the last reply; 0 when the connection ended.
  std::uint32_t final_reply() {
    const auto all = option_replies();
    return all.empty() ? 0 : all.back().type;
  }
  static WireEncoder info_data(const std::string& name, const std::vector<std::uint16_t>& asked = {}) {
    WireEncoder data;
    data.u32(static_cast<std::uint32_t>(name.size()));
    data.text(name);
    data.u16(static_cast<std::uint16_t>(asked.size()));
    for (const std::uint16_t item : asked) data.u16(item);
    return data;
  }
  static WireEncoder meta_data(const std::string& name, const std::vector<std::string>& queries) {
    WireEncoder data;
    data.u32(static_cast<std::uint32_t>(name.size()));
    data.text(name);
    data.u32(static_cast<std::uint32_t>(queries.size()));
    for (const std::string& query : queries) {
      data.u32(static_cast<std::uint32_t>(query.size()));
      data.text(query);
    }
    return data;
  }
  std::uint32_t structured() {
    option(kOptionStructuredReply);
    return final_reply();
  }
  std::uint32_t go(const std::string& name) {
    option(kOptionGo, info_data(name));
    return final_reply();
  }
  std::uint32_t set_context(const std::string& name) {
    option(kOptionSetMetaContext, meta_data(name, {std::string(kAllocationContext)}));
    return final_reply();
  }

  // ---- transmission ----

  static void encode(WireEncoder& out, std::uint16_t type, std::uint16_t flags, std::uint64_t cookie,
                     std::uint64_t offset, std::uint32_t length) {
    out.u32(kRequestMagic);
    out.u16(flags);
    out.u16(type);
    out.u64(cookie);
    out.u64(offset);
    out.u32(length);
  }
  bool request(std::uint16_t type, std::uint64_t cookie, std::uint64_t offset = 0, std::uint32_t length = 0,
               std::uint16_t flags = 0) {
    WireEncoder out;
    encode(out, type, flags, cookie, offset, length);
    return send(out);
  }
  bool write(std::uint64_t cookie, std::uint64_t offset, const std::string& data, std::uint16_t flags = 0) {
    WireEncoder out;
    encode(out, kCommandWrite, flags, cookie, offset, static_cast<std::uint32_t>(data.size()));
    out.text(data);
    return send(out);
  }
  // `read_length`: how much data follows a simple reply without error.
  Reply reply(std::size_t read_length = 0) {
    Reply reply;
    reply.closed = true;
    const auto head = receive(kSimpleReplyBytes);
    if (!head.has_value()) return reply;
    WireDecoder in(as_bytes(*head));
    const std::uint32_t magic = in.u32();
    if (magic == kSimpleReplyMagic) {
      reply.error = in.u32();
      reply.cookie = in.u64();
      const auto data = receive(reply.error == 0 ? read_length : 0);
      if (!data.has_value()) return reply;
      reply.data = *data;
    } else {
      if (magic != kStructuredReplyMagic || !receive_chunk(in, reply)) return reply;
    }
    reply.closed = false;
    return reply;
  }
  // The error value of the reply to a request that carries no data; 999 when the connection ended.
  std::uint32_t error_of(std::uint16_t type, std::uint64_t offset, std::uint32_t length,
                         std::uint16_t flags = 0) {
    request(type, 77, offset, length, flags);
    const Reply answer = reply(type == kCommandRead ? length : 0);
    return answer.closed || answer.cookie != 77 ? 999 : answer.error;
  }

 private:
  bool receive_chunk(WireDecoder& in, Reply& reply) {
    reply.structured = true;
    reply.flags = in.u16();
    reply.type = in.u16();
    reply.cookie = in.u64();
    const auto length_field = receive(4);
    if (!length_field.has_value()) return false;
    WireDecoder length(as_bytes(*length_field));
    const auto payload = receive(length.u32());
    if (!payload.has_value()) return false;
    WireDecoder body(as_bytes(*payload));
    if (reply.type == kChunkOffsetData) {
      reply.offset = body.u64();
      reply.data = body.text(body.remaining());
    } else if (reply.type == kChunkError) {
      reply.error = body.u32();
      reply.message = body.text(body.u16());
    } else {
      reply.data = body.text(body.remaining());
    }
    return body.done();
  }

  sim::World& world_;
  std::unique_ptr<io::Stream> stream_;
};

}  // namespace tidemark::nbd::test
