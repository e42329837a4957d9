#pragma once

#include <string>
#include <vector>

#include "base/ids.h"
#include "base/time.h"
#include "control/types.h"

namespace tidemark::cli {

// Rows under a heading, in columns as wide as their widest cell, two spaces apart. Everything that came from
// a node is made safe for a terminal.
class Table {
 public:
  // A name that begins with '>' makes a column of numbers, aligned to the right.
  explicit Table(std::vector<std::string> columns);
  void row(std::vector<std::string> cells);
  bool empty() const { return rows_.empty(); }
  // On standard output. Without rows: only the heading.
  void print(const std::string& indent = "") const;

 private:
  std::vector<std::string> columns_;
  std::vector<bool> right_;
  std::vector<std::vector<std::string>> rows_;
};

// "name:  value" lines, the values in one column.
class Facts {
 public:
  void add(std::string name, std::string value);
  // Left out when the value is empty.
  void add_known(std::string name, std::string value);
  void print() const;

 private:
  std::vector<std::pair<std::string, std::string>> lines_;
};

std::string yes_no(bool value);
// To the second, in UTC: short enough for a column.
std::string short_time(WallTime time);
std::string point_text(const control::PointInfo& point);
std::string percent(std::uint64_t part, std::uint64_t whole);
// "97 % of 1200", or "-" without accesses.
std::string hit_rate(std::uint64_t hits, std::uint64_t misses);

}  // namespace tidemark::cli
