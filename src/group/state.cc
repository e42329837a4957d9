#include "group/state.h"

#include <algorithm>

#include "base/codec.h"
#include "base/names.h"

namespace tidemark::group {
namespace {

constexpr std::uint32_t kStateVersion = 2;  // 1 knew no started log, no provisional marks, no refills

}  // namespace

format::MarkRecord record_of(const Mark& mark) {
  return {.id = mark.id, .host_time = mark.host_time, .host = mark.host, .note = mark.note};
}

// What a node refuses to read back it must not write: a replay stops at a record out of bounds.
Result<void> validate_mark(const format::MarkRecord& mark) {
  TM_TRY(validate_name("mark id", mark.id, kMarkIdLengthMax));
  if (mark.note.size() > format::kMarkNoteBytesMax || mark.host.size() > format::kHostNameBytesMax) {
    return fail(ErrorCode::kInvalid, "the note or the host name of mark '" + mark.id + "' is too long");
  }
  return {};
}

Result<void> GroupState::apply(const format::BatchMeta& batch) {
  for (std::size_t i = 0; i < batch.entries.size(); ++i) {
    const format::Entry& entry = batch.entries[i];
    const LogId id = LogId::from_raw(batch.first.raw() + i);
    if (entry.kind == format::EntryKind::kMark) {
      TM_TRY_ASSIGN(const format::MarkRecord mark, format::decode_mark(entry.body));
      TM_TRY(apply_mark(id, entry.timer, mark));
    } else if (entry.kind == format::EntryKind::kControl) {
      TM_TRY_ASSIGN(const format::ControlRecord record, format::decode_control(entry.body));
      TM_TRY(apply(id, entry.timer, record));
    }
    if (epochs_.find(id.epoch()) == nullptr) {
      return fail(ErrorCode::kInvalid,
                  "log entry " + id.to_string() + " lies in an epoch that was never opened");
    }
    epochs_.extend(id, entry.timer);
  }
  return {};
}

Result<void> GroupState::apply_mark(LogId id, WallTime timer, const format::MarkRecord& record) {
  add_mark({.id = record.id,
            .at = id,
            .entry = id,
            .timer = timer,
            .host_time = record.host_time,
            .host = record.host,
            .note = record.note});
  return {};
}

void GroupState::add_mark(Mark mark) {
  const auto set_aside_id = [](const Mark& known) {
    return known.id + "~" + std::to_string(known.entry.epoch().value);
  };
  if (const auto known = marks_.find(mark.id); known != marks_.end()) {
    // An entry may be replayed, whatever became of its mark meanwhile.
    if (known->second.entry == mark.entry) return;
    if (known->second.provisional && known->second.at == mark.at &&
        known->second.host_time == mark.host_time) {
      // The entry of what was provisional.
      known->second = std::move(mark);
      return;
    }
    const Mark* aside = find_mark(set_aside_id(mark));
    if (aside != nullptr && aside->entry == mark.entry) return;
    Mark gives_way = std::move(known->second);
    marks_.erase(known);
    gives_way.id = set_aside_id(gives_way);
    std::string id = gives_way.id;
    marks_.insert_or_assign(std::move(id), std::move(gives_way));
  }
  last_mark_id_ = mark.id;
  std::string id = mark.id;
  marks_.insert_or_assign(std::move(id), std::move(mark));
}

Result<void> GroupState::apply(LogId id, WallTime timer, const format::ControlRecord& record) {
  if (const auto* opened = std::get_if<format::EpochOpened>(&record)) {
    if (id.sequence() != 1) {
      return fail(ErrorCode::kInvalid,
                  "log entry " + id.to_string() + " opens an epoch but is not its first");
    }
    return epochs_.add(
        {.number = id.epoch(),
         .identity = opened->identity,
         .parent = opened->parent,
         .reason = opened->reason,
         .opened = timer,
         .last = id,
         .last_timer = timer,
         .complete_from = opened->reason == format::EpochReason::kRefill ? kSequenceMax : std::uint64_t{0}});
  }
  if (std::holds_alternative<format::RefillDone>(record)) {
    index::EpochInfo* info = epochs_.find(id.epoch());
    if (info == nullptr) return fail(ErrorCode::kInvalid, "a refill ends that never began");
    info->complete_from = id.sequence();
    return {};
  }
  if (const auto* created = std::get_if<format::VolumeCreated>(&record)) {
    shape_changes_.push_back({id, {created->volume, created->name, created->size_bytes}, false});
    last_volume_ = std::max(last_volume_, created->volume);
    return {};
  }
  if (const auto* resized = std::get_if<format::VolumeResized>(&record)) {
    // The name travels with the change, so that a change alone says the whole shape of its volume.
    std::string name;
    for (const ShapeChange& change : shape_changes_) {
      if (change.volume.id == resized->volume && !change.deleted) name = change.volume.name;
    }
    shape_changes_.push_back({id, {resized->volume, name, resized->size_bytes}, false});
    return {};
  }
  if (const auto* deleted = std::get_if<format::VolumeDeleted>(&record)) {
    shape_changes_.push_back({id, {deleted->volume, {}, 0}, true});
    return {};
  }
  if (const auto* named = std::get_if<format::PointNamed>(&record)) {
    add_mark({.id = named->mark.id,
              .at = named->target,
              .entry = id,
              .timer = named->target_timer,
              .host_time = named->mark.host_time,
              .host = named->mark.host,
              .note = named->mark.note});
    return {};
  }
  if (const auto* changed = std::get_if<format::MarkChanged>(&record)) {
    const auto at = marks_.find(changed->id);
    if (at == marks_.end()) return {};
    if (changed->action == format::MarkAction::kDelete) {
      marks_.erase(at);
      if (changed->id == last_mark_id_) find_last_mark();
    } else {
      at->second.held = changed->action == format::MarkAction::kHold;
    }
    return {};
  }
  if (const auto* log = std::get_if<format::LogSwitched>(&record)) {
    log_started_ = log->started ? id : LogId();
    return {};
  }
  const auto& released = std::get<format::BranchReleased>(record);
  // Whoever released it did not know of the tail that this node alone has of it.
  index::EpochInfo* info = epochs_.find(released.epoch);
  if (info != nullptr && !info->unreplicated) info->released = true;
  return {};
}

Result<void> GroupState::skip_to(GroupState primary, LogId start) {
  const index::EpochInfo* goes_on = primary.epochs_.find(start.epoch());
  if (goes_on == nullptr || goes_on->last != start || epochs_.find(start.epoch()) != nullptr) {
    return fail(ErrorCode::kInvalid,
                "the peer's state does not end at log:" + start.to_string() + " in an epoch of its own");
  }
  // All on a copy: what does not fit together changes nothing.
  GroupState merged = *this;
  for (const auto& [number, theirs] : primary.epochs_.all()) {
    if (index::EpochInfo* known = merged.epochs_.find(number)) {
      if (known->identity != theirs.identity) {
        return fail(ErrorCode::kInvalid,
                    "epoch " + std::to_string(number.value) + " is another one on the two nodes");
      }
      known->released = known->released || (theirs.released && !known->unreplicated);
      known->cut = known->cut || theirs.last > known->last;
      continue;
    }
    index::EpochInfo missing = theirs;
    missing.unreplicated = missing.abandoned = false;
    if (number == start.epoch()) {
      missing.complete_from = kSequenceMax;
    } else {
      missing.last = LogId(number, 0);
      missing.cut = true;
      // Nothing of a branch that ended meanwhile will ever be had here.
      missing.released = missing.released || !primary.epochs_.is_ancestor(LogId(number, 1), start);
    }
    TM_TRY(merged.epochs_.add(missing));
  }
  for (const ShapeChange& change : primary.shape_changes_) {
    const bool known = std::any_of(shape_changes_.begin(), shape_changes_.end(),
                                   [&](const ShapeChange& mine) { return mine.id == change.id; });
    if (!known) merged.shape_changes_.push_back(change);
  }
  // A mark of a stretch that the primary knows was deleted, if the primary does not have it.
  std::erase_if(merged.marks_, [&](const auto& mark) {
    const LogId entry = mark.second.entry;
    const index::EpochInfo* theirs = primary.epochs_.find(entry.epoch());
    return !mark.second.provisional && theirs != nullptr && entry <= theirs->last;
  });
  for (const auto& [id, mark] : primary.marks_) {
    if (!mark.provisional) merged.add_mark(mark);
  }
  merged.last_mark_id_ = primary.last_mark_id_;
  if (merged.find_mark(merged.last_mark_id_) == nullptr) merged.find_last_mark();
  merged.last_volume_ = std::max(last_volume_, primary.last_volume_);
  merged.log_started_ = primary.log_started_;
  *this = std::move(merged);
  return {};
}

std::vector<VolumeShape> GroupState::shape_at(LogId point) const {
  std::map<VolumeId, VolumeShape> volumes;
  for (const ShapeChange& change : shape_changes_) {
    if (!epochs_.is_ancestor(change.id, point)) continue;
    if (change.deleted) {
      volumes.erase(change.volume.id);
    } else {
      volumes[change.volume.id] = change.volume;
    }
  }
  std::vector<VolumeShape> out;
  out.reserve(volumes.size());
  for (auto& [id, shape] : volumes) out.push_back(shape);
  return out;
}

std::optional<VolumeShape> GroupState::find_volume(const std::string& name, LogId point) const {
  for (VolumeShape& shape : shape_at(point)) {
    if (shape.name == name) return shape;
  }
  return std::nullopt;
}

std::map<VolumeId, std::uint64_t> GroupState::sizes_max() const {
  std::map<VolumeId, std::uint64_t> sizes;
  for (const ShapeChange& change : shape_changes_) {
    std::uint64_t& size = sizes[change.volume.id];
    size = std::max(size, change.volume.size_bytes);
  }
  return sizes;
}

bool GroupState::volume_may_be_read(VolumeId volume, LogId floor) const {
  for (const VolumeShape& shape : shape_at(floor)) {
    if (shape.id == volume) return true;
  }
  return std::any_of(shape_changes_.begin(), shape_changes_.end(), [&](const ShapeChange& change) {
    if (change.volume.id != volume || change.deleted || epochs_.is_ancestor(change.id, floor)) return false;
    // A released epoch may still be part of the way to one that is not, or to a held mark.
    return std::any_of(epochs_.all().begin(), epochs_.all().end(),
                       [&](const auto& epoch) {
                         return !epoch.second.released && epochs_.is_ancestor(change.id, epoch.second.last);
                       }) ||
           std::any_of(marks_.begin(), marks_.end(), [&](const auto& mark) {
             return mark.second.held && epochs_.is_ancestor(change.id, mark.second.at);
           });
  });
}

const Mark* GroupState::find_mark(const std::string& id) const {
  const auto at = marks_.find(id);
  return at == marks_.end() ? nullptr : &at->second;
}

void GroupState::drop_provisional(const std::string& id) {
  const auto at = marks_.find(id);
  if (at == marks_.end() || !at->second.provisional) return;
  marks_.erase(at);
  if (id == last_mark_id_) find_last_mark();
}

void GroupState::find_last_mark() {
  const Mark* last = nullptr;
  for (const auto& [id, mark] : marks_) {
    if (last == nullptr || last->timer < mark.timer) last = &mark;
  }
  last_mark_id_ = last == nullptr ? std::string() : last->id;
}

std::optional<Mark> GroupState::last_mark() const {
  const Mark* mark = find_mark(last_mark_id_);
  if (mark == nullptr) return std::nullopt;
  return *mark;
}

std::vector<std::byte> GroupState::encode(Epoch live_epoch) const {
  Encoder out;
  out.u32(kStateVersion);
  out.u32(live_epoch.value);
  out.u32(last_volume_.value);
  out.text(last_mark_id_);
  out.u32(static_cast<std::uint32_t>(epochs_.all().size()));
  for (const auto& [number, info] : epochs_.all()) {
    out.u32(number.value);
    out.raw(info.identity.bytes);
    out.u64(info.parent.raw());
    out.u8(static_cast<std::uint8_t>(info.reason));
    out.i64(info.opened.ns);
    out.u64(info.last.raw());
    out.i64(info.last_timer.ns);
    out.u64(info.complete_from);
    out.u8(static_cast<std::uint8_t>((info.released ? 1 : 0) | (info.unreplicated ? 2 : 0) |
                                     (info.abandoned ? 4 : 0) | (info.cut ? 8 : 0)));
  }
  out.u32(static_cast<std::uint32_t>(shape_changes_.size()));
  for (const ShapeChange& change : shape_changes_) {
    out.u64(change.id.raw());
    out.u32(change.volume.id.value);
    out.text(change.volume.name);
    out.u64(change.volume.size_bytes);
    out.u8(change.deleted ? 1 : 0);
  }
  out.u32(static_cast<std::uint32_t>(marks_.size()));
  for (const auto& [id, mark] : marks_) {
    out.text(mark.id);
    out.u64(mark.at.raw());
    out.u64(mark.entry.raw());
    out.i64(mark.timer.ns);
    out.i64(mark.host_time.ns);
    out.text(mark.host);
    out.text(mark.note);
    out.u8(static_cast<std::uint8_t>((mark.held ? 1 : 0) | (mark.provisional ? 2 : 0)));
  }
  out.u64(log_started_.raw());
  return out.take();
}

Result<GroupState> GroupState::decode(Bytes bytes, Epoch* live_epoch) {
  const Error bad = fail(ErrorCode::kInvalid, "a group state is cut off or has a field out of bounds");
  Decoder in(bytes);
  GroupState state;
  const std::uint32_t version = in.u32();
  if (version < 1 || version > kStateVersion) {
    return fail(ErrorCode::kUnsupported, "a group state has version " + std::to_string(version) +
                                             "; this tidemarkd knows versions up to " +
                                             std::to_string(kStateVersion));
  }
  live_epoch->value = in.u32();
  state.last_volume_.value = in.u32();
  state.last_mark_id_ = in.text(kKnownMarkIdLengthMax);
  for (std::uint32_t left = in.u32(); left > 0 && !in.failed(); --left) {
    index::EpochInfo info;
    info.number.value = in.u32();
    info.identity.bytes = in.array<16>();
    info.parent = LogId::from_raw(in.u64());
    const std::uint8_t reason = in.u8();
    if (reason < 1 || reason > format::kEpochReasonMax) return bad;
    info.reason = static_cast<format::EpochReason>(reason);
    info.opened.ns = in.i64();
    info.last = LogId::from_raw(in.u64());
    info.last_timer.ns = in.i64();
    if (version >= 2) info.complete_from = in.u64();
    const std::uint8_t flags = in.u8();
    info.released = (flags & 1) != 0;
    info.unreplicated = (flags & 2) != 0;
    info.abandoned = (flags & 4) != 0;
    info.cut = (flags & 8) != 0;
    if (info.last.epoch() != info.number) return bad;
    TM_TRY(state.epochs_.add(info));
  }
  for (std::uint32_t left = in.u32(); left > 0 && !in.failed(); --left) {
    ShapeChange change;
    change.id = LogId::from_raw(in.u64());
    change.volume.id.value = in.u32();
    change.volume.name = in.text(kNameLengthMax);
    change.volume.size_bytes = in.u64();
    change.deleted = in.u8() != 0;
    if (change.volume.size_bytes % kBlockSizeBytes != 0) return bad;
    state.shape_changes_.push_back(std::move(change));
  }
  for (std::uint32_t left = in.u32(); left > 0 && !in.failed(); --left) {
    Mark mark;
    mark.id = in.text(kKnownMarkIdLengthMax);
    mark.at = LogId::from_raw(in.u64());
    mark.entry = LogId::from_raw(in.u64());
    mark.timer.ns = in.i64();
    mark.host_time.ns = in.i64();
    mark.host = in.text(format::kHostNameBytesMax);
    mark.note = in.text(format::kMarkNoteBytesMax);
    const std::uint8_t flags = in.u8();
    mark.held = (flags & 1) != 0;
    mark.provisional = (flags & 2) != 0;
    std::string id = mark.id;
    state.marks_.emplace(std::move(id), std::move(mark));
  }
  if (version >= 2) state.log_started_ = LogId::from_raw(in.u64());
  if (!in.done() || state.epochs_.find(*live_epoch) == nullptr) return bad;
  return state;
}

}  // namespace tidemark::group
