#include "pool/read_copy.h"

#include <algorithm>

namespace tidemark::pool {

io::Task<void> read_copy(io::Disk& disk, DiskOffset offset, Buffer out) {
  if ((co_await disk.read(offset, out)).ok()) co_return;
  for (std::size_t at = 0; at < out.size(); at += kBlockSizeBytes) {
    Buffer block = out.slice(at, kBlockSizeBytes);
    const DiskOffset place{offset.value + at};
    if (!(co_await disk.read(place, block)).ok()) std::ranges::fill(block.writable(), std::byte{0xff});
  }
}

}  // namespace tidemark::pool
