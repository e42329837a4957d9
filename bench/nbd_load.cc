// A load generator for NBD that leaves the processors to the servers: one thread, one connection, all
// requests that may go out in one send, and as many replies as have come in one receive.
//
//   nbd_load --socket PATH --export NAME --rw randwrite --bytes-per-request 4K --depth 32 --seconds 5
//
// It connects to a unix socket, as a client of fixed newstyle that opens the export with NBD_OPT_GO and asks
// for no structured replies (doc/proto.md of the NetworkBlockDevice project), keeps `depth` requests in
// flight for `seconds`, waits for the last reply and prints one line of JSON. What goes wrong is told on
// standard error, with exit status 1; a wrong command line has status 2.
//
// What holds while it runs:
// - A slot is free, or its request is queued, on its way or waiting for its reply. Its number is the cookie.
// - `outgoing_` points into slots that are not free and into the payload, and neither moves.
// - A flush is due once `flush_every` more writes have been answered; it is the next request then, takes a
//   slot like any other, and is counted apart. Other requests do not wait for it.

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "nbd_client.h"

const char* const load::program = "nbd_load";

namespace {

using namespace load;
using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kBytesPerRequestMax = 32u << 20;  // what a server takes that says nothing of sizes
constexpr std::uint64_t kDepthMax = 256;                  // two pieces each, and one send takes IOV_MAX, 1024
constexpr std::uint64_t kSecondsMax = 1'000'000;
constexpr std::uint64_t kReceiveLengthBytes = 256u << 10;  // fits the processor's second cache
constexpr std::uint64_t kPayloadSpareBytes = 1u << 20;     // writes begin at random places of so much more

// ---- Command line

struct Options {
  std::string socket_path;
  std::string export_name;
  std::string rw = "randread";
  std::uint64_t bytes_per_request = 4096;
  std::uint64_t depth = 1;
  double seconds = 5;
  std::uint64_t size_bytes = 0;     // 0: the whole export
  std::uint64_t flush_every = 0;    // 0: never
  std::uint64_t read_percent = 70;  // of randrw
  std::uint64_t poll_us = 0;

  bool random() const { return rw.starts_with("rand"); }
  bool reads() const { return rw == "read" || rw == "randread" || (rw == "randrw" && read_percent > 0); }
  bool writes() const { return rw == "write" || rw == "randwrite" || (rw == "randrw" && read_percent < 100); }
};

constexpr std::string_view kUsage =
    "usage: nbd_load --socket PATH [OPTION VALUE]...\n"
    "  --socket PATH            the unix socket of the server\n"
    "  --export NAME            the export (the one without a name)\n"
    "  --rw KIND                read, write, randread (the default), randwrite, or randrw\n"
    "  --read-percent N         reads among the requests of randrw (70)\n"
    "  --bytes-per-request SIZE (4K; at most 32M)\n"
    "  --depth N                requests in flight (1; at most 256)\n"
    "  --seconds S              how long requests are sent (5)\n"
    "  --size SIZE              the requests stay in so much of the export's beginning (all of it)\n"
    "  --flush-every N          a flush for every N writes that were answered (0: none)\n"
    "  --poll-us N              longest busy wait for a reply before sleeping (0: none)\n"
    "SIZE may end in K, M or G.\n";

[[noreturn]] void refuse_command_line(const std::string& sentence) {
  std::fprintf(stderr, "nbd_load: %s\n%s", sentence.c_str(), kUsage.data());
  std::exit(2);
}

std::uint64_t number(const std::string& option, std::string_view text, std::uint64_t least,
                     std::uint64_t most) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string_view suffix = text.substr(static_cast<std::size_t>(end - text.data()));
  const unsigned shift = suffix == "K" ? 10 : suffix == "M" ? 20 : suffix == "G" ? 30 : 0;
  const bool known = suffix.empty() || shift != 0;
  if (error != std::errc{} || !known || value > (most >> shift) || (value << shift) < least) {
    refuse_command_line(option + ": '" + std::string(text) + "' is not a number from " +
                        std::to_string(least) + " to " + std::to_string(most));
  }
  return value << shift;
}

double seconds_of(const std::string& option, std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || !(value > 0) || value > kSecondsMax) {
    refuse_command_line(option + ": '" + std::string(text) + "' is not a time in seconds");
  }
  return value;
}

