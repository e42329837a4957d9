#pragma once

#include "control/types_fields.h"

namespace tidemark::control {

// Fills every member of a structure with a value of its own that keeps to the member's rule, so that a member
// which is lost, or written under another's name, is seen.
class SampleFiller {
 public:
  template <typename T>
  void field(std::string_view, T& value, const Rule& rule = {}) {
    fill(value, rule);
  }
  template <typename T>
  void required(std::string_view, T& value, const Rule& rule = {}) {
    fill(value, rule);
  }

 private:
  void fill(std::string& value, const Rule&) { value = "text-" + std::to_string(++counter_); }
  void fill(bool& value, const Rule&) { value = !value; }
  void fill(std::uint32_t& value, const Rule& rule) {
    value = static_cast<std::uint32_t>(rule.min) + ++counter_;
  }
  void fill(std::uint64_t& value, const Rule& rule) { value = rule.min + ++counter_; }
  void fill(double& value, const Rule&) { value = ++counter_ + 0.25; }
  void fill(LogId& value, const Rule&) { value = LogId(Epoch{++counter_}, kSequenceMax - counter_); }
  void fill(WallTime& value, const Rule&) { value = WallTime{1'770'000'000'123'456'789 + ++counter_}; }
  void fill(Duration& value, const Rule&) { value = Duration{86'400'000'000'001 + ++counter_}; }
  void fill(BinaryData& value, const Rule&) { value.bytes = std::string("\0\xff\x10 four", 7); }
  void fill(TableCell& value, const Rule&) {
    switch (++counter_ % 4) {
      case 0:
        value = std::monostate{};
        break;
      case 1:
        value = std::int64_t{-5};
        break;
      case 2:
        value = 0.5;
        break;
      default:
        value = "cell";
    }
  }
  template <typename Enum>
  requires std::is_enum_v<Enum>
  void fill(Enum& value, const Rule&) { value = enum_words(std::type_identity<Enum>{}).back().value; }
  template <typename T>
  void fill(std::optional<T>& value, const Rule& rule) {
    fill(value.emplace(), rule);
  }
  template <typename T>
  void fill(std::vector<T>& values, const Rule&) {
    values.resize(std::is_same_v<T, TableCell> ? 4 : 2);
    for (T& value : values) fill(value, {});
  }
  template <typename T>
  requires requires(SampleFiller& v, T& value) { visit_fields(v, value); }
  void fill(T& value, const Rule&) { visit_fields(*this, value); }

  std::uint32_t counter_ = 0;
};

template <typename T>
T sample() {
  T value;
  SampleFiller filler;
  visit_fields(filler, value);
  return value;
}

}  // namespace tidemark::control
