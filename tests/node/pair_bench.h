#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "node/node.h"
#include "sim/disk.h"
#include "sim/network.h"
#include "sim/simulated_process.h"
#include "sim/world.h"

namespace tidemark::node {

inline constexpr std::uint64_t kDiskBytes = 256 << 20;
inline constexpr std::uint64_t kJournalBytes = 17 << 20;  // eight segments, the least
inline constexpr std::uint64_t kVolumeBlocks = 48;
inline constexpr const char* kGroup = "app";

inline io::Task<Result<index::OpenedIndex>> open_memory_index() {
  index::OpenedIndex opened;
  opened.index = index::make_memory_index();
  co_return opened;
}

// One machine: a disk, and a node on it that can be killed, lose its power and be started again.
class Machine {
 public:
  Machine(sim::World& world, std::string machine_name, std::uint8_t identity_byte)
      : name(std::move(machine_name)),
        disk(world, kDiskBytes),
        world_(world),
        environment_(world.environment()) {
    identity.bytes.fill(identity_byte);
  }

  std::string address() const { return "unix:/" + name; }

  // Assertions about the outcome are the caller's: a start fails when a test breaks the disk.
  Result<void> try_start() {
    process = std::make_unique<sim::SimulatedProcess>(world_);
    process->use(disk);
    NodeConfiguration configuration;
    configuration.identity = identity;
    configuration.name = name;
    configuration.disks = one_disk(disk);
    configuration.cache_size_bytes = kCacheSizeBytesMin;
    group::IndexFactory make_index = [](GroupIdentity) { return open_memory_index(); };
    Log log_line = [this](const std::string& event, const std::string& text) {
      log.push_back(format_time(world_.wall_now()) + " " + name + " " + event + " " + text);
      if (log.size() > 400) log.pop_front();
    };
    auto started = world_.run(Node::start(environment_, std::move(configuration), std::move(make_index),
                                          OpenCatalog(), std::move(log_line)));
    if (!started.ok()) return started.error();
    node = &process->own(std::move(started).value());
    auto listener = world_.run(world_.network().listen(*io::Address::parse(address())));
    if (!listener.ok()) return listener.error();
    process->tasks().spawn(node->pairs().serve(std::move(listener).value()));
    node->set_addresses({}, {}, {address()});
    return {};
  }
  void start() {
    const auto started = try_start();
    ASSERT_TRUE(started.ok()) << started.error().message;
  }
  void kill() {
    node = nullptr;
    process->kill();
  }
  void power_cut() {
    node = nullptr;
    process->power_cut();
  }
  void stop() {
    const auto stopped = world_.run(node->stop());
    EXPECT_TRUE(stopped.ok()) << stopped.error().message;
    kill();
  }
  group::Group& group() { return *node->find_group(kGroup); }
  bool has_group() { return node != nullptr && node->find_group(kGroup) != nullptr; }

  std::string name;
  NodeIdentity identity{};
  sim::Disk disk;
  std::unique_ptr<sim::SimulatedProcess> process;
  Node* node = nullptr;
  std::deque<std::string> log;

 private:
  sim::World& world_;
  io::Environment environment_;
};

// What a volume should hold: one number for each block.
using Image = std::vector<std::uint32_t>;

inline Buffer block_of(std::uint32_t value) {
  Buffer data = Buffer::allocate(kBlockSizeBytes);
  for (std::size_t at = 0; at < data.size(); at += sizeof value)
    std::memcpy(data.data() + at, &value, sizeof value);
  return data;
}

// Each block's number; UINT32_MAX for a block that is not one number all over.
inline Image image_of(Bytes bytes) {
  Image image;
  for (std::size_t at = 0; at < bytes.size(); at += kBlockSizeBytes) {
    std::uint32_t value = 0;
    std::memcpy(&value, bytes.data() + at, sizeof value);
    const Buffer same = block_of(value);
    if (std::memcmp(bytes.data() + at, same.data(), kBlockSizeBytes) != 0) value = UINT32_MAX;
    image.push_back(value);
  }
  return image;
}

// Every place of the disk that holds this block is no longer what its checksum says.
inline void damage(Machine& at, std::uint32_t value) {
  const Buffer wanted = block_of(value);
  std::vector<std::byte> block(kBlockSizeBytes);
  int found = 0;
  for (std::uint64_t place = 0; place < kDiskBytes; place += kBlockSizeBytes) {
    at.disk.peek(place, block);
    if (std::memcmp(block.data(), wanted.data(), kBlockSizeBytes) != 0) continue;
    at.disk.flip_bit(place + 100, 3);
    ++found;
  }
  ASSERT_GT(found, 0) << value;
}

// Two machines, and what tests of a pair do all the time.
class PairBench {
 public:
  explicit PairBench(std::uint64_t seed) : world(seed), a(world, "kyoto", 1), b(world, "osaka", 2) {
    a.start();
    b.start();
  }
  ~PairBench() {
    if (!testing::Test::HasFailure()) return;
    for (const Machine* machine : {&a, &b}) {
      for (const std::string& line : machine->log) std::fprintf(stderr, "%s\n", line.c_str());
    }
  }

