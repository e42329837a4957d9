#pragma once

#include <memory>
#include <vector>

#include "base/bytes.h"
#include "group/core.h"

namespace tidemark::group {

// A run of bytes with the same answer to "is there anything?".
struct AllocationRun {
  std::uint64_t length_bytes = 0;
  bool hole = false;
  bool zero = false;
};

// Reads and writes of a group: the road from a request to the journal, and from a point to its bytes.
//
// A write is copied (or its buffer adopted) into the journal's open batch, checksummed on the way, entered in
// the index and acknowledged; it waits for no disk. A read asks the index for the newest entries on the path,
// then takes each run from the journal's memory, the cache, the journal on disk, or the base. The live volume
// and a view differ in the path alone.
//
// Offsets and lengths lie inside the volume; the caller has checked. Owned by Group, as is the Core.
class DataPath {
 public:
  explicit DataPath(Core& core) : core_(core), reading_ahead_(core.scheduler()) {}
  // Ends what it began by itself.
  io::Task<void> stop();

  // The write, if it needs to wait for nothing: whole blocks, at most 1 MiB, space promised, journal open.
  bool write_now(Volume& volume, std::uint64_t offset, const Buffer& data);
  io::Task<Result<void>> write(VolumeId volume, std::uint64_t offset, Buffer data, bool fua);
  // Zeroes a range. With `discard` only whole blocks are touched, and their space may be given back.
  io::Task<Result<void>> zero(VolumeId volume, std::uint64_t offset, std::uint64_t length, bool discard,
                              bool fua);
  // Discards blocks without a look at how many names the epoch has left: for who holds the mutex of commands,
  // which a new epoch needs, and goes on in the one that there is.
  io::Task<Result<void>> discard_in_epoch(VolumeId volume, BlockRange blocks);
  // Appends blocks of the live volume once more, but for those that were written after `since`, an ancestor
  // of the head: with these bytes, or with `data` empty as they are. The caller keeps the head on its branch
  // and the volume in it. Waits for no space: kBusy when the journal has none at once; asked again it goes
  // on.
  io::Task<Result<void>> write_again(VolumeId volume, BlockRange blocks, Buffer data, LogId since);
  // Everything acknowledged before the call survives any crash, and in a synchronous pair the peer has it
  // too. An error of the peer's making leaves it durable here.
  io::Task<Result<void>> flush();
  // `count`: a host's read. It is in the volume's hits and misses, and what may come next is brought into the
  // cache.
  io::Task<Result<void>> read(VolumeId volume, std::shared_ptr<const index::Path> path, std::uint64_t offset,
                              Buffer out, bool count);
  io::Task<Result<std::vector<AllocationRun>>> allocation(VolumeId volume,
                                                          std::shared_ptr<const index::Path> path,
                                                          std::uint64_t offset, std::uint64_t length,
                                                          std::size_t runs_max);
  // Index pieces of [begin, end) on a path, all of them in pages; for destaging, differences and copies.
  io::Task<Result<std::vector<index::Piece>>> pieces(VolumeId volume, BlockRange blocks,
                                                     std::shared_ptr<const index::Path> path,
                                                     std::size_t pieces_max);
  // The bytes of a kData piece, checked.
  io::Task<Result<Buffer>> piece_data(index::Piece piece);

 private:
  void append_write(Volume& volume, BlockRange blocks, Buffer data);
  io::Task<Result<void>> write_whole(Volume* volume, BlockRange blocks, Buffer data);
  // The caller owns the blocks.
  io::Task<Result<void>> zero_whole(Volume* volume, BlockRange blocks, format::EntryKind kind);
  void append_zero(Volume& volume, BlockRange blocks, format::EntryKind kind);
  // The caller owns the blocks, of which nothing was written after `since`.
  io::Task<Result<void>> write_again_whole(Volume* volume, BlockRange blocks, Buffer data, LogId since);
  io::Task<Result<void>> write_partial(Volume* volume, std::uint64_t offset, Buffer data);
  io::Task<Result<void>> read_blocks(Volume* volume, std::shared_ptr<const index::Path> path,
                                     BlockRange blocks, Buffer out, bool* hit);
  io::Task<Result<void>> read_base(Volume* volume, BlockRange blocks, Buffer out, bool* hit);
  io::Task<Result<void>> read_piece(Volume* volume, index::Piece piece, Buffer out, bool* hit);
  // `guard` is of the phase of the read that asks for it, and was made before that one ended.
  io::Task<void> read_ahead(Core::ReadGuard guard, Volume* volume, std::shared_ptr<const index::Path> path,
                            BlockRange blocks);
  io::Task<Result<std::shared_ptr<Volume>>> writable(VolumeId volume);
  // Whether the volume, which was found before something was awaited, still takes writes, and has the blocks.
  Result<void> check_writable(const Volume& volume, BlockRange blocks) const;
  // The base's space for blocks of a volume that check_writable() has just passed.
  io::Task<Result<void>> reserve(Volume* volume, BlockRange blocks);

  Core& core_;
  bool stopping_ = false;
  io::TaskScope reading_ahead_;
};

}  // namespace tidemark::group