Options parse(int argument_count, char** arguments) {
  Options options;
  for (int at = 1; at < argument_count; at += 2) {
    const std::string option = arguments[at];
    if (option == "--help" || option == "-h") {
      std::fputs(kUsage.data(), stdout);
      std::exit(0);
    }
    if (at + 1 == argument_count) refuse_command_line(option + ": its value is missing");
    const std::string value = arguments[at + 1];
    if (option == "--socket") {
      options.socket_path = value;
    } else if (option == "--export") {
      options.export_name = value;
    } else if (option == "--rw") {
      options.rw = value;
    } else if (option == "--read-percent") {
      options.read_percent = number(option, value, 0, 100);
    } else if (option == "--bytes-per-request") {
      options.bytes_per_request = number(option, value, 1, kBytesPerRequestMax);
    } else if (option == "--depth") {
      options.depth = number(option, value, 1, kDepthMax);
    } else if (option == "--seconds") {
      options.seconds = seconds_of(option, value);
    } else if (option == "--size") {
      options.size_bytes = number(option, value, 1, INT64_MAX);
    } else if (option == "--flush-every") {
      options.flush_every = number(option, value, 0, UINT32_MAX);
    } else if (option == "--poll-us") {
      options.poll_us = number(option, value, 0, 1'000'000);
    } else {
      refuse_command_line("unknown option '" + option + "'");
    }
  }
  if (options.socket_path.empty()) refuse_command_line("--socket is missing");
  if (options.export_name.size() > 4096) refuse_command_line("--export: more than 4096 bytes");
  constexpr std::array<std::string_view, 5> kinds = {"read", "write", "randread", "randwrite", "randrw"};
  if (std::find(kinds.begin(), kinds.end(), options.rw) == kinds.end()) {
    refuse_command_line("--rw: '" + options.rw + "' is none of read, write, randread, randwrite and randrw");
  }
  return options;
}

// ---- Latencies

// Counts of nanoseconds in 64 classes for each power of two: a percentile is right to 1.6 %.
class Latencies {
 public:
  void add(std::uint64_t ns) {
    ++counts_[class_of(ns)];
    ++count_;
    sum_ns_ += static_cast<double>(ns);
  }

  std::uint64_t count() const { return count_; }

  std::string json() const {
    char text[128];
    std::snprintf(text, sizeof text, "{\"mean\": %.2f, \"p50\": %.2f, \"p99\": %.2f}",
                  count_ == 0 ? 0 : sum_ns_ / static_cast<double>(count_) / 1000, percentile_us(0.5),
                  percentile_us(0.99));
    return text;
  }

 private:
  static constexpr unsigned kBits = 6;
  static constexpr std::uint64_t kClasses = 1u << kBits;

  // [0, 64) are themselves; 64..127 share the shift 0, 128..255 the shift 1, and so on.
  static std::size_t class_of(std::uint64_t ns) {
    if (ns < kClasses) return ns;
    const auto shift = static_cast<unsigned>(std::bit_width(ns)) - kBits - 1;
    return (shift + 1) * kClasses + ((ns >> shift) - kClasses);
  }

  double percentile_us(double part) const {
    const auto rank = static_cast<std::uint64_t>(part * static_cast<double>(count_));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      seen += counts_[i];
      if (seen <= rank) continue;
      if (i < kClasses) return static_cast<double>(i) / 1000;
      const std::uint64_t begin = (i % kClasses + kClasses) << (i / kClasses - 1);
      const std::uint64_t width = 1ull << (i / kClasses - 1);
      return (static_cast<double>(begin) + static_cast<double>(width) / 2) / 1000;
    }
    return 0;
  }

  std::array<std::uint64_t, kClasses*(64 - kBits + 1)> counts_ = {};
  std::uint64_t count_ = 0;
  double sum_ns_ = 0;
};

// ---- The load

class Load {
 public:
  Load(const Options& options, int descriptor, const Export& opened)
      : options_(options),
        descriptor_(descriptor),
        size_bytes_(options.size_bytes == 0 ? opened.size_bytes : options.size_bytes),
        slots_(options.depth),
        received_(kReceiveLengthBytes),
        random_(std::random_device{}()) {
    if (size_bytes_ > opened.size_bytes) {
      fail("--size is " + std::to_string(size_bytes_) + ", and the export has " +
           std::to_string(opened.size_bytes) + " bytes");
    }
    places_ = size_bytes_ / options.bytes_per_request;
    if (places_ == 0) fail("a request of --bytes-per-request is longer than the range");
    if (options.writes() && (opened.flags & kReadOnly) != 0) fail("the export is read-only");
    if (options.flush_every != 0 && (opened.flags & kSendFlush) == 0) fail("the export takes no flushes");
    for (std::size_t i = 0; i < slots_.size(); ++i) free_.push_back(i);
    outgoing_.reserve(2 * slots_.size());
    if (options.writes()) {
      payload_.resize(options.bytes_per_request + kPayloadSpareBytes);
      for (std::uint8_t& byte : payload_) byte = static_cast<std::uint8_t>(random_());
    }
  }

