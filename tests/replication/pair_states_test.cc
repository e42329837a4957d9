// The table of states and commands, and its page.

#include "replication/pair_states.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

namespace tidemark::replication {
namespace {

constexpr const char* kBegin = "<!-- begin of the table -->\n";
constexpr const char* kEnd = "<!-- end of the table -->\n";

TEST(PairStates, ThePageHasTheTable) {
  const std::string path = std::string(TIDEMARK_DOCS) + "/pair-states.md";
  std::ifstream in(path, std::ios::binary);
  std::stringstream read;
  read << in.rdbuf();
  std::string page = read.str();
  const std::size_t begin = page.find(kBegin);
  const std::size_t end = page.find(kEnd);
  ASSERT_NE(begin, std::string::npos);
  ASSERT_NE(end, std::string::npos);
  const std::size_t inside = begin + std::string(kBegin).size();
  const std::string table = "\n" + describe_pair_rules() + "\n";
  if (std::getenv("TIDEMARK_WRITE_DOCS") != nullptr) {
    std::string written = page;
    written.replace(inside, end - inside, table);
    std::ofstream(path, std::ios::binary) << written;
    page = written;
  }
  EXPECT_EQ(page.substr(inside, page.find(kEnd) - inside), table) << "written with TIDEMARK_WRITE_DOCS=1";
}

TEST(PairStates, ARefusalNamesTheGroupAndThePeer) {
  PairRecord record;
  record.side = Side::kSecondary;
  record.state = PairState::kPair;
  record.peer_name = "kyoto";
  const auto refused = check_pair_command(PairCommand::kResync, record, "app");
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kRefused);
  EXPECT_NE(refused.error().message.find("'app'"), std::string::npos) << refused.error().message;
  EXPECT_NE(refused.error().message.find("kyoto"), std::string::npos) << refused.error().message;
}

TEST(PairStates, NothingIsRefusedWithoutAReason) {
  for (std::size_t command = 0; command < kPairCommandCount; ++command) {
    for (const Side side : {Side::kPrimary, Side::kSecondary}) {
      for (int state = 0; state < 6; ++state) {
        const PairRule& rule =
            pair_rule(static_cast<PairCommand>(command), side, static_cast<PairState>(state));
        const bool says_why = std::string(rule.words).size() > 10;
        EXPECT_EQ(says_why, rule.verdict == Verdict::kRefused || rule.verdict == Verdict::kDepends)
            << pair_command_name(static_cast<PairCommand>(command)) << " in "
            << pair_state_name(static_cast<PairState>(state));
      }
    }
  }
}

}  // namespace
}  // namespace tidemark::replication
