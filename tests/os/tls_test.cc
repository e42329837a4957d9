#include "os/tls.h"

#include <sys/socket.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>

#include "os/network.h"
#include "support.h"

namespace tidemark::os {
namespace {

using StreamResult = Result<std::unique_ptr<io::Stream>>;

constexpr Duration kPatience = Duration::seconds(60);

void run_openssl(const std::string& folder, const std::string& arguments) {
  const std::string command = "cd '" + folder + "' && openssl " + arguments + " >openssl.log 2>&1";
  ASSERT_EQ(std::system(command.c_str()), 0) << command;
}

// What a test gets at below TLS: it can cut the stream off and damage what passes.
struct Wire {
  io::Stream* stream = nullptr;
  bool flips = false;  // the last byte of the next write
  std::size_t written = 0;
};

class WireStream final : public io::Stream {
 public:
  WireStream(std::unique_ptr<io::Stream> below, Wire& wire) : below_(std::move(below)), wire_(wire) {
    wire.stream = below_.get();
  }
  ~WireStream() override { wire_.stream = nullptr; }
  io::Task<Result<std::size_t>> read_some(Buffer out) override { return below_->read_some(std::move(out)); }
  io::Task<Result<void>> write(std::vector<Buffer> pieces) override {
    for (const Buffer& piece : pieces) wire_.written += piece.size();
    if (wire_.flips) {
      std::byte& last = pieces.back().data()[pieces.back().size() - 1];
      last ^= std::byte{1};
    }
    wire_.flips = false;
    return below_->write(std::move(pieces));
  }
  void close() override { below_->close(); }
  std::string peer_name() const override { return below_->peer_name(); }

 private:
  std::unique_ptr<io::Stream> below_;
  Wire& wire_;
};

io::Task<void> write_all(io::Stream& stream, Buffer data, Result<void>* outcome) {
  std::vector<Buffer> pieces;
  pieces.push_back(data.slice(0, data.size() / 3));
  pieces.push_back(data.slice(data.size() / 3, data.size() - data.size() / 3));
  *outcome = co_await stream.write(std::move(pieces));
}

io::Task<void> read_into(io::Stream& stream, Buffer out, Result<void>* outcome) {
  *outcome = co_await io::read_exactly(stream, out);
}

class TlsTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder();
    const std::string at = folder_->file("");
    const std::string ec = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes ";
    for (const std::string ca : {"ca", "other"}) {
      run_openssl(
          at, "req -x509 " + ec + "-days 30 -subj /CN=" + ca + " -keyout " + ca + ".key -out " + ca + ".pem");
    }
    const auto issue = [&](const std::string& name, const std::string& subject, const std::string& ca,
                           int days) {
      run_openssl(
          at, "req -new " + ec + "-subj '" + subject + "' -keyout " + name + ".key -out " + name + ".csr");
      run_openssl(at, "x509 -req -in " + name + ".csr -CA " + ca + ".pem -CAkey " + ca +
                          ".key -CAcreateserial -days " + std::to_string(days) + " -out " + name + ".pem");
    };
    issue("tokyo", "/O=Example/CN=tokyo", "ca", 30);
    issue("osaka", "/CN=osaka", "ca", 30);
    issue("nameless", "/", "ca", 30);
    issue("expired", "/CN=expired", "ca", -1);
    issue("stranger", "/CN=stranger", "other", 30);
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }

