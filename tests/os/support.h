#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "base/bytes.h"
#include "os/reactor.h"

namespace tidemark::os {

// A folder of its own for one test, removed with all that is in it.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tidemark-os-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline std::unique_ptr<Reactor> make_reactor(const ReactorOptions& options = {}) {
  auto reactor = Reactor::create(options);
  EXPECT_TRUE(reactor.ok()) << reactor.error().message;
  return std::move(reactor).value();
}

// `size` bytes that tell their place and `seed`.
inline Buffer pattern(std::size_t size, unsigned seed) {
  Buffer buffer = Buffer::allocate(size);
  for (std::size_t i = 0; i < size; ++i)
    buffer.data()[i] = static_cast<std::byte>((i * 31 + i / 4096 + seed) & 0xff);
  return buffer;
}

inline bool same(const Buffer& a, const Buffer& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

}  // namespace tidemark::os
