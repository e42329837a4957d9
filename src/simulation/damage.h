#pragma once

#include <span>

#include "sim/disk.h"
#include "simulation/chronicle.h"
#include "simulation/reader.h"
#include "simulation/stage.h"

namespace tidemark::simulation {

// What a fault means for what one disk holds, without redundancy under it.
enum class Atlas : std::uint8_t {
  kHarmless,     // an error now, nothing is lost: it goes on, or comes back whole from a restart
  kDetected,     // what it hit may be lost; it is refused where it is read, and never served
  kUndecidable,  // one disk cannot know of it; the newest entries may be missing as after a torn tail
};

struct AtlasEntry {
  sim::DiskFault fault{};
  Atlas meaning{};
};
// Every fault that a simulated disk knows.
std::span<const AtlasEntry> fault_atlas();

// Damages one of the disks, as the options say, with faults at rest and faults of operations, and reads all
// that is known of the group on every node. What is read is right or an error; the other node is not touched.
void damage_and_look(Stage& stage, Chronicle& chronicle, Reader& reader);

}  // namespace tidemark::simulation
