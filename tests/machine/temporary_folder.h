#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>

namespace tidemark {

// A folder of its own for one test, in memory where the machine has such a place: thousands of nodes are made
// in it.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    const std::filesystem::path memory = "/dev/shm";
    std::error_code error;
    const auto space = std::filesystem::space(memory, error);
    const bool roomy = !error && space.available > (std::uint64_t{512} << 20);
    std::string pattern =
        ((roomy ? memory : std::filesystem::temp_directory_path()) / "tidemark-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace tidemark
