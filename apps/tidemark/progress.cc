#include "progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace tidemark::cli {
namespace {

constexpr std::chrono::milliseconds kInterval{200};
constexpr std::size_t kBarWidth = 24;

std::string clock_text(double seconds) {
  const auto whole = static_cast<unsigned long long>(std::min(seconds, 359999.0));
  char text[32];
  if (whole >= 3600) {
    std::snprintf(text, sizeof text, "%llu:%02llu:%02llu", whole / 3600, whole / 60 % 60, whole % 60);
  } else {
    std::snprintf(text, sizeof text, "%llu:%02llu", whole / 60, whole % 60);
  }
  return text;
}

}  // namespace

Progress::Progress(std::string what)
    : what_(std::move(what)), on_terminal_(::isatty(STDERR_FILENO) == 1), begin_(Clock::now()) {}

Progress::~Progress() {
  if (on_terminal_ && shown_ != Clock::time_point{}) std::fputs("\r\033[K", stderr);
}

void Progress::show(std::uint64_t done, std::uint64_t total, std::uint64_t bytes, const std::string& note) {
  const Clock::time_point now = Clock::now();
  if (!on_terminal_ || now - shown_ < kInterval) return;
  shown_ = now;
  const double seconds = std::chrono::duration<double>(now - begin_).count();
  const double part =
      total == 0 ? 1.0 : std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
  const auto filled = static_cast<std::size_t>(part * kBarWidth);
  const std::string bar = std::string(filled, '#') + std::string(kBarWidth - filled, '-');
  const double rate = seconds <= 0 ? 0 : static_cast<double>(bytes) / seconds / (1 << 20);
  const std::string left = part <= 0 ? "?" : clock_text(seconds * (1 - part) / part);
  std::fprintf(stderr, "\r%s [%s] %3.0f%%  %.0f MiB/s  %s left%s%s\033[K", what_.c_str(), bar.c_str(),
               part * 100, rate, left.c_str(), note.empty() ? "" : "  ", note.c_str());
  std::fflush(stderr);
}

}  // namespace tidemark::cli
