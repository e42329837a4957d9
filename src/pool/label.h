#pragma once

#include <array>

#include "format/disk.h"
#include "io/disk.h"

namespace tidemark::pool {

// The labels of a disk. See docs/formats/disk.md for what each state of the two copies means.

struct LoadedLabel {
  format::DiskLabel label{};
  std::array<bool, 2> needs_repair{};  // this copy is bad or behind
  std::array<bool, 2> damaged{};       // this copy was lost; a blank copy 1 is not: formatting was cut short
};

// The newest whole copy. Writes nothing. kNotFound when both places are blank, else kUnsupported or kDamaged
// when no copy is usable.
io::Task<Result<LoadedLabel>> load_label(io::Disk& disk);

// Writes the copies that need it again, durably. For whoever has made sure that the disk is theirs.
io::Task<Result<void>> repair_label(io::Disk& disk, LoadedLabel loaded);

// Writes both copies, one after the other, durably.
io::Task<Result<void>> save_label(io::Disk& disk, format::DiskLabel label);

}  // namespace tidemark::pool
