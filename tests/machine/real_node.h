#pragma once

#include <sys/stat.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "node/node.h"
#include "os/environment.h"
#include "os/file_disk.h"
#include "os/network.h"
#include "os/offload.h"
#include "os/reactor.h"

namespace tidemark {

inline constexpr const char* kGroup = "app";
inline constexpr std::uint64_t kVolumeBlocks = 8;
inline constexpr std::uint64_t kDiskBytes = 64 << 20;
inline constexpr std::uint64_t kJournalBytes = 17 << 20;  // eight segments, the least

// A node in this process as tidemarkd makes it: io_uring, a disk file, the RocksDB index and the SQLite
// catalogue in one folder. Without sockets: it is asked through its operations and its exports.
class RealNode {
 public:
  // `index_memory_bytes`: little makes runs of few entries; `index_block_bytes`: of a run of few entries too,
  // little makes many blocks.
  explicit RealNode(std::string folder, std::uint64_t index_memory_bytes = 2 << 20,
                    std::uint64_t index_block_bytes = 8 << 10)
      : folder_(std::move(folder)),
        index_memory_bytes_(index_memory_bytes),
        index_block_bytes_(index_block_bytes) {}
  RealNode(const RealNode&) = delete;
  RealNode& operator=(const RealNode&) = delete;
  ~RealNode() { kill(); }

  // Puts something around the catalogue.
  std::function<std::unique_ptr<catalog::Catalog>(std::unique_ptr<catalog::Catalog>)> wrap_catalogue;

  Result<void> start() {
    auto reactor = os::Reactor::create();
    if (!reactor.ok()) return std::move(reactor).error();
    reactor_ = std::move(reactor).value();
    offload_ = std::make_unique<os::ThreadOffload>(*reactor_, 1);
    network_ = std::make_unique<os::Network>(*reactor_, *offload_);
    const std::string index_folder = folder_ + "/index";
    const bool had_disk = std::filesystem::exists(index_folder);
    os::FileDiskOptions disk_options;
    disk_options.open = had_disk ? os::FileDiskOptions::Open::kExisting : os::FileDiskOptions::Open::kEither;
    disk_options.create_size_bytes = kDiskBytes;
    auto disk = os::FileDisk::open(*reactor_, folder_ + "/disk", disk_options);
    // The kernel may still be about to end what a process that is gone had asked of it.
    const MonotonicTime patience = reactor_->now() + Duration::seconds(20);
    while (!disk.ok() && disk.error().code == ErrorCode::kBusy && reactor_->now() < patience) {
      reactor_->run(sleep_a_little(*reactor_));
      disk = os::FileDisk::open(*reactor_, folder_ + "/disk", disk_options);
    }
    if (!disk.ok()) return std::move(disk).error();
    disk_ = std::move(disk).value();
    const io::Environment environment{*reactor_, clock_, random_, *network_, *offload_};
    const index::RocksIndexOptions index_options{.memory_bytes_max = index_memory_bytes_,
                                                 .block_cache_bytes = 1 << 20,
                                                 .path_map_bytes_max = 1 << 20,
                                                 .run_block_bytes = index_block_bytes_};
    group::IndexFactory make_index = [environment, index_folder, index_options](GroupIdentity group) {
      return index::open_rocks_index(environment, index_folder + "/" + group.to_string(), index_options);
    };
    node::OpenCatalog open_catalog = [this] {
      const std::string path = folder_ + "/catalogue.sqlite";
      auto opened = catalog::Catalog::open(path);
      if (!opened.ok() && opened.error().code == ErrorCode::kDamaged)
        opened = catalog::Catalog::recreate(path);
      if (opened.ok() && wrap_catalogue) opened = wrap_catalogue(std::move(opened).value());
      return opened;
    };
    node::NodeConfiguration configuration;
    configuration.identity.bytes.fill(7);
    configuration.name = "tokyo";
    configuration.disks = node::one_disk(*disk_);
    configuration.cache_size_bytes = node::kCacheSizeBytesMin;
    configuration.may_format_disk = !had_disk;
    node::Log log = [this](const std::string& event, const std::string& text) {
      told_ += event + " " + text + "\n";
    };
    auto started =
        reactor_->run(node::Node::start(environment, std::move(configuration), std::move(make_index),
                                        std::move(open_catalog), std::move(log)));
    if (!started.ok()) return std::move(started).error();
    node_ = std::move(started).value();
    std::error_code made;
    std::filesystem::create_directories(index_folder, made);
    return {};
  }
  Result<void> stop() {
    auto stopped = run(node_->stop());
    kill();
    return stopped;
  }
  // What is in flight still reaches the disk; nothing new does.
  void kill() {
    node_.reset();
    disk_.reset();
    network_.reset();
    offload_.reset();
    reactor_.reset();
  }

  template <typename T>
  T run(io::Task<T> task) {
    return reactor_->run(std::move(task));
  }
  node::Node& node() { return *node_; }
  os::Reactor& reactor() { return *reactor_; }
  // Null when the group did not open.
  group::Group* group() { return node_->find_group(kGroup); }
  const std::string& told() const { return told_; }

  Result<void> make_group(std::initializer_list<const char*> volumes) {
    control::GroupCreateRequest group;
    group.group = kGroup;
    group.journal_size_bytes = kJournalBytes;
    TM_TRY(run(node_->group_create(group)));
    for (const char* name : volumes) {
      control::VolumeCreateRequest volume;
      volume.group = kGroup;
      volume.volume = name;
      volume.size_bytes = kVolumeBlocks * kBlockSizeBytes;
      TM_TRY(run(node_->volume_create(volume)));
    }
    return {};
  }

 private:
  static io::Task<void> sleep_a_little(io::Scheduler& scheduler) {
    co_await scheduler.sleep_for(Duration::milliseconds(5));
  }

  std::string folder_;
  std::uint64_t index_memory_bytes_;
  std::uint64_t index_block_bytes_;
  std::string told_;
  os::SystemClock clock_;
  os::SystemRandom random_;
  std::unique_ptr<os::Reactor> reactor_;
  std::unique_ptr<os::ThreadOffload> offload_;
  std::unique_ptr<os::Network> network_;
  std::unique_ptr<os::FileDisk> disk_;
  std::unique_ptr<node::Node> node_;
};

}  // namespace tidemark
