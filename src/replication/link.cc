#include "replication/link.h"

#include <algorithm>

#include "base/crc32c.h"

namespace tidemark::replication {
namespace {

constexpr std::size_t kBodyStepBytes = 1 << 20;
constexpr std::size_t kPayloadStepBytes = 64 << 10;  // however slow the link, the peer is heard meanwhile
constexpr Duration kLastMessageTime = Duration::seconds(1);

}  // namespace

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
    message.payload = Buffer::allocate(header.payload_bytes);
    for (std::size_t at = 0; at < message.payload.size(); at += kPayloadStepBytes) {
      Buffer part = message.payload.slice(at, std::min(kPayloadStepBytes, message.payload.size() - at));
      TM_CO_TRY(co_await io::read_exactly(*stream_, std::move(part)));
      heard_ = scheduler_.now();
    }
  }
  listening_ = false;
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
