#pragma once

#include <map>
#include <memory>
#include <set>
#include <span>
#include <vector>

#include "group/core.h"
#include "group/data_path.h"
#include "group/destage_pace.h"

namespace tidemark::group {

// Moves what a path shows above the base into the base: of each block its newest version, once.
//
// The index says what that is, volume by volume; it is read in the order in which it lies in the journal, in
// spans of up to a megabyte over what lies between, and written in the order of the volumes. Random writes
// so cost the disk sequential reads. What it holds in memory is bounded, however large the step.
//
// Destaging shares its disk with the writes of hosts; DestagePace says how much it takes. Owned by Destager;
// one move at a time.
class BaseMover {
 public:
  BaseMover(Core& core, DataPath& data) : core_(core), data_(data) {}

  // What entries up to `newest` wrote and the path still shows, which ends at the floor. Durable on return.
  // `journal_bytes`: what lies in the part of the journal that this empties. After an error all of it is to
  // be moved again. kNoSpace: the pool is full, although what this step discards has been given back.
  io::Task<Result<void>> move(std::shared_ptr<const index::Path> path, LogId newest,
                              std::uint64_t journal_bytes);

 private:
  // A run of blocks of one extent, or zeroes over any number of whole ones.
  struct Run {
    VolumeId volume{};
    BlockRange blocks{};
    Place place{};                   // of the first block
    std::size_t first_checksum = 0;  // in Step::checksums
    bool zero = false;
    Buffer data{};  // once it is read; empty where it is not, and to be asked for by itself
  };
  struct Step {
    std::vector<Run> runs;
    std::vector<std::uint32_t> checksums;
  };
  // A part of the journal that is read at once, for some runs of a load.
  struct Span {
    Place begin{};
    std::uint32_t blocks = 0;
    std::size_t first_run = 0;
    std::size_t runs_end = 0;
  };
  // What is in memory together.
  struct Load {
    std::vector<Run> runs;
    std::vector<Span> spans;
  };

  void add(const std::vector<index::Piece>& pieces, LogId newest, VolumeId volume, Step* step) const;
  std::map<VolumeId, std::uint64_t> flushes_failed() const;
  io::Task<Result<void>> move_step(Step step);
  // The next runs in the order of the journal, from `at` on.
  Load next_load(Step& step, std::size_t* at) const;
  io::Task<void> read(const Step& step, Load* load);
  io::Task<void> read_span(const Step& step, Load* load, Span span);
  io::Task<Result<void>> write(const Step& step, Load* load);
  // The caller holds the base's mutex.
  io::Task<Result<void>> write_all(const Step& step, Load* load);
  io::Task<Result<void>> flush_volumes();
  io::Task<void> write_extent(const Step& step, Volume* volume, std::span<Run> runs, Result<void>* outcome);
  io::Task<Result<void>> write_zeroes(Volume* volume, BlockRange blocks);
  // Of the first of these blocks; where the rest begins. Nobody holds them.
  io::Task<Result<std::uint64_t>> give_back(Volume* volume, BlockRange blocks);
  // Those of the extents whose space a readable point needs, by number. Makes the range shorter where there
  // is too much to look at.
  io::Task<Result<std::set<std::uint64_t>>> needed_extents(VolumeId id, BlockRange* extents);
  // What is to be looked at of a volume: how it is at a point, or at the head.
  struct Look {
    BlockRange blocks{};
    LogId at{};
  };
  // At these points every branch that can be read ends, but for the live one.
  std::vector<LogId> branch_ends() const;
  void note_needed(const std::vector<index::Piece>& page, std::vector<Look>* looks,
                   std::set<std::uint64_t>* needed) const;
  // Runs that follow each other.
  io::Task<Result<void>> write_runs(const Step& step, Volume* volume, std::span<Run> runs);
  io::Task<Result<Buffer>> data_of(const Step& step, Run* run);

  double urgency() const;
  std::size_t extents_at_once() const;
  io::Task<void> let_appends_pass();

  Core& core_;
  DataPath& data_;
  DestagePace pace_;
  std::vector<LogId> held_on_released_;  // marks, as they were when the move began
};

}  // namespace tidemark::group
