#include "pool/pool.h"

#include <algorithm>
#include <map>
#include <string>

#include "base/time.h"
#include "pool/data_volume.h"
#include "pool/label.h"
#include "pool/log_volume.h"
#include "pool/pool_core.h"
#include "pool/survey.h"

namespace tidemark::pool {

namespace {

using format::kExtentHeadBytes;
using format::kExtentSizeBytes;
using format::kSlotSizeBytes;
using format::LuState;
using format::LuTableRecord;

// What a log volume has for its volume.
constexpr VolumeId kFirstLogVolume{0};
constexpr VolumeId kFurtherLogVolume{1};

// Calls `visit(first, count)` for each run of neighbours in `slots`, which it sorts.
template <typename Visit>
void for_each_run(std::vector<std::uint64_t>& slots, Visit visit) {
  std::ranges::sort(slots);
  for (std::size_t begin = 0; begin < slots.size();) {
    std::size_t end = begin + 1;
    while (end < slots.size() && slots[end] == slots[end - 1] + 1) ++end;
    visit(slots[begin], end - begin);
    begin = end;
  }
}

std::string damaged_label(std::uint32_t copy) {
  return "copy " + std::to_string(copy) + " of the disk's label, at offset " +
         std::to_string(format::kLabelOffset[copy]) + ", was damaged; written again from the other";
}

}  // namespace

io::Task<void> PoolCore::give_back(std::vector<std::uint64_t> released) {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> runs;
  for_each_run(released,
               [&runs](std::uint64_t first, std::uint64_t count) { runs.emplace_back(first, count); });
  for (const auto& [first, count] : runs) {
    const DiskOffset offset{label.layout.slot_offset(first)};
    // Whether it works or not, nobody reads these bytes before they are written.
    auto given = co_await disk.discard(offset, count * kSlotSizeBytes);
    for (std::uint64_t i = 0; i < count; ++i)
      slots.release(first + i, !given.ok() && slots.is_backed(first + i));
  }
}

// The one implementation of Pool: the directory of its units over what they share (PoolCore).
class PoolImpl final : public Pool {
 public:
  PoolImpl(const io::Environment& environment, io::Disk& disk, const format::DiskLabel& label,
           const PoolOptions& options)
      : core_(std::make_unique<PoolCore>(environment, disk, label, options.checksum_cache_bytes_max)) {}
  // Tasks of the pool's scope use the units: they end first.
  ~PoolImpl() override { core_->scope.cancel_all(); }

  io::Task<Result<void>> load();

  PoolNumber number() const override { return core_->label.pool; }
  DiskIdentity disk_identity() const override { return core_->label.disk; }
  std::vector<LuRecord> units() const override;
  io::Task<Result<LuNumber>> create_data_volume(GroupIdentity group, VolumeId volume,
                                                std::uint64_t size_bytes) override {
    return core_->run_owned<LuNumber>(create_data(group, volume, size_bytes));
  }
  io::Task<Result<LuNumber>> create_log_volume(GroupIdentity group, std::uint64_t size_bytes) override {
    return core_->run_owned<LuNumber>(create_log(group, size_bytes, kFirstLogVolume));
  }
  io::Task<Result<LuNumber>> create_further_log_volume(GroupIdentity group,
                                                       std::uint64_t size_bytes) override {
    return core_->run_owned<LuNumber>(create_log(group, size_bytes, kFurtherLogVolume));
  }
  io::Task<Result<void>> finish_log_volume(LuNumber number) override {
    return core_->run_owned<void>(finish_log(number));
  }
  io::Task<Result<void>> remove(LuNumber number) override {
    return core_->run_owned<void>(remove_unit(number));
  }
  DataVolume* data_volume(LuNumber number) override {
    const auto it = data_.find(number);
    return it == data_.end() ? nullptr : it->second.get();
  }
  io::Disk* log_volume(LuNumber number) override {
    const auto it = logs_.find(number);
    return it == logs_.end() ? nullptr : it->second.get();
  }
  DiskOffset log_volume_offset(LuNumber number) const override {
    const auto it = logs_.find(number);
    return it == logs_.end() ? DiskOffset{} : it->second->offset();
  }
  PoolStatus status() const override;
  io::Task<std::unique_ptr<Survey>> survey(DiskOffset begin, DiskOffset end,
                                           SurveyLogVolume survey_log_volume) override;
  std::vector<std::string> notices() const override { return notices_; }
  void notice(std::string sentence) { notices_.push_back(std::move(sentence)); }

