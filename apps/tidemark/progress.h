#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace tidemark::cli {

// A line on standard error that tells how far a long work is, with its rate and the time left; nothing where
// that is no terminal.
class Progress {
 public:
  explicit Progress(std::string what);
  // Takes the line away, so that what is said next begins on a clean one.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `done` of `total` of whatever is counted; `bytes` so far, for the rate; `note` is appended.
  void show(std::uint64_t done, std::uint64_t total, std::uint64_t bytes, const std::string& note = "");

 private:
  using Clock = std::chrono::steady_clock;
  const std::string what_;
  const bool on_terminal_;
  const Clock::time_point begin_;
  Clock::time_point shown_{};
};

}  // namespace tidemark::cli
