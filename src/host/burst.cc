#include "host/burst.h"

#include <algorithm>
#include <utility>

#include "base/names.h"

namespace tidemark::host {
namespace {

constexpr std::size_t kProgramsMax = 8;
constexpr std::size_t kShownPathMax = 300;

std::string join(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + printable(word);
  return text;
}

}  // namespace

void Bursts::note(const FileEvent& event, MonotonicTime now) {
  if (burst_.empty()) first_ = now;
  last_ = now;
  if (event.kind == FileEvent::Kind::kLost) {
    burst_.lost = true;
    return;
  }
  if (!event.program.empty() && burst_.programs.size() < kProgramsMax &&
      std::ranges::find(burst_.programs, event.program) == burst_.programs.end()) {
    burst_.programs.push_back(event.program);
  }
  if (seen_.contains(event.path)) return;
  if (seen_.size() >= kBurstFilesMax) {
    ++burst_.files_unnamed;
    return;
  }
  seen_.insert(event.path);
  burst_.files.push_back(event.path);
}

std::optional<MonotonicTime> Bursts::due() const {
  if (burst_.empty()) return std::nullopt;
  const MonotonicTime wanted = std::min(last_ + rule_.quiet, first_ + rule_.wait_max);
  return marked_ ? std::max(wanted, *marked_ + rule_.interval) : wanted;
}

Burst Bursts::take(MonotonicTime now) {
  marked_ = now;
  seen_.clear();
  return std::exchange(burst_, Burst{});
}

std::string relative_path(const std::string& path, const std::vector<std::string>& roots) {
  for (const std::string& root : roots) {
    if (!lies_below(path, root)) continue;
    if (path == root) return path.substr(path.rfind('/') + 1);
    return path.substr(root == "/" ? 1 : root.size() + 1);
  }
  return path;
}

std::string describe(const Burst& burst, const std::vector<std::string>& roots, std::size_t length_max) {
  std::string tail = burst.programs.empty() ? "" : " (" + join(burst.programs) + ")";
  if (burst.lost) tail += "; events were lost: any other file may have been saved too";
  std::string text;
  std::size_t shown = 0;
  const std::size_t total = burst.files.size() + burst.files_unnamed;
  for (const std::string& file : burst.files) {
    const std::string name = printable(relative_path(file, roots), kShownPathMax);
    const std::string more = " and " + std::to_string(total) + " more";
    if (text.size() + 2 + name.size() + more.size() + tail.size() > length_max) break;
    text += (text.empty() ? "" : ", ") + name;
    ++shown;
  }
  if (shown < total) text += (text.empty() ? "" : " and ") + std::to_string(total - shown) + " more";
  return (text + tail).substr(0, length_max);
}

}  // namespace tidemark::host
