#pragma once

#include <cstdint>
#include <mutex>
#include <string>

#include "base/result.h"

namespace tidemark::os {

// A file to which lines are only added, each with its time before it and in one write, for its owner's eyes
// alone. A line that would make it longer than `size_bytes_max` begins it anew; what was there is then
// FILE.1, in the place of the FILE.1 before. The file is opened for each line, so it may also be moved away
// by others at any time.
//
// A line that was added survives the end of the process, not a power failure at once. Any thread.
class AuditLog {
 public:
  static constexpr std::uint64_t kSizeBytesMax = 16 << 20;

  explicit AuditLog(std::string path, std::uint64_t size_bytes_max = kSizeBytesMax)
      : path_(std::move(path)), size_bytes_max_(size_bytes_max) {}

  // `line` has no end of line in it. kIo, kNoSpace: it was not added, or not all of it.
  Result<void> append(const std::string& line);

 private:
  const std::string path_;
  const std::uint64_t size_bytes_max_;
  std::mutex mutex_;
};

}  // namespace tidemark::os
