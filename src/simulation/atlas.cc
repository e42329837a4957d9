#include "simulation/atlas.h"

namespace tidemark::simulation {
namespace {

struct Entry {
  sim::DiskFault fault;
  Meaning meaning;
};

constexpr Entry kAtlas[] = {
    {sim::DiskFault::kReadFails, Meaning::kRepairable},
    {sim::DiskFault::kWriteFails, Meaning::kRepairable},
    {sim::DiskFault::kShortWrite, Meaning::kRepairable},
    {sim::DiskFault::kFlushFails, Meaning::kRepairable},
    {sim::DiskFault::kMisdirectedRead, Meaning::kDetected},
    {sim::DiskFault::kBadSector, Meaning::kDetected},
    {sim::DiskFault::kFlippedBit, Meaning::kDetected},
    {sim::DiskFault::kStaleRead, Meaning::kUndecidable},
    {sim::DiskFault::kMisdirectedWrite, Meaning::kUndecidable},
    {sim::DiskFault::kLostWrite, Meaning::kUndecidable},
    {sim::DiskFault::kFlushLies, Meaning::kUndecidable},
};

}  // namespace

Meaning meaning_of(sim::DiskFault fault) {
  for (const Entry& entry : kAtlas) {
    if (entry.fault == fault) return entry.meaning;
  }
  return Meaning::kRepairable;
}

std::vector<sim::DiskFault> faults_that_are(Meaning meaning) {
  std::vector<sim::DiskFault> found;
  for (const Entry& entry : kAtlas) {
    if (entry.meaning == meaning) found.push_back(entry.fault);
  }
  return found;
}

}  // namespace tidemark::simulation
