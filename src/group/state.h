#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"
#include "format/batch.h"
#include "format/records.h"
#include "index/epoch_tree.h"

namespace tidemark::group {

// A volume as it is at one point of the order.
struct VolumeShape {
  VolumeId id{};
  std::string name{};
  std::uint64_t size_bytes = 0;
  bool operator==(const VolumeShape&) const = default;
};

// A name for a point: made in the order (a mark entry), or given afterwards.
struct Mark {
  std::string id{};
  LogId at{};        // the point it names
  LogId entry{};     // the entry that recorded it: `at` itself for a mark made in the order
  WallTime timer{};  // timer value of the entry at the point
  WallTime host_time{};
  std::string host{};
  std::string note{};
  bool held = false;  // the floor does not pass it
  // Taken at a secondary while its primary could not be asked; known to this node alone so far.
  bool provisional = false;
};

// What the host said of a mark.
format::MarkRecord record_of(const Mark& mark);
// kInvalid for a mark that could not be read back.
Result<void> validate_mark(const format::MarkRecord& mark);

inline constexpr std::size_t kMarksMax = 2'000'000;  // in memory, about 250 bytes each
inline constexpr std::size_t kVolumesMax = 1024;
// After so many changes of its volumes a group takes no new one; the state keeps them all.
inline constexpr std::size_t kShapeChangesMax = 64 * kVolumesMax;

// What replaying a group's entries amounts to, blocks aside: its epochs, its volumes at every point, its
// marks.
//
// Invariants
//   1. The same entries in the same append order give the same state on every node.
//   2. Shape belongs to a branch; marks, holds and releases belong to the group, whatever branch they are on.
//   3. An id names one mark. Two nodes that went apart may each have given it; where their entries meet, the
//   later
//      one has the id and the one known before is ID~EPOCH, after the epoch of its own entry. So an id that
//      the continuing primary knows means the same on its secondary.
class GroupState {
 public:
  GroupState() = default;

  // What every entry of a batch does to the state. The batch's epoch is known, or its first entry opens it.
  // kInvalid and kUnsupported come from bodies that do not decode, or contradict what is known.
  Result<void> apply(const format::BatchMeta& batch);
  Result<void> apply(LogId id, WallTime timer, const format::ControlRecord& record);
  Result<void> apply_mark(LogId id, WallTime timer, const format::MarkRecord& record);

  const index::EpochTree& epochs() const { return epochs_; }
  index::EpochTree& epochs() { return epochs_; }

  // Makes this, which a secondary holds, the state of its primary at `start`, from which on it goes on
  // without the entries between. What was held of each epoch stays as it is; of those that came meanwhile
  // nothing is. `start` lies in one of these, incomplete until what differs has come. Marks and shapes are
  // the primary's, beside those that this node alone knows. kInvalid when the two are not of one order.
  Result<void> skip_to(GroupState primary, LogId start);

  // The volumes at a point, by id.
  std::vector<VolumeShape> shape_at(LogId point) const;
  // It grows with each change of a volume.
  std::size_t shape_changes() const { return shape_changes_.size(); }
  std::optional<VolumeShape> find_volume(const std::string& name, LogId point) const;
  // Never used before on any branch known here.
  VolumeId next_volume_id() const { return VolumeId{last_volume_.value + 1}; }
  // Every volume ever seen that was not forgotten, with the largest size it had at any point.
  std::map<VolumeId, std::uint64_t> sizes_max() const;
  // True when some point after `floor`, on any branch, or `floor` itself may show the volume.
  bool volume_may_be_read(VolumeId volume, LogId floor) const;

  const Mark* find_mark(const std::string& id) const;
  const std::map<std::string, Mark>& marks() const { return marks_; }
  std::optional<Mark> last_mark() const;
  // A mark that no entry records yet: part of the snapshot alone. Its id is free.
  void add_provisional(Mark mark) { add_mark(std::move(mark)); }
  void drop_provisional(const std::string& id);
  // The entry from which on the log is kept; none while it is stopped.
  LogId log_started() const { return log_started_; }

  // The whole state as bytes, with the epoch in which the order goes on here, and back. kInvalid when the
  // bytes are not a state, kUnsupported for a newer version.
  std::vector<std::byte> encode(Epoch live_epoch) const;
  static Result<GroupState> decode(Bytes bytes, Epoch* live_epoch);

 private:
  struct ShapeChange {
    LogId id{};
    VolumeShape volume{};
    bool deleted = false;
  };
  void add_mark(Mark mark);
  void find_last_mark();

  index::EpochTree epochs_;
  std::vector<ShapeChange> shape_changes_;  // in append order
  std::map<std::string, Mark> marks_;
  VolumeId last_volume_{};
  std::string last_mark_id_;
  LogId log_started_{};
};

}  // namespace tidemark::group