  TlsFiles files(const std::string& name, const std::string& ca = "ca") const {
    return {folder_->file(name + ".pem"), folder_->file(name + ".key"), folder_->file(ca + ".pem")};
  }
  Tls* tls(const TlsFiles& of) {
    auto made = Tls::create(*reactor, of, [this](const std::string& event, const std::string& text) {
      log += event + " " + text + "\n";
    });
    EXPECT_TRUE(made.ok()) << made.error().message;
    made_.push_back(std::move(made).value());
    return made_.back().get();
  }
  // Two connected streams: raw[0] is the client's.
  void connect_raw() {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    for (int i = 0; i < 2; ++i)
      raw[i] = make_stream(*reactor, Descriptor(ends[i]), i == 0 ? "server" : "client");
  }
  // Both ends of a TLS connection, its handshake done; false when either failed.
  bool connect(Tls& client_tls, Tls& server_tls) {
    connect_raw();
    server = server_tls.serve(std::make_unique<WireStream>(std::move(raw[1]), server_wire));
    StreamResult connected = fail(ErrorCode::kClosed, "");
    const Buffer hello = pattern(10, 1);
    const Buffer heard = Buffer::allocate(10);
    io::TaskScope scope(*reactor);
    scope.spawn(read_into(*server, heard, &server_outcome));
    connected = reactor->run(
        client_tls.connect(std::make_unique<WireStream>(std::move(raw[0]), client_wire), kPatience));
    if (!connected.ok()) {
      client_outcome = connected.error();
      reactor->run(scope.join());
      return false;
    }
    client = std::move(connected).value();
    std::vector<Buffer> pieces(1, hello);
    (void)reactor->run(client->write(std::move(pieces)));
    reactor->run(scope.join());
    if (!server_outcome.ok()) {
      const auto told = reactor->run(client->read_some(Buffer::allocate(10)));
      if (!told.ok()) client_outcome = told.error();
      return false;
    }
    EXPECT_TRUE(same(hello, heard));
    return true;
  }

  static TemporaryFolder* folder_;
  std::unique_ptr<Reactor> reactor = make_reactor();
  std::string log;
  Wire client_wire;
  Wire server_wire;
  std::unique_ptr<io::Stream> raw[2];
  std::vector<std::unique_ptr<Tls>> made_;  // outlive the streams
  Tls* tokyo = tls(files("tokyo"));
  Tls* osaka = tls(files("osaka"));
  std::unique_ptr<io::Stream> client;
  std::unique_ptr<io::Stream> server;
  Result<void> client_outcome;
  Result<void> server_outcome;
};

TemporaryFolder* TlsTest::folder_ = nullptr;

TEST_F(TlsTest, CarriesBothWaysAtOnceAndKnowsWhoIsThere) {
  ASSERT_TRUE(connect(*tokyo, *osaka)) << server_outcome.error().message;
  EXPECT_EQ(client->peer_identity(), "CN=osaka");
  EXPECT_EQ(server->peer_identity(), "CN=tokyo,O=Example");
  const Buffer there = pattern(5'000'001, 3);
  const Buffer back = pattern(3'000'003, 4);
  const Buffer came_there = Buffer::allocate(there.size());
  const Buffer came_back = Buffer::allocate(back.size());
  Result<void> outcomes[4];
  io::TaskScope scope(*reactor);
  scope.spawn(write_all(*client, there, &outcomes[0]));
  scope.spawn(write_all(*server, back, &outcomes[1]));
  scope.spawn(read_into(*server, came_there, &outcomes[2]));
  scope.spawn(read_into(*client, came_back, &outcomes[3]));
  reactor->run(scope.join());
  for (const auto& outcome : outcomes) EXPECT_TRUE(outcome.ok()) << outcome.error().message;
  EXPECT_TRUE(same(there, came_there));
  EXPECT_TRUE(same(back, came_back));
  EXPECT_GT(client_wire.written, there.size());
}

TEST_F(TlsTest, ACertificateWithoutASubjectIsKnownByItsKey) {
  Tls* const nameless = tls(files("nameless"));
  ASSERT_TRUE(connect(*nameless, *osaka));
  EXPECT_TRUE(server->peer_identity().starts_with("key-sha256:")) << server->peer_identity();
  EXPECT_EQ(server->peer_identity().size(), std::string("key-sha256:").size() + 64);
}

TEST_F(TlsTest, AnEndInOrderIsToldAsOne) {
  ASSERT_TRUE(connect(*tokyo, *osaka));
  std::vector<Buffer> pieces(1, pattern(100, 1));
  ASSERT_TRUE(reactor->run(server->write(std::move(pieces))).ok());
  server->close();
  const Buffer last = Buffer::allocate(100);
  ASSERT_TRUE(reactor->run(io::read_exactly(*client, last)).ok());
  const auto end = reactor->run(client->read_some(Buffer::allocate(10)));
  ASSERT_TRUE(end.ok()) << end.error().message;
  EXPECT_EQ(*end, 0u);
}

