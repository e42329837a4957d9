#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "io/disk.h"
#include "io/environment.h"

namespace tidemark::pool {

inline constexpr std::uint32_t kPoolsMax = 40;  // in a node's life
// In which of the node's pools a logical unit lies: its number tells.
PoolNumber pool_of(LuNumber unit);

enum class LuKind : std::uint8_t { kData = 1, kLog = 2 };

// What the pool keeps of each logical unit: enough to know whose it is without any catalogue.
struct LuRecord {
  LuNumber number{};
  LuKind kind = LuKind::kData;
  GroupIdentity group{};
  VolumeId volume{};             // kData: which; kLog: 0 for the first of its group, 1 for a further one
  std::uint64_t size_bytes = 0;  // of its logical address space, a multiple of 4096
  bool forming = false;          // kLog: its group is not whole yet, and nobody was told of it
  // The journal's superblocks lie there: it stands for its group.
  bool is_first_log() const { return kind == LuKind::kLog && volume.value == 0; }
  // It counts when the journal names it.
  bool is_further_log() const { return kind == LuKind::kLog && volume.value != 0; }
};

struct PoolStatus {
  std::uint64_t size_bytes = 0;       // what the pool could hold
  std::uint64_t allocated_bytes = 0;  // extents and log volumes in use
  std::uint64_t free_bytes = 0;
};

struct AddressTranslation {
  DiskOffset disk_offset{};  // where the byte lies on the disk
  bool allocated = false;    // false: thin, nothing there yet
};

inline constexpr std::uint64_t kVolumeSizeBytesMax = 16ull << 50;  // extents of a volume have 32-bit numbers

struct PoolOptions {
  // Memory for the checksums of blocks read and written lately; 2.5 KiB of it serve 2 MiB of a volume.
  std::uint64_t checksum_cache_bytes_max = 16 << 20;
};

// The base of one volume: a thin logical unit, cut in extents that each carry their owner, index, generation
// and the checksums of their blocks. Space never written reads as zeroes. Writers go extent by extent and
// repeat after a crash (the journal still has what they wrote), so a write here is not atomic and needs no
// log of its own; a block that was not being written is never harmed.
//
// Owned by the Pool. At most one write or discard per extent at a time; reads of a block that is being
// written are the caller's to avoid.
class DataVolume {
 public:
  virtual ~DataVolume() = default;
  virtual const LuRecord& record() const = 0;
  // Promises the space for these blocks, so that write() cannot fail for want of it: takes the extents now
  // (kept in memory until the first write makes them durable; a crash before that gives them back, and
  // replay promises them again). kNoSpace when the pool or the file system below it is full. `is_reserved`
  // is the fast check.
  virtual io::Task<Result<void>> reserve(BlockRange blocks) = 0;
  virtual bool is_reserved(BlockRange blocks) const = 0;
  // Whole blocks into `out`; every block is checked: kDamaged names volume, block and disk offset.
  virtual io::Task<Result<void>> read(BlockRange blocks, Buffer out) = 0;
  // `checksums` are the CRC32C of each block. The blocks were reserved. Durable after flush().
  virtual io::Task<Result<void>> write(BlockRange blocks, Buffer data,
                                       std::vector<std::uint32_t> checksums) = 0;
  // Makes the blocks read as zeroes; extents covered whole are given back to the pool (durable after
  // flush()).
  virtual io::Task<Result<void>> discard(BlockRange blocks) = 0;
  // Makes the blocks read as zeroes and keeps the space promised for them.
  virtual io::Task<Result<void>> zero(BlockRange blocks) = 0;
  // Everything written or discarded before the call is durable, extent headers and table included.
  virtual io::Task<Result<void>> flush() = 0;
  // How many flushes of it have failed. What was written before one of them cannot be counted on, although a
  // later flush, perhaps of somebody else, succeeds.
  virtual std::uint64_t flushes_failed() const = 0;
  // Writes a block again that does not match its checksum, as a copy elsewhere has it. Durable on return.
  // kDamaged when `right` does not match either; a block that has lost its checksum takes what it is given.
  virtual io::Task<Result<void>> repair(std::uint64_t block, Buffer right) = 0;
  // Grows or shrinks the address space; shrinking gives extents beyond the end back. Durable on return.
  virtual io::Task<Result<void>> resize(std::uint64_t size_bytes) = 0;
  // The first run at or after `from` of blocks that may hold data ([begin, end) cut to extents); nothing when
  // the rest is unallocated.
  virtual std::optional<BlockRange> next_allocated(std::uint64_t from) const = 0;
  virtual std::uint64_t allocated_bytes() const = 0;
  virtual AddressTranslation translate(std::uint64_t offset_bytes) const = 0;
};

// What a pool's checksums say of a block of 4096 bytes of its disk. kNobodys: nothing lies there.
enum class Knowledge : std::uint8_t { kUnknown, kRight, kWrong, kNobodys };

// The same of a part of a log volume, by whoever keeps something there. What it answers holds at that moment:
// what is being written, or may have been since it was made, it does not know. A block that is nobody's is
// one that nothing leads to, now and after a crash, whatever it holds. May outlive its maker, and knows
// nothing then.
class LogVolumeSurvey {
 public:
  virtual ~LogVolumeSurvey() = default;
  virtual Knowledge look(DiskOffset offset, Bytes block) const = 0;  // of the log volume
};
// Of [begin, end) of a log volume. Null when nobody keeps anything there, or nobody who could tell.
using SurveyLogVolume = std::function<io::Task<std::unique_ptr<LogVolumeSurvey>>(
    LuNumber number, DiskOffset begin, DiskOffset end)>;

// For whoever compares copies below a pool: what its blocks should be in a part of the disk. Of extents that
// are written to while it exists it knows nothing. May outlive the pool, and knows nothing then.
class Survey {
 public:
  virtual ~Survey() = default;
  struct Answer {
    Knowledge knowledge = Knowledge::kUnknown;
    LuNumber unit{};  // the data volume whose block it is; 0 when it is none's: a log volume's, say
  };
  virtual Answer look(DiskOffset offset, Bytes block) const = 0;
};

// The space of one disk, or of a RAID group, cut into logical units. docs/formats/disk.md describes what lies
// on it.
//
// The disk must outlive the pool. Reactor thread only.
class Pool {
 public:
  // Labels an empty disk. kExists when it carries a label already. Durable on return.
  static io::Task<Result<void>> format(io::Environment& environment, io::Disk& disk, NodeIdentity node,
                                       PoolNumber number = {});
  // kNotFound when the disk carries no label, kDamaged when both copies of what it needs are bad,
  // kUnsupported for a newer version, kRefused when the label names another node, kIo "the disk is smaller
  // than…" when it shrank.
  static io::Task<Result<std::unique_ptr<Pool>>> open(io::Environment& environment, io::Disk& disk,
                                                      NodeIdentity node);
  static io::Task<Result<std::unique_ptr<Pool>>> open(io::Environment& environment, io::Disk& disk,
                                                      NodeIdentity node, PoolOptions options);
  virtual ~Pool() = default;

