#include "group/local_record.h"

#include "base/codec.h"
#include "base/names.h"

namespace tidemark::group {
namespace {

constexpr std::uint32_t kLocalRecordVersion = 8;
constexpr std::uint32_t kWithoutWindowStart = 1;
constexpr std::uint32_t kWithoutLogAndVerification = 2;
constexpr std::uint32_t kWithoutComparison = 3;
constexpr std::uint32_t kWithoutSkipAndCursor = 4;
constexpr std::uint32_t kWithoutChanges = 5;
constexpr std::uint32_t kWithoutPool = 6;
constexpr std::uint32_t kWithoutGapBefore = 7;

}  // namespace

std::vector<std::byte> LocalRecord::encode() const {
  TM_ASSERT(pair.size() <= kPairRecordBytesMax);
  Encoder out;
  out.u32(kLocalRecordVersion);
  out.text(name);
  out.i64(settings.retain.ns);
  out.u8(static_cast<std::uint8_t>(settings.on_full));
  out.u8(static_cast<std::uint8_t>(role));
  out.u32(parity);
  out.u64(floor.raw());
  out.i64(floor_timer.ns);
  out.u64(destaged.raw());
  out.u32(destaged_checksum);
  out.i64(destaged_timer.ns);
  out.u8(static_cast<std::uint8_t>((window_open ? 1 : 0) | (exports_closed ? 2 : 0) | (dropped ? 4 : 0) |
                                   (window_shortened ? 8 : 0) | (base_settled ? 16 : 0)));
  out.u64(peer_has.raw());
  out.u32(static_cast<std::uint32_t>(pair.size()));
  out.raw(Bytes(pair));
  out.u64(window_start.raw());
  out.i64(window_start_timer.ns);
  out.u64(log_kept_from.raw());
  out.i64(verified_at.ns);
  out.u64(verified_first.raw());
  out.u64(verified_last.raw());
  out.u8(verified_base ? 1 : 0);
  out.u32(verified_damages);
  out.i64(compared_at.ns);
  out.u64(compared_point.raw());
  out.u64(compared_differing_bytes);
  out.u64(compared_repaired_bytes);
  out.u64(skipped_to.raw());
  out.u32(skipped_to_checksum);
  out.u32(copied_volume.value);
  out.u64(copied_bytes);
  out.u64(changes_from.raw());
  out.u32(data_pool.value);
  out.u64(skipped_before.raw());
  out.u32(skipped_before_checksum);
  return out.take();
}

Result<LocalRecord> LocalRecord::decode(Bytes bytes) {
  Decoder in(bytes);
  LocalRecord record;
  const std::uint32_t version = in.u32();
  if (version < kWithoutWindowStart || version > kLocalRecordVersion) {
    return fail(ErrorCode::kUnsupported, "a group's local record has version " + std::to_string(version) +
                                             "; this tidemarkd knows versions up to " +
                                             std::to_string(kLocalRecordVersion));
  }
  record.name = in.text(kNameLengthMax);
  record.settings.retain.ns = in.i64();
  const std::uint8_t on_full = in.u8();
  const std::uint8_t role = in.u8();
  record.parity = in.u32();
  record.floor = LogId::from_raw(in.u64());
  record.floor_timer.ns = in.i64();
  record.destaged = LogId::from_raw(in.u64());
  record.destaged_checksum = in.u32();
  record.destaged_timer.ns = in.i64();
  const std::uint8_t flags = in.u8();
  record.window_open = (flags & 1) != 0;
  record.exports_closed = (flags & 2) != 0;
  record.dropped = (flags & 4) != 0;
  record.window_shortened = (flags & 8) != 0;
  // Earlier versions had no flag for it: between steps the base then went as far as the floor.
  record.base_settled = (flags & 16) != 0 || record.floor == record.destaged;
  record.peer_has = LogId::from_raw(in.u64());
  const std::uint32_t pair_size = in.u32();
  if (pair_size > kPairRecordBytesMax) {
    return fail(ErrorCode::kInvalid, "a group's local record has a pair record out of bounds");
  }
  const Bytes pair = in.raw(pair_size);
  record.pair.assign(pair.begin(), pair.end());
  if (version != kWithoutWindowStart) {
    record.window_start = LogId::from_raw(in.u64());
    record.window_start_timer.ns = in.i64();
  }
  std::uint8_t verified_base = 0;
  if (version > kWithoutLogAndVerification) {
    record.log_kept_from = LogId::from_raw(in.u64());
    record.verified_at.ns = in.i64();
    record.verified_first = LogId::from_raw(in.u64());
    record.verified_last = LogId::from_raw(in.u64());
    verified_base = in.u8();
    record.verified_damages = in.u32();
  }
  record.verified_base = verified_base == 1;
  if (version > kWithoutComparison) {
    record.compared_at.ns = in.i64();
    record.compared_point = LogId::from_raw(in.u64());
    record.compared_differing_bytes = in.u64();
    record.compared_repaired_bytes = in.u64();
  }
  if (version > kWithoutSkipAndCursor) {
    record.skipped_to = LogId::from_raw(in.u64());
    record.skipped_to_checksum = in.u32();
    record.copied_volume.value = in.u32();
    record.copied_bytes = in.u64();
  }
  if (version > kWithoutChanges) record.changes_from = LogId::from_raw(in.u64());
  if (version > kWithoutPool) record.data_pool.value = in.u32();
  if (version > kWithoutGapBefore) {
    record.skipped_before = LogId::from_raw(in.u64());
    record.skipped_before_checksum = in.u32();
  }
  if (!in.done() || record.settings.retain.ns < 0 || on_full < 1 || on_full > 2 || role < 1 || role > 2 ||
      verified_base > 1) {
    return fail(ErrorCode::kInvalid, "a group's local record is cut off or has a field out of bounds");
  }
  TM_TRY(validate_name("group name", record.name));
  record.settings.on_full = static_cast<OnFull>(on_full);
  record.role = static_cast<Role>(role);
  return record;
}

}  // namespace tidemark::group
