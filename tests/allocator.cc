// Linked into each program of the unit tests.

#include <malloc.h>

namespace {

// Nodes and their disks come and go by the thousand. What they had is kept for the next ones: given back to
// the system each time, it comes again page by page, each with a fault.
[[gnu::constructor]] void keep_what_is_freed() {
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
}

}  // namespace
