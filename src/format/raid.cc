#include "format/raid.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/codec.h"
#include "base/crc32c.h"
#include "format/sector.h"

namespace tidemark::format {

namespace {

constexpr std::string_view kLabelMagic = "TMRAIDM\n";
constexpr std::string_view kStateMagic = "TMRAIDS\n";
constexpr std::string_view kIntentMagic = "TMRAIDI\n";
constexpr std::string_view kTrimMagic = "TMRAIDT\n";
constexpr std::string_view kEntryMagic = "TMRAIDJ\n";
constexpr std::size_t kIntentHeadBytes = 32;
static_assert(kIntentHeadBytes + kIntentBitsPerSector / 8 + 4 == kRaidSectorBytes);

constexpr std::uint64_t kDataAlignment = 1 << 20;
constexpr std::uint64_t kJournalBytesMax = 16 << 20;
constexpr std::uint64_t kJournalBytesMin = 1 << 20;  // three of the largest entries fit
constexpr std::uint64_t kRegionBytesMin = 8 << 20;   // less would write the map more often than it saves
constexpr std::uint32_t kUnitBytesMax = 1 << 20;
constexpr std::uint64_t kSizeBytesMax = INT64_MAX;

FieldWriter begin(MutableBytes out, std::string_view magic) {
  FieldWriter writer(out);
  writer.text(magic);
  writer.u32(kRaidVersion);
  return writer;
}

Result<Decoder> open(Bytes bytes, std::string_view magic, const std::string& what) {
  if (all_zero(bytes)) return fail(ErrorCode::kNotFound, what + " is empty");
  if (!std::ranges::equal(bytes.first(kMagicSizeBytes), as_bytes(magic))) {
    return fail(ErrorCode::kDamaged, what + " carries the mark of something else");
  }
  if (crc32c(bytes.first(bytes.size() - 4)) != stored_crc(bytes, bytes.size() - 4)) {
    return fail(ErrorCode::kDamaged, what + " does not match its checksum");
  }
  Decoder decoder(bytes);
  decoder.raw(kMagicSizeBytes);
  const std::uint32_t version = decoder.u32();
  if (version != kRaidVersion) {
    return fail(ErrorCode::kUnsupported, what + " has format version " + std::to_string(version) +
                                             "; this program knows version " + std::to_string(kRaidVersion));
  }
  return decoder;
}

bool level_takes(RaidLevel level, std::uint32_t members) {
  switch (level) {
    case RaidLevel::k0:
      return members >= 1;
    case RaidLevel::k1:
      return members >= 2;
    case RaidLevel::k5:
      return members >= 3;
    case RaidLevel::k6:
      return members >= 4;
    case RaidLevel::k10:
      return members >= 4 && members % 2 == 0;
  }
  return false;
}

bool has_parity(RaidLevel level) {
  return level == RaidLevel::k5 || level == RaidLevel::k6;
}

// Units of data in a row.
std::uint64_t cells_of(const RaidShape& shape) {
  switch (shape.level) {
    case RaidLevel::k0:
      return shape.member_count;
    case RaidLevel::k1:
      return 1;
    case RaidLevel::k5:
      return shape.member_count - 1u;
    case RaidLevel::k6:
      return shape.member_count - 2u;
    case RaidLevel::k10:
      return shape.member_count / 2u;
  }
  return 1;
}

bool is_valid(const RaidShape& shape, std::uint64_t size_bytes) {
  if (!level_takes(shape.level, shape.member_count) || shape.member_count > kRaidMembersMax) return false;
  if (shape.unit_bytes == 0 || shape.unit_bytes % kBlockSizeBytes != 0) return false;
  if (shape.unit_bytes > kUnitBytesMax || size_bytes > kSizeBytesMax) return false;
  if (shape.member_bytes == 0 || shape.member_bytes % shape.unit_bytes != 0) return false;
  if (shape.member_bytes > size_bytes || shape.data_offset > size_bytes - shape.member_bytes) return false;
  if (shape.data_offset % kBlockSizeBytes != 0 || shape.journal_bytes % kBlockSizeBytes != 0) return false;
  if (shape.member_bytes > kSizeBytesMax / cells_of(shape)) return false;
  if (shape.journal_bytes > shape.data_offset || shape.data_offset < kRaidJournalOffset) return false;
  if (shape.data_offset - shape.journal_bytes < kRaidJournalOffset) return false;
  if (has_parity(shape.level) && shape.journal_bytes < kJournalBytesMin) return false;
  if (shape.region_bytes == 0 || shape.region_bytes % kBlockSizeBytes != 0) return false;
  return (shape.member_bytes - 1) / shape.region_bytes < kIntentRegionsMax;
}

constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t to) {
  return (value + to - 1) / to * to;
}

}  // namespace

