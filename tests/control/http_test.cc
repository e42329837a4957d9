#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <mutex>

#include "control/http_client.h"
#include "control/http_server.h"
#include "fake_node.h"

namespace tidemark::control {
namespace {

constexpr std::chrono::seconds kLimit{30};

// A server over a fake node on a unix socket in a folder of its own.
class HttpTest : public ::testing::Test {
 protected:
  HttpTest() {
    char pattern[] = "/tmp/tidemark-http-XXXXXX";
    folder_ = ::mkdtemp(pattern);
  }
  ~HttpTest() override {
    stop();
    ::unlink((folder_ + "/control.sock").c_str());
    ::rmdir(folder_.c_str());
  }
  Result<std::unique_ptr<ApiServer>> try_start(const std::string& address) {
    ApiServerOptions options;
    options.addresses = {address};
    return ApiServer::start(node_, executor_.poster(), options);
  }
  void start() {
    Result<std::unique_ptr<ApiServer>> server = try_start("unix:" + path());
    ASSERT_TRUE(server.ok()) << server.error().message;
    server_ = std::move(server).value();
  }
  void stop() {
    if (server_ == nullptr) return;
    executor_.run([this] { server_->stop(); });
    server_.reset();
  }
  std::string path() const { return folder_ + "/control.sock"; }
  ApiClient client() const { return ApiClient(find_node(folder_).value()); }

