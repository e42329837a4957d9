#include "pool/read_copy.h"

#include <algorithm>

namespace tidemark::pool {

io::Task<Result<void>> read_copy(io::Disk& disk, DiskOffset offset, Buffer out) {
  auto read = co_await disk.read(offset, out);
  if (read.ok()) co_return read;
  bool any = false;
  for (std::size_t at = 0; at < out.size(); at += kBlockSizeBytes) {
    Buffer block = out.slice(at, kBlockSizeBytes);
    const DiskOffset place{offset.value + at};
    if ((co_await disk.read(place, block)).ok()) {
      any = true;
    } else {
      std::ranges::fill(block.writable(), std::byte{0xff});
    }
  }
  if (!any) co_return read;
  co_return Result<void>{};
}

}  // namespace tidemark::pool
