#include "format/records.h"

#include "base/codec.h"
#include "base/names.h"

namespace tidemark::format {
namespace {

// Tags on disk: one per alternative of ControlRecord, never used for something else.
enum Tag : std::uint8_t {
  kEpochOpenedTag = 1,
  kVolumeCreatedTag = 2,
  kVolumeResizedTag = 3,
  kVolumeDeletedTag = 4,
  kPointNamedTag = 5,
  kMarkChangedTag = 6,
  kBranchReleasedTag = 7,
  kLogSwitchedTag = 8,
  kRefillDoneTag = 9,
};

void put_mark(Encoder& out, const MarkRecord& mark) {
  out.text(mark.id);
  out.i64(mark.host_time.ns);
  out.text(mark.host);
  out.text(mark.note);
}

MarkRecord get_mark(Decoder& in, std::size_t id_length_max) {
  MarkRecord mark;
  mark.id = in.text(id_length_max);
  mark.host_time.ns = in.i64();
  mark.host = in.text(kHostNameBytesMax);
  mark.note = in.text(kMarkNoteBytesMax);
  return mark;
}

Error malformed(const char* what) {
  return fail(ErrorCode::kInvalid,
              std::string("a ") + what + " record is cut off or has a field out of bounds");
}

Result<void> validate_size(std::uint64_t size_bytes) {
  if (size_bytes % kBlockSizeBytes != 0) {
    return fail(ErrorCode::kInvalid, "a volume size is not a multiple of 4096");
  }
  return {};
}

struct EncodeControl {
  Encoder& out;
  void operator()(const EpochOpened& record) const {
    out.u8(kEpochOpenedTag);
    out.raw(record.identity.bytes);
    out.u64(record.parent.raw());
    out.u8(static_cast<std::uint8_t>(record.reason));
  }
  void operator()(const VolumeCreated& record) const {
    out.u8(kVolumeCreatedTag);
    out.u32(record.volume.value);
    out.text(record.name);
    out.u64(record.size_bytes);
  }
  void operator()(const VolumeResized& record) const {
    out.u8(kVolumeResizedTag);
    out.u32(record.volume.value);
    out.u64(record.size_bytes);
  }
  void operator()(const VolumeDeleted& record) const {
    out.u8(kVolumeDeletedTag);
    out.u32(record.volume.value);
  }
  void operator()(const PointNamed& record) const {
    out.u8(kPointNamedTag);
    put_mark(out, record.mark);
    out.u64(record.target.raw());
    out.i64(record.target_timer.ns);
  }
  void operator()(const MarkChanged& record) const {
    out.u8(kMarkChangedTag);
    out.text(record.id);
    out.u8(static_cast<std::uint8_t>(record.action));
  }
  void operator()(const BranchReleased& record) const {
    out.u8(kBranchReleasedTag);
    out.u32(record.epoch.value);
  }
  void operator()(const LogSwitched& record) const {
    out.u8(kLogSwitchedTag);
    out.u8(record.started ? 1 : 0);
  }
  void operator()(const RefillDone& record) const {
    out.u8(kRefillDoneTag);
    out.u64(record.point.raw());
  }
};

Result<ControlRecord> finish(const Decoder& in, ControlRecord record, const char* what) {
  if (!in.done()) return malformed(what);
  return record;
}

}  // namespace

Result<void> validate_known_mark_id(const std::string& id) {
  const std::size_t tilde = id.find('~');
  TM_TRY(validate_name("mark id", id.substr(0, tilde), kMarkIdLengthMax));
  if (tilde == std::string::npos) return {};
  const std::string epochs = id.substr(tilde);
  if (id.size() > kKnownMarkIdLengthMax || epochs.size() < 2 ||
      epochs.find_first_not_of("~0123456789") != std::string::npos) {
    return fail(ErrorCode::kInvalid, "'" + printable(id, 200) + "' is not the id of a mark");
  }
  return {};
}

std::vector<std::byte> encode_mark(const MarkRecord& mark) {
  Encoder out;
  put_mark(out, mark);
  return out.take();
}

Result<MarkRecord> decode_mark(Bytes bytes) {
  Decoder in(bytes);
  MarkRecord mark = get_mark(in, kMarkIdLengthMax);
  if (!in.done()) return malformed("mark");
  TM_TRY(validate_name("mark id", mark.id, kMarkIdLengthMax));
  return mark;
}

std::vector<std::byte> encode_control(const ControlRecord& record) {
  Encoder out;
  std::visit(EncodeControl{out}, record);
  return out.take();
}

Result<ControlRecord> decode_control(Bytes bytes) {
  Decoder in(bytes);
  const std::uint8_t tag = in.u8();
  switch (tag) {
    case kEpochOpenedTag: {
      EpochOpened record;
      record.identity.bytes = in.array<16>();
      record.parent = LogId::from_raw(in.u64());
      const std::uint8_t reason = in.u8();
      if (reason < 1 || reason > kEpochReasonMax) return malformed("epoch");
      record.reason = static_cast<EpochReason>(reason);
      return finish(in, record, "epoch");
    }
    case kVolumeCreatedTag: {
      VolumeCreated record;
      record.volume.value = in.u32();
      record.name = in.text(kNameLengthMax);
      record.size_bytes = in.u64();
      if (!in.done() || record.volume.value == 0) return malformed("volume");
      TM_TRY(validate_name("volume name", record.name));
      TM_TRY(validate_size(record.size_bytes));
      return ControlRecord{record};
    }
    case kVolumeResizedTag: {
      VolumeResized record;
      record.volume.value = in.u32();
      record.size_bytes = in.u64();
      TM_TRY(validate_size(record.size_bytes));
      return finish(in, record, "resize");
    }
    case kVolumeDeletedTag: {
      VolumeDeleted record;
      record.volume.value = in.u32();
      return finish(in, record, "volume deletion");
    }
    case kPointNamedTag: {
      PointNamed record;
      record.mark = get_mark(in, kKnownMarkIdLengthMax);
      record.target = LogId::from_raw(in.u64());
      record.target_timer.ns = in.i64();
      if (!in.done()) return malformed("named point");
      TM_TRY(validate_known_mark_id(record.mark.id));
      return ControlRecord{record};
    }
    case kMarkChangedTag: {
      MarkChanged record;
      record.id = in.text(kKnownMarkIdLengthMax);
      const std::uint8_t action = in.u8();
      if (action < 1 || action > 3) return malformed("mark change");
      record.action = static_cast<MarkAction>(action);
      return finish(in, record, "mark change");
    }
    case kBranchReleasedTag: {
      BranchReleased record;
      record.epoch.value = in.u32();
      return finish(in, record, "branch release");
    }
    case kLogSwitchedTag: {
      const std::uint8_t started = in.u8();
      if (started > 1) return malformed("log");
      LogSwitched record;
      record.started = started != 0;
      return finish(in, record, "log");
    }
    case kRefillDoneTag: {
      RefillDone record;
      record.point = LogId::from_raw(in.u64());
      return finish(in, record, "refill");
    }
    default:
      if (in.failed()) return malformed("control");
      return fail(ErrorCode::kUnsupported, "a control record has the unknown tag " + std::to_string(tag) +
                                               "; it was written by a newer version of tidemarkd");
  }
}

}  // namespace tidemark::format
