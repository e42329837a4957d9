#include <gtest/gtest.h>

#include "nbd/memory_target.h"
#include "nbd/scripted_stream.h"
#include "nbd/session.h"
#include "sim/world.h"

// One session against clients that say anything at all. The target asserts what it was promised, the
// sanitizers watch the memory, and every session must come to its end.

namespace tidemark::nbd::test {
namespace {

constexpr std::uint64_t kSizeBytes = 300 << 10;

struct Outcome {
  std::string output;
  std::string content;
  SessionEnd end = SessionEnd::kRunning;
  std::uint64_t requests = 0;
};

struct Harness {
  explicit Harness(std::uint64_t seed)
      : world(seed), directory(world), disk(directory.add("disk", kSizeBytes)), script(world) {
    disk.map = {{4096, true, true}, {kSizeBytes, false, false}};
  }

  Outcome run() {
    Outcome outcome;
    {
      PayloadBudgets budgets{{128 << 10, 32 << 20}, {0, 64 << 20}};
      Session session(world.environment(), std::make_unique<ScriptedStream>(script), directory, budgets,
                      SessionLimits{});
      world.run(session.run());
      outcome.end = session.end();
      EXPECT_LE(session.memory_bytes(), 80u << 20);
    }
    EXPECT_EQ(disk.opened, disk.closed);
    EXPECT_EQ(disk.running, 0u);
    EXPECT_TRUE(script.closed);
    EXPECT_NE(outcome.end, SessionEnd::kRunning);
    outcome.output = script.output;
    outcome.content = std::string(reinterpret_cast<const char*>(disk.content.data()), disk.content.size());
    outcome.requests = disk.requests;
    return outcome;
  }

  sim::World world;
  MemoryDirectory directory;
  MemoryExport& disk;
  Script script;
};

std::string letters(std::size_t length, char first) {
  std::string text(length, '\0');
  for (std::size_t i = 0; i < length; ++i) text[i] = static_cast<char>(first + static_cast<char>(i % 19));
  return text;
}

// Every option and every command once, small and large payloads, refused requests between.
void say_conversation(Script& script) {
  WireEncoder flags;
  flags.u32(kClientFlagFixedNewstyle | kClientFlagNoZeroes);
  script.say(flags);
  script.say_option(kOptionList);
  script.say_option(77, RawClient::info_data("unknown option"));
  script.say_option(kOptionStartTls);
  script.say_option(kOptionStructuredReply);
  script.say_option(kOptionListMetaContext, RawClient::meta_data("disk", {}));
  script.say_option(kOptionSetMetaContext, RawClient::meta_data("disk", {"base:allocation", "x-y:z"}));
  script.say_option(kOptionInfo, RawClient::info_data("disk", {kInfoName, kInfoBlockSize}));
  script.say_option(kOptionGo, RawClient::info_data("nothing"));
  script.say_option(kOptionGo, RawClient::info_data("disk", {kInfoDescription}));
  script.say_write(1, 0, letters(300, 'a'));
  script.say_request(kCommandRead, 2, 0, 300);
  script.say_write(3, 70000, letters(4096, 'b'));
  script.say_request(kCommandFlush, 4, 0, 0);
  script.say_write(5, UINT64_MAX - 10, letters(500, 'c'));
  script.say_request(kCommandTrim, 6, 4096, 4096);
  script.say_request(kCommandWriteZeroes, 7, 100, 50, kCommandFlagFastZero);
  script.say_request(kCommandCache, 8, 0, 4096);
  script.say_request(kCommandBlockStatus, 9, 0, kSizeBytes);
  script.say_request(99, 10, 0, 0);
  script.say_write(11, 200000, letters(65536, 'd'));
  script.say_request(kCommandRead, 12, 200000, 65536);
  script.say_request(kCommandDisconnect, 13, 0, 0);
}

TEST(Robustness, SplitAnyhowAConversationGivesTheSameAnswers) {
  std::string whole_output;
  std::string whole_content;
  for (const std::size_t piece_bytes : {SIZE_MAX, std::size_t{1}, std::size_t{2}, std::size_t{27},
                                        std::size_t{28}, std::size_t{29}, std::size_t{4096}}) {
    Harness harness(1);
    harness.disk.takes_writes_at_once = false;  // so that all are answered in one order
    harness.script.piece_bytes_max = piece_bytes;
    say_conversation(harness.script);
    const Outcome outcome = harness.run();
    EXPECT_EQ(outcome.end, SessionEnd::kDisconnected);
    if (whole_output.empty()) {
      whole_output = outcome.output;
      whole_content = outcome.content;
      EXPECT_EQ(whole_content.substr(200000, 65536), letters(65536, 'd'));
    }
    // The refused ones are answered at once, so their replies may come earlier: compare the bytes as a set.
    std::string sorted = outcome.output;
    std::string expected = whole_output;
    std::sort(sorted.begin(), sorted.end());
    std::sort(expected.begin(), expected.end());
    EXPECT_TRUE(sorted == expected) << piece_bytes;
    EXPECT_TRUE(outcome.content == whole_content) << piece_bytes;
  }
}

TEST(Robustness, TruncatedAtEveryByteOnlyWholeRequestsTakeEffect) {
  sim::World world(1);
  Script whole(world);
  say_conversation(whole);
  const std::size_t large_begin = whole.input.size() - 65536 - 2 * kRequestHeaderBytes;
  for (std::size_t cut = 0; cut < whole.input.size(); ++cut) {
    // Inside the large payload one cut is like the next.
    const bool in_large = cut > large_begin + 50 && cut < large_begin + 65536 - 50;
    if (in_large && cut % 4093 != 0) continue;
    Harness harness(cut);
    harness.script.input.assign(whole.input.begin(), whole.input.begin() + static_cast<std::ptrdiff_t>(cut));
    const Outcome outcome = harness.run();
    ASSERT_EQ(outcome.end, SessionEnd::kDisconnected);
    const bool large_is_there = cut >= large_begin + 65536;
    ASSERT_EQ(outcome.content.substr(200000, 65536),
              large_is_there ? letters(65536, 'd') : std::string(65536, '\0'))
        << cut;
  }
}

TEST(Robustness, GarbageFromTheFirstByte) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    Harness harness(seed);
    const std::size_t length = harness.world.random().below(5000);
    for (std::size_t i = 0; i < length; ++i) {
      harness.script.input.push_back(std::byte(harness.world.random().next()));
    }
    EXPECT_EQ(harness.run().requests, 0u);
  }
}

