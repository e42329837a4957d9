#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"
#include "format/raid.h"
#include "io/disk.h"
#include "io/environment.h"

namespace tidemark::raid {

inline constexpr std::uint32_t kUnitBytesDefault = 64 << 10;

// A disk, and how people call it: its path. The disk outlives whoever was given it.
struct NamedDisk {
  std::string name;
  io::Disk* disk = nullptr;
};

struct RaidSpec {
  std::string name;  // at most 64 bytes
  format::RaidLevel level = format::RaidLevel::k1;
  std::uint32_t unit_bytes = kUnitBytesDefault;  // stripe unit: a multiple of 4096, at most 1 MiB
  RaidIdentity identity{};                       // zero: drawn
};

struct RaidOptions {
  std::uint64_t rebuild_bytes_per_second_max = 0;      // read from each member; 0: as fast as the disks go
  std::uint64_t rebuild_step_bytes = 256 << 20;        // of a member, between two durable positions
  std::uint64_t rebuild_piece_bytes = 1 << 20;         // of a member, read and written at once
  Duration slow_after = Duration::milliseconds(1000);  // an operation that takes longer makes a member slow
};

// What a disk turned out to be when a group was assembled.
enum class DiskRole : std::uint8_t {
  kMember,      // in use: in sync or being rebuilt
  kSpare,       // labelled for the group, waiting to take a member's place
  kFailed,      // was failed out, or another disk has its place; not used
  kRolledBack,  // its content is older than the group's: an old copy of a disk; not used
  kClone,       // carries the identity of another disk that is here too
  kForeign,     // of another group or node, or something else lies on it
  kBlank,       // carries no label
  kUnusable,    // cannot be read, is damaged, or shrank
};
const char* disk_role_name(DiskRole role);

struct DiskReport {
  std::string name;
  DiskRole role = DiskRole::kBlank;
  DiskIdentity disk{};  // zero when it carries no label
  RaidIdentity raid{};  // of the group that was looked for
  std::optional<std::uint32_t> index;
  std::string explanation;  // what was found and what to do, one sentence; empty when nothing is wrong
};

struct MemberStatus {
  std::uint32_t index = 0;
  std::string name;  // empty when the disk is missing
  DiskIdentity disk{};
  format::RaidMemberState state = format::RaidMemberState::kInSync;
  std::uint64_t rebuilt_bytes = 0;  // of RaidStatus::member_bytes
  // Counted since the group was assembled.
  std::uint64_t reads = 0, writes = 0, flushes = 0;
  std::uint64_t read_bytes = 0, written_bytes = 0;
  std::uint64_t read_errors = 0, write_errors = 0;  // flushes that failed count as writes
  std::uint64_t repaired_blocks = 0;                // blocks of 4096 bytes written again
  Duration latency_mean{};                          // of the last few hundred operations or so
  Duration latency_max{};
  bool slow = false;    // an operation took, or has been taking, longer than RaidOptions::slow_after
  std::string failure;  // why it was failed out
};

enum class GroupHealth : std::uint8_t {
  kOptimal,   // every member is in sync
  kDegraded,  // all data are there, with less redundancy than the level gives
  kFailed,    // lost more than it tolerates, or met an error that it must be assembled again for
};

struct RaidStatus {
  RaidIdentity raid{};
  std::string name;
  format::RaidLevel level = format::RaidLevel::k1;
  std::uint32_t unit_bytes = 0;
  std::uint64_t size_bytes = 0;
  std::uint64_t member_bytes = 0;
  GroupHealth health = GroupHealth::kOptimal;
  std::uint32_t losses_left = 0;  // members that may still be lost, whichever they are
  std::uint64_t event = 0;
  std::vector<MemberStatus> members;
  std::vector<std::string> spares;
  std::string rebuild_problem;         // why a rebuild does not go on; empty otherwise
  std::uint64_t replayed_entries = 0;  // of the stripe journal, when the group was assembled
  std::uint64_t resynced_bytes = 0;    // of each member, likewise
  std::vector<std::string> notices;
};

// What the owner of the group's content knows of a block of 4096 bytes. kAny: nothing lies there, and nobody
// minds what does; so it says nothing for what it was made from.
enum class Verdict : std::uint8_t { kUnknown, kRight, kWrong, kAny };
using Judge = std::function<Verdict(DiskOffset offset, Bytes block)>;

struct ScrubRequest {
  std::uint64_t begin = 0;  // [begin, end) of the group's address space; whole rows are looked at
  std::uint64_t end = UINT64_MAX;
  bool repair = true;  // false: nothing is written to any member
  Judge judge;         // may be empty
  std::uint64_t bytes_per_second_max = 0;
};

struct ScrubFinding {
  DiskOffset offset{};  // in the group: of the block, or for parity of the first block it covers
  std::optional<std::uint32_t> member;  // the one that was wrong, where that is known
  bool repaired = false;
  bool repairable = false;  // it is known what is right, and nothing was to be repaired
  std::string explanation;
};

struct ScrubReport {
  std::uint64_t checked_bytes = 0;  // of the group's address space
  std::uint64_t mismatches = 0;     // blocks of a member or columns of a row that did not fit together
  std::uint64_t repaired = 0;
  std::uint64_t repairable = 0;        // without `repair`: what would have been repaired
  std::uint64_t undecided = 0;         // nobody could say which member was right; left as they are
  std::vector<ScrubFinding> findings;  // the first kFindingsMax
  static constexpr std::size_t kFindingsMax = 1000;
};

// Where a byte of the group lies.
struct RaidAddress {
  struct Place {
    std::uint32_t member = 0;
    DiskOffset offset{};  // on the disk
  };
  std::vector<Place> data;    // one, or one for each copy
  std::vector<Place> parity;  // P, then Q
};

struct Assembly;

// Disks made into one: striped (RAID 0), mirrored (1, 10) or striped with parity (5, 6). What lies on the
// members is in docs/formats/raid.md, why a crash with the loss of a disk harms nothing in
// docs/decisions/0017.
//
// It is an io::Disk and keeps that contract: the same alignment, kDurable and flush(), and after a crash any
// subset of the sectors written since the last flush, also when as many members are lost at once as the level
// tolerates. One exception: of a write that covered whole rows, 64 KiB or more of them, and was in flight or
// not flushed when power and members were lost together, blocks may hold neither their old nor their new
// content.
//
// A member whose write or flush fails, or a block that can be neither read nor written again, is failed out:
// the others know durably before the operation is acknowledged. Beyond what the level tolerates operations
// fail with kIo and name the members; a group with parity then refuses everything until it is assembled
// again.
//
// Made by assemble(); owned by whoever called it. Reactor thread only. The disks outlive it. A destroyed Task
// does not stop its operation; destroying the group does, and is to the members as a crash. Tasks of its
// reads go before it.
class RaidGroup : public io::Disk {
 public:
  // Labels blank disks as the members of a new group that reads as zeroes. Durable on return. kInvalid when
  // the disks do not fit the level, kExists naming the disk when something lies on one of them. What is on
  // the disks is discarded.
  static io::Task<Result<RaidIdentity>> create(io::Environment& environment, std::vector<NamedDisk> disks,
                                               NodeIdentity node, RaidSpec spec);
  // What the label of a disk says. kNotFound when it is blank, kDamaged, kUnsupported, kIo.
  static io::Task<Result<format::RaidLabel>> inspect(io::Disk& disk);
  // Finds the members of `raid` among the disks, replays the stripe journal and brings in sync what a crash
  // left different, before anything can be read. Members that are missing or refused are failed out. The
  // report names every disk, whether the group could be assembled or not. Fails with kNotFound when no disk
  // is of the group, kRefused when disks of it cannot be told apart (clones) or belong to another node, kIo
  // when more are missing than the level tolerates; nothing was written then.
  static io::Task<Assembly> assemble(io::Environment& environment, std::vector<NamedDisk> disks,
                                     NodeIdentity node, RaidIdentity raid, RaidOptions options);

