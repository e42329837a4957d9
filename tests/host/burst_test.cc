#include "host/burst.h"

#include <gtest/gtest.h>

#include "host/id_template.h"

namespace tidemark::host {
namespace {

MonotonicTime at(std::int64_t seconds) {
  return MonotonicTime{} + Duration::seconds(seconds);
}

FileEvent saved(const std::string& path, const std::string& program = "") {
  FileEvent event;
  event.path = path;
  event.program = program;
  return event;
}

BurstRule rule() {
  BurstRule out;
  out.quiet = Duration::seconds(2);
  out.wait_max = Duration::seconds(10);
  out.interval = Duration::seconds(60);
  return out;
}

TEST(Bursts, AMarkIsDueWhenItHasBeenQuiet) {
  Bursts bursts(rule());
  EXPECT_FALSE(bursts.due().has_value());
  bursts.note(saved("/v/a"), at(100));
  EXPECT_EQ(bursts.due(), at(102));
  bursts.note(saved("/v/b"), at(101));
  EXPECT_EQ(bursts.due(), at(103));
  const Burst burst = bursts.take(at(103));
  EXPECT_EQ(burst.files, (std::vector<std::string>{"/v/a", "/v/b"}));
  EXPECT_FALSE(bursts.due().has_value());
}

TEST(Bursts, WhatNeverBecomesQuietIsMarkedAllTheSame) {
  Bursts bursts(rule());
  for (int second = 100; second < 120; ++second) bursts.note(saved("/v/a"), at(second));
  EXPECT_EQ(bursts.due(), at(110));
  EXPECT_EQ(bursts.take(at(110)).files.size(), 1u);
}

TEST(Bursts, OneMarkKeepsItsDistanceFromTheLast) {
  Bursts bursts(rule());
  bursts.note(saved("/v/a"), at(100));
  bursts.take(at(102));
  bursts.note(saved("/v/a"), at(110));
  EXPECT_EQ(bursts.due(), at(162));
  bursts.take(at(162));
  bursts.note(saved("/v/a"), at(300));
  EXPECT_EQ(bursts.due(), at(302));
}

TEST(Bursts, LostEventsAreABurstByThemselves) {
  Bursts bursts(rule());
  FileEvent lost;
  lost.kind = FileEvent::Kind::kLost;
  bursts.note(lost, at(100));
  EXPECT_EQ(bursts.due(), at(102));
  const Burst burst = bursts.take(at(102));
  EXPECT_TRUE(burst.lost);
  EXPECT_NE(describe(burst, {"/v"}, 1024).find("lost"), std::string::npos);
}

TEST(Bursts, MoreFilesThanAreNamedAreCounted) {
  Bursts bursts(rule());
  for (std::size_t i = 0; i < kBurstFilesMax + 5; ++i) {
    bursts.note(saved("/v/" + std::to_string(i)), at(100));
    bursts.note(saved("/v/0"), at(100));
  }
  const Burst burst = bursts.take(at(102));
  EXPECT_EQ(burst.files.size(), kBurstFilesMax);
  EXPECT_EQ(burst.files_unnamed, 5u);
}

TEST(Describe, NamesFilesBelowTheirRootsAndWhoSavedThem) {
  Burst burst;
  burst.files = {"/v/a b", "/w/deep/c\n"};
  burst.programs = {"vi"};
  EXPECT_EQ(describe(burst, {"/v", "/w"}, 1024), "a b, deep/c\\x0a (vi)");
  EXPECT_EQ(relative_path("/v/x", {"/v/x"}), "x");
  EXPECT_EQ(relative_path("/vault/x", {"/v"}), "/vault/x");
  EXPECT_EQ(relative_path("/x", {"/"}), "x");
}

TEST(Describe, KeepsToItsLengthAndSaysHowManyItLeftOut) {
  Burst burst;
  for (int i = 0; i < 900; ++i) burst.files.push_back("/v/file" + std::to_string(i));
  burst.files_unnamed = 100;
  const std::string text = describe(burst, {"/v"}, 200);
  EXPECT_LE(text.size(), 200u);
  const std::size_t shown = static_cast<std::size_t>(std::count(text.begin(), text.end(), ',')) + 1;
  EXPECT_TRUE(text.ends_with(" and " + std::to_string(1000 - shown) + " more")) << text;
}

TEST(IdTemplate, PutsInWhatItsWordsStandFor) {
  IdParts parts;
  parts.path = "log/to day\xc3\xa9";
  parts.time = WallTime{1'777'636'800'000'000'000};
  parts.program = "vi";
  parts.number = 7;
  EXPECT_EQ(expand_id("{path}-{time}", parts), "log-to-day--20260501-120000");
  EXPECT_EQ(expand_id("{program}.{n}", parts), "vi.7");
  parts.path = "/abs";
  EXPECT_EQ(expand_id("{path}", parts), "abs");
  parts.path = "..";
  EXPECT_EQ(expand_id("{path}", parts), "m-");
}

TEST(IdTemplate, TheEndOfALongPathStays) {
  IdParts parts;
  parts.path = std::string(300, 'a') + "/end";
  parts.time = WallTime{1'777'636'800'000'000'000};
  const std::string id = expand_id("{path}-{time}", parts);
  EXPECT_EQ(id.size(), 128u);
  EXPECT_TRUE(id.ends_with("a-end-20260501-120000")) << id;
}

TEST(IdTemplate, WhatMakesNoIdIsSaid) {
  EXPECT_TRUE(check_id_template("{path}-{time}-{program}-{n}").ok());
  EXPECT_NE(check_id_template("{when}").error().message.find("{when}"), std::string::npos);
  EXPECT_FALSE(check_id_template("a b").ok());
  EXPECT_FALSE(check_id_template("").ok());
  EXPECT_FALSE(check_id_template("head").ok());
}

TEST(IdTemplate, ATakenIdGetsANumberAndThenARandomEnd) {
  EXPECT_EQ(next_id("saved", 2), "saved-2");
  EXPECT_EQ(next_id(std::string(128, 'x'), 3), std::string(126, 'x') + "-3");
  EXPECT_NE(next_id("saved", kNumberedTriesMax), next_id("saved", kNumberedTriesMax));
}

}  // namespace
}  // namespace tidemark::host
