#include "os/network.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "io/sync.h"
#include "os/offload.h"
#include "os/process.h"
#include "support.h"

namespace tidemark::os {
namespace {

using StreamResult = Result<std::unique_ptr<io::Stream>>;
using ListenerResult = Result<std::unique_ptr<io::Listener>>;

// Long enough never to pass in a test that does not wait for it.
constexpr Duration kPatience = Duration::seconds(60);

io::Task<void> accept_into(io::Listener& listener, StreamResult& out) {
  out = co_await listener.accept();
}

// Sends back whatever comes, until the peer ends.
io::Task<void> echo(io::Stream& stream) {
  while (true) {
    Buffer buffer = Buffer::allocate(65536);
    const auto got = co_await stream.read_some(buffer);
    if (!got.ok() || *got == 0) break;
    std::vector<Buffer> pieces(1, buffer.slice(0, *got));
    const auto sent = co_await stream.write(std::move(pieces));
    if (!sent.ok()) break;
  }
  stream.close();
}

class NetworkTest : public testing::Test {
 protected:
  io::Address unix_address(const std::string& name = "socket") const {
    io::Address address;
    address.path = folder.file(name);
    return address;
  }
  static io::Address tcp_address(const std::string& host = "127.0.0.1", std::uint16_t port = 0) {
    io::Address address;
    address.kind = io::Address::Kind::kTcp;
    address.host = host;
    address.port = port;
    return address;
  }
  std::unique_ptr<io::Listener> listen(const io::Address& address) {
    ListenerResult listener = reactor->run(network.listen(address));
    EXPECT_TRUE(listener.ok()) << listener.error().message;
    return std::move(listener).value();
  }
  struct Pair {
    std::unique_ptr<io::Stream> client;
    std::unique_ptr<io::Stream> server;
  };
  Pair connect(io::Listener& listener) {
    StreamResult accepted = fail(ErrorCode::kClosed, "nobody came");
    io::TaskScope scope(*reactor);
    scope.spawn(accept_into(listener, accepted));
    StreamResult connected = reactor->run(network.connect(listener.address(), kPatience));
    reactor->run(scope.join());
    EXPECT_TRUE(connected.ok()) << connected.error().message;
    EXPECT_TRUE(accepted.ok()) << accepted.error().message;
    return {std::move(connected).value(), std::move(accepted).value()};
  }
  // Lets everything that is ready run, and the kernel see it.
  void settle() {
    const auto passes = [](Reactor& r) -> io::Task<void> {
      for (int i = 0; i < 40; ++i) co_await r.yield();
    };
    reactor->run(passes(*reactor));
  }

