#include "format/disk.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "base/codec.h"
#include "base/crc32c.h"
#include "format/sector.h"

namespace tidemark::format {

namespace {

constexpr std::size_t kSectorCrcOffset = kSectorSizeBytes - 4;
constexpr std::string_view kLabelMagic = "TMDISK\r\n";
constexpr std::string_view kLuMagic = "TMLUNIT\n";
constexpr std::string_view kExtentMagic = "TMEXTENT";
constexpr std::string_view kLogMagic = "TMLOGVOL";
static_assert(kLabelMagic.size() == kMagicSizeBytes && kLuMagic.size() == kMagicSizeBytes);
static_assert(kExtentMagic.size() == kMagicSizeBytes && kLogMagic.size() == kMagicSizeBytes);

constexpr std::uint64_t kTablesBegin = 1 << 20;
constexpr std::uint64_t kSlotsAlignment = 1 << 20;

FieldWriter begin_sector(MutableBytes sector, std::string_view magic) {
  TM_ASSERT(sector.size() == kSectorSizeBytes);
  FieldWriter writer(sector);
  writer.text(magic);
  writer.u32(kDiskVersion);
  return writer;
}

// Checks size, magic, checksum and version; the Decoder stands behind them.
Result<Decoder> open_sector(Bytes sector, std::string_view magic, const char* what) {
  const std::string name(what);
  if (sector.size() != kSectorSizeBytes) {
    return fail(ErrorCode::kDamaged,
                name + " has " + std::to_string(sector.size()) + " bytes instead of 512");
  }
  if (all_zero(sector)) return fail(ErrorCode::kNotFound, name + " is empty");
  if (crc32c(sector.first(kSectorCrcOffset)) != stored_crc(sector, kSectorCrcOffset)) {
    return fail(ErrorCode::kDamaged, name + " does not match its checksum");
  }
  if (!std::ranges::equal(sector.first(kMagicSizeBytes), as_bytes(magic))) {
    return fail(ErrorCode::kDamaged, name + " carries the mark of something else");
  }
  Decoder decoder(sector);
  decoder.raw(kMagicSizeBytes);
  const std::uint32_t version = decoder.u32();
  if (version != kDiskVersion) {
    return fail(ErrorCode::kUnsupported, name + " has format version " + std::to_string(version) +
                                             "; this program knows version " + std::to_string(kDiskVersion));
  }
  return decoder;
}

Error damaged(const std::string& what) {
  return fail(ErrorCode::kDamaged, what);
}

bool ranges_in_order(const DiskLayout& layout, std::uint64_t size_bytes) {
  const std::uint64_t lu_bytes = std::uint64_t{layout.lu_records} * kSectorSizeBytes;
  const std::uint64_t extent_bytes = layout.slot_count * kExtentRecordSizeBytes;
  std::uint64_t at = kLabelOffset[1] + kBlockSizeBytes;
  const auto follows = [&at, size_bytes](std::uint64_t offset, std::uint64_t length) {
    if (offset < at || offset % kBlockSizeBytes != 0) return false;
    if (offset > size_bytes || length > size_bytes - offset) return false;
    at = (offset + length + kBlockSizeBytes - 1) / kBlockSizeBytes * kBlockSizeBytes;
    return true;
  };
  return follows(layout.lu_table_offset[0], lu_bytes) && follows(layout.lu_table_offset[1], lu_bytes) &&
         follows(layout.extent_table_offset[0], extent_bytes) &&
         follows(layout.extent_table_offset[1], extent_bytes) &&
         follows(layout.slots_offset, layout.slot_count * kSlotSizeBytes);
}

// Offsets are signed 64-bit numbers in system calls. Below this, no sum in ranges_in_order() runs over.
constexpr std::uint64_t kDiskBytesMax = INT64_MAX;

bool is_valid(const DiskLayout& layout, std::uint64_t size_bytes) {
  if (size_bytes > kDiskBytesMax) return false;
  if (layout.slot_count == 0 || layout.slot_count > kSlotsMax) return false;
  if (layout.lu_records == 0 || layout.lu_records % (kBlockSizeBytes / kSectorSizeBytes) != 0) return false;
  return ranges_in_order(layout, size_bytes);
}

constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t to) {
  return (value + to - 1) / to * to;
}

}  // namespace

