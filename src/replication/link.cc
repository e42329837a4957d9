#include "replication/link.h"

#include "base/crc32c.h"

namespace tidemark::replication {

io::Task<Result<void>> Link::send(format::LinkMessage type, std::vector<std::byte> body, Buffer payload) {
  const format::LinkHeader header{.type = type,
                                  .body_bytes = static_cast<std::uint32_t>(body.size()),
                                  .payload_bytes = static_cast<std::uint32_t>(payload.size()),
                                  .body_checksum = crc32c(body)};
  std::vector<std::byte> bytes = format::encode_link_header(header);
  bytes.insert(bytes.end(), body.begin(), body.end());
  std::vector<Buffer> pieces;
  pieces.push_back(Buffer::copy_of(bytes));
  if (!payload.empty()) pieces.push_back(std::move(payload));
  auto guard = co_await sending_.lock();
  co_return co_await stream_->write(std::move(pieces));
}

io::Task<Result<Message>> Link::receive(std::size_t body_bytes_max) {
  Buffer head = Buffer::allocate(format::kLinkHeaderBytes);
  TM_CO_TRY(co_await io::read_exactly(*stream_, head));
  TM_CO_TRY_ASSIGN(const format::LinkHeader header, format::decode_link_header(head));
  if (header.body_bytes > body_bytes_max) {
    co_return fail(ErrorCode::kInvalid,
                   "a message of " + std::to_string(header.body_bytes) + " bytes is too long here");
  }
  Message message{.type = header.type, .body = {}, .payload = {}};
  if (header.body_bytes > 0) {
    Buffer body = Buffer::allocate(header.body_bytes);
    TM_CO_TRY(co_await io::read_exactly(*stream_, body));
    message.body.assign(body.data(), body.data() + body.size());
  }
  if (crc32c(Bytes(message.body)) != header.body_checksum) {
    co_return fail(ErrorCode::kDamaged, "a message does not match its checksum");
  }
  if (header.payload_bytes > 0) {
    message.payload = Buffer::allocate(header.payload_bytes);
    TM_CO_TRY(co_await io::read_exactly(*stream_, message.payload));
  }
  co_return message;
}

}  // namespace tidemark::replication