Result<RaidShape> make_raid_shape(RaidLevel level, std::uint32_t member_count, std::uint32_t unit_bytes,
                                  std::uint64_t disk_bytes) {
  const std::string name = "RAID " + std::to_string(static_cast<int>(level));
  if (!level_takes(level, member_count) || member_count > kRaidMembersMax) {
    return fail(
        ErrorCode::kInvalid,
        name + " of " + std::to_string(member_count) +
            " disks is not possible: RAID 0 takes 1 to 32 disks, RAID 1 takes 2 to 32, RAID 5 takes 3 "
            "to 32, RAID 6 takes 4 to 32, RAID 10 takes an even number from 4 to 32");
  }
  if (unit_bytes == 0 || unit_bytes % kBlockSizeBytes != 0 || unit_bytes > kUnitBytesMax) {
    return fail(ErrorCode::kInvalid, "a stripe unit of " + std::to_string(unit_bytes) +
                                         " bytes is not possible: it is a multiple of 4096, at most 1 MiB");
  }
  if (disk_bytes > kSizeBytesMax) return fail(ErrorCode::kInvalid, "a disk is larger than 2^63 bytes");
  RaidShape shape;
  shape.level = level;
  shape.member_count = static_cast<std::uint16_t>(member_count);
  shape.unit_bytes = unit_bytes;
  if (has_parity(level)) {
    shape.journal_bytes =
        std::clamp(disk_bytes / 64 / kDataAlignment * kDataAlignment, kJournalBytesMin, kJournalBytesMax);
  }
  shape.data_offset = kRaidJournalOffset + shape.journal_bytes;
  const std::uint64_t rows =
      disk_bytes > shape.data_offset ? (disk_bytes - shape.data_offset) / unit_bytes : 0;
  if (rows == 0) {
    return fail(ErrorCode::kInvalid, "a disk of " + std::to_string(disk_bytes) + " bytes is too small for " +
                                         name + ": it takes at least " +
                                         std::to_string(shape.data_offset + unit_bytes) + " bytes");
  }
  shape.member_bytes = rows * unit_bytes;
  if (shape.member_bytes > kSizeBytesMax / cells_of(shape)) {
    return fail(ErrorCode::kInvalid, name + " of these disks is larger than 2^63 bytes");
  }
  shape.region_bytes =
      std::max(kRegionBytesMin, round_up(shape.member_bytes / kIntentRegionsMax + 1, kDataAlignment));
  TM_ASSERT(is_valid(shape, disk_bytes));
  return shape;
}

std::uint64_t data_bytes(const RaidShape& shape) {
  return cells_of(shape) * shape.member_bytes;
}

bool has_raid_mark(std::uint64_t disk_offset, Bytes block) {
  const auto is = [block](std::string_view magic) {
    return std::ranges::equal(block.first(kMagicSizeBytes), as_bytes(magic));
  };
  if (disk_offset == kRaidStateOffset[0] || disk_offset == kRaidStateOffset[1]) return is(kStateMagic);
  if (disk_offset == kRaidIntentOffset) return is(kIntentMagic);
  return disk_offset == kRaidTrimOffset && is(kTrimMagic);
}

bool fits(const RaidState& state, const RaidShape& shape) {
  return state.members.size() == shape.member_count &&
         std::ranges::all_of(state.members, [&shape](const RaidMemberRecord& member) {
           return member.rebuilt_bytes <= shape.member_bytes && member.rebuilt_bytes % shape.unit_bytes == 0;
         });
}

void encode_raid_label(const RaidLabel& label, std::uint32_t copy, MutableBytes sector) {
  TM_ASSERT(sector.size() == kRaidSectorBytes && label.name.size() <= kRaidNameBytesMax);
  FieldWriter writer = begin(sector, kLabelMagic);
  writer.u32(copy);
  writer.identity(label.disk);
  writer.identity(label.node);
  writer.identity(label.raid);
  writer.u64(label.size_bytes);
  writer.u64(label.generation);
  writer.u16(label.index);
  writer.u16(label.shape.member_count);
  writer.u8(static_cast<std::uint8_t>(label.shape.level));
  writer.u8(static_cast<std::uint8_t>(label.name.size()));
  writer.u16(0);
  writer.u32(label.shape.unit_bytes);
  writer.u32(0);
  writer.u64(label.shape.member_bytes);
  writer.u64(label.shape.journal_bytes);
  writer.u64(label.shape.data_offset);
  writer.u64(label.shape.region_bytes);
  writer.text(label.name);
  writer.seal(kRaidSectorBytes - 4);
}

