#include "control/export_file.h"

#include <gtest/gtest.h>

#include "base/crc32c.h"

namespace tidemark::control {
namespace {

// Files are read in the tests with a reader of their own, which knows the page of the format and no code.
struct Record {
  std::string kind;
  std::string text;
  std::string data;
};

std::uint32_t number_at(const std::string& bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i)
    value |= std::uint32_t{static_cast<std::uint8_t>(bytes[at + i])} << (8 * i);
  return value;
}

// Every record of a file; stops at the first that is cut off or does not match its checksum.
std::vector<Record> records_of(const std::string& file) {
  std::vector<Record> records;
  const std::size_t begin = std::string("tidemark-journal-export 1\n").size();
  if (!file.starts_with("tidemark-journal-export 1\n")) return records;
  for (std::size_t at = begin; at + 12 <= file.size();) {
    const std::size_t text = number_at(file, at + 4);
    const std::size_t data = number_at(file, at + 8);
    const std::size_t end = at + 12 + text + data;
    if (end + 4 > file.size()) break;
    if (crc32c(as_bytes(std::string_view(file).substr(at - 4, end - at + 4))) != number_at(file, end)) break;
    records.push_back({file.substr(at, 4), file.substr(at + 12, text), file.substr(at + 12 + text, data)});
    at = end + 4;
  }
  return records;
}

ExportedEntry write_entry() {
  ExportedEntry entry;
  entry.entry.log_id = LogId(Epoch{1}, 3);
  entry.entry.timer = WallTime{1'000'000'000};
  entry.entry.volume = "db";
  entry.entry.volume_number = 1;
  entry.entry.length_bytes = 4096;
  entry.pieces.push_back({DataSide::kAfter, 0, 4096});
  return entry;
}

std::string whole_file() {
  ExportFileWriter writer;
  JournalExportInfo info;
  info.group = "app";
  std::string file = writer.begin(info);
  file += writer.entry(write_entry(), std::string(4096, 'x'));
  ExportedEntry more = write_entry();
  more.continued = true;
  more.pieces.clear();
  file += writer.entry(more, {});
  return file + writer.end();
}

TEST(ExportFile, HoldsTheHeadEveryEntryAndTheCounts) {
  const std::vector<Record> records = records_of(whole_file());
  ASSERT_EQ(records.size(), 4u);
  EXPECT_EQ(records[0].kind, "HEAD");
  EXPECT_NE(records[0].text.find("\"group\":\"app\""), std::string::npos);
  EXPECT_EQ(records[1].kind, "ENTR");
  EXPECT_EQ(records[1].data, std::string(4096, 'x'));
  EXPECT_EQ(records[1].text,
            "{\"entry\":{\"log_id\":\"1.3\",\"timer\":{\"ns\":1000000000,\"time\":\"1970-01-01T00:00:01Z\"},"
            "\"kind\":\"write\",\"mark\":false,\"volume\":\"db\",\"offset_bytes\":0,\"length_bytes\":4096,"
            "\"mark_id\":\"\",\"note\":\"\",\"host\":\"\",\"volume_number\":1},\"continued\":false,"
            "\"pieces\":[{\"side\":\"after\",\"offset_bytes\":0,\"length_bytes\":4096}]}");
  EXPECT_EQ(records[3].kind, "TAIL");
  EXPECT_EQ(records[3].text, "{\"records\":2,\"entries\":1,\"data_bytes\":4096,\"last\":\"1.3\"}");
}

TEST(ExportFile, ItsFirstBytesAreThoseOfThePage) {
  ExportFileWriter writer;
  std::string file = writer.begin(JournalExportInfo{});
  file += writer.end();
  EXPECT_EQ(file.substr(0, 30), "tidemark-journal-export 1\nHEAD");
  EXPECT_EQ(number_at(file, 34), 0u);
  const std::string text = "{\"records\":0,\"entries\":0,\"data_bytes\":0}";
  const std::size_t tail = file.size() - 4 - text.size() - 12;
  EXPECT_EQ(file.substr(tail, 4), "TAIL");
  EXPECT_EQ(number_at(file, tail + 4), text.size());
  EXPECT_EQ(number_at(file, tail + 8), 0u);
  EXPECT_EQ(file.substr(tail + 12, text.size()), text);
  EXPECT_EQ(records_of(file).size(), 2u);
}

TEST(ExportFile, EveryChangedByteIsSeen) {
  const std::string file = whole_file();
  for (std::size_t at = 0; at<file.size(); at += at> 700 && at < 4000 ? 97 : 1) {
    std::string changed = file;
    changed[at] = static_cast<char>(changed[at] ^ 0x10);
    EXPECT_LT(records_of(changed).size(), 4u) << at;
  }
}

TEST(ExportFile, ARecordThatIsLeftOutOrMovedIsSeen) {
  const std::string file = whole_file();
  const std::size_t second = file.find("ENTR");
  const std::size_t third = file.find("ENTR", second + 4);
  const std::size_t tail = file.find("TAIL");
  EXPECT_EQ(records_of(file.substr(0, second) + file.substr(third)).size(), 1u);
  EXPECT_EQ(records_of(file.substr(0, second) + file.substr(third, tail - third) +
                       file.substr(second, third - second) + file.substr(tail))
                .size(),
            1u);
}

}  // namespace
}  // namespace tidemark::control
