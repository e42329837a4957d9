#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "host/burst.h"

namespace tidemark::host {

// More files than this are brought to the volume all at once, with their file system (syncfs).
inline constexpr std::size_t kFilesSyncedMax = 64;

struct Settled {
  std::vector<std::string> vanished;
};

// Brings what was saved to the volume: each file and its folder (fsync), or the file systems of `roots` where
// there are many files, some unknown, or one that may not be opened. Files that have vanished are none of its
// business any more. kIo: something could not be written; then a mark would not hold it.
Result<Settled> settle(const Burst& burst, const std::vector<std::string>& roots);

}  // namespace tidemark::host
