#pragma once

#include "io/disk.h"

namespace tidemark::pool {

// Reads one of the two copies of a table. A block of 4096 bytes that cannot be read comes as bytes that are
// no record of any table, so that the other copy counts and is written over it. kIo when no block can be
// read.
io::Task<Result<void>> read_copy(io::Disk& disk, DiskOffset offset, Buffer out);

}  // namespace tidemark::pool