Result<DiskLayout> make_disk_layout(std::uint64_t size_bytes) {
  const std::uint64_t lu_table_bytes = std::uint64_t{kLuRecordsDefault} * kSectorSizeBytes;
  DiskLayout layout;
  layout.lu_records = kLuRecordsDefault;
  layout.lu_table_offset = {kTablesBegin, kTablesBegin + lu_table_bytes};
  const std::uint64_t tables = kTablesBegin + 2 * lu_table_bytes;
  const auto place = [&layout, tables](std::uint64_t slots) {
    const std::uint64_t table_bytes = round_up(slots * kExtentRecordSizeBytes, kBlockSizeBytes);
    layout.slot_count = slots;
    layout.extent_table_offset = {tables, tables + table_bytes};
    layout.slots_offset = round_up(tables + 2 * table_bytes, kSlotsAlignment);
    return layout.slots_offset + slots * kSlotSizeBytes;
  };
  std::uint64_t slots = size_bytes / (kSlotSizeBytes + 2 * kExtentRecordSizeBytes);
  if (slots > kSlotsMax) {
    return fail(ErrorCode::kInvalid, "a disk of " + std::to_string(size_bytes) +
                                         " bytes is larger than the " + std::to_string(kSlotsMax) +
                                         " extents that a pool can name");
  }
  // Each step gives back more than the rounding of the tables took, so this ends within a few.
  while (slots > 0 && place(slots) > size_bytes) --slots;
  if (slots == 0) {
    const std::uint64_t least = place(1);
    return fail(ErrorCode::kInvalid, "a disk of " + std::to_string(size_bytes) +
                                         " bytes is too small for a pool: it takes at least " +
                                         std::to_string(least) + " bytes");
  }
  TM_ASSERT(is_valid(layout, size_bytes));
  return layout;
}

void encode_disk_label(const DiskLabel& label, std::uint32_t copy, MutableBytes sector) {
  FieldWriter writer = begin_sector(sector, kLabelMagic);
  writer.u32(copy);
  writer.identity(label.disk);
  writer.identity(label.node);
  writer.u64(label.size_bytes);
  writer.u64(label.generation);
  writer.u64(label.layout.lu_table_offset[0]);
  writer.u64(label.layout.lu_table_offset[1]);
  writer.u64(label.layout.extent_table_offset[0]);
  writer.u64(label.layout.extent_table_offset[1]);
  writer.u64(label.layout.slots_offset);
  writer.u64(label.layout.slot_count);
  writer.u64(kSlotSizeBytes);
  writer.u32(label.layout.lu_records);
  writer.u32(kExtentBlocks);
  writer.u32(label.pool.value);
  writer.seal(kSectorCrcOffset);
}

Result<DiskLabel> decode_disk_label(Bytes sector, std::uint32_t copy) {
  TM_TRY_ASSIGN(Decoder decoder, open_sector(sector, kLabelMagic, "the disk label"));
  DiskLabel label;
  const std::uint32_t stored_copy = decoder.u32();
  label.disk = read_identity<DiskIdentity>(decoder);
  label.node = read_identity<NodeIdentity>(decoder);
  label.size_bytes = decoder.u64();
  label.generation = decoder.u64();
  label.layout.lu_table_offset[0] = decoder.u64();
  label.layout.lu_table_offset[1] = decoder.u64();
  label.layout.extent_table_offset[0] = decoder.u64();
  label.layout.extent_table_offset[1] = decoder.u64();
  label.layout.slots_offset = decoder.u64();
  label.layout.slot_count = decoder.u64();
  const std::uint64_t slot_size = decoder.u64();
  label.layout.lu_records = decoder.u32();
  const std::uint32_t extent_blocks = decoder.u32();
  label.pool.value = decoder.u32();
  TM_ASSERT(!decoder.failed());
  if (stored_copy != copy) return damaged("the disk label belongs to another place");
  if (slot_size != kSlotSizeBytes || extent_blocks != kExtentBlocks) {
    return fail(ErrorCode::kUnsupported, "the disk has extents of " + std::to_string(extent_blocks) +
                                             " blocks in slots of " + std::to_string(slot_size) +
                                             " bytes; this program knows 1024 in 4202496");
  }
  if (!is_valid(label.layout, label.size_bytes)) return damaged("the disk label names impossible places");
  if (label.pool.value >= kPoolsMax) return damaged("the disk label names an impossible pool");
  return label;
}