  // Asks for as long as it is told, and returns when the last reply is there.
  void run() {
    began_ = now_ = Clock::now();
    const auto deadline =
        began_ + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options_.seconds));
    while (true) {
      if (now_ < deadline) {
        while (!free_.empty()) queue_next();
      } else if (free_.size() == slots_.size()) {
        break;
      }
      send_queued();
      receive();
    }
    ended_ = now_;
    disconnect();
  }

  void print() const {
    const double seconds = std::chrono::duration<double>(ended_ - began_).count();
    const auto length = options_.bytes_per_request;
    const std::uint64_t operations = latencies_.count();
    std::printf("{\"operations\": %" PRIu64 ", \"flushes\": %" PRIu64
                ", \"seconds\": %.6f, "
                "\"operations_per_second\": %.1f, \"bytes_per_second\": %.0f, \"read_bytes\": %" PRIu64
                ", \"written_bytes\": %" PRIu64 ", \"latency_us\": %s, \"flush_latency_us\": %s}\n",
                operations, flush_latencies_.count(), seconds, static_cast<double>(operations) / seconds,
                static_cast<double>(operations * length) / seconds, (operations - writes_) * length,
                writes_ * length, latencies_.json().c_str(), flush_latencies_.json().c_str());
  }

 private:
  struct Slot {
    std::array<std::uint8_t, kRequestLengthBytes> header = {};
    Command command = Command::kRead;
    std::uint64_t offset = 0;
    bool in_flight = false;
    Clock::time_point sent;
  };

  static void fill_header(Slot& slot, std::uint64_t cookie, std::uint64_t length) {
    std::uint8_t* at = slot.header.data();
    put(at, kRequestMagic);
    put<std::uint16_t>(at + 4, 0);
    put(at + 6, static_cast<std::uint16_t>(slot.command));
    put(at + 8, cookie);
    put(at + 16, slot.offset);
    put(at + 24, static_cast<std::uint32_t>(length));
  }

  std::uint64_t next_offset() {
    const std::uint64_t place = options_.random() ? random_() % places_ : next_place_;
    next_place_ = place + 1 == places_ ? 0 : place + 1;
    return place * options_.bytes_per_request;
  }

  Command next_command() {
    if (options_.flush_every != 0 && writes_since_flush_ >= options_.flush_every) {
      writes_since_flush_ -= options_.flush_every;
      return Command::kFlush;
    }
    if (!options_.writes()) return Command::kRead;
    if (!options_.reads()) return Command::kWrite;
    return random_() % 100 < options_.read_percent ? Command::kRead : Command::kWrite;
  }

  void queue_next() {
    const std::size_t index = free_.back();
    free_.pop_back();
    Slot& slot = slots_[index];
    slot.command = next_command();
    slot.in_flight = true;
    slot.sent = now_;
    const bool flush = slot.command == Command::kFlush;
    slot.offset = flush ? 0 : next_offset();
    fill_header(slot, index, flush ? 0 : options_.bytes_per_request);
    outgoing_.push_back({slot.header.data(), slot.header.size()});
    if (slot.command == Command::kWrite) {
      outgoing_.push_back({payload_.data() + random_() % kPayloadSpareBytes, options_.bytes_per_request});
    }
  }

  // As much as the socket takes: to wait for more while the server waits to be rid of replies would be for
  // ever.
  void send_queued() {
    while (outgoing_begin_ < outgoing_.size()) {
      msghdr message = {};
      message.msg_iov = outgoing_.data() + outgoing_begin_;
      message.msg_iovlen = outgoing_.size() - outgoing_begin_;
      const ssize_t result = ::sendmsg(descriptor_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (result < 0 && errno == EINTR) continue;
      if (result < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
      if (result < 0) fail_of_connection(result, errno);
      auto sent = static_cast<std::size_t>(result);
      while (sent > 0 && sent >= outgoing_[outgoing_begin_].iov_len)
        sent -= outgoing_[outgoing_begin_++].iov_len;
      if (sent > 0) {
        iovec& piece = outgoing_[outgoing_begin_];
        piece.iov_base = static_cast<std::uint8_t*>(piece.iov_base) + sent;
        piece.iov_len -= sent;
      }
    }
    outgoing_.clear();
    outgoing_begin_ = 0;
  }

  // Waits for something to come and takes all that is there; also returns when there is room to send more.
  void receive() {
    const auto spin_end = Clock::now() + std::chrono::microseconds(options_.poll_us);
    ssize_t result = -1;
    while (true) {
      const bool sending = outgoing_begin_ < outgoing_.size();
      const bool spinning = options_.poll_us != 0 && Clock::now() < spin_end;
      if (sending) wait_for_either();
      result =
          ::recv(descriptor_, received_.data(), received_.size(), sending || spinning ? MSG_DONTWAIT : 0);
      if (result > 0) break;
      if (result < 0 && errno == EINTR) continue;
      if (result < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        if (sending) return;
        if (spinning) continue;
      }
      fail_of_connection(result, errno);
    }
    now_ = Clock::now();
    take(received_.data(), static_cast<std::size_t>(result));
  }

  void wait_for_either() const {
    pollfd waited = {.fd = descriptor_, .events = POLLIN | POLLOUT, .revents = 0};
    const int result = ::poll(&waited, 1, kSilenceSecondsMax * 1000);
    if (result == 0) fail_of_connection(-1, EAGAIN);
    if (result < 0 && errno != EINTR) fail_of_connection(result, errno);
  }

  // Replies, in pieces as they come. What was read is not looked at.
  void take(const std::uint8_t* bytes, std::size_t length) {
    while (length > 0) {
      std::size_t taken;
      if (payload_left_ > 0) {
        taken = std::min<std::size_t>(length, payload_left_);
        payload_left_ -= taken;
        if (payload_left_ == 0) finish(current_);
      } else {
        taken = std::min<std::size_t>(length, kReplyLengthBytes - reply_filled_);
        std::memcpy(reply_.data() + reply_filled_, bytes, taken);
        reply_filled_ += taken;
        if (reply_filled_ == kReplyLengthBytes) take_reply();
      }
      bytes += taken;
      length -= taken;
    }
  }

  void take_reply() {
    reply_filled_ = 0;
    if (get<std::uint32_t>(reply_.data()) != kSimpleReplyMagic)
      fail("the server's reply is not a simple one");
    const auto error = get<std::uint32_t>(reply_.data() + 4);
    const auto cookie = get<std::uint64_t>(reply_.data() + 8);
    if (cookie >= slots_.size() || !slots_[cookie].in_flight) {
      fail("the server answered a request that was not made: cookie " + std::to_string(cookie));
    }
    current_ = cookie;
    const Slot& slot = slots_[cookie];
    if (error != 0) fail_of_request(slot, error);
    if (slot.command == Command::kRead) {
      payload_left_ = options_.bytes_per_request;
    } else {
      finish(cookie);
    }
  }

  [[noreturn]] void fail_of_request(const Slot& slot, std::uint32_t error) const {
    std::string what = "a flush";
    if (slot.command != Command::kFlush) {
      what = std::string(slot.command == Command::kRead ? "a read" : "a write") + " of " +
             std::to_string(options_.bytes_per_request) + " bytes at " + std::to_string(slot.offset);
    }
    // The protocol's numbers are those of Linux.
    fail("the server answered " + what + " with error " + std::to_string(error) + ", " +
         std::strerror(static_cast<int>(error)));
  }

  void finish(std::size_t index) {
    Slot& slot = slots_[index];
    const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(now_ - slot.sent).count();
    (slot.command == Command::kFlush ? flush_latencies_ : latencies_).add(static_cast<std::uint64_t>(ns));
    if (slot.command == Command::kWrite) {
      ++writes_;
      ++writes_since_flush_;
    }
    slot.in_flight = false;
    free_.push_back(index);
  }

  void disconnect() {
    Slot slot;
    slot.command = Command::kDisconnect;
    fill_header(slot, 0, 0);
    send_all(descriptor_, std::vector<std::uint8_t>(slot.header.begin(), slot.header.end()));
    ::close(descriptor_);
  }

  const Options& options_;
  const int descriptor_;
  const std::uint64_t size_bytes_;
  std::uint64_t places_ = 0;  // of requests in the range
  std::uint64_t next_place_ = 0;
  std::vector<Slot> slots_;
  std::vector<std::size_t> free_;  // slots, by number
  std::vector<iovec> outgoing_;
  std::size_t outgoing_begin_ = 0;  // [outgoing_begin_, size) is not sent yet
  std::vector<std::uint8_t> payload_;
  std::vector<std::uint8_t> received_;
  std::array<std::uint8_t, kReplyLengthBytes> reply_ = {};
  std::size_t reply_filled_ = 0;
  std::uint64_t payload_left_ = 0;  // of the read that `current_` is
  std::size_t current_ = 0;
  std::uint64_t writes_ = 0;
  std::uint64_t writes_since_flush_ = 0;
  Latencies latencies_;
  Latencies flush_latencies_;
  std::mt19937_64 random_;
  Clock::time_point began_;
  Clock::time_point now_;  // of the newest batch: one look at the clock for all of it
  Clock::time_point ended_;
};

}  // namespace

int main(int argument_count, char** arguments) {
  const Options options = parse(argument_count, arguments);
  const int descriptor = connect_to(options.socket_path);
  const Export opened = shake_hands(descriptor, options.export_name);
  Load load(options, descriptor, opened);
  load.run();
  load.print();
  return 0;
}