 private:
  Result<void> adopt_units();
  Result<void> adopt_log(const LuTableRecord& entry, const LuRecord& record);
  Result<void> adopt_extent(std::uint64_t slot, const format::ExtentRecord& record,
                            std::vector<std::uint64_t>* stale);
  io::Task<Result<void>> clear_slots(std::vector<std::uint64_t> slots);
  io::Task<Result<LuNumber>> create_data(GroupIdentity group, VolumeId volume, std::uint64_t size_bytes);
  io::Task<Result<LuNumber>> create_log(GroupIdentity group, std::uint64_t size_bytes, VolumeId which);
  io::Task<Result<void>> prepare_log(LuTableRecord entry);
  io::Task<Result<void>> finish_log(LuNumber number);
  io::Task<Result<void>> remove_unit(LuNumber number);
  DiskOffset log_offset(std::uint64_t first_slot) const {
    return DiskOffset{core_->label.layout.slot_offset(first_slot) + kExtentHeadBytes};
  }
  Result<LuNumber> take_number();

  std::unique_ptr<PoolCore> core_;
  std::map<LuNumber, std::shared_ptr<DataVolumeImpl>> data_;
  std::map<LuNumber, std::unique_ptr<LogVolume>> logs_;
  std::vector<std::string> notices_;
};

// ---- Opening ----

io::Task<Result<void>> PoolImpl::load() {
  TM_CO_TRY(co_await core_->units.load());
  if (const std::uint32_t damaged = core_->units.damaged_copies(); damaged > 0) {
    notice(std::to_string(damaged) + (damaged == 1 ? " record" : " records") +
           " of the table of logical units had a damaged copy; " + "written again from the other");
  }
  TM_CO_TRY(adopt_units());
  std::vector<std::uint64_t> stale;
  Result<void> adopted;
  std::function<void(std::uint64_t, const format::ExtentRecord&)> found =
      [this, &stale, &adopted](std::uint64_t slot, const format::ExtentRecord& record) {
        if (adopted.ok()) adopted = adopt_extent(slot, record, &stale);
      };
  TM_CO_TRY(co_await core_->extents.load(found));
  TM_CO_TRY(adopted);
  // What load() made equal and what is cleared here must be durable before a slot changes hands.
  co_return co_await clear_slots(std::move(stale));
}

Result<void> PoolImpl::adopt_units() {
  for (const auto& entry : core_->units.records()) {
    if (!entry.has_value() || entry->state == LuState::kRemoved) continue;
    LuRecord record;
    record.number = entry->number;
    record.kind = static_cast<LuKind>(entry->kind);
    record.group = entry->group;
    record.volume = entry->volume;
    record.size_bytes = entry->size_bytes;
    record.forming = entry->state == LuState::kForming;
    const std::string name = "logical unit " + std::to_string(record.number.value);
    if (pool_of(record.number) != core_->label.pool) {
      return fail(ErrorCode::kDamaged, name + " has the number of another pool");
    }
    if (data_.contains(record.number) || logs_.contains(record.number)) {
      return fail(ErrorCode::kDamaged, name + " is twice in the table of logical units");
    }
    if (record.kind == LuKind::kLog) {
      TM_TRY(adopt_log(*entry, record));
    } else if (record.kind == LuKind::kData && record.size_bytes <= kVolumeSizeBytesMax) {
      data_.emplace(record.number, std::make_shared<DataVolumeImpl>(*core_, record));
    } else {
      return fail(ErrorCode::kDamaged, name + " has a kind or a size that cannot be");
    }
  }
  return {};
}

Result<void> PoolImpl::adopt_log(const LuTableRecord& entry, const LuRecord& record) {
  const std::uint64_t slots = core_->label.layout.slot_count;
  const bool fits = entry.slot_count > 0 && entry.first_slot < slots &&
                    entry.slot_count <= slots - entry.first_slot &&
                    record.size_bytes <= entry.slot_count * kSlotSizeBytes - kExtentHeadBytes;
  if (!fits) {
    return fail(ErrorCode::kDamaged, "log volume " + std::to_string(record.number.value) +
                                         " names places that are not on the disk");
  }
  for (std::uint64_t i = 0; i < entry.slot_count; ++i) {
    if (core_->slots.is_used(entry.first_slot + i)) {
      return fail(ErrorCode::kDamaged, "log volume " + std::to_string(record.number.value) + " shares slot " +
                                           std::to_string(entry.first_slot + i) + " with another log volume");
    }
    core_->slots.take(entry.first_slot + i);
  }
  logs_.emplace(record.number,
                std::make_unique<LogVolume>(core_->disk, core_->shared_flush, record, entry.first_slot,
                                            entry.slot_count, log_offset(entry.first_slot)));
  return {};
}

// Slots whose record does not count any more go to `stale`.
Result<void> PoolImpl::adopt_extent(std::uint64_t slot, const format::ExtentRecord& record,
                                    std::vector<std::uint64_t>* stale) {
  core_->next_generation = std::max(core_->next_generation, record.generation + 1);
  if (core_->slots.is_used(slot)) {
    return fail(ErrorCode::kDamaged,
                "slot " + std::to_string(slot) + " belongs to a log volume and to an extent");
  }
  core_->slots.take(slot);
  const auto owner = data_.find(record.owner);
  if (owner == data_.end()) {
    const LuTableRecord* entry = core_->units.find(record.owner);
    if (entry == nullptr || entry->state != LuState::kRemoved) {
      return fail(ErrorCode::kDamaged, "slot " + std::to_string(slot) + " belongs to logical unit " +
                                           std::to_string(record.owner.value) +
                                           ", which is no data volume of this disk");
    }
    stale->push_back(slot);
    return {};
  }
  DataVolumeImpl& volume = *owner->second;
  if (std::uint64_t{record.extent_index} * kExtentSizeBytes >= volume.record().size_bytes) {
    stale->push_back(slot);
    return {};
  }
  Extent extent;
  extent.slot = static_cast<std::uint32_t>(slot);
  extent.generation = record.generation;
  extent.state = ExtentState::kRecorded;
  const Extent other = volume.extents().get(record.extent_index);
  if (other.state != ExtentState::kNone && other.generation > extent.generation) {
    stale->push_back(slot);
    return {};
  }
  if (other.state != ExtentState::kNone) stale->push_back(other.slot);
  volume.adopt(record.extent_index, extent);
  return {};
}

io::Task<Result<void>> PoolImpl::clear_slots(std::vector<std::uint64_t> slots) {
  std::vector<ExtentChange> changes;
  changes.reserve(slots.size());
  for (const std::uint64_t slot : slots) changes.push_back({slot, std::nullopt});
  // A flush of somebody else that fails after a write here has dropped it.
  std::uint64_t seen = core_->shared_flush.failures();
  TM_CO_TRY(co_await core_->extents.update(std::move(changes)));
  TM_CO_TRY(co_await core_->shared_flush.flush(&seen));
  co_await core_->give_back(std::move(slots));
  co_return Result<void>{};
}

// ---- Units ----

std::vector<LuRecord> PoolImpl::units() const {
  std::vector<LuRecord> records;
  for (const auto& [number, volume] : data_) records.push_back(volume->record());
  for (const auto& [number, log] : logs_) records.push_back(log->record());
  std::ranges::sort(records, {}, &LuRecord::number);
  return records;
}

Result<LuNumber> PoolImpl::take_number() {
  const LuNumber number = core_->units.take_number();
  if (number.value == 0)
    return fail(ErrorCode::kNoSpace, "the numbers of logical units are used up on this disk");
  return number;
}

io::Task<Result<LuNumber>> PoolImpl::create_data(GroupIdentity group, VolumeId volume,
                                                 std::uint64_t size_bytes) {
  if (size_bytes % kBlockSizeBytes != 0 || size_bytes > kVolumeSizeBytesMax) {
    co_return fail(ErrorCode::kInvalid, "a volume of " + std::to_string(size_bytes) +
                                            " bytes cannot be: it takes a multiple of 4096, at most " +
                                            std::to_string(kVolumeSizeBytesMax));
  }
  const auto guard = co_await core_->table_mutex.lock();
  LuRecord record;
  TM_CO_TRY_ASSIGN(record.number, take_number());
  record.kind = LuKind::kData;
  record.group = group;
  record.volume = volume;
  record.size_bytes = size_bytes;
  TM_CO_TRY(co_await core_->units.put(to_table_record(record)));
  data_.emplace(record.number, std::make_shared<DataVolumeImpl>(*core_, record));
  co_return record.number;
}

io::Task<Result<LuNumber>> PoolImpl::create_log(GroupIdentity group, std::uint64_t size_bytes,
                                                VolumeId which) {
  if (size_bytes % kBlockSizeBytes != 0 || size_bytes == 0) {
    co_return fail(ErrorCode::kInvalid, "a log volume of " + std::to_string(size_bytes) +
                                            " bytes cannot be: it takes a multiple of 4096");
  }
  const auto space_guard = co_await core_->space_mutex.lock();
  const std::uint64_t slots_max = core_->slots.slot_count();
  const bool too_large = size_bytes > slots_max * kSlotSizeBytes;
  const std::uint64_t count =
      too_large ? 0 : (size_bytes + kExtentHeadBytes + kSlotSizeBytes - 1) / kSlotSizeBytes;
  const auto first = core_->slots.last_free_run(count);
  if (!first.has_value()) {
    const PoolStatus now = status();
    co_return fail(ErrorCode::kNoSpace, "the pool has no " + format_size(size_bytes) +
                                            " in one piece for a journal (" + format_size(now.free_bytes) +
                                            " are free in all); choose a smaller size or a larger disk");
  }
  SlotGrant grant(core_->slots);
  for (std::uint64_t i = 0; i < count; ++i) grant.take(*first + i);
  const auto table_guard = co_await core_->table_mutex.lock();
  LuRecord record;
  TM_CO_TRY_ASSIGN(record.number, take_number());
  record.kind = LuKind::kLog;
  record.group = group;
  record.volume = which;
  record.size_bytes = size_bytes;
  record.forming = record.is_first_log();
  LuTableRecord entry = to_table_record(record);
  entry.first_slot = *first;
  entry.slot_count = count;
  TM_CO_TRY(co_await prepare_log(entry));
  bool maybe_written = false;
  auto stored = co_await core_->units.put(entry, &maybe_written);
  // After a failed write the record may be on the disk: its slots are nobody else's until the disk is opened
  // anew.
  if (maybe_written) grant.commit();
  TM_CO_TRY(stored);
  logs_.emplace(record.number, std::make_unique<LogVolume>(core_->disk, core_->shared_flush, record, *first,
                                                           count, log_offset(*first)));
  co_return record.number;
}

// What an earlier owner left must not be taken for a journal: the volume starts as zeroes.
io::Task<Result<void>> PoolImpl::prepare_log(LuTableRecord entry) {
  const DiskOffset offset{core_->label.layout.slot_offset(entry.first_slot)};
  for (std::uint64_t i = 0; i < entry.slot_count; ++i) core_->slots.set_backed(entry.first_slot + i, false);
  std::uint64_t seen = core_->shared_flush.failures();
  TM_CO_TRY(co_await core_->disk.discard(offset, entry.slot_count * kSlotSizeBytes));
  std::vector<Buffer> pieces{encode_log_volume_head(core_->label.disk, entry)};
  TM_CO_TRY(co_await core_->disk.write(offset, std::move(pieces), io::Durability::kVolatile));
  co_return co_await core_->shared_flush.flush(&seen);
}

io::Task<Result<void>> PoolImpl::finish_log(LuNumber number) {
  const auto guard = co_await core_->table_mutex.lock();
  const LuTableRecord* known = core_->units.find(number);
  if (known == nullptr || !logs_.contains(number)) {
    co_return fail(ErrorCode::kNotFound, "there is no log volume " + std::to_string(number.value));
  }
  LuTableRecord entry = *known;
  entry.state = LuState::kLive;
  TM_CO_TRY(co_await core_->units.put(entry));
  logs_.at(number)->set_formed();
  co_return Result<void>{};
}

io::Task<Result<void>> PoolImpl::remove_unit(LuNumber number) {
  const auto guard = co_await core_->table_mutex.lock();
  const LuTableRecord* known = core_->units.find(number);
  if (known == nullptr || known->state == LuState::kRemoved) {
    co_return fail(ErrorCode::kNotFound, "there is no logical unit " + std::to_string(number.value));
  }
  LuTableRecord entry = *known;
  entry.state = LuState::kRemoved;
  TM_CO_TRY(co_await core_->units.put(entry));
  // It is gone from here on, whatever becomes of its space: what fails below is done by the next open.
  std::vector<std::uint64_t> slots;
  if (const auto it = data_.find(number); it != data_.end()) {
    slots = it->second->abandon();
    data_.erase(it);
    TM_CO_TRY(co_await clear_slots(std::move(slots)));
  } else {
    logs_.erase(number);
    for (std::uint64_t i = 0; i < entry.slot_count; ++i) core_->watch.changes(entry.first_slot + i);
    for (std::uint64_t i = 0; i < entry.slot_count; ++i) slots.push_back(entry.first_slot + i);
    co_await core_->give_back(std::move(slots));
  }
  core_->units.forget(number);
  co_return Result<void>{};
}

io::Task<std::unique_ptr<Survey>> PoolImpl::survey(DiskOffset begin, DiskOffset end,
                                                   SurveyLogVolume survey_log_volume) {
  auto made = std::make_unique<SurveyImpl>(*core_, begin, end);
  for (const auto& [number, volume] : data_) made->note(*volume);
  for (const auto& [number, volume] : logs_) made->note(*volume);
  co_await made->load(std::move(survey_log_volume));
  co_return made;
}

PoolStatus PoolImpl::status() const {
  PoolStatus status;
  status.size_bytes = core_->slots.slot_count() * kExtentSizeBytes;
  status.allocated_bytes = core_->slots.used_count() * kExtentSizeBytes;
  status.free_bytes = status.size_bytes - status.allocated_bytes;
  return status;
}

// ---- The disk ----

static_assert(kPoolsMax == format::kPoolsMax);

PoolNumber pool_of(LuNumber unit) {
  return {unit.value / format::kLuNumbersPerPool};
}

io::Task<Result<void>> Pool::format(io::Environment& environment, io::Disk& disk, NodeIdentity node,
                                    PoolNumber number) {
  TM_ASSERT(number.value < format::kPoolsMax);
  TM_CO_TRY_ASSIGN(const format::DiskLayout layout, format::make_disk_layout(disk.size_bytes()));
  for (const std::uint64_t at : format::kLabelOffset) {
    Buffer block = Buffer::allocate(kBlockSizeBytes);
    const DiskOffset offset{at};
    TM_CO_TRY(co_await disk.read(offset, block));
    if (!all_zero(block)) {
      co_return fail(ErrorCode::kExists,
                     "the disk is not empty: it carries a label or somebody else's data; blank its first MiB "
                     "if nothing on it is needed");
    }
  }
  // All up to the first slot: a device may have had another life.
  TM_CO_TRY(co_await disk.discard(DiskOffset{0}, layout.slots_offset));
  TM_CO_TRY(co_await disk.flush());
  format::DiskLabel label;
  label.disk = environment.random.identity<DiskIdentity>();
  label.node = node;
  label.size_bytes = disk.size_bytes();
  label.generation = 1;
  label.layout = layout;
  label.pool = number;
  co_return co_await save_label(disk, label);
}

io::Task<Result<std::unique_ptr<Pool>>> Pool::open(io::Environment& environment, io::Disk& disk,
                                                   NodeIdentity node) {
  return open(environment, disk, node, PoolOptions{});
}

io::Task<Result<std::unique_ptr<Pool>>> Pool::open(io::Environment& environment, io::Disk& disk,
                                                   NodeIdentity node, PoolOptions options) {
  TM_CO_TRY_ASSIGN(const LoadedLabel loaded, co_await load_label(disk));
  const format::DiskLabel& label = loaded.label;
  if (label.node != node) {
    co_return fail(ErrorCode::kRefused, "the disk belongs to node " + label.node.to_string() +
                                            ", not to this node (" + node.to_string() + ")");
  }
  if (label.size_bytes > disk.size_bytes()) {
    co_return fail(ErrorCode::kIo, "the disk is smaller than it was when it was formatted (" +
                                       std::to_string(disk.size_bytes()) + " bytes instead of " +
                                       std::to_string(label.size_bytes) + "); give it back its size");
  }
  TM_CO_TRY(co_await repair_label(disk, loaded));
  auto pool = std::make_unique<PoolImpl>(environment, disk, label, options);
  for (std::uint32_t copy = 0; copy < 2; ++copy) {
    if (loaded.damaged[copy]) pool->notice(damaged_label(copy));
  }
  TM_CO_TRY(co_await pool->load());
  co_return std::unique_ptr<Pool>(std::move(pool));
}

}  // namespace tidemark::pool
