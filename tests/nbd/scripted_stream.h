#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "io/scheduler.h"
#include "io/stream.h"
#include "io/sync.h"
#include "nbd/raw_client.h"

namespace tidemark::nbd::test {

// A client whose every byte is fixed beforehand, and what the server said to it. Much faster than a
// simulated link: for long conversations and for many.
struct Script {
  explicit Script(io::Scheduler& s) : scheduler(s), changed(s) {}
  static constexpr Duration kStep = Duration::nanoseconds(100);  // each operation takes this long

  io::Scheduler& scheduler;
  std::vector<std::byte> input;
  std::size_t position = 0;
  std::vector<std::size_t> reads;               // bytes that each read brought
  std::size_t piece_bytes_max = SIZE_MAX;       // of one read
  bool ends = true;                             // closes behind the last byte; otherwise says nothing more
  std::uint64_t deaf_after_bytes = UINT64_MAX;  // of output: from there on writes never complete
  std::string output;
  std::uint64_t output_bytes = 0;
  bool keep_output = true;
  bool closed = false;
  io::WaitQueue changed;

  void say(const WireEncoder& message) {
    input.insert(input.end(), message.bytes().begin(), message.bytes().end());
  }
  void say_option(std::uint32_t option, const WireEncoder& data = {}) {
    WireEncoder out;
    out.u64(kOptionMagic);
    out.u32(option);
    out.u32(static_cast<std::uint32_t>(data.size()));
    out.raw(data.bytes());
    say(out);
  }
  // Up to transmission, with all that can be negotiated.
  void say_handshake(const std::string& name) {
    WireEncoder flags;
    flags.u32(kClientFlagFixedNewstyle | kClientFlagNoZeroes);
    say(flags);
    say_option(kOptionStructuredReply);
    say_option(kOptionSetMetaContext, RawClient::meta_data(name, {std::string(kAllocationContext)}));
    say_option(kOptionGo, RawClient::info_data(name));
  }
  void say_request(std::uint16_t type, std::uint64_t cookie, std::uint64_t offset, std::uint32_t length,
                   std::uint16_t flags = 0) {
    WireEncoder out;
    RawClient::encode(out, type, flags, cookie, offset, length);
    say(out);
  }
  void say_write(std::uint64_t cookie, std::uint64_t offset, const std::string& data) {
    say_request(kCommandWrite, cookie, offset, static_cast<std::uint32_t>(data.size()));
    const Bytes bytes = as_bytes(data);
    input.insert(input.end(), bytes.begin(), bytes.end());
  }
};

class ScriptedStream final : public io::Stream {
 public:
  explicit ScriptedStream(Script& script) : script_(script) {}

  io::Task<Result<std::size_t>> read_some(Buffer out) override {
    TM_ASSERT(!out.empty());
    co_await script_.scheduler.sleep_for(Script::kStep);
    const bool at_end = script_.position == script_.input.size();
    while (at_end && !script_.ends && !script_.closed) co_await script_.changed.wait();
    if (script_.closed) co_return fail(ErrorCode::kClosed, "the stream is closed");
    if (at_end) co_return std::size_t{0};
    const std::size_t count =
        std::min({out.size(), script_.piece_bytes_max, script_.input.size() - script_.position});
    std::memcpy(out.data(), script_.input.data() + script_.position, count);
    script_.position += count;
    script_.reads.push_back(count);
    co_return count;
  }
  io::Task<Result<void>> write(std::vector<Buffer> pieces) override {
    co_await script_.scheduler.sleep_for(Script::kStep);
    for (const Buffer& piece : pieces) {
      while (script_.output_bytes >= script_.deaf_after_bytes && !script_.closed) {
        co_await script_.changed.wait();
      }
      if (script_.closed) co_return fail(ErrorCode::kClosed, "the stream is closed");
      script_.output_bytes += piece.size();
      if (script_.keep_output) {
        script_.output.append(reinterpret_cast<const char*>(piece.data()), piece.size());
      }
    }
    co_return Result<void>{};
  }
  void close() override {
    script_.closed = true;
    script_.changed.wake_all();
  }
  std::string peer_name() const override { return "script"; }

 private:
  Script& script_;
};

}  // namespace tidemark::nbd::test
