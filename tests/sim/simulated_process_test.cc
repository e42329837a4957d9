#include "sim/simulated_process.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace tidemark::sim {
namespace {

constexpr std::size_t kPage = 4096;

// Writes page after page, each durable, and counts those that were acknowledged.
struct Writer {
  explicit Writer(Disk& d, std::vector<int>* l) : disk(d), log(l) {}
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  ~Writer() { log->push_back(-1); }
  io::Task<void> run() {
    for (std::uint64_t page = 0; page < 8; ++page) {
      std::vector<Buffer> pieces{Buffer::allocate(kPage)};
      std::memset(pieces[0].data(), 1, kPage);
      const Result<void> written =
          co_await disk.write(DiskOffset{page * kPage}, std::move(pieces), io::Durability::kDurable);
      EXPECT_TRUE(written.ok());
      log->push_back(static_cast<int>(page));
    }
  }
  Disk& disk;
  std::vector<int>* log;
};

TEST(SimulatedProcess, APowerCutAtEveryStepLeavesWhatWasAcknowledged) {
  std::set<std::size_t> acknowledged_counts;
  for (std::uint64_t steps = 0;; ++steps) {
    World world(3);
    Disk disk(world, 1 << 20);
    std::vector<int> log;
    SimulatedProcess process(world);
    process.use(disk);
    Writer& writer = process.own(std::make_unique<Writer>(disk, &log));
    process.tasks().spawn(writer.run());
    const bool ended = world.run_steps(steps) < steps;
    process.power_cut();
    ASSERT_FALSE(log.empty());
    EXPECT_EQ(log.back(), -1) << "the objects went";
    acknowledged_counts.insert(log.size() - 1);
    for (std::size_t page = 0; page + 1 < log.size(); ++page) {
      std::vector<std::byte> bytes(kPage, std::byte{1});
      std::vector<std::byte> found(kPage);
      disk.peek(page * kPage, found);
      EXPECT_EQ(found, bytes);
    }
    const std::size_t entries = log.size();
    world.run_for(Duration::seconds(1));
    EXPECT_EQ(log.size(), entries) << "nothing of the process went on";
    if (ended) break;
  }
  EXPECT_EQ(acknowledged_counts, (std::set<std::size_t>{0, 1, 2, 3, 4, 5, 6, 7, 8}));
}

TEST(SimulatedProcess, AKilledProcessLeavesTheDiskItsOperations) {
  World world(3);
  Disk disk(world, 1 << 20);
  std::vector<int> log;
  SimulatedProcess process(world);
  process.use(disk);
  Writer& writer = process.own(std::make_unique<Writer>(disk, &log));
  process.tasks().spawn(writer.run());
  world.run_for(Duration::microseconds(5));
  process.kill();
  world.run_for(Duration::seconds(1));
  std::vector<std::byte> found(2);
  disk.peek(0, MutableBytes(found).first(1));
  disk.peek(kPage, MutableBytes(found).last(1));
  EXPECT_EQ(found, (std::vector<std::byte>{std::byte{1}, std::byte{0}}));
}

TEST(SimulatedProcess, ObjectsGoInTheReverseOrderAndAfterTheTasks) {
  World world(1);
  std::vector<int> order;
  struct Last {
    std::vector<int>* log;
    int number;
    Last(std::vector<int>* l, int n) : log(l), number(n) {}
    Last(const Last&) = delete;
    Last& operator=(const Last&) = delete;
    ~Last() { log->push_back(number); }
  };
  {
    SimulatedProcess process(world);
    process.own(std::make_unique<Last>(&order, 1));
    process.own(std::make_unique<Last>(&order, 2));
    process.tasks().spawn([](World& w, std::vector<int>* log) -> io::Task<void> {
      const Last mine(log, 3);
      co_await w.sleep_for(Duration::seconds(1));
    }(world, &order));
    world.run_ready_only();
  }
  EXPECT_EQ(order, (std::vector<int>{3, 2, 1}));
}

}  // namespace
}  // namespace tidemark::sim
