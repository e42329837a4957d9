#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "raid/gather.h"
#include "raid/geometry.h"
#include "raid/intent_map.h"
#include "raid/member_set.h"
#include "raid/raid_group.h"
#include "raid/range_lock.h"
#include "raid/stripe_journal.h"
#include "raid/unflushed.h"

namespace tidemark::raid {

// Whole rows of parity of less than this go through the stripe journal too: writers of so little may count on
// their sectors being old or new, also when a member is lost with the power.
inline constexpr std::uint64_t kInPlaceBytesMin = 64 << 10;

// A group at work.
//
// Invariants:
//  - whoever changes bytes, or computes some from other members, holds their range: of the members' data
//  areas
//    with parity (all members share a row), of the group's addresses otherwise. One range per operation;
//  - which members take part is decided under that lock, and a rebuild moves under it too;
//  - a write runs to its end in tasks_, whatever becomes of the Task that asked for it: half of it would
//  leave
//    members that differ;
//  - with parity, a write that leaves a part of a row alone is in the stripe journal before it is in place;
//    every other write of more than one member holds its regions of the intent map.
class Group final : public RaidGroup {
 public:
  Group(io::Environment& environment, const format::RaidLabel& label, NodeIdentity node,
        std::vector<Member> members, std::vector<NamedDisk> spares, RaidOptions options);
  ~Group() override;

  // ---- io::Disk ----
  std::uint64_t size_bytes() const override { return geometry_.size_bytes(); }
  io::Task<Result<void>> read(DiskOffset offset, Buffer out) override;
  io::Task<Result<void>> write(DiskOffset offset, std::vector<Buffer> pieces,
                               io::Durability durability) override;
  io::Task<Result<void>> flush() override;
  io::Task<Result<void>> allocate(DiskOffset offset, std::uint64_t length_bytes) override;
  io::Task<Result<void>> discard(DiskOffset offset, std::uint64_t length_bytes) override;
  io::Task<Result<void>> read_other_copies(DiskOffset offset, Buffer out,
                                           std::function<bool(Bytes)> is_right) override;
  io::Task<Result<void>> peek(DiskOffset offset, Buffer out) override;
  io::Task<Result<void>> peek_other_copies(DiskOffset offset, Buffer out,
                                           std::function<bool(Bytes)> is_right) override;

  // ---- RaidGroup ----
  RaidStatus status() const override;
  RaidAddress translate(DiskOffset offset) const override;
  io::Task<Result<void>> replace(std::uint32_t index, NamedDisk disk) override;
  io::Task<Result<void>> add_spare(NamedDisk disk) override;
  io::Task<Result<void>> fail_out(std::uint32_t index) override;
  io::Task<void> wait_for_rebuild() override;
  void resume_rebuild() override;
  io::Task<Result<ScrubReport>> scrub(ScrubRequest request) override;
  io::Task<Result<void>> close() override;

  // After construction: makes the state durable, replays the journal, brings marked regions in sync, and
  // starts what rebuilds there are.
  io::Task<Result<void>> start(std::uint64_t event, std::uint64_t settled);
  void add_notice(std::string notice) { notices_.push_back(std::move(notice)); }

 private:
  using Piece = Geometry::Piece;
  using Operation = io::Task<Result<void>>;
  // Bytes of one row in the columns [begin, begin + length) by role; every one is there.
  struct Strip {
    std::vector<Buffer> roles;
    std::vector<std::uint32_t> made;  // from the others: missing, or could not be read
    bool read_failed = false;         // of a member that should have it
  };
  // Columns of a row of which the cells in `cells` are written.
  struct Segment {
    std::uint64_t begin = 0, end = 0;
    std::uint32_t first_cell = 0, last_cell = 0;  // both included
  };