  TemporaryFolder folder;
  std::unique_ptr<Reactor> reactor = make_reactor();
  ThreadOffload offload{*reactor};
  Network network{*reactor, offload};
};

class EveryKind : public NetworkTest, public testing::WithParamInterface<bool> {
 protected:
  io::Address address() const { return GetParam() ? unix_address() : tcp_address(); }
};
INSTANTIATE_TEST_SUITE_P(Addresses, EveryKind, testing::Bool(),
                         [](const auto& parameter) { return parameter.param ? "Unix" : "Tcp"; });

TEST_P(EveryKind, EchoesBothDirectionsAtOnceWhole) {
  auto listener = listen(address());
  Pair pair = connect(*listener);
  EXPECT_EQ(pair.client->peer_name().starts_with(GetParam() ? "unix" : "127.0.0.1:"), true);
  io::TaskScope scope(*reactor);
  scope.spawn(echo(*pair.server));
  // Far more than the socket buffers hold, in more pieces than one call takes.
  std::vector<Buffer> pieces;
  std::size_t total = 0;
  for (unsigned i = 0; i < 3000; ++i) {
    pieces.push_back(pattern(1 + i * 7 % 9000, i));
    total += pieces.back().size();
  }
  pieces.insert(pieces.begin() + 5, Buffer());
  Buffer back = Buffer::allocate(total);
  Result<void> was_read;
  const auto reads = [](io::Stream& stream, Buffer into, Result<void>& out) -> io::Task<void> {
    out = co_await io::read_exactly(stream, into);
  };
  io::TaskScope reader(*reactor);
  reader.spawn(reads(*pair.client, back, was_read));
  const auto written = reactor->run(pair.client->write(pieces));
  ASSERT_TRUE(written.ok()) << written.error().message;
  reactor->run(reader.join());
  ASSERT_TRUE(was_read.ok()) << was_read.error().message;
  std::size_t at = 0;
  for (const Buffer& piece : pieces) {
    ASSERT_TRUE(same(back.slice(at, piece.size()), piece)) << at;
    at += piece.size();
  }
  pair.client->close();
  reactor->run(scope.join());
}

TEST_P(EveryKind, AnOrderlyEndReadsAsZeroBytes) {
  auto listener = listen(address());
  Pair pair = connect(*listener);
  std::vector<Buffer> pieces(1, pattern(100, 1));
  ASSERT_TRUE(reactor->run(pair.client->write(pieces)).ok());
  pair.client.reset();
  Buffer out = Buffer::allocate(100);
  ASSERT_TRUE(reactor->run(io::read_exactly(*pair.server, out)).ok());
  EXPECT_TRUE(same(out, pieces[0]));
  const auto end = reactor->run(pair.server->read_some(out));
  ASSERT_TRUE(end.ok()) << end.error().message;
  EXPECT_EQ(*end, 0u);
}

TEST_P(EveryKind, CloseWakesItsReaderAndItsWriter) {
  auto listener = listen(address());
  Pair pair = connect(*listener);
  Result<std::size_t> was_read = std::size_t{1};
  Result<void> written;
  const auto reads = [](io::Stream& stream, Result<std::size_t>& out) -> io::Task<void> {
    Buffer buffer = Buffer::allocate(100);
    out = co_await stream.read_some(buffer);
  };
  const auto fills = [](io::Stream& stream, Result<void>& out) -> io::Task<void> {
    while (out.ok()) {
      std::vector<Buffer> pieces(1, Buffer::copy_of(pattern(1 << 20, 0)));
      out = co_await stream.write(std::move(pieces));
    }
  };
  io::TaskScope scope(*reactor);
  scope.spawn(reads(*pair.client, was_read));
  scope.spawn(fills(*pair.client, written));
  settle();
  ASSERT_EQ(scope.running(), 2u);
  pair.client->close();
  pair.client->close();
  reactor->run(scope.join());
  ASSERT_FALSE(was_read.ok());
  EXPECT_EQ(was_read.error().code, ErrorCode::kClosed);
  ASSERT_FALSE(written.ok());
  EXPECT_EQ(written.error().code, ErrorCode::kClosed);
  Buffer out = Buffer::allocate(1);
  EXPECT_EQ(reactor->run(pair.client->read_some(out)).error().code, ErrorCode::kClosed);
  EXPECT_EQ(reactor->run(pair.client->write({out})).error().code, ErrorCode::kClosed);
}

TEST_P(EveryKind, ADestroyedStreamEndsItsOperationsToo) {
  auto listener = listen(address());
  Pair pair = connect(*listener);
  Result<std::size_t> was_read = std::size_t{1};
  const auto reads = [](io::Stream& stream, Result<std::size_t>& out) -> io::Task<void> {
    Buffer buffer = Buffer::allocate(100);
    out = co_await stream.read_some(buffer);
  };
  io::TaskScope scope(*reactor);
  scope.spawn(reads(*pair.client, was_read));
  settle();
  pair.client.reset();
  reactor->run(scope.join());
  ASSERT_FALSE(was_read.ok());
  EXPECT_EQ(was_read.error().code, ErrorCode::kClosed);
}

TEST_P(EveryKind, WritingToAPeerThatIsGoneFailsAsClosed) {
  auto listener = listen(address());
  Pair pair = connect(*listener);
  pair.server.reset();
  Result<void> written;
  while (written.ok()) written = reactor->run(pair.client->write({pattern(65536, 0)}));
  EXPECT_EQ(written.error().code, ErrorCode::kClosed);
  EXPECT_NE(written.error().message.find(pair.client->peer_name()), std::string::npos);
}

TEST_P(EveryKind, GoesOnAfterAReaderWasDestroyed) {
  auto listener = listen(address());
  Pair pair = connect(*listener);
  Buffer pinned = Buffer::allocate(100);
  const auto reads = [](io::Stream& stream, Buffer into) -> io::Task<void> {
    static_cast<void>(co_await stream.read_some(into));
    ADD_FAILURE() << "an abandoned task was resumed";
  };
  {
    io::TaskScope scope(*reactor);
    scope.spawn(reads(*pair.client, pinned));
    settle();
  }
  const auto until_released = [](Reactor& r, const Buffer& buffer) -> io::Task<void> {
    while (!buffer.unique()) co_await r.yield();
  };
  reactor->run(until_released(*reactor, pinned));
  // Nothing had come, so nothing is lost: the next reader sees the stream whole.
  const Buffer data = pattern(100, 3);
  ASSERT_TRUE(reactor->run(pair.server->write({data})).ok());
  Buffer out = Buffer::allocate(100);
  ASSERT_TRUE(reactor->run(io::read_exactly(*pair.client, out)).ok());
  EXPECT_TRUE(same(out, data));
}

TEST_P(EveryKind, ServesAThousandConnections) {
  // Both ends of each are in this process.
  if (raise_open_files_limit() < 2200) GTEST_SKIP() << "too few open files are allowed";
  constexpr int kConnections = 1000;
  auto listener = listen(address());
  const auto serve = [](io::Listener& from, io::TaskScope& scope) -> io::Task<void> {
    const auto handle = [](std::unique_ptr<io::Stream> stream) -> io::Task<void> { co_await echo(*stream); };
    while (true) {
      StreamResult stream = co_await from.accept();
      if (!stream.ok()) break;
      scope.spawn(handle(std::move(stream).value()));
    }
  };
  int good = 0;
  int connected = 0;
  io::Event everybody_is_there(*reactor);
  const auto visit = [](Network& net, io::Address where, unsigned number, int& count, int& successes,
                        io::Event& all) -> io::Task<void> {
    StreamResult stream = co_await net.connect(where, kPatience);
    if (!stream.ok()) ADD_FAILURE() << stream.error().message;
    if (++count == kConnections) all.set();
    co_await all.wait();
    if (!stream.ok()) co_return;
    const Buffer data = pattern(500, number);
    std::vector<Buffer> pieces(1, data);
    const auto sent = co_await (*stream)->write(std::move(pieces));
    Buffer back = Buffer::allocate(500);
    const auto got = co_await io::read_exactly(**stream, back);
    if (sent.ok() && got.ok() && same(data, back)) ++successes;
  };
  io::TaskScope handlers(*reactor);
  io::TaskScope acceptor(*reactor);
  acceptor.spawn(serve(*listener, handlers));
  io::TaskScope visitors(*reactor);
  for (unsigned i = 0; i < kConnections; ++i) {
    visitors.spawn(visit(network, listener->address(), i, connected, good, everybody_is_there));
  }
  reactor->run(visitors.join());
  EXPECT_EQ(good, kConnections);
  reactor->run(handlers.join());
  listener->close();
  reactor->run(acceptor.join());
}

TEST_P(EveryKind, ClosingAListenerWakesItsAcceptorAndRefusesOthers) {
  auto listener = listen(address());
  StreamResult accepted = fail(ErrorCode::kIo, "not yet");
  io::TaskScope scope(*reactor);
  scope.spawn(accept_into(*listener, accepted));
  settle();
  const io::Address where = listener->address();
  listener->close();
  reactor->run(scope.join());
  ASSERT_FALSE(accepted.ok());
  EXPECT_EQ(accepted.error().code, ErrorCode::kClosed);
  const auto refused = reactor->run(network.connect(where, kPatience));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kClosed);
  EXPECT_NE(refused.error().message.find(where.to_string()), std::string::npos);
}

TEST_P(EveryKind, AListenerIsDestroyedUnderItsAcceptor) {
  auto listener = listen(address());
  StreamResult accepted = fail(ErrorCode::kIo, "not yet");
  io::TaskScope scope(*reactor);
  scope.spawn(accept_into(*listener, accepted));
  settle();
  listener.reset();
  reactor->run(scope.join());
  ASSERT_FALSE(accepted.ok());
  EXPECT_EQ(accepted.error().code, ErrorCode::kClosed);
}

TEST_P(EveryKind, AnAbandonedAcceptLeavesTheListenerUsable) {
  auto listener = listen(address());
  {
    StreamResult accepted = fail(ErrorCode::kIo, "not yet");
    io::TaskScope scope(*reactor);
    scope.spawn(accept_into(*listener, accepted));
    settle();
  }
  settle();
  Pair pair = connect(*listener);
  EXPECT_TRUE(reactor->run(pair.client->write({pattern(10, 0)})).ok());
}

TEST_P(EveryKind, RefusesAnAddressWhereSomebodyListens) {
  auto listener = listen(address());
  const auto second = reactor->run(network.listen(listener->address()));
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, ErrorCode::kBusy);
  EXPECT_NE(second.error().message.find(listener->address().to_string()), std::string::npos);
  // The attempt did the first no harm, apart from a connection that comes and goes.
  StreamResult connected = reactor->run(network.connect(listener->address(), kPatience));
  EXPECT_TRUE(connected.ok());
}

