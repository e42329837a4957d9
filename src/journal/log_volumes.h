#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "io/disk.h"
#include "io/sync.h"

namespace tidemark::journal {

// The log volumes of a journal as one disk: the first begins at 0, each further one where the journal wants
// it. An operation lies on one of them. What is between them is never asked for.
//
// Owned by the journal; the log volumes must outlive it, a further one until remove() returned.
class LogVolumes final : public io::Disk {
 public:
  LogVolumes(io::Scheduler& scheduler, io::Disk& first) : first_(first), ended_(scheduler) {}

  // Behind all that are there.
  void add(std::uint64_t begin, io::Disk& disk);
  // Nobody begins anything on it any more; what was begun is waited for.
  io::Task<void> remove(std::uint64_t begin);

  // Where an address lies on its own log volume.
  std::uint64_t offset_on_volume(DiskOffset offset) const;

  std::uint64_t size_bytes() const override;
  io::Task<Result<void>> read(DiskOffset offset, Buffer out) override;
  io::Task<Result<void>> write(DiskOffset offset, std::vector<Buffer> pieces,
                               io::Durability durability) override;
  // All of them.
  io::Task<Result<void>> flush() override;
  io::Task<Result<void>> allocate(DiskOffset offset, std::uint64_t length_bytes) override;
  io::Task<Result<void>> discard(DiskOffset offset, std::uint64_t length_bytes) override;
  io::Task<Result<void>> read_other_copies(DiskOffset offset, Buffer out,
                                           std::function<bool(Bytes)> is_right) override;
  io::Task<Result<void>> peek(DiskOffset offset, Buffer out) override;
  io::Task<Result<void>> peek_other_copies(DiskOffset offset, Buffer out,
                                           std::function<bool(Bytes)> is_right) override;

 private:
  struct Further {
    std::uint64_t begin = 0;
    io::Disk* disk = nullptr;
    std::uint32_t in_flight = 0;
  };
  // The further one that holds `offset`; null for the first volume.
  const Further* find(DiskOffset offset) const;
  std::uint32_t& in_flight(std::uint64_t begin);
  // An operation on the further one that begins there, counted.
  io::Task<Result<void>> follow(std::uint64_t begin, io::Task<Result<void>> operation);

  io::Disk& first_;
  std::vector<Further> further_;  // by their begins
  io::WaitQueue ended_;
};

}  // namespace tidemark::journal
