#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "base/result.h"
#include "control/tokens.h"
#include "tls/files.h"

namespace tidemark::control {

// A file of tokens, read again when it has changed, so that a token that is given or taken away counts from
// the next request on. A file that cannot be used then is told in the log (`control-tokens-unusable`), and
// the tokens read before stay in use: to take all of them away, leave nothing in it.
//
// A file that others than its owner may write is not used; one that they may read is, and told
// (`control-tokens-exposed`). Any thread.
class TokenFile {
 public:
  // kNotFound, kInvalid: it cannot be read, others may write it, or a line is wrong.
  static Result<std::shared_ptr<TokenFile>> read(std::string path, tls::Log log);

  // Looks at the file.
  std::shared_ptr<const TokenTable> current();
  const std::string& path() const { return path_; }

 private:
  TokenFile(std::string path, tls::Log log) : path_(std::move(path)), log_(std::move(log)) {}
  Result<std::string> read_text() const;
  Result<void> take(const std::string& text);
  void warn_when_exposed() const;

  const std::string path_;
  const tls::Log log_;
  std::mutex mutex_;
  tls::FileStamp looked_at_{};  // of the file that was read last, with success or not
  bool settled_ = false;        // it was older than a clock tick then: a later change shows in the stamp
  std::string text_;            // of `table_`
  std::shared_ptr<const TokenTable> table_;
};

}  // namespace tidemark::control
