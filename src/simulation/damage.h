#pragma once

#include "simulation/chronicle.h"
#include "simulation/reader.h"
#include "simulation/stage.h"

namespace tidemark::simulation {

// Damages one of the disks, as the options say, with faults at rest and faults of operations, and reads all
// that is known of the group on every node. What is read is right or an error; the other node is not touched.
void damage_and_look(Stage& stage, Chronicle& chronicle, Reader& reader);

}  // namespace tidemark::simulation
