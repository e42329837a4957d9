// What people and programs write as text: points, times, durations, sizes, names, addresses, base64. What is
// taken must read back as the same when it is written the way Tidemark writes it.
#include <string>

#include "base/names.h"
#include "base/time.h"
#include "control/address.h"
#include "control/base64.h"
#include "control/tokens.h"
#include "control/types_json.h"
#include "fuzz/fuzz.h"
#include "group/points.h"
#include "io/stream.h"

namespace tidemark {
namespace {

bool is_printable(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

template <typename T>
void check_message(const Result<T>& result) {
  // It goes to a terminal or into the log as it is.
  if (!result.ok()) TM_ASSERT(is_printable(result.error().message));
}

void try_log_ids(const std::string& text) {
  const auto in_group = group::parse_log_id(text);
  const auto in_control = control::parse_log_id(text);
  check_message(in_group);
  check_message(in_control);
  if (in_group.ok()) TM_ASSERT(*group::parse_log_id(in_group->to_string()) == *in_group);
  if (in_control.ok()) TM_ASSERT(*control::parse_log_id(in_control->to_string()) == *in_control);
  // A point and a member of a request mean the same entry by the same text.
  if (in_group.ok()) TM_ASSERT(in_control.ok() && *in_control == *in_group);
}

void try_numbers(const std::string& text) {
  const auto time = parse_time(text);
  check_message(time);
  if (time.ok()) {
    const auto again = parse_time(format_time(*time));
    // An offset can lead out of the years that are read.
    if (again.ok()) TM_ASSERT(*again == *time);
  }
  const auto duration = parse_duration(text);
  check_message(duration);
  if (duration.ok()) {
    TM_ASSERT(duration->ns >= 0);
    const auto again = parse_duration(format_duration(*duration));
    TM_ASSERT(again.ok() && *again == *duration);
  }
  const auto size = parse_size(text);
  check_message(size);
  if (size.ok()) {
    TM_ASSERT(*size <= INT64_MAX);
    TM_ASSERT(*parse_size(std::to_string(*size)) == *size);
    (void)format_size(*size);
  }
}

void try_addresses(const std::string& text) {
  const auto address = io::Address::parse(text);
  check_message(address);
  if (address.ok()) {
    (void)address->is_local();
    const auto again = io::Address::parse(address->to_string());
    TM_ASSERT(again.ok() && *again == *address);
  }
  const auto control_address = control::parse_control_address(text);
  check_message(control_address);
  if (control_address.ok()) {
    const auto again = control::parse_control_address(control_address->to_string());
    TM_ASSERT(again.ok() && again->to_string() == control_address->to_string());
    TM_ASSERT(again->host == control_address->host && again->port == control_address->port);
  }
}

void try_tokens(const std::string& text) {
  const auto table = control::TokenTable::parse(text);
  check_message(table);
  if (!table.ok()) return;
  std::string written;
  for (const control::Token& token : table->tokens()) written += control::token_line(token) + "\n";
  const auto again = control::TokenTable::parse(written);
  TM_ASSERT(again.ok() && again->tokens().size() == table->tokens().size());
  for (std::size_t i = 0; i < again->tokens().size(); ++i) {
    const control::Token& one = table->tokens()[i];
    const control::Token& other = again->tokens()[i];
    TM_ASSERT(one.name == other.name && one.role == other.role && one.hash == other.hash);
    TM_ASSERT(one.expires == other.expires);
  }
}

// A good file of tokens with some bytes changed: `input` laid over it.
void try_changed_tokens(const std::string& text) {
  static const std::string good =
      "# who may what\n"
      "a viewer 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 "
      "expires=2027-01-01T00:00:00Z\n"
      "b operator 60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752\n"
      "c administrator fd61a03af4f77d870fc21e05e7e80678095c92d808cfb3b5c279ee04c74aca13\n";
  const std::vector<std::byte> bytes =
      fuzz::laid_over(std::as_bytes(std::span(good)), std::as_bytes(std::span(text)));
  const std::string file(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  try_tokens(file);
  try_tokens(file + good);  // with names and secrets that are there twice
  const auto table = control::TokenTable::parse(good);
  const bool known = text == "test" || text == "test2" || text == "test3";
  TM_ASSERT(table.ok() && (table->find(text) != nullptr) == known && table->find("test3") != nullptr);
}

void try_text(const std::string& text) {
  try_log_ids(text);
  try_numbers(text);
  try_addresses(text);
  try_tokens(text);
  try_changed_tokens(text);
  const auto name = validate_name("group name", text);
  check_message(name);
  if (name.ok()) TM_ASSERT(printable(text) == text && text.size() <= kNameLengthMax);
  TM_ASSERT(is_printable(printable(text)));
  const auto bytes = control::base64_decode(text);
  if (bytes.has_value()) TM_ASSERT(control::base64_encode(*bytes) == text);
  TM_ASSERT(*control::base64_decode(control::base64_encode(text)) == text);
}

}  // namespace
}  // namespace tidemark

// The first byte may put a prefix in front, which chance takes long to spell.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  tidemark::try_text(text);
  if (text.empty()) return 0;
  static constexpr const char* kPrefixes[] = {
      "tcp:",
      "unix:",
      "tcp:[",
      "2026-05-01T",
      "1.",
      "0.",
      "a viewer 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 expires="};
  const std::size_t which = data[0] % std::size(kPrefixes);
  tidemark::try_text(kPrefixes[which] + text.substr(1));
  return 0;
}
