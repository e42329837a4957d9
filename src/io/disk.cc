#include "io/disk.h"

namespace tidemark::io {
namespace {

Error no_other_copy(DiskOffset offset) {
  return fail(ErrorCode::kDamaged,
              "there is no other copy of the block at byte " + std::to_string(offset.value));
}

}  // namespace

Task<Result<void>> Disk::read_other_copies(DiskOffset offset, Buffer out,
                                           std::function<bool(Bytes)> is_right) {
  static_cast<void>(out);
  static_cast<void>(is_right);
  co_return no_other_copy(offset);
}

Task<Result<void>> Disk::peek(DiskOffset offset, Buffer out) {
  return read(offset, std::move(out));
}

Task<Result<void>> Disk::peek_other_copies(DiskOffset offset, Buffer out,
                                           std::function<bool(Bytes)> is_right) {
  static_cast<void>(out);
  static_cast<void>(is_right);
  co_return no_other_copy(offset);
}

}  // namespace tidemark::io
