#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "io/disk.h"
#include "os/descriptor.h"
#include "os/reactor.h"

namespace tidemark::os {

struct FileDiskOptions {
  enum class Open {
    kExisting,  // kNotFound when there is none
    kCreate,    // a sparse file of `create_size_bytes`; kExists when there is a file already
    kEither,    // the existing one at its own size, or a new one; an empty file counts as new
  };
  Open open = Open::kExisting;
  std::uint64_t create_size_bytes = 0;  // a multiple of 4096
  // Without: through the page cache, where a reader may see what a crash then loses. For tests.
  bool direct = true;
};

// A disk on a file or a block device, opened with O_DIRECT and locked against every other opener that
// asks for the same lock (flock; a block device also against being mounted). Owned by the node; lives
// on the reactor thread, and the reactor outlives it. The lock goes with the last operation in flight.
//
// Failures: ENOSPC, EDQUOT and EFBIG are kNoSpace, everything else kIo; messages name the call's place, the
// path and the system's reason. Nothing is retried. A write that fails half-way may have written any
// part of its range. kDurable writes carry RWF_DSYNC; flush() is fdatasync().
class FileDisk final : public io::Disk {
 public:
  // Blocks for as long as the system takes to open a file; the new file and its name are durable when it
  // returns. kBusy when another process, or another FileDisk of this one, has it open.
  static Result<std::unique_ptr<FileDisk>> open(Reactor& reactor, const std::string& path,
                                                const FileDiskOptions& options = {});

  // What cannot be divided by 4096 at the end of a file or device is not used.
  std::uint64_t size_bytes() const override { return size_bytes_; }
  io::Task<Result<void>> read(DiskOffset offset, Buffer out) override;
  io::Task<Result<void>> write(DiskOffset offset, std::vector<Buffer> pieces,
                               io::Durability durability) override;
  io::Task<Result<void>> flush() override;
  // Success without any promise where the file system cannot promise space (promises_space() is false from
  // then on), and on a block device, whose space is its own.
  io::Task<Result<void>> allocate(DiskOffset offset, std::uint64_t length_bytes) override;
  // Writes zeroes where neither holes nor unmapping are supported.
  io::Task<Result<void>> discard(DiskOffset offset, std::uint64_t length_bytes) override;

  const std::string& path() const { return path_; }
  // Whether the path still names what was opened: not when a device or a file was put there since.
  bool is_at_its_path() const;
  bool is_block_device() const { return is_block_device_; }
  // False when the file system refused O_DIRECT: slower and with the page cache in between, but correct.
  bool is_direct() const { return is_direct_; }
  bool promises_space() const { return promises_space_; }
  // One line for the log: the path, the size, and whatever of the above is unusual.
  std::string description() const;

 private:
  FileDisk(Reactor& reactor, std::string path) : reactor_(reactor), path_(std::move(path)) {}
  Result<void> set_up(Descriptor descriptor, const FileDiskOptions& options, bool is_new);
  Result<void> create_contents(std::uint64_t size_bytes);
  Error failure(const char* what, DiskOffset offset, std::uint64_t length_bytes, int error) const;
  Error ends_early(DiskOffset offset, std::uint64_t length_bytes) const;
  bool within(DiskOffset offset, std::uint64_t length_bytes) const;
  io::Task<int> change_space(int mode, DiskOffset offset, std::uint64_t length_bytes);
  io::Task<Result<void>> write_zeroes(DiskOffset offset, std::uint64_t length_bytes);

  Reactor& reactor_;
  std::string path_;
  SharedDescriptor descriptor_;
  std::uint64_t size_bytes_ = 0;
  bool is_block_device_ = false;
  bool is_direct_ = false;
  bool promises_space_ = true;
  bool punches_holes_ = true;
  bool zeroes_ranges_ = true;
};

}  // namespace tidemark::os