  int connect_raw() const {
    const int descriptor = ::socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strcpy(address.sun_path, path().c_str());
    EXPECT_EQ(::connect(descriptor, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return descriptor;
  }
  // Sends `text` as it is and returns all that comes back.
  std::string exchange_raw(const std::string& text) const {
    const int descriptor = connect_raw();
    EXPECT_EQ(::send(descriptor, text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
    std::string answer;
    char piece[4096];
    for (ssize_t count; (count = ::read(descriptor, piece, sizeof piece)) > 0;) {
      answer.append(piece, static_cast<std::size_t>(count));
    }
    ::close(descriptor);
    return answer;
  }
  std::string get_raw(const std::string& target) const {
    return exchange_raw("GET " + target + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  }
  std::string send_raw(const std::string& method, const std::string& target, const std::string& body,
                       const std::string& type = "application/json") const {
    return exchange_raw(method + " " + target +
                        " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: " + type +
                        "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  }

  std::string folder_;
  FakeNode node_;
  Executor executor_;
  std::unique_ptr<ApiServer> server_;
};

TEST_F(HttpTest, EveryOperationGoesThrough) {
  start();
#define TM_CHECK(operation, Request, Reply, role, method, path, summary)               \
  {                                                                                    \
    node_.on<Request>([](const Request& request) -> Result<Reply> {                    \
      EXPECT_EQ(http_request(request).target, http_request(sample<Request>()).target); \
      EXPECT_EQ(http_request(request).body, http_request(sample<Request>()).body);     \
      return sample<Reply>();                                                          \
    });                                                                                \
    const Result<Reply> reply = client().call(sample<Request>(), kLimit);              \
    ASSERT_TRUE(reply.ok()) << #operation << ": " << reply.error().message;            \
    EXPECT_EQ(answer_json(reply.value()), answer_json(sample<Reply>())) << #operation; \
  }
  TM_CONTROL_OPERATIONS(TM_CHECK)
#undef TM_CHECK
}

TEST_F(HttpTest, ErrorsArriveWithCodeMessageAndStatus) {
  node_.refuse<GroupShowRequest>(ErrorCode::kNotFound, "there is no group 'app'");
  start();
  GroupShowRequest request;
  request.group = "app";
  const Result<GroupInfo> reply = client().call(request, kLimit);
  ASSERT_FALSE(reply.ok());
  EXPECT_EQ(reply.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(reply.error().message, "there is no group 'app'");
  const std::string raw = get_raw("/v1/groups/app");
  EXPECT_TRUE(raw.starts_with("HTTP/1.1 404")) << raw;
  EXPECT_NE(raw.find("{\"version\":1,\"error\":{\"code\":\"not-found\","), std::string::npos) << raw;
}

TEST_F(HttpTest, WhatChangesSomethingIsNotedWithItsClientAndItsOutcome) {
  node_.refuse<GroupDeleteRequest>(ErrorCode::kRefused, "it has a pair");
  ApiServerOptions options;
  options.addresses = {"unix:" + path()};
  std::mutex mutex;
  std::vector<std::string> lines;
  options.audit = [&](const std::string& line) {
    const std::lock_guard lock(mutex);
    lines.push_back(line);
  };
  Result<std::unique_ptr<ApiServer>> server = ApiServer::start(node_, executor_.poster(), options);
  ASSERT_TRUE(server.ok()) << server.error().message;
  server_ = std::move(server).value();
  const std::string who =
      "client=unix uid=" + std::to_string(::getuid()) + " pid=" + std::to_string(::getpid()) + " ";
  (void)send_raw("DELETE", "/v1/groups/app", "");
  (void)get_raw("/v1/groups");
  (void)send_raw("POST", "/v1/groups", "{\"group\": 5}");
  (void)send_raw("POST", "/v1/groups", "{}", "text/plain");
  const std::lock_guard lock(mutex);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0], who +
                          "operation=group_delete request=\"DELETE /v1/groups/app\" outcome=refused "
                          "reason=\"it has a pair\"");
  EXPECT_TRUE(lines[1].starts_with(who + "operation=group_create request=\"POST /v1/groups\" "
                                         "body=\"{\\\"group\\\": 5}\" outcome=invalid"))
      << lines[1];
  EXPECT_TRUE(lines[2].starts_with(who + "operation=\"\" request=\"POST /v1/groups\" outcome=invalid"))
      << lines[2];
}

struct BadInput {
  std::string request;
  const char* status;
  const char* message_has;
};

TEST_F(HttpTest, BadInputIsRefusedWithAReason) {
  start();
  const std::string head = " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
  const std::string json = "Content-Type: application/json\r\n";
  const BadInput kTable[] = {
      {"GET /" + head + "\r\n", "404", "there is no '/'"},
      {"GET /v1" + head + "\r\n", "404", "there is no"},
      {"GET /v1/groups/" + head + "\r\n", "404", "there is no"},
      {"GET /v1/groups//journal" + head + "\r\n", "404", "there is no"},
      {"GET /v1/groups/a%2Fb" + head + "\r\n", "400", "group name 'a/b' is not allowed"},
      {"GET /v1/groups/a%20b" + head + "\r\n", "400", "group name"},
      {"GET /v1/groups/%00" + head + "\r\n", "400", "group name"},
      {"GET /v1/groups?x=1" + head + "\r\n", "400", "unknown key 'x'"},
      {"GET /v1/groups/app/marks?limit=1&limit=2" + head + "\r\n", "400", "given twice"},
      {"GET /v1/groups/app/marks?limit=x" + head + "\r\n", "400", "'limit' must be a whole number"},
      {"GET /v1/groups?timeout_seconds=0" + head + "\r\n", "400", "timeout_seconds"},
      {"GET /v1/groups?timeout_seconds=1e3" + head + "\r\n", "400", "timeout_seconds"},
      {"DELETE /v1/status" + head + "\r\n", "405", "this path takes GET"},
      {"PUT /v1/groups" + head + json + "Content-Length: 2\r\n\r\n{}", "405", "this path takes POST, GET"},
      {"POST /v1/groups" + head + json + "Content-Length: 1\r\n\r\n{", "400", "not JSON"},
      {"POST /v1/groups" + head + json + "Content-Length: 2\r\n\r\n{}", "400", "'group' is missing"},
      {"POST /v1/groups" + head + "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", "415",
       "Content-Type"},
      {"POST /v1/groups" + head + json + "\r\n", "411", "Content-Length"},
      {"POST /v1/groups" + head + json + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "411",
       "Content-Length"},
      {"POST /v1/groups" + head + json + "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", "415",
       "compressed"},
      {"POST /v1/groups" + head + json + "Content-Length: 99999999\r\n\r\n{}", "413", "larger than 1 MiB"},
      {"GET /v1/groups?" + std::string(9000, 'x') + head + "\r\n", "414", "too long"},
      {"nonsense\r\n\r\n", "400", "malformed"},
  };
  for (const BadInput& bad : kTable) {
    const std::string answer = exchange_raw(bad.request);
    const std::string shown = bad.request.substr(0, 200);
    EXPECT_TRUE(answer.starts_with(std::string("HTTP/1.1 ") + bad.status)) << shown << "\n" << answer;
    EXPECT_NE(answer.find("\"error\":{\"code\":"), std::string::npos) << shown << "\n" << answer;
    EXPECT_NE(answer.find(bad.message_has), std::string::npos) << shown << "\n" << answer;
  }
  EXPECT_TRUE(client().call(NodeStatusRequest{}, kLimit).ok()) << "the server survives all of it";
}

TEST_F(HttpTest, ABodyOfADeleteIsCheckedToo) {
  start();
  EXPECT_TRUE(send_raw("DELETE", "/v1/groups/app", "{\"force\":true}").starts_with("HTTP/1.1 200"));
  EXPECT_TRUE(send_raw("DELETE", "/v1/groups/app", "{\"forced\":true}").starts_with("HTTP/1.1 400"));
}

TEST_F(HttpTest, ASlowOperationTimesOutAndGoesOn) {
  node_.gate.close();
  start();
  const Result<NodeStatus> reply = client().call(NodeStatusRequest{}, std::chrono::seconds(1));
  ASSERT_FALSE(reply.ok());
  EXPECT_EQ(reply.error().code, ErrorCode::kTimeout);
  node_.gate.await_waiting(1);
  executor_.run([this] { node_.gate.open(); });
  node_.gate.await_waiting(0);
  EXPECT_TRUE(client().call(NodeStatusRequest{}, kLimit).ok());
}

TEST_F(HttpTest, AClientThatGoesAwayHarmsNobody) {
  node_.gate.close();
  start();
  const int descriptor = connect_raw();
  const std::string request = "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n";
  ASSERT_EQ(::send(descriptor, request.data(), request.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(request.size()));
  node_.gate.await_waiting(1);
  ::close(descriptor);
  executor_.run([this] { node_.gate.open(); });
  EXPECT_TRUE(client().call(NodeStatusRequest{}, kLimit).ok());
}

TEST_F(HttpTest, StopAnswersThoseWhoWaitAndDestroysTheirOperations) {
  node_.gate.close();
  start();
  std::vector<std::thread> clients;
  std::atomic<int> refused = 0;
  for (int i = 0; i < 5; ++i) {
    clients.emplace_back([&] {
      const Result<NodeStatus> reply = client().call(NodeStatusRequest{}, kLimit);
      if (!reply.ok() && reply.error().code == ErrorCode::kShutdown) ++refused;
    });
  }
  node_.gate.await_waiting(5);
  stop();
  node_.gate.await_waiting(0);
  for (std::thread& thread : clients) thread.join();
  EXPECT_EQ(refused, 5);
  struct stat info {};
  EXPECT_NE(::stat(path().c_str(), &info), 0) << "the socket is removed";
}

TEST_F(HttpTest, TooManyRequestsInFlightAreRefused) {
  node_.gate.close();
  ApiServerOptions options;
  options.addresses = {"unix:" + path()};
  options.threads_per_address = kRequestsInFlightMax + 4;
  Result<std::unique_ptr<ApiServer>> server = ApiServer::start(node_, executor_.poster(), options);
  ASSERT_TRUE(server.ok());
  server_ = std::move(server).value();
  std::vector<std::thread> clients;
  for (std::size_t i = 0; i < kRequestsInFlightMax; ++i) {
    clients.emplace_back([&] { EXPECT_TRUE(client().call(NodeStatusRequest{}, kLimit).ok()); });
  }
  node_.gate.await_waiting(kRequestsInFlightMax);
  const Result<NodeStatus> reply = client().call(NodeStatusRequest{}, kLimit);
  EXPECT_TRUE(!reply.ok() && reply.error().code == ErrorCode::kBusy);
  executor_.run([this] { node_.gate.open(); });
  for (std::thread& thread : clients) thread.join();
}

TEST_F(HttpTest, MetricsAndHealth) {
  NodeStatus status;
  status.node = "node \"one\"";
  GroupInfo group;
  group.group = "app";
  VolumeInfo volume;
  volume.group = "app";
  volume.volume = "db";
  volume.cache.read_hits = 7;
  group.volumes.push_back(volume);
  group.pair.emplace().lag_bytes = 4096;
  group.pair->link_sent_bytes = 25;
  group.pair->link_sent_uncompressed_bytes = 100;
  status.groups.push_back(group);
  node_.on<NodeStatusRequest>([=](const NodeStatusRequest&) { return status; });
  start();
  const std::string metrics = get_raw("/metrics");
  EXPECT_TRUE(metrics.starts_with("HTTP/1.1 200"));
  for (const char* line : {
           "\n# TYPE tidemark_volume_cache_accesses_total counter\n",
           "\ntidemark_volume_cache_accesses_total{group=\"app\",volume=\"db\",operation=\"read\",result="
           "\"hit\"} 7\n",
           "\ntidemark_pair_lag_bytes{group=\"app\"} 4096\n",
           "\ntidemark_pair_link_bytes_total{group=\"app\",direction=\"sent\"} 25\n",
           "\ntidemark_pair_link_uncompressed_bytes_total{group=\"app\",direction=\"sent\"} 100\n",
           "\ntidemark_pair_link_bytes_total{group=\"app\",direction=\"received\"} 0\n",
           "{node=\"node \\\"one\\\"\",version=\"\"} 1\n",
       }) {
    EXPECT_NE(metrics.find(line), std::string::npos) << line << "\n" << metrics;
  }
  EXPECT_NE(get_raw("/healthz").find("\"healthy\":true"), std::string::npos);
}

TEST_F(HttpTest, TheSocketIsForItsOwnerOnly) {
  start();
  struct stat info {};
  ASSERT_EQ(::stat(path().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(HttpTest, AStaleSocketIsReplacedALiveOneIsNot) {
  const int dead = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, path().c_str());
  ASSERT_EQ(::bind(dead, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ::close(dead);
  start();
  EXPECT_TRUE(client().call(NodeStatusRequest{}, kLimit).ok());
  const Result<std::unique_ptr<ApiServer>> second = try_start("unix:" + path());
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, ErrorCode::kBusy);
  EXPECT_TRUE(client().call(NodeStatusRequest{}, kLimit).ok()) << "the first is untouched";
}

TEST_F(HttpTest, AFileInTheWayIsKept) {
  std::ofstream(path()) << "precious";
  const Result<std::unique_ptr<ApiServer>> server = try_start("unix:" + path());
  ASSERT_FALSE(server.ok());
  EXPECT_NE(server.error().message.find("is not a socket"), std::string::npos);
  std::string word;
  std::ifstream(path()) >> word;
  EXPECT_EQ(word, "precious");
}

TEST_F(HttpTest, WithoutTokensTcpListensOnLoopbackOnly) {
  Result<std::unique_ptr<ApiServer>> server = try_start("tcp:127.0.0.1:0");
  ASSERT_TRUE(server.ok()) << server.error().message;
  server_ = std::move(server).value();
  const std::string address = server_->addresses().at(0);
  EXPECT_NE(address, "tcp:127.0.0.1:0") << "the real port is told";
  ApiClient over_tcp(find_node(address).value());
  EXPECT_TRUE(over_tcp.call(NodeStatusRequest{}, kLimit).ok());
  for (const char* bad : {"tcp:0.0.0.0:0", "tcp:[::]:0", "tcp:example.com:80", "tcp:192.168.1.1:80"}) {
    const Result<std::unique_ptr<ApiServer>> refused = try_start(bad);
    ASSERT_FALSE(refused.ok()) << bad;
    EXPECT_NE(refused.error().message.find("use a unix socket or a loopback address"), std::string::npos);
  }
}

TEST_F(HttpTest, NobodyListeningIsSaidClearly) {
  const Result<NodeStatus> reply = client().call(NodeStatusRequest{}, kLimit);
  ASSERT_FALSE(reply.ok());
  EXPECT_EQ(reply.error().code, ErrorCode::kClosed);
  EXPECT_EQ(reply.error().message, "no node answers at unix:" + path() + "; is tidemarkd running?");
}

TEST(ControlAddress, ParsesWhatItWritesAndRefusesTheRest) {
  for (const char* good :
       {"unix:/run/x.sock", "unix:x", "tcp:127.0.0.1:0", "tcp:[::1]:7080", "tcp:localhost:65535"}) {
    const Result<ControlAddress> address = parse_control_address(good);
    ASSERT_TRUE(address.ok()) << good;
    EXPECT_EQ(address->to_string(), good);
  }
  const std::string long_path = "unix:/" + std::string(kSocketPathLengthMax, 'p');
  for (const std::string& bad :
       {std::string(""), std::string("unix:"), std::string("tcp:"), std::string("tcp:host"),
        std::string("tcp::1"), std::string("tcp:h:"), std::string("tcp:h:65536"), std::string("tcp:h:1x"),
        std::string("tcp:::1:80"), std::string("tcp:[[a]]:1"), std::string("tcp:[a:1"),
        std::string("http://x"), long_path}) {
    EXPECT_FALSE(parse_control_address(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace tidemark::control
