#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"

namespace tidemark::format {

// Bodies of the entries that carry no blocks. docs/formats/records.md is the page of this format.

inline constexpr std::size_t kMarkNoteBytesMax = 4096;
inline constexpr std::size_t kHostNameBytesMax = 255;

// The data area of a mark: its id, and when and where the host made it.
struct MarkRecord {
  std::string id{};
  WallTime host_time{};
  std::string host{};
  std::string note{};
  bool operator==(const MarkRecord&) const = default;
};

enum class EpochReason : std::uint8_t {
  kCreate = 1,
  kRestore = 2,
  kTakeover = 3,
  kSequenceExhausted = 4,
  kRefill = 5,  // a restore whose blocks come from the other node: what it holds counts from RefillDone on
  kResync = 6,  // behind a gap: what the secondary lacks of before was no longer in the primary's journal
};
inline constexpr std::uint8_t kEpochReasonMax = 6;

// The first entry (sequence 1) of every epoch.
struct EpochOpened {
  EpochIdentity identity{};
  LogId parent{};  // the entry this epoch continues after; sequence 0 of the first epoch for the first
  EpochReason reason = EpochReason::kCreate;
  bool operator==(const EpochOpened&) const = default;
};
struct VolumeCreated {
  VolumeId volume{};
  std::string name{};
  std::uint64_t size_bytes = 0;
  bool operator==(const VolumeCreated&) const = default;
};
struct VolumeResized {
  VolumeId volume{};
  std::uint64_t size_bytes = 0;
  bool operator==(const VolumeResized&) const = default;
};
struct VolumeDeleted {
  VolumeId volume{};
  bool operator==(const VolumeDeleted&) const = default;
};
// A name given afterwards to a point that is already past. The id may be one that gave way, `NAME~EPOCH`: of
// a mark that was taken at a secondary while its primary could not be asked.
struct PointNamed {
  MarkRecord mark{};
  LogId target{};
  WallTime target_timer{};  // of the entry at the point
  bool operator==(const PointNamed&) const = default;
};
enum class MarkAction : std::uint8_t { kHold = 1, kRelease = 2, kDelete = 3 };
struct MarkChanged {
  std::string id{};  // as the marks are known then: may be one that gave way, `NAME~EPOCH`
  MarkAction action = MarkAction::kHold;
  bool operator==(const MarkChanged&) const = default;
};
// A dead branch that nobody needs any more.
struct BranchReleased {
  Epoch epoch{};
  bool operator==(const BranchReleased&) const = default;
};

// From this entry on everything is kept where the log is acquired, until it is stopped.
struct LogSwitched {
  bool started = false;
  bool operator==(const LogSwitched&) const = default;
};

// The blocks of a refill are complete: its epoch can be read from here on.
struct RefillDone {
  LogId point{};  // the point that it restored, as the other node knows it
  bool operator==(const RefillDone&) const = default;
};

using ControlRecord = std::variant<EpochOpened, VolumeCreated, VolumeResized, VolumeDeleted, PointNamed,
                                   MarkChanged, BranchReleased, LogSwitched, RefillDone>;

// A mark's id, or one that gave way: `NAME~EPOCH`.
Result<void> validate_known_mark_id(const std::string& id);

std::vector<std::byte> encode_mark(const MarkRecord& mark);
// kInvalid when a field is out of its bounds, a name is not a name, or bytes are missing or left over.
Result<MarkRecord> decode_mark(Bytes bytes);
std::vector<std::byte> encode_control(const ControlRecord& record);
// As decode_mark; kUnsupported for a record of a newer version.
Result<ControlRecord> decode_control(Bytes bytes);

}  // namespace tidemark::format
