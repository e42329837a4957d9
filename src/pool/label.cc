#include "pool/label.h"

#include <algorithm>
#include <array>
#include <functional>
#include <optional>

namespace tidemark::pool {

namespace {

using format::DiskLabel;
using format::kLabelOffset;

Buffer encode_block(const DiskLabel& label, std::uint32_t copy) {
  Buffer buffer = Buffer::allocate(kBlockSizeBytes);
  std::ranges::fill(buffer.writable(), std::byte{0});
  format::encode_disk_label(label, copy, buffer.writable().first(format::kSectorSizeBytes));
  return buffer;
}

io::Task<Result<void>> save_copy(io::Disk& disk, const DiskLabel* label, std::uint32_t copy) {
  const DiskOffset offset{kLabelOffset[copy]};
  std::vector<Buffer> pieces{encode_block(*label, copy)};
  co_return co_await disk.write(offset, std::move(pieces), io::Durability::kDurable);
}

// An error of a copy that is whole is an empty one.
bool lost(const Error& error, std::uint32_t copy) {
  if (error.message.empty()) return false;
  return error.code == ErrorCode::kDamaged || (error.code == ErrorCode::kNotFound && copy == 0);
}

Error no_label(const std::array<Error, 2>& errors) {
  const auto both = [&errors](ErrorCode code) { return errors[0].code == code && errors[1].code == code; };
  const auto any = [&errors](ErrorCode code) { return errors[0].code == code || errors[1].code == code; };
  if (both(ErrorCode::kNotFound)) {
    return fail(ErrorCode::kNotFound, "the disk carries no label: it was never formatted");
  }
  // A disk that gives nothing is not one that holds something else.
  if (any(ErrorCode::kIo)) return errors[errors[0].code == ErrorCode::kIo ? 0 : 1];
  if (any(ErrorCode::kUnsupported)) {
    return errors[errors[0].code == ErrorCode::kUnsupported ? 0 : 1];
  }
  return fail(ErrorCode::kDamaged,
              "the disk has no label that can be read, and is not empty: it is damaged or belongs to "
              "something else (copy 0: " +
                  errors[0].message + "; copy 1: " + errors[1].message + ")");
}

}  // namespace

io::Task<Result<LoadedLabel>> load_label(io::Disk& disk) {
  std::array<Buffer, 2> blocks;
  std::array<Error, 2> errors{};
  std::optional<DiskLabel> best;
  for (std::uint32_t copy = 0; copy < 2; ++copy) {
    blocks[copy] = Buffer::allocate(kBlockSizeBytes);
    const DiskOffset offset{kLabelOffset[copy]};
    if (disk.size_bytes() < kLabelOffset[copy] + kBlockSizeBytes) {
      errors[copy] = fail(ErrorCode::kNotFound, "the disk ends before it");
      continue;
    }
    if (const auto read = co_await disk.read(offset, blocks[copy]); !read.ok()) {
      errors[copy] = read.error();
      std::ranges::fill(blocks[copy].writable(), std::byte{0xff});
      continue;
    }
    const auto decode = [copy](Bytes block) {
      return format::decode_disk_label(block.first(format::kSectorSizeBytes), copy);
    };
    auto label = decode(blocks[copy]);
    if (!label.ok() && label.error().code == ErrorCode::kDamaged) {
      std::function<bool(Bytes)> is_whole = [decode](Bytes block) { return decode(block).ok(); };
      const auto other = co_await disk.read_other_copies(offset, blocks[copy], std::move(is_whole));
      if (other.ok()) label = decode(blocks[copy]);
    }
    if (!label.ok()) {
      errors[copy] = label.error();
    } else if (!best.has_value() || label->generation > best->generation) {
      best = *label;
    }
  }
  if (!best.has_value()) co_return no_label(errors);
  LoadedLabel loaded;
  loaded.label = *best;
  for (std::uint32_t copy = 0; copy < 2; ++copy) loaded.damaged[copy] = lost(errors[copy], copy);
  for (std::uint32_t copy = 0; copy < 2; ++copy) {
    // A newer version is never written over.
    if (errors[copy].code == ErrorCode::kUnsupported) continue;
    const Buffer right = encode_block(loaded.label, copy);
    loaded.needs_repair[copy] = !std::ranges::equal(Bytes(blocks[copy]).first(format::kSectorSizeBytes),
                                                    Bytes(right).first(format::kSectorSizeBytes));
  }
  co_return loaded;
}

io::Task<Result<void>> repair_label(io::Disk& disk, LoadedLabel loaded) {
  for (std::uint32_t copy = 0; copy < 2; ++copy) {
    if (loaded.needs_repair[copy]) TM_CO_TRY(co_await save_copy(disk, &loaded.label, copy));
  }
  co_return Result<void>{};
}

io::Task<Result<void>> save_label(io::Disk& disk, DiskLabel label) {
  for (std::uint32_t copy = 0; copy < 2; ++copy) TM_CO_TRY(co_await save_copy(disk, &label, copy));
  co_return Result<void>{};
}

}  // namespace tidemark::pool
