#include "os/file_disk.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "io/sync.h"
#include "support.h"

namespace tidemark::os {
namespace {

using io::Durability;
constexpr std::uint64_t kSize = std::uint64_t{8} << 20;

class FileDiskTest : public testing::Test {
 protected:
  std::unique_ptr<FileDisk> create(const std::string& name, std::uint64_t size = kSize, bool direct = true) {
    FileDiskOptions options;
    options.open = FileDiskOptions::Open::kCreate;
    options.create_size_bytes = size;
    options.direct = direct;
    auto disk = FileDisk::open(*reactor, folder.file(name), options);
    EXPECT_TRUE(disk.ok()) << disk.error().message;
    return std::move(disk).value();
  }
  Result<void> write(FileDisk& disk, std::uint64_t offset, std::vector<Buffer> pieces,
                     Durability durability = Durability::kVolatile) {
    return reactor->run(disk.write(DiskOffset{offset}, std::move(pieces), durability));
  }
  Result<Buffer> read(FileDisk& disk, std::uint64_t offset, std::size_t length) {
    Buffer out = Buffer::allocate(length);
    TM_TRY(reactor->run(disk.read(DiskOffset{offset}, out)));
    return out;
  }

  TemporaryFolder folder;
  std::unique_ptr<Reactor> reactor = make_reactor();
};

TEST_F(FileDiskTest, ReadsBackWhatWasWrittenDirectlyAndThroughTheCache) {
  for (const bool direct : {true, false}) {
    auto disk = create(direct ? "direct" : "cached", kSize, direct);
    EXPECT_LE(disk->is_direct(), direct);
    EXPECT_EQ(disk->size_bytes(), kSize);
    const Buffer data = pattern(65536, 7);
    ASSERT_TRUE(write(*disk, 4096, {data}).ok());
    ASSERT_TRUE(reactor->run(disk->flush()).ok());
    const auto back = read(*disk, 4096, 65536);
    ASSERT_TRUE(back.ok());
    EXPECT_TRUE(same(*back, data));
    const auto untouched = read(*disk, 4096 + 65536, 8192);
    ASSERT_TRUE(untouched.ok());
    EXPECT_TRUE(all_zero(*untouched));
  }
}

TEST_F(FileDiskTest, SaysInItsDescriptionThatItRunsThroughTheCache) {
  EXPECT_NE(create("cached", kSize, false)->description().find("page cache"), std::string::npos);
}

TEST_F(FileDiskTest, GathersMorePiecesThanOneCallTakes) {
  constexpr std::size_t kPieces = 1500;  // IOV_MAX is 1024
  auto disk = create("disk", kPieces * 4096 + 4096);
  std::vector<Buffer> pieces;
  for (std::size_t i = 0; i < kPieces; ++i) pieces.push_back(pattern(4096, static_cast<unsigned>(i)));
  ASSERT_TRUE(write(*disk, 4096, pieces, Durability::kDurable).ok());
  const auto back = read(*disk, 4096, kPieces * 4096);
  ASSERT_TRUE(back.ok());
  for (std::size_t i = 0; i < kPieces; ++i) ASSERT_TRUE(same(back->slice(i * 4096, 4096), pieces[i])) << i;
}

TEST_F(FileDiskTest, WritesSlicesOfOneAllocationAndNothingForNoPieces) {
  auto disk = create("disk");
  const Buffer data = pattern(16384, 1);
  ASSERT_TRUE(write(*disk, 0, {data.slice(8192, 4096), data.slice(0, 4096)}).ok());
  ASSERT_TRUE(write(*disk, 0, {}).ok());
  const auto back = read(*disk, 0, 8192);
  ASSERT_TRUE(back.ok());
  EXPECT_TRUE(same(back->slice(0, 4096), data.slice(8192, 4096)));
  EXPECT_TRUE(same(back->slice(4096, 4096), data.slice(0, 4096)));
}

TEST_F(FileDiskTest, KeepsManyOperationsInFlight) {
  auto disk = create("disk");
  constexpr unsigned kWriters = 500;
  const auto one = [](FileDisk& d, unsigned number, unsigned& good) -> io::Task<void> {
    const Buffer data = pattern(4096, number);
    std::vector<Buffer> pieces(1, data);
    const DiskOffset at{std::uint64_t{number} * 4096};
    const auto written = co_await d.write(at, std::move(pieces), Durability::kVolatile);
    Buffer back = Buffer::allocate(4096);
    const auto was_read = co_await d.read(at, back);
    if (written.ok() && was_read.ok() && same(data, back)) ++good;
  };
  unsigned good = 0;
  io::TaskScope scope(*reactor);
  for (unsigned i = 0; i < kWriters; ++i) scope.spawn(one(*disk, i, good));
  reactor->run(scope.join());
  EXPECT_EQ(good, kWriters);
}

TEST_F(FileDiskTest, KeepsItsContentAcrossReopening) {
  const Buffer data = pattern(4096, 3);
  ASSERT_TRUE(write(*create("disk"), 8192, {data}, Durability::kDurable).ok());
  auto disk = FileDisk::open(*reactor, folder.file("disk"));
  ASSERT_TRUE(disk.ok()) << disk.error().message;
  EXPECT_EQ((*disk)->size_bytes(), kSize);
  const auto back = read(**disk, 8192, 4096);
  ASSERT_TRUE(back.ok());
  EXPECT_TRUE(same(*back, data));
}

TEST_F(FileDiskTest, CreatesASparseFileThatOnlyItsOwnerMayRead) {
  auto disk = create("disk", std::uint64_t{1} << 34);
  struct stat status {};
  ASSERT_EQ(::stat(disk->path().c_str(), &status), 0);
  EXPECT_EQ(status.st_size, std::int64_t{1} << 34);
  EXPECT_LT(status.st_blocks, 1000);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST_F(FileDiskTest, TellsMissingExistingAndUnusableFilesApart) {
  FileDiskOptions create_it;
  create_it.open = FileDiskOptions::Open::kCreate;
  create_it.create_size_bytes = kSize;
  create("disk");

  const auto missing = FileDisk::open(*reactor, folder.file("none"));
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  EXPECT_NE(missing.error().message.find(folder.file("none")), std::string::npos);

  const auto existing = FileDisk::open(*reactor, folder.file("disk"), create_it);
  ASSERT_FALSE(existing.ok());
  EXPECT_EQ(existing.error().code, ErrorCode::kExists);

  create_it.create_size_bytes = 5000;
  const auto odd = FileDisk::open(*reactor, folder.file("odd"), create_it);
  ASSERT_FALSE(odd.ok());
  EXPECT_EQ(odd.error().code, ErrorCode::kInvalid);
  EXPECT_FALSE(std::filesystem::exists(folder.file("odd")));

  const auto device = FileDisk::open(*reactor, "/dev/null");
  ASSERT_FALSE(device.ok());
  EXPECT_EQ(device.error().code, ErrorCode::kInvalid);

  std::ofstream(folder.file("tiny")) << "too small";
  const auto tiny = FileDisk::open(*reactor, folder.file("tiny"));
  ASSERT_FALSE(tiny.ok());
  EXPECT_EQ(tiny.error().code, ErrorCode::kInvalid);
}

TEST_F(FileDiskTest, OpensEitherTheExistingFileOrANewOne) {
  FileDiskOptions either;
  either.open = FileDiskOptions::Open::kEither;
  either.create_size_bytes = kSize;
  // Left empty by a crash between its creation and its sizing.
  std::ofstream(folder.file("empty")).close();
  for (const char* name : {"new", "empty"}) {
    auto disk = FileDisk::open(*reactor, folder.file(name), either);
    ASSERT_TRUE(disk.ok()) << disk.error().message;
    EXPECT_EQ((*disk)->size_bytes(), kSize);
  }
  either.create_size_bytes = 2 * kSize;
  auto again = FileDisk::open(*reactor, folder.file("new"), either);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ((*again)->size_bytes(), kSize);
}

TEST_F(FileDiskTest, RefusesAFileThatIsOpenAlready) {
  auto disk = create("disk");
  const auto second = FileDisk::open(*reactor, folder.file("disk"));
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, ErrorCode::kBusy);
  EXPECT_NE(second.error().message.find("in use by another process"), std::string::npos);
  disk.reset();
  EXPECT_TRUE(FileDisk::open(*reactor, folder.file("disk")).ok());
}

TEST_F(FileDiskTest, FailsBeyondItsEnd) {
  auto disk = create("disk");
  const auto beyond = read(*disk, kSize - 4096, 8192);
  ASSERT_FALSE(beyond.ok());
  EXPECT_EQ(beyond.error().code, ErrorCode::kIo);
  EXPECT_NE(beyond.error().message.find("ends early"), std::string::npos);
  const auto written = write(*disk, kSize, {pattern(4096, 0)});
  ASSERT_FALSE(written.ok());
  EXPECT_EQ(written.error().code, ErrorCode::kIo);
  EXPECT_EQ(std::filesystem::file_size(folder.file("disk")), kSize);
}

TEST_F(FileDiskTest, SaysThatADiskEndsEarlyWhenItsFileWasCutMeanwhile) {
  auto disk = create("disk");
  std::filesystem::resize_file(folder.file("disk"), 8192);
  const auto cut = read(*disk, 4096, 16384);
  ASSERT_FALSE(cut.ok());
  EXPECT_EQ(cut.error().code, ErrorCode::kIo);
  EXPECT_NE(cut.error().message.find("ends early"), std::string::npos);
  EXPECT_NE(cut.error().message.find("offset 8192"), std::string::npos);
}

TEST_F(FileDiskTest, AllocatesSpaceWithoutChangingContent) {
  auto disk = create("disk");
  const Buffer data = pattern(4096, 9);
  ASSERT_TRUE(write(*disk, 4096, {data}).ok());
  ASSERT_TRUE(reactor->run(disk->allocate(DiskOffset{0}, 1 << 20)).ok());
  ASSERT_TRUE(disk->promises_space());
  struct stat status {};
  ASSERT_EQ(::stat(disk->path().c_str(), &status), 0);
  EXPECT_GE(status.st_blocks * 512, 1 << 20);
  EXPECT_EQ(status.st_size, static_cast<std::int64_t>(kSize));
  const auto back = read(*disk, 0, 12288);
  ASSERT_TRUE(back.ok());
  EXPECT_TRUE(all_zero(back->slice(0, 4096)));
  EXPECT_TRUE(same(back->slice(4096, 4096), data));
  EXPECT_TRUE(all_zero(back->slice(8192, 4096)));
}

TEST_F(FileDiskTest, ReadsZeroesWhereItWasDiscardedAndTheRestAsBefore) {
  auto disk = create("disk");
  const Buffer data = pattern(2 << 20, 5);
  ASSERT_TRUE(write(*disk, 0, {data}).ok());
  ASSERT_TRUE(reactor->run(disk->discard(DiskOffset{4096}, 1 << 20)).ok());
  const auto back = read(*disk, 0, 2 << 20);
  ASSERT_TRUE(back.ok());
  EXPECT_TRUE(same(back->slice(0, 4096), data.slice(0, 4096)));
  EXPECT_TRUE(all_zero(back->slice(4096, 1 << 20)));
  const std::size_t rest = (1 << 20) + 4096;
  EXPECT_TRUE(same(back->slice(rest, (2 << 20) - rest), data.slice(rest, (2 << 20) - rest)));
  EXPECT_EQ(disk->size_bytes(), kSize);
}

// Bounds the size of the files of this process; more answers EFBIG, as a full quota would EDQUOT.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(std::uint64_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    handler_ = ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  sighandler_t handler_ = SIG_DFL;
};

TEST_F(FileDiskTest, TellsASpentQuotaFromABrokenDisk) {
  auto disk = create("disk");
  const FileSizeLimit limit(1 << 20);
  EXPECT_TRUE(write(*disk, 0, {pattern(4096, 0)}).ok());
  for (const Durability durability : {Durability::kVolatile, Durability::kDurable}) {
    const auto full = write(*disk, 2 << 20, {pattern(4096, 0)}, durability);
    ASSERT_FALSE(full.ok());
    EXPECT_EQ(full.error().code, ErrorCode::kNoSpace);
    EXPECT_NE(full.error().message.find(folder.file("disk")), std::string::npos);
    EXPECT_NE(full.error().message.find("offset 2097152"), std::string::npos);
  }
  // Half of it fits: the short write is gone on with, and then fails.
  const auto half = write(*disk, (1 << 20) - 4096, {pattern(8192, 0)});
  ASSERT_FALSE(half.ok());
  EXPECT_EQ(half.error().code, ErrorCode::kNoSpace);
}

// In memory, where what is too much is refused at once. Elsewhere a file system takes all that is free before
// it says no, and whoever else writes then has no space.
TEST_F(FileDiskTest, SaysNoSpaceWhenTheFileSystemCannotPromiseIt) {
  std::string in_memory = "/dev/shm/tidemark-os-XXXXXX";
  if (::mkdtemp(in_memory.data()) == nullptr) GTEST_SKIP() << "needs /dev/shm";
  constexpr std::uint64_t kHuge = std::uint64_t{8} << 40;
  FileDiskOptions options;
  options.open = FileDiskOptions::Open::kEither;
  options.create_size_bytes = kHuge;
  {
    auto disk = FileDisk::open(*reactor, in_memory + "/huge", options);
    ASSERT_TRUE(disk.ok()) << disk.error().message;
    const auto full = reactor->run((*disk)->allocate(DiskOffset{0}, kHuge));
    EXPECT_FALSE(full.ok());
    if (!full.ok()) {
      EXPECT_EQ(full.error().code, ErrorCode::kNoSpace);
    }
  }
  std::filesystem::remove_all(in_memory);
}

TEST_F(FileDiskTest, GoesOnAfterAReaderWasDestroyedWithItsReadInFlight) {
  auto disk = create("disk");
  const Buffer data = pattern(1 << 20, 4);
  ASSERT_TRUE(write(*disk, 0, {data}).ok());
  Buffer out = Buffer::allocate(1 << 20);
  const auto reads = [](FileDisk& d, Buffer into) -> io::Task<void> {
    static_cast<void>(co_await d.read(DiskOffset{0}, into));
  };
  const auto nothing = [](Reactor& r) -> io::Task<void> { co_await r.yield(); };
  {
    io::TaskScope scope(*reactor);
    for (int i = 0; i < 20; ++i) scope.spawn(reads(*disk, out));
    reactor->run(nothing(*reactor));
  }
  const auto back = read(*disk, 0, 1 << 20);
  ASSERT_TRUE(back.ok());
  EXPECT_TRUE(same(*back, data));
  // Nothing of the abandoned reads is left once they are done.
  const auto until_released = [](Reactor& r, const Buffer& buffer) -> io::Task<void> {
    while (!buffer.unique()) co_await r.yield();
  };
  reactor->run(until_released(*reactor, out));
}

TEST_F(FileDiskTest, KeepsTheFileLockedUntilAbandonedWritesAreDone) {
  const Buffer data = pattern(1 << 20, 6);
  {
    auto disk = create("disk");
    const auto writes = [](FileDisk& d, Buffer from) -> io::Task<void> {
      std::vector<Buffer> pieces(1, from);
      static_cast<void>(co_await d.write(DiskOffset{0}, std::move(pieces), Durability::kDurable));
    };
    const auto nothing = [](Reactor& r) -> io::Task<void> { co_await r.yield(); };
    io::TaskScope scope(*reactor);
    scope.spawn(writes(*disk, data));
    reactor->run(nothing(*reactor));
  }
  reactor.reset();
  EXPECT_TRUE(data.unique());
  reactor = make_reactor();
  auto again = FileDisk::open(*reactor, folder.file("disk"));
  ASSERT_TRUE(again.ok()) << again.error().message;
  const auto back = read(**again, 0, 1 << 20);
  ASSERT_TRUE(back.ok());
  EXPECT_TRUE(same(*back, data));
}

}  // namespace
}  // namespace tidemark::os
