#pragma once

#include <string>
#include <string_view>

#include "control/types.h"

namespace tidemark::control {

// The bytes of a file that holds log entries with their data, for whoever reads it without a node.
// docs/formats/journal-export.md is the page of this format.
inline constexpr std::string_view kExportFileBegin = "tidemark-journal-export 1\n";

// Makes the file piece by piece: begin(), then entry() for each in order, then end(). The pieces are written
// one after the other and nothing else; what ends before end() is recognised as cut off.
class ExportFileWriter {
 public:
  std::string begin(const JournalExportInfo& info);
  // `data`: the bytes of the entry's pieces.
  std::string entry(const ExportedEntry& entry, std::string_view data);
  std::string end();

  const ExportFileEnd& so_far() const { return end_; }

 private:
  std::string record(std::string_view kind, const std::string& text, std::string_view data);

  std::string before_ = std::string(kExportFileBegin.substr(kExportFileBegin.size() - 4));
  ExportFileEnd end_;
};

}  // namespace tidemark::control
