#include "host/id_template.h"

#include <functional>

#include "base/names.h"
#include "host/local.h"

namespace tidemark::host {
namespace {

bool is_letter_or_digit(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

// Only what an id may hold, and no two '-' in a row for what it may not.
std::string cleaned(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (is_letter_or_digit(c) || c == '.' || c == '_' || c == '-') {
      out.push_back(c);
    } else if (!out.ends_with('-')) {
      out.push_back('-');
    }
  }
  return out;
}

using WordText = std::function<Result<std::string>(const std::string& word)>;

Result<std::string> replace_words(const std::string& text, const WordText& of) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text[at] == '{' ? text.find('}', at) : std::string::npos;
    if (end == std::string::npos) {
      out.push_back(text[at++]);
      continue;
    }
    TM_TRY_ASSIGN(const std::string word, of(text.substr(at + 1, end - at - 1)));
    out += word;
    at = end + 1;
  }
  return out;
}

Result<std::string> expand(const std::string& text, const IdParts& parts) {
  const WordText of = [&parts](const std::string& word) -> Result<std::string> {
    if (word == "path") return cleaned(parts.path);
    if (word == "time") return time_stamp(parts.time);
    if (word == "program") return parts.program.empty() ? std::string("program") : cleaned(parts.program);
    if (word == "n") return std::to_string(parts.number);
    return fail(ErrorCode::kInvalid, "there is no {" + printable(word) +
                                         "} in a template; there are {path}, {time}, {program}, {n}");
  };
  return replace_words(text, of);
}

// An id begins with a letter or a digit.
std::string trimmed(std::string id) {
  std::size_t begin = 0;
  while (begin < id.size() && !is_letter_or_digit(id[begin])) ++begin;
  id.erase(0, begin);
  return id;
}

}  // namespace

Result<void> check_id_template(const std::string& text) {
  IdParts parts;
  parts.path = "p";
  parts.program = "p";
  TM_TRY_ASSIGN(const std::string id, expand(text, parts));
  return validate_name("mark id that the template makes,", id, kMarkIdLengthMax);
}

std::string expand_id(const std::string& text, const IdParts& parts) {
  IdParts fitting = parts;
  std::string id = trimmed(expand(text, fitting).value());
  while (id.size() > kMarkIdLengthMax && !fitting.path.empty()) {
    const std::size_t excess = std::min(id.size() - kMarkIdLengthMax, fitting.path.size());
    fitting.path.erase(0, excess);
    id = trimmed(expand(text, fitting).value());
  }
  id = id.substr(0, kMarkIdLengthMax);
  const bool usable = validate_name("mark id", id, kMarkIdLengthMax).ok();
  return usable ? id : "m-" + id.substr(0, kMarkIdLengthMax - 2);
}

std::string next_id(const std::string& id, int attempt) {
  const std::string end = attempt < kNumberedTriesMax ? std::to_string(attempt) : random_letters(6);
  return id.substr(0, kMarkIdLengthMax - end.size() - 1) + "-" + end;
}

}  // namespace tidemark::host
