#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "io/sync.h"
#include "raid/member_set.h"

namespace tidemark::raid {

// Bytes that go to one member.
struct MemberBytes {
  std::uint32_t member = 0;
  std::uint64_t offset = 0;  // in its data area
  std::uint64_t length_bytes = 0;
  std::vector<Buffer> pieces;
};

// The log that closes the write hole of parity: new data and new parity of a partial row are durable here, on
// as many members as can be lost and one more, before any of them is written in place (docs/decisions/0017).
//
// One ring of the same addresses on every member; an entry lies on some of them. Invariants:
//  - an entry is live from append() until it was written in place and all members were flushed after that;
//  - entries below the begin that is durable on every member in use are dead. Space is used again only when
//    what lay there is dead: so of two entries for the same bytes the newer is found whenever the older is;
//  - whoever writes in place without an entry makes dead what overlaps first (retire()).
class StripeJournal {
 public:
  explicit StripeJournal(MemberSet& members);

  // Returns a sequence when the entry is durable. Waits while the ring is full. At most
  // format::kStripePayloadBytesMax bytes, in kStripeEntryExtentsMax runs.
  io::Task<Result<std::uint64_t>> append(std::vector<MemberBytes> writes);
  // The entry was written in place, volatile or not.
  void in_place(std::uint64_t sequence);
  // The group is broken: whoever waits for room looks again.
  void wake() { progress_.wake_all(); }
  // All that was in place before mark() was called is durable there.
  std::uint64_t mark() const { return clock_; }
  void flushed(std::uint64_t mark);
  // Returns when no entry that overlaps [begin, end) of the members' data areas can be replayed. Whoever
  // calls holds that range.
  io::Task<Result<void>> retire(std::uint64_t begin, std::uint64_t end);
  // The same for all entries that there are now. All of them are being written in place, or are already.
  io::Task<Result<void>> retire_all();
  // Whether an entry that is not known to be durable in place lies on fewer members in sync than that.
  bool has_entries_on_fewer_than(std::size_t copies) const;
  // Finds the entries that count and writes them in place again, in order; flushes, and makes them dead.
  // Returns how many there were. Before anything else is done with the group.
  io::Task<Result<std::uint64_t>> replay();
  // Writes the begin to the members in use: for a new one.
  io::Task<Result<void>> write_begin();
  std::size_t entries() const { return entries_.size(); }

 private:
  struct Entry {
    std::uint64_t sequence = 0;
    std::uint64_t position = 0;
    std::uint64_t length_bytes = 0;
    std::uint64_t begin = 0, end = 0;  // of the members' data areas, all of it
    std::uint64_t in_place_at = 0;     // clock_; 0: not yet
    bool is_flushed = false;
    std::vector<DiskIdentity> holders;  // the disks it lies on, or is being written to
  };
  struct Found {
    format::StripeEntry entry;
    std::vector<std::uint32_t> members;
  };
  bool take_room(std::uint64_t length_bytes, std::uint64_t* position) const;
  io::Task<Result<void>> make_room();
  std::vector<MemberSet::Place> choose_holders(std::uint64_t sequence) const;
  io::Task<Result<void>> write_copies(std::vector<MemberSet::Place> places, std::uint64_t position,
                                      std::vector<Buffer> pieces);
  io::Task<Result<std::uint64_t>> load_begin();
  io::Task<Result<void>> scan(std::uint32_t member, std::uint64_t begin,
                              std::map<std::uint64_t, Found>* found);
  io::Task<Result<void>> replay_entry(Found found, std::uint64_t* replayed);

  MemberSet& members_;
  const std::uint64_t ring_bytes_;
  std::deque<Entry> entries_;  // not known to be dead, oldest first
  std::uint64_t next_sequence_ = 1;
  std::uint64_t clock_ = 0;
  io::Mutex room_mutex_;
  io::Mutex begin_mutex_;  // behind room_mutex_; an older begin is never written after a newer one
  io::WaitQueue progress_;
};

}  // namespace tidemark::raid