TEST_P(EveryKind, AcceptWaitsWhileNoDescriptorIsLeft) {
  auto listener = listen(address());
  StreamResult connected = reactor->run(network.connect(listener->address(), kPatience));
  ASSERT_TRUE(connected.ok());
  settle();  // what a sanitizer opens at the first call, it has now
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{3, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  StreamResult accepted = fail(ErrorCode::kIo, "not yet");
  io::TaskScope scope(*reactor);
  scope.spawn(accept_into(*listener, accepted));
  settle();
  EXPECT_EQ(scope.running(), 1u);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  reactor->run(scope.join());
  EXPECT_TRUE(accepted.ok()) << accepted.error().message;
}

TEST_F(NetworkTest, AUnixSocketIsForItsOwnerOnlyAndGoesWhenClosed) {
  const mode_t before = ::umask(0);
  auto listener = listen(unix_address());
  ::umask(before);
  struct stat status {};
  ASSERT_EQ(::stat(unix_address().path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  listener->close();
  EXPECT_FALSE(std::filesystem::exists(unix_address().path));
}

TEST_F(NetworkTest, AStaleUnixSocketIsReplaced) {
  {
    // Bound and dropped without unlinking, as a crash leaves it.
    const Descriptor crashed(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const auto where = unix_socket_address(unix_address().path);
    ASSERT_EQ(::bind(crashed.get(), where->get(), where->length), 0);
    ASSERT_EQ(::listen(crashed.get(), 1), 0);
  }
  ASSERT_TRUE(std::filesystem::exists(unix_address().path));
  auto listener = listen(unix_address());
  Pair pair = connect(*listener);
  EXPECT_TRUE(reactor->run(pair.client->write({pattern(10, 0)})).ok());
}

// After a kill the kernel keeps what an io_uring holds for a moment longer than the process.
TEST_F(NetworkTest, ASocketThatOutlivesItsProcessIsReplaced) {
  const Descriptor outlives(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const auto where = unix_socket_address(unix_address().path);
  const pid_t killed = ::fork();
  if (killed == 0) {
    const bool listens =
        ::bind(outlives.get(), where->get(), where->length) == 0 && ::listen(outlives.get(), 1) == 0;
    ::_exit(listens ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(killed, &status, 0), killed);
  ASSERT_EQ(status, 0);
  auto listener = listen(unix_address());
  Pair pair = connect(*listener);
  EXPECT_TRUE(reactor->run(pair.client->write({pattern(10, 0)})).ok());
}

TEST_F(NetworkTest, AFileInTheWayOfAUnixSocketIsLeftAlone) {
  {
    std::ofstream file(unix_address().path);
    file << "precious" << std::flush;
    ASSERT_TRUE(file.good()) << std::strerror(errno);
  }
  ASSERT_EQ(std::filesystem::file_size(unix_address().path), 8u);
  const auto listener = reactor->run(network.listen(unix_address()));
  ASSERT_FALSE(listener.ok());
  EXPECT_EQ(listener.error().code, ErrorCode::kBusy);
  EXPECT_NE(listener.error().message.find("not a socket"), std::string::npos);
  EXPECT_EQ(std::filesystem::file_size(unix_address().path), 8u);
}

TEST_F(NetworkTest, AClosedListenerLeavesTheSocketOfItsSuccessor) {
  auto first = listen(unix_address());
  std::filesystem::remove(unix_address().path);
  auto second = listen(unix_address());
  first->close();
  EXPECT_TRUE(std::filesystem::exists(unix_address().path));
  Pair pair = connect(*second);
  EXPECT_NE(pair.client, nullptr);
}

TEST_F(NetworkTest, AMissingFolderAndAnImpossiblePathAreToldApart) {
  const auto missing = reactor->run(network.listen(unix_address("none/socket")));
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  const auto too_long = reactor->run(network.listen(unix_address(std::string(200, 'x'))));
  ASSERT_FALSE(too_long.ok());
  EXPECT_EQ(too_long.error().code, ErrorCode::kInvalid);
  const auto nobody = reactor->run(network.connect(unix_address("nobody"), kPatience));
  ASSERT_FALSE(nobody.ok());
  EXPECT_EQ(nobody.error().code, ErrorCode::kClosed);
}

TEST_F(NetworkTest, ATcpListenerTellsThePortThatTheSystemChose) {
  auto listener = listen(tcp_address());
  EXPECT_NE(listener->address().port, 0);
  EXPECT_EQ(listener->address().host, "127.0.0.1");
}

TEST_F(NetworkTest, ANameIsLookedUpAwayFromTheReactorThread) {
  auto listener = listen(tcp_address("localhost"));
  Pair pair = connect(*listener);
  EXPECT_TRUE(reactor->run(pair.client->write({pattern(10, 0)})).ok());
}

TEST_F(NetworkTest, AHostThatCannotExistIsNotFound) {
  // A space is in no host name, so no name server is asked.
  const auto result = reactor->run(network.connect(tcp_address("no such host", 1), kPatience));
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kNotFound);
  EXPECT_NE(result.error().message.find("no such host"), std::string::npos);
}

TEST_F(NetworkTest, ALookUpThatTakesTooLongTimesOut) {
  // An offload whose works wait until the test lets them go.
  class Blocked final : public io::Offload {
   public:
    explicit Blocked(Reactor& reactor) : event(reactor) {}
    io::Task<void> run(std::function<void()>) override { co_await event.wait(); }
    io::Event event;
  } blocked(*reactor);
  Network slow(*reactor, blocked);
  const auto result = reactor->run(slow.connect(tcp_address("some-host", 1), Duration::milliseconds(5)));
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kTimeout);
}

TEST_F(NetworkTest, AConnectionThatNobodyAnswersTimesOut) {
  // A listener whose backlog is full drops what comes after.
  const Descriptor deaf(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in where{};
  where.sin_family = AF_INET;
  where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof where;
  ASSERT_EQ(::bind(deaf.get(), reinterpret_cast<sockaddr*>(&where), length), 0);
  ASSERT_EQ(::listen(deaf.get(), 0), 0);
  ASSERT_EQ(::getsockname(deaf.get(), reinterpret_cast<sockaddr*>(&where), &length), 0);
  std::vector<std::unique_ptr<io::Stream>> queued;
  StreamResult last = fail(ErrorCode::kIo, "not yet");
  for (int i = 0; i < 8; ++i) {
    last = reactor->run(
        network.connect(tcp_address("127.0.0.1", ntohs(where.sin_port)), Duration::milliseconds(100)));
    if (!last.ok()) break;
    queued.push_back(std::move(last).value());
  }
  ASSERT_FALSE(last.ok());
  EXPECT_EQ(last.error().code, ErrorCode::kTimeout);
}

TEST_F(NetworkTest, AUnixConnectionToAFullBacklogTimesOut) {
  const Descriptor deaf(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const auto where = unix_socket_address(unix_address().path);
  ASSERT_EQ(::bind(deaf.get(), where->get(), where->length), 0);
  ASSERT_EQ(::listen(deaf.get(), 0), 0);
  std::vector<std::unique_ptr<io::Stream>> queued;
  StreamResult last = fail(ErrorCode::kIo, "not yet");
  for (int i = 0; i < 8; ++i) {
    last = reactor->run(network.connect(unix_address(), Duration::milliseconds(100)));
    if (!last.ok()) break;
    queued.push_back(std::move(last).value());
  }
  ASSERT_FALSE(last.ok());
  EXPECT_EQ(last.error().code, ErrorCode::kTimeout);
}

TEST_F(NetworkTest, AnAbandonedConnectLeavesNothingBehind) {
  auto listener = listen(tcp_address());
  const auto connects = [](Network& net, io::Address where) -> io::Task<void> {
    static_cast<void>(co_await net.connect(where, kPatience));
  };
  const auto once = [](Reactor& r) -> io::Task<void> { co_await r.yield(); };
  for (int i = 0; i < 20; ++i) {
    io::TaskScope scope(*reactor);
    scope.spawn(connects(network, listener->address()));
    reactor->run(once(*reactor));
  }
  settle();
  // No timer of the abandoned ones is left to wait for, and their operations are back in the pool.
  EXPECT_LE(reactor->statistics().operations, 21u);
}

}  // namespace
}  // namespace tidemark::os
