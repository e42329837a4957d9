#pragma once

#include <cstdint>
#include <string>

namespace tidemark::simulation {

// The rules that are never broken, each with the number that docs/testing.md gives it, and what a run has to
// do besides. Every check of the simulation is of one of them.
enum class Rule : std::uint8_t {
  kFlushedSurvives,        // 1: an acknowledged FLUSH, FUA, mark or restore survives any crash
  kCrashLeavesAPrefix,     // 1: what a crash leaves is an exact prefix of the order
  kDamageIsRefused,        // 2: damage gives an error, never other data, and is not cut
  kPeerHoldsAPrefix,       // 3: what the secondary holds is a prefix of what is durable on the primary
  kReadsMatchTheOrder,     // 4: a read at a point is what the order says
  kMarkCoversTheOrder,     // 5: what was acknowledged before is inside, what was asked for later is not
  kNeededIsKept,           // 6: what the window or a pin needs can be read
  kInSyncHoldsTheFlushed,  // 5: a secondary in sync lacks nothing that was acknowledged to a FLUSH
  kOneWriterInPair,        // 7: a secondary in PAIR takes no writes
  kNoFalseAcknowledge,     // 8: what was acknowledged is in the order
  kRefusalsAreExpected,    // an error that the present state does not explain
  kEndsInTime,             // what was asked for ends
  kPairAgrees,             // when the faults stop, both nodes show the same within a bound
};

const char* rule_name(Rule rule);

}  // namespace tidemark::simulation
