#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "simulation/options.h"

namespace tidemark::simulation {

enum class Verdict : std::uint8_t {
  kHeld,       // every rule held
  kWrongData,  // a rule was broken
  kStuck,      // something that has to end did not, within its time
};

struct Counts {
  std::uint64_t requests = 0;
  std::uint64_t points_read = 0;  // and compared
  std::uint64_t crashes = 0;
  std::uint64_t disk_faults = 0;
};

struct Outcome {
  Verdict verdict = Verdict::kHeld;
  std::string cause{};               // of a failure: the rule and what was seen, on one line
  std::uint32_t trace_checksum = 0;  // CRC32C of all that happened; the same for the same options
  Counts counts{};
};

// One line of what happens, as it happens.
using TraceLine = std::function<void(const std::string& line)>;

// One or two whole nodes, the real code, on simulated disks and links: steps and faults as drawn, every
// answer held to a model, and at the end, without faults, both nodes equal. docs/testing.md says what is
// checked and what is not simulated. Ends by itself; asserts of the code under test end the process.
Outcome simulate(const Options& options, const TraceLine& trace);

}  // namespace tidemark::simulation
