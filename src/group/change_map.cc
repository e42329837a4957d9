#include "group/change_map.h"

#include <algorithm>
#include <iterator>

#include "base/codec.h"

namespace tidemark::group {
namespace {

constexpr std::uint32_t kChangeMapVersion = 1;
constexpr std::uint64_t kRegionBlocksMin = (1 << 20) / kBlockSizeBytes;
constexpr std::uint64_t kRegionsMax = 65536;

bool is_region_size(std::uint64_t blocks) {
  return blocks >= kRegionBlocksMin && (blocks & (blocks - 1)) == 0;
}

}  // namespace

std::vector<BlockRange> joined(const std::vector<BlockRange>& a, const std::vector<BlockRange>& b) {
  std::vector<BlockRange> all;
  std::merge(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(all),
             [](const BlockRange& x, const BlockRange& y) { return x.begin < y.begin; });
  std::vector<BlockRange> out;
  for (const BlockRange& run : all) {
    if (!out.empty() && run.begin <= out.back().end) {
      out.back().end = std::max(out.back().end, run.end);
    } else {
      out.push_back(run);
    }
  }
  return out;
}

std::vector<BlockRange> common(const std::vector<BlockRange>& a, const std::vector<BlockRange>& b) {
  std::vector<BlockRange> out;
  for (std::size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    const BlockRange both{std::max(a[i].begin, b[j].begin), std::min(a[i].end, b[j].end)};
    if (!both.empty()) out.push_back(both);
    if (a[i].end < b[j].end) {
      ++i;
    } else {
      ++j;
    }
  }
  return out;
}

void ChangeMap::begin(LogId from) {
  end();
  from_ = from;
}

// Regions are joined two and two until the last one reaches the block.
void ChangeMap::Volume::make_room_for(std::uint64_t block) {
  while (block / region_blocks >= kRegionsMax) {
    Volume coarser{region_blocks * 2, std::vector<std::uint64_t>((bits.size() + 1) / 2)};
    for (std::uint64_t region = 0; region < bits.size() * 64; ++region) {
      if (has(region)) coarser.bits[region / 128] |= std::uint64_t{1} << (region / 2 % 64);
    }
    *this = std::move(coarser);
  }
  const std::uint64_t words = block / region_blocks / 64 + 1;
  if (bits.size() < words) bits.resize(words);
}

void ChangeMap::add(VolumeId volume, BlockRange blocks) {
  if (!active() || blocks.empty()) return;
  Volume& known = volumes_.try_emplace(volume, Volume{kRegionBlocksMin}).first->second;
  known.make_room_for(blocks.end - 1);
  const std::uint64_t last = (blocks.end - 1) / known.region_blocks;
  for (std::uint64_t region = blocks.begin / known.region_blocks; region <= last; ++region) {
    known.bits[region / 64] |= std::uint64_t{1} << (region % 64);
  }
}

std::vector<BlockRange> ChangeMap::changed(VolumeId volume, BlockRange asked) const {
  std::vector<BlockRange> out;
  const auto at = volumes_.find(volume);
  if (at == volumes_.end() || asked.empty()) return out;
  const Volume& known = at->second;
  const std::uint64_t last = std::min<std::uint64_t>((asked.end - 1) / known.region_blocks, kRegionsMax - 1);
  for (std::uint64_t region = asked.begin / known.region_blocks; region <= last; ++region) {
    if (!known.has(region)) continue;
    const BlockRange part{std::max(asked.begin, region * known.region_blocks),
                          std::min(asked.end, (region + 1) * known.region_blocks)};
    if (!out.empty() && out.back().end == part.begin) {
      out.back().end = part.end;
    } else {
      out.push_back(part);
    }
  }
  return out;
}

std::vector<std::byte> ChangeMap::encode() const {
  Encoder out;
  out.u32(kChangeMapVersion);
  out.u64(from_.raw());
  out.u32(static_cast<std::uint32_t>(volumes_.size()));
  for (const auto& [id, volume] : volumes_) {
    out.u32(id.value);
    out.u64(volume.region_blocks);
    out.u32(static_cast<std::uint32_t>(volume.bits.size()));
    for (const std::uint64_t word : volume.bits) out.u64(word);
  }
  return out.take();
}

Result<ChangeMap> ChangeMap::decode(Bytes bytes) {
  const Error bad = fail(ErrorCode::kInvalid, "a map of changes is cut off or has a field out of bounds");
  Decoder in(bytes);
  if (in.u32() != kChangeMapVersion) return bad;
  ChangeMap map;
  map.from_ = LogId::from_raw(in.u64());
  for (std::uint32_t left = in.u32(); left > 0 && !in.failed(); --left) {
    const VolumeId id{in.u32()};
    Volume volume{in.u64()};
    const std::uint32_t words = in.u32();
    if (!is_region_size(volume.region_blocks) || words > kRegionsMax / 64) return bad;
    for (std::uint32_t i = 0; i < words; ++i) volume.bits.push_back(in.u64());
    if (!map.volumes_.emplace(id, std::move(volume)).second) return bad;
  }
  if (!in.done()) return bad;
  return map;
}

}  // namespace tidemark::group
