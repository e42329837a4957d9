// What a host or a person names on a node that has something: exports with and without a point, points of
// views and of restores, entries. One node serves all inputs; whatever is found can be asked for again, and
// is the same.
#include <cstring>
#include <memory>
#include <string>

#include "fuzz/fuzz.h"
#include "node/node.h"
#include "sim/disk.h"
#include "sim/world.h"

namespace tidemark::node {
namespace {

constexpr std::uint64_t kDiskBytes = 128 << 20;
constexpr std::uint64_t kJournalBytes = 17 << 20;  // the least

io::Task<Result<index::OpenedIndex>> open_memory_index() {
  index::OpenedIndex opened;
  opened.index = index::make_memory_index();
  co_return opened;
}

// Marks of all sorts of names, two branches.
struct Bench {
  sim::World world{1};
  sim::Disk disk{world, kDiskBytes};
  std::unique_ptr<Node> node;

  Bench() {
    NodeConfiguration configuration;
    configuration.identity.bytes.fill(1);
    configuration.name = "tokyo";
    configuration.disks = one_disk(disk);
    configuration.cache_size_bytes = kCacheSizeBytesMin;
    auto started = world.run(Node::start(
        world.environment(), std::move(configuration), [](GroupIdentity) { return open_memory_index(); },
        OpenCatalog(), [](const std::string&, const std::string&) {}));
    TM_ASSERT(started.ok());
    node = std::move(started).value();
    control::GroupCreateRequest create;
    create.group = "app";
    create.journal_size_bytes = kJournalBytes;
    TM_ASSERT(world.run(node->group_create(std::move(create))).ok());
    group::Group& group = *node->find_group("app");
    const auto volume = world.run(group.create_volume("db", 8 * kBlockSizeBytes));
    TM_ASSERT(volume.ok());
    for (const char* mark : {"m", "a/b", "x@y"}) {
      Buffer data = Buffer::allocate(kBlockSizeBytes);
      std::memset(data.data(), mark[0], data.size());
      TM_ASSERT(world.run(group.data().write(volume->id, 0, std::move(data), true)).ok());
      (void)world.run(group.create_mark({.id = mark}));
      world.run_for(Duration::seconds(1));
    }
    auto plan = world.run(group.plan_restore("m", false));
    TM_ASSERT(plan.ok());
    TM_ASSERT(world.run(group.restore(std::move(plan).value(), format::EpochReason::kRestore)).ok());
  }
};

void try_export(Bench& bench, const std::string& name) {
  const auto told = bench.world.run(bench.node->describe(name));
  auto opened = bench.world.run(bench.node->open(name, "fuzz"));
  TM_ASSERT(told.ok() == opened.ok());
  if (!opened.ok()) {
    TM_ASSERT(!opened.error().message.empty());
    return;
  }
  TM_ASSERT((*opened)->info().size_bytes == told->size_bytes);
  Buffer out = Buffer::allocate(kBlockSizeBytes);
  TM_ASSERT(bench.world.run((*opened)->read(0, out)).ok());
}

void try_point(Bench& bench, const std::string& point) {
  group::Group& group = *bench.node->find_group("app");
  for (const bool before : {false, true}) {
    const auto plan = bench.world.run(group.plan_restore(point, before));
    if (!plan.ok()) TM_ASSERT(!plan.error().message.empty());
  }
  const auto view = bench.world.run(group.open_view("db", point));
  if (!view.ok()) return;
  // The place that was found has a name of its own.
  const LogId at = (*view)->point().at;
  bench.world.run((*view)->close());
  if (at.sequence() == 0) return;
  const auto again = bench.world.run(group.open_view("db", "log:" + at.to_string()));
  TM_ASSERT(again.ok() && (*again)->point().at == at);
  bench.world.run((*again)->close());
}

}  // namespace
}  // namespace tidemark::node

// The first byte may put a prefix in front.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tidemark::node;
  static Bench bench;
  const std::string text(reinterpret_cast<const char*>(data), size);
  try_export(bench, text);
  try_point(bench, text);
  if (text.empty()) return 0;
  static const std::string now = "time:" + tidemark::format_time(bench.world.wall_now()).substr(0, 17);
  static const std::string points[] = {"log:1.", "log:2.", "time:", now};
  try_export(bench, "app/db@" + points[data[0] % 4] + text.substr(1));
  try_export(bench, (data[0] % 2 == 0 ? "app/db@" : "app/") + text.substr(1));
  try_point(bench, points[data[0] % 4] + text.substr(1));
  return 0;
}