Result<RaidLabel> decode_raid_label(Bytes sector, std::uint32_t copy) {
  TM_ASSERT(sector.size() == kRaidSectorBytes);
  TM_TRY_ASSIGN(Decoder decoder, open(sector, kLabelMagic, "the RAID label"));
  RaidLabel label;
  const std::uint32_t stored_copy = decoder.u32();
  label.disk = read_identity<DiskIdentity>(decoder);
  label.node = read_identity<NodeIdentity>(decoder);
  label.raid = read_identity<RaidIdentity>(decoder);
  label.size_bytes = decoder.u64();
  label.generation = decoder.u64();
  label.index = decoder.u16();
  label.shape.member_count = decoder.u16();
  label.shape.level = static_cast<RaidLevel>(decoder.u8());
  const std::uint8_t name_bytes = decoder.u8();
  const std::uint16_t zero16 = decoder.u16();
  label.shape.unit_bytes = decoder.u32();
  const std::uint32_t zero32 = decoder.u32();
  label.shape.member_bytes = decoder.u64();
  label.shape.journal_bytes = decoder.u64();
  label.shape.data_offset = decoder.u64();
  label.shape.region_bytes = decoder.u64();
  const bool index_fits = label.index < label.shape.member_count || label.index == kRaidSpareIndex;
  if (stored_copy != copy || name_bytes > kRaidNameBytesMax || zero16 != 0 || zero32 != 0 || !index_fits ||
      !is_valid(label.shape, label.size_bytes)) {
    return fail(ErrorCode::kDamaged, "the RAID label has fields that cannot be, or lies in the wrong place");
  }
  const Bytes name = decoder.raw(name_bytes);
  label.name.assign(reinterpret_cast<const char*>(name.data()), name.size());
  return label;
}

void encode_raid_state(const RaidState& state, std::uint32_t copy, MutableBytes block) {
  TM_ASSERT(block.size() == kBlockSizeBytes && state.members.size() <= kRaidMembersMax);
  FieldWriter writer = begin(block, kStateMagic);
  writer.u32(copy);
  writer.identity(state.raid);
  writer.u64(state.event);
  writer.u64(state.settled);
  writer.u8(state.clean ? 1 : 0);
  writer.u8(0);
  writer.u16(static_cast<std::uint16_t>(state.members.size()));
  writer.u32(0);
  for (const RaidMemberRecord& member : state.members) {
    writer.identity(member.disk);
    writer.u64(static_cast<std::uint64_t>(member.state));
    writer.u64(member.rebuilt_bytes);
  }
  writer.seal(kBlockSizeBytes - 4);
}

Result<RaidState> decode_raid_state(Bytes block, const RaidIdentity& raid, std::uint32_t copy) {
  TM_ASSERT(block.size() == kBlockSizeBytes);
  TM_TRY_ASSIGN(Decoder decoder, open(block, kStateMagic, "the RAID group's state"));
  RaidState state;
  const std::uint32_t stored_copy = decoder.u32();
  state.raid = read_identity<RaidIdentity>(decoder);
  state.event = decoder.u64();
  state.settled = decoder.u64();
  const std::uint8_t clean = decoder.u8();
  decoder.u8();
  const std::uint16_t count = decoder.u16();
  decoder.u32();
  if (stored_copy != copy || state.raid != raid || clean > 1 || count == 0 || count > kRaidMembersMax ||
      state.settled > state.event) {
    return fail(ErrorCode::kDamaged,
                "the RAID group's state has fields that cannot be, or is that of another group");
  }
  state.clean = clean == 1;
  for (std::uint16_t i = 0; i < count; ++i) {
    RaidMemberRecord member;
    member.disk = read_identity<DiskIdentity>(decoder);
    const std::uint64_t kind = decoder.u64();
    member.rebuilt_bytes = decoder.u64();
    if (kind < 1 || kind > 3) {
      return fail(ErrorCode::kDamaged, "the RAID group's state names a member's state that cannot be");
    }
    member.state = static_cast<RaidMemberState>(kind);
    state.members.push_back(member);
  }
  return state;
}

void encode_intent_map(const RaidIdentity& raid, const std::vector<std::uint64_t>& regions,
                       MutableBytes block) {
  TM_ASSERT(block.size() == kIntentSectors * kRaidSectorBytes);
  auto region = regions.begin();
  for (std::uint32_t index = 0; index < kIntentSectors; ++index) {
    std::array<std::uint8_t, kIntentBitsPerSector / 8> bits{};
    const std::uint64_t first = index * kIntentBitsPerSector;
    for (; region != regions.end() && *region < first + kIntentBitsPerSector; ++region) {
      TM_ASSERT(*region >= first);
      bits[(*region - first) / 8] |= static_cast<std::uint8_t>(1u << ((*region - first) % 8));
    }
    FieldWriter writer = begin(block.subspan(index * kRaidSectorBytes, kRaidSectorBytes), kIntentMagic);
    writer.u32(index);
    writer.identity(raid);
    for (const std::uint8_t byte : bits) writer.u8(byte);
    writer.seal(kRaidSectorBytes - 4);
  }
  TM_ASSERT(region == regions.end());
}

