#pragma once

#include <string>

#include "base/result.h"

namespace tidemark::os {

// Replaces the content of a small file, or makes it, with mode 0600: whole and durable, name included, when
// it returns; after a crash either the old content is there or the new one. Blocks. kNoSpace, kIo.
Result<void> replace_file(const std::string& path, const std::string& content);

}  // namespace tidemark::os
