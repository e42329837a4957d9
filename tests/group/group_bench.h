#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "fragile_index.h"
#include "group/group.h"
#include "sim/disk.h"
#include "sim/random.h"
#include "sim/simulated_process.h"
#include "sim/world.h"

namespace tidemark::group {

inline constexpr std::uint64_t kBenchDiskBytes = 512 << 20;

inline NodeIdentity bench_node() {
  NodeIdentity node;
  node.bytes.fill(0x55);
  return node;
}

inline io::Task<Result<index::OpenedIndex>> open_fragile_index(io::Scheduler* scheduler,
                                                               std::shared_ptr<IndexFate> fate,
                                                               FragileIndex** made) {
  index::OpenedIndex opened;
  opened.rebuilt = !fate->opened_as_rebuilt.empty();
  opened.why_rebuilt = fate->opened_as_rebuilt;
  auto index = std::make_unique<FragileIndex>(*scheduler, std::move(fate));
  *made = index.get();
  opened.index = std::move(index);
  co_return opened;
}

template <typename T>
ErrorCode error_of(const Result<T>& result) {
  EXPECT_FALSE(result.ok());
  return result.ok() ? ErrorCode::kShutdown : result.error().code;
}

inline std::vector<int> all(std::uint64_t blocks, int byte) {
  return std::vector<int>(blocks, byte);
}

struct BenchOptions {
  std::uint64_t journal_bytes = 4 << 20;
  std::uint64_t segment_bytes = 128 << 10;
  std::uint64_t recent_bytes = 256 << 10;
  std::uint64_t cache_bytes = 1 << 20;
  GroupSettings settings{};
  sim::DiskOptions disk{};
};

// One node with one group on one simulated disk, which can lose its power and be started again.
class GroupBench {
 public:
  explicit GroupBench(std::uint64_t seed, BenchOptions bench_options = {})
      : world(seed),
        options(bench_options),
        disk(world, kBenchDiskBytes, options.disk),
        environment(world.environment()),
        fate(std::make_shared<IndexFate>(seed)) {
    EXPECT_TRUE(world.run(pool::Pool::format(environment, disk, bench_node())).ok());
    open_pool();
    NewGroup what;
    what.name = "orders";
    what.settings = options.settings;
    what.journal_size_bytes = options.journal_bytes;
    auto made = world.run(Group::create(context(), std::move(what)));
    EXPECT_TRUE(made.ok()) << made.error().message;
    if (made.ok()) take(std::move(made).value());
  }

  GroupContext context() {
    return {
        .environment = environment,
        .pools = *pools_,
        .cache = *cache_,
        .make_index = [this](GroupIdentity) { return open_fragile_index(&world, fate, &opened_index); },
        .journal_options = {.segment_size_bytes = options.segment_bytes,
                            .recent_bytes_max = options.recent_bytes,
                            .batch_bytes_usual_max = 64 << 10},
        .log = [this](const std::string& event, const std::string& name,
                      const std::string& fields) { log.append(event + " " + name + " " + fields + "\n"); }};
  }
  void open_pool() {
    process = std::make_unique<sim::SimulatedProcess>(world);
    process->use(disk);
    auto opened = world.run(pool::Pool::open(environment, disk, bench_node()));
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    pool_ = opened->get();
    pools_ = &process->own(std::make_unique<pool::Pools>());
    pools_->add(std::move(opened).value());
    cache_ = &process->own(std::make_unique<BlockCache>(options.cache_bytes));
  }
  void power_cut() {
    group = nullptr;
    process->power_cut();
  }
  Result<void> try_open_group() {
    auto opened = world.run(Group::open(context(), log_volume));
    if (!opened.ok()) return opened.error();
    take(std::move(opened).value());
    return {};
  }
  void start_again() {
    open_pool();
    const auto opened = try_open_group();
    ASSERT_TRUE(opened.ok()) << opened.error().message;
  }
  void close() {
    const auto closed = world.run(group->close());
    ASSERT_TRUE(closed.ok()) << closed.error().message;
    group = nullptr;
    process->kill();
  }
  void restart() {
    ASSERT_NO_FATAL_FAILURE(close());
    start_again();
  }
  pool::Pools& pools() { return *pools_; }
  pool::Pool& pool() { return *pool_; }

