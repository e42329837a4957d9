#include "control/export_file.h"

#include "base/codec.h"
#include "base/crc32c.h"
#include "control/types_json.h"

namespace tidemark::control {

std::string ExportFileWriter::record(std::string_view kind, const std::string& text, std::string_view data) {
  TM_ASSERT(kind.size() == 4);
  Encoder lengths;
  lengths.u32(static_cast<std::uint32_t>(text.size()));
  lengths.u32(static_cast<std::uint32_t>(data.size()));
  const std::vector<std::byte> length_bytes = lengths.take();
  std::string out(kind);
  out.append(reinterpret_cast<const char*>(length_bytes.data()), length_bytes.size());
  out += text;
  out += data;
  // The record before is covered by its checksum: none can be left out, doubled or moved unseen.
  const std::uint32_t checksum = crc32c_extend(crc32c(as_bytes(before_)), as_bytes(out));
  Encoder last;
  last.u32(checksum);
  const std::vector<std::byte> checksum_bytes = last.take();
  before_.assign(reinterpret_cast<const char*>(checksum_bytes.data()), checksum_bytes.size());
  return out + before_;
}

std::string ExportFileWriter::begin(const JournalExportInfo& info) {
  return std::string(kExportFileBegin) + record("HEAD", json_text(info), {});
}

std::string ExportFileWriter::entry(const ExportedEntry& entry, std::string_view data) {
  ++end_.records;
  if (!entry.continued) ++end_.entries;
  end_.data_bytes += data.size();
  end_.last = entry.entry.log_id;
  return record("ENTR", json_text(entry), data);
}

std::string ExportFileWriter::end() {
  return record("TAIL", json_text(end_), {});
}

}  // namespace tidemark::control
