#pragma once

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "io/scheduler.h"
#include "io/sync.h"
#include "nbd/target.h"

namespace tidemark::nbd::test {

// An export in memory, and what happened to it. Every operation asserts what the contract of BlockTarget
// promises it: inside the export, not empty, no change to a read-only export.
struct MemoryExport {
  MemoryExport(io::Scheduler& s, std::string name, std::uint64_t size_bytes) : scheduler(s), gate_opened(s) {
    info.name = std::move(name);
    info.size_bytes = size_bytes;
    content.resize(size_bytes);
  }

  io::Scheduler& scheduler;
  ExportInfo info;
  std::vector<std::byte> content;
  std::vector<AllocationExtent> map;  // from the asked offset on, cut to the asked length
  bool takes_writes_at_once = true;   // write_now() does them
  bool gate_closed = false;           // operations wait until open_gate()
  io::WaitQueue gate_opened;
  std::optional<Error> failure;  // of every operation but write_now()
  std::vector<Buffer>* keep_payloads_in = nullptr;

  std::uint64_t opened = 0;
  std::uint64_t closed = 0;
  std::uint64_t running = 0;
  std::uint64_t running_max = 0;
  std::uint64_t requests = 0;  // that reached the target
  std::vector<std::string> log;
  std::size_t extents_max_asked = 0;
  bool large_payload_aligned = true;

  void open_gate() {
    gate_closed = false;
    gate_opened.wake_all();
  }
};

class MemoryTarget final : public BlockTarget {
 public:
  explicit MemoryTarget(MemoryExport& store) : store_(store) { ++store_.opened; }
  ~MemoryTarget() override {
    TM_ASSERT(running_here_ == 0);
    ++store_.closed;
  }
  const ExportInfo& info() const override { return store_.info; }

  io::Task<Result<void>> read(std::uint64_t offset, Buffer out) override {
    const Running running(*this);
    check(offset, out.size(), false);
    TM_CO_TRY(co_await pass("read"));
    std::memcpy(out.data(), store_.content.data() + offset, out.size());
    co_return Result<void>{};
  }
  io::Task<Result<void>> write(std::uint64_t offset, Buffer data, bool fua) override {
    const Running running(*this);
    check(offset, data.size(), true);
    if (data.size() >= (64 << 10) && reinterpret_cast<std::uintptr_t>(data.data()) % 4096 != 0) {
      store_.large_payload_aligned = false;
    }
    TM_CO_TRY(co_await pass(fua ? "write fua" : "write"));
    std::memcpy(store_.content.data() + offset, data.data(), data.size());
    co_return Result<void>{};
  }
  bool write_now(std::uint64_t offset, const Buffer& data) override {
    if (!store_.takes_writes_at_once) return false;
    check(offset, data.size(), true);
    store_.log.push_back("write_now");
    if (store_.keep_payloads_in != nullptr) store_.keep_payloads_in->push_back(data);
    std::memcpy(store_.content.data() + offset, data.data(), data.size());
    return true;
  }
  io::Task<Result<void>> flush() override {
    const Running running(*this);
    ++store_.requests;
    co_return co_await pass("flush");
  }
  io::Task<Result<void>> trim(std::uint64_t offset, std::uint64_t length, bool fua) override {
    const Running running(*this);
    check(offset, length, true);
    co_return co_await pass(fua ? "trim fua" : "trim");
  }
  io::Task<Result<void>> write_zeroes(std::uint64_t offset, std::uint64_t length, bool no_hole,
                                      bool fua) override {
    const Running running(*this);
    check(offset, length, true);
    std::string what = "write_zeroes";
    if (no_hole) what += " no_hole";
    if (fua) what += " fua";
    TM_CO_TRY(co_await pass(std::move(what)));
    std::memset(store_.content.data() + offset, 0, length);
    co_return Result<void>{};
  }
  io::Task<Result<void>> cache(std::uint64_t offset, std::uint64_t length) override {
    const Running running(*this);
    check(offset, length, false);
    co_return co_await pass("cache");
  }
  io::Task<Result<std::vector<AllocationExtent>>> block_status(std::uint64_t offset, std::uint64_t length,
                                                               std::size_t extents_max) override {
    const Running running(*this);
    check(offset, length, false);
    store_.extents_max_asked = extents_max;
    TM_CO_TRY(co_await pass("block_status"));
    co_return store_.map;
  }

 private:
  // Counts operations in flight, those that are destroyed half-way too.
  struct Running {
    MemoryTarget& target;
    explicit Running(MemoryTarget& t) : target(t) {
      ++target.running_here_;
      ++target.store_.running;
      target.store_.running_max = std::max(target.store_.running_max, target.store_.running);
    }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    ~Running() {
      --target.running_here_;
      --target.store_.running;
    }
  };

  void check(std::uint64_t offset, std::uint64_t length, bool changes) {
    ++store_.requests;
    TM_ASSERT(length > 0);
    TM_ASSERT(offset <= store_.info.size_bytes);
    TM_ASSERT(length <= store_.info.size_bytes - offset);
    TM_ASSERT(!changes || !store_.info.read_only);
  }
  io::Task<Result<void>> pass(std::string what) {
    while (store_.gate_closed) co_await store_.gate_opened.wait();
    if (store_.failure.has_value()) co_return *store_.failure;
    store_.log.push_back(std::move(what));
    co_return Result<void>{};
  }

  MemoryExport& store_;
  std::uint64_t running_here_ = 0;
};

class MemoryDirectory final : public ExportDirectory {
 public:
  explicit MemoryDirectory(io::Scheduler& scheduler) : scheduler_(scheduler), opening_gate_(scheduler) {}

  MemoryExport& add(const std::string& name, std::uint64_t size_bytes) {
    auto store = std::make_unique<MemoryExport>(scheduler_, name, size_bytes);
    MemoryExport& added = *store;
    exports_[name] = std::move(store);
    return added;
  }
  void close_gate() { gate_closed_ = true; }
  void open_gate() {
    gate_closed_ = false;
    opening_gate_.wake_all();
  }
  std::optional<Error> failure;
  std::uint64_t opens = 0;
  std::string last_client;

  io::Task<Result<std::vector<std::string>>> list() override {
    if (failure.has_value()) co_return *failure;
    std::vector<std::string> names;
    for (const auto& [name, store] : exports_) names.push_back(name);
    co_return std::move(names);
  }
  io::Task<Result<ExportInfo>> describe(std::string name) override {
    if (failure.has_value()) co_return *failure;
    const auto found = exports_.find(name);
    if (found == exports_.end()) co_return fail(ErrorCode::kNotFound, "export '" + name + "' does not exist");
    co_return found->second->info;
  }
  io::Task<Result<std::unique_ptr<BlockTarget>>> open(std::string name, std::string client) override {
    ++opens;
    last_client = client;
    while (gate_closed_) co_await opening_gate_.wait();
    if (failure.has_value()) co_return *failure;
    const auto found = exports_.find(name);
    if (found == exports_.end()) co_return fail(ErrorCode::kNotFound, "export '" + name + "' does not exist");
    std::unique_ptr<BlockTarget> target = std::make_unique<MemoryTarget>(*found->second);
    co_return std::move(target);
  }

 private:
  io::Scheduler& scheduler_;
  std::map<std::string, std::unique_ptr<MemoryExport>> exports_;
  bool gate_closed_ = false;
  io::WaitQueue opening_gate_;
};

}  // namespace tidemark::nbd::test
