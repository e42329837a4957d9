#pragma once

#include <string>
#include <vector>

#include "base/ids.h"
#include "io/environment.h"
#include "os/data_folder.h"

// The two lists of the data folder about disks: the file `disks`, of where to look, and the file
// `raid-groups`, of what should be found there. Both are replaced whole, durably, by io::Offload.
namespace tidemark {

// The paths of the disks that were added by command, one a line.
class AddedDisks {
 public:
  AddedDisks(const os::DataFolder& folder, io::Offload& offload);
  // kIo when it cannot be read: taken for an empty list, it would cost the disks on it their places.
  Result<std::vector<std::string>> read() const;
  // True when that changed it.
  io::Task<Result<bool>> add(std::string path);
  io::Task<Result<bool>> remove(std::string path);

 private:
  io::Task<Result<bool>> change(std::string path, bool listed);
  std::string path_;
  io::Offload& offload_;
};

// A pool that the node has made, on a RAID group or on a disk as it is.
struct KnownPool {
  enum class Fate {
    kKept,
    kCreating,   // by `raid create`, which is not done, or was cut off: it has never held anything
    kForgotten,  // it is not missed and not used; its number and its name are not given again
  };
  PoolNumber number{};   // node::kUnknownPool: only its disks know it
  std::string identity;  // of the RAID group, or the disk
  std::string name;
  Fate fate = Fate::kKept;
  bool operator==(const KnownPool&) const = default;
};

// A line is the pool's number, the identity, the name, and a word for a fate that is not the usual one.
class KnownPools {
 public:
  KnownPools(const os::DataFolder& folder, io::Offload& offload);
  // Whether the folder is of a node that has had disks; also when that cannot be read.
  bool exist() const;
  // kIo, or kDamaged naming the line.
  Result<void> read();
  const std::vector<KnownPool>& all() const { return pools_; }
  const KnownPool* find(const std::string& identity) const;
  // By number. What cannot be written leaves the list as it was, here and there.
  io::Task<Result<void>> replace(std::vector<KnownPool> pools);

 private:
  std::string path_;
  io::Offload& offload_;
  std::vector<KnownPool> pools_;
};

}  // namespace tidemark
