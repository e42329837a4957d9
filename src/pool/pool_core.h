#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "format/disk.h"
#include "io/disk.h"
#include "io/environment.h"
#include "io/sync.h"
#include "pool/checksum_cache.h"
#include "pool/extent_table.h"
#include "pool/lu_table.h"
#include "pool/slot_map.h"
#include "pool/slot_watch.h"

namespace tidemark::pool {

// Flushes of a disk that several share. A flush covers everybody's writes, and a failed one leaves
// everybody's in doubt, while the next may succeed without them (docs/fault-model.md). So each sharer keeps
// how many failures it knows of, and learns of every other one at its own next flush.
class SharedFlush {
 public:
  explicit SharedFlush(io::Disk& disk) : disk_(disk) {}
  std::uint64_t failures() const { return failures_; }
  // `seen` outlives the call. Fails when the flush fails, or when one that the sharer has not seen did.
  io::Task<Result<void>> flush(std::uint64_t* seen) {
    if (failures_ == *seen) {
      auto done = co_await disk_.flush();
      if (!done.ok()) {
        ++failures_;
        last_error_ = std::move(done).error();
      }
    }
    if (failures_ == *seen) co_return Result<void>{};
    *seen = failures_;
    co_return last_error_;
  }

 private:
  io::Disk& disk_;
  std::uint64_t failures_ = 0;
  Error last_error_{};
};

// What the pool and its volumes share. Owned by the pool.
//
// Two locks order what happens on the disk: space_mutex for whoever takes slots, table_mutex for whoever
// writes tables or extent sectors. Who needs both takes space_mutex first.
struct PoolCore {
  PoolCore(const io::Environment& environment, io::Disk& on_disk, const format::DiskLabel& disk_label,
           std::uint64_t checksum_cache_bytes_max)
      : scheduler(environment.scheduler),
        disk(on_disk),
        shared_flush(on_disk),
        label(disk_label),
        slots(disk_label.layout.slot_count),
        cache(environment.scheduler, on_disk, disk_label.layout, checksum_cache_bytes_max),
        extents(on_disk, disk_label.layout, disk_label.disk),
        units(on_disk, disk_label.layout, disk_label.disk, disk_label.pool),
        space_mutex(environment.scheduler),
        table_mutex(environment.scheduler),
        scope(environment.scheduler) {}

  // Runs `work` in the pool's own scope and waits for it. When the waiting task is destroyed, `work` runs to
  // its end all the same: steps that belong together are not left half done, and no write of ours is in
  // flight that nobody waits for.
  template <typename T>
  io::Task<Result<T>> run_owned(io::Task<Result<T>> work) {
    struct State {
      explicit State(io::Scheduler& s) : done(s) {}
      io::Event done;
      std::optional<Result<T>> result;
    };
    auto state = std::make_shared<State>(scheduler);
    scope.spawn([](io::Task<Result<T>> inner, std::shared_ptr<State> shared) -> io::Task<void> {
      shared->result.emplace(co_await inner);
      shared->done.set();
    }(std::move(work), state));
    co_await state->done.wait();
    co_return std::move(*state->result);
  }

  // Gives the space of slots back, whose release is durable, and lets others take them. That the disk cannot
  // give space back is no failure.
  io::Task<void> give_back(std::vector<std::uint64_t> released);

  io::Scheduler& scheduler;
  io::Disk& disk;
  SharedFlush shared_flush;
  const format::DiskLabel label;
  SlotMap slots;
  SlotWatch watch;
  ChecksumCache cache;
  ExtentTable extents;
  LuTable units;
  std::uint64_t next_generation = 1;
  io::Mutex space_mutex;
  io::Mutex table_mutex;
  io::TaskScope scope;  // last: its tasks use all the others
};

// Slots taken and not yet put to use; given back unless commit() is called.
class SlotGrant {
 public:
  explicit SlotGrant(SlotMap& slots) : slots_(slots) {}
  SlotGrant(const SlotGrant&) = delete;
  SlotGrant& operator=(const SlotGrant&) = delete;
  ~SlotGrant() {
    for (const std::uint64_t slot : taken_) slots_.release(slot, slots_.is_backed(slot));
  }
  void take(std::uint64_t slot) {
    slots_.take(slot);
    taken_.push_back(slot);
  }
  const std::vector<std::uint64_t>& taken() const { return taken_; }
  void commit() { taken_.clear(); }

 private:
  SlotMap& slots_;
  std::vector<std::uint64_t> taken_;
};

}  // namespace tidemark::pool
