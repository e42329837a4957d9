#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace tidemark::os {

// Space kept back on the data folder's file system. A node that is stopped while the file system is full must
// be able to start again, and opening the version indexes writes some files; so a file of this size is given
// up before they are opened and made again afterwards, when the hosts' writes have not taken its place.
//
// Used by one thread. Nothing here fails: without a reserve a node runs as well, only with less to fall back
// on.
class SpaceReserve {
 public:
  static constexpr std::uint64_t kBytes = 32ull << 20;

  explicit SpaceReserve(std::string path) : path_(std::move(path)) {}

  void release();
  // As much of it as there is space for; the bytes now kept back.
  std::uint64_t renew();

 private:
  std::string path_;
};

// What is free for this process on the file system that holds `path`; nothing when the system does not tell.
std::optional<std::uint64_t> free_bytes_at(const std::string& path);

}  // namespace tidemark::os
