// The structures by which a disk describes itself: whatever decodes must encode to what decodes to the same.
// The first byte chooses the structure, the rest is laid over a good one.
#include "format/disk.h"
#include "fuzz/fuzz.h"

namespace tidemark::format {
namespace {

constexpr DiskIdentity kDisk{{1, 2, 3}};
constexpr std::uint32_t kIndex = 1;  // the copy, the record, the sector
constexpr std::uint64_t kSlot = 77;

std::vector<std::byte> sector_of(auto encode) {
  std::vector<std::byte> sector(kSectorSizeBytes);
  encode(MutableBytes(sector));
  return sector;
}

ExtentHeader example_header() {
  return {.disk = kDisk, .slot = kSlot, .owner = {5}, .extent_index = 3, .generation = 12};
}

DiskLabel example_label() {
  DiskLabel label;
  label.disk = kDisk;
  label.size_bytes = 1ull << 36;
  label.layout = *make_disk_layout(label.size_bytes);
  return label;
}

void try_sector(Bytes sector) {
  fuzz::check_same(
      sector, [](Bytes bytes) { return decode_disk_label(bytes, kIndex); },
      [](const DiskLabel& label) {
        // The engine divides the disk by this: the last slot must end on it.
        TM_ASSERT(label.layout.slot_offset(label.layout.slot_count) <= label.size_bytes);
        TM_ASSERT(label.layout.lu_table_offset[0] < label.layout.lu_table_offset[1]);
        TM_ASSERT(label.layout.lu_table_offset[1] < label.layout.extent_table_offset[0]);
        TM_ASSERT(label.layout.extent_table_offset[0] < label.layout.extent_table_offset[1]);
        TM_ASSERT(label.layout.extent_table_offset[1] < label.layout.slots_offset);
        return sector_of([&](MutableBytes out) { encode_disk_label(label, kIndex, out); });
      });
  fuzz::check_same(
      sector, [](Bytes bytes) { return decode_lu_record(bytes, kDisk, kIndex); },
      [](const LuTableRecord& record) {
        return sector_of([&](MutableBytes out) { encode_lu_record(record, kDisk, kIndex, out); });
      });
  fuzz::check_stable(
      sector, [](Bytes bytes) { return decode_extent_sector(bytes, example_header(), kIndex); },
      [](const ExtentChecksums& checksums) {
        return sector_of(
            [&](MutableBytes out) { encode_extent_sector(example_header(), kIndex, checksums, out); });
      });
  fuzz::check_same(
      sector, [](Bytes bytes) { return decode_extent_header(bytes, kIndex); },
      [](const ExtentHeader& header) {
        return sector_of([&](MutableBytes out) { encode_extent_sector(header, kIndex, {}, out); });
      });
  fuzz::check_same(sector, decode_log_volume_header, [](const LogVolumeHeader& header) {
    return sector_of([&](MutableBytes out) { encode_log_volume_header(header, out); });
  });
}

void try_extent_record(Bytes bytes) {
  fuzz::check_same(
      bytes, [](Bytes record) { return decode_extent_record(record, kDisk, kSlot); },
      [](const ExtentRecord& record) {
        std::vector<std::byte> out(kExtentRecordSizeBytes);
        encode_extent_record(record, kDisk, kSlot, out);
        return out;
      });
}

void try_over_extent_record(Bytes input) {
  std::vector<std::byte> example(kExtentRecordSizeBytes);
  encode_extent_record({.owner = {5}, .extent_index = 3, .generation = 12}, kDisk, kSlot, example);
  std::vector<std::byte> bytes =
      fuzz::laid_over(example, input.first(std::min(input.size(), kExtentRecordSizeBytes)));
  // Its checksum starts from the identity of the disk, for which the record has no room.
  const std::uint32_t start = crc32c(std::as_bytes(std::span(kDisk.bytes)));
  fuzz::put_u32(bytes, kExtentRecordSizeBytes - 4,
                crc32c_extend(start, Bytes(bytes).first(kExtentRecordSizeBytes - 4)));
  try_extent_record(bytes);
}

std::vector<std::byte> example_sector(unsigned which) {
  return sector_of([which](MutableBytes out) {
    if (which == 0) {
      encode_disk_label(example_label(), kIndex, out);
    } else if (which == 1) {
      encode_lu_record({.sequence = 9, .number = {5}, .size_bytes = 1 << 20}, kDisk, kIndex, out);
    } else if (which == 2) {
      encode_extent_sector(example_header(), kIndex, {.written = 0b1011, .lost = 0b0100}, out);
    } else {
      encode_log_volume_header({.disk = kDisk, .slot_count = 4, .owner = {5}}, out);
    }
  });
}

}  // namespace
}  // namespace tidemark::format

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tidemark::format;
  tidemark::Bytes input(reinterpret_cast<const std::byte*>(data), size);
  try_sector(input);
  try_extent_record(input);
  if (input.empty()) return 0;
  const unsigned which = static_cast<unsigned>(input.front()) % 5;
  input = input.subspan(1);
  if (which == 4) {
    try_over_extent_record(input);
    return 0;
  }
  std::vector<std::byte> sector =
      tidemark::fuzz::laid_over(example_sector(which), input.first(std::min(input.size(), kSectorSizeBytes)));
  tidemark::fuzz::seal(sector);
  try_sector(sector);
  return 0;
}
