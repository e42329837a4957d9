#pragma once

#include <string>

#include "base/result.h"
#include "os/descriptor.h"

namespace tidemark::os {

// The folder of one node, held by this process alone for as long as this object lives. The lock is flock() on
// FOLDER/lock, so it goes when the process goes, however it ends; the file stays, with the last holder's
// process id in it.
class DataFolder {
 public:
  // Makes the folder, with mode 0700, when it does not exist (its parent must). kBusy, naming the
  // process, when another holds it.
  static Result<DataFolder> open(const std::string& path);

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  DataFolder(std::string path, Descriptor lock) : path_(std::move(path)), lock_(std::move(lock)) {}
  std::string path_;
  Descriptor lock_;
};

}  // namespace tidemark::os
