// The bytes of a connection to the control API, through a real socket and the HTTP library, to a node that
// answers every request with a sample. The first byte may put the beginning of a good request in front. The
// server answers or hangs up, and serves the next.
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

#include "control/fake_node.h"
#include "control/http_server.h"
#include "fuzz/fuzz.h"

namespace tidemark::control {
namespace {

constexpr int kSecondsMax = 8;  // for one connection; what takes longer hangs
constexpr unsigned kHealthEvery = 64;

class Bench {
 public:
  Bench() {
    char folder[] = "/tmp/tidemark-fuzz-XXXXXX";
    TM_ASSERT(::mkdtemp(folder) != nullptr);
    folder_ = folder;
    ApiServerOptions options;
    options.addresses = {"unix:" + path()};
    options.threads_per_address = 2;
    auto started = ApiServer::start(node_, executor_.poster(), options);
    TM_ASSERT(started.ok());
    server_ = std::move(started).value();
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;
  ~Bench() {
    executor_.run([this] { server_->stop(); });
    server_.reset();
    ::rmdir(folder_.c_str());
  }

  // Sends the bytes, and an end unless they ask for one themselves, and takes all that comes back.
  std::string exchange(std::string_view bytes, bool ends = true) const {
    const int descriptor = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    TM_ASSERT(descriptor >= 0);
    const timeval limit{kSecondsMax, 0};
    TM_ASSERT(::setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path().c_str(), path().size() + 1);
    TM_ASSERT(::connect(descriptor, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    while (!bytes.empty()) {
      const ssize_t count = ::send(descriptor, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) break;  // it had heard enough
      bytes.remove_prefix(static_cast<std::size_t>(count));
    }
    if (ends) (void)::shutdown(descriptor, SHUT_WR);
    std::string answer;
    char piece[4096];
    while (true) {
      const ssize_t count = ::read(descriptor, piece, sizeof piece);
      if (count < 0 && errno == EINTR) continue;  // libFuzzer's clock
      TM_ASSERT(count >= 0 || errno == ECONNRESET);
      if (count <= 0) break;
      answer.append(piece, static_cast<std::size_t>(count));
    }
    ::close(descriptor);
    return answer;
  }

 private:
  std::string path() const { return folder_ + "/s"; }

  std::string folder_;
  FakeNode node_;
  Executor executor_;
  std::unique_ptr<ApiServer> server_;
};

}  // namespace
}  // namespace tidemark::control

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tidemark::control;
  static const Bench bench;
  static unsigned count = 0;
  static constexpr const char* kPrefixes[] = {
      "",
      "GET /v1/",
      "POST /v1/groups/app/marks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ",
      "POST /v1/groups HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: "
      "chunked\r\n\r\n",
      "DELETE /v1/groups/",
      "GET /metrics HTTP/1.1\r\n"};
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::string answer = bench.exchange(kPrefixes[data[0] % std::size(kPrefixes)] + text);
  TM_ASSERT(answer.empty() || answer.starts_with("HTTP/1.1 "));
  if (++count % kHealthEvery == 0) {
    const std::string health =
        bench.exchange("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", false);
    TM_ASSERT(health.starts_with("HTTP/1.1 200 "));
  }
  return 0;
}
