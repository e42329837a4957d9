// GROUP/.command: a block is a command, and what is read back its answer.

#include "control/command_block.h"
#include "pair_bench.h"

namespace tidemark::node {
namespace {

class CommandExport : public testing::Test {
 protected:
  void begin(std::uint64_t seed) {
    bench = std::make_unique<PairBench>(seed);
    bench->make_group(bench->a, {"data"});
    ASSERT_NO_FATAL_FAILURE(bench->pair_up());
  }
  std::unique_ptr<nbd::BlockTarget> open(Machine& at) {
    auto target = bench->run(at.node->open("app/.command", "unix"));
    EXPECT_TRUE(target.ok()) << target.error().message;
    return std::move(target).value();
  }
  std::string ask(nbd::BlockTarget& target, const std::string& text, std::size_t length = 4096,
                  std::uint64_t offset = 0) {
    Buffer block = Buffer::allocate(length);
    std::memset(block.data(), 0, block.size());
    std::memcpy(block.data(), text.data(), std::min(length, text.size()));
    const auto written = bench->run(target.write(offset, std::move(block), false));
    EXPECT_TRUE(written.ok()) << written.error().message;
    return read(target);
  }
  std::string read(nbd::BlockTarget& target, std::uint64_t offset = 0) {
    Buffer out = Buffer::allocate(4096);
    EXPECT_TRUE(bench->run(target.read(offset, out)).ok());
    const std::string text(reinterpret_cast<const char*>(out.data()), out.size());
    return text.substr(0, text.find('\0'));
  }
  static bool has(const std::string& answer, const std::string& words) {
    return answer.find(words) != std::string::npos;
  }

