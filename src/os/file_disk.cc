#include "os/file_disk.h"
#include "base/log_field.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "base/time.h"
#include "os/request.h"

namespace tidemark::os {
namespace {

constexpr std::uint64_t kAlignmentBytes = 4096;
constexpr std::uint64_t kFileSizeBytesMax = std::numeric_limits<std::int64_t>::max() - kAlignmentBytes;

bool is_aligned(std::uint64_t value) {
  return value % kAlignmentBytes == 0;
}

bool is_aligned(const Buffer& buffer) {
  return is_aligned(buffer.size()) && is_aligned(reinterpret_cast<std::uintptr_t>(buffer.data()));
}

std::string place(std::uint64_t offset, std::uint64_t length_bytes) {
  return "at offset " + std::to_string(offset) + ", length " + std::to_string(length_bytes);
}

Error open_failure(const std::string& path, int error) {
  const std::string text = "disk '" + path + "' could not be opened: " + errno_text(error);
  switch (error) {
    case ENOENT:
      return fail(ErrorCode::kNotFound, text + "; check the path, or create the disk first");
    case EEXIST:
      return fail(ErrorCode::kExists, text + "; open it instead, or choose another path");
    case EBUSY:
      return fail(ErrorCode::kBusy, text + "; it is mounted, or in use by another process");
    case EACCES:
    case EPERM:
    case EROFS:
      return fail(ErrorCode::kIo, text + "; it must be readable and writable by this user");
    default:
      return fail(ErrorCode::kIo, text);
  }
}

// The name of a new file survives a crash only when its folder has been flushed.
Result<void> flush_folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  const Descriptor descriptor(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!descriptor.valid() || ::fsync(descriptor.get()) != 0) {
    return fail(ErrorCode::kIo, "folder '" + folder + "' could not be flushed: " + errno_text(errno));
  }
  return {};
}

struct Opened {
  Descriptor descriptor;
  bool is_new = false;
};

Result<Opened> open_path(const std::string& path, FileDiskOptions::Open how, int extra_flags) {
  const int flags = O_RDWR | O_CLOEXEC | O_NOCTTY | extra_flags;
  if (how != FileDiskOptions::Open::kCreate) {
    // A device is opened exclusively, which the kernel refuses while it is mounted. The kind is looked at
    // again on the open descriptor, so that a path which changes meanwhile does no harm.
    struct stat status {};
    const bool is_device = ::stat(path.c_str(), &status) == 0 && S_ISBLK(status.st_mode);
    Descriptor existing(::open(path.c_str(), flags | (is_device ? O_EXCL : 0)));
    if (existing.valid()) return Opened{std::move(existing), false};
    if (errno != ENOENT || how == FileDiskOptions::Open::kExisting) return open_failure(path, errno);
  }
  Descriptor created(::open(path.c_str(), flags | O_CREAT | O_EXCL, 0600));
  if (!created.valid()) return open_failure(path, errno);
  return Opened{std::move(created), true};
}

}  // namespace

Result<std::unique_ptr<FileDisk>> FileDisk::open(Reactor& reactor, const std::string& path,
                                                 const FileDiskOptions& options) {
  if (path.empty() || path.find('\0') != std::string::npos) {
    return fail(ErrorCode::kInvalid, "a disk needs the path of a file or a block device");
  }
  if (options.open != FileDiskOptions::Open::kExisting &&
      (options.create_size_bytes == 0 || !is_aligned(options.create_size_bytes) ||
       options.create_size_bytes > kFileSizeBytesMax)) {
    return fail(ErrorCode::kInvalid, "disk '" + path + "' cannot be created with " +
                                         std::to_string(options.create_size_bytes) +
                                         " bytes; the size must be a multiple of 4096 and not 0");
  }
  // Opened without O_DIRECT first: a refusal of that flag would otherwise leave a new file behind, and
  // say nothing about which of the two it refused.
  auto opened = open_path(path, options.open, 0);
  if (!opened.ok()) return std::move(opened).error();
  std::unique_ptr<FileDisk> disk(new FileDisk(reactor, path));
  auto ready = disk->set_up(std::move(opened->descriptor), options, opened->is_new);
  if (!ready.ok()) {
    if (opened->is_new) ::unlink(path.c_str());
    return std::move(ready).error();
  }
  return disk;
}