  virtual RaidStatus status() const = 0;
  virtual RaidAddress translate(DiskOffset offset) const = 0;
  // Puts a blank disk in the place of a member, which is failed out first when it is in sync and may be lost.
  // Durable on return; the rebuild goes on by itself, also after a crash. kRefused, kInvalid (too small),
  // kExists.
  virtual io::Task<Result<void>> replace(std::uint32_t index, NamedDisk disk) = 0;
  // Labels a blank disk as a spare. It takes the place of a member that is or will be failed. Durable on
  // return.
  virtual io::Task<Result<void>> add_spare(NamedDisk disk) = 0;
  // Fails a member out, durably. kRefused when the level does not tolerate it.
  virtual io::Task<Result<void>> fail_out(std::uint32_t index) = 0;
  // Waits until no rebuild is running: all done, or halted (RaidStatus::rebuild_problem).
  virtual io::Task<void> wait_for_rebuild() = 0;
  // Goes on with a rebuild that halted.
  virtual void resume_rebuild() = 0;
  // Compares copies, or data with parity. One scrub at a time (kBusy). kIo when a range cannot be read at
  // all.
  virtual io::Task<Result<ScrubReport>> scrub(ScrubRequest request) = 0;
  // No operation may be in flight. What is written is durable, and the next assembly has nothing to repair.
  virtual io::Task<Result<void>> close() = 0;
};

struct Assembly {
  Result<std::unique_ptr<RaidGroup>> group = Result<std::unique_ptr<RaidGroup>>(nullptr);
  std::vector<DiskReport> disks;
};

}  // namespace tidemark::raid
