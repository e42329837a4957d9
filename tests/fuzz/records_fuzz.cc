// Bodies of marks and control entries: whatever decodes must encode to the same bytes.
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "base/assert.h"
#include "format/records.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const tidemark::Bytes bytes(reinterpret_cast<const std::byte*>(data), size);
  const auto mark = tidemark::format::decode_mark(bytes);
  if (mark.ok()) TM_ASSERT(std::ranges::equal(tidemark::format::encode_mark(*mark), bytes));
  const auto control = tidemark::format::decode_control(bytes);
  if (control.ok()) TM_ASSERT(std::ranges::equal(tidemark::format::encode_control(*control), bytes));
  return 0;
}