  // ---- group.cc ----
  Operation run_to_end(Operation operation);
  // For what an administrator asks for: it does not wait behind the operations of a member that hangs.
  Operation run_at_once(Operation operation);
  Result<void> check_range(const char* what, DiskOffset offset, std::uint64_t length_bytes) const;
  Operation do_flush();
  Operation do_allocate(std::uint64_t offset, std::uint64_t length_bytes);
  Operation do_discard(std::uint64_t offset, std::uint64_t length_bytes);
  Operation discard_rows(std::uint64_t first_row, std::uint64_t rows);
  Operation write_zeroes(std::uint64_t offset, std::uint64_t length_bytes);
  Operation write_any(std::uint64_t offset, Gather data, io::Durability durability);
  Operation write_members(std::vector<MemberBytes> writes, io::Durability durability, std::string doing);
  Error unreadable(std::uint64_t group_offset, std::string why) const;

  // ---- group_read.cc ----
  struct Run;
  // With `repair` what cannot be read is written again.
  Operation read_pieces(DiskOffset offset, Buffer out, bool repair);
  io::Task<void> read_run(const Run* run, std::uint64_t base, Buffer out, bool repair, Result<void>* result);
  Operation rescue(Piece piece, std::int32_t bad_member, Buffer out, bool repair);
  Operation read_any_copy(Piece piece, std::int32_t bad_member, Buffer out, bool repair);
  std::optional<std::uint32_t> choose_member(const Piece& piece) const;
  // The lock is held. `without` are roles (or, with mirrors, members) not to be asked. With `repair` what
  // could not be read is written again. `spare` is read only when it is needed to make the others.
  io::Task<Result<Strip>> load_row(std::uint64_t row, std::uint64_t column, std::uint64_t length_bytes,
                                   std::vector<std::uint32_t> without, bool repair = true,
                                   std::optional<std::uint32_t> spare = std::nullopt);
  io::Task<Result<Strip>> load_row_at_once(std::uint64_t row, std::uint64_t column,
                                           std::uint64_t length_bytes, std::vector<std::uint32_t> without,
                                           bool repair, std::optional<std::uint32_t> spare,
                                           bool* read_failed);
  // Writes a block that could not be read and looks whether it can be now; else fails the member out.
  io::Task<void> rewrite(std::uint32_t member, std::uint64_t offset, Buffer bytes);

  // ---- mirror.cc ----
  Operation write_mirrored(std::uint64_t offset, Gather data, io::Durability durability);
  Operation resync_mirror(std::uint32_t first_member, std::uint64_t begin, std::uint64_t length_bytes);

  // ---- parity_write.cc ----
  Operation write_parity(std::uint64_t offset, Gather data, io::Durability durability);
  Operation write_rows(std::uint64_t first_row, std::uint64_t rows, const Gather* data, std::uint64_t at,
                       io::Durability durability);
  Operation write_partial_row(std::uint64_t offset, std::uint64_t length_bytes, const Gather* data,
                              std::uint64_t at, io::Durability durability);
  Operation write_segments(std::uint64_t row, std::vector<Segment> segments, const Gather* data,
                           std::uint64_t at, io::Durability durability);
  io::Task<Result<std::vector<Buffer>>> make_parity(std::uint64_t row, Segment segment, const Gather* data,
                                                    std::uint64_t at);
  Operation resync_row(std::uint64_t row);

