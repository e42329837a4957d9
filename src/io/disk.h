#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "io/task.h"

namespace tidemark::io {

// Whether a write waits for stable storage.
enum class Durability {
  kVolatile,  // complete when the device has it; a crash may lose it, or any of its sectors, until flush()
  kDurable,   // complete when it survives any crash (O_DSYNC, FUA)
};

// A random-access store of bytes: a file, a block device, a simulated disk, later a RADOS pool or a
// RAID group. Nothing about it says that it is local or that only one machine can open it.
//
// Every offset, length and memory address is a multiple of 4096 bytes; anything else is our mistake
// and asserts. Sectors of 512 bytes are written whole or not at all. Operations in flight may be
// done in any order, and after a crash any subset of the sectors written since the last flush() may
// be there. Called on the reactor thread; the memory of an operation must live until it completes. A
// destroyed Task abandons the operation: the memory is pinned by the disk until the device is done.
//
// A failed write or flush is never retried by the disk: kIo and kNoSpace go to the caller, who must
// treat everything since the last successful flush() as unknown (docs/fault-model.md).
class Disk {
 public:
  virtual ~Disk() = default;

  virtual std::uint64_t size_bytes() const = 0;
  // All of `out`; space never written reads as zeroes. kIo also when the device ends early.
  virtual Task<Result<void>> read(DiskOffset offset, Buffer out) = 0;
  // All of `pieces`, one after the other, from `offset` on: one gathered operation. Each piece is a
  // multiple of 4096 bytes long. kNoSpace when a thin backing store is full; nothing is then known
  // about the range.
  virtual Task<Result<void>> write(DiskOffset offset, std::vector<Buffer> pieces, Durability durability) = 0;
  // All writes that completed before the call are on stable storage.
  virtual Task<Result<void>> flush() = 0;
  // Makes the backing store promise the space of [offset, offset + length_bytes), so that later writes
  // there cannot fail for want of it. Contents stay; space never written still reads as zeroes.
  virtual Task<Result<void>> allocate(DiskOffset offset, std::uint64_t length_bytes) = 0;
  // Gives the space back where the store can; the range then reads as zeroes.
  virtual Task<Result<void>> discard(DiskOffset offset, std::uint64_t length_bytes) = 0;
  // For an owner who found by a checksum that what read() gave for one block of 4096 bytes is wrong: gives
  // each other content that redundancy yields for it until `is_right` says yes, and writes that one where a
  // wrong one lies. kDamaged when none is right, as on a disk without redundancy.
  virtual Task<Result<void>> read_other_copies(DiskOffset offset, Buffer out,
                                               std::function<bool(Bytes)> is_right);

  // The two reads above for whoever must leave the disk as it is: what redundancy makes good for them is
  // given, and not written where it is missing or wrong.
  virtual Task<Result<void>> peek(DiskOffset offset, Buffer out);
  virtual Task<Result<void>> peek_other_copies(DiskOffset offset, Buffer out,
                                               std::function<bool(Bytes)> is_right);
};

}  // namespace tidemark::io