TEST(Robustness, GarbageInPlaceOfRequests) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    Harness harness(seed);
    io::Random& random = harness.world.random();
    harness.script.say_handshake("disk");
    harness.script.piece_bytes_max = 100 + random.below(30000);
    for (int i = 0; i < 50; ++i) {
      // Well-formed as far as the magic goes, anything behind it; now and then not even that.
      WireEncoder out;
      out.u32(random.below(40) == 0 ? static_cast<std::uint32_t>(random.next()) : kRequestMagic);
      out.u16(static_cast<std::uint16_t>(random.below(2) == 0 ? 0 : random.next()));
      out.u16(static_cast<std::uint16_t>(random.below(9)));
      out.u64(random.next());
      out.u64(random.below(2) == 0 ? random.below(kSizeBytes) : random.next());
      const auto length =
          static_cast<std::uint32_t>(random.below(4) == 0 ? random.next() : random.below(100000));
      out.u32(length);
      harness.script.say(out);
      const std::size_t follows = random.below(2) == 0 ? std::min<std::size_t>(length, 200000) : 0;
      harness.script.input.resize(harness.script.input.size() + follows, std::byte{'g'});
    }
    harness.run();
  }
}

TEST(Robustness, DamagedConversations) {
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    Harness harness(seed);
    io::Random& random = harness.world.random();
    say_conversation(harness.script);
    std::vector<std::byte>& input = harness.script.input;
    harness.script.piece_bytes_max = 1 + random.below(10000);
    const std::size_t interesting = input.size() - 65536;  // all but the bulk of the large payload
    for (std::uint64_t i = 0; i < 1 + seed % 4; ++i) {
      const std::size_t at = random.below(interesting);
      switch (random.below(3)) {
        case 0:
          input[at] = std::byte(random.next());
          break;
        case 1:
          input.erase(input.begin() + static_cast<std::ptrdiff_t>(at));
          break;
        default:
          input.insert(input.begin() + static_cast<std::ptrdiff_t>(at), std::byte(random.next()));
      }
    }
    harness.run();
  }
}

TEST(Robustness, ASilentClientIsLetGoAtEveryPointOfTheHandshake) {
  sim::World world(1);
  Script whole(world);
  whole.say_handshake("disk");
  for (std::size_t cut = 0; cut < whole.input.size(); ++cut) {
    Harness harness(cut);
    harness.script.input.assign(whole.input.begin(), whole.input.begin() + static_cast<std::ptrdiff_t>(cut));
    harness.script.ends = false;
    const MonotonicTime start = harness.world.now();
    ASSERT_EQ(harness.run().end, SessionEnd::kHandshakeTimeout);
    ASSERT_EQ(harness.world.now() - start, Duration::seconds(10));
  }
}

TEST(Robustness, AClientThatReadsNothingOfTheHandshakeIsLetGo) {
  Harness harness(1);
  harness.script.say_handshake("disk");
  harness.script.deaf_after_bytes = 18;  // the greeting
  harness.script.ends = false;
  EXPECT_EQ(harness.run().end, SessionEnd::kHandshakeTimeout);
}

TEST(Robustness, DestroyingARunningSessionLeavesNothingBehind) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    Harness harness(seed);
    say_conversation(harness.script);
    harness.script.piece_bytes_max = 1 + harness.world.random().below(2000);
    harness.disk.takes_writes_at_once = seed % 2 == 0;
    harness.disk.gate_closed = seed % 3 == 0;
    {
      PayloadBudgets budgets{{128 << 10, 32 << 20}, {0, 64 << 20}};
      Session session(harness.world.environment(), std::make_unique<ScriptedStream>(harness.script),
                      harness.directory, budgets, SessionLimits{});
      io::TaskScope scope(harness.world);
      scope.spawn(session.run());
      const auto steps = static_cast<std::int64_t>(harness.world.random().below(150));
      harness.world.run_for(Duration::nanoseconds(steps * Script::kStep.ns));
    }
    EXPECT_EQ(harness.disk.opened, harness.disk.closed);
    EXPECT_EQ(harness.disk.running, 0u);
  }
}

}  // namespace
}  // namespace tidemark::nbd::test