  // ---- rebuild.cc ----
  Operation resync_marked();
  // Whether all of them could be.
  io::Task<bool> resync_rows(std::uint64_t first_row, std::uint64_t end_row);
  std::optional<std::uint32_t> spare_parity(std::uint64_t row, std::uint32_t lost_role) const;
  io::Task<void> load_for_rebuild(std::uint32_t member, std::uint64_t offset, Buffer out,
                                  Result<void>* result);
  // Of one member, from one durable position to the next.
  struct Rebuild {
    Rebuild(io::Scheduler& scheduler, std::uint32_t member, DiskIdentity identity)
        : index(member), disk(identity), turns(scheduler), moved(scheduler) {}
    const std::uint32_t index;
    const DiskIdentity disk;
    std::uint64_t began_at = 0;  // of the member
    MonotonicTime began{};
    std::uint64_t next = 0;  // where the next step begins
    std::uint64_t stop = 0;  // no step begins at or behind it
    bool ended = false;      // a step did not count, nor does any behind it
    Result<void> error{};
    io::Mutex turns;
    io::WaitQueue moved;
  };
  bool goes_on(const Rebuild& run) const;
  io::Task<void> rebuild_some(Rebuild* run);
  io::Task<Result<bool>> rebuild_range(std::uint32_t member, std::uint64_t begin, std::uint64_t end);
  Operation finish_rebuild(std::uint32_t member);
  io::Task<void> rebuild_all();
  io::Task<void> retry_rebuild();
  bool is_to_be_rebuilt(std::uint32_t index) const;
  bool is_to_be_replaced(std::uint32_t index) const;  // by a spare
  Operation rebuild_member(std::uint32_t member);
  Operation take_spares();
  Operation prepare(NamedDisk disk, format::RaidLabel label);
  Operation put_in_place(std::uint32_t index, NamedDisk disk, format::RaidLabel label);
  Result<void> check_may_go(std::uint32_t index) const;
  Operation do_replace(std::uint32_t index, NamedDisk disk);
  Operation replace_member(std::uint32_t index, NamedDisk disk);
  Operation do_add_spare(NamedDisk disk);
  io::Task<Result<format::RaidLabel>> make_label(NamedDisk disk, std::uint16_t index);
  void start_rebuild();

  // ---- scrub.cc ----
  Operation scrub_mirror(const ScrubRequest* request, std::uint64_t row, ScrubReport* report);
  // What a member has of a cell.
  struct Copy {
    std::uint32_t member = 0;
    Buffer bytes;
    std::vector<bool> unreadable{};  // by block; empty: all of it could be read
    std::string why{};               // it could not
    bool could_read(std::uint64_t at) const {
      return unreadable.empty() || !unreadable[at / kBlockSizeBytes];
    }
    Buffer block(std::uint64_t at) const { return bytes.slice(at, kBlockSizeBytes); }
  };
  Operation scrub_cell(const ScrubRequest* request, Piece piece, ScrubReport* report);
  io::Task<Copy> read_copy(std::uint32_t member, Piece piece);
  Operation scrub_parity(const ScrubRequest* request, std::uint64_t row, ScrubReport* report);
  Operation scrub_column(const ScrubRequest* request, std::uint64_t row, std::uint64_t column, Strip strip,
                         ScrubReport* report);
  Operation find_copy(DiskOffset offset, Buffer out, std::function<bool(Bytes)> is_right, bool repair);
  Operation other_mirrors(Piece piece, Buffer out, std::function<bool(Bytes)> is_right, bool repair);
  Operation other_parities(Piece piece, Buffer out, std::function<bool(Bytes)> is_right, bool repair);
  // What the block of a column would be if the roles in `wrong` are, as a whole strip; nothing when the
  // parities that are left speak against it.
  std::optional<Strip> suppose(const Strip& now, const std::vector<std::uint32_t>& wrong) const;
  // Writes the roles of a column that are not as in `right`.
  Operation write_right(std::uint64_t row, std::uint64_t column, const Strip* now, const Strip* right);

  io::Environment& environment_;
  const Geometry geometry_;
  const format::RaidLabel label_;  // of any member
  const NodeIdentity node_;
  const RaidOptions options_;
  MemberSet members_;
  StripeJournal journal_;
  IntentMap intents_;
  RangeLock locks_;
  UnflushedRanges unflushed_;  // with parity
  std::vector<NamedDisk> spares_;
  std::vector<std::string> notices_;
  std::string rebuild_problem_;
  std::uint64_t replayed_entries_ = 0;
  std::uint64_t resynced_bytes_ = 0;
  bool rebuilding_ = false;
  bool retrying_ = false;
  std::vector<MemberSet::Place> halted_;  // members whose rebuild does not go on
  std::set<std::uint32_t> replacing_;     // members that a command is giving another disk
  bool scrubbing_ = false;
  io::WaitQueue rebuild_ended_;
  io::WaitQueue operation_ended_;
  io::TaskScope tasks_;  // goes first: its tasks use the rest
};

}  // namespace tidemark::raid
