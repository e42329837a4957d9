#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"

namespace tidemark::format {

// What lies on the members of a RAID group besides its data: labels, the group's state, the intent map and
// the stripe journal. docs/formats/raid.md is the page of these formats.

inline constexpr std::uint32_t kRaidVersion = 1;
inline constexpr std::size_t kRaidSectorBytes = 512;
inline constexpr std::uint32_t kRaidMembersMax = 32;
inline constexpr std::size_t kRaidNameBytesMax = 64;

// Where they lie, in bytes from the start of a member.
inline constexpr std::uint64_t kRaidLabelOffset[2] = {0, 64 << 10};
inline constexpr std::uint64_t kRaidStateOffset[2] = {128 << 10, 192 << 10};
inline constexpr std::uint64_t kRaidIntentOffset = 256 << 10;
inline constexpr std::uint64_t kRaidTrimOffset = 320 << 10;
inline constexpr std::uint64_t kRaidJournalOffset = 1 << 20;

enum class RaidLevel : std::uint8_t { k0 = 0, k1 = 1, k5 = 5, k6 = 6, k10 = 10 };

inline constexpr std::uint16_t kRaidSpareIndex = 0xffff;

// The shape of a group: the same in the label of every member, for ever.
struct RaidShape {
  RaidLevel level = RaidLevel::k1;
  std::uint16_t member_count = 0;
  std::uint32_t unit_bytes = 0;     // stripe unit, a multiple of 4096
  std::uint64_t member_bytes = 0;   // data and parity on each member, a multiple of the unit
  std::uint64_t journal_bytes = 0;  // ring of the stripe journal on each member; 0 without parity
  std::uint64_t data_offset = 0;    // on each member
  std::uint64_t region_bytes = 0;   // of a member that one bit of the intent map stands for
  bool operator==(const RaidShape&) const = default;
};

struct RaidLabel {
  DiskIdentity disk{};
  NodeIdentity node{};
  RaidIdentity raid{};
  std::uint64_t size_bytes = 0;           // of the disk when it was labelled
  std::uint64_t generation = 0;           // grows with each rewriting of the label
  std::uint16_t index = kRaidSpareIndex;  // of the member; the group's state has the last word
  std::string name;                       // of the group
  RaidShape shape{};
  bool operator==(const RaidLabel&) const = default;
};

// Whether a block at this offset of a disk carries the mark of what lies there on a member: its state, intent
// map or the begin of its stripe journal. Those are written before the labels when a group is made.
bool has_raid_mark(std::uint64_t disk_offset, Bytes block);

// Fill exactly kRaidSectorBytes. Decoders: kNotFound for zeroes, kUnsupported for a newer version, else
// kDamaged.
void encode_raid_label(const RaidLabel& label, std::uint32_t copy, MutableBytes sector);
Result<RaidLabel> decode_raid_label(Bytes sector, std::uint32_t copy);

enum class RaidMemberState : std::uint8_t {
  kInSync = 1,      // holds everything
  kFailed = 2,      // failed out, or missing
  kRebuilding = 3,  // holds everything in [0, rebuilt_bytes) of its data area
};

struct RaidMemberRecord {
  DiskIdentity disk{};
  RaidMemberState state = RaidMemberState::kInSync;
  std::uint64_t rebuilt_bytes = 0;
  bool operator==(const RaidMemberRecord&) const = default;
};

// What the group knows of its members. Every change has a new event; `settled` is the last event that every
// member in sync is known to have on disk.
struct RaidState {
  RaidIdentity raid{};
  std::uint64_t event = 0;
  std::uint64_t settled = 0;
  bool clean = false;  // closed in order: nothing is being written
  std::vector<RaidMemberRecord> members;
  bool operator==(const RaidState&) const = default;
};

// One block of 4096 bytes.
void encode_raid_state(const RaidState& state, std::uint32_t copy, MutableBytes block);
// Whether a state can be that of a group of this shape.
bool fits(const RaidState& state, const RaidShape& shape);
Result<RaidState> decode_raid_state(Bytes block, const RaidIdentity& raid, std::uint32_t copy);

// The intent map: a block of eight sectors, each with its own checksum, of one bit for each region.
inline constexpr std::uint32_t kIntentSectors = 8;
inline constexpr std::uint64_t kIntentBitsPerSector = 3808;
inline constexpr std::uint64_t kIntentRegionsMax = kIntentSectors * kIntentBitsPerSector;

// `regions` ascending. Fills a block of 4096 bytes.
void encode_intent_map(const RaidIdentity& raid, const std::vector<std::uint64_t>& regions,
                       MutableBytes block);
// The regions of one sector of the map. kNotFound for zeroes, kDamaged.
Result<std::vector<std::uint64_t>> decode_intent_sector(Bytes sector, const RaidIdentity& raid,
                                                        std::uint32_t index);

// From which sequence on the entries of the stripe journal count.
void encode_journal_trim(const RaidIdentity& raid, std::uint64_t first_sequence, MutableBytes sector);
Result<std::uint64_t> decode_journal_trim(Bytes sector, const RaidIdentity& raid);

// A run of bytes that an entry of the stripe journal puts on a member, relative to its data area.
struct JournalExtent {
  std::uint16_t member = 0;
  std::uint32_t length_bytes = 0;
  std::uint64_t offset = 0;
  bool operator==(const JournalExtent&) const = default;
};

// In front of the payload, which is the bytes of the extents one after the other.
struct StripeEntry {
  std::uint64_t sequence = 0;
  std::uint64_t position = 0;  // in the ring
  std::uint32_t payload_crc = 0;
  std::vector<JournalExtent> extents;
  std::uint64_t payload_bytes() const;
  bool operator==(const StripeEntry&) const = default;
};
inline constexpr std::size_t kStripeEntryExtentsMax = 240;
inline constexpr std::uint64_t kStripePayloadBytesMax = 256 << 10;

// One block of 4096 bytes.
void encode_stripe_entry(const StripeEntry& entry, const RaidIdentity& raid, MutableBytes block);
// `shape` bounds members and offsets; `position` is where the block was found.
Result<StripeEntry> decode_stripe_entry(Bytes block, const RaidIdentity& raid, const RaidShape& shape,
                                        std::uint64_t position);

// A shape for members of at least `disk_bytes`. kInvalid says what does not fit: members for the level, the
// unit, or the size of the disks.
Result<RaidShape> make_raid_shape(RaidLevel level, std::uint32_t member_count, std::uint32_t unit_bytes,
                                  std::uint64_t disk_bytes);
// What a group of that shape can hold.
std::uint64_t data_bytes(const RaidShape& shape);

}  // namespace tidemark::format