void encode_lu_record(const LuTableRecord& record, const DiskIdentity& disk, std::uint32_t index,
                      MutableBytes sector) {
  FieldWriter writer = begin_sector(sector, kLuMagic);
  writer.u32(index);
  writer.identity(disk);
  writer.u64(record.sequence);
  writer.u32(record.number.value);
  writer.u8(record.kind);
  writer.u8(static_cast<std::uint8_t>(record.state));
  writer.u8(0);
  writer.u8(0);
  writer.identity(record.group);
  writer.u32(record.volume.value);
  writer.u32(0);
  writer.u64(record.size_bytes);
  writer.u64(record.first_slot);
  writer.u64(record.slot_count);
  writer.seal(kSectorCrcOffset);
}

Result<LuTableRecord> decode_lu_record(Bytes sector, const DiskIdentity& disk, std::uint32_t index) {
  TM_TRY_ASSIGN(Decoder decoder, open_sector(sector, kLuMagic, "the record of a logical unit"));
  LuTableRecord record;
  const std::uint32_t stored_index = decoder.u32();
  const auto stored_disk = read_identity<DiskIdentity>(decoder);
  record.sequence = decoder.u64();
  record.number.value = decoder.u32();
  record.kind = decoder.u8();
  const std::uint8_t state = decoder.u8();
  decoder.raw(2);
  record.group = read_identity<GroupIdentity>(decoder);
  record.volume.value = decoder.u32();
  decoder.u32();
  record.size_bytes = decoder.u64();
  record.first_slot = decoder.u64();
  record.slot_count = decoder.u64();
  TM_ASSERT(!decoder.failed());
  if (stored_index != index || stored_disk != disk) {
    return damaged("the record of a logical unit belongs to another place");
  }
  if (record.sequence == 0 || record.number.value == 0 || state < 1 || state > 3 ||
      record.size_bytes % kBlockSizeBytes != 0) {
    return damaged("the record of a logical unit has impossible fields");
  }
  record.state = static_cast<LuState>(state);
  return record;
}

namespace {

constexpr std::size_t kExtentRecordCrcOffset = kExtentRecordSizeBytes - 4;
constexpr std::uint32_t kExtentRecordMagic = 0x31455854;  // "TXE1"; the digit is the version

// The record has no room for the identity of its disk, so the checksum starts from it.
std::uint32_t extent_record_crc(Bytes fields, const DiskIdentity& disk) {
  return crc32c_extend(crc32c(std::as_bytes(std::span(disk.bytes))), fields);
}

void write_extent_header(FieldWriter& writer, const ExtentHeader& header) {
  writer.identity(header.disk);
  writer.u64(header.slot);
  writer.u32(header.owner.value);
  writer.u32(header.extent_index);
  writer.u64(header.generation);
  writer.identity(header.group);
  writer.u32(header.volume.value);
  writer.u32(0);
}

ExtentHeader read_extent_header(Decoder& decoder) {
  ExtentHeader header;
  header.disk = read_identity<DiskIdentity>(decoder);
  header.slot = decoder.u64();
  header.owner.value = decoder.u32();
  header.extent_index = decoder.u32();
  header.generation = decoder.u64();
  header.group = read_identity<GroupIdentity>(decoder);
  header.volume.value = decoder.u32();
  decoder.u32();
  return header;
}

}  // namespace

void encode_extent_record(const ExtentRecord& record, const DiskIdentity& disk, std::uint64_t slot,
                          MutableBytes out) {
  TM_ASSERT(out.size() == kExtentRecordSizeBytes);
  FieldWriter writer(out);
  writer.u32(kExtentRecordMagic);
  writer.u32(static_cast<std::uint32_t>(slot));
  writer.u32(record.owner.value);
  writer.u32(record.extent_index);
  writer.u64(record.generation);
  writer.u32(0);
  writer.u32(extent_record_crc(out.first(kExtentRecordCrcOffset), disk));
}

