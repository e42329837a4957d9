#include "table.h"

#include <algorithm>
#include <cstdio>

#include "base/names.h"

namespace tidemark::cli {
namespace {

constexpr std::size_t kCellLengthMax = 160;

std::string safe(const std::string& text) {
  return printable(text, kCellLengthMax);
}

std::string padded(const std::string& text, std::size_t width, bool right) {
  const std::string space(width > text.size() ? width - text.size() : 0, ' ');
  return right ? space + text : text + space;
}

}  // namespace

Table::Table(std::vector<std::string> columns) {
  for (std::string& column : columns) {
    right_.push_back(column.starts_with(">"));
    columns_.push_back(right_.back() ? column.substr(1) : safe(column));
  }
}

void Table::row(std::vector<std::string> cells) {
  for (std::string& cell : cells) cell = safe(cell);
  cells.resize(columns_.size());
  rows_.push_back(std::move(cells));
}

void Table::print(const std::string& indent) const {
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    widths.push_back(columns_[i].size());
    for (const auto& cells : rows_) widths[i] = std::max(widths[i], cells[i].size());
  }
  const auto print_line = [&](const std::vector<std::string>& cells) {
    std::string line = indent;
    for (std::size_t i = 0; i < cells.size(); ++i) line += padded(cells[i], widths[i], right_[i]) + "  ";
    line.erase(line.find_last_not_of(' ') + 1);
    std::printf("%s\n", line.c_str());
  };
  print_line(columns_);
  for (const auto& cells : rows_) print_line(cells);
}

void Facts::add(std::string name, std::string value) {
  lines_.emplace_back(std::move(name), safe(value));
}

void Facts::add_known(std::string name, std::string value) {
  if (!value.empty()) add(std::move(name), std::move(value));
}

void Facts::print() const {
  std::size_t width = 0;
  for (const auto& [name, value] : lines_) width = std::max(width, name.size() + 1);
  for (const auto& [name, value] : lines_) {
    std::printf("%s  %s\n", padded(name + ":", width, false).c_str(), value.c_str());
  }
}

std::string yes_no(bool value) {
  return value ? "yes" : "no";
}

std::string short_time(WallTime time) {
  constexpr std::int64_t kSecond = 1'000'000'000;
  return format_time(WallTime{time.ns - time.ns % kSecond});
}

std::string point_text(const control::PointInfo& point) {
  return point.log_id.to_string() + "  " + format_time(point.timer);
}

std::string percent(std::uint64_t part, std::uint64_t whole) {
  if (whole == 0) return "-";
  return std::to_string(static_cast<int>(100.0 * static_cast<double>(part) / static_cast<double>(whole))) +
         " %";
}

std::string hit_rate(std::uint64_t hits, std::uint64_t misses) {
  return hits + misses == 0 ? "-" : percent(hits, hits + misses) + " of " + std::to_string(hits + misses);
}

}  // namespace tidemark::cli
