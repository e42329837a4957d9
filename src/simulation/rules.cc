#include "simulation/rules.h"

namespace tidemark::simulation {

const char* rule_name(Rule rule) {
  switch (rule) {
    case Rule::kFlushedSurvives:
      return "flushed-survives";
    case Rule::kCrashLeavesAPrefix:
      return "crash-leaves-a-prefix";
    case Rule::kDamageIsRefused:
      return "damage-is-refused";
    case Rule::kPeerHoldsAPrefix:
      return "peer-holds-a-prefix";
    case Rule::kReadsMatchTheOrder:
      return "reads-match-the-order";
    case Rule::kMarkCoversTheOrder:
      return "mark-covers-the-order";
    case Rule::kNeededIsKept:
      return "needed-is-kept";
    case Rule::kInSyncHoldsTheFlushed:
      return "in-sync-holds-the-flushed";
    case Rule::kOneWriterInPair:
      return "one-writer-in-pair";
    case Rule::kNoFalseAcknowledge:
      return "no-false-acknowledge";
    case Rule::kRefusalsAreExpected:
      return "refusals-are-expected";
    case Rule::kEndsInTime:
      return "ends-in-time";
    case Rule::kPairAgrees:
      return "pair-agrees";
  }
  return "";
}

}  // namespace tidemark::simulation
