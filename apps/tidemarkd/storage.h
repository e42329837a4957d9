#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "disk_lists.h"
#include "io/environment.h"
#include "node/node_storage.h"
#include "options.h"
#include "os/data_folder.h"
#include "os/file_disk.h"
#include "os/reactor.h"

namespace tidemark {

// The node's disks on this machine: one that is used as it is (by default the file `disk` in the data
// folder), and RAID groups. Which disks are looked at is said by the options and by the file `disks` in the
// folder, which lists those that were added since; what should be found on them by the file `raid-groups`.
class Storage {
 public:
  struct Machine {
    os::Reactor& reactor;
    io::Environment environment;
    const DaemonOptions& options;
    const os::DataFolder& folder;
    std::function<void(const std::string& event, const std::string& text)> log;
  };

  // Opens the disks and puts the RAID groups together; at a node's first start, which `is_new` says, makes
  // the files and the first RAID group. A disk that is missing or refused, and a RAID group that cannot be
  // put together, are told in the log, and fail the start only when nothing else is there.
  static io::Task<Result<std::unique_ptr<Storage>>> open(Machine machine, NodeIdentity node, bool is_new);

  // The node that the disks belong to, as their labels say. Writes nothing. kNotFound when none carries a
  // label, kRefused when they are of several nodes.
  static io::Task<Result<NodeIdentity>> find_owner(Machine machine);

  // How messages name what the node lies on.
  std::string name() const;
  node::NodeDisks disks_of_node();
  // The pools were opened, or made: what is here is what the next start is to find.
  io::Task<Result<void>> settle();
  // After the node has stopped: what is written is durable, and the next start has nothing to bring in sync.
  io::Task<Result<void>> close();

 private:
  // A disk with a pool on it, or for one.
  struct Part {
    std::string name;  // of the RAID group, or node::kPlainDiskName
    PoolNumber number{};
    std::string identity;  // of the RAID group or the disk, as `raid-groups` has it
    os::FileDisk* file = nullptr;
    std::unique_ptr<raid::RaidGroup> raid;  // or this
    io::Disk& disk() const { return raid != nullptr ? static_cast<io::Disk&>(*raid) : *file; }
  };
  // What the labels of the disks say that they are.
  struct Sorted {
    std::map<RaidIdentity, std::vector<raid::NamedDisk>> raids;
    std::vector<os::FileDisk*> plain;  // with a pool of this node
    std::vector<raid::NamedDisk> rest;
    bool has_forgotten = false;  // a disk that was used as it is
  };

  using Fate = KnownPool::Fate;

  Storage(Machine machine, NodeIdentity node)
      : machine_(std::move(machine)),
        node_(node),
        added_(machine_.folder, machine_.environment.offload),
        known_(machine_.folder, machine_.environment.offload) {}

  static Result<std::vector<std::string>> disk_paths(const Machine& machine, bool is_new);
  io::Task<Result<void>> open_files(std::vector<std::string> paths, bool is_new);
  io::Task<Result<os::FileDisk*>> open_file(std::string path, os::FileDiskOptions::Open how);
  io::Task<Sorted> sort_files();
  io::Task<Result<void>> open_parts(bool is_new);
  io::Task<Result<void>> make_first_part();
  io::Task<Result<Part>> make_raid(node::NewRaidGroup what, std::vector<raid::NamedDisk> disks,
                                   RaidIdentity identity);
  io::Task<Result<Part>> assemble(RaidIdentity identity, std::vector<raid::NamedDisk> disks);
  io::Task<Result<void>> add_raid(RaidIdentity identity, std::vector<raid::NamedDisk> disks, bool is_new);
  io::Task<Result<void>> take_number(Part* part, bool is_new);
  PoolNumber next_number() const;
  void note_missing();
  void report_unused(const std::vector<raid::NamedDisk>& disks, const std::string& explanation);
  io::Task<void> note_found();
  io::Task<Result<raid::NamedDisk>> open_another(std::string path);
  io::Task<Result<void>> remember(std::string path);
  io::Task<void> give_back(std::string path);
  io::Task<Result<node::PoolDisk>> create_raid(node::NewRaidGroup what);
  io::Task<Result<Part>> form_raid(node::NewRaidGroup what);
  io::Task<Result<void>> forget_raid(std::string name);
  std::vector<raid::NamedDisk> named() const;
  node::PoolDisk pool_disk(const Part& part) const;

  Machine machine_;
  NodeIdentity node_;
  AddedDisks added_;
  KnownPools known_;
  std::vector<pool::MissingPool> missing_;
  std::map<std::string, std::string> missing_identities_;  // by name, of those whose disks are here in part
  std::vector<std::unique_ptr<os::FileDisk>> files_;
  std::vector<os::FileDisk*> tried_;  // of them: opened by the last command
  std::vector<std::string> listed_;   // by it, in `disks`
  std::optional<Error> failure_;      // of the first RAID group that could not be put together
  std::vector<raid::DiskReport> reports_;
  std::vector<Part> parts_;  // before files_ in ending
};

}  // namespace tidemark
