#include "replication/link.h"

#include <algorithm>

#include "base/crc32c.h"

namespace tidemark::replication {
namespace {

constexpr std::size_t kBodyStepBytes = 1 << 20;
constexpr std::size_t kPayloadStepBytes = 64 << 10;  // however slow the link, the peer is heard meanwhile
constexpr Duration kLastMessageTime = Duration::seconds(1);

}  // namespace

void Link::agree_on(format::Compression compression, io::Offload& offload) {
  if (compression == format::Compression::kZstd) compression_ = std::make_unique<PayloadCompression>(offload);
}

io::Task<Result<void>> Link::send(format::LinkMessage type, std::vector<std::byte> body, Buffer payload) {
  // Before the payload is compressed: messages go in the order in which they were handed in.
  auto guard = co_await sending_.lock();
  format::LinkHeader header;
  header.type = type;
  header.body_bytes = static_cast<std::uint32_t>(body.size());
  header.body_checksum = crc32c(body);
  const std::size_t uncompressed_bytes = payload.size();
  if (compression_ != nullptr && !payload.empty()) {
    std::optional<Buffer> compressed = co_await compression_->compress(payload);
    if (compressed.has_value()) {
      header.uncompressed_bytes = static_cast<std::uint32_t>(payload.size());
      payload = std::move(*compressed);
    }
  }
  header.payload_bytes = static_cast<std::uint32_t>(payload.size());
  std::vector<std::byte> bytes = format::encode_link_header(header);
  bytes.insert(bytes.end(), body.begin(), body.end());
  std::vector<Buffer> pieces;
  pieces.push_back(Buffer::copy_of(bytes));
  if (!payload.empty()) pieces.push_back(std::move(payload));
  auto written = co_await stream_->write(std::move(pieces));
  if (written.ok() && traffic_ != nullptr) {
    traffic_->sent_bytes += bytes.size() + header.payload_bytes;
    traffic_->sent_uncompressed_bytes += bytes.size() + uncompressed_bytes;
  }
  co_return written;
}

io::Task<Result<Buffer>> Link::receive_payload(format::LinkHeader header) {
  if (header.uncompressed_bytes != 0 && compression_ == nullptr) {
    co_return fail(ErrorCode::kInvalid, "a compressed payload came, and that was not agreed on");
  }
  Buffer payload = Buffer::allocate(header.payload_bytes);
  for (std::size_t at = 0; at < payload.size(); at += kPayloadStepBytes) {
    Buffer part = payload.slice(at, std::min(kPayloadStepBytes, payload.size() - at));
    TM_CO_TRY(co_await io::read_exactly(*stream_, std::move(part)));
    heard_ = scheduler_.now();
  }
  co_return payload;
}

io::Task<Result<Message>> Link::receive(std::size_t body_bytes_max) {
  listening_ = true;
  heard_ = scheduler_.now();
  Buffer head = Buffer::allocate(format::kLinkHeaderBytes);
  TM_CO_TRY(co_await io::read_exactly(*stream_, head));
  TM_CO_TRY_ASSIGN(const format::LinkHeader header, format::decode_link_header(head));
  if (header.body_bytes > body_bytes_max) {
    co_return fail(ErrorCode::kInvalid,
                   "a message of " + std::to_string(header.body_bytes) + " bytes is too long here");
  }
  Message message;
  message.type = header.type;
  if (header.body_bytes > 0) {
    while (message.body.size() < header.body_bytes) {
      Buffer part = Buffer::allocate(std::min(kBodyStepBytes, header.body_bytes - message.body.size()));
      TM_CO_TRY(co_await io::read_exactly(*stream_, part));
      message.body.insert(message.body.end(), part.data(), part.data() + part.size());
      heard_ = scheduler_.now();
    }
  }
  if (crc32c(Bytes(message.body)) != header.body_checksum) {
    co_return fail(ErrorCode::kDamaged, "a message does not match its checksum");
  }
  if (header.payload_bytes > 0) {
    TM_CO_TRY_ASSIGN(message.payload, co_await receive_payload(header));
  }
  listening_ = false;
  if (header.uncompressed_bytes != 0) {
    TM_CO_TRY_ASSIGN(message.payload, co_await compression_->decompress(std::move(message.payload),
                                                                        header.uncompressed_bytes));
  }
  if (traffic_ != nullptr) {
    const std::uint64_t rest_bytes = format::kLinkHeaderBytes + header.body_bytes;
    traffic_->received_bytes += rest_bytes + header.payload_bytes;
    traffic_->received_uncompressed_bytes += rest_bytes + message.payload.size();
  }
  co_return message;
}

io::Task<void> Link::close_after(Duration limit) {
  co_await scheduler_.sleep_for(limit);
  close();
}

io::Task<Result<Message>> Link::receive_within(Duration limit, std::size_t body_bytes_max) {
  io::TaskScope timer(scheduler_);
  timer.spawn(close_after(limit));
  auto message = co_await receive(body_bytes_max);
  co_return message;
}

io::Task<Result<Message>> Link::receive_while_heard(Duration limit, std::size_t body_bytes_max) {
  io::TaskScope watch(scheduler_);
  watch.spawn(watch_silence());
  auto message = co_await receive_within(limit, body_bytes_max);
  co_return message;
}

io::Task<Result<void>> Link::send_within(Duration limit, format::LinkMessage type,
                                         std::vector<std::byte> body) {
  io::TaskScope timer(scheduler_);
  timer.spawn(close_after(limit));
  auto sent = co_await send(type, std::move(body));
  co_return sent;
}

io::Task<void> Link::send_last(format::LinkMessage type, std::vector<std::byte> body) {
  io::TaskScope timer(scheduler_);
  timer.spawn(close_after(kLastMessageTime));
  (void)co_await send(type, std::move(body));
  close();
}

io::Task<void> Link::watch_silence() {
  while (!listening_ || scheduler_.now() - heard_ < kSilenceMax) {
    co_await scheduler_.sleep_for(kHeartbeatInterval);
  }
  close();
}

}  // namespace tidemark::replication