Result<void> FileDisk::set_up(Descriptor descriptor, const FileDiskOptions& options, bool is_new) {
  const int fd = descriptor.get();
  descriptor_ = std::make_shared<const Descriptor>(std::move(descriptor));
  struct stat status {};
  if (::fstat(fd, &status) != 0) return open_failure(path_, errno);
  is_block_device_ = S_ISBLK(status.st_mode);
  if (!is_block_device_ && !S_ISREG(status.st_mode)) {
    return fail(ErrorCode::kInvalid, "disk '" + path_ + "' is neither a regular file nor a block device");
  }
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return open_failure(path_, errno);
    return fail(ErrorCode::kBusy, "disk '" + path_ + "' is in use by another process; stop that one first");
  }
  if (is_block_device_) {
    std::uint64_t device_bytes = 0;
    int sector_bytes = 0;
    if (::ioctl(fd, BLKGETSIZE64, &device_bytes) != 0 || ::ioctl(fd, BLKSSZGET, &sector_bytes) != 0) {
      return open_failure(path_, errno);
    }
    if (sector_bytes > static_cast<int>(kAlignmentBytes)) {
      return fail(ErrorCode::kUnsupported, "disk '" + path_ + "' has sectors of " +
                                               std::to_string(sector_bytes) + " bytes; 4096 is the most");
    }
    size_bytes_ = device_bytes;
  } else {
    const bool is_empty = ::fstat(fd, &status) == 0 && status.st_size == 0;
    if (is_new || (is_empty && options.open == FileDiskOptions::Open::kEither)) {
      TM_TRY(create_contents(options.create_size_bytes));
      size_bytes_ = options.create_size_bytes;
    } else {
      size_bytes_ = static_cast<std::uint64_t>(status.st_size);
    }
  }
  size_bytes_ -= size_bytes_ % kAlignmentBytes;
  if (size_bytes_ == 0) {
    return fail(ErrorCode::kInvalid, "disk '" + path_ + "' is smaller than one block of 4096 bytes");
  }
  if (options.direct) is_direct_ = ::fcntl(fd, F_SETFL, O_DIRECT) == 0;
  return {};
}

Result<void> FileDisk::create_contents(std::uint64_t size_bytes) {
  const int fd = descriptor_->get();
  if (::ftruncate(fd, static_cast<off_t>(size_bytes)) != 0 || ::fsync(fd) != 0) {
    return failure("creation", DiskOffset{0}, size_bytes, errno);
  }
  return flush_folder_of(path_);
}

std::string FileDisk::description() const {
  std::string text = log_field("path", path_) + " " + log_field("size_bytes", size_bytes_);
  text += is_block_device_ ? " kind=block-device" : " kind=file";
  if (!is_direct_) text += " " + log_field("note", "through the page cache: no O_DIRECT");
  if (!promises_space_) text += " " + log_field("note", "space cannot be promised: no fallocate");
  return text;
}

bool FileDisk::is_at_its_path() const {
  struct stat opened {};
  struct stat named {};
  if (::fstat(descriptor_->get(), &opened) != 0 || ::stat(path_.c_str(), &named) != 0) return false;
  return opened.st_dev == named.st_dev && opened.st_ino == named.st_ino && opened.st_rdev == named.st_rdev;
}

Error FileDisk::failure(const char* what, DiskOffset offset, std::uint64_t length_bytes, int error) const {
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  return fail(full ? ErrorCode::kNoSpace : ErrorCode::kIo,
              std::string(what) + " of disk '" + path_ + "' failed " + place(offset.value, length_bytes) +
                  ": " + errno_text(error));
}

Error FileDisk::ends_early(DiskOffset offset, std::uint64_t length_bytes) const {
  return fail(ErrorCode::kIo, "disk '" + path_ + "' ends early: its size was " + std::to_string(size_bytes_) +
                                  " bytes, and there is nothing " + place(offset.value, length_bytes));
}

bool FileDisk::within(DiskOffset offset, std::uint64_t length_bytes) const {
  TM_ASSERT(is_aligned(offset.value));
  TM_ASSERT(is_aligned(length_bytes));
  return offset.value <= size_bytes_ && length_bytes <= size_bytes_ - offset.value;
}

io::Task<Result<void>> FileDisk::read(DiskOffset offset, Buffer out) {
  TM_ASSERT(is_aligned(out));
  const std::size_t length = out.size();
  if (!within(offset, length)) co_return ends_early(offset, length);
  Request request(reactor_);
  request->descriptor = descriptor_;
  std::byte* const memory = out.data();
  request->pieces.push_back(std::move(out));
  std::size_t done = 0;
  while (done < length) {
    const std::size_t step = std::min(length - done, kTransferBytesMax);
    ::io_uring_prep_read(request.entry(), descriptor_->get(), memory + done, static_cast<unsigned>(step),
                         offset.value + done);
    const std::int32_t result = co_await request.submit();
    if (result < 0) co_return failure("read", offset, length, -result);
    if (result == 0) co_return ends_early(DiskOffset{offset.value + done}, length - done);
    done += static_cast<std::size_t>(result);
  }
  co_return Result<void>{};
}

