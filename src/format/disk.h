#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"

namespace tidemark::format {

// What lies on a node's disk: labels, the table of logical units, the table of extents, and the sectors
// by which each extent describes itself. docs/formats/disk.md is the page of these formats. Every structure
// fits in one 512-byte sector, which a disk writes whole or not at all, and carries its own CRC32C and
// the identity of the place it belongs to.

inline constexpr std::size_t kSectorSizeBytes = 512;

// An extent: 1024 blocks of data, and in front of them two blocks of sectors that describe it.
inline constexpr std::uint32_t kExtentBlocks = 1024;
inline constexpr std::uint64_t kExtentSizeBytes = kExtentBlocks * kBlockSizeBytes;
inline constexpr std::uint64_t kExtentHeadBytes = 8192;
inline constexpr std::uint64_t kSlotSizeBytes = kExtentSizeBytes + kExtentHeadBytes;
inline constexpr std::uint32_t kExtentSectors = 16;
inline constexpr std::uint32_t kBlocksPerExtentSector = 64;
static_assert(kExtentSectors * kSectorSizeBytes == kExtentHeadBytes);
static_assert(kExtentSectors * kBlocksPerExtentSector == kExtentBlocks);

inline constexpr std::uint32_t kDiskVersion = 1;

// Where the parts of a disk lie, in bytes from its start.
struct DiskLayout {
  std::array<std::uint64_t, 2> lu_table_offset{};  // two copies
  std::uint32_t lu_records = 0;
  std::array<std::uint64_t, 2> extent_table_offset{};  // two copies
  std::uint64_t slots_offset = 0;
  std::uint64_t slot_count = 0;
  bool operator==(const DiskLayout&) const = default;

  std::uint64_t slot_offset(std::uint64_t slot) const { return slots_offset + slot * kSlotSizeBytes; }
};

inline constexpr std::array<std::uint64_t, 2> kLabelOffset = {0, 64 << 10};
// A node's logical units, removed ones not counted. A record takes a sector in each of two copies.
inline constexpr std::uint32_t kLuRecordsDefault = 4096;
inline constexpr std::uint64_t kSlotsMax = 1ull << 32;  // slot and extent numbers have 32 bits: 16 PiB

// The numbers of a node's logical units tell in which of its pools they lie: pool p has those from
// p × kLuNumbersPerPool + 1 on.
inline constexpr std::uint32_t kLuNumbersPerPool = 100'000'000;
inline constexpr std::uint32_t kPoolsMax = 40;

// Lays out a disk of `size_bytes`. kInvalid when it is too small for even one extent or larger than
// kSlotsMax slots.
Result<DiskLayout> make_disk_layout(std::uint64_t size_bytes);

struct DiskLabel {
  DiskIdentity disk{};
  NodeIdentity node{};
  std::uint64_t size_bytes = 0;
  std::uint64_t generation = 0;  // grows with each rewriting of the label
  DiskLayout layout{};
  PoolNumber pool{};
  bool operator==(const DiskLabel&) const = default;
};

// All encoders fill exactly kSectorSizeBytes (kExtentRecordSizeBytes for ExtentRecord).
void encode_disk_label(const DiskLabel& label, std::uint32_t copy, MutableBytes sector);
// kNotFound when the sector is all zeroes, kUnsupported for a newer version, else kDamaged.
Result<DiskLabel> decode_disk_label(Bytes sector, std::uint32_t copy);

enum class LuState : std::uint8_t {
  kLive = 1,
  kRemoved = 2,  // its extents count as free; the record keeps its number from being given again
  kForming = 3,  // a log volume whose group is not whole yet; a start removes the group
};

struct LuTableRecord {
  std::uint64_t sequence = 0;  // the table's count of writes: of two copies the higher one is newer
  LuNumber number{};
  std::uint8_t kind = 0;  // pool::LuKind
  LuState state = LuState::kLive;
  GroupIdentity group{};
  VolumeId volume{};
  std::uint64_t size_bytes = 0;
  std::uint64_t first_slot = 0;  // log volumes
  std::uint64_t slot_count = 0;  // log volumes
  bool operator==(const LuTableRecord&) const = default;
};

void encode_lu_record(const LuTableRecord& record, const DiskIdentity& disk, std::uint32_t index,
                      MutableBytes sector);
// kNotFound when the sector is all zeroes.
Result<LuTableRecord> decode_lu_record(Bytes sector, const DiskIdentity& disk, std::uint32_t index);

inline constexpr std::size_t kExtentRecordSizeBytes = 32;
static_assert(kSectorSizeBytes % kExtentRecordSizeBytes == 0);

// One slot of the extent table: whose extent lies there.
struct ExtentRecord {
  LuNumber owner{};
  std::uint32_t extent_index = 0;  // within the owner's address space
  std::uint64_t generation = 0;    // grows with every extent taken into use on this disk
  bool operator==(const ExtentRecord&) const = default;
};

void encode_extent_record(const ExtentRecord& record, const DiskIdentity& disk, std::uint64_t slot,
                          MutableBytes out);
// kNotFound when the bytes are all zeroes: a free slot.
Result<ExtentRecord> decode_extent_record(Bytes bytes, const DiskIdentity& disk, std::uint64_t slot);

// Who an extent is, repeated in each of its sectors.
struct ExtentHeader {
  DiskIdentity disk{};
  std::uint64_t slot = 0;
  LuNumber owner{};
  std::uint32_t extent_index = 0;
  std::uint64_t generation = 0;
  GroupIdentity group{};
  VolumeId volume{};
  bool operator==(const ExtentHeader&) const = default;
};

// What a sector says of its 64 blocks. Bit i and checksum i belong to block 64 × sector + i. A block is
// written (its checksum holds), or lost (its checksum was destroyed; it cannot be read until it is
// written again), or neither: it reads as zeroes, whatever its bytes on the disk are.
struct ExtentChecksums {
  std::uint64_t written = 0;
  std::uint64_t lost = 0;
  std::array<std::uint32_t, kBlocksPerExtentSector> checksum{};
  bool operator==(const ExtentChecksums&) const = default;
};

void encode_extent_sector(const ExtentHeader& header, std::uint32_t sector_index,
                          const ExtentChecksums& checksums, MutableBytes sector);
// kDamaged unless the sector is whole and is `sector_index` of exactly the extent `expected`.
Result<ExtentChecksums> decode_extent_sector(Bytes sector, const ExtentHeader& expected,
                                             std::uint32_t sector_index);
// The header alone, for whoever finds a slot without the tables. kNotFound when all zeroes.
Result<ExtentHeader> decode_extent_header(Bytes sector, std::uint32_t sector_index);

// The first sector of a log volume's first slot.
struct LogVolumeHeader {
  DiskIdentity disk{};
  std::uint64_t first_slot = 0;
  std::uint64_t slot_count = 0;
  LuNumber owner{};
  GroupIdentity group{};
  std::uint64_t size_bytes = 0;
  bool operator==(const LogVolumeHeader&) const = default;
};

void encode_log_volume_header(const LogVolumeHeader& header, MutableBytes sector);
Result<LogVolumeHeader> decode_log_volume_header(Bytes sector);

}  // namespace tidemark::format