  template <typename T>
  T run(io::Task<T> task) {
    return world.run(std::move(task));
  }
  // Until `condition` holds, looking every millisecond; false when `limit` passes first.
  template <typename Condition>
  bool wait_for(Condition condition, Duration limit = Duration::seconds(60)) {
    const MonotonicTime due = world.now() + limit;
    while (!condition()) {
      if (world.now() >= due) return false;
      world.run_for(Duration::milliseconds(1));
    }
    return true;
  }

  // ---- Commands
  void make_group(Machine& machine, std::initializer_list<const char*> volumes) {
    control::GroupCreateRequest request;
    request.group = kGroup;
    request.journal_size_bytes = kJournalBytes;
    const auto made = run(machine.node->group_create(request));
    ASSERT_TRUE(made.ok()) << made.error().message;
    for (const char* volume : volumes) {
      control::VolumeCreateRequest create;
      create.group = kGroup;
      create.volume = volume;
      create.size_bytes = kVolumeBlocks * kBlockSizeBytes;
      const auto created = run(machine.node->volume_create(create));
      ASSERT_TRUE(created.ok()) << created.error().message;
    }
  }
  Result<control::PairStatus> pair_create(Machine& from, Machine& to) {
    control::PairCreateRequest request;
    request.group = kGroup;
    request.peer_address = to.address();
    return run(from.node->pair_create(request));
  }
  Result<control::PairStatus> pair_create_sync(Machine& from, Machine& to, control::OnPeerLoss on_loss) {
    control::PairCreateRequest request;
    request.group = kGroup;
    request.peer_address = to.address();
    request.mode = control::PairMode::kSync;
    request.on_peer_loss = on_loss;
    return run(from.node->pair_create(request));
  }
  Result<control::PairStatus> pair_set(Machine& machine, std::optional<control::PairMode> mode,
                                       std::optional<control::OnPeerLoss> on_loss = std::nullopt) {
    control::PairSetRequest request;
    request.group = kGroup;
    request.mode = mode;
    request.on_peer_loss = on_loss;
    return run(machine.node->pair_set(request));
  }
  Result<control::PairStatus> suspend(Machine& machine) {
    control::PairSuspendRequest request;
    request.group = kGroup;
    return run(machine.node->pair_suspend(request));
  }
  Result<control::PairStatus> resync(Machine& machine, bool give_up_window = false,
                                     std::optional<control::ResyncFrom> from = std::nullopt) {
    control::PairResyncRequest request;
    request.group = kGroup;
    request.from = from;
    request.give_up_window = give_up_window;
    return run(machine.node->pair_resync(request));
  }
  Result<control::PairStatus> swap(Machine& machine) {
    return resync(machine, false, control::ResyncFrom::kSecondary);
  }
  Result<control::PairTakeoverReply> take_over(Machine& machine, bool force = false) {
    control::PairTakeoverRequest request;
    request.group = kGroup;
    request.force = force;
    return run(machine.node->pair_takeover(request));
  }
  Result<control::GroupInfo> serve(Machine& machine, bool alone) {
    control::GroupServeRequest request;
    request.group = kGroup;
    request.alone = alone;
    return run(machine.node->group_serve(request));
  }
  Result<control::Done> pair_delete(Machine& machine) {
    control::PairDeleteRequest request;
    request.group = kGroup;
    return run(machine.node->pair_delete(request));
  }
  Result<control::MarkInfo> mark(Machine& machine, const std::string& id,
                                 control::WaitFor wait = control::WaitFor::kLocal) {
    control::MarkCreateRequest request;
    request.group = kGroup;
    request.id = id;
    request.wait = wait;
    return run(machine.node->mark_create(request));
  }
  Result<control::RestoreReply> restore(Machine& machine, const std::string& point) {
    control::RestoreRequest request;
    request.group = kGroup;
    request.point = point;
    return run(machine.node->restore(request));
  }
  std::vector<control::BranchInfo> branches(Machine& machine) {
    control::BranchListRequest request;
    request.group = kGroup;
    auto reply = run(machine.node->branch_list(request));
    EXPECT_TRUE(reply.ok()) << reply.error().message;
    return reply.ok() ? reply->branches : std::vector<control::BranchInfo>();
  }
  control::PairStatus status(Machine& machine) {
    control::PairStatusRequest request;
    request.group = kGroup;
    auto reply = run(machine.node->pair_status(request));
    return reply.ok() ? *reply : control::PairStatus();
  }
  control::PairState state(Machine& machine) { return status(machine).state; }

