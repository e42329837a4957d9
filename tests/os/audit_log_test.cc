#include "os/audit_log.h"

#include <sys/stat.h>

#include <fstream>
#include <thread>
#include <vector>

#include "support.h"

namespace tidemark::os {
namespace {

std::vector<std::string> lines_of(const std::string& path) {
  std::vector<std::string> lines;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

std::string last_word(const std::string& line) {
  return line.substr(line.rfind(' ') + 1);
}

TEST(AuditLog, AddsLinesWithTheirTimeForItsOwnerAlone) {
  const TemporaryFolder folder;
  const std::string path = folder.file("audit.log");
  ASSERT_TRUE(AuditLog(path).append("first").ok());
  ASSERT_TRUE(AuditLog(path).append("second").ok());
  const auto lines = lines_of(path);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_TRUE(lines[0].starts_with("20") && lines[0].ends_with("Z first")) << lines[0];
  EXPECT_EQ(last_word(lines[1]), "second");
  struct stat status {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST(AuditLog, BeginsAnewBeforeItGrowsTooLongAndKeepsOneBefore) {
  const TemporaryFolder folder;
  const std::string path = folder.file("audit.log");
  AuditLog log(path, 200);
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(log.append(std::to_string(i)).ok());
    ASSERT_LE(std::filesystem::file_size(path), 200u);
  }
  const auto newest = lines_of(path);
  const auto before = lines_of(path + ".1");
  ASSERT_FALSE(newest.empty());
  ASSERT_FALSE(before.empty());
  EXPECT_EQ(last_word(newest.back()), "49");
  EXPECT_EQ(std::stoi(last_word(newest.front())), std::stoi(last_word(before.back())) + 1);
  EXPECT_FALSE(std::filesystem::exists(path + ".2"));
}

TEST(AuditLog, TakesALineThatIsLongerThanTheFileMayBe) {
  const TemporaryFolder folder;
  const std::string path = folder.file("audit.log");
  AuditLog log(path, 10);
  ASSERT_TRUE(log.append("a line of more than ten").ok());
  ASSERT_TRUE(log.append("another").ok());
  EXPECT_EQ(lines_of(path).size(), 1u);
  EXPECT_EQ(lines_of(path + ".1").size(), 1u);
}

TEST(AuditLog, LinesOfManyThreadsStayWhole) {
  const TemporaryFolder folder;
  const std::string path = folder.file("audit.log");
  AuditLog log(path);
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&log] {
      for (int j = 0; j < 50; ++j) EXPECT_TRUE(log.append(std::string(200, 'x')).ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto lines = lines_of(path);
  ASSERT_EQ(lines.size(), 400u);
  for (const std::string& line : lines) EXPECT_EQ(last_word(line), std::string(200, 'x'));
}

TEST(AuditLog, SaysWhenItCannotBeWritten) {
  const TemporaryFolder folder;
  const auto added = AuditLog(folder.file("missing/audit.log")).append("line");
  ASSERT_FALSE(added.ok());
  EXPECT_NE(added.error().message.find("audit.log"), std::string::npos);
}

}  // namespace
}  // namespace tidemark::os
