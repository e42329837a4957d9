#pragma once

#include <compare>
#include <cstdint>
#include <string>

#include "base/result.h"

namespace tidemark {

// A length of time in nanoseconds.
struct Duration {
  std::int64_t ns = 0;
  static constexpr Duration nanoseconds(std::int64_t n) { return {n}; }
  static constexpr Duration microseconds(std::int64_t n) { return {n * 1'000}; }
  static constexpr Duration milliseconds(std::int64_t n) { return {n * 1'000'000}; }
  static constexpr Duration seconds(std::int64_t n) { return {n * 1'000'000'000}; }
  constexpr double to_seconds() const { return static_cast<double>(ns) / 1e9; }
  constexpr auto operator<=>(const Duration&) const = default;
  constexpr Duration operator+(Duration other) const { return {ns + other.ns}; }
  constexpr Duration operator-(Duration other) const { return {ns - other.ns}; }
};

// A point on a clock that never goes back; only differences mean something.
struct MonotonicTime {
  std::int64_t ns = 0;
  constexpr auto operator<=>(const MonotonicTime&) const = default;
  constexpr MonotonicTime operator+(Duration d) const { return {ns + d.ns}; }
  constexpr Duration operator-(MonotonicTime other) const { return {ns - other.ns}; }
};

// Nanoseconds since 1970-01-01T00:00:00Z. The timer value of a log entry is one of these.
struct WallTime {
  std::int64_t ns = 0;
  constexpr auto operator<=>(const WallTime&) const = default;
  constexpr WallTime operator+(Duration d) const { return {ns + d.ns}; }
  constexpr WallTime operator-(Duration d) const { return {ns - d.ns}; }
  constexpr Duration operator-(WallTime other) const { return {ns - other.ns}; }
};

// RFC 3339 in UTC with nanoseconds where they are not zero: "2026-05-01T12:00:00.5Z".
std::string format_time(WallTime time);
// RFC 3339 with "Z" or a numeric offset, fraction of up to 9 digits. kInvalid says what is wrong.
Result<WallTime> parse_time(const std::string& text);

// "90s", "15m", "24h", "7d", "0"; a number without a unit is seconds.
Result<Duration> parse_duration(const std::string& text);
std::string format_duration(Duration duration);

// "10G", "512M", "4096", "1.5T": powers of 1024, an optional trailing "B" or "iB".
Result<std::uint64_t> parse_size(const std::string& text);
std::string format_size(std::uint64_t bytes);

}  // namespace tidemark