TEST_F(TlsTest, AStreamThatIsCutOffIsAnErrorAndNoEnd) {
  ASSERT_TRUE(connect(*tokyo, *osaka));
  server_wire.stream->close();
  for (int again = 0; again < 2; ++again) {
    const auto end = reactor->run(client->read_some(Buffer::allocate(10)));
    ASSERT_FALSE(end.ok());
    EXPECT_EQ(end.error().code, ErrorCode::kClosed);
    EXPECT_NE(end.error().message.find("cut off"), std::string::npos) << end.error().message;
  }
}

TEST_F(TlsTest, DamageOnTheWayIsAnError) {
  ASSERT_TRUE(connect(*tokyo, *osaka));
  client_wire.flips = true;
  std::vector<Buffer> pieces(1, pattern(100, 1));
  ASSERT_TRUE(reactor->run(client->write(std::move(pieces))).ok());
  const auto read = reactor->run(server->read_some(Buffer::allocate(100)));
  EXPECT_FALSE(read.ok());
}

TEST_F(TlsTest, ClosingEndsWhatIsUnderWay) {
  ASSERT_TRUE(connect(*tokyo, *osaka));
  Result<void> outcome;
  io::TaskScope scope(*reactor);
  scope.spawn(read_into(*client, Buffer::allocate(10), &outcome));
  reactor->run([](Reactor& r) -> io::Task<void> { co_await r.yield(); }(*reactor));
  client->close();
  reactor->run(scope.join());
  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.error().code, ErrorCode::kClosed);
  EXPECT_FALSE(reactor->run(client->read_some(Buffer::allocate(10))).ok());
}

TEST_F(TlsTest, AStreamMayGoWhileItIsRead) {
  ASSERT_TRUE(connect(*tokyo, *osaka));
  Result<void> outcome;
  io::TaskScope scope(*reactor);
  scope.spawn(read_into(*client, Buffer::allocate(10), &outcome));
  reactor->run([](Reactor& r) -> io::Task<void> { co_await r.yield(); }(*reactor));
  scope.cancel_all();
  client = nullptr;
  const auto end = reactor->run(server->read_some(Buffer::allocate(10)));
  ASSERT_TRUE(end.ok()) << end.error().message;
  EXPECT_EQ(*end, 0u);
}

TEST_F(TlsTest, ACertificateOfAnotherAuthorityIsRefusedAndTheClientHearsWhy) {
  auto stranger_files = files("stranger");
  Tls* const stranger = tls(stranger_files);
  ASSERT_FALSE(connect(*stranger, *osaka));
  EXPECT_EQ(server_outcome.error().code, ErrorCode::kRefused);
  EXPECT_NE(server_outcome.error().message.find("'CN=stranger' is not accepted"), std::string::npos)
      << server_outcome.error().message;
  ASSERT_FALSE(client_outcome.ok());
  EXPECT_EQ(client_outcome.error().code, ErrorCode::kRefused);
  EXPECT_NE(client_outcome.error().message.find("does not know the CA"), std::string::npos)
      << client_outcome.error().message;
}

TEST_F(TlsTest, AServerOfAnotherAuthorityIsRefused) {
  Tls* const stranger = tls(files("stranger"));
  ASSERT_FALSE(connect(*osaka, *stranger));
  EXPECT_EQ(client_outcome.error().code, ErrorCode::kRefused);
  EXPECT_NE(client_outcome.error().message.find("'CN=stranger' is not accepted"), std::string::npos)
      << client_outcome.error().message;
  EXPECT_FALSE(server_outcome.ok());
}

