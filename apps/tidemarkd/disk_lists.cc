#include "disk_lists.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <sstream>

#include "base/names.h"
#include "os/small_file.h"
#include "pool/pool.h"

namespace tidemark {
namespace {

constexpr const char* kCreating = "creating";
constexpr const char* kForgotten = "forgotten";

// None when the file is not there.
Result<std::vector<std::string>> read_lines(const std::string& path) {
  std::vector<std::string> out;
  std::error_code error;
  if (!std::filesystem::exists(path, error) && !error) return out;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    if (!line.empty()) out.push_back(line);
  }
  if (error || !in.eof() || in.bad()) return fail(ErrorCode::kIo, path + " cannot be read");
  return out;
}

Result<bool> change_lines(const std::string& file, const std::string& line, bool listed) {
  TM_TRY_ASSIGN(std::vector<std::string> lines, read_lines(file));
  const bool is_there = std::find(lines.begin(), lines.end(), line) != lines.end();
  if (is_there == listed) return false;
  if (listed) lines.push_back(line);
  if (!listed) std::erase(lines, line);
  std::string text;
  for (const std::string& one : lines) text += one + "\n";
  TM_TRY(os::replace_file(file, text));
  return true;
}

std::string line_of(const KnownPool& pool) {
  std::string line = std::to_string(pool.number.value) + " " + pool.identity + " " + pool.name;
  if (pool.fate == KnownPool::Fate::kCreating) line += std::string(" ") + kCreating;
  if (pool.fate == KnownPool::Fate::kForgotten) line += std::string(" ") + kForgotten;
  return line + "\n";
}

// Runs `work` where it may block. What it needs it holds: see CONTRIBUTING.md on lambdas in coroutines.
template <typename T>
io::Task<Result<T>> run_offloaded(io::Offload* offload, std::function<Result<T>()> work) {
  auto outcome = std::make_shared<Result<T>>(fail(ErrorCode::kIo, "it was not run"));
  std::function<void()> job = [outcome, work = std::move(work)] { *outcome = work(); };
  co_await offload->run(std::move(job));
  co_return std::move(*outcome);
}

}  // namespace

AddedDisks::AddedDisks(const os::DataFolder& folder, io::Offload& offload)
    : path_(folder.file("disks")), offload_(offload) {}

Result<std::vector<std::string>> AddedDisks::read() const {
  return read_lines(path_);
}

io::Task<Result<bool>> AddedDisks::add(std::string path) {
  return change(std::move(path), true);
}

io::Task<Result<bool>> AddedDisks::remove(std::string path) {
  return change(std::move(path), false);
}

io::Task<Result<bool>> AddedDisks::change(std::string path, bool listed) {
  std::function<Result<bool>()> work = [file = path_, path = std::move(path), listed] {
    return change_lines(file, path, listed);
  };
  return run_offloaded<bool>(&offload_, std::move(work));
}

KnownPools::KnownPools(const os::DataFolder& folder, io::Offload& offload)
    : path_(folder.file("raid-groups")), offload_(offload) {}

bool KnownPools::exist() const {
  const auto lines = read_lines(path_);
  return !lines.ok() || !lines->empty();
}

Result<void> KnownPools::read() {
  TM_TRY_ASSIGN(const std::vector<std::string> lines, read_lines(path_));
  for (const std::string& line : lines) {
    std::istringstream in(line);
    KnownPool pool;
    in >> pool.number.value >> pool.identity >> pool.name;
    if (!in || pool.number.value > pool::kPoolsMax) {
      return fail(ErrorCode::kDamaged, path_ + ": '" + printable(line) +
                                           "' is not a number, an identity and a name; without that file "
                                           "the node goes by the labels of the disks that it finds");
    }
    std::string fate;
    in >> fate;
    if (fate == kCreating) pool.fate = KnownPool::Fate::kCreating;
    if (fate == kForgotten) pool.fate = KnownPool::Fate::kForgotten;
    pools_.push_back(std::move(pool));
  }
  return {};
}

const KnownPool* KnownPools::find(const std::string& identity) const {
  const auto at = std::ranges::find(pools_, identity, &KnownPool::identity);
  return at == pools_.end() ? nullptr : &*at;
}

io::Task<Result<void>> KnownPools::replace(std::vector<KnownPool> pools) {
  std::ranges::sort(pools, {}, [](const KnownPool& pool) { return std::pair(pool.number, pool.identity); });
  if (pools == pools_) co_return Result<void>{};
  std::string text;
  for (const KnownPool& pool : pools) text += line_of(pool);
  std::function<Result<void>()> work = [file = path_, text = std::move(text)] {
    return os::replace_file(file, text);
  };
  TM_CO_TRY(co_await run_offloaded<void>(&offload_, std::move(work)));
  pools_ = std::move(pools);
  co_return Result<void>{};
}

}  // namespace tidemark
