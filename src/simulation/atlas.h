#pragma once

#include <vector>

#include "sim/disk.h"

namespace tidemark::simulation {

// What a fault of a disk means for what that disk holds, without redundancy under it: the fault atlas. A run
// injects the repairable ones at any time and goes on; the others come at its end.
enum class Meaning : std::uint8_t {
  kRepairable,   // an error now, and nothing is lost: a restart brings everything back
  kDetected,     // what it hit is lost here; it is refused where it is read, and never served
  kUndecidable,  // one disk cannot know: a block and its checksum are equally old, or the newest entries are
                 // missing as after a torn tail
};

Meaning meaning_of(sim::DiskFault fault);
// Every fault that means this.
std::vector<sim::DiskFault> faults_that_are(Meaning meaning);

}  // namespace tidemark::simulation
