#include "raid/labels.h"

#include <algorithm>
#include <string>

namespace tidemark::raid {

using format::RaidLabel;
using format::RaidState;

namespace {

Error at_disk(const NamedDisk& disk, Error error) {
  error.message = disk.name + ": " + error.message;
  return error;
}

io::Task<Result<RaidState>> load_copy(NamedDisk disk, RaidLabel label, std::uint32_t copy) {
  Buffer block = Buffer::allocate(kBlockSizeBytes);
  TM_CO_TRY(co_await disk.disk->read(DiskOffset{format::kRaidStateOffset[copy]}, block));
  auto state = format::decode_raid_state(block, label.raid, copy);
  if (state.ok() && !format::fits(*state, label.shape)) {
    co_return fail(ErrorCode::kDamaged, disk.name + " carries a state that does not fit its label");
  }
  co_return std::move(state);
}

}  // namespace

io::Task<Result<void>> check_blank(NamedDisk disk, std::uint64_t least_bytes) {
  if (disk.disk->size_bytes() < least_bytes) {
    co_return fail(ErrorCode::kInvalid, disk.name + " has " + std::to_string(disk.disk->size_bytes()) +
                                            " bytes; it takes at least " + std::to_string(least_bytes));
  }
  // Others have their labels elsewhere in it: at 4 KiB Linux md and bcache, at 64 KiB btrfs.
  const std::uint64_t length =
      std::min(format::kRaidJournalOffset, disk.disk->size_bytes() / kBlockSizeBytes * kBlockSizeBytes);
  if (length == 0) co_return Result<void>{};
  Buffer bytes = Buffer::allocate(length);
  const auto read = co_await disk.disk->read(DiskOffset{0}, bytes);
  if (!read.ok()) co_return at_disk(disk, read.error());
  for (std::uint64_t offset = 0; offset < length; offset += kBlockSizeBytes) {
    const Bytes block = Bytes(bytes).subspan(offset, kBlockSizeBytes);
    if (all_zero(block) || format::has_raid_mark(offset, block)) continue;
    co_return fail(ErrorCode::kExists,
                   disk.name + " is not blank: something lies at its byte " + std::to_string(offset) +
                       "; if it is not needed any more, overwrite its first MiB with zeroes");
  }
  co_return Result<void>{};
}

io::Task<Result<void>> save_label(NamedDisk disk, RaidLabel label) {
  for (std::uint32_t copy = 0; copy < 2; ++copy) {
    Buffer block = Buffer::allocate(kBlockSizeBytes);
    std::ranges::fill(block.writable(), std::byte{0});
    format::encode_raid_label(label, copy, block.writable().first(format::kRaidSectorBytes));
    std::vector<Buffer> pieces(1, block);
    const auto written = co_await disk.disk->write(DiskOffset{format::kRaidLabelOffset[copy]},
                                                   std::move(pieces), io::Durability::kDurable);
    if (!written.ok()) co_return at_disk(disk, written.error());
  }
  co_return Result<void>{};
}

io::Task<Result<void>> wipe(NamedDisk disk, format::RaidShape shape, bool data_too) {
  const std::uint64_t begin = format::kRaidStateOffset[0];
  const std::uint64_t end = shape.data_offset + (data_too ? shape.member_bytes : 0);
  auto done = co_await disk.disk->discard(DiskOffset{begin}, end - begin);
  if (done.ok()) done = co_await disk.disk->allocate(DiskOffset{0}, shape.data_offset);
  if (done.ok()) done = co_await disk.disk->flush();
  if (!done.ok()) co_return at_disk(disk, done.error());
  co_return Result<void>{};
}

io::Task<Result<void>> mend_state(NamedDisk disk, RaidLabel label) {
  const auto first = co_await load_copy(disk, label, 0);
  const auto second = co_await load_copy(disk, label, 1);
  if (!first.ok() || second.ok()) co_return Result<void>{};
  Buffer block = Buffer::allocate(kBlockSizeBytes);
  format::encode_raid_state(*first, 1, block.writable());
  std::vector<Buffer> pieces(1, block);
  co_return co_await disk.disk->write(DiskOffset{format::kRaidStateOffset[1]}, std::move(pieces),
                                      io::Durability::kDurable);
}

io::Task<Result<RaidState>> load_state(NamedDisk disk, RaidLabel label) {
  Result<RaidState> best = fail(ErrorCode::kNotFound, disk.name + " carries no state of its RAID group");
  for (std::uint32_t copy = 0; copy < 2; ++copy) {
    auto state = co_await load_copy(disk, label, copy);
    if (!state.ok()) continue;
    const auto age = [](const RaidState& s) { return std::pair(s.event, s.settled); };
    if (!best.ok() || age(*best) < age(*state)) best = std::move(state);
  }
  co_return std::move(best);
}

io::Task<Result<RaidLabel>> RaidGroup::inspect(io::Disk& disk) {
  Buffer block = Buffer::allocate(kBlockSizeBytes);
  std::vector<Error> errors;
  std::optional<RaidLabel> best;
  for (std::uint32_t copy = 0; copy < 2; ++copy) {
    if (disk.size_bytes() < format::kRaidLabelOffset[copy] + kBlockSizeBytes) {
      errors.push_back(fail(ErrorCode::kNotFound, "the disk ends before its RAID label"));
      continue;
    }
    const auto read = co_await disk.read(DiskOffset{format::kRaidLabelOffset[copy]}, block);
    if (!read.ok()) {
      errors.push_back(read.error());
      continue;
    }
    auto label = format::decode_raid_label(Bytes(block).first(format::kRaidSectorBytes), copy);
    if (!label.ok()) {
      errors.push_back(label.error());
    } else if (!best.has_value() || best->generation < label->generation) {
      best = *label;
    }
  }
  if (best.has_value()) co_return *best;
  // What is worse than blank says more.
  co_return errors[0].code == ErrorCode::kNotFound ? errors[1] : errors[0];
}

}  // namespace tidemark::raid
