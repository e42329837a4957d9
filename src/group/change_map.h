#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"

namespace tidemark::group {

// Where the base of a group's volumes was written since a point of the live path: what a peer that had
// everything up to there may lack, once the journal no longer tells. A bit for each region of a volume; a
// region is 1 MiB, and larger in a volume of more than 64 GiB, so a volume takes 8 KiB at most.
//
// Kept in memory, and in each snapshot of the group's state. The destager writes one before it records that
// the base has moved, so a map that is found again lacks nothing that was destaged since.
class ChangeMap {
 public:
  bool active() const { return !from_.is_none(); }
  // What was destaged after this point is in the map; none: nothing is kept.
  LogId from() const { return from_; }
  void begin(LogId from);
  void end() { *this = ChangeMap(); }

  void add(VolumeId volume, BlockRange blocks);
  // The parts of `asked` in which the volume may have changed, in order.
  std::vector<BlockRange> changed(VolumeId volume, BlockRange asked) const;

  std::vector<std::byte> encode() const;
  // kInvalid when the bytes are not a map.
  static Result<ChangeMap> decode(Bytes bytes);

 private:
  struct Volume {
    std::uint64_t region_blocks = 0;
    std::vector<std::uint64_t> bits{};  // region 0 is bit 0 of the first word

    bool has(std::uint64_t region) const {
      return region / 64 < bits.size() && ((bits[region / 64] >> (region % 64)) & 1) != 0;
    }
    void make_room_for(std::uint64_t block);
  };

  LogId from_{};
  std::map<VolumeId, Volume> volumes_;
};

// The blocks that are in either list, in order; both are in order themselves.
std::vector<BlockRange> joined(const std::vector<BlockRange>& a, const std::vector<BlockRange>& b);
// The blocks that are in both lists, in order.
std::vector<BlockRange> common(const std::vector<BlockRange>& a, const std::vector<BlockRange>& b);

}  // namespace tidemark::group
