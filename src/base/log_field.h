#pragma once

#include <string>
#include <string_view>

#include "base/names.h"

namespace tidemark {

// One "key=value" of a log line. A value that is no single plain word stands in double quotes; a double quote
// in it has a backslash before it. What would harm a terminal is escaped (see printable()).
inline std::string log_field(std::string_view key, std::string_view value) {
  constexpr std::size_t kValueLengthMax = 1000;
  const std::string shown = printable(value, kValueLengthMax);
  std::string field = std::string(key) + "=";
  if (!shown.empty() && shown.find_first_of(" \"=") == std::string::npos) return field + shown;
  field += '"';
  for (const char c : shown) {
    if (c == '"') field += '\\';
    field += c;
  }
  return field + '"';
}

inline std::string log_field(std::string_view key, std::uint64_t value) {
  return log_field(key, std::to_string(value));
}

}  // namespace tidemark
