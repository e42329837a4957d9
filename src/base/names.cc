#include "base/names.h"

#include <algorithm>
#include <cstdio>

namespace tidemark {
namespace {

bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

}  // namespace

std::string printable(std::string_view text, std::size_t length_max) {
  std::string out;
  for (char c : text.substr(0, length_max)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte > 0x7e) {
      char escaped[5];
      std::snprintf(escaped, sizeof escaped, "\\x%02x", byte);
      out += escaped;
    } else {
      out.push_back(c);
    }
  }
  if (text.size() > length_max) out += "...";
  return out;
}

Result<void> validate_name(std::string_view what, std::string_view name, std::size_t length_max) {
  const std::string subject(what);
  if (name.empty()) return fail(ErrorCode::kInvalid, subject + " is empty");
  if (name.size() > length_max) {
    return fail(ErrorCode::kInvalid, subject + " '" + printable(name, 24) + "' has " +
                                         std::to_string(name.size()) + " characters; at most " +
                                         std::to_string(length_max) + " are allowed");
  }
  const bool shape_ok = is_alphanumeric(name.front()) && std::all_of(name.begin(), name.end(), [](char c) {
                          return is_alphanumeric(c) || c == '.' || c == '_' || c == '-';
                        });
  if (!shape_ok) {
    return fail(ErrorCode::kInvalid, subject + " '" + printable(name) +
                                         "' is not allowed: it must begin with a letter or digit and hold "
                                         "only letters, digits, '.', '_' and '-'");
  }
  if (name == "head" || name == "floor") {
    return fail(ErrorCode::kInvalid,
                subject + " '" + std::string(name) + "' is taken: it names a point of every group");
  }
  return {};
}

Result<void> validate_known_mark_id(std::string_view what, std::string_view id) {
  const std::size_t tilde = id.find('~');
  TM_TRY(validate_name(what, id.substr(0, tilde), kMarkIdLengthMax));
  if (tilde == std::string_view::npos) return {};
  return validate_name(what, id.substr(tilde + 1));
}

}  // namespace tidemark