  virtual PoolNumber number() const = 0;
  virtual DiskIdentity disk_identity() const = 0;
  virtual std::vector<LuRecord> units() const = 0;
  // Durable on return. kNoSpace when the pool cannot hold a log volume of that size (rounded up to extents;
  // contiguous). A data volume takes no space until it is reserved.
  virtual io::Task<Result<LuNumber>> create_data_volume(GroupIdentity group, VolumeId volume,
                                                        std::uint64_t size_bytes) = 0;
  // The log volume is forming until finish_log_volume().
  virtual io::Task<Result<LuNumber>> create_log_volume(GroupIdentity group, std::uint64_t size_bytes) = 0;
  // One more of the group's. It is whole at once.
  virtual io::Task<Result<LuNumber>> create_further_log_volume(GroupIdentity group,
                                                               std::uint64_t size_bytes) = 0;
  // The group whose journal lies on it is whole. Durable on return.
  virtual io::Task<Result<void>> finish_log_volume(LuNumber number) = 0;
  // Gives all its space back. No operation on it may be in flight; pointers to it end. Durable on return.
  virtual io::Task<Result<void>> remove(LuNumber number) = 0;
  // Null when there is none of that kind. Valid until remove() or the pool's end.
  virtual DataVolume* data_volume(LuNumber number) = 0;
  virtual io::Disk* log_volume(LuNumber number) = 0;
  virtual DiskOffset log_volume_offset(LuNumber number) const = 0;
  virtual PoolStatus status() const = 0;
  // Of [begin, end) of the disk. 10 KiB of memory for each 4 MiB. Nothing is written for it. What lies on log
  // volumes the pool does not know: it asks whoever does, once for each of them; empty: nobody.
  virtual io::Task<std::unique_ptr<Survey>> survey(DiskOffset begin, DiskOffset end,
                                                   SurveyLogVolume survey_log_volume) = 0;
  // What was found damaged while opening and made good from its other copy, a sentence each. It stays what it
  // was until the pool is opened again.
  virtual std::vector<std::string> notices() const = 0;
};

}  // namespace tidemark::pool
