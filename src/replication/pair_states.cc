#include "replication/pair_states.h"

#include <array>

#include "base/assert.h"

namespace tidemark::replication {
namespace {

constexpr std::size_t kStateCount = 6;
using Row = std::array<PairRule, kStateCount>;  // in the order of PairState

constexpr PairRule done() {
  return {Verdict::kDone, ErrorCode::kRefused, ""};
}
constexpr PairRule depends(const char* words) {
  return {Verdict::kDepends, ErrorCode::kRefused, words};
}
constexpr PairRule nothing() {
  return {Verdict::kNothingToDo, ErrorCode::kRefused, ""};
}
constexpr PairRule refused(const char* words, ErrorCode code = ErrorCode::kRefused) {
  return {Verdict::kRefused, code, words};
}

constexpr PairRule kNoPair =
    refused("group '{group}' has no pair; make one with `tidemark pair create {group} --peer ADDRESS`",
            ErrorCode::kNotFound);
constexpr PairRule kHasPair = refused("group '{group}' has a pair already, with {peer}", ErrorCode::kExists);
constexpr PairRule kSameOnly = depends("the same peer: nothing to do; another one is refused as `exists`");
constexpr PairRule kCopyRuns =
    refused("a copy of group '{group}' is still running; wait for PAIR, or delete the pair");
constexpr PairRule kSayItThere =
    refused("group '{group}' is the secondary here; say it on the primary, {peer}");
constexpr PairRule kIsPrimary = refused("group '{group}' is the primary here; take over on {peer}");
constexpr PairRule kResyncs =
    depends("refused when the secondary has written alone; over a gap when entries that it lacks are gone");
constexpr PairRule kApart =
    refused("group '{group}' and that of {peer} go their own ways; `tidemark pair resync` joins them first");
constexpr PairRule kVerifies = depends("refused while the peer cannot be reached");
constexpr PairRule kOverrules = depends("over a gap when entries that the secondary lacks are gone");

constexpr std::array<Row, kPairCommandCount> kPrimary{{
    // SMPL, COPY, PAIR, PSUS, PSUE, SSWS
    {done(), kSameOnly, kSameOnly, kSameOnly, kSameOnly, kSameOnly},
    {kNoPair, depends("the rate of the copy and the compression; the mode is refused while it runs"), done(),
     done(), done(),
     refused("{peer} has taken over group '{group}'; set the mode on the node whose branch continues, after "
             "`tidemark pair resync`")},
    {kNoPair, kCopyRuns, done(), nothing(), nothing(), nothing()},
    {kNoPair, nothing(), nothing(), kResyncs, kResyncs, kResyncs},
    {kNoPair, nothing(), nothing(), kOverrules, kOverrules, kOverrules},
    {kNoPair, kCopyRuns, depends("refused while the link is down"),
     depends("refused unless the secondary has taken over"),
     depends("refused unless the secondary has taken over"), done()},
    {kNoPair, kIsPrimary, kIsPrimary, kIsPrimary, kIsPrimary, kIsPrimary},
    {done(), kCopyRuns, depends("refused while the link is up and the secondary no longer holds the point"),
     done(), done(),
     refused("{peer} has taken over group '{group}', so nothing changes here; `tidemark pair resync {group} "
             "--swap` follows it, `--from primary` goes on here")},
    {kNoPair, kCopyRuns, kVerifies, kVerifies, kVerifies, kApart},
    {kNoPair, done(), done(), done(), done(), done()},
}};

constexpr std::array<Row, kPairCommandCount> kSecondary{{
    // SMPL, COPY, PAIR, PSUS, PSUE, SSWS
    {done(), kHasPair, kHasPair, kHasPair, kHasPair, kHasPair},
    {kNoPair, kSayItThere, kSayItThere, kSayItThere, kSayItThere,
     refused("group '{group}' goes on by itself here; set the mode on the node whose branch continues, after "
             "`tidemark pair resync`")},
    {kNoPair, kCopyRuns, done(), nothing(), nothing(), nothing()},
    {kNoPair, kSayItThere, kSayItThere, kSayItThere, kSayItThere, kSayItThere},
    {kNoPair, kSayItThere, kSayItThere, kSayItThere, kSayItThere, kSayItThere},
    {kNoPair, kSayItThere, kSayItThere,
     refused("group '{group}' follows {peer} and has not taken over; `tidemark pair takeover {group}` first"),
     refused("group '{group}' follows {peer} and has not taken over; `tidemark pair takeover {group}` first"),
     done()},
    {kNoPair,
     depends("what could be read before the copy began; refused in the first one. While the link is up only "
             "with `--force`"),
     depends("while the link is up only with `--force`"), done(), done(), nothing()},
    {done(), refused("a copy of group '{group}' is still running", ErrorCode::kInGap),
     refused("group '{group}' is the secondary of a pair in state PAIR; restore on {peer}, or suspend the "
             "pair first"),
     done(), done(), done()},
    {kNoPair, kCopyRuns, kVerifies, kVerifies, kVerifies, kApart},
    {kNoPair, depends("refused in the first copy: delete the group here instead"), done(), done(), done(),
     done()},
}};

std::string fill_in(const char* words, const std::string& group, const std::string& peer) {
  std::string out(words);
  for (const auto& [name, value] : {std::pair("{group}", group), std::pair("{peer}", peer)}) {
    const std::size_t length = std::string_view(name).size();
    for (std::size_t at = 0; (at = out.find(name, at)) != std::string::npos; at += value.size()) {
      out.replace(at, length, value);
    }
  }
  return out;
}

std::string describe(const PairRule& rule) {
  switch (rule.verdict) {
    case Verdict::kDone:
      return "done";
    case Verdict::kDepends:
      return std::string("done; ") + rule.words;
    case Verdict::kNothingToDo:
      return "nothing to do";
    case Verdict::kRefused:
      return std::string("`") + error_code_name(rule.code) + "`: " + fill_in(rule.words, "GROUP", "PEER");
  }
  return {};
}

}  // namespace

const char* pair_command_name(PairCommand command) {
  switch (command) {
    case PairCommand::kCreate:
      return "pair create";
    case PairCommand::kSet:
      return "pair set";
    case PairCommand::kSuspend:
      return "pair suspend";
    case PairCommand::kResync:
      return "pair resync";
    case PairCommand::kResyncFromPrimary:
      return "pair resync --from primary";
    case PairCommand::kResyncSwap:
      return "pair resync --swap";
    case PairCommand::kTakeover:
      return "pair takeover";
    case PairCommand::kRestore:
      return "restore";
    case PairCommand::kVerify:
      return "pair verify";
    case PairCommand::kDelete:
      return "pair delete";
  }
  return "?";
}

const PairRule& pair_rule(PairCommand command, Side side, PairState state) {
  const auto& table = side == Side::kPrimary ? kPrimary : kSecondary;
  return table.at(static_cast<std::size_t>(command)).at(static_cast<std::size_t>(state));
}

Result<bool> check_pair_command(PairCommand command, const PairRecord& record, const std::string& group) {
  const PairRule& rule = pair_rule(command, record.side, record.state);
  if (rule.verdict == Verdict::kRefused) {
    const std::string& peer = record.peer_name.empty() ? record.peer_address : record.peer_name;
    return fail(rule.code, fill_in(rule.words, group, peer));
  }
  return rule.verdict != Verdict::kNothingToDo;
}

Error no_pair(const std::string& group) {
  return check_pair_command(PairCommand::kDelete, PairRecord(), group).error();
}

std::string describe_pair_rules() {
  std::string out;
  for (const Side side : {Side::kPrimary, Side::kSecondary}) {
    out += side == Side::kPrimary ? "### On the primary\n" : "\n### On the secondary\n";
    for (std::size_t command = 0; command < kPairCommandCount; ++command) {
      const auto asked = static_cast<PairCommand>(command);
      out += std::string("\n`") + pair_command_name(asked) + "`\n\n| state | answer |\n|---|---|\n";
      // States that are answered alike share a line.
      for (std::size_t state = 0; state < kStateCount;) {
        const std::string answer = describe(pair_rule(asked, side, static_cast<PairState>(state)));
        std::string names;
        for (;
             state < kStateCount && describe(pair_rule(asked, side, static_cast<PairState>(state))) == answer;
             ++state) {
          names +=
              std::string(names.empty() ? "`" : ", `") + pair_state_name(static_cast<PairState>(state)) + "`";
        }
        out += "| " + names + " | " + answer + " |\n";
      }
    }
  }
  return out;
}

}  // namespace tidemark::replication
