// The bytes of a connection to the control API, through a real socket and the HTTP library, to a node that
// answers every request with a sample, or with an error; a unix socket, or TCP where a token is asked for.
// The first byte may put the beginning of a good request in front. The server answers or hangs up, and serves
// the next.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <tuple>

#include "control/fake_node.h"
#include "control/http_server.h"
#include "control/tokens.h"
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
    write_tokens();
    // What fails, fails in one way or another.
    node_.refuse<VolumeShowRequest>(ErrorCode::kNotFound, "none");
    node_.refuse<GroupDeleteRequest>(ErrorCode::kBusy, "in use");
    node_.refuse<MarkDeleteRequest>(ErrorCode::kReadOnly, "held");
    options.addresses = {"unix:" + path(), "tcp:127.0.0.1:0"};
    options.token_file = folder_ + "/tokens";
    options.threads_per_address = 2;
    auto started = ApiServer::start(node_, executor_.poster(), options);
    TM_ASSERT(started.ok());
    server_ = std::move(started).value();
    const std::string& tcp = server_->addresses()[1];
    port_ = static_cast<std::uint16_t>(std::stoul(tcp.substr(tcp.rfind(':') + 1)));
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;
  ~Bench() {
    executor_.run([this] { server_->stop(); });
    server_.reset();
    ::unlink((folder_ + "/tokens").c_str());
    ::rmdir(folder_.c_str());
  }

  // Sends the bytes, and an end unless they ask for one themselves, and takes all that comes back.
  std::string exchange(std::string_view bytes, bool ends = true, bool over_tcp = false) const {
    const int descriptor = over_tcp ? connect_tcp() : connect_unix();
    const timeval limit{kSecondsMax, 0};
    TM_ASSERT(::setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
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

  // One that has expired, and one for each role; their secrets are "old", "see" and "all".
  void write_tokens() const {
    std::FILE* const file = std::fopen((folder_ + "/tokens").c_str(), "w");
    TM_ASSERT(file != nullptr);
    Token token;
    for (const auto& [name, role, expires] :
         {std::tuple("old", Role::kAdministrator, true), std::tuple("see", Role::kViewer, false),
          std::tuple("all", Role::kAdministrator, false)}) {
      token.name = name;
      token.role = role;
      token.hash = hash_secret(name);
      token.expires.reset();
      if (expires) token.expires = WallTime{1};
      TM_ASSERT(std::fprintf(file, "%s\n", token_line(token).c_str()) > 0);
    }
    TM_ASSERT(std::fclose(file) == 0);
    TM_ASSERT(::chmod((folder_ + "/tokens").c_str(), 0600) == 0);
  }

  int connect_unix() const {
    const int descriptor = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    TM_ASSERT(descriptor >= 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path().c_str(), path().size() + 1);
    TM_ASSERT(::connect(descriptor, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    return descriptor;
  }

  int connect_tcp() const {
    const int descriptor = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    TM_ASSERT(descriptor >= 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port_);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    TM_ASSERT(::connect(descriptor, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    return descriptor;
  }

  std::string folder_;
  std::uint16_t port_ = 0;
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
      "GET /metrics HTTP/1.1\r\n",
      "GET /v1/groups?timeout_seconds=",
      "GET /v1/groups/app?group=",
      "GET /v1/volumes/app/",
      "DELETE /v1/groups/app HTTP/1.1\r\n\r\n",
      "PUT /v1/groups HTTP/1.1\r\n\r\n",
      "POST /v1/groups HTTP/1.1\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\n",
      "POST /v1/groups HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\n",
      "GET /v1/groups HTTP/1.1\r\nAuthorization: ",
      "GET /v1/groups HTTP/1.1\r\nAuthorization: Bearer ",
      "GET /v1/groups HTTP/1.1\r\nAuthorization: Bearer old\r\n",
      "DELETE /v1/groups/app HTTP/1.1\r\nAuthorization: bearer  see\r\n\r\n",
      "POST /v1/groups/app/marks HTTP/1.1\r\nauthorization: BEARER all \r\nContent-Length: "};
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::string request = kPrefixes[data[0] % std::size(kPrefixes)] + text;
  const std::string answer = bench.exchange(request, true, data[0] >= 128);
  TM_ASSERT(answer.empty() || answer.starts_with("HTTP/1.1 "));
  if (++count % kHealthEvery == 0) {
    const std::string health =
        bench.exchange("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", false);
    TM_ASSERT(health.starts_with("HTTP/1.1 200 "));
  }
  return 0;
}
