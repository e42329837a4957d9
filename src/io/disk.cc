#include "io/disk.h"

namespace tidemark::io {

Task<Result<void>> Disk::read_other_copies(DiskOffset offset, Buffer out,
                                           std::function<bool(Bytes)> is_right) {
  static_cast<void>(out);
  static_cast<void>(is_right);
  co_return fail(ErrorCode::kDamaged,
                 "there is no other copy of the block at byte " + std::to_string(offset.value));
}

}  // namespace tidemark::io
