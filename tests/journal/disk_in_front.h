#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "sim/disk.h"

namespace tidemark::journal {

// Hands everything on to a simulated disk. Tests derive from it what has other copies of a block.
class DiskInFront : public io::Disk {
 public:
  explicit DiskInFront(sim::Disk& disk) : disk_(disk) {}
  std::uint64_t size_bytes() const override { return disk_.size_bytes(); }
  io::Task<Result<void>> read(DiskOffset offset, Buffer out) override { return disk_.read(offset, out); }
  io::Task<Result<void>> write(DiskOffset offset, std::vector<Buffer> pieces,
                               io::Durability durability) override {
    return disk_.write(offset, std::move(pieces), durability);
  }
  io::Task<Result<void>> flush() override { return disk_.flush(); }
  io::Task<Result<void>> allocate(DiskOffset offset, std::uint64_t length_bytes) override {
    return disk_.allocate(offset, length_bytes);
  }
  io::Task<Result<void>> discard(DiskOffset offset, std::uint64_t length_bytes) override {
    return disk_.discard(offset, length_bytes);
  }

 protected:
  sim::Disk& disk_;
};

}  // namespace tidemark::journal