Result<std::vector<std::uint64_t>> decode_intent_sector(Bytes sector, const RaidIdentity& raid,
                                                        std::uint32_t index) {
  TM_ASSERT(sector.size() == kRaidSectorBytes);
  TM_TRY_ASSIGN(Decoder decoder, open(sector, kIntentMagic, "a sector of the intent map"));
  if (decoder.u32() != index || read_identity<RaidIdentity>(decoder) != raid) {
    return fail(ErrorCode::kDamaged, "a sector of the intent map belongs to another group or place");
  }
  std::vector<std::uint64_t> regions;
  for (std::uint64_t byte = 0; byte < kIntentBitsPerSector / 8; ++byte) {
    const std::uint8_t bits = decoder.u8();
    for (std::uint64_t bit = 0; bit < 8; ++bit) {
      if ((bits >> bit & 1) != 0) regions.push_back(index * kIntentBitsPerSector + byte * 8 + bit);
    }
  }
  return regions;
}

void encode_journal_trim(const RaidIdentity& raid, std::uint64_t first_sequence, MutableBytes sector) {
  TM_ASSERT(sector.size() == kRaidSectorBytes);
  FieldWriter writer = begin(sector, kTrimMagic);
  writer.u32(0);
  writer.identity(raid);
  writer.u64(first_sequence);
  writer.seal(kRaidSectorBytes - 4);
}

Result<std::uint64_t> decode_journal_trim(Bytes sector, const RaidIdentity& raid) {
  TM_ASSERT(sector.size() == kRaidSectorBytes);
  TM_TRY_ASSIGN(Decoder decoder, open(sector, kTrimMagic, "the stripe journal's begin"));
  decoder.u32();
  if (read_identity<RaidIdentity>(decoder) != raid) {
    return fail(ErrorCode::kDamaged, "the stripe journal's begin belongs to another group");
  }
  return decoder.u64();
}

std::uint64_t StripeEntry::payload_bytes() const {
  std::uint64_t bytes = 0;
  for (const JournalExtent& extent : extents) bytes += extent.length_bytes;
  return bytes;
}

void encode_stripe_entry(const StripeEntry& entry, const RaidIdentity& raid, MutableBytes block) {
  TM_ASSERT(block.size() == kBlockSizeBytes && entry.extents.size() <= kStripeEntryExtentsMax);
  FieldWriter writer = begin(block, kEntryMagic);
  writer.u32(static_cast<std::uint32_t>(entry.extents.size()));
  writer.identity(raid);
  writer.u64(entry.sequence);
  writer.u64(entry.position);
  writer.u32(entry.payload_crc);
  writer.u32(0);
  for (const JournalExtent& extent : entry.extents) {
    writer.u16(extent.member);
    writer.u16(0);
    writer.u32(extent.length_bytes);
    writer.u64(extent.offset);
  }
  writer.seal(kBlockSizeBytes - 4);
}

Result<StripeEntry> decode_stripe_entry(Bytes block, const RaidIdentity& raid, const RaidShape& shape,
                                        std::uint64_t position) {
  TM_ASSERT(block.size() == kBlockSizeBytes);
  TM_TRY_ASSIGN(Decoder decoder, open(block, kEntryMagic, "an entry of the stripe journal"));
  StripeEntry entry;
  const std::uint32_t count = decoder.u32();
  const RaidIdentity stored_raid = read_identity<RaidIdentity>(decoder);
  entry.sequence = decoder.u64();
  entry.position = decoder.u64();
  entry.payload_crc = decoder.u32();
  decoder.u32();
  const Error wrong =
      fail(ErrorCode::kDamaged, "an entry of the stripe journal belongs to another group or place");
  if (stored_raid != raid || entry.position != position || count > kStripeEntryExtentsMax) return wrong;
  for (std::uint32_t i = 0; i < count; ++i) {
    JournalExtent extent;
    extent.member = decoder.u16();
    decoder.u16();
    extent.length_bytes = decoder.u32();
    extent.offset = decoder.u64();
    if (extent.member >= shape.member_count || extent.offset % kBlockSizeBytes != 0 ||
        extent.length_bytes == 0 || extent.length_bytes % kBlockSizeBytes != 0 ||
        extent.offset > shape.member_bytes || extent.length_bytes > shape.member_bytes - extent.offset) {
      return wrong;
    }
    entry.extents.push_back(extent);
  }
  const std::uint64_t room = shape.journal_bytes - std::min(shape.journal_bytes, position);
  if (entry.payload_bytes() > kStripePayloadBytesMax || entry.payload_bytes() + kBlockSizeBytes > room) {
    return wrong;
  }
  return entry;
}

}  // namespace tidemark::format
