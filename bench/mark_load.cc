// A load generator for marks that leaves the processors to the node: one thread, many connections to the
// control socket, and on each one `POST /v1/groups/GROUP/marks` after the other, as concurrent hosts send
// them. Every mark is durable when it is answered.
//
//   mark_load --socket /var/lib/tidemark/control.sock --group app --connections 64 --seconds 5
//
// Prints one line of JSON: marks, marks a second, and latencies in microseconds. What goes wrong, an answer
// other than 201 or 200 included, is told on standard error, with exit status 1; a wrong command line has
// status 2. A node answers so many requests on a connection and then closes it: another one is made.

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

namespace {

using Clock = std::chrono::steady_clock;
constexpr int kSilenceMillisecondsMax = 60'000;  // a node that says nothing for so long has failed

[[noreturn]] void fail(const std::string& sentence) {
  std::fprintf(stderr, "mark_load: %s\n", sentence.c_str());
  std::exit(1);
}

struct Options {
  std::string socket_path;
  std::string group;
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
      const int ready = ::poll(waiting.data(), waiting.size(), kSilenceMillisecondsMax);
      if (ready == 0) fail("the node has said nothing for a minute");
      if (ready < 0 && errno != EINTR) fail(std::string("poll: ") + std::strerror(errno));
      for (std::size_t i = 0; i < connections_.size(); ++i) {
        if (waiting[i].revents == 0 || !receive(connections_[i])) continue;
        if (Clock::now() < end) {
          ask(connections_[i]);
        } else {
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
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (options_.socket_path.size() >= sizeof address.sun_path) fail("the path of the socket is too long");
    std::memcpy(address.sun_path, options_.socket_path.data(), options_.socket_path.size());
    connection = Connection();
    connection.descriptor = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (::connect(connection.descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      fail(options_.socket_path + ": " + std::strerror(errno));
    }
  }
  void ask(Connection& connection) {
    const std::string body = "{}";
    const std::string request = "POST /v1/groups/" + options_.group +
                                "/marks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" +
                                "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
    connection.asked_at = Clock::now();
    const ssize_t sent = ::send(connection.descriptor, request.data(), request.size(), MSG_NOSIGNAL);
    if (sent != static_cast<ssize_t>(request.size())) fail(std::string("send: ") + std::strerror(errno));
  }
  // True when an answer is whole; the connection then takes the next request.
  bool receive(Connection& connection) {
    char bytes[4096];
    const ssize_t got = ::recv(connection.descriptor, bytes, sizeof bytes, 0);
    if (got < 0) fail(std::string("recv: ") + std::strerror(errno));
    if (got == 0) fail("the node closed a connection while a mark was under way");
    connection.received.append(bytes, static_cast<std::size_t>(got));
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
    if (text.size() < connection.answer_bytes) return false;
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
        "usage: mark_load --socket PATH --group NAME [--connections N, at most 1000] [--seconds S]\n");
    return 2;
  }
  Load(std::move(options)).run();
  return 0;
}
