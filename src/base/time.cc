#include "base/time.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <optional>

#include "base/names.h"

namespace tidemark {
namespace {

constexpr std::int64_t kNsPerSecond = 1'000'000'000;

// Reads exactly `digits` decimal digits at `at`; advances it.
bool read_digits(const std::string& text, std::size_t& at, int digits, int& out) {
  out = 0;
  for (int i = 0; i < digits; ++i, ++at) {
    if (at >= text.size() || text[at] < '0' || text[at] > '9') return false;
    out = out * 10 + (text[at] - '0');
  }
  return true;
}

bool read_character(const std::string& text, std::size_t& at, const char* allowed) {
  if (at >= text.size()) return false;
  for (const char* c = allowed; *c != '\0'; ++c) {
    if (text[at] == *c) {
      ++at;
      return true;
    }
  }
  return false;
}

// The whole part apart, so that large sizes keep every byte.
struct NumberWithUnit {
  std::uint64_t whole;
  double fraction;
  std::string unit;

  // The number times `scale`, rounded; none when it is beyond `most`.
  std::optional<std::uint64_t> times(std::uint64_t scale, std::uint64_t most) const {
    const auto part = static_cast<std::uint64_t>(std::llround(fraction * static_cast<double>(scale)));
    if (part > most || whole > (most - part) / scale) return std::nullopt;
    return whole * scale + part;
  }
};

Result<NumberWithUnit> split_number(const std::string& text, const char* what) {
  std::size_t used = 0;
  while (used < text.size() && ((text[used] >= '0' && text[used] <= '9') || text[used] == '.')) ++used;
  const Error bad = fail(ErrorCode::kInvalid, "'" + printable(text, 24) + "' is not a " + what);
  if (used == 0 || used > 20) return bad;
  const std::string digits = text.substr(0, used);
  const std::size_t point = digits.find('.');
  if (point != digits.rfind('.') || digits == ".") return bad;
  NumberWithUnit number{0, 0, text.substr(used)};
  const std::string whole = digits.substr(0, point);
  if (!whole.empty() &&
      std::from_chars(whole.data(), whole.data() + whole.size(), number.whole).ec != std::errc{}) {
    return bad;
  }
  if (point != std::string::npos && point + 1 < digits.size()) {
    number.fraction = std::stod(digits.substr(point));
  }
  return number;
}

}  // namespace

std::string format_time(WallTime time) {
  std::int64_t seconds = time.ns / kNsPerSecond;
  std::int64_t fraction = time.ns % kNsPerSecond;
  if (fraction < 0) {
    fraction += kNsPerSecond;
    --seconds;
  }
  const std::time_t t = static_cast<std::time_t>(seconds);
  std::tm parts{};
  gmtime_r(&t, &parts);
  char text[64];
  std::snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d", parts.tm_year + 1900, parts.tm_mon + 1,
                parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
  std::string out = text;
  if (fraction != 0) {
    std::snprintf(text, sizeof text, ".%09d", static_cast<int>(fraction));
    out += text;
    while (out.back() == '0') out.pop_back();
  }
  return out + "Z";
}

Result<WallTime> parse_time(const std::string& text) {
  const Error bad = fail(ErrorCode::kInvalid, "'" + printable(text, 40) +
                                                  "' is not a time; write it as RFC 3339, for example "
                                                  "2026-05-01T12:00:00Z or 2026-05-01T14:00:00.25+02:00");
  std::tm parts{};
  std::size_t at = 0;
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
  if (!read_digits(text, at, 4, year) || !read_character(text, at, "-") || !read_digits(text, at, 2, month) ||
      !read_character(text, at, "-") || !read_digits(text, at, 2, day) || !read_character(text, at, "Tt ") ||
      !read_digits(text, at, 2, hour) || !read_character(text, at, ":") ||
      !read_digits(text, at, 2, minute) || !read_character(text, at, ":") ||
      !read_digits(text, at, 2, second)) {
    return bad;
  }
  static constexpr std::array<int, 12> kDays{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  // A signed 64-bit count of nanoseconds reaches from 1677 to 2262.
  if (year < 1970 || year > 2261 || month < 1 || month > 12 || day < 1 ||
      day > kDays[static_cast<std::size_t>(month - 1)] + (month == 2 && leap ? 1 : 0) || hour > 23 ||
      minute > 59 || second > 60) {
    return bad;
  }
  std::int64_t fraction = 0;
  if (at < text.size() && text[at] == '.') {
    ++at;
    std::int64_t scale = kNsPerSecond;
    std::size_t digits = 0;
    while (at < text.size() && text[at] >= '0' && text[at] <= '9' && digits < 9) {
      scale /= 10;
      fraction += (text[at] - '0') * scale;
      ++at;
      ++digits;
    }
    if (digits == 0) return bad;
  }
  std::int64_t offset_seconds = 0;
  if (!read_character(text, at, "Zz")) {
    const bool west = at < text.size() && text[at] == '-';
    int offset_hours = 0, offset_minutes = 0;
    if (!read_character(text, at, "+-") || !read_digits(text, at, 2, offset_hours) ||
        !read_character(text, at, ":") || !read_digits(text, at, 2, offset_minutes) || offset_hours > 23 ||
        offset_minutes > 59) {
      return bad;
    }
    offset_seconds = (west ? -1 : 1) * (offset_hours * 3600 + offset_minutes * 60);
  }
  if (at != text.size()) return bad;
  parts.tm_year = year - 1900;
  parts.tm_mon = month - 1;
  parts.tm_mday = day;
  parts.tm_hour = hour;
  parts.tm_min = minute;
  parts.tm_sec = second;
  const std::int64_t seconds = static_cast<std::int64_t>(timegm(&parts)) - offset_seconds;
  return WallTime{seconds * kNsPerSecond + fraction};
}

Result<Duration> parse_duration(const std::string& text) {
  TM_TRY_ASSIGN(NumberWithUnit parsed, split_number(text, "duration (for example 90s, 15m, 24h or 7d)"));
  std::uint64_t scale = kNsPerSecond;
  if (parsed.unit == "ms") {
    scale = 1'000'000;
  } else if (parsed.unit == "m" || parsed.unit == "min") {
    scale *= 60;
  } else if (parsed.unit == "h") {
    scale *= 3600;
  } else if (parsed.unit == "d") {
    scale *= 86400;
  } else if (!parsed.unit.empty() && parsed.unit != "s") {
    return fail(ErrorCode::kInvalid,
                "'" + printable(text, 24) + "' is not a duration; use ms, s, m, h or d, for example 24h");
  }
  constexpr std::uint64_t kNsMax = 9'000'000'000'000'000'000;
  const std::optional<std::uint64_t> ns = parsed.times(scale, kNsMax);
  if (!ns.has_value())
    return fail(ErrorCode::kInvalid, "'" + printable(text, 24) + "' is longer than 285 years");
  return Duration{static_cast<std::int64_t>(*ns)};
}

std::string format_duration(Duration duration) {
  const std::int64_t ns = duration.ns;
  if (ns == 0) return "0";
  if (ns % (86'400 * kNsPerSecond) == 0) return std::to_string(ns / (86'400 * kNsPerSecond)) + "d";
  if (ns % (3'600 * kNsPerSecond) == 0) return std::to_string(ns / (3'600 * kNsPerSecond)) + "h";
  if (ns % (60 * kNsPerSecond) == 0) return std::to_string(ns / (60 * kNsPerSecond)) + "m";
  char text[40];
  if (ns % kNsPerSecond == 0) return std::to_string(ns / kNsPerSecond) + "s";
  // As many digits as there are, so that it reads back as the same duration.
  std::snprintf(text, sizeof text, "%s%lld.%09lld", ns < 0 ? "-" : "", std::llabs(ns / kNsPerSecond),
                std::llabs(ns % kNsPerSecond));
  std::string out = text;
  while (out.back() == '0') out.pop_back();
  return out + "s";
}

Result<std::uint64_t> parse_size(const std::string& text) {
  TM_TRY_ASSIGN(NumberWithUnit parsed, split_number(text, "size (for example 4096, 512M, 10G or 1.5T)"));
  std::string unit = parsed.unit;
  if (unit.size() > 2 && (unit.ends_with("iB") || unit.ends_with("ib"))) {
    unit.resize(unit.size() - 2);
  } else if (unit.ends_with("B") || unit.ends_with("b")) {
    unit.resize(unit.size() - 1);
  }
  static const std::string kUnits = "KMGTPE";
  std::uint64_t scale = 1;
  if (unit.size() == 1) {
    const char upper = unit[0] >= 'a' ? static_cast<char>(unit[0] - 'a' + 'A') : unit[0];
    const std::size_t at = kUnits.find(upper);
    if (at == std::string::npos) {
      return fail(ErrorCode::kInvalid, "'" + printable(text, 24) + "' is not a size; use K, M, G, T or P");
    }
    for (std::size_t i = 0; i <= at; ++i) scale *= 1024;
  } else if (!unit.empty()) {
    return fail(ErrorCode::kInvalid, "'" + printable(text, 24) + "' is not a size; use K, M, G, T or P");
  }
  // Offsets are signed 64-bit numbers in system calls.
  const std::optional<std::uint64_t> bytes = parsed.times(scale, INT64_MAX);
  if (!bytes.has_value()) {
    return fail(ErrorCode::kInvalid, "'" + printable(text, 24) + "' is too large: 8 EiB or more");
  }
  return *bytes;
}

std::string format_size(std::uint64_t bytes) {
  static constexpr std::array<const char*, 7> kUnits{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double amount = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (amount >= 1024 && unit + 1 < kUnits.size()) {
    amount /= 1024;
    ++unit;
  }
  char text[40];
  if (amount == static_cast<double>(static_cast<std::uint64_t>(amount))) {
    std::snprintf(text, sizeof text, "%.0f %s", amount, kUnits[unit]);
  } else {
    std::snprintf(text, sizeof text, "%.1f %s", amount, kUnits[unit]);
  }
  return text;
}

}  // namespace tidemark
