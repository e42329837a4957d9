#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "base/time.h"

namespace tidemark::host {

// What stands for the words in braces of a template.
struct IdParts {
  std::string path;     // of the first file, relative
  WallTime time;        // {time}: 20260501-120000
  std::string program;  // empty: "program"
  std::uint64_t number = 0;
};

inline constexpr char kIdTemplateDefault[] = "{path}-{time}";

// kInvalid: a word in braces that is none of path, time, program and n, or ids that no mark may have.
Result<void> check_id_template(const std::string& text);

// A mark id. What an id cannot hold becomes '-'; a path that is too long keeps its end.
std::string expand_id(const std::string& text, const IdParts& parts);

// The id to try when `id` is taken for the `attempt`th time, from 2: "ID-2", and from kNumberedTriesMax on
// one with a random end.
inline constexpr int kNumberedTriesMax = 20;
std::string next_id(const std::string& id, int attempt);

}  // namespace tidemark::host
