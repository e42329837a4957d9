// Tokens over HTTP: who is let in, what is written down, and a file that changes. TLS itself is tested with
// real certificates and clients in tests/e2e/test_control_tls.py.

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <mutex>
#include <thread>

#include "control/http_client.h"
#include "control/http_server.h"
#include "control/router.h"
#include "fake_node.h"
#include "run_program.h"

namespace tidemark::control {
namespace {

constexpr std::chrono::seconds kLimit{30};

// A server on loopback TCP, in the clear, that asks for tokens: "viewer", "operator", "administrator" and
// "expired" are the secrets of tokens of these names.
class AccessTest : public ::testing::Test {
 protected:
  void SetUp() override {
    write_tokens(standard_tokens());
    start();
  }
  void TearDown() override { stop(); }
  void start() {
    ApiServerOptions options = this->options();
    Result<std::unique_ptr<ApiServer>> server = ApiServer::start(node_, executor_.poster(), options);
    ASSERT_TRUE(server.ok()) << server.error().message;
    server_ = std::move(server).value();
  }
  void stop() {
    if (server_ == nullptr) return;
    executor_.run([this] { server_->stop(); });
    server_.reset();
  }
  ApiServerOptions options() {
    ApiServerOptions options;
    options.addresses = {"tcp:127.0.0.1:0", "unix:" + folder_.path() + "/control.sock"};
    options.token_file = token_file();
    options.audit = [this](const std::string& line) { note(audit_, line); };
    options.log = [this](const std::string& event, const std::string& text) {
      note(log_, event + " " + text);
    };
    return options;
  }
  std::string token_file() const { return folder_.path() + "/tokens"; }
  static std::string line(const std::string& name, Role role, std::optional<WallTime> expires = {}) {
    Token token;
    token.name = name;
    token.role = role;
    token.hash = hash_secret(name);
    token.expires = expires;
    return token_line(token) + "\n";
  }
  static std::string standard_tokens() {
    return line("viewer", Role::kViewer) + line("operator", Role::kOperator) +
           line("administrator", Role::kAdministrator) +
           line("expired", Role::kAdministrator, WallTime{Duration::seconds(1).ns});
  }
  void write_tokens(const std::string& text) {
    std::ofstream(token_file()) << text;
    ASSERT_EQ(::chmod(token_file().c_str(), 0600), 0);
  }

