#pragma once

#include <string>

#include "base/result.h"
#include "replication/pair_record.h"

namespace tidemark::replication {

// What can be asked of a pair, as far as its state decides on it.
enum class PairCommand : std::uint8_t {
  kCreate,
  kSet,
  kSuspend,
  kResync,
  kResyncFromPrimary,
  kResyncSwap,
  kTakeover,
  kRestore,
  kVerify,
  kDelete,
};
inline constexpr std::size_t kPairCommandCount = 10;
// As it is typed, without the group: "pair resync --swap".
const char* pair_command_name(PairCommand command);

enum class Verdict : std::uint8_t {
  kDone,         // accepted and carried out
  kDepends,      // accepted; what else it needs is in `words`
  kNothingToDo,  // answered as done
  kRefused,      // why is in `words`
};

// One cell of the table of states and commands. `words` has {group} and {peer} where their names go.
struct PairRule {
  Verdict verdict;
  ErrorCode code;  // of a refusal
  const char* words;
};
const PairRule& pair_rule(PairCommand command, Side side, PairState state);

// Whether there is anything to do: false for kNothingToDo, the refusal for kRefused.
Result<bool> check_pair_command(PairCommand command, const PairRecord& record, const std::string& group);

// What every command but `pair create` says of a group without a pair.
Error no_pair(const std::string& group);

// The table as it stands in docs/pair-states.md.
std::string describe_pair_rules();

}  // namespace tidemark::replication
