#include "control/base64.h"

#include <array>
#include <cstdint>

namespace tidemark::control {
namespace {

constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr std::uint8_t kNoDigit = 0xff;

constexpr std::array<std::uint8_t, 256> digits_by_character() {
  std::array<std::uint8_t, 256> digits{};
  digits.fill(kNoDigit);
  for (std::size_t i = 0; i < kAlphabet.size(); ++i) {
    digits[static_cast<std::uint8_t>(kAlphabet[i])] = static_cast<std::uint8_t>(i);
  }
  return digits;
}
constexpr std::array<std::uint8_t, 256> kDigits = digits_by_character();

}  // namespace

std::string base64_encode(std::string_view bytes) {
  std::string out((bytes.size() + 2) / 3 * 4, '=');
  char* to = out.data();
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    const std::size_t count = bytes.size() - at < 3 ? bytes.size() - at : 3;
    std::uint32_t word = 0;
    for (std::size_t i = 0; i < 3; ++i) {
      word = word << 8 | (i < count ? static_cast<std::uint8_t>(bytes[at + i]) : 0u);
    }
    for (std::size_t i = 0; i <= count; ++i) to[i] = kAlphabet[word >> (18 - 6 * i) & 63];
    to += 4;
  }
  return out;
}

std::optional<std::string> base64_decode(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  std::string out(text.size() / 4 * 3, '\0');
  char* to = out.data();
  std::size_t padding = 0;
  for (std::size_t at = 0; at < text.size(); at += 4) {
    std::uint32_t word = 0;
    for (std::size_t i = 0; i < 4; ++i) {
      const char c = text[at + i];
      if (c == '=' && at + 4 == text.size() && i >= 2) {
        ++padding;
        word <<= 6;
        continue;
      }
      const std::uint8_t digit = kDigits[static_cast<std::uint8_t>(c)];
      if (digit == kNoDigit || padding != 0) return std::nullopt;
      word = word << 6 | digit;
    }
    // The bits that padding leaves over must be zero, so that every value has one text.
    if ((padding == 1 && (word & 0xff) != 0) || (padding == 2 && (word & 0xffff) != 0)) return std::nullopt;
    for (std::size_t i = 0; i < 3; ++i) to[i] = static_cast<char>(word >> (16 - 8 * i) & 0xff);
    to += 3;
  }
  out.resize(out.size() - padding);
  return out;
}

}  // namespace tidemark::control
