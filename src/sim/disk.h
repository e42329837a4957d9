#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "io/disk.h"
#include "sim/world.h"

namespace tidemark::sim {

struct DiskOptions {
  Duration latency_min = Duration::microseconds(20);
  Duration latency_max = Duration::microseconds(400);  // operations overtake each other within these
  std::uint64_t space_bytes_max = UINT64_MAX;          // written or allocated beyond this: kNoSpace
  bool remembers_older = false;  // what kStaleRead shows; costs a second copy of what was written
};

// What one operation does in place of what it was asked. docs/fault-model.md says what is promised under
// each.
enum class DiskFault : std::uint8_t {
  kReadFails,         // kIo
  kBadSector,         // kIo, and so does every later read of its first page, until that page is written
  kFlippedBit,        // one bit of what is stored there has turned, for this read and all later ones
  kStaleRead,         // gives what was there before the last write
  kMisdirectedRead,   // gives what lies next to the place asked for
  kWriteFails,        // kIo; any of its sectors may be there
  kShortWrite,        // kIo; its first half is there
  kLostWrite,         // succeeds and stores nothing
  kMisdirectedWrite,  // succeeds and stores next to the place asked for
  kFlushFails,        // kIo; what it should have covered may be lost, also after a later flush
  kFlushLies,         // succeeds and makes nothing durable
};

const char* disk_fault_name(DiskFault fault);

// Where a fault took place.
struct DiskFaultHit {
  DiskFault fault{};
  std::uint64_t offset_bytes = 0;  // of the operation; where a misdirected one ended up
  std::uint64_t length_bytes = 0;
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
  // All that is stored, as a value.
  class Stored;
  using StoredPointer = std::shared_ptr<const Stored>;
  StoredPointer stored() const;
  // Nothing is in flight.
  void put_back(const StoredPointer& stored);
  // As crash(), but not by the seed: what may be left, each time as put_back() takes it. Of the writes that
  // were not flushed or still in flight every subset is kept, each write whole, in the order in which they
  // were made; when there are more than `outcomes_max` subsets, none of them, all of them, each alone, all
  // but each, and the first n for each n. Then the disk holds what was durable.
  std::vector<StoredPointer> crash_outcomes(std::size_t outcomes_max);
  // The n-th operation from now (1 is the next) of the kind that `fault` concerns suffers it, once.
  void inject(DiskFault fault, std::uint64_t operations);
  void fail_read_after(std::uint64_t operations) { inject(DiskFault::kReadFails, operations); }
  void fail_write_after(std::uint64_t operations) { inject(DiskFault::kWriteFails, operations); }
  void fail_flush_after(std::uint64_t operations) { inject(DiskFault::kFlushFails, operations); }
  // Every injected fault that an operation has suffered, oldest first.
  const std::vector<DiskFaultHit>& fault_hits() const;
  // Planned faults that nothing has suffered yet are off.
  void forget_planned_faults();
  // Where its pages are that hold anything but zeroes, in bytes, ascending.
  std::vector<std::uint64_t> stored_pages() const;
  // All that a reader would see, to be compared: by offset, the CRC32C of each page that holds anything but
  // zeroes.
  std::map<std::uint64_t, std::uint32_t> page_checksums() const;
  // No operation completes before then.
  void hang_until(MonotonicTime due);
  // What an operation takes more, from now on.
  void slow_down(Duration by);
  // Reads of the page at `byte_offset` fail until it is written.
  void make_unreadable(std::uint64_t byte_offset);
  void make_readable(std::uint64_t byte_offset);
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
