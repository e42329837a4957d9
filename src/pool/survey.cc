#include "pool/survey.h"

#include <algorithm>
#include <cstring>

#include "base/crc32c.h"

namespace tidemark::pool {

using format::kExtentHeadBytes;
using format::kSlotSizeBytes;

SurveyImpl::SurveyImpl(PoolCore& core, DiskOffset begin, DiskOffset end)
    : core_(&core), begin_(begin.value), end_(end.value) {
  const std::uint64_t base = core.label.layout.slots_offset;
  const std::uint64_t count = core.label.layout.slot_count;
  const auto slot_at = [&](std::uint64_t offset) {
    return std::min(count, (std::max(offset, base) - base) / kSlotSizeBytes);
  };
  first_ = slot_at(begin.value);
  const std::uint64_t last = end.value <= base ? first_ : std::min(count, slot_at(end.value - 1) + 1);
  slots_.resize(std::max(first_, last) - first_);
  core.watch.add(*this);
}

SurveyImpl::~SurveyImpl() {
  if (core_ != nullptr) core_->watch.remove(*this);
}

void SurveyImpl::note(const DataVolumeImpl& volume) {
  const ExtentMap& extents = volume.extents();
  for (auto index = extents.next_mapped(0); index.has_value(); index = extents.next_mapped(*index + 1)) {
    const Extent extent = extents.get(*index);
    if (extent.slot < first_ || extent.slot - first_ >= slots_.size()) continue;
    // Its checksums on the disk are those of before, and nobody tells when they are not.
    if (core_->watch.is_being_written(extent.slot)) continue;
    Slot& slot = slots_[extent.slot - first_];
    slot.is_extent = true;
    slot.state = extent.state;
    slot.header = volume.header_of(*index, extent);
  }
}

void SurveyImpl::note(const LogVolume& volume) {
  const std::uint64_t begin = std::max(first_, volume.first_slot());
  const std::uint64_t end = std::min(first_ + slots_.size(), volume.first_slot() + volume.slot_count());
  const format::LuTableRecord* entry = core_->units.find(volume.record().number);
  if (begin >= end || entry == nullptr) return;
  auto log = std::make_shared<Log>();
  log->number = volume.record().number;
  log->offset = volume.offset().value;
  log->size_bytes = volume.size_bytes();
  log->head = encode_log_volume_head(core_->label.disk, *entry);
  for (std::uint64_t slot = begin; slot < end; ++slot) slots_[slot - first_].log = log;
  logs_.push_back(std::move(log));
}

io::Task<void> SurveyImpl::load(SurveyLogVolume survey_log_volume) {
  for (std::size_t i = 0; i < logs_.size() && survey_log_volume; ++i) {
    Log& log = *logs_[i];
    const std::uint64_t begin = std::max(begin_, log.offset) - log.offset;
    const std::uint64_t end = std::min(std::max(end_, log.offset) - log.offset, log.size_bytes);
    if (begin < end) {
      log.survey = co_await survey_log_volume(log.number, DiskOffset{begin}, DiskOffset{end});
    }
  }
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    for (std::uint32_t half = 0; half < kPagesPerExtent; ++half) {
      // One that was given up meanwhile is nobody's business any more.
      if (core_ == nullptr) co_return;
      if (!slots_[i].is_extent || slots_[i].state < ExtentState::kNew) continue;
      auto page = co_await core_->cache.peek(slots_[i].header, half);
      if (page.ok() && slots_[i].is_extent) slots_[i].pages[half] = std::move(page).value();
    }
  }
}

void SurveyImpl::slot_changes(std::uint64_t slot) {
  if (slot < first_ || slot - first_ >= slots_.size()) return;
  slots_[slot - first_] = Slot();
}

Knowledge SurveyImpl::look_at_log(const Log& log, std::uint64_t offset, Bytes block) {
  if (offset < log.offset) {
    const std::uint64_t in_head = offset + log.head.size() - log.offset;
    const bool is_right = std::memcmp(log.head.data() + in_head, block.data(), kBlockSizeBytes) == 0;
    return is_right ? Knowledge::kRight : Knowledge::kUnknown;
  }
  if (offset - log.offset >= log.size_bytes) return Knowledge::kNobodys;
  return log.survey == nullptr ? Knowledge::kUnknown
                               : log.survey->look(DiskOffset{offset - log.offset}, block);
}

Survey::Answer SurveyImpl::look(DiskOffset offset, Bytes block) const {
  if (core_ == nullptr || offset.value < core_->label.layout.slots_offset) return {};
  const std::uint64_t from_slots = offset.value - core_->label.layout.slots_offset;
  const std::uint64_t number = from_slots / kSlotSizeBytes;
  if (number >= core_->slots.slot_count()) return {};
  constexpr Answer kNobodys{.knowledge = Knowledge::kNobodys, .unit = {}};
  if (!core_->slots.is_used(number)) return kNobodys;
  if (number < first_ || number - first_ >= slots_.size()) return {};
  const Slot& slot = slots_[number - first_];
  if (slot.log != nullptr)
    return {.knowledge = look_at_log(*slot.log, offset.value, block), .unit = LuNumber{}};
  if (!slot.is_extent) return {};
  if (slot.state < ExtentState::kNew) return kNobodys;
  const std::uint64_t in_slot = from_slots % kSlotSizeBytes;
  Answer answer{.knowledge = Knowledge::kUnknown, .unit = slot.header.owner};
  if (in_slot < kExtentHeadBytes) {
    // The sectors of the extent itself: what is in memory, unless that has yet to reach the disk.
    const ChecksumPagePtr& page = slot.pages[in_slot / kBlockSizeBytes];
    if (page == nullptr || page->dirty) return answer;
    const Buffer expected = ChecksumCache::encode(*page);
    if (std::memcmp(expected.data(), block.data(), kBlockSizeBytes) == 0)
      answer.knowledge = Knowledge::kRight;
    return answer;
  }
  const auto at = static_cast<std::uint32_t>((in_slot - kExtentHeadBytes) / kBlockSizeBytes);
  const ChecksumPagePtr& page = slot.pages[at / kBlocksPerPage];
  if (page == nullptr) return answer;
  switch (page->state(at % kBlocksPerPage)) {
    case BlockState::kUnwritten:
      return kNobodys;
    case BlockState::kLost:
      return answer;
    case BlockState::kWritten:
      break;
  }
  const bool is_right = crc32c(block) == page->checksum(at % kBlocksPerPage);
  answer.knowledge = is_right ? Knowledge::kRight : Knowledge::kWrong;
  return answer;
}

}  // namespace tidemark::pool
