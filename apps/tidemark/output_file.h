#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "base/result.h"

namespace tidemark::cli {

// A file that is there when it is complete, and not before: it is written beside its name and then renamed.
// "-" is standard output, which has what was written when something fails.
class OutputFile {
 public:
  // kExists: there is one already and `overwrite` is not set. kInvalid: what is there is no plain file.
  static Result<OutputFile> create(const std::string& path, bool overwrite);
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;
  // Takes away what was not finished.
  ~OutputFile();

  Result<void> write(std::string_view bytes);
  // On stable storage, under its name, when it returns ok.
  Result<void> finish();

 private:
  OutputFile(std::string path, std::string part, int descriptor, bool overwrite)
      : path_(std::move(path)), part_(std::move(part)), descriptor_(descriptor), overwrite_(overwrite) {}

  std::string path_;
  std::string part_;  // the name while it is written; empty for standard output
  int descriptor_ = -1;
  bool overwrite_ = false;
};

// While it lives, SIGINT, SIGTERM and SIGHUP only set a mark: the work ends by itself and cleans up.
class InterruptsNoted {
 public:
  InterruptsNoted();
  InterruptsNoted(const InterruptsNoted&) = delete;
  InterruptsNoted& operator=(const InterruptsNoted&) = delete;
  ~InterruptsNoted();
  static bool interrupted();

 private:
  struct Before;
  Before* before_;
};

}  // namespace tidemark::cli
