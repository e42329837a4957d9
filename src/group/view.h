#pragma once

#include <map>
#include <memory>
#include <vector>

#include "group/core.h"
#include "group/data_path.h"
#include "group/points.h"

namespace tidemark::group {

// A volume as it was at a point, for as long as the view lives: the floor does not pass it, unless the
// journal is full and nothing else can be given up. Then reads of what the view did not write itself fail
// with kExpired and say so; they never give other data. A writable view has a scratch logical unit of its
// own, thin, that takes what is written to the view and goes with it; the group's data are not touched. Views
// hold a pin, not a copy: opening one costs the same for any volume and any point.
//
// Made by Group::open_view and owned by whoever opened it, who calls close() and awaits it before letting go
// (the scratch unit of a view that was just destroyed is found and removed at the next start). The Group
// outlives its views. Reactor thread only.
class View {
 public:
  View(Core& core, DataPath& data, ResolvedPoint point, VolumeShape shape);

  const VolumeShape& shape() const { return shape_; }
  const ResolvedPoint& point() const { return point_; }
  bool writable() const { return scratch_ != nullptr; }
  // What the scratch unit takes on the disk.
  std::uint64_t scratch_bytes() const { return scratch_ == nullptr ? 0 : scratch_->base->allocated_bytes(); }

  // Gives the view its scratch unit. kNoSpace when the pool cannot.
  io::Task<Result<void>> make_writable();
  io::Task<Result<void>> read(std::uint64_t offset, Buffer out);
  io::Task<Result<void>> write(std::uint64_t offset, Buffer data);
  io::Task<Result<void>> zero(std::uint64_t offset, std::uint64_t length);
  io::Task<Result<void>> flush();
  io::Task<Result<std::vector<AllocationRun>>> allocation(std::uint64_t offset, std::uint64_t length,
                                                          std::size_t runs_max);
  io::Task<void> close();

 private:
  // One bit per block of 4 MiB of the volume: whether the scratch unit has it. Pages exist where it has any.
  static constexpr std::uint64_t kPageBlocks = 1024;
  Result<void> check_alive() const;
  bool in_scratch(std::uint64_t block) const;
  void set_in_scratch(BlockRange blocks);
  io::Task<Result<void>> write_scratch(BlockRange blocks, Buffer data);
  io::Task<Result<void>> read_blocks(BlockRange blocks, Buffer out);

  Core& core_;
  DataPath& data_;
  ResolvedPoint point_;
  VolumeShape shape_;
  std::shared_ptr<const index::Path> path_;
  std::uint64_t path_made_at_step_ = 0;
  PointPin pin_;
  std::unique_ptr<Volume> scratch_;
  std::map<std::uint64_t, std::vector<bool>> scratch_pages_;
};

}  // namespace tidemark::group
