// A load generator for marks that leaves the processors to the node: one thread, many connections, and one
// mark after the other on each, as concurrent hosts send them. Every mark is durable when it is answered.
//
//   mark_load --over http --socket /var/lib/tidemark/control.sock --group app --connections 64 --seconds 5
//   mark_load --over nbd --socket /var/lib/tidemark/nbd.sock --group app
//
// http: `POST /v1/groups/GROUP/marks`. A node answers so many requests on a connection and then closes it:
// another one is made. nbd: a block written to the export `GROUP/.command` (docs/command-export.md). Its
// write succeeds whatever became of the mark, so the last answer of each connection is read when the time is
// over.
//
// Prints one line of JSON: marks, marks a second, and latencies in microseconds. What goes wrong, a mark that
// is refused included, is told on standard error, with exit status 1; a wrong command line has status 2.

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "nbd_client.h"

const char* const load::program = "mark_load";

namespace {

using load::fail;
using Clock = std::chrono::steady_clock;
constexpr std::size_t kCommandBytes = 4096;  // docs/command-export.md

struct Options {
  std::string socket_path;
  std::string group;
  bool over_nbd = false;
  std::size_t connections = 64;
  double seconds = 5;
};

struct Connection {
  int descriptor = -1;
  std::string received;
  std::size_t answer_bytes = 0;  // of the answer that is coming; 0 until its headers are here
  bool closes = false;           // the node does, after that answer
  Clock::time_point asked_at{};
};

class Load {
 public:
  explicit Load(Options options) : options_(std::move(options)), connections_(options_.connections) {}

