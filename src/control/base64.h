#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace tidemark::control {

// RFC 4648, section 4: with padding, without line breaks.
std::string base64_encode(std::string_view bytes);
// Nothing when `text` is not canonical base64.
std::optional<std::string> base64_decode(std::string_view text);

}  // namespace tidemark::control
