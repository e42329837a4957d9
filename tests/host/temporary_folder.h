#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>

namespace tidemark::host {

// A folder that goes with its owner.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    char pattern[] = "/tmp/tidemark-host-XXXXXX";
    path_ = ::mkdtemp(pattern);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace tidemark::host