  // ---- Data
  Result<void> write(Machine& machine, const std::string& volume, std::uint64_t block, std::uint32_t value,
                     bool fua = false) {
    auto target = run(machine.node->open(kGroup + ("/" + volume), "test"));
    if (!target.ok()) return target.error();
    if ((*target)->info().read_only) return fail(ErrorCode::kReadOnly, "the export is read-only");
    return run((*target)->write(block * kBlockSizeBytes, block_of(value), fua));
  }
  Result<void> discard(Machine& machine, const std::string& volume, std::uint64_t block,
                       std::uint64_t blocks) {
    auto target = run(machine.node->open(kGroup + ("/" + volume), "test"));
    if (!target.ok()) return target.error();
    return run((*target)->trim(block * kBlockSizeBytes, blocks * kBlockSizeBytes, false));
  }
  // `point` empty: the live volume.
  Result<Image> read(Machine& machine, const std::string& volume, const std::string& point = {}) {
    std::string name = kGroup + ("/" + volume);
    if (!point.empty()) name += "@" + point;
    auto target = run(machine.node->open(name, "test"));
    if (!target.ok()) return target.error();
    Buffer out = Buffer::allocate((*target)->info().size_bytes);
    const auto read = run((*target)->read(0, out));
    if (!read.ok()) return read.error();
    return image_of(out);
  }

  // ---- Expectations
  void expect_image(Machine& machine, const std::string& volume, const std::string& point,
                    const Image& expected) {
    const auto image = read(machine, volume, point);
    ASSERT_TRUE(image.ok()) << machine.name << " " << volume << "@" << point << ": " << image.error().message;
    EXPECT_EQ(*image, expected) << machine.name << " " << volume << "@" << point;
  }
  void pair_up() {
    const auto created = pair_create(a, b);
    ASSERT_TRUE(created.ok()) << created.error().message;
    ASSERT_TRUE(wait_for([&] { return state(a) == control::PairState::kPair; })) << status(a).state_reason;
  }
  // Everything of the primary is durable on the secondary.
  bool wait_caught_up(Duration limit = Duration::seconds(60)) { return wait_caught_up(a, b, limit); }
  bool wait_caught_up(Machine& primary, Machine& secondary, Duration limit = Duration::seconds(60)) {
    return wait_for(
        [&] {
          const control::PairStatus now = status(primary);
          return now.role == control::GroupRole::kPrimary && now.state == control::PairState::kPair &&
                 now.link_up && now.lag_entries == 0 &&
                 primary.group().journal().durable() == primary.group().head() && secondary.has_group() &&
                 secondary.group().head() == primary.group().head();
        },
        limit);
  }
  // The same bytes in every volume, live and at every mark that both can read.
  void expect_same(std::initializer_list<const char*> volumes) {
    for (const char* volume : volumes) {
      const auto left = read(a, volume);
      const auto right = read(b, volume);
      ASSERT_TRUE(left.ok()) << left.error().message;
      ASSERT_TRUE(right.ok()) << right.error().message;
      EXPECT_EQ(*left, *right) << volume;
      for (const auto& [id, mark] : a.group().state().marks()) {
        if (!a.group().check_readable(mark.at).ok() || !b.group().check_readable(mark.at).ok()) continue;
        const auto past_left = read(a, volume, id);
        const auto past_right = read(b, volume, id);
        if (!past_left.ok() && past_left.error().code == ErrorCode::kNotFound) continue;  // not made yet then
        ASSERT_TRUE(past_left.ok()) << id << ": " << past_left.error().message;
        ASSERT_TRUE(past_right.ok()) << id << ": " << past_right.error().message;
        EXPECT_EQ(*past_left, *past_right) << volume << "@" << id;
      }
    }
  }

  sim::World world;
  Machine a;
  Machine b;
};

}  // namespace tidemark::node
