#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "io/sync.h"
#include "raid/member_set.h"

namespace tidemark::raid {

// Which regions of the members may differ from each other after a crash: a bit for each, durable on every
// member in use before the first write in it, taken back some time after the last one was flushed.
//
// Invariants: a write outside of the stripe journal goes to the members only while it holds its regions; a
// bit is cleared on disk only when nobody holds its region and all writes in it were flushed. Offsets are of
// members.
class IntentMap {
 public:
  explicit IntentMap(MemberSet& members);

  class [[nodiscard]] Hold {
   public:
    Hold() = default;
    Hold(IntentMap* map, std::uint64_t first, std::uint64_t last) : map_(map), first_(first), last_(last) {}
    Hold(Hold&& other) noexcept
        : map_(std::exchange(other.map_, nullptr)), first_(other.first_), last_(other.last_) {}
    Hold& operator=(Hold&&) = delete;
    ~Hold();

   private:
    IntentMap* map_ = nullptr;
    std::uint64_t first_ = 0, last_ = 0;  // both included
  };
  // Returns when the bits of [begin, end) are durable; at once where members hold nothing in common (RAID 0).
  io::Task<Result<Hold>> hold(std::uint64_t begin, std::uint64_t end);

  // All writes whose hold ended before mark() was called are durable.
  std::uint64_t mark() const { return clock_; }
  void flushed(std::uint64_t mark);
  // Clears what may be cleared. For an idle group.
  io::Task<Result<void>> clear();
  // Writes a map without a bit to one member: a new one.
  io::Task<Result<void>> write_all();
  // What the members in sync say, of which at least one can be read: regions, ascending.
  io::Task<Result<std::vector<std::uint64_t>>> load();
  // These stay marked until the next assembly looks at them again. Before anything is held.
  void keep(const std::vector<std::uint64_t>& regions);
  std::size_t regions_marked() const { return regions_.size() - kept_; }

  // So many regions at most are to be brought in sync after a crash, besides those being written just then.
  static constexpr std::size_t kRegionsMax = 128;

 private:
  struct Region {
    std::uint32_t holders = 0;
    std::uint64_t last_end = 0;  // clock_ when the last hold ended
    bool is_flushed = false;
    bool durable = false;
    bool is_kept = false;
  };
  void release(std::uint64_t first, std::uint64_t last);
  void drop_flushed();
  io::Task<Result<void>> write_map();

  MemberSet& members_;
  std::map<std::uint64_t, Region> regions_;
  std::size_t kept_ = 0;
  std::uint64_t clock_ = 0;
  io::Mutex mutex_;
};

}  // namespace tidemark::raid