Result<ExtentRecord> decode_extent_record(Bytes bytes, const DiskIdentity& disk, std::uint64_t slot) {
  if (bytes.size() != kExtentRecordSizeBytes) return damaged("an extent record is cut short");
  if (all_zero(bytes)) return fail(ErrorCode::kNotFound, "the slot is free");
  Decoder decoder(bytes);
  const std::uint32_t magic = decoder.u32();
  const std::uint32_t stored_slot = decoder.u32();
  ExtentRecord record;
  record.owner.value = decoder.u32();
  record.extent_index = decoder.u32();
  record.generation = decoder.u64();
  decoder.u32();
  const std::uint32_t crc = decoder.u32();
  if (crc != extent_record_crc(bytes.first(kExtentRecordCrcOffset), disk)) {
    return damaged("an extent record does not match its checksum");
  }
  if (magic != kExtentRecordMagic || stored_slot != slot || record.owner.value == 0 ||
      record.generation == 0) {
    return damaged("an extent record belongs to another place");
  }
  return record;
}

void encode_extent_sector(const ExtentHeader& header, std::uint32_t sector_index,
                          const ExtentChecksums& checksums, MutableBytes sector) {
  FieldWriter writer = begin_sector(sector, kExtentMagic);
  writer.u32(sector_index);
  write_extent_header(writer, header);
  writer.u64(checksums.written);
  writer.u64(checksums.lost);
  for (std::uint32_t i = 0; i < kBlocksPerExtentSector; ++i) {
    // Only the checksums of written blocks mean something; the others are zero, so that equal states
    // have equal bytes.
    writer.u32((checksums.written >> i & 1) != 0 ? checksums.checksum[i] : 0);
  }
  writer.seal(kSectorCrcOffset);
}

Result<ExtentChecksums> decode_extent_sector(Bytes sector, const ExtentHeader& expected,
                                             std::uint32_t sector_index) {
  auto opened = open_sector(sector, kExtentMagic, "the sector that describes the extent");
  // In an extent that the table names, every sector was written: a blank one is damage too.
  if (!opened.ok()) return damaged(opened.error().message);
  Decoder decoder = *opened;
  const std::uint32_t stored_index = decoder.u32();
  const ExtentHeader header = read_extent_header(decoder);
  ExtentChecksums checksums;
  checksums.written = decoder.u64();
  checksums.lost = decoder.u64();
  for (std::uint32_t& checksum : checksums.checksum) checksum = decoder.u32();
  TM_ASSERT(!decoder.failed());
  if (stored_index != sector_index || header != expected) {
    return damaged("the sector that describes the extent belongs to another extent");
  }
  if ((checksums.written & checksums.lost) != 0) {
    return damaged("the sector that describes the extent contradicts itself");
  }
  return checksums;
}

Result<ExtentHeader> decode_extent_header(Bytes sector, std::uint32_t sector_index) {
  TM_TRY_ASSIGN(Decoder decoder, open_sector(sector, kExtentMagic, "the sector that describes the extent"));
  const std::uint32_t stored_index = decoder.u32();
  if (stored_index != sector_index) return damaged("the sector belongs to another place in its extent");
  return read_extent_header(decoder);
}

void encode_log_volume_header(const LogVolumeHeader& header, MutableBytes sector) {
  FieldWriter writer = begin_sector(sector, kLogMagic);
  writer.u32(0);
  writer.identity(header.disk);
  writer.u64(header.first_slot);
  writer.u64(header.slot_count);
  writer.u32(header.owner.value);
  writer.u32(0);
  writer.identity(header.group);
  writer.u64(header.size_bytes);
  writer.seal(kSectorCrcOffset);
}

Result<LogVolumeHeader> decode_log_volume_header(Bytes sector) {
  TM_TRY_ASSIGN(Decoder decoder, open_sector(sector, kLogMagic, "the header of a log volume"));
  LogVolumeHeader header;
  decoder.u32();
  header.disk = read_identity<DiskIdentity>(decoder);
  header.first_slot = decoder.u64();
  header.slot_count = decoder.u64();
  header.owner.value = decoder.u32();
  decoder.u32();
  header.group = read_identity<GroupIdentity>(decoder);
  header.size_bytes = decoder.u64();
  TM_ASSERT(!decoder.failed());
  return header;
}

}  // namespace tidemark::format