TEST_F(TlsTest, AnExpiredCertificateIsRefused) {
  Tls* const expired = tls(files("expired"));
  ASSERT_FALSE(connect(*expired, *osaka));
  EXPECT_NE(server_outcome.error().message.find("expired"), std::string::npos)
      << server_outcome.error().message;
  ASSERT_FALSE(client_outcome.ok());
  EXPECT_NE(client_outcome.error().message.find("expired"), std::string::npos)
      << client_outcome.error().message;
}

TEST_F(TlsTest, WhatIsNoTlsIsRefused) {
  connect_raw();
  server = osaka->serve(std::move(raw[1]));
  std::vector<Buffer> pieces(1, pattern(4096, 7));
  ASSERT_TRUE(reactor->run(raw[0]->write(std::move(pieces))).ok());
  const auto read = reactor->run(server->read_some(Buffer::allocate(100)));
  ASSERT_FALSE(read.ok());
  EXPECT_EQ(read.error().code, ErrorCode::kRefused);
  EXPECT_NE(read.error().message.find("does not speak TLS"), std::string::npos) << read.error().message;
}

TEST_F(TlsTest, AHandshakeThatDoesNotComeToItsEndTimesOut) {
  connect_raw();
  const auto connected = reactor->run(tokyo->connect(std::move(raw[0]), Duration::milliseconds(20)));
  ASSERT_FALSE(connected.ok());
  EXPECT_EQ(connected.error().code, ErrorCode::kTimeout);
}

TEST_F(TlsTest, AHandshakeThatIsCutOffSaysSo) {
  connect_raw();
  raw[1]->close();
  const auto connected = reactor->run(tokyo->connect(std::move(raw[0]), kPatience));
  ASSERT_FALSE(connected.ok());
  EXPECT_EQ(connected.error().code, ErrorCode::kClosed) << connected.error().message;
}

TEST_F(TlsTest, FilesThatChangeAreReadAgainAndBadOnesAreNot) {
  const TlsFiles used{folder_->file("used.pem"), folder_->file("used.key"), folder_->file("ca.pem")};
  const auto copy = [&](const std::string& name) {
    std::filesystem::copy_file(folder_->file(name + ".pem"), used.certificate,
                               std::filesystem::copy_options::overwrite_existing);
    std::filesystem::copy_file(folder_->file(name + ".key"), used.key,
                               std::filesystem::copy_options::overwrite_existing);
  };
  copy("tokyo");
  Tls* const renewed = tls(used);
  ASSERT_TRUE(connect(*renewed, *osaka));
  EXPECT_EQ(server->peer_identity(), "CN=tokyo,O=Example");
  std::ofstream(used.certificate) << "half a file";
  ASSERT_TRUE(connect(*renewed, *osaka));
  EXPECT_EQ(server->peer_identity(), "CN=tokyo,O=Example");
  EXPECT_NE(log.find("tls-files-unusable"), std::string::npos) << log;
  copy("osaka");
  ASSERT_TRUE(connect(*renewed, *osaka));
  EXPECT_EQ(server->peer_identity(), "CN=osaka");
  EXPECT_NE(log.find("tls-files-read"), std::string::npos) << log;
}

TEST_F(TlsTest, AKeyThatOthersMayReadIsTold) {
  EXPECT_EQ(log.find("tls-key-exposed"), std::string::npos) << log;
  const std::string key = folder_->file("exposed.key");
  std::filesystem::copy_file(folder_->file("tokyo.key"), key);
  ASSERT_EQ(::chmod(key.c_str(), 0640), 0);
  TlsFiles exposed = files("tokyo");
  exposed.key = key;
  (void)tls(exposed);
  EXPECT_NE(log.find("tls-key-exposed"), std::string::npos) << log;
}

TEST_F(TlsTest, AKeyOfAnotherCertificateIsRefused) {
  TlsFiles mixed = files("tokyo");
  mixed.key = files("osaka").key;
  const auto made = Tls::create(*reactor, mixed, [](const std::string&, const std::string&) {});
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code, ErrorCode::kInvalid);
  EXPECT_NE(made.error().message.find("--tls-key"), std::string::npos) << made.error().message;
}

}  // namespace
}  // namespace tidemark::os
