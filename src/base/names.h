#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace tidemark {

inline constexpr std::size_t kNameLengthMax = 64;
inline constexpr std::size_t kMarkIdLengthMax = 128;

// Names of groups, volumes, marks and nodes are [A-Za-z0-9][A-Za-z0-9._-]*; `head` and `floor` are
// taken. `what` ("group name", "mark id") begins the message of the error. Control characters in
// `name` are shown escaped in the message, and a long name is cut, so that it is safe to print.
Result<void> validate_name(std::string_view what, std::string_view name,
                           std::size_t length_max = kNameLengthMax);

// An id that a mark may have: a name, or one that gave way to a later mark of the same id, `NAME~NAME`. Only
// a name can be given to a new mark.
inline constexpr std::size_t kKnownMarkIdLengthMax = kMarkIdLengthMax + 1 + kNameLengthMax;
Result<void> validate_known_mark_id(std::string_view what, std::string_view id);

// `text` made safe for a terminal or a log line: control characters and bytes over 0x7e as \xNN,
// cut with "..." after `length_max` characters.
std::string printable(std::string_view text, std::size_t length_max = 80);

}  // namespace tidemark
