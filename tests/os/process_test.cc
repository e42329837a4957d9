#include "os/process.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "os/data_folder.h"
#include "os/environment.h"
#include "os/signals.h"
#include "os/socket_address.h"
#include "support.h"

namespace tidemark::os {
namespace {

TEST(DataFolder, IsMadeForItsOwnerOnlyAndHeldByOne) {
  TemporaryFolder folder;
  const std::string path = folder.file("data");
  {
    auto first = DataFolder::open(path);
    ASSERT_TRUE(first.ok()) << first.error().message;
    EXPECT_EQ(first->file("x"), path + "/x");
    struct stat status {};
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0700u);

    const auto second = DataFolder::open(path);
    ASSERT_FALSE(second.ok());
    EXPECT_EQ(second.error().code, ErrorCode::kBusy);
    EXPECT_NE(second.error().message.find("already in use by process " + std::to_string(::getpid())),
              std::string::npos);
  }
  EXPECT_TRUE(DataFolder::open(path).ok());
}

TEST(DataFolder, DoesNotTrustWhatTheLockFileSays) {
  TemporaryFolder folder;
  const std::string path = folder.file("data");
  auto first = DataFolder::open(path);
  ASSERT_TRUE(first.ok());
  std::ofstream(path + "/lock") << "\x1b[31mnonsense";
  const auto second = DataFolder::open(path);
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.error().message.find("in use by another process"), std::string::npos);
}

TEST(DataFolder, IsFreedByTheDeathOfItsHolder) {
  TemporaryFolder folder;
  const std::string path = folder.file("data");
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto held = DataFolder::open(path);
    ::raise(SIGKILL);
    ::_exit(held.ok() ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_TRUE(std::filesystem::exists(path + "/lock"));
  const auto next = DataFolder::open(path);
  EXPECT_TRUE(next.ok()) << next.error().message;
}

TEST(DataFolder, NeedsItsParent) {
  TemporaryFolder folder;
  const auto result = DataFolder::open(folder.file("none/data"));
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kNotFound);
}

TEST(DataFolder, IsNotAFile) {
  TemporaryFolder folder;
  std::ofstream(folder.file("data")) << "x";
  const auto result = DataFolder::open(folder.file("data"));
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kIo);
}

TEST(SignalWatch, CallsOnceOnTheReactorAndSwallowsTheRest) {
  auto reactor = make_reactor();
  std::vector<int> seen;
  {
    auto watch = SignalWatch::create(*reactor, {SIGTERM, SIGINT}, [&](int signal) {
      seen.push_back(signal);
      reactor->stop();
    });
    ASSERT_TRUE(watch.ok()) << watch.error().message;
    ::kill(::getpid(), SIGTERM);
    reactor->run_until_stopped();
    ::kill(::getpid(), SIGINT);
    ::kill(::getpid(), SIGTERM);
    const auto passes = [](Reactor& r) -> io::Task<void> {
      for (int i = 0; i < 40; ++i) co_await r.yield();
    };
    reactor->run(passes(*reactor));
    // One that comes too late to be seen does not end the process when the mask is put back either.
    ::kill(::getpid(), SIGINT);
  }
  EXPECT_EQ(seen, std::vector<int>{SIGTERM});
}

TEST(ServiceManager, IsToldWhenThereIsOne) {
  TemporaryFolder folder;
  const std::string path = folder.file("notify");
  const Descriptor receiver(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const auto where = unix_socket_address(path);
  ASSERT_EQ(::bind(receiver.get(), where->get(), where->length), 0);
  ::setenv("NOTIFY_SOCKET", path.c_str(), 1);
  const auto told = notify_service_manager("READY=1");
  ::unsetenv("NOTIFY_SOCKET");
  ASSERT_TRUE(told.ok()) << told.error().message;
  std::array<char, 64> text{};
  const ssize_t length = ::recv(receiver.get(), text.data(), text.size(), MSG_DONTWAIT);
  ASSERT_GT(length, 0);
  EXPECT_EQ(std::string(text.data(), static_cast<std::size_t>(length)), "READY=1");
}

TEST(ServiceManager, IsNeitherNeededNorTrusted) {
  ::unsetenv("NOTIFY_SOCKET");
  EXPECT_TRUE(notify_service_manager("READY=1").ok());
  for (const std::string& bad : {std::string("relative/path"), "/" + std::string(300, 'x')}) {
    ::setenv("NOTIFY_SOCKET", bad.c_str(), 1);
    const auto told = notify_service_manager("READY=1");
    ::unsetenv("NOTIFY_SOCKET");
    ASSERT_FALSE(told.ok()) << bad;
    EXPECT_EQ(told.error().code, ErrorCode::kIo);
  }
}

TEST(Process, KnowsItsUsage) {
  const ProcessUsage usage = process_usage();
  EXPECT_GT(usage.resident_bytes, 100'000u);
  EXPECT_GT(usage.open_files_max, 3u);
  EXPECT_GT(usage.cpu_ns, 0u);
}

TEST(SystemRandom, DrawsDifferentIdentities) {
  SystemRandom random;
  std::set<GroupIdentity> seen;
  for (int i = 0; i < 1000; ++i) seen.insert(random.identity<GroupIdentity>());
  EXPECT_EQ(seen.size(), 1000u);
  SystemRandom other;
  EXPECT_FALSE(seen.contains(other.identity<GroupIdentity>()));
}

TEST(SystemClock, IsPastTheWritingOfThisTest) {
  const SystemClock clock;
  const auto written = parse_time("2025-01-01T00:00:00Z");
  ASSERT_TRUE(written.ok());
  EXPECT_GT(clock.now(), *written);
}

}  // namespace
}  // namespace tidemark::os
