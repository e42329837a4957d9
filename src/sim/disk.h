#pragma once

#include <cstdint>
#include <memory>

#include "io/disk.h"
#include "sim/world.h"

namespace tidemark::sim {

struct DiskOptions {
  Duration latency_min = Duration::microseconds(20);
  Duration latency_max = Duration::microseconds(400);  // operations overtake each other within these
  std::uint64_t space_bytes_max = UINT64_MAX;          // written or allocated beyond this: kNoSpace
};

// A disk whose bytes live as long as this object, across crashes of whoever uses it. Sparse: a terabyte
// costs what was written.
//
// crash() is what a power cut does: operations in flight end nowhere, and of the 512-byte sectors written
// volatile and not flushed since, each is kept or lost by the seed (a lost one shows what was durable
// before). Durable writes in flight may be there in part, sector by sector.
class Disk : public io::Disk {
 public:
  Disk(World& world, std::uint64_t size_bytes, DiskOptions options = {});
  ~Disk() override;

  std::uint64_t size_bytes() const override;
  io::Task<Result<void>> read(DiskOffset offset, Buffer out) override;
  io::Task<Result<void>> write(DiskOffset offset, std::vector<Buffer> pieces,
                               io::Durability durability) override;
  io::Task<Result<void>> flush() override;
  io::Task<Result<void>> allocate(DiskOffset offset, std::uint64_t length_bytes) override;
  io::Task<Result<void>> discard(DiskOffset offset, std::uint64_t length_bytes) override;

  void crash();
  // Faults for tests. The n-th operation of the kind from now (1 is the next) fails with kIo, once.
  void fail_read_after(std::uint64_t operations);
  void fail_write_after(std::uint64_t operations);
  void fail_flush_after(std::uint64_t operations);
  // Flips one bit of what is stored, durable and volatile alike.
  void flip_bit(std::uint64_t byte_offset, unsigned bit);
  // Direct access for tests that look at or damage bytes.
  void peek(std::uint64_t offset, MutableBytes out) const;
  void poke(std::uint64_t offset, Bytes bytes);
  void shrink(std::uint64_t size_bytes);

  std::uint64_t reads() const;
  std::uint64_t writes() const;
  std::uint64_t flushes() const;
  std::uint64_t bytes_written() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace tidemark::sim
