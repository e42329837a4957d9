#include "group/view.h"

#include <algorithm>
#include <cstring>

#include "base/crc32c.h"

namespace tidemark::group {

View::View(Core& core, DataPath& data, ResolvedPoint point, VolumeShape shape)
    : core_(core),
      data_(data),
      point_(point),
      shape_(std::move(shape)),
      pin_(PointPin::of_view(&core, point.at)) {}

io::Task<Result<void>> View::make_writable() {
  // A scratch unit belongs to no group and no volume; a start removes those it finds.
  TM_CO_TRY_ASSIGN(const LuNumber number,
                   co_await core_.context.pools.create_data_volume(core_.local.data_pool, GroupIdentity{},
                                                                   VolumeId{}, shape_.size_bytes));
  scratch_ =
      std::make_unique<Volume>(core_.context, VolumeId{}, number, core_.context.pools.data_volume(number));
  co_return Result<void>{};
}

bool View::in_scratch(std::uint64_t block) const {
  const auto page = scratch_pages_.find(block / kPageBlocks);
  return page != scratch_pages_.end() && page->second[block % kPageBlocks];
}

void View::set_in_scratch(BlockRange blocks) {
  for (std::uint64_t block = blocks.begin; block < blocks.end; ++block) {
    std::vector<bool>& page = scratch_pages_[block / kPageBlocks];
    if (page.empty()) page.resize(kPageBlocks);
    page[block % kPageBlocks] = true;
  }
}

io::Task<Result<void>> View::read(std::uint64_t offset, Buffer out) {
  const BlockRange blocks{offset / kBlockSizeBytes,
                          (offset + out.size() + kBlockSizeBytes - 1) / kBlockSizeBytes};
  // While a block is written, neither its bytes nor its checksum are there for a reader.
  RangeLock::Guard guard;
  if (scratch_ != nullptr) guard = co_await scratch_->lock.lock(blocks);
  if (offset % kBlockSizeBytes == 0 && out.size() % kBlockSizeBytes == 0) {
    co_return co_await read_blocks(blocks, out);
  }
  Buffer whole = Buffer::allocate(blocks.count() * kBlockSizeBytes);
  TM_CO_TRY(co_await read_blocks(blocks, whole));
  std::memcpy(out.data(), whole.data() + (offset - blocks.begin * kBlockSizeBytes), out.size());
  co_return Result<void>{};
}

io::Task<Result<void>> View::read_blocks(BlockRange blocks, Buffer out) {
  std::uint64_t at = blocks.begin;
  while (at < blocks.end) {
    const bool scratch = scratch_ != nullptr && in_scratch(at);
    std::uint64_t end = at + 1;
    while (end < blocks.end && (scratch_ != nullptr && in_scratch(end)) == scratch) ++end;
    const BlockRange run{at, end};
    Buffer part = out.slice((at - blocks.begin) * kBlockSizeBytes, run.count() * kBlockSizeBytes);
    if (scratch) {
      TM_CO_TRY(co_await scratch_->base->read(run, part));
    } else {
      TM_CO_TRY(check_alive());
      // The path down to the base is made anew when the base has moved up under it.
      if (path_ == nullptr || path_made_at_step_ != core_.local.destaged.raw()) {
        path_ = core_.path_to(point_.at);
        path_made_at_step_ = core_.local.destaged.raw();
      }
      TM_CO_TRY(co_await data_.read(shape_.id, path_, at * kBlockSizeBytes, part, true));
    }
    at = end;
  }
  co_return Result<void>{};
}

// Nothing may be awaited between this and the read that registers itself.
Result<void> View::check_alive() const {
  if (core_.closing) {
    return fail(ErrorCode::kShutdown, "the view of log:" + point_.at.to_string() + " ended with group '" +
                                          core_.name() +
                                          "': the node stops, or the group's copy begins anew");
  }
  if (core_.state.epochs().is_ancestor(core_.local.floor, point_.at)) return {};
  return fail(ErrorCode::kExpired, "the view of log:" + point_.at.to_string() + " of group '" + core_.name() +
                                       "' was given up: the journal is full and nothing else in it could go");
}

io::Task<Result<void>> View::write_scratch(BlockRange blocks, Buffer data) {
  TM_CO_TRY(co_await scratch_->base->reserve(blocks));
  std::vector<std::uint32_t> checksums;
  for (std::uint64_t i = 0; i < blocks.count(); ++i) {
    checksums.push_back(crc32c(Bytes(data).subspan(i * kBlockSizeBytes, kBlockSizeBytes)));
  }
  TM_CO_TRY(co_await scratch_->base->write(blocks, std::move(data), std::move(checksums)));
  set_in_scratch(blocks);
  co_return Result<void>{};
}

io::Task<Result<void>> View::write(std::uint64_t offset, Buffer data) {
  if (scratch_ == nullptr) co_return fail(ErrorCode::kReadOnly, "the view is read-only; open it with +rw");
  const BlockRange blocks{offset / kBlockSizeBytes,
                          (offset + data.size() + kBlockSizeBytes - 1) / kBlockSizeBytes};
  // One writer at a time on the whole unit: a rehearsal, not a workload to be tuned.
  const BlockRange everything{0, shape_.size_bytes / kBlockSizeBytes};
  const RangeLock::Guard guard = co_await scratch_->lock.lock(everything);
  Buffer whole = data;
  const std::uint64_t lead = offset - blocks.begin * kBlockSizeBytes;
  const bool aligned = lead == 0 && data.size() % kBlockSizeBytes == 0 &&
                       reinterpret_cast<std::uintptr_t>(data.data()) % kBlockSizeBytes == 0;
  if (!aligned) {
    whole = Buffer::allocate(blocks.count() * kBlockSizeBytes);
    TM_CO_TRY(co_await read_blocks(blocks, whole));
    std::memcpy(whole.data() + lead, data.data(), data.size());
  }
  co_return co_await write_scratch(blocks, whole);
}

io::Task<Result<void>> View::zero(std::uint64_t offset, std::uint64_t length) {
  for (std::uint64_t done = 0; done < length;) {
    const std::uint64_t step = std::min<std::uint64_t>(length - done, kZeroesBytesMax);
    Buffer part = zeroes(step);
    TM_CO_TRY(co_await write(offset + done, part));
    done += step;
  }
  co_return Result<void>{};
}

io::Task<Result<void>> View::flush() {
  // The scratch unit goes with its last connection; a flush only says that nothing has failed.
  co_return Result<void>{};
}

io::Task<Result<std::vector<AllocationRun>>> View::allocation(std::uint64_t offset, std::uint64_t length,
                                                              std::size_t runs_max) {
  if (scratch_ != nullptr) {
    std::vector<AllocationRun> all{{length, false, false}};
    co_return all;
  }
  TM_CO_TRY(check_alive());
  co_return co_await data_.allocation(shape_.id, core_.path_to(point_.at), offset, length, runs_max);
}

io::Task<void> View::close() {
  if (scratch_ != nullptr) {
    const LuNumber number = scratch_->lu;
    scratch_.reset();
    scratch_pages_.clear();
    // A unit that cannot be removed now is removed at the next start.
    (void)co_await core_.context.pools.remove(number);
  }
  pin_ = PointPin();
}

}  // namespace tidemark::group
