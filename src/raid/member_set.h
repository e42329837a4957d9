#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "io/environment.h"
#include "io/sync.h"
#include "raid/geometry.h"
#include "raid/raid_group.h"

namespace tidemark::raid {

struct Member {
  NamedDisk disk;                   // disk.disk is null when it is missing
  format::RaidMemberRecord record;  // as it is, or is about to be, on the disks
  std::uint64_t rebuilt_now = 0;    // kRebuilding: holds everything below it; the record's may be behind
  std::string failure;
  std::uint64_t reads = 0, writes = 0, flushes = 0, read_bytes = 0, written_bytes = 0;
  std::uint64_t read_errors = 0, write_errors = 0, repaired_blocks = 0;
  Duration latency_mean{}, latency_max{};
  std::map<std::uint64_t, MonotonicTime> in_flight;  // operation → when it began

  bool in_sync() const { return record.state == format::RaidMemberState::kInSync; }
  bool failed() const { return record.state == format::RaidMemberState::kFailed; }
};

// The members of a group: operations on them, what is known of each, and the durable record of it.
//
// Invariants:
//  - the state in memory is never better than what the disks say: a member is failed in memory first, rebuilt
//    positions are on the member before they are in the record;
//  - a state is written to every member in use, under a new event, before settle() returns; only then may
//    an operation be acknowledged that a failed member did not take part in;
//  - no more members are failed than the level tolerates. What would need one more is an error; with
//    parity, where its rows can then no longer be trusted, it ends all further operations (broken()).
//
// Offsets are relative to the members' data areas.
class MemberSet {
 public:
  MemberSet(io::Environment& environment, RaidIdentity raid, std::string name, const Geometry& geometry,
            std::vector<Member> members);

  io::Scheduler& scheduler() const { return environment_.scheduler; }
  RaidIdentity raid() const { return raid_; }
  const std::string& name() const { return name_; }
  const Geometry& geometry() const { return geometry_; }
  std::vector<Member>& all() { return members_; }
  const std::vector<Member>& all() const { return members_; }
  std::uint32_t count() const { return static_cast<std::uint32_t>(members_.size()); }
  std::uint64_t event() const { return event_; }
  const std::optional<Error>& broken() const { return broken_; }
  void set_event(std::uint64_t event, std::uint64_t settled) {
    event_ = event;
    settled_ = settled;
  }

  bool readable(std::uint32_t index, std::uint64_t begin, std::uint64_t end) const;
  bool writable(std::uint32_t index, std::uint64_t begin, std::uint64_t end) const;
  // A member with the disk that it has now.
  struct Place {
    std::uint32_t index = 0;
    DiskIdentity disk{};
  };
  Place place(std::uint32_t index) const {
    Place place;
    place.index = index;
    place.disk = members_[index].record.disk;
    return place;
  }
  // Whether the member's disk is still that one.
  bool is_there(const Place& place) const { return members_[place.index].record.disk == place.disk; }
  bool in_use(std::uint32_t index) const {
    return members_[index].disk.disk != nullptr && !members_[index].failed();
  }
  // How many members may be lost, whichever they are.
  std::uint32_t losses_left() const;
  // Whether all data are there without `index`.
  bool may_lose(std::uint32_t index) const;
  bool is_complete() const;
  std::string describe(std::uint32_t index) const;  // "member 2 (/dev/sdc)"
  std::string describe_failed() const;
  std::uint32_t operations_in_flight(std::uint32_t index) const {
    return static_cast<std::uint32_t>(members_[index].in_flight.size());
  }

  io::Task<Result<void>> read(std::uint32_t index, std::uint64_t offset, Buffer out);
  io::Task<Result<void>> write(std::uint32_t index, std::uint64_t offset, std::vector<Buffer> pieces,
                               io::Durability durability);
  io::Task<Result<void>> discard(std::uint32_t index, std::uint64_t offset, std::uint64_t length_bytes);
  io::Task<Result<void>> allocate(std::uint32_t index, std::uint64_t offset, std::uint64_t length_bytes);
  // A block of what lies before the data areas, by its offset on the disk: durably, to each member in use,
  // and failing those out that do not take it.
  io::Task<Result<void>> write_heads(std::uint64_t disk_offset, Buffer block);
  // The same for one member, without failing it out.
  io::Task<Result<void>> write_head(std::uint32_t index, std::uint64_t disk_offset,
                                    std::vector<Buffer> pieces);
  io::Task<Result<void>> read_head(std::uint32_t index, std::uint64_t disk_offset, Buffer out);
  // Every member in use; those whose flush fails are failed out.
  io::Task<Result<void>> flush();

  // The member did not do what it was asked to. Fails it out and returns when the others know, or says why it
  // cannot be done without it. `place` is from before the operation: what becomes of those on a disk that has
  // been replaced meanwhile says nothing of the new one, which takes no part in them.
  io::Task<Result<void>> lost(Place place, std::string doing, Error error);
  // Takes the results of an operation on several members, lost() for each that failed.
  io::Task<Result<void>> judge(std::vector<Place> places, std::vector<Result<void>> results,
                               std::string doing);
  // Marks that the state changed; settle() makes it durable, and returns at once when nothing changed.
  void changed() { ++changes_; }
  io::Task<Result<void>> settle();
  void set_clean(bool clean) {
    if (clean != clean_) changed();
    clean_ = clean;
  }
  void fail_in_memory(std::uint32_t index, std::string why);

 private:
  class Timer;
  io::Task<Result<void>> write_state(std::uint32_t copy, std::uint64_t settled);
  io::Task<void> flush_one(std::uint32_t index, Result<void>* result);
  void break_group(Error error);

  io::Environment& environment_;
  const RaidIdentity raid_;
  const std::string name_;
  const Geometry& geometry_;
  std::vector<Member> members_;
  std::uint64_t event_ = 0;
  std::uint64_t settled_ = 0;
  bool clean_ = false;
  std::uint64_t changes_ = 0;
  std::uint64_t changes_settled_ = 0;
  std::uint64_t next_operation_ = 0;
  std::optional<Error> broken_;
  io::Mutex state_mutex_;
};

// Runs all of them at once and waits for the last.
io::Task<void> run_all(io::Scheduler& scheduler, std::vector<io::Task<void>> tasks);
// Puts what `task` gives into `result`, which outlives it.
io::Task<void> store_result(io::Task<Result<void>> task, Result<void>* result);

}  // namespace tidemark::raid
