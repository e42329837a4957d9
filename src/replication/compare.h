#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "group/group.h"
#include "replication/query.h"

namespace tidemark::replication {

// Whose blocks are written again where the two nodes differ.
enum class RepairFrom : std::uint8_t { kNowhere, kPrimary, kSecondary };

// A block a second: slower than that, a peer would take the silence for an end.
inline constexpr std::uint64_t kCompareRateMin = kBlockSizeBytes;
// kInvalid for a rate that is neither 0, no limit, nor at least kCompareRateMin.
Result<void> check_copy_rate(std::uint64_t bytes_per_second);
struct CompareOptions {
  std::uint64_t bytes_per_second_max = 0;  // read on each node; 0: no limit, else at least kCompareRateMin
  RepairFrom repair = RepairFrom::kNowhere;
  // Not an operator's: for a secondary behind a gap, which is whole when what differs was written again.
  // Digests are compared, and nothing is noted in the local record.
  bool resyncs = false;
  bool operator==(const CompareOptions&) const = default;
};

// A run of blocks that is not the same on both nodes, or cannot be read on one.
struct Difference {
  VolumeId volume{};
  std::string volume_name{};
  BlockRange blocks{};
  bool readable_here = true;
  bool readable_there = true;
  bool repaired = false;
};

enum class CompareState : std::uint8_t {
  kNever,
  kRunning,
  kSame,       // to the end, and nothing differs
  kDiffering,  // to the end
  kStopped,    // by request, or with its pair; what was found until then counts
  kFailed,     // something else was in the way; `reason` says what
};

struct CompareProgress {
  CompareState state = CompareState::kNever;
  std::string reason{};
  CompareOptions options{};
  std::string peer_name{};
  WallTime begun{};
  WallTime ended{};
  // The entry at which both were read: one, or, when the first expired meanwhile, from this to that one.
  LogId first_point{};
  LogId last_point{};
  std::uint64_t bytes_done = 0;      // of the volumes' sizes
  std::uint64_t bytes_total = 0;     // the same
  std::uint64_t compared_bytes = 0;  // what is neither zero nor unallocated on both
  std::uint64_t differing_bytes = 0;
  std::uint64_t repaired_bytes = 0;
  std::uint64_t unreadable_here_bytes = 0;  // of those that differ
  std::vector<Difference> differences{};    // the first kDifferencesKeptMax of them
};
inline constexpr std::size_t kDifferencesKeptMax = 1000;

// Compares what the two nodes of a pair hold, block by block at one log entry that both have, while both
// serve. Only checksums cross the link, and none for what both know to be zeroes. A block that its node
// cannot read is told like one that differs. An answer that names a block differs for certain; one that names
// none has looked at CRC32C, which two blocks have in common by chance once in four thousand million times.
//
// A repair writes blocks again as entries of the primary, so that both nodes receive them in order and they
// can be gone back from like any other; what a host has written since is left alone. Past points stay as they
// are.
//
// The point may expire when a node needs the space; the comparison then goes on at a newer one. Reactor
// thread only.
class Comparison {
 public:
  // `common`: the newest entry that both nodes have, asked whenever a point is needed.
  Comparison(io::Environment environment, std::shared_ptr<group::Group> group, std::shared_ptr<Link> link,
             std::string peer_name, CompareOptions options, std::function<LogId()> common);

  const CompareProgress& progress() const { return progress_; }
  bool running() const { return progress_.state == CompareState::kRunning; }
  BlockHash hash() const { return progress_.options.resyncs ? BlockHash::kDigest : BlockHash::kCrc32c; }
  // Of one that failed: why.
  const std::optional<Error>& failure() const { return failure_; }
  // To its end, or until stop(). Lets go of the group and the link when it ends; what came of it is in
  // progress(), and of one that came to its end also in the group's local record.
  io::Task<void> run();
  void stop(std::string reason);
  // From now on.
  void set_rate(std::uint64_t bytes_per_second_max);

 private:
  io::Task<Result<void>> work();
  io::Task<Result<void>> meet();
  io::Task<Result<void>> check_whole_there();
  io::Task<Result<bool>> compare_volume(VolumeId volume);
  io::Task<Result<void>> compare_step(const group::VolumeShape* shape, std::uint64_t* at);
  io::Task<Result<void>> compare_part(const group::VolumeShape* shape, BlockRange part);
  io::Task<Result<bool>> repair(const Difference* difference);
  void add(Difference difference);
  Result<void> check_going_on() const;
  io::Task<void> pace();

  io::Environment environment_;
  std::shared_ptr<group::Group> group_;
  std::shared_ptr<Link> link_;
  PeerQuery query_;
  std::function<LogId()> common_;
  CompareProgress progress_;
  std::optional<std::string> stopped_;
  std::optional<Error> failure_;
  // The pace counts from here: a moment, and what had been compared by then.
  MonotonicTime paced_since_{};
  std::uint64_t paced_from_bytes_ = 0;
  std::uint64_t volumes_done_bytes_ = 0;  // before the one that is being compared
  LogId point_{};
  group::PointPin pin_;
  LogId same_until_{};                       // of a resync: up to here the peer has all that was written
  std::vector<group::VolumeShape> volumes_;  // at the point
};

}  // namespace tidemark::replication
