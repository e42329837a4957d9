#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/environment.h"
#include "node/node.h"
#include "options.h"
#include "os/data_folder.h"
#include "os/file_disk.h"
#include "os/reactor.h"

namespace tidemark {

// What the node's pool lies on: one disk (by default the file `disk` in the data folder), or a RAID group of
// the disks that the options name and of those that were added since, which the file `disks` in the folder
// lists.
class Storage {
 public:
  struct Machine {
    os::Reactor& reactor;
    io::Environment environment;
    const DaemonOptions& options;
    const os::DataFolder& folder;
    std::function<void(const std::string& event, const std::string& text)> log;
  };

  // Opens the disks; at a node's first start, which `is_new` says, makes the files and the RAID group. A
  // member that is missing or refused is told in the log, and fails the start only when the level does not
  // tolerate it.
  static io::Task<Result<std::unique_ptr<Storage>>> open(Machine machine, NodeIdentity node, bool is_new);

  // The node that the disks belong to, as their labels say. Writes nothing. kNotFound when none carries a
  // label, kRefused when they are of several nodes.
  static io::Task<Result<NodeIdentity>> find_owner(Machine machine);

  io::Disk& disk() { return raid_ != nullptr ? static_cast<io::Disk&>(*raid_) : *files_.front(); }
  // How messages name it.
  const std::string& name() const { return name_; }
  node::NodeDisks disks_of_node();
  // After the node has stopped: what is written is durable, and the next start has nothing to bring in sync.
  io::Task<Result<void>> close();

 private:
  explicit Storage(Machine machine) : machine_(std::move(machine)) {}

  static Result<std::vector<std::string>> disk_paths(const Machine& machine);
  io::Task<Result<void>> open_files(std::vector<std::string> paths, bool is_new);
  io::Task<Result<os::FileDisk*>> open_file(std::string path, os::FileDiskOptions::Open how);
  io::Task<Result<std::optional<RaidIdentity>>> find_raid(NodeIdentity node);
  io::Task<Result<void>> open_raid(NodeIdentity node, std::optional<RaidIdentity> found, bool is_new);
  io::Task<Result<raid::NamedDisk>> open_another(std::string path);
  io::Task<Result<void>> change_list(std::string path, bool listed);
  io::Task<Result<void>> remember(std::string path);
  io::Task<void> give_back(std::string path);
  std::vector<raid::NamedDisk> named() const;

  Machine machine_;
  std::string name_;
  std::vector<std::unique_ptr<os::FileDisk>> files_;
  os::FileDisk* tried_ = nullptr;  // of them: opened by command, and not in use yet
  std::vector<raid::DiskReport> reports_;
  std::unique_ptr<raid::RaidGroup> raid_;  // before files_ in ending
};

}  // namespace tidemark
