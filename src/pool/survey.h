#pragma once

#include <array>
#include <memory>
#include <vector>

#include "pool/data_volume.h"
#include "pool/log_volume.h"
#include "pool/pool.h"
#include "pool/slot_watch.h"

namespace tidemark::pool {

// The one implementation of Survey. It holds the checksums of the extents in its range, so that it can answer
// at once, and forgets what it knows of a slot as soon as that changes. Of a log volume it knows the head;
// what lies on it is answered by the survey of whoever keeps something there.
class SurveyImpl final : public Survey, private SlotObserver {
 public:
  // Of the slots that lie in [begin, end) of the disk, in part or whole.
  SurveyImpl(PoolCore& core, DiskOffset begin, DiskOffset end);
  SurveyImpl(const SurveyImpl&) = delete;
  SurveyImpl& operator=(const SurveyImpl&) = delete;
  ~SurveyImpl() override;

  // Which of its extents lie there.
  void note(const DataVolumeImpl& volume);
  void note(const LogVolume& volume);
  // The checksums of all that was noted. Those that cannot be read leave their blocks unknown.
  io::Task<void> load(SurveyLogVolume survey_log_volume);

  Answer look(DiskOffset offset, Bytes block) const override;

 private:
  struct Log {
    LuNumber number{};
    std::uint64_t offset = 0;  // of its first byte; the head lies before it
    std::uint64_t size_bytes = 0;
    Buffer head{};
    std::unique_ptr<LogVolumeSurvey> survey{};
  };
  struct Slot {
    std::shared_ptr<const Log> log{};  // of a log volume that is still there
    bool is_extent = false;            // of a data volume, and unchanged since
    ExtentState state = ExtentState::kNone;
    format::ExtentHeader header{};
    std::array<ChecksumPagePtr, kPagesPerExtent> pages{};
  };
  static Knowledge look_at_log(const Log& log, std::uint64_t offset, Bytes block);
  void slot_changes(std::uint64_t slot) override;
  void pool_ends() override { core_ = nullptr; }

  PoolCore* core_;
  const std::uint64_t begin_;
  const std::uint64_t end_;
  std::uint64_t first_ = 0;
  std::vector<std::shared_ptr<Log>> logs_;
  std::vector<Slot> slots_;  // from `first_` on
};

}  // namespace tidemark::pool