  // ---- Short forms of what tests do all the time ----
  template <typename T>
  T run(io::Task<T> task) {
    return world.run(std::move(task));
  }
  VolumeShape make_volume(const std::string& name, std::uint64_t blocks) {
    auto made = run(group->create_volume(name, blocks * kBlockSizeBytes));
    EXPECT_TRUE(made.ok()) << made.error().message;
    return made.ok() ? *made : VolumeShape{};
  }
  Result<void> write(VolumeId volume, std::uint64_t offset, Buffer data, bool fua = false) {
    return run(group->data().write(volume, offset, std::move(data), fua));
  }
  // `blocks` blocks filled with one byte.
  Result<void> fill(VolumeId volume, BlockRange blocks, std::uint8_t byte) {
    Buffer data = Buffer::allocate(blocks.count() * kBlockSizeBytes);
    std::memset(data.data(), byte, data.size());
    return write(volume, blocks.begin * kBlockSizeBytes, data);
  }
  // Until the base holds everything that was written.
  void destage_all() {
    ASSERT_TRUE(flush().ok());
    for (int i = 0; i < 20 && group->local().destaged != group->head(); ++i) {
      const auto step = run(group->destage_now(true));
      ASSERT_TRUE(step.ok()) << step.error().message;
    }
    ASSERT_EQ(group->local().destaged, group->head());
  }
  Result<void> flush() { return run(group->data().flush()); }
  Result<Mark> mark(const std::string& id) { return run(group->create_mark({.id = id})); }
  Result<journal::Appended> restore(const std::string& point, bool before = false) {
    auto plan = run(group->plan_restore(point, before));
    if (!plan.ok()) return plan.error();
    return run(group->restore(std::move(plan).value(), format::EpochReason::kRestore));
  }
  // The first byte of each block of the live volume; -1 where a block is not one byte all over.
  std::vector<int> live(VolumeId volume, std::uint64_t blocks) {
    Buffer out = Buffer::allocate(blocks * kBlockSizeBytes);
    const auto read = run(group->data().read(volume, group->live_path(), 0, out, true));
    EXPECT_TRUE(read.ok()) << read.error().message;
    return bytes_of_blocks(out);
  }
  std::vector<int> at(const std::string& volume, const std::string& point) {
    auto view = run(group->open_view(volume, point));
    EXPECT_TRUE(view.ok()) << view.error().message;
    if (!view.ok()) return {};
    std::vector<int> blocks = read_view(**view);
    run((*view)->close());
    return blocks;
  }
  std::vector<int> read_view(View& view) {
    Buffer out = Buffer::allocate(view.shape().size_bytes);
    const auto read = run(view.read(0, out));
    EXPECT_TRUE(read.ok()) << read.error().message;
    return bytes_of_blocks(out);
  }
  ErrorCode view_error(const std::string& volume, const std::string& point, std::string* message = nullptr) {
    auto view = run(group->open_view(volume, point));
    EXPECT_FALSE(view.ok()) << "a view of '" << point << "' was opened";
    if (view.ok()) return ErrorCode::kShutdown;
    if (message != nullptr) *message = view.error().message;
    return view.error().code;
  }
  static std::vector<int> bytes_of_blocks(Bytes bytes) {
    std::vector<int> out;
    for (std::size_t at = 0; at < bytes.size(); at += kBlockSizeBytes) {
      const Bytes block = bytes.subspan(at, kBlockSizeBytes);
      bool same = true;
      for (const std::byte byte : block) same = same && byte == block[0];
      out.push_back(same ? static_cast<int>(block[0]) : -1);
    }
    return out;
  }

  sim::World world;
  BenchOptions options;
  sim::Disk disk;
  io::Environment environment;
  std::shared_ptr<IndexFate> fate;
  FragileIndex* opened_index = nullptr;  // the one that the group was made or opened with
  std::string log;
  std::unique_ptr<sim::SimulatedProcess> process;
  Group* group = nullptr;
  LuNumber log_volume{};

 private:
  void take(std::unique_ptr<Group> made) {
    log_volume = made->log_volume();
    group = &process->own(std::move(made));
  }
  pool::Pools* pools_ = nullptr;
  pool::Pool* pool_ = nullptr;  // the one of them
  BlockCache* cache_ = nullptr;
};

}  // namespace tidemark::group
