#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "group/core.h"

namespace tidemark::group {

// Where a block may be had that is damaged here.
class OtherCopies {
 public:
  virtual ~OtherCopies() = default;
  // Whose they are, for messages.
  virtual std::string owner() const = 0;
  // The newest entry that is there too; none when that is not known.
  virtual LogId newest() const = 0;
  // What the block held at that entry.
  virtual io::Task<Result<Buffer>> block(VolumeId volume, LogId at, std::uint64_t block) = 0;
  // Whoever waits for a block gets an error soon.
  virtual void end() = 0;
};

struct VerifyOptions {
  bool base = true;                        // the allocated blocks of the base too
  std::uint64_t bytes_per_second_max = 0;  // read from the disk; 0: no limit
  std::shared_ptr<OtherCopies> repair{};   // damaged blocks are written again from there; null: they are not
};

// Something that is not as it was written, told exactly.
struct Damage {
  std::string text{};  // what and where
  std::optional<VolumeId> volume{};
  std::string volume_name{};  // as it is called at the newest point concerned
  BlockRange blocks{};        // of the volume
  LogId first{};              // the entries concerned; none: no entry is
  LogId last{};
  LogId affected_from{};  // the readable points that would show it; none: no point would
  LogId affected_to{};
  bool live = false;                 // the live volume is among them
  bool traced = true;                // else there may be more of these points than are named
  std::vector<std::string> marks{};  // the first ones among them
  bool repaired = false;             // it is as it was written again
};

enum class VerifyState : std::uint8_t {
  kNever,
  kRunning,
  kGood,      // to the end, and nothing found
  kRepaired,  // to the end, and all that was found is as it was written again
  kDamaged,   // to the end, with damage
  kStopped,   // by request, or with its group; what was found until then counts
  kFailed,    // something else was in the way; `reason` says what
};

struct VerifyProgress {
  VerifyState state = VerifyState::kNever;
  std::string reason{};
  VerifyOptions options{};
  WallTime begun{};
  WallTime ended{};
  LogId first{};  // of the entries that were proved, in append order
  LogId last{};
  std::uint64_t batches = 0;
  std::uint64_t entries = 0;
  std::uint64_t base_blocks = 0;
  std::uint64_t bytes_done = 0;
  std::uint64_t bytes_total = 0;  // an estimate that moves with what is written meanwhile
  std::uint64_t damages = 0;
  std::uint64_t repairs = 0;     // of these
  std::vector<Damage> damage{};  // the first kDamagesKeptMax of them
};
inline constexpr std::size_t kDamagesKeptMax = 1000;

// Proves what a group has on its disk, while it serves: every frame of the journal from the oldest kept to
// what is durable at its end, in append order, with each block of payload; that along each epoch the log ids
// follow one another, each batch names the one before it, and the timer never goes back; that the table of
// marks and the mark entries agree; and the blocks of the base that a reader may be given. It reads from the
// disk, in pieces of a megabyte at most, whatever is in memory. Only the checksums of the base come from
// memory where they are there. What is written after it began is not looked at.
//
// It changes nothing, unless it is given other copies: then a block of payload or of the base that is damaged
// is written again, in its place, when a copy of it matches the checksum that it has here. (Where the
// checksum itself was lost, the copy is taken at its owner's word.)
//
// Nothing is kept from being freed for longer than one piece is read: what passes out of the window meanwhile
// is not looked at any more.
//
// Owned by Group; one run at a time. Reactor thread only.
class Verifier {
 public:
  explicit Verifier(Core& core) : core_(core) {}

  const VerifyProgress& progress() const { return progress_; }
  bool running() const { return progress_.state == VerifyState::kRunning; }
  // Sets the state to running; run() is to follow. kBusy while the first copy runs.
  Result<void> begin(VerifyOptions options);
  // To its end, or until stop(), or until the group closes or stops. The outcome is in progress(), and in the
  // local record when it came to an end.
  io::Task<void> run();
  void stop();

 private:
  // What is known of an epoch from the batches seen so far.
  struct Chain {
    LogId first{};  // since the walk began
    LogId last{};
    std::uint32_t checksum = 0;
    WallTime timer{};
  };
  using Piece = index::Piece;

  Result<void> check_going_on() const;
  io::Task<Result<void>> work();
  io::Task<Result<void>> walk_journal();
  std::map<Epoch, LogId> durable_ends() const;
  // `for_deletions`: only of marks that are missing; the batch came after the run began.
  io::Task<Result<void>> look_at_batch(const journal::CheckedFrame* frame, bool for_deletions);
  io::Task<Result<void>> check_parent(const journal::CheckedFrame* frame);
  void check_entries(const journal::CheckedFrame& frame, bool for_deletions);
  void check_mark(LogId entry, WallTime timer, const format::MarkRecord& record, bool named);
  io::Task<Result<void>> report_payload(const journal::CheckedFrame* frame);
  io::Task<Result<bool>> repair_payload(const journal::CheckedFrame* frame, journal::CheckedFrame::Block at);
  void report_gap(LogId first, LogId last, const std::string& why);
  io::Task<Result<void>> check_marks();
  io::Task<Result<void>> walk_base();
  io::Task<Result<void>> check_base(VolumeId id, BlockRange blocks);
  io::Task<Result<bool>> repair_base(VolumeId id, std::uint64_t block);
  io::Task<Result<void>> report_base(VolumeId id, BlockRange blocks, bool repaired, std::string why,
                                     bool traces);
  // Which readable points show what `source` is for one of the blocks: all of them lie from `from` to `to`.
  struct Shown {
    LogId from{};
    LogId to{};
    bool live = false;
  };
  io::Task<Result<std::optional<Shown>>> find_shown(VolumeId id, BlockRange blocks,
                                                    std::optional<LogId> source);
  io::Task<Result<void>> find_affected(VolumeId id, BlockRange blocks, std::optional<LogId> source,
                                       Damage* damage);
  io::Task<Result<std::vector<LogId>>> points_with(VolumeId id, std::uint64_t block,
                                                   std::optional<LogId> source);
  io::Task<std::optional<Buffer>> other_copy(VolumeId id, LogId at, std::uint64_t block);
  io::Task<Result<bool>> shows(VolumeId id, std::uint64_t block, LogId point, std::optional<LogId> source);
  void add(Damage damage);
  std::string name_of(VolumeId id, LogId point) const;
  io::Task<void> pace(std::uint64_t bytes);

  Core& core_;
  VerifyProgress progress_;
  bool stop_wanted_ = false;
  MonotonicTime begun_{};
  std::map<Epoch, Chain> chains_;
  std::vector<std::uint64_t> marks_seen_;       // raw log ids of mark entries, in append order
  std::map<std::string, LogId> marks_missing_;  // not in the table; their deletion may come later
  std::optional<std::string> unreadable_;       // since the last batch that was read
  std::string not_repaired_{};                  // why the last block was not
};

}  // namespace tidemark::group
