#pragma once

#include <array>
#include <memory>
#include <vector>

#include "pool/data_volume.h"
#include "pool/pool.h"
#include "pool/slot_watch.h"

namespace tidemark::pool {

// The one implementation of Survey. It holds the checksums of the extents in its range, so that it can answer
// at once, and forgets what it knows of a slot as soon as that changes.
class SurveyImpl final : public Survey, private SlotObserver {
 public:
  // Of the slots that lie in [begin, end) of the disk, in part or whole.
  SurveyImpl(PoolCore& core, DiskOffset begin, DiskOffset end);
  SurveyImpl(const SurveyImpl&) = delete;
  SurveyImpl& operator=(const SurveyImpl&) = delete;
  ~SurveyImpl() override;

  // Which of its extents lie there.
  void note(const DataVolumeImpl& volume);
  // The checksums of all that was noted. Those that cannot be read leave their blocks unknown.
  io::Task<void> load();

  Answer look(DiskOffset offset, Bytes block) const override;

 private:
  struct Slot {
    bool is_extent = false;  // of a data volume, and unchanged since
    ExtentState state = ExtentState::kNone;
    format::ExtentHeader header{};
    std::array<ChecksumPagePtr, kPagesPerExtent> pages{};
  };
  void slot_changes(std::uint64_t slot) override;
  void pool_ends() override { core_ = nullptr; }

  PoolCore* core_;
  std::uint64_t first_ = 0;
  std::vector<Slot> slots_;  // from `first_` on
};

}  // namespace tidemark::pool
