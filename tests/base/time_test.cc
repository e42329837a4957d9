#include "base/time.h"

#include <gtest/gtest.h>

#include <string>

namespace tidemark {
namespace {

WallTime time_of(const std::string& text) {
  const Result<WallTime> time = parse_time(text);
  EXPECT_TRUE(time.ok()) << text;
  return time.ok() ? *time : WallTime{};
}

TEST(ParseTime, ReadsRfc3339) {
  EXPECT_EQ(time_of("1970-01-01T00:00:00Z").ns, 0);
  EXPECT_EQ(time_of("2026-05-01T12:00:00Z").ns, 1'777'636'800'000'000'000);
  EXPECT_EQ(time_of("2026-05-01t12:00:00z"), time_of("2026-05-01 12:00:00Z"));
  EXPECT_EQ(time_of("2026-05-01T14:00:00+02:00"), time_of("2026-05-01T12:00:00Z"));
  EXPECT_EQ(time_of("2026-05-01T06:30:00-05:30"), time_of("2026-05-01T12:00:00Z"));
  EXPECT_EQ(time_of("2026-05-01T12:00:00.000000001Z").ns, 1'777'636'800'000'000'001);
  EXPECT_EQ(time_of("2026-05-01T12:00:00.5Z").ns, 1'777'636'800'500'000'000);
  EXPECT_EQ(time_of("2024-02-29T00:00:00Z").ns, 1'709'164'800'000'000'000);
  // A leap second is the second that follows, as POSIX time counts.
  EXPECT_EQ(time_of("2016-12-31T23:59:60Z"), time_of("2017-01-01T00:00:00Z"));
}

TEST(ParseTime, RefusesWhatIsNotATime) {
  for (const char* text : {"",
                           "now",
                           "2026",
                           "2026-05-01",
                           "2026-05-01T12:00:00",
                           "2026-05-01T12:00Z",
                           "2026-5-1T12:00:00Z",
                           "2026-13-01T00:00:00Z",
                           "2026-00-01T00:00:00Z",
                           "2026-02-29T00:00:00Z",
                           "2100-02-29T00:00:00Z",
                           "2026-04-31T00:00:00Z",
                           "2026-05-00T00:00:00Z",
                           "2026-05-01T24:00:00Z",
                           "2026-05-01T12:60:00Z",
                           "2026-05-01T12:00:61Z",
                           "2026-05-01T12:00:00.Z",
                           "2026-05-01T12:00:00.1234567890Z",
                           "2026-05-01T12:00:00Zx",
                           "2026-05-01T12:00:00+2:00",
                           "2026-05-01T12:00:00+24:00",
                           "2026-05-01T12:00:00+02:60",
                           "2026-05-01T12:00:00+0200",
                           " 2026-05-01T12:00:00Z",
                           "1969-12-31T23:59:59Z",
                           "2262-01-01T00:00:00Z",
                           "9999-12-31T23:59:59Z",
                           "-026-05-01T12:00:00Z"}) {
    const Result<WallTime> time = parse_time(text);
    ASSERT_FALSE(time.ok()) << text;
    EXPECT_EQ(time.error().code, ErrorCode::kInvalid);
  }
}

TEST(FormatTime, IsReadBackAsTheSameTime) {
  EXPECT_EQ(format_time(WallTime{0}), "1970-01-01T00:00:00Z");
  EXPECT_EQ(format_time(WallTime{1'777'636'800'500'000'000}), "2026-05-01T12:00:00.5Z");
  EXPECT_EQ(format_time(WallTime{1'777'636'800'000'000'001}), "2026-05-01T12:00:00.000000001Z");
  EXPECT_EQ(format_time(WallTime{-1}), "1969-12-31T23:59:59.999999999Z");
  for (const std::int64_t ns : {1ll, 999'999'999ll, 951'782'400'123'456'000ll, 9'200'000'000'000'000'000ll}) {
    EXPECT_EQ(time_of(format_time(WallTime{ns})).ns, ns);
  }
}

TEST(ParseDuration, ReadsNumbersWithUnits) {
  EXPECT_EQ(*parse_duration("0"), Duration{});
  EXPECT_EQ(*parse_duration("90"), Duration::seconds(90));
  EXPECT_EQ(*parse_duration("90s"), Duration::seconds(90));
  EXPECT_EQ(*parse_duration("15m"), Duration::seconds(900));
  EXPECT_EQ(*parse_duration("15min"), Duration::seconds(900));
  EXPECT_EQ(*parse_duration("24h"), Duration::seconds(86'400));
  EXPECT_EQ(*parse_duration("7d"), Duration::seconds(604'800));
  EXPECT_EQ(*parse_duration("250ms"), Duration::milliseconds(250));
  EXPECT_EQ(*parse_duration("1.5h"), Duration::seconds(5400));
  EXPECT_EQ(*parse_duration(".5s"), Duration::milliseconds(500));
  EXPECT_EQ(*parse_duration("5.s"), Duration::seconds(5));
  // Rounded, not cut: 1.001 is a little less than itself in binary.
  EXPECT_EQ(*parse_duration("1.001s"), Duration::milliseconds(1001));
  EXPECT_EQ(*parse_duration("100000d"), Duration::seconds(8'640'000'000));
}

TEST(ParseDuration, RefusesGarbageAndWhatIsTooLong) {
  for (const char* text : {"",
                           "h",
                           "-5s",
                           "+5s",
                           "5x",
                           "5 s",
                           " 5s",
                           "1.2.3s",
                           ".",
                           "s5",
                           "5ss",
                           "1e5s",
                           "106000d",
                           "9223372036854775807s",
                           "99999999999999999999d",
                           "999999999999999999999999999999s",
                           "5s\n",
                           "0x10s",
                           "inf",
                           "nan"}) {
    const Result<Duration> duration = parse_duration(text);
    ASSERT_FALSE(duration.ok()) << text;
    EXPECT_EQ(duration.error().code, ErrorCode::kInvalid);
  }
}

TEST(FormatDuration, TakesTheGreatestUnitThatFitsAndIsReadBack) {
  EXPECT_EQ(format_duration(Duration{}), "0");
  EXPECT_EQ(format_duration(Duration::seconds(86'400)), "1d");
  EXPECT_EQ(format_duration(Duration::seconds(90'000)), "25h");
  EXPECT_EQ(format_duration(Duration::seconds(900)), "15m");
  EXPECT_EQ(format_duration(Duration::seconds(61)), "61s");
  EXPECT_EQ(format_duration(Duration::milliseconds(1'500)), "1.5s");
  EXPECT_EQ(format_duration(Duration::milliseconds(-1'500)), "-1.5s");
  for (const std::int64_t ns :
       {1ll, 1'234'567'000'000ll, 1'234'500'000'000'000ll, 8'999'999'999'999'999'999ll}) {
    EXPECT_EQ(parse_duration(format_duration(Duration{ns}))->ns, ns);
  }
}

TEST(ParseSize, ReadsPowersOf1024) {
  EXPECT_EQ(*parse_size("0"), 0u);
  EXPECT_EQ(*parse_size("4096"), 4096u);
  EXPECT_EQ(*parse_size("4096B"), 4096u);
  EXPECT_EQ(*parse_size("1K"), 1024u);
  EXPECT_EQ(*parse_size("1k"), 1024u);
  EXPECT_EQ(*parse_size("512M"), 512ull << 20);
  EXPECT_EQ(*parse_size("10G"), 10ull << 30);
  EXPECT_EQ(*parse_size("10GB"), 10ull << 30);
  EXPECT_EQ(*parse_size("10GiB"), 10ull << 30);
  EXPECT_EQ(*parse_size("1.5T"), 3ull << 39);
  EXPECT_EQ(*parse_size("7E"), 7ull << 60);
  // Every byte counts, also beyond what a double can hold.
  EXPECT_EQ(*parse_size("9007199254740993"), 9'007'199'254'740'993u);
  EXPECT_EQ(*parse_size("9223372036854775807"), 9'223'372'036'854'775'807u);
}

TEST(ParseSize, RefusesGarbageAndWhatIsTooLarge) {
  for (const char* text : {"", "G", "-1", "+1", "1X", "1 G", "1GG", "1KiBB", "1iB", "1.1.1G", ".", "1e3",
                           "8E", "9223372036854775808", "99999999999999999999", "18014398509481984K", "0x10",
                           "1G\n", "1000000000000000000000000"}) {
    const Result<std::uint64_t> size = parse_size(text);
    ASSERT_FALSE(size.ok()) << text;
    EXPECT_EQ(size.error().code, ErrorCode::kInvalid);
  }
}

TEST(FormatSize, TakesTheGreatestUnit) {
  EXPECT_EQ(format_size(0), "0 B");
  EXPECT_EQ(format_size(1023), "1023 B");
  EXPECT_EQ(format_size(1024), "1 KiB");
  EXPECT_EQ(format_size(1536), "1.5 KiB");
  EXPECT_EQ(format_size(10ull << 30), "10 GiB");
  EXPECT_EQ(format_size(UINT64_MAX), "16 EiB");
}

}  // namespace
}  // namespace tidemark
