#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

namespace tidemark::control {

inline std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// A folder that goes with its owner.
class TestFolder {
 public:
  TestFolder() {
    char pattern[] = "/tmp/tidemark-test-XXXXXX";
    path_ = ::mkdtemp(pattern);
  }
  ~TestFolder() { EXPECT_EQ(std::system(("rm -rf '" + path_ + "'").c_str()), 0); }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct ProgramResult {
  int exit_code = -1;
  std::string out;
  std::string err;
};

// Runs a shell command in `folder`.
inline ProgramResult run_shell(const TestFolder& folder, const std::string& command) {
  const std::string out = folder.path() + "/stdout.txt";
  const std::string err = folder.path() + "/stderr.txt";
  const std::string line = "cd '" + folder.path() + "' && export TIDEMARK_HOST_TABLE=host/marks.db && { " +
                           command + " ; } >'" + out + "' 2>'" + err + "' </dev/null";
  const int status = std::system(line.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_file(out), read_file(err)};
}

}  // namespace tidemark::control