io::Task<Result<void>> FileDisk::write(DiskOffset offset, std::vector<Buffer> pieces,
                                       io::Durability durability) {
  std::uint64_t length = 0;
  for (const Buffer& piece : pieces) {
    TM_ASSERT(is_aligned(piece));
    length += piece.size();
  }
  if (!within(offset, length)) co_return ends_early(offset, length);
  Request request(reactor_);
  request->descriptor = descriptor_;
  request->pieces = std::move(pieces);
  const int flags = durability == io::Durability::kDurable ? RWF_DSYNC : 0;
  std::uint64_t done = 0;
  while (request->gather()) {
    const std::vector<iovec>& vectors = request->vectors;
    const int fd = descriptor_->get();
    if (vectors.size() == 1) {
      ::io_uring_prep_write(request.entry(), fd, vectors[0].iov_base,
                            static_cast<unsigned>(vectors[0].iov_len), offset.value + done);
      request.entry()->rw_flags = flags;
    } else {
      ::io_uring_prep_writev2(request.entry(), fd, vectors.data(), static_cast<unsigned>(vectors.size()),
                              offset.value + done, flags);
    }
    const std::int32_t result = co_await request.submit();
    if (result < 0) co_return failure("write", offset, length, -result);
    // A device that takes nothing and gives no reason would otherwise be asked for ever.
    if (result == 0) co_return failure("write", DiskOffset{offset.value + done}, length - done, EIO);
    request->advance(static_cast<std::size_t>(result));
    done += static_cast<std::uint64_t>(result);
  }
  co_return Result<void>{};
}

io::Task<Result<void>> FileDisk::flush() {
  Request request(reactor_);
  request->descriptor = descriptor_;
  ::io_uring_prep_fsync(request.entry(), descriptor_->get(), IORING_FSYNC_DATASYNC);
  const std::int32_t result = co_await request.submit();
  if (result < 0) co_return failure("flush", DiskOffset{0}, size_bytes_, -result);
  co_return Result<void>{};
}

// fallocate(2) in the ring: 0 or an errno.
io::Task<int> FileDisk::change_space(int mode, DiskOffset offset, std::uint64_t length_bytes) {
  Request request(reactor_);
  request->descriptor = descriptor_;
  ::io_uring_prep_rw(IORING_OP_FALLOCATE, request.entry(), descriptor_->get(), nullptr,
                     static_cast<unsigned>(mode), offset.value);
  request.entry()->addr = length_bytes;  // liburing's own helper takes the length as a signed off_t
  const std::int32_t result = co_await request.submit();
  co_return result < 0 ? -result : 0;
}

io::Task<Result<void>> FileDisk::allocate(DiskOffset offset, std::uint64_t length_bytes) {
  if (!within(offset, length_bytes)) co_return ends_early(offset, length_bytes);
  if (length_bytes == 0 || is_block_device_ || !promises_space_) co_return Result<void>{};
  const int error = co_await change_space(FALLOC_FL_KEEP_SIZE, offset, length_bytes);
  if (error == EOPNOTSUPP) {
    promises_space_ = false;
    co_return Result<void>{};
  }
  if (error != 0) co_return failure("allocation", offset, length_bytes, error);
  co_return Result<void>{};
}

io::Task<Result<void>> FileDisk::discard(DiskOffset offset, std::uint64_t length_bytes) {
  if (!within(offset, length_bytes)) co_return ends_early(offset, length_bytes);
  if (length_bytes == 0) co_return Result<void>{};
  // On a block device a hole is "write zeroes, unmapping", which many devices cannot do.
  if (punches_holes_) {
    const int error = co_await change_space(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length_bytes);
    if (error == 0) co_return Result<void>{};
    if (error != EOPNOTSUPP) co_return failure("discard", offset, length_bytes, error);
    punches_holes_ = false;
  }
  if (zeroes_ranges_) {
    const int error = co_await change_space(FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, length_bytes);
    if (error == 0) co_return Result<void>{};
    if (error != EOPNOTSUPP) co_return failure("discard", offset, length_bytes, error);
    zeroes_ranges_ = false;
  }
  co_return co_await write_zeroes(offset, length_bytes);
}

io::Task<Result<void>> FileDisk::write_zeroes(DiskOffset offset, std::uint64_t length_bytes) {
  std::uint64_t done = 0;
  while (done < length_bytes) {
    const std::uint64_t step = std::min<std::uint64_t>(length_bytes - done, kZeroesBytesMax);
    std::vector<Buffer> pieces(1, zeroes(step));
    const DiskOffset at{offset.value + done};
    TM_CO_TRY(co_await write(at, std::move(pieces), io::Durability::kVolatile));
    done += step;
  }
  co_return Result<void>{};
}

}  // namespace tidemark::os