  std::unique_ptr<PairBench> bench;
};

TEST_F(CommandExport, AMarkCoversWhatWasAcknowledgedBeforeAndNothingAfter) {
  begin(1);
  ASSERT_FALSE(HasFatalFailure());
  auto target = open(bench->a);
  EXPECT_EQ(target->info().size_bytes % 4096, 0u);
  EXPECT_FALSE(target->info().read_only);
  ASSERT_TRUE(bench->write(bench->a, "data", 3, 7).ok());
  const std::string answer = ask(*target, R"({"command":"mark","id":"m","note":"by block"})"
                                          "\n");
  EXPECT_TRUE(has(answer, R"("id":"m")")) << answer;
  EXPECT_TRUE(has(answer, R"("note":"by block")")) << answer;
  ASSERT_TRUE(bench->write(bench->a, "data", 3, 8).ok());
  EXPECT_EQ(bench->read(bench->a, "data", "m")->at(3), 7u);
  EXPECT_EQ(read(*target), answer) << "it stays until the next command";
  EXPECT_EQ(read(*target, 8192), "");
}

TEST_F(CommandExport, IsThereOnTheSecondaryToo) {
  begin(2);
  ASSERT_FALSE(HasFatalFailure());
  auto target = open(bench->b);
  const std::string answer = ask(*target, R"({"command":"mark","id":"there"})");
  EXPECT_TRUE(has(answer, R"("id":"there")")) << answer;
  EXPECT_TRUE(bench->run(bench->a.node->mark_show({"app", "there"})).ok());
}

TEST_F(CommandExport, StartsAndStopsTheLogAndSuspendsThePair) {
  begin(3);
  ASSERT_FALSE(HasFatalFailure());
  auto target = open(bench->a);
  EXPECT_TRUE(has(ask(*target, R"({"command":"journal-start"})"), "log_started"));
  EXPECT_FALSE(has(ask(*target, R"({"command":"journal-stop"})"), "log_started"));
  EXPECT_TRUE(has(ask(*target, R"({"command":"suspend"})"), "PSUS"));
}

TEST_F(CommandExport, ARestoreLeavesItsOwnConnectionOpen) {
  begin(4);
  ASSERT_FALSE(HasFatalFailure());
  auto target = open(bench->a);
  ASSERT_TRUE(bench->write(bench->a, "data", 1, 1).ok());
  ask(*target, R"({"command":"mark","id":"good"})");
  ASSERT_TRUE(bench->write(bench->a, "data", 1, 2).ok());
  EXPECT_TRUE(
      has(ask(*target, R"({"command":"restore","point":"good","dry_run":true})"), R"("dry_run":true)"));
  EXPECT_EQ(bench->read(bench->a, "data")->at(1), 2u);
  const std::string answer = ask(*target, R"({"command":"restore","point":"good"})");
  EXPECT_TRUE(has(answer, "new_epoch")) << answer;
  EXPECT_EQ(bench->read(bench->a, "data")->at(1), 1u);
}

TEST_F(CommandExport, WhatIsNoCommandIsAnsweredSo) {
  begin(5);
  ASSERT_FALSE(HasFatalFailure());
  auto target = open(bench->a);
  EXPECT_TRUE(has(read(*target), "write one block"));
  for (const char* text :
       {"", "mark", "[1]", "{", R"({"id":"m"})", R"({"command":7})", R"({"command":"format"})",
        R"({"command":"mark","command":"mark"})", R"({"command":"mark","when":"now"})",
        R"({"command":"mark","group":"other"})", R"({"command":"mark","id":"no good"})",
        R"({"command":"journal-start","id":"m"})", R"({"command":"restore"})"}) {
    const std::string answer = ask(*target, text);
    EXPECT_TRUE(has(answer, R"("code":"invalid")")) << text << ": " << answer;
  }
  EXPECT_TRUE(has(ask(*target, R"({"command":"restore","point":"none"})"), R"("code":"not-found")"));
  EXPECT_TRUE(has(ask(*target, R"({"command":"mark"})", 512), "4096 bytes"));
  EXPECT_TRUE(has(ask(*target, R"({"command":"mark"})", 4096, 4096), "offset 4096"));
  EXPECT_EQ(bench->run(bench->a.node->mark_list({"app", "", 10}))->marks.size(), 0u);
  EXPECT_EQ(bench->run(target->trim(0, 4096, false)).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(bench->run(bench->a.node->open("none/.command", "unix")).error().code, ErrorCode::kNotFound);
}

TEST_F(CommandExport, ACommandThatTakesTooLongIsAnsweredAndGoesOn) {
  begin(6);
  ASSERT_FALSE(HasFatalFailure());
  auto target = open(bench->a);
  bench->b.power_cut();
  const std::string answer = ask(*target, R"({"command":"mark","id":"m","wait":"peer"})");
  EXPECT_TRUE(has(answer, R"("code":"timeout")")) << answer;
  EXPECT_TRUE(bench->run(bench->a.node->mark_show({"app", "m"})).ok());
  target = nullptr;  // what goes on needs it no more
  control::MarkCreateRequest mark;
  mark.group = "app";
  EXPECT_TRUE(bench->run(bench->a.node->mark_create(mark)).ok());
}

TEST_F(CommandExport, WhatAnybodyCanSendIsNotedApartFromCommands) {
  begin(7);
  ASSERT_FALSE(HasFatalFailure());
  CommandRules rules;
  std::vector<std::string> lines;
  std::vector<std::string> unknown;
  rules.audit = [&lines](const std::string& line) { lines.push_back(line); };
  rules.note_unknown = [&unknown](const std::string&, const std::string& request, const Error&) {
    unknown.push_back(request);
  };
  rules.admit = [](const std::string&, const std::string& token, control::Role, std::string_view,
                   bool& is_known) -> Result<std::string> {
    is_known = token == "low";
    return fail(ErrorCode::kDenied, "no");
  };
  io::TaskScope tasks(bench->world.environment().scheduler);
  auto target = make_command_target(*bench->a.node, rules, tasks, bench->world.environment().scheduler, "app",
                                    "10.0.0.1:7");
  for (const char* text : {R"({"command":"mark","token":"none"})", "{", R"({"command":"format"})"}) {
    ask(*target, text);
  }
  EXPECT_EQ(unknown, (std::vector<std::string>{"app/.command mark_create", "app/.command", "app/.command"}));
  EXPECT_EQ(lines.size(), 0u);
  ask(*target, R"({"command":"mark","token":"low"})");
  EXPECT_EQ(unknown.size(), 3u);
  EXPECT_EQ(lines.size(), 1u);
}

TEST(CommandBlock, TakesTheCommandAndTheTokenOutOfTheRequest) {
  const auto block = control::parse_command_block(std::string(R"({"command":"mark","token":"s","id":"m"})") +
                                                  " \n" + std::string(100, '\0'));
  ASSERT_TRUE(block.ok()) << block.error().message;
  EXPECT_EQ(block->command, "mark");
  EXPECT_EQ(block->token, "s");
  EXPECT_EQ(block->body, R"({"id":"m"})");
}

}  // namespace
}  // namespace tidemark::node