  void run() {
    for (Connection& connection : connections_) connect(connection);
    const Clock::time_point began = Clock::now();
    const Clock::time_point end =
        began + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options_.seconds));
    for (Connection& connection : connections_) ask(connection);
    std::size_t asking = connections_.size();
    std::vector<pollfd> waiting(connections_.size());
    while (asking > 0) {
      for (std::size_t i = 0; i < connections_.size(); ++i)
        waiting[i] = {connections_[i].descriptor, POLLIN, 0};
      const int ready = ::poll(waiting.data(), waiting.size(), load::kSilenceSecondsMax * 1000);
      if (ready == 0) fail("the node has said nothing for a minute");
      if (ready < 0 && errno != EINTR) fail(std::string("poll: ") + std::strerror(errno));
      for (std::size_t i = 0; i < connections_.size(); ++i) {
        if (waiting[i].revents == 0 || !receive(connections_[i])) continue;
        if (Clock::now() < end) {
          ask(connections_[i]);
        } else {
          if (options_.over_nbd) check_last_mark(connections_[i]);
          ::close(connections_[i].descriptor);
          connections_[i].descriptor = -1;  // poll passes over it
          --asking;
        }
      }
    }
    report(std::chrono::duration<double>(Clock::now() - began).count());
  }

 private:
  void connect(Connection& connection) const {
    connection = Connection();
    connection.descriptor = load::connect_to(options_.socket_path);
    if (options_.over_nbd) load::shake_hands(connection.descriptor, options_.group + "/.command");
  }
  static std::vector<std::uint8_t> nbd_request(load::Command command) {
    std::vector<std::uint8_t> request;
    load::append(request, load::kRequestMagic);
    load::append<std::uint16_t>(request, 0);
    load::append(request, static_cast<std::uint16_t>(command));
    load::append<std::uint64_t>(request, 0);  // cookie
    load::append<std::uint64_t>(request, 0);  // offset
    load::append(request, static_cast<std::uint32_t>(kCommandBytes));
    return request;
  }
  void ask(Connection& connection) {
    std::vector<std::uint8_t> request;
    if (options_.over_nbd) {
      constexpr std::string_view kMark = R"({"command": "mark"})";
      request = nbd_request(load::Command::kWrite);
      request.insert(request.end(), kMark.begin(), kMark.end());
      request.resize(load::kRequestLengthBytes + kCommandBytes);
    } else {
      const std::string text = "POST /v1/groups/" + options_.group +
                               "/marks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" +
                               "Content-Length: 2\r\n\r\n{}";
      request.assign(text.begin(), text.end());
    }
    connection.asked_at = Clock::now();
    load::send_all(connection.descriptor, request);
  }
  // True when an answer is whole; the connection then takes the next request.
  bool receive(Connection& connection) {
    char bytes[4096];
    const ssize_t got = ::recv(connection.descriptor, bytes, sizeof bytes, 0);
    if (got < 0) fail(std::string("recv: ") + std::strerror(errno));
    if (got == 0) fail("the node closed a connection while a mark was under way");
    connection.received.append(bytes, static_cast<std::size_t>(got));
    if (!(options_.over_nbd ? has_nbd_reply(connection) : has_http_answer(connection))) return false;
    const auto took = Clock::now() - connection.asked_at;
    latencies_.push_back(std::chrono::duration<double, std::micro>(took).count());
    if (connection.closes) {
      ::close(connection.descriptor);
      connect(connection);
    }
    connection.received.clear();
    connection.answer_bytes = 0;
    return true;
  }
  static bool has_nbd_reply(const Connection& connection) {
    if (connection.received.size() < load::kReplyLengthBytes) return false;
    const auto* const reply = reinterpret_cast<const std::uint8_t*>(connection.received.data());
    if (load::get<std::uint32_t>(reply) != load::kSimpleReplyMagic) fail("a reply that is none");
    if (load::get<std::uint32_t>(reply + 4) != 0) fail("the node failed the write of a command");
    return true;
  }
  // The answer to the newest command of a connection is a mark.
  static void check_last_mark(const Connection& connection) {
    load::send_all(connection.descriptor, nbd_request(load::Command::kRead));
    std::vector<std::uint8_t> reply(load::kReplyLengthBytes + kCommandBytes);
    load::receive_all(connection.descriptor, reply.data(), reply.size());
    const std::string answer(reply.begin() + load::kReplyLengthBytes, reply.end());
    if (!answer.starts_with(R"({"version":1,"group":)")) fail("the node refused a mark: " + answer);
  }
  static bool has_http_answer(Connection& connection) {
    const std::string& text = connection.received;
    if (connection.answer_bytes == 0) {
      const std::size_t headers = text.find("\r\n\r\n");
      if (headers == std::string::npos) return false;
      if (!text.starts_with("HTTP/1.1 20")) fail("the node refused a mark: " + text);
      constexpr std::string_view kLength = "Content-Length: ";
      const std::size_t length = text.find(kLength);
      if (length == std::string::npos || length > headers) fail("an answer without a length: " + text);
      connection.answer_bytes =
          headers + 4 + std::strtoul(text.c_str() + length + kLength.size(), nullptr, 10);
      connection.closes = text.substr(0, headers).find("Connection: close") != std::string::npos;
    }
    return text.size() >= connection.answer_bytes;
  }
  void report(double seconds) {
    std::ranges::sort(latencies_);
    const auto part = [this](double share) {
      const auto count = static_cast<double>(latencies_.size() - 1);
      return latencies_[static_cast<std::size_t>(count * share)];
    };
    std::printf(
        "{\"marks\": %zu, \"marks_per_second\": %.0f, \"latency_us\": {\"p50\": %.0f, \"p99\": %.0f}}\n",
        latencies_.size(), static_cast<double>(latencies_.size()) / seconds, part(0.5), part(0.99));
  }

  Options options_;
  std::vector<Connection> connections_;
  std::vector<double> latencies_;
};

}  // namespace

int main(int count, char** words) {
  Options options;
  bool right = count % 2 == 1;
  for (int i = 1; i + 1 < count; i += 2) {
    const std::string_view option = words[i];
    if (option == "--socket") {
      options.socket_path = words[i + 1];
    } else if (option == "--group") {
      options.group = words[i + 1];
    } else if (option == "--over") {
      options.over_nbd = std::string_view(words[i + 1]) == "nbd";
      right = right && (options.over_nbd || std::string_view(words[i + 1]) == "http");
    } else if (option == "--connections") {
      options.connections = std::strtoul(words[i + 1], nullptr, 10);
    } else if (option == "--seconds") {
      options.seconds = std::strtod(words[i + 1], nullptr);
    } else {
      right = false;
    }
  }
  if (!right || options.socket_path.empty() || options.group.empty() || options.connections == 0 ||
      options.connections > 1000 || !(options.seconds > 0)) {
    std::fprintf(
        stderr,
        "usage: mark_load --socket PATH --group NAME [--over http|nbd] [--connections N, at most 1000] "
        "[--seconds S]\n");
    return 2;
  }
  Load(std::move(options)).run();
  return 0;
}
