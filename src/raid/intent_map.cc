#include "raid/intent_map.h"

#include <algorithm>
#include <set>

namespace tidemark::raid {

IntentMap::IntentMap(MemberSet& members) : members_(members), mutex_(members.scheduler()) {}

IntentMap::Hold::~Hold() {
  if (map_ != nullptr) map_->release(first_, last_);
}

void IntentMap::release(std::uint64_t first, std::uint64_t last) {
  ++clock_;
  for (std::uint64_t i = first; i <= last; ++i) {
    Region& region = regions_.at(i);
    --region.holders;
    region.last_end = clock_;
    region.is_flushed = false;
  }
}

void IntentMap::flushed(std::uint64_t mark) {
  for (auto& [index, region] : regions_) {
    if (region.holders == 0 && region.last_end <= mark) region.is_flushed = true;
  }
}

void IntentMap::keep(const std::vector<std::uint64_t>& regions) {
  for (const std::uint64_t index : regions) regions_[index].is_kept = true;
  kept_ = regions.size();
}

void IntentMap::drop_flushed() {
  std::erase_if(regions_, [](const auto& entry) {
    return entry.second.holders == 0 && entry.second.is_flushed && !entry.second.is_kept;
  });
}

io::Task<Result<void>> IntentMap::write_map() {
  std::vector<std::uint64_t> marked;
  for (const auto& [index, region] : regions_) marked.push_back(index);
  Buffer block = Buffer::allocate(kBlockSizeBytes);
  format::encode_intent_map(members_.raid(), marked, block.writable());
  TM_CO_TRY(co_await members_.write_heads(format::kRaidIntentOffset, block));
  for (const std::uint64_t index : marked) {
    if (const auto found = regions_.find(index); found != regions_.end()) found->second.durable = true;
  }
  co_return Result<void>{};
}

io::Task<Result<IntentMap::Hold>> IntentMap::hold(std::uint64_t begin, std::uint64_t end) {
  if (!members_.geometry().has_parity() && members_.geometry().copies() == 1) co_return Hold();
  const std::uint64_t bytes = members_.geometry().shape().region_bytes;
  const std::uint64_t first = begin / bytes;
  const std::uint64_t last = (end - 1) / bytes;
  for (std::uint64_t i = first; i <= last; ++i) {
    Region& region = regions_[i];
    ++region.holders;
    region.is_flushed = false;
  }
  Hold held(this, first, last);
  const auto all_durable = [this, first, last] {
    for (std::uint64_t i = first; i <= last; ++i) {
      if (!regions_.at(i).durable) return false;
    }
    return true;
  };
  if (!all_durable()) {
    const auto guard = co_await mutex_.lock();
    if (!all_durable()) {
      if (regions_marked() > kRegionsMax) {
        const std::uint64_t before = mark();
        TM_CO_TRY(co_await members_.flush());
        flushed(before);
        drop_flushed();
      }
      TM_CO_TRY(co_await write_map());
    }
  }
  co_return std::move(held);
}

io::Task<Result<void>> IntentMap::clear() {
  const auto guard = co_await mutex_.lock();
  const std::size_t before = regions_.size();
  drop_flushed();
  if (regions_.size() == before) co_return Result<void>{};
  co_return co_await write_map();
}

io::Task<Result<void>> IntentMap::write_all() {
  const auto guard = co_await mutex_.lock();
  co_return co_await write_map();
}

io::Task<Result<std::vector<std::uint64_t>>> IntentMap::load() {
  std::set<std::uint64_t> regions;
  std::vector<bool> known(format::kIntentSectors, false);
  Buffer block = Buffer::allocate(kBlockSizeBytes);
  for (std::uint32_t i = 0; i < members_.count(); ++i) {
    if (!members_.in_use(i) || !members_.all()[i].in_sync()) continue;
    const auto read = co_await members_.read_head(i, format::kRaidIntentOffset, block);
    if (!read.ok()) continue;
    for (std::uint32_t sector = 0; sector < format::kIntentSectors; ++sector) {
      const Bytes bytes = Bytes(block).subspan(sector * format::kRaidSectorBytes, format::kRaidSectorBytes);
      const auto found = format::decode_intent_sector(bytes, members_.raid(), sector);
      if (!found.ok()) continue;
      known[sector] = true;
      regions.insert(found->begin(), found->end());
    }
  }
  // A sector that no member can show stands for all its regions.
  const format::RaidShape& shape = members_.geometry().shape();
  const std::uint64_t count = (shape.member_bytes - 1) / shape.region_bytes + 1;
  for (std::uint64_t region = 0; region < count; ++region) {
    if (!known[region / format::kIntentBitsPerSector]) regions.insert(region);
  }
  std::vector<std::uint64_t> found(regions.begin(), regions.upper_bound(count - 1));
  co_return found;
}

}  // namespace tidemark::raid