  ApiClient client(const std::string& secret, std::size_t address = 0) const {
    Credentials credentials;
    credentials.secret = secret;
    return ApiClient(find_node(server_->addresses().at(address)).value(), credentials);
  }
  int connect_raw() const {
    const ControlAddress where = find_node(server_->addresses().at(0)).value();
    const int descriptor = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(where.port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(descriptor, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return descriptor;
  }
  // Sends `text` as it is and returns all that comes back, until the server closes.
  std::string exchange_raw(const std::string& text) const { return exchange_raw(connect_raw(), text); }
  static std::string exchange_raw(int descriptor, const std::string& text) {
    EXPECT_EQ(::send(descriptor, text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
    std::string answer;
    char piece[4096];
    for (ssize_t count; (count = ::read(descriptor, piece, sizeof piece)) > 0;) {
      answer.append(piece, static_cast<std::size_t>(count));
    }
    ::close(descriptor);
    return answer;
  }
  std::string ask(const std::string& method, const std::string& target, const std::string& headers,
                  const std::string& body = "") const {
    std::string text = method + " " + target + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + headers;
    if (!body.empty()) {
      text += "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
    }
    return exchange_raw(text + "\r\n" + body);
  }
  static std::string bearer(const std::string& secret) { return "Authorization: Bearer " + secret + "\r\n"; }

  template <typename Request>
  void check_roles(const char* operation) {
    const Request request = sample<Request>();
    for (const Role role : kRoles) {
      const auto reply = client(std::string(role_word(role))).call(request, kLimit);
      EXPECT_EQ(reply.ok(), role >= role_of(request)) << operation << " by a " << role_word(role);
      const bool denied = !reply.ok() && reply.error().code == ErrorCode::kDenied;
      EXPECT_EQ(reply.ok(), !denied) << operation;
    }
  }

  std::vector<std::string> audit() {
    const std::lock_guard lock(mutex_);
    return audit_;
  }
  bool logged(const std::string& text) {
    const std::lock_guard lock(mutex_);
    return std::any_of(log_.begin(), log_.end(),
                       [&](const std::string& one) { return one.find(text) != std::string::npos; });
  }

  TestFolder folder_;
  FakeNode node_;
  Executor executor_;
  std::unique_ptr<ApiServer> server_;

 private:
  void note(std::vector<std::string>& lines, const std::string& line) {
    const std::lock_guard lock(mutex_);
    lines.push_back(line);
  }
  std::mutex mutex_;
  std::vector<std::string> audit_;
  std::vector<std::string> log_;
};

TEST_F(AccessTest, EveryOperationIsForItsRoleAndThoseAbove) {
#define TM_CHECK(operation, Request, Reply, role, method, path, summary) check_roles<Request>(#operation);
  TM_CONTROL_OPERATIONS(TM_CHECK)
#undef TM_CHECK
}

TEST_F(AccessTest, ARoleThatIsTooLowIsAnsweredWithBothRolesAndNoted) {
  const std::string answer = ask("DELETE", "/v1/groups/app", bearer("operator"));
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 403")) << answer;
  EXPECT_NE(answer.find("\"code\":\"denied\""), std::string::npos) << answer;
  EXPECT_NE(answer.find("the token 'operator' has the role operator, and group_delete needs administrator"),
            std::string::npos)
      << answer;
  EXPECT_EQ(answer.find("WWW-Authenticate"), std::string::npos);
  ASSERT_EQ(audit().size(), 1u);
  const std::string line = audit()[0];
  EXPECT_TRUE(line.starts_with("client=127.0.0.1:")) << line;
  EXPECT_NE(
      line.find(" token=operator role=operator operation=group_delete request=\"DELETE /v1/groups/app\" "
                "outcome=denied reason="),
      std::string::npos)
      << line;
  // A flag that needs more than the route does.
  const std::string resync = "/v1/groups/app/pair/resync";
  EXPECT_TRUE(ask("POST", resync, bearer("operator"), "{}").starts_with("HTTP/1.1 200"));
  const std::string refused = ask("POST", resync, bearer("operator"), "{\"give_up_window\":true}");
  EXPECT_TRUE(refused.starts_with("HTTP/1.1 403")) << refused;
  EXPECT_NE(refused.find("pair_resync as it is asked for needs administrator"), std::string::npos) << refused;
  ASSERT_EQ(audit().size(), 3u);
  EXPECT_NE(audit()[2].find("give_up_window"), std::string::npos) << audit()[2];
  // A question that was refused leaves none.
  EXPECT_TRUE(ask("GET", "/v1/groups/app/journal/exports/e1", bearer("viewer")).starts_with("HTTP/1.1 403"));
  EXPECT_EQ(audit().size(), 3u);
}

TEST_F(AccessTest, WhoHasNoTokenIsTold) {
  struct Case {
    std::string headers;
    const char* message_has;
    const char* challenge;
  };
  const std::string plain = "WWW-Authenticate: Bearer realm=\"tidemark\"\r\n";
  const std::string invalid = "WWW-Authenticate: Bearer realm=\"tidemark\", error=\"invalid_token\"\r\n";
  const Case kTable[] = {
      {"", "wants a token", plain.c_str()},
      {"Authorization: Basic dmlld2VyOg==\r\n", "wants a token", plain.c_str()},
      {"Authorization: Bearer\r\n", "wants a token", plain.c_str()},
      {"Authorization: Bearer \r\n", "wants a token", plain.c_str()},
      {bearer("viewer") + bearer("administrator"), "once", plain.c_str()},
      {bearer("guess"), "none of this node's", invalid.c_str()},
      {bearer(std::string(4000, 'x')), "none of this node's", invalid.c_str()},
      {bearer("expired"), "'expired' expired at 1970-01-01T00:00:01Z", invalid.c_str()},
  };
  for (const Case& one : kTable) {
    for (const char* target : {"/v1/status", "/metrics", "/nothing"}) {
      const std::string answer = ask("GET", target, one.headers);
      EXPECT_TRUE(answer.starts_with("HTTP/1.1 401")) << one.headers << answer;
      EXPECT_NE(answer.find(one.message_has), std::string::npos) << answer;
      EXPECT_NE(answer.find(one.challenge), std::string::npos) << answer;
      EXPECT_NE(answer.find("{\"version\":1,\"error\":{\"code\":\"denied\","), std::string::npos) << answer;
    }
  }
  EXPECT_TRUE(ask("GET", "/v1/status", "authorization: bearer  viewer \r\n").starts_with("HTTP/1.1 200"));
  EXPECT_TRUE(ask("GET", "/metrics", bearer("viewer")).starts_with("HTTP/1.1 200"));
  EXPECT_TRUE(ask("GET", "/nothing", bearer("viewer")).starts_with("HTTP/1.1 404"));
  EXPECT_TRUE(ask("GET", "/healthz", "").starts_with("HTTP/1.1 200")) << "it is for everybody";
  EXPECT_TRUE(ask("DELETE", "/healthz", "").starts_with("HTTP/1.1 401"));
  EXPECT_TRUE(audit().size() == 1u) << "only the last was to change something";
  EXPECT_TRUE(logged("control-denied client=127.0.0.1:"));
}

TEST_F(AccessTest, WhatFollowsABodyThatWasNotReadIsNoRequest) {
  const std::string hidden =
      "DELETE /v1/groups/app HTTP/1.1\r\nHost: x\r\n" + bearer("administrator") + "\r\n";
  const std::string answer = exchange_raw(
      "POST /v1/groups HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: " +
      std::to_string(hidden.size()) + "\r\n\r\n" + hidden);
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 401")) << answer;
  EXPECT_NE(answer.find("Connection: close"), std::string::npos) << answer;
  EXPECT_EQ(answer.find("HTTP/1.1", 1), std::string::npos) << answer;
}

TEST_F(AccessTest, AnUnknownClientCannotFillTheLogs) {
  for (int i = 0; i < 60; ++i) {
    EXPECT_TRUE(ask("DELETE", "/v1/groups/app", bearer("guess")).starts_with("HTTP/1.1 401"));
  }
  EXPECT_EQ(audit().size(), 20u);
  for (int i = 0; i < 30; ++i) {
    EXPECT_TRUE(ask("DELETE", "/v1/groups/app", bearer("viewer")).starts_with("HTTP/1.1 403"));
  }
  EXPECT_EQ(audit().size(), 50u) << "who is known is noted each time";
  const std::string metrics = ask("GET", "/metrics", bearer("viewer"));
  EXPECT_NE(metrics.find("tidemark_control_denied_total{reason=\"unknown-token\"} 60\n"), std::string::npos)
      << metrics;
  EXPECT_NE(metrics.find("tidemark_control_denied_total{reason=\"role\"} 30\n"), std::string::npos)
      << metrics;
}

TEST_F(AccessTest, TheUnixSocketAsksForNone) {
  GroupDeleteRequest request;
  request.group = "app";
  EXPECT_TRUE(client("", 1).call(request, kLimit).ok());
  ASSERT_EQ(audit().size(), 1u);
  EXPECT_TRUE(audit()[0].starts_with("client=unix uid=" + std::to_string(::getuid()))) << audit()[0];
  EXPECT_EQ(audit()[0].find("token="), std::string::npos);
}

TEST_F(AccessTest, AChangedFileCountsFromTheNextRequestOn) {
  const auto works = [this](const std::string& secret) {
    return client(secret).call(NodeStatusRequest{}, kLimit).ok();
  };
  EXPECT_TRUE(works("viewer"));
  write_tokens(line("operator", Role::kOperator) + line("late", Role::kViewer));
  EXPECT_FALSE(works("viewer"));
  EXPECT_TRUE(works("late"));
  EXPECT_TRUE(logged("control-tokens-read file=" + token_file() + " tokens=2"));
  // As long as before, at once: the time of the file may be the same.
  for (const char* name : {"take", "made", "give"}) {
    write_tokens(line("operator", Role::kOperator) + line(name, Role::kViewer));
    EXPECT_TRUE(works(name)) << name;
  }
  EXPECT_FALSE(works("late"));
  write_tokens("nonsense\n");
  EXPECT_TRUE(works("give")) << "those read before stay";
  EXPECT_TRUE(logged("control-tokens-unusable reason="));
  EXPECT_TRUE(logged("line 1: write NAME ROLE SHA-256"));
  ASSERT_EQ(::unlink(token_file().c_str()), 0);
  EXPECT_TRUE(works("give"));
  EXPECT_TRUE(logged("No such file"));
  write_tokens("# nobody\n");
  EXPECT_FALSE(works("give"));
}

TEST_F(AccessTest, AFileThatOthersMayWriteIsNotUsed) {
  ASSERT_EQ(::chmod(token_file().c_str(), 0620), 0);
  EXPECT_TRUE(client("viewer").call(NodeStatusRequest{}, kLimit).ok());
  EXPECT_TRUE(logged("control-tokens-unusable"));
  EXPECT_TRUE(logged("others than its owner may write it"));
  stop();
  const Result<std::unique_ptr<ApiServer>> refused = ApiServer::start(node_, executor_.poster(), options());
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("--control-tokens '" + token_file() + "': others"),
            std::string::npos)
      << refused.error().message;
  ASSERT_EQ(::chmod(token_file().c_str(), 0644), 0);
  start();
  EXPECT_TRUE(logged("control-tokens-exposed file=" + token_file()));
  EXPECT_TRUE(client("viewer").call(NodeStatusRequest{}, kLimit).ok());
}

TEST_F(AccessTest, OtherMachinesNeedTlsAndTokens) {
  for (const char* address : {"tcp:0.0.0.0:0", "tcp:[::]:0", "tcp:example.com:80", "tcp:192.168.1.1:80"}) {
    ApiServerOptions only_tokens = options();
    only_tokens.addresses = {address};
    const Result<std::unique_ptr<ApiServer>> refused =
        ApiServer::start(node_, executor_.poster(), only_tokens);
    ASSERT_FALSE(refused.ok()) << address;
    EXPECT_NE(refused.error().message.find("needs a certificate (--tls-cert, --tls-key, --tls-ca); or"),
              std::string::npos)
        << refused.error().message;
    ApiServerOptions nothing = only_tokens;
    nothing.token_file.clear();
    const Result<std::unique_ptr<ApiServer>> both = ApiServer::start(node_, executor_.poster(), nothing);
    ASSERT_FALSE(both.ok()) << address;
    EXPECT_NE(both.error().message.find("and a file of tokens (--control-tokens); or"), std::string::npos)
        << both.error().message;
  }
  ApiServerOptions missing = options();
  missing.token_file = folder_.path() + "/gone";
  const Result<std::unique_ptr<ApiServer>> refused = ApiServer::start(node_, executor_.poster(), missing);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("gone': No such file"), std::string::npos);
}

TEST_F(AccessTest, ClientsThatSayNothingHoldNobodyUp) {
  // More than there are threads, and more than are kept.
  std::vector<int> idle;
  for (int i = 0; i < 300; ++i) {
    const int descriptor = connect_raw();
    // The last ones are half way through their headers.
    const std::string_view half = "GET /v1/status HTTP/1.1\r\nHost:";
    if (i > 200) {
      ASSERT_GT(::send(descriptor, half.data(), half.size(), MSG_NOSIGNAL), 0);
    }
    idle.push_back(descriptor);
    if (i % 50 == 0) {
      EXPECT_TRUE(client("viewer").call(NodeStatusRequest{}, std::chrono::seconds(5)).ok()) << i;
    }
  }
  EXPECT_TRUE(client("viewer").call(NodeStatusRequest{}, std::chrono::seconds(5)).ok());
  char byte = 0;
  EXPECT_EQ(::recv(idle.front(), &byte, 1, 0), 0) << "the one that waited longest had to go";
  for (const int descriptor : idle) ::close(descriptor);
  const std::string metrics = ask("GET", "/metrics", bearer("viewer"));
  EXPECT_NE(metrics.find("tidemark_control_connections_dropped_total "), std::string::npos) << metrics;
}

TEST_F(AccessTest, AFirstRequestThatIsSlowToComeIsAnswered) {
  // As when its packet is lost on the way, and sent again after a second.
  const int descriptor = connect_raw();
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  const std::string answer =
      exchange_raw(descriptor, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200")) << answer;
}

TEST_F(AccessTest, OneConnectionTakesManyRequestsAlsoInOnePiece) {
  const std::string request = "GET /v1/groups HTTP/1.1\r\nHost: x\r\n" + bearer("viewer");
  const std::string answer =
      exchange_raw(request + "\r\n" + request + "\r\n" + request + "Connection: close\r\n\r\n");
  std::size_t count = 0;
  for (std::size_t at = answer.find("HTTP/1.1 200"); at != std::string::npos;
       at = answer.find("HTTP/1.1 200", at + 1)) {
    ++count;
  }
  EXPECT_EQ(count, 3u) << answer;
}

}  // namespace
}  // namespace tidemark::control
