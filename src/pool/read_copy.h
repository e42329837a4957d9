#pragma once

#include "io/disk.h"

namespace tidemark::pool {

// Reads one of the two copies of a table, or a part of it. A block of 4096 bytes that cannot be read comes as
// bytes that are no record of any table, so that the other copy counts and is written over it.
io::Task<void> read_copy(io::Disk& disk, DiskOffset offset, Buffer out);

}  // namespace tidemark::pool
